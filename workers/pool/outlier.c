/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See outlier.h. */
#include "workers/pool/outlier.h"

#include "workers/obs/endpoint.h"
#include "workers/obs/levels.h"

static double rate_of(struct tally t)
{
	return t.requests ? 1 - (double)min_of(t.failures, t.requests) / t.requests : 1;
}

void verdict_add(struct verdict *v, struct tally t)
{
	double off = rate_of(t) - v->mean;

	v->n++;
	v->mean += off / v->n;
	v->variance += (off * (rate_of(t) - v->mean) - v->variance) / v->n;
}

bool verdict_is_out(const struct verdict *v, struct tally t, uint32_t deviation_thousandths)
{
	double below = v->mean - rate_of(t), factor = deviation_thousandths / 1000.0;

	/* Squared, so that there is no root to take; rounding is not a difference. */
	return below > 1e-9 && below * below > factor * factor * v->variance + 1e-12;
}

static uint32_t ms_of(struct mono t)
{
	return (uint32_t)((uint64_t)t.ns / (uint64_t)NS_PER_MS);
}

/* The i-th ready one and what was counted of it; NULL: it shares its slot with others. */
static struct board_endpoint *ready_at(struct board *b, const struct vport *p, uint32_t i,
				       struct board_round **ret)
{
	struct vendpoint e;

	if (!vport_endpoint(p, vport_ready_at(p, i), &e) || e.slot.slot == 0 ||
	    e.slot.slot >= BOARD_ENDPOINTS)
		return NULL;
	*ret = &b->round[e.slot.slot];
	return board_endpoint(b, e.slot.slot, e.slot.gen);
}

/* Modulo 2^32, as only differences count; those that could not be reached are failed requests. */
static struct tally total_of(const struct board_endpoint *e)
{
	uint32_t never = __atomic_load_n(&e->connect_failures, __ATOMIC_RELAXED);

	return (struct tally){ (uint32_t)board_get(&e->exchanges) + never,
			       (uint32_t)board_get(&e->failures) + never };
}

/* Since the last time; none when it is another's by now. */
static struct tally tally_of(const struct board_endpoint *e, const struct board_round *r)
{
	struct tally t = total_of(e);

	if (__atomic_load_n(&r->gen, __ATOMIC_RELAXED) != e->gen)
		return (struct tally){ 0 };
	t.requests -= __atomic_load_n(&r->requests, __ATOMIC_RELAXED);
	t.failures -= __atomic_load_n(&r->failures, __ATOMIC_RELAXED);
	return t;
}

/* The time is that of the first endpoint: true for one worker per interval. */
static bool is_time(struct board *b, const struct vport *p, const struct ejection *ej, struct mono now)
{
	struct board_round *r = NULL;
	uint32_t was;

	for (uint32_t i = 0; i < vport_ready(p) && r == NULL; i++)
		if (ready_at(b, p, i, &r) == NULL)
			r = NULL;
	if (r == NULL)
		return false;
	was = __atomic_load_n(&r->at_ms, __ATOMIC_RELAXED);
	return ms_of(now) - was >= ej->rate_interval_ms &&
	       __atomic_compare_exchange_n(&r->at_ms, &was, ms_of(now), false, __ATOMIC_RELAXED,
					   __ATOMIC_RELAXED);
}

uint32_t outlier_sweep(struct board *b, const struct vport *p, const struct ejection *ej,
		       struct mono now)
{
	uint32_t n = vport_ready(p), may = levels_may_be_out(n, ej), out = 0, put_out = 0;
	struct verdict v = { 0 };
	struct board_endpoint *e;
	struct board_round *r;

	if (!is_time(b, p, ej, now))
		return 0;
	for (uint32_t i = 0; i < n; i++) {
		struct tally t;

		e = ready_at(b, p, i, &r);
		if (e == NULL)
			continue;
		if (endpoint_breaker(e, ej) != BREAKER_CLOSED) {
			out++;
			continue;
		}
		t = tally_of(e, r);
		if (t.requests >= ej->rate_requests)
			verdict_add(&v, t);
	}
	for (uint32_t i = 0; i < n; i++) {
		struct tally t, all;

		e = ready_at(b, p, i, &r);
		if (e == NULL)
			continue;
		t = tally_of(e, r);
		if (v.n >= ej->rate_endpoints && t.requests >= ej->rate_requests && out < may &&
		    endpoint_breaker(e, ej) == BREAKER_CLOSED &&
		    verdict_is_out(&v, t, ej->rate_deviation) && endpoint_eject(e, ej, now)) {
			out++;
			put_out++;
		} else {
			endpoint_forgive(e);
		}
		all = total_of(e);
		__atomic_store_n(&r->requests, all.requests, __ATOMIC_RELAXED);
		__atomic_store_n(&r->failures, all.failures, __ATOMIC_RELAXED);
		__atomic_store_n(&r->gen, e->gen, __ATOMIC_RELAXED);
	}
	return put_out;
}
