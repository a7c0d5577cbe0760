/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Choosing among the endpoints of a view, by what the board says of them. */
#include "tests/lib/view_from.h"
#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "nodeproxy/lib/base/rand.h"
#include "workers/obs/check.h"
#include "workers/obs/endpoint.h"
#include "workers/pool/balance.h"

static struct balance b;
static int64_t now_ns = 1000 * NS_PER_S;

static int64_t mono_ns(void)
{
	return now_ns;
}

static void fresh(unsigned workers)
{
	if (b.board)
		munmap(b.board, board_bytes(b.board->workers));
	b = (struct balance){ 0 };
	b.board = mmap(NULL, board_bytes(workers), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert_ptr_ne(b.board, MAP_FAILED);
	board_format(b.board, workers);
	rand_seed(1);
	clock_simulate(mono_ns, NULL);
	clock_tick();
}

static struct vport port_of(const struct view *v)
{
	struct vservice s;
	struct vport p;

	ck_assert(view_service_by_name(v, SLICE("t"), SLICE("s"), &s));
	ck_assert(vservice_port(&s, 80, &p));
	return p;
}

static bool pick(struct balance *of, const struct vport *p, enum balancer how,
		 const struct ejection *ej, const struct tried *tried, struct vendpoint *ret)
{
	struct wish wish = { .how = how, .balancing = &balancing_default, .ejection = ej };

	return balance_pick(of, p, &wish, tried, ret);
}

START_TEST(ready_endpoints_take_even_turns)
{
	struct view *v = view_from("service t/s port=80\nendpoint t/s 10.0.0.1:80\n"
				   "endpoint t/s 10.0.0.2:80\nendpoint t/s 10.0.0.3:80 notready\n");
	struct vport p = port_of(v);
	struct tried none = { 0 };
	unsigned seen[4] = { 0 };

	fresh(1);
	for (int i = 0; i < 100; i++) {
		struct vendpoint e;

		ck_assert(pick(&b, &p, BALANCER_ROUND_ROBIN, &ejection_default, &none, &e));
		seen[e.addr.ip[3]]++;
	}
	ck_assert_uint_eq(seen[1], 50);
	ck_assert_uint_eq(seen[2], 50);
	view_unref(v);
}
END_TEST

START_TEST(what_was_tried_is_left_out)
{
	struct view *v = view_from("service t/s port=80\nendpoint t/s 10.0.0.1:80\n"
				   "endpoint t/s 10.0.0.2:80\n");
	struct vport p = port_of(v);
	struct tried tried = { 0 };
	struct vendpoint e, f;

	fresh(1);
	ck_assert(pick(&b, &p, BALANCER_ROUND_ROBIN, &ejection_default, &tried, &e));
	tried.addr[tried.n++] = e.addr;
	for (int i = 0; i < 4; i++) {
		ck_assert(pick(&b, &p, BALANCER_ROUND_ROBIN, &ejection_default, &tried, &f));
		ck_assert(!addr_eq(&e.addr, &f.addr));
	}
	tried.addr[tried.n++] = f.addr;
	ck_assert(!pick(&b, &p, BALANCER_ROUND_ROBIN, &ejection_default, &tried, &e));
	view_unref(v);
}
END_TEST

START_TEST(terminating_ones_serve_only_when_nobody_is_ready)
{
	struct view *v = view_from("service t/s port=80\nendpoint t/s 10.0.0.1:80 terminating\n"
				   "endpoint t/s 10.0.0.2:80 notready\n");
	struct vport p = port_of(v);
	struct tried none = { 0 };
	struct vendpoint e;

	fresh(1);
	ck_assert_uint_eq(vport_ready(&p), 0);
	for (int i = 0; i < 4; i++) {
		ck_assert(pick(&b, &p, BALANCER_ROUND_ROBIN, &ejection_default, &none, &e));
		ck_assert_uint_eq(e.addr.ip[3], 1);
	}
	view_unref(v);
	v = view_from("service t/s port=80\n");
	p = port_of(v);
	ck_assert(!pick(&b, &p, BALANCER_ROUND_ROBIN, &ejection_default, &none, &e));
	view_unref(v);
}
END_TEST

/* Ten ready endpoints, 10.0.0.1:8001 and on. */
static struct view *of(unsigned n)
{
	char text[4096] = "service t/s port=80\n";

	for (unsigned i = 1; i <= n; i++) {
		size_t at = strlen(text);

		snprintf(text + at, sizeof text - at, "endpoint t/s 10.0.0.%u:%u\n", i, 8000 + i);
	}
	return view_from(text);
}

static struct board_endpoint *endpoint(unsigned i)	/* from 1 */
{
	return board_endpoint(b.board, 100 + 8000 + i, 7);
}

static void count(const struct vport *p, enum balancer how, unsigned n, unsigned seen[12])
{
	struct tried none = { 0 };

	memset(seen, 0, 12 * sizeof seen[0]);
	for (unsigned i = 0; i < n; i++) {
		struct vendpoint e;

		ck_assert(pick(&b, p, how, &ejection_default, &none, &e));
		seen[e.addr.ip[3]]++;
	}
}

START_TEST(the_slow_one_is_avoided_and_the_busy_one_too)
{
	struct view *v = of(3);
	struct vport p = port_of(v);
	unsigned seen[12];

	fresh(1);
	endpoint_answered(endpoint(1), 1000, clock_now());
	endpoint_answered(endpoint(2), 1000, clock_now());
	endpoint_answered(endpoint(3), 90000, clock_now());
	count(&p, BALANCER_PEAK_EWMA, 300, seen);
	ck_assert_uint_eq(seen[3], 0);		/* of any two it is the slower one */
	ck_assert_uint_gt(seen[1], 50);
	ck_assert_uint_gt(seen[2], 50);
	count(&p, BALANCER_LEAST_REQUEST, 300, seen);
	ck_assert_uint_gt(seen[3], 50);		/* which does not look at times */
	endpoint(3)->load = 1;			/* a flow that stays */
	count(&p, BALANCER_LEAST_REQUEST, 300, seen);
	ck_assert_uint_eq(seen[3], 0);
	view_unref(v);
}
END_TEST

static void put_out(unsigned i)
{
	for (int k = 0; k < ejection_default.failures; k++)
		(void)endpoint_failed(endpoint(i), &ejection_default, clock_now(), clock_now());
	ck_assert(endpoint_is_out(endpoint(i), &ejection_default, clock_now()));
}

START_TEST(one_that_is_out_is_passed_over_by_every_balancer)
{
	static const enum balancer all[] = { BALANCER_PEAK_EWMA, BALANCER_LEAST_REQUEST,
					     BALANCER_ROUND_ROBIN };
	struct view *v = of(10);
	struct vport p = port_of(v);
	unsigned seen[12];

	for (unsigned i = 0; i < countof(all); i++) {
		fresh(1);
		put_out(4);
		count(&p, all[i], 1000, seen);
		ck_assert_uint_eq(seen[4], 0);
		now_ns += 2 * NS_PER_S;
		clock_tick();
		if (all[i] == BALANCER_PEAK_EWMA)
			continue;	/* it is as slow as its failures were, for a while */
		count(&p, all[i], 1000, seen);
		ck_assert_uint_gt(seen[4], 0);
	}
	view_unref(v);
}
END_TEST

START_TEST(the_last_one_is_never_out_and_of_many_at_most_half)
{
	static const struct { unsigned n, may_be_out; } rows[] = {
		{ 1, 0 }, { 2, 1 }, { 3, 1 }, { 4, 2 }, { 5, 2 }, { 10, 5 },
	};

	for (unsigned r = 0; r < countof(rows); r++) {
		struct view *v = of(rows[r].n);
		struct vport p = port_of(v);
		unsigned seen[12];

		fresh(1);
		for (unsigned i = 1; i <= rows[r].n; i++) {
			unsigned served = 0;

			put_out(i);
			now_ns += 101 * NS_PER_MS / 10;		/* it is counted again */
			b.slot[0].counted_ns = 0;
			for (unsigned k = 0; k < BALANCE_SLOTS; k++)
				b.slot[k].counted_ns = 0;
			clock_tick();
			count(&p, BALANCER_ROUND_ROBIN, 200, seen);
			for (unsigned k = 1; k <= rows[r].n; k++)
				served += seen[k] > 0;
			ck_assert_uint_eq(served, i <= rows[r].may_be_out ? rows[r].n - i :
									       rows[r].n);
		}
		view_unref(v);
	}
}
END_TEST

START_TEST(when_all_that_are_left_are_out_one_of_them_is_taken)
{
	struct view *v = of(3);
	struct vport p = port_of(v);
	struct tried tried = { 0 };
	struct vendpoint e;

	fresh(1);
	put_out(1);
	for (unsigned i = 0; i < 2; i++) {
		ck_assert(pick(&b, &p, BALANCER_PEAK_EWMA, &ejection_default, &tried, &e));
		ck_assert_uint_ne(e.addr.ip[3], 1);
		tried.addr[tried.n++] = e.addr;
	}
	ck_assert(pick(&b, &p, BALANCER_PEAK_EWMA, &ejection_default, &tried, &e));
	ck_assert_uint_eq(e.addr.ip[3], 1);
	view_unref(v);
}
END_TEST

/* Eight workers that pick at the same moment: the one that is due is drawn by many, and got by one. */
START_TEST(of_all_workers_together_one_exchange_is_the_probe)
{
	static struct balance of_worker[8];
	struct view *v = of(10);
	struct vport p = port_of(v);
	struct tried none = { 0 };

	for (uint64_t seed = 1; seed <= 50; seed++)
		for (int how = BALANCER_PEAK_EWMA; how <= BALANCER_ROUND_ROBIN; how++) {
			unsigned probes = 0;

			fresh(8);
			rand_seed(seed);
			for (unsigned i = 0; i < 8; i++)
				of_worker[i] = (struct balance){ .board = b.board };
			put_out(4);
			now_ns += 20 * NS_PER_S;	/* time is over, and what it failed is forgotten */
			clock_tick();
			for (unsigned n = 0; n < 800; n++) {
				struct vendpoint e;

				ck_assert(pick(&of_worker[n % 8], &p, (enum balancer)how,
						       &ejection_default, &none, &e));
				probes += e.addr.ip[3] == 4;
			}
			ck_assert_uint_eq(probes, 1);
			ck_assert_int_eq(endpoint_breaker(endpoint(4), &ejection_default),
					 BREAKER_HALF_OPEN);
			endpoint_proved(endpoint(4), clock_now());
			ck_assert(endpoint_is_well(endpoint(4)));
		}
	view_unref(v);
}
END_TEST

/* ---- what a policy may allow ---- */

START_TEST(a_policy_says_how_many_may_be_out)
{
	static const struct { unsigned n, percent, out, passed; } rows[] = {
		{ 10, 10, 1, 1 }, { 10, 10, 2, 1 }, { 10, 10, 5, 1 },	/* only the first of them */
		{ 10, 10, 6, 0 },					/* most are: a common trouble */
		{ 10, 30, 3, 3 }, { 10, 30, 4, 3 }, { 10, 100, 9, 9 }, { 10, 100, 10, 0 },
		{ 10, 80, 8, 8 }, { 10, 80, 9, 0 },
		{ 2, 1, 1, 1 }, { 3, 1, 1, 1 }, { 2, 100, 2, 0 },	/* one of two or more; never the last */
		{ 1, 100, 1, 0 },
	};

	for (unsigned r = 0; r < countof(rows); r++) {
		struct ejection ej = ejection_default;
		struct view *v = of(rows[r].n);
		struct vport p = port_of(v);
		struct tried none = { 0 };
		unsigned seen[12] = { 0 }, served = 0;

		fresh(1);
		ej.percent = (uint8_t)rows[r].percent;
		for (unsigned i = 1; i <= rows[r].out; i++)
			put_out(i);
		for (unsigned i = 0; i < 200; i++) {
			struct vendpoint e;

			ck_assert(pick(&b, &p, BALANCER_ROUND_ROBIN, &ej, &none, &e));
			seen[e.addr.ip[3]]++;
		}
		for (unsigned k = 1; k <= rows[r].n; k++)
			served += seen[k] > 0;
		ck_assert_msg(served == rows[r].n - rows[r].passed, "row %u: %u", r, served);
		view_unref(v);
	}
}
END_TEST

/* ---- weights ---- */

#define WEIGHED                                                                                    \
	"service t/s port=80\nendpoint t/s 10.0.0.1:8001 weight=100\n"                             \
	"endpoint t/s 10.0.0.2:8002 weight=200\nendpoint t/s 10.0.0.3:8003 weight=500\n"           \
	"endpoint t/s 10.0.0.4:8004 weight=200\n"
static const unsigned part[] = { 0, 100, 200, 500, 200 };	/* of 1000 */

START_TEST(without_load_the_weights_decide)
{
	struct view *v = view_from(WEIGHED);
	struct vport p = port_of(v);
	unsigned seen[12];

	for (uint64_t seed = 1; seed <= 5; seed++)
		for (int how = BALANCER_PEAK_EWMA; how <= BALANCER_ROUND_ROBIN; how++) {
			fresh(1);
			rand_seed(seed);
			/* Times that differ by less than half are noise beside a weight. */
			for (unsigned i = 1; i <= 4; i++)
				endpoint_answered(endpoint(i), 5000 + 800 * i, clock_now());
			count(&p, (enum balancer)how, 100000, seen);
			for (unsigned i = 1; i <= 4; i++)
				/* 5 standard deviations of 100,000 draws are below 0.8 % of all */
				ck_assert_msg(abs((int)seen[i] - (int)part[i] * 100) < 800,
					      "seed %d %d: %u of %u", (int)seed, how, seen[i], i);
		}
	view_unref(v);
}
END_TEST

START_TEST(round_robin_by_weight_has_no_bursts)
{
	struct view *v = view_from(WEIGHED);
	struct vport p = port_of(v);
	struct tried none = { 0 };

	for (uint64_t seed = 1; seed <= 20; seed++) {
		unsigned last[5] = { 0 }, shortest[5], longest[5] = { 0 }, seen[5] = { 0 };

		memset(shortest, 0xff, sizeof shortest);
		fresh(1);
		rand_seed(seed);
		b = (struct balance){ .board = b.board };
		for (unsigned n = 1; n <= 10000; n++) {
			struct vendpoint e;
			unsigned i;

			ck_assert(pick(&b, &p, BALANCER_ROUND_ROBIN, &ejection_default, &none, &e));
			i = e.addr.ip[3];
			if (seen[i]++) {
				shortest[i] = min_of(shortest[i], n - last[i]);
				longest[i] = max_of(longest[i], n - last[i]);
			}
			last[i] = n;
			/* Never far from its part, at any moment. */
			ck_assert_int_le(abs((int)(seen[i] * 1000 - n * part[i])), 5000);
		}
		/* Half of all turns: never three in a row, never three of others; a tenth: at least
		 * four turns of others between, at most sixteen. */
		ck_assert_uint_le(longest[3], 3);
		ck_assert_uint_ge(shortest[1], 5);
		ck_assert_uint_le(longest[1], 17);
		ck_assert_uint_ge(shortest[2], 3);
		ck_assert_uint_le(longest[2], 9);
	}
	view_unref(v);
}
END_TEST

START_TEST(under_load_all_are_equally_full)
{
	struct view *v = view_from(WEIGHED);
	struct vport p = port_of(v);

	for (int how = BALANCER_PEAK_EWMA; how <= BALANCER_LEAST_REQUEST; how++) {
		struct tried none = { 0 };

		fresh(1);
		for (unsigned i = 1; i <= 4; i++)
			endpoint_answered(endpoint(i), 5000, clock_now());
		/* 1,000 that stay: flows, or answers that are long in coming. */
		for (unsigned n = 0; n < 1000; n++) {
			struct vendpoint e;

			ck_assert(pick(&b, &p, (enum balancer)how, &ejection_default, &none, &e));
			board_claim(b.board, 0, n, e.slot.slot, e.slot.gen, false);
		}
		for (unsigned i = 1; i <= 4; i++)
			ck_assert_msg(abs((int)endpoint_in_flight(endpoint(i)) - (int)part[i]) <=
					      (int)part[i] / 5 + 10,
				      "%d: %u at %u", how, endpoint_in_flight(endpoint(i)), i);
		/* A heavy one that got them all before is left alone. */
		endpoint(3)->load = 5000;
		for (unsigned n = 0; n < 100; n++) {
			struct vendpoint e;

			ck_assert(pick(&b, &p, (enum balancer)how, &ejection_default, &none, &e));
			ck_assert_uint_ne(e.addr.ip[3], 3);
		}
	}
	view_unref(v);
}
END_TEST

START_TEST(a_heavy_one_that_is_stuck_or_out_gets_nothing)
{
	struct view *v = view_from(WEIGHED);
	struct vport p = port_of(v);
	unsigned seen[12];

	fresh(1);
	for (unsigned i = 1; i <= 4; i++)
		endpoint_answered(endpoint(i), i == 3 ? 2000000 : 5000, clock_now());
	count(&p, BALANCER_PEAK_EWMA, 1000, seen);
	ck_assert_uint_eq(seen[3], 0);
	fresh(1);
	put_out(3);
	for (int how = BALANCER_PEAK_EWMA; how <= BALANCER_ROUND_ROBIN; how++) {
		count(&p, (enum balancer)how, 1000, seen);
		ck_assert_uint_eq(seen[3], 0);
	}
	view_unref(v);
}
END_TEST

/* ---- levels ---- */

#define ZONES                                                                                      \
	"host zone=a\nservice t/s port=80\npolicy t/p target=s prefer_zone\n"                         \
	"endpoint t/s 10.0.0.1:8001 zone=a weight=100\nendpoint t/s 10.0.0.2:8002 zone=a weight=300\n" \
	"endpoint t/s 10.0.0.3:8003 zone=a weight=100\nendpoint t/s 10.0.0.4:8004 zone=a weight=300\n" \
	"endpoint t/s 10.0.0.5:8005 zone=b weight=100\nendpoint t/s 10.0.0.6:8006 zone=b weight=300\n" \
	"endpoint t/s 10.0.0.7:8007 zone=b weight=100\nendpoint t/s 10.0.0.8:8008 zone=b weight=300\n" \
	"endpoint t/s 10.0.0.9:8009 priority=1\n"

static unsigned sum_of(const unsigned seen[12], unsigned from, unsigned to)
{
	unsigned n = 0;

	while (from <= to)
		n += seen[from++];
	return n;
}

START_TEST(the_own_zone_gets_everything_until_it_fails)
{
	struct view *v = view_from(ZONES);
	struct vport p = port_of(v);
	unsigned seen[12];

	for (int how = BALANCER_PEAK_EWMA; how <= BALANCER_ROUND_ROBIN; how++) {
		fresh(1);
		count(&p, (enum balancer)how, 8000, seen);
		ck_assert_uint_eq(sum_of(seen, 1, 4), 8000);
		/* By weight inside of it. */
		ck_assert_int_lt(abs((int)seen[1] - 1000), 200);
		ck_assert_int_lt(abs((int)seen[2] - 3000), 300);
		/* Half of it: 70 %, so 30 % go to the other zone and nothing to the other priority. */
		fresh(1);
		put_out(1);
		put_out(2);
		count(&p, (enum balancer)how, 8000, seen);
		ck_assert_uint_eq(seen[1] + seen[2] + seen[9], 0);
		ck_assert_int_lt(abs((int)sum_of(seen, 5, 8) - 2400), 250);
		ck_assert_int_lt(abs((int)seen[6] - 900), 200);
		/* All of it. */
		fresh(1);
		for (unsigned i = 1; i <= 4; i++)
			put_out(i);
		count(&p, (enum balancer)how, 8000, seen);
		ck_assert_uint_eq(sum_of(seen, 5, 8), 8000);
	}
	view_unref(v);
}
END_TEST

START_TEST(a_level_that_was_tried_is_left_for_the_next)
{
	struct view *v = view_from("service t/s port=80\nendpoint t/s 10.0.0.1:8001\n"
				   "endpoint t/s 10.0.0.2:8002 priority=1\n"
				   "endpoint t/s 10.0.0.3:8003 priority=2\n");
	struct vport p = port_of(v);
	struct tried tried = { 0 };
	struct vendpoint e;

	fresh(1);
	for (unsigned i = 1; i <= 3; i++) {
		ck_assert(pick(&b, &p, BALANCER_PEAK_EWMA, &ejection_default, &tried, &e));
		ck_assert_uint_eq(e.addr.ip[3], i);
		tried.addr[tried.n++] = e.addr;
	}
	ck_assert(!pick(&b, &p, BALANCER_PEAK_EWMA, &ejection_default, &tried, &e));
	view_unref(v);
}
END_TEST

/* ---- health checks ---- */

static const struct balancing checked = {
	.checked = 1, .overprovision_percent = 140, .panic_percent = 50, .slow_min_percent = 10,
	.slow_aggression_percent = 100,
};

static void fails_its_checks(unsigned i)
{
	ck_assert(check_note(b.board, 100 + 8000 + i, 7, false, 1, 1, clock_now()));
}

static void count_checked(const struct vport *p, const struct balancing *by, enum balancer how,
			  unsigned n, unsigned seen[12])
{
	struct wish wish = { .how = how, .balancing = by, .ejection = &ejection_default };
	struct tried none = { 0 };

	memset(seen, 0, 12 * sizeof seen[0]);
	for (unsigned i = 0; i < n; i++) {
		struct vendpoint e;

		wish.hash = i * 0x9e3779b97f4a7c15u;
		ck_assert(balance_pick(&b, p, &wish, &none, &e));
		seen[e.addr.ip[3]]++;
	}
}

START_TEST(an_unhealthy_one_counts_like_one_that_is_out)
{
	struct view *v = view_from(ZONES);
	struct vport p = port_of(v);
	unsigned seen[12];

	for (int how = BALANCER_PEAK_EWMA; how <= BALANCER_ROUND_ROBIN; how++) {
		fresh(1);
		fails_its_checks(1);
		put_out(2);
		count_checked(&p, &checked, (enum balancer)how, 8000, seen);
		ck_assert_uint_eq(seen[1] + seen[2] + seen[9], 0);
		ck_assert_int_lt(abs((int)sum_of(seen, 5, 8) - 2400), 250);
		/* Without a check in the policy nobody asks. */
		fresh(1);
		fails_its_checks(1);
		count_checked(&p, &balancing_default, (enum balancer)how, 8000, seen);
		ck_assert_uint_eq(sum_of(seen, 1, 4), 8000);
		ck_assert_uint_gt(seen[1], 0);
	}
	view_unref(v);
}
END_TEST

START_TEST(however_many_are_unhealthy_they_are_passed_over_until_the_level_panics)
{
	static const struct { unsigned n, unhealthy, panic, served; } rows[] = {
		{ 4, 1, 50, 3 }, { 4, 2, 50, 2 }, { 4, 3, 50, 4 },	/* too few are left */
		{ 4, 3, 20, 1 }, { 4, 3, 0, 1 },
		{ 4, 4, 50, 4 }, { 4, 4, 0, 4 }, { 1, 1, 0, 1 }, { 1, 1, 50, 1 },	/* nobody is left */
	};

	for (unsigned r = 0; r < countof(rows); r++) {
		struct balancing by = checked;
		struct view *v = of(rows[r].n);
		struct vport p = port_of(v);
		unsigned seen[12], served = 0;

		fresh(1);
		by.panic_percent = (uint8_t)rows[r].panic;
		for (unsigned i = 1; i <= rows[r].unhealthy; i++)
			fails_its_checks(i);
		count_checked(&p, &by, BALANCER_LEAST_REQUEST, 400, seen);
		for (unsigned k = 1; k <= rows[r].n; k++)
			served += seen[k] > 0;
		ck_assert_msg(served == rows[r].served, "row %u: %u", r, served);
		view_unref(v);
	}
}
END_TEST

/* ---- keys ---- */

static unsigned of_key(const struct vport *p, uint64_t hash, const struct tried *tried)
{
	struct wish wish = { .how = BALANCER_MAGLEV, .balancing = &balancing_default,
			     .ejection = &ejection_default, .hash = hash };
	struct vendpoint e;

	ck_assert(balance_pick(&b, p, &wish, tried, &e));
	return e.addr.ip[3];
}

static struct view *by_key(const char *more)
{
	char text[2048];

	snprintf(text, sizeof text, "host zone=a\nservice t/s port=80\n"
		 "policy t/p target=s balancer=Maglev hash=SourceIP %s\n"
		 "endpoint t/s 10.0.0.1:8001 zone=a\nendpoint t/s 10.0.0.2:8002 zone=a\n"
		 "endpoint t/s 10.0.0.3:8003 zone=b\nendpoint t/s 10.0.0.4:8004 zone=b\n", more);
	return view_from(text);
}

START_TEST(a_key_stays_where_it_is_and_moves_only_while_that_is_out)
{
	struct view *v = by_key("");
	struct vport p = port_of(v);
	struct tried none = { 0 };
	unsigned was[1000], seen[5] = { 0 }, moved = 0;

	fresh(1);
	for (unsigned i = 0; i < 1000; i++) {
		was[i] = of_key(&p, i * 0x9e3779b97f4a7c15u, &none);
		seen[was[i]]++;
		ck_assert_uint_eq(of_key(&p, i * 0x9e3779b97f4a7c15u, &none), was[i]);
	}
	for (unsigned i = 1; i <= 4; i++)
		ck_assert_int_lt(abs((int)seen[i] - 250), 70);
	put_out(2);
	memset(seen, 0, sizeof seen);
	for (unsigned i = 0; i < 1000; i++) {
		unsigned is = of_key(&p, i * 0x9e3779b97f4a7c15u, &none);

		ck_assert_uint_ne(is, 2);
		moved += is != was[i];
		ck_assert(is == was[i] || was[i] == 2);
		seen[is] += was[i] == 2;
	}
	/* Not all to one neighbour. */
	for (unsigned i = 1; i <= 4; i++)
		ck_assert(i == 2 || seen[i] > moved / 6);
	view_unref(v);
}
END_TEST

START_TEST(a_key_of_an_unhealthy_one_moves_on)
{
	struct view *v = by_key("");
	struct vport p = port_of(v);
	unsigned seen[12], was[12];

	fresh(1);
	count_checked(&p, &checked, BALANCER_MAGLEV, 1000, was);
	fresh(1);
	fails_its_checks(2);
	count_checked(&p, &checked, BALANCER_MAGLEV, 1000, seen);
	ck_assert_uint_eq(seen[2], 0);
	for (unsigned i = 1; i <= 4; i++)
		ck_assert(i == 2 || seen[i] >= was[i] + was[2] / 6);
	view_unref(v);
}
END_TEST

START_TEST(a_key_that_was_tried_goes_to_another_and_to_all_in_the_end)
{
	struct view *v = by_key("");
	struct vport p = port_of(v);

	fresh(1);
	for (uint64_t key = 0; key < 50; key++) {
		struct tried tried = { 0 };
		unsigned seen = 0;

		for (unsigned i = 0; i < 4; i++) {
			unsigned at = of_key(&p, key, &tried);

			ck_assert(!(seen & 1u << at));
			seen |= 1u << at;
			tried.addr[tried.n++] = (struct addr){ .ip = { 10, 0, 0, (uint8_t)at }, .family = 4,
							       .port = (uint16_t)(8000 + at) };
		}
	}
	view_unref(v);
}
END_TEST

START_TEST(a_key_stays_in_its_zone)
{
	struct view *v = by_key("prefer_zone");
	struct vport p = port_of(v);
	struct tried none = { 0 };
	unsigned far = 0;

	fresh(1);
	for (unsigned i = 0; i < 1000; i++)
		ck_assert_uint_le(of_key(&p, i * 0x9e3779b97f4a7c15u, &none), 2);
	put_out(1);
	now_ns += 101 * NS_PER_MS;	/* it is counted again */
	clock_tick();
	for (unsigned i = 0; i < 1000; i++) {
		unsigned at = of_key(&p, i * 0x9e3779b97f4a7c15u, &none);

		ck_assert_uint_ne(at, 1);
		far += at > 2;
		ck_assert_uint_eq(of_key(&p, i * 0x9e3779b97f4a7c15u, &none), at);
	}
	ck_assert_int_lt(abs((int)far - 300), 60);
	view_unref(v);
}
END_TEST

/* ---- slow start ---- */

START_TEST(one_that_became_ready_gets_its_part_by_and_by)
{
	static const struct { int64_t ms; unsigned least, most; } rows[] = {	/* per mille of all picks */
		{ 0, 15, 40 }, { 15000, 45, 90 }, { 30000, 100, 160 }, { 60000, 210, 290 },
	};
	static const char three[] = "service t/s port=80\npolicy t/p target=s slow=60000\n"
		"endpoint t/s 10.0.0.1:8001\nendpoint t/s 10.0.0.2:8002\nendpoint t/s 10.0.0.3:8003\n";
	static const char weights[] = "service t/s port=80\npolicy t/p target=s slow=60000\n"
		"endpoint t/s 10.0.0.1:8001 weight=200\nendpoint t/s 10.0.0.2:8002 weight=300\n"
		"endpoint t/s 10.0.0.3:8003 weight=400\n";
	struct balancing slow = balancing_default;
	struct wish wish = { .balancing = &slow, .ejection = &ejection_default };
	struct tried none = { 0 };

	slow.slow_ms = 60000;
	for (int how = 0; how < 2 * BALANCER_ROUND_ROBIN; how++) {
		bool weighted = how >= BALANCER_ROUND_ROBIN;
		struct world *w = world_new();
		struct vport p = port_of(world_say(w, weighted ? weights : three));
		struct vendpoint e;
		int64_t began;

		fresh(1);
		wish.how = (enum balancer)(BALANCER_PEAK_EWMA + how % BALANCER_ROUND_ROBIN);
		ck_assert(balance_pick(&b, &p, &wish, &none, &e));
		now_ns += 100 * NS_PER_S;
		clock_tick();
		for (unsigned i = 1; i <= 3; i++)
			endpoint_answered(endpoint(i), 5000, clock_now());
		p = port_of(world_say(w, weighted ? "endpoint t/s 10.0.0.4:8004 weight=300\n" :
						    "endpoint t/s 10.0.0.4:8004\n"));
		ck_assert(balance_pick(&b, &p, &wish, &none, &e));
		began = now_ns;
		for (unsigned r = 0; r < countof(rows); r++) {
			unsigned seen = 0;

			now_ns = began + rows[r].ms * NS_PER_MS;
			clock_tick();
			/* The times of all are alike: what is looked at here is the start. */
			for (unsigned i = 1; i <= 4; i++)
				endpoint_answered(endpoint(i), 5000, clock_now());
			for (unsigned i = 0; i < 20000; i++) {
				ck_assert(balance_pick(&b, &p, &wish, &none, &e));
				seen += e.addr.ip[3] == 4;
			}
			ck_assert_msg(seen >= rows[r].least * 20 && seen <= rows[r].most * 20,
				      "%d, row %u: %u", how, r, seen);
		}
		world_free(&w);
	}
}
END_TEST

/* ---- a small world: workers that share the board, endpoints that take their time ---- */

#define ENDPOINTS 11
#define FLIGHTS	  32768

static struct flight {
	int64_t ends_ns, began_ns;
	unsigned worker, endpoint;
	bool used;
} flight[FLIGHTS];

struct world_run {
	unsigned workers;
	int64_t (*takes_ms)(unsigned endpoint, int64_t at_ms);
	unsigned answered, in_time;
	unsigned per_second[120][ENDPOINTS + 1];
	unsigned per_tenth[1200];	/* to endpoint 1 */
};

static int64_t stuck(unsigned endpoint, int64_t at_ms)
{
	return endpoint == 1 && at_ms >= 10000 && at_ms < 40000 ? 2000 : 167;
}

static int64_t slower(unsigned endpoint, int64_t at_ms)
{
	return endpoint == 1 && at_ms >= 10000 ? 668 : 167;
}

/* 1,000 requests/s, in turn by the workers, for that many seconds; steps of 1 ms. */
static void run(struct world_run *w, struct vport *p, int64_t seconds)
{
	static struct balance of_worker[32];
	struct tried none = { 0 };
	int64_t start = now_ns;
	unsigned live = 0;

	fresh(w->workers);
	memset(flight, 0, sizeof flight);
	for (unsigned i = 0; i < w->workers; i++)
		of_worker[i] = (struct balance){ .board = b.board };
	for (int64_t ms = 0; ms < seconds * 1000; ms++) {
		unsigned at = (unsigned)ms % w->workers, slot = 0;
		struct vendpoint e;

		now_ns = start + ms * NS_PER_MS;
		clock_tick();
		for (unsigned i = 0, seen = 0; seen < live; i++) {
			struct flight *f = &flight[i];

			if (!f->used)
				continue;
			seen++;
			if (f->ends_ns > now_ns)
				continue;
			board_unclaim(b.board, f->worker, i);
			endpoint_answered(endpoint(f->endpoint),
					  (uint32_t)((now_ns - f->began_ns) / NS_PER_US),
					  clock_now());
			w->answered++;
			w->in_time += now_ns - f->began_ns <= NS_PER_S;
			f->used = false;
			live--;
			seen--;
		}
		while (flight[slot].used)
			slot++;
		ck_assert(pick(&of_worker[at], p, BALANCER_PEAK_EWMA, &ejection_default, &none, &e));
		flight[slot] = (struct flight){
			.began_ns = now_ns, .worker = at, .endpoint = e.addr.ip[3], .used = true,
			.ends_ns = now_ns + w->takes_ms(e.addr.ip[3], ms) * NS_PER_MS,
		};
		live++;
		w->per_second[ms / 1000][e.addr.ip[3]]++;
		w->per_tenth[ms / 100] += e.addr.ip[3] == 1;
		if (board_claim(b.board, at, slot, e.slot.slot, e.slot.gen, true))
			endpoint_woken(endpoint(e.addr.ip[3]), clock_now());
	}
}

START_TEST(one_stuck_endpoint_of_eleven_leaves_999_of_1000_requests_in_time)
{
	static const unsigned workers[] = { 1, 8, 32 };
	struct view *v = of(ENDPOINTS);
	struct vport p = port_of(v);

	for (unsigned i = 0; i < countof(workers); i++) {
		struct world_run w = { .workers = workers[i], .takes_ms = stuck };

		run(&w, &p, 60);
		ck_assert_uint_gt(w.answered, 59000);
		printf("%u workers: %u of %u within 1 s, %.3f %%\n", w.workers, w.in_time,
		       w.answered, 100.0 * w.in_time / w.answered);
		ck_assert_uint_ge(w.in_time * 1000ull, w.answered * 999ull);
	}
	view_unref(v);
}
END_TEST

/* Seconds after the tenth until the slower one's share stays within 5 % of all traffic's even share
 * from what it has in the end. */
static unsigned settled_after(const struct world_run *w)
{
	unsigned last = 0, final = 0;

	for (unsigned s = 50; s < 60; s++)
		final += w->per_second[s][1];
	final /= 10;
	for (unsigned s = 10; s < 50; s++) {
		unsigned n = w->per_second[s][1];

		if ((n > final ? n - final : final - n) > 1000 / ENDPOINTS * 5 / 100 + 8)
			last = s - 9;
	}
	return last;
}

/* Ms after the tenth second until, for the first time, the slower one's share over a second is within
 * 5 % of an even share from what it has in the end. */
static unsigned settled_ms(const struct world_run *w)
{
	unsigned final = 0;

	for (unsigned s = 50; s < 60; s++)
		final += w->per_second[s][1];
	for (unsigned t = 100; t < 500; t++) {
		unsigned n = 0;

		for (unsigned k = 0; k < 10; k++)
			n += w->per_tenth[t + k];
		if (abs((int)(n * 10) - (int)final) <= 1000 * 10 / ENDPOINTS * 5 / 100)
			return (t - 100) * 100;
	}
	return UINT32_MAX;
}

/* The heaviest of eleven, with a fifth of the traffic, is the one that gets stuck. */
START_TEST(weights_do_not_hold_on_to_one_that_is_stuck)
{
	static const unsigned workers[] = { 1, 8, 32 };
	char text[4096] = "service t/s port=80\n";
	struct view *v;
	struct vport p;

	for (unsigned i = 1; i <= ENDPOINTS; i++) {
		size_t at = strlen(text);

		snprintf(text + at, sizeof text - at, "endpoint t/s 10.0.0.%u:%u weight=%u\n", i,
			 8000 + i, i == 1 ? 250 : 100);
	}
	v = view_from(text);
	p = port_of(v);
	for (unsigned i = 0; i < countof(workers); i++) {
		struct world_run w = { .workers = workers[i], .takes_ms = stuck };

		run(&w, &p, 60);
		printf("%u workers, weights: %u of %u within 1 s, %.3f %%; %u/s before, %u/s stuck, %u/s in the end\n",
		       w.workers, w.in_time, w.answered, 100.0 * w.in_time / w.answered,
		       w.per_second[9][1], w.per_second[30][1], w.per_second[59][1]);
		ck_assert_uint_ge(w.in_time * 1000ull, w.answered * 998ull);
		ck_assert_uint_ge(w.per_second[9][1], 160);	/* 200 is its part */
		ck_assert_uint_le(w.per_second[9][1], 240);
		ck_assert_uint_le(w.per_second[30][1], 10);
		ck_assert_uint_ge(w.per_second[59][1], 160);
	}
	view_unref(v);
}
END_TEST

START_TEST(eight_workers_learn_as_fast_as_one)
{
	struct view *v = of(ENDPOINTS);
	struct vport p = port_of(v);
	struct world_run one = { .workers = 1, .takes_ms = slower };
	struct world_run eight = { .workers = 8, .takes_ms = slower };
	unsigned t1, t8;

	run(&one, &p, 60);
	run(&eight, &p, 60);
	t1 = settled_after(&one);
	t8 = settled_after(&eight);
	printf("settled after %u s with 1 worker, %u s with 8; share %u/s, then %u/s\n", t1, t8,
	       one.per_second[9][1], one.per_second[59][1]);
	printf("95 %% of the final share after %u ms with 1 worker, %u ms with 8\n", settled_ms(&one),
	       settled_ms(&eight));
	ck_assert_uint_lt(settled_ms(&one), 40000);
	ck_assert_uint_le(settled_ms(&eight) * 10ull, settled_ms(&one) * 12ull);
	ck_assert_uint_lt(one.per_second[59][1], one.per_second[9][1] * 2 / 3);
	ck_assert_uint_le(t8 * 10, t1 * 12 + 10);
	view_unref(v);
}
END_TEST

UNIT_TESTS("balance", ready_endpoints_take_even_turns, what_was_tried_is_left_out,
	   terminating_ones_serve_only_when_nobody_is_ready,
	   the_slow_one_is_avoided_and_the_busy_one_too,
	   one_that_is_out_is_passed_over_by_every_balancer,
	   the_last_one_is_never_out_and_of_many_at_most_half,
	   when_all_that_are_left_are_out_one_of_them_is_taken,
	   of_all_workers_together_one_exchange_is_the_probe,
	   a_policy_says_how_many_may_be_out, without_load_the_weights_decide,
	   round_robin_by_weight_has_no_bursts, under_load_all_are_equally_full,
	   a_heavy_one_that_is_stuck_or_out_gets_nothing,
	   the_own_zone_gets_everything_until_it_fails,
	   a_level_that_was_tried_is_left_for_the_next,
	   an_unhealthy_one_counts_like_one_that_is_out,
	   however_many_are_unhealthy_they_are_passed_over_until_the_level_panics,
	   a_key_of_an_unhealthy_one_moves_on,
	   one_that_became_ready_gets_its_part_by_and_by,
	   a_key_stays_where_it_is_and_moves_only_while_that_is_out,
	   a_key_that_was_tried_goes_to_another_and_to_all_in_the_end, a_key_stays_in_its_zone,
	   one_stuck_endpoint_of_eleven_leaves_999_of_1000_requests_in_time,
	   weights_do_not_hold_on_to_one_that_is_stuck,
	   eight_workers_learn_as_fast_as_one)
