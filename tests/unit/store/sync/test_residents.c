/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Which pods are endpoints of which Services, and what hosts may say of theirs. */
#include "store/sync/residents.h"

#include "tests/unit/store/sync/world.h"
#include "tests/unit/test.h"

#define SELECTING(name, selector, more)                                                            \
	"apiVersion: v1\nkind: Service\nmetadata: {name: " name ", namespace: shop" more "}\n"     \
	"spec: {clusterIP: 10.0.0.1, selector: {" selector "}, ports: [{port: 80, targetPort: 8080}]}\n"

static struct world w;

/* One as its host writes it; more: of spec. */
static void say(const char *node, const char *pod, const char *labels, const char *addresses, const char *more)
{
	char place[PLACE_MAX], name[300], text[2048];

	ck_assert(resource_resident_place("/r/c/", node, "shop", pod, place, sizeof place));
	ck_assert(resource_resident_name(pod, node, name, sizeof name));
	snprintf(text, sizeof text, "{\"apiVersion\":\"nodeproxy.io/v1alpha1\",\"kind\":\"Resident\",\"metadata\":"
				    "{\"namespace\":\"shop\",\"name\":\"%s\",\"labels\":{%s}},\"spec\":{\"node\":\"%s\","
				    "\"pod\":\"%s\",\"addresses\":[%s]%s}}",
		 name, labels, node, pod, addresses, more);
	tell(&w, place, text);
}

static void unsay(const char *node, const char *pod)
{
	char place[PLACE_MAX];

	ck_assert(resource_resident_place("/r/c/", node, "shop", pod, place, sizeof place));
	model_gone(&w.model, place);
}

static bool reported(const char *what)
{
	char *text = report_text(&w, NULL);
	bool is = strstr(text, what) != NULL;

	free(text);
	return is;
}

static uint32_t refused(void)
{
	struct model_counts n;

	model_counts(&w.model, &n);
	return n.refused;
}

START_TEST(a_service_has_the_pods_that_have_all_its_labels)
{
	world_init(&w, "");
	tell(&w, "a.yaml", SELECTING("web", "app: web, tier: front", ""));
	say("one", "a", "\"app\":\"web\",\"tier\":\"front\",\"more\":\"x\"", "\"10.1.0.1\"", ",\"zone\":\"z1\"");
	say("two", "b", "\"app\":\"web\"", "\"10.2.0.1\"", "");
	say("two", "c", "\"app\":\"web\",\"tier\":\"back\"", "\"10.2.0.2\"", "");
	ck_assert(settle(&w));
	ck_assert(serves(&w, "endpoint 10.1.0.1:8080 ready"));
	ck_assert(serves(&w, "zone=z1") && serves(&w, "node=one"));
	ck_assert(!serves(&w, "10.2.0."));
	/* Labels change, pods come and go. */
	say("two", "b", "\"app\":\"web\",\"tier\":\"front\"", "\"10.2.0.1\"", "");
	ck_assert(settle(&w));
	ck_assert(serves(&w, "endpoint 10.2.0.1:8080 ready"));
	say("one", "a", "\"app\":\"other\",\"tier\":\"front\"", "\"10.1.0.1\"", "");
	ck_assert(settle(&w));
	ck_assert(!serves(&w, "10.1.0.1"));
	unsay("two", "b");
	ck_assert(settle(&w));
	ck_assert(!serves(&w, "10.2.0.1"));
	/* The selector changes; without one no pod is an endpoint. */
	tell(&w, "a.yaml", SELECTING("web", "app: other", ""));
	ck_assert(settle(&w));
	ck_assert(serves(&w, "10.1.0.1"));
	tell(&w, "a.yaml", SELECTING("web", "", ""));
	ck_assert(settle(&w));
	ck_assert(!serves(&w, "10.1.0.1"));
	ck_assert_uint_eq(refused(), 0);
	world_fini(&w);
}
END_TEST

START_TEST(pods_of_another_namespace_are_none_of_its)
{
	world_init(&w, "");
	tell(&w, "a.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: bank}\n"
			   "spec: {clusterIP: 10.0.0.1, selector: {app: web}, ports: [{port: 80}]}\n");
	say("one", "a", "\"app\":\"web\"", "\"10.1.0.1\"", "");
	ck_assert(settle(&w));
	ck_assert(!serves(&w, "10.1.0.1"));
	world_fini(&w);
}
END_TEST

START_TEST(slices_that_are_written_count_instead)
{
	world_init(&w, "");
	tell(&w, "a.yaml", SELECTING("web", "app: web", ""));
	say("one", "a", "\"app\":\"web\"", "\"10.1.0.1\"", "");
	tell(&w, "b.yaml", SLICES("web-1", "web", AT("10.9.0.1")));
	ck_assert(settle(&w));
	ck_assert(serves(&w, "10.9.0.1") && !serves(&w, "10.1.0.1"));
	ck_assert(!reported("\"Selected\""));
	model_gone(&w.model, "b.yaml");
	ck_assert(settle(&w));
	ck_assert(!serves(&w, "10.9.0.1") && serves(&w, "10.1.0.1"));
	ck_assert(reported("\"type\":\"Selected\",\"status\":\"True\""));
	world_fini(&w);
}
END_TEST

START_TEST(one_that_drains_gets_nothing_new)
{
	world_init(&w, "");
	tell(&w, "a.yaml", SELECTING("web", "app: web", ""));
	say("one", "a", "\"app\":\"web\"", "\"10.1.0.1\"", "");
	ck_assert(settle(&w));
	ck_assert(serves(&w, "endpoint 10.1.0.1:8080 ready serving"));
	say("one", "a", "\"app\":\"web\"", "\"10.1.0.1\"", ",\"draining\":true");
	ck_assert(settle(&w));
	ck_assert(serves(&w, "endpoint 10.1.0.1:8080 serving terminating"));
	/* Meanwhile its address may have come to another host. */
	say("two", "a", "\"app\":\"web\"", "\"10.1.0.1\"", "");
	ck_assert(settle(&w));
	ck_assert(serves(&w, "endpoint 10.1.0.1:8080 ready serving") && serves(&w, "node=two"));
	ck_assert_uint_eq(refused(), 1);	/* of the one that drains: it is said */
	unsay("one", "a");
	(void)settle(&w);
	ck_assert_uint_eq(refused(), 0);
	ck_assert(serves(&w, "endpoint 10.1.0.1:8080 ready serving"));
	world_fini(&w);
}
END_TEST

START_TEST(an_address_of_two_hosts_is_no_endpoint_of_either)
{
	world_init(&w, "");
	tell(&w, "a.yaml", SELECTING("web", "app: web", ""));
	say("one", "a", "\"app\":\"web\"", "\"10.1.0.1\"", "");
	say("one", "b", "\"app\":\"web\"", "\"10.1.0.1\"", "");		/* as processes of one namespace have */
	ck_assert(settle(&w));
	ck_assert(serves(&w, "10.1.0.1"));
	ck_assert_uint_eq(refused(), 0);
	say("liar", "x", "", "\"10.1.0.9\", \"10.1.0.1\"", "");
	ck_assert(settle(&w));
	ck_assert(!serves(&w, "10.1.0.1"));
	ck_assert_uint_eq(refused(), 3);
	ck_assert(reported("10.1.0.1 is also said by liar, of pod shop/x: it is no endpoint of either"));
	say("liar", "x", "", "\"10.1.0.9\"", "");
	ck_assert(settle(&w));
	ck_assert(serves(&w, "10.1.0.1"));
	ck_assert_uint_eq(refused(), 0);
	/* Another address of the same family takes its place. */
	say("one", "b", "\"app\":\"other\"", "\"10.1.0.7\"", "");
	say("one", "a", "\"app\":\"web\"", "\"10.1.0.1\", \"10.1.0.2\", \"fd00::1\"", "");
	say("liar", "x", "", "\"10.1.0.1\"", "");
	(void)settle(&w);
	ck_assert(!serves(&w, "10.1.0.1:") && serves(&w, "endpoint 10.1.0.2:8080 ready"));
	world_fini(&w);
}
END_TEST

START_TEST(a_service_says_which_accounts_may_serve_it)
{
	world_init(&w, "");
	tell(&w, "a.yaml", SELECTING("web", "app: web", ", annotations: {nodeproxy.io/service-accounts: \"web, api\"}"));
	say("one", "a", "\"app\":\"web\"", "\"10.1.0.1\"", "");
	say("one", "b", "\"app\":\"web\"", "\"10.1.0.2\"", ",\"serviceAccount\":\"api\"");
	say("one", "c", "\"app\":\"web\"", "\"10.1.0.3\"", ",\"serviceAccount\":\"web\"");
	say("one", "d", "\"app\":\"web\"", "\"10.1.0.4\"", ",\"serviceAccount\":\"we\"");
	ck_assert(settle(&w));
	ck_assert(serves(&w, "10.1.0.2") && serves(&w, "10.1.0.3"));
	ck_assert(!serves(&w, "10.1.0.1") && !serves(&w, "10.1.0.4"));
	say("one", "c", "\"app\":\"web\"", "\"10.1.0.3\"", ",\"serviceAccount\":\"other\"");
	ck_assert(settle(&w));
	ck_assert(!serves(&w, "10.1.0.3"));
	world_fini(&w);
}
END_TEST

START_TEST(a_target_port_by_name_has_no_pods)
{
	world_init(&w, "");
	tell(&w, "a.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n"
			   "spec: {clusterIP: 10.0.0.1, selector: {app: web}, ports: [{name: a, port: 80, targetPort: http}, "
			   "{name: b, port: 81, targetPort: 8081}, {name: c, port: 82}]}\n");
	say("one", "a", "\"app\":\"web\"", "\"10.1.0.1\"", "");
	ck_assert(settle(&w));
	ck_assert(serves(&w, "10.1.0.1:8081") && serves(&w, "10.1.0.1:82"));
	ck_assert(!serves(&w, "10.1.0.1:80 "));
	ck_assert(reported("\"type\":\"Selected\",\"status\":\"False\",\"reason\":\"NamedTargetPort\",\"message\":"
			   "\"spec.ports[0].targetPort: "));
	world_fini(&w);
}
END_TEST

/* What a host may say of others, and what anybody else may say of pods: nothing. */
START_TEST(who_says_it_is_where_it_is_written)
{
	static const char doc[] = "{\"apiVersion\":\"nodeproxy.io/v1alpha1\",\"kind\":\"Resident\",\"metadata\":"
				  "{\"namespace\":\"shop\",\"name\":\"a.one\",\"labels\":{\"app\":\"web\"}},\"spec\":"
				  "{\"node\":\"one\",\"pod\":\"a\",\"addresses\":[\"10.1.0.1\"]}}";
	static const char *const places[] = {
		"a.yaml", "/r/c/ns/shop/nodeproxy.io/Resident/a.one", "/r/c/node/two/pod/shop/a",
		"/r/c/node/one/pod/bank/a", "/r/c/node/one/pod/shop/b", "/r/c/node/one/status", "one/pod/shop/a",
		"xnode/one/pod/shop/a", "/r/c/node/one/pod/shop/a/b",
	};

	world_init(&w, "");
	tell(&w, "b.yaml", SELECTING("web", "app: web", ""));
	for (size_t i = 0; i < countof(places); i++) {
		tell(&w, places[i], doc);
		(void)settle(&w);
		ck_assert_msg(!serves(&w, "10.1.0.1"), "%s", places[i]);
		ck_assert_msg(refused() == 1, "%s", places[i]);
		model_gone(&w.model, places[i]);
	}
	/* What somebody else wrote by its name does not hide it. */
	tell(&w, "/r/c/node/a/pod/shop/a", doc);
	tell(&w, "/r/c/node/one/pod/shop/a", doc);
	ck_assert(settle(&w));
	ck_assert(serves(&w, "10.1.0.1"));
	tell(&w, "/r/c/node/one/pod/shop/a", "{\"kind\": 1}");
	(void)settle(&w);
	ck_assert(serves(&w, "10.1.0.1"));	/* its last good version */
	/* Nor does it keep it when it is gone. */
	model_gone(&w.model, "/r/c/node/one/pod/shop/a");
	(void)settle(&w);
	ck_assert(!serves(&w, "10.1.0.1"));
	world_fini(&w);
}
END_TEST

/* Names are made so that no host can take one of another's. */
START_TEST(no_name_is_one_of_another_hosts)
{
	char a[300], b[300], node[254];

	ck_assert(resource_resident_name("a.b", "c", a, sizeof a));
	ck_assert(resource_resident_name("a", "b.c", b, sizeof b));
	ck_assert_str_ne(a, b);
	ck_assert(resource_resident_name("a-b", "c", b, sizeof b));
	ck_assert_str_ne(a, b);
	ck_assert_ptr_eq(strchr(a, '.'), strstr(a, ".c"));
	memset(node, 'n', sizeof node - 1);
	node[sizeof node - 1] = 0;
	ck_assert(!resource_resident_name("a", node, a, sizeof a));
	ck_assert(!resource_resident_name("a", "b", a, 3));
}
END_TEST

START_TEST(nonsense_of_a_host_is_refused)
{
	static const char *const bad[] = {
		"", "x", "[]", "{\"kind\":\"Resident\"}", "{}",
	};
	static const struct {
		const char *addresses, *more;
	} specs[] = {
		{ "", "" },
		{ "\"10.1.0\"", "" },
		{ "\"127.0.0.1\"", "" },
		{ "\"169.254.1.1\"", "" },
		{ "\"::ffff:127.0.0.1\"", "" },
		{ "\"fe80::1\"", "" },
		{ "\"::1\"", "" },
		{ "\"10.1.0.1\",\"10.1.0.1\"", "" },
		{ "\"10.1.0.1\",\"10.1.0.2\",\"10.1.0.3\",\"10.1.0.4\",\"10.1.0.5\",\"10.1.0.6\",\"10.1.0.7\","
		  "\"10.1.0.8\",\"10.1.0.9\"", "" },
		{ "\"10.1.0.1\"", ",\"serviceAccount\":\"A B\"" },
		{ "\"10.1.0.1\"", ",\"draining\":\"yes\"" },
		{ "\"10.1.0.1\"", ",\"zone\":\"a b\"" },
		{ "\"10.1.0.1\"", ",\"other\":1" },
	};

	world_init(&w, "");
	tell(&w, "b.yaml", SELECTING("web", "app: web", ""));
	(void)settle(&w);
	for (size_t i = 0; i < countof(bad); i++) {
		tell(&w, "/r/c/node/one/pod/shop/a", bad[i]);
		(void)settle(&w);
		ck_assert(!serves(&w, "endpoint 10.1"));
	}
	for (size_t i = 0; i < countof(specs); i++) {
		say("one", "a", "\"app\":\"web\"", specs[i].addresses, specs[i].more);
		(void)settle(&w);
		ck_assert_msg(!serves(&w, "endpoint 10.1"), "%zu", i);
		ck_assert_msg(refused() == 1, "%zu", i);
	}
	say("one", "a", "\"app\":\"web\"", "\"10.1.0.1\"", "");
	ck_assert(settle(&w));
	ck_assert_uint_eq(refused(), 0);
	/* As elsewhere the last good version stays. */
	say("one", "a", "\"app\":\"web\",\"app\":\"web\"", "\"10.1.0.2\"", "");
	(void)settle(&w);
	ck_assert_uint_eq(refused(), 1);
	ck_assert(serves(&w, "endpoint 10.1.0.1"));
	say("one", "a", "\"app\":\"web\"", "\"nonsense\"", "");
	(void)settle(&w);
	ck_assert(serves(&w, "endpoint 10.1.0.1"));
	world_fini(&w);
}
END_TEST

/* All Services select one label that all pods have: no pod looks at all of them. */
START_TEST(a_service_is_found_by_the_label_that_the_fewest_select)
{
	const struct labels *l = &w.model.residents.labels;
	struct row_pair all = { .name = (char *)"all", .value = (char *)"yes" }, own = { .name = (char *)"app" };
	char place[24], text[400], label[60];

	world_init(&w, "");
	for (int i = 0; i < 10; i++) {
		snprintf(place, sizeof place, "%d.yaml", i);
		snprintf(text, sizeof text,
			 "apiVersion: v1\nkind: Service\nmetadata: {name: s%d, namespace: shop}\nspec: {clusterIP: 10.0.0.%d, "
			 "selector: {all: 'yes', app: a%d}, ports: [{port: 80, targetPort: 8080}]}\n", i, i + 1, i);
		tell(&w, place, text);
		snprintf(label, sizeof label, "\"all\":\"yes\",\"app\":\"a%d\"", i);
		snprintf(text, sizeof text, "\"10.1.0.%d\"", i + 1);
		snprintf(place, sizeof place, "p%d", i);
		say("one", place, label, text, "");
	}
	(void)settle(&w);
	ck_assert_uint_eq(labels_find(l, "shop", &all)->n[LABEL_PODS], 10);
	ck_assert_uint_le(labels_find(l, "shop", &all)->n[LABEL_SERVICES], 1);
	ck_assert_ptr_null(labels_find(l, "other", &all));
	for (int i = 0; i < 10; i++) {
		snprintf(text, sizeof text, "a%d", i);
		own.value = text;
		ck_assert_uint_eq(labels_find(l, "shop", &own)->n[LABEL_PODS], 1);
		ck_assert_uint_le(labels_find(l, "shop", &own)->n[LABEL_SERVICES], 1);
		snprintf(text, sizeof text, "endpoint 10.1.0.%d:8080", i + 1);
		ck_assert(serves(&w, text));
	}
	/* Another selector, and none: it is found by what it says now. */
	tell(&w, "3.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: s3, namespace: shop}\n"
			   "spec: {clusterIP: 10.0.0.4, selector: {app: a4}, ports: [{port: 80, targetPort: 8080}]}\n");
	tell(&w, "5.yaml", "apiVersion: v1\nkind: Service\nmetadata: {name: s5, namespace: shop}\n"
			   "spec: {clusterIP: 10.0.0.6, ports: [{port: 80}]}\n");
	say("one", "p4", "\"app\":\"a4\"", "\"10.1.0.40\"", "");
	(void)settle(&w);
	ck_assert(serves(&w, "endpoint 10.1.0.40:8080") && !serves(&w, "endpoint 10.1.0.4:8080") &&
		  !serves(&w, "endpoint 10.1.0.6:8080"));
	world_fini(&w);
}
END_TEST

START_TEST(nothing_is_left_of_those_that_went)
{
	world_init(&w, "");
	for (int round = 0; round < 3; round++) {
		say("one", "a", "\"app\":\"web\"", "\"10.1.0.1\",\"fd00::1\"", "");
		say("two", "a", "", "\"10.1.0.1\"", "");
		(void)settle(&w);
		ck_assert_uint_eq(w.model.residents.by_addr.count, 3);
		ck_assert_uint_eq(w.model.residents.labels.labels.count, 1);
		ck_assert_uint_eq(w.model.residents.labels.entries.count, 1);
		unsay("one", "a");
		unsay("two", "a");
		(void)settle(&w);
		ck_assert_uint_eq(w.model.residents.by_addr.count, 0);
		ck_assert_uint_eq(w.model.residents.labels.labels.count, 0);
		ck_assert_uint_eq(w.model.residents.labels.entries.count, 0);
		ck_assert_uint_eq(w.model.spaces.count, 0);
		ck_assert_uint_eq(w.model.resources.count, 0);
	}
	world_fini(&w);
}
END_TEST

START_TEST(places_of_hosts_are_told_from_others)
{
	ck_assert(residents_place_is("node/one/pod/shop/a") && residents_place_is("/r/c/node/one/pod/shop/a"));
	ck_assert(!residents_place_is("a.yaml") && !residents_place_is("/r/c/ns/shop/core/Service/web"));
	ck_assert(!residents_place_is("node.yaml"));
}
END_TEST

UNIT_TESTS("residents", a_service_has_the_pods_that_have_all_its_labels, pods_of_another_namespace_are_none_of_its,
	   slices_that_are_written_count_instead, one_that_drains_gets_nothing_new,
	   an_address_of_two_hosts_is_no_endpoint_of_either, a_service_says_which_accounts_may_serve_it,
	   a_target_port_by_name_has_no_pods, who_says_it_is_where_it_is_written, no_name_is_one_of_another_hosts,
	   nonsense_of_a_host_is_refused, a_service_is_found_by_the_label_that_the_fewest_select,
	   nothing_is_left_of_those_that_went, places_of_hosts_are_told_from_others)
