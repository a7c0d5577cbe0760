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
	/* and each address in the set of those that are known, in buckets of about two */
	ck_assert_uint_lt(large - small, 500 * (sizeof(struct unit_endpoint) + 16 + 4) + 400);
}
END_TEST

static struct vport first_port(const struct view *v)
{
	struct vservice s;
	struct vport p;

	ck_assert(view_service_by_name(v, SLICE("shop"), SLICE("web"), &s));
	ck_assert(vservice_port_at(&s, 0, &p));
	return p;
}

START_TEST(endpoints_have_weights_where_they_differ)
{
	struct view *v = view_from("service shop/web port=80\n"
				   "endpoint shop/web 10.0.0.1:80 weight=300\n"
				   "endpoint shop/web 10.0.0.2:80\n"
				   "endpoint shop/web 10.0.0.3:80 weight=1000 notready\n"
				   "endpoint shop/web 10.0.0.4:80 weight=200\n"
				   "endpoint shop/web 10.0.0.4:80 weight=50\n");
	static const uint32_t weight[] = { 300, 100, 200, 1000 };
	uint32_t seen[3] = { 0 };
	struct vport p = first_port(v);

	ck_assert(p.weighted);
	for (uint32_t i = 0; i < countof(weight); i++)
		ck_assert_uint_eq(vport_weight(&p, i), weight[i]);
	ck_assert_uint_eq(vport_weights(&p), 600);	/* of those that are ready */
	for (uint32_t at = 0; at < 600; at++) {
		uint32_t n = vport_by_weight(&p, at);

		ck_assert_uint_lt(n, 3);
		seen[n]++;
	}
	for (uint32_t i = 0; i < 3; i++)
		ck_assert_uint_eq(seen[i], weight[i]);
	view_unref(v);
	v = view_from("service shop/web port=80\n"
		      "endpoint shop/web 10.0.0.1:80 weight=300\n"
		      "endpoint shop/web 10.0.0.2:80 weight=300\n");
	p = first_port(v);
	ck_assert(!p.weighted);
	ck_assert_uint_eq(vport_weights(&p), 0);
	ck_assert_uint_eq(vport_weight(&p, 0), VPORT_WEIGHT);
	view_unref(v);
}
END_TEST

/* "0:3/4 0far:1/1" of the levels of the first port. */
static const char *levels(const struct view *v)
{
	static char out[256];
	struct vport p = first_port(v);
	struct vlevel l;

	out[0] = 0;
	for (uint32_t i = 0; vport_level(&p, i, &l); i++)
		snprintf(out + strlen(out), sizeof out - strlen(out), "%u%s:%u+%u/%u ", l.priority,
			 l.far ? "far" : "", l.first, l.ready, l.total);
	ck_assert_uint_eq(p.levels != 0, out[0] != 0);
	return out;
}

START_TEST(endpoints_stand_by_level)
{
	static const char endpoint[] = "service shop/web port=80\nhost zone=west\n"
		"endpoint shop/web 10.0.0.1:80 zone=east\nendpoint shop/web 10.0.0.2:80 zone=west\n"
		"endpoint shop/web 10.0.0.3:80 zone=west notready\nendpoint shop/web 10.0.0.4:80\n"
		"endpoint shop/web 10.0.0.5:80 zone=west terminating\n"
		"endpoint shop/web 10.0.0.6:80 zone=west priority=2\n"
		"endpoint shop/web 10.0.0.7:80 zone=east priority=1\n";
	static const char asks[] = "policy shop/p target=web prefer_zone\n";
	struct world *w = world_new();
	char both[2048];

	/* By priority alone, until a policy asks for the zone. */
	ck_assert_str_eq(levels(world_say(w, endpoint)), "0:0+3/4 1:3+1/1 2:4+1/1 ");
	ck_assert_str_eq(levels(world_say(w, asks)), "0:0+1/2 0far:1+2/2 1far:3+1/1 2:4+1/1 ");
	snprintf(both, sizeof both, "%s%s", endpoint, asks);
	assert_endpoints(both, "10.0.0.2:80 10.0.0.1:80 10.0.0.4:80 10.0.0.7:80 10.0.0.6:80 "
			       "10.0.0.3:80- 10.0.0.5:80-t ");
	/* Where the host's zone is not known, or nobody is in it, all are alike in their priority. */
	ck_assert_str_eq(levels(world_say(w, "host zone=\n")), "0:0+3/4 1:3+1/1 2:4+1/1 ");
	ck_assert_str_eq(levels(world_say(w, "host zone=north\nremove endpoints shop/web\n"
					     "endpoint shop/web 10.0.0.1:80 zone=east\n"
					     "endpoint shop/web 10.0.0.2:80 priority=0\n")), "");
	/* Listed twice: the better of both. */
	ck_assert_str_eq(levels(world_say(w, "endpoint shop/web 10.0.0.1:80 priority=3\n"
					     "endpoint shop/web 10.0.0.9:80 priority=3\n")),
			 "0far:0+2/2 3far:2+1/1 ");
	world_free(&w);
}
END_TEST

/* Name of the policy of port 80 (main) or 81 (more) of shop/web. */
static void assert_policy(const char *policies, unsigned port, const char *want)
{
	struct world *w = world_new();
	const struct view *v;
	struct vservice s;
	struct vport p;
	struct vpolicy y;

	world_say(w, "service shop/web port=80/main port=81/more\n");
	v = world_say(w, policies);
	ck_assert(view_service_by_name(v, SLICE("shop"), SLICE("web"), &s));
	ck_assert(vservice_port(&s, (uint16_t)port, &p));
	ck_assert_int_eq(vport_policy(&p, &y), want != NULL);
	ck_assert_int_eq(p.has_policy, want != NULL);
	if (want)
		ck_assert_msg(slice_eq(y.name, slice_str(want)), "%s", policies);
	world_free(&w);
}

START_TEST(of_policies_that_are_about_a_port_one_counts_as_a_whole)
{
	/* The name of the port, then age, then the name; never by the order they come in. */
	static const char by_port[] = "policy shop/a target=web created=5\n"
				      "policy shop/b target=web#main created=9\n"
				      "policy shop/c target=web#main created=8\n";
	static const char same_age[] = "policy shop/z target=web created=7\n"
				       "policy shop/y target=web created=7\n";
	struct world *w = world_new();
	struct vpolicy y;
	struct vport p;

	assert_policy(by_port, 80, "c");
	assert_policy(by_port, 81, "a");
	assert_policy(same_age, 80, "y");
	assert_policy("policy other/a target=web\n", 80, NULL);
	assert_policy("policy shop/a target=webb\npolicy shop/b target=web#mai\n", 80, NULL);
	assert_policy("policy shop/a target=web#main\n", 81, NULL);
	assert_policy("policy shop/a target=web#main target=web\n", 81, "a");

	/* The winner's values and nothing of the loser's. */
	p = first_port(world_say(w, "service shop/web port=80/main\n"
				    "policy shop/a target=web connect=10 requests=5\n"
				    "policy shop/b target=web#main response=20 connections=3 "
				    "balancer=RoundRobin failures=0 base=7 max=8 percent=9\n"));
	ck_assert(vport_policy(&p, &y));
	ck_assert_int_eq(y.balancer, BALANCER_ROUND_ROBIN);
	ck_assert_uint_eq(y.connect_ms | y.stall_ms | y.tcp_idle_ms | y.requests, 0);
	ck_assert_uint_eq(y.response_ms, 20);
	ck_assert_uint_eq(y.connections, 3);
	ck_assert_uint_eq(y.limit.slot, 80);
	ck_assert_uint_eq(y.ejection.failures, 0);
	ck_assert_uint_eq(y.ejection.base_ms, 7);
	ck_assert_uint_eq(y.ejection.max_ms, 8);
	ck_assert_uint_eq(y.ejection.percent, 9);
	/* Gone: the other one, which has other limits; then none. */
	p = first_port(world_say(w, "remove policy shop/b\n"));
	ck_assert(vport_policy(&p, &y));
	ck_assert_uint_eq(y.connect_ms, 10);
	ck_assert_uint_eq(y.connections, 0);
	ck_assert_uint_eq(y.requests, 5);
	p = first_port(world_say(w, "remove policy shop/a\n"));
	ck_assert(!vport_policy(&p, &y));
	world_free(&w);
}
END_TEST

/* The lines of a dump that are about filters. */
static void assert_filters(const char *text, const char *want)
{
	struct view *v = view_from(text);
	char *all = view_text(v), got[8192] = "", *save = NULL;

	for (char *l = strtok_r(all, "\n", &save); l; l = strtok_r(NULL, "\n", &save))
		if (strstr(l, "  filter ") || strstr(l, "  backend "))
			snprintf(got + strlen(got), sizeof got - strlen(got), "%s\n", l);
	ck_assert_str_eq(got, want);
	free(all);
	view_unref(v);
}

START_TEST(filters_stand_at_their_rule_or_backend_by_kind)
{
	assert_filters("service shop/web port=80\n"
		       "route shop/r parent=shop/web\n"
		       "rule prefix=/a backend=shop/web:80 response.set=A:b request.set=B:c request.remove=D "
		       "request.add=E:f request.set=ABC:d\n"
		       "rule prefix=/b backend=shop/web:80*2 @response.add=G:h backend=shop/web:81 @request.remove=x\n"
		       "rule prefix=/c request.add=I:j\n",
		       "      filter RequestHeaderModifier set B, ABC; add E; remove D\n"
		       "      filter ResponseHeaderModifier set A\n"
		       "      backend shop/web:80 weight=1\n"
		       "      backend shop/web:80 weight=2\n"
		       "        filter ResponseHeaderModifier add G\n"
		       "      backend shop/web:81 weight=1 invalid\n"
		       "        filter RequestHeaderModifier remove x\n"
		       "      filter RequestHeaderModifier add I\n");
}
END_TEST

START_TEST(of_rate_limits_that_are_about_a_port_one_counts_beside_the_policy)
{
	struct world *w = world_new();
	struct vpolicy y;
	struct vrate a;
	struct vport p;

	p = first_port(world_say(w, "service shop/web port=80/main port=81/more\n"
				    "policy shop/a target=web requests=5\n"
				    "rate shop/a target=web created=5 total=9/1000/9\n"
				    "rate shop/b target=web#main created=9 key=Tenant identity=3/1000/7\n"
				    "rate other/c target=web#main total=1/1000/1\n"));
	ck_assert(p.has_rate && p.has_policy && vport_policy(&p, &y) && vport_rate(&p, &a));
	ck_assert(slice_eq(a.name, SLICE("b")));
	ck_assert_int_eq(a.key, RATE_KEY_TENANT);
	ck_assert_uint_eq(a.identity.requests, 3);
	ck_assert_uint_eq(a.identity.burst, 7);
	ck_assert_uint_eq(a.identity.every_ns, 333333334);	/* never more than was written */
	ck_assert_uint_eq(a.total.requests | a.total.every_ns, 0);
	ck_assert_uint_eq(a.slot.slot, 80);
	p = first_port(world_say(w, "remove rate shop/b\n"));
	ck_assert(vport_rate(&p, &a) && slice_eq(a.name, SLICE("a")));
	ck_assert_uint_eq(a.total.every_ns, 111111112);
	p = first_port(world_say(w, "remove rate shop/a\n"));
	ck_assert(!p.has_rate && !vport_rate(&p, &a) && vport_policy(&p, &y));
	world_free(&w);
}
END_TEST

#define SHOP "service shop/web port=80/main\nendpoint shop/web:main 10.0.0.1:8080\n"

static void assert_budget(const char *policies, const char *name, bool backend, uint32_t percent,
			  uint32_t interval_ms, uint32_t least)
{
	struct world *w = world_new();
	struct vservice s;
	struct vbudget b;
	char text[1000];

	snprintf(text, sizeof text, "%s%s", SHOP, policies);
	world_say(w, text);
	ck_assert(view_service_by_name(world_view(w), SLICE("shop"), SLICE("web"), &s));
	b = vservice_budget(&s);
	ck_assert_msg(slice_eq(b.policy, slice_str(name)), "%.*s", (int)b.policy.n, b.policy.p);
	ck_assert_int_eq(b.backend_policy, backend);
	ck_assert_uint_eq(b.percent, percent);
	ck_assert_uint_eq(b.interval_ms, interval_ms);
	ck_assert_uint_eq(b.least, least);
	world_free(&w);
}

START_TEST(a_service_has_one_retry_budget)
{
	assert_budget("", "", false, 20, 10000, 100);
	assert_budget("policy shop/p target=web on=5xx\n", "", false, 20, 10000, 100);
	assert_budget("policy shop/p target=web budget=50/2000/3\n", "p", false, 50, 2000, 6);
	assert_budget("policy shop/p target=web#other created=3 budget=50/2000/3\n"
		      "policy shop/q target=web created=2 budget=60/1000/1\n", "q", false, 60, 1000, 1);
	assert_budget("policy shop/p target=web created=1 budget=50/2000/3\n"
		      "backendpolicy shop/b target=web created=9 budget=0/1000/1\n"
		      "backendpolicy shop/a target=web created=9 budget=1/1000/1\n"
		      "backendpolicy shop/c target=other budget=2/1000/1\n"
		      "backendpolicy other/d target=web budget=3/1000/1\n", "a", true, 1, 1000, 1);
	assert_budget("backendpolicy shop/b target=web\n", "b", true, 20, 10000, 100);
}
END_TEST

static void assert_times(const struct view *v, const char *path, const char *want)
{
	struct vservice s;
	struct vbackend b;
	struct vport p;
	struct vrule r;
	struct vtimes t;
	char words[640];

	ck_assert(view_service_by_name(v, SLICE("shop"), SLICE("web"), &s) && vservice_port(&s, 80, &p));
	ck_assert_int_eq(vport_match(&p, SLICE("shop"), &(struct vrequest){ .method = SLICE("GET"), .path = slice_str(path) },
				      &r), MATCH_RULE);
	ck_assert(vrule_backend(&r, 0, &b) && b.valid);
	vtimes_of(&r, &b.port, &t);
	vtimes_words(&t, words, sizeof words);
	ck_assert_str_eq(words, want);
}

/* Of time of the request, time of an attempt and retries: what the rule says, each as a whole, else what
 * the policy of the back end says. */
START_TEST(a_rule_says_it_before_the_policy_of_its_back_end)
{
	static const char retries[] = ", at most 2 retries on reset, 5xx, each after 0 ms to 25 ms, doubled up to 250 ms";
	struct world *w = world_new();
	const struct view *v;
	char want[300];

	v = world_say(w, SHOP "service shop/db port=81/main\n"
		      "policy shop/front target=web try=9 on=5xx\n"
		      "policy shop/back target=db try=500 on=5xx,reset retries=2\n"
		      "route shop/r parent=shop/web\n"
		      "rule prefix=/none backend=shop/db:81\n"
		      "rule prefix=/all request=3000 attempt=700 retries=1 codes=503,429 backoff=40 backend=shop/db:81\n"
		      "rule prefix=/unlimited request=0 attempt=0 backend=shop/db:81\n");
	snprintf(want, sizeof want, "attempt 500 ms%s", retries);
	assert_times(v, "/none", want);
	assert_times(v, "/all", "request 3000 ms, attempt 700 ms, at most 1 retry on connect-failure, "
		     "refused-stream, reset, retriable-status-codes 429 503, each after 40 ms to 80 ms, doubled "
		     "up to 440 ms");
	snprintf(want, sizeof want, "request without limit, attempt without limit%s", retries);
	assert_times(v, "/unlimited", want);
	world_free(&w);
}
END_TEST

START_TEST(a_port_says_whom_its_endpoints_must_be)
{
	static const char world[] =
		"service shop/web port=80/a port=81/b port=82/c\n"
		"configmap shop/x pem=one\nconfigmap shop/y pem=two\nconfigmap shop/bad flaw=1\n"
		"backendtls shop/all target=web host=all.example ca=x ca=y ca=bad ca=gone dns=a.b uri=spiffe://c/d\n"
		"backendtls shop/b target=web#b host=b.example system created=5\n"
		"backendtls other/c target=web#c system\n";
	struct world *w = world_new();
	struct vservice s;
	struct vport p;
	struct vtls v, was;
	bool is_uri;

	ck_assert(view_service_by_name(world_say(w, world), SLICE("shop"), SLICE("web"), &s));
	ck_assert(vservice_port(&s, 80, &p) && p.has_tls && vport_tls(&p, &was));
	ck_assert(slice_eq(was.name, SLICE("all")) && slice_eq(was.host, SLICE("all.example")));
	ck_assert(!was.trusts_host && was.cas == 2 && was.names == 2);
	ck_assert(slice_eq(vport_tls_ca(&p, 0), SLICE("one")) && slice_eq(vport_tls_ca(&p, 1), SLICE("two")));
	ck_assert_uint_eq(vport_tls_ca(&p, 2).n, 0);
	ck_assert(slice_eq(vport_tls_name(&p, 0, &is_uri), SLICE("a.b")) && !is_uri);
	ck_assert(slice_eq(vport_tls_name(&p, 1, &is_uri), SLICE("spiffe://c/d")) && is_uri);
	ck_assert_uint_eq(vport_tls_name(&p, 2, &is_uri).n, 0);
	/* the same has the same id; of another port, or of another policy, another one */
	ck_assert(vservice_port(&s, 82, &p) && vport_tls(&p, &v));
	ck_assert(memcmp(v.id, was.id, sizeof v.id) == 0);
	ck_assert(vservice_port(&s, 81, &p) && vport_tls(&p, &v));
	ck_assert(v.trusts_host && v.cas == 0 && v.names == 0 && memcmp(v.id, was.id, sizeof v.id) != 0);
	ck_assert(view_service_by_name(world_say(w, "configmap shop/y pem=three\n"), SLICE("shop"), SLICE("web"), &s));
	ck_assert(vservice_port(&s, 80, &p) && vport_tls(&p, &v));
	ck_assert(slice_eq(vport_tls_ca(&p, 1), SLICE("three")) && memcmp(v.id, was.id, sizeof v.id) != 0);
	ck_assert(view_service_by_name(world_say(w, "configmap shop/y pem=two\n"), SLICE("shop"), SLICE("web"), &s));
	ck_assert(vservice_port(&s, 80, &p) && vport_tls(&p, &v));
	ck_assert(memcmp(v.id, was.id, sizeof v.id) == 0);
	ck_assert(view_service_by_name(world_say(w, "remove backendtls shop/all\n"), SLICE("shop"), SLICE("web"), &s));
	ck_assert(vservice_port(&s, 80, &p) && !p.has_tls && !vport_tls(&p, &v));
	ck_assert_uint_eq(vport_tls_ca(&p, 0).n, 0);
	world_free(&w);
}
END_TEST

UNIT_TESTS("compile", a_port_says_whom_its_endpoints_must_be, a_service_has_one_retry_budget, a_rule_says_it_before_the_policy_of_its_back_end,
	   filters_stand_at_their_rule_or_backend_by_kind, ready_endpoints_come_first_then_by_address, endpoints_stand_by_level,
	   an_address_listed_twice_is_one_endpoint,
	   a_slice_port_belongs_to_the_service_port_of_its_name, a_dual_stack_pod_is_one_endpoint,
	   only_tcp_ports_are_in_the_view, the_order_of_rows_does_not_matter,
	   a_row_of_another_kind_is_not_a_service, texts_are_stored_once,
	   endpoints_have_weights_where_they_differ,
	   of_policies_that_are_about_a_port_one_counts_as_a_whole,
	   of_rate_limits_that_are_about_a_port_one_counts_beside_the_policy)
