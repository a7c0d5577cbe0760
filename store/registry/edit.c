/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See edit.h. */
#include "store/registry/edit.h"

#include <errno.h>
#include <stdlib.h>

static struct slice line_at(struct slice s, size_t at)
{
	const uint8_t *nl = at < s.n ? memchr(s.p + at, '\n', s.n - at) : NULL;

	return slice_of(s.p + at, nl ? (size_t)(nl - s.p) + 1 - at : s.n - at);
}

static bool is_blank(struct slice line)
{
	for (size_t i = 0; i < line.n; i++)
		if (!memchr(" \t\r\n", line.p[i], 4))
			return false;
	return true;
}

static bool is_marker(struct slice line, const char *mark)
{
	return slice_starts(line, slice_str(mark)) &&
	       (line.n == 3 || memchr(" \t\r\n", line.p[3], 4) != NULL);
}

/* What may stand between documents.  A # in the first column is never inside one: not even a block
 * of text can have a line that is not indented. */
static bool is_between(struct slice line)
{
	return is_blank(line) || line.p[0] == '#' || is_marker(line, "...");
}

/* Where the line before the one at `at` starts. */
static size_t line_before(struct slice s, size_t at)
{
	const uint8_t *nl = at > 1 ? memrchr(s.p, '\n', at - 1) : NULL;

	return nl ? (size_t)(nl - s.p) + 1 : 0;
}

/* The lines of a document that starts on so many lines behind `at`, inside [at, end). */
static void find_range(struct edit_doc *d, struct slice s, size_t at, size_t end, uint32_t lines)
{
	size_t marker = SIZE_MAX, to = end;

	while (lines-- && at < end) {
		struct slice l = line_at(s, at);

		if (is_marker(l, "---"))
			marker = at;
		at += l.n;
	}
	d->from = min_of(at, end);
	d->on_marker = d->from < end && is_marker(line_at(s, d->from), "---");
	d->marker = d->on_marker || marker == SIZE_MAX ? d->from : marker;
	while (to > d->from) {
		size_t before = line_before(s, to);

		if (before < d->from || !is_between(line_at(s, before)))
			break;
		to = before;
	}
	d->to = to;
}

uint64_t edit_version(struct slice json)
{
	uint8_t digest[32];
	uint64_t v;

	resource_digest(json, digest);
	memcpy(&v, digest, sizeof v);
	return v ? v : 1;
}

int edit_read(struct edit *e, const char *name, struct slice bytes)
{
	struct resource_reader reader;

	*e = (struct edit){ .bytes = bytes };
	resource_reader_init(&reader, name, bytes);
	for (;;) {
		size_t at = reader.stream.rest.p ? (size_t)(reader.stream.rest.p - bytes.p) : 0;
		uint32_t line = max_of(reader.stream.line, 1u), first;
		struct edit_doc d = { 0 };
		int r = resource_next(&reader, &d.row, &d.refusal);
		size_t end = reader.stream.rest.p ? (size_t)(reader.stream.rest.p - bytes.p) : bytes.n;

		if (r <= 0)
			return r;
		if (e->n == e->room) {
			size_t room = e->room ? e->room * 2 : 4;
			struct edit_doc *v = realloc(e->v, room * sizeof *v);

			if (v == NULL) {
				row_free(&d.row);
				refusal_free(&d.refusal);
				return -ENOMEM;
			}
			e->v = v;
			e->room = room;
		}
		first = d.row ? d.row->line : d.refusal->doc_line;
		find_range(&d, bytes, at, end, first > line ? first - line : 0);
		d.version = edit_version(d.row ? slice_str(d.row->json)
					       : slice_of(bytes.p + d.from, d.to - d.from));
		e->v[e->n++] = d;
	}
}

void edit_fini(struct edit *e)
{
	for (size_t i = 0; i < e->n; i++) {
		row_free(&e->v[i].row);
		refusal_free(&e->v[i].refusal);
	}
	free(e->v);
	*e = (struct edit){ 0 };
}

struct registry_key edit_key(const struct edit_doc *d)
{
	if (d->row)
		return (struct registry_key){ "", row_kind_name(d->row->kind), d->row->ns, d->row->name };
	return (struct registry_key){ "", d->refusal->kind, d->refusal->ns, d->refusal->name };
}

uint32_t edit_line(const struct edit_doc *d)
{
	return d->row ? d->row->line : d->refusal->doc_line;
}

/* ---- writing ---- */

static char *join(const struct slice *part, size_t parts, size_t *ret_n)
{
	size_t n = 0;
	char *p;

	for (size_t i = 0; i < parts; i++)
		n += part[i].n;
	p = malloc(n + 1);
	if (p == NULL)
		return NULL;
	n = 0;
	for (size_t i = 0; i < parts; i++) {
		if (part[i].n)
			memcpy(p + n, part[i].p, part[i].n);
		n += part[i].n;
	}
	p[n] = 0;
	*ret_n = n;
	return p;
}

char *edit_replace(const struct edit *e, size_t i, struct slice text, size_t *ret_n)
{
	const struct edit_doc *d = &e->v[i];
	const struct slice parts[] = {
		slice_of(e->bytes.p, d->from),
		d->on_marker ? SLICE("---\n") : SLICE(""),
		text,
		slice_from(e->bytes, d->to),
	};

	return join(parts, countof(parts), ret_n);
}

char *edit_append(const struct edit *e, struct slice text, size_t *ret_n)
{
	bool ends = e->bytes.n == 0 || e->bytes.p[e->bytes.n - 1] == '\n';
	const struct slice parts[] = {
		e->bytes,
		ends ? SLICE("") : SLICE("\n"),
		e->bytes.n == 0 ? SLICE("") : SLICE("---\n"),
		text,
	};

	return join(parts, countof(parts), ret_n);
}

char *edit_remove(const struct edit *e, size_t i, size_t *ret_n)
{
	const struct edit_doc *d = &e->v[i];
	const struct slice parts[] = { slice_of(e->bytes.p, d->marker), slice_from(e->bytes, d->to) };

	return join(parts, countof(parts), ret_n);
}

bool edit_is_sound(const struct edit *was, const struct edit *now, size_t i, uint64_t version)
{
	size_t k = 0;

	if (now->n != was->n + (i == was->n) - (version == 0))
		return false;
	for (size_t n = 0; n < was->n || n == i; n++) {
		uint64_t v = n == i ? version : was->v[n].version;

		if (v && (k >= now->n || now->v[k++].version != v))
			return false;
	}
	return k == now->n;
}

bool edit_is_blank(struct slice s)
{
	for (size_t at = 0; at < s.n;) {
		struct slice l = line_at(s, at);

		if (!is_blank(l) && !is_marker(l, "...") && !(is_marker(l, "---") && l.n <= 5))
			return false;
		at += l.n;
	}
	return true;
}
