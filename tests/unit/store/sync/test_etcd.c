/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The client of etcd against one that lies: what is believed, who is left, and when another token is asked
 * for.  What a real etcd does is in test_etcd_real.c. */
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "nodeproxy/lib/base/rand.h"
#include "store/sync/etcd_msg.h"
#include "tests/lib/etcd_far.h"
#include "tests/lib/until.h"
#include "tests/unit/test.h"

static struct loop loop;
static struct grpc_stock stock;
static struct etcd_far far[2];
static struct etcd *e;
static struct etcd_watch *watch;
static unsigned ups, downs;
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

static void connect_to(unsigned n, const char *user)
{
	struct addr at[2] = { far[0].far.addr, far[1].far.addr };
	const struct etcd_terms t = { .endpoint = at, .endpoints = n, .name = "", .user = user,
				      .up = on_up, .down = on_down };
	char words[GRPC_WORDS];

	ck_assert_int_eq(etcd_new(&loop, &stock, &t, &e, words), 0);
	UNTIL(ups > 0);
}

static void setup(void)
{
	rand_init();
	ups = downs = 0;
	why[0] = 0;
	ck_assert_int_eq(loop_init(&loop), 0);
	ck_assert_int_eq(grpc_stock_init(&stock), 0);
	for (int i = 0; i < 2; i++)
		etcd_far_open(&far[i], &loop);
}

static void teardown(void)
{
	etcd_watch_free(&watch);
	etcd_free(&e);
	for (int i = 0; i < 2; i++)
		etcd_far_close(&far[i]);
	ck_assert_uint_eq(stock.budget.used, 0);
	grpc_stock_fini(&stock);
	loop_fini(&loop);
}

/* ---- what is heard ---- */

struct heard {
	bool ended;
	enum grpc_status status;
	struct etcd_head head;
	size_t kvs;
	unsigned whole, parts;
	char text[400], words[GRPC_WORDS];
};

static void on_done(void *arg, const struct etcd_answer *a)
{
	struct heard *h = arg;

	ck_assert(!h->ended);
	h->ended = true;
	h->status = a->status;
	h->head = a->head;
	h->kvs = a->results ? a->result[0].kvs : 0;
	snprintf(h->words, sizeof h->words, "%s", a->words);
}

static struct heard ask(void)
{
	const struct etcd_op o = { .kind = ETCD_RANGE, .key = SLICE("/"), .end = SLICE("0") };
	struct heard h = { 0 };

	UNTIL(etcd_is_up(e));
	ck_assert_ptr_nonnull(etcd_op(e, &o, on_done, &h));
	UNTIL(h.ended);
	return h;
}

static struct heard seen;

static void on_told(void *arg, const struct etcd_told *t)
{
	(void)arg;
	for (size_t i = 0; i < t->events; i++) {
		size_t n = strlen(seen.text);
		const struct etcd_kv *kv = &t->event[i].kv;

		snprintf(seen.text + n, sizeof seen.text - n, "%s%.*s;", t->event[i].is_delete ? "-" : "+",
			 (int)kv->key.n, (const char *)kv->key.p);
	}
	seen.head = t->head;
	if (t->whole)
		seen.whole++;
	else
		seen.parts++;
}

static void on_watch_end(void *arg, enum grpc_status s, const char *words, int64_t compacted)
{
	(void)arg;
	(void)compacted;
	watch = NULL;
	seen.ended = true;
	seen.status = s;
	snprintf(seen.words, sizeof seen.words, "%s", words);
}

static void watch_from(int64_t from)
{
	const struct etcd_watch_terms t = { .key = SLICE("/"), .end = SLICE("0"), .from = from,
					    .told = on_told, .ended = on_watch_end };

	UNTIL(etcd_is_up(e));
	seen = (struct heard){ 0 };
	watch = etcd_watch_new(e, &t);
	ck_assert_ptr_nonnull(watch);
}

/* ---- tests ---- */

static const struct {
	enum etcd_lie lie;
	unsigned code;
	const char *said;
	enum grpc_status status;
	const char *words;
	bool left;
} lies[] = {
	{ LIE_GARBAGE, 0, "", GRPC_INTERNAL, "the answer is not one of etcd", true },
	{ LIE_TWICE, 0, "", GRPC_INTERNAL, "two answers to one question", true },
	{ LIE_REFUSE, 14, "etcdserver: no leader", GRPC_UNAVAILABLE, "etcdserver: no leader", true },
	{ LIE_REFUSE, 12, "no such method", GRPC_UNIMPLEMENTED, "no such method", true },
	{ LIE_REFUSE, 7, "permission denied", GRPC_PERMISSION_DENIED, "permission denied", false },
	{ LIE_REFUSE, 3, "etcdserver: duplicate key", GRPC_INVALID_ARGUMENT, "etcdserver: duplicate key", false },
};

START_TEST(member_of_no_use_is_left_for_the_next_and_a_no_is_none)
{
	struct heard h;

	far[0].lie = far[1].lie = lies[_i].lie;
	far[0].status = far[1].status = lies[_i].code;
	far[0].words = far[1].words = lies[_i].said;
	connect_to(2, "");
	h = ask();
	ck_assert_int_eq(h.status, lies[_i].status);
	ck_assert_str_eq(h.words, lies[_i].words);
	if (lies[_i].left)
		UNTIL(downs == 1);
	far[0].lie = far[1].lie = LIE_NONE;
	ck_assert_int_eq(ask().status, GRPC_OK);
	ck_assert_uint_eq(downs, lies[_i].left);
}
END_TEST

START_TEST(member_of_another_cluster_is_left_while_there_are_others)
{
	struct heard h;

	connect_to(2, "");
	far[0].cluster = far[1].cluster = 0xc1;
	ck_assert_int_eq(ask().status, GRPC_OK);
	/* The one that it is connected to becomes another; the next is as it was. */
	far[far_conns(&far[1].far) > 0].cluster = 0xc2;
	h = ask();
	ck_assert_int_eq(h.status, GRPC_FAILED_PRECONDITION);
	UNTIL(downs > 0);
	ck_assert_ptr_nonnull(strstr(why, "is of another cluster: c2, not c1"));
	while ((h = ask()).status != GRPC_OK)
		;
	ck_assert_uint_eq(h.head.cluster, 0xc1);
}
END_TEST

START_TEST(cluster_is_another_when_nobody_says_otherwise)
{
	struct heard h;
	unsigned strange = 0;

	connect_to(2, "");
	ck_assert_int_eq(ask().status, GRPC_OK);
	far[0].cluster = far[1].cluster = 0xc2;
	while ((h = ask()).status != GRPC_OK)
		strange++;
	ck_assert_uint_eq(h.head.cluster, 0xc2);
	ck_assert_uint_eq(strange, 5);	/* three times each, of which the last is believed */
}
END_TEST

START_TEST(token_is_asked_for_again_when_it_is_none_any_more)
{
	far[0].asks_for_token = true;
	connect_to(1, "host");
	ck_assert_int_eq(ask().status, GRPC_OK);
	ck_assert_uint_eq(far[0].proofs, 1);
	watch_from(1);
	UNTIL(far[0].watches == 1);
	far[0].lie = LIE_REFUSE;
	far[0].status = 16;
	far[0].words = "etcdserver: invalid auth token";
	ck_assert_int_eq(ask().status, GRPC_UNAUTHENTICATED);
	far[0].lie = LIE_NONE;
	ck_assert(!etcd_is_up(e));
	UNTIL(etcd_is_up(e));
	ck_assert_uint_eq(far[0].proofs, 2);
	ck_assert_uint_eq(far[0].far.accepted, 1);	/* on the same connection */
	ck_assert(!seen.ended);				/* what was under way went on */
	ck_assert_int_eq(ask().status, GRPC_OK);
}
END_TEST

START_TEST(token_outlives_the_connection_it_was_given_on)
{
	far[0].asks_for_token = true;
	connect_to(1, "host");
	ck_assert_int_eq(ask().status, GRPC_OK);
	far_cut(&far[0].far);
	UNTIL(downs == 1);
	ck_assert_int_eq(ask().status, GRPC_OK);
	ck_assert_uint_eq(far[0].far.accepted, 2);
	ck_assert_uint_eq(far[0].proofs, 1);
}
END_TEST

START_TEST(events_of_one_moment_are_whole_at_its_last_fragment)
{
	connect_to(1, "");
	far[0].fragments = true;
	watch_from(2);
	UNTIL(far[0].watches == 1);
	etcd_far_hold(&far[0], true);
	etcd_far_put(&far[0], "/a", SLICE("1"));
	etcd_far_put(&far[0], "/b", SLICE("2"));
	etcd_far_delete(&far[0], "/a");
	etcd_far_hold(&far[0], false);
	UNTIL(seen.whole == 1);
	ck_assert_uint_eq(seen.parts, 2);
	ck_assert_str_eq(seen.text, "+/a;+/b;-/a;");
	ck_assert_int_eq(seen.head.revision, 2);
	far[0].revision = 9;
	etcd_far_progress(&far[0]);
	UNTIL(seen.whole == 2);
	ck_assert_int_eq(seen.head.revision, 9);
}
END_TEST

START_TEST(watch_ends_when_its_etcd_talks_nonsense_or_is_another)
{
	connect_to(1, "");
	watch_from(1);
	UNTIL(far[0].watches == 1);
	far[0].lie = LIE_GARBAGE;
	etcd_far_put(&far[0], "/a", SLICE("1"));
	UNTIL(seen.ended);
	ck_assert_int_eq(seen.status, GRPC_INTERNAL);
	far[0].lie = LIE_NONE;
	UNTIL(downs == 1 && etcd_is_up(e));
	ck_assert_int_eq(ask().status, GRPC_OK);
	watch_from(1);
	UNTIL(far[0].watches == 2);
	far[0].cluster = 0xc2;
	etcd_far_put(&far[0], "/a", SLICE("2"));
	UNTIL(seen.ended);
	ck_assert_int_eq(seen.status, GRPC_FAILED_PRECONDITION);
}
END_TEST

/* Messages without content are cheap to send; what they need here is bounded. */
START_TEST(few_bytes_cannot_ask_for_much_memory)
{
	static uint8_t bytes[2u << 20];
	struct etcd_mem mem = { 0 };
	struct etcd_answer a;

	for (size_t i = 0; i < sizeof bytes; i += 2)
		bytes[i] = 0x12;	/* kvs, each of no bytes */
	ck_assert_int_eq(etcd_msg_answer(&mem, ETCD_DO_RANGE, slice_of(bytes, sizeof bytes), &a), -ENOMEM);
	ck_assert_uint_le(mem.used, ETCD_MEM_MAX);
	etcd_mem_fini(&mem);
	mem = (struct etcd_mem){ 0 };
	ck_assert_int_eq(etcd_msg_answer(&mem, ETCD_DO_RANGE, slice_of(bytes, 20000), &a), 0);
	ck_assert_uint_eq(a.result[0].kvs, 10000);
	etcd_mem_fini(&mem);
}
END_TEST

START_TEST(end_of_a_prefix_is_the_first_key_behind_it)
{
	static const struct {
		const char *prefix, *end;
	} rows[] = { { "/a/", "/a0" }, { "a\xff\xff", "b" }, { "a", "b" } };
	uint8_t room[8];

	for (size_t i = 0; i < countof(rows); i++)
		ck_assert(slice_eq(etcd_end(slice_str(rows[i].prefix), room), slice_str(rows[i].end)));
	ck_assert_uint_eq(etcd_end(SLICE("\xff"), room).n, 1);
}
END_TEST

int main(void)
{
	Suite *s = suite_create("etcd");
	TCase *t = tcase_create("etcd");
	SRunner *r;
	int bad;

	tcase_set_timeout(t, 60);
	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_loop_test(t, member_of_no_use_is_left_for_the_next_and_a_no_is_none, 0, countof(lies));
	tcase_add_test(t, member_of_another_cluster_is_left_while_there_are_others);
	tcase_add_test(t, cluster_is_another_when_nobody_says_otherwise);
	tcase_add_test(t, token_is_asked_for_again_when_it_is_none_any_more);
	tcase_add_test(t, token_outlives_the_connection_it_was_given_on);
	tcase_add_test(t, events_of_one_moment_are_whole_at_its_last_fragment);
	tcase_add_test(t, watch_ends_when_its_etcd_talks_nonsense_or_is_another);
	suite_add_tcase(s, t);
	t = tcase_create("messages");
	tcase_add_test(t, few_bytes_cannot_ask_for_much_memory);
	tcase_add_test(t, end_of_a_prefix_is_the_first_key_behind_it);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_ENV);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	return bad != 0;
}
