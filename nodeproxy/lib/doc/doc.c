/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See doc.h: the tree, without any parser. */
#include "nodeproxy/lib/doc/doc.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define BLOCK_BYTES 16384

struct doc_block {
	struct doc_block *older;
	size_t used, room;
	_Alignas(8) uint8_t bytes[];
};

void *doc_take(struct doc *d, size_t n)
{
	struct doc_block *b = d->blocks;

	n = (n + 7) & ~(size_t)7;
	if (b == NULL || b->room - b->used < n) {
		size_t room = max_of(n, (size_t)BLOCK_BYTES);

		b = malloc(sizeof *b + room);
		if (b == NULL)
			return NULL;
		*b = (struct doc_block){ .older = d->blocks, .room = room };
		d->blocks = b;
	}
	b->used += n;
	return b->bytes + b->used - n;
}

struct doc_node *doc_node_new(struct doc *d, enum doc_type type, uint32_t line)
{
	struct doc_node *n = d->nodes < DOC_NODES_MAX ? doc_take(d, sizeof *n) : NULL;

	if (n == NULL)
		return NULL;
	*n = (struct doc_node){ .type = type, .line = line };
	d->nodes++;
	return n;
}

int doc_text(struct doc *d, struct slice from, struct slice *ret)
{
	char *p = doc_take(d, from.n + 1);

	if (p == NULL)
		return -ENOMEM;
	if (from.n)
		memcpy(p, from.p, from.n);
	p[from.n] = 0;
	*ret = slice_of(p, from.n);
	return 0;
}

void doc_append(struct doc_node *parent, struct doc_node *m)
{
	if (parent->last)
		parent->last->next = m;
	else
		parent->first = m;
	parent->last = m;
	parent->n++;
}

static int by_key(const void *a, const void *b)
{
	const struct doc_node *x = *(struct doc_node *const *)a, *y = *(struct doc_node *const *)b;

	return slice_cmp(x->key, y->key);
}

int doc_seal(struct doc *d, struct doc_node *map, const struct doc_node **ret_twice)
{
	struct doc_node **s;
	uint32_t i = 0;

	if (map->n == 0)
		return 0;
	s = doc_take(d, map->n * sizeof *s);
	if (s == NULL)
		return -ENOMEM;
	for (struct doc_node *m = map->first; m; m = m->next)
		s[i++] = m;
	qsort(s, map->n, sizeof *s, by_key);
	for (i = 1; i < map->n; i++) {
		if (slice_eq(s[i - 1]->key, s[i]->key)) {
			*ret_twice = s[i - 1]->line > s[i]->line ? s[i - 1] : s[i];
			return -EEXIST;
		}
	}
	map->sorted = s;
	return 0;
}

void doc_fini(struct doc *d)
{
	while (d->blocks) {
		struct doc_block *b = d->blocks;

		d->blocks = b->older;
		free(b);
	}
	*d = (struct doc){ 0 };
}

struct doc_node *doc_get(const struct doc_node *map, const char *key)
{
	struct slice k = slice_str(key);

	if (map == NULL || map->type != DOC_MAP)
		return NULL;
	if (map->sorted == NULL) {	/* the document broke off inside this map */
		for (struct doc_node *m = map->first; m; m = m->next)
			if (slice_eq(m->key, k))
				return m->type == DOC_NULL ? NULL : m;
		return NULL;
	}
	for (uint32_t lo = 0, hi = map->n; lo < hi;) {
		uint32_t mid = lo + (hi - lo) / 2;
		int c = slice_cmp(k, map->sorted[mid]->key);

		if (c == 0)
			return map->sorted[mid]->type == DOC_NULL ? NULL : map->sorted[mid];
		if (c < 0)
			hi = mid;
		else
			lo = mid + 1;
	}
	return NULL;
}

const char *doc_type_name(enum doc_type t)
{
	static const char *const name[] = {
		[DOC_NULL] = "null",   [DOC_BOOL] = "true or false", [DOC_INT] = "a number",
		[DOC_NUMBER] = "a number", [DOC_STR] = "text",	     [DOC_LIST] = "a list",
		[DOC_MAP] = "a mapping",
	};

	return (unsigned)t < countof(name) ? name[t] : "?";
}

/* Growing output of doc_canonical; err is sticky. */
struct out {
	char *p;
	size_t n, room;
	int err;
};

static void put(struct out *o, const void *p, size_t n)
{
	if (o->err || n == 0)
		return;
	if (o->room - o->n <= n) {
		size_t room = (o->room + n) * 2 + 256;
		char *more = realloc(o->p, room);

		if (more == NULL) {
			o->err = -ENOMEM;
			return;
		}
		o->p = more;
		o->room = room;
	}
	memcpy(o->p + o->n, p, n);
	o->n += n;
	o->p[o->n] = 0;
}

static void put_string(struct out *o, struct slice s)
{
	size_t at = 0;

	put(o, "\"", 1);
	for (size_t i = 0; i < s.n; i++) {
		uint8_t c = s.p[i];
		char esc[8] = { '\\', 0 };

		if (c >= 0x20 && c != '"' && c != '\\' && c != 0x7f)
			continue;
		put(o, s.p + at, i - at);
		at = i + 1;
		if (c == '"' || c == '\\')
			esc[1] = (char)c;
		else if (c == '\n')
			esc[1] = 'n';
		else if (c == '\t')
			esc[1] = 't';
		else if (c == '\r')
			esc[1] = 'r';
		else
			snprintf(esc, sizeof esc, "\\u%04x", c);
		put(o, esc, strlen(esc));
	}
	put(o, s.p + at, s.n - at);
	put(o, "\"", 1);
}

/* Depth is bounded by DOC_DEPTH_MAX: nobody makes a deeper tree. */
static void put_node(struct out *o, const struct doc_node *n)
{
	char num[24];
	bool first = true;

	switch (n->type) {
	case DOC_NULL:
		put(o, "null", 4);
		break;
	case DOC_BOOL:
		put(o, n->boolean ? "true" : "false", n->boolean ? 4 : 5);
		break;
	case DOC_INT:
		put(o, num, (size_t)snprintf(num, sizeof num, "%lld", (long long)n->number));
		break;
	case DOC_NUMBER:
		o->err = o->err ? o->err : -EINVAL;
		break;
	case DOC_STR:
		put_string(o, n->text);
		break;
	case DOC_LIST:
		put(o, "[", 1);
		for (const struct doc_node *m = n->first; m; m = m->next) {
			if (m->hidden)
				continue;
			if (!first)
				put(o, ",", 1);
			first = false;
			put_node(o, m);
		}
		put(o, "]", 1);
		break;
	case DOC_MAP:
		put(o, "{", 1);
		for (uint32_t i = 0; n->sorted && i < n->n; i++) {
			const struct doc_node *m = n->sorted[i];

			if (m->hidden || m->type == DOC_NULL)
				continue;
			if (!first)
				put(o, ",", 1);
			first = false;
			put_string(o, m->key);
			put(o, ":", 1);
			put_node(o, m);
		}
		put(o, "}", 1);
		break;
	}
}

int doc_canonical(const struct doc_node *n, char **ret, size_t *ret_n)
{
	struct out o = { 0 };

	put_node(&o, n);
	if (o.err) {
		free(o.p);
		return o.err;
	}
	*ret = o.p;
	*ret_n = o.n;
	return 0;
}

/* Edits (insert, delete, replace, swap two neighbours) from a to b, without regard to case. */
static unsigned distance(struct slice a, struct slice b)
{
	unsigned row[3][64];

	if (a.n >= 63 || b.n >= 63)
		return 99;
	for (size_t j = 0; j <= b.n; j++)
		row[0][j] = (unsigned)j;
	for (size_t i = 1; i <= a.n; i++) {
		unsigned *now = row[i % 3], *was = row[(i + 2) % 3], *before = row[(i + 1) % 3];

		now[0] = (unsigned)i;
		for (size_t j = 1; j <= b.n; j++) {
			uint8_t x = byte_lower(a.p[i - 1]), y = byte_lower(b.p[j - 1]);
			unsigned d = was[j - 1] + (x != y);

			d = min_of(d, was[j] + 1);
			d = min_of(d, now[j - 1] + 1);
			if (i > 1 && j > 1 && x == byte_lower(b.p[j - 2]) &&
			    byte_lower(a.p[i - 2]) == y)
				d = min_of(d, before[j - 2] + 1);
			now[j] = d;
		}
	}
	return row[a.n % 3][b.n];
}

const char *doc_nearest(struct slice word, const char *(*nth)(const void *arg, unsigned i),
			const void *arg)
{
	const char *best = NULL, *c;
	unsigned best_d = 99;

	for (unsigned i = 0; (c = nth(arg, i)); i++) {
		struct slice s = slice_str(c);
		unsigned d = distance(word, s);

		/* A word half of which must change is another word. */
		if (d < best_d && d * 2 < max_of(word.n, s.n) && d <= 3) {
			best = c;
			best_d = d;
		}
	}
	return best;
}

const char *doc_clean(struct slice s, char *out, size_t room)
{
	size_t n = min_of(s.n, room - 1);

	for (size_t i = 0; i < n; i++)
		out[i] = s.p[i] >= 0x20 && s.p[i] < 0x7f ? (char)s.p[i] : '?';
	out[n] = 0;
	if (n < s.n && n >= 3)
		memcpy(out + n - 3, "...", 3);
	return out;
}
