/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* How exchanges ended, by status and reason: nothing is counted twice or lost, and nothing grows. */
#include "tests/unit/test.h"

#include "workers/obs/outcome.h"

static struct outcomes o;

static uint64_t count_of(uint32_t key)
{
	uint64_t n = 0;

	for (unsigned i = 0; i < OUTCOME_SLOTS; i++)
		n += o.slot[i].key == key ? o.slot[i].n : 0;
	return n;
}

START_TEST(every_status_and_reason_is_counted_by_itself)
{
	static const struct { unsigned status; enum reason reason; } keys[] = {
		{ 200, REASON_DONE }, { 204, REASON_DONE }, { 404, REASON_DONE }, { 404, REASON_NO_ROUTE },
		{ 503, REASON_DONE }, { 503, REASON_BACK_REFUSED }, { 502, REASON_BACK_CUT },
		{ 200, REASON_FRONT_CUT }, { 0, REASON_FRONT_CUT },
	};

	memset(&o, 0, sizeof o);
	for (unsigned n = 1; n <= 3; n++)
		for (size_t i = 0; i < countof(keys); i++)
			outcome_add(&o, outcome_key(true, keys[i].status, keys[i].reason));
	outcome_add(&o, outcome_key(false, 0, REASON_FRONT_CUT));
	for (size_t i = 0; i < countof(keys); i++)
		ck_assert_uint_eq(count_of(outcome_key(true, keys[i].status, keys[i].reason)), 3);
	ck_assert_uint_eq(count_of(outcome_key(false, 0, REASON_FRONT_CUT)), 1);
	for (unsigned i = 0; i < OUTCOME_CLASSES; i++)
		ck_assert_uint_eq(o.other[i], 0);
}
END_TEST

/* An endpoint answers with every status there is: what has no slot is counted by its class. */
START_TEST(a_full_table_counts_by_class_and_loses_nothing)
{
	uint64_t in_slots[OUTCOME_CLASSES] = { 0 };
	static const unsigned all[] = { 100, 100, 100, 100, 500 };	/* 5xx: 500..999 */

	memset(&o, 0, sizeof o);
	outcome_add(&o, outcome_key(true, 200, REASON_DONE));
	for (unsigned times = 0; times < 2; times++)
		for (unsigned status = 100; status < 1000; status++)
			outcome_add(&o, outcome_key(true, status, REASON_DONE));
	for (unsigned i = 0; i < OUTCOME_SLOTS; i++) {
		struct outcome_id what;

		if (o.slot[i].key == 0)
			continue;
		ck_assert(outcome_of_key(o.slot[i].key, &what));
		in_slots[outcome_class(&what)] += o.slot[i].n;
	}
	for (unsigned i = 0; i <= OUTCOME_5xx; i++)
		ck_assert_uint_eq(in_slots[i] + o.other[i], 2 * all[i] + (i == OUTCOME_2xx));
	ck_assert_uint_eq(count_of(outcome_key(true, 200, REASON_DONE)), 3);
	outcome_add(&o, outcome_key(false, 0, REASON_OUR_BUG));
	outcome_add(&o, outcome_key(true, 0, REASON_OUR_BUG));
	ck_assert_uint_eq(o.other[OUTCOME_flow] + count_of(outcome_key(false, 0, REASON_OUR_BUG)), 1);
	ck_assert_uint_eq(o.other[OUTCOME_none] + count_of(outcome_key(true, 0, REASON_OUR_BUG)), 1);
}
END_TEST

START_TEST(a_key_that_nobody_would_write_is_none)
{
	static const uint64_t bad[] = {
		0, UINT64_MAX, 1ull << 32 | 1, (uint64_t)1 << 63, REASONS, 0xff,
		0x80000000u | 99 << 8 | REASON_DONE, 0x80000000u | 1000 << 8 | REASON_DONE,
		200 << 8 | REASON_DONE /* a flow with a status */, 1u << 20 | REASON_DONE,
		(1u << 31 | 200 << 8 | REASON_DONE) | 18u << 18 /* a grpc-status of 17 */,
	};
	struct outcome_id what = { .status = 7 };

	for (size_t i = 0; i < countof(bad); i++)
		ck_assert_msg(!outcome_of_key(bad[i], &what), "%zu", i);
	ck_assert_uint_eq(what.status, 7);
	for (unsigned r = REASON_NONE + 1; r < REASONS; r++) {
		ck_assert(outcome_of_key(outcome_key(true, 999, (enum reason)r), &what));
		ck_assert(what.is_http && what.status == 999 && what.reason == (enum reason)r);
		ck_assert(outcome_of_key(outcome_key(false, 0, (enum reason)r), &what));
		ck_assert(!what.is_http && what.status == 0);
	}
	for (uint8_t grpc = 0; grpc <= GRPC_STATUSES; grpc++) {
		ck_assert(outcome_of_key(outcome_key_grpc(outcome_key(true, 200, REASON_DONE), grpc), &what));
		ck_assert(what.grpc == grpc && what.status == 200 && what.reason == REASON_DONE);
	}
}
END_TEST

UNIT_TESTS("outcome", every_status_and_reason_is_counted_by_itself,
	   a_full_table_counts_by_class_and_loses_nothing, a_key_that_nobody_would_write_is_none)
