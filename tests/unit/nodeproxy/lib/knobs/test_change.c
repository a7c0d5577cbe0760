/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Differences between two files: every row is told, listeners are known by their socket. */
#include "tests/unit/test.h"

#include <stdio.h>

#include "nodeproxy/lib/knobs/change.h"

static struct knobs was, now;
static char told[4096], error[KNOBS_ERROR];

static void note(void *arg, const struct knob_change *c)
{
	size_t n = strlen(told);

	(void)arg;
	snprintf(told + n, sizeof told - n, "%s: %s -> %s (%s)\n", c->key, c->was, c->now,
		 knob_reload_name(c->reload));
}

static const char *between(const char *a, const char *b)
{
	ck_assert_msg(knobs_parse(slice_str(a), "a", &was, error) == 0, "%s", error);
	ck_assert_msg(knobs_parse(slice_str(b), "b", &now, error) == 0, "%s", error);
	told[0] = 0;
	knobs_changes(&was, &now, note, NULL);
	return told;
}

#define L(name, bind, ns, service)                                                                 \
	"- {name: " name ", bind: \"" bind "\", namespace: " ns ", service: \"" service "\"}\n"
#define ONE L("one", "127.0.0.1:81", "shop", "shop/web:80")
#define TWO L("two", "127.0.0.1:82", "shop", "shop/web:80")

START_TEST(an_equal_file_has_no_differences)
{
	ck_assert_str_eq(between("node: a\n", "node: a\ntimeouts: {idle: 60s}\n"), "");
	ck_assert_uint_eq(knobs_changes(&was, &now, NULL, NULL), 0);
	ck_assert_str_eq(between("node: a\nlisteners:\n" ONE TWO, "node: a\nlisteners:\n" TWO ONE), "");
}
END_TEST

START_TEST(a_row_is_told_with_both_values_and_how_it_takes_effect)
{
	ck_assert_str_eq(between("node: a\n", "node: b\nworkers: 3\ntimeouts: {idle: 1s}\n"
					      "log_ring_bytes: 65536\naccess_log: {format: json}\n"),
			 "node: a -> b (restart)\n"
			 "workers: auto -> 3 (live)\n"
			 "access_log.format: text -> json (live)\n"
			 "timeouts.idle: 60000 -> 1000 (live)\n"
			 "log_ring_bytes: 1048576 -> 65536 (workers)\n");
	ck_assert(knobs_differ(&was, &now, KNOB_node));
	ck_assert(!knobs_differ(&was, &now, KNOB_zone));
}
END_TEST

START_TEST(every_row_can_differ)
{
	struct knob_row row;
	unsigned n = 0;

	knobs_default(&was);
	for (unsigned i = 0; knobs_row(i, &row) && !row.of_listener; i++, n++)
		ck_assert(!knobs_differ(&was, &was, (enum knob_index)i));
	ck_assert_uint_eq(n, KNOBS);
}
END_TEST

START_TEST(a_listener_is_known_by_its_address)
{
	ck_assert_str_eq(between("node: a\nlisteners:\n" ONE,
				 "node: a\nlisteners:\n" L("uno", "127.0.0.1:81", "shop", "shop/web:80")),
			 "listeners[uno].name: one -> uno (live)\n");
	ck_assert_int_eq(knobs_find_socket(&was, &now.listener[0]), 0);
	ck_assert_str_eq(between("node: a\nlisteners:\n" ONE TWO, "node: a\nlisteners:\n" TWO),
			 "listeners[one]: 127.0.0.1:81 ->  (live)\n");
	ck_assert_int_eq(knobs_find_socket(&now, &was.listener[0]), -1);
	ck_assert_str_eq(between("node: a\nlisteners:\n" TWO, "node: a\nlisteners:\n" ONE TWO),
			 "listeners[one]:  -> 127.0.0.1:81 (live)\n");
	/* Names that were swapped: two listeners renamed, no socket opened or closed. */
	ck_assert_str_eq(between("node: a\nlisteners:\n" ONE TWO,
				 "node: a\nlisteners:\n" L("one", "127.0.0.1:82", "shop", "shop/web:80")
					 L("two", "127.0.0.1:81", "shop", "shop/web:80")),
			 "listeners[one].name: two -> one (live)\n"
			 "listeners[two].name: one -> two (live)\n");
	ck_assert_str_eq(between("node: a\nlisteners:\n" ONE,
				 "node: a\nlisteners:\n" L("one", "127.0.0.1:83", "shop", "shop/api:80")),
			 "listeners[one].bind: 127.0.0.1:81 -> 127.0.0.1:83 (live)\n"
			 "listeners[one].service: shop/web:80 -> shop/api:80 (live)\n");
}
END_TEST

START_TEST(any_port_is_known_by_address_and_name)
{
	const char *two = "node: a\nlisteners:\n" L("one", "[::1]:0", "shop", "shop/web:80")
		L("two", "[::1]:0", "shop", "shop/web:80");

	ck_assert_str_eq(between(two, two), "");
	ck_assert_int_eq(knobs_find_socket(&was, &now.listener[1]), 1);
	ck_assert_str_eq(between(two, "node: a\nlisteners:\n" L("two", "[::1]:0", "shop", "shop/web:80")),
			 "listeners[one]: [::1]:0 ->  (live)\n");
}
END_TEST

UNIT_TESTS("change", an_equal_file_has_no_differences,
	   a_row_is_told_with_both_values_and_how_it_takes_effect, every_row_can_differ,
	   a_listener_is_known_by_its_address, any_port_is_known_by_address_and_name)
