/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Callers behind a load balancer that says who they are (PROXY protocol). */
#include <sys/socket.h>

#include "tests/lib/path_rig.h"
#include "tests/unit/test.h"

#define ONE_HTTP "service t/s port=80/main/http\nendpoint t/s:main $1\n"
#define ONE_OPEN "service t/s port=80/main\nendpoint t/s:main $1\n"
#define GET	 "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
#define FROM(ip) "GET /a HTTP/1.1\r\nHost: x\r\nX-Forwarded-For: " ip "\r\nX-Forwarded-Proto: http\r\n\r\n"
#define OK2	 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

static void require(struct knobs *k)
{
	k->listener[0].proxy_protocol = PROXY_PROTOCOL_REQUIRE;
}

static void impatient(struct knobs *k)
{
	require(k);
	k->head_ms = 1;
}

START_TEST(the_caller_is_who_the_header_says)
{
	struct rig *r = rig_new(ONE_HTTP, require);
	int c = rig_dial(r), b;

	rig_say(r, c, "PROXY TCP4 192.0.2.7 10.96.0.1 5555 80\r\n" GET GET);
	b = rig_accept(r, 1);
	rig_hear(r, b, FROM("192.0.2.7"));
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_hear(r, b, FROM("192.0.2.7"));	/* said once per connection */
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(a_header_that_names_nobody_leaves_the_connections_own_address)
{
	struct rig *r = rig_new(ONE_HTTP, require);
	int c = rig_dial(r), b;

	rig_say_bytes(r, c, "\r\n\r\n\0\r\nQUIT\n\x20\0\0\0", 16);
	rig_until_quiet(r);
	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear(r, b, FROM("127.0.0.1"));
	rig_end(&r, c, b);
}
END_TEST

START_TEST(a_header_may_come_in_pieces_and_opaque_bytes_may_follow)
{
	static const char said[] = "PROXY TCP6 2001:db8::1 ::1 1 80\r\n\1\2\3 hello";
	struct rig *r = rig_new(ONE_OPEN, require);
	int c = rig_dial(r), b;

	for (size_t i = 0; i < sizeof said - 1; i++) {
		rig_say_bytes(r, c, said + i, 1);
		rig_until_quiet(r);
	}
	b = rig_accept(r, 1);
	rig_hear(r, b, "\1\2\3 hello");
	rig_end(&r, c, b);
}
END_TEST

START_TEST(a_caller_without_one_is_cut_before_anything_is_answered)
{
	struct rig *r = rig_new(ONE_HTTP, require);
	int c = rig_dial(r);

	rig_say(r, c, GET);
	rig_hear_cut(r, c);
	ck_assert_uint_eq(board_get(&r->path.mine->reasons[REASON_BAD_PROXY_HEADER]), 1);
	ck_assert(rig_nobody_calls(r, 1));
	rig_end(&r, c, -1);
}
END_TEST

START_TEST(one_that_says_nothing_runs_out_of_time_and_one_that_leaves_is_forgotten)
{
	struct rig *r = rig_new(ONE_HTTP, impatient);
	int c = rig_dial(r);

	rig_say(r, c, "PROXY TCP4 ");
	rig_hear_cut(r, c);
	ck_assert_uint_eq(board_get(&r->path.mine->reasons[REASON_FRONT_HEAD_TIMEOUT]), 1);
	close(c);
	c = rig_dial(r);
	rig_end(&r, c, -1);
}
END_TEST

UNIT_TESTS("proxied", the_caller_is_who_the_header_says,
	   a_header_that_names_nobody_leaves_the_connections_own_address,
	   a_header_may_come_in_pieces_and_opaque_bytes_may_follow,
	   a_caller_without_one_is_cut_before_anything_is_answered,
	   one_that_says_nothing_runs_out_of_time_and_one_that_leaves_is_forgotten)
