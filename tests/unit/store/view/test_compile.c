/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Rows -> a unit: which ports, which endpoints, in which order. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "store/view/layout.h"
#include "tests/lib/view_from.h"
#include "tests/unit/test.h"

/* The endpoint lines of the first port of shop/web, joined. */
static char *endpoints(const char *text)
{
	struct view *v = view_from(text);
	struct vservice s;
	struct vendpoint e;
	struct vport p;
	char *out = calloc(1, 65536);

	ck_assert(view_service_by_name(v, SLICE("shop"), SLICE("web"), &s));
	ck_assert(vservice_port_at(&s, 0, &p));
	for (uint32_t i = 0; vport_endpoint(&p, i, &e); i++) {
		char a[ADDR_TEXT];

		snprintf(out + strlen(out), 65536 - strlen(out), "%s%s%s ",
			 addr_text(&e.addr, true, a), e.ready ? "" : "-", e.terminating ? "t" : "");
		ck_assert_uint_eq(i < vport_ready(&p), e.ready);
	}
	for (uint32_t n = 0; n < vport_ready(&p); n++)
		ck_assert(vport_endpoint(&p, vport_ready_at(&p, n), &e) && e.ready);
	view_unref(v);
	return out;
}

static void assert_endpoints(const char *text, const char *want)
{
	char *got = endpoints(text);

	ck_assert_str_eq(got, want);
	free(got);
}

START_TEST(ready_endpoints_come_first_then_by_address)
{
	assert_endpoints("service shop/web port=80\n"
			 "endpoint shop/web 10.0.0.9:80\n"
			 "endpoint shop/web 10.0.0.3:80 notready\n"
			 "endpoint shop/web 10.0.0.4:80\n"
			 "endpoint shop/web 10.0.0.2:80 terminating\n",
			 "10.0.0.4:80 10.0.0.9:80 10.0.0.2:80-t 10.0.0.3:80- ");
}
END_TEST

START_TEST(an_address_listed_twice_is_one_endpoint)
{
	assert_endpoints("service shop/web port=80\n"
			 "endpoint shop/web 10.0.0.1:80 notready zone=a\n"
			 "endpoint shop/web 10.0.0.1:80 zone=b\n"
			 "endpoint shop/web 10.0.0.1:81\n",
			 "10.0.0.1:80 10.0.0.1:81 ");
}
END_TEST

START_TEST(a_slice_port_belongs_to_the_service_port_of_its_name)
{
	assert_endpoints("service shop/web port=80/http\n"
			 "endpoint shop/web:http 10.0.0.1:80\n"
			 "endpoint shop/web:other 10.0.0.2:80\n"
			 "endpoint shop/web 10.0.0.3:80\n",
			 "10.0.0.1:80 ");
}
END_TEST

START_TEST(a_dual_stack_pod_is_one_endpoint)
{
	assert_endpoints("service shop/web vip=10.96.0.1 vip=fd00::1 port=80\n"
			 "endpoint shop/web [fd00::5]:80\n"
			 "endpoint shop/web 10.0.0.5:80\n",
			 "10.0.0.5:80 ");
	/* The other family serves when it is all there is. */
	assert_endpoints("service shop/web vip=10.96.0.1 port=80\n"
			 "endpoint shop/web [fd00::5]:80\n",
			 "[fd00::5]:80 ");
	assert_endpoints("service shop/web port=80\n"
			 "endpoint shop/web [fd00::5]:80\n"
			 "endpoint shop/web 10.0.0.5:80\n",
			 "10.0.0.5:80 [fd00::5]:80 ");
}
END_TEST

START_TEST(only_tcp_ports_are_in_the_view)
{
	struct view *v =
		view_from("service kube/dns port=53/udp/auto/udp port=53/tcp port=9153/metrics "
			  "port=53/again\n");
	struct vservice s;
	struct vport p;

	ck_assert(view_service_by_name(v, SLICE("kube"), SLICE("dns"), &s));
	ck_assert_uint_eq(vservice_ports(&s), 2);
	ck_assert(vservice_port(&s, 53, &p));
	ck_assert(slice_eq(vport_name(&p), SLICE("tcp")));
	ck_assert(!vservice_port(&s, 54, &p));
	ck_assert(!vservice_port_at(&s, 2, &p));
	view_unref(v);
}
END_TEST

START_TEST(the_order_of_rows_does_not_matter)
{
	static const char *const a = "service shop/web port=80\n"
				     "endpoint shop/web 10.0.0.1:80 zone=a\n"
				     "endpoint shop/web 10.0.0.2:80 zone=b notready\n"
				     "endpoint shop/web 10.0.0.1:80 zone=b\n"
				     "route shop/x parent=shop/web\n"
				     "rule prefix=/x backend=shop/web:80\n"
				     "route shop/y parent=shop/web\n"
				     "rule prefix=/x backend=shop/web:80\n";
	static const char *const b = "route shop/y parent=shop/web\n"
				     "rule prefix=/x backend=shop/web:80\n"
				     "endpoint shop/web 10.0.0.1:80 zone=b\n"
				     "endpoint shop/web 10.0.0.2:80 zone=b notready\n"
				     "endpoint shop/web 10.0.0.1:80 zone=a\n"
				     "route shop/x parent=shop/web\n"
				     "rule prefix=/x backend=shop/web:80\n"
				     "service shop/web port=80\n";
	struct view *va = view_from(a), *vb = view_from(b);
	char *ta = view_text(va), *tb = view_text(vb);

	ck_assert_str_eq(ta, tb);
	free(ta);
	free(tb);
	view_unref(va);
	view_unref(vb);
}
END_TEST

START_TEST(a_row_of_another_kind_is_not_a_service)
{
	struct row row = { .kind = ROW_TENANT,
			   .ns = (char *)(uintptr_t) "",
			   .name = (char *)(uintptr_t) "t" };
	struct unit_bytes u = { 0 };
	struct builder *b;

	ck_assert_int_eq(
		compile_service(&(struct unit_service){ .service = &row }, 1, NULL, NULL, &u),
		-EINVAL);
	unit_bytes_fini(&u);
	ck_assert_int_eq(builder_new(SLICE(""), &b), 0);
	ck_assert_int_eq(builder_set_service(b, &(struct unit_service){ .service = &row }),
			 -EINVAL);
	builder_free(&b);
}
END_TEST

START_TEST(texts_are_stored_once)
{
	char text[65536];
	int at = snprintf(text, sizeof text, "service shop/web port=80\n");
	size_t small, large;
	struct builder_stats st;
	struct world *w;

	for (int i = 0; i < 500; i++)
		at += snprintf(
			text + at, sizeof text - (size_t)at,
			"endpoint shop/web 10.0.%d.%d:80 zone=a-zone-with-a-long-name node=n%d\n",
			i / 250, i % 250, i % 10);
	w = world_new();
	world_say(w, "service shop/web port=80\n");
	builder_stats(world_builder(w), &st);
	small = st.base_bytes;
	world_free(&w);
	w = world_new();
	world_say(w, text);
	builder_stats(world_builder(w), &st);
	large = st.base_bytes;
	world_free(&w);
	ck_assert_uint_lt(large - small, 500 * sizeof(struct unit_endpoint) + 400);
}
END_TEST

UNIT_TESTS("compile", ready_endpoints_come_first_then_by_address,
	   an_address_listed_twice_is_one_endpoint,
	   a_slice_port_belongs_to_the_service_port_of_its_name, a_dual_stack_pod_is_one_endpoint,
	   only_tcp_ports_are_in_the_view, the_order_of_rows_does_not_matter,
	   a_row_of_another_kind_is_not_a_service, texts_are_stored_once)
