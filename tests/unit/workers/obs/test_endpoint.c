/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What is learned about an endpoint: response time and health. */
#include "tests/unit/test.h"

#include "nodeproxy/lib/base/rand.h"
#include "workers/obs/endpoint.h"

/* As where no policy says anything, but to the millisecond. */
static const struct ejection plain = { .base_ms = 1000, .max_ms = 60000, .failures = 5, .percent = 50 };

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
	ck_assert(!endpoint_failed(&e, &ejection_default, at(0), at(0)));
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
		ck_assert(!endpoint_failed(&e, &plain, at(i), at(i)));
	endpoint_succeeded(&e, at(4));
	for (int i = 0; i < 4; i++)
		ck_assert(!endpoint_failed(&e, &plain, at(5 + i), at(5 + i)));
	ck_assert(!endpoint_is_out(&e, &plain, at(9)));
	ck_assert(endpoint_failed(&e, &plain, at(10), at(10)));
	ck_assert(endpoint_is_out(&e, &plain, at(10)));
	ck_assert_uint_eq(endpoint_out_ms(&e, &plain, at(10)), plain.base_ms);
	/* what was under way neither prolongs nor ends it */
	ck_assert(!endpoint_failed(&e, &plain, at(9), at(20)));
	endpoint_succeeded(&e, at(9));
	ck_assert(endpoint_is_out(&e, &plain, at(1009)));
	ck_assert(!endpoint_is_out(&e, &plain, at(1010)));
}
END_TEST

START_TEST(the_probe_has_one_exchange_and_one_chance)
{
	struct board_endpoint e = { 0 };
	int64_t ms = 0, expected = plain.base_ms;

	for (int i = 0; i < 5; i++)
		(void)endpoint_failed(&e, &plain, at(0), at(0));
	for (int i = 0; i < 10; i++) {
		ck_assert_uint_eq(endpoint_out_ms(&e, &plain, at(ms)), (uint64_t)expected);
		ck_assert(!endpoint_probe(&e, &plain, at(ms + expected - 1)));
		ms += expected;
		ck_assert(!endpoint_is_out(&e, &plain, at(ms)));
		ck_assert(endpoint_probe(&e, &plain, at(ms)));
		e.load = 1 | 1ull << 32;
		ck_assert_int_eq(endpoint_breaker(&e, &plain), BREAKER_HALF_OPEN);
		ck_assert(endpoint_is_out(&e, &plain, at(ms)));		/* busy with it */
		ck_assert(!endpoint_probe(&e, &plain, at(ms)));
		e.load = 0;
		ck_assert(endpoint_failed(&e, &plain, at(ms), at(ms)));
		expected = min_of(expected * 2, (int64_t)plain.max_ms);
	}
	ms += plain.max_ms;
	ck_assert(endpoint_probe(&e, &plain, at(ms)));
	endpoint_succeeded(&e, at(ms));
	ck_assert_uint_eq(e.health, 0);
	for (int i = 0; i < 4; i++)
		ck_assert(!endpoint_failed(&e, &plain, at(ms), at(ms)));
	ck_assert(!endpoint_is_out(&e, &plain, at(ms)));
}
END_TEST

static struct board_endpoint half_open(int64_t since)
{
	struct board_endpoint e = { 0 };

	for (int i = 0; i < 5; i++)
		(void)endpoint_failed(&e, &plain, at(since - 5000), at(since - 5000));
	ck_assert(endpoint_probe(&e, &plain, at(since)));
	e.load = 1 | 1ull << 32;
	return e;
}

START_TEST(what_was_under_way_before_the_probe_says_nothing)
{
	struct board_endpoint e = half_open(10000);

	/* A request of before the ejection times out at last, another is answered. */
	ck_assert(!endpoint_failed(&e, &plain, at(4000), at(10010)));
	endpoint_succeeded(&e, at(4000));
	endpoint_proved(&e, at(4000));
	ck_assert_int_eq(endpoint_breaker(&e, &plain), BREAKER_HALF_OPEN);
	/* The head of the probe's own answer is enough; its body may take hours. */
	endpoint_proved(&e, at(10000));
	ck_assert_int_eq(endpoint_breaker(&e, &plain), BREAKER_CLOSED);
	/* A head ends no streak: what is cut in its body every time fails in a row. */
	(void)endpoint_failed(&e, &plain, at(10020), at(10020));
	endpoint_proved(&e, at(10030));
	ck_assert_uint_ne(e.health, 0);
	e = half_open(10000);
	ck_assert(endpoint_failed(&e, &plain, at(10000), at(10020)));
	ck_assert_uint_eq(endpoint_out_ms(&e, &plain, at(10020)), 2 * plain.base_ms);
}
END_TEST

START_TEST(a_lost_probe_is_followed_by_another)
{
	struct board_endpoint e = half_open(10000);

	/* It waits for its answer: for as long as that takes there is no other. */
	ck_assert(!endpoint_probe(&e, &plain, at(500000)));
	/* Its caller leaves, or its worker dies: nothing is owed any more, and nobody said a word. */
	e.load = 0;
	ck_assert(!endpoint_probe(&e, &plain, at(10000 + ENDPOINT_LOST_MS - 1)));
	ck_assert(endpoint_probe(&e, &plain, at(10000 + ENDPOINT_LOST_MS)));
	ck_assert(!endpoint_probe(&e, &plain, at(10000 + ENDPOINT_LOST_MS)));
}
END_TEST

START_TEST(the_times_are_longer_by_chance_and_never_too_long)
{
	static const struct ejection tight = { .base_ms = 1000, .max_ms = 1200, .failures = 1,
					       .percent = 50, .jitter_percent = 50 };
	uint32_t least = UINT32_MAX, most = 0;

	for (uint64_t seed = 0; seed < 2000; seed++) {
		struct board_endpoint a = { 0 }, b = { 0 };
		uint32_t ms;

		rand_seed(seed);
		for (int i = 0; i < 5; i++)
			(void)endpoint_failed(&a, &ejection_default, at(0), at(0));
		ms = endpoint_out_ms(&a, &ejection_default, at(0));
		least = min_of(least, ms);
		most = max_of(most, ms);
		(void)endpoint_failed(&b, &tight, at(0), at(0));
		ck_assert_uint_ge(endpoint_out_ms(&b, &tight, at(0)), 1000);
		ck_assert_uint_le(endpoint_out_ms(&b, &tight, at(0)), 1200);
	}
	ck_assert_uint_ge(least, 1000);
	ck_assert_uint_lt(least, 1010);
	ck_assert_uint_le(most, 1500);
	ck_assert_uint_gt(most, 1490);
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
		ck_assert(!endpoint_failed(&e, &never, at(0), at(0)));
	ck_assert_uint_eq(endpoint_rtt_us(&e, at(0)), ENDPOINT_PENALTY_US);	/* avoided all the same */
	ck_assert(!endpoint_failed(&e, &two, at(0), at(0)));
	ck_assert(endpoint_failed(&e, &two, at(0), at(0)));
	for (int i = 0; i < 20; i++) {
		ck_assert_uint_eq(endpoint_out_ms(&e, &two, at(ms)), (uint64_t)expected);
		/* Whose policy changes to never is not out any more. */
		ck_assert(endpoint_is_out(&e, &two, at(ms)));
		ck_assert(!endpoint_is_out(&e, &never, at(ms)));
		ck_assert_uint_eq(endpoint_out_ms(&e, &never, at(ms)), 0);
		ms += expected;
		ck_assert(endpoint_probe(&e, &two, at(ms)));
		ck_assert(endpoint_failed(&e, &two, at(ms), at(ms)));
		expected = min_of(expected * 2, (int64_t)3600000);
	}
	ck_assert_int_eq(expected, 3600000);
	/* A policy with a shorter longest time does not leave it out for the old one. */
	ck_assert(!endpoint_is_out(&e, &ejection_default, at(ms)));
	ck_assert(endpoint_probe(&e, &ejection_default, at(ms)));
	endpoint_succeeded(&e, at(ms));
	ck_assert_uint_eq(e.health, 0);
}
END_TEST

START_TEST(a_streak_that_is_long_does_not_begin_anew)
{
	static const struct ejection many = { .failures = 255, .base_ms = 1, .max_ms = 1 };
	struct board_endpoint e = { 0 };

	for (int i = 0; i < 254; i++)
		ck_assert(!endpoint_failed(&e, &many, at(0), at(0)));
	ck_assert(endpoint_failed(&e, &many, at(0), at(0)));
}
END_TEST

START_TEST(one_that_became_ready_starts_slowly)
{
	/* Envoy: weight * max(min, t^(1/aggression)). */
	static const struct { unsigned aggression, min, percent_of_window, want; } rows[] = {
		{ 100, 10, 0, 102 }, { 100, 10, 5, 102 }, { 100, 10, 25, 256 }, { 100, 10, 50, 512 },
		{ 100, 10, 99, 1013 }, { 100, 10, 100, 1024 }, { 100, 10, 500, 1024 },
		{ 200, 10, 25, 512 }, { 200, 10, 1, 102 }, { 200, 10, 81, 921 },	/* roots */
		{ 50, 10, 50, 256 }, { 50, 1, 10, 10 },				/* squares */
		{ 1000, 10, 50, 955 }, { 10, 10, 90, 357 }, { 100, 100, 0, 1024 }, { 100, 60, 50, 614 },
	};

	for (unsigned i = 0; i < countof(rows); i++) {
		struct balancing b = { .slow_ms = 60000, .slow_min_percent = (uint8_t)rows[i].min,
				       .slow_aggression_percent = (uint16_t)rows[i].aggression };
		struct board_endpoint e = { 0 };
		unsigned got;

		ck_assert_uint_eq(endpoint_warmth(&e, &b, at(0)), ENDPOINT_WARM);	/* nobody has looked */
		endpoint_seen(&e, true, at(1));
		endpoint_seen(&e, true, at(30));
		got = endpoint_warmth(&e, &b, at(1 + 600 * (int64_t)rows[i].percent_of_window));
		ck_assert_msg(got + 1 >= rows[i].want && got <= rows[i].want + 1, "row %u: %u", i, got);
		ck_assert_uint_eq(endpoint_warmth(&e, &balancing_default, at(0)), ENDPOINT_WARM);
		/* Not ready for a while: from the beginning again. */
		endpoint_seen(&e, false, at(90000));
		endpoint_seen(&e, true, at(100001));
		ck_assert_uint_eq(endpoint_warmth(&e, &b, at(100001)),
				  rows[i].min * ENDPOINT_WARM / 100);
	}
}
END_TEST

START_TEST(whatever_a_sibling_writes_is_only_a_number)
{
	rand_seed(7);
	for (int i = 0; i < 20000; i++) {
		struct board_endpoint e = { .load = rand_u64(), .rtt = rand_u64(),
					    .health = rand_u64(), .ready_ms = rand_u32() };
		struct balancing slow = { .slow_ms = rand_below(SLOW_MS_MAX), .slow_min_percent = 10,
					  .slow_aggression_percent = (uint16_t)(10 + rand_below(991)) };
		struct mono now = at(rand_u32());

		(void)endpoint_load(&e, now);
		ck_assert_uint_ge(endpoint_warmth(&e, &slow, now), ENDPOINT_WARM / 10);
		ck_assert_uint_le(endpoint_warmth(&e, &slow, now), ENDPOINT_WARM);
		ck_assert_uint_le(endpoint_out_ms(&e, &ejection_default, now), ejection_default.max_ms);
		endpoint_answered(&e, rand_u32(), now);
		(void)endpoint_failed(&e, &ejection_default, now, now);
		/* nobody is out for longer than the longest time */
		ck_assert_uint_eq(endpoint_out_ms(&e, &ejection_default, (struct mono){
			now.ns + (ejection_default.max_ms + 1) * NS_PER_MS }), 0);
	}
}
END_TEST

UNIT_TESTS("endpoint", a_slower_answer_counts_at_once_and_a_faster_one_by_and_by,
	   one_that_owes_answers_is_as_slow_as_its_silence,
	   endpoints_that_answer_within_a_millisecond_are_alike,
	   one_that_is_unknown_gets_one_exchange_and_then_waits_for_its_answer,
	   a_failure_is_slow_however_fast_it_came,
	   five_failures_in_a_row_and_only_in_a_row_put_it_out,
	   the_probe_has_one_exchange_and_one_chance,
	   what_was_under_way_before_the_probe_says_nothing, a_lost_probe_is_followed_by_another,
	   the_times_are_longer_by_chance_and_never_too_long,
	   a_policy_says_how_many_failures_and_for_how_long,
	   one_that_became_ready_starts_slowly, a_streak_that_is_long_does_not_begin_anew, whatever_a_sibling_writes_is_only_a_number)
