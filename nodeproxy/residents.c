/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See residents.h. */
#include "nodeproxy/residents.h"

#include <errno.h>

#include "nodeproxy/death.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/master.h"
#include "nodeproxy/origin.h"

#define QUEUED_MOST 256		/* a quarter of what a channel takes: listeners of as many pods follow */

static bool hears(const struct child *c)
{
	return child_is_alive(c) && c->has_chan && c->told;
}

static void tell(struct child *c, struct pod *p)
{
	struct msg_resident r = { .ref = p->ref, .origin = origin_now(p),
				  .has_ipv6 = fd_is_open(p->fd[POD_OUT6]), .addresses = p->addresses };

	memcpy(r.name, p->words.name, sizeof r.name);
	memcpy(r.ns, p->words.ns, sizeof r.ns);
	if (chan_say(&c->chan, MSG_RESIDENT, &r) == -ENOBUFS)
		child_kill(c, "channel full");
	p->knows |= 1ull << c->id;
}

void residents_settle(struct master *m)
{
	uint64_t hear = 0;

	for (unsigned s = 0; s < BOARD_WORKERS; s++)
		hear |= (uint64_t)hears(&m->child[s]) << s;
	for (unsigned i = 0; i < PODS_MAX; i++) {
		struct pod *p = &m->pods.at[i];

		for (uint64_t left = p->state == POD_CAPTURED ? hear & ~p->knows : 0; left; left &= left - 1) {
			struct child *c = &m->child[__builtin_ctzll(left)];

			if (hears(c) && c->chan.queued < QUEUED_MOST)	/* it may have been killed for it */
				tell(c, p);
		}
	}
}

void residents_seen(struct master *m, struct pod *p, const struct pod_addresses *now)
{
	if (now->n > POD_ADDRESSES || memcmp(now, &p->addresses, sizeof *now) == 0)
		return;
	log_info("pod_moved", "pod=%s/%s addresses=%u", p->words.ns, p->words.name, now->n);
	p->addresses = *now;
	p->knows = 0;
	pod_touched(m, p);
	pods_changed(m);
	residents_settle(m);
}
