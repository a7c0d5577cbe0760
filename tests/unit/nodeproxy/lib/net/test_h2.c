/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* HTTP/2 sessions: requests, bodies, ends of all kinds, windows and memory; what hostile peers do is
 * in test_h2_guard.c. */
#include "tests/unit/test.h"

#include <errno.h>
#include <sys/mman.h>

#include "nodeproxy/lib/base/rand.h"
#include "tests/lib/h2_rig.h"

static struct h2_rig rig;

#define F(n, v) { (const uint8_t *)(n), (const uint8_t *)(v), sizeof(n) - 1, sizeof(v) - 1, 0 }
static const struct h2_field get[] = { F(":method", "GET"), F(":scheme", "http"), F(":authority", "a"),
				       F(":path", "/"), F("X-One", "1") };
static const struct h2_field post[] = { F(":method", "POST"), F(":scheme", "http"), F(":authority", "a"),
					F(":path", "/p") };
static const struct h2_field ok[] = { F(":status", "200"), F("x-two", "2") };
static const struct h2_field hints[] = { F(":status", "103"), F("link", "</x>") };
static const struct h2_field trailers[] = { F("x-sum", "7") };

static void start(void)
{
	rig_init(&rig);
	ck_assert_ptr_nonnull(rig_start(&rig, RIG_CLIENT));
	ck_assert_ptr_nonnull(rig_start(&rig, RIG_SERVER));
	rig_run(&rig);
}

static struct h2_stream *ask(const struct h2_field *f, size_t n, bool end)
{
	struct h2_stream *st = NULL;

	ck_assert_int_eq(h2_request(rig.h[RIG_CLIENT], f, n, end, &rig.tenant, NULL, &st), 0);
	return st;
}

/* The next stream with news of that side; its news must be these. */
static struct h2_stream *next(int side, unsigned want)
{
	unsigned news = 0;
	struct h2_stream *st = h2_next(rig.h[side], &news);

	ck_assert_ptr_nonnull(st);
	ck_assert_uint_eq(news, want);
	return st;
}

static bool is_quiet(int side)
{
	unsigned news;

	return h2_next(rig.h[side], &news) == NULL;
}

static bool has_line(const struct h2_block *b, const char *name, const char *value)
{
	struct slice n, v;

	for (uint32_t i = 0; h2_block_line(b, i, &n, &v); i++)
		if (slice_eq(n, slice_str(name)) && slice_eq(v, slice_str(value)))
			return true;
	return false;
}

static ssize_t give(struct h2_stream *st, const void *p, size_t n)
{
	struct iovec v = { (void *)(uintptr_t)p, n };

	return st->s.ops->write(&st->s, &v, 1);
}

START_TEST(a_request_and_its_answer_travel)
{
	struct h2_stream *c, *s;
	uint8_t buf[64];

	start();
	c = ask(get, countof(get), true);
	rig_run(&rig);
	s = next(RIG_SERVER, H2_NEWS_BLOCK);
	ck_assert_uint_eq(h2_block(s)->kind, H2_REQUEST);
	ck_assert(h2_block(s)->is_end);
	ck_assert_uint_eq(h2_block(s)->lines, 5);
	ck_assert(has_line(h2_block(s), ":path", "/"));
	ck_assert(has_line(h2_block(s), "x-one", "1"));
	h2_block_take(s);
	ck_assert_ptr_null(h2_block(s));
	ck_assert_int_eq(s->s.ops->read(&s->s, buf, sizeof buf), 0);
	ck_assert_int_eq(h2_interim(s, hints, countof(hints)), 0);
	ck_assert_int_eq(h2_respond(s, ok, countof(ok), false), 0);
	ck_assert_int_eq(h2_respond(s, ok, countof(ok), false), -EPROTO);
	ck_assert_int_eq(give(s, "hello", 5), 5);
	ck_assert_int_eq(h2_trailers(s, trailers, countof(trailers)), 0);
	ck_assert_int_eq(give(s, "more", 4), -EPIPE);
	rig_run(&rig);
	ck_assert_ptr_eq(next(RIG_CLIENT, H2_NEWS_BLOCK | H2_NEWS_DATA | H2_NEWS_CLOSED), c);
	ck_assert_uint_eq(h2_block(c)->kind, H2_INTERIM);
	ck_assert(has_line(h2_block(c), "link", "</x>"));
	h2_block_take(c);
	ck_assert_uint_eq(h2_block(c)->kind, H2_RESPONSE);
	ck_assert(has_line(h2_block(c), "x-two", "2"));
	h2_block_take(c);
	ck_assert_int_eq(c->s.ops->read(&c->s, buf, sizeof buf), 5);
	ck_assert_int_eq(memcmp(buf, "hello", 5), 0);
	ck_assert_int_eq(c->s.ops->read(&c->s, buf, sizeof buf), 0);
	ck_assert_uint_eq(h2_block(c)->kind, H2_TRAILERS);
	ck_assert(has_line(h2_block(c), "x-sum", "7"));
	ck_assert_ptr_eq(next(RIG_SERVER, H2_NEWS_CLOSED), s);
	ck_assert(is_quiet(RIG_SERVER) && is_quiet(RIG_CLIENT));
	ck_assert_uint_eq(h2_streams(rig.h[RIG_CLIENT]), 0);
	ck_assert(!h2_is_idle(rig.h[RIG_CLIENT]));
	stream_close(&c->s, false);
	stream_close(&s->s, false);
	ck_assert(h2_is_idle(rig.h[RIG_CLIENT]) && h2_is_idle(rig.h[RIG_SERVER]));
	rig_fini(&rig);
}
END_TEST

/* ---- bodies ---- */

static uint8_t byte_at(uint32_t seed, size_t i)
{
	return (uint8_t)((i * 2654435761u + seed) >> 13);
}

struct flow {
	struct h2_stream *from, *to;
	size_t sent, got, n;
	uint32_t seed;
	bool finished, ended;
};

/* Moves what can be moved; true: something was. */
static bool pump(struct flow *f, bool reads)
{
	uint8_t buf[30000];
	bool moved = false, wrong = false;
	ssize_t k;

	while (f->sent < f->n) {
		size_t n = min_of(f->n - f->sent, (size_t)rand_below(sizeof buf) + 1);

		for (size_t i = 0; i < n; i++)
			buf[i] = byte_at(f->seed, f->sent + i);
		k = give(f->from, buf, n);
		if (k == -EAGAIN)
			break;
		ck_assert_int_gt(k, 0);
		f->sent += (size_t)k;
		moved = true;
	}
	if (f->sent == f->n && !f->finished) {
		ck_assert_int_eq(f->from->s.ops->finish(&f->from->s), 0);
		f->finished = moved = true;
	}
	while (reads && f->to && !f->ended) {
		k = f->to->s.ops->read(&f->to->s, buf, rand_below(sizeof buf) + 1);
		if (k == -EAGAIN)
			break;
		ck_assert_int_ge(k, 0);
		for (ssize_t i = 0; i < k; i++)
			wrong |= buf[i] != byte_at(f->seed, f->got + (size_t)i);
		ck_assert(!wrong);
		f->got += (size_t)k;
		f->ended = k == 0;
		moved = true;
	}
	return moved;
}

static void two_bodies(uint32_t seed, uint32_t step, uint32_t window, size_t line, size_t bytes)
{
	struct flow up = { .n = bytes, .seed = seed }, down = { .n = bytes / 2 + 1, .seed = seed + 1 };
	unsigned news;

	rand_seed(seed);
	rig_init(&rig);
	for (int i = 0; i < 2; i++) {
		rig.lim[i].window = window;
		rig.lim[i].window_conn = 65535 + window;
		rig.lim[i].window_most = window;
		rig.end[i].step = step;
		rig.line[i].most = line;
		/* These sizes are the test's, not a peer's. */
		rig.lim[i].dribble_rate = 0;
		rig.lim[i].window_updates = 1u << 20;
		ck_assert_ptr_nonnull(rig_start(&rig, i));
	}
	rig_run(&rig);
	up.from = down.to = ask(post, countof(post), false);
	do {
		rig_run(&rig);
		if (up.to == NULL) {
			up.to = down.from = h2_next(rig.h[RIG_SERVER], &news);
			if (up.to)
				ck_assert_int_eq(h2_respond(up.to, ok, countof(ok), false), 0);
		}
	} while (either(pump(&up, true), down.from && pump(&down, true)));
	ck_assert(up.ended && down.ended);
	ck_assert_uint_eq(up.got, up.n);
	ck_assert_uint_eq(down.got, down.n);
	stream_close(&up.from->s, false);
	stream_close(&up.to->s, false);
	ck_assert(h2_is_idle(rig.h[RIG_CLIENT]) && h2_is_idle(rig.h[RIG_SERVER]));
	ck_assert_int_eq(h2_state(rig.h[RIG_CLIENT]), H2_OPEN);
	rig_fini(&rig);
}

START_TEST(bodies_arrive_whole_whatever_the_windows_and_splits)
{
	static const uint32_t windows[] = { 65535, 1, 100, 5000, 1u << 20 };

	for (uint32_t seed = 1; seed <= 40; seed++) {
		uint32_t window = windows[seed % countof(windows)];

		two_bodies(seed, seed % 3 == 0 ? 7 : seed % 3 == 1 ? 3000 : 0, window,
			   seed % 4 == 0 ? 100 : RIG_LINE_BYTES, window == 1 ? 300 : 120000);
	}
}
END_TEST

START_TEST(much_leaves_in_few_writes)
{
	struct flow f = { .n = 60000, .seed = 1 };
	uint64_t writes;

	start();
	f.from = ask(post, countof(post), false);
	pump(&f, false);
	ck_assert(f.finished);
	writes = rig.end[RIG_CLIENT].writes;
	while (h2_write(rig.h[RIG_CLIENT]) == H2_MORE)
		;
	ck_assert_uint_le(rig.end[RIG_CLIENT].writes - writes, 2);
	rig_run(&rig);
	f.to = next(RIG_SERVER, H2_NEWS_BLOCK | H2_NEWS_DATA);
	pump(&f, true);
	ck_assert(f.ended);
	stream_close(&f.to->s, true);
	stream_close(&f.from->s, true);
	rig_run(&rig);
	rig_fini(&rig);
}
END_TEST

START_TEST(one_who_does_not_read_stops_nobody_else)
{
	struct flow stuck[5] = { 0 }, f = { .n = 200000, .seed = 9 };

	start();
	for (size_t i = 0; i < countof(stuck); i++) {
		stuck[i] = (struct flow){ .n = 200000, .seed = (uint32_t)i };
		stuck[i].from = ask(post, countof(post), false);
	}
	do {
		rig_run(&rig);
		for (size_t i = 0; i < countof(stuck); i++)
			pump(&stuck[i], false);
	} while (either(rig_step(&rig, RIG_CLIENT), rig_step(&rig, RIG_SERVER)));
	for (size_t i = 0; i < countof(stuck); i++) {
		stuck[i].to = next(RIG_SERVER, H2_NEWS_BLOCK | H2_NEWS_DATA);
		/* A window full has arrived at most, and no more is taken than the peer may be sent. */
		ck_assert_uint_le(stuck[i].to->in.bytes, 65535);
		ck_assert_uint_lt(stuck[i].sent, 200000);
	}
	f.from = ask(post, countof(post), false);
	rig_run(&rig);
	f.to = next(RIG_SERVER, H2_NEWS_BLOCK);
	do
		rig_run(&rig);
	while (pump(&f, true));
	ck_assert(f.ended);
	for (size_t i = 0; i < countof(stuck); i++) {
		do
			rig_run(&rig);
		while (pump(&stuck[i], true));
		ck_assert(stuck[i].ended);
		stream_close(&stuck[i].from->s, true);
		stream_close(&stuck[i].to->s, true);
	}
	stream_close(&f.from->s, true);
	stream_close(&f.to->s, true);
	rig_run(&rig);
	ck_assert(h2_is_idle(rig.h[RIG_SERVER]));
	rig_fini(&rig);
}
END_TEST

/* More waits on both sides than the line takes, and neither may wait for the other to read first. */
START_TEST(two_who_have_much_to_say_both_read_on)
{
	struct flow up[60] = { 0 }, down[60] = { 0 };
	unsigned n = 0, news;
	bool moved;

	start();
	rig.line[RIG_CLIENT].most = rig.line[RIG_SERVER].most = 900;
	for (size_t i = 0; i < countof(up); i++) {
		up[i] = (struct flow){ .n = 50000, .seed = (uint32_t)i };
		up[i].from = down[i].to = ask(post, countof(post), false);
	}
	do {
		struct h2_stream *st;

		rig_run(&rig);
		moved = false;
		while ((st = h2_next(rig.h[RIG_SERVER], &news))) {
			uint32_t at = ((uint32_t)st->id - 1) / 2;

			if (st->user || at >= countof(up))
				continue;
			st->user = &up[at];
			up[at].to = st;
			down[at] = (struct flow){ .from = st, .to = up[at].from, .n = 50000,
						  .seed = 100 + at };
			ck_assert_int_eq(h2_respond(st, ok, countof(ok), false), 0);
			n++;
			moved = true;
		}
		for (size_t i = 0; i < countof(up); i++) {
			moved |= pump(&up[i], true);
			moved |= down[i].from && pump(&down[i], true);
		}
	} while (moved || either(rig_step(&rig, RIG_CLIENT), rig_step(&rig, RIG_SERVER)));
	ck_assert_uint_eq(n, countof(up));
	for (size_t i = 0; i < countof(up); i++) {
		ck_assert(up[i].ended && down[i].ended);
		stream_close(&up[i].from->s, false);
		stream_close(&up[i].to->s, false);
	}
	rig_fini(&rig);
}
END_TEST

START_TEST(room_is_news_only_to_who_asked_for_it)
{
	struct flow f = { .n = 100000, .seed = 3 };

	start();
	f.from = ask(post, countof(post), false);
	pump(&f, false);
	ck_assert_uint_le(f.sent, 65535);
	rig_run(&rig);
	f.to = next(RIG_SERVER, H2_NEWS_BLOCK | H2_NEWS_DATA);
	/* Sent, so there is room in our queue; the window is closed still. */
	ck_assert_ptr_eq(next(RIG_CLIENT, H2_NEWS_ROOM), f.from);
	ck_assert_int_eq(give(f.from, "x", 1), -EAGAIN);
	ck_assert(is_quiet(RIG_CLIENT));
	h2_body_take(f.to, 40000);
	rig_run(&rig);
	ck_assert_ptr_eq(next(RIG_CLIENT, H2_NEWS_ROOM), f.from);
	ck_assert_int_eq(give(f.from, "x", 1), 1);
	h2_body_take(f.to, 20000);
	rig_run(&rig);
	ck_assert(is_quiet(RIG_CLIENT));
	stream_close(&f.from->s, true);
	stream_close(&f.to->s, true);
	rig_run(&rig);
	rig_fini(&rig);
}
END_TEST

/* ---- tunnels ---- */

static const struct h2_field dial[] = { F(":method", "CONNECT"), F(":authority", "10.0.0.1:80") };
static const struct h2_field socket_[] = { F(":method", "CONNECT"), F(":protocol", "websocket"),
					   F(":scheme", "https"), F(":path", "/c"), F(":authority", "a") };

START_TEST(a_tunnel_carries_bytes_both_ways_and_ends_each_by_itself)
{
	const struct h2_field *const what[] = { dial, socket_ };
	const size_t n[] = { countof(dial), countof(socket_) };

	for (size_t i = 0; i < countof(what); i++) {
		struct h2_stream *c, *s;
		uint8_t buf[8];

		start();
		ck_assert(h2_peer_takes_connect(rig.h[RIG_CLIENT]));
		c = ask(what[i], n[i], false);
		rig_run(&rig);
		s = next(RIG_SERVER, H2_NEWS_BLOCK);
		ck_assert(has_line(h2_block(s), ":method", "CONNECT"));
		ck_assert_int_eq(h2_respond(s, ok, countof(ok), false), 0);
		ck_assert_int_eq(give(c, "up", 2), 2);
		ck_assert_int_eq(give(s, "down", 4), 4);
		ck_assert_int_eq(c->s.ops->finish(&c->s), 0);
		rig_run(&rig);
		ck_assert_int_eq(s->s.ops->read(&s->s, buf, sizeof buf), 2);
		ck_assert_int_eq(s->s.ops->read(&s->s, buf, sizeof buf), 0);
		ck_assert_int_eq(c->s.ops->read(&c->s, buf, sizeof buf), 4);
		ck_assert_int_eq(c->s.ops->read(&c->s, buf, sizeof buf), -EAGAIN);
		ck_assert_int_eq(give(s, "more", 4), 4);
		ck_assert_int_eq(s->s.ops->finish(&s->s), 0);
		rig_run(&rig);
		ck_assert_int_eq(c->s.ops->read(&c->s, buf, sizeof buf), 4);
		ck_assert_int_eq(c->s.ops->read(&c->s, buf, sizeof buf), 0);
		ck_assert(!c->was_reset && !s->was_reset);
		stream_close(&c->s, false);
		stream_close(&s->s, false);
		ck_assert(h2_is_idle(rig.h[RIG_CLIENT]) && h2_is_idle(rig.h[RIG_SERVER]));
		rig_fini(&rig);
	}
}
END_TEST

/* ---- ends ---- */

START_TEST(a_reset_carries_its_code_and_ends_one_stream)
{
	struct h2_stream *c, *c2, *s;
	uint8_t buf[8];

	start();
	c = ask(post, countof(post), false);
	c2 = ask(get, countof(get), true);
	rig_run(&rig);
	s = next(RIG_SERVER, H2_NEWS_BLOCK);
	h2_reset(s, H2_REFUSED_STREAM);
	ck_assert_int_eq(h2_respond(s, ok, countof(ok), true), -ENOTCONN);
	rig_run(&rig);
	ck_assert_ptr_eq(next(RIG_CLIENT, H2_NEWS_RESET), c);
	ck_assert_uint_eq(c->code, H2_REFUSED_STREAM);
	ck_assert_int_eq(c->s.ops->error(&c->s), -ECONNREFUSED);
	ck_assert_int_eq(c->s.ops->read(&c->s, buf, sizeof buf), -ECONNRESET);
	ck_assert_int_eq(give(c, "x", 1), -ECONNRESET);
	stream_close(&c->s, false);
	stream_close(&s->s, false);
	s = next(RIG_SERVER, H2_NEWS_BLOCK);
	stream_close(&c2->s, true);
	rig_run(&rig);
	ck_assert_ptr_eq(next(RIG_SERVER, H2_NEWS_RESET), s);
	ck_assert_uint_eq(s->code, H2_CANCEL);
	stream_close(&s->s, false);
	ck_assert_int_eq(h2_state(rig.h[RIG_SERVER]), H2_OPEN);
	ck_assert(h2_is_idle(rig.h[RIG_CLIENT]) && h2_is_idle(rig.h[RIG_SERVER]));
	rig_fini(&rig);
}
END_TEST

START_TEST(a_reset_takes_back_data_that_waited_for_room)
{
	struct h2_stream *c[2];
	static uint8_t big[3000];

	start();
	rig.lim[RIG_CLIENT].out_bytes = 100;
	for (int i = 0; i < 2; i++) {
		c[i] = ask(post, countof(post), false);
		ck_assert_int_eq(give(c[i], big, sizeof big), sizeof big);
	}
	/* nghttp2 has begun a frame of the second stream, and was told to wait. */
	rig.line[RIG_SERVER].most = 0;
	ck_assert_int_eq(h2_write(rig.h[RIG_CLIENT]), H2_FULL);
	h2_reset(c[0], H2_CANCEL);
	h2_reset(c[1], H2_CANCEL);
	rig.line[RIG_SERVER].most = RIG_LINE_BYTES;
	rig_run(&rig);
	ck_assert_int_eq(h2_state(rig.h[RIG_CLIENT]), H2_OPEN);
	ck_assert_int_eq(h2_state(rig.h[RIG_SERVER]), H2_OPEN);
	for (int i = 0; i < 2; i++)
		stream_close(&c[i]->s, true);
	rig_run(&rig);
	ck_assert(h2_is_idle(rig.h[RIG_CLIENT]) && h2_is_idle(rig.h[RIG_SERVER]));
	rig_fini(&rig);
}
END_TEST

START_TEST(a_stream_its_user_has_closed_still_sends_what_was_written)
{
	struct h2_stream *c, *s;
	static uint8_t big[50000], buf[60000];
	size_t got = 0;
	ssize_t k;

	start();
	c = ask(post, countof(post), false);
	rig_run(&rig);
	s = next(RIG_SERVER, H2_NEWS_BLOCK);
	/* An answer before the request has ended: whole, and then a reset that says NO_ERROR. */
	ck_assert_int_eq(h2_respond(s, ok, countof(ok), false), 0);
	ck_assert_int_eq(give(s, big, sizeof big), sizeof big);
	stream_close(&s->s, false);
	ck_assert_int_eq(give(c, "late", 4), 4);
	rig_run(&rig);
	ck_assert(h2_is_idle(rig.h[RIG_SERVER]));
	next(RIG_CLIENT, H2_NEWS_BLOCK | H2_NEWS_DATA | H2_NEWS_RESET);
	ck_assert_uint_eq(c->code, H2_NO_ERROR);
	while ((k = c->s.ops->read(&c->s, buf, sizeof buf)) > 0)
		got += (size_t)k;
	ck_assert_int_eq(k, 0);
	ck_assert_uint_eq(got, sizeof big);
	stream_close(&c->s, false);
	rig_run(&rig);
	ck_assert(h2_is_idle(rig.h[RIG_CLIENT]));
	rig_fini(&rig);
}
END_TEST

START_TEST(a_request_that_was_taken_back_is_never_seen)
{
	struct h2_stream *c;

	start();
	c = ask(get, countof(get), true);
	while (h2_write(rig.h[RIG_CLIENT]) == H2_MORE)
		;
	stream_close(&c->s, true);
	rig_run(&rig);
	ck_assert(is_quiet(RIG_SERVER));
	ck_assert(h2_is_idle(rig.h[RIG_CLIENT]) && h2_is_idle(rig.h[RIG_SERVER]));
	rig_fini(&rig);
}
END_TEST

/* A reset of a stream that its peer has never seen is an error of the connection to it (RFC 9113
 * section 5.1), which others share. */
START_TEST(a_request_that_never_left_is_not_reset)
{
	struct h2_stream *c[2];
	struct rig_frame f;
	unsigned requests = 0;

	rig_init(&rig);
	rig_start(&rig, RIG_CLIENT);
	rig_frame(&rig, RIG_CLIENT, 4, 0, 0, NULL, 0);
	rig_run(&rig);
	c[0] = ask(get, countof(get), true);
	c[1] = ask(get, countof(get), false);
	stream_close(&c[1]->s, true);
	stream_close(&c[0]->s, true);
	c[0] = ask(get, countof(get), true);
	rig_run(&rig);
	rig.line[RIG_SERVER].at += sizeof "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n" - 1;
	while (rig_next_frame(&rig, RIG_SERVER, &f)) {
		ck_assert_uint_ne(f.type, 3);
		requests += f.type == 1;
	}
	ck_assert_uint_eq(requests, 1);
	stream_close(&c[0]->s, true);
	rig_run(&rig);
	ck_assert(h2_is_idle(rig.h[RIG_CLIENT]));
	rig_fini(&rig);
}
END_TEST

START_TEST(a_drain_loses_no_request_that_was_on_its_way)
{
	struct h2_stream *c, *s, *none;

	start();
	c = ask(get, countof(get), true);
	h2_drain(rig.h[RIG_SERVER]);
	ck_assert_int_eq(h2_state(rig.h[RIG_SERVER]), H2_LEAVING);
	h2_write(rig.h[RIG_SERVER]);
	/* It has said so, and now a request comes that was sent before. */
	h2_write(rig.h[RIG_CLIENT]);
	h2_read(rig.h[RIG_SERVER], rig.scratch, sizeof rig.scratch);
	s = next(RIG_SERVER, H2_NEWS_BLOCK);
	ck_assert(!h2_peer_is_leaving(rig.h[RIG_CLIENT]));
	rig_run(&rig);
	ck_assert(h2_peer_is_leaving(rig.h[RIG_CLIENT]));
	ck_assert_int_eq(h2_state(rig.h[RIG_SERVER]), H2_LAST);
	ck_assert_uint_eq(h2_room(rig.h[RIG_CLIENT]), 0);
	ck_assert_int_eq(h2_request(rig.h[RIG_CLIENT], get, countof(get), true, &rig.tenant, NULL, &none),
			 -ENOTCONN);
	ck_assert_int_eq(h2_respond(s, ok, countof(ok), true), 0);
	rig_run(&rig);
	ck_assert_ptr_eq(next(RIG_CLIENT, H2_NEWS_BLOCK | H2_NEWS_CLOSED), c);
	stream_close(&c->s, false);
	stream_close(&s->s, false);
	ck_assert(h2_is_idle(rig.h[RIG_SERVER]));
	rig_fini(&rig);
}
END_TEST

START_TEST(a_drain_goes_on_without_an_answer_when_it_takes_too_long)
{
	rig_init(&rig);
	rig_start(&rig, RIG_SERVER);
	rig_hello(&rig);
	rig_run(&rig);
	h2_drain(rig.h[RIG_SERVER]);
	rig_run(&rig);
	rig_pass_ms(900);
	h2_tick(rig.h[RIG_SERVER]);
	rig_run(&rig);
	ck_assert_int_eq(h2_state(rig.h[RIG_SERVER]), H2_LEAVING);
	rig_pass_ms(200);
	h2_tick(rig.h[RIG_SERVER]);
	rig_run(&rig);
	ck_assert_int_eq(h2_state(rig.h[RIG_SERVER]), H2_LAST);
	rig_fini(&rig);
}
END_TEST

START_TEST(requests_past_the_last_stream_may_be_sent_again)
{
	struct h2_stream *c[3];
	static const uint8_t goaway[8] = { 0, 0, 0, 3, 0, 0, 0, 0 };

	rig_init(&rig);
	rig_start(&rig, RIG_CLIENT);
	rig_frame(&rig, RIG_CLIENT, 4, 0, 0, NULL, 0);
	for (int i = 0; i < 3; i++)
		c[i] = ask(get, countof(get), true);
	rig_run(&rig);
	rig_frame(&rig, RIG_CLIENT, 7, 0, 0, goaway, sizeof goaway);
	rig_run(&rig);
	ck_assert_ptr_eq(next(RIG_CLIENT, H2_NEWS_RESET), c[2]);
	ck_assert_uint_eq(c[2]->code, H2_REFUSED_STREAM);
	ck_assert(is_quiet(RIG_CLIENT));
	ck_assert(h2_peer_is_leaving(rig.h[RIG_CLIENT]));
	for (int i = 0; i < 3; i++)
		stream_close(&c[i]->s, true);
	rig_run(&rig);
	rig_fini(&rig);
}
END_TEST

/* A session that many share does not end for what a server says too late on one stream of it. */
START_TEST(a_client_takes_no_offence_at_frames_of_streams_that_have_ended)
{
	struct h2_stream *c[3];

	rig_init(&rig);
	rig_start(&rig, RIG_CLIENT);
	rig_frame(&rig, RIG_CLIENT, 4, 0, 0, NULL, 0);
	for (int i = 0; i < 3; i++)
		c[i] = ask(get, countof(get), true);
	rig_run(&rig);
	rig_frame(&rig, RIG_CLIENT, 1, 5, 1, "\210", 1);	/* :status 200, and the end */
	rig_frame(&rig, RIG_CLIENT, 3, 0, 3, "\0\0\0\2", 4);
	for (uint32_t id = 1; id <= 3; id += 2) {
		rig_frame(&rig, RIG_CLIENT, 0, 1, id, "x", 1);
		rig_frame(&rig, RIG_CLIENT, 1, 5, id, "\210", 1);
	}
	rig_run(&rig);
	ck_assert_int_eq(h2_state(rig.h[RIG_CLIENT]), H2_OPEN);
	rig_frame(&rig, RIG_CLIENT, 1, 5, 5, "\210", 1);
	rig_run(&rig);
	ck_assert_int_eq(c[2]->gets, H2_GETS_NOTHING);
	for (int i = 0; i < 3; i++)
		stream_close(&c[i]->s, true);
	rig_run(&rig);
	rig_fini(&rig);
}
END_TEST

START_TEST(a_line_that_ends_between_streams_is_no_offence)
{
	struct h2_stream *c, *s;

	start();
	c = ask(get, countof(get), true);
	rig_run(&rig);
	s = next(RIG_SERVER, H2_NEWS_BLOCK);
	stream_close(&c->s, true);
	stream_close(&s->s, true);
	rig_run(&rig);
	rig.line[0].is_cut = rig.line[1].is_cut = true;
	rig_run(&rig);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(h2_state(rig.h[i]), H2_DEAD);
		ck_assert_int_eq(h2_offence(rig.h[i]), H2_OFFENCE_NONE);
	}
	rig_fini(&rig);
}
END_TEST

START_TEST(a_line_that_is_cut_breaks_every_stream)
{
	struct h2_stream *c, *s;

	start();
	c = ask(post, countof(post), false);
	rig_run(&rig);
	s = next(RIG_SERVER, H2_NEWS_BLOCK);
	rig.line[0].is_cut = rig.line[1].is_cut = true;
	rig_run(&rig);
	for (int i = 0; i < 2; i++) {
		ck_assert_int_eq(h2_state(rig.h[i]), H2_DEAD);
		ck_assert_int_eq(h2_offence(rig.h[i]), H2_OFFENCE_CUT);
	}
	ck_assert_ptr_eq(next(RIG_CLIENT, H2_NEWS_RESET), c);
	ck_assert_ptr_eq(next(RIG_SERVER, H2_NEWS_RESET), s);
	ck_assert_int_eq(h2_respond(s, ok, countof(ok), true), -ENOTCONN);
	/* Streams survive their session. */
	h2_free(&rig.h[RIG_CLIENT]);
	ck_assert_int_eq(give(c, "x", 1), -ECONNRESET);
	ck_assert_int_eq(c->s.ops->finish(&c->s), -ENOTCONN);
	h2_reset(c, H2_CANCEL);
	stream_close(&c->s, true);
	stream_close(&s->s, true);
	rig_fini(&rig);
}
END_TEST

/* ---- life ---- */

START_TEST(a_silent_peer_is_asked_and_then_given_up)
{
	start();
	rig_pass_ms(9000);
	ck_assert_uint_le(h2_tick(rig.h[RIG_SERVER]), 1000);
	ck_assert(!h2_wants_write(rig.h[RIG_SERVER]));
	rig_pass_ms(1100);
	h2_tick(rig.h[RIG_SERVER]);
	ck_assert(h2_wants_write(rig.h[RIG_SERVER]));
	rig_run(&rig);		/* the client answers */
	rig_pass_ms(5000);
	h2_tick(rig.h[RIG_SERVER]);
	ck_assert_int_eq(h2_state(rig.h[RIG_SERVER]), H2_OPEN);
	rig_pass_ms(5100);
	h2_tick(rig.h[RIG_SERVER]);
	h2_write(rig.h[RIG_SERVER]);
	rig_pass_ms(2900);
	h2_tick(rig.h[RIG_SERVER]);
	ck_assert_int_eq(h2_state(rig.h[RIG_SERVER]), H2_OPEN);
	rig_pass_ms(200);
	h2_tick(rig.h[RIG_SERVER]);
	ck_assert_int_eq(h2_state(rig.h[RIG_SERVER]), H2_DYING);
	ck_assert_int_eq(h2_offence(rig.h[RIG_SERVER]), H2_OFFENCE_SILENT);
	rig_run(&rig);
	ck_assert_int_eq(h2_state(rig.h[RIG_SERVER]), H2_DEAD);
	rig_fini(&rig);
}
END_TEST

/* Those that began together are not asked together. */
START_TEST(the_question_whether_a_peer_lives_comes_at_different_times)
{
	int64_t asked[2] = { 0, 0 };

	start();
	rig_pass_ms(8990);
	for (int64_t ms = 8990; ms <= 10000; ms += 10) {
		for (int side = 0; side < 2; side++) {
			h2_tick(rig.h[side]);
			if (asked[side] == 0 && h2_wants_write(rig.h[side]))
				asked[side] = ms;
		}
		rig_pass_ms(10);
	}
	for (int side = 0; side < 2; side++)
		ck_assert(asked[side] > 9000 && asked[side] <= 10000);
	ck_assert_int_gt(asked[0] > asked[1] ? asked[0] - asked[1] : asked[1] - asked[0], 200);
	rig_fini(&rig);
}
END_TEST

START_TEST(windows_grow_to_what_the_path_carries_and_shrink_when_told)
{
	struct flow f = { .n = 3000000, .seed = 5 };
	uint32_t grown;

	start();
	h2_windows(rig.h[RIG_SERVER], 2u << 20);
	f.from = ask(post, countof(post), false);
	rig_run(&rig);
	f.to = next(RIG_SERVER, H2_NEWS_BLOCK);
	ck_assert_uint_eq(h2_window(rig.h[RIG_SERVER]), 65535);
	do {
		/* 10 ms each way. */
		while (either(pump(&f, false), rig_step(&rig, RIG_CLIENT)))
			;
		rig_pass_ms(10);
		while (rig_step(&rig, RIG_SERVER))
			;
		rig_pass_ms(10);
	} while (pump(&f, true) || !f.ended);
	grown = h2_window(rig.h[RIG_SERVER]);
	ck_assert_uint_gt(grown, 250000);
	ck_assert_uint_le(grown, 2u << 20);
	ck_assert_int_ge(h2_rtt_us(rig.h[RIG_SERVER]), 10000);
	h2_windows(rig.h[RIG_SERVER], 100000);
	ck_assert_uint_eq(h2_window(rig.h[RIG_SERVER]), 25000);
	rig_run(&rig);
	stream_close(&f.from->s, true);
	stream_close(&f.to->s, true);
	rig_run(&rig);
	ck_assert_int_eq(h2_state(rig.h[RIG_CLIENT]), H2_OPEN);
	/* What is sent now fits the small windows. */
	f = (struct flow){ .n = 300000, .seed = 6, .from = ask(post, countof(post), false) };
	rig_run(&rig);
	f.to = next(RIG_SERVER, H2_NEWS_BLOCK);
	pump(&f, false);
	rig_run(&rig);
	ck_assert_uint_le(f.to->in.bytes, 25000);
	stream_close(&f.from->s, true);
	stream_close(&f.to->s, true);
	rig_run(&rig);
	rig_fini(&rig);
}
END_TEST

START_TEST(no_more_is_asked_than_the_peer_takes)
{
	struct h2_stream *c[100], *none, *s;

	rig_init(&rig);
	rig.lim[RIG_SERVER].streams = 3;
	rig_start(&rig, RIG_CLIENT);
	rig_start(&rig, RIG_SERVER);
	rig_run(&rig);
	ck_assert_uint_eq(h2_room(rig.h[RIG_CLIENT]), 3);
	for (int i = 0; i < 3; i++)
		c[i] = ask(get, countof(get), true);
	ck_assert_int_eq(h2_request(rig.h[RIG_CLIENT], get, countof(get), true, &rig.tenant, NULL, &none),
			 -EAGAIN);
	rig_run(&rig);
	s = next(RIG_SERVER, H2_NEWS_BLOCK);
	ck_assert_int_eq(h2_respond(s, ok, countof(ok), true), 0);
	stream_close(&s->s, false);
	rig_run(&rig);
	ck_assert_uint_eq(h2_room(rig.h[RIG_CLIENT]), 1);
	for (int i = 0; i < 3; i++)
		stream_close(&c[i]->s, true);
	rig_run(&rig);
	while ((s = h2_next(rig.h[RIG_SERVER], &(unsigned){ 0 })))
		stream_close(&s->s, true);
	rig_fini(&rig);
}
END_TEST

START_TEST(a_step_begins_a_bounded_number_of_requests)
{
	struct h2_stream *c[40], *s;
	unsigned news, n = 0;

	start();
	for (int i = 0; i < 40; i++)
		c[i] = ask(get, countof(get), true);
	while (h2_write(rig.h[RIG_CLIENT]) == H2_MORE)
		;
	for (unsigned want = 16; want <= 48; want += 16) {
		ck_assert_int_eq(h2_read(rig.h[RIG_SERVER], rig.scratch, sizeof rig.scratch),
				 want < 40 ? H2_MORE : H2_DRY);
		while ((s = h2_next(rig.h[RIG_SERVER], &news))) {
			stream_close(&s->s, true);
			n++;
		}
		ck_assert_uint_eq(n, min_of(want, 40u));
	}
	rig_run(&rig);
	for (int i = 0; i < 40; i++)
		stream_close(&c[i]->s, true);
	rig_run(&rig);
	rig_fini(&rig);
}
END_TEST

/* ---- memory ---- */

START_TEST(each_stream_pays_for_its_own)
{
	struct flow f = { .n = 60000, .seed = 5 };
	struct budget poor = { .limit = 20000 };
	struct h2_stream *s, *c2;
	size_t session;

	start();
	session = rig.session[RIG_SERVER].used;
	f.from = ask(post, countof(post), false);
	c2 = ask(post, countof(post), false);
	rig_run(&rig);
	f.to = next(RIG_SERVER, H2_NEWS_BLOCK);
	h2_stream_pays(f.to, &poor);
	pump(&f, false);
	rig_run(&rig);
	s = next(RIG_SERVER, H2_NEWS_BLOCK);
	ck_assert_ptr_eq(next(RIG_SERVER, H2_NEWS_DATA | H2_NEWS_RESET), f.to);
	ck_assert_uint_eq(f.to->offence, H2_OFFENCE_OVER_BUDGET);
	ck_assert_uint_gt(poor.used, 10000);
	ck_assert_int_eq(h2_state(rig.h[RIG_SERVER]), H2_OPEN);
	ck_assert_uint_lt(rig.session[RIG_SERVER].used, session + 30000);
	ck_assert_int_eq(h2_respond(s, ok, countof(ok), true), 0);
	stream_close(&f.to->s, true);
	ck_assert_uint_eq(poor.used, 0);
	stream_close(&s->s, false);
	stream_close(&f.from->s, true);
	stream_close(&c2->s, true);
	rig_run(&rig);
	rig_fini(&rig);
}
END_TEST

START_TEST(a_closed_stream_needs_its_budget_no_more)
{
	struct budget mine = { 0 };
	struct h2_stream *c, *s;
	static uint8_t big[30000];
	uint8_t buf[8];

	start();
	ck_assert_int_eq(h2_request(rig.h[RIG_CLIENT], post, countof(post), false, &mine, NULL, &c), 0);
	ck_assert_int_eq(give(c, big, sizeof big), sizeof big);
	ck_assert_int_eq(h2_trailers(c, trailers, countof(trailers)), 0);
	ck_assert_uint_gt(mine.used, sizeof big);
	/* What is on its way out is not its own either. */
	while (h2_write(rig.h[RIG_CLIENT]) == H2_MORE)
		;
	ck_assert_uint_eq(mine.used, 0);
	rig_run(&rig);
	s = next(RIG_SERVER, H2_NEWS_BLOCK | H2_NEWS_DATA);
	h2_stream_pays(s, &mine);
	ck_assert_int_eq(h2_respond(s, ok, countof(ok), false), 0);
	ck_assert_int_eq(give(s, big, sizeof big), sizeof big);
	ck_assert_int_eq(h2_trailers(s, trailers, countof(trailers)), 0);
	h2_body_take(s, s->in.bytes);
	stream_close(&s->s, false);
	ck_assert_uint_eq(mine.used, 0);
	rig_run(&rig);
	next(RIG_CLIENT, H2_NEWS_BLOCK | H2_NEWS_DATA | H2_NEWS_CLOSED);
	ck_assert_uint_eq(c->received, sizeof big);
	ck_assert_int_eq(c->s.ops->read(&c->s, buf, sizeof buf), sizeof buf);
	stream_close(&c->s, false);
	rig_run(&rig);
	rig_fini(&rig);
}
END_TEST

/* One request with bodies both ways, trailers and a drain; nothing of it need succeed. */
static void whatever(void)
{
	struct h2_stream *c = NULL, *s = NULL, *st;
	static uint8_t big[20000], buf[30000];
	unsigned news;
	int done = 0;

	if (rig_start(&rig, RIG_CLIENT) == NULL || rig_start(&rig, RIG_SERVER) == NULL)
		return;
	rig_run(&rig);
	if (h2_request(rig.h[RIG_CLIENT], post, countof(post), false, &rig.tenant, NULL, &c) == 0) {
		(void)!give(c, big, sizeof big);
		done = h2_trailers(c, trailers, countof(trailers));
		rig_run(&rig);
		s = h2_next(rig.h[RIG_SERVER], &news);
		if (s) {
			h2_block_take(s);
			while (s->s.ops->read(&s->s, buf, sizeof buf) > 0)
				;
			done |= h2_interim(s, hints, countof(hints));
			done |= h2_respond(s, ok, countof(ok), false);
			(void)!give(s, big, sizeof big);
			rig_run(&rig);
			h2_drain(rig.h[RIG_SERVER]);
			stream_close(&s->s, false);
		}
		rig_run(&rig);
		rig_pass_ms(11000);
		h2_tick(rig.h[RIG_CLIENT]);
		h2_tick(rig.h[RIG_SERVER]);
		rig_run(&rig);
		h2_windows(rig.h[RIG_CLIENT], 30000);
		stream_close(&c->s, true);
		rig_run(&rig);
	}
	(void)done;
	for (int i = 0; i < 2; i++)
		while ((st = h2_next(rig.h[i], &news)))
			stream_close(&st->s, true);
}

START_TEST(every_allocation_may_fail)
{
	uint32_t n, dead = 0;

	for (n = 1;; n++) {
		bool done;

		rig_init(&rig);
		rig.stock.fail_after = n;
		whatever();
		done = rig.stock.fail_after > 0;
		dead += rig.stock.offences[H2_OFFENCE_MEMORY] > 0;
		rig_fini(&rig);
		if (done)
			break;
	}
	ck_assert_uint_gt(n, 50);
	ck_assert_uint_gt(dead, 20);
	/* Chunks likewise. */
	for (n = 1;; n++) {
		bool done;

		rig_init(&rig);
		rig.chunks.small.fail_after = n;
		whatever();
		done = rig.chunks.small.fail_after > 0;
		rig_fini(&rig);
		if (done)
			break;
	}
	ck_assert_uint_gt(n, 10);
}
END_TEST

START_TEST(every_budget_is_enough_or_an_end)
{
	for (size_t limit = 1000; limit < 200000; limit += limit / 7) {
		rig_init(&rig);
		rig.session[RIG_CLIENT].limit = rig.session[RIG_SERVER].limit = limit;
		whatever();
		ck_assert_uint_le(rig.session[RIG_SERVER].peak, limit + 4096);
		rig_fini(&rig);
	}
}
END_TEST

/* Of one that has answered: struct h2, nghttp2's session and its tables, and the beginning of the frame
 * buffer.  The rest of that, four more pages, was never touched. */
START_TEST(an_idle_session_touches_three_pages)
{
	const struct slab *slab = &rig.stock.sessions;
	unsigned char in_core[16];
	uint32_t pages = 0;

	start();
	for (int i = 0; i < 50; i++) {
		struct h2_stream *c = ask(get, countof(get), true), *s;

		rig_run(&rig);
		s = next(RIG_SERVER, H2_NEWS_BLOCK);
		ck_assert_int_eq(h2_respond(s, ok, countof(ok), true), 0);
		rig_run(&rig);
		stream_close(&s->s, false);
		stream_close(&c->s, false);
		rig_run(&rig);
	}
	ck_assert_uint_eq(slab->size % 4096, 0);
	ck_assert_uint_le(slab->size / 4096, countof(in_core));
	ck_assert_int_eq(mincore((void *)rig.h[RIG_SERVER], slab->size, in_core), 0);
	for (size_t i = 0; i < slab->size / 4096; i++)
		pages += in_core[i] & 1;
	ck_assert_uint_ge(pages, 2);	/* they do lie there */
	ck_assert_uint_le(pages, 3);
	ck_assert_uint_gt(h2_bytes(rig.h[RIG_SERVER]), 20000);
	rig_fini(&rig);
}
END_TEST

UNIT_TESTS("h2", an_idle_session_touches_three_pages, a_request_and_its_answer_travel,
	   bodies_arrive_whole_whatever_the_windows_and_splits,
	   much_leaves_in_few_writes, one_who_does_not_read_stops_nobody_else,
	   two_who_have_much_to_say_both_read_on, room_is_news_only_to_who_asked_for_it,
	   a_reset_carries_its_code_and_ends_one_stream, a_reset_takes_back_data_that_waited_for_room, a_stream_its_user_has_closed_still_sends_what_was_written,
	   a_request_that_was_taken_back_is_never_seen,
	   a_request_that_never_left_is_not_reset, a_drain_loses_no_request_that_was_on_its_way,
	   a_drain_goes_on_without_an_answer_when_it_takes_too_long,
	   requests_past_the_last_stream_may_be_sent_again,
	   a_client_takes_no_offence_at_frames_of_streams_that_have_ended,
	   a_line_that_ends_between_streams_is_no_offence, a_line_that_is_cut_breaks_every_stream,
	   a_silent_peer_is_asked_and_then_given_up, the_question_whether_a_peer_lives_comes_at_different_times,
	   windows_grow_to_what_the_path_carries_and_shrink_when_told,
	   no_more_is_asked_than_the_peer_takes, a_step_begins_a_bounded_number_of_requests,
	   each_stream_pays_for_its_own, a_closed_stream_needs_its_budget_no_more,
	   a_tunnel_carries_bytes_both_ways_and_ends_each_by_itself, every_allocation_may_fail, every_budget_is_enough_or_an_end)
