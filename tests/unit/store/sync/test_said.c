/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What a host says of itself: little, only what is wrong, and as long as it is there. */
#include "store/sync/said.h"

#include <stdio.h>
#include <string.h>

#include "nodeproxy/lib/base/rand.h"
#include "tests/lib/etcd_here.h"
#include "tests/lib/until.h"
#include "tests/unit/test.h"

static struct etcd_here here;
static struct loop loop;
static struct grpc_stock stock;
static char seen[4000];
static int64_t seen_lease, seen_modified;
static bool is_over;

static void nothing(void *arg)
{
	(void)arg;
}

static void no_words(void *arg, const char *why)
{
	(void)arg;
	(void)why;
}

static struct etcd *client(void)
{
	const struct etcd_terms t = { .endpoint = &here.addr, .endpoints = 1, .name = "", .user = "",
				      .up = nothing, .down = no_words };
	struct etcd *e = NULL;
	char why[GRPC_WORDS];

	ck_assert_msg(etcd_new(&loop, &stock, &t, &e, why) == 0, "%s", why);
	return e;
}

static void on_read(void *arg, const struct etcd_answer *a)
{
	(void)arg;
	is_over = true;
	seen[0] = 0;
	seen_lease = 0;
	if (a->status == GRPC_OK && a->results && a->result[0].kvs) {
		const struct etcd_kv *kv = &a->result[0].kv[0];

		snprintf(seen, sizeof seen, "%.*s", (int)kv->value.n, (const char *)kv->value.p);
		seen_lease = kv->lease;
		seen_modified = kv->modified;
	}
}

/* Until the registry has this at the key; words NULL: nothing. */
static void await_at(struct etcd *e, const char *key, const char *words)
{
	const struct etcd_op get = { .kind = ETCD_RANGE, .key = slice_str(key) };
	struct mono until = mono_after_ms(clock_tick(), 20000);

	for (snprintf(seen, sizeof seen, "x"); words ? strstr(seen, words) == NULL : seen[0] != 0;) {
		ck_assert_msg(clock_tick().ns < until.ns, "never: %s (%s)", words ? words : "nothing", seen);
		is_over = false;
		if (!etcd_is_up(e) || !etcd_op(e, &get, on_read, NULL))
			is_over = true;
		do
			until_pass(&loop);
		while (!is_over);
	}
}

static void await_said(struct etcd *e, const char *words)
{
	await_at(e, "/r/node/host-a/status", words);
}

static void say(struct said *s, const char *words)
{
	char *text = strdup(words);

	said_text(s, &text);
	ck_assert_ptr_null(text);
}

START_TEST(it_is_said_under_a_lease_and_said_again_by_another_client)
{
	struct said s;
	struct etcd *e = client();
	int64_t first;

	ck_assert_int_eq(said_init(&s, &loop, "/r/", "host-a"), 0);
	s.spread_ms = 0;
	said_client(&s, e);
	say(&s, "{\"a\":1}");
	await_said(e, "{\"a\":1}");
	first = seen_lease;
	ck_assert_int_ne(first, 0);
	say(&s, "{\"a\":1}");		/* the same is nothing new */
	ck_assert(s.is_told);
	say(&s, "{\"a\":2}");
	await_said(e, "{\"a\":2}");
	ck_assert_int_eq(seen_lease, first);
	said_client(&s, NULL);
	etcd_free(&e);
	e = client();
	said_client(&s, e);
	while (first == seen_lease)
		await_said(e, "{\"a\":2}");
	/* etcd comes again, and has forgotten nothing */
	etcd_here_kill(&here);
	etcd_here_again(&here);
	say(&s, "{\"a\":3}");
	await_said(e, "{\"a\":3}");
	said_fini(&s);
	etcd_free(&e);
	ck_assert_uint_eq(stock.budget.used, 0);
}
END_TEST

#define POD "/r/node/host-a/pod/shop/"

START_TEST(pods_are_kept_by_the_lease_that_is_held_now)
{
	struct said s;
	struct etcd *e = client();
	int64_t first;
	char name[16];

	ck_assert_int_eq(said_init(&s, &loop, "/r/", "host-a"), 0);
	ck_assert_int_eq(said_post(&s, "shop", "early", "before there is a client"), 0);
	said_client(&s, e);
	await_at(e, POD "early", "before there is a client");
	first = seen_lease;
	ck_assert_int_ne(first, 0);
	for (int i = 0; i < 30; i++) {
		snprintf(name, sizeof name, "p%d", i);
		ck_assert_int_eq(said_post(&s, "shop", name, "one"), 0);
	}
	ck_assert_int_eq(said_post(&s, "shop", "p0", "two"), 0);	/* while the first is under way */
	await_at(e, POD "p0", "two");
	await_at(e, POD "p29", "one");
	ck_assert_int_eq(seen_lease, first);
	ck_assert_int_eq(said_post(&s, "shop", "p1", NULL), 0);
	await_at(e, POD "p1", NULL);
	/* Another process of the host: the same keys, under its own lease, and none of them was away. */
	said_fini(&s);
	await_at(e, POD "p0", "two");
	ck_assert_int_eq(said_init(&s, &loop, "/r/", "host-a"), 0);
	said_client(&s, e);
	ck_assert_int_eq(said_post(&s, "shop", "p0", "two"), 0);
	for (seen_lease = first; seen_lease == first;)
		await_at(e, POD "p0", "two");
	/* A lease that was lost takes them along; they come again with the next. */
	snprintf(seen, sizeof seen, "lease revoke %llx >/dev/null", (unsigned long long)seen_lease);
	ck_assert_int_eq(etcd_here_ctl(&here, seen), 0);
	ck_assert_int_eq(said_post(&s, "shop", "p2", "three"), 0);
	said_client(&s, NULL);
	said_client(&s, e);
	await_at(e, POD "p0", "two");
	await_at(e, POD "p2", "three");
	/* What was gone before it was ever put. */
	ck_assert_int_eq(said_post(&s, "shop", "never", NULL), 0);
	ck_assert_int_eq(said_post(&s, "shop", "p0", NULL), 0);
	await_at(e, POD "p0", NULL);
	said_fini(&s);
	etcd_free(&e);
	ck_assert_uint_eq(stock.budget.used, 0);
}
END_TEST

START_TEST(pods_that_change_together_are_one_revision)
{
	struct said s;
	struct etcd *e = client();
	int64_t first, last;
	char name[16];

	ck_assert_int_eq(said_init(&s, &loop, "/r/", "host-b"), 0);
	for (int i = 0; i < (int)POSTS_A_CALL + 1; i++) {
		snprintf(name, sizeof name, "p%d", i);
		ck_assert_int_eq(said_post(&s, "shop", name, "one"), 0);
	}
	said_client(&s, e);
	await_at(e, "/r/node/host-b/pod/shop/p0", "one");
	first = seen_modified;
	await_at(e, "/r/node/host-b/pod/shop/p63", "one");
	ck_assert_int_eq(seen_modified, first);
	await_at(e, "/r/node/host-b/pod/shop/p64", "one");	/* one more than a call has */
	last = seen_modified;
	ck_assert_int_gt(last, first);
	/* A lease that comes while they are under way has them, too. */
	ck_assert_int_eq(said_post(&s, "shop", "p0", "two"), 0);
	first = s.lease_id;
	posts_lease(&s.posts, 0);
	ck_assert(list_is_empty(&s.posts.under_way) && !list_is_empty(&s.posts.due));
	posts_lease(&s.posts, first);
	await_at(e, "/r/node/host-b/pod/shop/p63", "one");
	while (seen_modified <= last)
		await_at(e, "/r/node/host-b/pod/shop/p63", "one");
	said_fini(&s);
	etcd_free(&e);
	ck_assert_uint_eq(stock.budget.used, 0);
}
END_TEST

START_TEST(only_what_is_wrong_is_said_and_little_of_it)
{
	static const char report[] =
		"{\"rev\":1,\"resources\":[{\"kind\":\"Service\",\"namespace\":\"shop\",\"name\":\"web\",\"generation\":1,"
		"\"status\":{\"conditions\":[{\"type\":\"Accepted\",\"status\":\"True\"}]}},\n"
		"{\"kind\":\"HTTPRoute\",\"namespace\":\"shop\",\"name\":\"r\",\"generation\":3,\"status\":{\"parents\":[{\"conditions\":"
		"[{\"type\":\"Accepted\",\"status\":\"True\"},{\"type\":\"ResolvedRefs\",\"status\":\"False\",\"reason\":\"X\","
		"\"message\":\"long\"}]}]}},\n"
		"not JSON \"status\":\"False\"\n{\"kind\": \"status\":\"False\"\n]}";
	char *text = said_of_report(slice_str(report), "host-a"), *many;
	size_t n = 0;

	ck_assert_str_eq(text, "{\"more\":0,\"node\":\"host-a\",\"problems\":[{\"generation\":3,\"kind\":\"HTTPRoute\","
			       "\"name\":\"r\",\"namespace\":\"shop\",\"reason\":\"X\",\"type\":\"ResolvedRefs\"}]}");
	free(text);
	many = malloc(50 * 200);
	ck_assert_ptr_nonnull(many);
	for (unsigned i = 0; i < 50; i++)
		n += (size_t)sprintf(many + n, "{\"kind\":\"HTTPRoute\",\"name\":\"r%u\",\"status\":{\"c\":[{\"type\":\"A\","
					       "\"status\":\"False\"}]}},\n", i);
	text = said_of_report(slice_of(many, n), "h");
	ck_assert_ptr_nonnull(strstr(text, "\"more\":30,"));
	ck_assert_ptr_nonnull(strstr(text, "\"r19\""));
	ck_assert_ptr_null(strstr(text, "\"r20\""));
	free(text);
	free(many);
	text = said_of_report(SLICE(""), "h");
	ck_assert_str_eq(text, "{\"more\":0,\"node\":\"h\",\"problems\":[]}");
	free(text);
}
END_TEST

int main(void)
{
	const TTest *const all[] = {
		only_what_is_wrong_is_said_and_little_of_it,
		it_is_said_under_a_lease_and_said_again_by_another_client,
		pods_are_kept_by_the_lease_that_is_held_now,
		pods_that_change_together_are_one_revision,
	};
	int r;

	rand_init();
	if (!etcd_here_start(&here)) {
		printf("SKIP: there is no etcd here\n");
		return 77;
	}
	must(loop_init(&loop) == 0 && grpc_stock_init(&stock) == 0);
	r = unit_run("said", all, countof(all));
	grpc_stock_fini(&stock);
	loop_fini(&loop);
	etcd_here_stop(&here);
	return r;
}
