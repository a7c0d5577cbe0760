/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What is learned about an endpoint: response time and health. */
#include "tests/unit/test.h"

#include "nodeproxy/lib/base/rand.h"
#include "workers/obs/endpoint.h"

static struct mono at(int64_t ms)
{
	return (struct mono){ (1000000 + ms) * NS_PER_MS };
}

START_TEST(a_slower_answer_counts_at_once_and_a_faster_one_by_and_by)
{
	struct board_endpoint e = { 0 };

	ck_assert_uint_eq(endpoint_rtt_us(&e, at(0)), 0);
	endpoint_answered(&e, 1000, at(0));
	ck_assert_uint_eq(endpoint_rtt_us(&e, at(0)), 1000);
	endpoint_answered(&e, 100000, at(10));
	ck_assert_uint_eq(endpoint_rtt_us(&e, at(10)), 100000);
	/* 1 s later: 100000 e^-0.1 = 90484, of which the sample replaces 9.516 % */
	endpoint_answered(&e, 1000, at(1010));
	ck_assert_uint_ge(endpoint_rtt_us(&e, at(1010)), 81900);
	ck_assert_uint_le(endpoint_rtt_us(&e, at(1010)), 82000);
	/* a second later without any: e^-0.1; another one: e^-2 of that */
	ck_assert_uint_ge(endpoint_rtt_us(&e, at(2010)), 74000);
	ck_assert_uint_le(endpoint_rtt_us(&e, at(2010)), 74300);
	ck_assert_uint_ge(endpoint_rtt_us(&e, at(3010)), 10000);
	ck_assert_uint_le(endpoint_rtt_us(&e, at(3010)), 10100);
	ck_assert_uint_le(endpoint_rtt_us(&e, at(400000)), 1);
}
END_TEST

START_TEST(one_that_owes_answers_is_as_slow_as_its_silence)
{
	struct board_endpoint e = { 0 };

	endpoint_answered(&e, 2000, at(0));
	ck_assert_uint_eq(endpoint_load(&e, at(0)), 2001);
	e.load = 1 | 1ull << 32;
	endpoint_woken(&e, at(1000));
	ck_assert_uint_lt(endpoint_load(&e, at(1000)), 2 * 2000);
	ck_assert_uint_ge(endpoint_load(&e, at(1500)), 2 * 500000);
	e.load = 1;			/* a long body, a WebSocket: counts, but owes nothing */
	ck_assert_uint_lt(endpoint_load(&e, at(1500)), 2 * 2000);
}
END_TEST

START_TEST(endpoints_that_answer_within_a_millisecond_are_alike)
{
	struct board_endpoint a = { 0 }, b = { 0 };

	endpoint_answered(&a, 90, at(0));
	endpoint_answered(&b, 900, at(0));
	ck_assert_uint_eq(endpoint_load(&a, at(0)), endpoint_load(&b, at(0)));
	a.load = 1;
	ck_assert_uint_eq(endpoint_load(&a, at(0)), 2 * endpoint_load(&b, at(0)));
}
END_TEST

START_TEST(one_that_is_unknown_gets_one_exchange_and_then_waits_for_its_answer)
{
	struct board_endpoint e = { 0 };

	ck_assert_uint_eq(endpoint_load(&e, at(0)), 1);
	e.load = 1 | 1ull << 32;
	endpoint_woken(&e, at(0));
	ck_assert_uint_eq(endpoint_load(&e, at(0)), 2 * (ENDPOINT_DEFAULT_US + 1));
}
END_TEST

START_TEST(a_failure_is_slow_however_fast_it_came)
{
	struct board_endpoint e = { 0 };

	endpoint_answered(&e, 100, at(0));
	ck_assert(!endpoint_failed(&e, &ejection_default, at(0)));
	ck_assert_uint_eq(endpoint_rtt_us(&e, at(0)), ENDPOINT_PENALTY_US);
	endpoint_abandoned(&e, 9000000, at(0));
	ck_assert_uint_eq(endpoint_rtt_us(&e, at(0)), 9000000);
	endpoint_abandoned(&e, 5, at(0));		/* a caller who left early says nothing */
	ck_assert_uint_gt(endpoint_rtt_us(&e, at(1000)), ENDPOINT_PENALTY_US);
	ck_assert_uint_lt(endpoint_rtt_us(&e, at(6000)), ENDPOINT_FLOOR_US);	/* it may be asked again */
	ck_assert_uint_eq(endpoint_rtt_us(&e, at(0)), 9000000);
}
END_TEST

START_TEST(five_failures_in_a_row_and_only_in_a_row_put_it_out)
{
	struct board_endpoint e = { 0 };

	for (int i = 0; i < 4; i++)
		ck_assert(!endpoint_failed(&e, &ejection_default, at(i)));
	endpoint_succeeded(&e, &ejection_default, at(4));
	for (int i = 0; i < 4; i++)
		ck_assert(!endpoint_failed(&e, &ejection_default, at(5 + i)));
	ck_assert(!endpoint_is_out(&e, &ejection_default, at(9)));
	ck_assert(endpoint_failed(&e, &ejection_default, at(10)));
	ck_assert(endpoint_is_out(&e, &ejection_default, at(10)));
	ck_assert_uint_eq(endpoint_out_ms(&e, &ejection_default, at(10)), ENDPOINT_OUT_MS);
	/* what was under way neither prolongs nor ends it */
	ck_assert(!endpoint_failed(&e, &ejection_default, at(20)));
	endpoint_succeeded(&e, &ejection_default, at(20));
	ck_assert(endpoint_is_out(&e, &ejection_default, at(1009)));
	ck_assert(!endpoint_is_out(&e, &ejection_default, at(1010)));
}
END_TEST

START_TEST(on_trial_it_has_one_exchange_and_one_chance)
{
	struct board_endpoint e = { 0 };
	int64_t ms = 0, expected = ENDPOINT_OUT_MS;

	for (int i = 0; i < 5; i++)
		(void)endpoint_failed(&e, &ejection_default, at(0));
	for (int i = 0; i < 10; i++) {
		ck_assert_uint_eq(endpoint_out_ms(&e, &ejection_default, at(ms)), (uint64_t)expected);
		ms += expected;
		ck_assert(!endpoint_is_out(&e, &ejection_default, at(ms)));
		e.load = 1 | 1ull << 32;
		ck_assert(endpoint_is_out(&e, &ejection_default, at(ms)));		/* busy with its trial */
		e.load = 0;
		ck_assert(endpoint_failed(&e, &ejection_default, at(ms)));
		expected = min_of(expected * 2, (int64_t)ENDPOINT_OUT_MAX_MS);
	}
	ms += ENDPOINT_OUT_MAX_MS;
	endpoint_succeeded(&e, &ejection_default, at(ms));
	for (int i = 0; i < 4; i++)
		ck_assert(!endpoint_failed(&e, &ejection_default, at(ms)));
	ck_assert(!endpoint_is_out(&e, &ejection_default, at(ms)));
}
END_TEST

START_TEST(a_policy_says_how_many_failures_and_for_how_long)
{
	static const struct ejection two = { .failures = 2, .base_ms = 100, .max_ms = 3600000,
					     .percent = 50 };
	static const struct ejection never = { .failures = 0, .base_ms = 100, .max_ms = 100 };
	struct board_endpoint e = { 0 };
	int64_t ms = 0, expected = 100;

	for (int i = 0; i < 300; i++)
		ck_assert(!endpoint_failed(&e, &never, at(0)));
	ck_assert_uint_eq(endpoint_rtt_us(&e, at(0)), ENDPOINT_PENALTY_US);	/* avoided all the same */
	ck_assert(!endpoint_failed(&e, &two, at(0)));
	ck_assert(endpoint_failed(&e, &two, at(0)));
	for (int i = 0; i < 20; i++) {
		ck_assert_uint_eq(endpoint_out_ms(&e, &two, at(ms)), (uint64_t)expected);
		/* Whose policy changes to never is not out any more. */
		ck_assert(endpoint_is_out(&e, &two, at(ms)));
		ck_assert(!endpoint_is_out(&e, &never, at(ms)));
		ck_assert_uint_eq(endpoint_out_ms(&e, &never, at(ms)), 0);
		ms += expected;
		ck_assert(endpoint_failed(&e, &two, at(ms)));
		expected = min_of(expected * 2, (int64_t)3600000);
	}
	ck_assert_int_eq(expected, 3600000);
	/* A policy with a shorter longest time does not leave it out for the old one. */
	ck_assert(!endpoint_is_out(&e, &ejection_default, at(ms)));
	endpoint_succeeded(&e, &ejection_default, at(ms));
	ck_assert_uint_eq(e.health, 0);
}
END_TEST

START_TEST(a_streak_that_is_long_does_not_begin_anew)
{
	static const struct ejection many = { .failures = 255, .base_ms = 1, .max_ms = 1 };
	struct board_endpoint e = { 0 };

	for (int i = 0; i < 254; i++)
		ck_assert(!endpoint_failed(&e, &many, at(0)));
	ck_assert(endpoint_failed(&e, &many, at(0)));
}
END_TEST

START_TEST(whatever_a_sibling_writes_is_only_a_number)
{
	rand_seed(7);
	for (int i = 0; i < 20000; i++) {
		struct board_endpoint e = { .load = rand_u64(), .rtt = rand_u64(),
					    .health = rand_u64() };
		struct mono now = at(rand_u32());

		(void)endpoint_load(&e, now);
		ck_assert_uint_le(endpoint_out_ms(&e, &ejection_default, now), ENDPOINT_OUT_MAX_MS);
		endpoint_answered(&e, rand_u32(), now);
		(void)endpoint_failed(&e, &ejection_default, now);
		/* nobody is out for longer than the longest time */
		ck_assert_uint_eq(endpoint_out_ms(&e, &ejection_default, (struct mono){
			now.ns + (ENDPOINT_OUT_MAX_MS + 1) * NS_PER_MS }), 0);
	}
}
END_TEST

UNIT_TESTS("endpoint", a_slower_answer_counts_at_once_and_a_faster_one_by_and_by,
	   one_that_owes_answers_is_as_slow_as_its_silence,
	   endpoints_that_answer_within_a_millisecond_are_alike,
	   one_that_is_unknown_gets_one_exchange_and_then_waits_for_its_answer,
	   a_failure_is_slow_however_fast_it_came,
	   five_failures_in_a_row_and_only_in_a_row_put_it_out,
	   on_trial_it_has_one_exchange_and_one_chance,
	   a_policy_says_how_many_failures_and_for_how_long,
	   a_streak_that_is_long_does_not_begin_anew, whatever_a_sibling_writes_is_only_a_number)
