/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The client of etcd against a real one: that numbers of fields, statuses and words are what we take them
 * for.  What a real one does not do on request is in test_etcd.c. */
#include <stdio.h>
#include <string.h>

#include "nodeproxy/lib/base/rand.h"
#include "store/sync/etcd.h"
#include "tests/lib/etcd_here.h"
#include "tests/lib/until.h"
#include "tests/unit/test.h"

static struct etcd_here here;
static struct loop loop;
static struct grpc_stock stock;
static struct etcd *e;
static unsigned ups, downs;
static struct etcd_watch *watch;
static struct etcd_lease *lease;
static char why[GRPC_WORDS + 80];

#define UNTIL(x) UNTIL_BY(until_pass(&loop), x, "%s", why)

static void on_up(void *arg)
{
	(void)arg;
	ups++;
}

static void on_down(void *arg, const char *w)
{
	(void)arg;
	downs++;
	snprintf(why, sizeof why, "%s", w);
}

static void connect_as(const char *user, const char *password)
{
	const struct etcd_terms t = { .endpoint = &here.addr, .endpoints = 1, .name = "", .user = user,
				      .password = slice_str(password), .up = on_up, .down = on_down };
	char words[GRPC_WORDS];

	ck_assert_int_eq(etcd_new(&loop, &stock, &t, &e, words), 0);
}

static void setup(void)
{
	rand_init();
	ups = downs = 0;
	ck_assert_int_eq(loop_init(&loop), 0);
	ck_assert_int_eq(grpc_stock_init(&stock), 0);
}

static void teardown(void)
{
	etcd_watch_free(&watch);
	etcd_lease_free(&lease, false);
	etcd_free(&e);
	ck_assert_uint_eq(stock.budget.used, 0);
	grpc_stock_fini(&stock);
	loop_fini(&loop);
}

/* ---- answers, as text ---- */

struct heard {
	bool ended;
	enum grpc_status status;
	bool holds;
	struct etcd_head head;
	int64_t created, modified;	/* of the first key of a range */
	char text[2000], words[GRPC_WORDS];
};

static void say(struct heard *h, const char *what, struct slice key, struct slice value)
{
	size_t n = strlen(h->text);

	snprintf(h->text + n, sizeof h->text - n, "%s%.*s=%.*s;", what, (int)key.n, (const char *)key.p,
		 (int)value.n, (const char *)value.p);
}

static void on_done(void *arg, const struct etcd_answer *a)
{
	struct heard *h = arg;

	*h = (struct heard){ .ended = true, .status = a->status, .holds = a->holds, .head = a->head };
	snprintf(h->words, sizeof h->words, "%s", a->words);
	for (size_t i = 0; i < a->results; i++) {
		const struct etcd_result *r = &a->result[i];

		if (r->kvs) {
			h->created = r->kv[0].created;
			h->modified = r->kv[0].modified;
		}
		for (size_t k = 0; k < r->kvs; k++)
			say(h, "", r->kv[k].key, r->kv[k].value);
		if (r->more)
			snprintf(h->text + strlen(h->text), 20, "of %lld", (long long)r->count);
	}
}

static struct heard op(struct etcd_op o)
{
	struct heard h = { 0 };

	ck_assert_ptr_nonnull(etcd_op(e, &o, on_done, &h));
	UNTIL(h.ended);
	return h;
}

static struct heard put(const char *key, const char *value, int64_t id)
{
	return op((struct etcd_op){ .kind = ETCD_PUT, .key = slice_str(key), .value = slice_str(value),
				    .lease = id });
}

static struct heard range(const char *key, const char *end, int64_t limit, int64_t revision)
{
	return op((struct etcd_op){ .kind = ETCD_RANGE, .key = slice_str(key), .end = slice_str(end),
				    .limit = limit, .revision = revision });
}

static struct heard if_modified(const char *key, int64_t revision, const char *value)
{
	const struct etcd_if cond = { ETCD_MODIFIED, slice_str(key), revision, { 0 } };
	const struct etcd_op then = { .kind = ETCD_PUT, .key = slice_str(key), .value = slice_str(value) };
	const struct etcd_op otherwise = { .kind = ETCD_RANGE, .key = slice_str(key) };
	const struct etcd_txn t = { &cond, &then, &otherwise, 1, 1, 1 };
	struct heard h = { 0 };

	ck_assert_ptr_nonnull(etcd_txn(e, &t, on_done, &h));
	UNTIL(h.ended);
	return h;
}

/* ---- watches, as text ---- */

static struct heard seen;
static int64_t seen_compacted;

static void on_told(void *arg, const struct etcd_told *t)
{
	(void)arg;
	for (size_t i = 0; i < t->events; i++)
		say(&seen, t->event[i].is_delete ? "-" : "+", t->event[i].kv.key, t->event[i].kv.value);
	seen.head = t->head;
}

static void on_watch_end(void *arg, enum grpc_status s, const char *words, int64_t compacted)
{
	(void)arg;
	watch = NULL;
	seen.ended = true;
	seen.status = s;
	snprintf(seen.words, sizeof seen.words, "%s", words);
	seen_compacted = compacted;
}

static void watch_from(const char *key, const char *end, int64_t from)
{
	const struct etcd_watch_terms t = { .key = slice_str(key), .end = slice_str(end), .from = from,
					    .told = on_told, .ended = on_watch_end };

	seen = (struct heard){ 0 };
	watch = etcd_watch_new(e, &t);
	ck_assert_ptr_nonnull(watch);
}

/* ---- tests ---- */

START_TEST(what_is_put_is_in_ranges_page_by_page_at_one_revision)
{
	struct heard h, page;

	connect_as("", "");
	UNTIL(ups == 1);
	put("/p/a", "1", 0);
	put("/p/b", "2", 0);
	h = put("/p/c", "3", 0);
	ck_assert_int_eq(h.status, GRPC_OK);
	ck_assert(h.head.cluster != 0 && h.head.member != 0 && h.head.revision > 1);
	page = range("/p/", "/p0", 2, 0);
	ck_assert_str_eq(page.text, "/p/a=1;/p/b=2;of 3");
	ck_assert_int_gt(page.created, 0);
	put("/p/c", "later", 0);
	ck_assert_str_eq(range("/p/b\1", "/p0", 2, page.head.revision).text, "/p/c=3;");
	ck_assert_str_eq(range("/p/c", "", 0, 0).text, "/p/c=later;");
	op((struct etcd_op){ .kind = ETCD_DELETE, .key = SLICE("/p/"), .end = SLICE("/p0") });
	ck_assert_str_eq(range("/p/", "/p0", 0, 0).text, "");
	h = range("/p/c", "", 0, page.head.revision + 1000);
	ck_assert_int_eq(h.status, GRPC_OUT_OF_RANGE);
}
END_TEST

START_TEST(transaction_writes_only_over_what_was_seen)
{
	struct heard h;

	connect_as("", "");
	UNTIL(ups == 1);
	h = if_modified("/t/a", 0, "first");
	ck_assert(h.status == GRPC_OK && h.holds);
	h = if_modified("/t/a", 0, "second");
	ck_assert(h.status == GRPC_OK && !h.holds);
	ck_assert_str_eq(h.text, "/t/a=first;");
	ck_assert(if_modified("/t/a", h.modified, "second").holds);
	ck_assert_str_eq(range("/t/a", "", 0, 0).text, "/t/a=second;");
}
END_TEST

START_TEST(watch_tells_from_a_revision_on_and_what_was_compacted_is_said)
{
	struct heard h;
	char words[80];

	connect_as("", "");
	UNTIL(ups == 1);
	h = put("/w/a", "1", 0);
	put("/w/a", "2", 0);
	watch_from("/w/", "/w0", h.head.revision + 1);
	UNTIL(strstr(seen.text, "=2"));
	put("/other", "x", 0);
	put("/w/b", "3", 0);
	op((struct etcd_op){ .kind = ETCD_DELETE, .key = SLICE("/w/a") });
	UNTIL(strstr(seen.text, "-"));
	ck_assert_str_eq(seen.text, "+/w/a=2;+/w/b=3;-/w/a=;");
	ck_assert_int_eq(seen.head.revision, h.head.revision + 4);
	etcd_watch_free(&watch);
	snprintf(words, sizeof words, "compact %lld", (long long)h.head.revision + 4);
	ck_assert_int_eq(etcd_here_ctl(&here, words), 0);
	watch_from("/w/", "/w0", h.head.revision);
	UNTIL(seen.ended);
	ck_assert_int_eq(seen.status, GRPC_OUT_OF_RANGE);
	ck_assert_int_eq(seen_compacted, h.head.revision + 4);
	h = range("/w/a", "", 0, h.head.revision);
	ck_assert_int_eq(h.status, GRPC_OUT_OF_RANGE);
	ck_assert_uint_eq(downs, 0);
}
END_TEST

static int64_t lease_id;
static unsigned losses;

static void on_held(void *arg, int64_t id)
{
	(void)arg;
	lease_id = id;
}

static void on_lost(void *arg, const char *w)
{
	(void)arg;
	(void)w;
	losses++;
}

START_TEST(lease_keeps_a_key_until_it_is_revoked_and_is_asked_for_again_when_lost)
{
	const struct etcd_lease_terms t = { .ttl_s = 2, .held = on_held, .lost = on_lost };
	char words[80];
	int64_t first;
	struct heard h;

	connect_as("", "");
	lease_id = 0;
	losses = 0;
	lease = etcd_lease_new(e, &t);
	UNTIL(lease_id);
	h = put("/l/a", "kept", lease_id);
	watch_from("/l/", "/l0", h.head.revision);
	UNTIL(seen.text[0]);
	/* Somebody else revokes it: the next renewal finds out. */
	first = lease_id;
	snprintf(words, sizeof words, "lease revoke %llx", (unsigned long long)first);
	ck_assert_int_eq(etcd_here_ctl(&here, words), 0);
	UNTIL(strstr(seen.text, "-/l/a"));
	UNTIL(losses == 1 && lease_id != first);
	put("/l/b", "kept", lease_id);
	etcd_lease_free(&lease, true);
	UNTIL(strstr(seen.text, "-/l/b"));
	etcd_watch_free(&watch);
}
END_TEST

START_TEST(client_comes_back_with_its_etcd_and_goes_on_behind_what_it_knows)
{
	struct heard h;

	connect_as("", "");
	UNTIL(ups == 1);
	h = put("/r/a", "1", 0);
	watch_from("/r/", "/r0", h.head.revision);
	UNTIL(seen.text[0]);
	etcd_here_kill(&here);
	UNTIL(seen.ended && downs > 0);
	ck_assert_int_eq(seen.status, GRPC_UNAVAILABLE);
	ck_assert(!etcd_is_up(e));
	etcd_here_again(&here);
	UNTIL(ups >= 2);
	watch_from("/r/", "/r0", h.head.revision + 1);
	put("/r/b", "2", 0);
	UNTIL(seen.text[0] || seen.ended);
	ck_assert_str_eq(seen.text, "+/r/b=2;");
	etcd_watch_free(&watch);
}
END_TEST

/* Last: nobody gets in without a name after it. */
START_TEST(users_have_tokens_and_only_what_their_roles_say)
{
	static const char *const setup_words[] = {
		"user add root:r", "user grant-role root root", "role add reader",
		"role grant-permission reader read --prefix=true /shop/", "user add host:pw",
		"user grant-role host reader", "put /shop/a 1", "auth enable",
	};
	struct heard h;

	for (size_t i = 0; i < countof(setup_words); i++)
		ck_assert_int_eq(etcd_here_ctl(&here, setup_words[i]), 0);
	connect_as("host", "wrong");
	UNTIL(downs > 0);
	ck_assert_ptr_nonnull(strstr(why, "authentication failed"));
	ck_assert_uint_eq(ups, 0);
	etcd_free(&e);
	connect_as("host", "pw");
	UNTIL(ups == 1);
	h = range("/shop/", "/shop0", 0, 0);
	ck_assert_int_eq(h.status, GRPC_OK);
	ck_assert_str_eq(h.text, "/shop/a=1;");
	ck_assert_int_eq(range("/", "0", 0, 0).status, GRPC_PERMISSION_DENIED);
	ck_assert_int_eq(put("/shop/a", "2", 0).status, GRPC_PERMISSION_DENIED);
	watch_from("/", "0", 1);
	UNTIL(seen.ended);
	ck_assert_int_eq(seen.status, GRPC_PERMISSION_DENIED);
	/* Roles change: the token is of an older time, another one is asked for. */
	ck_assert_int_eq(etcd_here_ctl(&here, "--user root:r role grant-permission reader "
					      "readwrite --prefix=true /shop/"), 0);
	h = put("/shop/a", "2", 0);
	if (h.status != GRPC_OK) {
		UNTIL(etcd_is_up(e));
		h = put("/shop/a", "2", 0);
	}
	ck_assert_msg(h.status == GRPC_OK, "%s", h.words);
	/* Members forget tokens when they start. */
	etcd_here_kill(&here);
	etcd_here_again(&here);
	UNTIL(downs > 1 && etcd_is_up(e));
	h = range("/shop/a", "", 0, 0);
	if (h.status == GRPC_UNAUTHENTICATED) {
		UNTIL(etcd_is_up(e));
		h = range("/shop/a", "", 0, 0);
	}
	ck_assert_msg(h.status == GRPC_OK, "%s", h.words);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("etcd_real");
	TCase *t = tcase_create("etcd_real");
	SRunner *r;
	int bad;

	if (!etcd_here_start(&here)) {
		printf("SKIP: there is no etcd (Debian: etcd-server, etcd-client)\n");
		return 77;
	}
	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, what_is_put_is_in_ranges_page_by_page_at_one_revision);
	tcase_add_test(t, transaction_writes_only_over_what_was_seen);
	tcase_add_test(t, watch_tells_from_a_revision_on_and_what_was_compacted_is_said);
	tcase_add_test(t, lease_keeps_a_key_until_it_is_revoked_and_is_asked_for_again_when_lost);
	tcase_add_test(t, client_comes_back_with_its_etcd_and_goes_on_behind_what_it_knows);
	tcase_add_test(t, users_have_tokens_and_only_what_their_roles_say);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_ENV);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	etcd_here_stop(&here);
	return bad != 0;
}
