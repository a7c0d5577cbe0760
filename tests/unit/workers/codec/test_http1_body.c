/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Bodies: every chunk vector is refused, every legal one decodes to the same bytes however it is
 * split and however few iovecs there are, and what goes out chunked decodes to them again. */
#include "tests/unit/test.h"

#include <stdio.h>

#include "workers/codec/http1.h"

static struct slab blocks;
static struct arena arena;
static uint8_t out[70000];
static size_t out_n;

static void setup(void)
{
	if (blocks.mem == NULL)
		ck_assert_int_eq(slab_init(&blocks, "blocks", sizeof(struct arena_block), 8), 0);
	arena_init(&arena, &blocks, 8);
}

static void collect(const struct iovec *iov, int n)
{
	for (int i = 0; i < n; i++) {
		ck_assert_uint_gt(iov[i].iov_len, 0);
		ck_assert_uint_le(out_n + iov[i].iov_len, sizeof out);
		memcpy(out + out_n, iov[i].iov_base, iov[i].iov_len);
		out_n += iov[i].iov_len;
	}
}

/* Feeds s in pieces of `step` bytes with room for max iovecs; -1: refused, else bytes taken. */
static int64_t feed(struct http1_body *b, struct slice s, size_t step, int max, bool end)
{
	struct iovec iov[64];
	size_t at = 0;

	out_n = 0;
	while (!http1_body_is_done(b)) {
		size_t n = min_of(step, s.n - at), used;
		uint8_t *exact = malloc(n + 1);		/* its own, so that ASan sees a byte too many */
		int r;

		memcpy(exact, s.p + at, n);
		r = http1_body_pass(b, slice_of(exact, n), end && at + n == s.n, &arena, iov, max, &used);
		if (r >= 0) {
			ck_assert_int_le(r, max);
			ck_assert_msg(used == n || r > 0 || http1_body_is_done(b), "no way on");
			collect(iov, r);
		}
		free(exact);
		arena_reset(&arena);
		if (r < 0)
			return -1;
		at += used;
		if (n == 0)
			break;
	}
	return (int64_t)at;
}

static struct http1_body body(enum body_kind kind, uint64_t length, bool encode)
{
	struct head m;
	struct http1_body b;

	memset(&m, 0, offsetof(struct head, h));
	m.body = kind;
	m.length = length;
	http1_body_init(&b, &m, encode);
	return b;
}

static const struct slice bad_chunks[] = {
	/* 1: sizes */
	SLICE("0x5\r\nhello\r\n0\r\n\r\n"),
	SLICE("_5\r\nhello\r\n"),
	SLICE("5_\r\nhello\r\n"),
	SLICE("1_0\r\n"),
	SLICE("+5\r\nhello\r\n"),
	SLICE("-5\r\nhello\r\n"),
	SLICE(" 5\r\nhello\r\n"),
	SLICE("\t5\r\nhello\r\n"),
	SLICE("5 \r\nhello\r\n"),
	SLICE("5\t\r\nhello\r\n"),
	SLICE("5 5\r\nhello\r\n"),
	SLICE("\r\nhello\r\n"),
	SLICE("\r\n"),
	SLICE(";a\r\n"),
	SLICE("5g\r\nhello\r\n"),
	SLICE("g\r\n"),
	SLICE("5,\r\nhello\r\n"),
	SLICE("\"5\"\r\nhello\r\n"),
	SLICE("5.0\r\nhello\r\n"),
	SLICE("5\0\r\nhello\r\n"),
	SLICE("5\xa0\r\nhello\r\n"),
	SLICE("10000000000000000\r\n"),
	SLICE("10000000000000005\r\nhello\r\n"),
	SLICE("fffffffffffffffff\r\n"),
	/* 1: line ends */
	SLICE("5\nhello\r\n0\r\n\r\n"),
	SLICE("5\r\nhello\n0\r\n\r\n"),
	SLICE("5\r\nhello\r0\r\n\r\n"),
	SLICE("5\r\nhelloXX0\r\n\r\n"),
	SLICE("5\r\nhello\rX0\r\n\r\n"),
	SLICE("5\r\nhello \r\n0\r\n\r\n"),
	SLICE("5\rXhello\r\n"),
	SLICE("5\r\rhello\r\n"),
	SLICE("5\r hello\r\n"),
	SLICE("5\r\nhello\r\n\r\n0\r\n\r\n"),
	SLICE("5\r\nhello\r\n0\n\r\n"),
	SLICE("5\r\nhello\r\n0\r\n\n"),
	SLICE("5\r\nhello\r\n0\r\n\rX"),
	SLICE("5\r\nhello\r\n0\r\n\r\r\n"),
	SLICE("0\r\rX"),
	SLICE("5\r\nhelloworld\r\n0\r\n\r\n"),
	SLICE("5\r\nhel\r\n0\r\n\r\n"),
	/* 1: extensions */
	SLICE("5;\r\nhello\r\n"),
	SLICE("5;;a\r\nhello\r\n"),
	SLICE("5;a=\r\nhello\r\n"),
	SLICE("5;=b\r\nhello\r\n"),
	SLICE("5;a=b=c\r\nhello\r\n"),
	SLICE("5;a b\r\nhello\r\n"),
	SLICE("5;a=b c\r\nhello\r\n"),
	SLICE("5;a \r\nhello\r\n"),
	SLICE("5;a=b \r\nhello\r\n"),
	SLICE("5 ;a=\"b\" \r\nhello\r\n"),
	SLICE("5;a=\"b\r\nhello\r\n"),
	SLICE("5;a=\"b\\\r\n\"\r\nhello\r\n"),
	SLICE("5;a=\"b\"c\r\nhello\r\n"),
	SLICE("5;a\rb\r\nhello\r\n"),
	SLICE("5;a\nb\r\nhello\r\n"),
	SLICE("5;a\n"),
	SLICE("5;a=\"\r\"\r\nhello\r\n"),
	SLICE("5;a=\"\n\"\r\nhello\r\n"),
	SLICE("5;a=\"\0\"\r\nhello\r\n"),
	SLICE("5;\x80\r\nhello\r\n"),
	SLICE("5;a=\x80\r\nhello\r\n"),
	SLICE("5;a/b\r\nhello\r\n"),
	/* trailers: the same grammar as in heads */
	SLICE("0\r\nX : y\r\n\r\n"),
	SLICE("0\r\n X: y\r\n\r\n"),
	SLICE("0\r\nX\r\n\r\n"),
	SLICE("0\r\n: y\r\n\r\n"),
	SLICE("0\r\nX: y\n\r\n"),
	SLICE("0\r\nX: y\r\n z\r\n\r\n"),
	SLICE("0\r\nX: y\rz\r\n\r\n"),
	SLICE("0\r\nX: \0\r\n\r\n"),
	SLICE("0\r\nX\x80: y\r\n\r\n"),
	SLICE("0\r\nX: y\r\n\rX"),
	SLICE("0\r\nGET / HTTP/1.1\r\nHost: a\r\n\r\n"),
	SLICE("0\r\nxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx: y\r\n\r\n"),
};

START_TEST(every_chunk_vector_is_refused_however_it_is_split)
{
	setup();
	for (size_t i = 0; i < countof(bad_chunks); i++)
		for (size_t step = 1; step <= bad_chunks[i].n; step++)
			for (int encode = 0; encode < 2; encode++) {
				struct http1_body b = body(BODY_CHUNKED, 0, encode);

				ck_assert_msg(feed(&b, bad_chunks[i], step, 64, false) < 0,
					      "row %zu step %zu: %.*s", i, step, (int)bad_chunks[i].n,
					      (const char *)bad_chunks[i].p);
				ck_assert_int_eq(b.state, BODY_BAD);
			}
	arena_fini(&arena);
}
END_TEST

static const struct {
	struct slice in;		/* of which the body is all but the last byte, 'N' */
	const char *data, *trailers;
} good_chunks[] = {
	{ SLICE("0\r\n\r\nN"), "", "" },
	{ SLICE("5\r\nhello\r\n0\r\n\r\nN"), "hello", "" },
	{ SLICE("00000000000000000000005\r\nhello\r\n000\r\n\r\nN"), "hello", "" },
	{ SLICE("a\r\n0123456789\r\nB\r\nabcdefghijk\r\n0\r\n\r\nN"), "0123456789abcdefghijk", "" },
	{ SLICE("1\r\na\r\n1\r\nb\r\n1\r\nc\r\n1\r\nd\r\n1\r\ne\r\n1\r\nf\r\n1\r\ng\r\n1\r\nh\r\n0\r\n\r\nN"), "abcdefgh", "" },
	{ SLICE("5;a\r\nhello\r\n0;b\r\n\r\nN"), "hello", "" },
	{ SLICE("5;a=b;c\r\nhello\r\n0\r\n\r\nN"), "hello", "" },
	{ SLICE("5 \t; a = b ; c\r\nhello\r\n0\r\n\r\nN"), "hello", "" },
	{ SLICE("5;a=\"b;\\\"\\\\ \t\x80\";c=\"\"\r\nhello\r\n0\r\n\r\nN"), "hello", "" },
	{ SLICE("5;a=\"b\" ;c\r\nhello\r\n0\r\n\r\nN"), "hello", "" },
	{ SLICE("2\r\n\r\n\r\n0\r\n\r\nN"), "\r\n", "" },
	{ SLICE("5\r\nhello\r\n0\r\nX: y\r\n\r\nN"), "hello", "X: y\r\n" },
	{ SLICE("5\r\nhello\r\n0\r\nX:y\r\nZz:  a\tb \x80 \r\nE:\r\n\r\nN"), "hello", "X:y\r\nZz:  a\tb \x80 \r\nE:\r\n" },
	{ SLICE("1\r\nx\r\n0\r\nContent-Length: 5\r\nA: b\r\nTransfer-Encoding: chunked\r\nHost: c\r\nConnection: close\r\n\r\nN"),
	  "x", "A: b\r\n" },
};

START_TEST(legal_chunks_decode_to_the_same_bytes_however_they_are_split)
{
	setup();
	for (size_t i = 0; i < countof(good_chunks); i++) {
		struct slice in = good_chunks[i].in;
		size_t want = strlen(good_chunks[i].data);

		for (size_t step = 1; step <= in.n; step++) {
			for (int max = HTTP1_BODY_IOVS; max <= 64; max *= 2) {
				struct http1_body b = body(BODY_CHUNKED, 0, false);

				ck_assert_msg(feed(&b, in, step, max, false) == (int64_t)in.n - 1,
					      "row %zu step %zu", i, step);
				ck_assert_int_eq(b.state, BODY_DONE);
				ck_assert_uint_eq(out_n, want);
				ck_assert_mem_eq(out, good_chunks[i].data, want);
				ck_assert_uint_eq(b.passed, want);
			}
		}
	}
	arena_fini(&arena);
}
END_TEST

START_TEST(what_goes_out_chunked_decodes_to_the_same_bytes_and_trailers)
{
	static uint8_t again[70000];

	setup();
	for (size_t i = 0; i < countof(good_chunks); i++) {
		struct slice in = good_chunks[i].in;
		size_t want = strlen(good_chunks[i].data), trailers = strlen(good_chunks[i].trailers);

		for (size_t step = 1; step <= in.n; step++) {
			for (int max = HTTP1_BODY_IOVS; max <= 64; max *= 2) {
				struct http1_body b = body(BODY_CHUNKED, 0, true);
				size_t n;

				ck_assert_int_eq(feed(&b, in, step, max, false), (int64_t)in.n - 1);
				n = out_n;
				memcpy(again, out, n);
				ck_assert_uint_ge(n, trailers + 5);
				ck_assert_mem_eq(again + n - 2, "\r\n", 2);
				ck_assert_mem_eq(again + n - 2 - trailers, good_chunks[i].trailers, trailers);
				ck_assert_mem_eq(again + n - 2 - trailers - 3, "0\r\n", 3);
				b = body(BODY_CHUNKED, 0, false);
				ck_assert_int_eq(feed(&b, slice_of(again, n), n, 64, false), (int64_t)n);
				ck_assert_int_eq(b.state, BODY_DONE);
				ck_assert_uint_eq(out_n, want);
				ck_assert_mem_eq(out, good_chunks[i].data, want);
			}
		}
	}
	arena_fini(&arena);
}
END_TEST

START_TEST(many_chunks_leave_as_one)
{
	struct http1_body b = body(BODY_CHUNKED, 0, true);

	setup();
	ck_assert_int_eq(feed(&b, SLICE("1\r\na\r\n2;x\r\nbc\r\n0\r\n\r\n"), 100, 64, false), 20);
	ck_assert_uint_eq(out_n, 13);
	ck_assert_mem_eq(out, "3\r\nabc\r\n0\r\n\r\n", 13);
	arena_fini(&arena);
}
END_TEST

START_TEST(lines_of_a_chunked_body_are_bounded)
{
	static uint8_t big[20000];
	struct http1_body b = body(BODY_CHUNKED, 0, true);

	setup();
	memset(big, 'a', sizeof big);
	memcpy(big, "5;", 2);
	memcpy(big + 4094, "\r\n", 2);
	ck_assert_int_eq(feed(&b, slice_of(big, 4096), 999, 64, false), 4096);
	b = body(BODY_CHUNKED, 0, true);
	memcpy(big + 4094, "a\r\n", 3);
	ck_assert_int_eq(feed(&b, slice_of(big, 4097), 999, 64, false), -1);
	b = body(BODY_CHUNKED, 0, true);
	memset(big, '0', sizeof big);
	ck_assert_int_eq(feed(&b, slice_of(big, sizeof big), 999, 64, false), -1);
	for (size_t step = 1; step <= sizeof big; step += 1111) {
		memset(big, 'a', sizeof big);
		memcpy(big, "0\r\nX: ", 6);
		b = body(BODY_CHUNKED, 0, true);
		ck_assert_int_eq(feed(&b, slice_of(big, sizeof big), step, 64, false), -1);
		for (size_t i = 3; i + 6 <= sizeof big; i += 6)
			memcpy(big + i, "a: b\r\n", 6);
		b = body(BODY_CHUNKED, 0, true);
		ck_assert_int_eq(feed(&b, slice_of(big, sizeof big), step, 64, false), -1);
	}
	arena_fini(&arena);
}
END_TEST

START_TEST(a_length_ends_exactly_there)
{
	struct http1_body b = body(BODY_LENGTH, 5, false);

	setup();
	ck_assert_uint_eq(http1_body_blind(&b), 5);
	ck_assert_int_eq(feed(&b, SLICE("helloNEXT"), 100, 8, false), 5);
	ck_assert(http1_body_is_done(&b));
	ck_assert_uint_eq(out_n, 5);
	ck_assert_uint_eq(b.passed, 5);
	ck_assert_uint_eq(http1_body_blind(&b), 0);
	b = body(BODY_LENGTH, 5, false);
	ck_assert_int_eq(feed(&b, SLICE("hel"), 100, 8, true), 3);
	ck_assert(!http1_body_is_done(&b));	/* a cut, and the caller sees it */
	ck_assert_uint_eq(http1_body_blind(&b), 2);
	http1_body_moved(&b, 2);
	ck_assert(http1_body_is_done(&b));
	b = body(BODY_LENGTH, 0, false);
	ck_assert(http1_body_is_done(&b));
	b = body(BODY_NONE, 0, false);
	ck_assert(http1_body_is_done(&b));
	b = body(BODY_LENGTH, 5, true);
	ck_assert_int_eq(feed(&b, SLICE("helloNEXT"), 100, 8, false), 5);
	ck_assert_uint_eq(out_n, 15);
	ck_assert_mem_eq(out, "5\r\nhello\r\n0\r\n\r\n", 15);
	arena_fini(&arena);
}
END_TEST

START_TEST(a_length_in_a_stream_ends_with_the_stream)
{
	struct http1_body b = body(BODY_LENGTH, 5, false);

	setup();
	b.ends_apart = true;
	ck_assert_int_eq(feed(&b, SLICE("hello"), 100, 8, false), 5);
	ck_assert(!http1_body_is_done(&b));
	ck_assert_uint_eq(http1_body_blind(&b), 0);
	ck_assert_int_eq(feed(&b, SLICE(""), 100, 8, true), 0);
	ck_assert(http1_body_is_done(&b));
	ck_assert_uint_eq(b.passed, 5);
	b = body(BODY_LENGTH, 5, false);
	b.ends_apart = true;
	ck_assert_int_eq(feed(&b, SLICE("hell"), 100, 8, true), 4);
	ck_assert(!http1_body_is_done(&b));	/* a cut */
	ck_assert_int_eq(feed(&b, SLICE("oh"), 100, 8, false), -1);
	arena_fini(&arena);
}
END_TEST

START_TEST(until_close_ends_when_its_sender_does)
{
	struct http1_body b = body(BODY_UNTIL_CLOSE, 0, false);

	setup();
	ck_assert_uint_eq(http1_body_blind(&b), UINT64_MAX);
	ck_assert_int_eq(feed(&b, SLICE("hello"), 2, 8, false), 5);
	ck_assert(!http1_body_is_done(&b));
	ck_assert_int_eq(feed(&b, SLICE(" you"), 2, 8, true), 4);
	ck_assert(http1_body_is_done(&b));
	ck_assert_uint_eq(b.passed, 9);
	b = body(BODY_UNTIL_CLOSE, 0, true);
	ck_assert_uint_eq(http1_body_blind(&b), 0);
	ck_assert_int_eq(feed(&b, SLICE("hello"), 100, 8, false), 5);
	ck_assert_uint_eq(out_n, 10);
	ck_assert_int_eq(feed(&b, SLICE(""), 100, 8, true), 0);
	ck_assert(http1_body_is_done(&b));
	ck_assert_uint_eq(out_n, 5);
	ck_assert_mem_eq(out, "0\r\n\r\n", 5);
	arena_fini(&arena);
}
END_TEST

START_TEST(sizes_are_written_as_they_are)
{
	static const size_t sizes[] = { 1, 9, 10, 15, 16, 17, 255, 256, 4095, 4096, 65535 };
	static uint8_t big[65535];

	setup();
	for (size_t i = 0; i < countof(sizes); i++) {
		struct http1_body b = body(BODY_UNTIL_CLOSE, 0, true);
		char want[32];

		ck_assert_int_eq(feed(&b, slice_of(big, sizes[i]), sizes[i], 8, false), (int64_t)sizes[i]);
		snprintf(want, sizeof want, "%zx\r\n", sizes[i]);
		ck_assert_mem_eq(out, want, strlen(want));
		ck_assert_uint_eq(out_n, strlen(want) + sizes[i] + 2);
	}
	arena_fini(&arena);
}
END_TEST

UNIT_TESTS("http1_body", every_chunk_vector_is_refused_however_it_is_split,
	   legal_chunks_decode_to_the_same_bytes_however_they_are_split,
	   what_goes_out_chunked_decodes_to_the_same_bytes_and_trailers, many_chunks_leave_as_one,
	   lines_of_a_chunked_body_are_bounded, a_length_ends_exactly_there,
	   a_length_in_a_stream_ends_with_the_stream,
	   until_close_ends_when_its_sender_does, sizes_are_written_as_they_are)
