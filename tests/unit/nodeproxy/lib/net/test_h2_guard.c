/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What hostile HTTP/2 peers do: each attack ends the connection, or the stream where that is enough,
 * with its own offence, and a decent peer who does the same in moderation is served. */
#include "tests/unit/test.h"

#include "nodeproxy/lib/net/h2_guard.h"
#include "tests/lib/h2_rig.h"

static struct h2_rig rig;

enum { DATA, HEADERS, PRIORITY, RST_STREAM, SETTINGS, PUSH_PROMISE, PING, GOAWAY, WINDOW_UPDATE, CONTINUATION };
enum { ACK = 1, END_STREAM = 1, END_HEADERS = 4, PADDED = 8 };

#define SERVER rig.h[RIG_SERVER]
static uint32_t next_id;

#define F(n, v) { (const uint8_t *)(n), (const uint8_t *)(v), sizeof(n) - 1, sizeof(v) - 1, 0 }
static const struct h2_field ok[] = { F(":status", "200") };

static void start(void)
{
	rig_init(&rig);
	next_id = 1;
}

static void begin_unheard(void)
{
	ck_assert_ptr_nonnull(rig_start(&rig, RIG_SERVER));
	rig_hello(&rig);
	rig_run(&rig);
}

static void begin(void)
{
	begin_unheard();
	rig_frame(&rig, RIG_SERVER, SETTINGS, ACK, 0, NULL, 0);
	rig_run(&rig);
}

/* Answers every request, and closes what has ended. */
static void serve(void)
{
	struct h2_stream *st;
	unsigned news;

	while ((st = h2_next(SERVER, &news))) {
		if (news & H2_NEWS_BLOCK) {
			h2_block_take(st);
			(void)!h2_respond(st, ok, countof(ok), true);
		}
		if (news & H2_NEWS_BLOCK || news & (H2_NEWS_RESET | H2_NEWS_CLOSED))
			stream_close(&st->s, false);
	}
}

/* The last frame that came from it, and of GOAWAY the code. */
static struct rig_frame last;
static uint8_t last_code;

static void run(void)
{
	struct rig_frame f;

	rig_run(&rig);
	serve();
	rig_run(&rig);
	while (rig_next_frame(&rig, RIG_CLIENT, &f)) {
		last = f;
		last_code = f.type == GOAWAY ? f.p[7] : 0;
	}
}

static void drop_all(void)
{
	struct h2_stream *st;
	unsigned news;

	while ((st = h2_next(SERVER, &news)))
		stream_close(&st->s, true);
}

static void end(void)
{
	drop_all();
	rig_fini(&rig);
}

static void put(uint8_t type, uint8_t flags, uint32_t id, const void *p, size_t n)
{
	rig_frame(&rig, RIG_SERVER, type, flags, id, p, n);
}

static uint32_t request(bool whole)
{
	uint32_t id = next_id;

	next_id += 2;
	put(HEADERS, END_HEADERS | (whole ? END_STREAM : 0), id, rig_get, sizeof rig_get);
	return id;
}

static void number(uint8_t out[4], uint32_t v)
{
	out[0] = (uint8_t)(v >> 24);
	out[1] = (uint8_t)(v >> 16);
	out[2] = (uint8_t)(v >> 8);
	out[3] = (uint8_t)v;
}

static void update(uint32_t id, uint32_t by)
{
	uint8_t p[4];

	number(p, by);
	put(WINDOW_UPDATE, 0, id, p, sizeof p);
}

static void reset(uint32_t id)
{
	uint8_t p[4];

	number(p, H2_CANCEL);
	put(RST_STREAM, 0, id, p, sizeof p);
}

static void setting(uint16_t what, uint32_t value, unsigned times)
{
	uint8_t p[6 * 64];

	for (unsigned i = 0; i < times; i++) {
		p[6 * i] = (uint8_t)(what >> 8);
		p[6 * i + 1] = (uint8_t)what;
		number(p + 6 * i + 2, value);
	}
	put(SETTINGS, 0, 0, p, 6 * times);
}

/* ---- one round of each attack; i counts them ---- */

static uint32_t body_id;

static void open_body(void)
{
	body_id = request(false);
}

static void ping(unsigned i)
{
	(void)i;
	put(PING, 0, 0, "12345678", 8);
}

static void settings(unsigned i)
{
	setting(3, 100 + i % 2, 1);
}

static void settings_long(unsigned i)
{
	setting(3, 100, i + 1);
}

static void empty_data(unsigned i)
{
	(void)i;
	put(DATA, 0, body_id, NULL, 0);
}

static void padded_data(unsigned i)
{
	(void)i;
	put(DATA, PADDED, body_id, "\4\0\0\0\0", 5);
}

static void priority(unsigned i)
{
	(void)i;
	put(PRIORITY, 0, 1, "\0\0\0\0\20", 5);
}

static void window_update(unsigned i)
{
	(void)i;
	update(0, 1);
}

static void unknown(unsigned i)
{
	(void)i;
	put(0x42, 0, 0, "x", 1);
}

/* Its answer was whole before it was: it has been reset. */
static void open_answered(void)
{
	open_body();
	run();
	ck_assert_uint_eq(last.type, RST_STREAM);
}

static void late_data(unsigned i)
{
	(void)i;
	put(DATA, 0, body_id, "x", 1);
}

static void closed_reset(unsigned i)
{
	(void)i;
	reset(1);
}

static void rapid_reset(unsigned i)
{
	(void)i;
	reset(request(true));
}

/* As many are kept, so it is never more than half. */
static void slow_reset(unsigned i)
{
	uint32_t id;

	(void)i;
	request(true);
	id = request(true);
	rig_run(&rig);
	reset(id);
	run();
}

static void caused(unsigned i)
{
	(void)i;
	/* ":path" twice: nghttp2 resets the stream. */
	put(HEADERS, END_HEADERS | END_STREAM, next_id, "\202\204\204\206\1\1a", 7);
	next_id += 2;
	run();
}

/* A window of no width on a stream of ours that still has something to say. */
static void caused_by_overflow(unsigned i)
{
	uint32_t id;

	(void)i;
	id = request(true);
	update(id, 0x7fffffff);
	run();
}

static const struct {
	const char *name;
	enum h2_offence offence;
	void (*before)(void);
	void (*round)(unsigned);
	unsigned decent, hostile;	/* rounds */
} floods[] = {
	{ "ping", H2_OFFENCE_PINGS, NULL, ping, 100, 102 },
	{ "settings", H2_OFFENCE_SETTINGS, NULL, settings, 98, 101 },
	{ "settings with many entries", H2_OFFENCE_SETTINGS_LONG, NULL, settings_long, 16, 17 },
	{ "empty data", H2_OFFENCE_EMPTY_FRAMES, open_body, empty_data, 10, 11 },
	{ "data that is padding", H2_OFFENCE_EMPTY_FRAMES, open_body, padded_data, 10, 11 },
	{ "priority", H2_OFFENCE_PRIORITIES, NULL, priority, 100, 101 },
	{ "window updates", H2_OFFENCE_WINDOW_UPDATES, NULL, window_update, 5, 6 },
	{ "unknown frames", H2_OFFENCE_GLITCHES, NULL, unknown, 1000, 1001 },
	{ "data for a stream that was reset", H2_OFFENCE_GLITCHES, open_answered, late_data, 16, 2000 },
	{ "resets of streams that have ended", H2_OFFENCE_GLITCHES, NULL, closed_reset, 0, 2000 },
	{ "rapid reset", H2_OFFENCE_RESETS, NULL, rapid_reset, 400, 501 },
	{ "resets of half the streams", H2_OFFENCE_RESETS, NULL, slow_reset, 900, 1100 },
	{ "streams to be reset", H2_OFFENCE_RESETS_CAUSED, NULL, caused, 100, 101 },
	{ "streams to be reset, by window", H2_OFFENCE_RESETS_CAUSED, NULL, caused_by_overflow, 100, 110 },
};

START_TEST(each_flood_ends_the_connection_and_no_decent_peer)
{
	for (size_t i = 0; i < countof(floods); i++) {
		for (int hostile = 0; hostile < 2; hostile++) {
			unsigned n = hostile ? floods[i].hostile : floods[i].decent;

			start();
			begin();
			if (floods[i].round == closed_reset) {
				request(true);
				run();
			}
			if (floods[i].before)
				floods[i].before();
			for (unsigned k = 0; k < n && h2_state(SERVER) == H2_OPEN; k++) {
				floods[i].round(k);
				if (k % 64 == 63)
					run();
			}
			run();
			if (!hostile) {
				ck_assert_msg(h2_state(SERVER) == H2_OPEN, "%s: a decent peer: %s", floods[i].name,
					      h2_offence_row(h2_offence(SERVER))->name);
				/* And it is served. */
				request(true);
				rig_run(&rig);
				ck_assert_uint_ge(h2_streams(SERVER), 1);
			} else {
				ck_assert_msg(h2_offence(SERVER) == floods[i].offence, "%s: %s", floods[i].name,
					      h2_offence_row(h2_offence(SERVER))->name);
				ck_assert_int_eq(h2_state(SERVER), H2_DEAD);
				ck_assert_uint_eq(last.type, GOAWAY);
				ck_assert_uint_eq(last_code, H2_ENHANCE_YOUR_CALM);
				ck_assert_uint_eq(rig.stock.offences[floods[i].offence], 1);
			}
			end();
		}
	}
}
END_TEST

START_TEST(who_waits_may_do_it_again)
{
	start();
	begin();
	for (int i = 0; i < 10; i++) {
		for (int k = 0; k < 10; k++)
			ping(0);
		run();
		rig_pass_ms(1000);
	}
	for (int i = 0; i < 500; i++) {
		settings((unsigned)i);
		run();
		rig_pass_ms(1100);
	}
	ck_assert_int_eq(h2_state(SERVER), H2_OPEN);
	end();
}
END_TEST

START_TEST(resets_that_cross_answers_are_no_flood)
{
	start();
	begin();
	for (int i = 0; i < 3000; i++) {
		uint32_t id = request(true);

		run();
		reset(id);
	}
	run();
	ck_assert_int_eq(h2_state(SERVER), H2_OPEN);
	end();
}
END_TEST

START_TEST(a_ping_for_each_data_frame_is_measuring_not_flooding)
{
	start();
	begin();
	open_body();
	run();
	for (int i = 0; i < 1000; i++) {
		put(DATA, 0, body_id, "x", 1);
		ping(0);
		run();
	}
	ck_assert_int_eq(h2_state(SERVER), H2_OPEN);
	end();
}
END_TEST

/* ---- header blocks ---- */

START_TEST(a_header_block_in_too_many_pieces_ends_the_connection)
{
	for (unsigned pieces = 8; pieces <= 9; pieces++) {
		start();
		begin();
		put(HEADERS, END_STREAM, 1, rig_get, sizeof rig_get);
		for (unsigned i = 1; i <= pieces; i++)
			put(CONTINUATION, i == pieces ? END_HEADERS : 0, 1, "\0\1x\1y", 5);
		run();
		ck_assert_int_eq(h2_offence(SERVER), pieces == 8 ? H2_OFFENCE_NONE : H2_OFFENCE_CONTINUATIONS);
		end();
	}
}
END_TEST

START_TEST(empty_pieces_of_header_blocks_are_counted)
{
	start();
	rig.lim[RIG_SERVER].continuations = 1000;
	begin();
	put(HEADERS, END_STREAM, 1, rig_get, sizeof rig_get);
	for (unsigned i = 0; i < 11; i++)
		put(CONTINUATION, 0, 1, NULL, 0);
	run();
	ck_assert_int_eq(h2_offence(SERVER), H2_OFFENCE_EMPTY_FRAMES);
	end();
}
END_TEST

/* A literal line of n bytes of value. */
static size_t literal(uint8_t *out, size_t n, bool indexed)
{
	size_t at = 0, left = n - 127;

	out[at++] = indexed ? 0x40 : 0;
	out[at++] = 1;
	out[at++] = 'x';
	out[at++] = 0x7f;
	while (left >= 128) {
		out[at++] = (uint8_t)(left | 128);
		left >>= 7;
	}
	out[at++] = (uint8_t)left;
	memset(out + at, 'v', n);
	return at + n;
}

START_TEST(a_head_over_the_limit_costs_its_stream_only)
{
	static uint8_t p[16384];
	struct h2_stream *st;
	unsigned news;
	size_t n;

	start();
	begin();
	memcpy(p, rig_get, sizeof rig_get);
	n = sizeof rig_get + literal(p + sizeof rig_get, 12000, false);
	put(HEADERS, END_STREAM, 1, p, n);
	for (int i = 0; i < 2; i++) {
		n = literal(p, 12000, false);
		put(CONTINUATION, i == 1 ? END_HEADERS : 0, 1, p, n);
	}
	rig_run(&rig);
	st = h2_next(SERVER, &news);
	ck_assert_ptr_nonnull(st);
	ck_assert(h2_block(st)->is_too_large);
	ck_assert_uint_gt(h2_block(st)->size, 32768);
	ck_assert_uint_eq(rig.stock.offences[H2_OFFENCE_HEAD_TOO_LARGE], 1);
	ck_assert_int_eq(h2_respond(st, ok, countof(ok), true), 0);
	stream_close(&st->s, false);
	run();
	ck_assert_int_eq(h2_state(SERVER), H2_OPEN);
	end();
}
END_TEST

START_TEST(much_out_of_nothing_ends_the_connection)
{
	static uint8_t p[16384];
	size_t n;

	/* 4000 bytes once, then a byte for each repetition. */
	start();
	begin();
	memcpy(p, rig_get, sizeof rig_get);
	n = sizeof rig_get + literal(p + sizeof rig_get, 4000, true);
	memset(p + n, 0xbe, 1000);
	put(HEADERS, END_STREAM | END_HEADERS, 1, p, n + 1000);
	run();
	ck_assert_int_eq(h2_offence(SERVER), H2_OFFENCE_HEADER_BOMB);
	end();
	/* Or plainly too many bytes. */
	start();
	rig.lim[RIG_SERVER].continuations = 1000;
	begin();
	put(HEADERS, END_STREAM, 1, rig_get, sizeof rig_get);
	for (int i = 0; i < 6; i++)
		put(CONTINUATION, 0, 1, p, literal(p, 12000, false));
	run();
	ck_assert_int_eq(h2_offence(SERVER), H2_OFFENCE_HEADER_BOMB);
	end();
}
END_TEST

START_TEST(a_head_must_come_in_time)
{
	start();
	ck_assert_ptr_nonnull(rig_start(&rig, RIG_SERVER));
	rig_bytes(&rig, RIG_SERVER, "PRI * HTTP/2.0\r\n", 16);
	rig_run(&rig);
	rig_pass_ms(9900);
	h2_tick(SERVER);
	ck_assert_int_eq(h2_state(SERVER), H2_OPEN);
	rig_pass_ms(200);
	h2_tick(SERVER);
	ck_assert_int_eq(h2_offence(SERVER), H2_OFFENCE_HEAD_SLOW);
	end();
	start();
	begin();
	rig_pass_ms(60000);
	put(HEADERS, END_STREAM, 1, rig_get, sizeof rig_get);
	for (int i = 0; i < 3; i++) {
		run();
		rig_pass_ms(4000);
		h2_tick(SERVER);
		put(CONTINUATION, 0, 1, "\0\1x\1y", 5);
	}
	ck_assert_int_eq(h2_offence(SERVER), H2_OFFENCE_HEAD_SLOW);
	end();
}
END_TEST

/* ---- messages ---- */

/* Each of these resets stream 1, and stream 3 is answered. */
static const struct {
	const char *name;
	const char *block;
	size_t n;
	bool whole;
	const char *data;	/* with END_STREAM */
} messages[] = {
	{ "no path", "\202\206\1\1a", 5, true, NULL },
	{ "two methods", "\202\202\204\206\1\1a", 7, true, NULL },
	{ "upper case", "\202\204\206\1\1a\0\1X\1y", 11, true, NULL },
	{ "an empty name", "\202\204\206\1\1a\0\0\1y", 10, true, NULL },
	{ "CR in a value", "\202\204\206\1\1a\0\1x\1\r", 11, true, NULL },
	{ "NUL in a value", "\202\204\206\1\1a\0\1x\1\0", 11, true, NULL },
	{ "a blank in the path", "\202\206\1\1a\4\3/ x", 10, true, NULL },
	{ "connection", "\202\204\206\1\1a\0\12connection\1y", 20, true, NULL },
	{ "a late pseudo header", "\202\204\206\0\1x\1y\1\1a", 11, true, NULL },
	{ "a body shorter than its length", "\203\204\206\1\1a\17\15\1" "5", 10, false, "1234" },
	{ "a body longer than its length", "\203\204\206\1\1a\17\15\1" "5", 10, false, "123456" },
	{ "no body but a length", "\203\204\206\1\1a\17\15\1" "5", 10, true, NULL },
};

START_TEST(a_bad_message_costs_its_stream_only)
{
	for (size_t i = 0; i < countof(messages); i++) {
		bool was_reset = false, answered = false;
		struct rig_frame f;

		start();
		begin();
		put(HEADERS, END_HEADERS | (messages[i].whole ? END_STREAM : 0), 1, messages[i].block, messages[i].n);
		rig_run(&rig);
		if (messages[i].data)
			put(DATA, END_STREAM, 1, messages[i].data, strlen(messages[i].data));
		rig_run(&rig);
		put(HEADERS, END_HEADERS | END_STREAM, 3, rig_get, sizeof rig_get);
		rig_run(&rig);
		serve();
		rig_run(&rig);
		while (rig_next_frame(&rig, RIG_CLIENT, &f)) {
			was_reset |= f.type == RST_STREAM && f.id == 1 && f.p[3] == H2_PROTOCOL_ERROR;
			answered |= f.type == HEADERS && f.id == 3;
			ck_assert(!(f.type == HEADERS && f.id == 1) || messages[i].data);
		}
		ck_assert_msg(was_reset && answered, "%s", messages[i].name);
		ck_assert_int_eq(h2_state(SERVER), H2_OPEN);
		ck_assert_uint_ge(rig.stock.offences[H2_OFFENCE_BAD_MESSAGE], 1);
		end();
	}
}
END_TEST

START_TEST(more_than_its_window_costs_a_stream)
{
	static uint8_t p[16384];
	bool was_reset = false;
	struct rig_frame f;

	start();
	begin();
	request(false);
	for (int i = 0; i < 5; i++)
		put(DATA, 0, 1, p, sizeof p);
	rig_run(&rig);
	while (rig_next_frame(&rig, RIG_CLIENT, &f))
		was_reset |= f.type == RST_STREAM && f.id == 1 && f.p[3] == H2_FLOW_CONTROL_ERROR;
	ck_assert(was_reset);
	ck_assert_int_eq(h2_state(SERVER), H2_OPEN);
	end();
}
END_TEST

/* ---- frames ---- */

static void preface_bad(void)
{
	rig_bytes(&rig, RIG_SERVER, "GET / HTTP/1.1\r\nHost: a\r\n\r\n", 27);
}

static void first_not_settings(void)
{
	rig_bytes(&rig, RIG_SERVER, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
	ping(0);
}

static void too_long(void)
{
	static uint8_t p[16385];

	rig_hello(&rig);
	put(DATA, 0, 1, p, sizeof p);
}

static void ping_of_seven(void)
{
	rig_hello(&rig);
	put(PING, 0, 0, "1234567", 7);
}

static void even_id(void)
{
	rig_hello(&rig);
	put(HEADERS, END_HEADERS | END_STREAM, 2, rig_get, sizeof rig_get);
}

static void in_between(void)
{
	rig_hello(&rig);
	put(HEADERS, END_STREAM, 1, rig_get, sizeof rig_get);
	ping(0);
}

static void stray_continuation(void)
{
	rig_hello(&rig);
	put(CONTINUATION, END_HEADERS, 1, rig_get, sizeof rig_get);
}

static void bad_hpack(void)
{
	rig_hello(&rig);
	put(HEADERS, END_HEADERS | END_STREAM, 1, "\377\377\377\377\377\377", 6);
}

static void window_overflow(void)
{
	rig_hello(&rig);
	update(0, 0x7fffffff);
}

/* Every frame comes in one read with what ends the stream: nothing may be judged too early. */
static void data_behind_reset(void)
{
	rig_hello(&rig);
	reset(request(false));
	put(DATA, END_STREAM, 1, "x", 1);
}

static void headers_behind_reset(void)
{
	rig_hello(&rig);
	reset(request(false));
	put(HEADERS, END_HEADERS | END_STREAM, 1, rig_get, sizeof rig_get);
}

static void data_behind_end(void)
{
	rig_hello(&rig);
	request(true);
	run();
	put(DATA, END_STREAM, 1, "x", 1);
}

static void headers_behind_end(void)
{
	rig_hello(&rig);
	request(true);
	run();
	put(HEADERS, END_HEADERS | END_STREAM, 1, rig_get, sizeof rig_get);
}

static void headers_behind_end_long_ago(void)
{
	rig_hello(&rig);
	for (int i = 0; i < 100; i++) {
		request(true);
		run();
	}
	put(HEADERS, END_HEADERS | END_STREAM, 3, rig_get, sizeof rig_get);
}

static void passed_over(void)
{
	rig_hello(&rig);
	put(HEADERS, END_HEADERS | END_STREAM, 5, rig_get, sizeof rig_get);
	put(HEADERS, END_HEADERS | END_STREAM, 3, rig_get, sizeof rig_get);
}

static void priority_of_nothing(void)
{
	rig_hello(&rig);
	put(PRIORITY, 0, 0, "\0\0\0\1\20", 5);
}

static void priority_of_itself(void)
{
	rig_hello(&rig);
	put(PRIORITY, 0, 3, "\200\0\0\3\20", 5);
}

static void priority_of_four(void)
{
	rig_hello(&rig);
	put(PRIORITY, 0, 3, "\0\0\0\1", 4);
}

static void headers_of_itself(void)
{
	rig_hello(&rig);
	put(HEADERS, END_HEADERS | END_STREAM | 32, 3, "\0\0\0\3\20\202\204\206\1\1a", 11);
}

static void push(void)
{
	rig_hello(&rig);
	put(PUSH_PROMISE, END_HEADERS, 1, "\0\0\0\2\202", 5);
}

static const struct {
	const char *name;
	void (*bytes)(void);
	enum h2_offence offence;
} frames[] = {
	{ "HTTP/1", preface_bad, H2_OFFENCE_PREFACE },
	{ "no SETTINGS first", first_not_settings, H2_OFFENCE_PREFACE },
	{ "a frame that is too long", too_long, H2_OFFENCE_FRAME_SIZE },
	{ "PING of seven bytes", ping_of_seven, H2_OFFENCE_FRAME_SIZE },
	{ "a stream with an even id", even_id, H2_OFFENCE_PROTOCOL },
	{ "PING inside a header block", in_between, H2_OFFENCE_PROTOCOL },
	{ "CONTINUATION of nothing", stray_continuation, H2_OFFENCE_PROTOCOL },
	{ "no HPACK", bad_hpack, H2_OFFENCE_COMPRESSION },
	{ "a window past its limit", window_overflow, H2_OFFENCE_FLOW_CONTROL },
	{ "push from a client", push, H2_OFFENCE_PROTOCOL },
	{ "DATA behind a reset", data_behind_reset, H2_OFFENCE_STREAM_CLOSED },
	{ "HEADERS behind a reset", headers_behind_reset, H2_OFFENCE_STREAM_CLOSED },
	{ "DATA behind the end", data_behind_end, H2_OFFENCE_STREAM_CLOSED },
	{ "HEADERS behind the end", headers_behind_end, H2_OFFENCE_STREAM_CLOSED },
	{ "HEADERS behind an end long ago", headers_behind_end_long_ago, H2_OFFENCE_STREAM_CLOSED },
	{ "a stream that was passed over", passed_over, H2_OFFENCE_PROTOCOL },
	{ "PRIORITY of no stream", priority_of_nothing, H2_OFFENCE_PROTOCOL },
	{ "PRIORITY of a stream that depends on itself", priority_of_itself, H2_OFFENCE_PROTOCOL },
	{ "PRIORITY of four bytes", priority_of_four, H2_OFFENCE_FRAME_SIZE },
	{ "HEADERS of a stream that depends on itself", headers_of_itself, H2_OFFENCE_PROTOCOL },
};

START_TEST(frames_that_may_not_come_end_the_connection)
{
	for (size_t i = 0; i < 2 * countof(frames); i++) {
		start();
		/* Whole, and byte by byte. */
		rig.end[RIG_SERVER].step = i % 2;
		ck_assert_ptr_nonnull(rig_start(&rig, RIG_SERVER));
		frames[i / 2].bytes();
		run();
		ck_assert_msg(h2_offence(SERVER) == frames[i / 2].offence, "%s: %s", frames[i / 2].name,
			      h2_offence_row(h2_offence(SERVER))->name);
		ck_assert_uint_eq(last.type, GOAWAY);
		ck_assert_uint_eq(last_code, h2_offence_row(frames[i / 2].offence)->code);
		ck_assert_int_eq(h2_state(SERVER), H2_DEAD);
		end();
	}
}
END_TEST

/* What is on its way when we reset a stream is no offence, however many were reset since. */
START_TEST(frames_in_flight_of_a_stream_we_reset_are_ignored)
{
	enum { N = 3 * H2_RESETS_KNOWN };

	start();
	begin();
	for (int i = 0; i < N; i++) {
		request(false);
		if (i % 8 == 7)
			run();		/* answered, and reset */
	}
	ck_assert_uint_eq(h2_streams(SERVER), 0);
	for (uint32_t id = 1; id < 2 * N; id += 2) {
		put(DATA, 0, id, "x", 1);
		put(HEADERS, END_HEADERS | END_STREAM, id, "\0\1x\1y", 5);
		run();
	}
	ck_assert_int_eq(h2_state(SERVER), H2_OPEN);
	/* Nor of one that nobody has seen: there was no room for it. */
	rig.stock.streams.fail_after = 1;
	put(DATA, 0, request(false), "x", 1);
	run();
	put(DATA, END_STREAM, next_id - 2, "x", 1);
	run();
	ck_assert_int_eq(h2_state(SERVER), H2_OPEN);
	/* A decent one among them is served, and what it sends too late is judged. */
	request(true);
	run();
	ck_assert_uint_eq(last.type, HEADERS);
	put(DATA, END_STREAM, next_id - 2, "x", 1);
	run();
	ck_assert_int_eq(h2_offence(SERVER), H2_OFFENCE_STREAM_CLOSED);
	end();
}
END_TEST

/* Before it has seen our limit a peer may begin more; those are refused, and their bodies come. */
START_TEST(frames_in_flight_of_refused_streams_are_ignored)
{
	start();
	rig.lim[RIG_SERVER].streams = 2;
	begin_unheard();
	for (int i = 0; i < 4; i++)
		request(false);
	reset(1);
	request(false);		/* taken: the highest id by now */
	put(DATA, END_STREAM, 5, "x", 1);
	put(DATA, END_STREAM, 7, "x", 1);
	rig_run(&rig);
	put(DATA, 0, 5, "x", 1);
	rig_run(&rig);
	ck_assert_int_eq(h2_offence(SERVER), H2_OFFENCE_NONE);
	ck_assert_int_eq(h2_state(SERVER), H2_OPEN);
	ck_assert_uint_eq(h2_streams(SERVER), 2);
	end();
}
END_TEST

START_TEST(frames_in_flight_when_we_leave_are_ignored)
{
	start();
	begin();
	request(false);
	rig_run(&rig);
	h2_drain(SERVER);
	rig_run(&rig);
	rig_pass_ms(1100);
	h2_tick(SERVER);
	rig_run(&rig);
	ck_assert_int_eq(h2_state(SERVER), H2_LAST);
	put(DATA, END_STREAM, request(false), "x", 1);
	rig_run(&rig);
	ck_assert_int_eq(h2_state(SERVER), H2_LAST);
	end();
}
END_TEST

START_TEST(more_streams_than_allowed_end_the_connection)
{
	start();
	rig.lim[RIG_SERVER].streams = 10;
	begin_unheard();
	put(SETTINGS, ACK, 0, NULL, 0);
	for (int i = 0; i < 10; i++)
		request(true);
	rig_run(&rig);
	ck_assert_int_eq(h2_state(SERVER), H2_OPEN);
	request(true);
	rig_run(&rig);
	ck_assert_int_eq(h2_offence(SERVER), H2_OFFENCE_STREAMS);
	end();
}
END_TEST

START_TEST(without_room_a_stream_is_refused)
{
	struct rig_frame f;
	bool refused = false;

	start();
	begin();
	rig.stock.streams.fail_after = 1;
	request(true);
	request(true);
	rig_run(&rig);
	while (rig_next_frame(&rig, RIG_CLIENT, &f))
		refused |= f.type == RST_STREAM && f.id == 1 && f.p[3] == H2_REFUSED_STREAM;
	ck_assert(refused);
	ck_assert_uint_eq(h2_streams(SERVER), 1);
	ck_assert_uint_eq(rig.stock.offences[H2_OFFENCE_NO_ROOM], 1);
	ck_assert_int_eq(h2_state(SERVER), H2_OPEN);
	end();
}
END_TEST

/* ---- peers that do not read, or not much ---- */

static struct h2_stream *answer_with(size_t n)
{
	static uint8_t body[60000];
	struct h2_stream *st;
	struct iovec v = { body, n };
	unsigned news;

	rig_run(&rig);
	st = h2_next(SERVER, &news);
	ck_assert_ptr_nonnull(st);
	ck_assert_int_eq(h2_respond(st, ok, countof(ok), false), 0);
	(void)!st->s.ops->write(&st->s, &v, 1);
	return st;
}

START_TEST(a_stream_whose_window_stays_closed_is_reset)
{
	struct h2_stream *st;
	unsigned news;

	start();
	rig.lim[RIG_SERVER].ping_idle_ms = 0;
	begin();
	setting(4, 0, 1);	/* no window at all */
	request(true);
	st = answer_with(1000);
	for (int i = 0; i < 6; i++) {
		rig_pass_ms(9900);
		h2_tick(SERVER);
		run();
		ck_assert_int_eq(st->offence, H2_OFFENCE_NONE);
	}
	rig_pass_ms(1000);
	h2_tick(SERVER);
	rig_run(&rig);
	ck_assert_int_eq(st->offence, H2_OFFENCE_STALLED);
	ck_assert_ptr_eq(h2_next(SERVER, &news), st);
	ck_assert_uint_eq(news, H2_NEWS_RESET);
	ck_assert_int_eq(h2_state(SERVER), H2_OPEN);
	stream_close(&st->s, true);
	end();
}
END_TEST

START_TEST(settings_must_be_acknowledged_in_time)
{
	for (int acked = 0; acked < 2; acked++) {
		start();
		rig.lim[RIG_SERVER].ping_idle_ms = 0;
		if (acked)
			begin();
		else
			begin_unheard();
		ck_assert_int_eq(h2_is_quiet(SERVER), acked);
		rig_pass_ms(9900);
		h2_tick(SERVER);
		ck_assert_int_eq(h2_state(SERVER), H2_OPEN);
		rig_pass_ms(200);
		h2_tick(SERVER);
		run();
		ck_assert_int_eq(h2_offence(SERVER), acked ? H2_OFFENCE_NONE : H2_OFFENCE_SETTINGS_UNHEARD);
		if (!acked)
			ck_assert_uint_eq(last_code, H2_SETTINGS_TIMEOUT);
		end();
	}
}
END_TEST

START_TEST(a_stream_has_the_patience_of_its_user)
{
	static const int64_t patience[] = { 5000, 120000 };

	for (size_t i = 0; i < countof(patience); i++) {
		struct h2_stream *st;

		start();
		rig.lim[RIG_SERVER].ping_idle_ms = 0;
		begin();
		setting(4, 0, 1);
		request(true);
		st = answer_with(1000);
		h2_stream_stalls(st, patience[i]);
		rig_pass_ms(patience[i] - 100);
		h2_tick(SERVER);
		ck_assert_int_eq(st->offence, H2_OFFENCE_NONE);
		rig_pass_ms(200);
		h2_tick(SERVER);
		ck_assert_int_eq(st->offence, H2_OFFENCE_STALLED);
		stream_close(&st->s, true);
		end();
	}
}
END_TEST

START_TEST(a_slow_reader_is_not_a_stalled_one)
{
	struct h2_stream *st;

	start();
	rig.lim[RIG_SERVER].ping_idle_ms = 0;
	begin();
	setting(4, 2000, 1);
	request(true);
	st = answer_with(2000);
	for (int i = 0; i < 20; i++) {
		struct iovec v = { (void *)(uintptr_t)"x", 1 };

		rig_run(&rig);
		while (st->s.ops->write(&st->s, &v, 1) > 0)
			;
		rig_run(&rig);
		rig_pass_ms(50000);
		h2_tick(SERVER);
		update(1, 1500);
		rig_run(&rig);
		ck_assert_int_eq(st->offence, H2_OFFENCE_NONE);
	}
	stream_close(&st->s, true);
	rig_run(&rig);
	end();
}
END_TEST

START_TEST(windows_opened_by_single_bytes_end_the_connection)
{
	struct h2_stream *st;

	start();
	begin();
	setting(4, 1, 1);
	request(true);
	st = answer_with(1);
	for (int i = 0; i < 400 && h2_state(SERVER) == H2_OPEN; i++) {
		struct iovec v = { (void *)(uintptr_t)"xyz", 3 };

		(void)!st->s.ops->write(&st->s, &v, 1);
		update(1, 1);
		rig_run(&rig);
		if (i == 150)
			ck_assert_int_eq(h2_state(SERVER), H2_OPEN);
	}
	ck_assert_int_eq(h2_offence(SERVER), H2_OFFENCE_DRIBBLE);
	stream_close(&st->s, true);
	end();
}
END_TEST

START_TEST(the_rest_of_a_shared_window_is_no_dribble)
{
	struct mono now = { NS_PER_S };
	struct h2_guard g;
	unsigned n = 0;

	/* Streams that share 4 KiB of window: a chunk, and what no chunk fits in. */
	h2_guard_init(&g, &h2_limits_default, true, now);
	for (int i = 0; i < 1000; i++) {
		ck_assert_int_eq(h2_guard_sent(&g, 4056, true, now), H2_OFFENCE_NONE);
		ck_assert_int_eq(h2_guard_sent(&g, 39, true, now), H2_OFFENCE_NONE);
	}
	h2_guard_init(&g, &h2_limits_default, true, now);
	while (h2_guard_sent(&g, 39, true, now) == H2_OFFENCE_NONE)
		n++;
	ck_assert_uint_eq(n, 200);
	/* Small frames are no offence when there is no more to send. */
	ck_assert_int_eq(h2_guard_sent(&g, 39, false, now), H2_OFFENCE_NONE);
}
END_TEST

START_TEST(who_does_not_read_is_not_read_and_then_given_up)
{
	size_t waits, used;

	start();
	/* Nothing but the limit of what waits may be in the way. */
	rig.lim[RIG_SERVER].ping_burst = 1u << 30;
	rig.lim[RIG_SERVER].ping_idle_ms = 0;
	begin();
	rig.line[RIG_CLIENT].most = 0;
	for (int i = 0; i < 5000; i++)
		ping(0);
	rig_run(&rig);
	waits = rig.line[RIG_SERVER].end - rig.line[RIG_SERVER].at;
	used = rig.session[RIG_SERVER].used;
	/* No more was taken in, and nothing is held but a bounded number of answers. */
	for (int i = 0; i < 100; i++)
		rig_run(&rig);
	ck_assert_uint_eq(rig.line[RIG_SERVER].end - rig.line[RIG_SERVER].at, waits);
	ck_assert_uint_lt(used, 200000);
	ck_assert_int_eq(h2_state(SERVER), H2_OPEN);
	rig_pass_ms(59000);
	h2_tick(SERVER);
	ck_assert_int_eq(h2_state(SERVER), H2_OPEN);
	/* Some progress is enough, single bytes are none. */
	rig.line[RIG_CLIENT].most = 1100;
	rig_run(&rig);
	rig_pass_ms(2000);
	h2_tick(SERVER);
	ck_assert_int_eq(h2_state(SERVER), H2_OPEN);
	for (int i = 0; i < 5; i++) {
		rig_pass_ms(11900);
		rig.line[RIG_CLIENT].most++;
		rig_run(&rig);
		h2_tick(SERVER);
	}
	ck_assert_int_eq(h2_state(SERVER), H2_OPEN);
	rig_pass_ms(1000);
	h2_tick(SERVER);
	ck_assert_int_eq(h2_offence(SERVER), H2_OFFENCE_DEAF);
	end();
}
END_TEST

/* ---- the table ---- */

START_TEST(every_offence_has_its_row)
{
	for (int i = 0; i < H2_OFFENCES; i++) {
		const struct h2_offence_row *row = h2_offence_row(i);

		ck_assert_ptr_nonnull(row->name);
		ck_assert_uint_gt(strlen(row->words), 3);
		ck_assert(!row->is_stream || row->code != H2_NO_ERROR);
	}
	ck_assert_str_eq(h2_offence_row(H2_OFFENCE_PINGS)->name, "PINGS");
}
END_TEST

UNIT_TESTS("h2_guard", more_than_its_window_costs_a_stream, each_flood_ends_the_connection_and_no_decent_peer, who_waits_may_do_it_again,
	   resets_that_cross_answers_are_no_flood,
	   a_ping_for_each_data_frame_is_measuring_not_flooding,
	   a_header_block_in_too_many_pieces_ends_the_connection, empty_pieces_of_header_blocks_are_counted,
	   a_head_over_the_limit_costs_its_stream_only, much_out_of_nothing_ends_the_connection,
	   a_head_must_come_in_time, a_bad_message_costs_its_stream_only,
	   frames_that_may_not_come_end_the_connection, frames_in_flight_of_a_stream_we_reset_are_ignored,
	   frames_in_flight_of_refused_streams_are_ignored, frames_in_flight_when_we_leave_are_ignored,
	   more_streams_than_allowed_end_the_connection,
	   without_room_a_stream_is_refused, a_stream_whose_window_stays_closed_is_reset,
	   a_stream_has_the_patience_of_its_user, settings_must_be_acknowledged_in_time,
	   a_slow_reader_is_not_a_stalled_one, windows_opened_by_single_bytes_end_the_connection,
	   the_rest_of_a_shared_window_is_no_dribble, who_does_not_read_is_not_read_and_then_given_up, every_offence_has_its_row)
