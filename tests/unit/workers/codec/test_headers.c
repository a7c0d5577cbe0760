/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Byte classes against the RFC's own lists, names, authorities, comma lists. */
#include "tests/unit/test.h"

#include "workers/codec/headers.h"

START_TEST(byte_classes_are_those_of_the_rfc)
{
	for (int c = 0; c < 256; c++) {
		bool alnum = (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') ||
			     (c >= 'A' && c <= 'Z');
		bool vchar = c > 0x20 && c < 0x7f;

		ck_assert_int_eq(byte_is(c, BC_TOKEN),
				 alnum || (c && strchr("!#$%&'*+-.^_`|~", c)));
		ck_assert_int_eq(byte_is(c, BC_VALUE), c == '\t' || c == ' ' || vchar || c >= 0x80);
		ck_assert_int_eq(byte_is(c, BC_QUOTED), byte_is(c, BC_VALUE) && c != '"' && c != '\\');
		ck_assert_int_eq(byte_is(c, BC_TARGET), vchar && c != '#');
		ck_assert_int_eq(byte_is(c, BC_HOST), alnum || (c && strchr("-._~!$&'()*+,;=%", c)));
		ck_assert_int_eq(byte_is(c, BC_DIGIT), c >= '0' && c <= '9');
		ck_assert_int_eq(byte_is(c, BC_HEX), c && strchr("0123456789abcdefABCDEF", c) != NULL);
	}
}
END_TEST

START_TEST(a_value_ends_at_the_first_control_byte_wherever_it_stands)
{
	uint8_t b[40];

	for (int c = 0; c < 256; c++) {
		for (size_t at = 0; at < sizeof b; at++) {
			const uint8_t *want = byte_is(c, BC_VALUE) ? b + sizeof b : b + at;

			memset(b, 'x', sizeof b);
			b[at / 2] = '\t';
			b[at] = (uint8_t)c;
			ck_assert_ptr_eq(value_end(b, b + sizeof b), want);
			memset(b, 0xff, sizeof b);
			b[at] = (uint8_t)c;
			ck_assert_ptr_eq(value_end(b, b + sizeof b), want);
			if (at + 1 < sizeof b) {	/* a later one must not hide an earlier one */
				b[at + 1] = 0x7f;
				ck_assert_ptr_eq(value_end(b, b + sizeof b),
						 byte_is(c, BC_VALUE) ? b + at + 1 : b + at);
			}
		}
	}
}
END_TEST

START_TEST(names_are_found_in_any_case_and_only_whole)
{
	static const struct { const char *s; enum header_name id; } row[] = {
		{ "Host", HN_HOST }, { "hOST", HN_HOST }, { "Hosts", HN_OTHER }, { "Hos", HN_OTHER },
		{ "H\xcfst", HN_OTHER }, { "TE", HN_TE }, { "Via", HN_VIA }, { "Date", HN_DATE },
		{ "Connection", HN_CONNECTION }, { "Keep-Alive", HN_KEEP_ALIVE },
		{ "Proxy-Connection", HN_PROXY_CONNECTION }, { "Trailer", HN_TRAILER },
		{ "transfer-encoding", HN_TRANSFER_ENCODING }, { "transfer_encoding", HN_OTHER },
		{ "CONTENT-LENGTH", HN_CONTENT_LENGTH }, { "Upgrade", HN_UPGRADE },
		{ "Expect", HN_EXPECT }, { "X-Forwarded-For", HN_X_FORWARDED_FOR },
		{ "X-Forwarded-Proto", HN_X_FORWARDED_PROTO }, { "X-Forwarded-Host", HN_X_FORWARDED_HOST },
		{ "Forwarded", HN_FORWARDED }, { "X-Request-Id", HN_X_REQUEST_ID },
		{ "traceparent", HN_TRACEPARENT }, { "Proxy-Authenticate", HN_PROXY_AUTHENTICATE },
		{ "Proxy-Authorization", HN_PROXY_AUTHORIZATION }, { "", HN_OTHER },
		{ "Content\rLength", HN_OTHER }, { "Content-Length ", HN_OTHER },
		{ "an-uncommonly-long-name", HN_OTHER },
	};

	for (size_t i = 0; i < countof(row); i++)
		ck_assert_msg(header_name_of(slice_str(row[i].s)) == row[i].id, "%s", row[i].s);
}
END_TEST

START_TEST(trailers_cannot_carry_what_frames_routes_or_authorizes)
{
	ck_assert(header_may_be_trailer(SLICE("grpc-status")));
	ck_assert(header_may_be_trailer(SLICE("X-Checksum")));
	ck_assert(!header_may_be_trailer(SLICE("Content-Length")));
	ck_assert(!header_may_be_trailer(SLICE("transfer-encoding")));
	ck_assert(!header_may_be_trailer(SLICE("Host")));
	ck_assert(!header_may_be_trailer(SLICE("Authorization")));
	ck_assert(!header_may_be_trailer(SLICE("x-forwarded-for")));
}
END_TEST

START_TEST(an_authority_is_a_host_and_at_most_a_port)
{
	static const char *const good[] = { "a", "shop.example", "shop.example:80", "127.0.0.1:8080",
					    "[::1]", "[::1]:80", "[::ffff:1.2.3.4]:1", "a:", "a%2db",
					    "a_b", "xn--bcher-kva.example:65535", "a:0" };
	static const char *const bad[] = { "", ":80", "a:b", "a:65536", "a:123456", "a b", "a/b", "a?b",
					   "u@a", "a:80:80", "[::1", "::1", "[]", "[]:80", "[::1]80",
					   "[g::1]", "a\tb", "a%zz", "a%2", "a\\b", "a<b", "a\"b",
					   "a:+1", "a: 1", "\xc3\xa9", "a#b", "[::1%25eth0]", "a|b" };

	for (size_t i = 0; i < countof(good); i++)
		ck_assert_msg(is_authority(slice_str(good[i]), false), "%s", good[i]);
	for (size_t i = 0; i < countof(bad); i++)
		ck_assert_msg(!is_authority(slice_str(bad[i]), false), "%s", bad[i]);
	ck_assert(is_authority(SLICE("a:1"), true));
	ck_assert(!is_authority(SLICE("a"), true));
	ck_assert(!is_authority(SLICE("a:"), true));
}
END_TEST

START_TEST(a_list_skips_blanks_and_empty_elements)
{
	struct slice rest = SLICE(", a ,,\tb,c ,"), one;

	ck_assert(list_next(&rest, &one) && slice_eq(one, SLICE("a")));
	ck_assert(list_next(&rest, &one) && slice_eq(one, SLICE("b")));
	ck_assert(list_next(&rest, &one) && slice_eq(one, SLICE("c")));
	ck_assert(!list_next(&rest, &one));
}
END_TEST

START_TEST(a_quoted_string_ends_where_its_quote_says)
{
	static const struct {
		const char *text;
		bool closed;
	} row[] = {
		{ "", true }, { "a", true }, { "\"\"", true }, { "a=\"b\";c=\"d,\"", true }, { "\"\\\"\"", true },
		{ "\"\\\\\"", true }, { "\\", true }, { "\\\"a\"", true }, { "\"", false }, { "a\"b", false },
		{ "\"\\\"", false }, { "\"\\", false }, { "\"a\"\"", false }, { "\"\\\\\"\"", false },
	};

	for (size_t i = 0; i < countof(row); i++)
		ck_assert_msg(quotes_are_closed(slice_str(row[i].text)) == row[i].closed, "%s", row[i].text);
}
END_TEST

START_TEST(a_cookie_is_found_by_its_whole_name)
{
	static const struct { const char *header, *name, *value; } row[] = {
		{ "a=1", "a", "1" }, { "a=1; b=2", "b", "2" }, { "a=1;b=2", "b", "2" },
		{ "a=1;  b=2 ", "b", "2" }, { "b=1; b=2", "b", "1" }, { "bb=1; b=2", "b", "2" },
		{ "a=b=c", "a", "b=c" }, { "a=", "a", "" }, { "a=\"x\"", "a", "\"x\"" },
		{ "A=1", "a", NULL }, { "a", "a", NULL }, { "=1", "a", NULL }, { "", "a", NULL },
		{ ";;; ;a=1", "a", "1" }, { "b=a=1", "a", NULL }, { "\ta=1", "a", "1" },
		{ ";", "a", NULL }, { "b=1; a", "a", NULL },
	};

	for (size_t i = 0; i < countof(row); i++) {
		struct slice got;
		bool found = cookie_find(slice_str(row[i].header), slice_str(row[i].name), &got);

		ck_assert_msg(found == (row[i].value != NULL), "%s", row[i].header);
		if (found)
			ck_assert_msg(slice_eq(got, slice_str(row[i].value)), "%s", row[i].header);
	}
}
END_TEST

UNIT_TESTS("headers", byte_classes_are_those_of_the_rfc,
	   a_value_ends_at_the_first_control_byte_wherever_it_stands,
	   names_are_found_in_any_case_and_only_whole,
	   trailers_cannot_carry_what_frames_routes_or_authorizes,
	   an_authority_is_a_host_and_at_most_a_port, a_list_skips_blanks_and_empty_elements,
	   a_quoted_string_ends_where_its_quote_says, a_cookie_is_found_by_its_whole_name)
