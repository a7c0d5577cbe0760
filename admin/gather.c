/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See gather.h. */
#include "admin/gather.h"

#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>


void state_refresh(struct state *st)
{
	struct procs copy;

	st->now_unix_ms = clock_unix_ms();
	st->now_mono_ms = clock_tick().ns / NS_PER_MS;
	if (!st->procs_shared)
		return;
	for (int i = 0; i < 8; i++) {
		if (procs_copy(st->procs_shared, &copy) < 0)
			continue;
		copy.count = min_of(copy.count, (uint32_t)PROCS_MAX);
		st->procs = copy;
		if (st->board)
			st->workers = min_of(copy.slots, st->board_slots);
		st->has_procs = true;
		return;
	}
}

int64_t gather_unix_ms(const struct state *st, uint64_t since_mono_ms)
{
	return st->now_unix_ms - max_of(st->now_mono_ms - (int64_t)(since_mono_ms & INT64_MAX), 0);
}

int64_t gather_age_s(const struct state *st, uint64_t since_mono_ms)
{
	if (since_mono_ms >= (uint64_t)st->now_mono_ms)
		return 0;
	return (st->now_mono_ms - (int64_t)since_mono_ms) / 1000;
}

static void add_outcome(struct service_sums *to, const struct outcome_id *o, uint64_t n)
{
	enum outcome_class class = outcome_class(o);

	to->class[class] += n;
	if (o->grpc)
		to->grpc[o->grpc - 1] += n;
	for (unsigned i = 0; i < to->outcomes; i++) {
		struct outcome_sum *s = &to->outcome[i];

		if (s->what.is_http == o->is_http && s->what.status == o->status &&
		    s->what.reason == o->reason) {
			s->n += n;
			return;
		}
	}
	if (to->outcomes < OUTCOMES_TOLD)
		to->outcome[to->outcomes++] = (struct outcome_sum){ *o, n };
	else
		to->other[class] += n;
}

static int by_outcome(const void *a, const void *b)
{
	const struct outcome_id *x = a, *y = b;	/* the first member */

	if (x->is_http != y->is_http)
		return x->is_http ? -1 : 1;
	if (x->status != y->status)
		return x->status < y->status ? -1 : 1;
	return (int)x->reason - (int)y->reason;
}

bool gather_service_used(const struct state *st, struct slot_gen at)
{
	for (unsigned w = 0; w < st->workers; w++)
		if (board_service_seen(st->board, w, at.slot, at.gen))
			return true;
	return false;
}

void gather_service(const struct state *st, struct slot_gen at, struct service_sums *ret)
{
	memset(ret, 0, sizeof *ret);
	for (unsigned w = 0; w < st->workers; w++) {
		const struct board_service *s = board_service_seen(st->board, w, at.slot, at.gen);

		if (!s)
			continue;
		for (unsigned i = 0; i < SCS; i++)
			ret->c[i] += board_get(&s->c[i]);
		for (unsigned i = 0; i < SHS; i++)
			hist_gather(&ret->hist[i], &s->hist[i]);
		for (unsigned i = 0; i < OUTCOME_SLOTS; i++) {
			uint64_t key = __atomic_load_n(&s->outcomes.slot[i].key, __ATOMIC_ACQUIRE);
			struct outcome_id o;

			if (key && outcome_of_key(key, &o))
				add_outcome(ret, &o, board_get(&s->outcomes.slot[i].n));
		}
		for (unsigned i = 0; i < OUTCOME_CLASSES; i++) {
			uint64_t n = board_get(&s->outcomes.other[i]);

			ret->other[i] += n;
			ret->class[i] += n;
		}
	}
	qsort(ret->outcome, ret->outcomes, sizeof ret->outcome[0], by_outcome);
	for (unsigned i = 0; i < OUTCOME_flow; i++)
		ret->requests += ret->class[i];
}

void gather_tenant(const struct state *st, struct slot_gen at, struct tenant_sums *ret)
{
	*ret = (struct tenant_sums){ 0 };
	for (unsigned w = 0; w < st->workers && at.slot < BOARD_TENANTS; w++) {
		const struct board_tenant *t = &st->board->worker[w].tenant[at.slot];

		if (board_get(&t->gen) != at.gen)
			continue;
		for (unsigned i = 0; i < TCS; i++)
			ret->c[i] = i == TC_memory_grade_gauge || i == TC_shed_percent_gauge
					    ? max_of(ret->c[i], board_get(&t->c[i]))
					    : ret->c[i] + board_get(&t->c[i]);
		for (unsigned i = 0; i < REASONS; i++)
			ret->reasons[i] += board_get(&t->reasons[i]);
		for (unsigned i = 0; i < THS; i++)
			hist_gather(&ret->hist[i], &t->hist[i]);
	}
}

void gather_listener(const struct state *st, const char *name, uint64_t ret[LCS])
{
	size_t n = strlen(name) + 1;

	memset(ret, 0, LCS * sizeof ret[0]);
	for (unsigned w = 0; w < st->workers && n <= sizeof st->board->worker[w].listener[0].name; w++) {
		const struct board_worker *b = &st->board->worker[w];
		uint64_t used = min_of(board_get(&b->listeners), (uint64_t)BOARD_LISTENERS);

		for (uint64_t i = 0; i < used; i++) {
			if (memcmp(b->listener[i].name, name, n) != 0)
				continue;
			for (unsigned k = 0; k < LCS; k++)
				ret[k] += board_get(&b->listener[i].c[k]);
		}
	}
}

const struct board_rate *gather_rate(const struct state *st, struct slot_gen at)
{
	return st->workers ? board_rate_seen(st->board, at.slot, at.gen) : NULL;
}

struct ejection gather_ejection(const struct vport *p)
{
	struct vpolicy v;

	return vport_policy(p, &v) ? v.ejection : ejection_default;
}

struct balancing gather_balancing(const struct vport *p)
{
	struct vpolicy v;

	return vport_policy(p, &v) ? v.balancing : balancing_default;
}

void gather_endpoint(const struct state *st, const struct vport *p, const struct vendpoint *of,
		     struct endpoint_sums *ret)
{
	struct balancing balancing = gather_balancing(p);
	struct ejection ejection = gather_ejection(p);
	struct slot_gen at = of->slot;
	struct mono now = { st->now_mono_ms * NS_PER_MS };
	const struct board_endpoint *e;
	uint64_t failed;

	*ret = (struct endpoint_sums){ .last_failure_ms = -1, .warmth = ENDPOINT_WARM };
	if (st->workers == 0 || at.slot >= BOARD_ENDPOINTS)
		return;
	if (balancing.checked)
		ret->check = check_state(st->board, at.slot, at.gen, now, &ret->check_s);
	e = &st->board->endpoint[at.slot];
	if (__atomic_load_n(&e->gen, __ATOMIC_RELAXED) != at.gen)
		return;
	ret->in_flight = endpoint_in_flight(e);
	ret->waiting = endpoint_waiting(e);
	ret->rtt_us = endpoint_rtt_us(e, now);
	ret->out_ms = endpoint_out_ms(e, &ejection, now);
	ret->probing = ret->out_ms == 0 && endpoint_is_out(e, &ejection, now);
	ret->by_rate = endpoint_is_out_by_rate(e);
	ret->warmth = endpoint_warmth(e, &balancing, now);
	ret->exchanges = board_get(&e->exchanges);
	ret->connects = __atomic_load_n(&e->connects, __ATOMIC_RELAXED);
	ret->connect_failures = __atomic_load_n(&e->connect_failures, __ATOMIC_RELAXED);
	ret->failures = board_get(&e->failures);
	failed = board_get(&e->last_failure_ms);
	if (failed)
		ret->last_failure_ms = failed < (uint64_t)st->now_mono_ms
					       ? st->now_mono_ms - (int64_t)failed : 0;
}

uint64_t gather_limit(const struct state *st, struct slot_gen at, enum limit what)
{
	return st->workers ? board_limit_held(st->board, at.slot, at.gen, what) : 0;
}

uint64_t gather_worker(const struct state *st, unsigned worker, enum worker_counter c)
{
	return worker < st->workers ? board_get(&st->board->worker[worker].c[c]) : 0;
}

uint64_t gather_workers(const struct state *st, enum worker_counter c)
{
	uint64_t sum = 0;

	for (unsigned w = 0; w < st->workers; w++)
		sum += gather_worker(st, w, c);
	return sum;
}

uint64_t gather_reason(const struct state *st, enum reason r)
{
	uint64_t sum = 0;

	for (unsigned w = 0; w < st->workers; w++)
		sum += board_get(&st->board->worker[w].reasons[r]);
	return sum;
}

bool slot_is_shared(struct slot_gen at, uint32_t slots)
{
	return at.slot == 0 || at.slot >= slots;
}

const struct proc *gather_proc(const struct state *st, enum role role, uint32_t id)
{
	const struct proc *best = NULL;

	if (!st->has_procs)
		return NULL;
	for (uint32_t i = 0; i < st->procs.count; i++) {
		const struct proc *p = &st->procs.proc[i];

		if (p->role != role || p->id != id || p->state == PROC_NONE)
			continue;
		if (!best || (best->state == PROC_DRAINING && p->state != PROC_DRAINING) ||
		    (p->state != PROC_DRAINING && p->started_mono_ms > best->started_mono_ms))
			best = p;
	}
	return best;
}

static void because(struct text *why, const char *fmt, ...) printf_like(2, 3);

static void because(struct text *why, const char *fmt, ...)
{
	char words[128];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(words, sizeof words, fmt, ap);
	va_end(ap);
	if (why->n)
		text_adds(why, "; ");
	text_adds(why, words);
}

bool gather_ready(const struct state *st, struct text *why)
{
	unsigned wanted = state_wanted(st), serving = 0;
	bool ready;

	if (!st->has_procs || wanted == 0) {
		because(why, "the master has not told about its processes yet");
		return false;
	}
	for (unsigned id = 0; id < st->workers; id++) {
		const struct proc *p = gather_proc(st, ROLE_WORKER, id);

		serving += p && p->state == PROC_READY && p->rev != 0;
	}
	ready = serving >= wanted && !st->procs.shutting_down;
	if (ready)
		return true;
	if (st->procs.shutting_down)
		because(why, "nodeproxy is shutting down");
	if (serving < wanted)
		because(why, "%u of %u workers serve", serving, wanted);
	for (unsigned id = 0; id < st->workers; id++) {
		const struct proc *p = gather_proc(st, ROLE_WORKER, id);

		if (p && p->state != PROC_READY)
			because(why, "worker %u is %s", id, proc_word(p));
		else if (p && p->rev == 0)
			because(why, "worker %u has no view yet", id);
	}
	return false;
}

static int by_slot(const void *a, const void *b)
{
	const struct vnamespace *x = a, *y = b;

	if (x->tenant_slot.slot != y->tenant_slot.slot)
		return x->tenant_slot.slot < y->tenant_slot.slot ? -1 : 1;
	return slice_cmp(x->tenant, y->tenant);
}

void gather_tenants(const struct state *st, void (*fn)(void *, const struct vnamespace *),
		    void *arg)
{
	uint32_t n = st->view ? view_namespace_count(st->view) : 0, got = 0;
	struct vnamespace *all = calloc((size_t)n + 1, sizeof *all);

	if (!all)
		return;
	for (uint32_t i = 0; i < n; i++)
		got += view_namespace_nth(st->view, i, &all[got]);
	qsort(all, got, sizeof *all, by_slot);
	for (uint32_t i = 0; i < got; i++)
		if (!slot_is_shared(all[i].tenant_slot, BOARD_TENANTS) &&
		    (i == 0 || all[i].tenant_slot.slot != all[i - 1].tenant_slot.slot))
			fn(arg, &all[i]);
	/* Slot 0: namespaces that nobody wrote down, and tenants for whom there was no slot. */
	all[got] = (struct vnamespace){ .tenant = SLICE(""), .weight = 1 };
	fn(arg, &all[got]);
	free(all);
}
