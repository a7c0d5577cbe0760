/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What is refused, given up or only slower when something runs out, over real sockets. */
#include <arpa/inet.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "tests/lib/path_rig.h"
#include "tests/unit/test.h"

#define ONE_HTTP "service t/s port=80/main/http\nendpoint t/s:main $1\n"
#define ONE_AUTO "service t/s port=80/main/auto\nendpoint t/s:main $1\n"
#define ONE_TCP	 "service t/s port=80/main/tcp\nendpoint t/s:main $1\n"
#define GET	 "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
#define OK2	 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

/* ---- descriptors ---- */

static void leave_free(struct rig *r, uint32_t n)
{
	r->path.fds.limit = path_fds_used(&r->path) + n;
}

START_TEST(what_is_counted_is_what_is_open)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	uint32_t before = path_fds_used(&r->path);
	int c[8], b[8];

	for (int i = 0; i < 8; i++) {
		c[i] = rig_dial(r);
		rig_say(r, c[i], GET);
		b[i] = rig_accept(r, 1);
		rig_hear_head(r, b[i]);
	}
	ck_assert_uint_eq(path_fds_used(&r->path), before + 16);
	for (int i = 0; i < 8; i++) {
		rig_say(r, b[i], OK2);
		rig_hear(r, c[i], OK2);
		close(c[i]);
	}
	while (r->path.conns.live)
		rig_pass(r);
	ck_assert_uint_eq(r->path.pool.idle, 8);
	ck_assert_uint_eq(path_fds_used(&r->path), before + 8);
	for (int i = 0; i < 8; i++)
		close(b[i]);
	while (r->path.pool.backs.live)
		rig_pass(r);
	ck_assert_uint_eq(path_fds_used(&r->path), before);
	rig_end(&r, -1, -1);
}
END_TEST

START_TEST(callers_are_told_503_while_256_are_not_free_and_served_again_after)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c, b;

	leave_free(r, FDS_RESERVE - 1);
	c = rig_dial(r);
	rig_say(r, c, GET);
	rig_hear(r, c, "HTTP/1.1 503 Service Unavailable\r\n");
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "x-nodeproxy-reason: NO_DESCRIPTORS"));
	rig_hear_cut(r, c);
	close(c);
	ck_assert_uint_eq(board_get(&r->path.mine->c[WC_accept_refused]), 1);
	ck_assert_uint_eq(board_get(&r->path.mine->reasons[REASON_NO_DESCRIPTORS]), 1);
	/* One more than the reserve: a caller is taken, and his back still has room. */
	leave_free(r, FDS_RESERVE);
	c = rig_dial(r);
	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(a_listener_with_few_callers_is_served_when_others_have_taken_all)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct gate *g = r->path.gate[0];
	int c[2 * FDS_FEW], n = 0;

	while (n < FDS_FEW + 1)
		c[n++] = rig_dial(r);
	while (g->conns < FDS_FEW + 1)
		rig_pass(r);
	g->conns = 1;			/* as if the others were another listener's */
	leave_free(r, FDS_RESERVE / 4);
	c[n] = rig_dial(r);
	while (g->conns < 2)
		rig_pass(r);
	leave_free(r, FDS_RESERVE - 1);
	c[++n] = rig_dial(r);
	rig_hear(r, c[n], "HTTP/1.1 503 Service Unavailable\r\n");	/* he has more than few now */
	g->conns = 1;
	leave_free(r, FDS_RESERVE / 4 - 1);
	c[++n] = rig_dial(r);
	rig_hear(r, c[n], "HTTP/1.1 503 Service Unavailable\r\n");
	g->conns = FDS_FEW + 2;
	while (n > 0)
		close(c[n--]);
	rig_end(&r, c[0], -1);
}
END_TEST

START_TEST(a_caller_whose_protocol_is_open_is_told_when_he_said_http_and_cut_when_not)
{
	struct rig *r = rig_new(ONE_AUTO, NULL);
	int c;

	leave_free(r, 10);
	c = rig_dial(r);
	ck_assert_int_eq(send(c, GET, strlen(GET), MSG_NOSIGNAL), (ssize_t)strlen(GET));
	rig_hear(r, c, "HTTP/1.1 503 Service Unavailable\r\n");
	close(c);
	c = rig_dial(r);
	ck_assert_int_eq(send(c, "\x01\x02\x03\x04", 4, MSG_NOSIGNAL), 4);
	{
		char byte;
		ssize_t n;

		do {
			rig_pass(r);
			n = recv(c, &byte, 1, 0);
		} while (n < 0 && errno == EAGAIN);
		ck_assert_int_le(n, 0);
	}
	rig_end(&r, c, -1);
}
END_TEST

START_TEST(an_idle_back_is_given_up_before_a_caller_is_refused)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r), b, d, e;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_until_quiet(r);
	ck_assert_uint_eq(r->path.pool.idle, 1);
	leave_free(r, FDS_RESERVE - 1);
	d = rig_dial(r);
	rig_say(r, d, GET);
	rig_hear_end(r, b);
	ck_assert_uint_eq(board_get(&r->path.mine->c[WC_given_back]), 1);
	e = rig_accept(r, 1);
	rig_hear_head(r, e);
	rig_say(r, e, OK2);
	rig_hear(r, d, OK2);
	/* and none is kept while they are short */
	rig_hear_end(r, e);
	ck_assert_uint_eq(r->path.pool.idle, 0);
	close(b);
	close(e);
	close(d);
	rig_end(&r, c, -1);
}
END_TEST

START_TEST(backs_stop_before_the_last_descriptor)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r);

	rig_until_quiet(r);
	leave_free(r, FDS_RESERVE / 8);
	rig_say(r, c, GET);
	rig_hear(r, c, "HTTP/1.1 503 Service Unavailable\r\n");
	rig_log(r, "reason=NO_DESCRIPTORS");
	rig_end(&r, c, -1);
}
END_TEST

/* ---- pipes ---- */

static void one_pipe(struct knobs *k)
{
	k->pipes = 1;
}

/* Sends n bytes from the endpoint and hears them all at the caller. */
static void carry(struct rig *r, int from, int to, size_t n)
{
	static char bytes[1 << 16], got[1 << 16];
	size_t sent = 0, heard = 0;

	memset(bytes, 'x', sizeof bytes);
	while (heard < n) {
		ssize_t k = sent < n ? send(from, bytes, min_of(sizeof bytes, n - sent), MSG_NOSIGNAL) : 0;

		if (k > 0)
			sent += (size_t)k;
		k = recv(to, got, sizeof got, 0);
		if (k > 0)
			heard += (size_t)k;
		ck_assert(k != 0);
		rig_pass(r);
	}
}

START_TEST(with_all_pipes_held_by_a_stalled_sink_others_are_copied)
{
	struct rig *r = rig_new(ONE_TCP, one_pipe);
	static char bytes[1 << 16];
	int slow = rig_dial(r), slow_b, c, b;
	uint64_t spliced;

	slow_b = rig_accept(r, 1);
	/* until his socket is full and the pipe has bytes that nobody takes */
	for (int quiet = 0; quiet < 100;) {
		quiet = send(slow_b, bytes, sizeof bytes, MSG_NOSIGNAL) > 0 ? 0 : quiet + 1;
		rig_pass(r);
	}
	ck_assert_uint_eq(r->path.pipes.open - r->path.pipes.n_spare, 1);
	spliced = board_get(&r->path.mine->c[WC_spliced_bytes]);
	c = rig_dial(r);
	b = rig_accept(r, 1);
	carry(r, b, c, 4u << 20);
	ck_assert_uint_eq(board_get(&r->path.mine->c[WC_spliced_bytes]), spliced);
	close(slow);
	close(slow_b);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(a_tenant_with_stalled_sinks_leaves_pipes_for_another)
{
	struct rig *r = rig_new(ONE_TCP, NULL);
	static char bytes[1 << 16];
	int c[12], b[12];

	r->path.pipes.max = 8;
	for (int i = 0; i < 12; i++) {
		c[i] = rig_dial(r);
		b[i] = rig_accept(r, 1);
	}
	for (int quiet = 0; quiet < 100; quiet++)
		for (int i = 0; i < 12; i++) {
			if (send(b[i], bytes, sizeof bytes, MSG_NOSIGNAL) > 0)
				quiet = 0;
			rig_pass(r);
		}
	ck_assert_uint_le(r->path.pipes.open - r->path.pipes.n_spare, 4);
	ck_assert_uint_ge(r->path.pipes.open - r->path.pipes.n_spare, 1);
	for (int i = 0; i < 12; i++) {
		close(c[i]);
		close(b[i]);
	}
	rig_end(&r, -1, -1);
}
END_TEST

/* ---- memory ---- */

/* A tenant with the smallest budget there is: what others of it hold makes it slower, not stuck. */
START_TEST(a_small_budget_makes_progress_beside_a_caller_who_holds_some)
{
	struct rig *r = rig_new("namespace t slot=1/1 memory=65536\n" ONE_HTTP, NULL);
	int a = rig_dial(r), c = rig_dial(r), b;
	static char body[60000];	/* too small for a pipe */
	char *got = malloc(sizeof body);
	size_t sent = 0, n = 0;

	memset(body, 'y', sizeof body);
	rig_say(r, a, "GET /half HTTP/1.1\r\nHost");	/* waits in a chunk */
	rig_until_quiet(r);
	ck_assert_uint_gt(r->path.memory.used, 0);
	rig_say(r, c, "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n");
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	for (int64_t began = clock_tick().ns; n < sizeof body;) {
		ssize_t k = sent < sizeof body ? send(c, body + sent, sizeof body - sent, MSG_NOSIGNAL)
					       : 0;

		sent += k > 0 ? (size_t)k : 0;
		rig_pass(r);
		k = recv(b, got + n, sizeof body - n, 0);
		n += k > 0 ? (size_t)k : 0;
		ck_assert_msg(clock_now().ns - began < 5 * NS_PER_S, "starved at %zu", n);
	}
	ck_assert_mem_eq(got, body, n);
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	free(got);
	close(a);
	rig_end(&r, c, b);
}
END_TEST

/* Reading ahead 64 KiB of each made 503s of what only had to wait. */
START_TEST(many_requests_at_once_wait_in_the_callers_socket)
{
	enum { CALLERS = 40, EACH = 1500 };
	struct rig *r = rig_new("namespace t slot=1/1 memory=400000\n" ONE_HTTP, NULL);
	size_t n = EACH * strlen(GET);
	char *many = malloc(n + 1);
	int c[CALLERS], b[CALLERS];

	for (int i = 0; i < EACH; i++)
		memcpy(many + (size_t)i * strlen(GET), GET, strlen(GET));
	for (int i = 0; i < CALLERS; i++) {
		c[i] = rig_dial(r);
		ck_assert_int_gt(send(c[i], many, n, MSG_NOSIGNAL), 30000);
	}
	for (int i = 0; i < CALLERS; i++) {
		b[i] = rig_accept(r, 1);
		rig_hear_head(r, b[i]);
	}
	rig_until_quiet(r);
	ck_assert_uint_eq(board_get(&r->path.mine->reasons[REASON_OVER_BUDGET]), 0);
	ck_assert_uint_le(r->path.memory.used, CALLERS * 2 * CHUNK_SMALL_BYTES);
	for (int k = 0; k < 400; k++) {
		rig_say(r, b[0], OK2);
		rig_hear(r, c[0], OK2);
		rig_hear(r, b[0], "GET /a HTTP/1.1\r\n");
		rig_hear_head(r, b[0]);
	}
	rig_close_back(r, 1);
	for (int i = 0; i < CALLERS; i++) {
		close(c[i]);
		close(b[i]);
	}
	free(many);
	rig_end(&r, -1, -1);
}
END_TEST

/* Heads, bodies and the next heads in one piece, cut anywhere: none is lost, moved or read twice. */
START_TEST(bodies_between_requests_that_came_at_once_arrive_whole)
{
	enum { EACH = 60 };
	struct rig *r = rig_new(ONE_HTTP, NULL);
	static char many[EACH * 400], body[300];
	size_t n = 0;
	int c = rig_dial(r), b;

	for (int i = 0; i < EACH; i++) {
		int len = (i * 37) % 290;

		memset(body, 'a' + i % 26, sizeof body);
		n += (size_t)sprintf(many + n, "POST /%d HTTP/1.1\r\nHost: x\r\nContent-Length: %d\r\n\r\n%.*s",
				     i, len, len, body);
	}
	rig_say_bytes(r, c, many, n);
	b = rig_accept(r, 1);
	for (int i = 0; i < EACH; i++) {
		int len = (i * 37) % 290;
		char line[40];

		sprintf(line, "POST /%d HTTP/1.1\r\n", i);
		rig_hear(r, b, line);
		rig_hear_head(r, b);
		memset(body, 'a' + i % 26, sizeof body);
		body[len] = 0;
		if (len)
			rig_hear(r, b, body);
		rig_say(r, b, OK2);
		rig_hear(r, c, OK2);
	}
	rig_end(&r, c, b);
}
END_TEST

/* ---- grades ---- */

/* Holds so many per cent of a tenant's budget, as if its bytes waited. */
static size_t hold(struct tenant *t, unsigned percent)
{
	size_t n = t->memory.limit / 100 * percent - t->memory.used + 100;

	ck_assert_int_eq(budget_charge(&t->memory, n), 0);
	return n;
}

static void ask(struct rig *r, int c, int *b)
{
	rig_say(r, c, GET);
	if (*b < 0)
		*b = rig_accept(r, 1);
	rig_hear_head(r, *b);
	rig_say(r, *b, OK2);
	rig_hear(r, c, OK2);
	rig_until_quiet(r);
}

START_TEST(a_lean_tenant_keeps_no_idle_connection)
{
	struct rig *r = rig_new("namespace t slot=1/1 memory=1000000\n" ONE_HTTP, NULL);
	struct tenant *t;
	int c = rig_dial(r), b = -1;
	size_t n;

	ask(r, c, &b);
	t = r->path.gate[0]->tenant;
	ck_assert_uint_eq(r->path.pool.idle, 1);
	path_gauges(&r->path);
	ck_assert_uint_eq(r->path.pool.idle, 1);
	n = hold(t, 72);
	path_gauges(&r->path);		/* the tick of a worker */
	ck_assert_uint_eq(r->path.pool.idle, 0);
	ck_assert_uint_eq(board_get(&t->board->c[TC_memory_grade_gauge]), GRADE_lean);
	ck_assert_uint_eq(board_get(&r->path.mine->c[WC_given_back]), 1);
	rig_hear_end(r, b);
	close(b);
	b = -1;
	ask(r, c, &b);			/* nor is a new one kept */
	rig_hear_end(r, b);
	ck_assert_uint_eq(r->path.pool.idle, 0);
	close(b);
	b = -1;
	budget_return(&t->memory, n);
	path_gauges(&r->path);
	ck_assert_uint_eq(board_get(&t->board->c[TC_memory_grade_gauge]), GRADE_calm);
	ck_assert_uint_eq(board_get(&r->path.mine->c[WC_memory_grade_changes]), 2);
	ask(r, c, &b);
	ck_assert_uint_eq(r->path.pool.idle, 1);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(a_slow_tenant_is_not_read_until_it_has_memory_again)
{
	struct rig *r = rig_new("namespace t slot=1/1 memory=1000000\n" ONE_HTTP, NULL);
	struct tenant *t;
	int c = rig_dial(r), b;
	size_t n;

	rig_say(r, c, "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	t = r->path.gate[0]->tenant;
	n = hold(t, 86);
	rig_say(r, c, "hello");
	for (int i = 0; i < 200; i++)
		rig_pass(r);
	{
		char byte;

		ck_assert_int_lt(recv(b, &byte, 1, 0), 0);
	}
	ck_assert_uint_eq(board_get(&t->board->c[TC_memory_grade_gauge]), GRADE_slow);
	ck_assert_uint_ge(board_get(&t->board->c[TC_reads_stopped]), 1);
	budget_return(&t->memory, n);
	rig_hear(r, b, "hello");
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(new_work_is_refused_at_the_last_grade_and_what_runs_goes_on)
{
	struct rig *r = rig_new("namespace t slot=1/1 memory=1000000\n" ONE_HTTP, NULL);
	struct tenant *t;
	int c = rig_dial(r), d = rig_dial(r), e, b;
	size_t n;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	t = r->path.gate[0]->tenant;
	n = hold(t, 96);
	rig_say(r, d, GET);		/* a caller who is there */
	rig_hear(r, d, "HTTP/1.1 503 Service Unavailable\r\n");
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, d), "x-nodeproxy-reason: OVER_BUDGET"));
	e = rig_dial(r);		/* and one who comes */
	rig_say(r, e, GET);
	rig_hear(r, e, "HTTP/1.1 503 Service Unavailable\r\n");
	ck_assert_uint_eq(board_get(&r->path.mine->c[WC_memory_refused]), 2);
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	budget_return(&t->memory, n);
	close(d);
	close(e);
	rig_end(&r, c, b);
}
END_TEST

static void two_tenants(struct knobs *k)
{
	k->worker_memory = 4 << 20;
	k->listener[1] = k->listener[0];
	strcpy(k->listener[1].name, "side");
	strcpy(k->listener[1].ns, "u");
	k->n_listeners = 2;
}

/* A second door, for the namespace u: where to dial. */
static uint16_t open_side(struct rig *r)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	socklen_t n = sizeof a;
	struct fd fd = { socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };

	ck_assert_int_eq(bind(fd.v, (struct sockaddr *)&a, sizeof a), 0);
	ck_assert_int_eq(listen(fd.v, 16), 0);
	ck_assert_int_eq(getsockname(fd.v, (struct sockaddr *)&a, &n), 0);
	ck_assert_int_eq(listeners_add(&r->listeners, &fd, 1, 0), 0);
	return ntohs(a.sin_port);
}

static int dial_at(struct rig *r, uint16_t port)
{
	uint16_t front = r->port;
	int c;

	r->port = port;
	c = rig_dial(r);
	r->port = front;
	return c;
}

/* The worker is full.  Weights 1 and 3: t holds less than u and is further over its share. */
START_TEST(a_full_worker_refuses_only_the_tenant_furthest_over_its_share)
{
	struct rig *r = rig_new("namespace t slot=1/1 weight=1\nnamespace u slot=2/1 weight=3\n"
				ONE_HTTP, two_tenants);
	uint16_t side = open_side(r);
	struct tenant *t = r->path.gate[0]->tenant, *u = r->path.gate[1]->tenant;
	size_t all = r->path.memory.limit / 100, t_has = all * 46, u_has = all * 50;
	int c = rig_dial(r), d = dial_at(r, side), b;

	rig_until_quiet(r);
	ck_assert_int_eq(budget_charge(&t->memory, t_has), 0);
	ck_assert_int_eq(budget_charge(&u->memory, u_has), 0);
	rig_say(r, c, GET);
	rig_hear(r, c, "HTTP/1.1 503 Service Unavailable\r\n");
	ck_assert_uint_eq(board_get(&r->path.mine->c[WC_memory_grade_gauge]), GRADE_refuse);
	rig_say(r, d, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, d, "hello");		/* below its share: it is read, too */
	rig_hear(r, b, "hello");
	rig_say(r, b, OK2);
	rig_hear(r, d, OK2);
	ck_assert_uint_eq(board_get(&u->board->c[TC_reads_stopped]), 0);
	ck_assert_uint_eq(board_get(&u->board->reasons[REASON_OVER_BUDGET]), 0);
	ck_assert_uint_eq(board_get(&t->board->reasons[REASON_OVER_BUDGET]), 1);
	budget_return(&t->memory, t_has);
	budget_return(&u->memory, u_has);
	close(d);
	rig_end(&r, c, b);
}
END_TEST

/* ---- slow and vanished callers ---- */

static void soon(struct knobs *k)
{
	k->half_closed_ms = 50;
}

START_TEST(a_half_closed_tunnel_has_a_timer_of_its_own)
{
	struct rig *r = rig_new(ONE_TCP, soon);
	int c = rig_dial(r), b = rig_accept(r, 1);

	rig_say(r, c, "hello");
	rig_hear(r, b, "hello");
	shutdown(c, SHUT_WR);
	rig_hear_end(r, b);
	/* bytes from the other side set it anew */
	rig_say(r, b, "yes?");
	rig_hear(r, c, "yes?");
	rig_log(r, "reason=FRONT_IDLE");	/* not after tcp_idle, an hour */
	rig_hear_cut(r, c);
	rig_hear_cut(r, b);
	rig_end(&r, c, b);
}
END_TEST

static void stalls_soon(struct knobs *k)
{
	k->stall_ms = 100;
	k->pipes = 4;
}

/* Fills a socket whose other end does not read, until nothing moves any more. */
static void pour(struct rig *r, int fd)
{
	static char bytes[1 << 16];

	for (int quiet = 0; quiet < 20;) {
		quiet = send(fd, bytes, sizeof bytes, MSG_NOSIGNAL) > 0 ? 0 : quiet + 1;
		rig_pass(r);
	}
}

START_TEST(a_caller_who_never_reads_is_let_go)
{
	struct rig *r = rig_new(ONE_HTTP, stalls_soon);
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, "HTTP/1.1 200 OK\r\nContent-Length: 100000000\r\n\r\n");
	pour(r, b);
	rig_log(r, "status=200 reason=FRONT_SLOW");
	rig_hear_cut(r, b);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(an_endpoint_that_never_reads_is_let_go_and_the_caller_told)
{
	struct rig *r = rig_new(ONE_HTTP, stalls_soon);
	int c = rig_dial(r), b;

	rig_say(r, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n");
	b = rig_accept(r, 1);
	pour(r, c);
	rig_log(r, "status=504 reason=BACK_STALLED");
	rig_hear(r, c, "HTTP/1.1 504 Gateway Timeout\r\n");
	rig_end(&r, c, b);
}
END_TEST

UNIT_TESTS("shortage",
	   what_is_counted_is_what_is_open,
	   callers_are_told_503_while_256_are_not_free_and_served_again_after,
	   a_listener_with_few_callers_is_served_when_others_have_taken_all,
	   a_caller_whose_protocol_is_open_is_told_when_he_said_http_and_cut_when_not,
	   an_idle_back_is_given_up_before_a_caller_is_refused,
	   backs_stop_before_the_last_descriptor,
	   with_all_pipes_held_by_a_stalled_sink_others_are_copied,
	   a_tenant_with_stalled_sinks_leaves_pipes_for_another,
	   a_small_budget_makes_progress_beside_a_caller_who_holds_some,
	   many_requests_at_once_wait_in_the_callers_socket,
	   bodies_between_requests_that_came_at_once_arrive_whole,
	   a_lean_tenant_keeps_no_idle_connection,
	   a_slow_tenant_is_not_read_until_it_has_memory_again,
	   new_work_is_refused_at_the_last_grade_and_what_runs_goes_on,
	   a_full_worker_refuses_only_the_tenant_furthest_over_its_share,
	   a_caller_who_never_reads_is_let_go,
	   an_endpoint_that_never_reads_is_let_go_and_the_caller_told,
	   a_half_closed_tunnel_has_a_timer_of_its_own)
