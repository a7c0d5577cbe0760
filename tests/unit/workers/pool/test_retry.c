/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The retry budget of a Service. */
#include "tests/unit/test.h"

#include <sched.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workers/pool/retry.h"

static const struct retry_budget usual = { 20, 10000, 100 };

static void *shared_memory(size_t bytes)
{
	void *p = mmap(NULL, bytes, PROT_READ | PROT_WRITE,
		       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ck_assert_ptr_ne(p, MAP_FAILED);
	return p;
}

static struct board *fresh(unsigned workers)
{
	struct board *b = shared_memory(board_bytes(workers));

	board_format(b, workers);
	return b;
}

static struct mono at(int64_t ms)
{
	return (struct mono){ (1000000 + ms) * NS_PER_MS };
}

static void request(struct board *b, unsigned worker, uint64_t n)
{
	struct board_service *s = board_service(b, worker, 3, 1);

	b->worker[worker].service_began_s[3] = 1000;
	board_add(&s->c[SC_exchanges], n);
}

static unsigned taken_of(struct board *b, const struct retry_budget *y, unsigned tries, int64_t ms)
{
	unsigned n = 0;

	while (tries--)
		n += retry_take(b, 3, 1, y, at(ms));
	return n;
}

static unsigned taken(struct board *b, unsigned tries, int64_t ms)
{
	return taken_of(b, &usual, tries, ms);
}

START_TEST(a_quiet_service_may_retry_so_often_in_an_interval)
{
	struct board *b = fresh(1);
	unsigned n = 0;

	ck_assert_uint_eq(taken(b, 1000, 0), 100);
	for (int64_t ms = 1; ms < 10000; ms++)
		n += taken(b, 3, ms);
	ck_assert_uint_eq(n, 0);
	for (int64_t ms = 10000; ms <= 10700; ms++)
		n += taken(b, 3, ms);
	ck_assert_uint_eq(n, 100);
	ck_assert_uint_eq(taken(b, 1000, 600000), 100);
	munmap(b, board_bytes(1));
}
END_TEST

/* GEP-3388: 1,000 requests in 10 s allow 200 retries, not 200 beside those that are always allowed. */
START_TEST(a_thousand_requests_in_ten_seconds_allow_two_hundred)
{
	struct board *b = fresh(2);

	(void)taken(b, 0, 0);
	for (int64_t ms = 0; ms < 9800; ms += 98) {
		request(b, (unsigned)ms % 2, 10);
		/* a look, so that it is known when they came */
		(void)retry_take(b, 3, 1, &(struct retry_budget){ 0, 10000, 0 }, at(ms));
	}
	ck_assert_uint_eq(taken(b, 1000, 9800), 200);
	munmap(b, board_bytes(2));
}
END_TEST

START_TEST(a_fifth_of_the_requests_of_all_workers_together)
{
	struct board *b = fresh(4);
	unsigned n = 0;

	(void)taken(b, 1000, 0);
	for (int64_t ms = 1; ms <= 60000; ms++) {	/* 1,000 requests/s, each wants a retry */
		request(b, (unsigned)ms % 4, 1);
		n += taken(b, 1, ms);
	}
	ck_assert_uint_ge(n, 11500);
	ck_assert_uint_le(n, 12000);
	munmap(b, board_bytes(4));
}
END_TEST

/* What nobody looked at is taken to have come evenly; what is older than the interval says nothing. */
START_TEST(requests_before_the_first_look_count)
{
	struct board *b = fresh(1);

	request(b, 0, 100000);
	ck_assert_uint_le(taken(b, 4000, 100000), 2000);
	ck_assert_uint_ge(taken(b, 4000, 120000), 100);
	munmap(b, board_bytes(1));

	b = fresh(1);
	request(b, 0, 100000);
	ck_assert_uint_ge(taken(b, 4000, 100000), 1900);
	ck_assert_uint_eq(taken(b, 4000, 200000), 100);
	munmap(b, board_bytes(1));
}
END_TEST

START_TEST(what_a_route_leads_elsewhere_counts_there)
{
	struct board *b = fresh(1);

	(void)taken(b, 1, 0);
	request(b, 0, 10000);
	board_add(&board_service(b, 0, 3, 1)->c[SC_routed], (uint64_t)-9000);
	ck_assert_uint_eq(taken(b, 4000, 1), 199);
	board_add(&board_service(b, 0, 3, 1)->c[SC_routed], 1000);
	ck_assert_uint_eq(taken(b, 4000, 2), 200);
	munmap(b, board_bytes(1));
}
END_TEST

START_TEST(its_numbers_are_the_policys)
{
	static const struct retry_budget none = { 0, 1000, 0 }, half = { 50, 1000, 1 },
					 hour = { 0, 3600000, 7 };
	struct board *b = fresh(1);

	(void)taken_of(b, &half, 1, 0);
	request(b, 0, 100);
	ck_assert_uint_eq(taken_of(b, &none, 10, 1), 0);
	(void)taken_of(b, &half, 1, 10000);
	request(b, 0, 100);
	ck_assert_uint_eq(taken_of(b, &half, 100, 10001), 49);
	munmap(b, board_bytes(1));
	b = fresh(1);
	ck_assert_uint_eq(taken_of(b, &hour, 10, 7200000), 7);
	ck_assert_uint_eq(taken_of(b, &hour, 10, 7200000 + 3500000), 0);
	ck_assert_uint_eq(taken_of(b, &hour, 10, 7200000 + 3800000), 7);
	munmap(b, board_bytes(1));
}
END_TEST

/* Workers whose views differ for a moment must not give each other a new budget at each look. */
START_TEST(another_interval_forgets_nothing)
{
	static const struct retry_budget other = { 20, 20000, 100 };
	struct board *b = fresh(1);
	unsigned n = 0;

	for (int64_t ms = 0; ms < 1000; ms++)
		n += taken_of(b, ms & 1 ? &usual : &other, 1, ms);
	ck_assert_uint_eq(n, 100);
	munmap(b, board_bytes(1));
}
END_TEST

START_TEST(a_new_generation_begins_anew_and_an_old_one_gets_none)
{
	struct board *b = fresh(1);

	ck_assert_uint_eq(taken(b, 1000, 0), 100);
	ck_assert(retry_take(b, 3, 2, &usual, at(0)));
	ck_assert(!retry_take(b, 3, 1, &usual, at(0)));
	munmap(b, board_bytes(1));
}
END_TEST

START_TEST(a_look_makes_no_memory_for_workers_that_never_were)
{
	struct board *b = fresh(BOARD_WORKERS);
	unsigned made = 0;

	request(b, 1, 1);
	(void)taken(b, 10, 0);
	for (unsigned w = 0; w < BOARD_WORKERS; w++) {
		uintptr_t page = (uintptr_t)&b->worker[w].service[3] & ~(uintptr_t)4095;
		unsigned char in = 0;

		ck_assert_int_eq(mincore((void *)page, 4096, &in), 0);
		made += in & 1;
	}
	ck_assert_uint_le(made, 2);
	munmap(b, board_bytes(BOARD_WORKERS));
}
END_TEST

START_TEST(what_a_sibling_wrote_is_survived)
{
	struct board *b = fresh(1);

	memset(&b->retries[3], 0xff, sizeof b->retries[3]);
	(void)taken(b, 10, 0);
	memset(&b->retries[3], 1, sizeof b->retries[3]);
	request(b, 0, UINT64_MAX);
	(void)taken(b, 10, 0);
	b->retries[3].of = 10000ull << 32 | 1;
	memset(b->retries[3].bucket, 0xff, sizeof b->retries[3].bucket);
	ck_assert_uint_gt(taken(b, 10, 0), 0);
	ck_assert(retry_take(b, UINT32_MAX, 1, &usual, at(0)));
	munmap(b, board_bytes(1));
}
END_TEST

/* ---- many workers at once ---- */

#define SPAN_MS	  40000
#define PROCESSES 8
#define LAG_MS	  20

struct race {
	_Atomic int64_t now, of[PROCESSES];
	uint32_t requests[PROCESSES][SPAN_MS], retries[PROCESSES][SPAN_MS];
};

static uint32_t draw(uint64_t *seed)
{
	*seed ^= *seed << 13;
	*seed ^= *seed >> 7;
	*seed ^= *seed << 17;
	return (uint32_t)(*seed >> 20);
}

/* Each of them a worker: requests in bursts and quiet times, of which all want a retry, and a clock
 * that lags behind that of the others by up to LAG_MS. */
static void work(struct race *r, struct board *b, unsigned me, unsigned n, uint64_t seed)
{
	int64_t slowest;

	for (;;) {
		int64_t ms = r->now;

		if (ms >= SPAN_MS)
			break;
		r->of[me] = ms;
		if (draw(&seed) % 1000 < (ms / 3000 % 3 == 0 ? 50u : 900u)) {
			r->requests[me][ms]++;
			request(b, me, 1);
		}
		r->retries[me][ms] += retry_take(b, 3, 1, &usual, at(ms));
		if (draw(&seed) % (2 * n))
			continue;
		slowest = ms;
		for (unsigned i = 0; i < n; i++)
			slowest = min_of(slowest, (int64_t)r->of[i]);
		if (ms - slowest < LAG_MS)
			r->now = ms + 1 > r->now ? ms + 1 : (int64_t)r->now;
		else
			sched_yield();
	}
	r->of[me] = SPAN_MS;
}

static void race(unsigned n, uint64_t seed)
{
	struct race *r = shared_memory(sizeof *r);
	struct board *b = fresh(n);
	uint64_t requests = 0, retries = 0, all = 0;
	pid_t pid[PROCESSES];

	for (unsigned i = 0; i < n; i++) {
		pid[i] = fork();
		ck_assert_int_ge(pid[i], 0);
		if (pid[i] == 0) {
			work(r, b, i, n, seed * 1000 + i + 1);
			_exit(0);
		}
	}
	for (unsigned i = 0; i < n; i++) {
		int status;

		ck_assert_int_eq(waitpid(pid[i], &status, 0), pid[i]);
		ck_assert_int_eq(status, 0);
	}
	/* In any ten seconds that end with one: at most a fifth, or a hundred, and one per cent.  One that
	 * lags behind does not know how late it is. */
	for (int64_t ms = 0; ms < SPAN_MS; ms++) {
		uint64_t before = all;

		for (unsigned i = 0; i < n; i++) {
			requests += r->requests[i][ms];
			retries += r->retries[i][ms];
			all += r->retries[i][ms];
			if (ms >= 10000)
				retries -= r->retries[i][ms - 10000];
			if (ms >= 10000 + LAG_MS)
				requests -= r->requests[i][ms - 10000 - LAG_MS];
		}
		ck_assert_msg(all == before || retries * 100 <= max_of(requests * 20, (uint64_t)10000) * 101 / 100,
			      "%u workers, seed %llu, %lld ms: %llu retries of %llu requests", n,
			      (unsigned long long)seed, (long long)ms, (unsigned long long)retries,
			      (unsigned long long)requests);
	}
	ck_assert_uint_gt(all, 400);
	munmap(b, board_bytes(n));
	munmap(r, sizeof *r);
}

START_TEST(no_interval_has_more_with_one_two_or_eight_workers)
{
	for (uint64_t seed = 1; seed <= 3; seed++) {
		race(1, seed);
		race(2, seed);
		race(PROCESSES, seed);
	}
}
END_TEST

UNIT_TESTS("retry", a_quiet_service_may_retry_so_often_in_an_interval,
	   a_thousand_requests_in_ten_seconds_allow_two_hundred,
	   a_fifth_of_the_requests_of_all_workers_together, requests_before_the_first_look_count,
	   what_a_route_leads_elsewhere_counts_there, its_numbers_are_the_policys,
	   another_interval_forgets_nothing, a_new_generation_begins_anew_and_an_old_one_gets_none,
	   a_look_makes_no_memory_for_workers_that_never_were, what_a_sibling_wrote_is_survived,
	   no_interval_has_more_with_one_two_or_eight_workers)
