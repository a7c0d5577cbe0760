/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What every unit test starts with: Check, and a main() around one suite.
 *
 *   UNIT_TESTS("slab", a_slot_survives_nothing, ...)
 *
 * makes the suite of the named tests and runs it without forking, so that sanitizers see all of it
 * (CK_FORK=yes brings forking back). */
#ifndef TESTS_UNIT_TEST_H
#define TESTS_UNIT_TEST_H

#include <check.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/must.h"

static inline int unit_run(const char *name, const TTest *const *tests, size_t n)
{
	Suite *s = suite_create(name);
	TCase *tc = tcase_create(name);
	SRunner *r;
	int failed;

	never_aborts = true;
	tcase_set_timeout(tc, 60);
	for (size_t i = 0; i < n; i++)
		tcase_add_test(tc, tests[i]);
	suite_add_tcase(s, tc);
	r = srunner_create(s);
	if (getenv("CK_FORK") == NULL)
		srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	return failed ? EXIT_FAILURE : EXIT_SUCCESS;
}

#define UNIT_TESTS(name, ...)                                                                      \
	int main(void)                                                                             \
	{                                                                                          \
		const TTest *const tests_[] = { __VA_ARGS__ };                                     \
                                                                                                   \
		return unit_run(name, tests_, countof(tests_));                                    \
	}

#endif
