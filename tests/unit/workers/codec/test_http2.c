/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* HTTP/2 heads: what is taken, what is refused and why, and that HTTP/1 means the same. */
#include "tests/unit/test.h"

#include <stdio.h>

#include "nodeproxy/lib/base/rand.h"
#include "workers/codec/http1.h"
#include "workers/codec/http2.h"
#include "workers/codec/websocket.h"

static const struct http1_limits limits = { .head_bytes = 32768, .headers = 100, .uri_bytes = 4096 };
static const struct http1_limits wide = { .head_bytes = 65536, .headers = 256, .uri_bytes = 8192 };
static struct head head, again;
static struct slab blocks;
static struct arena arena;
static struct h2_field fields[300];
static char text[200000];

static union {
	struct h2_block b;
	uint8_t bytes[70000];
} block;

static void setup(void)
{
	if (blocks.mem == NULL)
		ck_assert_int_eq(slab_init(&blocks, "blocks", sizeof(struct arena_block), 32), 0);
	arena_init(&arena, &blocks, 16);
	rand_seed(1);
}

/* "name=value|name=value"; \| and \= are not needed. */
static void block_from(const char *lines, bool end)
{
	h2_block_init(&block.b, H2_REQUEST, sizeof block - sizeof block.b);
	block.b.is_end = end;
	while (*lines) {
		size_t n = strcspn(lines, "|"), eq = strcspn(lines, "=");

		ck_assert_uint_lt(eq, n);
		ck_assert(h2_block_put(&block.b, slice_of(lines, eq), slice_of(lines + eq + 1, n - eq - 1)));
		lines += n + (lines[n] == '|');
	}
}

static enum reason request(const char *lines, bool end)
{
	enum reason why = REASON_NONE;
	int r;

	block_from(lines, end);
	r = http2_request(&block.b, &limits, &arena, &head, &why);
	ck_assert_int_eq(r, why == REASON_NONE ? 0 : -1);
	return why;
}

static const char *joined(const struct iovec *v, int n)
{
	size_t at = 0;

	ck_assert_int_ge(n, 1);
	for (int i = 0; i < n; i++) {
		memcpy(text + at, v[i].iov_base, v[i].iov_len);
		at += v[i].iov_len;
	}
	text[at] = 0;
	return text;
}

/* As HTTP/1 would say it; it must be taken there too. */
static const char *as_http1(int *ret_pieces)
{
	struct http1_out how = { .keep_alive = true, .chunked = head.body == BODY_CHUNKED };
	struct iovec v[300];
	enum reason why = REASON_NONE;
	int n = http1_put_request(&head, &how, &arena, v, countof(v));

	joined(v, n);
	if (ret_pieces)
		*ret_pieces = n;
	ck_assert_msg(http1_request(slice_str(text), &wide, &again, &why) == 1, "%s: %s",
		      reason_row(why)->name, text);
	return text;
}

static const char *as_fields(int n)
{
	size_t at = 0;

	ck_assert_int_ge(n, 1);
	for (int i = 0; i < n; i++)
		at += (size_t)sprintf(text + at, "%.*s=%.*s%s|", (int)fields[i].name_n,
				      (const char *)fields[i].name, (int)fields[i].value_n,
				      (const char *)fields[i].value, fields[i].is_secret ? "!" : "");
	return text;
}

#define GET ":method=GET|:scheme=http|:authority=a|:path=/"
#define POST ":method=POST|:scheme=https|:authority=a|:path=/"

static const struct {
	const char *in;
	bool end;
	const char *out;
} requests[] = {
	{ GET, true, "GET / HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ ":method=GET|:path=/x?y=z|:scheme=https|:authority=a:81|b=2|c=3", true,
	  "GET /x?y=z HTTP/1.1\r\nHost: a:81\r\nb: 2\r\nc: 3\r\n\r\n" },
	{ ":method=GET|:path=/|:scheme=http|host=b", true, "GET / HTTP/1.1\r\nHost: b\r\n\r\n" },
	{ GET "|host=A", true, "GET / HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ ":method=OPTIONS|:path=*|:scheme=http|:authority=a", true, "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ ":method=CONNECT|:authority=a:1", false, "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n" },
	{ POST, false, "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n" },
	{ POST, true, "POST / HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ POST "|content-length=7|x=y", false, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\nx: y\r\n\r\n" },
	{ POST "|content-length=0", true, "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" },
	{ POST "|content-length=07|content-length=7", false,
	  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\n\r\n" },
	{ GET "|te=trailers", true, "GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: trailers\r\n\r\n" },
	{ POST "|expect=100-continue|content-length=1", false,
	  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 1\r\nexpect: 100-continue\r\n\r\n" },
	{ GET "|expect=100-continue", true, "GET / HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ GET "|cookie=a=1|cookie=b=2|cookie=|cookie=c|x=y", true,
	  "GET / HTTP/1.1\r\nHost: a\r\ncookie: a=1; b=2; c\r\nx: y\r\n\r\n" },
	{ GET "|cookie=a=1|x=y|cookie=b=2", true,
	  "GET / HTTP/1.1\r\nHost: a\r\ncookie: a=1; b=2\r\nx: y\r\n\r\n" },
	{ GET "|cookie=|cookie=b|cookie=", true, "GET / HTTP/1.1\r\nHost: a\r\ncookie: b\r\n\r\n" },
	{ GET "|cookie=|cookie=", true, "GET / HTTP/1.1\r\nHost: a\r\ncookie: \r\n\r\n" },
	{ GET "|cookie=a|x=y|cookie=", true, "GET / HTTP/1.1\r\nHost: a\r\ncookie: a\r\nx: y\r\n\r\n" },
	{ GET "|proxy-authorization=x|trailer=t|e=", true, "GET / HTTP/1.1\r\nHost: a\r\ne: \r\n\r\n" },
	{ ":method=CONNECT|:protocol=foo|:scheme=http|:path=/c|:authority=a", false,
	  "GET /c HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: foo\r\n\r\n" },
};

START_TEST(a_request_means_the_same_in_http1)
{
	for (size_t i = 0; i < countof(requests); i++) {
		setup();
		ck_assert_msg(request(requests[i].in, requests[i].end) == REASON_NONE, "%s", requests[i].in);
		ck_assert_str_eq(as_http1(NULL), requests[i].out);
		ck_assert(head.keep_alive);
		ck_assert_uint_eq(head.body, again.body);
		ck_assert_uint_eq(head.length, again.length);
		ck_assert(head.is_head == again.is_head && head.is_connect == again.is_connect);
		ck_assert(head.upgrade == again.upgrade && head.expects_continue == again.expects_continue);
		ck_assert(slice_eq(head.authority, again.authority) && slice_eq(head.path, again.path));
		arena_fini(&arena);
	}
}
END_TEST

START_TEST(a_block_can_be_read_again)
{
	for (size_t i = 0; i < countof(requests); i++) {
		enum reason why;

		setup();
		ck_assert_int_eq(request(requests[i].in, requests[i].end), REASON_NONE);
		ck_assert_msg(http2_request(&block.b, &limits, &arena, &head, &why) == 0, "%s: %s",
			      requests[i].in, reason_row(why)->name);
		ck_assert_str_eq(as_http1(NULL), requests[i].out);
		arena_fini(&arena);
	}
}
END_TEST

START_TEST(lines_leave_from_where_they_lie_in_one_piece)
{
	int pieces;

	setup();
	ck_assert_int_eq(request(GET "|a=1|b=2|c=3|d=4|e=5|f=6", true), REASON_NONE);
	as_http1(&pieces);
	ck_assert_int_eq(pieces, 2);	/* ours and theirs */
	arena_fini(&arena);
}
END_TEST

static const struct {
	const char *in;
	bool end;
	enum reason why;
} refused[] = {
	/* pseudo headers: missing, twice, late, unknown, of the wrong side */
	{ ":scheme=http|:authority=a|:path=/", true, REASON_BAD_REQUEST },
	{ ":method=GET|:authority=a|:path=/", true, REASON_BAD_REQUEST },
	{ ":method=GET|:scheme=http|:path=/", true, REASON_BAD_REQUEST },
	{ ":method=GET|:scheme=http|:authority=a", true, REASON_BAD_REQUEST },
	{ GET "|:path=/", true, REASON_BAD_REQUEST },
	{ GET "|:method=GET", true, REASON_BAD_REQUEST },
	{ ":method=GET|:scheme=http|:authority=a|x=y|:path=/", true, REASON_BAD_REQUEST },
	{ GET "|:foo=bar", true, REASON_BAD_REQUEST },
	{ GET "|:status=200", true, REASON_BAD_REQUEST },
	{ GET "|:=x", true, REASON_BAD_REQUEST },
	/* their values */
	{ ":method=G ET|:scheme=http|:authority=a|:path=/", true, REASON_BAD_REQUEST },
	{ ":method=|:scheme=http|:authority=a|:path=/", true, REASON_BAD_REQUEST },
	{ ":method=GET|:scheme=http |:authority=a|:path=/", true, REASON_BAD_REQUEST },
	{ ":method=GET|:scheme=ftp|:authority=a|:path=/", true, REASON_BAD_REQUEST },
	{ ":method=GET|:scheme=http|:authority=a b|:path=/", true, REASON_BAD_REQUEST },
	{ ":method=GET|:scheme=http|:authority=u@a|:path=/", true, REASON_BAD_REQUEST },
	{ ":method=GET|:scheme=http|:authority=a/b|:path=/", true, REASON_BAD_REQUEST },
	{ ":method=GET|:scheme=http|:authority=|:path=/", true, REASON_BAD_REQUEST },
	{ ":method=GET|:scheme=http|:authority=a|:path=", true, REASON_BAD_REQUEST },
	{ ":method=GET|:scheme=http|:authority=a|:path=x", true, REASON_BAD_REQUEST },
	{ ":method=GET|:scheme=http|:authority=a|:path=*", true, REASON_BAD_REQUEST },
	{ ":method=OPTIONS|:scheme=http|:authority=a|:path=*x", true, REASON_BAD_REQUEST },
	{ ":method=GET|:scheme=http|:authority=a|:path=http://a/", true, REASON_BAD_REQUEST },
	{ ":method=GET|:scheme=http|:authority=a|:path=/ HTTP/1.1", true, REASON_BAD_REQUEST },
	{ ":method=GET|:scheme=http|:authority=a|:path=/a\tb", true, REASON_BAD_REQUEST },
	{ ":method=GET|:scheme=http|:authority=a|:path=/#f", true, REASON_BAD_REQUEST },
	{ ":method=GET|:scheme=http|:authority=a|:path=/\x80", true, REASON_BAD_REQUEST },
	{ ":method=GET|:scheme=http|:authority=a|:path=/\r\nX: y", true, REASON_BAD_REQUEST },
	/* host */
	{ GET "|host=b", true, REASON_BAD_REQUEST },
	{ GET "|host=a|host=a", true, REASON_BAD_REQUEST },
	{ GET "|host=", true, REASON_BAD_REQUEST },
	{ GET "|host=a:80", true, REASON_BAD_REQUEST },
	/* CONNECT */
	{ ":method=CONNECT|:authority=a", false, REASON_BAD_REQUEST },
	{ ":method=CONNECT|:authority=a:1|:path=/", false, REASON_BAD_REQUEST },
	{ ":method=CONNECT|:authority=a:1|:scheme=http", false, REASON_BAD_REQUEST },
	{ ":method=CONNECT|host=a:1", false, REASON_BAD_REQUEST },
	{ ":method=CONNECT|:authority=a:1", true, REASON_BAD_REQUEST },
	{ ":method=CONNECT|:authority=a:1|content-length=5", false, REASON_BAD_FRAMING },
	{ ":method=GET|:protocol=x|:scheme=http|:path=/c|:authority=a", false, REASON_BAD_REQUEST },
	{ ":method=CONNECT|:protocol=x|:authority=a", false, REASON_BAD_REQUEST },
	{ ":method=CONNECT|:protocol=x, y|:scheme=http|:path=/c|:authority=a", false, REASON_BAD_REQUEST },
	{ ":method=CONNECT|:protocol=h2c|:scheme=http|:path=/c|:authority=a", false, REASON_BAD_REQUEST },
	{ ":method=CONNECT|:protocol=x|:scheme=http|:path=/c|:authority=a|content-length=5", false,
	  REASON_BAD_FRAMING },
	/* lines: of the connection, of the hop before, not of the grammar */
	{ GET "|connection=close", true, REASON_BAD_REQUEST },
	{ GET "|keep-alive=5", true, REASON_BAD_REQUEST },
	{ GET "|proxy-connection=x", true, REASON_BAD_REQUEST },
	{ GET "|transfer-encoding=chunked", true, REASON_BAD_REQUEST },
	{ GET "|upgrade=websocket", true, REASON_BAD_REQUEST },
	{ GET "|te=gzip", true, REASON_BAD_REQUEST },
	{ GET "|te=trailers, gzip", true, REASON_BAD_REQUEST },
	{ GET "|=x", true, REASON_BAD_REQUEST },
	{ GET "|X=y", true, REASON_BAD_REQUEST },
	{ GET "|x y=z", true, REASON_BAD_REQUEST },
	{ GET "|x:=z", true, REASON_BAD_REQUEST },
	{ GET "|x\x80=z", true, REASON_BAD_REQUEST },
	{ GET "|x= z", true, REASON_BAD_REQUEST },
	{ GET "|x=z\t", true, REASON_BAD_REQUEST },
	{ GET "|x=y\rz", true, REASON_BAD_REQUEST },
	{ GET "|x=y\nz", true, REASON_BAD_REQUEST },
	{ GET "|x=y\r\nz: 1", true, REASON_BAD_REQUEST },
	{ GET "|x=y\x7f", true, REASON_BAD_REQUEST },
	/* framing */
	{ POST "|content-length=", false, REASON_BAD_FRAMING },
	{ POST "|content-length=-1", false, REASON_BAD_FRAMING },
	{ POST "|content-length=5, 5", false, REASON_BAD_FRAMING },
	{ POST "|content-length=5|content-length=6", false, REASON_BAD_FRAMING },
	{ POST "|content-length=99999999999999999999", false, REASON_BAD_FRAMING },
	{ POST "|content-length=5", true, REASON_BAD_FRAMING },
	{ POST "|expect=x", false, REASON_BAD_EXPECT },
};

START_TEST(what_http1_would_not_carry_is_refused)
{
	for (size_t i = 0; i < countof(refused); i++) {
		enum reason why;

		setup();
		why = request(refused[i].in, refused[i].end);
		ck_assert_msg(why == refused[i].why, "%s: %s", refused[i].in, reason_row(why)->name);
		arena_fini(&arena);
	}
}
END_TEST

START_TEST(nul_is_refused_wherever_it_stands)
{
	static const struct slice lines[][2] = {
		{ { (const uint8_t *)"x", 1 }, { (const uint8_t *)"a\0b", 3 } },
		{ { (const uint8_t *)"x\0y", 3 }, { (const uint8_t *)"a", 1 } },
	};

	for (size_t i = 0; i < countof(lines); i++) {
		enum reason why = REASON_NONE;

		setup();
		block_from(GET, true);
		ck_assert(h2_block_put(&block.b, lines[i][0], lines[i][1]));
		ck_assert_int_eq(http2_request(&block.b, &limits, &arena, &head, &why), -1);
		ck_assert_int_eq(why, REASON_BAD_REQUEST);
		arena_fini(&arena);
	}
}
END_TEST

START_TEST(limits_hold)
{
	static char in[8000];
	size_t n;
	enum reason why;

	setup();
	n = (size_t)sprintf(in, ":method=GET|:scheme=http|:authority=a|:path=/");
	memset(in + n, 'p', 4096);
	ck_assert_int_eq(request(in, true), REASON_URI_TOO_LONG);
	in[n + 4095] = 0;
	ck_assert_int_eq(request(in, true), REASON_NONE);
	n = (size_t)sprintf(in, GET);
	for (int i = 0; i < 100; i++)
		n += (size_t)sprintf(in + n, "|x=y");
	ck_assert_int_eq(request(in, true), REASON_NONE);
	sprintf(in + n, "|x=y");
	ck_assert_int_eq(request(in, true), REASON_HEAD_TOO_LARGE);
	n = (size_t)sprintf(in, ":scheme=http|:authority=a|:path=/|:method=");
	memset(in + n, 'M', 65);
	in[n + 65] = 0;
	ck_assert_int_eq(request(in, true), REASON_BAD_METHOD);
	block_from(GET, true);
	block.b.is_too_large = true;
	ck_assert_int_eq(http2_request(&block.b, &limits, &arena, &head, &why), -1);
	ck_assert_int_eq(why, REASON_HEAD_TOO_LARGE);
	arena_fini(&arena);
}
END_TEST

/* ---- responses ---- */

static enum reason response(const char *lines, bool end, struct http2_asked asked)
{
	enum reason why = REASON_NONE;

	block_from(lines, end);
	ck_assert_int_eq(http2_response(&block.b, &limits, &arena, &asked, &head, &why),
			 why == REASON_NONE ? 0 : -1);
	return why;
}

#define ASKED(...) ((struct http2_asked){ __VA_ARGS__ })

START_TEST(a_response_means_the_same_in_http1)
{
	static const struct {
		const char *in;
		bool end;
		struct http2_asked asked;
		const char *out;
	} rows[] = {
		{ ":status=200|x=y", false, ASKED(0),
		  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nx: y\r\n\r\n" },
		{ ":status=200|content-length=5", false, ASKED(0), "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" },
		{ ":status=299", true, ASKED(0), "HTTP/1.1 299 \r\nContent-Length: 0\r\n\r\n" },
		{ ":status=200|content-length=5", true, ASKED(.head = true),
		  "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n" },
		{ ":status=200", true, ASKED(.head = true), "HTTP/1.1 200 OK\r\n\r\n" },
		{ ":status=304|content-length=5", true, ASKED(0),
		  "HTTP/1.1 304 Not Modified\r\nContent-Length: 5\r\n\r\n" },
		{ ":status=204", true, ASKED(0), "HTTP/1.1 204 No Content\r\n\r\n" },
		{ ":status=103|link=a", false, ASKED(0), "HTTP/1.1 103 \r\nlink: a\r\n\r\n" },
		{ ":status=200|sec-websocket-protocol=p", false,
		  ASKED(.upgrade = { (const uint8_t *)"websocket", 9 },
			.websocket_key = { (const uint8_t *)"dGhlIHNhbXBsZSBub25jZQ==", 24 }),
		  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
		  "sec-websocket-protocol: p\r\nsec-websocket-accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n" },
	};

	for (size_t i = 0; i < countof(rows); i++) {
		struct http1_out how = { .keep_alive = true };
		struct iovec v[64];
		enum reason why;

		setup();
		ck_assert_int_eq(response(rows[i].in, rows[i].end, rows[i].asked), REASON_NONE);
		how.chunked = head.body == BODY_CHUNKED;
		ck_assert_str_eq(joined(v, http1_put_response(&head, &how, &arena, v, countof(v))), rows[i].out);
		ck_assert_int_eq(http1_response(slice_str(text), &wide, rows[i].asked.head, false, &again, &why), 1);
		ck_assert_uint_eq(again.body, head.body);
		ck_assert_uint_eq(again.length, head.length);
		arena_fini(&arena);
	}
}
END_TEST

START_TEST(a_response_that_breaks_the_rules_is_refused)
{
	static const struct {
		const char *in;
		bool end;
		enum reason why;
	} rows[] = {
		{ "x=y", true, REASON_BACK_BAD_RESPONSE },
		{ ":status=20", true, REASON_BACK_BAD_RESPONSE },
		{ ":status=2000", true, REASON_BACK_BAD_RESPONSE },
		{ ":status=099", true, REASON_BACK_BAD_RESPONSE },
		{ ":status=+20", true, REASON_BACK_BAD_RESPONSE },
		{ ":status=200|:status=200", true, REASON_BACK_BAD_RESPONSE },
		{ ":status=200|:path=/", true, REASON_BACK_BAD_RESPONSE },
		{ "x=y|:status=200", true, REASON_BACK_BAD_RESPONSE },
		{ ":status=101", false, REASON_BACK_BAD_RESPONSE },
		{ ":status=200|connection=x", true, REASON_BACK_BAD_RESPONSE },
		{ ":status=200|x=y\r\nz: 1", true, REASON_BACK_BAD_RESPONSE },
		{ ":status=103", true, REASON_BACK_BAD_FRAMING },
		{ ":status=103|content-length=1", false, REASON_BACK_BAD_FRAMING },
		{ ":status=200|content-length=1", true, REASON_BACK_BAD_FRAMING },
		{ ":status=200|content-length=x", false, REASON_BACK_BAD_FRAMING },
	};

	for (size_t i = 0; i < countof(rows); i++) {
		setup();
		ck_assert_msg(response(rows[i].in, rows[i].end, ASKED(0)) == rows[i].why, "%s", rows[i].in);
		arena_fini(&arena);
	}
}
END_TEST

START_TEST(tunnels_have_no_body)
{
	setup();
	ck_assert_int_eq(response(":status=200", false, ASKED(.connect = true)), REASON_NONE);
	ck_assert_uint_eq(head.body, BODY_TUNNEL);
	ck_assert_int_eq(response(":status=503|content-length=3", false, ASKED(.connect = true)), REASON_NONE);
	ck_assert_uint_eq(head.body, BODY_LENGTH);
	ck_assert_int_eq(response(":status=403", true, ASKED(.upgrade = SLICE("x"))), REASON_NONE);
	ck_assert_uint_eq(head.status, 403);
	arena_fini(&arena);
}
END_TEST

/* ---- out ---- */

static const struct {
	const char *in, *out;
} from_http1[] = {
	{ "GET /a?b HTTP/1.1\r\nHost: x\r\nCookie: a=1\r\nConnection: close, q\r\nQ: 1\r\nZ: 2\r\n\r\n",
	  ":method=GET|:scheme=http|:path=/a?b|:authority=x|Cookie=a=1!|Z=2|" },
	{ "GET http://b?y HTTP/1.1\r\nHost: a\r\n\r\n", ":method=GET|:scheme=http|:path=/?y|:authority=b|" },
	{ "OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", ":method=OPTIONS|:scheme=http|:path=*|:authority=b|" },
	{ "GET / HTTP/1.0\r\n\r\n", ":method=GET|:scheme=http|:path=/|" },
	{ "CONNECT a:1 HTTP/1.1\r\nHost: b\r\n\r\n", ":method=CONNECT|:authority=a:1|" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 07\r\nTE: trailers\r\nAuthorization: x\r\n\r\n",
	  ":method=POST|:scheme=http|:path=/|:authority=a|content-length=7|te=trailers|Authorization=x!|" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\nExpect: 100-continue\r\n\r\n",
	  ":method=POST|:scheme=http|:path=/|:authority=a|Trailer=X|Expect=100-continue|" },
	{ "GET /c HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n"
	  "Sec-WebSocket-Version: 13\r\n\r\n",
	  ":method=CONNECT|:scheme=http|:path=/c|:authority=a|:protocol=websocket|Sec-WebSocket-Version=13|" },
	{ "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade, HTTP2-Settings\r\nUpgrade: h2c\r\n"
	  "HTTP2-Settings: AAA\r\n\r\n", ":method=GET|:scheme=http|:path=/|:authority=a|" },
};

START_TEST(a_request_of_http1_leaves_as_fields)
{
	struct http2_out how = { .https = false };

	for (size_t i = 0; i < countof(from_http1); i++) {
		enum reason why;

		setup();
		ck_assert_int_eq(http1_request(slice_str(from_http1[i].in), &wide, &head, &why), 1);
		ck_assert_str_eq(as_fields(http2_put_request(&head, &how, &arena, fields, countof(fields))),
				 from_http1[i].out);
		arena_fini(&arena);
	}
	setup();
	ck_assert_int_eq(request(GET "|x=y", true), REASON_NONE);
	how = (struct http2_out){ .https = true, .extra = SLICE("X-Forwarded-For: 1.2.3.4\r\nA: b\r\n") };
	ck_assert_str_eq(as_fields(http2_put_request(&head, &how, &arena, fields, countof(fields))),
			 ":method=GET|:scheme=https|:path=/|:authority=a|X-Forwarded-For=1.2.3.4|A=b|x=y|");
	ck_assert_int_eq(http2_put_request(&head, &how, &arena, fields, 6), -1);
	arena_fini(&arena);
}
END_TEST

START_TEST(a_response_of_http1_leaves_as_fields)
{
	static const struct {
		const char *in;
		bool head;
		const char *out;
	} rows[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\nConnection: close\r\n\r\n", false,
		  ":status=200|content-length=5|X=y|" },
		{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nSet-Cookie: a\r\n\r\n", false,
		  ":status=200|Set-Cookie=a!|" },
		{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", true, ":status=200|content-length=5|" },
		{ "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", false, ":status=304|ETag=x|" },
		{ "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", false, ":status=103|Link=a|" },
		{ "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\n"
		  "Sec-WebSocket-Accept: q\r\nA: b\r\n\r\n", false, ":status=200|A=b|" },
	};
	struct http2_out how = { 0 };

	for (size_t i = 0; i < countof(rows); i++) {
		enum reason why;

		setup();
		ck_assert_int_eq(http1_response(slice_str(rows[i].in), &wide, rows[i].head, false, &head, &why), 1);
		ck_assert_str_eq(as_fields(http2_put_response(&head, &how, &arena, fields, countof(fields))),
				 rows[i].out);
		arena_fini(&arena);
	}
}
END_TEST

START_TEST(trailers_pass_if_they_may_be_trailers)
{
	setup();
	block_from("x-sum=1|content-length=3|grpc-status=0|cookie=a", true);
	ck_assert(http2_trailers(&block.b, &head));
	ck_assert_str_eq(as_fields(http2_put_trailers(&head, fields, countof(fields))), "x-sum=1|grpc-status=0|");
	block_from("x=1|:path=/", true);
	ck_assert(!http2_trailers(&block.b, &head));
	block_from(":status=200|x=1", true);
	ck_assert(!http2_trailers(&block.b, &head));
	block_from("x=1\r\n2", true);
	ck_assert(!http2_trailers(&block.b, &head));
	arena_fini(&arena);
}
END_TEST

START_TEST(a_websocket_gets_a_key_where_it_needs_one)
{
	uint8_t accept[WEBSOCKET_ACCEPT_BYTES];
	struct slice key = { 0 };

	setup();
	ck_assert_int_eq(request(":method=CONNECT|:protocol=websocket|:scheme=http|:path=/c|:authority=a|"
				 "sec-websocket-version=13", false), REASON_NONE);
	as_http1(NULL);
	ck_assert(again.upgrade && slice_eq(again.upgrade_token, SLICE("websocket")));
	for (uint32_t i = 0; i < again.n; i++)
		if (slice_caseeq(again.h[i].name, SLICE("sec-websocket-key")))
			key = again.h[i].value;
	ck_assert_uint_eq(key.n, WEBSOCKET_KEY_BYTES);
	ck_assert_uint_eq(key.p[23], '=');
	ck_assert(http2_can_put_request(&head, true));
	ck_assert(!http2_can_put_request(&head, false));
	/* RFC 6455 section 1.3. */
	websocket_accept(SLICE("dGhlIHNhbXBsZSBub25jZQ=="), accept);
	ck_assert_int_eq(memcmp(accept, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo=", sizeof accept), 0);
	/* A short key: one block of SHA-1. */
	websocket_accept(SLICE("k"), accept);
	ck_assert_int_eq(memcmp(accept, "cai0HFWL7DEHZkyHxdyv1Pn3R6M=", sizeof accept), 0);
	arena_fini(&arena);
}
END_TEST

UNIT_TESTS("http2", a_request_means_the_same_in_http1, a_block_can_be_read_again, lines_leave_from_where_they_lie_in_one_piece,
	   what_http1_would_not_carry_is_refused, nul_is_refused_wherever_it_stands, limits_hold,
	   a_response_means_the_same_in_http1, a_response_that_breaks_the_rules_is_refused, tunnels_have_no_body,
	   a_request_of_http1_leaves_as_fields, a_response_of_http1_leaves_as_fields,
	   trailers_pass_if_they_may_be_trailers, a_websocket_gets_a_key_where_it_needs_one)
