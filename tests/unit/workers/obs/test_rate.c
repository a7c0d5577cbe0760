/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Rate limits: what a pace lets through over time, who shares one with whom, and that several
 * processes together get exactly as much as one. */
#include "tests/unit/test.h"

#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include "workers/obs/rate.h"

#define NONE ((struct pace){ 0, 0 })
#define NOW  ((struct mono){ 5 * 3600 * NS_PER_S })

static struct pace pace(uint64_t every_ms, uint64_t burst)
{
	return (struct pace){ every_ms * NS_PER_MS, every_ms * NS_PER_MS * burst };
}

static struct mono after(int64_t ms)
{
	return mono_after_ms(NOW, ms);
}

static struct board *fresh(void)
{
	struct board *b = mmap(NULL, board_bytes(1), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ck_assert_ptr_ne(b, MAP_FAILED);
	board_format(b, 1);
	return b;
}

/* How many of n requests at that time are let through. */
static unsigned let(struct board_rate *r, uint64_t key, struct pace identity, struct pace total,
		    struct mono now, unsigned n)
{
	unsigned ok = 0;
	uint64_t wait;
	bool shared;

	for (unsigned i = 0; i < n; i++)
		ok += rate_take(r, key, &identity, &total, now, &wait, &shared) == RATE_TAKEN;
	return ok;
}

START_TEST(a_burst_at_once_then_one_after_the_other)
{
	static const struct {
		int64_t at_ms;
		unsigned asked, let;
		uint64_t left, wait_ms;
	} t[] = {
		{ 0, 5, 5, 0, 0 }, { 0, 3, 0, 0, 100 }, { 99, 1, 0, 0, 1 }, { 100, 2, 1, 0, 100 },
		{ 350, 9, 2, 0, 50 }, { 799, 9, 4, 0, 1 }, { 1300, 0, 0, 5, 0 }, { 9000, 9, 5, 0, 100 },
	};
	struct board *b = fresh();
	struct board_rate *r = board_rate(b, 1, 1);
	struct pace p = pace(100, 5), none = NONE;

	for (size_t i = 0; i < countof(t); i++) {
		uint64_t wait = 0;
		bool shared;

		ck_assert_msg(let(r, 7, NONE, p, after(t[i].at_ms), t[i].asked) == t[i].let, "row %zu", i);
		ck_assert_uint_eq(rate_left(r->total, &p, after(t[i].at_ms)), t[i].left);
		if (t[i].left == 0 && t[i].wait_ms) {
			ck_assert_int_eq(rate_take(r, 7, &none, &p, after(t[i].at_ms), &wait, &shared),
					 RATE_OVER_TOTAL);
			ck_assert_uint_eq(wait, t[i].wait_ms * NS_PER_MS);
		}
	}
	munmap(b, board_bytes(1));
}
END_TEST

START_TEST(who_calls_too_much_takes_nothing_from_the_others)
{
	struct board *b = fresh();
	struct board_rate *r = board_rate(b, 1, 1);

	/* Refused by its own pace, it leaves all of the total to others but for its 2. */
	ck_assert_uint_eq(let(r, 1, pace(100, 2), pace(10, 10), NOW, 1000), 2);
	ck_assert_uint_eq(let(r, 2, pace(100, 2), pace(10, 10), NOW, 2), 2);
	ck_assert_uint_eq(rate_left(r->total, &(struct pace){ 10 * NS_PER_MS, 100 * NS_PER_MS }, NOW), 6);
	/* Refused by the total, it keeps its own. */
	ck_assert_uint_eq(let(r, 3, NONE, pace(10, 10), NOW, 6), 6);
	ck_assert_uint_eq(let(r, 4, pace(1000, 3), pace(10, 10), NOW, 50), 0);
	ck_assert_uint_eq(let(r, 4, pace(1000, 3), pace(10, 10), after(100), 50), 3);
	munmap(b, board_bytes(1));
}
END_TEST

START_TEST(who_finds_no_place_shares_one_and_who_is_idle_leaves_his)
{
	struct board *b = fresh();
	struct board_rate *r = board_rate(b, 1, 1);
	struct pace p = pace(1000, 1), none = NONE;
	unsigned own = 0, shared_ok = 0;
	uint64_t wait;
	bool shared;

	memset(b->secret, 7, sizeof b->secret);	/* where they find places is not left to chance */
	/* One each: as many as there are places, at most, and one of those without. */
	for (uint32_t i = 0; i < 3000; i++) {
		uint64_t key = rate_key(b, slice_of(&i, sizeof i));
		enum rate_taken t = rate_take(r, key, &p, &none, NOW, &wait, &shared);

		own += !shared && t == RATE_TAKEN;
		shared_ok += shared && t == RATE_TAKEN;
		ck_assert(shared || t == RATE_TAKEN);
	}
	ck_assert_uint_ge(own, BOARD_RATE_KEYS * 9 / 10);
	ck_assert_uint_le(own, BOARD_RATE_KEYS);
	ck_assert_uint_eq(shared_ok, 1);
	/* A second later each place is free again, for whoever comes. */
	for (uint32_t i = 3000; i < 3100; i++) {
		uint64_t key = rate_key(b, slice_of(&i, sizeof i));

		ck_assert_int_eq(rate_take(r, key, &p, &none, after(1000), &wait, &shared), RATE_TAKEN);
		ck_assert_int_eq(rate_take(r, key, &p, &none, after(1000), &wait, &shared), RATE_OVER_IDENTITY);
		ck_assert(!shared);
	}
	munmap(b, board_bytes(1));
}
END_TEST

START_TEST(nonsense_on_the_board_is_over_within_a_burst)
{
	static const uint64_t nonsense[] = { UINT64_MAX, INT64_MAX, 1, 1ull << 62 };

	for (size_t i = 0; i < countof(nonsense); i++) {
		struct board *b = fresh();
		struct board_rate *r = board_rate(b, 1, 1);

		r->total = nonsense[i];
		for (int k = 0; k < BOARD_RATE_KEYS; k++)
			r->key[k] = (struct board_rate_key){ 9, nonsense[i] };
		(void)let(r, 9, pace(100, 5), NONE, NOW, 9);
		(void)let(r, 9, NONE, pace(100, 5), NOW, 9);
		ck_assert_uint_eq(let(r, 9, pace(100, 5), pace(100, 5), after(500), 9), 5);
		munmap(b, board_bytes(1));
	}
}
END_TEST

START_TEST(a_slot_of_another_generation_is_another_s)
{
	struct board *b = fresh();
	struct board_rate *r = board_rate(b, 3, 8);

	ck_assert_ptr_null(board_rate(b, 0, 1));
	ck_assert_ptr_null(board_rate(b, BOARD_RATES, 1));
	ck_assert_uint_eq(let(r, 9, pace(100, 5), pace(100, 7), NOW, 9), 5);
	ck_assert_ptr_null(board_rate(b, 3, 7));	/* of an older view */
	ck_assert_ptr_null(board_rate_seen(b, 3, 7));
	ck_assert_ptr_eq(board_rate(b, 3, 9), r);
	ck_assert_uint_eq(let(r, 9, pace(100, 5), pace(100, 7), NOW, 9), 5);
	ck_assert_ptr_eq(board_rate_seen(b, 3, 9), r);
	munmap(b, board_bytes(1));
}
END_TEST

START_TEST(another_board_has_another_secret_and_mending_keeps_it)
{
	struct board *a = fresh(), *b = fresh();
	uint64_t key = rate_key(a, SLICE("shop"));

	ck_assert_uint_ne(key, rate_key(b, SLICE("shop")));
	ck_assert_uint_ne(key, rate_key(a, SLICE("bank")));
	a->magic = 0;
	ck_assert(board_mend(a, 1));
	ck_assert_uint_eq(key, rate_key(a, SLICE("shop")));
	munmap(a, board_bytes(1));
	munmap(b, board_bytes(1));
}
END_TEST

START_TEST(processes_together_get_exactly_what_one_would)
{
	enum { PROCESSES = 4, ASKED = 20000, BURST = 30000 };
	struct board *b = fresh();
	struct board_rate *r = board_rate(b, 1, 1);
	unsigned *ok = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	unsigned sum = 0;

	ck_assert_ptr_ne(ok, MAP_FAILED);
	for (int i = 0; i < PROCESSES; i++) {
		pid_t pid = fork();

		ck_assert_int_ge(pid, 0);
		if (pid == 0) {
			ok[i] = let(r, 5, pace(1, BURST), NONE, NOW, ASKED);
			ok[PROCESSES + i] = let(r, 5, NONE, pace(1, BURST), NOW, ASKED);
			_exit(0);
		}
	}
	for (int i = 0; i < PROCESSES; i++) {
		int status;

		ck_assert_int_gt(wait(&status), 0);
		ck_assert_int_eq(status, 0);
	}
	for (int i = 0; i < PROCESSES; i++)
		sum += ok[i];
	ck_assert_uint_eq(sum, BURST);
	for (int i = sum = 0; i < PROCESSES; i++)
		sum += ok[PROCESSES + i];
	ck_assert_uint_eq(sum, BURST);
	munmap(ok, 4096);
	munmap(b, board_bytes(1));
}
END_TEST

UNIT_TESTS("rate", a_burst_at_once_then_one_after_the_other,
	   who_calls_too_much_takes_nothing_from_the_others,
	   who_finds_no_place_shares_one_and_who_is_idle_leaves_his,
	   nonsense_on_the_board_is_over_within_a_burst, a_slot_of_another_generation_is_another_s,
	   another_board_has_another_secret_and_mending_keeps_it,
	   processes_together_get_exactly_what_one_would)
