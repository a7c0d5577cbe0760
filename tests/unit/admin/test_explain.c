/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Where a request would go: the same way as the workers' and with the chances that their balancer
 * gives, which is asked for comparison. */
#include "tests/unit/test.h"

#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "nodeproxy/lib/base/rand.h"
#include "tests/lib/admin_state.h"
#include "tests/lib/view_from.h"
#include "workers/obs/check.h"
#include "workers/obs/endpoint.h"
#include "workers/pool/balance.h"

#define PICKS 20000

static const char world[] =
	"namespace shop tenant=acme slot=3/1 weight=5\n"
	"service shop/web vip=10.96.0.1 slot=4/1 port=80/http/http port=9000/raw/tcp\n"
	"endpoint shop/web:http 10.0.0.1:8081\n"
	"endpoint shop/web:http 10.0.0.2:8082\n"
	"endpoint shop/web:http 10.0.0.3:8083\n"
	"endpoint shop/web:http 10.0.0.4:8084\n"
	"endpoint shop/web:http 10.0.0.5:8085 notready\n"
	"endpoint shop/web:raw 10.0.0.1:9001\n"
	"service shop/api slot=5/1 port=80\n"
	"endpoint shop/api 10.0.0.9:8089\n"
	"route shop/split parent=shop/web:80\n"
	"rule prefix=/a/b name=deep backend=shop/api:80\n"
	"rule prefix=/a name=one request.set=X:y response.remove=Z backend=shop/api:80*9 @request.add=W:v "
	"backend=shop/web:80*1\n"
	"rule exact=/only name=two backend=shop/web:80\n"
	"rule prefix=/m redirect=host:h,scheme:https\n";

static struct state st;
static struct admin_pages *pages;

static int64_t mono_ns(void)
{
	return 1000 * NS_PER_S;
}

static void begin(void)
{
	clock_simulate(mono_ns, NULL);
	clock_tick();
	rand_seed(7);
	pages = admin_state_new(&st);
	view_unref(st.view);
	st.view = view_from(world);
	pages->knobs.n_listeners = 2;
	pages->knobs.listener[0] = (struct knobs_listener){ .name = "front", .ns = "shop",
		.route = LISTEN_SERVICE, .service_ns = "shop", .service_name = "api", .service_port = 80 };
	pages->knobs.listener[1] = (struct knobs_listener){ .name = "vips", .ns = "shop",
		.route = LISTEN_ORIGINAL };
}

static void end(void)
{
	admin_state_free(&st, &pages);
	clock_simulate(NULL, NULL);
}

static json_t *explain(const char *query)
{
	char target[400];
	int status;
	json_t *o;

	snprintf(target, sizeof target, "/v1/explain?%s", query);
	o = admin_ask(&st, "GET", target, "", 0, &status, NULL);
	ck_assert_int_eq(status, 200);
	return o;
}

/* The i-th step of this name, NULL: there are not as many. */
static const json_t *step(const json_t *o, const char *name, unsigned i)
{
	const json_t *s;
	size_t k;

	json_array_foreach(json_object_get(o, "steps"), k, s)
		if (strcmp(jget_str(s, "step"), name) == 0 && i-- == 0)
			return s;
	return NULL;
}

static double probability(const json_t *o, const char *address)
{
	const json_t *s;
	size_t k;

	json_array_foreach(json_object_get(o, "steps"), k, s)
		if (strcmp(jget_str(s, "what"), address) == 0)
			return json_number_value(json_object_get(s, "probability"));
	ck_abort_msg("no step %s", address);
	return 0;
}

static struct board_endpoint *of(uint16_t port)
{
	return board_endpoint(pages->board, 100 + port, 7);
}

/* The share of picks by the workers' balancer that each endpoint of shop/web:80 gets. */
static void draw(enum balancer how, double share[6])
{
	static struct balance b;
	struct wish wish = { .how = how, .balancing = &balancing_default,
			     .ejection = &ejection_default };
	struct tried none = { 0 };
	struct vservice s;
	struct vpolicy y;
	struct vport p;

	b = (struct balance){ .board = pages->board };
	for (unsigned i = 0; i < 6; i++)
		share[i] = 0;
	ck_assert(view_service_by_name(st.view, SLICE("shop"), SLICE("web"), &s));
	ck_assert(vservice_port(&s, 80, &p));
	if (vport_policy(&p, &y))
		wish.balancing = &y.balancing;
	for (unsigned i = 0; i < PICKS; i++) {
		struct vendpoint e;

		ck_assert(balance_pick(&b, &p, &wish, &none, &e));
		share[e.addr.ip[3]] += 1.0 / PICKS;
	}
}

static void same_chances(void)
{
	json_t *o = explain("url=web.shop/only&from=shop");
	double share[6], sum = 0;

	draw(BALANCER_PEAK_EWMA, share);
	for (unsigned i = 1; i < 6; i++) {
		char addr[32];
		double p;

		snprintf(addr, sizeof addr, "10.0.0.%u:808%u", i, i);
		p = probability(o, addr);
		sum += p;
		ck_assert_msg(p > share[i] - 0.025 && p < share[i] + 0.025, "%s: %g, picked %g", addr, p,
			      share[i]);
	}
	ck_assert(sum > 0.999 && sum < 1.001);
	ck_assert(json_is_true(json_object_get(o, "ok")));
	json_decref(o);
}

START_TEST(chances_are_those_of_the_balancer)
{
	struct mono now = { 1000 * NS_PER_S };

	begin();
	same_chances();			/* nothing is known: even */
	of(8081)->load = 5;
	of(8082)->load = 2;
	endpoint_answered(of(8081), 40000, now);
	endpoint_answered(of(8082), 40000, now);
	endpoint_answered(of(8083), 20000, now);
	same_chances();			/* all different but one that is not known */
	for (unsigned i = 0; i < ejection_default.failures; i++)
		endpoint_failed(of(8083), &ejection_default, now, now);
	ck_assert(endpoint_is_out(of(8083), &ejection_default, now));
	same_chances();			/* one is out */
	for (unsigned i = 0; i < ejection_default.failures; i++)
		endpoint_failed(of(8082), &ejection_default, now, now), endpoint_failed(of(8084), &ejection_default, now, now);
	same_chances();			/* most are: it counts for nothing */
	end();
}
END_TEST

static const char levels[] =
	"service shop/web port=80/http/http\nhost zone=a\n"
	"endpoint shop/web:http 10.0.0.1:8081 zone=a\n"
	"endpoint shop/web:http 10.0.0.2:8082 zone=a\n"
	"endpoint shop/web:http 10.0.0.3:8083 zone=b\n"
	"endpoint shop/web:http 10.0.0.4:8084 priority=2\n"
	"endpoint shop/web:http 10.0.0.5:8085 notready\n"
	"policy shop/p target=web prefer_zone\n";

START_TEST(levels_share_as_the_balancer_has_it)
{
	struct mono now = { 1000 * NS_PER_S };
	json_t *o;

	begin();
	view_unref(st.view);
	st.view = view_from(levels);
	same_chances();
	for (unsigned i = 0; i < ejection_default.failures; i++)
		endpoint_failed(of(8081), &ejection_default, now, now);
	same_chances();			/* 70 of 100, and 30 for the next zone */
	o = explain("url=web.shop/only&from=shop");
	ck_assert_str_eq(jget_str(step(o, "level", 0), "what"), "priority 0");
	ck_assert_str_eq(jget_str(step(o, "level", 1), "what"), "priority 0, other zones");
	ck_assert_str_eq(jget_str(step(o, "level", 0), "why"),
			 "70%: 2 of 2 endpoints are ready, 1 of those are out");
	json_decref(o);
	for (unsigned i = 0; i < ejection_default.failures; i++)
		endpoint_failed(of(8082), &ejection_default, now, now);
	same_chances();			/* all from the next zone */
	for (unsigned i = 0; i < ejection_default.failures; i++) {
		endpoint_failed(of(8083), &ejection_default, now, now);
		endpoint_failed(of(8084), &ejection_default, now, now);
	}
	same_chances();			/* all are out: numbers decide */
	end();
}
END_TEST

static void fails_its_checks(uint16_t port)
{
	ck_assert(check_note(pages->board, 100u + port, 7, false, 1, 1, (struct mono){ 1000 * NS_PER_S }));
}

START_TEST(the_unhealthy_count_in_their_level_and_are_told)
{
	static const char *const says[] = { " check=/well", " check=/well panic=0" };
	struct mono now = { 1000 * NS_PER_S };
	char text[1024];
	json_t *o;

	for (unsigned k = 0; k < countof(says); k++) {
		begin();
		view_unref(st.view);
		snprintf(text, sizeof text, "%.*s%s\n", (int)strlen(levels) - 1, levels, says[k]);
		st.view = view_from(text);
		fails_its_checks(8081);
		same_chances();			/* 70 of 100, and 30 for the next zone */
		o = explain("url=web.shop/only&from=shop");
		ck_assert_str_eq(jget_str(step(o, "level", 0), "why"),
				 "70%: 2 of 2 endpoints are ready, 1 of those are out (1 unhealthy)");
		ck_assert_str_eq(jget_str(step(o, "endpoint", 0), "why"),
				 "unhealthy for 0 s: health checks failed");
		json_decref(o);
		for (unsigned i = 0; i < ejection_default.failures; i++)
			endpoint_failed(of(8082), &ejection_default, now, now);
		same_chances();			/* all from the next zone */
		fails_its_checks(8082);
		fails_its_checks(8083);
		same_chances();			/* only the last one is left */
		fails_its_checks(8084);
		same_chances();			/* nobody is */
		end();
	}
}
END_TEST

START_TEST(who_asks_and_through_what_decides)
{
	static const struct { const char *query, *service, *end; } cases[] = {
		/* the first listener leads to one Service, whatever the host says */
		{ "url=web.shop/only", "shop/api:80", NULL },
		{ "url=web.shop/only&from=shop", "shop/web", NULL },
		{ "url=web/only&from=shop", "shop/web", NULL },
		{ "url=web/only&from=other", "none", "NO_SERVICE" },
		{ "url=10.96.0.1:80/only&from=shop/vips", "shop/web:80", NULL },
		{ "url=10.96.0.1:9000&from=shop/vips", "shop/web:9000", NULL },
		{ "url=10.96.0.1:81&from=shop/vips", "none", "NO_SERVICE" },
		{ "url=web.shop&from=shop/vips", "none", "NO_SERVICE" },
	};

	json_t *o;

	begin();
	for (size_t i = 0; i < countof(cases); i++) {
		const json_t *answer;

		o = explain(cases[i].query);
		answer = step(o, "answer", 0);
		ck_assert_str_eq(jget_str(step(o, "service", 0), "what"), cases[i].service);
		ck_assert_str_eq(answer ? jget_str(answer, "what") : "", cases[i].end ? cases[i].end : "");
		ck_assert(jget_bool(o, "ok") == !cases[i].end);
		json_decref(o);
	}
	pages->knobs.listener[0].service_port = 81;
	o = explain("url=x");
	ck_assert_str_eq(jget_str(step(o, "answer", 0), "what"), "NO_LISTENER_SERVICE");
	json_decref(o);
	end();
}
END_TEST

START_TEST(the_rule_that_won_stands_before_those_that_did_not)
{
	json_t *o;

	begin();
	o = explain("url=web.shop/a/x&from=shop");
	ck_assert_ptr_nonnull(strstr(jget_str(step(o, "route", 0), "why"), "PathPrefix /a"));
	for (unsigned i = 0; i < 2; i++)
		ck_assert_ptr_nonnull(strstr(jget_str(step(o, "other-rule", i), "why"), "another path"));
	ck_assert_ptr_nonnull(step(o, "other-rule", 2));
	ck_assert_ptr_null(step(o, "other-rule", 3));
	ck_assert_str_eq(jget_str(step(o, "filter", 0), "what"), "RequestHeaderModifier");
	ck_assert_str_eq(jget_str(step(o, "filter", 0), "why"), "set X");
	ck_assert_str_eq(jget_str(step(o, "filter", 1), "why"), "remove Z");
	ck_assert_str_eq(jget_str(step(o, "filter", 2), "why"), "add W, of this back end");
	ck_assert_ptr_null(step(o, "filter", 3));
	ck_assert_str_eq(jget_str(step(o, "backend", 0), "why"), "weight 9 of 10: 90%");
	ck_assert(probability(o, "10.0.0.9:8089") == 0.9);
	ck_assert(probability(o, "10.0.0.1:8081") == 0.025);
	ck_assert(probability(o, "10.0.0.5:8085") == 0);
	json_decref(o);
	o = explain("url=web.shop/a/b&from=shop");
	ck_assert_ptr_nonnull(strstr(jget_str(step(o, "other-rule", 1), "why"), "comes later"));
	json_decref(o);
	o = explain("url=web.shop/nothing&from=shop");
	ck_assert_ptr_nonnull(step(o, "other-rule", 2));
	ck_assert_str_eq(jget_str(step(o, "answer", 0), "what"), "NO_ROUTE");
	json_decref(o);
	o = explain("url=web.shop:9000/&from=shop");
	ck_assert_str_eq(jget_str(step(o, "balancer", 0), "what"), "least request");
	ck_assert(probability(o, "10.0.0.1:9001") == 1);
	json_decref(o);
	end();
}
END_TEST

START_TEST(a_redirect_is_the_end)
{
	json_t *o;

	begin();
	o = explain("url=web.shop/m&from=shop");
	ck_assert_str_eq(jget_str(step(o, "filter", 0), "why"), "answer 302, scheme https, host h");
	ck_assert_str_eq(jget_str(step(o, "answer", 0), "what"), "REDIRECTED");
	ck_assert_ptr_null(step(o, "answer", 1));
	json_decref(o);
	end();
}
END_TEST

START_TEST(headers_query_and_namespace_of_the_caller_count)
{
	json_t *o;
	int status;

	begin();
	view_unref(st.view);
	st.view = view_from("service shop/web vip=10.96.0.1 port=80\nendpoint shop/web 10.0.0.1:80\n"
			    "route shop/r parent=shop/web\n"
			    "rule prefix=/a header=x:1,2 param=q:3 backend=shop/web:80\n"
			    "rule prefix=/a method=PUT backend=shop/web:80\n"
			    "rule exact=/h header=host:a.b backend=shop/web:80\n"
			    "rule exact=/h header=host:web.shop backend=shop/web:80\n"
			    "grpcroute bank/g parent=shop/web\nrule call=/s/m backend=shop/web:80\n");
	o = explain("url=web.shop/a?q=%253%2533&from=shop&header=X:1&header=y:%20z&header=x:%202");
	ck_assert_str_eq(jget_str(step(o, "route", 0), "what"), "none");
	ck_assert_str_eq(jget_str(step(o, "other-rule", 2), "why"), "3: PathPrefix /a, PUT: the method is GET, not PUT");
	ck_assert_str_eq(jget_str(step(o, "other-rule", 3), "why"), "4: PathPrefix /a, header x = 1,2, "
			 "parameter q = 3: parameter q is %3%33, not 3");
	ck_assert_ptr_null(step(o, "other-rule", 4));
	json_decref(o);
	o = explain("url=web.shop/h&from=shop");
	ck_assert_ptr_nonnull(strstr(jget_str(step(o, "route", 0), "why"), "header host = web.shop"));
	json_decref(o);
	o = explain("url=web.shop/h&from=shop&header=Host:a.b");
	ck_assert_ptr_nonnull(strstr(jget_str(step(o, "route", 0), "why"), "header host = a.b"));
	json_decref(o);
	o = explain("url=web.shop/a?q=%2533&from=shop&header=X:1&header=y:%20z&header=x:%202");
	ck_assert_str_eq(jget_str(step(o, "route", 0), "why"), "HTTPRoute, rule 4 of 4 in order of precedence: "
			 "PathPrefix /a, header x = 1,2, parameter q = 3");
	json_decref(o);
	o = explain("url=web.shop/s/m&from=bank");
	ck_assert_str_eq(jget_str(step(o, "route", 0), "why"), "GRPCRoute for callers of namespace bank, rule 1 of 1 "
			 "in order of precedence: method s/m");
	json_decref(o);
	o = explain("url=web.shop/s/n&from=bank");
	ck_assert_str_eq(jget_str(step(o, "other-rule", 0), "why"), "1: method s/m: another service or method");
	json_decref(o);
	o = admin_ask(&st, "GET", "/v1/explain?url=web.shop&header=nothing", "", 0, &status, NULL);
	ck_assert_int_eq(status, 400);
	json_decref(o);
	end();
}
END_TEST

START_TEST(a_captured_pod_asks_by_address_or_name)
{
	static union {
		struct pods_page page;
		uint8_t bytes[PODS_PAGE_BYTES(1)];
	} pods;
	int status;
	json_t *o;

	begin();
	pods.page = (struct pods_page){ .magic = PODS_MAGIC, .n = 1 };
	strcpy(pods.page.pod[0].words.name, "cart-1");
	strcpy(pods.page.pod[0].words.ns, "shop");
	strcpy(pods.page.pod[0].words.account, "cart");
	strcpy(pods.page.pod[0].words.netns, "/run/netns/cart-1");
	st.pods_bytes = slice_of(pods.bytes, sizeof pods.bytes);
	o = explain("url=10.96.0.1:80/only&from=shop/cart-1");
	ck_assert_ptr_nonnull(strstr(jget_str(step(o, "caller", 0), "why"), "pod cart-1; pays as tenant"));
	ck_assert_str_eq(jget_str(step(o, "service", 0), "what"), "shop/web:80");
	json_decref(o);
	o = explain("url=web/only&from=shop/cart-1");
	ck_assert_str_eq(jget_str(step(o, "service", 0), "what"), "shop/web");
	json_decref(o);
	pods.page.pod[0].leaves = 1;
	o = admin_ask(&st, "GET", "/v1/explain?url=web&from=shop/cart-1", "", 0, &status, NULL);
	ck_assert_int_eq(status, 404);
	json_decref(o);
	st.pods_bytes = (struct slice){ 0 };
	end();
}
END_TEST

UNIT_TESTS("explain", a_captured_pod_asks_by_address_or_name, a_redirect_is_the_end, chances_are_those_of_the_balancer,
	   levels_share_as_the_balancer_has_it, the_unhealthy_count_in_their_level_and_are_told,
	   who_asks_and_through_what_decides,
	   the_rule_that_won_stands_before_those_that_did_not,
	   headers_query_and_namespace_of_the_caller_count)
