/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See top.h. */
#include "admin/cli/top.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

static json_int_t number(const json_t *row, const char *key)
{
	return json_integer_value(json_object_get(row, key));
}

static const char *name_of(const json_t *row)
{
	const char *s = json_string_value(json_object_get(row, "name"));

	return s ? s : "";
}

static json_int_t more(const json_t *was, const json_t *is, const char *key)
{
	json_int_t a = number(was, key), b = number(is, key);

	return b >= a ? b - a : b;
}

static json_t *per_second(const json_t *was, const json_t *is, const char *key, double seconds)
{
	return json_real((double)more(was, is, key) / seconds);
}

/* Bytes are shown by their unit, so a whole number. */
static json_t *bytes_per_second(const json_t *was, const json_t *is, const char *key, double seconds)
{
	if (!json_is_integer(json_object_get(is, key)))
		return json_null();
	return json_integer((json_int_t)((double)more(was, is, key) / seconds));
}

/* Mean of what was added; for a value that is no sum (of one), that value. */
static json_t *mean(const json_t *was, const json_t *is)
{
	json_int_t n = number(is, "time_of");

	if (n == 1)
		return json_integer(number(is, "time_ns"));
	n = more(was, is, "time_of");
	return n > 0 ? json_integer(more(was, is, "time_ns") / n) : json_null();
}

static json_t *rates_of(const json_t *was, const json_t *is, double s)
{
	json_t *o = json_object();
	bool busy = json_is_integer(json_object_get(is, "busy_ns"));

	json_object_set_new(o, "name", json_string(name_of(is)));
	json_object_set_new(o, "exchanges_per_second", per_second(was, is, "exchanges_total", s));
	json_object_set_new(o, "failed_per_second", per_second(was, is, "failed_total", s));
	json_object_set_new(o, "received_per_second_bytes",
			    bytes_per_second(was, is, "received_bytes", s));
	json_object_set_new(o, "sent_per_second_bytes", bytes_per_second(was, is, "sent_bytes", s));
	json_object_set_new(o, "cpu_percent",
			    busy ? json_real((double)more(was, is, "busy_ns") / 1e7 / s) :
				   json_null());
	json_object_set_new(o, "mean_ns", mean(was, is));
	json_object_set_new(o, "now", json_integer(number(is, "now")));
	return o;
}

/* Who does most first; then by name. */
static int compare(const void *a, const void *b)
{
	static const char *const keys[] = { "cpu_percent", "exchanges_per_second", "now" };
	const json_t *const *x = a, *const *y = b;

	for (size_t i = 0; i < sizeof keys / sizeof keys[0]; i++) {
		double p = json_number_value(json_object_get(*x, keys[i]));
		double q = json_number_value(json_object_get(*y, keys[i]));

		if (p > q || p < q)
			return p > q ? -1 : 1;
	}
	return strcmp(name_of(*x), name_of(*y));
}

json_t *top_rates(const json_t *before, const json_t *after)
{
	const json_t *old = json_object_get(before, "rows"), *new = json_object_get(after, "rows");
	double s = (double)(number(after, "at_mono_ms") - number(before, "at_mono_ms")) / 1000;
	size_t n = json_array_size(new), i;
	json_t *by_name = json_object(), *rows = json_array(), *o;
	json_t **sorted = calloc(n + 1, sizeof(json_t *));

	if (!sorted || !by_name || !rows) {
		free(sorted);
		json_decref(by_name);
		json_decref(rows);
		return NULL;
	}
	s = s < 0.001 ? 0.001 : s;
	json_array_foreach(old, i, o)
		json_object_set(by_name, name_of(o), o);
	for (i = 0; i < n; i++) {
		const json_t *is = json_array_get(new, i);

		sorted[i] = rates_of(json_object_get(by_name, name_of(is)), is, s);
	}
	qsort(sorted, n, sizeof sorted[0], compare);
	for (i = 0; i < n; i++)
		json_array_append_new(rows, sorted[i]);
	free(sorted);
	json_decref(by_name);
	return json_pack("{s:O?,s:f,s:o}", "by", json_object_get(after, "by"), "seconds", s, "rows",
			 rows);
}
