/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Limits of requests: size and rate of bodies, how many at a time; each with its reason and status. */
#include <stdlib.h>
#include <sys/socket.h>

#include "tests/lib/path_rig.h"
#include "tests/unit/test.h"

#define ONE_HTTP "namespace t slot=3/1\nservice t/s port=80/main/http\nendpoint t/s:main $1\n"
#define GET	 "GET / HTTP/1.1\r\nHost: x\r\n\r\n"
#define OK2	 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

static uint64_t ended(const struct rig *r, enum reason why)
{
	return board_get(&r->path.mine->reasons[why]);
}

/* ---- size ---- */

static void ten_bytes(struct knobs *k)
{
	k->body_bytes = 10;
}

START_TEST(an_announced_body_is_refused_unread)
{
	struct rig *r = rig_new(ONE_HTTP, ten_bytes);
	int c = rig_dial(r), b;
	const char *head;

	rig_say(r, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 11\r\nExpect: 100-continue\r\n\r\n");
	head = rig_hear_head(r, c);
	ck_assert_ptr_nonnull(strstr(head, "HTTP/1.1 413 "));
	ck_assert_ptr_nonnull(strstr(head, "x-nodeproxy-reason: BODY_TOO_LARGE\r\n"));
	ck_assert_ptr_nonnull(strstr(head, "Connection: close\r\n"));
	rig_log(r, "method=POST path=\"/\" status=413 reason=BODY_TOO_LARGE endpoint=-");
	ck_assert(rig_nobody_calls(r, 1));
	close(c);
	c = rig_dial(r);
	rig_say(r, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n0123456789");
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_hear(r, b, "0123456789");
	rig_say(r, b, "HTTP/1.1 200 OK\r\nContent-Length: 20\r\n\r\n01234567890123456789");
	rig_hear_head(r, c);		/* what comes back is not limited */
	rig_hear(r, c, "01234567890123456789");
	rig_end(&r, c, b);
}
END_TEST

START_TEST(a_chunked_body_ends_with_the_chunk_that_goes_beyond)
{
	struct rig *r = rig_new(ONE_HTTP, ten_bytes);
	int c = rig_dial(r), b;

	rig_say(r, c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
		      "6\r\n012345\r\n4\r\n6789\r\n0\r\n\r\n");
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_hear(r, b, "a\r\n0123456789\r\n0\r\n\r\n");
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_say(r, c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n6\r\n012345\r\n");
	rig_hear_head(r, b);
	rig_hear(r, b, "6\r\n012345\r\n");
	rig_say(r, c, "5\r\n");
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "HTTP/1.1 413 "));
	rig_hear_cut(r, b);		/* it never sees the end of that request */
	rig_log(r, "status=200");
	rig_log(r, "status=413 reason=BODY_TOO_LARGE");
	close(b);
	close(c);
	/* Neither does a size that would overflow a sum help. */
	c = rig_dial(r);
	rig_say(r, c, "POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n"
		      "1\r\n0\r\nffffffffffffffff\r\n");
	b = rig_accept(r, 1);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "HTTP/1.1 413 "));
	ck_assert_uint_eq(ended(r, REASON_BODY_TOO_LARGE), 2);
	rig_end(&r, c, b);
}
END_TEST

/* ---- rate: the clock is the test's ---- */

static int64_t now_ns;

static int64_t mono(void)
{
	return now_ns;
}

static int64_t unix_ms(void)
{
	return now_ns / NS_PER_MS;
}

static void hundred(struct knobs *k)
{
	k->body_rate = 100;
	k->body_rate_ms = 1000;
	k->stall_ms = k->response_ms = 5000;
}

static struct rig *timed(void (*change)(struct knobs *))
{
	now_ns = 1000 * NS_PER_S;
	clock_simulate(mono, unix_ms);
	return rig_new(ONE_HTTP, change);
}

static void end_timed(struct rig **r, int c, int b)
{
	rig_end(r, c, b);
	clock_simulate(NULL, NULL);
}

/* In small steps: deadlines are late by at most two slots of the wheel. */
static void wait_ms(struct rig *r, int64_t ms)
{
	for (int64_t i = 0; i < ms; i += 10) {
		now_ns += 10 * NS_PER_MS;
		rig_pass(r);
		rig_pass(r);
	}
	rig_until_quiet(r);
}

#define LATE 150	/* ms: two slots */

static int post(struct rig *r, int *ret_back, const char *lines)
{
	int c = rig_dial(r);

	rig_say(r, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 60000\r\n");
	rig_say(r, c, lines);
	rig_say(r, c, "\r\n");
	*ret_back = rig_accept(r, 1);
	rig_hear_head(r, *ret_back);
	rig_until_quiet(r);
	return c;
}

START_TEST(a_body_that_trickles_is_a_408)
{
	struct rig *r = timed(hundred);
	int b, c = post(r, &b, "");

	for (int i = 0; i < 9; i++) {
		rig_say(r, c, "12345");		/* 50 bytes per second */
		wait_ms(r, 100);
	}
	ck_assert_uint_eq(ended(r, REASON_FRONT_BODY_SLOW), 0);
	rig_say(r, c, "12345");
	wait_ms(r, 100 + LATE);
	rig_say(r, c, "1");
	rig_until_quiet(r);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "HTTP/1.1 408 "));
	rig_log(r, "status=408 reason=FRONT_BODY_SLOW flag=RT");
	rig_hear_cut(r, b);
	end_timed(&r, c, b);
}
END_TEST

START_TEST(a_body_at_its_rate_may_take_as_long_as_it_wants)
{
	struct rig *r = timed(hundred);
	int b, c = post(r, &b, "");

	for (int i = 0; i < 300; i++) {		/* half a minute */
		rig_say(r, c, "12345678901");
		wait_ms(r, 100);
		rig_hear(r, b, "12345678901");
	}
	/* Then it rests: the bytes of the window it fell silent in are enough for that window. */
	wait_ms(r, 900);
	ck_assert_uint_eq(ended(r, REASON_FRONT_BODY_SLOW), 0);
	wait_ms(r, 1100 + 2 * LATE);
	ck_assert_uint_eq(ended(r, REASON_FRONT_BODY_SLOW), 1);
	end_timed(&r, c, b);
}
END_TEST

START_TEST(who_waits_for_100_continue_is_not_slow)
{
	struct rig *r = timed(hundred);
	int b, c = post(r, &b, "Expect: 100-continue\r\n");

	wait_ms(r, 3000);
	ck_assert_uint_eq(ended(r, REASON_FRONT_BODY_SLOW), 0);
	rig_say(r, b, "HTTP/1.1 100 Continue\r\n\r\n");
	rig_hear(r, c, "HTTP/1.1 100 Continue\r\n\r\n");
	wait_ms(r, 1000 + LATE);		/* now it has been asked */
	ck_assert_uint_eq(ended(r, REASON_FRONT_BODY_SLOW), 1);
	close(c);
	close(b);
	rig_until_quiet(r);
	c = post(r, &b, "Expect: 100-continue\r\n");
	wait_ms(r, 5000 + LATE);		/* as without a rate */
	ck_assert_uint_eq(ended(r, REASON_FRONT_BODY_SLOW), 1);
	ck_assert_uint_eq(ended(r, REASON_FRONT_BODY_TIMEOUT), 1);
	end_timed(&r, c, b);
}
END_TEST

START_TEST(an_endpoint_that_does_not_read_is_not_the_callers_fault)
{
	struct rig *r = timed(hundred);
	size_t n = 64 << 20;
	char *much = calloc(1, n);
	int b, c = rig_dial(r);
	ssize_t k;

	rig_say(r, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 67108864\r\n\r\n");
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	/* Until neither socket takes more. */
	for (int idle = 0; idle < 100;) {
		k = send(c, much, n, MSG_NOSIGNAL | MSG_DONTWAIT);
		idle = k > 0 ? 0 : idle + 1;
		rig_pass(r);
	}
	wait_ms(r, 4000);
	ck_assert_uint_eq(ended(r, REASON_FRONT_BODY_SLOW), 0);
	wait_ms(r, 2000);
	ck_assert_uint_eq(ended(r, REASON_FRONT_BODY_SLOW), 0);
	ck_assert_uint_eq(ended(r, REASON_BACK_STALLED), 1);
	free(much);
	end_timed(&r, c, b);
}
END_TEST

START_TEST(want_of_memory_is_not_the_callers_fault)
{
	struct rig *r = timed(hundred);
	int b, c = post(r, &b, "");
	struct budget *m = &r->path.tenants.at[3]->memory;
	size_t most = m->limit - m->used;

	ck_assert_int_eq(budget_charge(m, most), 0);
	rig_say(r, c, "12345");		/* which nobody reads now */
	rig_until_quiet(r);
	wait_ms(r, 3000);
	ck_assert_uint_eq(ended(r, REASON_FRONT_BODY_SLOW), 0);
	ck_assert_uint_eq(ended(r, REASON_FRONT_BODY_TIMEOUT), 0);
	budget_return(m, most);
	wait_ms(r, 900);
	rig_hear(r, b, "12345");
	ck_assert_uint_eq(ended(r, REASON_FRONT_BODY_SLOW), 0);
	wait_ms(r, 1000 + LATE);	/* now it is waited for again */
	ck_assert_uint_eq(ended(r, REASON_FRONT_BODY_SLOW), 1);
	end_timed(&r, c, b);
}
END_TEST

START_TEST(once_an_answer_has_begun_no_rate_is_asked)
{
	struct rig *r = timed(hundred);
	int b, c = post(r, &b, "");

	rig_say(r, b, "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nh");
	rig_hear_head(r, c);
	wait_ms(r, 4000);
	ck_assert_uint_eq(ended(r, REASON_FRONT_BODY_SLOW), 0);
	rig_say(r, b, "i");
	rig_hear(r, c, "hi");
	ck_assert_uint_eq(ended(r, REASON_DONE), 1);
	end_timed(&r, c, b);
}
END_TEST

static void no_rate(struct knobs *k)
{
	hundred(k);
	k->body_rate = 0;
}

static void short_stall(struct knobs *k)
{
	hundred(k);
	k->stall_ms = 500;
}

START_TEST(without_a_rate_silence_is_what_counts)
{
	struct rig *r = timed(no_rate);
	int b, c = post(r, &b, "");

	wait_ms(r, 4900);
	ck_assert_uint_eq(ended(r, REASON_FRONT_BODY_TIMEOUT), 0);
	wait_ms(r, 100 + LATE);
	ck_assert_uint_eq(ended(r, REASON_FRONT_BODY_TIMEOUT), 1);
	end_timed(&r, c, b);
	/* And when it is the shorter one. */
	r = timed(short_stall);
	c = post(r, &b, "");
	wait_ms(r, 500 + LATE);
	ck_assert_uint_eq(ended(r, REASON_FRONT_BODY_TIMEOUT), 1);
	end_timed(&r, c, b);
}
END_TEST

/* ---- how many ---- */

static void two_of_a_tenant(struct knobs *k)
{
	k->tenant_requests = 2;
}

static void two_of_a_listener(struct knobs *k)
{
	k->listener[0].requests = 2;
}

static void refuses_the_third(void (*change)(struct knobs *), const char *reason)
{
	struct rig *r = rig_new(ONE_HTTP, change);
	struct board_tenant *t = &r->path.mine->tenant[3];
	int c[2], b[2], third;
	const char *head;
	char words[100];

	for (int i = 0; i < 2; i++) {
		c[i] = rig_dial(r);
		rig_say(r, c[i], GET);
		b[i] = rig_accept(r, 1);
		rig_hear_head(r, b[i]);
	}
	ck_assert_uint_eq(board_get(&t->c[TC_requests_gauge]), 2);
	third = rig_dial(r);
	rig_say(r, third, GET);
	head = rig_hear_head(r, third);
	ck_assert_ptr_nonnull(strstr(head, "HTTP/1.1 503 "));
	ck_assert_ptr_nonnull(strstr(head, reason));
	ck_assert_ptr_null(strstr(head, "Connection: close"));	/* it may try again */
	snprintf(words, sizeof words, "path=\"/\" status=503 reason=%s flag=UO", reason);
	rig_log(r, words);
	ck_assert_uint_eq(board_get(&t->c[TC_refused]), 1);
	ck_assert_uint_eq(board_get(&t->c[TC_requests_gauge]), 2);
	/* One ends; there is room for another. */
	rig_say(r, b[0], OK2);
	rig_hear(r, c[0], OK2);
	ck_assert_uint_eq(board_get(&t->c[TC_requests_gauge]), 1);
	rig_hear(r, third, reason[5] == 'R' ? "tenant is over its requests\n" : "listener is over its requests\n");
	rig_say(r, third, GET);
	rig_hear_head(r, b[0]);
	rig_say(r, b[0], OK2);
	rig_hear(r, third, OK2);
	ck_assert_uint_eq(board_get(&t->c[TC_requests_gauge]), 1);
	/* The other is cut. */
	path_drain_deadline(&r->path);
	rig_hear_cut(r, c[1]);
	ck_assert_uint_eq(board_get(&t->c[TC_requests_gauge]), 0);
	ck_assert_uint_eq(r->path.gate[0]->requests, 0);
	close(c[0]);
	close(c[1]);
	close(b[1]);
	rig_end(&r, third, b[0]);
}

START_TEST(a_tenant_has_so_many_requests_at_a_time)
{
	refuses_the_third(two_of_a_tenant, "OVER_REQUESTS");
}
END_TEST

START_TEST(a_listener_has_so_many_requests_at_a_time)
{
	refuses_the_third(two_of_a_listener, "OVER_LISTENER_REQUESTS");
}
END_TEST

START_TEST(a_quota_of_the_tenant_is_stronger_than_the_knob)
{
	struct rig *r = rig_new("namespace t slot=3/1 requests=1\nservice t/s port=80/main/http\n"
				"endpoint t/s:main $1\n", NULL);
	int a = rig_dial(r), c = rig_dial(r), b;

	rig_say(r, a, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	/* A body that nobody reads: the connection closes. */
	rig_say(r, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "Connection: close"));
	ck_assert_uint_eq(ended(r, REASON_OVER_REQUESTS), 1);
	close(a);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(an_opaque_flow_counts_as_one_request)
{
	struct rig *r = rig_new("namespace t slot=3/1 requests=1\nservice t/s port=80/main/tcp\n"
				"endpoint t/s:main $1\n", NULL);
	struct board_tenant *t = &r->path.mine->tenant[3];
	int a = rig_dial(r), b = rig_accept(r, 1), c;

	ck_assert_uint_eq(board_get(&t->c[TC_requests_gauge]), 1);
	c = rig_dial(r);
	rig_hear_cut(r, c);
	rig_log(r, "status=0 reason=OVER_REQUESTS");
	close(c);
	close(a);
	rig_hear_end(r, b);
	close(b);
	rig_until_quiet(r);
	ck_assert_uint_eq(board_get(&t->c[TC_requests_gauge]), 0);
	rig_end(&r, -1, -1);
}
END_TEST

static void two_callers(struct knobs *k)
{
	k->listener[0].connections = 2;
}

START_TEST(a_listener_has_so_many_connections)
{
	struct rig *r = rig_new(ONE_HTTP, two_callers);
	int a = rig_dial(r), b = rig_dial(r), c;
	const char *head;

	rig_until_quiet(r);
	c = rig_dial(r);
	rig_say(r, c, GET);
	head = rig_hear_head(r, c);
	ck_assert_ptr_nonnull(strstr(head, "HTTP/1.1 503 "));
	ck_assert_ptr_nonnull(strstr(head, "OVER_LISTENER_CONNECTIONS"));
	ck_assert_uint_eq(ended(r, REASON_OVER_LISTENER_CONNECTIONS), 1);
	ck_assert_uint_eq(board_get(&r->path.mine->tenant[3].c[TC_refused]), 1);
	close(c);
	close(a);
	rig_until_quiet(r);
	c = rig_dial(r);
	rig_until_quiet(r);
	ck_assert_uint_eq(path_live(&r->path), 2);
	ck_assert_uint_eq(r->path.gate[0]->conns, 2);
	path_gauges(&r->path);
	ck_assert_str_eq(r->path.gate[0]->board->name, "front");
	ck_assert_uint_eq(board_get(&r->path.gate[0]->board->c[LC_conns]), 3);
	ck_assert_uint_eq(board_get(&r->path.gate[0]->board->c[LC_conns_gauge]), 2);
	ck_assert_uint_eq(board_get(&r->path.gate[0]->board->c[LC_refused]), 1);
	close(b);
	rig_end(&r, c, -1);
}
END_TEST

UNIT_TESTS("limits", an_announced_body_is_refused_unread, a_chunked_body_ends_with_the_chunk_that_goes_beyond,
	   a_body_that_trickles_is_a_408, a_body_at_its_rate_may_take_as_long_as_it_wants,
	   who_waits_for_100_continue_is_not_slow, an_endpoint_that_does_not_read_is_not_the_callers_fault,
	   want_of_memory_is_not_the_callers_fault, once_an_answer_has_begun_no_rate_is_asked,
	   without_a_rate_silence_is_what_counts,
	   a_tenant_has_so_many_requests_at_a_time, a_listener_has_so_many_requests_at_a_time,
	   a_quota_of_the_tenant_is_stronger_than_the_knob, an_opaque_flow_counts_as_one_request,
	   a_listener_has_so_many_connections)
