/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See print.h. */
#include "admin/cli/print.h"

#include <stdio.h>
#include <stdlib.h>

#define CELL  160	/* bytes of one cell at most: longer ones are cut with ... */
#define COLS  24

static bool ends_with(const char *s, const char *end)
{
	size_t n = strlen(s), m = strlen(end);

	return n >= m && strcmp(s + n - m, end) == 0;
}

const char *human_bytes(uint64_t v, char out[32])
{
	static const char units[] = "BKMGTPE";
	unsigned u = 0;
	uint64_t tenth;

	if (v < 1024) {
		snprintf(out, 32, "%llu", (unsigned long long)v);
		return out;
	}
	while (v >= 1024 * 1024)
		v >>= 10, u++;
	u++;
	tenth = v * 10 / 1024;
	if (tenth < 100)
		snprintf(out, 32, "%llu.%llu%c", (unsigned long long)(tenth / 10),
			 (unsigned long long)(tenth % 10), units[u]);
	else
		snprintf(out, 32, "%llu%c", (unsigned long long)(tenth / 10), units[u]);
	return out;
}

const char *human_seconds(int64_t s, char out[32])
{
	static const struct { int64_t s; char c; } units[] = { { 86400, 'd' }, { 3600, 'h' },
							       { 60, 'm' } };

	if (s < 0)
		s = 0;
	for (unsigned i = 0; i < countof(units); i++) {
		int64_t next = i + 1 < countof(units) ? units[i + 1].s : 1;
		int64_t rest = s % units[i].s / next;

		if (s < units[i].s)
			continue;
		if (rest && s < 10 * units[i].s)
			snprintf(out, 32, "%lld%c%lld%c", (long long)(s / units[i].s), units[i].c,
				 (long long)rest, i + 1 < countof(units) ? units[i + 1].c : 's');
		else
			snprintf(out, 32, "%lld%c", (long long)(s / units[i].s), units[i].c);
		return out;
	}
	snprintf(out, 32, "%llds", (long long)s);
	return out;
}

const char *human_ns(uint64_t ns, char out[32])
{
	if (ns >= 60ull * 1000000000)
		return human_seconds((int64_t)min_of(ns / 1000000000, (uint64_t)INT64_MAX), out);
	if (ns >= 1000000000)
		snprintf(out, 32, "%.1fs", (double)ns / 1e9);
	else if (ns >= 1000000)
		snprintf(out, 32, "%.1fms", (double)ns / 1e6);
	else
		snprintf(out, 32, "%lluus", (unsigned long long)(ns / 1000));
	return out;
}

/* Bytes of the UTF-8 character at s that may go to a terminal; 0: none. */
static size_t shown(const uint8_t *s)
{
	size_t n = s[0] < 0x80 ? 1 : s[0] >= 0xf0 ? 4 : s[0] >= 0xe0 ? 3 : s[0] >= 0xc2 ? 2 : 0;

	if (n == 1)
		return s[0] >= 0x20 && s[0] != 0x7f;
	if (s[0] == 0xc2 && s[1] < 0xa0)
		return 0;	/* C1 control characters: some terminals obey them */
	for (size_t i = 1; i < n; i++)
		if ((s[i] & 0xc0) != 0x80)
			return 0;
	return n;
}

void print_clean(struct text *t, const char *s)
{
	const uint8_t *p = (const uint8_t *)s;

	while (*p) {
		size_t n = shown(p);

		if (n)
			text_add(t, slice_of(p, n));
		else
			text_addc(t, '?');
		p += max_of(n, (size_t)1);
	}
}

/* Columns of a terminal that the text takes: one per character. */
static size_t width(const char *s)
{
	size_t n = 0;

	for (; *s; s++)
		n += ((uint8_t)*s & 0xc0) != 0x80;
	return n;
}

static void pad(struct text *t, size_t n)
{
	while (n--)
		text_addc(t, ' ');
}

/* For programs: people have the quantiles. */
static bool is_for_programs(const char *key)
{
	return strcmp(key, "buckets") == 0;
}

/* The length of a key without the unit that its value is shown with. */
static size_t without_unit(const char *key)
{
	static const char *const units[] = { "_bytes", "_seconds", "_unix_ms", "_ns" };
	size_t n = strlen(key);

	for (unsigned i = 0; i < countof(units); i++)
		if (ends_with(key, units[i]) && n > strlen(units[i]))
			return n - strlen(units[i]);
	return n;
}

static void name_of_key(const char *key, struct text *t)
{
	char name[64];

	snprintf(name, sizeof name, "%.*s", (int)min_of(without_unit(key), sizeof name - 1), key);
	print_clean(t, name);
}

/* A value as people read it, by the unit that its key names. */
static void human(const char *key, const json_t *v, int64_t now_unix_ms, struct text *t)
{
	json_int_t n = json_integer_value(v);
	char buf[32];

	if (json_is_integer(v)) {
		if (ends_with(key, "_bytes") && n >= 0)
			text_adds(t, human_bytes((uint64_t)n, buf));
		else if (ends_with(key, "_seconds"))
			text_adds(t, human_seconds(n, buf));
		else if (ends_with(key, "_ns") && n >= 0)
			text_adds(t, human_ns((uint64_t)n, buf));
		else if (ends_with(key, "_unix_ms")) {
			if (n > 0) {
				text_adds(t, human_seconds(max_of(now_unix_ms - n, 0) / 1000, buf));
				text_adds(t, " ago");
			} else {
				text_addc(t, '-');
			}
		} else
			text_printf(t, "%lld", (long long)n);
	} else if (json_is_string(v)) {
		if (json_string_length(v))
			print_clean(t, json_string_value(v));
		else
			text_addc(t, '-');
	} else if (json_is_real(v)) {
		text_printf(t, json_real_value(v) < 1000 ? "%.3g" : "%.0f", json_real_value(v));
	} else if (json_is_boolean(v)) {
		text_adds(t, json_is_true(v) ? "yes" : "no");
	} else if (json_is_array(v) && json_array_size(v) && !json_is_object(json_array_get(v, 0))) {
		for (size_t i = 0; i < json_array_size(v); i++) {
			if (i)
				text_addc(t, ',');
			human(key, json_array_get(v, i), now_unix_ms, t);
		}
	} else if (json_is_object(v)) {
		const char *k;
		json_t *item;
		bool first = true;

		json_object_foreach((json_t *)(uintptr_t)v, k, item) {
			if (is_for_programs(k))
				continue;
			if (!first)
				text_addc(t, ' ');
			first = false;
			name_of_key(k, t);
			text_addc(t, '=');
			human(k, item, now_unix_ms, t);
		}
		if (first)
			text_addc(t, '-');
	} else {
		text_addc(t, '-');
	}
}

/* The value at a path: "a.b", "a[].b" (all of them, with commas). */
static void cell_at(const json_t *v, const char *path, int64_t now_unix_ms, struct text *t)
{
	char key[64];
	size_t n = strcspn(path, ".[");

	snprintf(key, sizeof key, "%.*s", (int)n, path);
	v = json_object_get(v, key);
	path += n;
	if (strncmp(path, "[]", 2) == 0) {
		const json_t *item;
		size_t i;

		path += 2;
		if (!json_array_size(v))
			text_addc(t, '-');
		json_array_foreach(v, i, item) {
			if (i)
				text_addc(t, ',');
			if (*path == '.')
				cell_at(item, path + 1, now_unix_ms, t);
			else
				human(key, item, now_unix_ms, t);
		}
	} else if (*path == '.') {
		cell_at(v, path + 1, now_unix_ms, t);
	} else {
		human(key, v, now_unix_ms, t);
	}
}

/* ---- tables ---- */

struct table {
	unsigned cols;
	bool dense;			/* leaves columns out in which nobody has a value */
	const char *heading[COLS], *path[COLS];
};

static bool numeric(const char *s)
{
	return (*s >= '0' && *s <= '9' && !s[strcspn(s, ",:/ ")]) || strcmp(s, "-") == 0;
}

static void cut_cell(char *s)
{
	size_t n = CELL - 4;

	while (n && ((uint8_t)s[n] & 0xc0) == 0x80)
		n--;
	memcpy(s + n, "...", 4);
}

static void table_out(const struct table *tab, const json_t *list, int64_t now, struct text *out)
{
	size_t rows = json_array_size(list), wide[COLS];
	char (*cells)[CELL] = calloc(rows * tab->cols + 1, CELL);
	bool left[COLS] = { false }, told[COLS] = { false };

	if (!cells)
		return;
	for (unsigned c = 0; c < tab->cols; c++)
		wide[c] = strlen(tab->heading[c]);
	for (size_t r = 0; r < rows; r++)
		for (unsigned c = 0; c < tab->cols; c++) {
			struct text t = text_of(1 << 20);
			char *cell = cells[r * tab->cols + c];

			cell_at(json_array_get(list, r), tab->path[c], now, &t);
			snprintf(cell, CELL, "%s", t.p ? t.p : "");
			if (t.n >= CELL)
				cut_cell(cell);
			text_fini(&t);
			wide[c] = max_of(wide[c], width(cell));
			left[c] |= !numeric(cell);
			told[c] |= strcmp(cell, "-") != 0;
		}
	for (size_t r = 0; r <= rows; r++) {
		size_t before = 0;	/* blanks owed to the column before */

		for (unsigned c = 0; c < tab->cols; c++) {
			const char *cell = r ? cells[(r - 1) * tab->cols + c] : tab->heading[c];
			size_t gap = wide[c] - width(cell);

			if (tab->dense && !told[c])
				continue;
			pad(out, before + (left[c] ? 0 : gap));
			text_adds(out, cell);
			before = 2 + (left[c] ? gap : 0);
		}
		text_addc(out, '\n');
	}
	free(cells);
}

void print_fit(struct slice s, size_t columns, size_t lines, struct text *out)
{
	size_t line = 0, at = 0;

	for (size_t i = 0; i < s.n && line < lines; i++) {
		uint8_t c = s.p[i];

		if (c == '\n') {
			text_addc(out, '\n');
			line++;
			at = 0;
		} else {
			at += (c & 0xc0) != 0x80;
			if (at <= columns)
				text_addc(out, (char)c);
		}
	}
}

void print_table(enum cmd cmd, const json_t *list, int64_t now_unix_ms, struct text *out)
{
	struct table tab = { .dense = cmd == CMD_top };	/* three kinds of rows in one */
	const struct col_row *col;

	while (tab.cols < COLS && (col = cmd_col(cmd, tab.cols))) {
		tab.heading[tab.cols] = col->heading;
		tab.path[tab.cols++] = col->path;
	}
	if (json_array_size(list) == 0) {
		text_printf(out, "no %s\n", cmd_row(cmd)->list);
		return;
	}
	table_out(&tab, list, now_unix_ms, out);
}

/* ---- objects ---- */

static bool is_table(const json_t *v)
{
	return json_is_array(v) && json_is_object(json_array_get(v, 0));
}

/* Every flat key of the first row is a column; keys that are false or null in all rows are not. */
static void free_table(const json_t *list, int64_t now, struct text *out)
{
	char headings[COLS][40];
	struct table tab = { 0 };
	const char *key;
	json_t *v;

	json_object_foreach(json_array_get(list, 0), key, v) {
		bool tells = false;

		for (size_t i = 0; i < json_array_size(list) && !tells; i++) {
			json_t *x = json_object_get(json_array_get(list, i), key);

			tells = x && !json_is_null(x) && !json_is_false(x) && !is_table(x) &&
				!(json_is_string(x) && json_string_length(x) == 0);
		}
		if (!tells || tab.cols == COLS)
			continue;
		snprintf(headings[tab.cols], sizeof headings[0], "%.*s", (int)without_unit(key), key);
		for (char *p = headings[tab.cols]; *p; p++)
			*p = *p == '_' ? '-' : *p >= 'a' && *p <= 'z' ? (char)(*p - 32) : *p;
		tab.heading[tab.cols] = headings[tab.cols];
		tab.path[tab.cols++] = key;
	}
	table_out(&tab, list, now, out);
}

/* "received_bytes" -> "Received": the unit is in the value. */
static void title(const char *key, struct text *out)
{
	size_t n = without_unit(key);

	for (size_t i = 0; i < n && key[i]; i++) {
		char c = key[i] == '_' ? ' ' : key[i];

		if (i == 0 && c >= 'a' && c <= 'z')
			c = (char)(c - 32);
		text_addc(out, (uint8_t)c < 0x20 ? '?' : c);
	}
}

static bool has_table(const json_t *o)
{
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)o, key, v)
		if (is_table(v) && !is_for_programs(key))
			return true;
	return false;
}

/* A list of objects, and below it what is inside each: the conditions of a parent. */
static void list(const char *key, const json_t *v, int64_t now, struct text *out)
{
	const char *k;
	json_t *x;

	text_addc(out, '\n');
	title(key, out);
	text_adds(out, ":\n");
	free_table(v, now, out);
	for (size_t i = 0; i < json_array_size(v); i++)
		json_object_foreach(json_array_get(v, i), k, x) {
			if (!is_table(x))
				continue;
			text_addc(out, '\n');
			title(key, out);
			text_printf(out, " %zu, ", i + 1);
			print_clean(out, k);
			text_adds(out, ":\n");
			free_table(x, now, out);
		}
}

static void object(const json_t *o, int64_t now, unsigned depth, struct text *out)
{
	size_t wide = 0, at;
	const char *key;
	json_t *v;

	json_object_foreach((json_t *)(uintptr_t)o, key, v)
		if (!is_table(v) && !has_table(v))
			wide = max_of(wide, strlen(key));
	json_object_foreach((json_t *)(uintptr_t)o, key, v) {
		if (is_table(v) || has_table(v))
			continue;
		if (json_is_array(v) && json_array_size(v) == 0)
			continue;	/* nothing refused, no rules: not worth a line */
		at = out->n;
		title(key, out);
		text_addc(out, ':');
		pad(out, wide + 3 - min_of(out->n - at, wide + 2));
		human(key, v, now, out);
		text_addc(out, '\n');
	}
	json_object_foreach((json_t *)(uintptr_t)o, key, v) {
		if (is_table(v)) {
			list(key, v, now, out);
		} else if (has_table(v) && depth < 4) {
			text_addc(out, '\n');
			title(key, out);
			text_adds(out, ":\n");
			object(v, now, depth + 1, out);
		}
	}
}

void print_object(const json_t *o, int64_t now_unix_ms, struct text *out)
{
	object(o, now_unix_ms, 0, out);
}

void print_list(const json_t *list, int64_t now_unix_ms, struct text *out)
{
	if (is_table(list))
		free_table(list, now_unix_ms, out);
}

static const char *text_at(const json_t *o, const char *key)
{
	const char *s = json_string_value(json_object_get(o, key));

	return s ? s : "-";
}

static long long number_at(const json_t *o, const char *key)
{
	return (long long)json_integer_value(json_object_get(o, key));
}

/* The page an operator sees first: one line of verdict, then who runs, then where it comes from. */
/* The documents that are not served, and why: the first thing to read after a change. */
void print_refused(const json_t *list, int64_t now_unix_ms, struct text *out)
{
	static const struct table refused = {
		.cols = 8,
		.heading = { "REFUSED", "LINE", "FIELD", "REASON", "KIND", "NAMESPACE", "NAME",
			     "LAST-GOOD-SERVED" },
		.path = { "source", "line", "field", "reason", "kind", "namespace", "name",
			  "serving_last_good" },
	};

	if (json_array_size(list) == 0)
		return;
	text_addc(out, '\n');
	table_out(&refused, list, now_unix_ms, out);
}

void print_findings(const json_t *list, struct text *out)
{
	const json_t *f;
	size_t i;

	if (json_array_size(list) == 0)
		text_adds(out, "nothing to complain about\n");
	json_array_foreach(list, i, f) {
		size_t at = out->n;

		print_clean(out, text_at(f, "severity"));
		pad(out, 9 - min_of(out->n - at, (size_t)8));
		print_clean(out, text_at(f, "what"));
		text_adds(out, "\n         do: ");
		print_clean(out, text_at(f, "do"));
		text_addc(out, '\n');
	}
}

static void print_config(const json_t *config, int64_t now_unix_ms, struct text *out)
{
	const json_t *last = json_object_get(config, "last_reload");
	char age[32];

	if (!json_is_object(config))
		return;
	text_printf(out, "settings   generation %lld, for %s\n", number_at(config, "generation"),
		    human_seconds(max_of(now_unix_ms - number_at(config, "since_unix_ms"), 0) / 1000, age));
	if (!json_is_object(last) || json_is_true(json_object_get(last, "ok")))
		return;
	text_printf(out, "reload     REFUSED %s ago: ",
		    human_seconds(max_of(now_unix_ms - number_at(last, "at_unix_ms"), 0) / 1000, age));
	print_clean(out, text_at(last, "reason"));
	text_addc(out, '\n');
}

static const char *plural(long long n)
{
	return n == 1 ? "" : "s";
}

void print_status(const json_t *o, int64_t now_unix_ms, struct text *out)
{
	static const struct table processes = {
		.cols = 7,
		.heading = { "ROLE", "ID", "PID", "STATE", "AGE", "RESTARTS", "LAST-EXIT" },
		.path = { "role", "id", "pid", "state", "uptime_seconds", "restarts", "last_exit" },
	};
	static const struct table sources = {
		.cols = 6,
		.heading = { "SOURCE", "STATE", "DOCUMENTS", "ACCEPTED", "REFUSED", "PATH" },
		.path = { "kind", "state", "documents", "accepted", "refused", "path" },
	};
	static const struct table workers = {
		.cols = 9,
		.heading = { "WORKER", "PID", "CPU", "STATE", "REV", "AGE", "RESTARTS", "CONNS",
			     "LOG-DROPS" },
		.path = { "id", "pid", "cpu", "state", "rev", "uptime_seconds", "restarts",
			  "connections", "log_dropped" },
	};
	const json_t *durable = json_object_get(o, "durable");
	json_t *rest = json_array(), *v;
	char age[32];
	size_t i;

	if (json_is_true(json_object_get(o, "ready"))) {
		text_adds(out, "ready");
	} else {
		text_adds(out, "NOT READY: ");
		print_clean(out, text_at(o, "why"));
	}
	text_adds(out, "\n\n");
	text_adds(out, "node       ");
	print_clean(out, text_at(o, "node"));
	text_adds(out, " (cluster ");
	print_clean(out, text_at(o, "cluster"));
	text_adds(out, ")\nversion    ");
	print_clean(out, text_at(o, "version"));
	text_printf(out, ", up %s\n", human_seconds(number_at(o, "uptime_seconds"), age));
	text_printf(out, "revision   store %lld, view %lld", number_at(o, "rev"),
		    number_at(o, "view_rev"));
	if (number_at(o, "failed_rev"))
		text_printf(out, ", FAILED %lld", number_at(o, "failed_rev"));
	text_adds(out, json_is_true(durable)	? ", durable\n"
		       : json_is_false(durable) ? ", NOT DURABLE\n"
						: "\n");
	v = json_object_get(o, "upgrade");
	if (json_is_true(json_object_get(v, "running")))
		text_adds(out, "upgrade    new binaries are starting\n");
	if (number_at(v, "old_masters"))
		text_printf(out, "upgraded   %lld old workers finish what they have\n",
			    number_at(v, "old_workers"));
	text_printf(out, "serving    %lld service%s, %lld connection%s\n", number_at(o, "services"),
		    plural(number_at(o, "services")), number_at(o, "connections"),
		    plural(number_at(o, "connections")));
	print_config(json_object_get(o, "config"), now_unix_ms, out);
	if (number_at(o, "refused"))
		text_printf(out, "refused    %lld document%s: nodeproxyctl get sources\n",
			    number_at(o, "refused"), plural(number_at(o, "refused")));
	if (number_at(o, "log_dropped"))
		text_printf(out, "log        %lld records lost\n", number_at(o, "log_dropped"));
	text_addc(out, '\n');
	table_out(&workers, json_object_get(o, "workers"), now_unix_ms, out);
	text_addc(out, '\n');
	json_array_foreach(json_object_get(o, "processes"), i, v)
		if (strcmp(text_at(v, "role"), "worker") != 0)
			json_array_append(rest, v);
	if (json_array_size(rest)) {
		table_out(&processes, rest, now_unix_ms, out);
		text_addc(out, '\n');
	}
	table_out(&sources, json_object_get(o, "sources"), now_unix_ms, out);
	json_decref(rest);
}
