/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Attempts: what a rule or policy has sent again, with its body, and how long each may take; to
 * endpoints of HTTP/1. */
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/path_rig.h"
#include "tests/unit/test.h"

#define SERVICE "service t/s port=80/main/http\n"
#define ONE	SERVICE "endpoint t/s:main $1\n"
#define TWO	ONE "endpoint t/s:main $2\n"
#define GET	"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
#define OK	"HTTP/1.1 200 OK\r\nContent-Length: 0\r\n\r\n"
#define FAIL(s) "HTTP/1.1 " s " Sorry\r\nContent-Length: 4\r\n\r\nsorr"

/* No test waits for a backoff it is not about. */
#define AT_ONCE " backoff=1/1\n"

static uint64_t counted(const struct rig *r, enum service_counter c)
{
	struct vservice s;
	struct slot_gen slot;

	ck_assert(view_service_by_name(r->path.view, SLICE("t"), SLICE("s"), &s));
	slot = vservice_slot(&s);
	return board_get(&board_service(r->board, 0, slot.slot, slot.gen)->c[c]);
}

/* The next request is at one of them: its connection. */
static int anyone(struct rig *r, int backs)
{
	int64_t began = clock_tick().ns;

	while (clock_tick().ns - began < 10 * NS_PER_S) {
		for (int b = 0; b < backs; b++) {
			int fd = accept4(r->back_fd[b], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);

			if (fd >= 0)
				return fd;
		}
		rig_pass(r);
	}
	ck_abort_msg("nobody was called");
}

START_TEST(a_status_is_tried_elsewhere_and_nothing_of_it_is_given)
{
	struct rig *r = rig_new(TWO "policy t/p target=s on=5xx" AT_ONCE, NULL);
	int c = rig_dial(r), b, d;

	rig_say(r, c, GET);
	b = anyone(r, 2);
	rig_hear_head(r, b);
	rig_say(r, b, FAIL("503"));
	d = anyone(r, 2);
	rig_hear_head(r, d);
	rig_say(r, d, OK);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "200 OK"));
	rig_log(r, "status=200 reason=DONE flag=- attempts=2");
	ck_assert_uint_eq(counted(r, SC_retries), 1);
	ck_assert_uint_eq(counted(r, SC_retries_status), 1);
	/* The answer that was not given had come whole: its connection is kept. */
	ck_assert_uint_eq(r->path.pool.idle, 2);
	close(b);
	rig_end(&r, c, d);
}
END_TEST

START_TEST(the_last_answer_is_given_and_the_reason_says_why)
{
	struct rig *r = rig_new(ONE "policy t/p target=s on=gateway-error retries=2" AT_ONCE, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
	b = rig_accept(r, 1);
	for (int i = 0; i < 3; i++) {	/* the only one there is gets all of them */
		rig_hear_head(r, b);
		rig_hear(r, b, "abc");
		rig_say(r, b, FAIL("504"));
	}
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "504 Sorry"));
	rig_hear(r, c, "sorr");
	rig_log(r, "status=504 reason=RETRIES_SPENT flag=URX attempts=3");
	rig_end(&r, c, b);
}
END_TEST

START_TEST(what_is_not_named_is_given)
{
	static const struct {
		const char *on, *status;
	} t[] = {
		{ "gateway-error", "500" }, { "connect-failure,reset", "503" },
		{ "retriable-status-codes codes=429", "503" }, { "5xx", "404" }, { "unavailable", "503" },
	};

	for (size_t i = 0; i < countof(t); i++) {
		char text[300];
		struct rig *r;
		int c, b;

		snprintf(text, sizeof text, TWO "policy t/p target=s on=%s" AT_ONCE, t[i].on);
		r = rig_new(text, NULL);
		c = rig_dial(r);
		rig_say(r, c, GET);
		b = anyone(r, 2);
		rig_hear_head(r, b);
		snprintf(text, sizeof text, "HTTP/1.1 %s X\r\nContent-Length: 0\r\n\r\n", t[i].status);
		rig_say(r, b, text);
		ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), t[i].status));
		rig_log(r, "reason=DONE");
		rig_end(&r, c, b);
	}
}
END_TEST

START_TEST(a_rule_counts_instead_of_the_policy)
{
	struct rig *r = rig_new(TWO "policy t/p target=s on=5xx retries=5" AT_ONCE
				"route t/r parent=t/s\n"
				"rule prefix=/a backend=t/s:80 retries=1 codes=409 backoff=1\n"
				"rule backend=t/s:80\n", NULL);
	int c = rig_dial(r), b, d;

	rig_say(r, c, GET);
	b = anyone(r, 2);
	rig_hear_head(r, b);
	rig_say(r, b, FAIL("503"));
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "503 Sorry"));
	rig_hear(r, c, "sorr");
	close(b);
	rig_until_quiet(r);
	rig_say(r, c, GET);
	b = anyone(r, 2);
	rig_hear_head(r, b);
	rig_say(r, b, "HTTP/1.1 409 X\r\nConnection: close\r\n\r\n");
	d = anyone(r, 2);
	rig_hear_head(r, d);
	rig_say(r, d, OK);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "200 OK"));
	close(b);
	close(d);
	rig_until_quiet(r);
	/* A rule that says nothing leaves it to the policy. */
	rig_say(r, c, "GET /b HTTP/1.1\r\nHost: x\r\n\r\n");
	b = anyone(r, 2);
	rig_hear_head(r, b);
	rig_say(r, b, FAIL("500"));
	d = anyone(r, 2);
	rig_hear_head(r, d);
	rig_say(r, d, OK);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "200 OK"));
	close(b);
	rig_end(&r, c, d);
}
END_TEST

/* Whatever its method: who asks for it knows what his endpoints do. */
START_TEST(a_body_is_sent_again)
{
	struct rig *r = rig_new(TWO "policy t/p target=s on=reset" AT_ONCE, NULL);
	int c = rig_dial(r), b, d;

	rig_say(r, c, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n01234");
	b = anyone(r, 2);
	rig_hear_head(r, b);
	rig_hear(r, b, "01234");
	close(b);
	d = anyone(r, 2);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, d), "Content-Length: 10\r\n"));
	rig_hear(r, d, "01234");
	rig_say(r, c, "56789");
	rig_hear(r, d, "56789");
	rig_say(r, d, OK);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "200 OK"));
	rig_log(r, "reason=DONE attempts=2");
	ck_assert_uint_eq(counted(r, SC_retries_reset), 1);
	rig_end(&r, c, d);
}
END_TEST

START_TEST(chunks_and_trailers_are_sent_again)
{
	struct rig *r = rig_new(TWO "policy t/p target=s on=5xx" AT_ONCE, NULL);
	int c = rig_dial(r), b, d;

	rig_say(r, c, "PUT /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nTrailer: X-Sum\r\n\r\n"
		      "3\r\nabc\r\n");
	b = anyone(r, 2);
	rig_hear_head(r, b);
	rig_hear(r, b, "3\r\nabc\r\n");
	rig_say(r, c, "2\r\nde\r\n0\r\nX-Sum: 9\r\n\r\n");
	rig_hear(r, b, "2\r\nde\r\n0\r\nX-Sum: 9\r\n\r\n");
	rig_say(r, b, FAIL("500"));
	d = anyone(r, 2);
	rig_hear_head(r, d);
	rig_hear(r, d, "3\r\nabc\r\n2\r\nde\r\n0\r\nX-Sum: 9\r\n\r\n");
	rig_say(r, d, OK);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "200 OK"));
	close(b);
	rig_end(&r, c, d);
}
END_TEST

/* 64 KiB are kept; what is known to be more is not begun with, and what turns out to be is let go. */
START_TEST(a_body_over_its_size_is_not_kept)
{
	static char big[200000];

	memset(big, 'x', sizeof big);
	for (int chunked = 0; chunked < 2; chunked++) {
		struct rig *r = rig_new(TWO "policy t/p target=s on=5xx" AT_ONCE, NULL);
		int c = rig_dial(r), b;
		size_t got = 0;

		rig_say(r, c, chunked ? "POST /a HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n11170\r\n" :
					"POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 70000\r\n\r\n");
		b = anyone(r, 2);
		rig_hear_head(r, b);
		rig_say_bytes(r, c, big, 70000);
		if (chunked)
			rig_say(r, c, "\r\n0\r\n\r\n");
		while (got < 70000) {
			char buf[4096];
			ssize_t k;

			rig_pass(r);
			k = recv(b, buf, sizeof buf, 0);
			got += k > 0 ? (size_t)k : 0;
		}
		rig_until_quiet(r);
		ck_assert_uint_eq(r->path.memory.used, 0);
		rig_say(r, b, FAIL("500"));
		ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "500 Sorry"));
		rig_hear(r, c, "sorr");
		rig_log(r, "status=500 reason=DONE");
		rig_end(&r, c, b);
	}
}
END_TEST

START_TEST(what_is_kept_is_let_go_with_the_answer)
{
	struct rig *r = rig_new(ONE "policy t/p target=s on=5xx" AT_ONCE, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n01234");
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_hear(r, b, "01234");
	rig_until_quiet(r);
	ck_assert_uint_gt(r->path.memory.used, 0);
	rig_say(r, b, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n0");
	rig_hear_head(r, c);
	rig_hear(r, c, "0");
	rig_until_quiet(r);
	ck_assert_uint_eq(r->path.memory.used, 0);
	rig_say(r, b, "1234");
	rig_hear(r, c, "1234");
	rig_end(&r, c, b);
}
END_TEST

/* The caller is told to go on once, whatever the endpoints say. */
START_TEST(a_caller_who_waits_for_100_is_told_once)
{
	struct rig *r = rig_new(TWO "policy t/p target=s on=5xx" AT_ONCE, NULL);
	int c = rig_dial(r), b, d;

	rig_say(r, c, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\nExpect: 100-continue\r\n\r\n");
	b = anyone(r, 2);
	rig_hear_head(r, b);
	rig_say(r, b, "HTTP/1.1 100 Continue\r\n\r\n");
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "100 Continue"));
	rig_say(r, c, "abc");
	rig_hear(r, b, "abc");
	rig_say(r, b, FAIL("503"));
	d = anyone(r, 2);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, d), "Expect: 100-continue"));
	rig_hear(r, d, "abc");
	rig_say(r, d, "HTTP/1.1 100 Continue\r\n\r\n");
	rig_say(r, d, OK);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "200 OK"));
	close(b);
	rig_end(&r, c, d);
}
END_TEST

/* One that answers before it has the whole body: the rest goes to the next. */
START_TEST(an_answer_to_half_a_body_is_tried_again)
{
	struct rig *r = rig_new(TWO "policy t/p target=s on=5xx" AT_ONCE, NULL);
	int c = rig_dial(r), b, d;

	rig_say(r, c, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 6\r\n\r\nabc");
	b = anyone(r, 2);
	rig_hear_head(r, b);
	rig_hear(r, b, "abc");
	rig_say(r, b, FAIL("503"));
	d = anyone(r, 2);
	rig_hear_head(r, d);
	rig_hear(r, d, "abc");
	rig_say(r, c, "def");
	rig_hear(r, d, "def");
	rig_say(r, d, OK);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "200 OK"));
	rig_hear_end(r, b);	/* its connection is of no use: half a request is on it */
	close(b);
	rig_end(&r, c, d);
}
END_TEST

START_TEST(a_used_up_budget_gives_the_answer)
{
	struct rig *r = rig_new("service t/s slot=4/1 port=80/main/http\nendpoint t/s:main $1\n"
				"policy t/p target=s on=5xx retries=9 budget=0/1000/2" AT_ONCE, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	for (int i = 0; i < 3; i++) {
		rig_hear_head(r, b);
		rig_say(r, b, FAIL("500"));
	}
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "500 Sorry"));
	rig_hear(r, c, "sorr");
	rig_log(r, "status=500 reason=RETRY_BUDGET_SPENT flag=UO attempts=3");
	ck_assert_uint_eq(counted(r, SC_retries), 2);
	ck_assert_uint_eq(counted(r, SC_retries_refused), 1);
	rig_end(&r, c, b);
}
END_TEST

/* One that stops reading in the middle of a body, so that what was taken of it finds no sink. */
START_TEST(a_body_that_finds_no_sink_is_sent_again_whole)
{
	static char body[60000];
	struct rig *r = rig_new(TWO "policy t/p target=s on=reset" AT_ONCE, NULL);
	struct linger now = { .l_onoff = 1 };
	int c = rig_dial(r), b, d;
	size_t got = 0;

	for (size_t i = 0; i < sizeof body; i++)
		body[i] = (char)('a' + i % 26);
	rig_say(r, c, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n\r\n");
	rig_say_bytes(r, c, body, 20000);
	b = anyone(r, 2);
	rig_hear_head(r, b);
	setsockopt(b, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close(b);
	rig_say_bytes(r, c, body + 20000, 40000);
	d = anyone(r, 2);
	rig_hear_head(r, d);
	while (got < sizeof body) {
		char buf[4096];
		ssize_t k;

		rig_pass(r);
		k = recv(d, buf, sizeof buf, 0);
		if (k <= 0)
			continue;
		ck_assert_int_eq(memcmp(buf, body + got, (size_t)k), 0);
		got += (size_t)k;
	}
	rig_say(r, d, OK);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "200 OK"));
	rig_log(r, "reason=DONE attempts=2");
	rig_end(&r, c, d);
}
END_TEST

/* ---- times ---- */

START_TEST(an_attempt_that_takes_too_long_is_followed_by_another)
{
	struct rig *r = rig_new(TWO "policy t/p target=s on=reset try=50" AT_ONCE, NULL);
	int c = rig_dial(r), b, d;

	rig_say(r, c, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
	b = anyone(r, 2);
	rig_hear_head(r, b);
	rig_hear(r, b, "abc");
	d = anyone(r, 2);
	rig_hear_cut(r, b);
	rig_hear_head(r, d);
	rig_hear(r, d, "abc");
	rig_say(r, d, OK);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "200 OK"));
	rig_log(r, "reason=DONE attempts=2");
	ck_assert_uint_eq(counted(r, SC_retries_timeout), 1);
	close(b);
	rig_end(&r, c, d);
}
END_TEST

START_TEST(the_last_attempt_that_takes_too_long_is_answered_504)
{
	struct rig *r = rig_new(ONE "route t/r parent=t/s\nrule backend=t/s:80 attempt=50\n", NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "x-nodeproxy-reason: BACK_TRY_TIMEOUT\r\n"));
	rig_log(r, "status=504 reason=BACK_TRY_TIMEOUT flag=UT");
	close(b);
	rig_end(&r, c, -1);
}
END_TEST

START_TEST(a_request_ends_in_its_time_with_all_attempts)
{
	struct rig *r = rig_new(TWO "route t/r parent=t/s\n"
				"rule backend=t/s:80 request=200 attempt=60 retries=9 backoff=1\n", NULL);
	int c = rig_dial(r);

	rig_say(r, c, GET);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "x-nodeproxy-reason: REQUEST_TIMEOUT\r\n"));
	rig_log(r, "status=504 reason=REQUEST_TIMEOUT flag=UT");
	ck_assert_uint_ge(counted(r, SC_retries), 1);
	rig_end(&r, c, -1);
}
END_TEST

START_TEST(a_request_ends_in_its_time_while_it_waits_for_the_next_attempt)
{
	struct rig *r = rig_new(TWO "route t/r parent=t/s\n"
				"rule backend=t/s:80 request=100 retries=9 codes=503 backoff=60000\n", NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	b = anyone(r, 2);
	rig_hear_head(r, b);
	rig_say(r, b, FAIL("503"));
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "x-nodeproxy-reason: REQUEST_TIMEOUT\r\n"));
	rig_end(&r, c, b);
}
END_TEST

START_TEST(a_caller_may_go_while_he_waits_for_the_next_attempt)
{
	struct rig *r = rig_new(TWO "route t/r parent=t/s\n"
				"rule backend=t/s:80 retries=9 codes=503 backoff=60000\n", NULL);
	struct linger now = { .l_onoff = 1 };
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	b = anyone(r, 2);
	rig_hear_head(r, b);
	rig_say(r, b, FAIL("503"));
	rig_until_quiet(r);
	setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now);
	close(c);
	rig_log(r, "reason=FRONT_CUT flag=DC");
	rig_end(&r, -1, b);
}
END_TEST

START_TEST(an_answer_that_does_not_end_in_time_is_cut)
{
	struct rig *r = rig_new(ONE "route t/r parent=t/s\nrule backend=t/s:80 request=100\n", NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\n0");
	rig_hear_head(r, c);
	rig_hear(r, c, "0");
	rig_hear_cut(r, c);
	rig_log(r, "status=200 reason=REQUEST_TIMEOUT flag=UT");
	close(b);
	rig_end(&r, c, -1);
}
END_TEST

static void short_response(struct knobs *k)
{
	k->response_ms = 20;
}

/* Who says that there is no limit does not mean the default of another. */
START_TEST(a_request_without_limit_has_none)
{
	struct rig *r = rig_new(ONE "route t/r parent=t/s\nrule backend=t/s:80 request=0\n", short_response);
	int c = rig_dial(r), b;
	int64_t began;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	began = clock_tick().ns;
	while (clock_tick().ns - began < 100 * NS_PER_MS)
		rig_pass(r);
	rig_say(r, b, OK);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "200 OK"));
	rig_end(&r, c, b);
}
END_TEST

START_TEST(an_upgraded_connection_has_no_such_limit)
{
	struct rig *r = rig_new(ONE "route t/r parent=t/s\nrule backend=t/s:80 request=50\n", NULL);
	int c = rig_dial(r), b;
	int64_t began;

	rig_say(r, c, "GET /a HTTP/1.1\r\nHost: x\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, "HTTP/1.1 101 Switching Protocols\r\nConnection: upgrade\r\nUpgrade: x\r\n\r\n");
	rig_hear_head(r, c);
	began = clock_tick().ns;
	while (clock_tick().ns - began < 150 * NS_PER_MS)
		rig_pass(r);
	rig_say(r, b, "hello");
	rig_hear(r, c, "hello");
	rig_end(&r, c, b);
}
END_TEST

START_TEST(without_a_policy_nothing_is_kept_and_a_failure_is_told)
{
	struct rig *r = rig_new(TWO, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, "POST /a HTTP/1.1\r\nHost: x\r\nContent-Length: 3\r\n\r\nabc");
	b = anyone(r, 2);
	rig_hear_head(r, b);
	rig_hear(r, b, "abc");
	rig_until_quiet(r);
	ck_assert_uint_eq(r->path.memory.used, 0);
	close(b);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "x-nodeproxy-reason: BACK_CUT\r\n"));
	rig_end(&r, c, -1);
}
END_TEST

UNIT_TESTS("attempt", a_body_that_finds_no_sink_is_sent_again_whole,
	   a_status_is_tried_elsewhere_and_nothing_of_it_is_given,
	   the_last_answer_is_given_and_the_reason_says_why, what_is_not_named_is_given,
	   a_rule_counts_instead_of_the_policy, a_body_is_sent_again, chunks_and_trailers_are_sent_again,
	   a_body_over_its_size_is_not_kept, what_is_kept_is_let_go_with_the_answer,
	   a_caller_who_waits_for_100_is_told_once, an_answer_to_half_a_body_is_tried_again,
	   a_used_up_budget_gives_the_answer, an_attempt_that_takes_too_long_is_followed_by_another,
	   the_last_attempt_that_takes_too_long_is_answered_504,
	   a_request_ends_in_its_time_with_all_attempts,
	   a_request_ends_in_its_time_while_it_waits_for_the_next_attempt,
	   a_caller_may_go_while_he_waits_for_the_next_attempt,
	   an_answer_that_does_not_end_in_time_is_cut, a_request_without_limit_has_none,
	   an_upgraded_connection_has_no_such_limit,
	   without_a_policy_nothing_is_kept_and_a_failure_is_told)
