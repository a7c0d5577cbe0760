/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The table of modes: each has values from 0 on, without gaps, and is found by what its label says. */
#include "nodeproxy/lib/base/ns_modes.h"

#include <stdio.h>

#include "tests/unit/test.h"

static unsigned values_of(enum ns_mode m)
{
	unsigned n = 0;

	while (ns_mode_text(m, n))
		n++;
	return n;
}

START_TEST(every_mode_has_at_least_two_values_and_words_for_all_of_it)
{
	unsigned rows = 0, found = 0;

#define MODE_VALUE(word, name, number, text, help) rows++;
#include "nodeproxy/lib/base/ns_modes.def"
	for (unsigned m = 0; m < NS_MODES; m++) {
		unsigned n = values_of((enum ns_mode)m);

		ck_assert_uint_ge(n, 2);
		ck_assert(ns_mode_label((enum ns_mode)m)[0] && ns_mode_help((enum ns_mode)m)[0]);
		for (unsigned i = 0; i < n; i++)
			ck_assert(ns_mode_value_help((enum ns_mode)m, i)[0]);
		found += n;
	}
	ck_assert_uint_eq(found, rows);		/* so no number is missing, and none there twice */
}
END_TEST

START_TEST(a_mode_is_found_by_its_label_and_a_value_by_its_text)
{
	for (unsigned m = 0; m < NS_MODES; m++) {
		enum ns_mode mode = (enum ns_mode)m;
		char label[64];
		const char *text;
		uint8_t value;

		snprintf(label, sizeof label, NS_MODES_PREFIX "%s", ns_mode_label(mode));
		ck_assert_int_eq(ns_mode_by_label(slice_str(label)), mode);
		for (unsigned i = 0; (text = ns_mode_text(mode, i)); i++) {
			ck_assert(ns_mode_parse(mode, slice_str(text), &value));
			ck_assert_uint_eq(value, i);
		}
		ck_assert(!ns_mode_parse(mode, SLICE(""), &value));
		ck_assert(!ns_mode_parse(mode, SLICE("Deny"), &value));
	}
	ck_assert_int_eq(ns_mode_by_label(SLICE("nodeproxy.io/when")), NS_MODES);
	ck_assert_int_eq(ns_mode_by_label(SLICE("nodeproxy.io/when-awa")), NS_MODES);
	ck_assert_int_eq(ns_mode_by_label(SLICE("when-away")), NS_MODES);
	ck_assert_int_eq(ns_mode_by_label(SLICE("nodeproxy.io/")), NS_MODES);
}
END_TEST

START_TEST(a_value_that_no_row_has_is_not_valid)
{
	struct ns_modes a = { { 0 } };
	char words[64];

	ck_assert(ns_modes_are_valid(&a) && ns_modes_are_default(&a));
	a.of[MODE_source_address] = MODE_OWN;
	ck_assert(ns_modes_are_valid(&a) && !ns_modes_are_default(&a));
	a.of[MODE_source_address]++;
	ck_assert(!ns_modes_are_valid(&a));
	ck_assert_str_eq(ns_mode_words(MODE_when_away, words, sizeof words), "open or closed");
	ck_assert_str_eq(ns_mode_words(MODE_source_address, words, sizeof words),
			 "preserve, proxy-protocol or own");
}
END_TEST

UNIT_TESTS("ns_modes", every_mode_has_at_least_two_values_and_words_for_all_of_it,
	   a_mode_is_found_by_its_label_and_a_value_by_its_text, a_value_that_no_row_has_is_not_valid)
