/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See text.h. */
#include "admin/text.h"

#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/strbuf.h"

void text_fini(struct text *t)
{
	free(t->p);
	*t = text_of(t->max);
}

/* Where n more bytes and a NUL may be written; NULL: they do not fit. */
static char *room_for(struct text *t, size_t n)
{
	if (t->cut)
		return NULL;
	if (n >= t->max - t->n) {
		t->cut = true;
		return NULL;
	}
	if (t->n + n + 1 > t->room) {
		size_t want = max_of(t->room * 2, t->n + n + 1);
		char *p;

		want = min_of(max_of(want, (size_t)4096), t->max);
		p = realloc(t->p, want);
		if (!p) {
			t->cut = true;
			return NULL;
		}
		t->p = p;
		t->room = want;
	}
	return t->p + t->n;
}

void text_add(struct text *t, struct slice s)
{
	char *to = room_for(t, s.n);

	if (!to)
		return;
	if (s.n)
		memcpy(to, s.p, s.n);
	t->n += s.n;
	t->p[t->n] = 0;
}

void text_adds(struct text *t, const char *s)
{
	text_add(t, slice_str(s));
}

void text_addc(struct text *t, char c)
{
	text_add(t, slice_of(&c, 1));
}

void text_u64(struct text *t, uint64_t v)
{
	char buf[20], *p = u64_digits(v, buf);

	text_add(t, slice_of(p, (size_t)(buf + sizeof buf - p)));
}

void text_printf(struct text *t, const char *fmt, ...)
{
	va_list ap, again;
	char *to;
	int n;

	va_start(ap, fmt);
	va_copy(again, ap);
	n = vsnprintf(NULL, 0, fmt, ap);
	va_end(ap);
	to = n < 0 ? NULL : room_for(t, (size_t)n);
	if (to) {
		vsnprintf(to, (size_t)n + 1, fmt, again);
		t->n += (size_t)n;
	}
	va_end(again);
}

static void js_json_string(struct text *t, struct slice s)
{
	/* \u00XX: six bytes for one, and the quotes */
	size_t most = s.n > t->max / 6 ? t->max : 6 * s.n + 2;
	char *to = room_for(t, most);
	struct strbuf b;

	if (!to)
		return;
	b = strbuf_on(to, most + 1);
	strbuf_json(&b, s);
	t->cut |= b.cut;
	t->n += b.n;
}

static void js_key(struct text *t, const char *key)
{
	if (t->comma)
		text_addc(t, ',');
	t->comma = true;
	if (key) {
		js_json_string(t, slice_str(key));
		text_addc(t, ':');
	}
}

void js_open(struct text *t, const char *key, char what)
{
	js_key(t, key);
	text_addc(t, what);
	t->comma = false;
}

void js_close(struct text *t, char what)
{
	text_addc(t, what);
	t->comma = true;
}

void js_slice(struct text *t, const char *key, struct slice s)
{
	js_key(t, key);
	js_json_string(t, s);
}

void js_str(struct text *t, const char *key, const char *s)
{
	if (s)
		js_slice(t, key, slice_str(s));
	else
		js_null(t, key);
}

void js_u64(struct text *t, const char *key, uint64_t v)
{
	js_key(t, key);
	text_u64(t, min_of(v, (uint64_t)INT64_MAX));
}

void js_i64(struct text *t, const char *key, int64_t v)
{
	js_key(t, key);
	if (v < 0)
		text_addc(t, '-');
	text_u64(t, v < 0 ? 0 - (uint64_t)v : (uint64_t)v);
}

void js_bool(struct text *t, const char *key, bool v)
{
	js_key(t, key);
	text_adds(t, v ? "true" : "false");
}

void js_null(struct text *t, const char *key)
{
	js_key(t, key);
	text_adds(t, "null");
}

static int dump_cb(const char *bytes, size_t n, void *arg)
{
	struct text *t = arg;

	text_add(t, slice_of(bytes, n));
	return t->cut ? -1 : 0;
}

void js_node(struct text *t, const char *key, const json_t *node)
{
	if (!node) {
		js_null(t, key);
		return;
	}
	js_key(t, key);
	if (json_dump_callback(node, dump_cb, t, JSON_COMPACT | JSON_ENCODE_ANY | JSON_REAL_PRECISION(12)) < 0)
		t->cut = true;
}
