/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* YAML to the tree of doc.h, over libyaml's events.
 *
 * libyaml (YAML 1.1) checks UTF-8, escapes and structure; here are the limits, the refusal of what
 * makes documents mean more than they show (anchors, tags, merge keys, equal keys), and the types
 * of plain scalars as Kubernetes' own reader has them.  No recursion: the depth is an array. */
#include "nodeproxy/lib/doc/doc.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <yaml.h>

static int wrong(struct doc_error *e, uint32_t line, const char *fmt, ...) printf_like(3, 4);
static int wrong(struct doc_error *e, uint32_t line, const char *fmt, ...)
{
	va_list ap;

	e->line = line;
	va_start(ap, fmt);
	vsnprintf(e->text, sizeof e->text, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

void doc_stream_init(struct doc_stream *st, struct slice bytes)
{
	if (slice_starts(bytes, SLICE("\xef\xbb\xbf")))
		bytes = slice_from(bytes, 3);
	*st = (struct doc_stream){ .rest = bytes, .line = 1 };
}

/* "---" or "..." alone, or with something behind a blank. */
static bool is_marker(struct slice line, const char *mark)
{
	return slice_starts(line, slice_str(mark)) &&
	       (line.n == 3 || line.p[3] == ' ' || line.p[3] == '\t' || line.p[3] == '\r' ||
		line.p[3] == '\n');
}

static struct slice first_line(struct slice s)
{
	const uint8_t *nl = s.n ? memchr(s.p, '\n', s.n) : NULL;

	return slice_of(s.p, nl ? (size_t)(nl - s.p) + 1 : s.n);
}

/* Cuts the next document off the stream.  *ret_directive is its first line that starts with %
 * before anything else, or 0. */
static struct slice cut(struct doc_stream *st, uint32_t *ret_line, uint32_t *ret_directive)
{
	struct slice s = st->rest, l;
	size_t n = 0;
	bool content = false;

	*ret_line = st->line;
	*ret_directive = 0;
	while (n < s.n) {
		l = first_line(slice_from(s, n));
		if (n && is_marker(l, "---"))
			break;
		if (is_marker(l, "...")) {	/* not part of anything */
			st->line++;
			st->rest = slice_from(s, n + l.n);
			return slice_of(s.p, n);
		}
		if (!content && l.p[0] == '%' && *ret_directive == 0)
			*ret_directive = st->line;
		if (l.p[0] != '#' && l.p[0] != '%' && l.p[0] != '\n' && l.p[0] != '\r')
			content = true;
		n += l.n;
		st->line++;
	}
	st->rest = slice_from(s, n);
	return slice_of(s.p, n);
}

static bool is_word(struct slice s, const char *const *words)
{
	for (; *words; words++)
		if (slice_eq(s, slice_str(*words)))
			return true;
	return false;
}

static bool looks_like_number(struct slice s)
{
	static const char *const odd[] = { ".inf", ".Inf", ".INF", "-.inf", "-.Inf", "-.INF",
					   "+.inf", "+.Inf", "+.INF", ".nan", ".NaN", ".NAN", NULL };
	size_t i = 0, digits = 0;

	if (is_word(s, odd))
		return true;
	if (i < s.n && (s.p[i] == '-' || s.p[i] == '+'))
		i++;
	if (s.n - i > 2 && s.p[i] == '0' && memchr("xXoObB", s.p[i + 1], 6)) {
		for (i += 2; i < s.n; i++)
			if (!memchr("0123456789abcdefABCDEF_", s.p[i], 23))
				return false;
		return true;
	}
	for (; i < s.n && ((s.p[i] >= '0' && s.p[i] <= '9') || (digits && s.p[i] == '_')); i++)
		digits++;
	if (i < s.n && s.p[i] == '.')
		for (i++; i < s.n && ((s.p[i] >= '0' && s.p[i] <= '9') || s.p[i] == '_'); i++)
			digits += s.p[i] != '_';
	if (digits && i < s.n && (s.p[i] == 'e' || s.p[i] == 'E')) {
		size_t exponent = 0;

		i++;
		if (i < s.n && (s.p[i] == '-' || s.p[i] == '+'))
			i++;
		for (; i < s.n && s.p[i] >= '0' && s.p[i] <= '9'; i++)
			exponent++;
		return exponent && i == s.n;
	}
	return digits && i == s.n;
}

static void resolve_plain(struct doc_node *n)
{
	static const char *const nulls[] = { "", "~", "null", "Null", "NULL", NULL };
	static const char *const trues[] = { "true", "True", "TRUE", "yes", "Yes",
					     "YES",  "on",   "On",   "ON",  NULL };
	static const char *const falses[] = { "false", "False", "FALSE", "no", "No",
					      "NO",    "off",	"Off",	 "OFF", NULL };
	struct slice s = n->text, digits = s;
	uint64_t v;
	bool minus;

	n->type = DOC_STR;
	if (is_word(s, nulls)) {
		n->type = DOC_NULL;
		return;
	}
	if (is_word(s, trues) || is_word(s, falses)) {
		n->type = DOC_BOOL;
		n->boolean = is_word(s, trues);
		return;
	}
	if (!looks_like_number(s))
		return;
	n->type = DOC_NUMBER;
	minus = s.p[0] == '-';
	if (minus || s.p[0] == '+')
		digits = slice_from(s, 1);
	if ((digits.n > 1 && digits.p[0] == '0') || !slice_u64(digits, INT64_MAX, &v))
		return;		/* 017 is octal for some readers and decimal for others */
	n->type = DOC_INT;
	n->number = minus ? -(int64_t)v : (int64_t)v;
}

struct reader {
	struct doc *doc;
	struct doc_error *error;
	uint32_t line;			/* of the first line of the cut */
	struct slice bytes;
	unsigned depth;
	struct doc_node *open[DOC_DEPTH_MAX];
	struct slice key[DOC_DEPTH_MAX];
	uint32_t key_line[DOC_DEPTH_MAX];
	bool have_key[DOC_DEPTH_MAX];
};

/* libyaml's words, with the two mistakes everybody makes put plainly. */
static int syntax(struct reader *r, const yaml_parser_t *p)
{
	size_t at = p->problem_mark.line;
	struct slice rest = r->bytes, l;

	if (p->error == YAML_MEMORY_ERROR)
		return -ENOMEM;
	if (p->error == YAML_READER_ERROR) {
		at = 0;
		for (size_t i = 0; i < p->problem_offset && i < rest.n; i++)
			at += rest.p[i] == '\n';
		return wrong(r->error, r->line + (uint32_t)at, "not YAML: %s (byte 0x%02x)",
			     p->problem, (unsigned)p->problem_value & 0xff);
	}
	for (size_t i = 0; i < at && rest.n; i++)
		rest = slice_from(rest, first_line(rest).n);
	l = first_line(rest);
	for (size_t i = 0; i < l.n && (l.p[i] == ' ' || l.p[i] == '\t'); i++)
		if (l.p[i] == '\t')
			return wrong(r->error, r->line + (uint32_t)at,
				     "not YAML: a tab in the indentation: use blanks");
	return wrong(r->error, r->line + (uint32_t)at, "not YAML: %s%s%s, column %zu", p->problem,
		     p->context ? " " : "", p->context ? p->context : "",
		     p->problem_mark.column + 1);
}

/* A node has been read: it becomes a member of what is open, or the root. */
static int place(struct reader *r, struct doc_node *n)
{
	unsigned top = r->depth - 1;

	if (r->depth == 0) {
		r->doc->root = n;
		r->doc->line = n->line;
		return 0;
	}
	if (r->open[top]->type == DOC_MAP) {
		n->key = r->key[top];
		n->line = r->key_line[top];
		r->have_key[top] = false;
	}
	doc_append(r->open[top], n);
	return 0;
}

static int new_node(struct reader *r, enum doc_type type, uint32_t line, struct doc_node **ret)
{
	if (r->doc->nodes >= DOC_NODES_MAX)
		return wrong(r->error, line, "more than %u values in one document", DOC_NODES_MAX);
	*ret = doc_node_new(r->doc, type, line);
	return *ret ? 0 : -ENOMEM;
}

static bool wants_key(const struct reader *r)
{
	return r->depth && r->open[r->depth - 1]->type == DOC_MAP && !r->have_key[r->depth - 1];
}

static int scalar(struct reader *r, const yaml_event_t *ev, uint32_t line)
{
	struct slice s = slice_of(ev->data.scalar.value, ev->data.scalar.length);
	bool plain = ev->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
	struct doc_node *n = NULL;
	int e;

	if (s.n && memchr(s.p, 0, s.n))
		return wrong(r->error, line, "a NUL byte in a text");
	if (wants_key(r)) {
		unsigned top = r->depth - 1;

		if (plain && slice_eq(s, SLICE("<<")))
			return wrong(r->error, line, "merge keys (<<) are not accepted: write it out");
		r->key_line[top] = line;
		r->have_key[top] = true;
		return doc_text(r->doc, s, &r->key[top]);
	}
	e = new_node(r, DOC_STR, line, &n);
	if (e == 0)
		e = doc_text(r->doc, s, &n->text);
	if (e < 0)
		return e;
	if (plain)
		resolve_plain(n);
	return place(r, n);
}

static int open_node(struct reader *r, enum doc_type type, uint32_t line)
{
	struct doc_node *n = NULL;
	int e;

	if (wants_key(r))
		return wrong(r->error, line, "a key must be plain text");
	if (r->depth == DOC_DEPTH_MAX)
		return wrong(r->error, line, "nested deeper than %d", DOC_DEPTH_MAX);
	e = new_node(r, type, line, &n);
	if (e < 0)
		return e;
	place(r, n);
	r->open[r->depth] = n;
	r->have_key[r->depth] = false;
	r->depth++;
	return 0;
}

static int close_node(struct reader *r)
{
	const struct doc_node *twice = NULL;
	struct doc_node *n = r->open[--r->depth];
	char name[64];
	int e = n->type == DOC_MAP ? doc_seal(r->doc, n, &twice) : 0;

	if (e == -EEXIST)
		return wrong(r->error, twice->line, "the key %s is there twice",
			     doc_clean(twice->key, name, sizeof name));
	return e;
}

static int on_event(struct reader *r, const yaml_event_t *ev)
{
	uint32_t line = r->line + (uint32_t)ev->start_mark.line;
	const yaml_char_t *anchor = NULL, *tag = NULL;

	switch (ev->type) {
	case YAML_ALIAS_EVENT:
		anchor = ev->data.alias.anchor;
		break;
	case YAML_SCALAR_EVENT:
		anchor = ev->data.scalar.anchor;
		tag = ev->data.scalar.tag;
		break;
	case YAML_SEQUENCE_START_EVENT:
		anchor = ev->data.sequence_start.anchor;
		tag = ev->data.sequence_start.tag;
		break;
	case YAML_MAPPING_START_EVENT:
		anchor = ev->data.mapping_start.anchor;
		tag = ev->data.mapping_start.tag;
		break;
	default:
		break;
	}
	if (anchor)
		return wrong(r->error, line, "anchors and aliases are not accepted: write it out");
	if (tag)
		return wrong(r->error, line, "tags (!) are not accepted: leave it out");
	switch (ev->type) {
	case YAML_SCALAR_EVENT:
		return scalar(r, ev, line);
	case YAML_SEQUENCE_START_EVENT:
		return open_node(r, DOC_LIST, line);
	case YAML_MAPPING_START_EVENT:
		return open_node(r, DOC_MAP, line);
	case YAML_SEQUENCE_END_EVENT:
	case YAML_MAPPING_END_EVENT:
		return close_node(r);
	case YAML_DOCUMENT_START_EVENT:
		if (r->doc->root)
			return wrong(r->error, line, "a second document without a --- line");
		return 0;
	default:
		return 0;
	}
}

static int parse(struct reader *r)
{
	yaml_parser_t p;
	yaml_event_t ev;
	int e = 0;
	bool end = false;

	if (!yaml_parser_initialize(&p))
		return -ENOMEM;
	yaml_parser_set_encoding(&p, YAML_UTF8_ENCODING);
	yaml_parser_set_input_string(&p, r->bytes.p, r->bytes.n);
	while (e == 0 && !end) {
		if (!yaml_parser_parse(&p, &ev)) {
			e = syntax(r, &p);
			break;
		}
		end = ev.type == YAML_STREAM_END_EVENT;
		e = on_event(r, &ev);
		yaml_event_delete(&ev);
	}
	yaml_parser_delete(&p);
	return e;
}

int doc_yaml_next(struct doc_stream *st, struct doc *ret, struct doc_error *err)
{
	*ret = (struct doc){ 0 };
	while (st->rest.n) {
		struct reader r = { .doc = ret, .error = err };
		uint32_t directive;
		int e;

		r.bytes = cut(st, &r.line, &directive);
		ret->line = r.line;
		if (directive) {
			struct slice d = r.bytes;

			for (uint32_t i = r.line; i < directive; i++)
				d = slice_from(d, first_line(d).n);
			if (!slice_starts(d, SLICE("%YAML 1.")))
				return wrong(err, directive, "directives (%%) are not accepted");
			/* Alone before its ---, which is where we cut. */
			for (struct slice l; d.n; d = slice_from(d, l.n)) {
				l = first_line(d);
				if (l.p[0] != '%' && l.p[0] != '#' && l.p[0] != '\n' && l.p[0] != '\r')
					return wrong(err, directive, "a directive needs a --- line");
			}
			continue;
		}
		if (r.bytes.n == 0)
			continue;
		if (r.bytes.n > DOC_BYTES_MAX)
			return wrong(err, r.line, "a document of more than %u bytes", DOC_BYTES_MAX);
		e = parse(&r);
		if (e < 0)
			return e;
		if (ret->root && ret->root->type != DOC_NULL) {
			st->any = true;
			return 1;
		}
		doc_fini(ret);
	}
	return 0;
}
