/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Who succeeds less often than the others goes out, by Envoy's formula, once per interval and host. */
#include "tests/lib/view_from.h"
#include "tests/unit/test.h"

#include <stdio.h>
#include <sys/mman.h>

#include "nodeproxy/lib/base/rand.h"
#include "workers/obs/endpoint.h"
#include "workers/pool/outlier.h"

static struct board *board;
static struct view *view;
static struct vport port;
static struct ejection ej;

static struct mono at(int64_t ms)
{
	return (struct mono){ (1000000 + ms) * NS_PER_MS };
}

static struct board_endpoint *endpoint(unsigned i)	/* from 1 */
{
	return board_endpoint(board, 100 + 8000 + i, 7);
}

static void begin(unsigned endpoints)
{
	char text[4096] = "service t/s port=80\n";
	struct vservice s;

	for (unsigned i = 1; i <= endpoints; i++) {
		size_t n = strlen(text);

		snprintf(text + n, sizeof text - n, "endpoint t/s 10.0.0.%u:%u\n", i, 8000 + i);
	}
	view = view_from(text);
	ck_assert(view_service_by_name(view, SLICE("t"), SLICE("s"), &s));
	ck_assert(vservice_port(&s, 80, &port));
	board = mmap(NULL, board_bytes(1), PROT_READ | PROT_WRITE,
		     MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert_ptr_ne(board, MAP_FAILED);
	board_format(board, 1);
	rand_seed(1);
	ej = ejection_default;
	ej.rate_interval_ms = 10000;
	ej.jitter_percent = 0;
	ck_assert_uint_eq(outlier_sweep(board, &port, &ej, at(0)), 0);	/* what came before says nothing */
}

static void end(void)
{
	munmap(board, board_bytes(1));
	view_unref(view);
}

/* So many of a hundred went well. */
static void requests(unsigned i, unsigned n, unsigned percent)
{
	board_add(&endpoint(i)->exchanges, n);
	board_add(&endpoint(i)->failures, n - n * percent / 100);
}

START_TEST(the_threshold_is_envoys)
{
	static const struct { unsigned rate[6], n, factor; const char *out; } rows[] = {
		{ { 50, 100, 100, 100, 100 }, 5, 1900, "o----" },	/* m 90, s 20: 52 */
		{ { 52, 100, 100, 100, 100 }, 5, 1900, "o----" },	/* m 90.4, s 19.2: 53.9 */
		{ { 50, 100, 100, 100, 100 }, 5, 2000, "-----" },	/* 50 is not below 50 */
		{ { 50, 100, 100, 100, 100 }, 5, 1999, "o----" },
		{ { 99, 99, 99, 99, 99 }, 5, 0, "-----" },		/* nobody is below the mean */
		{ { 0, 0, 0, 0, 0 }, 5, 1900, "-----" },
		{ { 98, 99, 100, 99, 99 }, 5, 0, "o----" },
		{ { 50, 50, 100, 100, 100, 100 }, 6, 1900, "------" },	/* m 83.3, s 23.6: 38.5 */
		{ { 50, 50, 100, 100, 100, 100 }, 6, 1000, "oo----" },
	};

	for (unsigned r = 0; r < countof(rows); r++) {
		struct verdict v = { 0 };

		for (unsigned i = 0; i < rows[r].n; i++)
			verdict_add(&v, (struct tally){ 100, 100 - rows[r].rate[i] });
		for (unsigned i = 0; i < rows[r].n; i++)
			ck_assert_msg(verdict_is_out(&v, (struct tally){ 100, 100 - rows[r].rate[i] },
						     rows[r].factor) == (rows[r].out[i] == 'o'),
				      "row %u: %u", r, i);
	}
}
END_TEST

START_TEST(it_is_judged_once_per_interval)
{
	begin(5);
	for (unsigned i = 1; i <= 5; i++)
		requests(i, 100, i == 3 ? 50 : 100);
	ck_assert_uint_eq(outlier_sweep(board, &port, &ej, at(9999)), 0);
	ck_assert_uint_eq(outlier_sweep(board, &port, &ej, at(10000)), 1);
	ck_assert_uint_eq(endpoint_out_ms(endpoint(3), &ej, at(10000)), ej.base_ms);
	ck_assert(endpoint_is_out_by_rate(endpoint(3)));
	ck_assert_uint_eq(outlier_sweep(board, &port, &ej, at(10000)), 0);
	/* The probe goes well: in again, and out for twice as long when it happens again. */
	ck_assert(endpoint_probe(endpoint(3), &ej, at(11000)));
	endpoint_proved(endpoint(3), at(11000));
	ck_assert_int_eq(endpoint_breaker(endpoint(3), &ej), BREAKER_CLOSED);
	endpoint_succeeded(endpoint(3), at(11001));
	for (unsigned i = 1; i <= 5; i++)
		requests(i, 100, i == 3 ? 50 : 100);
	ck_assert_uint_eq(outlier_sweep(board, &port, &ej, at(20000)), 1);
	ck_assert_uint_eq(endpoint_out_ms(endpoint(3), &ej, at(20000)), 2 * ej.base_ms);
	ck_assert(endpoint_probe(endpoint(3), &ej, at(22000)));
	endpoint_proved(endpoint(3), at(22000));
	/* Intervals in which it does not: forgotten one by one. */
	ck_assert_uint_eq(outlier_sweep(board, &port, &ej, at(30000)), 0);
	ck_assert(!endpoint_is_well(endpoint(3)));
	ck_assert_uint_eq(outlier_sweep(board, &port, &ej, at(40000)), 0);
	ck_assert(endpoint_is_well(endpoint(3)));
	end();
}
END_TEST

START_TEST(few_endpoints_and_few_requests_say_nothing)
{
	begin(5);
	for (unsigned i = 1; i <= 5; i++)
		requests(i, i == 4 ? 99 : 100, i == 3 ? 50 : 100);
	ck_assert_uint_eq(outlier_sweep(board, &port, &ej, at(10000)), 0);	/* four of five */
	/* What was counted then is not counted again. */
	for (unsigned i = 1; i <= 5; i++)
		requests(i, i == 4 ? 1 : 100, i == 3 ? 50 : 100);
	ck_assert_uint_eq(outlier_sweep(board, &port, &ej, at(20000)), 0);
	ej.rate_endpoints = 4;
	for (unsigned i = 1; i <= 5; i++)
		requests(i, i == 4 ? 1 : 100, i == 3 ? 0 : 100);
	ej.rate_deviation = 1700;		/* 0 of 100 three times: m 75, s 43.3 */
	ck_assert_uint_eq(outlier_sweep(board, &port, &ej, at(30000)), 1);
	/* One that could not even be reached had requests too. */
	ck_assert_uint_eq(endpoint_is_out(endpoint(3), &ej, at(30000)), true);
	for (unsigned i = 1; i <= 5; i++)
		requests(i, i == 5 ? 0 : 100, 100);
	endpoint(5)->connect_failures += 100;
	ck_assert_uint_eq(outlier_sweep(board, &port, &ej, at(40000)), 1);
	ck_assert(endpoint_is_out(endpoint(5), &ej, at(40000)));
	end();
}
END_TEST

START_TEST(the_share_counts_all_that_are_out_for_whatever_reason)
{
	begin(10);
	ej.percent = 20;
	ej.rate_deviation = 500;
	for (unsigned i = 0; i < ej.failures; i++)
		(void)endpoint_failed(endpoint(9), &ej, at(9000), at(9500));
	for (unsigned i = 1; i <= 10; i++)
		requests(i, 100, i == 2 || i == 3 || i == 4 ? 30 : 100);
	/* Two may be out, one is already. */
	ck_assert_uint_eq(outlier_sweep(board, &port, &ej, at(10000)), 1);
	ck_assert(endpoint_is_out(endpoint(2), &ej, at(10000)));
	ck_assert(!endpoint_is_out(endpoint(3), &ej, at(10000)));
	end();
}
END_TEST

START_TEST(without_counting_failures_in_a_row_it_works_too)
{
	begin(5);
	ej.failures = 0;
	for (unsigned i = 1; i <= 5; i++)
		requests(i, 100, i == 3 ? 50 : 100);
	ck_assert_uint_eq(outlier_sweep(board, &port, &ej, at(10000)), 1);
	ck_assert(endpoint_is_out(endpoint(3), &ej, at(10500)));
	ck_assert(endpoint_probe(endpoint(3), &ej, at(11000)));
	ck_assert(endpoint_failed(endpoint(3), &ej, at(11000), at(11100)));
	ck_assert_uint_eq(endpoint_out_ms(endpoint(3), &ej, at(11100)), 2 * ej.base_ms);
	for (unsigned i = 0; i < 300; i++)
		ck_assert(!endpoint_failed(endpoint(1), &ej, at(11000), at(11100)));
	end();
}
END_TEST

UNIT_TESTS("outlier", the_threshold_is_envoys, it_is_judged_once_per_interval,
	   few_endpoints_and_few_requests_say_nothing,
	   the_share_counts_all_that_are_out_for_whatever_reason,
	   without_counting_failures_in_a_row_it_works_too)
