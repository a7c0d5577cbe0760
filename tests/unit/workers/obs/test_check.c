/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What health checks say of an endpoint: thresholds, generations, since when. */
#include "tests/unit/test.h"

#include <sys/mman.h>

#include "workers/obs/check.h"

static struct board *fresh(void)
{
	struct board *b = mmap(NULL, board_bytes(1), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ck_assert_ptr_ne(b, MAP_FAILED);
	return b;
}

static struct mono at(int64_t s)
{
	return (struct mono){ s * NS_PER_S };
}

START_TEST(so_many_in_a_row_change_the_state)
{
	/* + good, - failed; the state after each: ? unknown, h healthy, u unhealthy. */
	static const struct {
		unsigned healthy, unhealthy;
		const char *checks, *states;
	} t[] = {
		{ 1, 1, "+-+-", "huhu" },
		{ 3, 2, "+-+--++-+++", "hhhhuuuuuuh" },
		{ 2, 3, "---++", "??uuh" },
		{ 2, 3, "--+---", "??hhhu" },
		{ 60, 60, "-----", "?????" },
	};

	for (size_t i = 0; i < countof(t); i++) {
		struct board *b = fresh();
		char was = '?';

		for (int k = 0; t[i].checks[k]; k++) {
			bool changed = check_note(b, 7, 3, t[i].checks[k] == '+', t[i].healthy,
						  t[i].unhealthy, at(100 + k));
			char now = "?hu"[check_state(b, 7, 3, at(500), NULL)];

			ck_assert_msg(now == t[i].states[k], "row %zu check %d: %c", i, k, now);
			ck_assert_int_eq(changed, now != was);
			ck_assert_int_eq(endpoint_is_unhealthy(b, 7, 3), now == 'u');
			was = now;
		}
		munmap(b, board_bytes(1));
	}
}
END_TEST

START_TEST(it_says_since_when_and_of_which_generation)
{
	struct board *b = fresh();
	uint32_t s;

	ck_assert(check_note(b, 7, 3, false, 1, 1, at(100)));
	ck_assert(!check_note(b, 7, 3, false, 1, 1, at(160)));
	ck_assert_int_eq(check_state(b, 7, 3, at(200), &s), CHECK_UNHEALTHY);
	ck_assert_uint_eq(s, 100);
	ck_assert_int_eq(check_state(b, 7, 4, at(200), &s), CHECK_UNKNOWN);
	ck_assert(!endpoint_is_unhealthy(b, 7, 4));
	/* The slot is another's now. */
	ck_assert(check_note(b, 7, 4, true, 5, 5, at(300)));
	ck_assert_int_eq(check_state(b, 7, 3, at(300), &s), CHECK_UNKNOWN);
	/* No slot of its own, or nonsense: nothing is known. */
	ck_assert(!check_note(b, 0, 3, false, 1, 1, at(1)));
	ck_assert(!check_note(b, BOARD_ENDPOINTS, 3, false, 1, 1, at(1)));
	ck_assert(!endpoint_is_unhealthy(b, 0, 0) && !endpoint_is_unhealthy(b, UINT32_MAX, 3));
	b->check[9] = 3ull << 32 | 3;
	ck_assert_int_eq(check_state(b, 9, 3, at(1), NULL), CHECK_UNKNOWN);
	munmap(b, board_bytes(1));
}
END_TEST

UNIT_TESTS("check", so_many_in_a_row_change_the_state, it_says_since_when_and_of_which_generation)
