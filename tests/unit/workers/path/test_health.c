/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Active health checks: who is asked, how, what an answer means, and what balancers make of it. */
#include <sys/socket.h>
#include <unistd.h>

#include "tests/lib/path_rig.h"
#include "tests/unit/test.h"
#include "workers/obs/check.h"
#include "workers/path/exchange.h"

#define ONE "service t/s port=80/main/http slot=3/1\nendpoint t/s:main $1\n"
#define TWO ONE "endpoint t/s:main $2\n"
#define GET "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
#define OK2 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define ASK "GET /well HTTP/1.1\r\nHost: s.t\r\nUser-Agent: nodeproxy\r\nConnection: close\r\n\r\n"

/* Of endpoint $n, whose slot is what view_from.h says. */
static enum check_state state(struct rig *r, int n)
{
	return check_state(r->board, 100u + r->back_port[n - 1], 7, clock_now(), NULL);
}

#define until(r, x)                                                                                \
	do {                                                                                       \
		int64_t began_ = clock_tick().ns;                                                  \
		while (!(x)) {                                                                     \
			ck_assert_msg(clock_tick().ns - began_ < 10 * NS_PER_S, "never: %s", #x);  \
			rig_pass(r);                                                               \
			health_tick(&(r)->path);                                                   \
		}                                                                                  \
	} while (0)

/* A check comes and gets this answer. */
static void answer(struct rig *r, const char *text)
{
	int b = rig_accept(r, 1);

	rig_hear(r, b, ASK);
	rig_say(r, b, text);
	rig_hear_cut(r, b);
	close(b);
}

START_TEST(a_status_line_is_read_and_nothing_else_is_one)
{
	static const struct {
		const char *text;
		int status;
	} t[] = {
		{ "", -1 }, { "H", -1 }, { "HTTP/1.", -1 }, { "HTTP/1.1 200", -1 }, { "HTTP/1.1 200 OK", 200 },
		{ "HTTP/1.0 599\r\n", 599 }, { "HTTP/1.1 204 \r\n", 204 }, { "HTTP/1.1 099 OK", 0 },
		{ "HTTP/1.1 600 OK", 0 }, { "HTTP/1.1 20x OK", 0 }, { "HTTP/1.1 2000 ", 0 }, { "HTTP/2.0 200 ", 0 },
		{ "HTTP/1.x 200 ", 0 }, { "HTTP/1.1\t200 ", 0 }, { "http/1.1 200 ", 0 }, { "SSH-2.0", 0 }, { "\r\n", 0 },
	};

	for (size_t i = 0; i < countof(t); i++)
		ck_assert_msg(health_status(slice_str(t[i].text)) == t[i].status, "%s", t[i].text);
}
END_TEST

START_TEST(answers_make_an_endpoint_healthy_or_not)
{
	struct rig *r = rig_new(ONE "policy t/p target=s check=/well\n", NULL);

	health_tick(&r->path);
	ck_assert_uint_eq(r->path.health.checks.live, 1);
	answer(r, OK2);
	until(r, state(r, 1) == CHECK_HEALTHY);
	answer(r, "HTTP/1.1 503 No\r\n\r\n");
	answer(r, "SSH-2.0-OpenSSH_9.2\r\n");
	until(r, state(r, 1) == CHECK_UNHEALTHY);
	ck_assert_uint_eq(board_get(&r->path.mine->c[WC_checks_failed]), 2);
	/* The status comes in pieces. */
	int b = rig_accept(r, 1);

	rig_hear(r, b, ASK);
	rig_say(r, b, "HTTP/1.1 ");
	rig_until_quiet(r);
	rig_say(r, b, "299 \r\n");
	rig_hear_cut(r, b);
	close(b);
	until(r, state(r, 1) == CHECK_HEALTHY);
	/* Closed without a word, twice. */
	close(rig_accept(r, 1));
	close(rig_accept(r, 1));
	until(r, state(r, 1) == CHECK_UNHEALTHY);
	rig_view(r, "remove policy t/p\n");
	until(r, r->path.health.checks.live == 0);
	ck_assert_uint_eq(r->path.health.running, 0);
	rig_end(&r, -1, -1);
}
END_TEST

START_TEST(who_does_not_answer_in_time_is_unhealthy)
{
	struct rig *r = rig_new(ONE "policy t/p target=s check=/well check_timeout=20\n", NULL);
	int b[2];

	health_tick(&r->path);
	for (int i = 0; i < 2; i++)
		b[i] = rig_accept(r, 1);
	until(r, state(r, 1) == CHECK_UNHEALTHY);
	/* Draining workers leave it to others. */
	path_drain(&r->path);
	health_tick(&r->path);
	ck_assert_uint_eq(r->path.health.checks.live | r->path.health.running, 0);
	close(b[0]);
	rig_end(&r, -1, b[1]);
}
END_TEST

START_TEST(of_tcp_a_connection_is_enough)
{
	struct rig *r = rig_new("service t/s port=80/main/tcp slot=3/1\nendpoint t/s:main $1\n"
				"policy t/p target=s check=TCP\n", NULL);
	int b;

	health_tick(&r->path);
	b = rig_accept(r, 1);
	rig_hear_end(r, b);
	until(r, state(r, 1) == CHECK_HEALTHY);
	rig_close_back(r, 1);
	until(r, state(r, 1) == CHECK_UNHEALTHY);
	path_drain(&r->path);
	health_tick(&r->path);
	rig_end(&r, -1, b);
}
END_TEST

START_TEST(the_unhealthy_are_passed_over_unless_all_are)
{
	struct rig *r = rig_new(TWO "policy t/p target=s check=/well balancer=RoundRobin\n", NULL);
	int c, b[3] = { -1, -1, -1 };

	/* What another worker has found. */
	check_note(r->board, 100u + r->back_port[0], 7, false, 1, 1, clock_now());
	c = rig_dial(r);
	for (int i = 0; i < 6; i++) {
		rig_say(r, c, GET);
		if (b[2] < 0)
			b[2] = rig_accept(r, 2);
		rig_hear_head(r, b[2]);
		rig_say(r, b[2], OK2);
		rig_hear(r, c, OK2);
	}
	ck_assert(rig_nobody_calls(r, 1));
	check_note(r->board, 100u + r->back_port[1], 7, false, 1, 1, clock_now());
	for (int i = 0, k; i < 4; i++) {
		rig_say(r, c, GET);
		rig_until_quiet(r);
		if (b[1] < 0)
			b[1] = accept4(r->back_fd[0], NULL, NULL, SOCK_NONBLOCK | SOCK_CLOEXEC);
		k = b[1] >= 0 && recv(b[1], (char[1]){ 0 }, 1, MSG_PEEK) == 1 ? 1 : 2;
		rig_hear_head(r, b[k]);
		rig_say(r, b[k], OK2);
		rig_hear(r, c, OK2);
	}
	ck_assert_int_ge(b[1], 0);
	/* Without the policy nobody looks at it. */
	rig_view(r, "remove policy t/p\n");
	close(b[1]);
	close(c);
	rig_end(&r, -1, b[2]);
}
END_TEST

UNIT_TESTS("health", a_status_line_is_read_and_nothing_else_is_one, answers_make_an_endpoint_healthy_or_not,
	   who_does_not_answer_in_time_is_unhealthy, of_tcp_a_connection_is_enough,
	   the_unhealthy_are_passed_over_unless_all_are)
