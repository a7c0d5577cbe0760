/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The timing wheel, against a plain list of deadlines in virtual time. */
#include "tests/unit/test.h"

#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/base/wheel.h"

#define N 500

struct item {
	struct wheel_entry e;
	int fired;
};

static struct mono now;
static struct item item[N];
static struct wheel w;

static void fire(struct wheel_entry *e, void *arg)
{
	struct item *i = container_of(e, struct item, e);

	(void)arg;
	i->fired++;
}

static void fresh(void)
{
	now.ns = 5 * NS_PER_S;
	wheel_init(&w, now);
	for (int i = 0; i < N; i++) {
		wheel_entry_init(&item[i].e);
		item[i].fired = 0;
	}
}

START_TEST(deadlines_are_never_early_and_at_most_two_slots_late)
{
	int64_t due[N];

	fresh();
	rand_seed(1);
	for (int i = 0; i < N; i++) {
		due[i] = now.ns + (int64_t)rand_below(300000) * NS_PER_MS;	/* up to 5 minutes */
		wheel_set(&w, &item[i].e, (struct mono){ due[i] });
	}
	while (w.count) {
		int64_t before = now.ns;
		int was[N];

		for (int i = 0; i < N; i++)
			was[i] = item[i].fired;
		now.ns += 20 * NS_PER_MS;
		wheel_run(&w, now, fire, NULL);
		for (int i = 0; i < N; i++) {
			if (item[i].fired == was[i])
				continue;
			ck_assert_int_eq(item[i].fired, 1);
			ck_assert_int_ge(now.ns, due[i]);
			ck_assert_int_le(before - due[i], 2 << WHEEL_SHIFT);
		}
		ck_assert_int_lt(now.ns, 400 * NS_PER_S);
	}
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(item[i].fired, 1);
}
END_TEST

START_TEST(a_deadline_moved_later_fires_only_then)
{
	fresh();
	wheel_set(&w, &item[0].e, mono_after_ms(now, 1000));
	for (int i = 0; i < 100; i++) {	/* traffic keeps it alive for 50 s */
		now.ns += NS_PER_S / 2;
		wheel_set(&w, &item[0].e, mono_after_ms(now, 1000));
		wheel_run(&w, now, fire, NULL);
		ck_assert_int_eq(item[0].fired, 0);
	}
	now.ns += 3 * NS_PER_S;
	wheel_run(&w, now, fire, NULL);
	ck_assert_int_eq(item[0].fired, 1);
	ck_assert_uint_eq(w.count, 0);
}
END_TEST

START_TEST(a_deadline_moved_earlier_fires_earlier)
{
	fresh();
	wheel_set(&w, &item[0].e, mono_after_ms(now, 60000));
	wheel_set(&w, &item[0].e, mono_after_ms(now, 200));
	now.ns += 400 * NS_PER_MS;
	wheel_run(&w, now, fire, NULL);
	ck_assert_int_eq(item[0].fired, 1);
}
END_TEST

START_TEST(a_cleared_deadline_never_fires)
{
	fresh();
	wheel_set(&w, &item[0].e, mono_after_ms(now, 200));
	wheel_clear(&w, &item[0].e);
	wheel_clear(&w, &item[0].e);
	now.ns += 5 * NS_PER_S;
	wheel_run(&w, now, fire, NULL);
	ck_assert_int_eq(item[0].fired, 0);
	ck_assert_int_eq(wheel_next_ns(&w, now), -1);
}
END_TEST

START_TEST(after_a_long_sleep_everything_due_fires_once)
{
	fresh();
	for (int i = 0; i < N; i++)
		wheel_set(&w, &item[i].e, mono_after_ms(now, i * 10));
	now.ns += 1000 * NS_PER_S;
	wheel_run(&w, now, fire, NULL);
	for (int i = 0; i < N; i++)
		ck_assert_int_eq(item[i].fired, 1);
}
END_TEST

START_TEST(a_run_of_some_leaves_the_rest_for_the_next)
{
	int fired = 0, runs = 0;

	fresh();
	for (int i = 0; i < N; i++)
		wheel_set(&w, &item[i].e, mono_after_ms(now, 200));
	now.ns += 400 * NS_PER_MS;
	while (fired < N) {
		int was = fired;

		wheel_run_some(&w, now, 7, fire, NULL);
		fired = 0;
		for (int i = 0; i < N; i++)
			fired += item[i].fired;
		ck_assert_int_eq(fired - was, min_of(7, N - was));
		if (fired < N)
			ck_assert_int_eq(wheel_next_ns(&w, now), 0);
		runs++;
	}
	ck_assert_int_eq(runs, (N + 6) / 7);
	ck_assert_int_eq(wheel_next_ns(&w, now), -1);
}
END_TEST

START_TEST(the_next_run_is_not_after_the_first_deadline_by_more_than_two_slots)
{
	fresh();
	wheel_set(&w, &item[0].e, mono_after_ms(now, 5000));
	ck_assert_int_ge(wheel_next_ns(&w, now), 4900 * NS_PER_MS);
	ck_assert_int_le(wheel_next_ns(&w, now), 5000 * NS_PER_MS + (2 << WHEEL_SHIFT));
}
END_TEST

UNIT_TESTS("wheel", deadlines_are_never_early_and_at_most_two_slots_late,
	   a_deadline_moved_later_fires_only_then, a_deadline_moved_earlier_fires_earlier,
	   a_cleared_deadline_never_fires, a_run_of_some_leaves_the_rest_for_the_next,
	   after_a_long_sleep_everything_due_fires_once,
	   the_next_run_is_not_after_the_first_deadline_by_more_than_two_slots)
