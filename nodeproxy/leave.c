/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See leave.h. */
#include "nodeproxy/leave.h"

#include "nodeproxy/death.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/master.h"
#include "nodeproxy/origin.h"
#include "nodeproxy/reload.h"
#include "nodeproxy/replace.h"

static void goodbye(struct master *m, int code)
{
	struct msg_goodbye g = { .exit_code = code };

	if (m->phase == PHASE_RETIRING) {
		log_info("retired", "code=%d", code);
		loop_stop(&m->loop);
		return;
	}
	doors_close(m);
	log_info("stopped", "code=%d", code);
	(void)chan_say(&m->kept.chan, MSG_GOODBYE, &g);
	loop_stop(&m->loop);
}

/* Workers first; then those who serve them; then we. */
void leave_step(struct master *m)
{
	bool workers = false, others = false;

	for (unsigned i = 0; i < CHILDREN; i++) {
		struct child *c = &m->child[i];

		workers |= child_is_worker(c) && child_is_alive(c);
		others |= !child_is_worker(c) && child_is_alive(c);
	}
	if (workers || !origins_sweep(m))
		return;
	if (!others) {
		goodbye(m, 0);
		return;
	}
	for (unsigned i = CHILD_SYNCD; i < CHILDREN; i++)
		if (child_is_alive(&m->child[i]) && !m->child[i].retired)
			child_stop(&m->child[i]);
}

static void leave_cb(void *arg)
{
	struct master *m = arg;

	for (unsigned i = 0; i < CHILDREN; i++)
		if (child_is_alive(&m->child[i]))
			child_kill(&m->child[i], "did not leave in time");
	goodbye(m, 1);
}

/* Also again, with another deadline. */
static void drain_all(struct master *m, int64_t deadline_ms)
{
	listeners_close(m);	/* nothing is lent any more; the workers close theirs when they drain */
	for (unsigned i = 0; i < CHILDREN; i++) {
		struct child *c = &m->child[i];

		if (c->state == PROC_WAITING) {
			loop_timer_stop(&m->loop, &c->again);
			child_became(c, PROC_NONE);
		} else if (child_is_worker(c) && c->state == PROC_STARTING) {
			child_stop(c);
		} else if (child_is_worker(c) && child_is_alive(c)) {
			child_drain(c, deadline_ms);
		}
	}
	loop_timer_start(&m->loop, &m->leave, (deadline_ms + LEAVE_MS) * NS_PER_MS, 0, leave_cb, m);
	master_settle(m);
}

void master_leave(struct master *m, int64_t deadline_ms)
{
	if (!master_is_leaving(m)) {
		reload_cancel(m, "nodeproxy is shutting down");
		m->phase = PHASE_LEAVING;
		log_info("stopping", "deadline_ms=%lld", (long long)deadline_ms);
		service_stopping(m, deadline_ms + 2 * LEAVE_MS);
		pods_close(m);
	}
	drain_all(m, deadline_ms);
}

void master_retire(struct master *m, int64_t deadline_ms)
{
	reload_cancel(m, "other binaries took over");
	m->phase = PHASE_RETIRING;
	log_info("retiring", "deadline_ms=%lld", (long long)deadline_ms);
	pods_retire(m);
	service_close(m);		/* the new one speaks for the instance */
	drain_all(m, deadline_ms);
}
