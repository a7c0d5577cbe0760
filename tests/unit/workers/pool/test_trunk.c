/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Trunks: who gets a place on which, how they end, and what those on them are told.  The network is
 * the simulation's, the endpoints are HTTP/2 servers of the test. */
#include "tests/unit/test.h"

#include <errno.h>
#include <sys/mman.h>

#include "nodeproxy/lib/base/rand.h"
#include "tests/sim/net.h"
#include "workers/pool/trunk.h"

#define FAR_MAX 80
#define WAKES(b) (*(unsigned *)(b)->user)

/* The other side of a trunk. */
struct far {
	struct stream s;
	struct link *l;
	struct h2 *h;			/* NULL: says nothing by itself */
};

static struct {
	int64_t now_ns;
	struct net net;
	struct board *board;
	struct budget all;
	struct tenants tenants;
	struct tenant *tenant;
	struct sched sched;
	struct wheel wheel;
	struct chunk_pool chunks;
	struct h2_stock stock;
	struct pool pool;
	struct trunks trunks;
	uint8_t scratch[65536];
	struct h2_limits far_limits;
	struct budget far_budget;
	struct far far[FAR_MAX];
	unsigned n_far;
	int dial_error;			/* at once */
	bool answers;			/* far sides accept and speak HTTP/2 */
	bool keeps;
	uint32_t allowed, held;		/* connections that count for limits */
	unsigned wakes[2048], n_backs;
	struct back *back[2048];
} w;

static int64_t world_mono(void)
{
	return w.now_ns;
}

static int64_t world_unix(void)
{
	return w.now_ns / NS_PER_MS;
}

/* ---- the far side ---- */

static struct far *far_of(struct stream *s)
{
	return container_of(s, struct far, s);
}

static ssize_t far_read(struct stream *s, uint8_t *buf, size_t room)
{
	return link_take(&w.net, far_of(s)->l, buf, room);
}

static ssize_t far_write(struct stream *s, const struct iovec *v, int n)
{
	ssize_t done = 0;

	for (int i = 0; i < n; i++) {
		ssize_t k = link_give(&w.net, far_of(s)->l, v[i].iov_base, v[i].iov_len);

		if (k < 0)
			return done ? done : k;
		done += k;
		if ((size_t)k < v[i].iov_len)
			break;
	}
	return done;
}

static const struct stream_ops far_ops = { .name = "far", .read = far_read, .write = far_write };

static void far_begin(struct far *f)
{
	link_accept(&w.net, f->l);
	f->h = h2_new(&w.stock, true, &w.far_limits, &f->s, &w.far_budget);
	ck_assert_ptr_nonnull(f->h);
}

static void far_leave(struct far *f)
{
	h2_free(&f->h);
	if (f->l)
		link_leave(&w.net, f->l);
	f->l = NULL;
}

static int dialled(void *arg, struct link *l)
{
	struct far *f = &w.far[w.n_far];

	(void)arg;
	if (w.dial_error)
		return w.dial_error;
	ck_assert_uint_lt(w.n_far, FAR_MAX);
	w.n_far++;
	*f = (struct far){ .s = { .ops = &far_ops, .fd = { -1 } }, .l = l };
	if (w.answers)
		far_begin(f);
	return 0;
}

/* ---- the near side ---- */

static void wake(struct back *b)
{
	WAKES(b)++;
}

static void deadline(struct trunks *ts, struct wheel_entry *e, int64_t ms)
{
	wheel_set(ts->wheel, e, mono_after_ms(clock_now(), ms));
}

static bool keeps(struct trunks *ts, const struct trunk *t)
{
	(void)ts, (void)t;
	return w.keeps;
}

static bool admits(struct trunks *ts, uint32_t slot, const struct back *b)
{
	(void)slot;
	ck_assert(ts == &w.trunks && b->key.limit);
	if (w.held == w.allowed)
		return false;
	w.held++;
	return true;
}

static void closed(struct trunks *ts, uint32_t slot)
{
	(void)ts, (void)slot;
	ck_assert_uint_gt(w.held, 0);
	w.held--;
}

static const struct trunk_calls calls = { .wake = wake, .deadline = deadline, .keeps = keeps,
					  .admits = admits, .closed = closed };

static bool any(struct trunks *ts, const struct trunk *t, const void *arg)
{
	(void)ts, (void)t, (void)arg;
	return true;
}

static void start(uint64_t seed)
{
	static uint64_t counters[WCS];
	struct tenant_terms terms = { .slot = 1, .gen = 1, .weight = 1 };

	memset(&w, 0, sizeof w);
	memset(counters, 0, sizeof counters);
	w.now_ns = 1000 * NS_PER_S;
	w.answers = w.keeps = true;
	w.far_limits = h2_limits_default;
	rand_seed(seed);
	clock_simulate(world_mono, world_unix);
	clock_tick();
	net_init(&w.net, seed, &w.now_ns);
	w.net.dialled = dialled;
	net_use(&w.net);
	w.board = mmap(NULL, board_bytes(1), PROT_READ | PROT_WRITE,
		       MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert_ptr_ne(w.board, MAP_FAILED);
	board_format(w.board, 1);
	sched_init(&w.sched, 50, 262144, counters);
	wheel_init(&w.wheel, clock_now());
	ck_assert_int_eq(tenants_init(&w.tenants, w.board, 0, &w.all, 64u << 20, 100, 100), 0);
	w.tenant = tenant_take(&w.tenants, &terms);
	ck_assert_int_eq(chunk_pool_init(&w.chunks, 4096, 16), 0);
	ck_assert_int_eq(h2_stock_init(&w.stock, &w.chunks, 256, 4096), 0);
	ck_assert_int_eq(pool_init(&w.pool, 4096, 4), 0);
	w.trunks = (struct trunks){
		.limits = h2_limits_default,
		.times = { .idle_ms = 55000 },
		.stock = &w.stock, .pool = &w.pool, .sched = &w.sched, .wheel = &w.wheel,
		.calls = &calls, .c = counters, .scratch = w.scratch,
		.scratch_room = sizeof w.scratch,
	};
	ck_assert_int_eq(trunks_init(&w.trunks, 128), 0);
}

static bool on_event(void *arg, uint64_t token, unsigned bits)
{
	trunk_ready(arg, (struct slot_ref){ (uint32_t)(token >> 32), (uint32_t)token }, bits);
	return true;
}

static void on_deadline(struct wheel_entry *e, void *arg)
{
	ck_assert(trunks_have_entry(arg, e));
	trunk_expired(e);
}

static void pass(void)
{
	clock_tick();
	wheel_run(&w.wheel, clock_now(), on_deadline, &w.trunks);
	net_tick(&w.net);
	net_collect(&w.net, on_event, &w.trunks);
	while (sched_run(&w.sched))
		;
	for (unsigned i = 0; i < w.n_far; i++) {
		if (w.far[i].h == NULL || w.far[i].l == NULL)
			continue;
		while (h2_read(w.far[i].h, w.scratch, sizeof w.scratch) == H2_MORE)
			;
		while (h2_write(w.far[i].h) == H2_MORE)
			;
	}
	trunks_reap(&w.trunks);
	trunks_feed(&w.trunks);
}

/* Enough for what is on its way to arrive. */
static void settle(void)
{
	for (int i = 0; i < 200; i++)
		pass();
}

static void pass_ms(int64_t ms)
{
	w.now_ns += ms * NS_PER_MS;
	settle();
}

static struct back *caller_at(uint8_t host)
{
	struct back_key key = { .addr = { .ip = { 10, 0, 0, host }, .port = 80, .family = 4 },
				.tenant = w.tenant->slot, .tenant_gen = w.tenant->gen };
	struct back *b = back_new(&w.pool, &key);

	ck_assert_ptr_nonnull(b);
	b->on = &w.trunks;
	b->user = &w.wakes[w.n_backs];
	w.back[w.n_backs++] = b;
	return b;
}

/* As the connect stage does. */
static int take(struct back *b)
{
	int r = trunk_take(&w.trunks, b);

	for (int i = 0; r == -ENOENT && i < 4; i++) {
		r = trunk_dial(&w.trunks, b, w.tenant, 2000);
		if (r < 0)
			return r;
		r = trunk_take(&w.trunks, b);
	}
	return r == -ENOENT ? -EAGAIN : r;
}

static struct back *caller(void)
{
	struct back *b = caller_at(1);

	(void)take(b);
	return b;
}

/* Those who were woken act: who waits still looks again. */
static void act(void)
{
	for (unsigned i = 0; i < w.n_backs; i++) {
		struct back *b = w.back[i];

		if (b == NULL || WAKES(b) == 0)
			continue;
		WAKES(b) = 0;
		if (b->waits_at)
			(void)take(b);
	}
}

static void settle_all(void)
{
	for (int i = 0; i < 40; i++) {
		for (int k = 0; k < 10; k++)
			pass();
		act();
	}
}

static bool has_place(const struct back *b)
{
	return b->trunk.gen != 0;
}

/* The exchange is over before its time, or has not begun. */
static void leave(struct back *b)
{
	stream_close(&b->leg.s, true);
	trunk_give(&w.trunks, b);
	for (unsigned i = 0; i < w.n_backs; i++)
		if (w.back[i] == b)
			w.back[i] = NULL;
	back_free(&w.pool, &b);
}

static void leave_all(void)
{
	for (unsigned i = 0; i < w.n_backs; i++)
		if (w.back[i])
			leave(w.back[i]);
}

static unsigned in_state(enum trunk_state s)
{
	unsigned n = 0;

	for (uint32_t i = 0; i < w.trunks.trunks.fresh; i++) {
		const struct trunk *t = slab_at(&w.trunks.trunks,
						(struct slot_ref){ i, w.trunks.trunks.gen[i] });

		n += t && t->state == s;
	}
	return n;
}

static void finish(void)
{
	leave_all();
	trunks_close(&w.trunks);
	trunks_reap(&w.trunks);
	for (unsigned i = 0; i < w.n_far; i++)
		far_leave(&w.far[i]);
	ck_assert_uint_eq(w.trunks.open, 0);
	ck_assert_uint_eq(w.trunks.taken, 0);
	ck_assert_uint_eq(w.trunks.trunks.live, 0);
	ck_assert_uint_eq(w.trunks.bundles.live, 0);
	ck_assert_uint_eq(w.pool.backs.live, 0);
	ck_assert_uint_eq(w.stock.sessions.live, 0);
	ck_assert_uint_eq(w.stock.streams.live, 0);
	ck_assert_uint_eq(w.all.used, 0);
	ck_assert_uint_eq(w.chunks.small.live + w.chunks.large.live, 0);
	tenant_give(&w.tenant);
	trunks_fini(&w.trunks);
	tenants_fini(&w.tenants);
	h2_stock_fini(&w.stock);
	pool_fini(&w.pool);
	chunk_pool_fini(&w.chunks);
	net_fini(&w.net);
	net_use(NULL);
	clock_simulate(NULL, NULL);
	munmap(w.board, board_bytes(1));
}

#define F(n, v) { (const uint8_t *)(n), (const uint8_t *)(v), sizeof(n) - 1, sizeof(v) - 1, 0 }
static const struct h2_field get[] = { F(":method", "GET"), F(":scheme", "http"), F(":authority", "a"),
				       F(":path", "/") };
static const struct h2_field ok[] = { F(":status", "200") };

static void ask(struct back *b, bool end)
{
	ck_assert_int_eq(trunk_request(&w.trunks, b, get, countof(get), end), 0);
}

/* The next request at that far side. */
static struct h2_stream *asked(unsigned i)
{
	for (int k = 0; k < 400; k++) {
		unsigned news;
		struct h2_stream *st = h2_next(w.far[i].h, &news);

		if (st && news & H2_NEWS_BLOCK)
			return st;
		pass();
	}
	ck_abort_msg("no request came to trunk %u", i);
}

/* ---- */

START_TEST(one_who_asks_waits_until_the_endpoint_has_greeted)
{
	struct back *b;

	start(1);
	w.answers = false;
	b = caller();
	ck_assert(!has_place(b));
	ck_assert_uint_eq(w.n_far, 1);
	settle();
	ck_assert_uint_eq(in_state(TRUNK_DIALLING), 1);
	link_accept(&w.net, w.far[0].l);
	settle();
	ck_assert_uint_eq(in_state(TRUNK_HELLO), 1);
	ck_assert(!has_place(b));
	w.far[0].h = h2_new(&w.stock, true, &w.far_limits, &w.far[0].s, &w.far_budget);
	settle();
	ck_assert_uint_eq(in_state(TRUNK_OPEN), 1);
	ck_assert(has_place(b));
	ck_assert_uint_gt(WAKES(b), 0);
	finish();
}
END_TEST

START_TEST(an_answer_comes_to_who_asked)
{
	struct back *a, *b;
	struct h2_stream *fa, *fb;

	start(2);
	a = caller();
	b = caller();
	settle_all();
	ck_assert_uint_eq(w.n_far, 1);
	ask(a, true);
	ask(b, true);
	fa = asked(0);
	fb = asked(0);
	settle();
	WAKES(a) = WAKES(b) = 0;
	a->leg.want = b->leg.want = READY_IN;
	ck_assert_int_eq(h2_respond(fb, ok, countof(ok), true), 0);
	settle();
	ck_assert_uint_eq(WAKES(a), 0);
	ck_assert_uint_gt(WAKES(b), 0);
	ck_assert_uint_eq(b->leg.ready & (READY_IN | READY_END | READY_ERR), READY_IN | READY_END);
	ck_assert_ptr_nonnull(h2_block(b->stream));
	ck_assert_int_eq(h2_respond(fa, ok, countof(ok), true), 0);
	settle();
	ck_assert_uint_gt(WAKES(a), 0);
	stream_close(&fa->s, false);
	stream_close(&fb->s, false);
	leave(a);
	leave(b);
	settle();
	ck_assert_uint_eq(in_state(TRUNK_OPEN), 1);
	finish();
}
END_TEST

START_TEST(those_who_wait_learn_why_a_trunk_did_not_open)
{
	static const struct { int how, error; } rows[] = {
		{ 0, -ECONNREFUSED }, { 1, -ETIMEDOUT }, { 2, -EPROTO }, { 3, -ECONNRESET },
		{ 4, -ETIMEDOUT }, { 5, -EHOSTUNREACH },
	};

	for (size_t i = 0; i < countof(rows); i++) {
		struct back *a, *b;

		start(3 + i);
		w.answers = false;
		w.dial_error = rows[i].how == 5 ? -EHOSTUNREACH : 0;
		a = caller_at(1);
		b = caller_at(1);
		ck_assert_int_eq(take(a), rows[i].how == 5 ? -EHOSTUNREACH : -EAGAIN);
		if (rows[i].how == 5) {
			ck_assert_int_eq(a->trunk_error, -EHOSTUNREACH);
			finish();
			continue;
		}
		ck_assert_int_eq(take(b), -EAGAIN);
		ck_assert_uint_eq(w.n_far, 1);
		switch (rows[i].how) {
		case 0:
			link_refuse(&w.net, w.far[0].l, -ECONNREFUSED);
			w.far[0].l = NULL;
			break;
		case 2:		/* HTTP/1 */
			link_accept(&w.net, w.far[0].l);
			ck_assert_int_gt(link_give(&w.net, w.far[0].l, "HTTP/1.1 400 Bad\r\n\r\n", 20), 0);
			break;
		case 3:		/* hangs up */
			link_accept(&w.net, w.far[0].l);
			link_break(&w.net, w.far[0].l);
			w.far[0].l = NULL;
			break;
		case 4:		/* accepts and says nothing */
			link_accept(&w.net, w.far[0].l);
			settle();
			break;
		}
		settle();
		pass_ms(2200);
		ck_assert_int_eq(a->trunk_error, rows[i].error);
		ck_assert_int_eq(b->trunk_error, rows[i].error);
		ck_assert_uint_gt(WAKES(a), 0);
		ck_assert_uint_gt(WAKES(b), 0);
		ck_assert_ptr_null(a->waits_at);
		ck_assert_uint_eq(w.trunks.open, 0);
		finish();
	}
}
END_TEST

START_TEST(no_trunk_takes_more_than_the_endpoint_allows)
{
	unsigned places = 0;

	start(10);
	w.far_limits.streams = 3;
	for (int i = 0; i < 10; i++)
		caller();
	settle_all();
	for (unsigned i = 0; i < w.n_backs; i++)
		places += has_place(w.back[i]);
	ck_assert_uint_eq(places, 10);
	ck_assert_uint_eq(w.n_far, 4);
	for (unsigned i = 0; i < w.n_backs; i++)
		ask(w.back[i], true);
	settle();
	ck_assert_uint_eq(w.stock.streams.live, 20);
	for (unsigned i = 0; i < w.n_far; i++)
		ck_assert_uint_le(h2_streams(w.far[i].h), 3);
	for (unsigned i = 0; i < w.n_far; i++) {
		unsigned news;
		struct h2_stream *st;

		while ((st = h2_next(w.far[i].h, &news)))
			stream_close(&st->s, true);
	}
	settle();
	for (unsigned i = 0; i < w.n_backs; i++) {
		ck_assert_uint_eq(w.back[i]->broke, REASON_BACK_RESET);
		ck_assert_uint_ne(w.back[i]->leg.ready & READY_ERR, 0);
	}
	finish();
}
END_TEST

START_TEST(who_waits_for_room_gets_it_in_order)
{
	struct back *first, *second;
	struct h2_stream *f;

	start(11);
	w.far_limits.streams = 1;
	first = caller();
	settle_all();
	ask(first, true);
	/* No other trunk is to be had. */
	w.dial_error = -EMFILE;
	second = caller_at(1);
	ck_assert_int_eq(take(second), -EMFILE);
	ck_assert_ptr_nonnull(second->waits_at);
	ck_assert_int_eq(take(second), -EAGAIN);	/* not again at once */
	caller();
	f = asked(0);
	ck_assert_int_eq(h2_respond(f, ok, countof(ok), true), 0);
	stream_close(&f->s, false);
	settle();
	leave(first);
	settle();
	ck_assert(has_place(second));
	ck_assert(!has_place(w.back[2]));
	ck_assert_uint_eq(w.n_far, 1);
	leave(second);
	settle();
	ck_assert(has_place(w.back[2]));
	finish();
}
END_TEST

START_TEST(another_is_dialled_when_all_are_more_than_half_full)
{
	struct back *b;

	start(12);
	for (unsigned i = 0; i <= TRUNK_STREAMS / 2; i++) {
		b = caller();
		settle();
		ck_assert(has_place(b));
		ck_assert_int_eq(trunk_wants_another(&w.trunks, b), i == TRUNK_STREAMS / 2);
	}
	ck_assert_int_eq(trunk_dial(&w.trunks, b, w.tenant, 2000), 0);
	ck_assert(!trunk_wants_another(&w.trunks, b));
	settle();
	ck_assert_uint_eq(in_state(TRUNK_OPEN), 2);
	/* The next go where fewer are. */
	b = caller();
	ck_assert(has_place(b));
	ck_assert_uint_ne(b->trunk.slot, w.back[0]->trunk.slot);
	/* One that cannot be had hurts nobody and is not tried again at once. */
	for (unsigned i = 0; i < TRUNK_STREAMS / 2 + 1; i++)
		b = caller();
	ck_assert(trunk_wants_another(&w.trunks, b));
	w.answers = false;
	ck_assert_int_eq(trunk_dial(&w.trunks, b, w.tenant, 2000), 0);
	link_refuse(&w.net, w.far[2].l, -ECONNREFUSED);
	w.far[2].l = NULL;
	settle();
	ck_assert_uint_eq(w.trunks.open, 2);
	ck_assert(!trunk_wants_another(&w.trunks, b));
	pass_ms(TRUNK_AGAIN_MS);
	ck_assert(trunk_wants_another(&w.trunks, b));
	finish();
}
END_TEST

/* Who finds no connection left fails, or waits for those that are there. */
START_TEST(limits_of_connections_hold_for_trunks)
{
	struct back *b[4];

	start(31);
	w.far_limits.streams = 1;
	w.allowed = 2;
	for (unsigned i = 0; i < countof(b); i++) {
		b[i] = caller_at(1);
		b[i]->key.limit = 7;
		ck_assert_int_eq(take(b[i]), -EAGAIN);
		settle();
		act();
		settle();
	}
	ck_assert_uint_eq(w.held, 2);
	ck_assert_uint_eq(w.trunks.open, 2);
	ck_assert(has_place(b[0]) && has_place(b[1]) && b[2]->waits_at && b[3]->waits_at);
	/* The time between two attempts has passed, and still there is none. */
	pass_ms(TRUNK_AGAIN_MS);
	act();
	ck_assert_uint_eq(w.held, 2);
	leave(b[0]);
	settle();
	ck_assert(has_place(b[2]));
	/* With none there is nothing to wait for; what cannot be dialled holds nothing. */
	b[0] = caller_at(9);
	b[0]->key.limit = 7;
	ck_assert_int_eq(take(b[0]), -EDQUOT);
	ck_assert_ptr_null(b[0]->waits_at);
	w.allowed++;
	w.dial_error = -ENETUNREACH;
	ck_assert_int_eq(take(b[0]), -ENETUNREACH);
	ck_assert_uint_eq(w.held, 2);
	w.dial_error = 0;
	finish();
	ck_assert_uint_eq(w.held, 0);
}
END_TEST

START_TEST(tenants_and_addresses_do_not_share_a_trunk)
{
	struct tenant_terms terms = { .slot = 2, .gen = 1, .weight = 1 };
	struct tenant *mine, *other;
	struct back *b;

	start(13);
	mine = w.tenant;
	caller();
	b = caller_at(2);
	(void)take(b);
	other = tenant_take(&w.tenants, &terms);
	w.tenant = other;
	caller();
	w.tenant = mine;
	settle();
	ck_assert_uint_eq(w.n_far, 3);
	tenant_give(&other);
	finish();
}
END_TEST

START_TEST(after_goaway_streams_finish_and_nobody_new_comes)
{
	struct back *a, *b;
	struct h2_stream *f;

	start(14);
	a = caller();
	settle();
	ask(a, true);
	f = asked(0);
	h2_drain(w.far[0].h);
	settle();
	ck_assert_uint_eq(in_state(TRUNK_LEAVING), 1);
	b = caller();
	settle();
	ck_assert_uint_eq(w.n_far, 2);
	ck_assert(has_place(b));
	ck_assert_uint_ne(b->trunk.slot, a->trunk.slot);
	ck_assert_int_eq(h2_respond(f, ok, countof(ok), true), 0);
	settle();
	ck_assert_uint_eq(a->broke, REASON_NONE);
	ck_assert_ptr_nonnull(h2_block(a->stream));
	stream_close(&f->s, false);
	leave(a);
	settle();
	ck_assert_uint_eq(in_state(TRUNK_LEAVING), 0);
	ck_assert_uint_eq(w.trunks.open, 1);
	finish();
}
END_TEST

START_TEST(streams_above_the_last_of_goaway_may_be_sent_elsewhere)
{
	/* SETTINGS; later GOAWAY with last stream 1, which ends nothing below it */
	static const uint8_t settings[] = { 0, 0, 0, 4, 0, 0, 0, 0, 0 };
	static const uint8_t goaway[] = { 0, 0, 8, 7, 0, 0, 0, 0, 0, 0, 0, 0, 1, 0, 0, 0, 0 };
	struct back *a, *b;

	start(15);
	w.answers = false;
	a = caller();
	b = caller();
	link_accept(&w.net, w.far[0].l);
	ck_assert_int_eq(link_give(&w.net, w.far[0].l, settings, sizeof settings), sizeof settings);
	settle();
	ask(a, true);
	ask(b, true);
	settle();
	ck_assert_int_eq(link_give(&w.net, w.far[0].l, goaway, sizeof goaway), sizeof goaway);
	settle();
	ck_assert_uint_eq(a->broke, REASON_NONE);
	ck_assert_uint_eq(b->broke, REASON_BACK_REFUSED_STREAM);
	ck_assert_uint_eq(w.trunks.c[WC_streams_refused], 1);
	/* Then it is cut: the other one ends too, and not as one that was refused. */
	link_leave(&w.net, w.far[0].l);
	w.far[0].l = NULL;
	settle();
	ck_assert_uint_eq(a->broke, REASON_BACK_CUT);
	ck_assert_uint_eq(w.trunks.open, 0);
	leave(a);
	leave(b);
	finish();
}
END_TEST

START_TEST(a_trunk_that_breaks_ends_each_of_its_streams_with_a_reason)
{
	for (int how = 0; how < 2; how++) {
		start(16);
		for (int i = 0; i < 5; i++)
			caller();
		settle();
		for (int i = 0; i < 4; i++)
			ask(w.back[i], false);
		settle();
		if (how)	/* a frame of a kind that may not come there: PUSH_PROMISE on stream 0 */
			link_give(&w.net, w.far[0].l, "\0\0\4\5\4\0\0\0\0\0\0\0\2", 13);
		else
			link_break(&w.net, w.far[0].l);
		if (how == 0)
			w.far[0].l = NULL;
		settle();
		for (int i = 0; i < 4; i++) {
			uint8_t buf[8];

			ck_assert_uint_eq(w.back[i]->broke, how ? REASON_BACK_BAD_H2 : REASON_BACK_CUT);
			ck_assert_int_eq(w.back[i]->leg.s.ops->read(&w.back[i]->leg.s, buf, 8),
					 -ECONNRESET);
		}
		/* Who had no stream yet has sent nothing. */
		ck_assert_int_eq(trunk_request(&w.trunks, w.back[4], get, countof(get), true),
				 -ENOTCONN);
		ck_assert_uint_eq(w.trunks.open, 0);
		for (int i = 0; i < 4; i++)
			leave(w.back[i]);
		finish();
	}
}
END_TEST

START_TEST(idle_ones_are_closed_in_time_and_when_told_to)
{
	struct back *b;

	start(17);
	b = caller();
	settle();
	leave(b);
	settle();
	pass_ms(54000);
	ck_assert_uint_eq(w.trunks.open, 1);
	pass_ms(1200);
	ck_assert_uint_eq(w.trunks.open, 0);

	b = caller();
	settle();
	pass_ms(60000);		/* somebody has a place */
	ck_assert_uint_eq(w.trunks.open, 1);
	ck_assert_uint_eq(trunks_give_back(&w.trunks, any, NULL, 4), 0);
	leave(b);
	settle();
	ck_assert_uint_eq(trunks_give_back(&w.trunks, any, NULL, 4), 1);
	ck_assert_uint_eq(w.trunks.open, 0);

	b = caller();
	settle();
	trunks_drain(&w.trunks);
	ck_assert_uint_eq(w.trunks.open, 1);
	w.keeps = false;
	leave(b);
	settle();
	ck_assert_uint_eq(w.trunks.open, 0);
	finish();
}
END_TEST

START_TEST(old_ones_leave_at_different_times)
{
	unsigned left = 0;

	start(18);
	w.trunks.times.age_ms = 10000;
	w.trunks.times.idle_ms = INT32_MAX;
	for (uint8_t i = 0; i < 20; i++)
		(void)take(caller_at(i));
	settle();
	ck_assert_uint_eq(in_state(TRUNK_OPEN), 20);
	pass_ms(8800);
	ck_assert_uint_eq(in_state(TRUNK_OPEN), 20);
	for (int i = 0; i < 6 && left == 0; i++) {
		w.now_ns += 100 * NS_PER_MS;
		for (int k = 0; k < 10; k++)
			pass();
		left = in_state(TRUNK_LEAVING);
	}
	ck_assert_uint_gt(left, 0);
	ck_assert_uint_lt(left, 20);
	pass_ms(1200);
	ck_assert_uint_eq(in_state(TRUNK_LEAVING), 20);
	leave_all();
	settle();
	ck_assert_uint_eq(w.trunks.open, 0);
	finish();
}
END_TEST

START_TEST(a_silent_endpoint_is_asked_and_given_up)
{
	struct back *b;

	start(19);
	w.trunks.limits.ping_idle_ms = 5000;
	w.trunks.limits.ping_wait_ms = 1000;
	b = caller();
	settle();
	ask(b, true);
	settle();
	for (int i = 0; i < 12; i++)
		pass_ms(1000);
	ck_assert_uint_eq(b->broke, REASON_NONE);	/* it answers */
	h2_free(&w.far[0].h);
	for (int i = 0; i < 8; i++)
		pass_ms(1000);
	ck_assert_uint_eq(b->broke, REASON_BACK_STALLED);
	ck_assert_uint_eq(w.trunks.open, 0);
	leave(b);
	finish();
}
END_TEST

START_TEST(a_short_tenant_reads_nothing_until_there_is_memory)
{
	struct back *b;
	struct h2_stream *f;

	start(20);
	b = caller();
	settle();
	ask(b, true);
	f = asked(0);
	ck_assert_int_eq(h2_respond(f, ok, countof(ok), false), 0);
	settle();
	h2_block_take(b->stream);
	WAKES(b) = 0;
	w.tenant->memory.limit = w.tenant->memory.used + CHUNK_LARGE_BYTES;
	{
		struct iovec v = { w.scratch, 20000 };

		ck_assert_int_gt(f->s.ops->write(&f->s, &v, 1), 0);
	}
	settle();
	ck_assert_uint_eq(b->stream->received, 0);
	w.tenant->memory.limit = 64u << 20;
	settle();
	ck_assert_uint_gt(b->stream->received, 0);
	stream_close(&f->s, false);
	leave(b);
	finish();
}
END_TEST

START_TEST(in_whatever_order_things_happen_nothing_is_left)
{
	start(1000u + (unsigned)_i);
	w.far_limits.streams = 1 + rand_below(20);
	w.trunks.times.age_ms = rand_below(2) ? 1000 : 0;
	w.keeps = rand_below(4) != 0;
	for (int round = 0; round < 60 && w.n_far < FAR_MAX - 16; round++) {
		struct back *b;

		w.dial_error = rand_below(12) ? 0 : -ECONNREFUSED;
		w.answers = rand_below(8) != 0;
		switch (rand_below(7)) {
		case 0: case 1: case 2:
			b = caller_at((uint8_t)rand_below(2));
			(void)take(b);
			if (has_place(b) &&
			    trunk_request(&w.trunks, b, get, countof(get), rand_below(2)) < 0)
				ck_assert(!stream_is_open(&b->leg.s));
			break;
		case 3:
			if (w.n_backs && (b = w.back[rand_below(w.n_backs)]))
				leave(b);
			break;
		case 4:
			if (w.n_far && w.far[rand_below(w.n_far)].h) {
				struct far *f = &w.far[rand_below(w.n_far)];

				if (f->h)
					h2_drain(f->h);
			}
			break;
		case 5:
			if (w.n_far)
				far_leave(&w.far[rand_below(w.n_far)]);
			break;
		case 6:
			pass_ms(rand_below(1500));
			break;
		}
		for (unsigned k = rand_below(20); k; k--)
			pass();
		act();
	}
	w.dial_error = 0;
	w.answers = true;
	pass_ms(2200);
	settle_all();
	/* Nobody waits who need not. */
	for (unsigned i = 0; i < w.n_backs; i++)
		if (w.back[i])
			ck_assert(has_place(w.back[i]) || w.back[i]->trunk_error ||
				  in_state(TRUNK_OPEN) > 0);
	finish();
}
END_TEST

START_TEST(every_state_is_reached_and_every_state_can_end)
{
	bool reached[TRUNK_STATES] = { [TRUNK_DIALLING] = true };

	for (int round = 0; round < TRUNK_STATES; round++)
		for (unsigned s = 1; s < TRUNK_CLOSED; s++)
			for (unsigned e = 0; reached[s] && e < TRUNK_EVENTS; e++)
				reached[trunk_next[s][e]] = true;
	for (unsigned s = 1; s < TRUNK_STATES; s++) {
		ck_assert_msg(reached[s], "%s is never reached", trunk_state_name(s));
		if (s != TRUNK_CLOSED)
			ck_assert_uint_eq(trunk_next[s][TRUNK_EV_BROKEN], TRUNK_CLOSED);
	}
	for (unsigned e = 0; e < TRUNK_EVENTS; e++)
		ck_assert_str_ne(trunk_event_name(e), "?");
}
END_TEST

int main(void)
{
	Suite *s = suite_create("trunk");
	TCase *tc = tcase_create("trunk");
	SRunner *r;
	int failed;

	never_aborts = true;
	tcase_set_timeout(tc, 120);
	tcase_add_test(tc, every_state_is_reached_and_every_state_can_end);
	tcase_add_test(tc, one_who_asks_waits_until_the_endpoint_has_greeted);
	tcase_add_test(tc, an_answer_comes_to_who_asked);
	tcase_add_test(tc, those_who_wait_learn_why_a_trunk_did_not_open);
	tcase_add_test(tc, no_trunk_takes_more_than_the_endpoint_allows);
	tcase_add_test(tc, who_waits_for_room_gets_it_in_order);
	tcase_add_test(tc, another_is_dialled_when_all_are_more_than_half_full);
	tcase_add_test(tc, limits_of_connections_hold_for_trunks);
	tcase_add_test(tc, tenants_and_addresses_do_not_share_a_trunk);
	tcase_add_test(tc, after_goaway_streams_finish_and_nobody_new_comes);
	tcase_add_test(tc, streams_above_the_last_of_goaway_may_be_sent_elsewhere);
	tcase_add_test(tc, a_trunk_that_breaks_ends_each_of_its_streams_with_a_reason);
	tcase_add_test(tc, idle_ones_are_closed_in_time_and_when_told_to);
	tcase_add_test(tc, old_ones_leave_at_different_times);
	tcase_add_test(tc, a_silent_endpoint_is_asked_and_given_up);
	tcase_add_test(tc, a_short_tenant_reads_nothing_until_there_is_memory);
	tcase_add_loop_test(tc, in_whatever_order_things_happen_nothing_is_left, 0, 200);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	if (getenv("CK_FORK") == NULL)
		srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}
