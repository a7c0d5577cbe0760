/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Which Services' endpoints are on this host: what is left of slices that nobody wants, and how they are
 * found again. */
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>

#include "nodeproxy/lib/base/rand.h"
#include "store/sync/uses.h"
#include "tests/unit/store/sync/world.h"
#include "tests/unit/test.h"
#include "workers/obs/board.h"

static struct demand d;
static unsigned changes;

static void on_changed(void *arg, uint64_t service)
{
	(void)arg;
	(void)service;
	changes++;
}

static void setup(void)
{
	rand_init();
	clock_tick();
	changes = 0;
	demand_init(&d, 1000, on_changed, NULL);
}

static void teardown(void)
{
	demand_fini(&d);
}

static bool seen(const char *slice, const char *service)
{
	return demand_seen(&d, SLICE("shop"), slice_str(slice), slice_str(service), 1);
}

static enum demand_state state(const char *name)
{
	const struct demand_service *s = demand_find(&d, "shop", name);

	return s ? (enum demand_state)s->state : DEMAND_LEFT;
}

/* As the source does. */
static unsigned fetch(void)
{
	struct demand_slice *x;
	unsigned n = 0;

	for (; (x = demand_next(&d, NULL)); n++)
		demand_told(&d, x);
	return n;
}

START_TEST(slices_are_left_until_their_service_is_wanted)
{
	ck_assert(!seen("web-1", "web"));
	ck_assert(!seen("whatever", "web"));
	ck_assert(!seen("api-1", "api"));
	ck_assert(!seen("stray", ""));
	ck_assert_uint_eq(d.left, 4);
	ck_assert_ptr_null(demand_next(&d, NULL));
	ck_assert(demand_want(&d, "shop", "web"));
	ck_assert_int_eq(state("web"), DEMAND_FETCHING);
	ck_assert(!demand_settle(&d));
	ck_assert(!demand_is_here(&d, "shop", "web"));
	ck_assert_uint_eq(fetch(), 2);
	changes = 0;
	ck_assert(demand_settle(&d));
	ck_assert_uint_eq(changes, 1);
	ck_assert(demand_is_here(&d, "shop", "web"));
	ck_assert_uint_eq(d.here, 1);
	ck_assert_uint_eq(d.left, 2);
	/* From now on the watch tells what changes. */
	ck_assert(seen("web-1", "web") && seen("web-2", "web"));
	ck_assert(!demand_want(&d, "shop", "web"));
	demand_leave(&d, demand_find(&d, "shop", "web"));
	ck_assert_uint_eq(d.left, 5);
	ck_assert_uint_eq(d.here, 0);
	ck_assert(!seen("web-1", "web"));
}
END_TEST

START_TEST(what_the_watch_tells_meanwhile_need_not_be_fetched)
{
	(void)!seen("web-1", "web");
	(void)!seen("web-2", "web");
	ck_assert(demand_want(&d, "shop", "web"));
	ck_assert(seen("web-1", "web"));
	demand_gone(&d, SLICE("shop"), SLICE("web-2"));
	ck_assert_ptr_null(demand_next(&d, NULL));
	ck_assert(demand_settle(&d));
	ck_assert_int_eq(state("web"), DEMAND_HERE);
}
END_TEST

START_TEST(a_slice_may_become_another_services)
{
	ck_assert(demand_want(&d, "shop", "web"));
	ck_assert(demand_settle(&d));
	ck_assert(seen("x", "web"));
	ck_assert(demand_has_slices(&d, "shop", "web"));
	ck_assert(!seen("x", "api"));
	ck_assert(!demand_has_slices(&d, "shop", "web"));
	ck_assert(demand_has_slices(&d, "shop", "api"));
	ck_assert_uint_eq(d.left, 1);
	ck_assert(!seen("x", ""));
	ck_assert(!demand_has_slices(&d, "shop", "api"));
	ck_assert_uint_eq(d.left, 1);
	ck_assert_uint_eq(d.services.count, 1);
	ck_assert_uint_eq(d.of_services.count, 0);
}
END_TEST

START_TEST(what_a_snapshot_does_not_have_is_gone)
{
	(void)!seen("web-1", "web");
	(void)!demand_seen(&d, SLICE("shop"), SLICE("api-1"), SLICE("api"), 2);
	demand_listed(&d, 2);
	ck_assert_uint_eq(d.slices.count, 1);
	ck_assert_uint_eq(d.of_services.count, 1);
	ck_assert_uint_eq(d.left, 1);
}
END_TEST

START_TEST(not_everything_is_fetched_at_once)
{
	char name[20];
	unsigned n = 0;

	for (unsigned i = 0; i < 2 * DEMAND_FETCHES_S; i++) {
		snprintf(name, sizeof name, "s%u", i);
		n += demand_want(&d, "shop", name);
	}
	ck_assert_uint_eq(n, DEMAND_FETCHES_S);
	ck_assert_uint_eq(d.refused, DEMAND_FETCHES_S);
	ck_assert_uint_eq(d.fetching, DEMAND_FETCHES_S);
	ck_assert_uint_eq(d.services.count, DEMAND_FETCHES_S);
}
END_TEST

START_TEST(a_listeners_service_is_wanted_while_there_is_the_listener)
{
	demand_pin(&d, "shop", "web", true);
	ck_assert_int_eq(state("web"), DEMAND_FETCHING);
	ck_assert(demand_settle(&d));
	ck_assert(!uses_is_idle(demand_find(&d, "shop", "web"), 0));
	demand_pin(&d, "shop", "web", false);
	ck_assert(uses_is_idle(demand_find(&d, "shop", "web"), 0));
	demand_leave(&d, demand_find(&d, "shop", "web"));
	ck_assert_ptr_null(demand_find(&d, "shop", "web"));
	demand_pin(&d, "shop", "nobody", false);
	ck_assert_ptr_null(demand_find(&d, "shop", "nobody"));
}
END_TEST

START_TEST(the_label_is_found_without_parsing)
{
	static const struct {
		const char *json, *is;
	} t[] = {
		{ "{\"metadata\":{\"labels\":{\"kubernetes.io/service-name\":\"web\"}}}", "web" },
		{ "{\"kubernetes.io/service-name\" :\n\t \"a-1\", \"x\": 1}", "a-1" },
		{ "{\"metadata\":{\"labels\":{\"f:kubernetes.io/service-name\":\"web\"}}}", "" },
		{ "{\"a\":\"{\\\"kubernetes.io/service-name\\\":\\\"x\\\"}\"}", "" },
		{ "{\"kubernetes.io/service-name\":\"\"}", "" },
		{ "{\"kubernetes.io/service-name\":", "" },
		{ "{\"kubernetes.io/service-name\":\"web", "" },
		{ "", "" },
		{ "nonsense", "" },
		/* Twice, or with escapes: what the document says. */
		{ "{\"apiVersion\":\"discovery.k8s.io/v1\",\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":\"n\",\"namespace\":\"s\","
		  "\"annotations\":{\"kubernetes.io/service-name\":\"no\"},\"labels\":{\"kubernetes.io/service-name\":\"web\"}},"
		  "\"addressType\":\"IPv4\",\"endpoints\":[]}", "web" },
		{ "{\"apiVersion\":\"discovery.k8s.io/v1\",\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":\"n\",\"namespace\":\"s\","
		  "\"labels\":{\"kubernetes.io/\\u0073ervice-name\":\"web\"}},\"addressType\":\"IPv4\",\"endpoints\":[]}", "web" },
	};
	char room[64];

	for (size_t i = 0; i < countof(t); i++) {
		struct slice s = slice_service(slice_str(t[i].json), room);

		ck_assert_msg(slice_eq(s, slice_str(t[i].is)), "%zu: %.*s", i, (int)s.n, (const char *)s.p);
	}
}
END_TEST

/* ---- with a model ---- */

#define WEB  SERVICE("web", "clusterIP: 10.96.0.1,")
#define PODS "apiVersion: v1\nkind: Service\nmetadata: {name: pods, namespace: shop}\n" \
	     "spec: {clusterIP: 10.96.0.2, selector: {app: a}, ports: [{port: 80}]}\n---\n"

static struct world w;

static void demand_changed(void *arg, uint64_t service)
{
	(void)arg;
	model_demanded(&w.model, service);
}

START_TEST(a_service_lacks_its_endpoints_until_all_are_told)
{
	world_init(&w, "");
	d.changed = demand_changed;
	w.model.demand = &d;
	tell(&w, "a", WEB);
	(void)!seen("web-1", "web");
	ck_assert(settle(&w));
	ck_assert(serves(&w, "service shop/web vip=10.96.0.1 lacks-endpoints"));
	ck_assert(demand_want(&d, "shop", "web"));
	tell(&w, "b", SLICES("web-1", "web", AT("10.0.0.1")));
	ck_assert(settle(&w));
	ck_assert(serves(&w, "lacks-endpoints") && !serves(&w, "10.0.0.1"));
	fetch();
	ck_assert(demand_settle(&d));
	ck_assert(settle(&w));
	ck_assert(!serves(&w, "lacks-endpoints") && serves(&w, "10.0.0.1:8080"));
	ck_assert(!settle(&w));
	model_gone(&w.model, "b");
	demand_leave(&d, demand_find(&d, "shop", "web"));
	ck_assert(settle(&w));
	ck_assert(serves(&w, "lacks-endpoints") && !serves(&w, "10.0.0.1"));
	d.changed = on_changed;
	world_fini(&w);
}
END_TEST

START_TEST(what_the_store_has_was_used)
{
	struct documents docs = { 0 };

	world_init(&w, "");
	d.changed = demand_changed;
	w.model.demand = &d;
	ck_assert_int_eq(documents_read(&docs, "a", SLICE(WEB SLICES("web-1", "web", AT("10.0.0.1")))), 0);
	for (size_t i = 0; i < docs.n; i++)
		model_add_stored(&w.model, i ? "b" : "a", 1, &docs.v[i].row);
	documents_fini(&docs);
	ck_assert(settle(&w));
	ck_assert(serves(&w, "10.0.0.1:8080") && !serves(&w, "lacks-endpoints"));
	ck_assert(demand_is_here(&d, "shop", "web"));
	d.changed = on_changed;
	world_fini(&w);
}
END_TEST

/* ---- uses ---- */

static void hold(struct board *b, struct slot_gen of)
{
	(void)board_endpoint(b, of.slot, of.gen);
	(void)!board_claim(b, 0, 1, of.slot, of.gen, false);
}

START_TEST(use_is_what_workers_count)
{
	struct board *b = mmap(NULL, board_bytes(1), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	struct demand_service *of;
	const struct service *s;
	struct uses u;

	ck_assert_ptr_ne(b, MAP_FAILED);
	board_format(b, 1);
	uses_of(&u, b, 1);
	world_init(&w, "");
	d.changed = demand_changed;
	w.model.demand = &d;
	tell(&w, "a", WEB);
	ck_assert(demand_want(&d, "shop", "web"));
	ck_assert(demand_settle(&d));
	ck_assert(settle(&w));
	of = demand_find(&d, "shop", "web");
	s = service_find(&w.model, SLICE("shop"), SLICE("web"));
	of->used.ns -= 10 * NS_PER_S;
	uses_look(&u, &w.model, &d);
	ck_assert(uses_is_idle(of, 9000));
	board_add(&board_service(b, 0, s->slot.slot, s->slot.gen)->c[SC_exchanges], 1);
	uses_look(&u, &w.model, &d);
	ck_assert(!uses_is_idle(of, 9000));
	of->used.ns -= 10 * NS_PER_S;
	uses_look(&u, &w.model, &d);
	ck_assert(uses_is_idle(of, 9000));
	/* What is under way is use. */
	tell(&w, "b", SLICES("web-1", "web", AT("10.0.0.1")));
	ck_assert(settle(&w));
	ck_assert_uint_eq(s->endpoints, 1);
	for (uint32_t i = 0; i < s->room; i++)
		if (s->endpoint[i].addr.family)
			hold(b, s->endpoint[i].slot);
	uses_look(&u, &w.model, &d);
	ck_assert(!uses_is_idle(of, 9000));
	board_unclaim(b, 0, 1);
	of->used.ns -= 10 * NS_PER_S;
	uses_look(&u, &w.model, &d);
	ck_assert(uses_is_idle(of, 9000));
	/* Without a board nobody knows. */
	uses_of(&u, NULL, 0);
	uses_look(&u, &w.model, &d);
	ck_assert(!uses_is_idle(of, 9000));
	d.changed = on_changed;
	world_fini(&w);
	munmap(b, board_bytes(1));
}
END_TEST

int main(void)
{
	const TTest *const tests[] = {
		slices_are_left_until_their_service_is_wanted,
		what_the_watch_tells_meanwhile_need_not_be_fetched,
		a_slice_may_become_another_services,
		what_a_snapshot_does_not_have_is_gone,
		not_everything_is_fetched_at_once,
		a_listeners_service_is_wanted_while_there_is_the_listener,
		the_label_is_found_without_parsing,
		a_service_lacks_its_endpoints_until_all_are_told,
		what_the_store_has_was_used,
		use_is_what_workers_count,
	};
	Suite *suite = suite_create("demand");
	TCase *t = tcase_create("demand");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	for (size_t i = 0; i < countof(tests); i++)
		tcase_add_test(t, tests[i]);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
