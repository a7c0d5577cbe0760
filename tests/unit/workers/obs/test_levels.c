/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* How levels of endpoints share the requests: Envoy's vectors, as its code has them. */
#include "tests/unit/test.h"

#include "workers/obs/levels.h"

struct row {
	unsigned healthy[3], load[3];	/* of a hundred each */
	unsigned panic;			/* panic_percent */
	const char *panics;		/* a letter per level */
};

START_TEST(requests_go_on_as_the_health_of_a_level_fails)
{
	static const struct row rows[] = {
		{ { 100, 100 }, { 100, 0 }, 50, "--" },
		{ { 72, 100 }, { 100, 0 }, 50, "--" },
		{ { 71, 100 }, { 99, 1 }, 50, "--" },
		{ { 50, 100 }, { 70, 30 }, 50, "--" },
		{ { 25, 100 }, { 35, 65 }, 50, "--" },	/* the second has enough: no panic */
		{ { 0, 100 }, { 0, 100 }, 50, "--" },
		{ { 25, 25 }, { 50, 50 }, 50, "PP" },	/* 35 + 35 < 100 */
		{ { 0, 0 }, { 50, 50 }, 50, "PP" },
		{ { 60, 0 }, { 100, 0 }, 50, "-P" },	/* 84 of 84; the second gets none and panics */
		{ { 25, 25, 20 }, { 37, 35, 28 }, 0, "---" },	/* rounding goes to the first */
		{ { 100, 0, 100 }, { 100, 0, 0 }, 50, "---" },
		{ { 30, 30, 30 }, { 42, 42, 16 }, 50, "---" },	/* 42 each, more than 100 together */
		{ { 20, 20, 20 }, { 34, 33, 33 }, 50, "PPP" },
		{ { 0, 0 }, { 50, 50 }, 0, "--" },	/* nobody is well: there is nothing to go by */
	};

	for (unsigned r = 0; r < countof(rows); r++) {
		struct balancing b = { .overprovision_percent = 140,
				       .panic_percent = (uint8_t)rows[r].panic };
		unsigned n = (unsigned)strlen(rows[r].panics);
		struct level l[3] = { 0 };

		for (unsigned i = 0; i < n; i++)
			l[i] = (struct level){ .total = 100, .ready = 100, .out = 100 - rows[r].healthy[i] };
		levels_share(l, n, &ejection_default, &b);
		for (unsigned i = 0; i < n; i++) {
			ck_assert_msg(l[i].load == rows[r].load[i], "row %u, level %u: %u", r, i, l[i].load);
			ck_assert_msg(l[i].panics == (rows[r].panics[i] == 'P'), "row %u, level %u", r, i);
		}
	}
}
END_TEST

START_TEST(those_that_are_not_ready_count_as_lost)
{
	/* Of ten in the zone two are ready, both well: 28 of 100, the rest goes on. */
	struct level l[2] = { { .total = 10, .ready = 2 }, { .total = 20, .ready = 20 } };

	levels_share(l, 2, &ejection_default, &balancing_default);
	ck_assert_uint_eq(l[0].load, 28);
	ck_assert_uint_eq(l[1].load, 72);
	ck_assert(!l[0].panics && !l[1].panics);
}
END_TEST

START_TEST(when_all_panic_numbers_decide)
{
	struct level l[3] = { { .total = 1, .ready = 1, .out = 1 }, { 0 },
			      { .total = 3, .ready = 3, .out = 3 } };

	levels_share(l, 3, &ejection_default, &balancing_default);
	ck_assert_uint_eq(l[0].load, 25);
	ck_assert_uint_eq(l[1].load, 0);
	ck_assert_uint_eq(l[2].load, 75);
}
END_TEST

START_TEST(the_sum_is_a_hundred_whatever_the_board_says)
{
	for (unsigned i = 0; i < 5000; i++) {
		struct balancing b = { .overprovision_percent = (uint16_t)(100 + i % 901),
				       .panic_percent = (uint8_t)(i % 101) };
		unsigned n = 1 + i % 8, sum = 0;
		struct level l[8] = { 0 };
		bool any = false;

		for (unsigned k = 0; k < n; k++) {
			l[k].ready = (i * 7 + k * 13) % 5;
			l[k].total = l[k].ready + (i + k) % 3;
			l[k].out = (i * 3 + k) % 7;	/* more than there are, too */
			any |= l[k].ready > 0;
		}
		levels_share(l, n, &ejection_default, &b);
		for (unsigned k = 0; k < n; k++) {
			sum += l[k].load;
			ck_assert(l[k].load == 0 || l[k].ready > 0);
		}
		ck_assert_msg(sum == (any ? 100 : 0), "%u: %u", i, sum);
	}
}
END_TEST

UNIT_TESTS("levels", requests_go_on_as_the_health_of_a_level_fails,
	   those_that_are_not_ready_count_as_lost, when_all_panic_numbers_decide,
	   the_sum_is_a_hundred_whatever_the_board_says)
