/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See beat.h. */
#include "nodeproxy/beat.h"

#include <signal.h>
#include <sys/pidfd.h>

#include "nodeproxy/death.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/ipc/msg.h"
#include "nodeproxy/master.h"
#include "nodeproxy/replace.h"

#define PING_MS	      1000	/* without a sign of life; a worker gives four a second */
#define HANG_MS	      10000	/* a worker: dead for its callers anyway */
#define HANG_OTHER_MS 120000	/* syncd may build a large view, admind write to a slow disk */
#define GAP_MS	      4000	/* between two ticks of a second each */
#define SPEAK_MS      5000	/* adopted in the middle of its birth */

void child_spoke(struct child *c)
{
	bool was = c->stalled;

	c->beat_at = clock_now();
	c->pinged = c->stalled = false;
	if (!was)
		return;
	log_info("goes_on", "child=%s/%u pid=%d", role_name(c->role), c->id, (int)c->pid);
	master_settle(c->m);	/* its listeners come home */
}

/* Whoever waits in the queues of its listeners is served by a sibling, until it goes on or dies. */
static void child_stalls(struct child *c, int64_t silent)
{
	c->stalled = true;
	((struct procs *)c->m->procs.p)->stalls++;
	log_warn("stalled", "child=%s/%u pid=%d ms=%lld", role_name(c->role), c->id, (int)c->pid,
		 (long long)silent);
	master_settle(c->m);
}

static void check_beat(struct master *m, struct child *c)
{
	const struct board *b = m->board.p;
	struct msg_ping ping = { 0 };
	uint64_t beat = 0;
	int64_t silent, hang = child_is_worker(c) ? HANG_MS : HANG_OTHER_MS;

	if (child_is_worker(c))
		beat = board_get(&b->worker[c->id].c[WC_beat_ms_gauge]);
	if (beat != c->beat) {
		c->beat = beat;
		child_spoke(c);
	}
	silent = mono_diff_ms(clock_now(), c->beat_at);
	if (silent >= PING_MS && !c->pinged) {	/* idle is no hang: an answer will tell */
		c->pinged = true;
		(void)chan_say(&c->chan, MSG_PING, &ping);
		if (child_is_worker(c))
			child_stalls(c, silent);
		return;
	}
	if (silent < hang)
		return;
	log_error("hangs", "child=%s/%u pid=%d ms=%lld", role_name(c->role), c->id, (int)c->pid,
		  (long long)silent);
	/* ABRT first: the panic page says where it was.  It is only caught where it can be. */
	(void)pidfd_send_signal(c->pidfd.v, silent < hang + 2 * PING_MS ? SIGABRT : SIGKILL, NULL,
				0);
}

/* We were not here for a while: the host slept, or all of us were frozen, or only we.  Nobody could
 * have shown us a sign of life, so that time does not count against them. */
static void forgive(struct master *m, int64_t gap_ns)
{
	log_warn("time_jumped", "ms=%lld", (long long)(gap_ns / NS_PER_MS));
	for (unsigned i = 0; i < CHILDREN; i++) {
		struct child *c = &m->child[i];

		if (!child_is_alive(c))
			continue;
		c->beat_at = clock_now();
		c->started.ns += gap_ns;
		c->pinged = false;
	}
}

void children_clock(struct master *m)
{
	struct mono was = m->ticked;

	m->ticked = clock_tick();
	if (was.ns && m->ticked.ns - was.ns > GAP_MS * NS_PER_MS)
		forgive(m, m->ticked.ns - was.ns);
}

void children_tick(struct master *m)
{
	children_clock(m);
	for (unsigned i = 0; i < CHILDREN; i++) {
		struct child *c = &m->child[i];

		if (!child_is_alive(c) || !c->has_chan)
			continue;
		if (c->view_late && c->told)
			views_send(m, c);
		if (c->state == PROC_READY || c->state == PROC_DRAINING)
			check_beat(m, c);
		else if (mono_diff_ms(clock_now(), c->started) > m->knobs.birth_ms ||
			 (!c->ours && mono_diff_ms(clock_now(), c->started) > SPEAK_MS))
			child_kill(c, "did not become ready");
	}
	views_tick(m);
	kept_tick(&m->kept);
	((struct procs *)m->procs.p)->log_lost = log_lost();
	replace_step(m);
}
