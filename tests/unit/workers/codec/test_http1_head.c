/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Heads: what is refused and why, what is taken although it is rare, and that neither depends on
 * how the bytes arrive.  The refused ones cover the vector classes of request smuggling: field
 * syntax, length, transfer coding, request line (the comments number them as the collection of
 * public trophies does; chunks are in test_http1_body.c). */
#include "tests/unit/test.h"

#include <stdio.h>

#include "workers/codec/http1.h"

static const struct http1_limits limits = { .head_bytes = 4096, .headers = 64, .uri_bytes = 1024 };
static struct head head;

struct row {
	struct slice s;
	enum reason why;
};

#define ROW(text, why) { SLICE(text), REASON_##why }
#define GET(lines, why) ROW("GET / HTTP/1.1\r\nHost: a\r\n" lines "\r\n", why)
#define POST(lines, why) ROW("POST / HTTP/1.1\r\nHost: a\r\n" lines "\r\n", why)

/* Lines behind the first: each is refused in a request and in a response. */
static const struct row bad_lines[] = {
	/* 2: Content-Length */
	POST("Content-Length:\r\n", BAD_FRAMING),
	POST("Content-Length: \r\n", BAD_FRAMING),
	POST("Content-Length: +5\r\n", BAD_FRAMING),
	POST("Content-Length: -5\r\n", BAD_FRAMING),
	POST("Content-Length: 0x5\r\n", BAD_FRAMING),
	POST("Content-Length: 1_0\r\n", BAD_FRAMING),
	POST("Content-Length: 5 5\r\n", BAD_FRAMING),
	POST("Content-Length: 5,5\r\n", BAD_FRAMING),
	POST("Content-Length: 5, 5\r\n", BAD_FRAMING),
	POST("Content-Length: 5;\r\n", BAD_FRAMING),
	POST("Content-Length: 5.0\r\n", BAD_FRAMING),
	POST("Content-Length: \"5\"\r\n", BAD_FRAMING),
	POST("Content-Length: a\r\n", BAD_FRAMING),
	POST("Content-Length: 5\xa0\r\n", BAD_FRAMING),
	POST("Content-Length: \xa0" "5\r\n", BAD_FRAMING),
	POST("Content-Length: 5\x85\r\n", BAD_FRAMING),
	POST("Content-Length: 5\xff\r\n", BAD_FRAMING),
	POST("Content-Length: \xef\xbc\x95\r\n", BAD_FRAMING),
	POST("Content-Length: 5\x0b\r\n", BAD_REQUEST),
	POST("Content-Length: 5e0\r\n", BAD_FRAMING),
	POST("Content-Length: 5\r\nContent-Length: +5\r\n", BAD_FRAMING),
	POST("Content-Length: 18446744073709551616\r\n", BAD_FRAMING),
	POST("Content-Length: 9223372036854775808\r\n", BAD_FRAMING),
	POST("Content-Length: 99999999999999999999999\r\n", BAD_FRAMING),
	POST("Content-Length: 5\r\nContent-Length: 6\r\n", BAD_FRAMING),
	POST("Content-Length: 5\r\nContent-Length:\r\n", BAD_FRAMING),
	POST("Content-Length:\r\nContent-Length: 5\r\n", BAD_FRAMING),
	POST("Content-Length: 5\r\nX: y\r\ncontent-length: 6\r\n", BAD_FRAMING),
	/* 3: Transfer-Encoding */
	POST("Transfer-Encoding: ,chunked\r\n", BAD_FRAMING),
	POST("Transfer-Encoding: chunked,\r\n", BAD_FRAMING),
	POST("Transfer-Encoding: chunked, chunked\r\n", BAD_FRAMING),
	POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", BAD_FRAMING),
	POST("Transfer-Encoding: chunked\r\nTransfer-Encoding: identity\r\n", BAD_FRAMING),
	POST("Transfer-Encoding: gzip\r\nTransfer-Encoding: chunked\r\n", BAD_FRAMING),
	POST("Transfer-Encoding: chunked, gzip\r\n", BAD_FRAMING),
	POST("Transfer-Encoding: chunked, identity\r\n", BAD_FRAMING),
	POST("Transfer-Encoding: \r\n", BAD_FRAMING),
	POST("Transfer-Encoding: \x85" "chunked\r\n", BAD_FRAMING),
	POST("Transfer-Encoding: chunked\x85\r\n", BAD_FRAMING),
	POST("Transfer-Encoding: \xa0" "chunked\r\n", BAD_FRAMING),
	POST("Transfer-Encoding: chunked\xa0\r\n", BAD_FRAMING),
	POST("Transfer-Encoding: \xff" "chunked\r\n", BAD_FRAMING),
	POST("Transfer-Encoding: chunked\xff\r\n", BAD_FRAMING),
	POST("Transfer-Encoding: \x0b" "chunked\r\n", BAD_REQUEST),
	POST("Transfer-Encoding: chunked\x0c\r\n", BAD_REQUEST),
	POST("Transfer-Encoding: c\xc5\xbfhunked\r\n", BAD_FRAMING),
	POST("Transfer-Encoding: identity, chunked\r\n", BAD_TRANSFER_CODING),
	POST("Transfer-Encoding: \"chunked\"\r\n", BAD_FRAMING),
	POST("Transfer-Encoding: chunked x\r\n", BAD_FRAMING),
	POST("Transfer-Encoding: [chunked]\r\n", BAD_FRAMING),
	POST("Transfer-Encoding: chunked;\r\n", BAD_TRANSFER_CODING),
	POST("Transfer-Encoding: chunked;a=b\r\n", BAD_TRANSFER_CODING),
	POST("Transfer-Encoding: identity\r\n", BAD_TRANSFER_CODING),
	POST("Transfer-Encoding: gzip\r\n", BAD_TRANSFER_CODING),
	POST("Transfer-Encoding: gzip, chunked\r\n", BAD_TRANSFER_CODING),
	POST("Transfer-Encoding: xchunked\r\n", BAD_TRANSFER_CODING),
	POST("Transfer-Encoding: chunke\r\n", BAD_TRANSFER_CODING),
	POST("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", BAD_FRAMING),
	POST("Transfer-Encoding: chunked\r\nContent-Length: 5\r\n", BAD_FRAMING),
	POST("Transfer-Encoding: chunked\r\nContent-Length: 0\r\n", BAD_FRAMING),
	POST("Transfer-Encoding: gzip\r\nContent-Length: 5\r\n", BAD_FRAMING),
	ROW("POST / HTTP/1.0\r\nTransfer-Encoding: chunked\r\n\r\n", BAD_FRAMING),
	ROW("POST / HTTP/1.0\r\nConnection: keep-alive\r\nTransfer-Encoding: chunked\r\n\r\n", BAD_FRAMING),
	/* 4: field syntax */
	POST("Content-Length : 5\r\n", BAD_REQUEST),
	POST("Content-Length\t: 5\r\n", BAD_REQUEST),
	POST("Transfer-Encoding : chunked\r\n", BAD_REQUEST),
	GET(" X: y\r\n", BAD_REQUEST),
	ROW("GET / HTTP/1.1\r\n Host: a\r\n\r\n", BAD_REQUEST),
	ROW("GET / HTTP/1.1\r\n\tHost: a\r\n\r\n", BAD_REQUEST),
	GET("X\r\n", BAD_REQUEST),
	GET("X y\r\n", BAD_REQUEST),
	GET(": y\r\n", BAD_REQUEST),
	GET(":\r\n", BAD_REQUEST),
	GET("X: a\0b\r\n", BAD_REQUEST),
	GET("X: a\rb\r\n", BAD_REQUEST),
	GET("X: a\nb\r\n", BAD_REQUEST),
	GET("X: a\r\r\n", BAD_REQUEST),
	GET("X: a\n", BAD_REQUEST),
	GET("X: a\n\r\n", BAD_REQUEST),
	GET("X: a\x7f\r\n", BAD_REQUEST),
	GET("X: \x01\r\n", BAD_REQUEST),
	GET("X: a\r\n b\r\n", BAD_REQUEST),
	GET("X: a\r\n\tb\r\n", BAD_REQUEST),
	GET("X\r\n : a\r\n", BAD_REQUEST),
	GET("X: a\r\n \r\n", BAD_REQUEST),
	GET("X\xe9: a\r\n", BAD_REQUEST),
	GET("\x80: a\r\n", BAD_REQUEST),
	GET("X\0: a\r\n", BAD_REQUEST),
	GET("X(: a\r\n", BAD_REQUEST),
	GET("X/y: a\r\n", BAD_REQUEST),
	GET("\"X\": a\r\n", BAD_REQUEST),
	GET("X: y\r", BAD_REQUEST),
	ROW("GET / HTTP/1.1\r\nHost: a\r\n\rX", BAD_REQUEST),
	ROW("GET / HTTP/1.1\r\nHost: a\r\n\r\r\n", BAD_REQUEST),
	ROW("GET / HTTP/1.1\r\nHost: a\r\n\n", BAD_REQUEST),
	ROW("GET / HTTP/1.1\r\nHost: a\n\n", BAD_REQUEST),
	/* Connection */
	GET("Connection: a b\r\n", BAD_REQUEST),
	GET("Connection: \"close\"\r\n", BAD_REQUEST),
	GET("Connection: close\xa0\r\n", BAD_REQUEST),
};

static const struct row bad_requests[] = {
	/* 5: request line */
	ROW("GET / HTTP/1.1\nHost: a\r\n\r\n", BAD_REQUEST),
	ROW("GET\n/ HTTP/1.1\r\n", BAD_REQUEST),
	ROW("GET\t/ HTTP/1.1\r\n", BAD_REQUEST),
	ROW("GET  / HTTP/1.1\r\n", BAD_REQUEST),
	ROW("GET /  HTTP/1.1\r\n", BAD_REQUEST),
	ROW("GET / HTTP/1.1 \r\n", BAD_REQUEST),
	ROW("GET /\tHTTP/1.1\r\n", BAD_REQUEST),
	ROW("GET /a b HTTP/1.1\r\n", BAD_REQUEST),
	ROW(" GET / HTTP/1.1\r\n", BAD_REQUEST),
	ROW("\nGET / HTTP/1.1\r\n", BAD_REQUEST),
	ROW("\rGET / HTTP/1.1\r\n", BAD_REQUEST),
	ROW("GET /\r\n", BAD_REQUEST),
	ROW("GET\r\n", BAD_REQUEST),
	ROW("GET / HTTP/1.1\r\r\n", BAD_REQUEST),
	ROW("GET / HTTP/1.1\rX", BAD_REQUEST),
	ROW("GET / http/1.1\r\n", BAD_REQUEST),
	ROW("GET / HTTPS/1.1\r\n", BAD_REQUEST),
	ROW("GET / HTTP /1.1\r\n", BAD_REQUEST),
	ROW("GET / HTTP/1.1x\r\n", BAD_REQUEST),
	ROW("GET / HTTP/x\r\n", BAD_REQUEST),
	ROW("G(T / HTTP/1.1\r\n", BAD_REQUEST),
	ROW("G\xc9T / HTTP/1.1\r\n", BAD_REQUEST),
	ROW("GET: / HTTP/1.1\r\n", BAD_REQUEST),
	ROW("\"GET\" / HTTP/1.1\r\n", BAD_REQUEST),
	ROW("\0GET / HTTP/1.1\r\n", BAD_REQUEST),
	ROW("GET /\0 HTTP/1.1\r\n", BAD_REQUEST),
	ROW("GET /\x7f HTTP/1.1\r\n", BAD_REQUEST),
	ROW("GET /\x80 HTTP/1.1\r\n", BAD_REQUEST),
	ROW("GET /\xc3\xa9 HTTP/1.1\r\n", BAD_REQUEST),
	ROW("GET /#x HTTP/1.1\r\nHost: a\r\n\r\n", BAD_REQUEST),
	ROW("GET http://a/#x HTTP/1.1\r\nHost: a\r\n\r\n", BAD_REQUEST),
	ROW("GET a HTTP/1.1\r\nHost: a\r\n\r\n", BAD_REQUEST),
	ROW("GET a:80 HTTP/1.1\r\nHost: a\r\n\r\n", BAD_REQUEST),
	ROW("GET * HTTP/1.1\r\nHost: a\r\n\r\n", BAD_REQUEST),
	ROW("OPTIONS *x HTTP/1.1\r\nHost: a\r\n\r\n", BAD_REQUEST),
	ROW("GET http:/a HTTP/1.1\r\nHost: a\r\n\r\n", BAD_REQUEST),
	ROW("GET http:///a HTTP/1.1\r\nHost: a\r\n\r\n", BAD_REQUEST),
	ROW("GET http://u@a/ HTTP/1.1\r\nHost: a\r\n\r\n", BAD_REQUEST),
	ROW("GET http://a:99999/ HTTP/1.1\r\nHost: a\r\n\r\n", BAD_REQUEST),
	ROW("GET ftp://a/ HTTP/1.1\r\nHost: a\r\n\r\n", BAD_REQUEST),
	ROW("GET file:///etc/passwd HTTP/1.1\r\nHost: a\r\n\r\n", BAD_REQUEST),
	ROW("CONNECT / HTTP/1.1\r\nHost: a\r\n\r\n", BAD_REQUEST),
	ROW("CONNECT a HTTP/1.1\r\nHost: a\r\n\r\n", BAD_REQUEST),
	ROW("CONNECT a:x HTTP/1.1\r\nHost: a\r\n\r\n", BAD_REQUEST),
	ROW("CONNECT http://a:1/ HTTP/1.1\r\nHost: a\r\n\r\n", BAD_REQUEST),
	ROW("CONNECT a:1 HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\n", BAD_FRAMING),
	ROW("CONNECT a:1 HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n", BAD_FRAMING),
	ROW("GET / HTTP/4294967295.255\r\n", BAD_VERSION),
	ROW("GET / HTTP/1.32\r\n", BAD_VERSION),
	ROW("GET / HTTP/1.2\r\n", BAD_VERSION),
	ROW("GET / HTTP/11.1\r\n", BAD_VERSION),
	ROW("GET / HTTP/01.1\r\n", BAD_VERSION),
	ROW("GET / HTTP/1.01\r\n", BAD_VERSION),
	ROW("GET / HTTP/0.9\r\n", BAD_VERSION),
	ROW("GET / HTTP/2.0\r\n", BAD_VERSION),
	ROW("PRI * HTTP/2.0\r\n", BAD_VERSION),
	ROW("GET / HTTP/3\r\n", BAD_VERSION),
	ROW("AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA / HTTP/1.1\r\n",
	    BAD_METHOD),
	/* Host */
	ROW("GET / HTTP/1.1\r\n\r\n", BAD_REQUEST),
	ROW("GET / HTTP/1.1\r\nX: y\r\n\r\n", BAD_REQUEST),
	GET("Host: a\r\n", BAD_REQUEST),
	GET("host: b\r\n", BAD_REQUEST),
	GET("Host:\r\n", BAD_REQUEST),
	ROW("GET / HTTP/1.0\r\nHost: a\r\nHost: b\r\n\r\n", BAD_REQUEST),
	ROW("GET / HTTP/1.1\r\nHost: a b\r\n\r\n", BAD_REQUEST),
	ROW("GET / HTTP/1.1\r\nHost: a, b\r\n\r\n", BAD_REQUEST),
	ROW("GET / HTTP/1.1\r\nHost: a/b\r\n\r\n", BAD_REQUEST),
	ROW("GET / HTTP/1.1\r\nHost: u@a\r\n\r\n", BAD_REQUEST),
	ROW("GET / HTTP/1.1\r\nHost: http://a\r\n\r\n", BAD_REQUEST),
	ROW("GET / HTTP/1.1\r\nHost: a:8o\r\n\r\n", BAD_REQUEST),
	ROW("GET / HTTP/1.1\r\nHost: :80\r\n\r\n", BAD_REQUEST),
	ROW("GET / HTTP/1.1\r\nHost: [::1\r\n\r\n", BAD_REQUEST),
	ROW("GET / HTTP/1.1\r\nHost: a\xe9\r\n\r\n", BAD_REQUEST),
	ROW("GET / HTTP/1.1\r\nHost: a#b\r\n\r\n", BAD_REQUEST),
	ROW("GET http://a/ HTTP/1.1\r\nHost: a b\r\n\r\n", BAD_REQUEST),
	ROW("GET http://a/ HTTP/1.1\r\n\r\n", BAD_REQUEST),
	/* Expect */
	POST("Content-Length: 1\r\nExpect: 200-ok\r\n", BAD_EXPECT),
	POST("Content-Length: 1\r\nExpect: 100-continue, x\r\n", BAD_EXPECT),
	POST("Content-Length: 1\r\nExpect: 100-continue\r\nExpect: x\r\n", BAD_EXPECT),
	POST("Content-Length: 1\r\nExpect:\r\n", BAD_EXPECT),
};

/* Refused for this reason, all at once, and however it arrives: never taken, and refused for the same
 * reason from some byte on.  Each piece in memory of its own, so that ASan sees a byte too many. */
static void assert_refused(bool request, struct slice s, enum reason want)
{
	enum reason first = REASON_NONE;

	for (size_t n = 0; n <= s.n; n++) {
		uint8_t *exact = malloc(n + 1);
		enum reason why = REASON_NONE;
		int r;

		memcpy(exact, s.p, n);
		r = request ? http1_request(slice_of(exact, n), &limits, &head, &why) :
			      http1_response(slice_of(exact, n), &limits, false, false, &head, &why);
		free(exact);
		ck_assert_msg(r < 1, "taken at %zu: %.*s", n, (int)s.n, (const char *)s.p);
		if (r < 0 && first == REASON_NONE)
			first = why;
		ck_assert_msg((r < 0) == (first != REASON_NONE), "at %zu: %.*s", n, (int)s.n, (const char *)s.p);
	}
	ck_assert_msg(first == want, "%s instead of %s: %.*s", reason_row(first)->name, reason_row(want)->name,
		      (int)s.n, (const char *)s.p);
}

START_TEST(every_request_vector_is_refused_however_it_is_split)
{
	for (size_t i = 0; i < countof(bad_lines); i++)
		assert_refused(true, bad_lines[i].s, bad_lines[i].why);
	for (size_t i = 0; i < countof(bad_requests); i++)
		assert_refused(true, bad_requests[i].s, bad_requests[i].why);
}
END_TEST

/* What a request must not have behind its first line, a response must not have either. */
START_TEST(every_line_that_is_refused_in_a_request_is_refused_in_a_response)
{
	for (size_t i = 0; i < countof(bad_lines); i++) {
		struct slice s = bad_lines[i].s;
		const uint8_t *cr = memchr(s.p, '\r', s.n);
		uint8_t text[512];
		size_t n = 15;

		memcpy(text, cr[-1] == '1' ? "HTTP/1.1 200 OK" : "HTTP/1.0 200 OK", n);
		memcpy(text + n, cr, s.n - (size_t)(cr - s.p));
		n += s.n - (size_t)(cr - s.p);
		assert_refused(false, slice_of(text, n),
			       bad_lines[i].why == REASON_BAD_REQUEST ? REASON_BACK_BAD_RESPONSE :
									REASON_BACK_BAD_FRAMING);
	}
}
END_TEST

struct good {
	struct slice s;
	const char *method, *authority, *path, *query;	/* query NULL: none */
	enum body_kind body;
	uint64_t length;
	bool keep_alive;
};

static const struct good good_requests[] = {
	{ SLICE("GET / HTTP/1.1\r\nHost: a\r\n\r\n"), "GET", "a", "/", NULL, BODY_NONE, 0, true },
	{ SLICE("\r\n\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"), "GET", "a", "/", NULL, BODY_NONE, 0, true },
	{ SLICE("GET /a/b?c=d?e HTTP/1.1\r\nHost:a:80\r\n\r\n"), "GET", "a:80", "/a/b", "c=d?e", BODY_NONE, 0, true },
	{ SLICE("GET /? HTTP/1.1\r\nHost: a\r\n\r\n"), "GET", "a", "/", "", BODY_NONE, 0, true },
	{ SLICE("GET //x HTTP/1.1\r\nHost: a\r\n\r\n"), "GET", "a", "//x", NULL, BODY_NONE, 0, true },
	{ SLICE("GET /a|b{c}\"^`<>\\[] HTTP/1.1\r\nHost: a\r\n\r\n"), "GET", "a", "/a|b{c}\"^`<>\\[]", NULL, BODY_NONE, 0, true },
	{ SLICE("GET http://b/x?y HTTP/1.1\r\nHost: a\r\n\r\n"), "GET", "b", "/x", "y", BODY_NONE, 0, true },
	{ SLICE("GET HTTP://b:8080 HTTP/1.1\r\nHost: a\r\n\r\n"), "GET", "b:8080", "/", NULL, BODY_NONE, 0, true },
	{ SLICE("GET https://[::1]:1?q HTTP/1.1\r\nHost: a\r\n\r\n"), "GET", "[::1]:1", "/", "q", BODY_NONE, 0, true },
	{ SLICE("OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n"), "OPTIONS", "a", "*", NULL, BODY_NONE, 0, true },
	{ SLICE("OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n"), "OPTIONS", "b", "*", NULL, BODY_NONE, 0, true },
	{ SLICE("OPTIONS http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"), "OPTIONS", "b", "/", NULL, BODY_NONE, 0, true },
	{ SLICE("CONNECT a.b:443 HTTP/1.1\r\nHost: x\r\n\r\n"), "CONNECT", "a.b:443", "", NULL, BODY_NONE, 0, true },
	{ SLICE("BREW /pot HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n"), "BREW", "a", "/pot", NULL, BODY_NONE, 0, true },
	{ SLICE("g!#$%&'*+-.^_`|~9 / HTTP/1.1\r\nHost: a\r\n\r\n"), "g!#$%&'*+-.^_`|~9", "a", "/", NULL, BODY_NONE, 0, true },
	{ SLICE("PRI / HTTP/1.1\r\nHost: a\r\n\r\n"), "PRI", "a", "/", NULL, BODY_NONE, 0, true },
	{ SLICE("DESCRIBE / HTTP/1.1\r\nHost: a\r\n\r\n"), "DESCRIBE", "a", "/", NULL, BODY_NONE, 0, true },
	{ SLICE("SOURCE / HTTP/1.1\r\nHost: a\r\n\r\n"), "SOURCE", "a", "/", NULL, BODY_NONE, 0, true },
	{ SLICE("get / HTTP/1.1\r\nHost: a\r\n\r\n"), "get", "a", "/", NULL, BODY_NONE, 0, true },
	{ SLICE("GET / HTTP/1.1\r\nHost:\r\n\r\n"), "GET", "", "/", NULL, BODY_NONE, 0, true },
	{ SLICE("GET / HTTP/1.0\r\n\r\n"), "GET", "", "/", NULL, BODY_NONE, 0, false },
	{ SLICE("GET / HTTP/1.0\r\nConnection: Keep-Alive\r\n\r\n"), "GET", "", "/", NULL, BODY_NONE, 0, true },
	{ SLICE("GET / HTTP/1.0\r\nConnection: keep-alive, close\r\n\r\n"), "GET", "", "/", NULL, BODY_NONE, 0, false },
	{ SLICE("GET / HTTP/1.1\r\nHost: a\r\nConnection: ,, CLOSE,\r\n\r\n"), "GET", "a", "/", NULL, BODY_NONE, 0, false },
	{ SLICE("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\n\r\nhello"), "POST", "a", "/", NULL, BODY_LENGTH, 5, true },
	{ SLICE("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n"), "POST", "a", "/", NULL, BODY_LENGTH, 0, true },
	{ SLICE("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0010 \r\n\r\n"), "POST", "a", "/", NULL, BODY_LENGTH, 10, true },
	{ SLICE("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nContent-Length: 5\r\nX: y\r\n\r\n"), "POST", "a", "/", NULL, BODY_LENGTH, 5, true },
	{ SLICE("GET / HTTP/1.1\r\nHost: a\r\ncontent-LENGTH:\t5\t\r\n\r\n"), "GET", "a", "/", NULL, BODY_LENGTH, 5, true },
	{ SLICE("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 9223372036854775807\r\n\r\n"), "POST", "a", "/", NULL, BODY_LENGTH, INT64_MAX, true },
	{ SLICE("POST / HTTP/1.0\r\nContent-Length: 5\r\n\r\n"), "POST", "", "/", NULL, BODY_LENGTH, 5, false },
	{ SLICE("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: Chunked\r\n\r\n"), "POST", "a", "/", NULL, BODY_CHUNKED, 0, true },
	{ SLICE("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding:\t chunked \t\r\n\r\n"), "POST", "a", "/", NULL, BODY_CHUNKED, 0, true },
	{ SLICE("GET / HTTP/1.1\r\nHost: a\r\nX:\r\nY: \r\nZ: \xe9\x80 \t x\r\n\r\n"), "GET", "a", "/", NULL, BODY_NONE, 0, true },
	{ SLICE("GET / HTTP/1.0\r\nExpect: whatever\r\n\r\n"), "GET", "", "/", NULL, BODY_NONE, 0, false },
};

static bool text_is(struct slice s, const char *want)
{
	return slice_eq(s, slice_str(want));
}

START_TEST(legal_requests_are_taken_however_rare)
{
	for (size_t i = 0; i < countof(good_requests); i++) {
		const struct good *g = &good_requests[i];
		enum reason why = REASON_NONE;
		int r = http1_request(g->s, &limits, &head, &why);

		ck_assert_msg(r == 1, "row %zu: %d %s", i, r, reason_row(why)->name);
		ck_assert_msg(text_is(head.method, g->method), "row %zu", i);
		ck_assert_msg(text_is(head.authority, g->authority), "row %zu", i);
		ck_assert_msg(text_is(head.path, g->path), "row %zu", i);
		ck_assert_msg((head.query.p != NULL) == (g->query != NULL), "row %zu", i);
		ck_assert_msg(g->query == NULL || text_is(head.query, g->query), "row %zu", i);
		ck_assert_msg(head.body == g->body && head.length == g->length, "row %zu", i);
		ck_assert_msg(head.keep_alive == g->keep_alive, "row %zu", i);
	}
}
END_TEST

START_TEST(a_legal_request_is_complete_at_its_last_byte_and_not_before)
{
	for (size_t i = 0; i < countof(good_requests); i++) {
		struct slice s = good_requests[i].s;
		size_t bytes;
		enum reason why;

		ck_assert_int_eq(http1_request(s, &limits, &head, &why), 1);
		bytes = head.bytes;
		for (size_t n = 0; n <= s.n; n++) {
			uint8_t *exact = malloc(n + 1);
			int r;

			memcpy(exact, s.p, n);
			r = http1_request(slice_of(exact, n), &limits, &head, &why);
			ck_assert_msg(r == (n >= bytes), "row %zu at %zu: %d", i, n, r);
			ck_assert(r == 0 || head.bytes == bytes);
			free(exact);
		}
	}
}
END_TEST

static void request(const char *text)
{
	enum reason why = REASON_NONE;
	int r = http1_request(slice_str(text), &limits, &head, &why);

	ck_assert_msg(r == 1, "%d %s: %s", r, reason_row(why)->name, text);
}

static const struct header *line(const char *name)
{
	for (uint32_t i = 0; i < head.n; i++)
		if (slice_caseeq(head.h[i].name, slice_str(name)))
			return &head.h[i];
	ck_abort_msg("no line %s", name);
	return NULL;
}

START_TEST(connection_names_further_lines_of_this_hop)
{
	request("GET / HTTP/1.1\r\nHost: a\r\nX-Secret: 1\r\nCache: 2\r\nConnection: x-secret, close\r\n"
		"Keep-Alive: 5\r\nProxy-Connection: x\r\nTE: gzip\r\nProxy-Authorization: b\r\n"
		"connection: cache\r\nKept: 3\r\n\r\n");
	ck_assert(line("X-Secret")->drop);
	ck_assert(line("Cache")->drop);
	ck_assert(line("Connection")->drop);
	ck_assert(line("Keep-Alive")->drop);
	ck_assert(line("Proxy-Connection")->drop);
	ck_assert(line("TE")->drop);
	ck_assert(line("Proxy-Authorization")->drop);
	ck_assert(!line("Kept")->drop);
	ck_assert(!head.te_trailers);
}
END_TEST

START_TEST(connection_cannot_take_away_who_the_caller_is)
{
	request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 4\r\nX-Forwarded-For: 1\r\nVia: v\r\n"
		"traceparent: t\r\nConnection: x-forwarded-for, via, traceparent, content-length, host\r\n\r\n");
	ck_assert(!line("X-Forwarded-For")->drop);
	ck_assert(!line("Via")->drop);
	ck_assert(!line("traceparent")->drop);
	ck_assert_int_eq(head.body, BODY_LENGTH);
	ck_assert_uint_eq(head.length, 4);
	ck_assert(text_is(head.authority, "a"));
}
END_TEST

START_TEST(a_connection_line_that_names_too_much_is_refused)
{
	char text[2000] = "GET / HTTP/1.1\r\nHost: a\r\nConnection: x";
	enum reason why;

	for (int i = 0; i < 64; i++)
		strcat(text, ",x");
	strcat(text, "\r\n\r\n");
	ck_assert_int_eq(http1_request(slice_str(text), &limits, &head, &why), -1);
	ck_assert_int_eq(why, REASON_HEAD_TOO_LARGE);
}
END_TEST

START_TEST(upgrade_needs_its_connection_option_and_no_body)
{
	request("GET / HTTP/1.1\r\nHost: a\r\nConnection: keep-alive, Upgrade\r\nUpgrade: websocket\r\n\r\n");
	ck_assert(head.upgrade && text_is(head.upgrade_token, "websocket"));
	request("GET / HTTP/1.1\r\nHost: a\r\nUpgrade: websocket\r\n\r\n");
	ck_assert(!head.upgrade && line("Upgrade")->drop);
	request("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\n\r\n");
	ck_assert(!head.upgrade);
	request("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: a\r\nUpgrade: b\r\n\r\n");
	ck_assert(!head.upgrade);
	request("GET / HTTP/1.0\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n");
	ck_assert(!head.upgrade);
	request("POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: a\r\nContent-Length: 1\r\n\r\n");
	ck_assert(!head.upgrade);
	request("POST / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: a\r\nTransfer-Encoding: chunked\r\n\r\n");
	ck_assert(!head.upgrade);
}
END_TEST

START_TEST(h2c_is_never_offered_to_the_endpoint)
{
	request("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
		"HTTP2-Settings: AAMAAABk\r\n\r\n");
	ck_assert(!head.upgrade);
	ck_assert(line("HTTP2-Settings")->drop);
	request("GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket, H2C\r\n\r\n");
	ck_assert(!head.upgrade);
}
END_TEST

START_TEST(expect_counts_only_with_a_body_and_from_1_1)
{
	request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-Continue\r\n\r\n");
	ck_assert(head.expects_continue && !line("Expect")->drop);
	request("POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nExpect: 100-continue\r\n\r\n");
	ck_assert(head.expects_continue);
	request("GET / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\n\r\n");
	ck_assert(!head.expects_continue && line("Expect")->drop);
	request("POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nExpect: 100-continue\r\n\r\n");
	ck_assert(!head.expects_continue && line("Expect")->drop);
	request("POST / HTTP/1.0\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n");
	ck_assert(!head.expects_continue && line("Expect")->drop);
}
END_TEST

START_TEST(methods_say_whether_they_can_be_sent_twice)
{
	static const struct { const char *m; bool twice; } row[] = {
		{ "GET", true }, { "HEAD", true }, { "PUT", true }, { "DELETE", true },
		{ "OPTIONS", true }, { "TRACE", true }, { "POST", false }, { "PATCH", false },
		{ "BREW", false }, { "get", false },
	};

	for (size_t i = 0; i < countof(row); i++) {
		char text[80];

		snprintf(text, sizeof text, "%s / HTTP/1.1\r\nHost: a\r\n\r\n", row[i].m);
		request(text);
		ck_assert_msg(head.is_idempotent == row[i].twice, "%s", row[i].m);
		ck_assert(head.is_head == !strcmp(row[i].m, "HEAD"));
	}
}
END_TEST

START_TEST(limits_have_their_own_reasons)
{
	static uint8_t b[8192];
	const struct http1_limits few = { .head_bytes = 4096, .headers = 2, .uri_bytes = 10 };
	enum reason why;
	size_t n;

	ck_assert_int_eq(http1_request(SLICE("GET /23456789ab HTTP/1.1\r\nA: b\r\nHost: a\r\n\r\n"), &few,
				       &head, &why), -1);
	ck_assert_int_eq(why, REASON_URI_TOO_LONG);
	ck_assert_int_eq(http1_request(SLICE("GET /23456789ab"), &few, &head, &why), -1);
	ck_assert_int_eq(why, REASON_URI_TOO_LONG);
	ck_assert_int_eq(http1_request(SLICE("GET /23456789 HTTP/1.1\r\nA: b\r\nHost: a\r\n\r\n"), &few,
				       &head, &why), 1);
	ck_assert_int_eq(http1_request(SLICE("GET / HTTP/1.1\r\nA: b\r\nHost: a\r\nC: d\r\n\r\n"), &few,
				       &head, &why), -1);
	ck_assert_int_eq(why, REASON_HEAD_TOO_LARGE);

	n = (size_t)sprintf((char *)b, "GET / HTTP/1.1\r\nHost: a\r\nX: ");
	memset(b + n, 'x', sizeof b - n);
	ck_assert_int_eq(http1_request(slice_of(b, 4095), &limits, &head, &why), 0);
	ck_assert_int_eq(http1_request(slice_of(b, 4096), &limits, &head, &why), -1);
	ck_assert_int_eq(why, REASON_HEAD_TOO_LARGE);
	memcpy(b + 4092, "\r\n\r\n", 4);
	ck_assert_int_eq(http1_request(slice_of(b, 4096), &limits, &head, &why), 1);
	memcpy(b + 4092, "x\r\n\r\n", 5);
	ck_assert_int_eq(http1_request(slice_of(b, 4097), &limits, &head, &why), -1);
	ck_assert_int_eq(why, REASON_HEAD_TOO_LARGE);
	for (size_t i = 0; i < sizeof b; i++)
		b[i] = i & 1 ? '\n' : '\r';
	ck_assert_int_eq(http1_request(slice_of(b, 4000), &limits, &head, &why), 0);
	ck_assert_int_eq(http1_request(slice_of(b, 4096), &limits, &head, &why), -1);
	ck_assert_int_eq(why, REASON_HEAD_TOO_LARGE);
}
END_TEST

/* ---- responses ---- */

#define OK(lines, why) ROW("HTTP/1.1 200 OK\r\n" lines "\r\n", why)

static const struct row bad_responses[] = {
	ROW("HTTP/1.1  200 OK\r\n", BACK_BAD_RESPONSE),
	ROW("HTTP/1.1 20 OK\r\n", BACK_BAD_RESPONSE),
	ROW("HTTP/1.1 2000 OK\r\n", BACK_BAD_RESPONSE),
	ROW("HTTP/1.1 099 OK\r\n", BACK_BAD_RESPONSE),
	ROW("HTTP/1.1 2x0 OK\r\n", BACK_BAD_RESPONSE),
	ROW("HTTP/1.1 +20 OK\r\n", BACK_BAD_RESPONSE),
	ROW("HTTP/1.1\r\n", BACK_BAD_RESPONSE),
	ROW("HTTP/1.1 200\n", BACK_BAD_RESPONSE),
	ROW("HTTP/1.1 200 OK\n", BACK_BAD_RESPONSE),
	ROW("HTTP/1.1 200 OK\rX", BACK_BAD_RESPONSE),
	ROW("HTTP/1.1 200 O\0K\r\n", BACK_BAD_RESPONSE),
	ROW("HTTP/2.0 200 OK\r\n", BACK_BAD_RESPONSE),
	ROW("HTTP/1.2 200 OK\r\n", BACK_BAD_RESPONSE),
	ROW("HTTP/11.1 200 OK\r\n", BACK_BAD_RESPONSE),
	ROW("http/1.1 200 OK\r\n", BACK_BAD_RESPONSE),
	ROW("ICY 200 OK\r\n", BACK_BAD_RESPONSE),
	ROW("\r\nHTTP/1.1 200 OK\r\n", BACK_BAD_RESPONSE),
	ROW(" HTTP/1.1 200 OK\r\n", BACK_BAD_RESPONSE),
	OK("X : y\r\n", BACK_BAD_RESPONSE),
	OK("X\r\n", BACK_BAD_RESPONSE),
	OK(": y\r\n", BACK_BAD_RESPONSE),
	OK("X: a\0\r\n", BACK_BAD_RESPONSE),
	OK("X: a\rb\r\n", BACK_BAD_RESPONSE),
	OK("X: a\n", BACK_BAD_RESPONSE),
	OK("X: a\r\n b\r\n", BACK_BAD_RESPONSE),
	OK("\x80: a\r\n", BACK_BAD_RESPONSE),
	OK("Connection: a b\r\n", BACK_BAD_RESPONSE),
	ROW("HTTP/1.1 200 OK\r\nX: y\r\n\rX", BACK_BAD_RESPONSE),
	OK("Content-Length:\r\n", BACK_BAD_FRAMING),
	OK("Content-Length: +5\r\n", BACK_BAD_FRAMING),
	OK("Content-Length: 5, 5\r\n", BACK_BAD_FRAMING),
	OK("Content-Length: 5\r\nContent-Length: 6\r\n", BACK_BAD_FRAMING),
	OK("Content-Length: 0x5\r\n", BACK_BAD_FRAMING),
	OK("Content-Length: 18446744073709551617\r\n", BACK_BAD_FRAMING),
	OK("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n", BACK_BAD_FRAMING),
	OK("Transfer-Encoding: identity\r\n", BACK_BAD_FRAMING),
	OK("Transfer-Encoding: gzip, chunked\r\n", BACK_BAD_FRAMING),
	OK("Transfer-Encoding: ,chunked\r\n", BACK_BAD_FRAMING),
	OK("Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", BACK_BAD_FRAMING),
	OK("Transfer-Encoding: \x85" "chunked\r\n", BACK_BAD_FRAMING),
	ROW("HTTP/1.0 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", BACK_BAD_FRAMING),
	ROW("HTTP/1.1 100 Continue\r\nContent-Length: 5\r\n\r\n", BACK_BAD_FRAMING),
	ROW("HTTP/1.1 101 Switching\r\nTransfer-Encoding: chunked\r\n\r\n", BACK_BAD_FRAMING),
	ROW("HTTP/1.1 204 No\r\nContent-Length: 5\r\nContent-Length: 6\r\n\r\n", BACK_BAD_FRAMING),
};

START_TEST(every_response_vector_is_refused_however_it_is_split)
{
	for (size_t i = 0; i < countof(bad_responses); i++)
		assert_refused(false, bad_responses[i].s, bad_responses[i].why);
}
END_TEST

static const struct {
	struct slice s;
	char how;			/* what was asked: h HEAD, c CONNECT, g else */
	unsigned status;
	enum body_kind body;
	uint64_t length;
	bool keep_alive;
} good_responses[] = {
	{ SLICE("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n"), 'g', 200, BODY_LENGTH, 5, true },
	{ SLICE("HTTP/1.1 200\r\nContent-Length: 0\r\n\r\n"), 'g', 200, BODY_LENGTH, 0, true },
	{ SLICE("HTTP/1.1 200 \r\nContent-Length: 005\r\n\r\n"), 'g', 200, BODY_LENGTH, 5, true },
	{ SLICE("HTTP/1.1 404 \xe9 \t!\r\nTransfer-Encoding: chunked\r\n\r\n"), 'g', 404, BODY_CHUNKED, 0, true },
	{ SLICE("HTTP/1.1 999 Odd\r\nContent-Length: 1\r\nContent-Length: 1\r\n\r\n"), 'g', 999, BODY_LENGTH, 1, true },
	{ SLICE("HTTP/1.1 200 OK\r\n\r\n"), 'g', 200, BODY_UNTIL_CLOSE, 0, false },
	{ SLICE("HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 1\r\n\r\n"), 'g', 200, BODY_LENGTH, 1, false },
	{ SLICE("HTTP/1.0 200 OK\r\nContent-Length: 1\r\n\r\n"), 'g', 200, BODY_LENGTH, 1, false },
	{ SLICE("HTTP/1.0 200 OK\r\nConnection: keep-alive\r\nContent-Length: 1\r\n\r\n"), 'g', 200, BODY_LENGTH, 1, true },
	{ SLICE("HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\n"), 'h', 200, BODY_NONE, 9, true },
	{ SLICE("HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n"), 'h', 200, BODY_NONE, 0, true },
	{ SLICE("HTTP/1.1 200 OK\r\n\r\n"), 'h', 200, BODY_NONE, 0, true },
	{ SLICE("HTTP/1.1 304 Not Modified\r\nContent-Length: 9\r\n\r\n"), 'g', 304, BODY_NONE, 9, true },
	{ SLICE("HTTP/1.1 204 No Content\r\n\r\n"), 'g', 204, BODY_NONE, 0, true },
	{ SLICE("HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n"), 'g', 204, BODY_NONE, 0, true },
	{ SLICE("HTTP/1.1 204 No Content\r\nContent-Length: 5\r\n\r\n"), 'g', 204, BODY_NONE, 0, false },
	{ SLICE("HTTP/1.1 204 No Content\r\nTransfer-Encoding: chunked\r\n\r\n"), 'g', 204, BODY_NONE, 0, false },
	{ SLICE("HTTP/1.1 100 Continue\r\n\r\n"), 'g', 100, BODY_NONE, 0, true },
	{ SLICE("HTTP/1.1 103 Early Hints\r\nLink: x\r\n\r\n"), 'g', 103, BODY_NONE, 0, true },
	{ SLICE("HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n"), 'g', 101, BODY_TUNNEL, 0, false },
	{ SLICE("HTTP/1.1 200 OK\r\n\r\n"), 'c', 200, BODY_TUNNEL, 0, false },
	{ SLICE("HTTP/1.1 403 No\r\nContent-Length: 2\r\n\r\n"), 'c', 403, BODY_LENGTH, 2, true },
};

START_TEST(responses_frame_their_body_by_the_rules_in_their_order)
{
	for (size_t i = 0; i < countof(good_responses); i++) {
		struct slice s = good_responses[i].s;

		for (size_t n = 0; n <= s.n; n++) {
			uint8_t *exact = malloc(n + 1);
			enum reason why = REASON_NONE;
			int r;

			memcpy(exact, s.p, n);
			r = http1_response(slice_of(exact, n), &limits, good_responses[i].how == 'h',
					   good_responses[i].how == 'c', &head, &why);
			free(exact);
			ck_assert_msg(r == (n == s.n), "row %zu at %zu: %d %s", i, n, r,
				      reason_row(why)->name);
		}
		ck_assert_uint_eq(head.bytes, s.n);
		ck_assert_uint_eq(head.status, good_responses[i].status);
		ck_assert_msg(head.body == good_responses[i].body, "row %zu: %d", i, head.body);
		ck_assert_msg(head.length == good_responses[i].length, "row %zu", i);
		ck_assert_msg(head.keep_alive == good_responses[i].keep_alive, "row %zu", i);
	}
}
END_TEST

START_TEST(a_response_head_has_its_limit)
{
	static uint8_t b[5000];
	enum reason why;

	memset(b, 'x', sizeof b);
	memcpy(b, "HTTP/1.1 200 OK\r\nX: ", 20);
	ck_assert_int_eq(http1_response(slice_of(b, 4095), &limits, false, false, &head, &why), 0);
	ck_assert_int_eq(http1_response(slice_of(b, 4096), &limits, false, false, &head, &why), -1);
	ck_assert_int_eq(why, REASON_BACK_HEAD_TOO_LARGE);
}
END_TEST

UNIT_TESTS("http1_head", every_request_vector_is_refused_however_it_is_split,
	   every_line_that_is_refused_in_a_request_is_refused_in_a_response, legal_requests_are_taken_however_rare,
	   a_legal_request_is_complete_at_its_last_byte_and_not_before,
	   connection_names_further_lines_of_this_hop,
	   connection_cannot_take_away_who_the_caller_is,
	   a_connection_line_that_names_too_much_is_refused,
	   upgrade_needs_its_connection_option_and_no_body, h2c_is_never_offered_to_the_endpoint,
	   expect_counts_only_with_a_body_and_from_1_1, methods_say_whether_they_can_be_sent_twice,
	   limits_have_their_own_reasons, every_response_vector_is_refused_however_it_is_split,
	   responses_frame_their_body_by_the_rules_in_their_order, a_response_head_has_its_limit)
