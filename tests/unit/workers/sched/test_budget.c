/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Tenants: slots, generations, terms, quotas. */
#include <check.h>
#include <errno.h>
#include <sys/mman.h>

#include "workers/sched/budget.h"

#define MEMORY (TENANT_MEMORY_MIN + 4000)

static struct board *board;
static struct tenants ts;
static struct budget all;

static void setup(void)
{
	never_aborts = true;
	board = mmap(NULL, board_bytes(2), PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	ck_assert_ptr_ne(board, MAP_FAILED);
	board_format(board, 2);
	all = (struct budget){ .limit = 2 * MEMORY + 2000 };
	ck_assert_int_eq(tenants_init(&ts, board, 1, &all, MEMORY, 3, 2), 0);
}

static void teardown(void)
{
	tenants_fini(&ts);
	munmap(board, board_bytes(2));
}

static struct tenant *take(uint32_t slot, uint32_t gen)
{
	return tenant_take(&ts, &(struct tenant_terms){ .slot = slot, .gen = gen });
}

START_TEST(a_slot_is_one_tenant)
{
	struct tenant *a = take(3, 9), *b = take(3, 9), *c = take(4, 9);

	ck_assert_ptr_eq(a, b);
	ck_assert_ptr_ne(a, c);
	ck_assert_uint_eq(a->refs, 2);
	tenant_give(&a);
	ck_assert_ptr_null(a);
	tenant_give(&b);
	/* It keeps its slot without references. */
	ck_assert_uint_eq(ts.slab.live, 3);
	b = take(3, 9);
	ck_assert_uint_eq(b->refs, 1);
	ck_assert_uint_eq(ts.slab.live, 3);
}
END_TEST

START_TEST(who_has_no_slot_is_slot_zero)
{
	struct tenant *a = take(0, 0), *b = take(BOARD_TENANTS, 5), *c = take(UINT32_MAX, 1);

	ck_assert_ptr_eq(a, b);
	ck_assert_ptr_eq(a, c);
	/* Whatever terms come with it. */
	ck_assert_uint_eq(a->conns_max, 3);
	tenant_take(&ts, &(struct tenant_terms){ .slot = 0, .gen = 7, .connections = 1, .weight = 9 });
	ck_assert_uint_eq(a->conns_max, 3);
	ck_assert_uint_eq(a->weight, 1);
}
END_TEST

START_TEST(terms_are_clamped_and_follow_the_view)
{
	struct tenant *t = tenant_take(&ts, &(struct tenant_terms){ .slot = 2, .gen = 1,
		.weight = 5000, .memory_bytes = 77, .connections = 8 });

	ck_assert_uint_eq(t->weight, TENANT_WEIGHT_MAX);
	ck_assert_uint_eq(t->memory.limit, TENANT_MEMORY_MIN);
	ck_assert_uint_eq(t->conns_max, 8);
	tenants_update(&ts, &(struct tenant_terms){ .slot = 2, .gen = 1 });
	ck_assert_uint_eq(t->weight, 1);
	ck_assert_uint_eq(t->memory.limit, MEMORY);
	ck_assert_uint_eq(t->conns_max, 3);
	/* Another generation, an unknown slot, a wild slot: nothing. */
	tenants_update(&ts, &(struct tenant_terms){ .slot = 2, .gen = 2, .weight = 4 });
	tenants_update(&ts, &(struct tenant_terms){ .slot = 9, .gen = 2, .weight = 4 });
	tenants_update(&ts, &(struct tenant_terms){ .slot = UINT32_MAX, .gen = 2, .weight = 4 });
	ck_assert_uint_eq(t->weight, 1);
}
END_TEST

START_TEST(connections_over_the_quota_are_refused_and_counted)
{
	struct tenant *t = take(6, 1);

	for (int i = 0; i < 3; i++)
		ck_assert_int_eq(tenant_admit(t), 0);
	ck_assert_int_eq(tenant_admit(t), -EUSERS);
	ck_assert_uint_eq(board->worker[1].tenant[6].c[TC_refused], 1);
	ck_assert_uint_eq(board->worker[1].tenant[6].c[TC_conns], 3);
	ck_assert_uint_eq(board->worker[1].tenant[6].c[TC_conns_gauge], 3);
	tenant_leave(t);
	ck_assert_uint_eq(board->worker[1].tenant[6].c[TC_conns_gauge], 2);
	ck_assert_int_eq(tenant_admit(t), 0);
}
END_TEST

START_TEST(requests_over_the_quota_are_refused_until_one_is_over)
{
	struct tenant *t = take(6, 1);

	for (int i = 0; i < 2; i++)
		ck_assert_int_eq(tenant_request(t), 0);
	ck_assert_int_eq(tenant_request(t), -EUSERS);
	ck_assert_uint_eq(board->worker[1].tenant[6].c[TC_requests_gauge], 2);
	tenant_request_over(t);
	ck_assert_uint_eq(board->worker[1].tenant[6].c[TC_requests_gauge], 1);
	ck_assert_int_eq(tenant_request(t), 0);
	/* Terms of its own, then the default again, and another default. */
	tenants_update(&ts, &(struct tenant_terms){ .slot = 6, .gen = 1, .requests = 3 });
	ck_assert_int_eq(tenant_request(t), 0);
	ck_assert_int_eq(tenant_request(t), -EUSERS);
	tenants_defaults(&ts, MEMORY, 3, 9);
	ck_assert_uint_eq(t->requests_max, 3);
	tenants_update(&ts, &(struct tenant_terms){ .slot = 6, .gen = 1 });
	ck_assert_uint_eq(t->requests_max, 9);
	tenants_defaults(&ts, MEMORY, 3, 2);
	ck_assert_int_eq(tenant_request(t), -EUSERS);
}
END_TEST

START_TEST(memory_is_bounded_by_tenant_and_by_worker)
{
	struct tenant *a = take(1, 1), *b = take(2, 1), *c = take(3, 1);

	ck_assert_int_eq(budget_charge(&a->memory, MEMORY), 0);
	ck_assert_int_eq(budget_charge(&a->memory, 1), -ENOBUFS);
	ck_assert_int_eq(budget_charge(&b->memory, MEMORY), 0);
	ck_assert_int_eq(budget_charge(&c->memory, MEMORY), -ENOBUFS);
	ck_assert_uint_eq(c->memory.used, 0);
	ck_assert_uint_eq(all.used, 2 * MEMORY);
	budget_return(&a->memory, MEMORY);
	ck_assert_int_eq(budget_charge(&c->memory, MEMORY), 0);
}
END_TEST

START_TEST(a_new_generation_starts_clean_while_old_conns_go_on)
{
	struct tenant *old = take(5, 1), *now;

	ck_assert_int_eq(tenant_admit(old), 0);
	now = take(5, 2);
	ck_assert_ptr_ne(old, now);
	ck_assert_uint_eq(now->conns, 0);
	ck_assert_uint_eq(board->worker[1].tenant[5].gen, 2);
	ck_assert_uint_eq(board->worker[1].tenant[5].c[TC_conns_gauge], 0);
	ck_assert_int_eq(tenant_admit(now), 0);
	/* What the old one does is not counted for the new one. */
	tenant_leave(old);
	ck_assert_uint_eq(board->worker[1].tenant[5].c[TC_conns_gauge], 1);
	tenant_give(&old);
	ck_assert_uint_eq(ts.slab.live, 2);
}
END_TEST

START_TEST(without_room_for_another_tenant_it_is_slot_zero)
{
	struct tenant *t;

	ts.slab.fail_after = 1;
	t = take(8, 1);
	ck_assert_ptr_eq(t, ts.at[0]);
	ck_assert_ptr_ne(take(8, 1), t);
}
END_TEST

int main(void)
{
	Suite *suite = suite_create("budget");
	TCase *t = tcase_create("budget");
	SRunner *r;
	int failed;

	tcase_add_checked_fixture(t, setup, teardown);
	tcase_add_test(t, a_slot_is_one_tenant);
	tcase_add_test(t, who_has_no_slot_is_slot_zero);
	tcase_add_test(t, terms_are_clamped_and_follow_the_view);
	tcase_add_test(t, connections_over_the_quota_are_refused_and_counted);
	tcase_add_test(t, requests_over_the_quota_are_refused_until_one_is_over);
	tcase_add_test(t, memory_is_bounded_by_tenant_and_by_worker);
	tcase_add_test(t, a_new_generation_starts_clean_while_old_conns_go_on);
	tcase_add_test(t, without_room_for_another_tenant_it_is_slot_zero);
	suite_add_tcase(suite, t);
	r = srunner_create(suite);
	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed != 0;
}
