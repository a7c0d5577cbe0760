/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Whom a resolv.conf names, and who of them can be asked from elsewhere. */
#include "tests/unit/test.h"

#include "nodeproxy/lib/net/resolvconf.h"

START_TEST(the_first_three_addresses_of_nameserver_lines_count)
{
	static const struct {
		const char *text, *want;
	} rows[] = {
		{ "", "" },
		{ "nameserver 192.0.2.1", "192.0.2.1 " },
		{ "# nameserver 192.0.2.9\nsearch a b\nnameserver\t192.0.2.1 # first\r\nnameserver 2001:db8::1\n",
		  "192.0.2.1 2001:db8::1 " },
		{ "nameserver 192.0.2.1\nnameserver 192.0.2.2\nnameserver 192.0.2.3\nnameserver 192.0.2.4\n",
		  "192.0.2.1 192.0.2.2 192.0.2.3 " },
		{ " nameserver 192.0.2.1\nnameservers 192.0.2.1\nnameserver\nnameserver \nnameserver dns.example\n"
		  "nameserver fe80::1%eth0\nnameserver 192.0.2.1.5\nnameserver 192.0.2.2\n", "192.0.2.2 " },
	};

	for (size_t i = 0; i < countof(rows); i++) {
		struct addr a[RESOLVCONF_MOST];
		unsigned n = resolvconf_parse(slice_str(rows[i].text), a);
		char got[256] = "", text[ADDR_TEXT];

		for (unsigned k = 0; k < n; k++) {
			strcat(got, addr_text(&a[k], false, text));
			strcat(got, " ");
		}
		ck_assert_str_eq(got, rows[i].want);
	}
}
END_TEST

START_TEST(a_resolver_is_somebody_else)
{
	static const struct {
		const char *text;
		bool far;
	} rows[] = { { "192.0.2.1", true },  { "10.96.0.10", true }, { "2001:db8::1", true }, { "fd00::1", true },
		     { "127.0.0.53", false }, { "127.0.0.1", false }, { "0.0.0.0", false },    { "224.0.0.251", false },
		     { "255.255.255.255", false }, { "::1", false }, { "::", false }, { "ff02::fb", false }, { "fe80::1", false } };

	for (size_t i = 0; i < countof(rows); i++) {
		struct addr a;

		ck_assert_int_eq(addr_parse_ip(slice_str(rows[i].text), &a), 0);
		ck_assert_msg(resolver_is_far(&a) == rows[i].far, "%s", rows[i].text);
	}
}
END_TEST

UNIT_TESTS("resolvconf", the_first_three_addresses_of_nameserver_lines_count, a_resolver_is_somebody_else)
