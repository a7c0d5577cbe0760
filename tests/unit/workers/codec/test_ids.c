/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Names of requests: what we make is valid by our own rules, and the rules are those of the papers. */
#include "tests/unit/test.h"

#include "nodeproxy/lib/base/rand.h"
#include "workers/codec/ids.h"

#define T "0af7651916cd43dd8448eb211c80319c"
#define S "b7ad6b7169203331"

static const struct {
	const char *text;
	bool valid;
} parents[] = {
	{ "00-" T "-" S "-00", true },
	{ "00-" T "-" S "-01", true },
	{ "00-" T "-" S "-ff", true },		/* unknown flags are passed on */
	{ "00-" T "-" S "-03", true },		/* level 2: random */
	{ "cc-" T "-" S "-01", true },		/* a later version */
	{ "cc-" T "-" S "-01-what-follows", true },
	{ "cc-" T "-" S "-01.what-follows", false },
	{ "cc-" T "-" S "-011", false },
	{ "00-" T "-" S "-01-what-follows", false },
	{ "00-" T "-" S "-0", false },
	{ "00-" T "-" S "-", false },
	{ "00-" T "-" S, false },
	{ "00-" T "-" S "-0g", false },
	{ "00-" T "-" S "-0A", false },
	{ "ff-" T "-" S "-01", false },
	{ "FF-" T "-" S "-01", false },
	{ "0-0" T "-" S "-01", false },
	{ "00-00000000000000000000000000000000-" S "-01", false },
	{ "00-" T "-0000000000000000-01", false },
	{ "00-0AF7651916CD43DD8448EB211C80319C-" S "-01", false },
	{ "00-" T "-B7AD6B7169203331-01", false },
	{ "00_" T "-" S "-01", false },
	{ "00-" T "_" S "-01", false },
	{ "00-" T "-" S "_01", false },
	{ "00-" T "x" S "-01", false },
	{ "00-0af7651916cd43dd8448eb211c80319\xff-" S "-01", false },
	{ "", false },
};

START_TEST(a_traceparent_is_valid_or_not)
{
	for (size_t i = 0; i < countof(parents); i++)
		ck_assert_msg(traceparent_is_valid(slice_str(parents[i].text)) == parents[i].valid, "%s",
			      parents[i].text);
}
END_TEST

START_TEST(a_request_id_is_visible_ascii_of_a_bounded_length)
{
	char text[REQUEST_ID_MAX + 1];

	memset(text, '~', sizeof text);
	ck_assert(request_id_is_valid(slice_of(text, 1)));
	ck_assert(request_id_is_valid(slice_of(text, REQUEST_ID_MAX)));
	ck_assert(!request_id_is_valid(slice_of(text, REQUEST_ID_MAX + 1)));
	ck_assert(!request_id_is_valid(slice_of(text, 0)));
	for (int c = 0; c < 256; c++) {
		text[3] = (char)c;
		ck_assert_int_eq(request_id_is_valid(slice_of(text, 9)), c > 0x20 && c < 0x7f);
	}
}
END_TEST

START_TEST(both_names_are_of_the_same_bytes)
{
	char id[REQUEST_ID_TEXT + 1] = "", parent[TRACEPARENT_TEXT + 1] = "", plain[33] = "";
	struct ids ids;
	size_t n = 0;

	rand_seed(5);
	for (int i = 0; i < 1000; i++) {
		ids_draw(&ids);
		ck_assert_ptr_eq(ids_put_request_id(&ids, id), id + REQUEST_ID_TEXT);
		ck_assert_ptr_eq(ids_put_traceparent(&ids, parent), parent + TRACEPARENT_TEXT);
		ck_assert(request_id_is_valid(slice_str(id)));
		ck_assert(traceparent_is_valid(slice_str(parent)));
		ck_assert_int_eq(id[14], '4');
		ck_assert_ptr_nonnull(strchr("89ab", id[19]));
		n = 0;
		for (int k = 0; k < REQUEST_ID_TEXT; k++) {
			bool dash = k == 8 || k == 13 || k == 18 || k == 23;

			ck_assert_int_eq(id[k] == '-', dash);
			if (!dash)
				plain[n++] = id[k];
		}
		ck_assert_mem_eq(plain, parent + 3, 32);
	}
	/* In spelled form, against bytes that are known. */
	for (unsigned i = 0; i < 16; i++)
		ids.trace[i] = (uint8_t)(i * 17);
	memset(ids.span, 0xa5, sizeof ids.span);
	ids_put_request_id(&ids, id);
	ids_put_traceparent(&ids, parent);
	ck_assert_str_eq(id, "00112233-4455-6677-8899-aabbccddeeff");
	ck_assert_str_eq(parent, "00-00112233445566778899aabbccddeeff-a5a5a5a5a5a5a5a5-00");
}
END_TEST

START_TEST(names_of_the_kernel_do_not_come_twice)
{
	static struct ids drawn[2000];

	rand_init();
	for (size_t i = 0; i < countof(drawn); i++) {
		ids_draw(&drawn[i]);
		for (size_t k = 0; k < i; k++)
			ck_assert_int_ne(memcmp(&drawn[i], &drawn[k], 16), 0);
	}
}
END_TEST

UNIT_TESTS("ids", a_traceparent_is_valid_or_not, a_request_id_is_visible_ascii_of_a_bounded_length,
	   both_names_are_of_the_same_bytes, names_of_the_kernel_do_not_come_twice)
