/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See top.h. */
#include "admin/cli/top.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
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

/* What the last bucket, which has no bound, is at least. */
#define BEYOND_NS (1ll << 36)

static json_int_t until(const json_t *bucket)
{
	const json_t *v = json_object_get(bucket, "until_ns");

	return json_is_integer(v) ? json_integer_value(v) : BEYOND_NS;
}

static json_int_t count_of(const json_t *buckets, json_int_t at)
{
	json_int_t n = 0;
	const json_t *b;
	size_t i;

	json_array_foreach(buckets, i, b)
		if (until(b) == at)
			n += number(b, "count");
	return n;
}

/* The bound below which permille of what was added are; buckets are in order. */
static json_t *quantile(const json_t *was, const json_t *is, json_int_t all, unsigned permille)
{
	json_int_t seen = 0;
	const json_t *b;
	size_t i;

	json_array_foreach(is, i, b) {
		json_int_t before = count_of(was, until(b)), now = number(b, "count");

		seen += now >= before ? now - before : now;
		if ((double)seen > (double)all * permille / 1000)
			return json_integer(until(b));
	}
	return all > 0 ? json_integer(BEYOND_NS) : json_null();
}

/* Of a histogram: what was added to it in between. */
static json_t *times(const json_t *was, const json_t *is)
{
	const json_t *old = json_object_get(was, "buckets"), *new = json_object_get(is, "buckets");
	json_int_t n = more(was, is, "count");

	if (!json_is_object(is))
		return json_null();
	return json_pack("{s:I,s:o,s:o,s:o,s:o}", "count", n, "mean_ns",
			 n > 0 ? json_integer(more(was, is, "sum_ns") / n) : json_null(), "p50_ns",
			 quantile(old, new, n, 500), "p90_ns", quantile(old, new, n, 900), "p99_ns",
			 quantile(old, new, n, 990));
}

/* Those that came again, the most frequent first: what a narrow terminal cuts off is the least. */
static json_t *failures(const json_t *was, const json_t *is, double s)
{
	json_t *o = json_object(), *v;
	const char *key, *most;

	do {
		most = NULL;
		json_object_foreach((json_t *)(uintptr_t)is, key, v)
			if (more(was, is, key) > 0 && !json_object_get(o, key) &&
			    (!most || more(was, is, key) > more(was, is, most)))
				most = key;
	} while (most && json_object_set_new(o, most, per_second(was, is, most, s)) == 0);
	return o;
}

static json_t *copy_of(const json_t *o, const char *key)
{
	json_t *v = json_object_get(o, key);

	return v ? json_incref(v) : json_null();
}

static json_t *rates_of(const json_t *was, const json_t *is, double s)
{
	json_t *o = json_object();
	bool busy = json_is_integer(json_object_get(is, "busy_ns"));

	json_object_set_new(o, "name", json_string(name_of(is)));
	json_object_set_new(o, "state", copy_of(is, "state"));
	json_object_set_new(o, "exchanges_per_second", per_second(was, is, "exchanges_total", s));
	json_object_set_new(o, "failed_per_second", per_second(was, is, "failed_total", s));
	json_object_set_new(o, "failures_per_second",
			    failures(json_object_get(was, "failures"),
				     json_object_get(is, "failures"), s));
	json_object_set_new(o, "received_per_second_bytes",
			    bytes_per_second(was, is, "received_bytes", s));
	json_object_set_new(o, "sent_per_second_bytes", bytes_per_second(was, is, "sent_bytes", s));
	json_object_set_new(o, "cpu_percent",
			    busy ? json_real((double)more(was, is, "busy_ns") / 1e7 / s) :
				   json_null());
	json_object_set_new(o, "memory_bytes", copy_of(is, "memory_bytes"));
	json_object_set_new(o, "response_ns", copy_of(is, "response_ns"));
	json_object_set_new(o, "time",
			    times(json_object_get(was, "time"), json_object_get(is, "time")));
	json_object_set_new(o, "now", json_integer(number(is, "now")));
	return o;
}

/* The number at "a.b"; what is not there is less than any. */
static double value_at(const json_t *row, const char *path)
{
	const char *dot = strchr(path, '.');
	char key[32];

	if (dot) {
		snprintf(key, sizeof key, "%.*s", (int)(dot - path), path);
		row = json_object_get(row, key);
		path = dot + 1;
	}
	row = json_object_get(row, path);
	if (json_is_object(row))
		return (double)json_object_size(row);
	return json_is_number(row) ? json_number_value(row) : -1;
}

/* The largest first; then who does most; then by name. */
static int compare(const void *a, const void *b, void *sort)
{
	const char *keys[] = { sort ? sort : "cpu_percent", "cpu_percent", "exchanges_per_second",
			       "now" };
	const json_t *const *x = a, *const *y = b;

	for (size_t i = 0; i < sizeof keys / sizeof keys[0] && strcmp(keys[i], "name") != 0; i++) {
		double p = value_at(*x, keys[i]), q = value_at(*y, keys[i]);

		if (p > q || p < q)
			return p > q ? -1 : 1;
	}
	return strcmp(name_of(*x), name_of(*y));
}

json_t *top_rates(const json_t *before, const json_t *after, const char *sort)
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
	qsort_r(sorted, n, sizeof sorted[0], compare, (void *)(uintptr_t)sort);
	for (i = 0; i < n; i++)
		json_array_append_new(rows, sorted[i]);
	free(sorted);
	json_decref(by_name);
	return json_pack("{s:O?,s:f,s:o}", "by", json_object_get(after, "by"), "seconds", s, "rows",
			 rows);
}
