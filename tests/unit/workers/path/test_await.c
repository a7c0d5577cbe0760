/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Exchanges that wait for the endpoints of a Service which are in the registry only. */
#include <stdio.h>
#include <sys/socket.h>
#include <unistd.h>

#include "tests/unit/test.h"
#include "tests/lib/path_rig.h"
#include "workers/path/exchange.h"

#define LACKING "service t/s port=80/main/http slot=3/1 lacking\nendpoint t/s:main $1\n"
#define HERE	"service t/s port=80/main/http slot=3/1\n"
#define GET	"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
#define OK2	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

static unsigned asked;
static char whom[200];

static void ask(struct slice ns, struct slice name)
{
	asked++;
	snprintf(whom, sizeof whom, "%.*s/%.*s", (int)ns.n, (const char *)ns.p, (int)name.n, (const char *)name.p);
}

static void soon(struct knobs *k)
{
	k->endpoints_ms = 60;
}

static struct rig *begin(const char *view, void (*change)(struct knobs *))
{
	struct rig *r = rig_new(view, change);

	asked = 0;
	r->path.awaits.ask = ask;
	return r;
}

static uint64_t counted(struct rig *r, enum worker_counter c)
{
	return board_get(&r->path.mine->c[c]);
}

static void waits(struct rig *r, uint32_t n)
{
	while (r->path.awaits.n != n)
		rig_pass(r);
}

static void served(struct rig *r, int c, int b)
{
	rig_hear_head(r, b);
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_log(r, "status=200 reason=DONE service=t/s:80");
}

static void refused(struct rig *r, int c, const char *reason)
{
	char body[512], words[64];
	const char *head;

	head = rig_hear_head(r, c);
	snprintf(words, sizeof words, "x-nodeproxy-reason: %s\r\n", reason);
	ck_assert_msg(strstr(head, "HTTP/1.1 503 ") && strstr(head, words), "%s", head);
	snprintf(words, sizeof words, "status=503 reason=%s", reason);
	rig_log(r, words);
	ck_assert_int_gt(recv(c, body, sizeof body, 0), 0);
}

START_TEST(those_who_come_first_wait_together_and_are_served)
{
	struct rig *r = begin(LACKING, NULL);
	int c[3], b[3];

	for (int i = 0; i < 3; i++) {
		c[i] = rig_dial(r);
		rig_say(r, c[i], GET);
		waits(r, (uint32_t)i + 1);
	}
	ck_assert_uint_eq(asked, 1);
	ck_assert_str_eq(whom, "t/s");
	ck_assert_uint_eq(counted(r, WC_endpoint_waits), 3);
	/* A view that is about something else wakes nobody. */
	rig_view(r, "service t/other port=80\n");
	rig_until_quiet(r);
	ck_assert_uint_eq(r->path.awaits.n, 3);
	rig_view(r, HERE);
	ck_assert_uint_eq(r->path.awaits.n, 0);
	ck_assert_uint_eq(r->path.awaits.lines.live, 0);
	for (int i = 0; i < 3; i++) {
		b[i] = rig_accept(r, 1);
		rig_hear_head(r, b[i]);
		rig_say(r, b[i], OK2);
	}
	for (int i = 0; i < 3; i++)
		rig_hear(r, c[i], OK2);
	for (int i = 0; i < 3; i++) {
		close(c[i]);
		close(b[i]);
	}
	rig_end(&r, -1, -1);
}
END_TEST

START_TEST(one_request_waits_and_is_sent_as_it_came)
{
	struct rig *r = begin(LACKING, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, "POST /b HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhe");
	waits(r, 1);
	rig_say(r, c, "llo");
	rig_until_quiet(r);
	rig_view(r, HERE);
	b = rig_accept(r, 1);
	ck_assert_ptr_nonnull(strstr(rig_hear_head(r, b), "POST /b HTTP/1.1\r\n"));
	rig_hear(r, b, "hello");
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_log(r, "status=200 reason=DONE");
	/* The next one finds them. */
	rig_say(r, c, GET);
	served(r, c, b);
	ck_assert_uint_eq(counted(r, WC_endpoint_waits), 1);
	ck_assert_uint_eq(counted(r, WC_endpoints_not_here), 0);
	close(c);
	rig_end(&r, -1, b);
}
END_TEST

START_TEST(nobody_waits_for_longer_than_the_bound)
{
	struct rig *r = begin(LACKING, soon);
	int c = rig_dial(r);

	rig_say(r, c, GET);
	refused(r, c, "ENDPOINTS_NOT_HERE");
	ck_assert_uint_eq(r->path.awaits.n, 0);
	ck_assert_uint_eq(counted(r, WC_endpoints_not_here), 1);
	ck_assert_uint_ge(counted(r, WC_endpoint_wait_ns), 50 * NS_PER_MS);
	rig_end(&r, c, -1);
}
END_TEST

START_TEST(a_service_that_goes_meanwhile_ends_the_wait)
{
	struct rig *r = begin(LACKING, NULL);
	int c = rig_dial(r);

	rig_say(r, c, GET);
	waits(r, 1);
	rig_view(r, "remove service t/s\n");
	refused(r, c, "NO_ENDPOINT");
	rig_end(&r, c, -1);
}
END_TEST

START_TEST(endpoints_that_are_none_are_no_endpoint)
{
	struct rig *r = begin("service t/s port=80/main/http slot=3/1 lacking\n", NULL);
	int c = rig_dial(r);

	rig_say(r, c, GET);
	waits(r, 1);
	rig_view(r, HERE);
	refused(r, c, "NO_ENDPOINT");
	rig_end(&r, c, -1);
}
END_TEST

START_TEST(a_caller_who_leaves_waits_no_more)
{
	struct linger now = { .l_onoff = 1 };
	struct rig *r = begin(LACKING, NULL);
	int c = rig_dial(r);

	rig_say(r, c, GET);
	waits(r, 1);
	ck_assert_int_eq(setsockopt(c, SOL_SOCKET, SO_LINGER, &now, sizeof now), 0);
	close(c);
	waits(r, 0);
	rig_log(r, "reason=FRONT_CUT");
	rig_view(r, HERE);
	ck_assert_uint_eq(r->path.awaits.lines.live, 0);
	rig_end(&r, -1, -1);
}
END_TEST

START_TEST(whoever_asks_for_too_many_services_waits_for_no_more)
{
	struct rig *r = begin(LACKING, NULL);
	struct path *p = &r->path;
	struct tenant one = { .slot = 7, .gen = 1 }, two = { .slot = 8, .gen = 1 };
	char text[64];
	struct vservice s;

	for (unsigned i = 0; i <= AWAIT_LINES_TENANT; i++) {
		snprintf(text, sizeof text, "service t/n%u port=80 slot=%u/1 lacking\n", i, 100 + i);
		rig_view(r, text);
	}
	for (unsigned i = 0; i <= AWAIT_LINES_TENANT; i++) {
		snprintf(text, sizeof text, "n%u", i);
		ck_assert(view_service_by_name(p->view, SLICE("t"), slice_str(text), &s));
		ck_assert_int_eq(await_ask(p, &s, &one), i < AWAIT_LINES_TENANT);
		ck_assert_int_eq(await_ask(p, &s, &one), i < AWAIT_LINES_TENANT);
	}
	ck_assert(await_ask(p, &s, &two));
	/* As many messages as may go out in a second; the others are said later. */
	ck_assert_uint_ge(asked, AWAIT_ASKS_S);
	ck_assert_uint_le(asked, AWAIT_LINES_TENANT);
	rig_end(&r, -1, -1);
}
END_TEST

UNIT_TESTS("await", those_who_come_first_wait_together_and_are_served, one_request_waits_and_is_sent_as_it_came,
	   nobody_waits_for_longer_than_the_bound, a_service_that_goes_meanwhile_ends_the_wait,
	   endpoints_that_are_none_are_no_endpoint, a_caller_who_leaves_waits_no_more,
	   whoever_asks_for_too_many_services_waits_for_no_more)
