/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* workers: of nodeproxy.yaml against inherited affinity masks. */
#include "nodeproxy/cpus.h"

#include <errno.h>

#include "tests/unit/test.h"

static cpu_set_t mask_of(int from, int to)
{
	cpu_set_t m;

	CPU_ZERO(&m);
	for (; from <= to; from++)
		CPU_SET((unsigned)from, &m);
	return m;
}

START_TEST(auto_is_a_quarter_of_the_mask_and_at_least_two)
{
	static const struct { int cpus; unsigned workers; } row[] = {
		{ 1, 2 }, { 2, 2 }, { 8, 2 }, { 12, 3 }, { 64, 16 }, { 400, 63 },
	};
	int cpu[64];
	unsigned n;
	char error[128];

	for (size_t i = 0; i < countof(row); i++) {
		cpu_set_t m = mask_of(0, row[i].cpus - 1);

		ck_assert_int_eq(cpus_plan("auto", &m, 63, cpu, &n, error), 0);
		ck_assert_uint_eq(n, row[i].workers);
	}
}
END_TEST

START_TEST(a_number_is_dealt_round_the_mask)
{
	cpu_set_t m = mask_of(4, 6);
	int cpu[64];
	unsigned n;
	char error[128];

	ck_assert_int_eq(cpus_plan("5", &m, 63, cpu, &n, error), 0);
	ck_assert_uint_eq(n, 5);
	for (unsigned i = 0; i < n; i++)
		ck_assert_int_eq(cpu[i], 4 + (int)(i % 3));
}
END_TEST

START_TEST(a_list_is_cut_to_the_mask)
{
	cpu_set_t m = mask_of(2, 4);
	int cpu[64];
	unsigned n;
	char error[128];

	ck_assert_int_eq(cpus_plan("cpus=0,2-3,9", &m, 63, cpu, &n, error), 0);
	ck_assert_uint_eq(n, 2);
	ck_assert_int_eq(cpu[0], 2);
	ck_assert_int_eq(cpu[1], 3);
	ck_assert_int_eq(cpus_plan("cpus=0-1", &m, 63, cpu, &n, error), -ENODEV);
}
END_TEST

START_TEST(nonsense_is_refused_with_words)
{
	static const char *const bad[] = { "", "many", "0", "64", "-1", "4294967297", "cpus=",
					   "cpus=a", "cpus=3-1", "cpus=0-99999" };
	cpu_set_t m = mask_of(0, 3);
	int cpu[64];
	unsigned n = 77;

	for (size_t i = 0; i < countof(bad); i++) {
		char error[128] = "";
		int r = cpus_plan(bad[i], &m, 63, cpu, &n, error);

		ck_assert_msg(r == -EINVAL, "%s: %d", bad[i], r);
		ck_assert(error[0] != 0);
	}
	ck_assert_uint_eq(n, 77);		/* untouched */
}
END_TEST

UNIT_TESTS("cpus", auto_is_a_quarter_of_the_mask_and_at_least_two, a_number_is_dealt_round_the_mask,
	   a_list_is_cut_to_the_mask, nonsense_is_refused_with_words)
