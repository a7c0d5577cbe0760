/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The source etcd against one that goes away, forgets and lies: what is told, in which change sets, and
 * that nothing is forgotten here because something was forgotten there. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "nodeproxy/lib/base/rand.h"
#include "store/sync/demand.h"
#include "store/sync/source.h"
#include "tests/lib/etcd_far.h"
#include "tests/lib/until.h"
#include "tests/unit/test.h"

static struct loop loop;
static struct chan ours, theirs;	/* the source's end, the master's end */
static struct etcd_far far;
static struct knobs knobs;
static struct source_etcd *source;
static char said[1 << 16], why_not[400];
static unsigned ends;
static uint32_t places;			/* that the model has */
static struct demand demand;		/* of those that test it */
static bool on_demand;
static unsigned changes;

/* ---- what it says ---- */

#define ROOT "/nodeproxy/default/"

static void say(const char *word, const char *place)
{
	size_t n = strlen(said);

	if (place && strncmp(place, ROOT, strlen(ROOT)) == 0)
		place += strlen(ROOT);
	snprintf(said + n, sizeof said - n, "%s%s%s ", word, place ? ":" : "", place ? place : "");
}

static void on_snapshot(void *arg)
{
	(void)arg;
	say("snapshot", NULL);
}

static void on_documents(void *arg, const char *place, struct documents *docs)
{
	(void)arg;
	ck_assert_uint_eq(docs->n, 1);
	if (docs->v[0].row) {
		ck_assert_int_gt(docs->v[0].row->created_rev, 0);
		ck_assert_str_eq(docs->v[0].row->source, place);
		say("row", place);
	} else {
		snprintf(why_not, sizeof why_not, "%s: %s", docs->v[0].refusal->field, docs->v[0].refusal->reason);
		say("refused", place);
	}
	documents_fini(docs);
}

static void on_same(void *arg, const char *place)
{
	(void)arg;
	say("same", place);
}

static void on_unreadable(void *arg, const char *place, const char *why)
{
	(void)arg;
	snprintf(why_not, sizeof why_not, "%s", why);
	say("unreadable", place);
}

static void on_gone(void *arg, const char *place)
{
	(void)arg;
	say("gone", place);
}

static void on_end(void *arg)
{
	(void)arg;
	ends++;
	say("end", NULL);
}

static void on_lost(void *arg, const char *why)
{
	(void)arg;
	snprintf(why_not, sizeof why_not, "%s", why);
	say("lost", NULL);
}

static uint32_t on_places(void *arg)
{
	(void)arg;
	return places;
}

static void on_changed(void *arg, uint64_t service)
{
	(void)arg;
	(void)service;
	changes++;
}

/* ---- life ---- */

static void pass(void)
{
	const struct msg *m;

	while (chan_recv(&theirs, &m) == 1)
		ck_assert_int_eq(m->type, MSG_SOURCE_AGAIN);
	until_pass(&loop);
}

#define UNTIL(x) UNTIL_BY(pass(), x, "%.300s; %s", said, why_not)

/* Everything that is said until the end of a change set. */
static const char *told(void)
{
	unsigned n = ends;

	said[0] = 0;
	UNTIL(ends > n);
	return said;
}

static struct source_news news(void)
{
	struct source_news n;

	source_of_etcd(source)->ops->news(source_of_etcd(source), &n);
	return n;
}

static void hand_over(void)
{
	static const struct msg_source_secrets none = { 0 };
	const struct msg m = { .type = MSG_SOURCE_SECRETS, .p = &none };

	source_of_etcd(source)->ops->message(source_of_etcd(source), &m);
}

static void setup(void)
{
	const struct source_events events = {
		.snapshot = on_snapshot, .documents = on_documents, .same = on_same,
		.unreadable = on_unreadable, .gone = on_gone, .end = on_end, .lost = on_lost,
		.places = on_places,
	};
	struct fd pair[2];

	rand_init();
	said[0] = why_not[0] = 0;
	ends = 0;
	places = 0;
	ck_assert_int_eq(loop_init(&loop), 0);
	ck_assert_int_eq(chan_pair(pair), 0);
	chan_init(&ours, &pair[0], ROLE_SYNCD, ROLE_MASTER);
	chan_init(&theirs, &pair[1], ROLE_MASTER, ROLE_SYNCD);
	etcd_far_open(&far, &loop);
	knobs_default(&knobs);
	knobs.source_kind = SOURCE_ETCD;
	addr_text(&far.far.addr, true, knobs.source_endpoints);
	knobs.source_endpoint[0] = far.far.addr;
	knobs.n_source_endpoints = 1;
	demand_init(&demand, 20, on_changed, NULL);
	ck_assert_int_eq(source_etcd_new(&loop, &ours, &knobs, &events, on_demand ? &demand : NULL, &source), 0);
	source_etcd_bounds(source, 20, 5000, 1);
}

static void setup_on_demand(void)
{
	on_demand = true;
	setup();
	on_demand = false;
}

static void teardown(void)
{
	struct source *s = source_of_etcd(source);

	source_free(&s);
	demand_fini(&demand);
	etcd_far_close(&far);
	chan_fini(&ours);
	chan_fini(&theirs);
	loop_fini(&loop);
}

/* ---- objects ---- */

static void put_ns(const char *name, const char *label)
{
	char key[200], value[300];

	snprintf(key, sizeof key, ROOT "global/core/Namespace/%s", name);
	snprintf(value, sizeof value,
		 "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"%s\",\"labels\":{\"a\":\"%s\"}}}",
		 name, label);
	etcd_far_put(&far, key, slice_str(value));
}

#define NS "global/core/Namespace/"

static void put_service(const char *name)
{
	char key[200], value[300];

	snprintf(key, sizeof key, ROOT "ns/shop/core/Service/%s", name);
	snprintf(value, sizeof value,
		 "{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"name\":\"%s\",\"namespace\":\"shop\"},"
		 "\"spec\":{\"ports\":[{\"port\":80}]}}", name);
	etcd_far_put(&far, key, slice_str(value));
}

#define SLICE_KEY "ns/shop/discovery.k8s.io/EndpointSlice/"

static void put_slice(const char *name, const char *service, const char *ip)
{
	char key[200], value[500];

	snprintf(key, sizeof key, ROOT SLICE_KEY "%s", name);
	snprintf(value, sizeof value,
		 "{\"apiVersion\":\"discovery.k8s.io/v1\",\"kind\":\"EndpointSlice\",\"metadata\":{\"name\":\"%s\","
		 "\"namespace\":\"shop\",\"labels\":{\"kubernetes.io/service-name\":\"%s\"}},\"addressType\":\"IPv4\","
		 "\"ports\":[{\"port\":80}],\"endpoints\":[{\"addresses\":[\"%s\"]}]}", name, service, ip);
	etcd_far_put(&far, key, slice_str(value));
}

static void fetch(const char *service)
{
	ck_assert(demand_want(&demand, "shop", service));
	source_of_etcd(source)->ops->fetch(source_of_etcd(source));
}

/* ---- tests ---- */

START_TEST(slices_are_told_once_somebody_wants_them)
{
	put_service("web");
	put_slice("web-1", "web", "10.0.0.1");
	put_slice("as-it-likes", "web", "10.0.0.2");
	put_slice("api-1", "api", "10.0.0.3");
	hand_over();
	ck_assert_str_eq(told(), "snapshot row:ns/shop/core/Service/web end ");
	ck_assert_uint_eq(demand.left, 3);
	said[0] = 0;
	fetch("web");
	UNTIL(demand_is_here(&demand, "shop", "web"));
	ck_assert_ptr_nonnull(strstr(said, "row:" SLICE_KEY "web-1 "));
	ck_assert_ptr_nonnull(strstr(said, "row:" SLICE_KEY "as-it-likes "));
	ck_assert_str_eq(said + strlen(said) - 4, "end ");
	ck_assert_uint_eq(demand.left, 1);
	/* What nobody wants makes no change set. */
	put_slice("api-1", "api", "10.0.0.4");
	put_slice("api-2", "api", "10.0.0.5");
	put_slice("web-1", "web", "10.0.0.6");
	ck_assert_str_eq(told(), "row:" SLICE_KEY "web-1 end ");
	ck_assert_uint_eq(demand.left, 2);
	/* One that is another Service's from now on is gone. */
	put_slice("web-1", "api", "10.0.0.6");
	ck_assert_str_eq(told(), "gone:" SLICE_KEY "web-1 end ");
	said[0] = 0;
	source_of_etcd(source)->ops->leave(source_of_etcd(source), "shop", "web");
	UNTIL(strstr(said, "end"));
	ck_assert_str_eq(said, "gone:" SLICE_KEY "as-it-likes end ");
	ck_assert_uint_eq(demand.left, 4);
	ck_assert_uint_eq(demand.here, 0);
}
END_TEST

/* A fetch that is refused is made again; what went meanwhile is not waited for. */
START_TEST(what_is_refused_is_fetched_again)
{
	put_service("web");
	put_slice("web-1", "web", "10.0.0.1");
	put_slice("web-2", "web", "10.0.0.2");
	hand_over();
	(void)told();
	far.lie = LIE_REFUSE;
	far.status = 13;
	far.words = "not now";
	said[0] = 0;
	source_etcd_bounds(source, 20, 20, 1);
	fetch("web");
	UNTIL(strstr(said, "lost"));
	ck_assert(!demand_is_here(&demand, "shop", "web"));
	etcd_far_delete(&far, ROOT SLICE_KEY "web-2");
	far.lie = LIE_NONE;
	UNTIL(demand_is_here(&demand, "shop", "web"));
	ck_assert_ptr_nonnull(strstr(said, "row:" SLICE_KEY "web-1 "));
	ck_assert_ptr_null(strstr(said, "web-2 "));
}
END_TEST

/* The watch comes behind with what the fetch has read already. */
START_TEST(an_older_word_of_the_watch_counts_for_nothing)
{
	put_service("web");
	put_slice("web-1", "web", "10.0.0.1");
	hand_over();
	(void)told();
	etcd_far_hold(&far, true);
	put_slice("web-1", "web", "10.0.0.2");
	fetch("web");
	UNTIL(demand_is_here(&demand, "shop", "web"));
	etcd_far_hold(&far, false);
	put_service("web2");
	(void)told();
	ck_assert_ptr_null(strstr(said, "gone"));
}
END_TEST

START_TEST(a_snapshot_tells_what_is_wanted)
{
	put_service("web");
	put_slice("web-1", "web", "10.0.0.1");
	put_slice("api-1", "api", "10.0.0.3");
	ck_assert(demand_want(&demand, "shop", "web"));
	hand_over();
	ck_assert_str_eq(told(), "snapshot row:ns/shop/core/Service/web row:" SLICE_KEY "web-1 end ");
	ck_assert(demand_is_here(&demand, "shop", "web"));
}
END_TEST

START_TEST(snapshot_comes_in_pages_and_what_follows_in_change_sets)
{
	far.page_max = 2;
	for (char name[2] = "a"; name[0] <= 'e'; name[0]++)
		put_ns(name, "1");
	etcd_far_put(&far, ROOT "vip/10.96.0.1", SLICE("shop/web"));
	etcd_far_put(&far, ROOT "node/host-b/status", SLICE("{}"));
	etcd_far_put(&far, "/nodeproxy/other/" NS "x", SLICE("{}"));
	hand_over();
	ck_assert_str_eq(told(), "snapshot row:" NS "a row:" NS "b row:" NS "c row:" NS "d row:" NS "e end ");
	ck_assert_uint_eq(far.ranges, 4);
	ck_assert_int_eq(news().revision, 9);
	ck_assert_uint_eq(news().cluster, 0xc1);
	UNTIL(far.watches == 1);
	etcd_far_hold(&far, true);
	put_ns("f", "1");
	put_ns("a", "2");
	etcd_far_delete(&far, ROOT NS "b");
	etcd_far_put(&far, "/nodeproxy/other/" NS "y", SLICE("{}"));
	etcd_far_hold(&far, false);
	ck_assert_str_eq(told(), "row:" NS "f row:" NS "a gone:" NS "b end ");
	ck_assert_int_eq(news().revision, 10);
}
END_TEST

static void put_pod(const char *node, const char *pod, const char *more)
{
	char key[200], value[400];

	snprintf(key, sizeof key, ROOT "node/%s/pod/shop/%s", node, pod);
	snprintf(value, sizeof value,
		 "{\"apiVersion\":\"nodeproxy.io/v1alpha1\",\"kind\":\"Resident\",\"metadata\":{\"name\":\"%s.%s\","
		 "\"namespace\":\"shop\"},\"spec\":{\"node\":\"%s\",\"pod\":\"%s\",\"addresses\":[\"10.1.0.1\"]%s}}",
		 pod, node, node, pod, more);
	etcd_far_put(&far, key, slice_str(value));
}

#define AT "node/host-b/pod/shop/"

START_TEST(pods_of_other_hosts_are_told_and_nothing_else_of_them)
{
	static char large[5000];

	snprintf(knobs.node, sizeof knobs.node, "host-a");
	put_ns("a", "1");
	put_pod("host-a", "ours", "");
	put_pod("host-b", "x", "");
	etcd_far_put(&far, ROOT "node/host-b/other/x", SLICE("{}"));
	hand_over();
	ck_assert_str_eq(told(), "snapshot row:" NS "a row:" AT "x end ");
	put_pod("host-b", "x", ",\"draining\":true");
	ck_assert_str_eq(told(), "row:" AT "x end ");
	/* Nonsense, and what only others may write. */
	etcd_far_put(&far, ROOT AT "x", SLICE("[]"));
	ck_assert_str_eq(told(), "refused:" AT "x end ");
	etcd_far_put(&far, ROOT AT "y", SLICE("{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"y\"}}"));
	ck_assert_str_eq(told(), "refused:" AT "y end ");
	etcd_far_put(&far, ROOT "ns/shop/nodeproxy.io/Resident/x.host-b",
		     SLICE("{\"apiVersion\":\"nodeproxy.io/v1alpha1\",\"kind\":\"Resident\",\"metadata\":{\"name\":"
			   "\"x.host-b\",\"namespace\":\"shop\"},\"spec\":{\"node\":\"host-b\",\"pod\":\"x\","
			   "\"addresses\":[\"10.1.0.1\"]}}"));
	ck_assert_str_eq(told(), "refused:ns/shop/nodeproxy.io/Resident/x.host-b end ");
	ck_assert_ptr_nonnull(strstr(why_not, "a Resident is said by its host alone"));
	memset(large, ' ', sizeof large);
	etcd_far_put(&far, ROOT AT "y", slice_of(large, sizeof large));
	ck_assert_str_eq(told(), "unreadable:" AT "y end ");
	etcd_far_delete(&far, ROOT AT "x");
	ck_assert_str_eq(told(), "gone:" AT "x end ");
}
END_TEST

START_TEST(one_host_has_no_more_pods_than_a_host_can_have)
{
	char name[16], key[100];

	source_etcd_bounds(source, 2000, 5000, 1);
	far.page_max = 40;
	put_ns("a", "1");
	for (unsigned i = 0; i < PODS_MAX + 3; i++) {
		snprintf(name, sizeof name, "p%u", i);
		put_pod("host-b", name, "");
	}
	put_pod("host-c", "x", "");
	hand_over();
	told();
	ck_assert_ptr_nonnull(strstr(said, " unreadable:node/host-b/pod/ "));
	ck_assert_ptr_nonnull(strstr(said, " row:node/host-c/pod/shop/x "));
	ck_assert_str_eq(why_not, "not all of them are read: it says more than 512 pods");
	/* With one gone there is room for another. */
	snprintf(key, sizeof key, ROOT AT "p0");
	etcd_far_delete(&far, key);
	ck_assert_str_eq(told(), "gone:" AT "p0 end ");
	put_pod("host-b", "new", "");
	ck_assert_str_eq(told(), "row:" AT "new end ");
}
END_TEST

/* Hosts say their pods whatever became of the rest. */
START_TEST(a_registry_with_nothing_but_pods_has_lost_everything)
{
	put_pod("host-b", "x", "");
	etcd_far_put(&far, ROOT "node/host-b/pod/\x01", SLICE("{}"));
	etcd_far_put(&far, ROOT "node/host-b", SLICE("{}"));
	places = 3;
	hand_over();
	UNTIL(strstr(said, "lost"));
	ck_assert_ptr_nonnull(strstr(why_not, "nothing is written below " ROOT));
	put_pod("host-b", "y", "");
	put_ns("a", "1");
	told();
	ck_assert_ptr_nonnull(strstr(said, "row:" NS "a "));
}
END_TEST

static const struct {
	const char *key, *value, *said, *why;
} bad[] = {
	{ NS "a", "{", "refused", "" },
	{ NS "a", "null", "refused", "" },
	{ NS "a", "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"b\"}}", "refused",
	  "metadata.name: the object is of \"b\", but its key says \"a\"" },
	{ "ns/x/core/Namespace/a", "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"a\"}}",
	  "refused", "metadata.namespace: the object is of \"\", but its key says \"x\"" },
	{ "global/core/Service/a", "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"a\"}}",
	  "refused", "kind: the object is of \"Namespace\", but its key says \"Service\"" },
	{ "global/apps/Namespace/a", "{\"apiVersion\":\"v1\",\"kind\":\"Namespace\",\"metadata\":{\"name\":\"a\"}}",
	  "refused", "apiVersion: the object is of \"\", but its key says \"apps\"" },
	{ "ns/shop/core/Service", "{}", "unreadable", "is no key: ns/NAMESPACE/GROUP/KIND/NAME is" },
	{ "global/core/Namespace/a/b", "{}", "unreadable", "is no key: global/GROUP/KIND/NAME is" },
	{ "what", "{}", "unreadable", "is no key: ns/, global/, node/ and vip/ are known here" },
	{ "global/core/Namespace/\x01", "{}", "unreadable", "is no key: it is too long, or not of printable characters" },
};

START_TEST(what_is_no_object_is_refused_alone)
{
	char key[200];

	snprintf(key, sizeof key, ROOT "%s", bad[_i].key);
	etcd_far_put(&far, key, slice_str(bad[_i].value));
	put_ns("zzz", "1");
	hand_over();
	told();
	ck_assert_ptr_nonnull(strstr(said, bad[_i].said));
	ck_assert_ptr_nonnull(strstr(said, "row:" NS "zzz "));
	if (bad[_i].why[0])
		ck_assert_str_eq(why_not, bad[_i].why);
	/* And is gone with its key. */
	UNTIL(far.watches == 1);
	etcd_far_delete(&far, key);
	ck_assert_int_eq(strncmp(told(), "gone:", 5), 0);
}
END_TEST

START_TEST(connection_that_comes_back_costs_what_changed)
{
	unsigned ranges;

	put_ns("a", "1");
	put_ns("b", "1");
	hand_over();
	told();
	UNTIL(far.watches == 1);
	ranges = far.ranges;
	far_cut(&far.far);
	put_ns("a", "2");
	said[0] = 0;
	UNTIL(strstr(said, "row:"));
	ck_assert_str_eq(said, "end row:" NS "a ");	/* the first end: it is there again */
	ck_assert_uint_eq(far.ranges, ranges + 1);	/* the key that changed last */
	ck_assert_uint_eq(news().snapshots, 1);
}
END_TEST

static void history_is(const char *words)
{
	ck_assert_uint_eq(news().snapshots, 2);
	ck_assert_str_eq(news().snapshot_why, words);
}

START_TEST(what_was_compacted_meanwhile_is_read_again_and_told_where_it_is_other)
{
	put_ns("a", "1");
	put_ns("b", "1");
	put_ns("c", "1");
	hand_over();
	told();
	UNTIL(far.watches == 1);
	far_cut(&far.far);
	put_ns("b", "2");
	etcd_far_delete(&far, ROOT NS "c");
	far.compacted = far.revision;
	ck_assert_str_eq(told(), "snapshot same:" NS "a row:" NS "b end ");
	history_is("what changed meanwhile was compacted");
}
END_TEST

START_TEST(older_snapshot_that_was_restored_is_read_again)
{
	put_ns("a", "1");
	put_ns("b", "1");
	hand_over();
	told();
	UNTIL(far.watches == 1);
	far_cut(&far.far);
	etcd_far_forget(&far, 2);
	ck_assert_str_eq(told(), "snapshot same:" NS "a end ");
	history_is("it was restored from an older snapshot");
}
END_TEST

START_TEST(history_that_went_on_otherwise_is_read_again)
{
	put_ns("a", "1");
	put_ns("b", "1");
	hand_over();
	told();
	UNTIL(far.watches == 1);
	far_cut(&far.far);
	etcd_far_forget(&far, 2);
	put_ns("other", "1");
	put_ns("b", "2");
	ck_assert_str_eq(told(), "snapshot same:" NS "a row:" NS "b row:" NS "other end ");
	history_is("it was restored from an older snapshot");
}
END_TEST

START_TEST(cluster_that_was_made_anew_is_read_again)
{
	put_ns("a", "1");
	hand_over();
	told();
	UNTIL(far.watches == 1);
	far_cut(&far.far);
	far.cluster = 0xc2;
	put_ns("b", "1");
	ck_assert_str_eq(told(), "snapshot same:" NS "a row:" NS "b end ");
	history_is("it was made anew, as another cluster");
	ck_assert_uint_eq(news().cluster, 0xc2);
}
END_TEST

START_TEST(registry_that_lost_everything_is_not_believed_until_something_is_written)
{
	put_ns("a", "1");
	hand_over();
	told();
	places = 1;
	UNTIL(far.watches == 1);
	far_cut(&far.far);
	etcd_far_forget(&far, 1);
	said[0] = 0;
	UNTIL(strstr(said, "lost"));
	ck_assert_ptr_null(strstr(said, "end"));
	ck_assert_ptr_nonnull(strstr(why_not, "nothing is written below " ROOT));
	UNTIL(far.watches == 2);
	/* Hosts say what they are, whatever became of the rest. */
	etcd_far_put(&far, ROOT "node/host-b/status", SLICE("{}"));
	for (int i = 0; i < 20; i++)
		pass();
	ck_assert_uint_eq(far.watches, 2);
	put_ns("b", "1");
	ck_assert_str_eq(told(), "snapshot row:" NS "b end ");
	/* What was seen to go is gone. */
	UNTIL(far.watches == 3);
	etcd_far_delete(&far, ROOT NS "b");
	ck_assert_str_eq(told(), "gone:" NS "b end ");
}
END_TEST

START_TEST(registry_that_is_away_is_lost_after_a_while_and_goes_on_where_it_was)
{
	put_ns("a", "1");
	hand_over();
	told();
	UNTIL(far.watches == 1);
	source_etcd_bounds(source, 20, 50, 1);
	far_deaf(&far.far, true);
	far_cut(&far.far);
	said[0] = 0;
	UNTIL(strstr(said, "lost"));
	ck_assert(!news().is_connected);
	UNTIL(strstr(why_not, "Connection refused"));
	far_deaf(&far.far, false);
	put_ns("b", "1");
	said[0] = 0;
	UNTIL(strstr(said, "row:" NS "b"));
	ck_assert_ptr_null(strstr(said, "snapshot"));
	ck_assert(news().is_connected);
}
END_TEST

START_TEST(what_is_refused_is_asked_for_again)
{
	put_ns("a", "1");
	far.lie = LIE_REFUSE;
	far.status = 7;
	far.words = "etcdserver: permission denied";
	source_etcd_bounds(source, 20, 50, 1);
	hand_over();
	UNTIL(strstr(said, "lost"));
	ck_assert_str_eq(why_not, "PERMISSION_DENIED: etcdserver: permission denied");
	far.lie = LIE_NONE;
	ck_assert_str_eq(told(), "snapshot row:" NS "a end ");
}
END_TEST

START_TEST(snapshot_that_is_lost_in_the_middle_begins_anew)
{
	far.page_max = 1;
	put_ns("a", "1");
	put_ns("b", "1");
	far.lie = LIE_REFUSE;
	far.lie_at = 1;
	far.status = 14;
	far.words = "etcdserver: no leader";
	source_etcd_bounds(source, 20, 600, 1);
	hand_over();
	UNTIL(strstr(said, "row:" NS "a"));
	UNTIL(!news().is_connected);
	far.lie = LIE_SILENT;		/* the next member takes the question, and that is all */
	UNTIL(strstr(said, "lost"));
	far.lie = LIE_NONE;
	etcd_far_delete(&far, ROOT NS "a");
	ck_assert_str_eq(told(), "snapshot row:" NS "b end ");
}
END_TEST

START_TEST(values_that_are_too_many_for_a_message_come_in_smaller_pages)
{
	char key[200], large[3000];

	far.bytes_max = 2000;
	for (char name[2] = "a"; name[0] <= 't'; name[0]++)
		put_ns(name, "1");
	memset(large, '[', sizeof large);
	snprintf(key, sizeof key, ROOT NS "hm");
	etcd_far_put(&far, key, slice_of((uint8_t *)large, sizeof large));
	far.event[3].bytes--;		/* broken JSON is refused like any other */
	source_etcd_bounds(source, 100, 5000, 1);
	hand_over();
	told();
	ck_assert_ptr_nonnull(strstr(said, "row:" NS "h unreadable:" NS "hm row:" NS "i"));
	ck_assert_str_eq(why_not, "a value that is too large to be read");
	ck_assert_ptr_nonnull(strstr(said, "refused:" NS "d"));
	ck_assert_ptr_nonnull(strstr(said, "row:" NS "t end"));
}
END_TEST

START_TEST(keys_beyond_the_bound_are_left_out_and_said)
{
	char name[16];

	for (int i = 0; i < 25; i++) {
		snprintf(name, sizeof name, "n%02d", i);
		put_ns(name, "1");
	}
	hand_over();
	told();
	ck_assert_ptr_nonnull(strstr(said, "row:" NS "n19 "));
	ck_assert_ptr_null(strstr(said, "n20"));
	ck_assert_str_eq(why_not, "5 keys are not read: more than 20");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("source_etcd");
	TCase *t = tcase_create("source_etcd");
	SRunner *r;
	int failed;

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, snapshot_comes_in_pages_and_what_follows_in_change_sets);
	tcase_add_test(t, pods_of_other_hosts_are_told_and_nothing_else_of_them);
	tcase_add_test(t, one_host_has_no_more_pods_than_a_host_can_have);
	tcase_add_test(t, a_registry_with_nothing_but_pods_has_lost_everything);
	tcase_add_loop_test(t, what_is_no_object_is_refused_alone, 0, countof(bad));
	tcase_add_test(t, connection_that_comes_back_costs_what_changed);
	tcase_add_test(t, what_was_compacted_meanwhile_is_read_again_and_told_where_it_is_other);
	tcase_add_test(t, older_snapshot_that_was_restored_is_read_again);
	tcase_add_test(t, history_that_went_on_otherwise_is_read_again);
	tcase_add_test(t, cluster_that_was_made_anew_is_read_again);
	tcase_add_test(t, registry_that_lost_everything_is_not_believed_until_something_is_written);
	tcase_add_test(t, registry_that_is_away_is_lost_after_a_while_and_goes_on_where_it_was);
	tcase_add_test(t, what_is_refused_is_asked_for_again);
	tcase_add_test(t, snapshot_that_is_lost_in_the_middle_begins_anew);
	tcase_add_test(t, values_that_are_too_many_for_a_message_come_in_smaller_pages);
	tcase_add_test(t, keys_beyond_the_bound_are_left_out_and_said);
	suite_add_tcase(s, t);
	t = tcase_create("on demand");
	tcase_add_checked_fixture(t, setup_on_demand, teardown);
	tcase_set_timeout(t, 60);
	tcase_add_test(t, slices_are_told_once_somebody_wants_them);
	tcase_add_test(t, what_is_refused_is_fetched_again);
	tcase_add_test(t, an_older_word_of_the_watch_counts_for_nothing);
	tcase_add_test(t, a_snapshot_tells_what_is_wanted);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_ENV);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
