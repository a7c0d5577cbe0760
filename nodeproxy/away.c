/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See away.h. */
#include "nodeproxy/away.h"

#include <errno.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/master.h"

bool away_stays(const struct pod *p)
{
	return p->modes.of[MODE_when_away] == MODE_CLOSED;
}

void away_settle(struct master *m)
{
	char why[64];

	if (pods_may_change(m, why, sizeof why) < 0)
		return;
	for (unsigned i = 0; i < PODS_MAX; i++) {
		struct pod *p = &m->pods.at[i];
		struct errand_job job = { .kind = ERRAND_CHANGE, .ref = p->ref, .inside = FD_NONE,
					  .rules = p->fd[POD_TABLE], .list = FD_NONE };

		if (p->state != POD_CAPTURED || p->in_change || p->stays == away_stays(p))
			continue;
		job.how = pod_rules(p);
		job.how.stays = away_stays(p);
		if (errand_start(m, &job, NULL) < 0)
			return;		/* one that ends looks here again, or the next tick */
		p->in_change = true;
	}
}

void away_changed(struct master *m, uint32_t ref, bool stays, int error)
{
	struct pod *p = &m->pods.at[POD_SLOT(ref)];

	if (p->ref != ref || !p->in_change)
		return;
	p->in_change = false;
	if (error < 0) {
		log_limited(LOG_WARN, "rules_not_changed", "pod=%s/%s when-away=%s", p->words.ns, p->words.name,
			    ns_mode_text(MODE_when_away, stays ? MODE_CLOSED : MODE_OPEN));
		return;
	}
	p->stays = stays;
	pod_touched(m, p);
	log_info("rules_changed", "pod=%s/%s when-away=%s", p->words.ns, p->words.name,
		 ns_mode_text(MODE_when_away, stays ? MODE_CLOSED : MODE_OPEN));
	pods_changed(m);
}
