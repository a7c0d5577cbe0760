/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A small world in virtual time: workers that share the board and pick with the real balancer,
 * endpoints that answer, fail, hang and come back as a scenario says.  1,000 requests a second, a step
 * is a millisecond; many seeds. */
#include "tests/lib/view_from.h"
#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>

#include "nodeproxy/lib/base/rand.h"
#include "workers/obs/endpoint.h"
#include "workers/pool/balance.h"

#define WORKERS	  8
#define ENDPOINTS 12
#define FLIGHTS	  8192
#define SECONDS	  120

/* What becomes of a request. */
struct fate {
	int64_t takes_ms;
	bool fails;
};

static struct world_now {
	unsigned workers;
	struct wish wish;
	struct fate (*fate)(unsigned endpoint, int64_t at_ms);
	bool trapped;			/* failures count as the fast answers that they are: the trap */
	bool one_probe;			/* nothing but the probe may be under way then */
	struct vport port;
	struct world *world;
	struct board *board;
	struct balance of[WORKERS];
	int64_t ms, live;
	struct flight {
		int64_t ends_ms;
		struct mono began;
		unsigned worker, endpoint;
		bool used, fails;
	} flight[FLIGHTS];
	unsigned sent[SECONDS][ENDPOINTS], failed[SECONDS], answered[SECONDS];
	unsigned busy[ENDPOINTS];	/* requests under way */
} w;

static uint64_t seeds(void)
{
	const char *more = getenv("NP_SIM_SEEDS");

	return more ? strtoull(more, NULL, 10) / 100 + 2 : 2;
}

static int64_t mono_ns(void)
{
	return 1000 * NS_PER_S + w.ms * NS_PER_MS;
}

static struct board_endpoint *endpoint(unsigned i)	/* from 1 */
{
	return board_endpoint(w.board, 100 + 8000 + i, 7);
}

static void say(const char *text)
{
	const struct view *v = world_say(w.world, text);
	struct vservice s;

	ck_assert(view_service_by_name(v, SLICE("t"), SLICE("s"), &s));
	ck_assert(vservice_port(&s, 80, &w.port));
}

static void begin(uint64_t seed, unsigned workers, const char *view,
		  struct fate (*fate)(unsigned, int64_t))
{
	static struct balancing balancing;
	static struct ejection ejection;
	struct vpolicy y;

	memset(&w, 0, sizeof w);
	w.workers = workers;
	w.fate = fate;
	clock_simulate(mono_ns, NULL);
	clock_tick();
	rand_seed(seed);
	w.board = mmap(NULL, board_bytes(WORKERS), PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert_ptr_ne(w.board, MAP_FAILED);
	board_format(w.board, WORKERS);
	for (unsigned i = 0; i < WORKERS; i++)
		w.of[i] = (struct balance){ .board = w.board };
	w.world = world_new();
	say(view);
	balancing = balancing_default;
	ejection = ejection_default;
	if (vport_policy(&w.port, &y)) {
		balancing = y.balancing;
		ejection = y.ejection;
	}
	w.wish = (struct wish){ .how = BALANCER_PEAK_EWMA, .balancing = &balancing,
				.ejection = &ejection };
}

static void end(void)
{
	world_free(&w.world);
	munmap(w.board, board_bytes(WORKERS));
	clock_simulate(NULL, NULL);
}

static void land(struct flight *f)
{
	struct board_endpoint *e = endpoint(f->endpoint);
	struct mono now = clock_now();
	uint32_t us = (uint32_t)max_of(mono_diff_us(now, f->began), (int64_t)1);

	board_unclaim(w.board, f->worker, (uint32_t)(f - w.flight));
	__atomic_fetch_add(&e->exchanges, 1, __ATOMIC_RELAXED);
	if (f->fails && !w.trapped) {
		__atomic_fetch_add(&e->failures, 1, __ATOMIC_RELAXED);
		(void)endpoint_failed(e, w.wish.ejection, f->began, now);
	} else {
		endpoint_answered(e, us, now);
		endpoint_proved(e, f->began);
		endpoint_succeeded(e, f->began);
	}
	if (f->fails)
		w.failed[w.ms / 1000]++;
	else
		w.answered[w.ms / 1000]++;
	w.busy[f->endpoint]--;
	f->used = false;
	w.live--;
}

/* Until that second. */
static void run_until(int64_t seconds)
{
	struct tried none = { 0 };

	for (; w.ms < seconds * 1000; w.ms++) {
		unsigned at = rand_below(w.workers), slot = 0;
		struct vendpoint e;
		struct fate fate;

		clock_tick();
		for (int64_t i = 0, seen = 0; seen < w.live; i++) {
			struct flight *f = &w.flight[i];

			if (!f->used)
				continue;
			seen++;
			if (f->ends_ms > w.ms)
				continue;
			land(f);
			seen--;
		}
		while (w.flight[slot].used)
			slot++;
		ck_assert_uint_lt(slot, FLIGHTS - 1);
		ck_assert(balance_pick(&w.of[at], &w.port, &w.wish, &none, &e));
		fate = w.fate(e.addr.ip[3], w.ms);
		w.flight[slot] = (struct flight){ .began = clock_now(), .worker = at, .used = true,
						  .endpoint = e.addr.ip[3], .fails = fate.fails,
						  .ends_ms = w.ms + fate.takes_ms };
		w.live++;
		w.sent[w.ms / 1000][e.addr.ip[3]]++;
		w.busy[e.addr.ip[3]]++;
		if (w.one_probe &&
		    endpoint_breaker(endpoint(e.addr.ip[3]), w.wish.ejection) == BREAKER_HALF_OPEN)
			ck_assert_uint_eq(w.busy[e.addr.ip[3]], 1);	/* the probe, alone */
		if (board_claim(w.board, at, slot, e.slot.slot, e.slot.gen, true))
			endpoint_woken(endpoint(e.addr.ip[3]), clock_now());
	}
}

static const unsigned worker_counts[] = { 1, 2, 8 };

/* ---- the fast-failure trap ---- */

#define FIVE                                                                                       \
	"service t/s port=80\nendpoint t/s 10.0.0.1:8001\nendpoint t/s 10.0.0.2:8002\n"             \
	"endpoint t/s 10.0.0.3:8003\nendpoint t/s 10.0.0.4:8004\nendpoint t/s 10.0.0.5:8005\n"

static struct fate fails_fast(unsigned endpoint, int64_t at_ms)
{
	if (endpoint == 1 && at_ms >= 5000)
		return (struct fate){ 1, true };
	return (struct fate){ 15 + rand_below(10), false };
}

START_TEST(one_that_fails_at_once_gets_less_than_a_fifth_of_its_share)
{
	/* Also where nobody is ever put out: the penalty alone does it. */
	static const char *const views[] = { FIVE, FIVE "policy t/p target=s failures=0\n" };

	for (uint64_t seed = 1; seed <= seeds(); seed++)
		for (unsigned v = 0; v < countof(views); v++)
			for (unsigned i = 0; i < countof(worker_counts); i++) {
				begin(seed, worker_counts[i], views[v], fails_fast);
				run_until(12);
				ck_assert_uint_ge(w.sent[4][1], 150);
				for (unsigned s = 7; s < 12; s++)
					ck_assert_msg(w.sent[s][1] < 200 / 5, "seed %d, %u workers: %u in second %u",
						      (int)seed, worker_counts[i], w.sent[s][1], s);
				end();
			}
	/* What it would be like: it looks like the best of them. */
	begin(1, 8, FIVE "policy t/p target=s failures=0\n", fails_fast);
	w.trapped = true;
	run_until(12);
	ck_assert_uint_gt(w.sent[7][1], 300);
	end();
}
END_TEST

/* ---- slow start ---- */

/* The new one is cold: 200 ms at first, 20 ms after its window. */
static struct fate warms_up(unsigned endpoint, int64_t at_ms)
{
	if (endpoint == 5 && at_ms < 40000)
		return (struct fate){ 20 + 180 * (40000 - at_ms) / 30000, false };
	return (struct fate){ 15 + rand_below(10), false };
}

START_TEST(a_new_endpoint_is_not_drowned)
{
	static const char four[] = "service t/s port=80\npolicy t/p target=s slow=30000\n"
		"endpoint t/s 10.0.0.1:8001\nendpoint t/s 10.0.0.2:8002\nendpoint t/s 10.0.0.3:8003\n"
		"endpoint t/s 10.0.0.4:8004\n";

	for (uint64_t seed = 1; seed <= seeds(); seed++)
		for (unsigned how = BALANCER_LEAST_REQUEST; how <= BALANCER_ROUND_ROBIN; how++) {
			begin(seed, 8, four, warms_up);
			w.wish.how = (enum balancer)how;
			/* Long enough for those that were there to be warm. */
			run_until(10);
			for (unsigned i = 1; i <= 4; i++)
				endpoint(i)->ready_ms -= 60000;
			say("endpoint t/s 10.0.0.5:8005\n");
			run_until(50);
			/* A fifth is 200: a tenth of that, then a straight line, then all of it. */
			ck_assert_uint_le(w.sent[10][5], 45);
			ck_assert_uint_le(w.sent[20][5], 110);
			ck_assert_uint_ge(w.sent[25][5], 30);
			ck_assert_uint_ge(w.sent[48][5], 150);
			end();
		}
}
END_TEST

/* ---- the loss of a zone ---- */

#define ZONES                                                                                      \
	"host zone=a\nservice t/s port=80\npolicy t/p target=s prefer_zone\n"                         \
	"endpoint t/s 10.0.0.1:8001 zone=a\nendpoint t/s 10.0.0.2:8002 zone=a\n"                      \
	"endpoint t/s 10.0.0.3:8003 zone=a\nendpoint t/s 10.0.0.4:8004 zone=b\n"                      \
	"endpoint t/s 10.0.0.5:8005 zone=b\nendpoint t/s 10.0.0.6:8006 zone=b\n"

/* Packets to the zone are lost: connects time out. */
static struct fate zone_is_lost(unsigned endpoint, int64_t at_ms)
{
	if (endpoint <= 3 && at_ms >= 10000 && at_ms < 30000)
		return (struct fate){ 1000, true };
	return (struct fate){ 15 + rand_below(10), false };
}

START_TEST(the_loss_of_a_zone_is_over_in_three_seconds)
{
	for (uint64_t seed = 1; seed <= seeds(); seed++)
		for (unsigned i = 0; i < countof(worker_counts); i++) {
			unsigned far = 0;

			begin(seed, worker_counts[i], ZONES, zone_is_lost);
			run_until(10);
			for (unsigned s = 1; s < 10; s++)
				far += w.sent[s][4] + w.sent[s][5] + w.sent[s][6];
			ck_assert_uint_eq(far, 0);
			run_until(30);
			for (unsigned s = 13; s < 30; s++)
				ck_assert_msg(w.failed[s] <= 10, "seed %d: %u failed in second %u", (int)seed,
					      w.failed[s], s);
			/* Back again, within the longest time that an endpoint is out for, and a half. */
			run_until(110);
			far = w.sent[105][4] + w.sent[105][5] + w.sent[105][6];
			ck_assert_msg(far == 0, "seed %d, %u workers: %u", (int)seed, worker_counts[i], far);
			end();
		}
}
END_TEST

/* ---- the breaker ---- */

static struct fate is_down(unsigned endpoint, int64_t at_ms)
{
	if (endpoint == 1 && at_ms >= 5000 && at_ms < 40000)
		return (struct fate){ 50, true };
	return (struct fate){ 15 + rand_below(10), false };
}

/* Closed, open, half open, and so on: every request to it while it is out is a probe, the only one
 * under way (run_until() looks), and each pause is longer than the one before. */
START_TEST(a_breaker_lets_one_probe_through_and_waits_for_longer_each_time)
{
	for (uint64_t seed = 1; seed <= seeds(); seed++)
		for (unsigned i = 0; i < countof(worker_counts); i++) {
			unsigned probes = 0;

			begin(seed, worker_counts[i], FIVE, is_down);
			w.one_probe = true;
			w.wish.how = BALANCER_ROUND_ROBIN;
			run_until(6);
			ck_assert_int_eq(endpoint_breaker(endpoint(1), w.wish.ejection), BREAKER_OPEN);
			for (int64_t s = 6; s < 40; s++) {
				run_until(s + 1);
				probes += w.sent[s][1];
			}
			/* 1, 2, 4, 8 and 16 s, each up to a half longer: four or five within 34 s. */
			ck_assert_uint_ge(probes, 4);
			ck_assert_uint_le(probes, 5);
			/* The last pause began before 40 s and is 48 s at most. */
			run_until(91);
			ck_assert_int_eq(endpoint_breaker(endpoint(1), w.wish.ejection), BREAKER_CLOSED);
			ck_assert_uint_ge(w.sent[90][1], 180);
			end();
		}
}
END_TEST

UNIT_TESTS("balancing", one_that_fails_at_once_gets_less_than_a_fifth_of_its_share,
	   a_new_endpoint_is_not_drowned, the_loss_of_a_zone_is_over_in_three_seconds,
	   a_breaker_lets_one_probe_through_and_waits_for_longer_each_time)
