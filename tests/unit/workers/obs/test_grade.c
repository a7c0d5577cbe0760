/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Grades of shortage. */
#include "tests/unit/test.h"
#include "workers/obs/grade.h"

START_TEST(a_grade_is_entered_at_one_mark_and_left_below_a_lower_one)
{
	ck_assert_int_eq(grade_next(GRADE_calm, 699, 1000), GRADE_calm);
	ck_assert_int_eq(grade_next(GRADE_calm, 700, 1000), GRADE_lean);
	ck_assert_int_eq(grade_next(GRADE_lean, 600, 1000), GRADE_lean);
	ck_assert_int_eq(grade_next(GRADE_lean, 599, 1000), GRADE_calm);
	ck_assert_int_eq(grade_next(GRADE_lean, 850, 1000), GRADE_slow);
	ck_assert_int_eq(grade_next(GRADE_slow, 750, 1000), GRADE_slow);
	ck_assert_int_eq(grade_next(GRADE_slow, 749, 1000), GRADE_lean);
	ck_assert_int_eq(grade_next(GRADE_slow, 950, 1000), GRADE_refuse);
	ck_assert_int_eq(grade_next(GRADE_refuse, 850, 1000), GRADE_refuse);
	ck_assert_int_eq(grade_next(GRADE_refuse, 849, 1000), GRADE_slow);
	/* several at once, both ways */
	ck_assert_int_eq(grade_next(GRADE_calm, 1000, 1000), GRADE_refuse);
	ck_assert_int_eq(grade_next(GRADE_refuse, 0, 1000), GRADE_calm);
}
END_TEST

START_TEST(every_grade_is_left_below_where_it_is_entered_and_none_skips_another)
{
	for (enum grade g = GRADE_calm; g < GRADES; g++) {
		size_t leave = grade_leave_bytes(g, 1000);

		ck_assert(g == GRADE_calm || grade_next(g, leave, 1000) >= g);
		ck_assert(g == GRADE_calm || grade_next(g, leave - 1, 1000) < g);
		ck_assert_str_ne(grade_name(g), "?");
		ck_assert_str_ne(grade_words(g), "");
	}
	ck_assert_str_eq(grade_name(GRADES), "?");
}
END_TEST

START_TEST(without_a_limit_there_is_no_shortage)
{
	ck_assert_int_eq(grade_next(GRADE_refuse, SIZE_MAX, 0), GRADE_calm);
}
END_TEST

UNIT_TESTS("grade", a_grade_is_entered_at_one_mark_and_left_below_a_lower_one,
	   every_grade_is_left_below_where_it_is_entered_and_none_skips_another,
	   without_a_limit_there_is_no_shortage)
