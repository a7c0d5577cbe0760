/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See reload.h. */
#include "workers/reload.h"

#include <errno.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/memfd.h"

/* Why these settings cannot be used here, in words; NULL: they can. */
static const char *problem(const struct reload *r, struct slice knobs)
{
	return path_try(r->path, (const struct knobs *)(const void *)knobs.p) < 0 ?
		       "connections of listeners that were removed before have not ended yet" :
		       NULL;
}

void reload_try(struct reload *r, struct chan *ch, const struct msg_knobs *m, struct fd fd)
{
	const char *why = "these settings are not of our build";
	struct slice knobs;

	if (knobs_map(fd, &knobs) == 0) {
		why = problem(r, knobs);
		memfd_unmap(&knobs);
		if (r->refuses && why == NULL) {
			r->refuses--;
			why = "told to refuse them by nodeproxyctl debug";
		}
	}
	if (why == NULL) {
		chan_say(ch, MSG_KNOBS_OK, m);
		return;
	}
	log_warn("settings_refused", "why=\"%s\"", why);
	/* Unsaid, the master hears nothing in time: no reload either. */
	chan_offer(ch, MSG_KNOBS_REFUSED, m, slice_str(why), NULL, 0);
}

static int use(struct reload *r, struct fd fd)
{
	struct slice was = r->knobs, now;
	const struct knobs *k;
	int e = knobs_map(fd, &now);

	if (e < 0)
		return e;
	if (slice_eq(was, now)) {	/* a new master tells them again */
		memfd_unmap(&now);
		return 0;
	}
	k = (const struct knobs *)(const void *)now.p;
	if (problem(r, now)) {
		memfd_unmap(&now);
		return -EAGAIN;
	}
	path_use(r->path, k, k->access_log_path[0] ? r->ring : NULL);
	listeners_use(r->listeners, (const struct knobs *)(const void *)was.p);
	r->knobs = now;
	memfd_unmap(&was);
	return 0;
}

int reload_use(struct reload *r, struct chan *ch, const struct msg_knobs *m, struct fd fd)
{
	int e = use(r, fd);

	if (e == 0)
		chan_say(ch, MSG_KNOBS_USED, m);
	return e;
}
