/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Idle backs: who gets which, and how many are kept. */
#include "tests/unit/test.h"
#include "workers/pool/pool.h"

static struct back_key key(uint32_t tenant, uint8_t last, uint16_t port)
{
	return (struct back_key){ .addr = { .ip = { 10, 0, 0, last }, .port = port, .family = 4 },
				  .tenant = tenant, .tenant_gen = 1 };
}

START_TEST(the_one_used_last_is_taken_first)
{
	struct pool p;
	struct back_key k = key(1, 1, 80);
	struct back *b[3];

	ck_assert_int_eq(pool_init(&p, 8, 4), 0);
	for (int i = 0; i < 3; i++) {
		b[i] = back_new(&p, &k);
		ck_assert(pool_put(&p, b[i]));
	}
	for (int i = 2; i >= 0; i--)
		ck_assert_ptr_eq(pool_take(&p, &k), b[i]);
	ck_assert_ptr_null(pool_take(&p, &k));
	ck_assert_uint_eq(p.entries.live, 0);
	for (int i = 0; i < 3; i++)
		back_free(&p, &b[i]);
	pool_fini(&p);
}
END_TEST

START_TEST(nobody_gets_the_connection_of_another_tenant_or_endpoint)
{
	struct pool p;
	struct back_key mine = key(1, 1, 80);
	struct back_key others[] = { key(2, 1, 80), key(1, 2, 80), key(1, 1, 81), key(1, 1, 80),
				     key(1, 1, 80), key(1, 1, 80), key(1, 1, 80) };
	struct back *b;

	others[3].tenant_gen = 2;	/* the slot is another tenant's now */
	others[4].pod = 512;		/* whose socket is in that one's network namespace */
	for (unsigned i = 5; i < 7; i++) {	/* that shows, or has told, whose it is */
		others[i].how = i == 5 ? ORIGIN_BOUND : ORIGIN_TOLD;
		others[i].origin = key(1, 9, 0).addr;
	}
	ck_assert_int_eq(pool_init(&p, 8, 4), 0);
	b = back_new(&p, &mine);
	ck_assert(pool_put(&p, b));
	for (size_t i = 0; i < countof(others); i++)
		ck_assert_ptr_null(pool_take(&p, &others[i]));
	ck_assert_ptr_eq(pool_take(&p, &mine), b);
	back_free(&p, &b);
	mine = others[6];
	b = back_new(&p, &mine);
	ck_assert(pool_put(&p, b));
	others[6].origin.port = 1;	/* told of another caller's connection */
	for (size_t i = 0; i < countof(others); i++)
		ck_assert_ptr_null(pool_take(&p, &others[i]));
	ck_assert_ptr_eq(pool_take(&p, &mine), b);
	back_free(&p, &b);
	pool_fini(&p);
}
END_TEST

START_TEST(no_more_are_kept_than_the_limit)
{
	struct pool p;
	struct back_key k = key(1, 1, 80);
	struct back *b[3];

	ck_assert_int_eq(pool_init(&p, 8, 2), 0);
	for (int i = 0; i < 3; i++) {
		b[i] = back_new(&p, &k);
		ck_assert_int_eq(pool_put(&p, b[i]), i < 2);
	}
	pool_remove(&p, b[0]);
	ck_assert(pool_put(&p, b[2]));
	ck_assert_uint_eq(p.idle, 2);
	pool_remove(&p, b[1]);
	pool_remove(&p, b[2]);
	for (int i = 0; i < 3; i++)
		back_free(&p, &b[i]);
	pool_fini(&p);
}
END_TEST

START_TEST(the_last_back_of_all_is_refused_not_invented)
{
	struct pool p;
	struct back_key k = key(1, 1, 80);
	struct back *a, *b;

	ck_assert_int_eq(pool_init(&p, 1, 0), 0);
	a = back_new(&p, &k);
	b = back_new(&p, &k);
	ck_assert_ptr_nonnull(a);
	ck_assert_ptr_null(b);
	ck_assert(!pool_put(&p, a));	/* limits.pooled: 0 */
	back_free(&p, &a);
	pool_fini(&p);
}
END_TEST

UNIT_TESTS("pool", the_one_used_last_is_taken_first,
	   nobody_gets_the_connection_of_another_tenant_or_endpoint, no_more_are_kept_than_the_limit,
	   the_last_back_of_all_is_refused_not_invented)
