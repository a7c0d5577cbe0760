/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Round robin over the endpoints of a view. */
#include "tests/lib/view_from.h"
#include "tests/unit/test.h"
#include "workers/pool/balance.h"

static struct balance b;

static struct vport port_of(const struct view *v)
{
	struct vservice s;
	struct vport p;

	ck_assert(view_service_by_name(v, SLICE("t"), SLICE("s"), &s));
	ck_assert(vservice_port(&s, 80, &p));
	return p;
}

START_TEST(ready_endpoints_take_even_turns)
{
	struct view *v = view_from("service t/s port=80\nendpoint t/s 10.0.0.1:80\n"
				   "endpoint t/s 10.0.0.2:80\nendpoint t/s 10.0.0.3:80 notready\n");
	struct vport p = port_of(v);
	struct tried none = { 0 };
	unsigned seen[4] = { 0 };

	for (int i = 0; i < 100; i++) {
		struct vendpoint e;

		ck_assert(balance_pick(&b, &p, &none, &e));
		seen[e.addr.ip[3]]++;
	}
	ck_assert_uint_eq(seen[1], 50);
	ck_assert_uint_eq(seen[2], 50);
	view_unref(v);
}
END_TEST

START_TEST(what_was_tried_is_left_out)
{
	struct view *v = view_from("service t/s port=80\nendpoint t/s 10.0.0.1:80\n"
				   "endpoint t/s 10.0.0.2:80\n");
	struct vport p = port_of(v);
	struct tried tried = { 0 };
	struct vendpoint e, f;

	ck_assert(balance_pick(&b, &p, &tried, &e));
	tried.addr[tried.n++] = e.addr;
	for (int i = 0; i < 4; i++) {
		ck_assert(balance_pick(&b, &p, &tried, &f));
		ck_assert(!addr_eq(&e.addr, &f.addr));
	}
	tried.addr[tried.n++] = f.addr;
	ck_assert(!balance_pick(&b, &p, &tried, &e));
	view_unref(v);
}
END_TEST

START_TEST(terminating_ones_serve_only_when_nobody_is_ready)
{
	struct view *v = view_from("service t/s port=80\nendpoint t/s 10.0.0.1:80 terminating\n"
				   "endpoint t/s 10.0.0.2:80 notready\n");
	struct vport p = port_of(v);
	struct tried none = { 0 };
	struct vendpoint e;

	ck_assert_uint_eq(vport_ready(&p), 0);
	for (int i = 0; i < 4; i++) {
		ck_assert(balance_pick(&b, &p, &none, &e));
		ck_assert_uint_eq(e.addr.ip[3], 1);
	}
	view_unref(v);
	v = view_from("service t/s port=80\n");
	p = port_of(v);
	ck_assert(!balance_pick(&b, &p, &none, &e));
	view_unref(v);
}
END_TEST

UNIT_TESTS("balance", ready_endpoints_take_even_turns, what_was_tried_is_left_out,
	   terminating_ones_serve_only_when_nobody_is_ready)
