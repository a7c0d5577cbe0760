/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Which rule a request falls to, and why not to another: every condition, every step of the
 * precedence, whose callers, which kind; and a search that agrees with trying everything. */
#include <stdio.h>

#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/net/server_name.h"
#include "tests/lib/view_from.h"
#include "tests/unit/test.h"

#define HEADERS 8

struct request {
	const char *method, *path, *query;
	const char *header[HEADERS]; /* "name: value" */
};

static unsigned asked; /* how often a header was looked for */

static bool header_of(const void *arg, struct slice name, uint32_t *at, struct slice *ret)
{
	const struct request *r = arg;

	asked++;
	for (uint32_t i = *at; i < HEADERS && r->header[i]; i++) {
		const char *colon = strchr(r->header[i], ':');

		if (!slice_caseeq(slice_of(r->header[i], (size_t)(colon - r->header[i])), name))
			continue;
		*ret = slice_str(colon + 2);
		*at = i + 1;
		return true;
	}
	return false;
}

static struct vrequest request_of(const struct request *r)
{
	return (struct vrequest){ .method = slice_str(r->method ? r->method : "GET"),
				  .path = slice_str(r->path ? r->path : "/"),
				  .query = slice_str(r->query ? r->query : ""),
				  .header = header_of,
				  .arg = r };
}

static struct vport port_of(const struct view *v, uint16_t number)
{
	struct vservice s;
	struct vport p;

	ck_assert(view_service_by_name(v, SLICE("shop"), SLICE("web"), &s));
	ck_assert(vservice_port(&s, number, &p));
	return p;
}

static const char *said(enum match_result m, const struct vrule *r)
{
	static char out[128];

	if (m != MATCH_RULE)
		return m == MATCH_DIRECT ? "direct" : m == MATCH_BY_NAME ? "by name" : "nothing";
	snprintf(out, sizeof out, "%.*s/%.*s", (int)r->route_name.n, r->route_name.p,
		 (int)r->rule_name.n, r->rule_name.p);
	return out;
}

static const char *match_as(const struct view *v, const char *ns, const struct request *r)
{
	struct vport p = port_of(v, 80);
	struct vrequest q = r ? request_of(r) : (struct vrequest){ .arg = NULL };
	struct vrule rule;

	return said(vport_match(&p, slice_str(ns), r ? &q : NULL, &rule), &rule);
}

static const char *match(const struct view *v, const struct request *r)
{
	return match_as(v, "shop", r);
}

#define WEB "service shop/web port=80\n"
#define ROUTE "route shop/r parent=shop/web\n"

START_TEST(all_conditions_of_a_match_must_hold)
{
	struct view *v = view_from(WEB ROUTE "rule name=all prefix=/a method=PUT header=x-a:1 "
					     "header=x-b:two param=q:3\n");
	static const struct {
		struct request r;
		bool holds;
	} row[] = {
		{ { "PUT", "/a", "q=3", { "X-A: 1", "x-b: two" } }, true },
		{ { "PUT", "/a/b", "z&q=3", { "y: 1", "x-B: two", "x-a: 1" } }, true },
		{ { "GET", "/a", "q=3", { "x-a: 1", "x-b: two" } }, false },
		{ { "put", "/a", "q=3", { "x-a: 1", "x-b: two" } }, false },
		{ { "PUT", "/b", "q=3", { "x-a: 1", "x-b: two" } }, false },
		{ { "PUT", "/a", "q=4", { "x-a: 1", "x-b: two" } }, false },
		{ { "PUT", "/a", "", { "x-a: 1", "x-b: two" } }, false },
		{ { "PUT", "/a", "q=3", { "x-a: 1" } }, false },
		{ { "PUT", "/a", "q=3", { "x-a: 1", "x-b: Two" } }, false },
		{ { "PUT", "/a", "q=3", { "x-a: 12", "x-b: two" } }, false },
	};

	for (size_t i = 0; i < countof(row); i++)
		ck_assert_msg((strcmp(match(v, &row[i].r), "r/all") == 0) == row[i].holds, "row %zu",
			      i);
	view_unref(v);
}
END_TEST

START_TEST(lines_of_one_header_are_joined_with_commas)
{
	struct view *v = view_from(WEB ROUTE "rule name=three header=x:a,b,c\n"
					     "rule name=one header=x:a\n");

	ck_assert_str_eq(match(v, &(struct request){ .header = { "x: a", "y: 1", "X: b", "x: c" } }),
			 "r/three");
	ck_assert_str_eq(match(v, &(struct request){ .header = { "x: a,b", "x: c" } }), "r/three");
	ck_assert_str_eq(match(v, &(struct request){ .header = { "x: a,b,c" } }), "r/three");
	ck_assert_str_eq(match(v, &(struct request){ .header = { "x: a" } }), "r/one");
	ck_assert_str_eq(match(v, &(struct request){ .header = { "x: a", "x: b" } }), "nothing");
	ck_assert_str_eq(match(v, &(struct request){ .header = { "x: a", "x: b", "x: c", "x: d" } }),
			 "nothing");
	ck_assert_str_eq(match(v, &(struct request){ .header = { "x: b", "x: a" } }), "nothing");
	view_unref(v);
}
END_TEST

START_TEST(parameters_are_decoded_and_the_first_counts)
{
	struct view *v = view_from(WEB ROUTE "rule name=1 param=q:a%b\n"
					     "rule name=2 param=a-b:c+d\n"
					     "rule name=3 param=x:/ü=&\n");
	static const struct {
		const char *query, *want;
	} row[] = {
		{ "q=a%25b", "r/1" },	   { "q=a%b", "r/1" },		 { "q=a%b&q=x", "r/1" },
		{ "q=x&q=a%25b", "nothing" }, { "Q=a%25b", "nothing" },	 { "%71=a%25b", "r/1" },
		{ "q=a%25b%", "nothing" },   { "q=a%2", "nothing" },	 { "&&q=a%25b&", "r/1" },
		{ "a-b=c%2bd", "r/2" },	   { "a-b=c%2Bd", "r/2" },	 { "a-b=c+d", "nothing" },
		{ "a%2db=c%2bd", "r/2" },  { "x=/%c3%bc=%26", "r/3" },	 { "x=%2f%C3%BC%3d%26", "r/3" },
		{ "x=/%c3%bc=&", "nothing" }, { "q", "nothing" },	 { "=a", "nothing" },
		{ "", "nothing" },	   { "xq=a%25b", "nothing" },	 { "q=a;q=a%25b", "nothing" },
	};

	for (size_t i = 0; i < countof(row); i++)
		ck_assert_msg(strcmp(match(v, &(struct request){ .query = row[i].query }),
				     row[i].want) == 0, "%s -> %s", row[i].query,
			      match(v, &(struct request){ .query = row[i].query }));
	view_unref(v);
	v = view_from(WEB ROUTE "rule name=1 param=q:a\xc2\xa0" "b\n");
	ck_assert_str_eq(match(v, &(struct request){ .query = "q=a%c2%a0b" }), "r/1");
	view_unref(v);
}
END_TEST

/* Each row: two rules, of which the second wins, and then does not hold. */
START_TEST(every_step_of_the_precedence_counts_and_then_the_next)
{
	static const struct {
		const char *loses, *wins;
		struct request both, first;
	} row[] = {
		{ "prefix=/a/b/c", "exact=/a/b/c method=GET",
		  { "GET", "/a/b/c", NULL, { NULL } }, { "PUT", "/a/b/c", NULL, { NULL } } },
		{ "prefix=/a method=GET header=x:1 header=y:1 param=q:1", "prefix=/a/b header=x:1",
		  { "GET", "/a/b/c", "q=1", { "x: 1", "y: 1" } }, { "GET", "/a/c", "q=1", { "x: 1", "y: 1" } } },
		{ "prefix=/a header=x:1 header=y:1 param=q:1", "prefix=/a method=PUT",
		  { "PUT", "/a", "q=1", { "x: 1", "y: 1" } }, { "GET", "/a", "q=1", { "x: 1", "y: 1" } } },
		{ "prefix=/a header=x:1 param=q:1 param=r:2", "prefix=/a header=x:1 header=y:1",
		  { "GET", "/a", "q=1&r=2", { "x: 1", "y: 1" } }, { "GET", "/a", "q=1&r=2", { "x: 1" } } },
		{ "prefix=/a header=x:1 param=q:1", "prefix=/a header=x:1 param=q:1 param=r:2",
		  { "GET", "/a", "q=1&r=2", { "x: 1" } }, { "GET", "/a", "q=1", { "x: 1" } } },
		{ "prefix=/a", "prefix=/a/ method=GET",
		  { "GET", "/a/x", NULL, { NULL } }, { "PUT", "/a/x", NULL, { NULL } } },
	};

	for (size_t i = 0; i < countof(row); i++) {
		char text[512];
		struct view *v;

		snprintf(text, sizeof text, WEB ROUTE "rule name=loses %s\nrule name=wins %s\n",
			 row[i].loses, row[i].wins);
		v = view_from(text);
		ck_assert_msg(strcmp(match(v, &row[i].both), "r/wins") == 0, "row %zu", i);
		ck_assert_msg(strcmp(match(v, &row[i].first), "r/loses") == 0, "row %zu, next", i);
		view_unref(v);
	}
}
END_TEST

START_TEST(age_then_name_then_order_decide_between_equals)
{
	struct view *v = view_from(WEB
				   "route shop/young parent=shop/web created=3\nrule name=1 header=x:1\n"
				   "route shop/b parent=shop/web created=2\nrule name=1 header=x:1\n"
				   "route shop/a parent=shop/web created=2\nrule name=1 header=y:1\n"
				   "rule name=2 header=x:1\nrule name=3 header=x:1\n");

	ck_assert_str_eq(match(v, &(struct request){ .header = { "x: 1" } }), "a/2");
	view_unref(v);
	v = view_from(WEB "route shop/b parent=shop/web created=2\nrule name=1 header=x:1\n"
			  "route shop/z parent=shop/web\nrule name=1 header=x:1\n");
	ck_assert_str_eq(match(v, &(struct request){ .header = { "x: 1" } }), "z/1");
	view_unref(v);
}
END_TEST

START_TEST(nothing_of_a_request_is_looked_at_that_no_match_wants)
{
	struct view *v = view_from(WEB ROUTE "rule name=a prefix=/a\nrule name=b prefix=/b header=x:1\n"
					     "rule name=c prefix=/b header=x:2\nrule name=d prefix=/b header=y:2\n");

	asked = 0;
	ck_assert_str_eq(match(v, &(struct request){ .path = "/a", .header = { "x: 1" } }), "r/a");
	ck_assert_uint_eq(asked, 0);
	ck_assert_str_eq(match(v, &(struct request){ .path = "/b", .header = { "x: 3", "y: 2" } }), "r/d");
	ck_assert_uint_eq(asked, 4); /* each once, and once more for a second line */
	view_unref(v);
}
END_TEST

/* GAMMA: a route of another namespace than the Service's. */
START_TEST(callers_of_a_namespace_with_routes_of_its_own_go_by_those_alone)
{
	struct world *w = world_new();
	const struct view *v = world_say(w, WEB ROUTE "rule name=a prefix=/a\n"
						"route other/mine parent=shop/web\nrule name=b prefix=/b\n"
						"route third/mine parent=shop/web\nrule name=c prefix=/c\n");
	static const struct {
		const char *ns, *path, *want;
	} row[] = {
		{ "shop", "/a", "r/a" },     { "shop", "/b", "nothing" },   { "other", "/b", "mine/b" },
		{ "other", "/a", "nothing" }, { "third", "/c", "mine/c" },  { "third", "/b", "nothing" },
		{ "fourth", "/a", "r/a" },   { "a", "/a", "r/a" },	    { "zz", "/b", "nothing" },
		{ "", "/a", "r/a" },
	};
	uint32_t at = 9;
	struct vport p;

	for (size_t i = 0; i < countof(row); i++)
		ck_assert_msg(strcmp(match_as(v, row[i].ns, &(struct request){ .path = row[i].path }),
				     row[i].want) == 0, "%s %s", row[i].ns, row[i].path);
	p = port_of(v, 80);
	ck_assert_uint_eq(vport_rules(&p), 3);
	ck_assert_uint_eq(vport_rules_for(&p, SLICE("third"), &at), 1);
	ck_assert_uint_eq(at, 2);
	ck_assert_uint_eq(vport_rules_for(&p, SLICE("x"), &at), 1);
	ck_assert_uint_eq(at, 0);
	/* Without a route of the Service's namespace everybody else goes to its endpoints. */
	v = world_say(w, "remove route shop/r\n");
	ck_assert_str_eq(match_as(v, "shop", &(struct request){ .path = "/a" }), "direct");
	ck_assert_str_eq(match_as(v, "other", &(struct request){ .path = "/a" }), "nothing");
	ck_assert_str_eq(match_as(v, "third", &(struct request){ .path = "/c" }), "mine/c");
	world_free(&w);
}
END_TEST

START_TEST(of_the_kinds_at_a_port_one_counts)
{
	struct world *w = world_new();
	const struct view *v;
	struct request any = { .path = "/x" }, call = { .path = "/s/m" };

	v = world_say(w, WEB "tcproute shop/t parent=shop/web\nrule name=t\n");
	ck_assert_str_eq(match(v, &any), "t/t");
	ck_assert_str_eq(match(v, NULL), "t/t");
	v = world_say(w, "route shop/h parent=shop/web\nrule name=h prefix=/\n");
	ck_assert_str_eq(match(v, &any), "h/h");
	ck_assert_str_eq(match(v, NULL), "direct");
	v = world_say(w, "grpcroute shop/g parent=shop/web\nrule name=g call=/s/m\n");
	ck_assert_str_eq(match(v, &any), "nothing");
	ck_assert_str_eq(match(v, &call), "g/g");
	/* A consumer's kind is about its own callers. */
	v = world_say(w, "tcproute other/c parent=shop/web\nrule name=c\n");
	ck_assert_str_eq(match_as(v, "other", NULL), "c/c");
	ck_assert_str_eq(match_as(v, "shop", &call), "g/g");
	v = world_say(w, "remove grpcroute shop/g\nremove route shop/h\n"
			 "tcproute shop/older parent=shop/web created=-1\nrule name=o\n");
	ck_assert_str_eq(match(v, NULL), "older/o");
	world_free(&w);
}
END_TEST

static const char *match_name(const struct view *v, const char *name)
{
	struct vport p = port_of(v, 80);
	char path[SERVER_NAME_PATH];
	int n = server_name_path(slice_str(name), false, path);
	struct vrequest q = { .is_tls = true, .path = slice_of(path, n > 0 ? (size_t)n : 0) };
	struct vrule rule;

	return said(vport_match(&p, SLICE("shop"), &q, &rule), &rule);
}

START_TEST(a_connection_is_found_by_its_server_name)
{
	static const struct {
		const char *name, *want;
	} row[] = {
		{ "a.b.example", "new/exact" },	    { "A.B.EXAMPLE", "new/exact" },
		{ "x.b.example", "old/wild-b" },    { "y.x.b.example", "old/wild-b" },
		{ "b.example", "new/wild" },	    { "x.example", "new/wild" },
		{ "example", "nothing" },	    { "xb.example", "new/wild" },
		{ "b.example.org", "nothing" },	    { "", "nothing" },
		{ "one", "new/one" },		    { "both.example", "old/both" },
	};
	struct world *w = world_new();
	const struct view *v = world_say(w, WEB "tlsroute shop/new parent=shop/web created=2\n"
						"rule name=exact server_name=a.b.example\n"
						"rule name=wild server_name=*.example\n"
						"rule name=one server_name=one\n"
						"rule name=both server_name=both.example\n"
						"tlsroute shop/old parent=shop/web created=1\n"
						"rule name=wild-b server_name=*.b.example\n"
						"rule name=both server_name=both.example\n");
	struct request any = { .path = "/example/b/a=" };
	struct vport p;
	struct vrule r;
	char words[128];

	for (size_t i = 0; i < countof(row); i++)
		ck_assert_msg(strcmp(match_name(v, row[i].name), row[i].want) == 0, "%s: %s", row[i].name,
			      match_name(v, row[i].name));
	/* Without a name there is no answer, and a request is no name. */
	ck_assert_str_eq(match(v, NULL), "by name");
	ck_assert_str_eq(match(v, &any), "by name");
	p = port_of(v, 80);
	ck_assert(vport_rule_at(&p, 0, &r));
	vrule_words(&r, words, sizeof words);
	ck_assert_str_eq(words, "server name a.b.example");
	ck_assert_str_eq(route_kind_name(r.kind), "TLSRoute");
	for (uint32_t i = 0; vport_rule_at(&p, i, &r); i++)
		if (slice_eq(r.rule_name, SLICE("wild")))
			vrule_words(&r, words, sizeof words);
	ck_assert_str_eq(words, "server name *.example");
	/* TCPRoutes count after it, HTTPRoutes before it. */
	v = world_say(w, "tcproute shop/t parent=shop/web\nrule name=t\n");
	ck_assert_str_eq(match(v, NULL), "by name");
	v = world_say(w, "route shop/h parent=shop/web\nrule name=h prefix=/\n");
	ck_assert_str_eq(match(v, &any), "h/h");
	ck_assert_str_eq(match(v, NULL), "direct");
	ck_assert_str_eq(match_name(v, "one"), "direct");
	v = world_say(w, "remove route shop/h\nremove tlsroute shop/new\nremove tlsroute shop/old\n");
	ck_assert_str_eq(match(v, NULL), "t/t");
	/* The view has changed while the name was waited for. */
	ck_assert_str_eq(match_name(v, "one"), "t/t");
	world_free(&w);
}
END_TEST

START_TEST(a_method_of_grpc_is_found_by_service_and_method)
{
	struct view *v = view_from(WEB "grpcroute shop/g parent=shop/web\n"
				       "rule name=any\n"
				       "rule name=method grpc_method=Get\n"
				       "rule name=method-h grpc_method=Get header=x:1\n"
				       "rule name=service grpc_service=/a.B\n"
				       "rule name=call call=/a.B/Get\n"
				       "rule name=call-h call=/a.B/Get header=x:1\n");
	static const struct {
		const char *path, *header, *want;
	} row[] = {
		{ "/a.B/Get", NULL, "g/call" },	    { "/a.B/Get", "x: 1", "g/call-h" },
		{ "/a.B/Put", "x: 1", "g/service" }, { "/c.D/Get", NULL, "g/method" },
		{ "/c.D/Get", "x: 1", "g/method-h" }, { "/c.D/Put", NULL, "g/any" },
		{ "/a.BC/Get", NULL, "g/method" },  { "/Get", NULL, "g/any" },
		{ "/a.b/get", NULL, "g/any" },
	};

	for (size_t i = 0; i < countof(row); i++)
		ck_assert_msg(strcmp(match(v, &(struct request){ .method = "POST", .path = row[i].path,
								 .header = { row[i].header } }),
				     row[i].want) == 0, "%s %s", row[i].path, row[i].header);
	view_unref(v);
}
END_TEST

START_TEST(a_grant_permits_a_backend_and_a_consumer_needs_none_for_where_it_goes)
{
	struct world *w = world_new();
	const struct view *v;
	struct vbackend b[4];
	struct vport p;
	struct vrule r;

	v = world_say(w, WEB "service far/api port=80\nservice far/more port=80\n"
			     ROUTE "rule backend=far/api:80 backend=far/more:80\n"
			     "route far/c parent=shop/web\nrule backend=shop/web:80 backend=far/api:80\n"
			     "route other/c parent=shop/web\nrule backend=shop/web:80 backend=far/api:80\n");
	for (int round = 0; round < 3; round++) {
		uint32_t n = 0;

		p = port_of(v, 80);
		for (uint32_t i = 0; vport_rule_at(&p, i, &r); i++)
			for (uint32_t k = 0; k < 2; k++)
				if (slice_eq(r.route_ns, SLICE("far")) ||
				    (slice_eq(r.route_ns, SLICE("other")) && k == 0)) {
					ck_assert(vrule_backend_at(&r, k, &b[3]));
					ck_assert(b[3].valid);
				} else {
					ck_assert(vrule_backend_at(&r, k, &b[n++]));
				}
		ck_assert_uint_eq(n, 3);
		ck_assert_int_eq(b[0].valid, round == 1);
		ck_assert(!b[1].valid);
		ck_assert(!b[2].valid);
		v = round == 0 ? world_say(w, "grant far/g from=HTTPRoute/shop from=GRPCRoute/other to=api\n") :
				 world_say(w, "remove grant far/g\n");
	}
	world_free(&w);
}
END_TEST

START_TEST(why_a_rule_does_not_match_is_said)
{
	struct view *v = view_from(WEB ROUTE "rule name=a exact=/a method=PUT header=x:1 param=q:2\n");
	static const struct {
		struct request r;
		const char *want;
	} row[] = {
		{ { "PUT", "/b", NULL, { NULL } }, "another path" },
		{ { "PUT", "/a/", NULL, { NULL } }, "another path" },
		{ { "GET", "/a", NULL, { NULL } }, "the method is GET, not PUT" },
		{ { "PUT", "/a", NULL, { NULL } }, "header x is not there, not 1" },
		{ { "PUT", "/a", NULL, { "x: 2", "x: 3" } }, "header x is 2 and more lines, not 1" },
		{ { "PUT", "/a", "q=%33", { "x: 1" } }, "parameter q is %33, not 2" },
		{ { "PUT", "/a", "q=%32", { "x: 1" } }, NULL },
	};
	struct vport p = port_of(v, 80);
	struct vrule r;
	char words[128];

	ck_assert(vport_rule_at(&p, 0, &r));
	vrule_words(&r, words, sizeof words);
	ck_assert_str_eq(words, "Exact /a, PUT, header x = 1, parameter q = 2");
	vrule_words(&r, words, 12);
	ck_assert_str_eq(words, "Exact /a, P");
	for (size_t i = 0; i < countof(row); i++) {
		struct vrequest q = request_of(&row[i].r);

		ck_assert_int_eq(vrule_misses(&r, &q, words, sizeof words), row[i].want != NULL);
		if (row[i].want)
			ck_assert_str_eq(words, row[i].want);
	}
	view_unref(v);
}
END_TEST

/* ---- many of one path ---- */

START_TEST(many_matches_of_one_path_are_found_by_what_they_ask_for)
{
	static char text[200000], value[64];
	size_t at = (size_t)snprintf(text, sizeof text, WEB ROUTE);
	struct request r = { .path = "/p", .header = { "x: 7" } };
	struct view *v;

	for (int i = 0; i < 3000; i++)
		at += (size_t)snprintf(text + at, sizeof text - at, "rule name=n%d prefix=/p header=x:%d\n", i, i);
	at += (size_t)snprintf(text + at, sizeof text - at,
			       "rule name=put prefix=/p method=PUT\nrule name=put7 prefix=/p method=PUT header=x:7\n"
			       "rule name=two prefix=/p header=x:7 header=y:1\nrule name=param prefix=/p param=q:1\n"
			       "rule name=q7 prefix=/p header=x:7 param=q:1\nrule name=short prefix=/\n");
	v = view_from(text);
	for (int i = 0; i < 3000; i++) {
		char want[32];

		snprintf(value, sizeof value, "x: %d", i);
		snprintf(want, sizeof want, "r/n%d", i);
		r.header[0] = value;
		ck_assert_str_eq(match(v, &r), want);
	}
	r.header[0] = "x: 3000";
	ck_assert_str_eq(match(v, &r), "r/short");
	r.header[0] = NULL;
	ck_assert_str_eq(match(v, &r), "r/short");
	r.query = "q=1";
	ck_assert_str_eq(match(v, &r), "r/param");
	r.header[0] = "x: 7";
	ck_assert_str_eq(match(v, &r), "r/q7");
	r.header[1] = "y: 1";
	ck_assert_str_eq(match(v, &r), "r/two");
	r.method = "PUT";
	ck_assert_str_eq(match(v, &r), "r/put7");
	r.header[0] = "x: 8";
	ck_assert_str_eq(match(v, &r), "r/put");
	view_unref(v);
}
END_TEST

/* ---- against trying everything ---- */

#define RULES 60

struct rule {
	char route[8], name[8], path[16];
	const char *method;
	unsigned created, order;
	bool exact;
	unsigned headers, params;	/* bits: which ones */
	char hvalue[4], pvalue[4];	/* of each */
};

static const char *const paths[] = { "/", "/a", "/a/", "/a/b", "/b" };
static const char *const methods[] = { NULL, "GET", "PUT" };

static bool path_fits(const struct rule *r, const char *path)
{
	size_t n = strlen(r->path);

	if (r->exact)
		return strcmp(r->path, path) == 0;
	while (n && r->path[n - 1] == '/')
		n--;
	return strncmp(r->path, path, n) == 0 && (path[n] == 0 || path[n] == '/');
}

static bool fits(const struct rule *r, const char *path, const char *method, const char *hv,
		 const char *pv)
{
	if (!path_fits(r, path) || (r->method && strcmp(r->method, method) != 0))
		return false;
	for (int i = 0; i < 4; i++)
		if ((r->headers & 1u << i && r->hvalue[i] != hv[i]) ||
		    (r->params & 1u << i && r->pvalue[i] != pv[i]))
			return false;
	return true;
}

static size_t key_of(const struct rule *r)
{
	size_t n = strlen(r->path);

	while (n && r->path[n - 1] == '/')
		n--;
	return n;
}

static bool comes_before(const struct rule *a, const struct rule *b)
{
	if (a->exact != b->exact)
		return a->exact;
	if (!a->exact && key_of(a) != key_of(b))
		return key_of(a) > key_of(b);
	if (!a->exact && strlen(a->path) != strlen(b->path))
		return strlen(a->path) > strlen(b->path);
	if (!a->method != !b->method)
		return a->method != NULL;
	if (__builtin_popcount(a->headers) != __builtin_popcount(b->headers))
		return __builtin_popcount(a->headers) > __builtin_popcount(b->headers);
	if (__builtin_popcount(a->params) != __builtin_popcount(b->params))
		return __builtin_popcount(a->params) > __builtin_popcount(b->params);
	if (a->created != b->created)
		return a->created < b->created;
	if (strcmp(a->route, b->route) != 0)
		return strcmp(a->route, b->route) < 0;
	return a->order < b->order;
}

static size_t say_rule(char *out, size_t room, struct rule *r)
{
	size_t at = (size_t)snprintf(out, room, "rule name=%s %s=%s", r->name,
				     r->exact ? "exact" : "prefix", r->path);

	if (r->method)
		at += (size_t)snprintf(out + at, room - at, " method=%s", r->method);
	for (int i = 0; i < 4; i++)
		if (r->headers & 1u << i)
			at += (size_t)snprintf(out + at, room - at, " header=h%d:%c", i, r->hvalue[i]);
	for (int i = 0; i < 4; i++)
		if (r->params & 1u << i)
			at += (size_t)snprintf(out + at, room - at, " param=p%d:%c", i, r->pvalue[i]);
	return at + (size_t)snprintf(out + at, room - at, "\n");
}

static void make_rule(struct rule *r, unsigned i, unsigned route, unsigned created, unsigned few)
{
	*r = (struct rule){ .order = i, .created = created, .exact = rand_below(3) == 0,
			    .method = methods[rand_below(3)],
			    .headers = rand_below(2) ? rand_below(16) : 0,
			    .params = rand_below(3) == 0 ? rand_below(16) : 0 };
	snprintf(r->route, sizeof r->route, "r%u", route);
	snprintf(r->name, sizeof r->name, "%u", i);
	snprintf(r->path, sizeof r->path, "%s", paths[rand_below(few)]);
	for (int k = 0; k < 4; k++) {
		r->hvalue[k] = (char)('a' + rand_below(5));
		r->pvalue[k] = (char)('a' + rand_below(5));
	}
}

static void one_world(unsigned few)
{
	static char text[65536];
	struct rule rule[RULES];
	unsigned n = 0;
	size_t at = (size_t)snprintf(text, sizeof text, WEB);
	struct view *v;

	for (unsigned route = 0; route < 4; route++) {
		unsigned created = rand_below(3);

		at += (size_t)snprintf(text + at, sizeof text - at,
				       "route shop/r%u parent=shop/web created=%u\n", route, created);
		for (unsigned k = rand_below(RULES / 4) + 1; k; k--, n++) {
			make_rule(&rule[n], n, route, created, few);
			at += say_rule(text + at, sizeof text - at, &rule[n]);
		}
	}
	v = view_from(text);
	for (int i = 0; i < 300; i++) {
		static const char *const targets[] = { "/", "/a", "/a/", "/a/b", "/a/b/c", "/ab", "/b/x", "x" };
		const char *path = targets[rand_below(countof(targets))];
		char hv[4], pv[4], h[4][20], query[64] = "", want[32] = "nothing";
		struct request q = { .path = path, .method = methods[rand_below(2) + 1], .query = query };
		const struct rule *best = NULL;

		for (int k = 0; k < 4; k++) {
			hv[k] = (char)('a' + rand_below(6));
			pv[k] = (char)('a' + rand_below(6));
			snprintf(h[k], sizeof h[k], "H%d: %c", k, hv[k]);
			q.header[k] = h[k];
			snprintf(query + strlen(query), sizeof query - strlen(query),
				 rand_below(2) ? "&p%d=%%%x" : "&%%70%d=%%%x&p0=x", k, pv[k]);
		}
		for (unsigned k = 0; k < n; k++)
			if (fits(&rule[k], path, q.method, hv, pv) &&
			    (best == NULL || comes_before(&rule[k], best)))
				best = &rule[k];
		if (best)
			snprintf(want, sizeof want, "%s/%s", best->route, best->name);
		ck_assert_msg(strcmp(match(v, &q), want) == 0, "%s %s ?%s: %s, not %s\n%s", q.method, path,
			      query, match(v, &q), want, text);
	}
	view_unref(v);
}

START_TEST(the_search_agrees_with_trying_everything)
{
	for (unsigned seed = 1; seed <= 60; seed++) {
		rand_seed(seed);
		one_world(seed % 3 == 0 ? 1 : countof(paths)); /* of one path: forks */
	}
}
END_TEST

UNIT_TESTS("match", all_conditions_of_a_match_must_hold, lines_of_one_header_are_joined_with_commas,
	   parameters_are_decoded_and_the_first_counts,
	   every_step_of_the_precedence_counts_and_then_the_next,
	   age_then_name_then_order_decide_between_equals,
	   nothing_of_a_request_is_looked_at_that_no_match_wants,
	   callers_of_a_namespace_with_routes_of_its_own_go_by_those_alone,
	   of_the_kinds_at_a_port_one_counts,
	   a_connection_is_found_by_its_server_name, a_method_of_grpc_is_found_by_service_and_method,
	   a_grant_permits_a_backend_and_a_consumer_needs_none_for_where_it_goes,
	   why_a_rule_does_not_match_is_said, many_matches_of_one_path_are_found_by_what_they_ask_for,
	   the_search_agrees_with_trying_everything)
