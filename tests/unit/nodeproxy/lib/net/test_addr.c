/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Addresses as text and as sockaddr. */
#include "tests/unit/test.h"

#include "nodeproxy/lib/net/addr.h"

START_TEST(an_address_reads_back_as_it_was_written)
{
	static const char *const good[] = { "127.0.0.1:80", "0.0.0.0:0", "[::1]:8080",
					    "[2001:db8::1]:65535", "[::ffff:1.2.3.4]:1" };

	for (size_t i = 0; i < countof(good); i++) {
		struct sockaddr_storage ss;
		char text[ADDR_TEXT];
		struct addr a, b;

		ck_assert_msg(addr_parse(slice_str(good[i]), &a) == 0, "%s", good[i]);
		ck_assert_str_eq(addr_text(&a, true, text), good[i]);
		addr_to_sockaddr(&a, &ss);
		addr_from_sockaddr(&ss, &b);
		ck_assert(addr_eq(&a, &b));
	}
}
END_TEST

START_TEST(an_address_is_spelled_with_its_port_and_without)
{
	static const char *const good[][2] = { { "1.20.255.0:80", "1.20.255.0" }, { "[2001:db8::1]:1", "2001:db8::1" } };
	struct addr none = { .port = 80 };
	char text[ADDR_TEXT];

	for (size_t i = 0; i < countof(good); i++) {
		struct addr a;

		ck_assert_int_eq(addr_parse(slice_str(good[i][0]), &a), 0);
		ck_assert_str_eq(addr_text(&a, true, text), good[i][0]);
		ck_assert_str_eq(addr_text(&a, false, text), good[i][1]);
	}
	ck_assert_str_eq(addr_text(&none, true, text), "-");
	ck_assert_str_eq(addr_text(&none, false, text), "-");
}
END_TEST

START_TEST(what_is_no_address_is_refused)
{
	static const char *const bad[] = { "", ":", ":80", "127.0.0.1", "127.0.0.1:", "127.0.0.1:65536",
					   "127.0.0.1:-1", "127.0.0.1:+1", "::1:80", "[::1]", "[::1]80",
					   "[127.0.0.1]:80", "localhost:80", "1.2.3:80", "1.2.3.4.5:80",
					   "01.2.3.4:80", "[::1:80", "1.2.3.4 :80" };

	for (size_t i = 0; i < countof(bad); i++) {
		struct addr a = { .port = 7 };

		ck_assert_msg(addr_parse(slice_str(bad[i]), &a) < 0, "%s", bad[i]);
		ck_assert_uint_eq(a.port, 7);
	}
	struct addr a;
	ck_assert_int_lt(addr_parse_ip(slice_of("1.2.3.4\0x", 9), &a), 0);
}
END_TEST

UNIT_TESTS("addr", an_address_reads_back_as_it_was_written,
	   an_address_is_spelled_with_its_port_and_without, what_is_no_address_is_refused)
