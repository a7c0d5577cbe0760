/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Callers that speak HTTP/2, endpoints that speak HTTP/1.1. */
#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/h2_caller.h"
#include "tests/unit/test.h"
#include "workers/codec/websocket.h"
#include "workers/path/exchange.h"

#define ONE_HTTP "service t/s port=80/main/http\nendpoint t/s:main $1\n"
#define ADDED	 "X-Forwarded-For: 127.0.0.1\r\nX-Forwarded-Proto: http\r\n"
#define OK2	 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

static void finish(struct rig **r, struct h2_caller **c, int b)
{
	if (*c)
		h2_hang_up(c);
	if (b >= 0)
		close(b);
	rig_must_be_empty(*r);
	ck_assert_uint_eq((*r)->path.h2.sessions.live, 0);
	ck_assert_uint_eq((*r)->path.h2.streams.live, 0);
	ck_assert_uint_eq((*r)->path.h2.bytes, 0);
	ck_assert_uint_eq((*r)->path.streams, 0);
	rig_free(r);
}

/* Its body is whole. */
static bool end_of(struct h2_stream *st)
{
	return st->s.ops->finish(&st->s) == 0;
}

START_TEST(a_request_is_carried_and_logged_once)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct h2_caller *c = h2_dial(r);
	struct h2_stream *st = h2_ask(c, "GET", "/a?b", "accept: */*\ncookie: a=1\ncookie: b=2\n", true);
	int b;

	h2_move(c);
	b = rig_accept(r, 1);
	rig_hear(r, b, "GET /a?b HTTP/1.1\r\nHost: x\r\n" ADDED
		       "accept: */*\r\ncookie: a=1; b=2\r\n\r\n");
	rig_say(r, b, OK2);
	h2_hear(c, st, 200, "hi");
	rig_log(r, "method=GET path=\"/a?b\" protocol=HTTP/2 status=200 reason=DONE flag=- listener=front "
		   "tenant=t namespace=t service=t/s:80 route=-");
	ck_assert_uint_eq(board_get(&r->path.mine->reasons[REASON_DONE]), 1);
	/* A session is one connection, a stream none. */
	ck_assert_uint_eq(board_get(&r->path.gate[0]->board->c[LC_conns]), 1);
	ck_assert_uint_eq(r->path.gate[0]->tenant->conns, 1);
	finish(&r, &c, b);
}
END_TEST

START_TEST(an_open_port_detects_http2)
{
	struct rig *r = rig_new("service t/s port=80/main/auto\nendpoint t/s:main $1\n", NULL);
	struct h2_caller *c = h2_dial(r);
	struct h2_stream *st = h2_get(c, "/");
	int b;

	h2_move(c);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, OK2);
	h2_hear(c, st, 200, "hi");
	finish(&r, &c, b);
}
END_TEST

START_TEST(a_preface_may_come_byte_by_byte)
{
	static const char *const ports[] = { ONE_HTTP, "service t/s port=80/main/auto\nendpoint t/s:main $1\n" };
	static const char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0";
	uint8_t frame[9];

	for (size_t i = 0; i < countof(ports); i++) {
		struct rig *r = rig_new(ports[i], NULL);
		int c = rig_dial(r);

		for (size_t k = 0; k < sizeof hello - 1; k++) {
			rig_say_bytes(r, c, hello + k, 1);
			rig_until_quiet(r);
		}
		for (size_t n = 0; n < sizeof frame;) {
			ssize_t k = recv(c, frame + n, sizeof frame - n, MSG_DONTWAIT);

			n += k > 0 ? (size_t)k : 0;
			rig_pass(r);
		}
		ck_assert_uint_eq(frame[3], 4);		/* SETTINGS */
		rig_end(&r, c, -1);
	}
}
END_TEST

START_TEST(many_streams_are_answered_in_any_order)
{
	enum { N = 50 };
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct h2_caller *c = h2_dial(r);
	struct h2_stream *st[N];
	int b[N], of[N];

	h2_until(c, h2_room(c->h) >= N && c->rig->path.h2.sessions.live);
	for (int i = 0; i < N; i++) {
		char path[16];

		snprintf(path, sizeof path, "/%d", i);
		st[i] = h2_get(c, path);
	}
	for (int i = 0; i < N; i++) {
		h2_move(c);
		b[i] = rig_accept(r, 1);
		ck_assert_int_eq(sscanf(rig_hear_head(r, b[i]), "GET /%d ", &of[i]), 1);
	}
	ck_assert_uint_eq(r->path.streams, N);
	ck_assert_uint_eq(path_fds_used(&r->path), r->path.fds.fixed + r->path.fds.listeners + 1 + N +
						       2 * r->path.pipes.open);
	for (int i = N - 1; i >= 0; i--) {
		char text[128];

		snprintf(text, sizeof text, "HTTP/1.1 200 OK\r\nContent-Length: 3\r\n\r\n%3d", of[i]);
		rig_say(r, b[i], text);
		h2_hear(c, st[of[i]], 200, text + strlen(text) - 3);
	}
	for (int i = 0; i < N; i++)
		close(b[i]);
	finish(&r, &c, -1);
}
END_TEST

START_TEST(bodies_go_both_ways_whatever_their_framing)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct h2_caller *c = h2_dial(r);
	struct h2_stream *st = h2_ask(c, "POST", "/", "content-length: 5\n", false);
	int b;

	h2_say(c, st, "hello", 5);
	ck_assert(end_of(st));
	h2_move(c);
	b = rig_accept(r, 1);
	rig_hear(r, b, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n" ADDED "\r\nhello");
	rig_say(r, b, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n2\r\nde\r\n0\r\n\r\n");
	h2_hear(c, st, 200, "abcde");
	/* Without a length: chunks. */
	st = h2_ask(c, "POST", "/", NULL, false);
	h2_say(c, st, "hello", 5);
	h2_until(c, r->path.streams == 1);
	rig_hear(r, b, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n" ADDED "\r\n5\r\nhello\r\n");
	ck_assert(end_of(st));
	h2_move(c);
	rig_hear(r, b, "0\r\n\r\n");
	rig_say(r, b, "HTTP/1.1 200 OK\r\nConnection: close\r\n\r\nuntil the end");
	close(b);
	h2_hear(c, st, 200, "until the end");
	finish(&r, &c, -1);
}
END_TEST

START_TEST(big_bodies_arrive_whole_both_ways)
{
	enum { BIG = 3000000 };
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct h2_caller *c = h2_dial(r);
	struct h2_stream *st = h2_ask(c, "POST", "/", "content-length: 3000000\n", false);
	uint8_t *up = malloc(BIG), *got = malloc(BIG);
	size_t sent = 0, heard = 0;
	int b;

	for (size_t i = 0; i < BIG; i++)
		up[i] = (uint8_t)(i * 7 + (i >> 9));
	h2_move(c);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	while (heard < BIG) {
		struct iovec v = { up + sent, min_of((size_t)BIG - sent, (size_t)100000) };
		ssize_t k = sent < BIG ? st->s.ops->write(&st->s, &v, 1) : 0;

		sent += k > 0 ? (size_t)k : 0;
		h2_move(c);
		k = recv(b, got + heard, BIG - heard, MSG_DONTWAIT);
		heard += k > 0 ? (size_t)k : 0;
	}
	ck_assert_mem_eq(up, got, BIG);
	ck_assert(end_of(st));
	rig_say(r, b, "HTTP/1.1 200 OK\r\nContent-Length: 3000000\r\n\r\n");
	ck_assert_ptr_nonnull(strstr(h2_hear_head(c, st), "content-length: 3000000\n"));
	for (sent = heard = 0; heard < BIG;) {
		ssize_t k = send(b, up + sent, BIG - sent, MSG_DONTWAIT | MSG_NOSIGNAL);

		sent += k > 0 ? (size_t)k : 0;
		h2_move(c);
		k = st->s.ops->read(&st->s, got + heard, BIG - heard);
		heard += k > 0 ? (size_t)k : 0;
	}
	ck_assert_mem_eq(up, got, BIG);
	h2_until(c, st->gets == H2_GETS_NOTHING);
	stream_close(&st->s, false);
	rig_log(r, "status=200 reason=DONE");
	free(up);
	free(got);
	finish(&r, &c, b);
}
END_TEST

START_TEST(a_stream_that_is_not_read_stops_its_endpoint_and_no_other)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct h2_caller *c = h2_dial(r);
	struct h2_stream *slow = h2_get(c, "/slow"), *st;
	static char junk[100000];
	size_t given = 0;
	int b, b2, still = 0;

	h2_move(c);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
	h2_hear_head(c, slow);
	while (still < 200) {
		ssize_t k = send(b, junk, sizeof junk, MSG_DONTWAIT | MSG_NOSIGNAL);

		given += k > 0 ? (size_t)k : 0;
		still = k > 0 ? 0 : still + 1;
		h2_move(c);
	}
	ck_assert_uint_lt(given, 20000000);
	ck_assert_uint_lt(r->path.memory.used, 400000);
	st = h2_get(c, "/quick");
	h2_move(c);
	b2 = rig_accept(r, 1);
	rig_hear_head(r, b2);
	rig_say(r, b2, OK2);
	h2_hear(c, st, 200, "hi");
	close(b2);
	stream_close(&slow->s, true);	/* CANCEL */
	h2_move(c);
	rig_hear_cut(r, b);
	rig_log(r, "status=200 reason=DONE");
	rig_log(r, "status=200 reason=FRONT_CUT flag=DC");
	finish(&r, &c, b);
}
END_TEST

START_TEST(trailers_pass_both_ways)
{
	static const struct h2_field f[] = {
		{ (const uint8_t *)"x-sum", (const uint8_t *)"1", 5, 1, 0 },
		{ (const uint8_t *)"content-length", (const uint8_t *)"9", 14, 1, 0 },
	};
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct h2_caller *c = h2_dial(r);
	struct h2_stream *st = h2_ask(c, "POST", "/", "te: trailers\n", false);
	uint8_t buf[16];
	int b;

	h2_say(c, st, "abc", 3);
	b = rig_accept(r, 1);
	rig_hear(r, b, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: TE\r\n"
		       "TE: trailers\r\n" ADDED "\r\n3\r\nabc\r\n");
	ck_assert_int_eq(h2_trailers(st, f, 1), 0);
	h2_move(c);
	rig_hear(r, b, "0\r\nx-sum: 1\r\n\r\n");
	rig_say(r, b, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nTrailer: X-One\r\n\r\n2\r\nhi\r\n0\r\n"
		      "X-One:  1 \r\nX-Tw");
	ck_assert_ptr_nonnull(strstr(h2_hear_head(c, st), "trailer: X-One\n"));
	h2_until(c, st->in.bytes == 2);
	rig_say(r, b, "o: 2\r\nContent-Length: 7\r\n\r\n");
	ck_assert_str_eq(h2_hear_head(c, st), "x-one: 1\nx-two: 2\n");
	ck_assert_int_eq(st->s.ops->read(&st->s, buf, sizeof buf), 2);
	ck_assert_int_eq(st->s.ops->read(&st->s, buf, sizeof buf), 0);
	stream_close(&st->s, false);
	finish(&r, &c, b);
}
END_TEST

/* Seen by tests/byteexact: they were lost when the request was whole before it began, and its endpoint
 * had a connection. */
START_TEST(trailers_that_come_with_their_head_pass)
{
	static const struct h2_field f = { (const uint8_t *)"x-sum", (const uint8_t *)"1", 5, 1, 0 };
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct h2_caller *c = h2_dial(r);
	struct h2_stream *st = h2_get(c, "/");
	struct iovec v = { (void *)(uintptr_t)"abc", 3 };
	int b;

	h2_move(c);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, OK2);
	h2_hear(c, st, 200, "hi");
	st = h2_ask(c, "POST", "/", "te: trailers\n", false);
	ck_assert_int_eq(st->s.ops->write(&st->s, &v, 1), 3);
	ck_assert_int_eq(h2_trailers(st, &f, 1), 0);
	h2_move(c);
	rig_hear(r, b, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nConnection: TE\r\n"
		       "TE: trailers\r\n" ADDED "\r\n3\r\nabc\r\n0\r\nx-sum: 1\r\n\r\n");
	rig_say(r, b, OK2);
	h2_hear(c, st, 200, "hi");
	finish(&r, &c, b);
}
END_TEST

START_TEST(interim_answers_and_expect_pass)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct h2_caller *c = h2_dial(r);
	struct h2_stream *st = h2_ask(c, "PUT", "/", "content-length: 2\nexpect: 100-continue\n", false);
	int b;

	h2_move(c);
	b = rig_accept(r, 1);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, b), "expect: 100-continue\r\n"));
	rig_say(r, b, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\nHTTP/1.1 100 Continue\r\n\r\n");
	ck_assert_str_eq(h2_hear_head(c, st), ":status: 103\nlink: </x>\n");
	ck_assert_str_eq(h2_hear_head(c, st), ":status: 100\n");
	h2_say(c, st, "ab", 2);
	rig_hear(r, b, "ab");
	ck_assert(end_of(st));
	rig_say(r, b, OK2);
	h2_hear(c, st, 200, "hi");
	finish(&r, &c, b);
}
END_TEST

START_TEST(answers_without_a_body_end_with_their_head)
{
	static const struct { const char *method, *response, *line; unsigned status; } t[] = {
		{ "HEAD", "HTTP/1.1 200 OK\r\nContent-Length: 77\r\n\r\n", "content-length: 77\n", 200 },
		{ "GET", "HTTP/1.1 204 No Content\r\n\r\n", "date: ", 204 },
		{ "GET", "HTTP/1.1 304 Not Modified\r\nETag: x\r\n\r\n", "etag: x\n", 304 },
		{ "GET", "HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n", "content-length: 0\n", 200 },
	};
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct h2_caller *c = h2_dial(r);
	int b = -1;

	for (size_t i = 0; i < countof(t); i++) {
		struct h2_stream *st = h2_ask(c, t[i].method, "/", NULL, true);
		char status[32];

		h2_move(c);
		if (b < 0)
			b = rig_accept(r, 1);
		rig_hear_head(r, b);
		rig_say(r, b, t[i].response);
		h2_until(c, h2_block(st));
		ck_assert(h2_block(st)->is_end);
		snprintf(status, sizeof status, ":status: %u\n", t[i].status);
		ck_assert_ptr_nonnull(strstr(h2_hear_head(c, st), t[i].line));
		stream_close(&st->s, false);
	}
	finish(&r, &c, b);
}
END_TEST

START_TEST(an_early_answer_ends_the_request_with_no_error)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct h2_caller *c = h2_dial(r);
	struct h2_stream *st = h2_ask(c, "POST", "/", "content-length: 1000\n", false);
	int b;

	h2_say(c, st, "abc", 3);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
	ck_assert_ptr_nonnull(strstr(h2_hear_head(c, st), ":status: 413\n"));
	h2_hear_reset(c, st, H2_NO_ERROR);
	rig_log(r, "status=413 reason=DONE");
	finish(&r, &c, b);
}
END_TEST

START_TEST(what_is_not_whole_is_reset)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct h2_caller *c = h2_dial(r);
	struct h2_stream *st = h2_get(c, "/"), *other = h2_get(c, "/other");
	int b, b2;

	h2_move(c);
	b = rig_accept(r, 1);
	b2 = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_hear_head(r, b2);
	rig_say(r, b, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
	h2_hear_head(c, st);
	close(b);
	h2_hear_reset(c, st, H2_INTERNAL_ERROR);
	rig_log(r, "status=200 reason=BACK_CUT");
	rig_say(r, b2, OK2);	/* the session lives */
	h2_hear(c, other, 200, "hi");
	finish(&r, &c, b2);
}
END_TEST

START_TEST(a_caller_that_cancels_cuts_the_request)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct h2_caller *c = h2_dial(r);
	struct h2_stream *st = h2_get(c, "/");
	int b;

	h2_move(c);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	stream_close(&st->s, true);
	h2_move(c);
	rig_hear_cut(r, b);
	rig_log(r, "status=0 reason=FRONT_CUT flag=DC");
	finish(&r, &c, b);
}
END_TEST

START_TEST(a_session_that_goes_away_ends_its_requests)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct h2_caller *c = h2_dial(r);
	int b[3];

	for (int i = 0; i < 3; i++)
		h2_get(c, "/");
	h2_move(c);
	for (int i = 0; i < 3; i++) {
		b[i] = rig_accept(r, 1);
		rig_hear_head(r, b[i]);
	}
	shutdown(c->s.fd.v, SHUT_RDWR);
	for (int i = 0; i < 3; i++) {
		rig_hear_cut(r, b[i]);
		close(b[i]);
		rig_log(r, "status=0 reason=FRONT_CUT");
	}
	c->is_cut = true;
	finish(&r, &c, -1);
}
END_TEST

START_TEST(local_answers_name_their_reason)
{
	static const struct { const char *view, *method, *path, *lines, *reason; unsigned status; } t[] = {
		{ NULL, "GET", "/", NULL, "NO_VIEW", 503 },
		{ "service t/s port=80/main/http\n", "GET", "/", NULL, "NO_ENDPOINT", 503 },
		{ ONE_HTTP "route t/r parent=t/s\nrule prefix=/b backend=t/s:80\n", "GET", "/", NULL, "NO_ROUTE", 404 },
		{ ONE_HTTP, "GET", "/", "host: y\n", "BAD_REQUEST", 400 },
		{ ONE_HTTP, "GET", "/", "expect: wonders\n", "BAD_EXPECT", 417 },
		{ ONE_HTTP, "HEAD", "/", "expect: wonders\n", "BAD_EXPECT", 417 },
	};

	for (size_t i = 0; i < countof(t); i++) {
		struct rig *r = rig_new(t[i].view, NULL);
		struct h2_caller *c = h2_dial(r);
		struct h2_stream *st = h2_ask(c, t[i].method, t[i].path, t[i].lines, true);
		char want[64];
		const char *head = h2_hear_head(c, st);

		snprintf(want, sizeof want, "x-nodeproxy-reason: %s\n", t[i].reason);
		ck_assert_msg(strstr(head, want), "%s in %s", want, head);
		snprintf(want, sizeof want, ":status: %u\n", t[i].status);
		ck_assert_msg(strstr(head, want), "%s in %s", want, head);
		h2_until(c, st->gets == H2_GETS_NOTHING);
		ck_assert((st->in.bytes > 0) == (t[i].method[0] == 'G'));
		stream_close(&st->s, false);
		snprintf(want, sizeof want, "protocol=HTTP/2 status=%u reason=%s", t[i].status, t[i].reason);
		rig_log(r, want);
		finish(&r, &c, -1);
	}
}
END_TEST

START_TEST(grpc_is_told_in_its_own_words)
{
	static const struct { const char *view, *type, *status, *reason; } t[] = {
		{ ONE_HTTP, "application/grpc", "14", "NO_GRPC" },
		{ ONE_HTTP, "application/grpc+proto", "14", "NO_GRPC" },
		{ "service t/s port=80/main/http\n", "application/grpc;x=y", "14", "NO_ENDPOINT" },
		{ ONE_HTTP "route t/r parent=t/s\nrule prefix=/b backend=t/s:80\n", "application/grpc", "12", "NO_ROUTE" },
	};

	for (size_t i = 0; i < countof(t); i++) {
		struct rig *r = rig_new(t[i].view, NULL);
		struct h2_caller *c = h2_dial(r);
		struct h2_stream *st;
		const char *head;
		char text[128];

		snprintf(text, sizeof text, "content-type: %s\nte: trailers\n", t[i].type);
		st = h2_ask(c, "POST", "/S/M", text, false);
		head = h2_hear_head(c, st);
		snprintf(text, sizeof text, "grpc-status: %s\n", t[i].status);
		ck_assert_msg(strstr(head, ":status: 200\n") && strstr(head, text) &&
				      strstr(head, "content-type: application/grpc\n"), "%s", head);
		ck_assert(st->gets == H2_GETS_NOTHING);
		snprintf(text, sizeof text, "reason=%s", t[i].reason);
		rig_log(r, text);
		stream_close(&st->s, true);
		finish(&r, &c, -1);
	}
}
END_TEST

static struct h2_stream *websocket(struct h2_caller *c)
{
	static const struct h2_field f[] = {
		{ (const uint8_t *)":method", (const uint8_t *)"CONNECT", 7, 7, 0 },
		{ (const uint8_t *)":protocol", (const uint8_t *)"websocket", 9, 9, 0 },
		{ (const uint8_t *)":scheme", (const uint8_t *)"http", 7, 4, 0 },
		{ (const uint8_t *)":authority", (const uint8_t *)"x", 10, 1, 0 },
		{ (const uint8_t *)":path", (const uint8_t *)"/ws", 5, 3, 0 },
		{ (const uint8_t *)"sec-websocket-version", (const uint8_t *)"13", 21, 2, 0 },
	};
	struct h2_stream *st;

	h2_until(c, h2_peer_takes_connect(c->h));
	ck_assert_int_eq(h2_request(c->h, f, countof(f), false, &c->budget, c, &st), 0);
	h2_move(c);
	return st;
}

/* An endpoint's answer to the upgrade in that head. */
static const char *switching(const char *head)
{
	static char text[256];
	const char *key = strstr(head, "sec-websocket-key: ");
	uint8_t accept[WEBSOCKET_ACCEPT_BYTES];

	ck_assert_ptr_nonnull(key);
	websocket_accept(slice_of(key + strlen("sec-websocket-key: "), WEBSOCKET_KEY_BYTES), accept);
	snprintf(text, sizeof text, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
		 "Sec-WebSocket-Accept: %.*s\r\n\r\n", (int)sizeof accept, (const char *)accept);
	return text;
}

START_TEST(a_websocket_crosses_to_an_endpoint_of_http1)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct h2_caller *c = h2_dial(r);
	struct h2_stream *st = websocket(c);
	uint8_t buf[16] = "";
	const char *head;
	int b;

	b = rig_accept(r, 1);
	head = rig_hear_head(r, b);
	ck_assert_msg(strstr(head, "GET /ws HTTP/1.1\r\n") == head && strstr(head, "Upgrade: websocket\r\n") &&
			      strstr(head, "Connection: Upgrade\r\n") && strstr(head, "sec-websocket-key: "),
		      "%s", head);
	rig_say(r, b, switching(head));
	rig_say(r, b, "first");
	head = h2_hear_head(c, st);
	ck_assert_msg(strstr(head, ":status: 200\n") == head && !strstr(head, "accept"), "%s", head);
	h2_until(c, st->in.bytes == 5);
	ck_assert_int_eq(st->s.ops->read(&st->s, buf, sizeof buf), 5);
	h2_say(c, st, "ping", 4);
	rig_hear(r, b, "ping");
	ck_assert(end_of(st));
	h2_move(c);
	rig_hear_end(r, b);
	rig_say(r, b, "still");
	h2_until(c, st->in.bytes == 5);
	close(b);
	h2_until(c, st->gets == H2_GETS_NOTHING);
	stream_close(&st->s, false);
	rig_log(r, "status=101 reason=DONE protocol=HTTP/2");
	finish(&r, &c, -1);
}
END_TEST

START_TEST(a_websocket_that_is_not_switched_is_no_success)
{
	static const struct { const char *response; unsigned status; } t[] = {
		{ "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi", 502 },
		{ "HTTP/1.1 403 No\r\nContent-Length: 0\r\n\r\n", 403 },
		/* Who has not understood the key. */
		{ "HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\n", 502 },
		{ "HTTP/1.1 101 Yes\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
		  "Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n", 502 },
	};

	for (size_t i = 0; i < countof(t); i++) {
		struct rig *r = rig_new(ONE_HTTP, NULL);
		struct h2_caller *c = h2_dial(r);
		struct h2_stream *st = websocket(c);
		char want[32];
		int b = rig_accept(r, 1);

		rig_hear_head(r, b);
		rig_say(r, b, t[i].response);
		snprintf(want, sizeof want, ":status: %u\n", t[i].status);
		ck_assert_ptr_nonnull(strstr(h2_hear_head(c, st), want));
		stream_close(&st->s, true);
		finish(&r, &c, b);
	}
}
END_TEST

START_TEST(a_drain_tells_sessions_and_lets_requests_finish)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct h2_caller *c = h2_dial(r), *idle = h2_dial(r);
	struct h2_stream *st = h2_get(c, "/");
	int b;

	h2_move(c);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	h2_until(idle, r->path.h2.sessions.live == 2);
	h2_until(idle, h2_room(idle->h) > 0 && c->rig);
	path_drain(&r->path);
	h2_until(idle, idle->is_cut);
	h2_until(c, h2_peer_is_leaving(c->h));
	rig_say(r, b, OK2);
	h2_hear(c, st, 200, "hi");
	h2_until(c, c->is_cut);
	h2_hang_up(&idle);
	finish(&r, &c, b);
}
END_TEST

START_TEST(at_the_deadline_of_a_drain_all_end)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct h2_caller *c = h2_dial(r);
	int b;

	h2_get(c, "/");
	h2_move(c);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	path_drain(&r->path);
	path_drain_deadline(&r->path);
	rig_log(r, "status=0 reason=DRAIN_DEADLINE");
	h2_until(c, c->is_cut);
	finish(&r, &c, b);
}
END_TEST

static void quick_idle(struct knobs *k)
{
	k->idle_ms = 1;
}

START_TEST(an_idle_session_leaves_and_a_busy_one_does_not)
{
	struct rig *r = rig_new(ONE_HTTP, quick_idle);
	struct h2_caller *c = h2_dial(r);
	struct h2_stream *st = h2_get(c, "/");
	int64_t began;
	int b;

	h2_move(c);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	for (began = clock_tick().ns; clock_tick().ns - began < 20 * NS_PER_MS;)
		h2_move(c);
	ck_assert(!c->is_cut);
	rig_say(r, b, OK2);
	h2_hear(c, st, 200, "hi");
	h2_until(c, c->is_cut);
	rig_until_quiet(r);
	h2_hang_up(&c);
	close(b);
	rig_must_be_empty(r);
	ck_assert_uint_eq(board_get(&r->path.mine->reasons[REASON_FRONT_IDLE]), 1);
	rig_free(&r);
}
END_TEST

/* nghttp2 does not answer it any more: it must not be left to wait. */
START_TEST(a_caller_who_leaves_is_let_go_when_nothing_is_under_way)
{
	static const uint8_t bye[] = { 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0xff };
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct h2_caller *c = h2_dial(r), *idle = h2_dial(r);
	struct h2_stream *st = h2_get(c, "/");
	int b;

	h2_move(c);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	h2_until(idle, h2_room(idle->h) > 0 && r->path.h2.sessions.live == 2);
	h2_until(idle, h2_is_quiet(idle->h));
	ck_assert_int_eq(send(idle->s.fd.v, bye, sizeof bye, MSG_NOSIGNAL), sizeof bye);
	h2_until(idle, idle->is_cut);
	h2_hang_up(&idle);
	ck_assert_int_eq(send(c->s.fd.v, bye, sizeof bye, MSG_NOSIGNAL), sizeof bye);
	for (int i = 0; i < 50; i++)
		h2_move(c);
	ck_assert(!c->is_cut);
	rig_say(r, b, OK2);
	h2_hear(c, st, 200, "hi");
	h2_until(c, c->is_cut);
	h2_hang_up(&c);
	close(b);
	rig_must_be_empty(r);
	ck_assert_uint_eq(board_get(&r->path.mine->reasons[REASON_FRONT_CLOSED]), 2);
	rig_free(&r);
}
END_TEST

START_TEST(an_idle_session_holds_little)
{
	enum { N = 20 };
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct h2_caller *c[N];
	int b = -1;

	for (int i = 0; i < N; i++) {
		struct h2_stream *st;

		c[i] = h2_dial(r);
		st = h2_get(c[i], "/");
		h2_move(c[i]);
		if (b < 0)
			b = rig_accept(r, 1);
		rig_hear_head(r, b);
		rig_say(r, b, OK2);
		h2_hear(c[i], st, 200, "hi");
		for (int k = 0; k < 20; k++)
			h2_move(c[i]);
	}
	ck_assert_uint_eq(r->path.chunks.small.live + r->path.chunks.large.live, 0);
	ck_assert_uint_eq(r->path.conns.live, N);
	ck_assert_uint_eq(r->path.h2.streams.live, 0);
	/* nghttp2's frame buffer alone is 16 KiB and a header, of which few pages are ever touched. */
	ck_assert_uint_lt(r->path.h2.bytes / N, 28000);
	for (int i = 0; i < N; i++)
		h2_hang_up(&c[i]);
	close(b);
	rig_must_be_empty(r);
	rig_free(&r);
}
END_TEST

START_TEST(an_offence_ends_the_session_with_its_reason)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct h2_caller *c = h2_dial(r);
	static const uint8_t frame[] = { 0, 0, 5, 6, 0, 0, 0, 0, 0, 1, 2, 3, 4, 5 };	/* PING of 5 bytes */
	int b;

	h2_get(c, "/");
	h2_move(c);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	ck_assert_int_eq(send(c->s.fd.v, frame, sizeof frame, MSG_NOSIGNAL), sizeof frame);
	rig_log(r, "status=0 reason=H2_FRAME_SIZE flag=DPE");
	rig_hear_cut(r, b);
	h2_until(c, c->is_cut || h2_peer_is_leaving(c->h));
	h2_hang_up(&c);
	close(b);
	rig_must_be_empty(r);
	ck_assert_uint_eq(board_get(&r->path.mine->reasons[REASON_H2_FRAME_SIZE]), 2);	/* both */
	rig_free(&r);
}
END_TEST

static void few_requests(struct knobs *k)
{
	k->tenant_requests = 1;
}

START_TEST(requests_of_a_session_are_limited_as_others)
{
	struct rig *r = rig_new(ONE_HTTP, few_requests);
	struct h2_caller *c = h2_dial(r);
	struct h2_stream *one = h2_get(c, "/"), *two = h2_get(c, "/");
	int b;

	h2_move(c);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	ck_assert_ptr_nonnull(strstr(h2_hear_head(c, two), "x-nodeproxy-reason: OVER_REQUESTS\n"));
	stream_close(&two->s, false);
	rig_say(r, b, OK2);
	h2_hear(c, one, 200, "hi");
	finish(&r, &c, b);
}
END_TEST

static void small_bodies(struct knobs *k)
{
	k->body_bytes = 10;
}

START_TEST(bodies_of_streams_are_limited_as_others)
{
	struct rig *r = rig_new(ONE_HTTP, small_bodies);
	struct h2_caller *c = h2_dial(r);
	struct h2_stream *st = h2_ask(c, "POST", "/", "content-length: 11\n", false);
	int b;

	ck_assert_ptr_nonnull(strstr(h2_hear_head(c, st), "x-nodeproxy-reason: BODY_TOO_LARGE\n"));
	stream_close(&st->s, true);
	st = h2_ask(c, "POST", "/", NULL, false);
	h2_say(c, st, "0123456789", 10);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	h2_say(c, st, "x", 1);
	ck_assert_ptr_nonnull(strstr(h2_hear_head(c, st), "x-nodeproxy-reason: BODY_TOO_LARGE\n"));
	stream_close(&st->s, true);
	finish(&r, &c, b);
}
END_TEST

START_TEST(every_allocation_that_fails_leaves_nothing_behind)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct path *p = &r->path;
	struct slab *which[] = { &p->conns, &p->exchanges, &p->chunks.small, &p->h2.sessions,
				 &p->h2.streams, &p->blocks };

	/* The n-th of each slab in turn, then the n-th of nghttp2's. */
	for (uint32_t n = 0; n < 18 + 24; n++) {
		struct h2_caller *c = h2_dial(r);
		struct h2_stream *st;
		int b = -1;

		if (n < 18)
			which[n % countof(which)]->fail_after = 1 + n / (uint32_t)countof(which);
		else
			p->h2.fail_after = 2 * (n - 18) + 1;
		st = h2_ask(c, "POST", "/", NULL, false);
		for (int i = 0; i < 40; i++) {
			struct iovec v = { (char[]){ "hello" }, 5 };

			h2_move(c);
			if (i == 2 && !c->is_cut && !st->was_reset) {
				(void)!st->s.ops->write(&st->s, &v, 1);
				(void)end_of(st);
			}
			if (b < 0)
				b = accept4(r->back_fd[0], NULL, NULL, SOCK_NONBLOCK);
			if (i == 20 && b >= 0)
				(void)!send(b, OK2, sizeof OK2 - 1, MSG_NOSIGNAL);
		}
		h2_hang_up(&c);
		if (b >= 0)
			close(b);
		rig_must_be_empty(r);
		ck_assert_uint_eq(p->h2.sessions.live + p->h2.streams.live + p->streams, 0);
		for (size_t i = 0; i < countof(which); i++)
			which[i]->fail_after = 0;
		p->h2.fail_after = 0;
	}
	rig_free(&r);
}
END_TEST

UNIT_TESTS("mux", a_request_is_carried_and_logged_once, an_open_port_detects_http2,
	   a_preface_may_come_byte_by_byte, many_streams_are_answered_in_any_order,
	   bodies_go_both_ways_whatever_their_framing, big_bodies_arrive_whole_both_ways,
	   a_stream_that_is_not_read_stops_its_endpoint_and_no_other, trailers_pass_both_ways,
	   trailers_that_come_with_their_head_pass,
	   interim_answers_and_expect_pass, answers_without_a_body_end_with_their_head,
	   an_early_answer_ends_the_request_with_no_error, what_is_not_whole_is_reset,
	   a_caller_that_cancels_cuts_the_request, a_session_that_goes_away_ends_its_requests,
	   local_answers_name_their_reason, grpc_is_told_in_its_own_words,
	   a_websocket_crosses_to_an_endpoint_of_http1, a_websocket_that_is_not_switched_is_no_success,
	   a_drain_tells_sessions_and_lets_requests_finish, at_the_deadline_of_a_drain_all_end,
	   an_idle_session_leaves_and_a_busy_one_does_not,
	   a_caller_who_leaves_is_let_go_when_nothing_is_under_way, an_idle_session_holds_little,
	   an_offence_ends_the_session_with_its_reason, requests_of_a_session_are_limited_as_others,
	   bodies_of_streams_are_limited_as_others, every_allocation_that_fails_leaves_nothing_behind)
