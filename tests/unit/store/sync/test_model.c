/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The model: which document counts, what a unit is made of, slots, addresses, conditions. */
#include "nodeproxy/lib/base/rand.h"
#include "tests/unit/store/sync/world.h"
#include "tests/unit/test.h"
#include "workers/obs/board.h"

#define WEB SERVICE("web", "clusterIP: 10.0.0.1,") SLICES("web-1", "web", AT("127.0.0.1"))

START_TEST(two_documents_are_enough_to_serve)
{
	struct world w;

	world_init(&w, "");
	model_snapshot(&w.model);
	tell(&w, "a.yaml", WEB);
	ck_assert(settle(&w));
	ck_assert(serves(&w, "endpoint 127.0.0.1:8080 ready"));
	/* The same again changes nothing. */
	tell(&w, "a.yaml", WEB);
	ck_assert(!settle(&w));
	world_fini(&w);
}
END_TEST

START_TEST(of_two_documents_the_first_by_place_and_line_counts)
{
	struct world w;
	char *text;

	world_init(&w, "");
	tell(&w, "b.yaml", SERVICE("web", "clusterIP: 10.0.0.2,"));
	ck_assert(settle(&w));
	ck_assert(serves(&w, "10.0.0.2"));
	tell(&w, "a.yaml", SERVICE("other", "clusterIP: 10.0.0.9,") SERVICE("web", "clusterIP: 10.0.0.1,"));
	ck_assert(settle(&w));
	ck_assert(serves(&w, "10.0.0.1"));
	ck_assert(!serves(&w, "10.0.0.2"));
	text = report_text(&w, NULL);
	ck_assert_ptr_nonnull(strstr(text, "\"source\":\"b.yaml\",\"field\":\"metadata.name\",\"reason\":"
					   "\"is written at a.yaml:"));
	free(text);
	/* When the first goes, the other takes over. */
	model_gone(&w.model, "a.yaml");
	ck_assert(settle(&w));
	ck_assert(serves(&w, "10.0.0.2"));
	/* Within a place by line. */
	tell(&w, "b.yaml", SERVICE("web", "clusterIP: 10.0.0.4,") SERVICE("web", "clusterIP: 10.0.0.5,"));
	ck_assert(settle(&w));
	ck_assert(serves(&w, "10.0.0.4"));
	ck_assert(!serves(&w, "10.0.0.5"));
	world_fini(&w);
}
END_TEST

START_TEST(nobody_is_refused_before_it_is_settled)
{
	struct world w;
	char *text;

	world_init(&w, "");
	tell(&w, "a.yaml", WEB);
	text = report_text(&w, NULL);
	ck_assert_msg(!strstr(text, "which counts"), "%s", text);
	free(text);
	ck_assert(settle(&w));
	tell(&w, "b.yaml", WEB);
	settle(&w);
	text = report_text(&w, NULL);
	ck_assert_ptr_nonnull(strstr(text, "is written at a.yaml:1 already, which counts"));
	free(text);
	world_fini(&w);
}
END_TEST

START_TEST(a_refused_document_leaves_the_last_good_version_serving)
{
	struct world w;
	char *text;

	world_init(&w, "");
	tell(&w, "a.yaml", WEB);
	ck_assert(settle(&w));
	tell(&w, "a.yaml", SERVICE("web", "nonsense: 1,") SLICES("web-1", "web", AT("127.0.0.2")));
	ck_assert(settle(&w));
	ck_assert(serves(&w, "10.0.0.1"));
	ck_assert(serves(&w, "127.0.0.2"));	/* its neighbour is not held up */
	text = report_text(&w, NULL);
	ck_assert_ptr_nonnull(strstr(text, "\"serving_last_good\":true"));
	ck_assert_ptr_nonnull(strstr(text, "nonsense"));
	free(text);
	/* It moves to another file, still broken: still the last good one. */
	tell(&w, "a.yaml", SLICES("web-1", "web", AT("127.0.0.2")));
	tell(&w, "b.yaml", SERVICE("web", "nonsense: 1,"));
	ck_assert(!settle(&w));
	ck_assert(serves(&w, "10.0.0.1"));
	/* Removed is removed. */
	model_gone(&w.model, "b.yaml");
	ck_assert(settle(&w));
	ck_assert(!serves(&w, "10.0.0.1"));
	world_fini(&w);
}
END_TEST

START_TEST(a_refused_document_that_never_was_good_does_not_hide_another)
{
	struct world w;

	world_init(&w, "");
	tell(&w, "a.yaml", SERVICE("web", "nonsense: 1,"));
	tell(&w, "b.yaml", WEB);
	ck_assert(settle(&w));
	ck_assert(serves(&w, "10.0.0.1"));
	world_fini(&w);
}
END_TEST

START_TEST(what_a_broken_text_may_have_held_stays)
{
	struct world w;
	char *text;

	world_init(&w, "");
	tell(&w, "a.yaml", WEB SERVICE("api", "clusterIP: 10.0.0.7,"));
	ck_assert(settle(&w));
	tell(&w, "a.yaml", SERVICE("api", "clusterIP: 10.0.0.8,") "{{{ [ : not yaml\n\t-");
	ck_assert(settle(&w));
	ck_assert(serves(&w, "10.0.0.1"));	/* perhaps it is the broken one */
	ck_assert(serves(&w, "10.0.0.8"));
	text = report_text(&w, NULL);
	ck_assert_ptr_nonnull(strstr(text, "\"serving_last_good\":true"));
	free(text);
	/* What was read before the error is a guess: here it names another object. */
	tell(&w, "a.yaml", "kind: Service\nmetadata:\n  name: web\n  labels: {{\n  namespace: shop\n"
			   "---\n" SERVICE("api", "clusterIP: 10.0.0.8,"));
	ck_assert(!settle(&w));
	ck_assert(serves(&w, "10.0.0.1"));
	/* A file that cannot be read says nothing about what is in it. */
	model_unreadable(&w.model, "a.yaml", "cannot be read: Permission denied");
	ck_assert(!settle(&w));
	ck_assert(serves(&w, "10.0.0.8"));
	/* Cut in the middle of a name, it may be half of the one that vanished. */
	tell(&w, "a.yaml", SERVICE("api", "clusterIP: 10.0.0.8,")
			   "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: sh");
	(void)settle(&w);
	ck_assert(serves(&w, "10.0.0.1"));
	tell(&w, "a.yaml", SERVICE("api", "clusterIP: 10.0.0.8,") SERVICE("wbe", "nonsense: 1,"));
	(void)settle(&w);
	ck_assert(serves(&w, "10.0.0.1"));
	/* Whole again, without web: it is gone. */
	tell(&w, "a.yaml", SERVICE("api", "clusterIP: 10.0.0.8,"));
	ck_assert(settle(&w));
	ck_assert(!serves(&w, "10.0.0.1"));
	world_fini(&w);
}
END_TEST

START_TEST(the_marker_removes_what_a_snapshot_did_not_tell)
{
	struct world w;

	world_init(&w, "");
	tell(&w, "a.yaml", WEB);
	tell(&w, "b.yaml", SERVICE("api", "clusterIP: 10.0.0.7,"));
	tell(&w, "c.yaml", SERVICE("old", "clusterIP: 10.0.0.8,"));
	ck_assert(settle(&w));
	/* Lost in the middle: everybody stays. */
	model_snapshot(&w.model);
	model_same(&w.model, "a.yaml");
	model_snapshot_broken(&w.model);
	ck_assert(!settle(&w));
	model_snapshot(&w.model);
	model_same(&w.model, "a.yaml");
	model_unreadable(&w.model, "b.yaml", "cannot be read");
	ck_assert(settle(&w));
	ck_assert(serves(&w, "10.0.0.1"));
	ck_assert(serves(&w, "10.0.0.7"));
	ck_assert(!serves(&w, "10.0.0.8"));
	/* An empty snapshot is legal. */
	model_snapshot(&w.model);
	ck_assert(settle(&w));
	ck_assert(!serves(&w, "10.0.0.1"));
	for (int s = 0; s < SLOT_SCOPES; s++)
		ck_assert_uint_eq(w.model.slot[s].taken, 0);
	ck_assert_uint_eq(w.model.resources.count, 0);
	ck_assert_uint_eq(w.model.services.count, 0);
	ck_assert_uint_eq(w.model.spaces.count, 0);
	world_fini(&w);
}
END_TEST

static struct slot_gen endpoint_slot(struct world *w, const char *ip)
{
	struct vservice s;
	struct vport p;
	struct vendpoint e;
	char text[ADDR_TEXT];

	ck_assert(view_service_by_name(w->view, SLICE("shop"), SLICE("web"), &s));
	ck_assert(vservice_port(&s, 80, &p));
	for (uint32_t i = 0; vport_endpoint(&p, i, &e); i++)
		if (strcmp(addr_text(&e.addr, false, text), ip) == 0)
			return e.slot;
	return (struct slot_gen){ 0, 0 };
}

START_TEST(an_endpoint_keeps_its_slot_and_a_reused_slot_has_a_new_generation)
{
	struct world w;
	struct slot_gen one, two, three;

	world_init(&w, "");
	tell(&w, "a.yaml", SERVICE("web", "clusterIP: 10.0.0.1,")
			   SLICES("web-1", "web", AT("127.0.0.1") "," AT("127.0.0.2")));
	ck_assert(settle(&w));
	one = endpoint_slot(&w, "127.0.0.1");
	two = endpoint_slot(&w, "127.0.0.2");
	ck_assert_uint_ne(one.slot, 0);
	ck_assert_uint_ne(two.slot, 0);
	ck_assert_uint_ne(one.slot, two.slot);
	tell(&w, "a.yaml", SERVICE("web", "clusterIP: 10.0.0.1,")
			   SLICES("web-1", "web", AT("127.0.0.3") "," AT("127.0.0.2")));
	ck_assert(settle(&w));
	ck_assert_uint_eq(endpoint_slot(&w, "127.0.0.2").slot, two.slot);
	ck_assert_uint_eq(endpoint_slot(&w, "127.0.0.2").gen, two.gen);
	three = endpoint_slot(&w, "127.0.0.3");
	ck_assert_uint_gt(three.gen, one.gen);
	ck_assert_uint_eq(w.model.slot[SLOT_ENDPOINT].taken, 2);
	world_fini(&w);
}
END_TEST

START_TEST(slots_run_out_without_harm_and_come_back)
{
	struct slots s;
	uint32_t gen = 0;
	struct slot_gen g[4];

	ck_assert_int_eq(slots_init(&s, 4, &gen), 0);
	for (unsigned i = 0; i < 3; i++) {
		g[i] = slots_take(&s);
		ck_assert_uint_eq(g[i].slot, i + 1);
		ck_assert_uint_eq(g[i].gen, i + 1);
	}
	g[3] = slots_take(&s);
	ck_assert_uint_eq(g[3].slot, 0);
	ck_assert_uint_eq(s.exhausted, 1);
	slots_give(&s, g[3]);
	slots_give(&s, g[1]);
	g[1] = slots_take(&s);
	ck_assert_uint_eq(g[1].slot, 2);
	ck_assert_uint_eq(g[1].gen, 4);
	ck_assert(!slots_take_same(&s, (struct slot_gen){ 2, 9 }));
	ck_assert(!slots_take_same(&s, (struct slot_gen){ 4, 9 }));
	ck_assert(!slots_take_same(&s, (struct slot_gen){ 0, 9 }));
	slots_fini(&s);
}
END_TEST

START_TEST(a_service_without_address_gets_one_in_the_range_and_always_the_same)
{
	struct world w, again;
	char first[4096];

	world_init(&w, "10.96.0.0/12");
	tell(&w, "a.yaml", SERVICE("web", "") SERVICE("none", "clusterIP: None,"));
	ck_assert(settle(&w));
	ck_assert(serves(&w, "10."));
	snprintf(first, sizeof first, "%s", w.text);
	world_init(&again, "10.96.0.0/12");
	tell(&again, "b.yaml", SERVICE("none", "clusterIP: None,"));
	ck_assert(settle(&again));
	ck_assert(!serves(&again, "10."));
	tell(&again, "z.yaml", SERVICE("web", ""));
	ck_assert(settle(&again));
	ck_assert_str_eq(world_dump(&again), first);
	world_fini(&w);
	world_fini(&again);
}
END_TEST

START_TEST(of_two_services_that_collide_the_later_name_is_refused)
{
	struct world w;
	char *text;

	/* A range with two addresses to give (a /30 without its edges). */
	world_init(&w, "10.96.0.0/30");
	tell(&w, "z.yaml", SERVICE("c", "") SERVICE("b", ""));
	tell(&w, "a.yaml", SERVICE("d", ""));
	ck_assert(settle(&w));
	text = report_text(&w, NULL);
	ck_assert_ptr_nonnull(strstr(text, "\"field\":\"spec.clusterIP\""));
	ck_assert_ptr_nonnull(strstr(text, "\"reason\":\"AddressCollision\""));
	ck_assert_ptr_nonnull(strstr(text, "\"status\":\"False\""));
	free(text);
	/* Of three, one at least is without an address; b, the first by name, never is. */
	ck_assert(serves(&w, "shop/b"));
	/* A written address counts more than a hashed one, whatever the names. */
	tell(&w, "z.yaml", SERVICE("b", "") SERVICE("x", "clusterIP: 10.96.0.1,")
			   SERVICE("y", "clusterIP: 10.96.0.2,"));
	model_gone(&w.model, "a.yaml");
	ck_assert(settle(&w));
	ck_assert(serves(&w, "shop/x"));
	ck_assert(serves(&w, "shop/y"));
	ck_assert(!serves(&w, "shop/b"));
	/* When the written ones go, it is served again. */
	tell(&w, "z.yaml", SERVICE("b", ""));
	ck_assert(settle(&w));
	ck_assert(serves(&w, "shop/b"));
	world_fini(&w);
}
END_TEST

START_TEST(routes_say_why_they_do_not_work)
{
	struct world w;
	char *text;

	world_init(&w, "");
	tell(&w, "a.yaml", WEB ROUTE("good", "web", "/g", "web") ROUTE("lost", "nobody", "/l", "web")
			   ROUTE("nowhere", "web", "/n", "nothing"));
	ck_assert(settle(&w));
	text = report_text(&w, NULL);
	ck_assert_ptr_nonnull(strstr(text, "\"reason\":\"NoMatchingParent\",\"message\":"
					   "\"Service shop/nobody does not exist\""));
	ck_assert_ptr_nonnull(strstr(text, "\"reason\":\"BackendNotFound\",\"message\":"
					   "\"rules[0].backendRefs[0]: Service shop/nothing does not"));
	free(text);
	/* What they miss comes: no complaint is left, though no route was written again. */
	tell(&w, "b.yaml", SERVICE("nobody", "clusterIP: 10.0.0.3,")
			   SERVICE("nothing", "clusterIP: 10.0.0.4,"));
	ck_assert(settle(&w));
	text = report_text(&w, NULL);
	ck_assert_ptr_null(strstr(text, "\"status\":\"False\""));
	free(text);
	ck_assert(serves(&w, "route=shop/lost"));
	world_fini(&w);
}
END_TEST

START_TEST(a_route_is_in_the_unit_of_the_service_it_is_attached_to)
{
	struct world w;

	world_init(&w, "");
	tell(&w, "r.yaml", ROUTE("r", "web", "/a", "web"));
	ck_assert(settle(&w));
	ck_assert(!serves(&w, "route=shop/r"));
	tell(&w, "a.yaml", WEB);
	ck_assert(settle(&w));
	ck_assert(serves(&w, "route=shop/r"));
	model_gone(&w.model, "r.yaml");
	ck_assert(settle(&w));
	ck_assert(!serves(&w, "route=shop/r"));
	world_fini(&w);
}
END_TEST

/* A route of any kind and namespace, with one rule, to another namespace's Service. */
#define GATEWAY "apiVersion: gateway.networking.k8s.io/v1\n"
#define FAR(kind, ns, name, more, backend)                                                         \
	GATEWAY "kind: " kind "\nmetadata: {name: " name ", namespace: " ns ", generation: 4" more "}\n"  \
		"spec: {parentRefs: [{group: \"\", kind: Service, name: web, namespace: shop}],\n"       \
		"  rules: [{backendRefs: [" backend "]}]}\n---\n"
#define GRANT(ns, kind, of, to)                                                                    \
	GATEWAY "kind: ReferenceGrant\nmetadata: {name: g, namespace: " ns "}\nspec:\n"            \
		"  from: [{group: gateway.networking.k8s.io, kind: " kind ", namespace: " of "}]\n"      \
		"  to: [{group: \"\", kind: Service" to "}]\n---\n"
#define FAR_API                                                                                    \
	"apiVersion: v1\nkind: Service\nmetadata: {name: api, namespace: far}\n"                   \
	"spec: {ports: [{port: 80}]}\n---\n"
#define TO_FAR_API "{name: api, namespace: far, port: 80}"

static void assert_says(struct world *w, const char *kind, const char *ns, const char *name,
			const char *want)
{
	char *text = report_text(w, NULL), key[200], *at, *end;

	snprintf(key, sizeof key, "{\"kind\":\"%s\",\"namespace\":\"%s\",\"name\":\"%s\"", kind, ns, name);
	at = strstr(text, key);
	ck_assert_msg(at != NULL, "%s: %s", key, text);
	end = strchr(at, '\n');
	if (end)
		*end = 0;
	ck_assert_msg(strstr(at, want) != NULL, "%s %s/%s: %s, not %s", kind, ns, name, at, want);
	free(text);
}

START_TEST(a_grant_that_comes_or_goes_reaches_the_routes_it_is_for)
{
	struct world w;

	world_init(&w, "");
	tell(&w, "a.yaml", WEB FAR_API FAR("HTTPRoute", "shop", "r", "", TO_FAR_API)
				   FAR("TCPRoute", "shop", "t", "", TO_FAR_API)
					   FAR("HTTPRoute", "far", "c", "", TO_FAR_API));
	ck_assert(settle(&w));
	assert_says(&w, "HTTPRoute", "shop", "r", "\"status\":\"False\",\"reason\":\"RefNotPermitted\"");
	assert_says(&w, "HTTPRoute", "far", "c", "\"status\":\"True\",\"reason\":\"ResolvedRefs\"");
	ck_assert(serves(&w, "backend far/api:80 weight=1 invalid"));
	tell(&w, "g.yaml", GRANT("far", "GRPCRoute", "shop", "") GRANT("shop", "HTTPRoute", "shop", ""));
	ck_assert(settle(&w));
	ck_assert(serves(&w, "backend far/api:80 weight=1 invalid"));
	tell(&w, "g.yaml", GRANT("far", "HTTPRoute", "shop", ", name: api"));
	ck_assert(settle(&w));
	ck_assert(!serves(&w, "invalid"));
	assert_says(&w, "HTTPRoute", "shop", "r", "\"status\":\"True\",\"reason\":\"ResolvedRefs\"");
	assert_says(&w, "TCPRoute", "shop", "t", "RefNotPermitted");
	tell(&w, "g.yaml", GRANT("far", "HTTPRoute", "shop", ", name: other"));
	ck_assert(settle(&w));
	ck_assert(serves(&w, "invalid"));
	/* A route goes while its grant stays, and the other way round: nothing is left behind. */
	tell(&w, "g.yaml", GRANT("far", "HTTPRoute", "shop", ""));
	tell(&w, "a.yaml", WEB FAR_API);
	ck_assert(settle(&w));
	model_gone(&w.model, "g.yaml");
	tell(&w, "a.yaml", WEB FAR_API FAR("HTTPRoute", "shop", "r", "", "{name: api, namespace: nobody, port: 80}"));
	ck_assert(settle(&w));
	tell(&w, "a.yaml", WEB);
	ck_assert(settle(&w));
	ck_assert_uint_eq(w.model.spaces.count, 1);
	world_fini(&w);
}
END_TEST

START_TEST(routes_say_which_of_them_counts)
{
	static const char yes[] = "\"status\":\"True\",\"reason\":\"Accepted\",\"message\":\"\"";
	struct world w;

	world_init(&w, "");
	tell(&w, "a.yaml", WEB FAR("TCPRoute", "shop", "t1", ", creationTimestamp: 2026-01-01T00:00:00Z", TO_FAR_API)
				   FAR("TCPRoute", "shop", "t2", "", TO_FAR_API));
	ck_assert(settle(&w));
	assert_says(&w, "TCPRoute", "shop", "t2", yes);
	assert_says(&w, "TCPRoute", "shop", "t1", "\"False\",\"reason\":\"Conflicted\",\"message\":\"another route "
						  "counts instead: port 80: TCPRoute shop/t2\",\"observedGeneration\":4");
	tell(&w, "h.yaml", FAR("HTTPRoute", "shop", "h", "", "{name: x, kind: Pod}"));
	ck_assert(settle(&w));
	assert_says(&w, "HTTPRoute", "shop", "h", yes);
	assert_says(&w, "HTTPRoute", "shop", "h", "\"False\",\"reason\":\"InvalidKind\",\"message\":\"rules[0]."
						  "backendRefs[0]: Pod is not supported, only Service\"");
	assert_says(&w, "TCPRoute", "shop", "t2", "HTTPRoute shop/h");
	/* For callers of another namespace another kind may count. */
	tell(&w, "c.yaml", FAR("TCPRoute", "far", "c", "", TO_FAR_API) FAR("GRPCRoute", "far", "g", "", ""));
	ck_assert(settle(&w));
	assert_says(&w, "GRPCRoute", "far", "g", yes);
	assert_says(&w, "TCPRoute", "far", "c", "GRPCRoute far/g");
	assert_says(&w, "HTTPRoute", "shop", "h", yes);
	/* Refused: what serves is the version before. */
	tell(&w, "h.yaml", GATEWAY "kind: HTTPRoute\nmetadata: {name: h, namespace: shop, generation: 5}\n"
				   "spec: {rules: [{matches: [{method: get}]}]}\n");
	ck_assert(!settle(&w));
	assert_says(&w, "HTTPRoute", "shop", "h", "\"type\":\"Accepted\",\"status\":\"False\",\"reason\":\"UnsupportedValue\"");
	assert_says(&w, "HTTPRoute", "shop", "h", "\"type\":\"PartiallyInvalid\",\"status\":\"True\",\"reason\":"
						  "\"UnsupportedValue\",\"message\":\"Fall Back: generation 4 serves "
						  "instead of h.yaml:1\",\"observedGeneration\":5");
	tell(&w, "h.yaml", GATEWAY "kind: HTTPRoute\nmetadata: {name: h, namespace: shop}\n"
				   "spec: {hostnames: [a.b], parentRefs: [{group: \"\", kind: Service, name: web}]}\n");
	ck_assert(settle(&w));
	assert_says(&w, "HTTPRoute", "shop", "h", "\"Accepted\",\"message\":\"hostnames are not looked at");
	world_fini(&w);
}
END_TEST

/* 17,000 matches with values of 4 KiB each are more than a unit may have. */
static void tell_much(struct world *w, const char *place, const char *yaml)
{
	static const uint32_t n = 17000, bytes = 4096;
	struct documents docs = { 0 };
	struct row_rule *rule;

	ck_assert_int_eq(documents_read(&docs, place, slice_str(yaml)), 0);
	rule = &docs.v[0].row->route.rules[0];
	rule->matches = realloc(rule->matches, n * sizeof *rule->matches);
	rule->n_matches = n;
	for (uint32_t i = 1; i < n; i++) {
		struct row_match *m = &rule->matches[i];

		*m = (struct row_match){ .path = strdup("/"), .method = strdup(""),
					 .grpc_method = strdup(""), .n_headers = 1 };
		m->headers = calloc(1, sizeof *m->headers);
		m->headers->name = strdup("x");
		m->headers->value = malloc(bytes + 1);
		snprintf(m->headers->value, bytes + 1, "%0*u", (int)bytes, i);
	}
	model_place(&w->model, place, &docs);
}

START_TEST(routes_of_other_namespaces_cannot_crowd_a_service_out)
{
	struct world w;

	world_init(&w, "");
	tell(&w, "a.yaml", WEB FAR("HTTPRoute", "shop", "own", "", "{name: web, port: 80}"));
	tell(&w, "few.yaml", FAR("HTTPRoute", "other", "few", "", "{name: web, namespace: shop, port: 80}"));
	tell_much(&w, "many.yaml", FAR("HTTPRoute", "far", "many", "", "{name: web, namespace: shop, port: 80}"));
	ck_assert(settle(&w));
	ck_assert(serves(&w, "route=shop/own"));
	ck_assert(!serves(&w, "route=other/few"));
	assert_says(&w, "HTTPRoute", "shop", "own", "\"status\":\"True\",\"reason\":\"Accepted\"");
	assert_says(&w, "HTTPRoute", "far", "many", "\"status\":\"False\",\"reason\":\"Pending\"");
	model_gone(&w.model, "many.yaml");
	ck_assert(settle(&w));
	ck_assert(serves(&w, "route=other/few"));
	assert_says(&w, "HTTPRoute", "other", "few", "\"status\":\"True\",\"reason\":\"Accepted\"");
	world_fini(&w);
}
END_TEST

/* The condition of one policy, in the report. */
static void assert_condition_of(struct world *w, const char *kind, const char *name, const char *want)
{
	char *text = report_text(w, NULL), key[128], *at, *end;

	snprintf(key, sizeof key, "{\"kind\":\"%s\",\"namespace\":\"shop\",\"name\":\"%s\"", kind, name);
	at = strstr(text, key);
	ck_assert_msg(at != NULL, "%s", text);
	end = strchr(at, '\n');
	if (end)
		*end = 0;
	ck_assert_msg(strstr(at, want) != NULL, "%s: %s", want, at);
	free(text);
}

static void assert_condition(struct world *w, const char *name, const char *want)
{
	assert_condition_of(w, "TrafficPolicy", name, want);
}

#define BUDGET(name, created)                                                                      \
	"apiVersion: gateway.networking.x-k8s.io/v1alpha1\nkind: XBackendTrafficPolicy\n"          \
	"metadata: {name: " name ", namespace: shop, creationTimestamp: " created "}\n"            \
	"spec: {targetRefs: [" TO("") "], retryConstraint: {budget: {percent: 5}}}\n"

START_TEST(of_retry_budgets_one_counts_and_the_others_say_so)
{
	struct world w;

	world_init(&w, "");
	tell(&w, "x.yaml", BUDGET("old", "2026-01-01T00:00:00Z"));
	ck_assert(settle(&w));
	assert_condition_of(&w, "XBackendTrafficPolicy", "old",
			    "\"reason\":\"TargetNotFound\",\"message\":\"Service shop/web does not exist\"");
	tell(&w, "a.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n"
			   "spec: {clusterIP: 10.0.0.1, ports: [{name: main, port: 80}]}\n");
	tell(&w, "y.yaml", BUDGET("new", "2026-01-02T00:00:00Z"));
	tell(&w, "p.yaml", POLICY("p", TO(""), "retries: {budget: {percent: 9}}"));
	ck_assert(settle(&w));
	assert_condition_of(&w, "XBackendTrafficPolicy", "old",
			    "\"status\":\"True\",\"reason\":\"Accepted\",\"message\":\"\"");
	assert_condition_of(&w, "XBackendTrafficPolicy", "new",
			    "\"status\":\"False\",\"reason\":\"Conflicted\",\"message\":\"another policy counts "
			    "instead: XBackendTrafficPolicy shop/old\"");
	assert_condition(&w, "p", "\"status\":\"True\",\"reason\":\"Accepted\",\"message\":\"another policy counts "
				  "for retries.budget: XBackendTrafficPolicy shop/old\"");
	model_gone(&w.model, "x.yaml");
	model_gone(&w.model, "y.yaml");
	ck_assert(settle(&w));
	assert_condition(&w, "p", "\"status\":\"True\",\"reason\":\"Accepted\",\"message\":\"\"");
	/* A wrong version leaves the last good one. */
	tell(&w, "p.yaml", POLICY("p", TO(""), "retries: {budget: {percent: 101}}"));
	(void)settle(&w);
	assert_condition(&w, "p", "\"status\":\"False\",\"reason\":\"Invalid\"");
	world_fini(&w);
}
END_TEST

START_TEST(a_policy_says_for_which_ports_it_counts)
{
	struct world w;

	world_init(&w, "");
	tell(&w, "p.yaml", POLICY("old", TO(""), "timeouts: {connect: 1s}"));
	ck_assert(settle(&w));
	assert_condition(&w, "old", "\"status\":{\"ancestors\":[{\"ancestorRef\":{\"group\":\"\",\"kind\":\"Service\","
				    "\"namespace\":\"shop\",\"name\":\"web\"},\"controllerName\":"
				    "\"nodeproxy.io/nodeproxy\",\"conditions\":[{\"type\":\"Accepted\","
				    "\"status\":\"False\",\"reason\":\"TargetNotFound\",\"message\":"
				    "\"Service shop/web does not exist\"");
	/* The Service comes; the policy was not written again. */
	tell(&w, "a.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n"
			   "spec: {clusterIP: 10.0.0.1, ports: [{name: main, port: 80}, {name: more, port: 81}]}\n");
	ck_assert(settle(&w));
	assert_condition(&w, "old", "\"status\":\"True\",\"reason\":\"Accepted\",\"message\":\"\"");
	ck_assert(serves(&w, "policy \"old\"") || serves(&w, "policy old"));
	/* Another one for one of its ports: the first still counts for the other. */
	tell(&w, "q.yaml", POLICY("port", TO(", sectionName: main"), "limits: {requests: 3}"));
	ck_assert(settle(&w));
	assert_condition(&w, "port", "\"status\":\"True\",\"reason\":\"Accepted\",\"message\":\"\"");
	assert_condition(&w, "old", "\"status\":\"True\",\"reason\":\"Accepted\",\"message\":"
				    "\"another policy counts for port 80: TrafficPolicy shop/port\"");
	ck_assert_uint_eq(w.model.slot[SLOT_LIMIT].taken, 1);
	/* A younger one of the same kind loses everywhere. */
	tell(&w, "r.yaml", "apiVersion: nodeproxy.io/v1alpha1\nkind: TrafficPolicy\n"
			   "metadata: {name: a, namespace: shop, creationTimestamp: 2026-01-01T00:00:00Z}\n"
			   "spec: {targetRefs: [" TO("") "," TO(", sectionName: nothing") "]}\n");
	ck_assert(settle(&w));
	assert_condition(&w, "a", "\"status\":\"False\",\"reason\":\"Conflicted\",\"message\":\"another policy "
				  "counts instead: port 80: TrafficPolicy shop/port, port 81: TrafficPolicy shop/old\"");
	assert_condition(&w, "a", "\"reason\":\"TargetNotFound\",\"message\":\"Service shop/web has no TCP port named nothing\"");
	/* They go: what is left counts. */
	model_gone(&w.model, "p.yaml");
	model_gone(&w.model, "q.yaml");
	ck_assert(settle(&w));
	assert_condition(&w, "a", "\"status\":\"True\",\"reason\":\"Accepted\",\"message\":\"\"");
	ck_assert_uint_eq(w.model.slot[SLOT_LIMIT].taken, 0);
	/* A wrong version leaves the last good one. */
	tell(&w, "r.yaml", POLICY("a", TO(""), "timeouts: {connect: 0s}"));
	(void)settle(&w);
	assert_condition(&w, "a", "\"status\":\"False\",\"reason\":\"Invalid\"");
	ck_assert(serves(&w, "connect=0 "));
	world_fini(&w);
}
END_TEST

START_TEST(limits_keep_their_slot_and_too_many_are_said)
{
	struct world w;
	struct slot_gen was = { 0 };

	world_init(&w, "");
	tell(&w, "a.yaml", WEB);
	tell(&w, "p.yaml", POLICY("p", TO(""), "limits: {connections: 1}"));
	for (int i = 0; i < 2; i++) {
		struct vservice s;
		struct vport p;
		struct vpolicy y;

		ck_assert(settle(&w));
		ck_assert(view_service_by_name(w.view, SLICE("shop"), SLICE("web"), &s));
		ck_assert(vservice_port(&s, 80, &p) && vport_policy(&p, &y));
		ck_assert_uint_ne(y.limit.slot, 0);
		if (i)		/* another number, the same count */
			ck_assert(y.limit.slot == was.slot && y.limit.gen == was.gen);
		ck_assert_uint_eq(y.connections, (uint32_t)i + 1);
		was = y.limit;
		tell(&w, "p.yaml", POLICY("p", TO(""), "limits: {connections: 2}"));
	}
	world_fini(&w);
	world_init(&w, "");
	while (slots_take(&w.model.slot[SLOT_LIMIT]).slot)
		;
	tell(&w, "a.yaml", WEB);
	tell(&w, "p.yaml", POLICY("p", TO(""), "limits: {connections: 1}"));
	ck_assert(settle(&w));
	assert_condition(&w, "p", "\"status\":\"False\",\"reason\":\"Pending\",\"message\":\"the limits are not kept");
	world_fini(&w);
}
END_TEST

START_TEST(a_rate_limit_says_the_same_and_keeps_its_slot)
{
#define LIMIT(name, more)                                                                          \
	"apiVersion: nodeproxy.io/v1alpha1\nkind: RateLimitPolicy\n"                               \
	"metadata: {name: " name ", namespace: shop}\n"                                            \
	"spec: {targetRefs: [" TO("") "], total: {requests: " more "}}\n---\n"
	struct slot_gen was = { 0 };
	struct vservice s;
	struct world w;
	struct vport p;
	struct vrate y;

	world_init(&w, "");
	tell(&w, "p.yaml", LIMIT("p", "1"));
	ck_assert(settle(&w));
	assert_condition_of(&w, "RateLimitPolicy", "p", "\"reason\":\"TargetNotFound\"");
	/* A TrafficPolicy of the same Service is no rival. */
	tell(&w, "a.yaml", WEB POLICY("p", TO(""), "limits: {connections: 1}"));
	for (uint32_t i = 1; i < 3; i++) {
		ck_assert(settle(&w));
		ck_assert(view_service_by_name(w.view, SLICE("shop"), SLICE("web"), &s));
		ck_assert(vservice_port(&s, 80, &p) && vport_rate(&p, &y));
		ck_assert_uint_ne(y.slot.slot, 0);
		if (i > 1)
			ck_assert(y.slot.slot == was.slot && y.slot.gen == was.gen);
		ck_assert_uint_eq(y.total.requests, i);
		was = y.slot;
		tell(&w, "p.yaml", LIMIT("p", "2"));
	}
	assert_condition_of(&w, "RateLimitPolicy", "p", "\"status\":\"True\",\"reason\":\"Accepted\",\"message\":\"\"");
	assert_condition(&w, "p", "\"status\":\"True\",\"reason\":\"Accepted\",\"message\":\"\"");
	tell(&w, "q.yaml", LIMIT("q", "2"));
	ck_assert(settle(&w));
	assert_condition_of(&w, "RateLimitPolicy", "q", "\"status\":\"False\",\"reason\":\"Conflicted\",\"message\":"
			    "\"another policy counts instead: port 80: RateLimitPolicy shop/p\"");
	model_gone(&w.model, "p.yaml");
	model_gone(&w.model, "q.yaml");
	ck_assert(settle(&w));
	ck_assert_uint_eq(w.model.slot[SLOT_RATE].taken, 0);
	ck_assert_uint_eq(w.model.slot[SLOT_LIMIT].taken, 1);
	while (slots_take(&w.model.slot[SLOT_RATE]).slot)
		;
	tell(&w, "p.yaml", LIMIT("p", "1"));
	ck_assert(settle(&w));
	assert_condition_of(&w, "RateLimitPolicy", "p", "\"status\":\"False\",\"reason\":\"Pending\"");
	world_fini(&w);
}
END_TEST

#define TLS_POLICY(name, refs)                                                                     \
	"apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\n"                      \
	"metadata: {name: " name ", namespace: shop}\n"                                            \
	"spec: {targetRefs: [" TO("") "], validation: {hostname: a.b, caCertificateRefs: [" refs "]}}\n---\n"
#define CA(name) "{group: '', kind: ConfigMap, name: " name "}"
#define CONFIG_MAP(name, pem)                                                                      \
	"apiVersion: v1\nkind: ConfigMap\nmetadata: {name: " name ", namespace: shop}\n"           \
	"data: {ca.crt: \"" pem "\"}\n---\n"
/* Nearly a certificate: of DER only the outermost length is looked at here. */
#define NEARLY "-----BEGIN CERTIFICATE-----\\nMAMCAQE=\\n-----END CERTIFICATE-----\\n"

START_TEST(a_policy_of_tls_has_its_issuers_as_they_come_and_go)
{
	struct world w;

	world_init(&w, "");
	tell(&w, "a.yaml", WEB);
	tell(&w, "p.yaml", TLS_POLICY("p", CA("x") ", " CA("y") ", {group: z, kind: Secret, name: z}"));
	ck_assert(settle(&w));
	ck_assert(serves(&w, "tls p host=a.b cas=0\n"));
	assert_condition_of(&w, "BackendTLSPolicy", "p", "\"type\":\"Accepted\",\"status\":\"False\",\"reason\":\"NoValidCACertificate\"");
	assert_condition_of(&w, "BackendTLSPolicy", "p", "\"type\":\"ResolvedRefs\",\"status\":\"False\","
			    "\"reason\":\"InvalidCACertificateRef\",\"message\":\"validation.caCertificateRefs[0]: ConfigMap shop/x does not exist\"");
	tell(&w, "x.yaml", CONFIG_MAP("x", NEARLY NEARLY));
	tell(&w, "y.yaml", CONFIG_MAP("y", "no certificate"));
	ck_assert(settle(&w));
	ck_assert(serves(&w, "tls p host=a.b cas=1\n"));
	assert_condition_of(&w, "BackendTLSPolicy", "p", "\"type\":\"Accepted\",\"status\":\"True\",\"reason\":\"Accepted\"");
	assert_condition_of(&w, "BackendTLSPolicy", "p", "caCertificateRefs[1]: ca.crt of ConfigMap shop/y has no certificate");
	tell(&w, "y.yaml", CONFIG_MAP("y", "-----BEGIN CERTIFICATE-----\\nMAMCAQ==\\n-----END CERTIFICATE-----\\n"));
	(void)settle(&w);
	assert_condition_of(&w, "BackendTLSPolicy", "p", "ca.crt of ConfigMap shop/y has a certificate that cannot be read");
	tell(&w, "y.yaml", CONFIG_MAP("y", NEARLY));
	ck_assert(settle(&w));
	ck_assert(serves(&w, "tls p host=a.b cas=2\n"));
	assert_condition_of(&w, "BackendTLSPolicy", "p", "\"reason\":\"InvalidKind\",\"message\":\"validation.caCertificateRefs[2]: "
			    "Secret of z is not supported, only ConfigMap\"");
	model_gone(&w.model, "x.yaml");
	ck_assert(settle(&w));
	ck_assert(serves(&w, "tls p host=a.b cas=1\n"));
	tell(&w, "q.yaml", TLS_POLICY("q", CA("y")));
	ck_assert(settle(&w));
	assert_condition_of(&w, "BackendTLSPolicy", "q", "\"reason\":\"Conflicted\",\"message\":\"another policy counts "
			    "instead: port 80: BackendTLSPolicy shop/p\"");
	assert_condition_of(&w, "BackendTLSPolicy", "q", "\"type\":\"ResolvedRefs\",\"status\":\"True\"");
	model_gone(&w.model, "p.yaml");
	model_gone(&w.model, "q.yaml");
	ck_assert(settle(&w));
	ck_assert(!serves(&w, "tls "));
	world_fini(&w);
}
END_TEST

START_TEST(a_namespace_belongs_to_the_first_tenant_that_lists_it)
{
	struct world w;
	struct vnamespace ns;
	char *text;

	world_init(&w, "");
	ck_assert_int_eq(model_want_space(&w.model, "lonely", true), 0);
	tell(&w, "a.yaml", WEB TENANT("gold", "shop, bank"));
	ck_assert(settle(&w));
	view_namespace(w.view, SLICE("shop"), &ns);
	ck_assert(slice_eq(ns.tenant, SLICE("gold")));
	ck_assert_uint_eq(ns.weight, 7);
	ck_assert_uint_ne(ns.tenant_slot.slot, 0);
	uint32_t gold = ns.tenant_slot.slot;

	view_namespace(w.view, SLICE("bank"), &ns);
	ck_assert_uint_eq(ns.tenant_slot.slot, gold);
	view_namespace(w.view, SLICE("lonely"), &ns);
	ck_assert(slice_eq(ns.tenant, SLICE("lonely")));
	ck_assert_uint_ne(ns.tenant_slot.slot, 0);
	ck_assert_uint_ne(ns.tenant_slot.slot, gold);
	/* silver wants bank too: refused as a whole, also for mine. */
	tell(&w, "b.yaml", TENANT("silver", "bank, mine"));
	ck_assert(settle(&w));
	view_namespace(w.view, SLICE("bank"), &ns);
	ck_assert(slice_eq(ns.tenant, SLICE("gold")));
	view_namespace(w.view, SLICE("mine"), &ns);
	ck_assert(slice_eq(ns.tenant, SLICE("mine")));
	text = report_text(&w, NULL);
	ck_assert_ptr_nonnull(strstr(text, "namespace bank is in Tenant gold already"));
	free(text);
	/* gold goes: silver has its way, shop is on its own. */
	tell(&w, "a.yaml", WEB);
	ck_assert(settle(&w));
	view_namespace(w.view, SLICE("bank"), &ns);
	ck_assert(slice_eq(ns.tenant, SLICE("silver")));
	view_namespace(w.view, SLICE("shop"), &ns);
	ck_assert(slice_eq(ns.tenant, SLICE("shop")));
	ck_assert_uint_eq(ns.weight, 1);
	world_fini(&w);
}
END_TEST

START_TEST(a_rebuilt_view_is_the_same_view)
{
	struct world w;
	char before[8192];

	world_init(&w, "10.96.0.0/12");
	tell(&w, "a.yaml", WEB SERVICE("x", "") ROUTE("r", "web", "/a", "x") TENANT("t", "shop"));
	ck_assert(settle(&w));
	snprintf(before, sizeof before, "%s", world_dump(&w));
	struct slot_gen slot = endpoint_slot(&w, "127.0.0.1");

	ck_assert_int_eq(model_rebuild(&w.model), 0);
	publish(&w);
	ck_assert_str_eq(world_dump(&w), before);
	ck_assert_uint_eq(endpoint_slot(&w, "127.0.0.1").slot, slot.slot);
	ck_assert_uint_eq(endpoint_slot(&w, "127.0.0.1").gen, slot.gen);
	world_fini(&w);
}
END_TEST

/* ---- any history gives the view that its last state alone gives ---- */

#define PLACES 4

static void random_place(char *out, size_t n)
{
	static const char *const doc[] = {
		SERVICE("a", ""), SERVICE("b", ""), SERVICE("c", "clusterIP: 10.96.0.1,"),
		SERVICE("d", "clusterIP: None,"), SLICES("a-1", "a", AT("127.0.0.1")),
		SLICES("a-1", "a", AT("127.0.0.2") "," AT("127.0.0.3")),
		SLICES("a-2", "a", AT("127.0.0.4")), SLICES("b-1", "b", AT("127.0.0.5")),
		ROUTE("r", "a", "/x", "b"), ROUTE("r", "b", "/y", "c"), ROUTE("q", "a", "/x/y", "nil"),
		TENANT("t", "shop"), TENANT("u", "shop, bank"), TENANT("v", "bank"),
		"apiVersion: v1\nkind: Namespace\nmetadata: {name: bank}\n---\n",
		POLICY("p", "{group: \"\", kind: Service, name: a}", "limits: {requests: 1}"),
		POLICY("p", "{group: \"\", kind: Service, name: b}", "timeouts: {stall: 1s}"),
		POLICY("q", "{group: \"\", kind: Service, name: a}", "limits: {connections: 2}"),
	};
	unsigned docs = rand_below(6);

	out[0] = 0;
	while (docs--)
		strncat(out, doc[rand_below(countof(doc))], n - strlen(out) - 1);
}

START_TEST(any_history_gives_the_view_that_its_last_state_alone_gives)
{
	char text[PLACES][8192];
	char name[16];
	struct world w;

	for (uint64_t seed = 1; seed <= 12; seed++) {
		rand_seed(seed);
		world_init(&w, "10.96.0.0/29");
		memset(text, 0, sizeof text);
		for (int step = 0; step < 40; step++) {
			struct world fresh;
			bool all = rand_below(4) == 0;

			if (all)
				model_snapshot(&w.model);
			for (int p = 0; p < PLACES; p++) {
				snprintf(name, sizeof name, "%c.yaml", 'a' + p);
				if (rand_below(3) == 0) {
					random_place(text[p], sizeof text[p]);
					if (text[p][0])
						tell(&w, name, text[p]);
					else
						model_gone(&w.model, name);
				} else if (all && text[p][0]) {
					model_same(&w.model, name);
				}
			}
			(void)settle(&w);
			world_init(&fresh, "10.96.0.0/29");
			for (int p = PLACES - 1; p >= 0; p--) {
				snprintf(name, sizeof name, "%c.yaml", 'a' + p);
				if (text[p][0])
					tell(&fresh, name, text[p]);
			}
			(void)settle(&fresh);
			ck_assert_msg(strcmp(world_dump(&w), world_dump(&fresh)) == 0,
				      "seed %d step %d:\n%s--- from scratch:\n%s", (int)seed, step,
				      w.text, fresh.text);
			for (int s = 0; s < SLOT_SCOPES; s++)
				ck_assert_uint_eq(w.model.slot[s].taken, fresh.model.slot[s].taken);
			world_fini(&fresh);
		}
		world_fini(&w);
	}
}
END_TEST

/* All that waits for the master, one word each. */
static const char *modes_said_now(struct world *w)
{
	static char text[512];
	const struct msg_ns_modes *m;
	size_t n = 0;

	text[0] = 0;
	while ((m = modes_next(&w->model.modes))) {
		if (m->told == NS_TOLD_ONE)
			n += (size_t)snprintf(text + n, sizeof text - n, "%s=%u ", m->ns,
					      m->modes.of[MODE_when_away]);
		else
			n += (size_t)snprintf(text + n, sizeof text - n,
					      m->told == NS_TOLD_BEGIN ? "( " : ") ");
		modes_said(&w->model.modes);
	}
	return text;
}

#define AWAY(name, mode)                                                                           \
	"---\napiVersion: v1\nkind: Namespace\nmetadata: {name: " name                             \
	", labels: {nodeproxy.io/when-away: " mode "}}\n"

START_TEST(modes_of_namespaces_are_told_whole_and_then_as_they_change)
{
	struct world w;

	world_init(&w, "");
	tell(&w, "a.yaml", AWAY("shop", "closed") AWAY("bank", "open"));
	(void)settle(&w);
	ck_assert_str_eq(modes_said_now(&w), "");	/* nobody was told anything yet */
	ck_assert(serves(&w, "namespace shop tenant=shop weight=1 memory=0 connections=0 requests=0 when-away=closed\n"));
	modes_all(&w.model);
	ck_assert_str_eq(modes_said_now(&w), "( shop=1 ) ");
	tell(&w, "b.yaml", AWAY("mail", "closed"));
	(void)settle(&w);
	ck_assert_str_eq(modes_said_now(&w), "mail=1 ");
	tell(&w, "a.yaml", "# as it was\n" AWAY("shop", "closed") AWAY("bank", "open"));
	(void)settle(&w);
	ck_assert_str_eq(modes_said_now(&w), "");
	tell(&w, "a.yaml", AWAY("bank", "closed") AWAY("shop", "shut"));	/* the good one stays */
	(void)settle(&w);
	ck_assert_str_eq(modes_said_now(&w), "bank=1 ");
	model_gone(&w.model, "a.yaml");
	tell(&w, "b.yaml", AWAY("mail", "open"));
	(void)settle(&w);
	modes_all(&w.model);		/* what waits is not said any more */
	ck_assert_str_eq(modes_said_now(&w), "( ) ");
	world_fini(&w);
}
END_TEST

UNIT_TESTS("model", modes_of_namespaces_are_told_whole_and_then_as_they_change,
	   of_retry_budgets_one_counts_and_the_others_say_so, two_documents_are_enough_to_serve,
	   of_two_documents_the_first_by_place_and_line_counts,
	   nobody_is_refused_before_it_is_settled, a_refused_document_leaves_the_last_good_version_serving,
	   a_refused_document_that_never_was_good_does_not_hide_another,
	   what_a_broken_text_may_have_held_stays,
	   the_marker_removes_what_a_snapshot_did_not_tell,
	   an_endpoint_keeps_its_slot_and_a_reused_slot_has_a_new_generation,
	   slots_run_out_without_harm_and_come_back,
	   a_service_without_address_gets_one_in_the_range_and_always_the_same,
	   of_two_services_that_collide_the_later_name_is_refused, routes_say_why_they_do_not_work,
	   a_route_is_in_the_unit_of_the_service_it_is_attached_to,
	   a_grant_that_comes_or_goes_reaches_the_routes_it_is_for, routes_say_which_of_them_counts,
	   routes_of_other_namespaces_cannot_crowd_a_service_out,
	   a_policy_says_for_which_ports_it_counts, limits_keep_their_slot_and_too_many_are_said,
	   a_rate_limit_says_the_same_and_keeps_its_slot,
	   a_policy_of_tls_has_its_issuers_as_they_come_and_go,
	   a_namespace_belongs_to_the_first_tenant_that_lists_it, a_rebuilt_view_is_the_same_view,
	   any_history_gives_the_view_that_its_last_state_alone_gives)
