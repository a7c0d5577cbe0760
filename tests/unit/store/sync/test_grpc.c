/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* gRPC channels against a server that does as it is told: how calls end, what is refused, and how a
 * channel finds another endpoint.  Real sockets on loopback; nothing waits for a time to pass. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/net/tcp.h"
#include "store/sync/grpc.h"
#include "tests/lib/grpc_far.h"
#include "tests/lib/until.h"
#include "tests/unit/test.h"

#define MAX 100000u

static struct loop loop;
static struct grpc_stock stock;
static struct far far[2];
static struct grpc *g;
static unsigned ups, downs;
static char why[GRPC_WORDS + 80];

/* ---- what a call says ---- */

struct heard {
	struct grpc_call *call;
	char text[4096];
	size_t bytes;
	unsigned messages;
	bool ended;
	enum grpc_status status;
	char words[GRPC_WORDS];
	bool cancel;			/* with the first message */
};

static void on_message(void *arg, struct slice m)
{
	struct heard *h = arg;
	size_t n = strlen(h->text);

	ck_assert(!h->ended);
	snprintf(h->text + n, sizeof h->text - n, "%.*s;", (int)min_of(m.n, (size_t)20), (const char *)m.p);
	h->bytes += m.n;
	h->messages++;
	if (h->cancel)
		grpc_call_cancel(&h->call);
}

static void on_ended(void *arg, enum grpc_status s, const char *words)
{
	struct heard *h = arg;

	ck_assert(!h->ended);
	h->ended = true;
	h->call = NULL;
	h->status = s;
	snprintf(h->words, sizeof h->words, "%s", words);
}

static bool ask(struct heard *h, const char *method, struct slice m, int64_t ms, bool open)
{
	const struct grpc_call_terms t = { .method = method, .deadline_ms = ms, .open = open,
					   .message = on_message, .ended = on_ended, .arg = h };

	*h = (struct heard){ .cancel = h->cancel };
	h->call = grpc_call(g, &t, m);
	return h->call != NULL;
}

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

/* ---- the far side ---- */

static char lines[4096];

static void answers(struct far_call *c, struct slice m)
{
	static uint8_t large[MAX + 1];

	snprintf(lines, sizeof lines, "%s", c->lines);
	if (strcmp(c->method, "/t/Echo") == 0) {
		far_send(c, m);
		far_end(c, 0, "");
	} else if (strcmp(c->method, "/t/Many") == 0) {
		far_send(c, SLICE("one"));
		far_send(c, SLICE(""));
		far_send(c, SLICE("three"));
		far_end(c, 0, "");
	} else if (strcmp(c->method, "/t/Each") == 0) {
		far_send(c, m);
	} else if (strcmp(c->method, "/t/No") == 0) {
		far_refuse(c, "200", 7, "not%20for you%0a\"");
	} else if (strcmp(c->method, "/t/Late") == 0) {
		far_send(c, SLICE("first"));
		far_end(c, 11, "compacted");
	} else if (strcmp(c->method, "/t/Unknown") == 0) {
		far_end(c, 99, "");
	} else if (strcmp(c->method, "/t/Web") == 0) {
		far_refuse(c, "503", 0, "");
	} else if (strcmp(c->method, "/t/Packed") == 0) {
		far_raw(c, "\1\0\0\0\2ab", 7);
	} else if (strcmp(c->method, "/t/Large") == 0) {
		far_raw(c, "\0\x7f\xff\xff\xff", 5);
	} else if (strcmp(c->method, "/t/Cut") == 0) {
		far_raw(c, "\0\0\0\0\4ab", 7);
		far_end(c, 0, "");
	} else if (strcmp(c->method, "/t/Reset") == 0) {
		far_reset(c, H2_ENHANCE_YOUR_CALM);
	} else if (strcmp(c->method, "/t/Most") == 0) {
		for (uint32_t i = 0; i < 4; i++)
			far_send(c, slice_of(large, 10000));
		far_end(c, 0, "");
	}
	/* /t/Never: nothing */
}

/* ---- life ---- */

#define UNTIL(x) UNTIL_BY(until_pass(&loop), x, "%s", why)

static void connect_to(unsigned n)
{
	struct addr at[2] = { far[0].addr, far[1].addr };
	const struct grpc_terms t = { .endpoint = at, .endpoints = n, .message_max = MAX, .name = "",
				      .up = on_up, .down = on_down };
	char words[GRPC_WORDS];

	ck_assert_int_eq(grpc_new(&loop, &stock, &t, &g, words), 0);
}

static void setup(void)
{
	rand_init();
	ups = downs = 0;
	why[0] = 0;
	ck_assert_int_eq(loop_init(&loop), 0);
	ck_assert_int_eq(grpc_stock_init(&stock), 0);
	for (int i = 0; i < 2; i++) {
		far_open(&far[i], &loop);
		far[i].got = answers;
	}
}

static void teardown(void)
{
	grpc_free(&g);
	for (int i = 0; i < 2; i++)
		far_close(&far[i]);
	/* Nothing may be left: no stream, no byte. */
	ck_assert_uint_eq(stock.h2.streams.live, 0);
	ck_assert_uint_eq(stock.h2.sessions.live, 0);
	ck_assert_uint_eq(stock.budget.used, 0);
	grpc_stock_fini(&stock);
	loop_fini(&loop);
}

/* ---- calls ---- */

START_TEST(call_has_lines_of_grpc_and_its_answer)
{
	struct heard h = { 0 };

	connect_to(1);
	UNTIL(ups == 1);
	grpc_token(g, "token", "secret.1");
	ck_assert(ask(&h, "/t/Echo", SLICE("hello"), 5000, false));
	UNTIL(h.ended);
	ck_assert_int_eq(h.status, GRPC_OK);
	ck_assert_str_eq(h.text, "hello;");
	ck_assert_ptr_nonnull(strstr(lines, ":method: POST\n"));
	ck_assert_ptr_nonnull(strstr(lines, ":scheme: http\n"));
	ck_assert_ptr_nonnull(strstr(lines, "te: trailers\n"));
	ck_assert_ptr_nonnull(strstr(lines, "content-type: application/grpc\n"));
	ck_assert_ptr_nonnull(strstr(lines, "grpc-timeout: 5000m\n"));
	ck_assert_ptr_nonnull(strstr(lines, "token: secret.1\n"));
}
END_TEST

static const struct {
	const char *method;
	enum grpc_status status;
	const char *text, *words;
} ends[] = {
	{ "/t/Many", GRPC_OK, "one;;three;", "" },
	{ "/t/No", GRPC_PERMISSION_DENIED, "", "not for you??" },
	{ "/t/Late", GRPC_OUT_OF_RANGE, "first;", "compacted" },
	{ "/t/Unknown", GRPC_UNKNOWN, "", "" },
	{ "/t/Web", GRPC_UNAVAILABLE, "", "HTTP status 503" },
	{ "/t/Packed", GRPC_INTERNAL, "", "a message that is compressed" },
	{ "/t/Large", GRPC_RESOURCE_EXHAUSTED, "", "a message larger than allowed" },
	{ "/t/Cut", GRPC_INTERNAL, "", "the last message was cut" },
	{ "/t/Reset", GRPC_RESOURCE_EXHAUSTED, "", "the call was reset" },
};

START_TEST(call_ends_once_with_what_befell_it)
{
	struct heard h = { 0 };

	connect_to(1);
	UNTIL(ups == 1);
	ck_assert(ask(&h, ends[_i].method, SLICE("x"), 0, false));
	UNTIL(h.ended);
	ck_assert_int_eq(h.status, ends[_i].status);
	ck_assert_str_eq(h.text, ends[_i].text);
	ck_assert_str_eq(h.words, ends[_i].words);
	/* It was that call's end only. */
	ck_assert(ask(&h, "/t/Echo", SLICE("y"), 0, false));
	UNTIL(h.ended);
	ck_assert_int_eq(h.status, GRPC_OK);
	ck_assert_uint_eq(downs, 0);
}
END_TEST

START_TEST(call_without_answer_ends_with_its_time)
{
	struct heard h = { 0 };

	connect_to(1);
	UNTIL(ups == 1);
	ck_assert(ask(&h, "/t/Never", SLICE("x"), 20, false));
	UNTIL(h.ended);
	ck_assert_int_eq(h.status, GRPC_DEADLINE_EXCEEDED);
}
END_TEST

START_TEST(open_call_sends_more_and_large_messages_pass_windows)
{
	static uint8_t large[90000];
	struct heard h = { 0 };

	far[0].limits.window = 1000;	/* in many pieces */
	connect_to(1);
	UNTIL(ups == 1);
	ck_assert(ask(&h, "/t/Each", SLICE("a"), 0, true));
	UNTIL(h.messages == 1);
	ck_assert_int_eq(grpc_call_send(h.call, SLICE("b")), 0);
	UNTIL(h.messages == 2);
	ck_assert_str_eq(h.text, "a;b;");
	grpc_call_cancel(&h.call);
	ck_assert(ask(&h, "/t/Most", slice_of(large, sizeof large), 0, false));
	UNTIL(h.ended);
	ck_assert_int_eq(h.status, GRPC_OK);
	ck_assert_uint_eq(h.bytes, 40000);
}
END_TEST

START_TEST(call_cancelled_by_its_own_message_says_no_more)
{
	struct heard h = { .cancel = true }, other = { 0 };

	connect_to(1);
	UNTIL(ups == 1);
	ck_assert(ask(&h, "/t/Many", SLICE("x"), 0, false));
	ck_assert(ask(&other, "/t/Echo", SLICE("x"), 0, false));
	UNTIL(other.ended);
	ck_assert_str_eq(h.text, "one;");
	ck_assert(!h.ended);
}
END_TEST

/* ---- channels ---- */

START_TEST(calls_end_with_their_connection_and_it_comes_back)
{
	struct heard h = { 0 };

	connect_to(1);
	ck_assert(!ask(&h, "/t/Echo", SLICE("x"), 0, false));	/* not yet */
	UNTIL(ups == 1);
	grpc_fine(g);
	ck_assert(ask(&h, "/t/Never", SLICE("x"), 0, false));
	UNTIL(far[0].calls == 1);
	far_cut(&far[0]);
	UNTIL(h.ended);
	ck_assert_int_eq(h.status, GRPC_UNAVAILABLE);
	ck_assert_ptr_nonnull(strstr(h.words, "closed"));
	ck_assert_uint_eq(downs, 1);
	UNTIL(ups == 2);
}
END_TEST

START_TEST(endpoint_that_is_away_is_passed_over)
{
	struct heard h = { 0 };

	far_deaf(&far[1], true);
	connect_to(2);
	UNTIL(ups == 1);
	ck_assert(addr_eq(grpc_endpoint(g), &far[0].addr));
	grpc_fine(g);
	far_deaf(&far[1], false);
	far_deaf(&far[0], true);
	far_cut(&far[0]);
	UNTIL(ups == 2);
	ck_assert(addr_eq(grpc_endpoint(g), &far[1].addr));
	ck_assert(ask(&h, "/t/Echo", SLICE("x"), 0, false));
	UNTIL(h.ended);
	ck_assert_int_eq(h.status, GRPC_OK);
}
END_TEST

START_TEST(endpoint_of_no_use_is_left)
{
	struct addr first;

	connect_to(2);
	UNTIL(ups == 1);
	first = *grpc_endpoint(g);
	grpc_leave(g, "not the cluster it was");
	UNTIL(ups == 2);
	ck_assert(!addr_eq(grpc_endpoint(g), &first));
	ck_assert_ptr_nonnull(strstr(why, "not the cluster it was"));
}
END_TEST

static int plain = -1;

/* Accepts, and says what an HTTP/1 server says. */
static void plain_cb(void *arg, unsigned events)
{
	struct stream st;
	struct addr from;
	struct iovec v = { (void *)(uintptr_t)"HTTP/1.1 400 Bad Request\r\n\r\n", 28 };

	(void)events;
	if (tcp_kernel.accept(plain, &st, &from) < 0)
		return;
	(void)!st.ops->write(&st, &v, 1);
	stream_close(&st, false);
	++*(unsigned *)arg;
}

START_TEST(server_that_speaks_no_http2_is_left)
{
	static struct loop_io io;
	unsigned seen = 0;

	loop_io_stop(&loop, &far[0].io);
	plain = far[0].listener;
	loop_io_start(&loop, &io, plain, LOOP_READ, plain_cb, &seen);
	connect_to(1);
	UNTIL(downs == 2);
	ck_assert_uint_ge(seen, 2);
	ck_assert_uint_eq(ups, 0);
	loop_io_stop(&loop, &io);
	close(plain);
	far[0].listener = -1;
}
END_TEST

/* ---- framing ---- */

START_TEST(frames_in_any_pieces_are_the_same_messages)
{
	static const uint8_t all[] = "\0\0\0\0\3abc\0\0\0\0\0\0\0\0\0\1d";

	for (size_t step = 1; step < sizeof all; step++) {
		struct grpc_frames f = { .max = 3 };
		char text[32] = "";

		for (size_t at = 0; at < sizeof all - 1; at += step) {
			struct slice in = slice_of(all + at, min_of(step, sizeof all - 1 - at)), m;

			while (grpc_frames_next(&f, &in, &m) == 1)
				sprintf(text + strlen(text), "%.*s;", (int)m.n, (const char *)m.p);
			ck_assert_uint_eq(in.n, 0);
		}
		ck_assert_str_eq(text, "abc;;d;");
		ck_assert(!grpc_frames_is_inside(&f));
		grpc_frames_fini(&f);
	}
}
END_TEST

int main(void)
{
	Suite *s = suite_create("grpc");
	TCase *t = tcase_create("grpc");
	SRunner *r;
	int bad;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, call_has_lines_of_grpc_and_its_answer);
	tcase_add_loop_test(t, call_ends_once_with_what_befell_it, 0, countof(ends));
	tcase_add_test(t, call_without_answer_ends_with_its_time);
	tcase_add_test(t, open_call_sends_more_and_large_messages_pass_windows);
	tcase_add_test(t, call_cancelled_by_its_own_message_says_no_more);
	tcase_add_test(t, calls_end_with_their_connection_and_it_comes_back);
	tcase_add_test(t, endpoint_that_is_away_is_passed_over);
	tcase_add_test(t, endpoint_of_no_use_is_left);
	tcase_add_test(t, server_that_speaks_no_http2_is_left);
	suite_add_tcase(s, t);
	t = tcase_create("frames");
	tcase_add_test(t, frames_in_any_pieces_are_the_same_messages);
	suite_add_tcase(s, t);
	r = srunner_create(s);
	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_ENV);
	bad = srunner_ntests_failed(r);
	srunner_free(r);
	return bad != 0;
}
