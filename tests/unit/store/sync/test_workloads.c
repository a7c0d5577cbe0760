/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What the master is told of Workloads, and what conditions say of what it answers. */
#include "store/sync/workloads.h"

#include <errno.h>

#include "tests/unit/store/sync/world.h"
#include "tests/unit/test.h"

#define WORKLOAD(name, spec)                                                                       \
	"---\napiVersion: nodeproxy.io/v1alpha1\nkind: Workload\nmetadata: {name: " name           \
	", namespace: shop, labels: {app: x}}\nspec: {networkNamespace: /a, " spec "}\n"

static struct world w;
static struct chan ours, masters;
static char heard[2048];

static void begin(bool shared)
{
	struct fd fd[2];

	world_init(&w, "");
	workloads_node(&w.model.workloads, "here", shared);
	ck_assert_int_eq(chan_pair(fd), 0);
	chan_init(&ours, &fd[0], ROLE_SYNCD, ROLE_MASTER);
	chan_init(&masters, &fd[1], ROLE_MASTER, ROLE_SYNCD);
}

static void end(void)
{
	chan_fini(&ours);
	chan_fini(&masters);
	world_fini(&w);
}

/* Says what is due; what the master hears, in one line. */
static const char *said(void)
{
	const struct msg *m;
	size_t at = 0;

	heard[0] = 0;
	ck_assert_int_eq(workloads_say(&w.model.workloads, &ours), 0);
	while (chan_recv(&masters, &m) == 1) {
		const struct msg_workload *h = m->p;
		const struct msg_workload_name *g = m->p;
		char uid[32] = "";

		if (m->type == MSG_WORKLOAD_HERE && h->words.uid)
			snprintf(uid, sizeof uid, "uid %u", h->words.uid);
		if (m->type == MSG_WORKLOAD_HERE)
			at += (size_t)snprintf(heard + at, sizeof heard - at, "+%s/%s:%s:%s%s:%s%s ", h->words.ns,
					       h->words.name, h->words.account, h->words.netns, uid,
					       h->words.labels, h->words.n_resolvers ? ":asks" : "");
		else if (m->type == MSG_WORKLOAD_GONE)
			at += (size_t)snprintf(heard + at, sizeof heard - at, "-%s/%s ", g->ns, g->name);
		else if (m->type == MSG_WORKLOADS_ALL)
			at += (size_t)snprintf(heard + at, sizeof heard - at, "all ");
	}
	return heard;
}

static const char *after(const char *place, const char *yaml)
{
	tell(&w, place, yaml);
	(void)settle(&w);
	return said();
}

static bool answered(const char *name, int error, const char *words)
{
	struct msg_workload_state s = { .error = error, .ns = "shop" };

	snprintf(s.name, sizeof s.name, "%s", name);
	return workloads_heard(&w.model.workloads, &s, slice_str(words));
}

static bool reported(const char *what)
{
	char *text = report_text(&w, NULL);
	bool is = strstr(text, what) != NULL;

	free(text);
	return is;
}

START_TEST(only_what_is_here_and_changed_is_said)
{
	begin(false);
	ck_assert_str_eq(after("a", WORKLOAD("one", "") WORKLOAD("two", "node: here, serviceAccount: b")
				    WORKLOAD("far", "node: there")),
			 "+shop/one:default:/a:app=x +shop/two:b:/a:app=x ");
	ck_assert_str_eq(said(), "");
	ck_assert_str_eq(after("a", WORKLOAD("one", "") WORKLOAD("two", "node: here, serviceAccount: c")
				    WORKLOAD("far", "node: there, serviceAccount: c")),
			 "+shop/two:c:/a:app=x ");
	/* One moves away, one moves here, one is no more. */
	ck_assert_str_eq(after("a", WORKLOAD("one", "node: there") WORKLOAD("far", "node: here")),
			 "-shop/one +shop/far:default:/a:app=x -shop/two ");
	ck_assert_str_eq(after("a", ""), "-shop/far ");
	ck_assert_str_eq(after("a", WORKLOAD("one", "")), "+shop/one:default:/a:app=x ");
	ck_assert_str_eq(after("a", WORKLOAD("one", "resolvers: [10.0.0.53]")), "+shop/one:default:/a:app=x:asks ");
	ck_assert_str_eq(after("a", WORKLOAD("one", "resolvers: [10.0.0.53]")), "");
	ck_assert_str_eq(after("a", ""), "-shop/one ");
	ck_assert_str_eq(after("a", "---\napiVersion: nodeproxy.io/v1alpha1\nkind: Workload\n"
			       "metadata: {name: of, namespace: shop}\nspec: {uid: 7}\n"),
			 "+shop/of:default:uid 7: ");
	ck_assert_str_eq(after("a", ""), "-shop/of ");
	ck_assert_uint_eq(w.model.workloads.by_name.count, 0);
	end();
}
END_TEST

START_TEST(those_were_all_only_when_the_source_has_said_so)
{
	begin(false);
	ck_assert_str_eq(after("a", WORKLOAD("one", "")), "+shop/one:default:/a:app=x ");
	workloads_again(&w.model.workloads);		/* a new master */
	ck_assert_str_eq(said(), "+shop/one:default:/a:app=x ");
	workloads_all(&w.model.workloads);
	ck_assert_str_eq(said(), "all ");
	workloads_all(&w.model.workloads);		/* the next change set */
	ck_assert_str_eq(said(), "");
	workloads_again(&w.model.workloads);
	ck_assert_str_eq(said(), "+shop/one:default:/a:app=x all ");
	end();
}
END_TEST

START_TEST(a_source_that_all_hosts_share_must_say_where)
{
	begin(true);
	ck_assert_str_eq(after("a", WORKLOAD("one", "") WORKLOAD("two", "node: here")),
			 "+shop/two:default:/a:app=x ");
	ck_assert(reported("\"field\":\"spec.node\",\"reason\":\"is required: this source tells every host the "
			   "same, so it must say which of them has it\",\"kind\":\"Workload\""));
	ck_assert(reported("\"type\":\"Accepted\",\"status\":\"False\",\"reason\":\"Invalid\""));
	end();
}
END_TEST

START_TEST(the_view_says_which_host_has_which_account)
{
	begin(false);
	(void)after("a", WORKLOAD("one", "serviceAccount: web") WORKLOAD("two", "node: there, serviceAccount: web")
			 WORKLOAD("three", "node: there, serviceAccount: web"));
	ck_assert(serves(&w, "namespace shop"));
	ck_assert(serves(&w, "\n  placed web node=here\n  placed web node=there\n"));
	(void)after("a", WORKLOAD("one", "serviceAccount: api") WORKLOAD("two", "node: there, serviceAccount: web"));
	ck_assert(serves(&w, "\n  placed api node=here\n  placed web node=there\n"));
	(void)after("a", WORKLOAD("one", "serviceAccount: api"));
	ck_assert(serves(&w, "placed api node=here") && !serves(&w, "placed web"));
	(void)after("a", "");
	ck_assert(!serves(&w, "namespace shop"));
	end();
	begin(true);		/* one that nobody has */
	(void)after("a", WORKLOAD("one", "serviceAccount: web"));
	ck_assert(!serves(&w, "placed"));
	end();
}
END_TEST

START_TEST(conditions_say_what_became_of_it)
{
	begin(false);
	(void)after("a", WORKLOAD("one", "") WORKLOAD("far", "node: there"));
	ck_assert(reported("\"type\":\"Enrolled\",\"status\":\"False\",\"reason\":\"Pending\""));
	ck_assert(reported("\"reason\":\"OtherNode\",\"message\":\"it is on there, this is here\""));
	ck_assert(answered("one", -EAGAIN, "/a: No such file or directory"));
	ck_assert(reported("\"reason\":\"NotCaptured\",\"message\":\"/a: No such file or directory\""));
	ck_assert(answered("one", 0, ""));
	ck_assert(reported("\"type\":\"Enrolled\",\"status\":\"True\",\"reason\":\"Enrolled\",\"message\":\"\""));
	/* Nonsense, or of what is not captured here. */
	ck_assert(!answered("one", 1, "\x1b[0m"));
	ck_assert(!answered("far", 0, ""));
	ck_assert(!answered("none", 0, ""));
	/* An answer to what it was before. */
	tell(&w, "a", WORKLOAD("one", "serviceAccount: b"));
	(void)settle(&w);
	ck_assert(!answered("one", 0, ""));
	ck_assert(reported("\"reason\":\"Pending\""));
	end();
}
END_TEST

START_TEST(a_master_that_does_not_listen_hears_the_rest_later)
{
	const struct msg *m;
	unsigned n = 0;
	char yaml[256];

	begin(false);
	for (int i = 0; i < 1000; i++) {
		char place[16];

		snprintf(place, sizeof place, "%d", i);
		snprintf(yaml, sizeof yaml, WORKLOAD("w%d", ""), i);
		tell(&w, place, yaml);
	}
	(void)settle(&w);
	ck_assert_int_eq(workloads_say(&w.model.workloads, &ours), -EAGAIN);
	for (int i = 0; i < 1000; i++) {
		while (chan_recv(&masters, &m) == 1)
			n++;
		(void)chan_flush(&ours);
		if (workloads_say(&w.model.workloads, &ours) == 0)
			break;
	}
	while (chan_recv(&masters, &m) == 1)
		n++;
	ck_assert_uint_eq(n, 1000);
	end();
}
END_TEST

UNIT_TESTS("workloads", only_what_is_here_and_changed_is_said, those_were_all_only_when_the_source_has_said_so,
	   the_view_says_which_host_has_which_account,
	   a_source_that_all_hosts_share_must_say_where, conditions_say_what_became_of_it,
	   a_master_that_does_not_listen_hears_the_rest_later)
