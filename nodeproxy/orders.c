/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See orders.h. */
#include "nodeproxy/orders.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>

#include "nodeproxy/death.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/ipc/debug.h"
#include "nodeproxy/lib/ipc/msg.h"
#include "nodeproxy/master.h"
#include "nodeproxy/podorders.h"
#include "nodeproxy/reload.h"
#include "nodeproxy/replace.h"

void orders_tell_level(struct master *m, uint32_t level)
{
	struct msg_log_level l = { .level = level };

	log_level = (enum log_level)level;
	keep_put(&m->kept, m->knobs_fd, level, "knobs");
	for (unsigned i = 0; i < CHILDREN; i++)
		if (m->child[i].has_chan && m->child[i].told)
			(void)chan_say(&m->child[i].chan, MSG_LOG_LEVEL, &l);
}

static int order_drain(struct master *m, const struct msg_order *o, char *text, size_t n)
{
	int r = -ENOENT;

	if (o->number < 0 || o->number > 86400000) {
		snprintf(text, n, "the deadline is 0 to 86400 seconds");
		return -EINVAL;
	}
	for (unsigned i = 0; i < BOARD_WORKERS; i++) {
		int one;

		if (o->worker != UINT32_MAX && o->worker != i)
			continue;
		one = child_replace(&m->child[i], o->number);
		if (one == 0 || one == -EAGAIN)
			r = 0;
	}
	if (r < 0)
		snprintf(text, n, "there is no such worker serving");
	else
		snprintf(text, n, "replaced one by one; each old worker has %lld ms to finish",
			 (long long)o->number);
	return r;
}

#ifdef NP_DEBUG_COMMANDS
static struct child *process_of(struct master *m, const struct msg_order *o)
{
	struct child *c = NULL;

	if (o->process == ROLE_WORKER && o->worker < BOARD_WORKERS)
		c = &m->child[o->worker];
	else if (o->process == ROLE_SYNCD)
		c = &m->child[CHILD_SYNCD];
	else if (o->process == ROLE_ADMIND)
		c = &m->child[CHILD_ADMIND];
	else if (o->process == ROLE_KEYD)
		c = &m->child[CHILD_KEYD];
	return c && child_is_alive(c) ? c : NULL;
}

/* What a process is not asked to do is done to it; what it is asked to do, it does after this, and so
 * does the master (*ret_ours), for whom there has to be an answer first. */
static int order_debug(struct master *m, const struct msg_order *o, char *text, size_t n,
		       struct msg_debug *ret_ours)
{
	struct msg_debug d = { .what = (uint32_t)o->number & 0xff, .number = o->number >> 8,
			       .slot = o->slot };
	const struct debug_row *row = debug_row(d.what);
	struct child *c = process_of(m, o);

	if (!row || o->process >= ROLES || !(row->roles & 1u << o->process) || d.number < 0 ||
	    d.number > row->most) {
		snprintf(text, n, "that process cannot do that, or not so much of it");
		return -EINVAL;
	}
	if (o->process == ROLE_MASTER) {
		*ret_ours = d;
		return 0;
	}
	if (!c || !c->has_chan || !c->told) {
		snprintf(text, n, "there is no such process at the moment");
		return -ENOENT;
	}
	if (row->signal)
		return pidfd_send_signal(c->pidfd.v, row->signal, NULL, 0) < 0 ? -errno : 0;
	return chan_say(&c->chan, MSG_DEBUG, &d);
}
#endif

void order(struct master *m, struct child *c, const struct msg_order *o)
{
	struct msg_order_done done = { .serial = o->serial };
	char text[512] = "";
#ifdef NP_DEBUG_COMMANDS
	struct msg_debug ours = { .what = DEBUG_WHATS };
#endif

	if (!msg_text(o->who, sizeof o->who)) {
		child_broke(c, "an order without a name");
		return;
	}
	switch (o->order) {
	case ORDER_RELOAD:
		log_info("order", "order=%u by=\"%s\"", o->order, o->who);
		reload_order(m, c, o);	/* which answers */
		return;
	case ORDER_DRAIN:
		done.error = order_drain(m, o, text, sizeof text);
		break;
	case ORDER_LOG_LEVEL:
		if (o->number < 0 || o->number >= LOG_LEVELS)
			done.error = -EINVAL;
		else
			orders_tell_level(m, (uint32_t)o->number);
		break;
	case ORDER_LOG_REOPEN:
		done.error = files_send_log(m, &m->child[CHILD_ADMIND]);
		break;
	case ORDER_POD_ADD:
		done.error = podorders_add(m, c, o, text, sizeof text);
		break;
	case ORDER_POD_REMOVE:
		done.error = podorders_remove(m, o, text, sizeof text);
		break;
	case ORDER_UPGRADE:
		done.error = upgrade_order(m, o, text, sizeof text);
		break;
#ifdef NP_DEBUG_COMMANDS
	case ORDER_DEBUG:
		done.error = order_debug(m, o, text, sizeof text, &ours);
		break;
#endif
	default:
		child_broke(c, "an order that does not exist");
		return;
	}
	log_info("order", "order=%u worker=%d number=%lld by=\"%s\" error=%d", o->order,
		 (int)o->worker, (long long)o->number, o->who, -done.error);
	if (done.error != -EINPROGRESS)
		chan_offer(&c->chan, MSG_ORDER_DONE, &done, slice_str(text), NULL, 0);
#ifdef NP_DEBUG_COMMANDS
	(void)debug_do(&ours);
#endif
}
