/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See sched.h. */
#include "workers/sched/sched.h"

/* Nobody owes more than this: a step that hung for a second is a fault of ours (or of the host),
 * not something to starve a tenant for. */
#define DEBT_MAX_NS    (100 * NS_PER_MS)
#define DEBT_MAX_BYTES (64 << 20)
/* So much between two runs is more than libev needs: the worker slept, and what woke it is new. */
#define SLEPT_NS (20 * NS_PER_US)

void sched_init(struct sched *s, int64_t turn_us, int64_t turn_bytes, uint64_t *counters)
{
	*s = (struct sched){ .turn_ns = turn_us * NS_PER_US, .turn_bytes = turn_bytes,
			     .c = counters };
	must(s->turn_ns > 0 && s->turn_bytes > 0);
	list_init(&s->fresh);
	list_init(&s->busy);
	list_init(&s->fifo);
}

void sched_turns(struct sched *s, int64_t turn_us, int64_t turn_bytes)
{
	s->turn_ns = turn_us * NS_PER_US;
	s->turn_bytes = turn_bytes;
	must(s->turn_ns > 0 && s->turn_bytes > 0);
}

void sched_switch_off(struct sched *s)
{
	must(s->runnable == 0);
	s->off = true;
}

/* A tenant that had nothing to do has something now: pays it the share that it left to others. */
static void rise(struct sched *s, struct tenant *t)
{
	int64_t w = t->weight;
	int64_t slept = min_of(clock_now().ns - t->slept.ns, NS_PER_S);
	int64_t earned = slept * w / (s->weights + w);

	t->time_ns = min_of(t->time_ns + earned, s->turn_ns);
	t->bytes = min_of(t->bytes + earned * s->turn_bytes / s->turn_ns, s->turn_bytes);
	list_add_tail(t->time_ns > 0 && t->bytes > 0 ? &s->fresh : &s->busy, &t->on);
	t->listed = t->weight;
	s->weights += t->listed;
}

static void rest(struct sched *s, struct tenant *t)
{
	list_remove(&t->on);
	s->weights -= t->listed;
	t->listed = 0;
	t->slept = clock_now();
}

/* From when on what wakes now counts as waiting. */
static struct mono since(const struct sched *s)
{
	struct mono now = clock_now();

	/* Inside a step, its beginning: there is no newer time.  Outside, the caller has read the
	 * clock again when it did something else after the last run, or slept. */
	return s->at || now.ns - s->ended.ns > SLEPT_NS ? now : s->looked;
}

void sched_wake(struct sched *s, struct sched_unit *u)
{
	struct tenant *t = u->tenant;

	if (node_is_linked(&u->node))
		return;
	u->woken = since(s);
	s->runnable++;
	if (unlikely(s->off)) {
		list_add_tail(&s->fifo, &u->node);
		return;
	}
	list_add_tail(&t->runnable, &u->node);
	if (!node_is_linked(&t->on))
		rise(s, t);
}

void sched_forget(struct sched *s, struct sched_unit *u)
{
	struct tenant *t = u->tenant;

	if (!node_is_linked(&u->node))
		return;
	list_remove(&u->node);
	s->runnable--;
	if (node_is_linked(&t->on) && list_is_empty(&t->runnable) && t != s->at)
		rest(s, t);
}

/* Has used up its turn: to the end of the busy ones, with another turn's worth.  One that owes
 * several is passed over as often; alone, that happens at once. */
static void next_turn(struct sched *s, struct tenant *t)
{
	int64_t w = t->weight;

	list_remove(&t->on);
	t->time_ns += s->turn_ns * w;
	t->bytes = min_of(t->bytes + s->turn_bytes * w, s->turn_bytes * w);
	list_add_tail(&s->busy, &t->on);
	s->turn_of = NULL;
}

/* What the step of the unit tells the histograms of its tenant (which may have new ones by now). */
static void observe(struct sched *s, struct tenant *t, struct sched_unit *u, int64_t waited,
		    int64_t took)
{
	hist_add(&t->board->hist[TH_wait], (uint64_t)waited, 1);
	u->inside_ns += waited + took;
	if (s->finished) {
		/* Several in one step are pipelined ones: each was there all the time. */
		hist_add(&t->board->hist[TH_inside], (uint64_t)u->inside_ns, s->finished);
		u->inside_ns = 0;
		s->finished = 0;
	}
}

#ifdef NP_DEBUG_COMMANDS
void sched_slow(struct sched *s, uint32_t slot, int64_t us)
{
	s->slow_slot = slot;
	s->slow_ns = us * NS_PER_US;
}
#endif

/* One step of a unit that is not queued any more; the time when it ended. */
static struct mono step(struct sched *s, struct tenant *t, struct sched_unit *u, struct mono began)
{
	int64_t waited = max_of(began.ns - u->woken.ns, (int64_t)0);
	struct mono ended;
	int64_t took;

	if (s->turn_of != t) {
		s->turn_of = t;
		board_add(&t->board->c[TC_turns], 1);
		board_add(&s->c[WC_turns], 1);
	}
	s->runnable--;
	s->at = t;
	s->step_bytes = 0;
	tenant_ref(t);			/* the step may end the last conn that holds it */
	u->step(u);
	ended = clock_tick();
#ifdef NP_DEBUG_COMMANDS
	while (unlikely(s->slow_ns) && t->slot == s->slow_slot && ended.ns - began.ns < s->slow_ns)
		ended = clock_tick();
#endif
	took = ended.ns - began.ns;
	t->time_ns = max_of(t->time_ns - took, -DEBT_MAX_NS);
	t->bytes = max_of(t->bytes - (int64_t)s->step_bytes, -DEBT_MAX_BYTES);
	t->shed.used_ns += took;
	board_add(&t->board->c[TC_busy_ns], (uint64_t)took);
	board_set(&t->board->c[TC_memory_gauge], t->memory.used);
	board_add(&s->c[WC_busy_ns], (uint64_t)took);
	if (unlikely(took > SCHED_LONG_NS))
		board_add(&s->c[WC_turns_long], 1);
	observe(s, t, u, waited, took);
	s->at = NULL;
	if (list_is_empty(&t->runnable))
		rest(s, t);
	tenant_give(&t);
	return ended;
}

/* Who is next: fresh ones, unless they have kept the busy ones waiting for too long: then those
 * have a quarter of that time to themselves. */
static struct tenant *next(struct sched *s, bool *ret_fresh)
{
	struct node *fresh = list_first(&s->fresh), *busy = list_first(&s->busy);

	if (busy == NULL || s->fresh_ns <= 0) {
		s->fresh_ns = 0;
		s->busy_due = false;
	} else if (s->fresh_ns >= SCHED_FRESH_MAX_NS) {
		s->busy_due = true;
	}
	*ret_fresh = fresh && !s->busy_due;
	if (*ret_fresh)
		return container_of(fresh, struct tenant, on);
	return busy ? container_of(busy, struct tenant, on) : NULL;
}

static struct mono run_fifo(struct sched *s, struct mono now)
{
	for (uint32_t n = s->runnable; n > 0; n--) {
		struct sched_unit *u = list_pop(&s->fifo, struct sched_unit, node);

		if (u == NULL)
			break;
		now = step(s, u->tenant, u, now);
	}
	return now;
}

/* Within a tenant it is first come, first served: the first has waited longest. */
static int64_t longest(const struct node *tenants, int64_t so_far)
{
	list_each (n, tenants) {
		const struct tenant *t = container_of(n, struct tenant, on);
		struct node *first = list_first(&t->runnable);

		if (first)
			so_far = max_of(so_far, clock_now().ns -
						container_of(first, struct sched_unit, node)->woken.ns);
	}
	return so_far;
}

int64_t sched_delay_ns(const struct sched *s)
{
	return longest(&s->busy, longest(&s->fresh, 0));
}

bool sched_run(struct sched *s)
{
	struct mono now = clock_tick(), began = now;
	int64_t until = now.ns + s->turn_ns;

	if (unlikely(s->off)) {
		now = run_fifo(s, now);
		until = 0;
	}
	while (now.ns < until) {
		bool fresh;
		struct tenant *t = next(s, &fresh);

		if (t == NULL)
			break;
		must_slow(!list_is_empty(&t->runnable));
		if (t->time_ns <= 0 || t->bytes <= 0) {
			next_turn(s, t);
		} else {
			struct sched_unit *u = list_pop(&t->runnable, struct sched_unit, node);
			struct mono ended = step(s, t, u, now);

			s->fresh_ns += (ended.ns - now.ns) * (fresh ? 1 : -4);
			now = ended;
		}
	}
	must_slow(s->off || (s->runnable == 0) == (s->weights == 0));
	s->looked = began;
	s->ended = now;
	return s->runnable > 0;
}
