/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What nodeproxyctl prints, byte for byte. */
#include "tests/unit/test.h"

#include "admin/cli/print.h"

#define NOW 1000000000000ll

static json_t *json(const char *s)
{
	json_error_t e;
	json_t *o = json_loads(s, JSON_DECODE_ANY, &e);

	ck_assert_msg(o != NULL, "%s: %s", s, e.text);
	return o;
}

START_TEST(a_table_is_aligned_and_numbers_stand_right)
{
	json_t *list = json("[{\"reason\":\"DONE\",\"count\":12345,\"fault\":\"nobody\",\"flag\":\"-\","
			    "\"http\":0,\"words\":\"finished\"},"
			    "{\"reason\":\"BACK_CUT\",\"count\":1,\"fault\":\"back\",\"flag\":\"UC\","
			    "\"http\":502,\"words\":\"endpoint cut the connection\"}]");
	struct text t = text_of(65536);

	print_table(CMD_reasons, list, NOW, &t);
	ck_assert_str_eq(t.p, "REASON    COUNT  FAULT   FLAG  STATUS  WORDS\n"
			      "DONE      12345  nobody  -          0  finished\n"
			      "BACK_CUT      1  back    UC       502  endpoint cut the connection\n");
	text_fini(&t);
	json_decref(list);
}
END_TEST

START_TEST(units_of_keys_are_humanised)
{
	json_t *list = json("[{\"namespace\":\"shop\",\"name\":\"web\",\"tenant\":\"shop\",\"lacks_endpoints\":false,"
			    "\"ports\":[{\"port\":80,\"endpoints\":3,\"ready\":2},{\"port\":443,"
			    "\"endpoints\":3,\"ready\":3}],\"requests\":{\"total\":7,\"4xx\":1,\"5xx\":0},"
			    "\"flows\":0,\"retries\":2,\"duration\":{\"p50_ns\":999,\"p90_ns\":2500000,"
			    "\"p99_ns\":1500000000},\"received_bytes\":1536,\"sent_bytes\":10737418240}]");
	struct text t = text_of(65536);

	print_table(CMD_services, list, NOW, &t);
	ck_assert_str_eq(t.p,
		"NAMESPACE  NAME  PORTS   ENDPOINTS  READY  LACKING  REQUESTS  4XX  5XX  FLOWS  RETRIES  P50    P90   P99    IN  OUT  TENANT\n"
		"shop       web   80,443  3,3        2,3    no              7    1    0      0        2  0us  2.5ms  1.5s  1.5K  10G  shop\n");
	text_fini(&t);
	json_decref(list);
}
END_TEST

/* Tenants have a CPU share and no state, endpoints the other way round: one set of columns for both. */
START_TEST(top_leaves_out_what_nobody_has_and_fits_the_terminal)
{
	json_t *list = json("[{\"name\":\"shop/web\",\"cpu_percent\":null,\"memory_bytes\":null,"
			    "\"exchanges_per_second\":12.5,\"failed_per_second\":2.0,"
			    "\"failures_per_second\":{\"BACK_CUT\":1.5,\"503\":0.5},"
			    "\"time\":{\"p50_ns\":1000000,\"p99_ns\":null},\"now\":3},"
			    "{\"name\":\"shop/api\",\"exchanges_per_second\":0.0,\"failed_per_second\":0.0,"
			    "\"failures_per_second\":{},\"time\":{\"p50_ns\":null},\"now\":0}]");
	struct text t = text_of(65536), fits = text_of(65536);

	print_table(CMD_top, list, NOW, &t);
	ck_assert_str_eq(t.p, "NAME      REQ/S  FAIL/S    P50  NOW  FAILURES/S\n"
			      "shop/web   12.5       2  1.0ms    3  BACK_CUT=1.5 503=0.5\n"
			      "shop/api      0       0      -    0  -\n");
	print_fit(text_slice(&t), 12, 2, &fits);
	ck_assert_str_eq(fits.p, "NAME      RE\nshop/web   1\n");
	text_fini(&fits);
	text_fini(&t);
	json_decref(list);
}
END_TEST

START_TEST(no_control_byte_reaches_the_terminal)
{
	json_t *list = json("[{\"severity\":\"error\",\"step\":\"error\","
			    "\"what\":\"a\\u001b[31m\\u009bb\\u007f\\n\","
			    "\"do\":\"\\u00e9\",\"why\":\"\\u00e9\"}]");
	struct text t = text_of(65536);

	print_table(CMD_explain, list, NOW, &t);
	ck_assert_str_eq(t.p, "STEP   WHAT         WHY\n"
			      "error  a?[31m??b??  \xc3\xa9\n");
	text_fini(&t);
	t = text_of(65536);
	print_findings(list, &t);
	ck_assert_str_eq(t.p, "error    a?[31m??b??\n"
			      "         do: \xc3\xa9\n");
	text_fini(&t);
	json_decref(list);
}
END_TEST

START_TEST(an_empty_list_says_so)
{
	json_t *list = json("[]");
	struct text t = text_of(65536);

	print_table(CMD_services, list, NOW, &t);
	ck_assert_str_eq(t.p, "no services\n");
	text_fini(&t);
	json_decref(list);
}
END_TEST

START_TEST(yaml_reads_back_as_the_same)
{
	json_t *o = json("{\"a\":\"plain\",\"b\":\"yes\",\"c\":\"1.5\",\"d\":\"x: y\",\"e\":\"\",\"f\":[],"
			 "\"g\":{},\"h\":[1,{\"i\":true,\"j\":[\"k\",null]},[2,3]],\"l\":\"two\\nlines\","
			 "\"-m\":\"- n\"}");
	struct text t = text_of(65536);

	print_yaml(o, &t);
	ck_assert_str_eq(t.p, "a: plain\nb: \"yes\"\nc: \"1.5\"\nd: \"x: y\"\ne: \"\"\nf: []\ng: {}\nh:\n"
			      "  - 1\n  - i: true\n    j:\n      - k\n      - null\n  - - 2\n    - 3\n"
			      "l: \"two\\u000alines\"\n\"-m\": \"- n\"\n");
	text_fini(&t);
	json_decref(o);
}
END_TEST

START_TEST(human_numbers_round_down_and_stay_short)
{
	char b[32];

	ck_assert_str_eq(human_bytes(0, b), "0");
	ck_assert_str_eq(human_bytes(1023, b), "1023");
	ck_assert_str_eq(human_bytes(1024, b), "1.0K");
	ck_assert_str_eq(human_bytes(1024 * 1024 - 1, b), "1023K");
	ck_assert_str_eq(human_bytes(1024 * 1024, b), "1.0M");
	ck_assert_str_eq(human_bytes(UINT64_MAX, b), "15E");
	ck_assert_str_eq(human_seconds(59, b), "59s");
	ck_assert_str_eq(human_seconds(60, b), "1m");
	ck_assert_str_eq(human_seconds(3 * 60 + 5, b), "3m5s");
	ck_assert_str_eq(human_seconds(11 * 60 + 5, b), "11m");
	ck_assert_str_eq(human_seconds(26 * 3600, b), "1d2h");
	ck_assert_str_eq(human_seconds(-5, b), "0s");
	ck_assert_str_eq(human_ns(1500, b), "1us");
	ck_assert_str_eq(human_ns(12300000, b), "12.3ms");
	ck_assert_str_eq(human_ns(90ull * 1000000000, b), "1m30s");
}
END_TEST

UNIT_TESTS("print", a_table_is_aligned_and_numbers_stand_right, units_of_keys_are_humanised,
	   top_leaves_out_what_nobody_has_and_fits_the_terminal,
	   no_control_byte_reaches_the_terminal, an_empty_list_says_so, yaml_reads_back_as_the_same,
	   human_numbers_round_down_and_stay_short)
