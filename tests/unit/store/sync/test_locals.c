/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The pods of this host: what becomes of the list that the master tells, here and for others. */
#include "store/sync/locals.h"

#include <errno.h>
#include <poll.h>

#include "nodeproxy/lib/base/memfd.h"
#include "tests/unit/store/sync/world.h"
#include "tests/unit/test.h"

#define SELECTING                                                                                  \
	"apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\n"                  \
	"spec: {clusterIP: 10.0.0.1, selector: {app: web}, ports: [{port: 80, targetPort: 8080}]}\n"

static struct world w;
static struct loop loop;
static struct locals locals;
static unsigned dues;
static char posts[1 << 16];
static struct pods_page *page;

static void on_due(void *arg)
{
	(void)arg;
	dues++;
}

static void on_post(void *arg, const char *ns, const char *pod, const char *text)
{
	size_t n = strlen(posts);

	(void)arg;
	snprintf(posts + n, sizeof posts - n, "%s%s/%s%s ", text ? "+" : "-", ns, pod,
		 text && strstr(text, "\"draining\":true") ? ":draining" : "");
}

static void begin(void)
{
	const struct locals_events on = { .due = on_due, .post = on_post };

	ck_assert_int_eq(loop_init(&loop), 0);
	world_init(&w, "");
	locals_init(&locals, &loop, "here", &on);
	locals.drain_ms = 0;
	locals_zone(&locals, "z1");
	tell(&w, "a.yaml", SELECTING);
	(void)settle(&w);
	page = calloc(1, PODS_PAGE_BYTES(PODS_A_PAGE));
	page->magic = PODS_MAGIC;
}

static void end(void)
{
	free(page);
	locals_fini(&locals);
	world_fini(&w);
	loop_fini(&loop);
}

static struct pod_told *pod(const char *name, const char *labels, uint8_t last)
{
	struct pod_told *t = &page->pod[page->n++];

	memset(t, 0, sizeof *t);
	snprintf(t->words.name, sizeof t->words.name, "%s", name);
	snprintf(t->words.ns, sizeof t->words.ns, "shop");
	snprintf(t->words.account, sizeof t->words.account, "web");
	snprintf(t->words.netns, sizeof t->words.netns, "/x");
	snprintf(t->words.labels, sizeof t->words.labels, "%s", labels);
	t->addresses.n = 1;
	memcpy(t->addresses.ip[0], (uint8_t[16]){ [10] = 0xff, [11] = 0xff, 10, 1, 0, last }, 16);
	return t;
}

/* The page as it is now comes, and what is due becomes true; what was posted. */
static const char *comes(uint32_t at)
{
	struct fd f;

	ck_assert_int_eq(memfd_sealed("pods", slice_of(page, PODS_PAGE_BYTES(page->n)), &f), 0);
	ck_assert_int_eq(locals_page(&locals, at, f), 0);
	fd_close(&f);
	page->n = 0;
	posts[0] = 0;
	(void)locals_apply(&locals, &w.model);
	(void)settle(&w);
	return posts;
}

START_TEST(pods_of_the_list_are_endpoints_and_are_posted)
{
	begin();
	pod("a", "app=web,tier=x", 1);
	pod("b", "app=other", 2);
	ck_assert_str_eq(comes(0), "+shop/a +shop/b ");
	ck_assert(serves(&w, "endpoint 10.1.0.1:8080 ready"));
	ck_assert(serves(&w, "node=here") && serves(&w, "zone=z1"));
	ck_assert(!serves(&w, "10.1.0.2"));
	/* The same again is nothing new; another label is. */
	pod("a", "app=web,tier=x", 1);
	pod("b", "app=other", 2);
	ck_assert_str_eq(comes(0), "");
	pod("a", "app=web,tier=x", 1);
	pod("b", "app=web", 2);
	ck_assert_str_eq(comes(0), "+shop/b ");
	ck_assert(serves(&w, "10.1.0.2"));
	/* Pages have pods of their own. */
	pod("c", "app=web", 3);
	ck_assert_str_eq(comes(1), "+shop/c ");
	ck_assert(serves(&w, "10.1.0.1") && serves(&w, "10.1.0.3"));
	/* Another zone is said of all. */
	posts[0] = 0;
	locals_zone(&locals, "z2");
	ck_assert(locals_apply(&locals, &w.model));
	ck_assert_str_eq(posts, "+shop/a +shop/b +shop/c ");
	(void)settle(&w);
	ck_assert(serves(&w, "zone=z2") && !serves(&w, "zone=z1"));
	end();
}
END_TEST

START_TEST(who_has_no_address_of_its_own_is_not_said)
{
	static const uint8_t link[16] = { 0xfe, 0x80, [15] = 1 };
	struct pod_told *t;

	begin();
	pod("waits", "app=web", 1)->waits = 1;
	pod("none", "app=web", 2)->addresses.n = 0;
	t = pod("uid", "", 3);
	t->words.uid = 7;
	t->words.netns[0] = 0;
	ck_assert_str_eq(comes(0), "");
	memcpy(pod("link", "app=web", 4)->addresses.ip[0], link, 16);
	ck_assert_str_eq(comes(0), "-shop/link ");
	ck_assert(!serves(&w, "endpoint 10."));
	t = pod("both", "app=web", 5);
	t->addresses.n = 2;
	memcpy(t->addresses.ip[1], link, 16);
	t->addresses.ip[1][0] = 0xfd;
	ck_assert_ptr_nonnull(strstr(comes(0), "+shop/both"));
	ck_assert(serves(&w, "10.1.0.5:8080"));
	end();
}
END_TEST

START_TEST(one_that_leaves_is_draining_before_it_is_gone)
{
	begin();
	pod("a", "app=web", 1);
	ck_assert_str_eq(comes(0), "+shop/a ");
	pod("a", "app=web", 1)->leaves = 1;
	ck_assert_str_eq(comes(0), "+shop/a:draining ");
	ck_assert(serves(&w, "endpoint 10.1.0.1:8080 serving terminating"));
	ck_assert_str_eq(comes(0), "-shop/a ");
	ck_assert(!serves(&w, "10.1.0.1"));
	ck_assert(list_is_empty(&locals.all));
	/* Gone at once it drains for a while. */
	locals.drain_ms = 60000;
	pod("a", "app=web", 1);
	ck_assert_str_eq(comes(0), "+shop/a ");
	ck_assert_str_eq(comes(0), "+shop/a:draining ");
	ck_assert(serves(&w, "terminating"));
	ck_assert(loop_timer_is_running(&locals.timer));
	/* It may come again meanwhile. */
	pod("a", "app=web", 1);
	ck_assert_str_eq(comes(0), "+shop/a ");
	ck_assert(serves(&w, "endpoint 10.1.0.1:8080 ready"));
	end();
}
END_TEST

START_TEST(of_one_that_is_there_twice_the_one_that_stays_counts)
{
	for (int round = 0; round < 2; round++) {
		begin();
		if (round == 0)
			pod("a", "app=web", 1)->leaves = 1;
		pod("a", "app=web", 2);
		if (round == 1)
			pod("a", "app=web", 1)->leaves = 1;
		ck_assert_str_eq(comes(0), "+shop/a ");
		ck_assert(serves(&w, "endpoint 10.1.0.2:8080 ready") && !serves(&w, "10.1.0.1"));
		end();
	}
}
END_TEST

static void stored(const char *place, const char *node, const char *name, const char *ip)
{
	char text[600];

	snprintf(text, sizeof text, "{\"apiVersion\":\"nodeproxy.io/v1alpha1\",\"kind\":\"Resident\",\"metadata\":{\"name\":\"%s.%s\","
				    "\"namespace\":\"shop\",\"labels\":{\"app\":\"web\"}},\"spec\":{\"node\":\"%s\",\"pod\":\"%s\","
				    "\"addresses\":[\"%s\"]}}", name, node, node, name, ip);
	tell(&w, place, text);
}

START_TEST(what_was_stored_stays_until_all_was_said)
{
	begin();
	stored("node/here/pod/shop/a", "here", "a", "10.1.0.1");
	stored("node/here/pod/shop/b", "here", "b", "10.1.0.2");
	stored("/r/c/node/there/pod/shop/c", "there", "c", "10.1.0.3");
	(void)settle(&w);
	/* A snapshot of the source does not have ours. */
	model_snapshot(&w.model);
	tell(&w, "a.yaml", SELECTING);
	model_same(&w.model, "/r/c/node/there/pod/shop/c");
	locals_keep(&locals, &w.model);
	ck_assert(!locals_apply(&locals, &w.model));
	(void)settle(&w);
	ck_assert(serves(&w, "10.1.0.1") && serves(&w, "10.1.0.2") && serves(&w, "10.1.0.3"));
	/* All were said, but a page is missing. */
	pod("a", "app=web", 1);
	comes(0);
	locals_all(&locals, 3);
	ck_assert(locals_lacks(&locals));
	ck_assert(!locals_apply(&locals, &w.model));
	ck_assert_str_eq(comes(1), "-shop/b ");		/* others may have it from before, too */
	ck_assert(!locals_lacks(&locals));
	(void)settle(&w);
	ck_assert(serves(&w, "10.1.0.1") && !serves(&w, "10.1.0.2") && serves(&w, "10.1.0.3"));
	/* A new master that says less: page 1 is not there, and page 0 has nobody. */
	locals_again(&locals);
	locals_all(&locals, 1);
	ck_assert(locals_lacks(&locals));
	comes(0);
	ck_assert(locals_apply(&locals, &w.model) || !serves(&w, "10.1.0.1"));
	(void)settle(&w);
	ck_assert(!serves(&w, "10.1.0.1") && serves(&w, "10.1.0.3"));
	end();
}
END_TEST

START_TEST(what_is_no_page_is_refused)
{
	struct fd f;

	begin();
	ck_assert_int_eq(memfd_sealed("pods", SLICE("nonsense, and more of it"), &f), 0);
	ck_assert_int_eq(locals_page(&locals, 0, f), -EBADMSG);
	fd_close(&f);
	ck_assert_int_eq(memfd_sealed("pods", slice_of(page, PODS_PAGE_BYTES(0)), &f), 0);
	ck_assert_int_eq(locals_page(&locals, PODS_PAGES, f), -EBADMSG);
	ck_assert_int_eq(locals_page(&locals, 0, f), 0);
	fd_close(&f);
	end();
}
END_TEST

START_TEST(a_name_that_does_not_fit_is_said_to_the_operator)
{
	char *text;

	begin();
	memset(locals.node, 'n', 250);
	locals.node[250] = 0;
	pod("a", "app=web", 1);
	comes(0);
	ck_assert(!serves(&w, "10.1.0.1"));
	text = report_text(&w, NULL);
	ck_assert_ptr_nonnull(strstr(text, "\"refused\":[{"));
	free(text);
	end();
}
END_TEST

UNIT_TESTS("locals", pods_of_the_list_are_endpoints_and_are_posted, who_has_no_address_of_its_own_is_not_said,
	   one_that_leaves_is_draining_before_it_is_gone, of_one_that_is_there_twice_the_one_that_stays_counts,
	   what_was_stored_stays_until_all_was_said, what_is_no_page_is_refused,
	   a_name_that_does_not_fit_is_said_to_the_operator)
