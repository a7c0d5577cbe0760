/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Whether an exchange may go on now: rate limits, waiting for a place within limits,
 * faults on purpose. */
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/h2_caller.h"
#include "tests/unit/test.h"
#include "workers/path/exchange.h"

#define ONE  "service t/s port=80/main/http slot=3/1\nendpoint t/s:main $1\n"
#define GET  "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
#define OK2  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define HOUR "/3600000/"	/* so that nothing comes again while a test runs */

static uint64_t counted(struct rig *r, enum service_counter c)
{
	return board_get(&board_service(r->board, 0, 3, 1)->c[c]);
}

/* One request that an endpoint answers; *b: its side, -1: it is to be accepted. */
static void served(struct rig *r, int c, int *b)
{
	rig_say(r, c, GET);
	if (*b < 0)
		*b = rig_accept(r, 1);
	rig_hear_head(r, *b);
	rig_say(r, *b, OK2);
	rig_hear(r, c, OK2);
	rig_log(r, "status=200 reason=DONE");
}

static void limited(struct rig *r, int c)
{
	char body[256];
	const char *head;

	rig_say(r, c, GET);
	head = rig_hear_head(r, c);
	ck_assert_msg(strstr(head, "HTTP/1.1 429 Too Many Requests\r\n") &&
			      strstr(head, "x-nodeproxy-reason: RATE_LIMITED\r\n"), "%s", head);
	ck_assert_msg(strstr(head, "Retry-After: 1800\r\n"), "%s", head);
	ck_assert_ptr_null(strstr(head, "Connection: close"));
	rig_log(r, "status=429 reason=RATE_LIMITED flag=RL service=t/s:80");
	ck_assert_int_gt(recv(c, body, sizeof body, 0), 0);
}

START_TEST(requests_over_a_rate_are_429_and_the_connection_lives)
{
	static const struct {
		const char *rate;
		enum service_counter counter;
	} t[] = {
		{ "rate t/p target=s identity=2" HOUR "3 total=100" HOUR "100\n", SC_rate_limited_identity },
		{ "rate t/p target=s total=2" HOUR "3\n", SC_rate_limited_total },
		{ "rate t/p target=s key=Tenant identity=2" HOUR "3\n", SC_rate_limited_identity },
	};

	for (size_t i = 0; i < countof(t); i++) {
		struct rig *r = rig_new(ONE, NULL);
		int c = rig_dial(r), b = -1;

		rig_view(r, t[i].rate);
		for (int k = 0; k < 3; k++)
			served(r, c, &b);
		for (int k = 0; k < 2; k++)
			limited(r, c);
		ck_assert_uint_eq(counted(r, t[i].counter), 2);
		ck_assert_uint_eq(counted(r, SC_rate_limited_identity) + counted(r, SC_rate_limited_total), 2);
		rig_view(r, "remove rate t/p\n");
		served(r, c, &b);
		close(c);
		rig_end(&r, -1, b);
	}
}
END_TEST

START_TEST(a_connection_without_http_counts_as_one)
{
	struct rig *r = rig_new("service t/s port=80/main/tcp slot=3/1\nendpoint t/s:main $1\n"
				"rate t/p target=s total=1" HOUR "1\n", NULL);
	int c = rig_dial(r), d, b;

	rig_say(r, c, "x");
	b = rig_accept(r, 1);
	rig_hear(r, b, "x");
	d = rig_dial(r);
	rig_hear_cut(r, d);
	rig_log(r, "reason=RATE_LIMITED flag=RL");
	close(d);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(a_policy_of_the_service_that_serves_counts)
{
	struct rig *r = rig_new(ONE "service t/v port=80/main/http\nendpoint t/v:main $2\n"
				"route t/r parent=t/s:80\nrule prefix=/a backend=t/v:80\n"
				"rate t/p target=s total=1" HOUR "1\n", NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	b = rig_accept(r, 2);
	for (int i = 0; i < 3; i++) {
		if (i)
			rig_say(r, c, GET);
		rig_hear_head(r, b);
		rig_say(r, b, OK2);
		rig_hear(r, c, OK2);
		rig_log(r, "status=200");
	}
	rig_view(r, "rate t/q target=v total=2" HOUR "1\n");
	rig_say(r, c, GET);
	rig_hear_head(r, b);
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_log(r, "status=200");
	limited(r, c);
	close(c);
	rig_end(&r, -1, b);
}
END_TEST

START_TEST(grpc_is_told_that_a_resource_is_exhausted)
{
	struct rig *r = rig_new(ONE "rate t/p target=s total=2" HOUR "1\n", NULL);
	struct h2_caller *c;
	struct h2_stream *st;
	int h1 = rig_dial(r), b = -1;

	served(r, h1, &b);
	c = h2_dial(r);
	st = h2_ask(c, "POST", "/a.B/C", "content-type: application/grpc\nte: trailers\n", true);
	h2_move(c);
	h2_hear(c, st, 200, "");
	rig_log(r, "status=429 grpc_status=8 reason=RATE_LIMITED");
	st = h2_get(c, "/");
	h2_move(c);
	h2_hear(c, st, 429, "more requests than the rate limit of the Service port allows\n");
	h2_hang_up(&c);
	close(h1);
	rig_end(&r, -1, b);
}
END_TEST

/* ---- waiting for a place within the limits ---- */

/* A caller whose request waits: nothing comes back, nobody is dialled. */
static int waiting(struct rig *r, uint32_t n)
{
	int c = rig_dial(r);

	rig_say(r, c, GET);
	rig_until_quiet(r);
	ck_assert_uint_eq(r->path.pendings.n, n);
	return c;
}

static void refused(struct rig *r, int c, const char *reason)
{
	const char *head = rig_hear_head(r, c);
	char words[128];

	ck_assert_msg(strstr(head, "HTTP/1.1 503 ") && strstr(head, reason), "%s", head);
	snprintf(words, sizeof words, "status=503 reason=%s flag=UO", reason);
	rig_log(r, words);
	close(c);
}

START_TEST(who_is_over_a_limit_waits_until_a_place_is_free)
{
	static const struct {
		const char *limits;
		bool same;		/* the connection of the one before */
	} t[] = { { "requests=1", true }, { "connections=1", true }, { "connections=1 requests=1", true } };

	for (size_t i = 0; i < countof(t); i++) {
		struct rig *r = rig_new(ONE, NULL);
		char policy[128];
		int c[3], b;

		snprintf(policy, sizeof policy, "policy t/p target=s %s pending=5 pending_ms=60000\n",
			 t[i].limits);
		rig_view(r, policy);
		c[0] = rig_dial(r);
		rig_say(r, c[0], GET);
		b = rig_accept(r, 1);
		rig_hear_head(r, b);
		c[1] = waiting(r, 1);
		c[2] = waiting(r, 2);
		ck_assert(rig_nobody_calls(r, 1));
		for (int k = 0; k < 3; k++) {
			if (k)
				rig_hear_head(r, b);
			rig_say(r, b, OK2);
			rig_hear(r, c[k], OK2);
			rig_log(r, "status=200 reason=DONE");
		}
		ck_assert_uint_eq(r->path.pendings.n, 0);
		ck_assert_uint_eq(counted(r, SC_pending), 2);
		ck_assert_uint_eq(counted(r, SC_limited_requests) + counted(r, SC_limited_connections), 0);
		for (int k = 0; k < 3; k++)
			close(c[k]);
		rig_end(&r, -1, b);
	}
}
END_TEST

START_TEST(who_waits_too_long_or_finds_the_line_full_is_refused)
{
	struct rig *r = rig_new(ONE "policy t/p target=s requests=1 pending=2 pending_ms=30\n", NULL);
	struct linger reset = { .l_onoff = 1 };
	int c = rig_dial(r), d, e, f, b;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	d = waiting(r, 1);
	refused(r, d, "OVER_SERVICE_REQUESTS");
	rig_view(r, "policy t/p target=s requests=1 pending=2 pending_ms=60000\n");
	d = waiting(r, 1);
	e = waiting(r, 2);
	f = rig_dial(r);
	rig_say(r, f, GET);
	refused(r, f, "OVER_SERVICE_REQUESTS");
	ck_assert_uint_eq(r->path.pendings.n, 2);
	ck_assert_uint_eq(counted(r, SC_limited_requests), 2);
	/* One that is gone leaves the line. */
	ck_assert_int_eq(setsockopt(d, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
	close(d);
	rig_log(r, "reason=FRONT_CUT");
	ck_assert_uint_eq(r->path.pendings.n, 1);
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_hear_head(r, b);
	rig_say(r, b, OK2);
	rig_hear(r, e, OK2);
	ck_assert_uint_eq(r->path.pendings.n, 0);
	ck_assert_uint_eq(r->path.pendings.lines.live | r->path.pendings.sources.live, 0);
	close(c);
	close(e);
	rig_end(&r, -1, b);
}
END_TEST

START_TEST(a_place_that_another_worker_gave_back_is_found)
{
	struct rig *r = rig_new(ONE "policy t/p target=s requests=1 pending=2 pending_ms=60000\n", NULL);
	int c, b;

	/* Held by somebody else, in the ledger of this worker for want of another. */
	ck_assert(board_limit_take(r->board, 0, BOARD_CLAIMS - 1, 80, 9, LIMIT_REQUESTS, 1));
	c = waiting(r, 1);
	board_limit_give(r->board, 0, BOARD_CLAIMS - 1, LIMIT_REQUESTS);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(the_service_may_go_while_somebody_waits)
{
	struct rig *r = rig_new(ONE "policy t/p target=s requests=1 pending=2 pending_ms=60000\n", NULL);
	int c;

	ck_assert(board_limit_take(r->board, 0, BOARD_CLAIMS - 1, 80, 9, LIMIT_REQUESTS, 1));
	c = waiting(r, 1);
	rig_view(r, "remove service t/s\n");
	board_limit_give(r->board, 0, BOARD_CLAIMS - 1, LIMIT_REQUESTS);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "NO_ENDPOINT"));
	ck_assert_uint_eq(r->path.pendings.n, 0);
	rig_end(&r, c, -1);
}
END_TEST

/* ---- faults on purpose ---- */

START_TEST(a_failure_on_purpose_has_the_status_of_the_policy)
{
	struct rig *r = rig_new(ONE "policy t/p target=s abort=418/9/100\n", NULL);
	int c = rig_dial(r), b = -1;
	struct h2_stream *st;
	struct h2_caller *h;
	const char *head;
	char body[256];

	for (int i = 0; i < 2; i++) {
		rig_say(r, c, GET);
		head = rig_hear_head(r, c);
		ck_assert_msg(strstr(head, "HTTP/1.1 418 ") && strstr(head, "FAULT_INJECTED"), "%s", head);
		rig_log(r, "status=418 reason=FAULT_INJECTED flag=FI");
		ck_assert_int_gt(recv(c, body, sizeof body, 0), 0);
	}
	h = h2_dial(r);
	st = h2_ask(h, "POST", "/a.B/C", "content-type: application/grpc\nte: trailers\n", true);
	h2_move(h);
	h2_hear(h, st, 200, "");
	rig_log(r, "status=418 grpc_status=9 reason=FAULT_INJECTED flag=FI");
	h2_hang_up(&h);
	ck_assert_uint_eq(counted(r, SC_faults_aborted), 3);
	rig_view(r, "policy t/p target=s abort=418/9/0\n");
	for (int i = 0; i < 10; i++)
		served(r, c, &b);
	ck_assert_uint_eq(counted(r, SC_faults_aborted), 3);
	close(c);
	rig_end(&r, -1, b);
}
END_TEST

START_TEST(a_delay_on_purpose_holds_the_request_back)
{
	struct rig *r = rig_new(ONE "policy t/p target=s delay=30/100\n", NULL);
	struct linger reset = { .l_onoff = 1 };
	int c = rig_dial(r), d, b = -1;
	int64_t began = clock_tick().ns;

	served(r, c, &b);
	ck_assert_int_ge(clock_tick().ns - began, 30 * NS_PER_MS);
	served(r, c, &b);
	ck_assert_ptr_nonnull(strstr(r->log, "flag=DI"));
	ck_assert_uint_eq(counted(r, SC_faults_delayed), 2);
	/* Both; and who is gone meanwhile. */
	rig_view(r, "policy t/p target=s delay=1/100 abort=500/0/100\n");
	rig_say(r, c, GET);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "HTTP/1.1 500 "));
	rig_log(r, "status=500 reason=FAULT_INJECTED flag=DI,FI");
	rig_view(r, "policy t/p target=s delay=60000/100\n");
	d = rig_dial(r);
	rig_say(r, d, GET);
	rig_until_quiet(r);
	ck_assert_int_eq(setsockopt(d, SOL_SOCKET, SO_LINGER, &reset, sizeof reset), 0);
	close(d);
	rig_log(r, "reason=FRONT_CUT");
	close(c);
	rig_end(&r, -1, b);
}
END_TEST

START_TEST(a_failure_on_purpose_is_no_attempt_and_is_not_followed_by_one)
{
	struct rig *r = rig_new(ONE "policy t/p target=s abort=503/0/100 on=5xx,retriable-status-codes codes=503 retries=3 "
				"backoff=1/1\n", NULL);
	int c = rig_dial(r);

	rig_say(r, c, GET);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "HTTP/1.1 503 "));
	rig_log(r, "status=503 reason=FAULT_INJECTED flag=FI");
	ck_assert(rig_nobody_calls(r, 1));
	ck_assert_uint_eq(counted(r, SC_faults_aborted), 1);
	ck_assert_uint_eq(counted(r, SC_retries) + counted(r, SC_retries_refused), 0);
	close(c);
	rig_end(&r, -1, -1);
}
END_TEST

START_TEST(a_delay_on_purpose_ends_with_the_time_of_the_request)
{
	struct rig *r = rig_new(ONE "policy t/p target=s delay=60000/100\nroute t/r parent=t/s\n"
				"rule backend=t/s:80 request=30\n", NULL);
	int c = rig_dial(r);

	rig_say(r, c, GET);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "HTTP/1.1 504 "));
	rig_log(r, "status=504 reason=REQUEST_TIMEOUT flag=DI,UT");
	close(c);
	rig_end(&r, -1, -1);
}
END_TEST

UNIT_TESTS("admit", requests_over_a_rate_are_429_and_the_connection_lives,
	   a_connection_without_http_counts_as_one, a_policy_of_the_service_that_serves_counts,
	   grpc_is_told_that_a_resource_is_exhausted, who_is_over_a_limit_waits_until_a_place_is_free,
	   who_waits_too_long_or_finds_the_line_full_is_refused, a_place_that_another_worker_gave_back_is_found,
	   the_service_may_go_while_somebody_waits, a_failure_on_purpose_has_the_status_of_the_policy,
	   a_delay_on_purpose_holds_the_request_back,
	   a_failure_on_purpose_is_no_attempt_and_is_not_followed_by_one,
	   a_delay_on_purpose_ends_with_the_time_of_the_request)
