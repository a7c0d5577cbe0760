/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The PROXY protocol: what is taken, what is refused, however the bytes are split. */
#include "tests/unit/test.h"

#include "workers/codec/proxyproto.h"

#define V2 "\r\n\r\n\0\r\nQUIT\n"

static const struct good {
	struct slice s;
	const char *from, *to;	/* NULL: local */
} good[] = {
	{ SLICE("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"), "192.0.2.1:56324", "192.0.2.2:443" },
	{ SLICE("PROXY TCP4 255.255.255.255 255.255.255.255 65535 65535\r\n"),
	  "255.255.255.255:65535", "255.255.255.255:65535" },
	{ SLICE("PROXY TCP6 2001:db8::1 ::1 0 80\r\n"), "[2001:db8::1]:0", "[::1]:80" },
	{ SLICE("PROXY UNKNOWN\r\n"), NULL, NULL },
	{ SLICE("PROXY UNKNOWN ffff:f...f:ffff whatever 1 2\r\n"), NULL, NULL },
	{ SLICE(V2 "\x21\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\xdc\4\1\xbb"), "192.0.2.1:56324",
	  "192.0.2.2:443" },
	{ SLICE(V2 "\x21\x11\0\x10\xc0\0\2\1\xc0\0\2\2\xdc\4\1\xbb\4\0\1\0"), "192.0.2.1:56324",
	  "192.0.2.2:443" },		/* with a TLV */
	{ SLICE(V2 "\x21\x21\0\x24\x20\1\r\xb8\0\0\0\0\0\0\0\0\0\0\0\1"
		"\0\0\0\0\0\0\0\0\0\0\0\0\0\0\0\1\0\7\0\x50"), "[2001:db8::1]:7", "[::1]:80" },
	{ SLICE(V2 "\x20\x00\0\0"), NULL, NULL },
	{ SLICE(V2 "\x20\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\xdc\4\1\xbb"), NULL, NULL },
	{ SLICE(V2 "\x21\x00\0\4\1\2\3\4"), NULL, NULL },
};

START_TEST(what_the_balancer_says_is_known_at_its_last_byte_and_not_before)
{
	for (size_t i = 0; i < countof(good); i++) {
		struct slice s = good[i].s;
		struct proxied p;
		char text[ADDR_TEXT];
		uint8_t more[512];

		for (size_t n = 0; n < s.n; n++)
			ck_assert_msg(proxyproto(slice_of(s.p, n), &p) == 0, "row %zu, %zu bytes", i, n);
		memcpy(more, s.p, s.n);
		memset(more + s.n, 'x', sizeof more - s.n);	/* the caller's own */
		ck_assert_msg(proxyproto(slice_of(more, sizeof more), &p) == 1, "row %zu", i);
		ck_assert_uint_eq(p.bytes, s.n);
		ck_assert(p.local == (good[i].from == NULL));
		if (p.local)
			continue;
		ck_assert_str_eq(addr_text(&p.from, true, text), good[i].from);
		ck_assert_str_eq(addr_text(&p.to, true, text), good[i].to);
	}
}
END_TEST

static const struct slice bad[] = {
	SLICE("GET / HTTP/1.1\r\n"), SLICE("X"), SLICE("PROXX TCP4"), SLICE("proxy TCP4 1.1.1.1"),
	SLICE("PROXY\r\n"), SLICE("PROXY \r\n"), SLICE("PROXY TCP4\r\n"),
	SLICE("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443\n"),
	SLICE("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 \r\n"),
	SLICE("PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 1\r\n"),
	SLICE("PROXY  TCP4 192.0.2.1 192.0.2.2 56324 443\r\n"),
	SLICE("PROXY TCP4 192.0.2.1 192.0.2.2 56324\r\n"),
	SLICE("PROXY TCP4 192.0.2.1 192.0.2.2 65536 443\r\n"),
	SLICE("PROXY TCP4 192.0.2.1 192.0.2.2 -1 443\r\n"),
	SLICE("PROXY TCP4 192.0.2.1 192.0.2.2 080 443\r\n"),
	SLICE("PROXY TCP4 192.0.2.256 192.0.2.2 80 443\r\n"),
	SLICE("PROXY TCP4 ::1 ::1 80 443\r\n"), SLICE("PROXY TCP6 1.2.3.4 1.2.3.4 80 443\r\n"),
	SLICE("PROXY UDP4 1.2.3.4 1.2.3.4 80 443\r\n"),
	SLICE("PROXY TCP4 1.2.3.4 1.2.3.4 80 4\0003\r\n"),
	SLICE("PROXY UNKNOWN a\rb\r\n"),
	SLICE("PROXY UNKNOWN 1234567890123456789012345678901234567890123456789012345678901234567890"
	      "123456789012345678901234567\r\n"),	/* more than 107 bytes */
	SLICE(V2 "\x11\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\xdc\4\1\xbb"),	/* version 1 in binary */
	SLICE(V2 "\x22\x11\0\x0c\xc0\0\2\1\xc0\0\2\2\xdc\4\1\xbb"),	/* no such command */
	SLICE(V2 "\x21\x11\0\x0b\xc0\0\2\1\xc0\0\2\2\xdc\4\1"),		/* too short for its family */
	SLICE(V2 "\x21\x21\0\x0c\xc0\0\2\1\xc0\0\2\2\xdc\4\1\xbb"),
	SLICE(V2 "\x21\x12\0\x0c\xc0\0\2\1\xc0\0\2\2\xdc\4\1\xbb"),	/* datagrams */
	SLICE(V2 "\x21\x31\0\xd8"),					/* Unix sockets */
	SLICE(V2 "\x21\x11\xff\xff"),					/* longer than we take */
	SLICE("\r\n\r\n\0\r\nQUIT\r"),
};

START_TEST(everything_else_is_refused_and_stays_refused)
{
	for (size_t i = 0; i < countof(bad); i++) {
		struct proxied p;
		bool refused = false;

		ck_assert_msg(proxyproto(bad[i], &p) == -1, "row %zu", i);
		for (size_t n = 0; n <= bad[i].n; n++) {
			int r = proxyproto(slice_of(bad[i].p, n), &p);

			ck_assert_msg(r <= 0 && (!refused || r < 0), "row %zu, %zu bytes", i, n);
			refused |= r < 0;
		}
	}
}
END_TEST

START_TEST(what_we_tell_is_what_we_would_understand)
{
	struct addr from[] = { { .family = 4, .ip = { 192, 0, 2, 1 }, .port = 56324 },
			       { .family = 6, .ip = { 0xfd, [15] = 7 }, .port = 1 } };

	for (size_t i = 0; i < countof(from); i++) {
		struct addr at = from[i];
		uint8_t out[PROXYPROTO_TOLD];
		struct proxied p;
		size_t n;

		at.port = 443;
		at.ip[3] = 9;
		n = proxyproto_tell(&from[i], &at, out);
		ck_assert_uint_eq(n, i ? 52 : 28);
		ck_assert_int_eq(proxyproto(slice_of(out, n), &p), 1);
		ck_assert(p.bytes == n && !p.local && addr_eq(&p.from, &from[i]) && addr_eq(&p.to, &at));
	}
}
END_TEST

UNIT_TESTS("proxyproto", what_we_tell_is_what_we_would_understand,
	    what_the_balancer_says_is_known_at_its_last_byte_and_not_before,
	   everything_else_is_refused_and_stays_refused)
