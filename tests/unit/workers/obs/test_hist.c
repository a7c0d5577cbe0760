/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Histograms of durations: where a value is counted, and what a quantile says of it. */
#include "tests/unit/test.h"

#include "workers/obs/hist.h"

START_TEST(buckets_join_without_gap_and_are_at_most_a_quarter_wide)
{
	uint64_t from = 0;

	for (unsigned i = 0; i < HIST_BUCKETS - 1; i++) {
		uint64_t until = hist_until_ns(i);

		ck_assert_uint_gt(until, from);
		ck_assert_uint_eq(hist_at(from), i);
		ck_assert_uint_eq(hist_at(until - 1), i);
		ck_assert_uint_eq(hist_at(until), i + 1);
		if (i >= 4)
			ck_assert_uint_le(until - from, from / 4);
		from = until;
	}
	ck_assert_uint_eq(from, 1ull << (HIST_SHIFT + HIST_OCTAVES));
	ck_assert_uint_eq(hist_at(UINT64_MAX), HIST_BUCKETS - 1);
	ck_assert_uint_eq(hist_until_ns(HIST_BUCKETS - 1), UINT64_MAX);
}
END_TEST

START_TEST(a_quantile_is_the_bound_of_its_bucket)
{
	struct hist h = { 0 };

	ck_assert_uint_eq(hist_quantile_ns(&h, 990), 0);
	hist_add(&h, 10000, 989);	/* 10 µs */
	hist_add(&h, 1000000, 11);	/* 1 ms */
	ck_assert_uint_eq(hist_count(&h), 1000);
	ck_assert_uint_eq(h.sum_ns, 989u * 10000 + 11u * 1000000);
	ck_assert_uint_eq(hist_quantile_ns(&h, 500), hist_until_ns(hist_at(10000)));
	ck_assert_uint_eq(hist_quantile_ns(&h, 988), hist_until_ns(hist_at(10000)));
	ck_assert_uint_eq(hist_quantile_ns(&h, 990), hist_until_ns(hist_at(1000000)));
	ck_assert_uint_eq(hist_quantile_ns(&h, 1000), 1ull << (HIST_SHIFT + HIST_OCTAVES));
}
END_TEST

START_TEST(any_numbers_are_read_without_harm)
{
	struct hist h, sum = { 0 };

	memset(&h, 0xff, sizeof h);
	hist_gather(&sum, &h);
	hist_gather(&sum, &h);
	for (unsigned p = 0; p <= 1000; p += 100)
		ck_assert_uint_le(hist_quantile_ns(&sum, p), 1ull << (HIST_SHIFT + HIST_OCTAVES));
}
END_TEST

UNIT_TESTS("hist", buckets_join_without_gap_and_are_at_most_a_quarter_wide,
	   a_quantile_is_the_bound_of_its_bucket, any_numbers_are_read_without_harm)
