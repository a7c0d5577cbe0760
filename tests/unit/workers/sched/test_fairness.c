/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The promises of the scheduler to tenants, without timing: greedy ones share by weight whatever the
 * number of their connections, and a victim with little to do does not wait for attackers, of each
 * kind that tests/bench/tenancy measures.  The clock is the test's: a step costs what it says. */
#include "tests/unit/test.h"

#include <sys/mman.h>

#include "workers/sched/sched.h"

#define TURN_US	   50
#define TURN_BYTES 262144
#define UNITS_MAX  8192

static int64_t world_ns;
static int64_t world_mono(void)
{
	return world_ns;
}
static int64_t world_unix(void)
{
	return 1;
}

static struct board *board;
static struct tenants ts;
static struct budget all;
static struct sched s;

static void begin(void)
{
	world_ns = NS_PER_S;
	clock_simulate(world_mono, world_unix);
	board = mmap(NULL, board_bytes(1), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert_ptr_ne(board, MAP_FAILED);
	board_format(board, 1);
	all = (struct budget){ .limit = 1 << 20 };
	ck_assert_int_eq(tenants_init(&ts, board, 0, &all, 1 << 16, 4, 4), 0);
	sched_init(&s, TURN_US, TURN_BYTES, board->worker[0].c);
	clock_tick();
}

static void finish(void)
{
	tenants_fini(&ts);
	munmap(board, board_bytes(1));
	clock_simulate(NULL, NULL);
}

static struct tenant *tenant(uint32_t slot, uint32_t weight)
{
	return tenant_take(&ts, &(struct tenant_terms){ .slot = slot, .gen = 1, .weight = weight });
}

static uint64_t busy(uint32_t slot)
{
	return board->worker[0].tenant[slot].c[TC_busy_ns];
}

/* A connection whose steps cost something and that goes on at once, or when it is woken. */
struct load {
	struct sched_unit unit;
	int64_t cost_ns;
	size_t bytes;
	bool greedy, request;
};

static void load_step(struct sched_unit *u)
{
	struct load *l = container_of(u, struct load, unit);

	world_ns += l->cost_ns;
	sched_charge(&s, l->bytes);
	if (l->request)
		sched_finished(&s);
	if (l->greedy)
		sched_wake(&s, &l->unit);
}

static void load_init(struct load *l, struct tenant *t, int64_t cost_us, size_t bytes, bool greedy)
{
	*l = (struct load){ .cost_ns = cost_us * NS_PER_US, .bytes = bytes, .greedy = greedy };
	sched_unit_init(&l->unit, t, load_step);
}

/* A pass: events (1 µs), a slice of turns; false: nothing is left to do. */
static bool pass(void)
{
	world_ns += NS_PER_US;
	return sched_run(&s);
}

static void sleep_until(int64_t ns)
{
	if (ns <= world_ns)
		return;
	world_ns = ns;
	clock_tick();
}

static struct load load[UNITS_MAX], victim;

START_TEST(greedy_tenants_with_8_to_2048_connections_have_equal_time)
{
	static const unsigned conns[] = { 8, 64, 512, 2048 };
	unsigned used = 0;
	double sum = 0, squares = 0;

	begin();
	for (unsigned k = 0; k < countof(conns); k++)
		for (unsigned i = 0; i < conns[k]; i++, used++) {
			load_init(&load[used], tenant(1 + k, 1), 4 + i % 23, i % 3 * 40000, true);
			sched_wake(&s, &load[used].unit);
		}
	while (world_ns < 2 * NS_PER_S)
		pass();
	for (unsigned k = 0; k < countof(conns); k++) {
		sum += (double)busy(1 + k);
		squares += (double)busy(1 + k) * (double)busy(1 + k);
	}
	ck_assert_double_ge(sum * sum / (countof(conns) * squares), 0.98);
	finish();
}
END_TEST

START_TEST(weights_of_1_2_4_are_shares_of_1_2_4)
{
	double unit;

	begin();
	for (unsigned i = 0; i < 300; i++) {
		load_init(&load[i], tenant(1 + i % 3, 1u << i % 3), 3 + i % 31, 0, true);
		sched_wake(&s, &load[i].unit);
	}
	while (world_ns < 2 * NS_PER_S)
		pass();
	unit = (double)(busy(1) + busy(2) + busy(3)) / 7;
	for (unsigned k = 0; k < 3; k++) {
		ck_assert_double_ge((double)busy(1 + k), 0.95 * unit * (1u << k));
		ck_assert_double_le((double)busy(1 + k), 1.05 * unit * (1u << k));
	}
	finish();
}
END_TEST

/* What the attackers' connections look like to the scheduler. */
static const struct attack {
	const char *name;
	unsigned conns;
	int64_t step_us;
	size_t bytes;
	bool greedy;		/* else each is woken once per every_us */
	int64_t every_us;
	bool shows_without;	/* without the scheduler, the victim waits for more than 1 ms */
} attacks[] = {
	{ "bulk streams",	   64,	 60, SCHED_STEP_BYTES, true,  0,     true },
	{ "tiny pipelined requests", 2048, 40, 4000,	     true,  0,	   true },
	{ "a connect flood",	   1,	 90, 0,		     true,  0,	   false },
	{ "slow-loris heads",	   4000, 3,  1,		     false, 20000, true },
	{ "slow-loris bodies",	   4000, 5,  1,		     false, 20000, true },
	{ "heads of full size",	   256,	 90, 65536,	     true,  0,	   true },
	{ "idle connections",	   8000, 5,  0,		     false, 60000000, false },
	{ "a silent back-end",	   2000, 15, 200,	     false, 5000000, false },
	{ "slow readers",	   512,	 60, SCHED_STEP_BYTES, false, 20000, true },
};

static void start(const struct attack *a)
{
	struct tenant *t = tenant(1, 1);

	for (unsigned i = 0; i < a->conns; i++) {
		load_init(&load[i], t, a->step_us, a->bytes, a->greedy);
		if (a->greedy)
			sched_wake(&s, &load[i].unit);
	}
}

/* All of them together: a burst is the worst that callers can do with it. */
static void burst(const struct attack *a)
{
	for (unsigned i = 0; i < a->conns; i++)
		sched_wake(&s, &load[i].unit);
}

/* 500 requests/s of three wakes each, at times that follow no rhythm of the attack's; what its p99
 * was between being ready and the step. */
static uint64_t victims_wait_ns(const struct attack *a, bool off)
{
	int64_t next_attack, next = 0, until;
	unsigned k = 0;
	uint64_t r;

	begin();
	if (off)
		sched_switch_off(&s);
	start(a);
	load_init(&victim, tenant(2, 1), 12, 500, false);
	until = world_ns + 4 * NS_PER_S;
	next_attack = world_ns + a->every_us * NS_PER_US;
	for (next = world_ns; world_ns < until;) {
		if (!a->greedy && world_ns >= next_attack) {
			burst(a);
			next_attack += a->every_us * NS_PER_US;
		}
		if (world_ns >= next) {
			sched_wake(&s, &victim.unit);
			next += k++ % 3 < 2 ? 150 * NS_PER_US : (1700 + k * 7919 % 100) * NS_PER_US;
		}
		if (!pass())
			sleep_until(a->greedy ? next : min_of(next, next_attack));
	}
	ck_assert_uint_gt(hist_count(&board->worker[0].tenant[2].hist[TH_wait]), off ? 10 : 1000);
	r = hist_quantile_ns(&board->worker[0].tenant[2].hist[TH_wait], 990);
	for (unsigned i = 0; i < a->conns; i++)
		sched_forget(&s, &load[i].unit);
	sched_forget(&s, &victim.unit);
	finish();
	return r;
}

START_TEST(no_attack_makes_the_victim_wait_for_more_than_a_step_and_a_slice)
{
	for (unsigned i = 0; i < countof(attacks); i++) {
		const struct attack *a = &attacks[i];
		/* The pass in which it became ready may have just begun: its slice and the step that
		 * goes beyond.  A quarter more: the width of a bucket. */
		uint64_t most = (uint64_t)((TURN_US + a->step_us + 10) * NS_PER_US) * 5 / 4;
		uint64_t with = victims_wait_ns(a, false), without = victims_wait_ns(a, true);

		ck_assert_msg(with <= most, "%s: p99 %llu ns", a->name, (unsigned long long)with);
		ck_assert_msg((without > (uint64_t)NS_PER_MS) == a->shows_without,
			      "%s: p99 without the scheduler %llu ns", a->name,
			      (unsigned long long)without);
	}
}
END_TEST

START_TEST(what_an_event_woke_counts_from_the_look_before)
{
	struct hist *h;
	struct load greedy;

	begin();
	load_init(&greedy, tenant(1, 1), 500, 0, true);
	load_init(&victim, tenant(2, 1), 10, 0, false);
	h = &board->worker[0].tenant[2].hist[TH_wait];
	sched_wake(&s, &greedy.unit);
	ck_assert(sched_run(&s));
	/* The greedy one's step took 500 µs; the event may have come at its beginning. */
	sched_wake(&s, &victim.unit);
	ck_assert(sched_run(&s));
	ck_assert_uint_eq(hist_count(h), 1);
	ck_assert_uint_eq(h->sum_ns, 500 * NS_PER_US);
	sched_forget(&s, &greedy.unit);
	ck_assert(!sched_run(&s));
	/* A worker that slept was woken by the event. */
	world_ns += NS_PER_S;
	clock_tick();
	sched_wake(&s, &victim.unit);
	ck_assert(!sched_run(&s));
	ck_assert_uint_eq(h->sum_ns, 500 * NS_PER_US);
	finish();
}
END_TEST

START_TEST(a_request_counts_the_waits_and_steps_since_the_one_before)
{
	struct hist *h;

	begin();
	load_init(&victim, tenant(2, 1), 10, 0, false);
	h = &board->worker[0].tenant[2].hist[TH_inside];
	for (int i = 0; i < 3; i++) {
		sched_wake(&s, &victim.unit);
		world_ns += 5 * NS_PER_US;	/* it waits */
		victim.request = i > 0;
		sched_run(&s);
		world_ns += NS_PER_MS;		/* the endpoint thinks */
		clock_tick();
	}
	ck_assert_uint_eq(hist_count(h), 2);
	ck_assert_uint_eq(h->sum_ns, (30 + 15) * NS_PER_US);
	sched_finished(&s);			/* not in a step: nobody's */
	sched_wake(&s, &victim.unit);
	victim.request = false;
	sched_run(&s);
	ck_assert_uint_eq(hist_count(h), 2);
	finish();
}
END_TEST

UNIT_TESTS("fairness", greedy_tenants_with_8_to_2048_connections_have_equal_time,
	   weights_of_1_2_4_are_shares_of_1_2_4,
	   no_attack_makes_the_victim_wait_for_more_than_a_step_and_a_slice,
	   what_an_event_woke_counts_from_the_look_before,
	   a_request_counts_the_waits_and_steps_since_the_one_before)
