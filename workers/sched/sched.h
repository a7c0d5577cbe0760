/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Whose turn it is: deficit round robin over tenants, in time and bytes.
 *
 * A *unit* is something that can be run (a conn with its back, a listening socket, a pooled back
 * that must be closed).  An event only wakes it (sched_wake), which queues it on its tenant; only
 * sched_run() calls unit code.  A tenant's *turn* lets its units take one *step* each, first come
 * first served, until turn_ns x weight or turn_bytes x weight are used up; what a step took too
 * much is owed.  The clock is read once after each step (clock_tick), so inside a step clock_now()
 * is the step's beginning.
 *
 * Two lists: those that have been at work long enough to use up their share are *busy* and take
 * turns; those that use less than their share are *fresh* and go first.  A tenant that sleeps earns
 * what would have been its share meanwhile (up to one turn of weight 1; a debt is paid off first)
 * and is fresh when it wakes with something earned.  So a tenant with little to do waits for at most
 * the step that runs and for other such tenants, however many tenants are busy and whatever their
 * weights, and one with much to do cannot pass for one with little by sleeping between two steps.
 * Fresh ones together keep the busy ones waiting for SCHED_FRESH_MAX_NS at most.  (DRR as in FQ-CoDel, RFC
 * 8290 section 4.2, with its one free pass per round replaced by the earned share: a request needs
 * two or three wakes.)
 *
 * sched_run() returns after one slice (turn_ns) so that the caller can look for events: polling
 * the traffic set costs the same however many conns wait, which is what makes short turns
 * affordable.
 *
 * Two histograms per tenant say what that comes to: how long units waited for their steps, and what
 * a request cost in time inside the worker (waits and steps of its conn, sched_finished()).  What an
 * event woke counts from the look for events before the one that found it, for it may have come any
 * time since (unless the worker slept in between): so nothing that a pass does hides from them. */
#ifndef NODEPROXY_WORKERS_SCHED_SCHED_H
#define NODEPROXY_WORKERS_SCHED_SCHED_H

#include "workers/sched/budget.h"

/* Bytes after which a step should end; a few tens of microseconds of copying. */
#define SCHED_STEP_BYTES 131072u
/* Pipelined requests likewise: 10 µs each, and more. */
#define SCHED_STEP_REQUESTS 4u
/* Steps longer than this are counted (WC_turns_long). */
#define SCHED_LONG_NS (10 * NS_PER_MS)
#define SCHED_FRESH_MAX_NS NS_PER_MS

struct sched_unit {
	struct node node;
	struct tenant *tenant;		/* borrowed: whoever embeds the unit holds the reference */
	void (*step)(struct sched_unit *);	/* may wake any, itself too; may not free it */
	struct mono woken;		/* while queued: since when */
	int64_t inside_ns;		/* waits and steps since a request was finished */
};

struct sched {
	struct node fresh, busy;	/* tenants with work */
	struct node fifo;		/* units, instead, when the scheduler is switched off */
	bool off;
	struct tenant *at;		/* whose step runs, else NULL */
	const struct tenant *turn_of;	/* for counting turns; never followed */
	uint32_t weights;		/* of all tenants with work */
	int64_t fresh_ns;		/* what fresh ones took while busy ones waited */
	bool busy_due;			/* it was too much */
	int64_t turn_ns, turn_bytes;
	uint64_t step_bytes;		/* of the step that runs */
	unsigned finished;		/* in the step that runs: requests */
	struct mono looked, ended;	/* when the last run began and ended */
	uint64_t *c;			/* the worker's counters */
	uint32_t runnable;		/* units queued */
#ifdef NP_DEBUG_COMMANDS
	int64_t slow_ns;		/* spent in every step for the tenant in slow_slot */
	uint32_t slow_slot;
#endif
};

/* counters: struct board_worker's c. */
void sched_init(struct sched *, int64_t turn_us, int64_t turn_bytes, uint64_t *counters);

/* Other shares, from the next turns on. */
void sched_turns(struct sched *, int64_t turn_us, int64_t turn_bytes);

/* For comparison only (debug.scheduler): from now on first come, first served, without tenants and
 * turns, as an event loop does it; each run takes those that waited when it began. */
void sched_switch_off(struct sched *);

#ifdef NP_DEBUG_COMMANDS
/* Every step for the tenant of this slot takes so much longer; 0: no more. */
void sched_slow(struct sched *, uint32_t slot, int64_t us);
#endif

static inline void sched_unit_init(struct sched_unit *u, struct tenant *t,
				   void (*step)(struct sched_unit *))
{
	list_init(&u->node);
	u->tenant = t;
	u->step = step;
	u->inside_ns = 0;
}

/* Queues the unit for a step; harmless when it is queued already.  At any time. */
void sched_wake(struct sched *, struct sched_unit *);
/* Takes it off the queue; must be done before it is freed or changes tenant. */
void sched_forget(struct sched *, struct sched_unit *);
static inline bool sched_is_queued(const struct sched_unit *u)
{
	return node_is_linked(&u->node);
}

/* Deals turns for about one slice; false when nothing is left to do. */
bool sched_run(struct sched *);

/* Outside of steps: how long who has waited longest for its step has waited; 0: nobody waits. */
int64_t sched_delay_ns(const struct sched *);

/* Within a step: charges bytes moved (either way, each once) to the tenant. */
static inline void sched_charge(struct sched *s, size_t bytes)
{
	s->step_bytes += bytes;
}

/* Within a step, anywhere else without effect: a request of the unit is finished. */
static inline void sched_finished(struct sched *s)
{
	s->finished += s->at != NULL;
}

/* Within a step: false when it has moved enough; a unit with more to do wakes itself and returns. */
static inline bool sched_may_go_on(const struct sched *s)
{
	return s->step_bytes < SCHED_STEP_BYTES && s->finished < SCHED_STEP_REQUESTS;
}

#endif
