/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Slabs, arenas, chunks with budgets, hashes and lists. */
#include "tests/unit/test.h"

#include <errno.h>

#include "nodeproxy/lib/base/arena.h"
#include "nodeproxy/lib/base/chunks.h"
#include "nodeproxy/lib/base/hash.h"
#include "nodeproxy/lib/base/rand.h"

START_TEST(a_reference_does_not_survive_its_object)
{
	struct slab s;
	struct slot_ref a, b;
	int *p, *q;

	ck_assert_int_eq(slab_init(&s, "t", sizeof(int), 2), 0);
	p = slab_take(&s, &a);
	ck_assert_ptr_eq(slab_at(&s, a), p);
	slab_give(&s, p);
	ck_assert_ptr_null(slab_at(&s, a));
	q = slab_take(&s, &b);
	ck_assert_ptr_eq(q, p);		/* last in, first out */
	ck_assert_ptr_null(slab_at(&s, a));
	ck_assert_ptr_eq(slab_at(&s, b), q);
	ck_assert_ptr_null(slab_at(&s, SLOT_NONE));
	ck_assert_ptr_null(slab_at(&s, (struct slot_ref){ 1u << 30, 1 }));
	slab_fini(&s);
}
END_TEST

START_TEST(a_full_slab_says_so_and_recovers)
{
	struct slab s;
	void *p[3];

	ck_assert_int_eq(slab_init(&s, "t", 40, 3), 0);
	for (int i = 0; i < 3; i++)
		ck_assert_ptr_nonnull(p[i] = slab_take(&s, NULL));
	ck_assert_ptr_null(slab_take(&s, NULL));
	slab_give(&s, p[1]);
	ck_assert_uint_eq(s.live, 2);
	ck_assert_ptr_eq(slab_take(&s, NULL), p[1]);
	slab_fini(&s);
}
END_TEST

START_TEST(an_object_is_zeroed_when_taken_again)
{
	struct slab s;
	uint8_t *p;

	ck_assert_int_eq(slab_init(&s, "t", 100, 1), 0);
	p = slab_take(&s, NULL);
	memset(p, 0xff, 100);
	slab_give(&s, p);
	p = slab_take(&s, NULL);
	for (int i = 0; i < 100; i++)
		ck_assert_uint_eq(p[i], 0);
	slab_fini(&s);
}
END_TEST

START_TEST(the_nth_take_can_be_made_to_fail)
{
	struct slab s;

	ck_assert_int_eq(slab_init(&s, "t", 8, 10), 0);
	s.fail_after = 2;
	ck_assert_ptr_nonnull(slab_take(&s, NULL));
	ck_assert_ptr_null(slab_take(&s, NULL));
	ck_assert_ptr_nonnull(slab_take(&s, NULL));
	slab_fini(&s);
}
END_TEST

START_TEST(an_arena_stops_at_its_ceiling_and_gives_all_back)
{
	struct slab pool;
	struct arena a;
	unsigned n = 0;

	ck_assert_int_eq(slab_init(&pool, "blocks", sizeof(struct arena_block), 8), 0);
	arena_init(&a, &pool, 3);
	ck_assert_uint_eq(pool.live, 0);	/* no memory before the first use */
	while (arena_take(&a, 1000))
		n++;
	ck_assert_uint_eq(n, 12);		/* 4 of 1,000 in each of 3 blocks */
	ck_assert_ptr_null(arena_take(&a, ARENA_BLOCK));
	arena_reset(&a);
	ck_assert_uint_eq(pool.live, 1);
	ck_assert_ptr_nonnull(arena_take(&a, 1000));
	arena_fini(&a);
	ck_assert_uint_eq(pool.live, 0);
	slab_fini(&pool);
}
END_TEST

START_TEST(a_refused_charge_changes_no_budget)
{
	struct budget worker = { .limit = 100 }, tenant = { .parent = &worker, .limit = 80 };
	struct budget other = { .parent = &worker };

	ck_assert_int_eq(budget_charge(&tenant, 60), 0);
	ck_assert_int_eq(budget_charge(&tenant, 30), -ENOBUFS);
	ck_assert_uint_eq(tenant.used, 60);
	ck_assert_uint_eq(worker.used, 60);
	ck_assert_int_eq(budget_charge(&other, 50), -ENOBUFS);	/* the parent says no */
	ck_assert_uint_eq(other.used, 0);
	ck_assert_uint_eq(worker.used, 60);
	ck_assert_uint_eq(worker.refusals, 1);
	budget_return(&tenant, 60);
	ck_assert_uint_eq(worker.used, 0);
	ck_assert_uint_eq(worker.peak, 60);
}
END_TEST

START_TEST(queued_bytes_come_out_as_they_went_in)
{
	static uint8_t in[200000], out[200000];
	struct chunk_pool pool;
	struct budget b = { .limit = 1 << 20 };
	struct chunkq q;
	size_t put = 0, got = 0;

	rand_seed(7);
	for (size_t i = 0; i < sizeof in; i++)
		in[i] = (uint8_t)rand_u32();
	ck_assert_int_eq(chunk_pool_init(&pool, 64, 4), 0);
	chunkq_init(&q);
	while (got < sizeof in) {
		size_t n = min_of((size_t)rand_below(9000), sizeof in - put);
		struct iovec v[3];
		size_t taken = 0;
		int k;

		if (n && q.bytes < 100000) {
			ck_assert_int_eq(chunkq_add(&q, &pool, &b, slice_of(in + put, n)), 0);
			put += n;
		}
		k = chunkq_iov(&q, v, 3);
		for (int i = 0; i < k; i++) {
			size_t m = min_of(v[i].iov_len, (size_t)rand_below(6000));

			memcpy(out + got + taken, v[i].iov_base, m);
			taken += m;
			if (m < v[i].iov_len)
				break;
		}
		chunkq_consume(&q, &pool, taken);
		got += taken;
	}
	ck_assert_mem_eq(in, out, sizeof in);
	ck_assert_uint_eq(b.used, 0);
	ck_assert_uint_eq(pool.small.live, 0);
	chunk_pool_fini(&pool);
}
END_TEST

START_TEST(a_refused_add_queues_nothing)
{
	static uint8_t bytes[20000];
	struct chunk_pool pool;
	struct budget b = { .limit = 3 * CHUNK_SMALL_BYTES };
	struct chunkq q;

	ck_assert_int_eq(chunk_pool_init(&pool, 64, 4), 0);
	chunkq_init(&q);
	ck_assert_int_eq(chunkq_add(&q, &pool, &b, slice_of(bytes, sizeof bytes)), -ENOBUFS);
	ck_assert_uint_eq(q.bytes, 0);
	ck_assert_uint_eq(b.used, 0);
	ck_assert_int_eq(chunkq_add(&q, &pool, &b, slice_of(bytes, 9000)), 0);
	chunkq_clear(&q, &pool);
	ck_assert_uint_eq(b.used, 0);
	chunk_pool_fini(&pool);
}
END_TEST

START_TEST(a_chunk_can_be_charged_to_somebody_else)
{
	struct budget all = { 0 }, one = { .parent = &all }, two = { .parent = &all, .limit = 5000 };
	struct chunk_pool pool;
	struct chunk *a, *b;

	ck_assert_int_eq(chunk_pool_init(&pool, 4, 1), 0);
	a = chunk_take(&pool, &one, false);
	b = chunk_take(&pool, &one, false);
	ck_assert_int_eq(chunk_charge_to(a, &two), 0);
	ck_assert_int_eq(chunk_charge_to(a, &two), 0);
	ck_assert_int_eq(chunk_charge_to(b, &two), -ENOBUFS);
	ck_assert_uint_eq(one.used, CHUNK_SMALL_BYTES);
	ck_assert_uint_eq(two.used, CHUNK_SMALL_BYTES);
	ck_assert_uint_eq(all.used, 2 * CHUNK_SMALL_BYTES);
	chunk_give(&pool, &a);
	chunk_give(&pool, &b);
	ck_assert_uint_eq(one.used + two.used + all.used, 0);
	chunk_pool_fini(&pool);
}
END_TEST

START_TEST(large_chunks_return_their_memory_and_work_again)
{
	struct chunk_pool pool;
	struct chunk *c[40];

	ck_assert_int_eq(chunk_pool_init(&pool, 4, 40), 0);
	for (int round = 0; round < 2; round++) {
		for (int i = 0; i < 40; i++) {
			c[i] = chunk_take(&pool, NULL, true);
			ck_assert_ptr_nonnull(c[i]);
			ck_assert_uint_ge(c[i]->room, 65536);
			memset(c[i]->data, i, c[i]->room);
		}
		for (int i = 0; i < 40; i++) {
			ck_assert_uint_eq(c[i]->data[c[i]->room - 1], i);
			chunk_give(&pool, &c[i]);
		}
	}
	chunk_pool_fini(&pool);
}
END_TEST

START_TEST(who_takes_and_gives_large_chunks_does_not_trouble_the_kernel)
{
	struct chunk_pool pool;
	struct chunk *c[40];
	unsigned warm = 0;

	ck_assert_int_eq(chunk_pool_init(&pool, 4, 40), 0);
	for (int i = 0; i < 40; i++) {
		c[i] = chunk_take(&pool, NULL, true);
		memset(c[i]->data, 1, c[i]->room);
	}
	/* With many in use, one of them given and taken over and over keeps its memory. */
	for (int i = 0; i < 100; i++) {
		chunk_give(&pool, &c[39]);
		c[39] = chunk_take(&pool, NULL, true);
		ck_assert_uint_eq(c[39]->data[c[39]->room - 1], 1);
	}
	/* All given: those given last keep it. */
	for (int i = 0; i < 40; i++)
		chunk_give(&pool, &c[i]);
	for (int i = 0; i < 40; i++) {
		c[i] = chunk_take(&pool, NULL, true);
		ck_assert_uint_eq(c[i]->data[c[i]->room - 1], i < (int)CHUNKS_WARM);
		warm += c[i]->data[c[i]->room - 1];
	}
	ck_assert_uint_eq(warm, CHUNKS_WARM);
	chunk_pool_fini(&pool);
}
END_TEST

struct thing {
	struct hash_node node;
	uint32_t n;
};

START_TEST(a_hash_finds_what_was_added_and_only_that)
{
	static struct thing t[5000];
	struct hash h = { 0 };

	for (uint32_t i = 0; i < countof(t); i++) {
		t[i].n = i;
		ck_assert_int_eq(hash_add(&h, &t[i].node, hash_slice(slice_of(&i, sizeof i))), 0);
	}
	for (uint32_t i = 0; i < countof(t); i += 2)
		hash_remove(&h, &t[i].node);
	for (uint32_t i = 0; i < countof(t); i++) {
		struct hash_node *x = hash_first(&h, hash_slice(slice_of(&i, sizeof i)));

		while (x && container_of(x, struct thing, node)->n != i)
			x = hash_next(x);
		ck_assert_int_eq(x != NULL, i % 2);
	}
	ck_assert_uint_eq(h.count, countof(t) / 2);
	hash_fini(&h);
}
END_TEST

START_TEST(trimming_gives_back_free_pages_and_touches_no_object)
{
	struct slab s;
	uint8_t *at[64];
	uint32_t from = 0;

	ck_assert_int_eq(slab_init(&s, "x", 1024, 64), 0);
	s.raw = true;
	for (int i = 0; i < 64; i++) {
		at[i] = slab_take(&s, NULL);
		memset(at[i], 0x55, 1024);
	}
	for (int i = 8; i < 64; i++)
		if (i != 40)
			slab_give(&s, at[i]);
	for (int i = 0; i < 4; i++)
		slab_trim(&s, &from, 20, SLAB_TRIM_FREE);	/* in pieces, and round again */
	for (int i = 0; i < 64; i++) {
		uint8_t want = i < 8 || i == 40 ? 0x55 : 0;

		/* 40 shares its page with 41 to 43 */
		if ((i > 40 && i < 44) || i == 19 || i == 20)
			continue;
		ck_assert_msg(at[i][0] == want && at[i][1023] == want, "object %d", i);
	}
	slab_fini(&s);
}
END_TEST

START_TEST(trimming_what_is_idle_spares_what_was_used_since_the_last_look)
{
	struct slab s;
	uint8_t *at[32], *again;
	uint32_t from = 0;

	ck_assert_int_eq(slab_init(&s, "x", 1024, 32), 0);
	s.raw = true;
	for (int i = 0; i < 32; i++) {
		at[i] = slab_take(&s, NULL);
		memset(at[i], 0x55, 1024);
	}
	for (int i = 31; i >= 4; i--)
		slab_give(&s, at[i]);
	slab_trim(&s, &from, 32, SLAB_TRIM_IDLE);
	for (int i = 0; i < 32; i++)
		ck_assert_int_eq(at[i][0], 0x55);
	again = slab_take(&s, NULL);
	ck_assert_ptr_eq(again, at[4]);
	slab_give(&s, again);
	slab_trim(&s, &from, 32, SLAB_TRIM_IDLE);
	for (int i = 0; i < 32; i++)		/* 4 shares its page with 5 to 7 */
		ck_assert_int_eq(at[i][0], i < 8 ? 0x55 : 0);
	slab_trim(&s, &from, 32, SLAB_TRIM_IDLE);
	for (int i = 0; i < 32; i++)
		ck_assert_int_eq(at[i][0], i < 4 ? 0x55 : 0);
	/* What is cold is as good as any other, and no colder when it was used again. */
	for (int i = 4; i < 32; i++) {
		ck_assert_ptr_nonnull(again = slab_take(&s, NULL));
		memset(again, 0x66, 1024);
	}
	ck_assert_ptr_null(slab_take(&s, NULL));
	for (int i = 4; i < 32; i++)
		slab_give(&s, at[i]);
	slab_trim(&s, &from, 32, SLAB_TRIM_IDLE);
	ck_assert_int_eq(at[8][0], 0x66);
	slab_trim(&s, &from, 32, SLAB_TRIM_IDLE);
	ck_assert_int_eq(at[8][0], 0);
	slab_fini(&s);
}
END_TEST

/* Of a burst, every tenth object stays.  As they go and others come, those move to the lowest slots. */
START_TEST(what_is_left_of_a_burst_packs_itself)
{
	enum { BURST = 5000, STAY = 500 };
	static void *left[STAY];
	struct slab s;
	uint32_t from = 0, high = 0;

	ck_assert_int_eq(slab_init(&s, "x", 320, BURST), 0);
	s.packs = true;
	rand_seed(3);
	for (int i = 0; i < BURST; i++) {
		void *x = slab_take(&s, NULL);

		if (i % (BURST / STAY) == 0)
			left[i / (BURST / STAY)] = x;
	}
	for (uint32_t i = 0; i < BURST; i++)
		if (i % (BURST / STAY))
			slab_give(&s, s.mem + i * s.size);
	for (int i = 0; i < 20 * STAY; i++) {
		void **x = &left[rand_below(STAY)];

		slab_give(&s, *x);
		*x = slab_take(&s, NULL);
	}
	for (int i = 0; i < STAY; i++)
		high = max_of(high, slab_ref(&s, left[i]).slot);
	ck_assert_msg(high < 2 * STAY, "the highest is %u", high);
	for (int i = 0; i < 2; i++)
		slab_trim(&s, &from, BURST, SLAB_TRIM_IDLE);
	ck_assert_uint_eq(s.live, STAY);
	/* None is lost, none is there twice. */
	for (int i = STAY; i < BURST; i++)
		ck_assert_ptr_nonnull(slab_take(&s, NULL));
	ck_assert_ptr_null(slab_take(&s, NULL));
	slab_fini(&s);
}
END_TEST

START_TEST(siphash_matches_its_reference_vector)
{
	/* Aumasson and Bernstein, "SipHash: a fast short-input PRF", appendix A. */
	uint8_t key[16], in[15];

	for (int i = 0; i < 16; i++)
		key[i] = (uint8_t)i;
	for (int i = 0; i < 15; i++)
		in[i] = (uint8_t)i;
	ck_assert_uint_eq(siphash(key, slice_of(in, 15)), 0xa129ca6149be45e5u);
}
END_TEST

START_TEST(random_choices_cover_their_range_and_repeat_with_their_seed)
{
	unsigned seen[10] = { 0 };
	uint32_t a, b;

	rand_seed(42);
	for (int i = 0; i < 10000; i++)
		seen[rand_below(10)]++;
	for (int i = 0; i < 10; i++)
		ck_assert(seen[i] > 800 && seen[i] < 1200);
	rand_seed(3);
	a = rand_u32();
	rand_seed(3);
	b = rand_u32();
	ck_assert_uint_eq(a, b);
}
END_TEST

UNIT_TESTS("memory", a_reference_does_not_survive_its_object, a_full_slab_says_so_and_recovers,
	   an_object_is_zeroed_when_taken_again, the_nth_take_can_be_made_to_fail,
	   an_arena_stops_at_its_ceiling_and_gives_all_back, a_refused_charge_changes_no_budget,
	   queued_bytes_come_out_as_they_went_in, a_refused_add_queues_nothing,
	   a_chunk_can_be_charged_to_somebody_else, large_chunks_return_their_memory_and_work_again,
	   who_takes_and_gives_large_chunks_does_not_trouble_the_kernel,
	   a_hash_finds_what_was_added_and_only_that,
	   trimming_gives_back_free_pages_and_touches_no_object,
	   trimming_what_is_idle_spares_what_was_used_since_the_last_look,
	   what_is_left_of_a_burst_packs_itself,
	   siphash_matches_its_reference_vector,
	   random_choices_cover_their_range_and_repeat_with_their_seed)
