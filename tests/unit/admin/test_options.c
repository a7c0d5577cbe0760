/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Words of LOCAL commands: every row can be given, and what is no row is told. */
#include "admin/options.h"

#include <stdio.h>

#include "tests/unit/test.h"

static int read_words(struct options *ret, const char *program, const char *const *words)
{
	char *argv[16];
	int n = 0;

	while (words[n]) {
		argv[n] = (char *)(uintptr_t)words[n];
		n++;
	}
	return options_read(n, argv, program, ret);
}

#define READ(o, program, ...) read_words(o, program, (const char *const[]){ __VA_ARGS__, NULL })

START_TEST(every_row_fits)
{
	for (unsigned l = 0; l < LOCALS; l++) {
		const struct local_row *row = local_row((enum local)l);
		const struct local_arg *a;

		ck_assert_msg(row->help[0] && row->words[0] && strncmp(row->program, "nodeproxy-", 10) == 0,
			      "%s", row->words);
		ck_assert_ptr_null(local_arg((enum local)l, OPTIONS_MAX));
		for (unsigned i = 0; (a = local_arg((enum local)l, i)); i++)
			ck_assert_msg(a->help[0] && (a->option[0] || a->value[0]), "%s", row->words);
	}
}
END_TEST

START_TEST(values_stand_behind_or_in_the_word)
{
	struct options o;

	ck_assert_int_eq(READ(&o, "nodeproxy-resources", "apply", "-f", "a", "--wait=3", "-fb", "-ojson",
			      "--dry-run"), -1);
	ck_assert_int_eq(o.what, LOCAL_apply);
	ck_assert_str_eq(options_value(&o, "-f"), "a\nb");
	ck_assert_str_eq(options_value(&o, "--wait"), "3");
	ck_assert_str_eq(options_value(&o, "-o"), "json");
	ck_assert_str_eq(options_value(&o, "--dry-run"), "");
	ck_assert_ptr_null(options_value(&o, "-c"));
	ck_assert_int_eq(READ(&o, "nodeproxy-resources", "store", "export", "service", "-n", "shop"), -1);
	ck_assert_int_eq(o.what, LOCAL_store_export);
	ck_assert_str_eq(options_value(&o, "[KIND]"), "service");
	ck_assert_int_eq(READ(&o, "nodeproxy-ca", "ca", "show", "--dir", "x"), -1);
	ck_assert_int_eq(o.what, LOCAL_ca_show);
}
END_TEST

START_TEST(what_is_wrong_is_usage)
{
	struct options o;
	char line[] = "a\nb";

	ck_assert_int_eq(READ(&o, "nodeproxy-resources", "ca", "show"), EXIT_USAGE);	/* another's */
	ck_assert_int_eq(READ(&o, "nodeproxy-resources", "store"), EXIT_USAGE);
	ck_assert_int_eq(READ(&o, "nodeproxy-resources", "store", "what"), EXIT_USAGE);
	ck_assert_int_eq(READ(&o, "nodeproxy-resources", "apply", "-f"), EXIT_USAGE);
	ck_assert_int_eq(READ(&o, "nodeproxy-resources", "apply", "--dry-runs"), EXIT_USAGE);
	ck_assert_int_eq(READ(&o, "nodeproxy-resources", "apply", "--waits", "3"), EXIT_USAGE);
	ck_assert_int_eq(READ(&o, "nodeproxy-resources", "apply", "word"), EXIT_USAGE);
	ck_assert_int_eq(READ(&o, "nodeproxy-resources", "get"), EXIT_USAGE);
	ck_assert_int_eq(READ(&o, "nodeproxy-resources", "get", "a", "b", "c"), EXIT_USAGE);
	ck_assert_int_eq(READ(&o, "nodeproxy-resources", "apply", "-f", line), EXIT_USAGE);
	ck_assert_int_eq(READ(&o, "nodeproxy-resources", "apply", "--help"), EXIT_DONE);
	ck_assert_int_eq(READ(&o, "nodeproxy-resources", "store", "--help"), EXIT_DONE);
}
END_TEST

UNIT_TESTS("options", every_row_fits, values_stand_behind_or_in_the_word, what_is_wrong_is_usage)
