/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Requests to endpoints that speak HTTP/2, over real sockets; the endpoints are sessions of the
 * test. */
#include <errno.h>
#include <poll.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/h2_caller.h"
#include "tests/lib/path_rig.h"
#include "tests/unit/test.h"

#define ONE_H2 "service t/s port=80/main/h2\nendpoint t/s:main $1\n"
#define TWO_H2 ONE_H2 "endpoint t/s:main $2\n"
#define GET    "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"

/* ---- an endpoint ---- */

struct far {
	struct stream s;
	struct h2 *h;
};

static struct {
	struct chunk_pool chunks;
	struct h2_stock stock;
	struct h2_limits limits;
	struct budget budget;
	uint8_t scratch[65536];
	struct far far[4];
	unsigned n;
} e;

static ssize_t far_read(struct stream *s, uint8_t *buf, size_t room)
{
	ssize_t n = recv(s->fd.v, buf, room, 0);

	return n < 0 ? -errno : n;
}

static ssize_t far_write(struct stream *s, const struct iovec *v, int n)
{
	struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)v, .msg_iovlen = (size_t)n };
	ssize_t k = sendmsg(s->fd.v, &m, MSG_NOSIGNAL);

	return k < 0 ? -errno : k;
}

static const struct stream_ops far_ops = { .name = "far", .read = far_read, .write = far_write };

static struct rig *start(const char *view, void (*change)(struct knobs *))
{
	struct rig *r = rig_new(view, change);

	memset(&e, 0, sizeof e);
	e.limits = h2_limits_default;
	ck_assert_int_eq(chunk_pool_init(&e.chunks, 4096, 16), 0);
	ck_assert_int_eq(h2_stock_init(&e.stock, &e.chunks, 8, 1024), 0);
	return r;
}

static void far_close(struct far *f)
{
	h2_free(&f->h);
	close(f->s.fd.v);
}

static void finish(struct rig **r, int caller)
{
	if (caller >= 0)
		close(caller);
	for (unsigned i = 0; i < e.n; i++)
		if (e.far[i].h)
			far_close(&e.far[i]);
	rig_must_be_empty(*r);
	rig_free(r);
	h2_stock_fini(&e.stock);
	ck_assert_uint_eq(e.chunks.small.live, 0);
	chunk_pool_fini(&e.chunks);
}

/* Everybody's turn. */
static void turn(struct rig *r)
{
	rig_pass(r);
	for (unsigned i = 0; i < e.n; i++) {
		if (e.far[i].h == NULL)
			continue;
		while (h2_read(e.far[i].h, e.scratch, sizeof e.scratch) == H2_MORE)
			;
		while (h2_write(e.far[i].h) == H2_MORE)
			;
	}
}

#define UNTIL(r, condition)                                                                        \
	do {                                                                                       \
		int64_t began_ = clock_tick().ns;                                                  \
		while (!(condition)) {                                                             \
			ck_assert_msg(clock_tick().ns - began_ < 10 * NS_PER_S, "never: %s",       \
				      #condition);                                                 \
			turn(r);                                                                   \
		}                                                                                  \
	} while (0)

/* The session at whichever of these endpoints is dialled next. */
static struct far *far_accept_of(struct rig *r, int from, int to)
{
	struct far *f = &e.far[e.n];
	int fd = -1;

	UNTIL(r, ({
		for (int i = from; fd < 0 && i <= to; i++)
			fd = accept4(r->back_fd[i - 1], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		fd >= 0;
	}));
	*f = (struct far){ .s = { .ops = &far_ops, .fd = { fd } } };
	f->h = h2_new(&e.stock, true, &e.limits, &f->s, &e.budget);
	ck_assert_ptr_nonnull(f->h);
	e.n++;
	return f;
}

static struct far *far_accept(struct rig *r, int back)
{
	return far_accept_of(r, back, back);
}

/* The next request there. */
static struct h2_stream *asked(struct rig *r, struct far *f)
{
	struct h2_stream *st = NULL;
	unsigned news = 0;

	UNTIL(r, (st = h2_next(f->h, &news)) && news & H2_NEWS_BLOCK);
	return st;
}

/* ":method: GET, :path: /a, ..." */
static const char *lines(const struct h2_block *b)
{
	static char text[4096];
	struct slice name, value;
	size_t n = 0;

	for (uint32_t i = 0; h2_block_line(b, i, &name, &value); i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "%s%.*s: %.*s", i ? ", " : "",
				      (int)name.n, (const char *)name.p, (int)value.n,
				      (const char *)value.p);
	return text;
}

#define F(n, v) { (const uint8_t *)(n), (const uint8_t *)(v), sizeof(n) - 1, sizeof(v) - 1, 0 }
static const struct h2_field ok[] = { F(":status", "200"), F("x-two", "2") };
static const struct h2_field hints[] = { F(":status", "103"), F("link", "</x>") };
static const struct h2_field trailers[] = { F("x-sum", "7") };

static void answer(struct h2_stream *st, const char *body, bool with_trailers)
{
	struct iovec v = { (void *)(uintptr_t)body, strlen(body) };

	ck_assert_int_eq(h2_respond(st, ok, countof(ok), v.iov_len == 0 && !with_trailers), 0);
	if (v.iov_len)
		ck_assert_int_eq(st->s.ops->write(&st->s, &v, 1), (ssize_t)v.iov_len);
	if (with_trailers)
		ck_assert_int_eq(h2_trailers(st, trailers, countof(trailers)), 0);
	stream_close(&st->s, false);
}

/* Exactly this comes next to a caller. */
static void hear(struct rig *r, int fd, const char *text)
{
	size_t n = strlen(text), got = 0;
	char have[8192];

	UNTIL(r, ({
		ssize_t k = recv(fd, have + got, n - got, 0);

		got += k > 0 ? (size_t)k : 0;
		k == 0 || got == n;
	}));
	ck_assert_msg(got == n && memcmp(have, text, n) == 0, "heard \"%.*s\", expected \"%s\"", (int)got,
		      have, text);
}

/* A whole head, without its Date line. */
static const char *hear_head(struct rig *r, int fd)
{
	static char head[8192];
	size_t n = 0;
	char *date, *end;

	do {
		UNTIL(r, recv(fd, head + n, 1, 0) == 1);
		n++;
	} while (n < 4 || memcmp(head + n - 4, "\r\n\r\n", 4));
	head[n] = 0;
	date = strstr(head, "Date: ");
	if (date) {
		end = strstr(date, "\r\n") + 2;
		memmove(date, end, strlen(end) + 1);
	}
	return head;
}

/* ---- */

START_TEST(a_request_goes_over_a_trunk_and_is_logged_once)
{
	struct rig *r = start(ONE_H2, NULL);
	int c = rig_dial(r);
	struct far *f;
	struct h2_stream *st;

	rig_say(r, c, "GET /a?b=1 HTTP/1.1\r\nHost: x\r\nConnection: keep-alive\r\nX-One: 1\r\n\r\n");
	f = far_accept(r, 1);
	st = asked(r, f);
	ck_assert(h2_block(st)->is_end);
	ck_assert_str_eq(lines(h2_block(st)), ":method: GET, :scheme: http, :path: /a?b=1, :authority: x, "
			 "x-forwarded-for: 127.0.0.1, x-forwarded-proto: http, x-one: 1");
	answer(st, "hello", false);
	ck_assert_str_eq(hear_head(r, c), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nx-two: 2\r\n\r\n");
	hear(r, c, "5\r\nhello\r\n0\r\n\r\n");
	rig_log(r, "method=GET path=\"/a?b=1\" status=200 reason=DONE service=t/s:80");
	/* The next one over the same. */
	rig_say(r, c, GET);
	st = asked(r, f);
	answer(st, "", false);
	ck_assert_str_eq(hear_head(r, c), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx-two: 2\r\n\r\n");
	ck_assert_uint_eq(r->path.trunks.open, 1);
	ck_assert_uint_eq(board_get(&r->path.mine->c[WC_connects]), 1);
	ck_assert_uint_eq(path_fds_used(&r->path), r->path.fds.fixed + r->path.fds.listeners + 2);
	finish(&r, c);
}
END_TEST

START_TEST(bodies_and_trailers_go_both_ways)
{
	struct rig *r = start(ONE_H2, NULL);
	int c = rig_dial(r);
	struct h2_stream *st;
	uint8_t buf[64];
	size_t got = 0;
	ssize_t k;

	rig_say(r, c, "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n"
		      "Connection: TE\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Sum: 9\r\n\r\n");
	st = asked(r, far_accept(r, 1));
	ck_assert(strstr(lines(h2_block(st)), "te: trailers") != NULL);
	h2_block_take(st);
	UNTIL(r, st->gets == H2_GETS_NOTHING);
	while ((k = st->s.ops->read(&st->s, buf + got, sizeof buf - got)) > 0)
		got += (size_t)k;
	ck_assert_uint_eq(got, 7);
	ck_assert_int_eq(memcmp(buf, "abcdefg", 7), 0);
	ck_assert_ptr_nonnull(h2_block(st));
	ck_assert_str_eq(lines(h2_block(st)), "x-sum: 9");
	ck_assert_int_eq(h2_interim(st, hints, countof(hints)), 0);
	answer(st, "hi", true);
	ck_assert_str_eq(hear_head(r, c), "HTTP/1.1 103 \r\nlink: </x>\r\n\r\n");
	ck_assert_str_eq(hear_head(r, c), "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nx-two: 2\r\n\r\n");
	hear(r, c, "2\r\nhi\r\n0\r\nx-sum: 7\r\n\r\n");
	finish(&r, c);
}
END_TEST

/* Seen by tests/byteexact: the stream was cancelled where its length ended. */
START_TEST(an_answer_is_over_when_its_stream_is_not_when_its_length_is)
{
	static const struct h2_field head[] = { F(":status", "200"), F("content-length", "2") };
	struct rig *r = start(ONE_H2, NULL);
	int c = rig_dial(r);
	struct iovec v = { (void *)(uintptr_t)"hi", 2 };
	struct h2_stream *st;

	rig_say(r, c, GET);
	st = asked(r, far_accept(r, 1));
	ck_assert_int_eq(h2_respond(st, head, countof(head), false), 0);
	ck_assert_int_eq(st->s.ops->write(&st->s, &v, 1), 2);
	ck_assert_str_eq(hear_head(r, c), "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\n");
	hear(r, c, "hi");
	for (int i = 0; i < 20; i++)
		turn(r);
	ck_assert(!st->was_reset);
	ck_assert_int_eq(h2_trailers(st, trailers, countof(trailers)), 0);
	UNTIL(r, st->held != H2_HELD_BY_BOTH);
	ck_assert(!st->was_reset);
	stream_close(&st->s, false);
	finish(&r, c);
}
END_TEST

START_TEST(a_caller_that_goes_away_cancels_its_stream_alone)
{
	struct rig *r = start(ONE_H2, NULL);
	int a = rig_dial(r), b = rig_dial(r);
	struct far *f;
	struct h2_stream *sa, *sb;

	rig_say(r, a, GET);
	f = far_accept(r, 1);
	sa = asked(r, f);
	rig_say(r, b, GET);
	sb = asked(r, f);
	ck_assert_int_eq(setsockopt(a, SOL_SOCKET, SO_LINGER, &(struct linger){ 1, 0 },
				    sizeof(struct linger)), 0);
	close(a);
	UNTIL(r, sa->was_reset);
	ck_assert_uint_eq(sa->code, H2_CANCEL);
	ck_assert(!sb->was_reset);
	answer(sb, "", false);
	ck_assert_str_eq(hear_head(r, b), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nx-two: 2\r\n\r\n");
	stream_close(&sa->s, true);
	ck_assert_uint_eq(r->path.trunks.open, 1);
	finish(&r, b);
}
END_TEST

START_TEST(an_early_answer_does_not_end_the_request_as_if_it_were_whole)
{
	struct rig *r = start(ONE_H2, NULL);
	int c = rig_dial(r);
	struct h2_stream *st;

	rig_say(r, c, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\nabc");
	st = asked(r, far_accept(r, 1));
	ck_assert_int_eq(h2_respond(st, ok, countof(ok), true), 0);
	ck_assert_str_eq(hear_head(r, c), "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n"
					  "x-two: 2\r\n\r\n");
	UNTIL(r, st->was_reset);
	ck_assert_uint_eq(st->code, H2_CANCEL);
	stream_close(&st->s, true);
	finish(&r, c);
}
END_TEST

/* Seen by tests/byteexact, on a busy machine: all of the request was read, and its end waited for room. */
START_TEST(what_waits_for_room_is_not_ended_as_if_it_had_gone)
{
	static char said[70000];
	struct rig *r = start(ONE_H2, NULL);
	int c = rig_dial(r), n = snprintf(said, sizeof said, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 69000\r\n\r\n");
	struct h2_stream *st;

	memset(said + n, 'x', 69000);
	said[n + 69000] = 0;
	rig_say(r, c, said);
	st = asked(r, far_accept(r, 1));
	UNTIL(r, st->in.bytes >= 65535);
	for (int i = 0; i < 20; i++)
		turn(r);
	ck_assert_uint_lt(st->in.bytes, 69000);
	ck_assert_int_eq(h2_respond(st, ok, countof(ok), true), 0);
	hear_head(r, c);
	UNTIL(r, st->was_reset || st->gets == H2_GETS_NOTHING);
	ck_assert(st->was_reset);
	ck_assert_uint_eq(st->code, H2_CANCEL);
	stream_close(&st->s, true);
	finish(&r, c);
}
END_TEST

static void reset_with(struct h2_stream *st, enum h2_code code)
{
	h2_reset(st, code);
	stream_close(&st->s, true);
}

START_TEST(a_reset_stream_is_an_answer_of_ours)
{
	struct rig *r = start(ONE_H2, NULL);
	int c = rig_dial(r);

	rig_say(r, c, GET);
	reset_with(asked(r, far_accept(r, 1)), H2_INTERNAL_ERROR);
	ck_assert_ptr_nonnull(strstr(hear_head(r, c), "HTTP/1.1 502 Bad Gateway\r\n"));
	rig_log(r, "status=502 reason=BACK_RESET flag=UR");
	finish(&r, c);
}
END_TEST

static void two_tries(struct knobs *k)
{
	k->connect_attempts = 2;
}

START_TEST(a_refused_stream_goes_to_another_endpoint_whatever_its_method)
{
	struct rig *r = start(TWO_H2, two_tries);
	int c = rig_dial(r);
	struct h2_stream *st;

	rig_say(r, c, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
	reset_with(asked(r, far_accept_of(r, 1, 2)), H2_REFUSED_STREAM);
	st = asked(r, far_accept_of(r, 1, 2));
	ck_assert_uint_eq(r->path.trunks.bundles.live, 2);
	answer(st, "", false);
	ck_assert_ptr_nonnull(strstr(hear_head(r, c), "200 OK"));
	ck_assert_uint_eq(board_get(&r->path.mine->c[WC_retries]), 1);
	ck_assert_uint_eq(board_get(&r->path.mine->c[WC_streams_refused]), 1);
	finish(&r, c);
}
END_TEST

/* nginx ends a connection so after keepalive_requests, and its clients are to come again. */
START_TEST(what_goaway_left_undone_goes_to_the_same_endpoint_if_there_is_no_other)
{
	/* GOAWAY, last stream 1, NO_ERROR */
	static const uint8_t goaway[] = { 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0 };
	struct rig *r = start(ONE_H2, NULL);
	int a = rig_dial(r), b = rig_dial(r);
	struct far *f;
	struct h2_stream *st;

	rig_say(r, a, GET);
	f = far_accept(r, 1);
	st = asked(r, f);
	rig_say(r, b, GET);
	stream_close(&asked(r, f)->s, false);
	rig_say_bytes(r, f->s.fd.v, goaway, sizeof goaway);
	f = far_accept(r, 1);
	answer(asked(r, f), "again", false);
	ck_assert_ptr_nonnull(strstr(hear_head(r, b), "200 OK"));
	answer(st, "first", false);
	ck_assert_ptr_nonnull(strstr(hear_head(r, a), "200 OK"));
	ck_assert_uint_eq(board_get(&r->path.mine->c[WC_retries]), 1);
	close(b);
	finish(&r, a);
}
END_TEST

START_TEST(an_idle_trunk_that_the_endpoint_closed_costs_no_request)
{
	struct rig *r = start(ONE_H2, NULL);
	int c = rig_dial(r);
	struct far *f;

	rig_say(r, c, GET);
	f = far_accept(r, 1);
	answer(asked(r, f), "", false);
	hear_head(r, c);
	far_close(f);
	/* Before the end was seen, as likely as not. */
	rig_say(r, c, GET);
	answer(asked(r, far_accept(r, 1)), "", false);
	ck_assert_ptr_nonnull(strstr(hear_head(r, c), "200 OK"));
	finish(&r, c);
}
END_TEST

START_TEST(an_endpoint_of_http1_costs_no_request_and_says_why)
{
	struct rig *r = start(ONE_H2, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_say(r, b, "HTTP/1.1 400 Bad Request\r\nConnection: close\r\n\r\n");
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "x-nodeproxy-reason: BACK_BAD_H2\r\n"));
	close(b);
	finish(&r, c);
}
END_TEST

START_TEST(many_callers_share_trunks_and_wait_for_room)
{
	struct rig *r = start(ONE_H2, NULL);
	struct h2_stream *st[12];
	int c[12];

	e.limits.streams = 4;
	for (unsigned i = 0; i < countof(c); i++) {
		c[i] = rig_dial(r);
		rig_say(r, c[i], GET);
	}
	/* One is dialled until it is known how little it takes. */
	for (unsigned i = 0; i < 3; i++)
		far_accept(r, 1), turn(r);
	for (unsigned i = 0, got = 0; got < countof(c); i = (i + 1) % 3) {
		unsigned news;
		struct h2_stream *s;

		turn(r);
		while ((s = h2_next(e.far[i].h, &news)))
			st[got++] = s;
	}
	ck_assert_uint_eq(r->path.trunks.taken, 12);
	for (unsigned i = 0; i < countof(c); i++)
		answer(st[i], "", false);
	for (unsigned i = 0; i < countof(c); i++)
		ck_assert_ptr_nonnull(strstr(hear_head(r, c[i]), "200 OK"));
	UNTIL(r, r->path.trunks.taken == 0);
	for (unsigned i = 0; i < countof(c); i++)
		close(c[i]);
	finish(&r, -1);
}
END_TEST

static uint32_t connections_held(struct rig *r)
{
	return board_limit_held(r->board, 80, 9, LIMIT_CONNECTIONS);
}

/* With limits.pending they wait for a connection as for everything else, and are counted once. */
START_TEST(who_finds_no_connection_left_may_wait_for_one)
{
	struct rig *r = start("service t/s port=80/main/h2 slot=3/1\nendpoint t/s:main $1\nendpoint t/s:main $2\n"
			      "policy t/p target=s connections=1 pending=1 pending_ms=60000 balancer=RoundRobin\n", NULL);
	uint64_t *n = board_service(r->board, 0, 3, 1)->c;
	int a = rig_dial(r), b = rig_dial(r), c = rig_dial(r);
	struct far *f;

	rig_say(r, a, GET);
	f = far_accept_of(r, 1, 2);
	rig_say(r, b, GET);		/* the other endpoint's turn */
	UNTIL(r, board_get(&n[SC_pending]) == 1);
	rig_until_quiet(r);
	ck_assert_uint_eq(connections_held(r), 1);
	rig_say(r, c, GET);		/* the line is full */
	ck_assert_ptr_nonnull(strstr(hear_head(r, c), "x-nodeproxy-reason: OVER_SERVICE_CONNECTIONS\r\n"));
	rig_log(r, "status=503 reason=OVER_SERVICE_CONNECTIONS flag=UO");
	close(c);
	answer(asked(r, f), "", false);
	ck_assert_ptr_nonnull(strstr(hear_head(r, a), "200 OK"));
	answer(asked(r, f), "", false);	/* whose turn it is again */
	ck_assert_ptr_nonnull(strstr(hear_head(r, b), "200 OK"));
	ck_assert_uint_eq(connections_held(r), 1);
	ck_assert_uint_eq(board_get(&n[SC_pending]), 1);
	ck_assert_uint_eq(board_get(&n[SC_limited_connections]), 1);
	ck_assert_uint_eq(r->path.pendings.n, 0);
	close(b);
	finish(&r, a);
}
END_TEST

/* Those who find no connection left wait for room on those that are there, and are refused where there
 * is none.  An idle one makes room, whatever it speaks. */
START_TEST(trunks_count_for_the_limit_of_connections)
{
	struct rig *r = start("service t/s port=80/main/h2 slot=3/1\nendpoint t/s:main $1\nendpoint t/s:main $2\n"
			      "policy t/p target=s connections=1 balancer=RoundRobin\n", NULL);
	int a = rig_dial(r), b = rig_dial(r);
	struct far *f;

	rig_say(r, a, GET);
	UNTIL(r, r->path.trunks.open == 1);
	ck_assert_uint_eq(connections_held(r), 1);
	rig_say(r, b, GET);		/* the other endpoint's turn */
	ck_assert_ptr_nonnull(strstr(hear_head(r, b), "x-nodeproxy-reason: OVER_SERVICE_CONNECTIONS\r\n"));
	rig_log(r, "status=503 reason=OVER_SERVICE_CONNECTIONS flag=UO");
	close(b);
	f = far_accept_of(r, 1, 2);
	answer(asked(r, f), "", false);
	ck_assert_ptr_nonnull(strstr(hear_head(r, a), "200 OK"));
	rig_say(r, a, GET);
	answer(asked(r, f), "", false);
	ck_assert_ptr_nonnull(strstr(hear_head(r, a), "200 OK"));
	UNTIL(r, r->path.trunks.taken == 0);
	ck_assert_uint_eq(connections_held(r), 1);
	/* The other endpoint's turn again. */
	rig_say(r, a, GET);
	answer(asked(r, far_accept_of(r, 1, 2)), "", false);
	ck_assert_ptr_nonnull(strstr(hear_head(r, a), "200 OK"));
	ck_assert_uint_eq(connections_held(r), 1);
	ck_assert_uint_eq(r->path.trunks.open, 1);
	close(a);
	finish(&r, -1);
}
END_TEST

START_TEST(a_slow_caller_holds_back_its_endpoint_and_nobody_else)
{
	struct rig *r = start(ONE_H2, NULL);
	int slow = rig_dial(r), quick;
	static uint8_t block[16384];
	struct iovec v = { block, sizeof block };
	struct h2_stream *st, *other;
	struct far *f;
	uint64_t sent = 0, then;

	rig_say(r, slow, GET);
	f = far_accept(r, 1);
	st = asked(r, f);
	ck_assert_int_eq(h2_respond(st, ok, countof(ok), false), 0);
	/* Until nothing more is taken for a while. */
	for (int still = 0; still < 300; still++) {
		ssize_t k = st->s.ops->write(&st->s, &v, 1);

		sent += k > 0 ? (uint64_t)k : 0;
		still = k > 0 ? 0 : still;
		turn(r);
	}
	then = sent;
	ck_assert_uint_lt(r->path.memory.used, 8u << 20);
	quick = rig_dial(r);
	rig_say(r, quick, GET);
	other = asked(r, f);
	answer(other, "hi", false);
	hear_head(r, quick);
	hear(r, quick, "2\r\nhi\r\n0\r\n\r\n");
	/* It reads on, and gets all of it. */
	UNTIL(r, ({
		ssize_t k = st->s.ops->write(&st->s, &v, 1);
		uint8_t away[65536];

		sent += k > 0 ? (uint64_t)k : 0;
		while (recv(slow, away, sizeof away, 0) > 0)
			;
		sent > then + (4u << 20);
	}));
	close(quick);
	stream_close(&st->s, true);
	finish(&r, slow);
}
END_TEST

START_TEST(a_drain_lets_streams_finish_and_keeps_no_trunk)
{
	struct rig *r = start(ONE_H2, NULL);
	int c = rig_dial(r);
	struct h2_stream *st;

	rig_say(r, c, GET);
	st = asked(r, far_accept(r, 1));
	path_drain(&r->path);
	answer(st, "hi", false);
	ck_assert_ptr_nonnull(strstr(hear_head(r, c), "Connection: close\r\n"));
	hear(r, c, "2\r\nhi\r\n0\r\n\r\n");
	UNTIL(r, r->path.trunks.open == 0);
	finish(&r, c);
}
END_TEST

START_TEST(a_websocket_becomes_an_extended_connect_where_it_may)
{
	struct rig *r = start(ONE_H2, NULL);
	int c = rig_dial(r);
	struct h2_stream *st;
	uint8_t buf[16];
	const char *head;

	rig_say(r, c, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
		      "Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n\r\n");
	st = asked(r, far_accept(r, 1));
	ck_assert(!h2_block(st)->is_end);
	ck_assert_ptr_nonnull(strstr(lines(h2_block(st)), ":method: CONNECT, "));
	ck_assert_ptr_nonnull(strstr(lines(h2_block(st)), ":protocol: websocket"));
	ck_assert_ptr_null(strstr(lines(h2_block(st)), "sec-websocket-key"));
	h2_block_take(st);
	ck_assert_int_eq(h2_respond(st, ok, countof(ok), false), 0);
	head = hear_head(r, c);
	ck_assert_ptr_nonnull(strstr(head, "HTTP/1.1 101 Switching Protocols\r\n"));
	ck_assert_ptr_nonnull(strstr(head, "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="));
	rig_say(r, c, "ping");
	UNTIL(r, st->in.bytes == 4);
	ck_assert_int_eq(st->s.ops->read(&st->s, buf, sizeof buf), 4);
	ck_assert_int_eq(st->s.ops->write(&st->s, &(struct iovec){ buf, 4 }, 1), 4);
	hear(r, c, "ping");
	/* Each end is passed on by itself. */
	shutdown(c, SHUT_WR);
	UNTIL(r, st->gets == H2_GETS_NOTHING);
	ck_assert_int_eq(st->s.ops->finish(&st->s), 0);
	UNTIL(r, recv(c, buf, 1, 0) == 0);
	rig_log(r, "status=101 reason=DONE");
	stream_close(&st->s, false);
	ck_assert_uint_eq(r->path.trunks.open, 1);
	finish(&r, c);
}
END_TEST

START_TEST(a_body_goes_on_while_its_trunk_breaks_and_the_caller_sees_the_cut)
{
	struct rig *r = start(ONE_H2, NULL);
	int c = rig_dial(r);
	struct far *f;
	struct h2_stream *st;
	struct iovec v = { (void *)(uintptr_t)"half", 4 };

	rig_say(r, c, GET);
	f = far_accept(r, 1);
	st = asked(r, f);
	ck_assert_int_eq(h2_respond(st, ok, countof(ok), false), 0);
	ck_assert_int_eq(st->s.ops->write(&st->s, &v, 1), 4);
	hear_head(r, c);
	hear(r, c, "4\r\nhalf\r\n");
	stream_close(&st->s, true);
	far_close(f);
	rig_log(r, "status=200 reason=BACK_CUT");
	rig_hear_cut(r, c);
	ck_assert_uint_eq(r->path.trunks.open, 0);
	finish(&r, c);
}
END_TEST

/* ---- what a policy has sent again ---- */

#define RETRIES(on) "policy t/p target=s retries=3 backoff=1/1 on=" on "\n"

static const struct h2_field unavailable[] = { F(":status", "200"), F("content-type", "application/grpc"),
					       F("grpc-status", "14") };
static const struct h2_field pushed[] = { F(":status", "200"), F("content-type", "application/grpc"),
					  F("grpc-status", "14"), F("grpc-retry-pushback-ms", "150") };
static const struct h2_field never[] = { F(":status", "200"), F("content-type", "application/grpc"),
					 F("grpc-status", "14"), F("grpc-retry-pushback-ms", "-1") };
static const struct h2_field begun[] = { F(":status", "200"), F("content-type", "application/grpc") };
static const struct h2_field status14[] = { F("grpc-status", "14") };
static const struct h2_field sorry[] = { F(":status", "503") };

static void fail_with(struct h2_stream *st, const struct h2_field *f, size_t n)
{
	ck_assert_int_eq(h2_respond(st, f, n, true), 0);
	stream_close(&st->s, false);
}

/* What came of a body up to its end, and its trailers. */
static void body_is(struct rig *r, struct h2_stream *st, const char *want, const char *lines_behind)
{
	uint8_t buf[256];
	size_t got = 0;
	ssize_t k;

	h2_block_take(st);
	UNTIL(r, st->gets == H2_GETS_NOTHING);
	while ((k = st->s.ops->read(&st->s, buf + got, sizeof buf - got)) > 0)
		got += (size_t)k;
	ck_assert_msg(got == strlen(want) && memcmp(buf, want, got) == 0, "%.*s", (int)got, buf);
	if (lines_behind)
		ck_assert_str_eq(lines(h2_block(st)), lines_behind);
}

START_TEST(a_body_and_its_trailers_are_sent_again_over_trunks)
{
	static const char *const on[] = { "5xx", "reset" };

	for (int i = 0; i < 2; i++) {
		char view[200];
		struct rig *r;
		struct h2_stream *st;
		int c;

		snprintf(view, sizeof view, TWO_H2 RETRIES("%s"), on[i]);
		r = start(view, NULL);
		c = rig_dial(r);
		rig_say(r, c, "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTE: trailers\r\n"
			      "Connection: TE\r\n\r\n3\r\nabc\r\n4\r\ndefg\r\n0\r\nX-Sum: 9\r\n\r\n");
		st = asked(r, far_accept_of(r, 1, 2));
		ck_assert(!h2_block(st)->is_end);
		body_is(r, st, "abcdefg", "x-sum: 9");
		if (i)
			reset_with(st, H2_INTERNAL_ERROR);
		else
			fail_with(st, sorry, countof(sorry));
		st = asked(r, far_accept_of(r, 1, 2));
		ck_assert(!h2_block(st)->is_end);
		body_is(r, st, "abcdefg", "x-sum: 9");
		answer(st, "", false);
		ck_assert_ptr_nonnull(strstr(hear_head(r, c), "200 OK"));
		rig_log(r, "reason=DONE attempts=2");
		finish(&r, c);
	}
}
END_TEST

/* A call of gRPC needs a caller in HTTP/2. */
static struct h2_stream *grpc_call(struct h2_caller *c)
{
	struct h2_stream *st = h2_ask(c, "POST", "/S/M", "content-type: application/grpc\nte: trailers\n",
				      false);

	h2_say(c, st, "\0\0\0\0\2hi", 7);
	ck_assert_int_eq(st->s.ops->finish(&st->s), 0);
	return st;
}

/* The caller moves too. */
#define BOTH_UNTIL(r, c, x)                                                                        \
	UNTIL(r, ({                                                                                \
		      h2_move(c);                                                                  \
		      (x);                                                                         \
	      }))

static struct h2_stream *asked_by(struct rig *r, struct h2_caller *c, struct far *f)
{
	struct h2_stream *st = NULL;
	unsigned news = 0;

	BOTH_UNTIL(r, c, (st = h2_next(f->h, &news)) && news & H2_NEWS_BLOCK);
	return st;
}

static struct far *accepted_by(struct rig *r, struct h2_caller *c)
{
	struct pollfd p[2] = { { r->back_fd[0], POLLIN, 0 }, { r->back_fd[1], POLLIN, 0 } };

	BOTH_UNTIL(r, c, poll(p, 2, 0) > 0);
	return far_accept_of(r, 1, 2);
}

static const char *head_of(struct rig *r, struct h2_caller *c, struct h2_stream *st)
{
	BOTH_UNTIL(r, c, h2_block(st) != NULL);
	return h2_hear_head(c, st);
}

START_TEST(a_status_of_grpc_alone_is_tried_again)
{
	struct rig *r = start(TWO_H2 RETRIES("unavailable"), NULL);
	struct h2_caller *c = h2_dial(r);
	struct h2_stream *st = grpc_call(c), *far;

	far = asked_by(r, c, accepted_by(r, c));
	fail_with(far, unavailable, countof(unavailable));
	far = asked_by(r, c, accepted_by(r, c));
	ck_assert_int_eq(h2_respond(far, begun, countof(begun), false), 0);
	/* A status behind an answer that has begun is the caller's. */
	ck_assert_int_eq(h2_trailers(far, status14, countof(status14)), 0);
	stream_close(&far->s, false);
	ck_assert_ptr_null(strstr(head_of(r, c, st), "grpc-status"));
	ck_assert_ptr_nonnull(strstr(head_of(r, c, st), "grpc-status: 14"));
	rig_log(r, "status=200 reason=DONE grpc_status=14 attempts=2");
	stream_close(&st->s, false);
	h2_hang_up(&c);
	finish(&r, -1);
}
END_TEST

START_TEST(pushback_says_when_and_whether)
{
	struct rig *r = start(ONE_H2 RETRIES("unavailable"), NULL);
	struct h2_caller *c = h2_dial(r);
	struct h2_stream *st = grpc_call(c), *far;
	struct far *f = accepted_by(r, c);
	int64_t began;

	far = asked_by(r, c, f);
	began = clock_tick().ns;
	fail_with(far, pushed, countof(pushed));
	far = asked_by(r, c, f);
	ck_assert_int_ge(clock_tick().ns - began, 150 * NS_PER_MS);
	fail_with(far, never, countof(never));
	ck_assert_ptr_nonnull(strstr(head_of(r, c, st), "grpc-retry-pushback-ms: -1"));
	rig_log(r, "reason=DONE grpc_status=14 attempts=2");
	stream_close(&st->s, false);
	h2_hang_up(&c);
	finish(&r, -1);
}
END_TEST

START_TEST(a_call_that_takes_too_long_is_told_as_grpc_has_it)
{
	struct rig *r = start(ONE_H2 "route t/r parent=t/s\nrule backend=t/s:80 request=60\n", NULL);
	struct h2_caller *c = h2_dial(r);
	struct h2_stream *st = grpc_call(c), *far;

	far = asked_by(r, c, accepted_by(r, c));
	ck_assert_ptr_nonnull(strstr(head_of(r, c, st), "grpc-status: 4\n"));
	rig_log(r, "reason=REQUEST_TIMEOUT flag=UT grpc_status=4");
	UNTIL(r, far->was_reset);
	stream_close(&far->s, true);
	stream_close(&st->s, false);
	h2_hang_up(&c);
	finish(&r, -1);
}
END_TEST

UNIT_TESTS("trunks", a_body_and_its_trailers_are_sent_again_over_trunks, a_status_of_grpc_alone_is_tried_again,
	   pushback_says_when_and_whether, a_call_that_takes_too_long_is_told_as_grpc_has_it, a_request_goes_over_a_trunk_and_is_logged_once, bodies_and_trailers_go_both_ways,
	   an_answer_is_over_when_its_stream_is_not_when_its_length_is,
	   a_caller_that_goes_away_cancels_its_stream_alone,
	   an_early_answer_does_not_end_the_request_as_if_it_were_whole,
	   what_waits_for_room_is_not_ended_as_if_it_had_gone,
	   a_reset_stream_is_an_answer_of_ours,
	   a_refused_stream_goes_to_another_endpoint_whatever_its_method,
	   what_goaway_left_undone_goes_to_the_same_endpoint_if_there_is_no_other,
	   an_idle_trunk_that_the_endpoint_closed_costs_no_request,
	   an_endpoint_of_http1_costs_no_request_and_says_why, many_callers_share_trunks_and_wait_for_room,
	   a_slow_caller_holds_back_its_endpoint_and_nobody_else, trunks_count_for_the_limit_of_connections,
	   who_finds_no_connection_left_may_wait_for_one,
	   a_drain_lets_streams_finish_and_keeps_no_trunk,
	   a_websocket_becomes_an_extended_connect_where_it_may,
	   a_body_goes_on_while_its_trunk_breaks_and_the_caller_sees_the_cut)
