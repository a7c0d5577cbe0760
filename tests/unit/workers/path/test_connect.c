/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What a TrafficPolicy asks of the data path: limits, timeouts, balancer, ejection. */
#include <stdio.h>
#include <sys/socket.h>

#include "tests/lib/path_rig.h"
#include "tests/unit/test.h"

#define ONE  "service t/s port=80/main/http slot=3/1\nendpoint t/s:main $1\n"
#define TWO  ONE "endpoint t/s:main $2\n"
#define GET  "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
#define OK2  "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define FAIL "HTTP/1.1 500 No\r\nContent-Length: 2\r\n\r\nno"

static uint32_t held(struct rig *r, enum limit what)
{
	return board_limit_held(r->board, 80, 9, what);
}

static uint64_t counted(struct rig *r, enum service_counter c)
{
	return board_get(&board_service(r->board, 0, 3, 1)->c[c]);
}

static void refused(struct rig *r, int c, const char *reason)
{
	char words[128], body[256];
	const char *head;

	rig_say(r, c, GET);
	head = rig_hear_head(r, c);
	ck_assert_msg(strstr(head, "HTTP/1.1 503 ") && strstr(head, reason), "%s", head);
	snprintf(words, sizeof words, "status=503 reason=%s flag=UO", reason);
	rig_log(r, words);
	ck_assert_int_gt(recv(c, body, sizeof body, 0), 0);
}

START_TEST(requests_over_the_limit_are_refused_and_those_below_are_not)
{
	struct rig *r = rig_new(ONE "policy t/p target=s requests=2\n", NULL);
	int c[3], b[2];

	for (int i = 0; i < 3; i++)
		c[i] = rig_dial(r);
	for (int i = 0; i < 2; i++) {
		rig_say(r, c[i], GET);
		b[i] = rig_accept(r, 1);
		rig_hear_head(r, b[i]);
	}
	ck_assert_uint_eq(held(r, LIMIT_REQUESTS), 2);
	refused(r, c[2], "OVER_SERVICE_REQUESTS");
	ck_assert_uint_eq(counted(r, SC_limited_requests), 1);
	ck_assert(rig_nobody_calls(r, 1));
	/* One ends: the caller that was refused, on the same connection, and the pooled one. */
	rig_say(r, b[0], OK2);
	rig_hear(r, c[0], OK2);
	rig_log(r, "reason=DONE");
	ck_assert_uint_eq(held(r, LIMIT_REQUESTS), 1);
	ck_assert_uint_eq(held(r, LIMIT_CONNECTIONS), 2);
	rig_say(r, c[2], GET);
	rig_hear_head(r, b[0]);
	/* Refused with a connection idle: it stays idle. */
	rig_say(r, b[1], OK2);
	rig_hear(r, c[1], OK2);
	rig_log(r, "reason=DONE");
	rig_view(r, "policy t/p target=s requests=1\n");
	refused(r, c[1], "OVER_SERVICE_REQUESTS");
	ck_assert_uint_eq(r->path.pool.idle, 1);
	rig_say(r, b[0], OK2);
	rig_hear(r, c[2], OK2);
	ck_assert_uint_eq(held(r, LIMIT_REQUESTS), 0);
	for (int i = 0; i < 3; i++)
		close(c[i]);
	close(b[0]);
	rig_end(&r, -1, b[1]);
}
END_TEST

START_TEST(connections_over_the_limit_are_refused_pooled_ones_included)
{
	struct rig *r = rig_new(TWO "policy t/p target=s connections=1 balancer=RoundRobin\n", NULL);
	int c = rig_dial(r), d = rig_dial(r), first, b[2];

	rig_say(r, c, GET);
	rig_until_quiet(r);
	first = 1;
	b[0] = accept4(r->back_fd[0], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
	if (b[0] < 0)
		b[0] = rig_accept(r, first = 2);
	rig_hear_head(r, b[0]);
	refused(r, d, "OVER_SERVICE_CONNECTIONS");
	ck_assert_uint_eq(counted(r, SC_limited_connections), 1);
	rig_say(r, b[0], OK2);
	rig_hear(r, c, OK2);
	ck_assert_uint_eq(held(r, LIMIT_CONNECTIONS), 1);
	ck_assert_uint_eq(r->path.pool.idle, 1);
	/* The other endpoint's turn (the refused one was its last): the idle connection makes room. */
	rig_say(r, c, GET);
	rig_hear_head(r, b[0]);
	rig_say(r, b[0], OK2);
	rig_hear(r, c, OK2);
	rig_say(r, d, GET);
	b[1] = rig_accept(r, 3 - first);
	rig_hear_head(r, b[1]);
	rig_hear_end(r, b[0]);
	ck_assert_uint_eq(held(r, LIMIT_CONNECTIONS), 1);
	rig_say(r, b[1], OK2);
	rig_hear(r, d, OK2);
	close(c);
	close(b[0]);
	rig_end(&r, d, b[1]);
}
END_TEST

START_TEST(a_flow_over_the_limit_is_cut)
{
	struct rig *r = rig_new("service t/s port=80/main/tcp slot=3/1\nendpoint t/s:main $1\n"
				"policy t/p target=s connections=1 requests=1\n", NULL);
	int c = rig_dial(r), d, b = rig_accept(r, 1);

	ck_assert_uint_eq(held(r, LIMIT_CONNECTIONS), 1);
	ck_assert_uint_eq(held(r, LIMIT_REQUESTS), 0);		/* it is none */
	d = rig_dial(r);
	rig_hear_cut(r, d);
	rig_log(r, "reason=OVER_SERVICE_CONNECTIONS flag=UO");
	rig_say(r, c, "x");
	rig_hear(r, b, "x");
	close(b);
	close(c);
	rig_until_quiet(r);
	ck_assert_uint_eq(held(r, LIMIT_CONNECTIONS), 0);
	rig_end(&r, d, -1);
}
END_TEST

START_TEST(another_workers_want_closes_what_would_idle)
{
	struct rig *r = rig_new(ONE "policy t/p target=s connections=2\n", NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	/* As worker 1 writes it when it finds none left. */
	r->board->limit[80].full = (uint64_t)(clock_now().ns / NS_PER_MS) << 8 | 1;
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_hear_end(r, b);
	ck_assert_uint_eq(held(r, LIMIT_CONNECTIONS), 0);
	close(b);
	/* One that idles already goes with the next tick. */
	r->board->limit[80].full = 0;
	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	ck_assert_uint_eq(r->path.pool.idle, 1);
	path_gauges(&r->path);
	ck_assert_uint_eq(r->path.pool.idle, 1);
	r->board->limit[80].full = (uint64_t)(clock_now().ns / NS_PER_MS) << 8 | 1;
	path_gauges(&r->path);
	rig_hear_end(r, b);
	ck_assert_uint_eq(held(r, LIMIT_CONNECTIONS), 0);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(a_refused_connect_gives_back_what_it_took)
{
	struct rig *r = rig_new(TWO "policy t/p target=s connections=1 requests=1\n", NULL);
	int c = rig_dial(r), b;

	rig_close_back(r, 1);
	for (int i = 0; i < 5; i++) {
		rig_say(r, c, GET);
		b = rig_accept(r, 2);
		rig_hear_head(r, b);
		ck_assert_uint_eq(held(r, LIMIT_CONNECTIONS), 1);
		ck_assert_uint_eq(held(r, LIMIT_REQUESTS), 1);
		rig_say(r, b, "HTTP/1.1 200 OK\r\nConnection: close\r\nContent-Length: 2\r\n\r\nhi");
		rig_hear(r, c, OK2);
		close(b);
		ck_assert_uint_eq(held(r, LIMIT_CONNECTIONS), 0);
		ck_assert_uint_eq(held(r, LIMIT_REQUESTS), 0);
	}
	rig_end(&r, c, -1);
}
END_TEST

START_TEST(timeouts_are_those_of_the_policy)
{
	struct rig *r = rig_new(ONE "policy t/p target=s response=20\n", NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "HTTP/1.1 504 "));
	rig_log(r, "status=504 reason=BACK_TIMEOUT flag=UT");
	close(b);
	close(c);
	rig_view(r, "policy t/p target=s stall=20\n");
	c = rig_dial(r);
	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, "HTTP/1.1 200 OK\r\nContent-Length: 9\r\n\r\nabc");
	rig_hear_head(r, c);
	rig_hear_cut(r, c);
	rig_log(r, "status=200 reason=BACK_STALLED flag=SI");
	close(b);
	close(c);
	/* An exchange under way keeps those that it began with. */
	rig_view(r, "policy t/p target=s\n");
	c = rig_dial(r);
	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_view(r, "policy t/p target=s response=10\n");
	for (int64_t until = clock_tick().ns + 50 * NS_PER_MS; clock_tick().ns < until;)
		rig_pass(r);
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(an_idle_flow_ends_when_the_policy_says)
{
	struct rig *r = rig_new("service t/s port=80/main/tcp\nendpoint t/s:main $1\n"
				"policy t/p target=s tcp_idle=20\n", NULL);
	int c = rig_dial(r), b = rig_accept(r, 1);

	rig_hear_cut(r, c);
	rig_log(r, "reason=FRONT_IDLE");
	rig_end(&r, c, b);
}
END_TEST

static int answer(struct rig *r, int c, int *back, const char *text)
{
	rig_say(r, c, GET);
	rig_until_quiet(r);
	for (int i = 0; i < 2; i++) {
		char byte;

		if (back[i] < 0)
			back[i] = accept4(r->back_fd[i], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (back[i] < 0 || recv(back[i], &byte, 1, MSG_PEEK) != 1)
			continue;
		rig_hear_head(r, back[i]);
		rig_say(r, back[i], text);
		rig_hear(r, c, text);
		return i;
	}
	ck_abort_msg("no endpoint got it");
}

START_TEST(round_robin_takes_each_in_turn)
{
	struct rig *r = rig_new(TWO "policy t/p target=s balancer=RoundRobin\n", NULL);
	int c = rig_dial(r), back[2] = { -1, -1 }, last = answer(r, c, back, OK2);

	for (int i = 0; i < 20; i++) {
		int at = answer(r, c, back, OK2);

		ck_assert_int_ne(at, last);
		last = at;
	}
	close(back[0]);
	rig_end(&r, c, back[1]);
}
END_TEST

START_TEST(ejection_is_what_the_policy_says)
{
	/* After two failures in a row, not five; with 0 never. */
	struct rig *r = rig_new(TWO "policy t/p target=s balancer=RoundRobin failures=2 base=3600000 "
				    "max=3600000\n", NULL);
	int c = rig_dial(r), back[2] = { -1, -1 }, bad = answer(r, c, back, FAIL), at;

	ck_assert_int_ne(answer(r, c, back, OK2), bad);
	ck_assert_int_eq(answer(r, c, back, FAIL), bad);
	ck_assert_uint_eq(board_get(&r->path.mine->c[WC_ejections]), 1);
	ck_assert_uint_eq(counted(r, SC_ejections), 1);
	for (int i = 0; i < 6; i++)
		ck_assert_int_ne(answer(r, c, back, OK2), bad);
	rig_view(r, "policy t/p target=s balancer=RoundRobin failures=0\n");
	for (int i = 0, last = -1; i < 20; i++, last = at) {
		at = answer(r, c, back, FAIL);
		ck_assert_int_ne(at, last);
	}
	ck_assert_uint_eq(board_get(&r->path.mine->c[WC_ejections]), 1);
	close(back[0]);
	rig_end(&r, c, back[1]);
}
END_TEST

/* Who gets a request with these lines; both endpoints keep their connection. */
static int asked(struct rig *r, int c, int back[2], const char *lines)
{
	char text[512];
	int at = -1;

	snprintf(text, sizeof text, "GET /a HTTP/1.1\r\nHost: x\r\n%s\r\n", lines);
	rig_say(r, c, text);
	rig_until_quiet(r);
	for (int i = 0; i < 2; i++) {
		char got[512];

		if (back[i] < 0)
			back[i] = accept4(r->back_fd[i], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		if (back[i] >= 0 && recv(back[i], got, sizeof got, 0) > 0)
			at = i;
	}
	ck_assert_int_ge(at, 0);
	rig_say(r, back[at], OK2);
	rig_hear(r, c, OK2);
	return at;
}

static void same_key(const char *policy, const char *form)
{
	struct rig *r = rig_new(TWO, NULL);
	int c = rig_dial(r), back[2] = { -1, -1 }, at[40], of[2] = { 0 };
	char lines[128];

	rig_view(r, policy);
	for (int round = 0; round < 3; round++)
		for (int i = 0; i < 40; i++) {
			int who;

			snprintf(lines, sizeof lines, form, i);
			who = asked(r, c, back, lines);
			if (round == 0)
				of[at[i] = who]++;
			ck_assert_int_eq(who, at[i]);
		}
	/* Keys are shared out, and what is no key goes to both. */
	ck_assert_int_gt(of[0], 5);
	ck_assert_int_gt(of[1], 5);
	for (int i = 0, both = 0; both != 3; i++) {
		ck_assert_int_lt(i, 200);
		both |= 1 << asked(r, c, back, "X-Other: same\r\n");
	}
	close(back[0]);
	rig_end(&r, c, back[1]);
}

START_TEST(a_key_in_a_header_or_cookie_decides)
{
	same_key("policy t/p target=s balancer=Maglev hash=Header/X-User\n", "x-uSER: u%d\r\n");
	same_key("policy t/p target=s balancer=Maglev hash=Cookie/id\n", "Cookie: a=1; id=u%d\r\n");
}
END_TEST

START_TEST(the_address_of_the_caller_decides)
{
	struct rig *r = rig_new(TWO "policy t/p target=s balancer=Maglev hash=SourceIP\n", NULL);
	int c = rig_dial(r), back[2] = { -1, -1 }, at = asked(r, c, back, "");

	for (int i = 0; i < 20; i++) {
		int d = rig_dial(r);

		ck_assert_int_eq(asked(r, d, back, ""), at);
		close(d);
	}
	if (back[1 - at] >= 0)
		close(back[1 - at]);
	rig_end(&r, c, back[at]);
}
END_TEST

START_TEST(the_policy_is_that_of_the_service_that_serves)
{
	struct rig *r = rig_new("service t/s port=80/main/http slot=4/1\n"
				"service t/v2 port=80/main/http slot=3/1\nendpoint t/v2:main $1\n"
				"route t/r parent=t/s\nrule backend=t/v2:80\n"
				"policy t/p target=s requests=1\npolicy t/q target=v2 response=20\n", NULL);
	int c = rig_dial(r), d = rig_dial(r), b[2];

	rig_say(r, c, GET);
	b[0] = rig_accept(r, 1);
	rig_say(r, d, GET);
	b[1] = rig_accept(r, 1);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, c), "HTTP/1.1 504 "));
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, d), "HTTP/1.1 504 "));
	close(c);
	close(b[0]);
	rig_end(&r, d, b[1]);
}
END_TEST

UNIT_TESTS("connect", requests_over_the_limit_are_refused_and_those_below_are_not,
	   connections_over_the_limit_are_refused_pooled_ones_included, a_flow_over_the_limit_is_cut,
	   another_workers_want_closes_what_would_idle, a_refused_connect_gives_back_what_it_took,
	   timeouts_are_those_of_the_policy, an_idle_flow_ends_when_the_policy_says,
	   round_robin_takes_each_in_turn, a_key_in_a_header_or_cookie_decides,
	   the_address_of_the_caller_decides, ejection_is_what_the_policy_says,
	   the_policy_is_that_of_the_service_that_serves)
