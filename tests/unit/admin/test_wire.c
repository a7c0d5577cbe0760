/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* HTTP of the admin socket: what is read, where it is cut, what is refused. */
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>

#include "admin/wire.h"

static char big[WIRE_BODY * 8];

/* Feeds text in pieces of n bytes until something other than MORE; *ret_used is what was taken. */
static enum wire_result feed(struct wire *w, struct slice s, size_t n, size_t *ret_used)
{
	enum wire_result r = WIRE_MORE;
	size_t at = 0, used;

	while (r == WIRE_MORE && at < s.n) {
		/* Exact heap copies: a read past the end is seen. */
		size_t len = min_of(n, s.n - at);
		uint8_t *copy = malloc(len);

		memcpy(copy, s.p + at, len);
		r = wire_feed(w, slice_of(copy, len), &used);
		ck_assert_uint_le(used, len);
		free(copy);
		at += used;
	}
	*ret_used = at;
	return r;
}

static int status_of(const char *text)
{
	struct wire w;
	size_t used;
	int status;

	wire_init(&w);
	status = feed(&w, slice_str(text), 1 << 20, &used) == WIRE_BAD ? w.status : 0;
	wire_fini(&w);
	return status;
}

START_TEST(a_request_is_the_same_wherever_it_is_split)
{
	static const char text[] = "POST /v1/drain?worker=1 HTTP/1.1\r\nHost: localhost\r\n"
				   "X-Long-Name-That-Is-Not-Ours-At-All: Host\r\nExpect: 100-continue\r\n"
				   "Transfer-Encoding: chunked\r\n\r\n3\r\n{\"a\r\n4\r\n\":1}\r\n0\r\n\r\n";

	for (size_t first = 1; first < sizeof text - 1; first++) {
		struct slice all = SLICE(text);
		struct wire w;
		size_t used, more = 0;

		wire_init(&w);
		ck_assert_int_eq(feed(&w, slice_of(all.p, first), first, &used), WIRE_MORE);
		ck_assert_int_eq(feed(&w, slice_from(all, first), 1 << 20, &more), WIRE_REQUEST);
		ck_assert_uint_eq(used + more, all.n);
		ck_assert_int_eq(w.req.method, WIRE_POST);
		ck_assert(slice_eq(w.req.target, SLICE("/v1/drain?worker=1")));
		ck_assert(slice_eq(w.req.body, SLICE("{\"a\":1}")));
		ck_assert(w.req.keep_alive);
		ck_assert(w.wants_continue);
		wire_fini(&w);
	}
}
END_TEST

START_TEST(a_pipelined_request_is_not_touched_before_the_first_is_answered)
{
	static const char text[] = "GET /v1/status HTTP/1.1\r\nHost: a\r\n\r\n"
				   "GET /v1/version HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n";
	struct slice all = SLICE(text);
	struct wire w;
	size_t used;

	for (size_t n = 1; n <= all.n; n++) {
		wire_init(&w);
		ck_assert_int_eq(feed(&w, all, n, &used), WIRE_REQUEST);
		ck_assert(slice_eq(w.req.target, SLICE("/v1/status")));
		ck_assert(w.req.keep_alive);
		wire_next(&w);
		ck_assert(wire_is_idle(&w));
		all = slice_from(all, used);
		ck_assert_int_eq(feed(&w, all, n, &used), WIRE_REQUEST);
		ck_assert(slice_eq(w.req.target, SLICE("/v1/version")));
		ck_assert(!w.req.keep_alive);
		ck_assert_uint_eq(used, all.n);
		wire_fini(&w);
		all = SLICE(text);
	}
}
END_TEST

START_TEST(what_is_not_http_gets_the_status_that_fits)
{
	static const struct { const char *text; int status; } cases[] = {
		{ "GET / HTTP/1.1\r\n\r\n", 400 },				/* no Host */
		{ "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n", 400 },
		{ "GET / HTTP/1.0\r\n\r\n", 0 },
		{ "GET / HTTP/1.1\r\nHost:\r\n\r\n", 0 },
		{ "GET / HTTP/2.0\r\nHost: a\r\n\r\n", 505 },
		{ "GET /\001 HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
		{ "GET /\xff HTTP/1.1\r\nHost: a\r\n\r\n", 400 },
		{ "CONNECT a:1 HTTP/1.1\r\nHost: a\r\n\r\n", 501 },
		{ "GET / HTTP/1.1\r\nHost: a\r\nConnection: upgrade\r\nUpgrade: h2c\r\n\r\n", 501 },
		{ "GET / HTTP/1.1\r\nHost: a\r\nExpect: magic\r\n\r\n", 417 },
		{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 65537\r\n\r\n", 413 },
		{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: -1\r\n\r\n", 400 },
		{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nTransfer-Encoding: chunked\r\n\r\n",
		  400 },
		{ "\x16\x03\x01\x02", 400 },
	};

	for (size_t i = 0; i < countof(cases); i++)
		ck_assert_msg(status_of(cases[i].text) == cases[i].status, "case %zu: %d", i,
			      status_of(cases[i].text));
}
END_TEST

START_TEST(nothing_grows_past_its_bound)
{
	struct wire w;
	size_t used, n;

	n = (size_t)snprintf(big, sizeof big, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
	memset(big + n, 'x', sizeof big - n);
	wire_init(&w);
	ck_assert_int_eq(feed(&w, slice_of(big, sizeof big), 1000, &used), WIRE_BAD);
	ck_assert_int_eq(w.status, 431);
	ck_assert_uint_le(used, WIRE_HEAD + 1000);
	wire_fini(&w);

	n = (size_t)snprintf(big, sizeof big, "GET /");
	memset(big + n, 'x', WIRE_TARGET);
	wire_init(&w);
	ck_assert_int_eq(feed(&w, slice_of(big, n + WIRE_TARGET), 7, &used), WIRE_BAD);
	ck_assert_int_eq(w.status, 414);
	wire_fini(&w);

	/* empty lines before a request are allowed, for ever they are not */
	for (size_t i = 0; i < sizeof big; i++)
		big[i] = i % 2 ? '\n' : '\r';
	wire_init(&w);
	ck_assert_int_eq(feed(&w, slice_of(big, sizeof big), 1000, &used), WIRE_BAD);
	ck_assert_int_eq(w.status, 431);
	wire_fini(&w);

	/* chunks of one byte, and of one byte with long extensions */
	for (int ext = 0; ext < 2; ext++) {
		const char *chunk = ext ? "1;x=yyyyyyyyyyyyyyyyyyyyyyyy\r\nz\r\n" : "1\r\nz\r\n";

		n = (size_t)snprintf(big, sizeof big,
				     "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n");
		while (n + strlen(chunk) < sizeof big) {
			memcpy(big + n, chunk, strlen(chunk));
			n += strlen(chunk);
		}
		wire_init(&w);
		ck_assert_int_eq(feed(&w, slice_of(big, n), 4096, &used), WIRE_BAD);
		ck_assert_int_eq(w.status, 413);
		wire_fini(&w);
	}
}
END_TEST

START_TEST(a_body_of_the_limit_is_taken)
{
	struct wire w;
	size_t used, n;

	n = (size_t)snprintf(big, sizeof big, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: %u\r\n\r\n",
			     WIRE_BODY);
	memset(big + n, ' ', WIRE_BODY);
	wire_init(&w);
	ck_assert_int_eq(feed(&w, slice_of(big, n + WIRE_BODY), 5000, &used), WIRE_REQUEST);
	ck_assert_uint_eq(w.req.body.n, WIRE_BODY);
	wire_fini(&w);
}
END_TEST

START_TEST(escapes_decode_and_broken_ones_do_not)
{
	char out[16];

	ck_assert_int_eq(wire_decode(SLICE("a%2Fb+c%25"), false, out, sizeof out), 0);
	ck_assert_str_eq(out, "a/b+c%");
	ck_assert_int_eq(wire_decode(SLICE("a+b"), true, out, sizeof out), 0);
	ck_assert_str_eq(out, "a b");
	ck_assert_int_eq(wire_decode(SLICE(""), true, out, sizeof out), 0);
	ck_assert_str_eq(out, "");
	ck_assert_int_eq(wire_decode(SLICE("%"), false, out, sizeof out), -EINVAL);
	ck_assert_int_eq(wire_decode(SLICE("%4"), false, out, sizeof out), -EINVAL);
	ck_assert_int_eq(wire_decode(SLICE("%4g"), false, out, sizeof out), -EINVAL);
	ck_assert_int_eq(wire_decode(SLICE("%00"), false, out, sizeof out), -EINVAL);
	ck_assert_int_eq(wire_decode(SLICE("%0a"), false, out, sizeof out), -EINVAL);
	ck_assert_int_eq(wire_decode(SLICE("0123456789abcdef"), false, out, sizeof out), -EINVAL);
}
END_TEST

START_TEST(json_is_cut_rather_than_broken_past_its_ceiling)
{
	struct text t = text_of(64);

	js_open(&t, NULL, '{');
	js_str(&t, "a\"b", "c\n\xff");
	js_i64(&t, "n", INT64_MIN);
	js_close(&t, '}');
	ck_assert(!t.cut);
	ck_assert_str_eq(t.p, "{\"a\\\"b\":\"c\\u000a\\ufffd\",\"n\":-9223372036854775808}");
	for (int i = 0; i < 10; i++)
		js_u64(&t, NULL, 1);
	ck_assert(t.cut);
	ck_assert_uint_lt(t.n, 64);
	text_fini(&t);
}
END_TEST

UNIT_TESTS("wire", a_request_is_the_same_wherever_it_is_split,
	   a_pipelined_request_is_not_touched_before_the_first_is_answered,
	   what_is_not_http_gets_the_status_that_fits, nothing_grows_past_its_bound,
	   a_body_of_the_limit_is_taken, escapes_decode_and_broken_ones_do_not,
	   json_is_cut_rather_than_broken_past_its_ceiling)
