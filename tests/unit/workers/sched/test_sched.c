/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The scheduler under a clock of our own: a step costs what the test says, nothing else does. */
#include <check.h>
#include <sys/mman.h>

#include "workers/sched/sched.h"

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

#define TURN_US	   50
#define TURN_BYTES 262144

static void setup(void)
{
	never_aborts = true;
	world_ns = NS_PER_S;
	clock_simulate(world_mono, world_unix);
	board = mmap(NULL, board_bytes(1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(board, MAP_FAILED);
	board_format(board, 1);
	all = (struct budget){ .limit = 1 << 20 };
	ck_assert_int_eq(tenants_init(&ts, board, 0, &all, 1 << 16, 4, 4), 0);
	sched_init(&s, TURN_US, TURN_BYTES, board->worker[0].c);
	clock_tick();
}

static void teardown(void)
{
	tenants_fini(&ts);
	munmap(board, board_bytes(1));
	clock_simulate(NULL, NULL);
}

static struct tenant *tenant(uint32_t slot, uint32_t weight)
{
	return tenant_take(&ts, &(struct tenant_terms){ .slot = slot, .gen = 1, .weight = weight });
}

/* A unit that works for cost_ns and bytes per step, for ever or n times. */
struct load {
	struct sched_unit unit;
	int64_t cost_ns;
	size_t bytes;
	int64_t left;		/* steps; negative: for ever */
	int64_t steps, used_ns;
	int64_t woken, waited_max;
};

static void load_step(struct sched_unit *u)
{
	struct load *l = container_of(u, struct load, unit);

	l->waited_max = max_of(l->waited_max, world_ns - l->woken);
	l->steps++;
	l->used_ns += l->cost_ns;
	world_ns += l->cost_ns;
	sched_charge(&s, l->bytes);
	if (l->left > 0)
		l->left--;
	if (l->left != 0) {
		l->woken = world_ns;
		sched_wake(&s, &l->unit);
	}
}

static void load_init(struct load *l, struct tenant *t, int64_t cost_us, int64_t steps)
{
	*l = (struct load){ .cost_ns = cost_us * NS_PER_US, .left = steps };
	sched_unit_init(&l->unit, t, load_step);
}

static void wake(struct load *l)
{
	l->woken = world_ns;
	sched_wake(&s, &l->unit);
}

/* Runs the scheduler for ms of its time; a pass without work costs 10 µs. */
static void run_ms(int64_t ms)
{
	int64_t until = world_ns + ms * NS_PER_MS;

	while (world_ns < until) {
		if (!sched_run(&s))
			world_ns += 10 * NS_PER_US;
		world_ns += NS_PER_US;	/* looking for events */
	}
}

START_TEST(a_woken_unit_takes_one_step)
{
	struct load l;

	load_init(&l, tenant(1, 1), 5, 1);
	wake(&l);
	ck_assert(sched_is_queued(&l.unit));
	wake(&l);	/* queued already */
	ck_assert_uint_eq(s.runnable, 1);
	ck_assert(!sched_run(&s));
	ck_assert_int_eq(l.steps, 1);
	ck_assert(!sched_is_queued(&l.unit));
	ck_assert(!sched_run(&s));
	ck_assert_int_eq(l.steps, 1);
}
END_TEST

START_TEST(run_returns_after_a_slice_and_says_there_is_more)
{
	struct load l;

	load_init(&l, tenant(1, 1), 7, -1);
	wake(&l);
	for (int i = 0; i < 10; i++) {
		int64_t before = world_ns;

		ck_assert(sched_run(&s));
		ck_assert_int_ge(world_ns - before, TURN_US * NS_PER_US);
		ck_assert_int_lt(world_ns - before, (TURN_US + 7) * NS_PER_US);
	}
}
END_TEST

START_TEST(units_of_a_tenant_come_first_in_first_out)
{
	struct load l[3];
	struct tenant *t = tenant(1, 1);

	for (int i = 0; i < 3; i++) {
		load_init(&l[i], t, 1, 1);
		wake(&l[i]);
	}
	sched_run(&s);
	/* Each waited for those before it. */
	ck_assert_int_eq(l[0].waited_max, 0);
	ck_assert_int_eq(l[1].waited_max, 1 * NS_PER_US);
	ck_assert_int_eq(l[2].waited_max, 2 * NS_PER_US);
}
END_TEST

START_TEST(busy_tenants_share_time_by_weight_whatever_their_number_of_units)
{
	static struct load a[100], b, c;
	struct tenant *ta = tenant(1, 1), *tb = tenant(2, 1), *tc = tenant(3, 3);
	int64_t used_a = 0;

	for (int i = 0; i < 100; i++) {
		load_init(&a[i], ta, 3, -1);
		wake(&a[i]);
	}
	load_init(&b, tb, 11, -1);
	wake(&b);
	load_init(&c, tc, 5, -1);
	wake(&c);
	run_ms(500);
	for (int i = 0; i < 100; i++)
		used_a += a[i].used_ns;
	ck_assert_int_gt(used_a, 95 * NS_PER_MS);
	ck_assert_int_lt(used_a, 105 * NS_PER_MS);
	ck_assert_int_gt(b.used_ns, 95 * NS_PER_MS);
	ck_assert_int_lt(b.used_ns, 105 * NS_PER_MS);
	ck_assert_int_gt(c.used_ns, 285 * NS_PER_MS);
	ck_assert_int_lt(c.used_ns, 305 * NS_PER_MS);
}
END_TEST

START_TEST(bytes_are_shared_too)
{
	struct load a, b;

	/* a moves eight turns' worth of bytes in a step that takes no more time than b's. */
	load_init(&a, tenant(1, 1), 5, -1);
	a.bytes = 8 * TURN_BYTES;
	load_init(&b, tenant(2, 1), 5, -1);
	wake(&a);
	wake(&b);
	run_ms(100);
	ck_assert_int_gt(b.used_ns, 90 * NS_PER_MS);
	ck_assert_int_gt(a.steps, 100);
}
END_TEST

/* The promise of the design: 2,000 connections that are always readable change nothing for
 * another tenant. */
START_TEST(two_thousand_ready_units_do_not_slow_another_tenant)
{
	static struct load noisy[2000];
	struct load polite;
	struct tenant *t = tenant(1, 1), *p = tenant(2, 1);

	for (int i = 0; i < 2000; i++) {
		load_init(&noisy[i], t, 2, -1);
		wake(&noisy[i]);
	}
	run_ms(20);
	load_init(&polite, p, 10, 1);
	for (int i = 0; i < 1000; i++) {
		run_ms(1);
		polite.left = 1;
		wake(&polite);
		sched_run(&s);
		ck_assert_int_eq(polite.steps, i + 1);
	}
	/* Nothing ran between its wake and its step. */
	ck_assert_int_eq(polite.waited_max, 0);
}
END_TEST

START_TEST(a_request_of_three_wakes_is_fresh_each_time_beside_fifty_busy_tenants)
{
	static struct load noisy[50];
	struct load polite;

	for (int i = 0; i < 50; i++) {
		load_init(&noisy[i], tenant(10 + (uint32_t)i, 1000), 20, -1);
		wake(&noisy[i]);
	}
	run_ms(200);
	load_init(&polite, tenant(1, 1), 5, 1);
	for (int i = 0; i < 200; i++) {
		for (int k = 0; k < 3; k++) {
			int64_t steps = polite.steps;

			polite.left = 1;
			wake(&polite);
			sched_run(&s);
			ck_assert_int_eq(polite.steps, steps + 1);
			sched_run(&s);
		}
		run_ms(1000);	/* its share is 5 ns per 50 µs * 1000 * 50: earn three steps */
	}
	ck_assert_int_eq(polite.waited_max, 0);
}
END_TEST

START_TEST(who_naps_after_each_step_gets_no_more_than_its_share)
{
	struct load honest[4], napper;
	int64_t until;

	for (int i = 0; i < 4; i++) {
		load_init(&honest[i], tenant(1 + (uint32_t)i, 1), 10, -1);
		wake(&honest[i]);
	}
	load_init(&napper, tenant(9, 1), 45, 1);
	until = world_ns + 500 * NS_PER_MS;
	for (int k = 0; world_ns < until; k++) {
		if (k % 2 && !sched_is_queued(&napper.unit)) {
			napper.left = 1;
			wake(&napper);
		}
		sched_run(&s);
		world_ns += NS_PER_US;
	}
	ck_assert_int_lt(napper.used_ns, 110 * NS_PER_MS);
	ck_assert_int_gt(napper.used_ns, 50 * NS_PER_MS);
}
END_TEST

START_TEST(a_storm_of_fresh_tenants_leaves_the_busy_one_its_turns)
{
	static struct load storm[900];
	struct load busy;

	load_init(&busy, tenant(1, 1), 10, -1);
	wake(&busy);
	run_ms(5);
	busy.waited_max = 0;
	for (int i = 0; i < 900; i++)
		load_init(&storm[i], tenant(2 + (uint32_t)i, 1), 2, 1);
	for (int k = 0; k < 400; k++) {
		for (int i = 0; i < 900; i++) {
			storm[i].left = 1;
			wake(&storm[i]);
		}
		run_ms(1);
	}
	/* At worst behind all others that have become busy meanwhile, with fresh ones between. */
	ck_assert_int_lt(busy.waited_max, 12 * NS_PER_MS);
	ck_assert_int_gt(busy.steps, 300);
}
END_TEST

START_TEST(a_long_step_is_counted_and_paid_for)
{
	struct load slow, other;

	load_init(&slow, tenant(1, 1), 20000, 1);
	load_init(&other, tenant(2, 1), 10, -1);
	wake(&other);
	run_ms(1);
	wake(&slow);
	run_ms(30);
	ck_assert_int_eq(slow.steps, 1);
	ck_assert_uint_eq(board->worker[0].c[WC_turns_long], 1);
	/* It owes 20 ms and earns half of what passes: not fresh for another 40. */
	other.waited_max = 0;
	slow.cost_ns = 10 * NS_PER_US;
	slow.left = -1;
	wake(&slow);
	run_ms(5);
	ck_assert_int_eq(slow.steps, 1);
	run_ms(60);
	ck_assert_int_gt(slow.steps, 1);
}
END_TEST

START_TEST(alone_a_debt_is_nobodys)
{
	struct load slow, other;
	int64_t steps;

	load_init(&slow, tenant(1, 1), 30000, -1);
	wake(&slow);
	run_ms(300);
	steps = slow.steps;
	ck_assert_int_ge(steps, 10);
	/* Only the last step is owed to somebody who comes now. */
	slow.cost_ns = 10 * NS_PER_US;
	load_init(&other, tenant(2, 1), 10, -1);
	wake(&other);
	run_ms(25);
	ck_assert_int_eq(slow.steps, steps);
	run_ms(20);
	ck_assert_int_gt(slow.steps, steps);
}
END_TEST

START_TEST(a_forgotten_unit_is_never_run)
{
	struct load a, b;
	struct tenant *t = tenant(1, 1);

	load_init(&a, t, 5, 1);
	load_init(&b, t, 5, 1);
	wake(&a);
	wake(&b);
	sched_forget(&s, &a.unit);
	sched_forget(&s, &a.unit);
	ck_assert(!sched_run(&s));
	ck_assert_int_eq(a.steps, 0);
	ck_assert_int_eq(b.steps, 1);
	wake(&a);
	sched_forget(&s, &a.unit);
	ck_assert_uint_eq(s.weights, 0);
	ck_assert(!sched_run(&s));
}
END_TEST

/* A step that ends its conn, as the last of a tenant whose slot another one has now. */
static struct tenant *dying;
static void die_step(struct sched_unit *u)
{
	(void)u;
	world_ns += NS_PER_US;
	tenant_leave(dying);
	tenant_give(&dying);
}

START_TEST(a_step_may_end_the_last_conn_of_a_superseded_tenant)
{
	struct sched_unit u;
	struct tenant *newer;

	dying = tenant(5, 1);
	ck_assert_int_eq(tenant_admit(dying), 0);
	sched_unit_init(&u, dying, die_step);
	newer = tenant_take(&ts, &(struct tenant_terms){ .slot = 5, .gen = 2, .weight = 1 });
	ck_assert_ptr_ne(newer, dying);
	sched_wake(&s, &u);
	ck_assert(!sched_run(&s));
	ck_assert_ptr_null(dying);
	ck_assert_uint_eq(ts.slab.live, 2);	/* slot 0's and the newer one */
	ck_assert_uint_eq(s.weights, 0);
}
END_TEST

START_TEST(turns_and_time_are_on_the_board)
{
	struct load l;
	struct tenant *t = tenant(7, 1);

	load_init(&l, t, 10, 3);
	wake(&l);
	while (sched_run(&s))
		;
	ck_assert_uint_eq(board->worker[0].tenant[7].c[TC_busy_ns], 30000);
	ck_assert_uint_eq(board->worker[0].tenant[7].c[TC_turns], 1);
	ck_assert_uint_eq(board->worker[0].c[WC_busy_ns], 30000);
	ck_assert_uint_eq(board->worker[0].c[WC_turns], 1);
}
END_TEST

START_TEST(a_step_is_told_when_it_has_moved_enough)
{
	ck_assert(sched_may_go_on(&s));
	sched_charge(&s, SCHED_STEP_BYTES - 1);
	ck_assert(sched_may_go_on(&s));
	sched_charge(&s, 1);
	ck_assert(!sched_may_go_on(&s));
}
END_TEST

/* Random tenants, weights, costs, sleeps and forgetting, by seed: sums stay right and nobody
 * starves. */
START_TEST(random_lives_keep_the_books)
{
	static struct load l[200];
	uint64_t x = (uint64_t)_i * 0x9e3779b97f4a7c15u + 1;
	int64_t used = 0, from;

	for (int i = 0; i < 200; i++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		load_init(&l[i], tenant(1 + x % 20, 1 + x / 64 % 10), 1 + (int64_t)(x >> 32) % 60,
			  x % 3 ? -1 : 1);
		l[i].bytes = (x >> 40) % 100000;
	}
	from = world_ns;
	for (int k = 0; k < 2000; k++) {
		x ^= x << 13, x ^= x >> 7, x ^= x << 17;
		struct load *one = &l[x % 200];

		if (one->left == 0)
			one->left = 1;
		if (x >> 60 == 0)
			sched_forget(&s, &one->unit);
		else
			wake(one);
		sched_run(&s);
		world_ns += NS_PER_US;
	}
	for (int i = 0; i < 200; i++)
		used += l[i].used_ns;
	ck_assert_int_eq(used, (int64_t)board->worker[0].c[WC_busy_ns]);
	ck_assert_int_le(used, world_ns - from);
	for (int i = 0; i < 200; i++) {
		sched_forget(&s, &l[i].unit);
		ck_assert(!sched_is_queued(&l[i].unit));
	}
	ck_assert_uint_eq(s.runnable, 0);
	ck_assert_uint_eq(s.weights, 0);
	ck_assert(!sched_run(&s));
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("sched");
	TCase *t = tcase_create("sched");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, a_woken_unit_takes_one_step);
	tcase_add_test(t, run_returns_after_a_slice_and_says_there_is_more);
	tcase_add_test(t, units_of_a_tenant_come_first_in_first_out);
	tcase_add_test(t, busy_tenants_share_time_by_weight_whatever_their_number_of_units);
	tcase_add_test(t, bytes_are_shared_too);
	tcase_add_test(t, two_thousand_ready_units_do_not_slow_another_tenant);
	tcase_add_test(t, a_request_of_three_wakes_is_fresh_each_time_beside_fifty_busy_tenants);
	tcase_add_test(t, who_naps_after_each_step_gets_no_more_than_its_share);
	tcase_add_test(t, a_storm_of_fresh_tenants_leaves_the_busy_one_its_turns);
	tcase_add_test(t, a_long_step_is_counted_and_paid_for);
	tcase_add_test(t, alone_a_debt_is_nobodys);
	tcase_add_test(t, a_forgotten_unit_is_never_run);
	tcase_add_test(t, a_step_may_end_the_last_conn_of_a_superseded_tenant);
	tcase_add_test(t, turns_and_time_are_on_the_board);
	tcase_add_test(t, a_step_is_told_when_it_has_moved_enough);
	tcase_add_loop_test(t, random_lives_keep_the_books, 0, 50);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
