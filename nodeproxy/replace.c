/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See replace.h. */
#include "nodeproxy/replace.h"

#include <errno.h>

#include "nodeproxy/birth.h"
#include "nodeproxy/death.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/master.h"
#include "nodeproxy/resize.h"

#define REPLACE_MS 30000	/* for the new one to accept, or the old one stays */

static struct {
	struct child *from, *to;	/* being replaced, and by whom */
	int64_t deadline_ms;
	struct mono give_up;
	uint64_t waiting;		/* bits of worker slots that wait for their replacement */
	int64_t waiting_deadline_ms;
} the;

void child_stop(struct child *c)
{
	struct msg_empty none = { 0 };

	if (!child_is_alive(c))
		return;
	if (!c->has_chan || chan_say(&c->chan, MSG_STOP, &none) < 0) {
		child_kill(c, "cannot be told to stop");
		return;
	}
	c->retired = true;
	child_kill_later(c, CHILD_STOP_MS);
}

static void drained_cb(void *arg)
{
	child_stop(arg);
}

void child_drain(struct child *c, int64_t deadline_ms)
{
	struct msg_drain d = { .deadline_ms = (uint64_t)max_of(deadline_ms, (int64_t)0),
			       .full_stop = c->m->phase == PHASE_LEAVING };

	if (!child_is_alive(c) || !c->has_chan)
		return;
	c->retired = true;
	if (chan_say(&c->chan, MSG_DRAIN, &d) < 0) {
		child_kill(c, "cannot be told to drain");
		return;
	}
	log_info("draining", "worker=%u deadline_ms=%lld", c->id, (long long)deadline_ms);
	/* The worker cuts what is left at the deadline and says DRAINED; the rest is for one that
	 * does not. */
	loop_timer_start(&c->m->loop, &c->again, (deadline_ms + CHILD_STOP_MS) * NS_PER_MS, 0, drained_cb,
			 c);
	child_became(c, PROC_DRAINING);
}

/* As many may drain as serve: slots beyond are for more workers, not for more old ones. */
static struct child *spare_slot(struct master *m)
{
	struct child *spare = NULL;
	unsigned used = 0;

	for (unsigned i = 0; i < BOARD_WORKERS; i++) {
		struct child *c = &m->child[i];

		if (c->state != PROC_NONE)
			used++;
		else if (!spare && !listeners_is_home(m, i))
			spare = c;
	}
	return used < 2 * m->n_workers ? spare : NULL;
}

void child_retire(struct child *c, int64_t deadline_ms)
{
	struct master *m = c->m;

	the.waiting &= ~(1ull << c->id);
	if (the.from == c) {
		struct child *to = the.to;

		the.from = the.to = NULL;
		child_retire(to, deadline_ms);
	}
	switch (c->state) {
	case PROC_WAITING:
		loop_timer_stop(&m->loop, &c->again);
		child_became(c, PROC_NONE);
		break;
	case PROC_STARTING:
		child_stop(c);
		break;
	case PROC_READY:
		listeners_settle(m);	/* lent before it lets go of them */
		child_drain(c, deadline_ms);
		break;
	default:
		break;
	}
}

int child_replace(struct child *c, int64_t deadline_ms)
{
	struct master *m = c->m;
	struct child *spare = NULL;

	if (!child_is_worker(c) || !listeners_is_home(m, c->id) || !child_is_alive(c) ||
	    m->phase != PHASE_SERVING)
		return -ENOENT;
	if (the.from == c)
		return 0;
	spare = spare_slot(m);
	if (the.from || !spare) {
		the.waiting |= 1ull << c->id;
		the.waiting_deadline_ms = deadline_ms;
		return -EAGAIN;
	}
	log_info("replacing", "worker=%u by=%u", c->id, spare->id);
	the.from = c;
	the.to = spare;
	the.deadline_ms = deadline_ms;
	the.give_up = mono_after_ms(clock_tick(), REPLACE_MS);
	spare->cpu = c->cpu;
	spare->fails = 0;
	child_start(spare);
	return 0;
}

static void replace_next(struct master *m)
{
	while (the.waiting && !the.from) {
		unsigned i = (unsigned)__builtin_ctzll(the.waiting);

		the.waiting &= the.waiting - 1;
		if (child_replace(&m->child[i], the.waiting_deadline_ms) == -EAGAIN)
			return;		/* the spare slot still drains */
	}
}

/* The new one can accept: it takes the groups, the old one drains. */
void replace_step(struct master *m)
{
	struct child *from = the.from, *to = the.to;

	if (!from) {
		replace_next(m);
		return;
	}
	if (child_can_accept(to)) {
		the.from = the.to = NULL;
		listeners_move_home(m, from->id, to->id);
		workers_pin(m);
		listeners_settle(m);	/* LISTEN to the new one, LISTEN_DROP to the old one */
		if (child_is_alive(from))
			child_drain(from, the.deadline_ms);
		else
			child_became(from, PROC_NONE);
		return;
	}
	if (mono_diff_ms(clock_now(), the.give_up) > 0) {
		log_error("replacement_failed", "worker=%u by=%u", from->id, to->id);
		the.from = the.to = NULL;
		to->retired = true;
		child_kill(to, "did not become ready");
	}
}

/* After a death: a replacement that died is tried again by its own back-off; an old one that died
 * while its replacement starts leaves its slot empty. */
void replace_after_death(struct child *c)
{
	struct master *m = c->m;

	if (c == the.from) {
		log_info("replaced_early", "worker=%u by=%u", c->id, the.to->id);
		listeners_move_home(m, c->id, the.to->id);
		workers_pin(m);
		the.from = the.to = NULL;
		child_became(c, PROC_NONE);
	}
	replace_next(m);
}

void replace_settle(struct master *m)
{
	if (the.from && child_can_accept(the.to))
		replace_step(m);
}
