/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Heads on their way out: what we write, what passes untouched, and in how few pieces. */
#include "tests/unit/test.h"

#include <stdio.h>

#include "workers/codec/http1.h"

static const struct http1_limits limits = { .head_bytes = 32768, .headers = 256, .uri_bytes = 16384 };
static struct head head;
static struct slab blocks;
static struct arena arena;
static struct iovec iov[64];
static char text[40000];

static void setup(uint32_t max_blocks)
{
	if (blocks.mem == NULL)
		ck_assert_int_eq(slab_init(&blocks, "blocks", sizeof(struct arena_block), 8), 0);
	arena_init(&arena, &blocks, max_blocks);
}

static const char *joined(int n)
{
	size_t at = 0;

	ck_assert_int_ge(n, 1);
	for (int i = 0; i < n; i++) {
		memcpy(text + at, iov[i].iov_base, iov[i].iov_len);
		at += iov[i].iov_len;
	}
	text[at] = 0;
	return text;
}

static int request(const char *in, struct http1_out how)
{
	enum reason why = REASON_NONE;

	ck_assert_msg(http1_request(slice_str(in), &limits, &head, &why) == 1, "%s: %s",
		      reason_row(why)->name, in);
	return http1_put_request(&head, &how, &arena, iov, countof(iov));
}

static int response(const char *in, bool req_head, struct http1_out how)
{
	enum reason why = REASON_NONE;

	ck_assert_msg(http1_response(slice_str(in), &limits, req_head, false, &head, &why) == 1,
		      "%s: %s", reason_row(why)->name, in);
	return http1_put_response(&head, &how, &arena, iov, countof(iov));
}

#define HOW(...) ((struct http1_out){ __VA_ARGS__ })

static const struct {
	const char *in;
	struct http1_out how;
	const char *out;
} requests[] = {
	{ "GET /a?b=c HTTP/1.1\r\nHost: x\r\nB: 2\r\na:1\r\nB:  3 \r\n\r\n", HOW(.keep_alive = true),
	  "GET /a?b=c HTTP/1.1\r\nHost: x\r\nB: 2\r\na:1\r\nB:  3 \r\n\r\n" },
	{ "GET http://b:81/x?y HTTP/1.1\r\nHost: a\r\n\r\n", HOW(.keep_alive = true),
	  "GET /x?y HTTP/1.1\r\nHost: b:81\r\n\r\n" },
	{ "GET http://b?y HTTP/1.1\r\nHost: a\r\n\r\n", HOW(.keep_alive = true),
	  "GET /?y HTTP/1.1\r\nHost: b\r\n\r\n" },
	{ "GET /? HTTP/1.1\r\nHost: a\r\n\r\n", HOW(.keep_alive = true), "GET /? HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n", HOW(.keep_alive = true),
	  "OPTIONS * HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ "OPTIONS http://b HTTP/1.1\r\nHost: a\r\n\r\n", HOW(.keep_alive = true),
	  "OPTIONS * HTTP/1.1\r\nHost: b\r\n\r\n" },
	{ "CONNECT a:1 HTTP/1.1\r\nHost: b\r\n\r\n", HOW(.keep_alive = true),
	  "CONNECT a:1 HTTP/1.1\r\nHost: a:1\r\n\r\n" },
	{ "GET / HTTP/1.0\r\n\r\n", HOW(.keep_alive = true), "GET / HTTP/1.1\r\nHost: \r\n\r\n" },
	{ "GET / HTTP/1.1\r\nHost: a\r\n\r\n", HOW(.keep_alive = false),
	  "GET / HTTP/1.1\r\nHost: a\r\nConnection: close\r\n\r\n" },
	{ "POST / HTTP/1.1\r\nHost: a\r\ncontent-length: 007\r\nX: y\r\n\r\n", HOW(.keep_alive = true),
	  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 7\r\nX: y\r\n\r\n" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\nContent-Length: 0\r\n\r\n", HOW(.keep_alive = true),
	  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 0\r\n\r\n" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: CHUNKED\r\nTrailer: X\r\n\r\n",
	  HOW(.keep_alive = true, .chunked = true),
	  "POST / HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\nTrailer: X\r\n\r\n" },
	{ "GET / HTTP/1.1\r\nHost: a\r\nTrailer: X\r\n\r\n", HOW(.keep_alive = true),
	  "GET / HTTP/1.1\r\nHost: a\r\n\r\n" },
	{ "GET / HTTP/1.1\r\nA: 1\r\nConnection: x-y, close\r\nX-Y: z\r\nHost: a\r\nKeep-Alive: 3\r\nB: 2\r\n\r\n",
	  HOW(.keep_alive = true), "GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\n\r\n" },
	{ "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n",
	  HOW(.keep_alive = true),
	  "GET / HTTP/1.1\r\nHost: a\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nSec-WebSocket-Key: k\r\n\r\n" },
	{ "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers, deflate\r\nConnection: TE\r\n\r\n", HOW(.keep_alive = true),
	  "GET / HTTP/1.1\r\nHost: a\r\nConnection: TE\r\nTE: trailers\r\n\r\n" },
	{ "GET / HTTP/1.1\r\nHost: a\r\nTE: trailers\r\nConnection: TE\r\n\r\n", HOW(.keep_alive = false),
	  "GET / HTTP/1.1\r\nHost: a\r\nConnection: close, TE\r\nTE: trailers\r\n\r\n" },
	{ "POST / HTTP/1.1\r\nHost: a\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n", HOW(.keep_alive = true),
	  "POST / HTTP/1.1\r\nHost: a\r\nContent-Length: 5\r\nExpect: 100-continue\r\n\r\n" },
	{ "GET / HTTP/1.1\r\nHost: a\r\nX: y\r\n\r\n",
	  HOW(.keep_alive = true, .extra = { (const uint8_t *)"X-Forwarded-For: 1.2.3.4\r\n", 26 }),
	  "GET / HTTP/1.1\r\nHost: a\r\nX-Forwarded-For: 1.2.3.4\r\nX: y\r\n\r\n" },
};

START_TEST(a_request_leaves_with_our_framing_and_its_own_lines)
{
	setup(8);
	for (size_t i = 0; i < countof(requests); i++) {
		ck_assert_str_eq(joined(request(requests[i].in, requests[i].how)), requests[i].out);
		arena_reset(&arena);
	}
	arena_fini(&arena);
}
END_TEST

static const struct {
	const char *in;
	bool req_head;
	struct http1_out how;
	const char *out;
} responses[] = {
	{ "HTTP/1.1 200 OK\r\nContent-Length: 005\r\nX: y\r\n\r\n", false, HOW(.keep_alive = true),
	  "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nX: y\r\n\r\n" },
	{ "HTTP/1.1 200\r\nContent-Length: 5\r\n\r\n", false, HOW(.keep_alive = false),
	  "HTTP/1.1 200 \r\nContent-Length: 5\r\nConnection: close\r\n\r\n" },
	{ "HTTP/1.0 200 Fine\r\nContent-Length: 5\r\n\r\n", false, HOW(.keep_alive = true),
	  "HTTP/1.1 200 Fine\r\nContent-Length: 5\r\n\r\n" },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n", false, HOW(.keep_alive = true, .to_http10 = true),
	  "HTTP/1.1 200 OK\r\nContent-Length: 5\r\nConnection: keep-alive\r\n\r\n" },
	{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n", false,
	  HOW(.keep_alive = true, .chunked = true),
	  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n" },
	{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: A\r\n\r\n", false,
	  HOW(.keep_alive = true, .chunked = true, .to_http10 = true),
	  "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" },
	{ "HTTP/1.1 200 OK\r\n\r\n", false, HOW(.keep_alive = true, .chunked = true),
	  "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n" },
	{ "HTTP/1.1 200 OK\r\n\r\n", false, HOW(.keep_alive = true),
	  "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\n" },
	{ "HTTP/1.1 200 OK\r\nContent-Length: 07\r\n\r\n", true, HOW(.keep_alive = true),
	  "HTTP/1.1 200 OK\r\nContent-Length: 7\r\n\r\n" },
	{ "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n", true, HOW(.keep_alive = true, .chunked = true),
	  "HTTP/1.1 200 OK\r\n\r\n" },
	{ "HTTP/1.1 304 Not Modified\r\nETag: x\r\nContent-Length: 7\r\n\r\n", false, HOW(.keep_alive = true),
	  "HTTP/1.1 304 Not Modified\r\nContent-Length: 7\r\nETag: x\r\n\r\n" },
	{ "HTTP/1.1 204 No Content\r\nContent-Length: 0\r\n\r\n", false, HOW(.keep_alive = true),
	  "HTTP/1.1 204 No Content\r\n\r\n" },
	{ "HTTP/1.1 100 Continue\r\n\r\n", false, HOW(.keep_alive = false), "HTTP/1.1 100 Continue\r\n\r\n" },
	{ "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n", false, HOW(.keep_alive = true),
	  "HTTP/1.1 103 Early Hints\r\nLink: a\r\n\r\n" },
	{ "HTTP/1.1 101 Switching Protocols\r\nUpgrade: websocket\r\nConnection: upgrade\r\nA: b\r\n\r\n", false,
	  HOW(.keep_alive = false),
	  "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\nA: b\r\n\r\n" },
	{ "HTTP/1.1 200 OK\r\nUpgrade: h2,h2c\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n", false,
	  HOW(.keep_alive = true), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n" },
	{ "HTTP/1.1 426 Upgrade Required\r\nUpgrade: x/1\r\nConnection: Upgrade\r\nContent-Length: 0\r\n\r\n", false,
	  HOW(.keep_alive = true),
	  "HTTP/1.1 426 Upgrade Required\r\nContent-Length: 0\r\nConnection: Upgrade\r\nUpgrade: x/1\r\n\r\n" },
};

START_TEST(a_response_leaves_with_our_framing_and_its_own_lines)
{
	setup(8);
	for (size_t i = 0; i < countof(responses); i++) {
		ck_assert_str_eq(joined(response(responses[i].in, responses[i].req_head, responses[i].how)),
				 responses[i].out);
		arena_reset(&arena);
	}
	arena_fini(&arena);
}
END_TEST

START_TEST(lines_that_follow_each_other_are_one_piece)
{
	setup(8);
	ck_assert_int_eq(request("GET / HTTP/1.1\r\nHost: a\r\nA: 1\r\nB: 2\r\nC: 3\r\n\r\n",
				 HOW(.keep_alive = true)), 2);
	ck_assert_int_eq(response("HTTP/1.1 200 OK\r\nA: 1\r\nB: 2\r\nContent-Length: 3\r\nC: 4\r\n\r\n",
				  false, HOW(.keep_alive = true)), 3);
	arena_fini(&arena);
}
END_TEST

START_TEST(long_things_go_out_from_where_they_lie)
{
	static char in[20000];
	size_t n = 0;
	int pieces;

	setup(1);
	n += (size_t)sprintf(in, "GET /");
	memset(in + n, 'p', 9000);
	n += 9000;
	n += (size_t)sprintf(in + n, " HTTP/1.1\r\nHost: ");
	memset(in + n, 'h', 5000);
	n += 5000;
	sprintf(in + n, "\r\nX: y\r\n\r\n");
	pieces = request(in, HOW(.keep_alive = true));
	ck_assert_str_eq(joined(pieces), in);
	ck_assert_int_le(pieces, 6);
	arena_fini(&arena);
}
END_TEST

START_TEST(what_does_not_fit_is_an_answer)
{
	struct http1_out how = { .keep_alive = true };
	enum reason why;

	setup(1);
	ck_assert_int_eq(http1_request(SLICE("GET / HTTP/1.1\r\nA: 1\r\nHost: a\r\nB: 2\r\n\r\n"), &limits,
				       &head, &why), 1);
	ck_assert_int_eq(http1_put_request(&head, &how, &arena, iov, 3), 3);
	ck_assert_int_eq(http1_put_request(&head, &how, &arena, iov, 2), -1);
	while (arena_take(&arena, 8))
		;
	ck_assert_int_eq(http1_put_request(&head, &how, &arena, iov, 3), -1);
	arena_fini(&arena);
}
END_TEST

START_TEST(every_reason_has_an_answer_that_fits)
{
	for (int r = 0; r < REASONS; r++) {
		const struct reason_row *row = reason_row(r);
		struct slice date = SLICE("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n"), s;
		char out[512];
		enum reason why = REASON_NONE;

		if (row->http == 0)
			continue;
		ck_assert_str_ne(http_status_text((unsigned)row->http), "");
		s = slice_of(out, http1_local_answer((unsigned)row->http, r, false, false, date, out, sizeof out));
		ck_assert_int_eq(http1_response(s, &limits, false, false, &head, &why), 1);
		ck_assert_uint_eq(head.status, (unsigned)row->http);
		ck_assert(!head.keep_alive);
		ck_assert_int_eq(head.body, BODY_LENGTH);
		ck_assert_uint_eq(head.bytes + head.length, s.n);
		ck_assert_uint_eq(head.has & HN_BIT(HN_DATE), HN_BIT(HN_DATE));
		ck_assert(slice_eq(head.h[3].name, SLICE("x-nodeproxy-reason")));
		ck_assert(slice_eq(head.h[3].value, slice_str(row->name)));
		s = slice_of(out, http1_local_answer((unsigned)row->http, r, true, true, date, out, sizeof out));
		ck_assert_int_eq(http1_response(s, &limits, true, false, &head, &why), 1);
		ck_assert(head.keep_alive);
		ck_assert_uint_eq(head.bytes, s.n);
	}
}
END_TEST

UNIT_TESTS("http1_put", a_request_leaves_with_our_framing_and_its_own_lines,
	   a_response_leaves_with_our_framing_and_its_own_lines, lines_that_follow_each_other_are_one_piece,
	   long_things_go_out_from_where_they_lie, what_does_not_fit_is_an_answer,
	   every_reason_has_an_answer_that_fits)
