/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What becomes of what is refused in an overload, and how one begins and ends.  Who is refused how much:
 * sched/test_shed.c. */
#include <sys/socket.h>
#include <unistd.h>

#include "nodeproxy/lib/base/log.h"
#include "tests/lib/h2_caller.h"
#include "tests/unit/test.h"
#include "workers/path/exchange.h"

#define TENANTS "namespace t slot=1/1\nnamespace u slot=2/1\n"
#define ONE	TENANTS "service t/s port=80/main/http slot=3/1\nendpoint t/s:main $1\n"
#define GET	"GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
#define OK2	"HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"

static int64_t world_ns;
static int64_t world_mono(void)
{
	return world_ns;
}
static int64_t world_unix(void)
{
	return 1;
}

static struct tenant *of(struct rig *r)
{
	return r->path.gate[0]->tenant;
}

static void must_count(struct rig *r, uint64_t n)
{
	ck_assert_uint_eq(board_get(&r->path.mine->c[WC_shed]), n);
	ck_assert_uint_eq(board_get(&of(r)->board->c[TC_shed]), n);
	ck_assert_uint_eq(board_get(&of(r)->board->c[TC_refused]), n);
	ck_assert_uint_eq(board_get(&of(r)->board->reasons[REASON_OVERLOAD]), n);
	ck_assert_uint_eq(of(r)->shed.refused, n);
}

START_TEST(a_request_that_is_refused_is_503_and_the_connection_lives)
{
	struct rig *r = rig_new(ONE, NULL);
	char body[256];
	const char *head;
	int c = rig_dial(r), b;

	rig_until_quiet(r);
	of(r)->shed.portion = SHED_ALL;
	for (int i = 0; i < 2; i++) {
		rig_say(r, c, GET);
		head = rig_hear_head(r, c);
		ck_assert_msg(strstr(head, "HTTP/1.1 503 Service Unavailable\r\n") &&
				      strstr(head, "x-nodeproxy-reason: OVERLOAD\r\n"), "%s", head);
		rig_log(r, "status=503 reason=OVERLOAD flag=OM service=t/s:80");
		ck_assert_int_gt(recv(c, body, sizeof body, 0), 0);
	}
	ck_assert_uint_eq(of(r)->shed.asked, 2);
	must_count(r, 2);
	of(r)->shed.portion = 0;
	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	/* Nothing is drawn any more. */
	ck_assert_uint_eq(of(r)->shed.asked, 2);
	must_count(r, 2);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(what_is_under_way_goes_on)
{
	struct rig *r = rig_new(ONE, NULL);
	int c = rig_dial(r), b;

	rig_say(r, c, "POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\n");
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	of(r)->shed.portion = SHED_ALL;
	rig_say(r, c, "hello");
	rig_hear(r, b, "hello");
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_log(r, "status=200 reason=DONE");
	must_count(r, 0);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(a_connection_without_http_is_cut)
{
	struct rig *r = rig_new(TENANTS "service t/s port=80/main/tcp slot=3/1\nendpoint t/s:main $1\n", NULL);
	int c = rig_dial(r), b, d;

	rig_say(r, c, "x");
	b = rig_accept(r, 1);
	rig_hear(r, b, "x");
	of(r)->shed.portion = SHED_ALL;
	d = rig_dial(r);
	rig_hear_cut(r, d);
	rig_log(r, "reason=OVERLOAD flag=OM");
	must_count(r, 1);
	rig_say(r, c, "y");
	rig_hear(r, b, "y");
	close(d);
	rig_end(&r, c, b);
}
END_TEST

START_TEST(grpc_is_told_unavailable)
{
	struct rig *r = rig_new(ONE, NULL);
	struct h2_caller *c = h2_dial(r);
	struct h2_stream *st;

	of(r)->shed.portion = SHED_ALL;
	st = h2_ask(c, "POST", "/a.B/C", "content-type: application/grpc\nte: trailers\n", true);
	h2_move(c);
	h2_hear(c, st, 200, "");
	rig_log(r, "status=503 grpc_status=14 reason=OVERLOAD flag=OM");
	must_count(r, 1);
	h2_hang_up(&c);
	rig_end(&r, -1, -1);
}
END_TEST

static void no_step(struct sched_unit *u)
{
	(void)u;
}

/* The next line of the log that is not of an exchange; NULL: there is none. */
static const char *event(struct rig *r)
{
	static uint8_t line[RING_RECORD_MAX + 1];
	enum ring_kind kind;
	size_t n;

	while (ring_take(&r->reader, &kind, line, &n)) {
		line[n] = 0;
		if (kind == RING_EVENT)
			return (const char *)line;
	}
	return NULL;
}

/* A look, 300 ms after the last: so much was used meanwhile. */
static void look(struct rig *r, struct tenant *other, int64_t used_ms, int64_t other_ms)
{
	world_ns += 300 * NS_PER_MS;
	clock_tick();
	of(r)->shed.used_ns = used_ms * NS_PER_MS;
	other->shed.used_ns = other_ms * NS_PER_MS;
	path_gauges(&r->path);
}

START_TEST(an_overload_is_counted_and_told_when_it_begins_and_ends)
{
	struct rig *r = rig_new(ONE, NULL);
	struct tenant *u = tenant_take(&r->path.tenants, &(struct tenant_terms){ .slot = 2, .gen = 1 });
	const uint64_t *c = r->path.mine->c;
	struct sched_unit waits;
	const char *line;

	world_ns = clock_tick().ns;
	clock_simulate(world_mono, world_unix);
	log_init("worker", &r->ring);
	sched_unit_init(&waits, of(r), no_step);
	sched_wake(&r->path.sched, &waits);
	look(r, u, 200, 40);
	look(r, u, 200, 40);		/* late for the first time */
	ck_assert_uint_eq(board_get(&c[WC_run_delay_ns_gauge]), 600 * NS_PER_MS);
	ck_assert_uint_eq(of(r)->shed.portion, 0);
	ck_assert_ptr_null(event(r));
	look(r, u, 200, 40);
	ck_assert_uint_eq(of(r)->shed.portion, SHED_UP);
	ck_assert_uint_eq(u->shed.portion, 0);
	ck_assert_uint_eq(board_get(&c[WC_shed_tenants_gauge]), 1);
	ck_assert_uint_eq(board_get(&of(r)->board->c[TC_shed_percent_gauge]), 7);
	line = event(r);
	ck_assert_msg(line && strstr(line, "event=shedding_began namespace=t slot=1 delay_ms=900 ") &&
			      strstr(line, " overload_delay_ms=500 "), "%s", line);
	look(r, u, 200, 40);
	ck_assert_uint_eq(of(r)->shed.portion, 2 * SHED_UP);
	ck_assert_ptr_null(event(r));
	r->knobs.overload_delay_ms = 0;
	look(r, u, 200, 40);
	ck_assert_uint_eq(of(r)->shed.portion, 0);
	ck_assert_uint_eq(board_get(&c[WC_shed_tenants_gauge]), 0);
	ck_assert_uint_eq(board_get(&of(r)->board->c[TC_shed_percent_gauge]), 0);
	line = event(r);
	ck_assert_msg(line && strstr(line, "event=shedding_ended namespace=t slot=1 "), "%s", line);
	sched_forget(&r->path.sched, &waits);
	log_init("test", NULL);
	tenant_give(&u);
	rig_end(&r, -1, -1);
	clock_simulate(NULL, NULL);
}
END_TEST

UNIT_TESTS("overload", a_request_that_is_refused_is_503_and_the_connection_lives, what_is_under_way_goes_on,
	   a_connection_without_http_is_cut, grpc_is_told_unavailable,
	   an_overload_is_counted_and_told_when_it_begins_and_ends)
