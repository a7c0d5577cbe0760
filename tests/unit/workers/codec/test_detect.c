/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Which codec takes a caller, from its first bytes. */
#include "tests/unit/test.h"

#include "workers/codec/detect.h"

static const struct { struct slice s; enum detected want; } row[] = {
	{ SLICE(""), DETECT_MORE },
	{ SLICE("G"), DETECT_MORE },
	{ SLICE("GET"), DETECT_MORE },
	{ SLICE("GET "), DETECT_MORE },
	{ SLICE("GET /"), DETECT_HTTP1 },
	{ SLICE("OPTIONS * HTTP/1.1\r\n"), DETECT_HTTP1 },
	{ SLICE("GET http://a/ HT"), DETECT_MORE },
	{ SLICE("GET http://a/ HTTP/"), DETECT_HTTP1 },
	{ SLICE("CONNECT a:1 HTTP/1.1\r\n"), DETECT_HTTP1 },
	{ SLICE("BREW /pot HTTP/1.0\r\n"), DETECT_HTTP1 },
	{ SLICE("BREW /pot HTTP"), DETECT_MORE },
	{ SLICE("GET /a b HTTP/1.1\r\n"), DETECT_HTTP1 },	/* to be refused, not passed around */
	{ SLICE("\r\n\r\nGET / HTTP/1.1\r\n"), DETECT_HTTP1 },
	{ SLICE("\r"), DETECT_MORE },
	{ SLICE("\r\n"), DETECT_MORE },
	{ SLICE("\r\r"), DETECT_OPAQUE },
	{ SLICE("\n"), DETECT_OPAQUE },
	{ SLICE("\r\n\r\n\0\r\nQUIT\n"), DETECT_OPAQUE },
	{ SLICE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r"), DETECT_MORE },
	{ SLICE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"), DETECT_H2 },
	{ SLICE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0"), DETECT_H2 },
	{ SLICE("PRI * HTTP/1.1\r\n"), DETECT_HTTP1 },
	{ SLICE("P"), DETECT_MORE },
	{ SLICE("\x16"), DETECT_MORE },
	{ SLICE("\x16\x03\x01\x02\x00"), DETECT_MORE },
	{ SLICE("\x16\x03\x01\x02\x00\x01"), DETECT_TLS },
	{ SLICE("\x16\x03\x01\x00\x01\x01"), DETECT_OPAQUE },
	{ SLICE("\x16\x02"), DETECT_OPAQUE },
	{ SLICE("\x16\x03\x09"), DETECT_OPAQUE },
	{ SLICE("\x16\x03\x01\x02\x00\x02"), DETECT_OPAQUE },
	{ SLICE("SSH-2.0-OpenSSH_9.2\r\n"), DETECT_OPAQUE },
	{ SLICE("SSH-2.0-OpenSSH_9.2 Debian\r\n"), DETECT_OPAQUE },
	{ SLICE("PING\r\n"), DETECT_OPAQUE },
	{ SLICE("*1\r\n$4\r\nPING\r\n"), DETECT_OPAQUE },
	{ SLICE("GET key\r\n"), DETECT_OPAQUE },
	{ SLICE("SET key value\r\n"), DETECT_OPAQUE },
	{ SLICE("\0\0\0\x08\x04\xd2\x16\x2f"), DETECT_OPAQUE },
	{ SLICE("an_uncommonly_long_token_that_is_no_method /"), DETECT_OPAQUE },
	{ SLICE(" GET / HTTP/1.1\r\n"), DETECT_OPAQUE },
};

START_TEST(first_bytes_say_which_codec)
{
	for (size_t i = 0; i < countof(row); i++)
		ck_assert_msg(detect(row[i].s) == row[i].want, "row %zu: %.*s", i, (int)row[i].s.n,
			      (const char *)row[i].s.p);
}
END_TEST

START_TEST(more_bytes_never_change_an_answer)
{
	for (size_t i = 0; i < countof(row); i++) {
		enum detected was = DETECT_MORE;

		for (size_t n = 0; n <= row[i].s.n; n++) {
			enum detected now = detect(slice_of(row[i].s.p, n));

			ck_assert_msg(was == DETECT_MORE || was == now, "row %zu at %zu", i, n);
			was = now;
		}
	}
}
END_TEST

START_TEST(looking_ends_after_8_KiB)
{
	static uint8_t b[9000];

	memset(b, 'a', sizeof b);
	memcpy(b, "BREW ", 5);
	ck_assert_int_eq(detect(slice_of(b, 8191)), DETECT_MORE);
	ck_assert_int_eq(detect(slice_of(b, 8192)), DETECT_HTTP1);
	b[4] = 'x';
	ck_assert_int_eq(detect(slice_of(b, sizeof b)), DETECT_OPAQUE);
	for (size_t i = 0; i < sizeof b; i++)
		b[i] = i & 1 ? '\n' : '\r';
	ck_assert_int_eq(detect(slice_of(b, sizeof b)), DETECT_OPAQUE);
}
END_TEST

UNIT_TESTS("detect", first_bytes_say_which_codec, more_bytes_never_change_an_answer,
	   looking_ends_after_8_KiB)
