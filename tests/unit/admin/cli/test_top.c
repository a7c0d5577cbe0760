/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Rates from two looks. */
#include "tests/unit/test.h"

#include <string.h>

#include "admin/cli/top.h"

static json_t *json(const char *s)
{
	json_error_t e;
	json_t *o = json_loads(s, 0, &e);

	ck_assert_msg(o != NULL, "%s: %s", s, e.text);
	return o;
}

static const char *name(const json_t *rates, size_t i)
{
	return json_string_value(json_object_get(json_array_get(json_object_get(rates, "rows"), i),
						 "name"));
}

static double real(const json_t *rates, size_t i, const char *key)
{
	return json_number_value(json_object_get(json_array_get(json_object_get(rates, "rows"), i),
						 key));
}

START_TEST(rates_are_differences_over_the_time_between_and_the_busiest_is_first)
{
	json_t *a = json("{\"at_mono_ms\":1000,\"rows\":["
			 "{\"name\":\"calm\",\"exchanges_total\":100,\"busy_ns\":0,\"received_bytes\":0},"
			 "{\"name\":\"mad\",\"exchanges_total\":50,\"busy_ns\":0,\"received_bytes\":10,"
			 "\"failures\":{\"BACK_CUT\":5,\"503\":1},"
			 "\"time\":{\"count\":10,\"sum_ns\":1000,\"buckets\":["
			 "{\"until_ns\":100,\"count\":9},{\"until_ns\":400,\"count\":1}]}}]}");
	json_t *b = json("{\"at_mono_ms\":3000,\"rows\":["
			 "{\"name\":\"calm\",\"exchanges_total\":104,\"busy_ns\":2000000,"
			 "\"received_bytes\":0,\"memory_bytes\":7,\"time\":{\"count\":0,\"buckets\":[]}},"
			 "{\"name\":\"mad\",\"exchanges_total\":1050,\"busy_ns\":1000000000,"
			 "\"failures\":{\"BACK_CUT\":25,\"503\":1,\"connect\":4},"
			 "\"received_bytes\":2010,\"time\":{\"count\":14,\"sum_ns\":9000,\"buckets\":["
			 "{\"until_ns\":100,\"count\":9},{\"until_ns\":400,\"count\":4},"
			 "{\"until_ns\":null,\"count\":1}]}}]}");
	json_t *r = top_rates(a, b, NULL), *mad, *time;

	ck_assert_str_eq(name(r, 0), "mad");
	ck_assert(real(r, 0, "exchanges_per_second") == 500);
	ck_assert(real(r, 0, "cpu_percent") == 50);
	ck_assert(real(r, 0, "received_per_second_bytes") == 1000);
	mad = json_array_get(json_object_get(r, "rows"), 0);
	time = json_object_get(mad, "time");
	ck_assert_int_eq(json_integer_value(json_object_get(time, "count")), 4);
	ck_assert_int_eq(json_integer_value(json_object_get(time, "mean_ns")), 2000);
	ck_assert_int_eq(json_integer_value(json_object_get(time, "p50_ns")), 400);
	ck_assert_int_eq(json_integer_value(json_object_get(time, "p99_ns")), 1ll << 36);
	time = json_object_get(mad, "failures_per_second");
	ck_assert_uint_eq(json_object_size(time), 2);	/* 503 did not come again */
	ck_assert(json_number_value(json_object_get(time, "BACK_CUT")) == 10);
	ck_assert(json_number_value(json_object_get(time, "connect")) == 2);
	ck_assert(real(r, 1, "exchanges_per_second") == 2);
	ck_assert(real(r, 1, "memory_bytes") == 7);
	time = json_object_get(json_array_get(json_object_get(r, "rows"), 1), "time");
	ck_assert(json_is_null(json_object_get(time, "mean_ns")));
	ck_assert(json_is_null(json_object_get(time, "p99_ns")));
	json_decref(r);
	r = top_rates(a, b, "memory_bytes");
	ck_assert_str_eq(name(r, 0), "calm");
	json_decref(r);
	r = top_rates(a, b, "name");
	ck_assert_str_eq(name(r, 0), "calm");
	json_decref(r);
	r = top_rates(a, b, "time.p99_ns");
	ck_assert_str_eq(name(r, 0), "mad");
	json_decref(r);
	json_decref(a);
	json_decref(b);
}
END_TEST

START_TEST(totals_that_went_back_or_began_count_from_zero)
{
	json_t *a = json("{\"at_mono_ms\":1000,\"rows\":["
			 "{\"name\":\"x\",\"exchanges_total\":1000}]}");
	json_t *b = json("{\"at_mono_ms\":2000,\"rows\":["
			 "{\"name\":\"x\",\"exchanges_total\":7},"
			 "{\"name\":\"y\",\"exchanges_total\":5}]}");
	json_t *r = top_rates(a, b, NULL);

	ck_assert(real(r, 0, "exchanges_per_second") == 7);
	ck_assert(real(r, 1, "exchanges_per_second") == 5);
	json_decref(r);
	json_decref(a);
	json_decref(b);
}
END_TEST

START_TEST(an_answer_of_nonsense_is_no_rates_and_no_crash)
{
	json_t *a = json("{\"rows\":7}");
	json_t *b = json("{\"at_mono_ms\":\"x\",\"rows\":[1,{},{\"name\":3,\"time\":{\"count\":\"y\",\"buckets\":[1,{}]},\"failures\":[1]}]}");
	json_t *r = top_rates(a, b, NULL);

	ck_assert_uint_eq(json_array_size(json_object_get(r, "rows")), 3);
	json_decref(r);
	json_decref(a);
	json_decref(b);
}
END_TEST

UNIT_TESTS("top", rates_are_differences_over_the_time_between_and_the_busiest_is_first,
	   totals_that_went_back_or_began_count_from_zero,
	   an_answer_of_nonsense_is_no_rates_and_no_crash)
