/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The data path from caller to endpoint, over real sockets in one process. */
#include <errno.h>
#include <sys/socket.h>

#include "tests/lib/path_rig.h"
#include "tests/unit/test.h"

#define ONE_HTTP "service t/s port=80/main/http\nendpoint t/s:main $1\n"
#define GET	 "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
#define GOT	 "GET /a HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 127.0.0.1\r\n" \
		 "X-Forwarded-Proto: http\r\n\r\n"
#define OK2	 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

START_TEST(a_request_is_carried_and_logged_once)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear(r, b, GOT);
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_log(r, "method=GET path=\"/a\" status=200 reason=DONE flag=- listener=front tenant=t "
		   "namespace=t service=t/s:80 route=- bytes_in=28 bytes_out=77");
	ck_assert_uint_eq(board_get(&r->path.mine->reasons[REASON_DONE]), 1);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(keep_alive_reuses_both_connections)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	for (int i = 0; i < 5; i++) {
		rig_hear(r, b, GOT);
		rig_say(r, b, OK2);
		rig_hear(r, c, OK2);
		if (i < 4)
			rig_say(r, c, GET);
	}
	ck_assert(rig_nobody_calls(r, 1));
	ck_assert_uint_eq(board_get(&r->path.mine->c[WC_pool_hits]), 4);
	ck_assert_uint_eq(r->path.memory.used, 0);	/* an idle conn holds no buffer */
	rig_end(&r, c, b);
}
END_TEST

START_TEST(pipelined_requests_are_answered_in_order)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, "GET /1 HTTP/1.1\r\nHost: x\r\n\r\nGET /2 HTTP/1.1\r\nHost: x\r\n\r\n"
		      "GET /3 HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
	b = rig_accept(r, 1);
	for (int i = 1; i <= 3; i++) {
		char line[32];

		snprintf(line, sizeof line, "GET /%d HTTP/1.1\r\n", i);
		rig_hear(r, b, line);
		rig_hear_head(r, b);
		ck_assert(rig_nobody_calls(r, 1));
		snprintf(line, sizeof line, "HTTP/1.1 20%d OK\r\n", i);
		rig_say(r, b, line);
		rig_say(r, b, "Content-Length: 0\r\n\r\n");
		rig_hear(r, c, line);
		rig_hear_head(r, c);
	}
	rig_hear_end(r, c);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(a_body_goes_up_whatever_its_framing)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe");
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_hear(r, b, "he");
	rig_say(r, c, "llo");
	rig_hear(r, b, "llo");
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_say(r, c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n");
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, b), "Transfer-Encoding: chunked\r\n"));
	rig_hear(r, b, "3\r\nabc\r\n");
	rig_say(r, c, "0\r\nX-T: 1\r\n\r\n");
	rig_hear(r, b, "0\r\nX-T: 1\r\n\r\n");
	rig_say(r, b, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n2\r\nhi\r\n0\r\n\r\n");
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "Transfer-Encoding: chunked\r\n"));
	rig_hear(r, c, "2\r\nhi\r\n0\r\n\r\n");
	rig_end(&r, c, b);
}
END_TEST

START_TEST(a_big_body_arrives_whole_both_ways)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	size_t n = 3u << 20;
	char *bytes = malloc(n), *got = malloc(n);
	int c = rig_dial(r), b;
	size_t said = 0, heard = 0;

	for (size_t i = 0; i < n; i++)
		bytes[i] = (char)(i * 31 + i / 4096);
	rig_say(r, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 3145728\r\n\r\n");
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	for (int back = 0; back < 2; back++) {
		int from = back ? b : c, to = back ? c : b;

		if (back) {
			rig_say(r, b, "HTTP/1.1 200 OK\r\nContent-Length: 3145728\r\n\r\n");
			rig_hear_head(r, c);
		}
		for (said = heard = 0; heard < n;) {
			ssize_t k = said < n ? send(from, bytes + said, n - said, MSG_NOSIGNAL) : 0;

			said += k > 0 ? (size_t)k : 0;
			rig_pass(r);
			/* Read slowly now and then, so that the proxy has to hold back. */
			k = heard % 7 == 3 && said < n ? -1 : recv(to, got + heard, min_of(n - heard, (size_t)100000), 0);
			heard += k > 0 ? (size_t)k : 0;
		}
		ck_assert(memcmp(bytes, got, n) == 0);
		memset(got, 0, n);
	}
	rig_log(r, "status=200 reason=DONE");
	ck_assert_uint_gt(board_get(&r->path.mine->c[WC_spliced_bytes]), 0);
	ck_assert_uint_eq(r->path.pool.idle, 1);	/* it can be used again */
	free(bytes);
	free(got);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(a_stopped_reader_stops_the_endpoint)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	char bytes[65536] = "";
	int c = rig_dial(r), b, stuck = 0;
	size_t said = 0;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\n\r\n20000000\r\n");
	while (stuck < 1000) {
		ssize_t k = send(b, bytes, sizeof bytes, MSG_NOSIGNAL);

		stuck = k > 0 ? 0 : stuck + 1;
		said += k > 0 ? (size_t)k : 0;
		rig_pass(r);
	}
	ck_assert_uint_lt(said, 64u << 20);
	ck_assert_uint_le(r->path.memory.used, 2 * 65536 + 4 * 4096);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(a_body_until_close_is_chunked_for_the_caller)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, "HTTP/1.0 200 OK\r\n\r\nabc");
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "Transfer-Encoding: chunked\r\n"));
	rig_hear(r, c, "3\r\nabc\r\n");
	close(b);
	rig_hear(r, c, "0\r\n\r\n");
	rig_say(r, c, GET);		/* and the conn lives on */
	b = rig_accept(r, 1);
	rig_hear(r, b, GOT);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(http10_callers_get_no_chunks_and_no_interim)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, "GET / HTTP/1.0\r\nHost: x\r\n\r\n");
	b = rig_accept(r, 1);
	rig_hear(r, b, "GET / HTTP/1.1\r\n");
	rig_hear_head(r, b);
	rig_say(r, b, "HTTP/1.1 103 Early Hints\r\n\r\nHTTP/1.1 200 OK\r\n"
		      "Transfer-Encoding: chunked\r\n\r\n3\r\nabc\r\n0\r\n\r\n");
	ck_assert_ptr_null(strstr(rig_hear_head(r, c), "ransfer-"));
	rig_hear(r, c, "abc");
	rig_hear_end(r, c);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(expect_continue_is_passed_through)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 2\r\nExpect: 100-continue\r\n\r\n");
	b = rig_accept(r, 1);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, b), "Expect: 100-continue\r\n"));
	rig_say(r, b, "HTTP/1.1 100 Continue\r\n\r\n");
	rig_hear(r, c, "HTTP/1.1 100 Continue\r\n\r\n");
	rig_say(r, c, "hi");
	rig_hear(r, b, "hi");
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(an_early_answer_ends_the_request)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\nabc");
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, "HTTP/1.1 413 Too Large\r\nContent-Length: 0\r\n\r\n");
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "Connection: close\r\n"));
	rig_hear_end(r, c);
	rig_log(r, "status=413 reason=DONE");
	rig_end(&r, c, b);
}
END_TEST

START_TEST(an_endpoint_that_answers_and_dies_mid_body_is_heard)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	char junk[100000] = "";
	int c = rig_dial(r), b;

	rig_say(r, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 100000000\r\n\r\n");
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, "HTTP/1.1 507 Full\r\nContent-Length: 0\r\n\r\n");
	shutdown(b, SHUT_WR);
	rig_say_bytes(r, c, junk, sizeof junk);
	rig_hear(r, c, "HTTP/1.1 507 Full\r\n");
	close(b);
	rig_hear_cut(r, c);
	rig_end(&r, c, -1);
}
END_TEST

START_TEST(an_upgrade_becomes_a_tunnel_with_half_closes)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, "GET /ws HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n\r\nearly");
	b = rig_accept(r, 1);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, b), "Upgrade: websocket\r\n"));
	rig_say(r, b, "HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\n"
		      "Upgrade: websocket\r\n\r\nfirst");
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "Upgrade: websocket\r\n"));
	rig_hear(r, c, "first");
	rig_hear(r, b, "early");
	rig_say(r, c, "ping");
	rig_hear(r, b, "ping");
	shutdown(c, SHUT_WR);
	rig_hear_end(r, b);
	rig_say(r, b, "still");
	rig_hear(r, c, "still");
	close(b);
	rig_hear_end(r, c);
	rig_log(r, "status=101 reason=DONE");
	rig_end(&r, c, -1);
}
END_TEST

START_TEST(a_stale_connection_is_replaced_for_a_safe_request)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r), b, b2;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear(r, b, GOT);
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_until_quiet(r);
	rig_say(r, c, GET);
	rig_hear(r, b, GOT);
	close(b);		/* after the request was sent: no byte of an answer */
	b2 = rig_accept(r, 1);
	rig_hear(r, b2, GOT);
	rig_say(r, b2, OK2);
	rig_hear(r, c, OK2);
	rig_log(r, "reason=DONE");
	rig_log(r, "reason=DONE");
	rig_end(&r, c, b2);
}
END_TEST

/* The view that its Service came from was let go of when the request was sent. */
START_TEST(a_stale_connection_is_replaced_when_its_view_is_gone)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r), b, b2;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear(r, b, GOT);
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_until_quiet(r);
	/* The Service lies in an overlay, and that goes with the next one. */
	rig_view(r, "endpoint t/s:main 127.0.0.1:1 notready\n");
	rig_say(r, c, GET);
	rig_hear(r, b, GOT);
	rig_view(r, "service t/another port=81/main/http\n");
	close(b);
	b2 = rig_accept(r, 1);
	rig_hear(r, b2, GOT);
	rig_say(r, b2, OK2);
	rig_hear(r, c, OK2);
	rig_end(&r, c, b2);
}
END_TEST

START_TEST(a_stale_connection_is_a_502_for_a_post)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear(r, b, GOT);
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_log(r, "reason=DONE");
	rig_say(r, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\n\r\n");
	rig_hear_head(r, b);
	close(b);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "x-nodeproxy-reason: BACK_STALE\r\n"));
	rig_log(r, "status=502 reason=BACK_STALE");
	ck_assert(rig_nobody_calls(r, 1));
	rig_end(&r, c, -1);
}
END_TEST

START_TEST(a_pooled_connection_that_closes_is_removed)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear(r, b, GOT);
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_until_quiet(r);
	ck_assert_uint_eq(r->path.pool.idle, 1);
	close(b);
	rig_until_quiet(r);
	ck_assert_uint_eq(r->path.pool.idle, 0);
	rig_end(&r, c, -1);
}
END_TEST

START_TEST(pooled_connections_that_end_are_closed_in_turns_of_their_tenant)
{
	enum { N = 20 };
	struct rig *r = rig_new(ONE_HTTP, NULL);
	const uint64_t *busy = &r->path.gate[0]->tenant->board->c[TC_busy_ns];
	uint64_t before;
	int c[N], b[N];

	for (int i = 0; i < N; i++) {
		c[i] = rig_dial(r);
		rig_say(r, c[i], GET);
		b[i] = rig_accept(r, 1);
		rig_hear(r, b[i], GOT);
	}
	for (int i = 0; i < N; i++) {
		rig_say(r, b[i], OK2);
		rig_hear(r, c[i], OK2);
	}
	rig_until_quiet(r);
	ck_assert_uint_eq(r->path.pool.idle, N);
	before = *busy;
	for (int i = 0; i < N; i++)
		close(b[i]);
	/* Not in the pool, nor closed, when their events were seen: nobody can take them now. */
	while (r->path.pool.idle)
		poll_collect(&r->path.poll, 0, rig_event, r);
	ck_assert(sched_is_queued(&r->path.closer));
	ck_assert_uint_eq(r->path.pool.backs.live, N);
	rig_until_quiet(r);
	ck_assert_uint_eq(r->path.pool.backs.live, 0);
	ck_assert_uint_gt(*busy, before);
	for (int i = 1; i < N; i++)
		close(c[i]);
	rig_end(&r, c[0], -1);
}
END_TEST

START_TEST(a_refused_connect_goes_to_another_endpoint)
{
	struct rig *r = rig_new("service t/s port=80/main/http\nendpoint t/s:main $1\n"
				"endpoint t/s:main $2\n", NULL);

	rig_close_back(r, 1);
	for (int i = 0; i < 4; i++) {
		int c = rig_dial(r), b;

		rig_say(r, c, "GET / HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n");
		b = rig_accept(r, 2);
		rig_hear_head(r, b);
		rig_say(r, b, "HTTP/1.1 200 OK\r\nContent-Length: 0\r\nConnection: close\r\n\r\n");
		rig_hear_head(r, c);
		rig_hear_end(r, c);
		close(c);
		close(b);
	}
	ck_assert_uint_gt(board_get(&r->path.mine->c[WC_retries]), 0);
	rig_end(&r, -1, -1);
}
END_TEST

START_TEST(when_all_refuse_the_caller_is_told)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r);

	rig_close_back(r, 1);
	rig_say(r, c, GET);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "x-nodeproxy-reason: BACK_REFUSED\r\n"));
	rig_log(r, "status=503 reason=BACK_REFUSED flag=UF");
	rig_end(&r, c, -1);
}
END_TEST

START_TEST(local_answers_name_their_reason)
{
	static const struct { const char *view, *request, *reason; } t[] = {
		{ NULL, GET, "NO_VIEW" },
		{ "namespace t\n", GET, "NO_LISTENER_SERVICE" },
		{ "service t/s port=80/main/http\n", GET, "NO_ENDPOINT" },
		{ ONE_HTTP "route t/r parent=t/s\nrule prefix=/b backend=t/s:80\n", GET, "NO_ROUTE" },
		{ ONE_HTTP "route t/r parent=t/s\nrule prefix=/a backend=t/none:80\n", GET, "NO_BACKEND" },
		{ ONE_HTTP, "GET / HTTP/1.1\r\n\r\n", "BAD_REQUEST" },
		{ ONE_HTTP, "GET / HTTP/3.0\r\nHost: x\r\n\r\n", "BAD_VERSION" },
		{ ONE_HTTP, "CONNECT x:1 HTTP/1.1\r\nHost: x:1\r\n\r\n", "BAD_METHOD" },
	};

	for (size_t i = 0; i < countof(t); i++) {
		struct rig *r = rig_new(t[i].view, NULL);
		int c = rig_dial(r);
		char want[64];

		rig_say(r, c, t[i].request);
		snprintf(want, sizeof want, "x-nodeproxy-reason: %s\r\n", t[i].reason);
		ck_assert_msg(strstr(rig_hear_head(r, c), want), "no %s", want);
		snprintf(want, sizeof want, "reason=%s", t[i].reason);
		rig_log(r, want);
		rig_end(&r, c, -1);
	}
}
END_TEST

START_TEST(routes_choose_services_by_path_and_weight)
{
	struct rig *r = rig_new("service t/s port=80/main/http\nendpoint t/s:main $1\n"
				"service t/u port=80/main/http\nendpoint t/u:main $2\n"
				"route t/r parent=t/s\nrule prefix=/u backend=t/u:80\n"
				"rule prefix=/ backend=t/s:80*1 backend=t/u:80*0\n", NULL);
	static const struct { const char *path; int back; } t[] = {
		{ "/u", 2 }, { "/u/x", 2 }, { "/ux", 1 }, { "/", 1 }, { "/u?q", 2 },
	};

	for (size_t i = 0; i < countof(t); i++) {
		int c = rig_dial(r), b;
		char get[128];

		snprintf(get, sizeof get, "GET %s HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n",
			 t[i].path);
		rig_say(r, c, get);
		b = rig_accept(r, t[i].back);
		rig_hear_head(r, b);
		close(b);
		rig_hear_head(r, c);
		rig_log(r, "service=t/s:80 route=t/r reason=BACK_CUT");
		close(c);
	}
	rig_end(&r, -1, -1);
}
END_TEST

START_TEST(endpoints_take_turns)
{
	struct rig *r = rig_new("service t/s port=80/main/tcp\nendpoint t/s:main $1\n"
				"endpoint t/s:main $2\nendpoint t/s:main $3\n", NULL);
	int c[9], b[9];

	for (int i = 0; i < 9; i++)
		c[i] = rig_dial(r);
	for (int i = 0; i < 9; i++)
		b[i] = rig_accept(r, 1 + i % 3);
	for (int i = 0; i < 9; i++) {
		close(c[i]);
		close(b[i]);
	}
	rig_end(&r, -1, -1);
}
END_TEST

START_TEST(opaque_flows_carry_both_ways_and_half_close)
{
	struct rig *r = rig_new("service t/s port=80/main/tcp\nendpoint t/s:main $1\n", NULL);
	int c = rig_dial(r), b = rig_accept(r, 1);

	rig_say(r, b, "220 ready\r\n");		/* the server speaks first */
	rig_hear(r, c, "220 ready\r\n");
	rig_say(r, c, "QUIT\r\n");
	shutdown(c, SHUT_WR);
	rig_hear(r, b, "QUIT\r\n");
	rig_hear_end(r, b);
	rig_say(r, b, "221 bye\r\n");
	rig_hear(r, c, "221 bye\r\n");
	close(b);
	rig_hear_end(r, c);
	rig_log(r, "status=0 reason=DONE method=- bytes_in=6 bytes_out=20");
	rig_end(&r, c, -1);
}
END_TEST

static void quick_detect(struct knobs *k)
{
	k->detect_ms = 1;
}

START_TEST(an_open_port_detects_http_and_anything_else)
{
	struct rig *r = rig_new("service t/s port=80/main/auto\nendpoint t/s:main $1\n", NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, "GE");
	rig_until_quiet(r);
	rig_say(r, c, "T /a HTTP/1.1\r\nHost: x\r\n\r\n");
	b = rig_accept(r, 1);
	rig_hear(r, b, GOT);
	close(c);
	close(b);
	c = rig_dial(r);
	rig_say(r, c, "\x16\x03\x01\x02");
	b = rig_accept(r, 1);
	rig_hear(r, b, "\x16\x03\x01\x02");
	rig_end(&r, c, b);
}
END_TEST

START_TEST(a_silent_caller_of_an_open_port_reaches_a_server_that_speaks_first)
{
	struct rig *r = rig_new("service t/s port=80/main/auto\nendpoint t/s:main $1\n",
				quick_detect);
	int c = rig_dial(r), b = rig_accept(r, 1);

	rig_say(r, b, "hello");
	rig_hear(r, c, "hello");
	rig_end(&r, c, b);
}
END_TEST

/* Nor is one passed through unread who calls a port of HTTP/2 and takes his time. */
START_TEST(a_silent_caller_of_a_port_of_http2_is_waited_for)
{
	struct rig *r = rig_new("service t/s port=80/main/h2\n", quick_detect);
	struct mono until;
	int c = rig_dial(r);

	rig_pass(r);
	for (until = mono_after_ms(clock_now(), 200); clock_now().ns < until.ns; clock_tick())
		rig_pass(r);
	rig_say(r, c, GET);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "x-nodeproxy-reason: NO_ENDPOINT\r\n"));
	rig_log(r, "method=GET");
	rig_end(&r, c, -1);
}
END_TEST

static void impatient(struct knobs *k)
{
	k->head_ms = k->response_ms = k->stall_ms = k->idle_ms = 1;
}

START_TEST(time_runs_out_with_a_reason)
{
	struct rig *r = rig_new(ONE_HTTP, impatient);
	int c = rig_dial(r), b;

	rig_say(r, c, "GET / HTTP/1.1\r\nHo");
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "HTTP/1.1 408 "));
	rig_log(r, "status=408 reason=FRONT_HEAD_TIMEOUT");
	close(c);
	c = rig_dial(r);
	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "HTTP/1.1 504 "));
	rig_log(r, "status=504 reason=BACK_TIMEOUT flag=UT");
	rig_hear_cut(r, c);	/* idle */
	close(b);
	close(c);
	c = rig_dial(r);
	rig_say(r, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 9\r\n\r\nabc");
	b = rig_accept(r, 1);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "HTTP/1.1 408 "));
	rig_log(r, "status=408 reason=FRONT_BODY_TIMEOUT");
	rig_end(&r, c, b);
}
END_TEST

START_TEST(a_bad_response_is_a_502_and_its_connection_is_not_used_again)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, "HTTP/1.1 200 OK\r\nContent-Length: 1\r\nContent-Length: 2\r\n\r\nab");
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "HTTP/1.1 502 "));
	rig_hear_cut(r, b);
	ck_assert_uint_eq(r->path.pool.idle, 0);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(bytes_after_a_response_spoil_the_connection)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, OK2 "HTTP/1.1 200 smuggled\r\n\r\n");
	rig_hear(r, c, OK2);
	rig_until_quiet(r);
	ck_assert_uint_eq(r->path.pool.idle, 0);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(a_caller_that_goes_away_cuts_the_request)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	struct linger now = { .l_onoff = 1 };
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close(c);
	rig_hear_cut(r, b);
	rig_log(r, "status=0 reason=FRONT_CUT flag=DC");
	rig_end(&r, -1, b);
}
END_TEST

START_TEST(a_half_closed_caller_still_gets_its_answer)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	shutdown(c, SHUT_WR);
	b = rig_accept(r, 1);
	rig_hear(r, b, GOT);
	rig_until_quiet(r);
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_hear_end(r, c);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(a_cut_response_is_seen_as_cut)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, "HTTP/1.1 200 OK\r\nContent-Length: 100\r\n\r\nhalf");
	rig_hear_head(r, c);
	rig_hear(r, c, "half");
	close(b);
	rig_hear_cut(r, c);
	rig_log(r, "status=200 reason=BACK_CUT");
	close(c);
	rig_must_be_empty(r);	/* counted once, not again with the conn it ended */
	ck_assert_uint_eq(board_get(&r->path.mine->reasons[REASON_BACK_CUT]), 1);
	rig_end(&r, -1, -1);
}
END_TEST

START_TEST(forwarded_for_is_appended)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4\r\nA: b\r\n"
		      "x-forwarded-for: 5.6.7.8\r\nX-Forwarded-Proto: https\r\n\r\n");
	b = rig_accept(r, 1);
	rig_hear(r, b, "GET / HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: 1.2.3.4, 5.6.7.8, 127.0.0.1\r\n"
		       "A: b\r\nX-Forwarded-Proto: https\r\n\r\n");
	rig_end(&r, c, b);
}
END_TEST

START_TEST(drain_lets_requests_finish_and_cuts_the_rest_at_the_deadline)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r), idle = rig_dial(r), b;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	path_drain(&r->path);
	rig_say(r, b, OK2);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "Connection: close\r\n"));
	rig_hear(r, c, "hi");
	rig_hear_end(r, c);
	close(c);
	rig_until_quiet(r);
	ck_assert_uint_eq(path_live(&r->path), 1);
	path_drain_deadline(&r->path);
	rig_hear_cut(r, idle);
	rig_end(&r, idle, b);
}
END_TEST

static void few(struct knobs *k)
{
	k->tenant_conns = 2;
}

START_TEST(a_tenant_over_its_connections_is_refused)
{
	struct rig *r = rig_new(ONE_HTTP, few);
	int a = rig_dial(r), b = rig_dial(r), c;

	rig_until_quiet(r);
	c = rig_dial(r);
	rig_hear_cut(r, c);
	ck_assert_uint_eq(path_live(&r->path), 2);
	ck_assert_uint_eq(board_get(&r->path.mine->reasons[REASON_OVER_CONNECTIONS]), 1);
	close(a);
	close(b);
	rig_end(&r, c, -1);
}
END_TEST

START_TEST(a_view_that_changes_does_not_disturb_what_runs)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear(r, b, GOT);
	rig_view(r, "remove service t/s\n");
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_say(r, c, GET);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "NO_LISTENER_SERVICE"));
	rig_end(&r, c, b);
}
END_TEST

START_TEST(slow_heads_and_responses_come_byte_by_byte)
{
	struct rig *r = rig_new(ONE_HTTP, NULL);
	static const char get[] = GET, ok[] = OK2;
	int c = rig_dial(r), b;

	for (size_t i = 0; i < sizeof get - 1; i++) {
		rig_say_bytes(r, c, get + i, 1);
		rig_until_quiet(r);
	}
	b = rig_accept(r, 1);
	rig_hear(r, b, GOT);
	for (size_t i = 0; i < sizeof ok - 1; i++) {
		rig_say_bytes(r, b, ok + i, 1);
		rig_until_quiet(r);
	}
	rig_hear(r, c, OK2);
	rig_end(&r, c, b);
}
END_TEST

UNIT_TESTS("relay", a_request_is_carried_and_logged_once, keep_alive_reuses_both_connections,
	   pipelined_requests_are_answered_in_order, a_body_goes_up_whatever_its_framing,
	   a_big_body_arrives_whole_both_ways, a_stopped_reader_stops_the_endpoint,
	   a_body_until_close_is_chunked_for_the_caller, http10_callers_get_no_chunks_and_no_interim,
	   expect_continue_is_passed_through, an_early_answer_ends_the_request,
	   an_endpoint_that_answers_and_dies_mid_body_is_heard,
	   an_upgrade_becomes_a_tunnel_with_half_closes,
	   a_stale_connection_is_replaced_for_a_safe_request,
	   a_stale_connection_is_replaced_when_its_view_is_gone, a_stale_connection_is_a_502_for_a_post,
	   a_pooled_connection_that_closes_is_removed,
	   pooled_connections_that_end_are_closed_in_turns_of_their_tenant, a_refused_connect_goes_to_another_endpoint,
	   when_all_refuse_the_caller_is_told, local_answers_name_their_reason,
	   routes_choose_services_by_path_and_weight, endpoints_take_turns,
	   opaque_flows_carry_both_ways_and_half_close, an_open_port_detects_http_and_anything_else,
	   a_silent_caller_of_an_open_port_reaches_a_server_that_speaks_first,
	   a_silent_caller_of_a_port_of_http2_is_waited_for,
	   time_runs_out_with_a_reason,
	   a_bad_response_is_a_502_and_its_connection_is_not_used_again,
	   bytes_after_a_response_spoil_the_connection, a_caller_that_goes_away_cuts_the_request,
	   a_half_closed_caller_still_gets_its_answer, a_cut_response_is_seen_as_cut,
	   forwarded_for_is_appended, drain_lets_requests_finish_and_cuts_the_rest_at_the_deadline,
	   a_tenant_over_its_connections_is_refused, a_view_that_changes_does_not_disturb_what_runs,
	   slow_heads_and_responses_come_byte_by_byte)
