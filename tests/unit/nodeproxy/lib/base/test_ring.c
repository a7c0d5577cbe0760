/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The ring between two processes that do not trust each other. */
#include "tests/unit/test.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/base/ring.h"

#define BYTES 4096

static _Alignas(64) uint8_t mem[RING_BYTES(BYTES)];
static struct ring_shared *const sh = (struct ring_shared *)mem;
static uint8_t out[RING_RECORD_MAX];

static bool put(struct ring *w, enum ring_kind kind, const void *p, size_t n)
{
	uint8_t *to = ring_reserve(w, n);

	if (to == NULL)
		return false;
	memcpy(to, p, n);
	ring_commit(w, kind, n);
	return true;
}

static void both(struct ring *w, struct ring *r)
{
	ring_format(sh, BYTES);
	ck_assert_int_eq(ring_open_writer(w, sh, sizeof mem), 0);
	ck_assert_int_eq(ring_open_reader(r, sh, sizeof mem), 0);
}

START_TEST(records_come_out_in_order_and_whole)
{
	struct ring w, r;
	uint32_t in = 0, got = 0;

	both(&w, &r);
	rand_seed(3);
	while (got < 8000) {
		uint8_t rec[300];
		size_t n = 4 + rand_below(290);
		enum ring_kind kind;

		memset(rec, (int)(in & 0xff), sizeof rec);
		memcpy(rec, &in, 4);
		if (rand_below(2) && put(&w, in % 2 ? RING_ACCESS : RING_EVENT, rec, n))
			in++;
		if (rand_below(2) && ring_take(&r, &kind, out, &n)) {
			uint32_t k;

			memcpy(&k, out, 4);
			ck_assert_uint_eq(k, got);
			ck_assert_int_eq(kind, got % 2 ? RING_ACCESS : RING_EVENT);
			for (size_t i = 4; i < n; i++)
				ck_assert_uint_eq(out[i], got & 0xff);
			got++;
		}
	}
	ck_assert_uint_eq(r.nonsense, 0);
}
END_TEST

START_TEST(a_full_ring_drops_and_counts_and_goes_on)
{
	struct ring w, r;
	enum ring_kind kind;
	size_t n;
	unsigned held = 0;

	both(&w, &r);
	while (put(&w, RING_ACCESS, "0123456789", 10))
		held++;
	ck_assert_uint_eq(held, BYTES / 16);
	ck_assert(!put(&w, RING_ACCESS, "x", 1));
	ck_assert_uint_eq(ring_dropped(&r), 2);
	for (unsigned i = 0; i < held; i++)
		ck_assert(ring_take(&r, &kind, out, &n));
	ck_assert(!ring_take(&r, &kind, out, &n));
	ck_assert(put(&w, RING_ACCESS, "after", 5));
	ck_assert(ring_take(&r, &kind, out, &n));
	ck_assert_uint_eq(n, 5);
}
END_TEST

START_TEST(a_new_reader_goes_on_where_the_old_one_stopped)
{
	struct ring w, r, r2;
	enum ring_kind kind;
	size_t n;

	both(&w, &r);
	ck_assert(put(&w, RING_ACCESS, "one", 3));
	ck_assert(put(&w, RING_ACCESS, "two", 3));
	ck_assert(ring_take(&r, &kind, out, &n));
	ck_assert_int_eq(ring_open_reader(&r2, sh, sizeof mem), 0);
	ck_assert(ring_take(&r2, &kind, out, &n));
	ck_assert_mem_eq(out, "two", 3);
}
END_TEST

START_TEST(a_new_writer_keeps_what_was_not_read)
{
	struct ring w, w2, r;
	enum ring_kind kind;
	size_t n;

	both(&w, &r);
	ck_assert(put(&w, RING_ACCESS, "one", 3));
	ck_assert_int_eq(ring_open_writer(&w2, sh, sizeof mem), 0);
	ck_assert(put(&w2, RING_ACCESS, "two", 3));
	ck_assert(ring_take(&r, &kind, out, &n));
	ck_assert_mem_eq(out, "one", 3);
	ck_assert(ring_take(&r, &kind, out, &n));
	ck_assert_mem_eq(out, "two", 3);
}
END_TEST

START_TEST(a_hostile_writer_never_leads_the_reader_astray)
{
	static const uint8_t noise[200] = "\x01\x02\xff";
	struct ring w, r;

	rand_seed(9);
	for (int round = 0; round < 4000; round++) {
		enum ring_kind kind;
		size_t n;

		both(&w, &r);
		for (int i = rand_below(6); i > 0; i--)
			put(&w, RING_ACCESS, noise, rand_below(200));
		for (int i = rand_below(8); i > 0; i--)
			sh->data[rand_below(BYTES)] = (uint8_t)rand_u32();
		if (rand_below(3) == 0)
			sh->head = rand_below(2) ? rand_u64() : rand_below(3 * BYTES);
		if (rand_below(3) == 0)
			sh->bytes = rand_u32();	/* the reader keeps its own copy */
		for (int i = 0; i < 50 && ring_take(&r, &kind, out, &n); i++)
			ck_assert_uint_le(n, RING_RECORD_MAX);
	}
}
END_TEST

START_TEST(a_hostile_reader_never_leads_the_writer_astray)
{
	struct ring w, r;

	rand_seed(10);
	both(&w, &r);
	for (int i = 0; i < 20000; i++) {
		uint8_t *to;

		if (rand_below(4) == 0)
			sh->tail = rand_below(2) ? rand_u64() : w.cursor - rand_below(2 * BYTES);
		to = ring_reserve(&w, 100);
		if (to) {
			ck_assert(to >= sh->data && to + 100 <= sh->data + BYTES);
			memset(to, 0, 100);
			ring_commit(&w, RING_ACCESS, 100);
		}
	}
}
END_TEST

START_TEST(memory_that_is_no_ring_is_refused)
{
	struct ring r;

	ring_format(sh, BYTES);
	ck_assert_int_eq(ring_open_reader(&r, sh, sizeof mem - 1), -EBADMSG);
	sh->bytes = 5000;
	ck_assert_int_eq(ring_open_reader(&r, sh, sizeof mem), -EBADMSG);
	sh->magic = 0;
	ck_assert_int_eq(ring_open_writer(&r, sh, sizeof mem), -EBADMSG);
}
END_TEST

/* Bytes of memory that the kernel holds for it. */
static size_t made(struct fd fd)
{
	struct stat st;

	ck_assert_int_eq(fstat(fd.v, &st), 0);
	return (size_t)st.st_blocks * 512;
}

START_TEST(a_ring_at_rest_costs_its_header_only)
{
	enum { DATA = 1 << 20 };
	struct ring w, r;
	enum ring_kind kind;
	struct fd fd;
	size_t n, full;
	void *p;

	ck_assert_int_eq(memfd_shared("t", RING_BYTES(DATA), &fd), 0);
	ck_assert_int_eq(memfd_map_shared(fd, RING_BYTES(DATA), true, &p), 0);
	ring_format(p, DATA);
	ck_assert_int_eq(ring_open_writer(&w, p, RING_BYTES(DATA)), 0);
	ck_assert_int_eq(ring_open_reader(&r, p, RING_BYTES(DATA)), 0);
	for (int i = 0; i < 20000; i++) {
		ck_assert(put(&w, RING_ACCESS, "0123456789012345678901234567890123456789", 40));
		if (i < 19999)
			ck_assert(ring_take(&r, &kind, out, &n));
	}
	full = made(fd);
	ck_assert_uint_ge(full, 800000);
	ring_rest(&w);
	ring_rest(&w);
	ck_assert_uint_eq(made(fd), full);	/* the last was not read */
	ck_assert(ring_take(&r, &kind, out, &n));
	ck_assert(put(&w, RING_ACCESS, "now", 3));
	ck_assert(ring_take(&r, &kind, out, &n));
	ring_rest(&w);
	ck_assert_uint_eq(made(fd), full);	/* it was at work since the last call */
	ring_rest(&w);
	ck_assert_uint_le(made(fd), 8192);
	ck_assert(put(&w, RING_ACCESS, "again", 5));
	ck_assert(ring_take(&r, &kind, out, &n));
	ck_assert_mem_eq(out, "again", 5);
	ck_assert(!ring_take(&r, &kind, out, &n));
	munmap(p, RING_BYTES(DATA));
	fd_close(&fd);
}
END_TEST

START_TEST(empty_padding_does_not_keep_the_reader_busy)
{
	struct ring w, r;
	enum ring_kind kind;
	uint32_t word = 0 << 8 | RING_PAD;
	size_t n;

	both(&w, &r);
	for (size_t i = 0; i + 4 <= BYTES; i += 4)
		memcpy(sh->data + i, &word, 4);
	sh->head = BYTES;
	ck_assert(!ring_take(&r, &kind, out, &n));
	ck_assert_uint_eq(r.nonsense, 1);	/* at the first, not after all of them */
}
END_TEST

START_TEST(a_spoiled_header_is_mended_and_a_good_one_is_left_alone)
{
	struct ring w, r;

	both(&w, &r);
	ck_assert(put(&w, RING_EVENT, "kept", 4));
	ck_assert(!ring_mend(sh, BYTES));
	ck_assert_uint_eq(sh->head, w.cursor);
	sh->bytes = 1u << 30;
	ck_assert(ring_mend(sh, BYTES));
	ck_assert_int_eq(ring_open_reader(&r, sh, sizeof mem), 0);
	sh->magic = 0;
	ck_assert(ring_mend(sh, BYTES));
	ck_assert_int_eq(ring_open_writer(&w, sh, sizeof mem), 0);
	ck_assert(put(&w, RING_EVENT, "goes on", 7));
}
END_TEST

UNIT_TESTS("ring", records_come_out_in_order_and_whole, a_full_ring_drops_and_counts_and_goes_on,
	   a_new_reader_goes_on_where_the_old_one_stopped, a_new_writer_keeps_what_was_not_read,
	   a_hostile_writer_never_leads_the_reader_astray,
	   a_hostile_reader_never_leads_the_writer_astray, memory_that_is_no_ring_is_refused,
	   empty_padding_does_not_keep_the_reader_busy, a_ring_at_rest_costs_its_header_only,
	   a_spoiled_header_is_mended_and_a_good_one_is_left_alone)
