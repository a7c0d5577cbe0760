/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Other settings while the path works: what is taken over in place, and what becomes of conns whose
 * listener is gone. */
#include <errno.h>

#include "tests/lib/path_rig.h"
#include "tests/unit/test.h"
#include "workers/path/conn.h"

#define ONE_HTTP "service t/s port=80/main/http\nendpoint t/s:main $1\n"
#define GET	 "GET /a HTTP/1.1\r\nHost: x\r\n\r\n"
#define OK2	 "HTTP/1.1 200 OK\r\nContent-Length: 2\r\n\r\nhi"
#define OK2_LAST "HTTP/1.1 200 OK\r\nContent-Length: 2\r\nConnection: close\r\n\r\nhi"

static struct knobs now[2];	/* the path borrows the last */

static void at_an_address(struct knobs *k)
{
	must(addr_parse(SLICE("127.0.0.1:9"), &k->listener[0].addr) == 0);
}

/* The settings in use, to be changed and used as number i. */
static struct knobs *next(struct rig *r, unsigned i)
{
	now[i % 2] = *r->path.knobs;
	return &now[i % 2];
}

static void use(struct rig *r, const struct knobs *k)
{
	const struct knobs *was = r->path.knobs;

	clock_tick();
	ck_assert_int_eq(path_try(&r->path, k), 0);
	path_use(&r->path, k, &r->ring);
	listeners_use(&r->listeners, was);
}

/* One request by c, which becomes a connection that is kept. */
static int served(struct rig *r, int c, const char *answer)
{
	int b;

	rig_say(r, c, GET);
	b = rig_accept(r, 1);
	rig_hear_head(r, b);
	rig_say(r, b, OK2);
	rig_hear(r, c, answer);
	return b;
}

START_TEST(limits_shares_and_times_are_taken_over_by_conns_that_are_there)
{
	struct rig *r = rig_new(ONE_HTTP, at_an_address);
	int c = rig_dial(r), b = served(r, c, OK2);
	struct knobs *k = next(r, 0);

	k->uri_bytes = 64;
	k->turn_us = 77;
	k->tenant_conns = 5;
	k->tenant_memory = 700000;
	k->pooled = 3;
	k->pipes = 1;
	k->access_log_format = LOG_JSON;
	use(r, k);
	ck_assert_uint_eq(r->path.limits.uri_bytes, 64);
	ck_assert_int_eq(r->path.sched.turn_ns, 77 * NS_PER_US);
	ck_assert_uint_eq(r->path.gate[0]->tenant->conns_max, 5);
	ck_assert_uint_eq(r->path.gate[0]->tenant->memory.limit, 700000);
	ck_assert_uint_eq(r->path.pool.keep, 3);
	ck_assert_uint_eq(r->path.pipes.max, 1);
	rig_say(r, c, "GET /0123456789012345678901234567890123456789012345678901234567890123456789 "
		      "HTTP/1.1\r\nHost: x\r\n\r\n");
	rig_hear(r, c, "HTTP/1.1 414 ");
	rig_hear_cut(r, c);
	close(c);
	close(b);
	rig_must_be_empty(r);
	rig_free(&r);
}
END_TEST

START_TEST(a_conn_of_a_listener_that_is_gone_gets_one_more_answer)
{
	struct rig *r = rig_new(ONE_HTTP, at_an_address);
	int c = rig_dial(r), late, b = served(r, c, OK2);
	struct knobs *k = next(r, 0);

	late = rig_dial(r);		/* has connected, and nobody has accepted it */
	k->n_listeners = 0;
	use(r, k);
	ck_assert_uint_eq(r->path.gates_gone, 1);
	rig_say(r, c, GET);
	rig_hear_head(r, b);
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2_LAST);
	rig_hear_end(r, c);
	close(c);
	rig_say(r, late, GET);
	rig_hear_head(r, b);
	rig_say(r, b, OK2);
	rig_hear(r, late, OK2_LAST);
	rig_hear_end(r, late);
	close(late);
	close(b);
	rig_must_be_empty(r);
	listeners_drop_all(&r->listeners);
	ck_assert_uint_eq(r->path.gates.live, 0);
	ck_assert_uint_eq(r->path.gates_gone, 0);
	rig_free(&r);
}
END_TEST

START_TEST(a_socket_that_is_gone_is_closed_when_its_queue_is_empty)
{
	struct rig *r = rig_new(ONE_HTTP, at_an_address);
	struct knobs *k = next(r, 0);
	int c[3];

	for (unsigned i = 0; i < countof(c); i++)
		c[i] = rig_dial(r);
	k->n_listeners = 0;
	use(r, k);
	while (r->listeners.n) {	/* until its time has come */
		clock_tick();
		listeners_resume(&r->listeners);
	}
	ck_assert_uint_eq(r->path.conns.live, countof(c));
	for (unsigned i = 0; i < countof(c); i++)
		close(c[i]);
	rig_must_be_empty(r);
	ck_assert_uint_eq(r->path.gates.live, 0);
	rig_free(&r);
}
END_TEST

START_TEST(what_is_left_at_the_deadline_is_cut_with_its_reason)
{
	struct rig *r = rig_new("service t/s port=80/main/tcp\nendpoint t/s:main $1\n", at_an_address);
	int c = rig_dial(r), b;
	struct knobs *k = next(r, 0);

	rig_say(r, c, "hello");
	b = rig_accept(r, 1);
	rig_hear(r, b, "hello");
	k->n_listeners = 0;
	k->drain_ms = 0;
	use(r, k);
	path_gates_expire(&r->path);
	path_reap(&r->path);
	rig_hear_cut(r, c);
	rig_hear_cut(r, b);
	rig_log(r, "reason=LISTENER_GONE");
	close(c);
	close(b);
	rig_must_be_empty(r);
	rig_free(&r);
}
END_TEST

START_TEST(a_listener_that_moves_in_the_list_or_is_renamed_keeps_its_conns)
{
	struct rig *r = rig_new(ONE_HTTP, at_an_address);
	int c = rig_dial(r), b = served(r, c, OK2);
	struct gate *g = r->path.gate[0];
	struct knobs *k = next(r, 0);

	rig_log(r, "listener=front");
	k->listener[1] = k->listener[0];
	strcpy(k->listener[1].name, "uno");
	strcpy(k->listener[0].name, "new");
	must(addr_parse(SLICE("127.0.0.1:10"), &k->listener[0].addr) == 0);
	k->n_listeners = 2;
	use(r, k);
	ck_assert_ptr_eq(r->path.gate[1], g);
	ck_assert_ptr_ne(r->path.gate[0], g);
	ck_assert_uint_eq(r->path.gates_gone, 0);
	ck_assert_uint_eq(r->listeners.at[0].index, 1);
	rig_say(r, c, GET);
	rig_hear_head(r, b);
	rig_say(r, b, OK2);
	rig_hear(r, c, OK2);
	rig_log(r, "listener=uno");
	/* LISTEN_DROP means the new index from now on. */
	listeners_drop(&r->listeners, 0, 0);
	ck_assert_uint_eq(r->listeners.n, 1);
	listeners_drop(&r->listeners, 1, 0);
	ck_assert_uint_eq(r->listeners.n, 0);
	close(c);
	close(b);
	rig_must_be_empty(r);
	rig_free(&r);
}
END_TEST

START_TEST(another_service_is_for_the_next_request_another_namespace_for_the_next_caller)
{
	struct rig *r = rig_new(ONE_HTTP "service t/other port=80/main/http\nendpoint t/other:main $2\n",
				at_an_address);
	int c = rig_dial(r), b = served(r, c, OK2), b2;
	struct knobs *k = next(r, 0);

	strcpy(k->listener[0].service_name, "other");
	use(r, k);
	rig_say(r, c, GET);
	b2 = rig_accept(r, 2);
	rig_hear_head(r, b2);
	rig_say(r, b2, OK2);
	rig_hear(r, c, OK2);
	k = next(r, 1);
	strcpy(k->listener[0].ns, "else");
	use(r, k);
	ck_assert_uint_eq(r->path.gates_gone, 1);
	rig_say(r, c, GET);
	rig_hear_head(r, b2);
	rig_say(r, b2, OK2);
	rig_hear(r, c, OK2_LAST);
	close(c);
	close(b);
	close(b2);
	rig_must_be_empty(r);
	ck_assert_uint_eq(r->path.gates.live, 1);
	rig_free(&r);
}
END_TEST

START_TEST(settings_are_refused_while_too_many_gates_wait_for_their_last_conns)
{
	struct rig *r = rig_new(ONE_HTTP, at_an_address);
	int c[8 * KNOBS_LISTENERS];
	unsigned i = 0;

	r->path.fds.limit = 1 << 20;	/* both ends are ours */
	for (;; i++) {
		struct knobs *k = next(r, i);

		ck_assert_uint_lt(i, countof(c));
		c[i] = rig_dial(r);
		rig_until_quiet(r);
		strcpy(k->listener[0].ns, i % 2 ? "t" : "else");
		if (path_try(&r->path, k) < 0)
			break;
		use(r, k);
	}
	ck_assert_uint_eq(r->path.gates.live, GATES_OF_LISTENERS);
	for (unsigned j = 0; j <= i; j++)
		close(c[j]);
	rig_must_be_empty(r);
	ck_assert_int_eq(path_try(&r->path, &now[i % 2]), 0);
	rig_free(&r);
}
END_TEST

UNIT_TESTS("gate", limits_shares_and_times_are_taken_over_by_conns_that_are_there,
	   a_conn_of_a_listener_that_is_gone_gets_one_more_answer,
	   a_socket_that_is_gone_is_closed_when_its_queue_is_empty,
	   what_is_left_at_the_deadline_is_cut_with_its_reason,
	   a_listener_that_moves_in_the_list_or_is_renamed_keeps_its_conns,
	   another_service_is_for_the_next_request_another_namespace_for_the_next_caller,
	   settings_are_refused_while_too_many_gates_wait_for_their_last_conns)
