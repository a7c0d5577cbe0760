/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See schema.h: the rows, and the walk over a document.  Forms of texts are in schema_form.c. */
#include "store/resource/schema_inner.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

/* What the columns of kinds.def become. */
#define TEXT(f, lo, hi)	 .type = SCHEMA_TEXT, .form = FORM_##f, .min = lo, .max = hi
#define CHOICE(v, l)	 .type = SCHEMA_CHOICE, .values = v, .later = l
#define NUMBER(lo, hi)	 .type = SCHEMA_NUMBER, .min = lo, .max = hi
#define FLAG		 .type = SCHEMA_FLAG
#define TIME		 .type = SCHEMA_TIME
#define QUANTITY(lo, hi) .type = SCHEMA_QUANTITY, .min = lo, .max = hi
#define DURATION(lo, hi) .type = SCHEMA_DURATION, .min = lo, .max = hi
#define PORTREF		 .type = SCHEMA_PORTREF
#define OBJ(o)		 .type = SCHEMA_OBJ, .of = SCHEMA_##o
#define OBJS(o, lo, hi)	 .type = SCHEMA_OBJS, .of = SCHEMA_##o, .min = lo, .max = hi
#define TEXTS(f, lo, hi) .type = SCHEMA_TEXTS, .form = FORM_##f, .min = lo, .max = hi
#define MAP(f)		 .type = SCHEMA_MAP, .form = FORM_##f
#define ANY		 .type = SCHEMA_ANY
#define NUMBERS(lo, hi)	 .type = SCHEMA_NUMBERS, .min = lo, .max = hi
#define CHOICES(v)	 .type = SCHEMA_CHOICES, .values = v

/* clang-format off */
static const struct schema_field row[] = {
#define FIELD(o, n, t, w, r, h) \
	{ .object = SCHEMA_##o, .name = n, t, .word = SCHEMA_##w, .required = r, .help = h },
#include "store/resource/kinds.def"
};

static const struct schema_kind kind_row[] = {
#define KIND(r, k, v, ns, o, h) { r, k, v, ns, SCHEMA_##o, h },
#include "store/resource/kinds.def"
};
/* clang-format on */

const struct schema_kind *schema_kind_at(unsigned i)
{
	return i < countof(kind_row) ? &kind_row[i] : NULL;
}

const struct schema_field *schema_field_at(unsigned i)
{
	return i < countof(row) ? &row[i] : NULL;
}

/* The rows of an object stand together: where they start (a file of endpoints asks often). */
static unsigned first_row(enum schema_object o)
{
	static uint16_t start[SCHEMA_OBJECTS];	/* + 1; 0: not looked for yet */

	if (start[o] == 0) {
		unsigned j = 0;

		while (j < countof(row) && row[j].object != o)
			j++;
		start[o] = (uint16_t)(j + 1);
	}
	return start[o] - 1u;
}

const struct schema_field *schema_field_of(enum schema_object o, unsigned i)
{
	unsigned j = first_row(o) + i;

	return j < countof(row) && row[j].object == o ? &row[j] : NULL;
}

void judge_field(struct judge *j, const char *fmt, ...)
{
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(j->field, sizeof j->field, fmt, ap);
	va_end(ap);
}

int judge_refuse(struct judge *j, uint32_t line, const char *fmt, ...)
{
	va_list ap;

	j->line = line;
	va_start(ap, fmt);
	vsnprintf(j->reason, sizeof j->reason, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

/* Where we are, from the leaf to the root; index -1: name is a field; name NULL: key of a map. */
struct at {
	const struct at *up;
	const char *name;
	struct slice key;
	int64_t index;
};

static void write_at(const struct at *at, struct judge *j)
{
	size_t n;
	char key[128];

	if (at == NULL) {
		j->field[0] = 0;
		return;
	}
	write_at(at->up, j);
	n = strlen(j->field);
	if (at->index >= 0)
		snprintf(j->field + n, sizeof j->field - n, "[%lld]", (long long)at->index);
	else if (at->name)
		snprintf(j->field + n, sizeof j->field - n, "%s%s", n ? "." : "", at->name);
	else
		snprintf(j->field + n, sizeof j->field - n, "[%s]",
			 doc_clean(at->key, key, sizeof key));
}

static int refuse(struct judge *j, const struct at *at, uint32_t line, const char *fmt, ...)
	printf_like(4, 5);
static int refuse(struct judge *j, const struct at *at, uint32_t line, const char *fmt, ...)
{
	va_list ap;

	write_at(at, j);
	j->line = line;
	va_start(ap, fmt);
	vsnprintf(j->reason, sizeof j->reason, fmt, ap);
	va_end(ap);
	return -EINVAL;
}

static int wrong_type(struct judge *j, const struct at *at, const struct doc_node *n,
		      const char *want)
{
	char seen[64];

	if (n->type == DOC_LIST || n->type == DOC_MAP || n->type == DOC_NULL)
		return refuse(j, at, n->line, "must be %s, not %s", want, doc_type_name(n->type));
	return refuse(j, at, n->line, "must be %s, not %s", want,
		      doc_clean(n->text, seen, sizeof seen));
}

static int check_text(struct judge *j, const struct at *at, enum schema_form form, int64_t min,
		      int64_t max, const struct doc_node *n)
{
	const char *why;
	char seen[64];

	if (n->type == DOC_BOOL || n->type == DOC_INT || n->type == DOC_NUMBER)
		return refuse(j, at, n->line, "must be text: write \"%s\" in quotes",
			      doc_clean(n->text, seen, sizeof seen));
	if (n->type != DOC_STR)
		return wrong_type(j, at, n, "text");
	doc_clean(n->text, seen, sizeof seen);
	if ((int64_t)n->text.n < min)
		return refuse(j, at, n->line, "must not be empty");
	if (max && (int64_t)n->text.n > max)
		return refuse(j, at, n->line, "must be at most %lld bytes, not %zu", (long long)max,
			      n->text.n);
	why = schema_form_wrong(form, n->text);
	return why ? refuse(j, at, n->line, "%s, not \"%s\"", why, seen) : 0;
}

static bool in_words(const char *words, struct slice s)
{
	while (words && *words) {
		size_t n = (size_t)(strchrnul(words, '|') - words);

		if (slice_eq(s, slice_of(words, n)))
			return true;
		words += n + (words[n] == '|');
	}
	return false;
}

/* "a|b|c" as "a, b or c". */
static const char *words_text(const char *words, char *out, size_t room)
{
	size_t n = 0;

	out[0] = 0;
	while (*words && n < room) {
		int len = (int)(strchrnul(words, '|') - words);
		bool last = words[len] == 0;

		n += (size_t)snprintf(out + n, room - n, "%s%.*s", n == 0 ? "" : last ? " or " : ", ",
				      len, words);
		words += len + !last;
	}
	return out;
}

static int check_choice(struct judge *j, const struct at *at, const struct schema_field *f,
			const struct doc_node *n)
{
	char seen[64], words[400];

	if (n->type != DOC_STR)
		return wrong_type(j, at, n, words_text(f->values, words, sizeof words));
	if (in_words(f->values, n->text))
		return 0;
	words_text(f->values, words, sizeof words);
	doc_clean(n->text, seen, sizeof seen);
	if (in_words(f->later, n->text))
		return refuse(j, at, n->line, "%s is not supported by this release: only %s", seen, words);
	return refuse(j, at, n->line, "must be %s, not \"%s\"", words, seen);
}

static int check_number(struct judge *j, const struct at *at, const struct schema_field *f,
			const struct doc_node *n)
{
	if (n->type != DOC_INT)
		return wrong_type(j, at, n, "a whole number");
	if (n->number >= f->min && n->number <= f->max)
		return 0;
	if (f->max == INT64_MAX)
		return refuse(j, at, n->line, "must be at least %lld, not %lld", (long long)f->min,
			      (long long)n->number);
	return refuse(j, at, n->line, "must be from %lld to %lld, not %lld", (long long)f->min,
		      (long long)f->max, (long long)n->number);
}

/* Of numbers, or of words out of a choice. */
static int check_simple_list(struct judge *j, const struct at *up, const struct schema_field *f,
			     const struct doc_node *n)
{
	int64_t i = 0;
	int e = 0;

	if (n->type != DOC_LIST)
		return wrong_type(j, up, n, "a list");
	if (n->n > SCHEMA_LIST_MAX)
		return refuse(j, up, n->line, "must have at most %d entries, not %u", SCHEMA_LIST_MAX,
			      n->n);
	for (const struct doc_node *m = n->first; m && e == 0; m = m->next) {
		struct at at = { .up = up, .index = i++ };

		e = f->type == SCHEMA_NUMBERS ? check_number(j, &at, f, m) : check_choice(j, &at, f, m);
	}
	return e;
}

static int check_map(struct judge *j, const struct at *up, const struct schema_field *f,
		     const struct doc_node *n)
{
	int e;

	if (n->type != DOC_MAP)
		return wrong_type(j, up, n, "a mapping of names to texts");
	for (const struct doc_node *m = n->first; m; m = m->next) {
		struct at at = { .up = up, .key = m->key, .index = -1 };

		if (!schema_is_label_key(m->key))
			return refuse(j, &at, m->line,
				      "the name must be letters, digits, -, _ and ., perhaps with a DNS name and / before");
		if (m->type == DOC_NULL)
			return refuse(j, &at, m->line, "has no value; for none write \"\"");
		e = check_text(j, &at, f->form, 0, 0, m);
		if (e < 0)
			return e;
	}
	return 0;
}

static const char *nth_field(const void *arg, unsigned i)
{
	const struct schema_field *f = schema_field_of(*(const enum schema_object *)arg, i);

	return f ? f->name : NULL;
}

static const struct schema_field *find_field(enum schema_object o, struct slice name)
{
	for (size_t i = first_row(o); i < countof(row) && row[i].object == o; i++)
		if (slice_eq(slice_str(row[i].name), name))
			return &row[i];
	return NULL;
}

static int check_field(struct judge *, const struct at *, const struct schema_field *,
		       struct doc_node *);

/* The rows, and with them this recursion, are at most seven deep. */
static int check_object(struct judge *j, const struct at *up, enum schema_object o,
			struct doc_node *n)
{
	const struct schema_field *f;
	int e;

	if (n->type != DOC_MAP)
		return wrong_type(j, up, n, "a mapping of fields");
	for (struct doc_node *m = n->first; m; m = m->next) {
		char name[64];
		struct at at = { .up = up, .name = name, .index = -1 };

		f = find_field(o, m->key);
		if (f == NULL) {
			const char *near = doc_nearest(m->key, nth_field, &o);

			doc_clean(m->key, name, sizeof name);
			if (near)
				return refuse(j, &at, m->line, "unknown field (did you mean %s?)", near);
			return refuse(j, &at, m->line, "unknown field");
		}
		at.name = f->name;
		e = m->type == DOC_NULL ? 0 : check_field(j, &at, f, m);
		if (e < 0)
			return e;
	}
	for (unsigned i = 0; (f = schema_field_of(o, i)); i++) {
		struct at at = { .up = up, .name = f->name, .index = -1 };

		if (f->required && doc_get(n, f->name) == NULL)
			return refuse(j, &at, n->line, "is required%s%s", f->help[0] ? ": " : "",
				      f->help);
	}
	return 0;
}

static int check_list(struct judge *j, const struct at *up, const struct schema_field *f,
		      struct doc_node *n)
{
	int64_t i = 0;
	int e;

	if (n->type != DOC_LIST)
		return wrong_type(j, up, n, "a list");
	if (n->n < f->min)
		return refuse(j, up, n->line, "must have at least %lld entr%s", (long long)f->min,
			      f->min == 1 ? "y" : "ies");
	if (n->n > f->max)
		return refuse(j, up, n->line, "must have at most %lld entries, not %u",
			      (long long)f->max, n->n);
	for (struct doc_node *m = n->first; m; m = m->next) {
		struct at at = { .up = up, .index = i++ };

		if (f->type == SCHEMA_OBJS)
			e = check_object(j, &at, f->of, m);
		else
			e = check_text(j, &at, f->form, 0,
				       f->form == FORM_HEADER_NAME ? 256 : 253, m);
		if (e < 0)
			return e;
	}
	return 0;
}

static int check_field(struct judge *j, const struct at *at, const struct schema_field *f,
		       struct doc_node *n)
{
	char seen[64];
	char least[SCHEMA_DURATION_TEXT], most[SCHEMA_DURATION_TEXT];
	uint32_t ms;
	uint64_t v;
	int64_t t;

	if (f->word == SCHEMA_DROPPED) {
		n->hidden = true;
		return 0;
	}
	if (f->word == SCHEMA_REFUSED) {
		/* Empty is the same as absent, and tools like to write it. */
		if ((n->type == DOC_LIST || n->type == DOC_MAP) && n->n == 0)
			return 0;
		return refuse(j, at, n->line, "not supported by this release (%s)", f->help);
	}
	doc_clean(n->text, seen, sizeof seen);
	switch (f->type) {
	case SCHEMA_TEXT:
		return check_text(j, at, f->form, f->min, f->max, n);
	case SCHEMA_CHOICE:
		return check_choice(j, at, f, n);
	case SCHEMA_NUMBER:
		return check_number(j, at, f, n);
	case SCHEMA_NUMBERS:
	case SCHEMA_CHOICES:
		return check_simple_list(j, at, f, n);
	case SCHEMA_FLAG:
		return n->type == DOC_BOOL ? 0 : wrong_type(j, at, n, "true or false");
	case SCHEMA_TIME:
		if (n->type != DOC_STR || !schema_time(n->text, &t))
			return wrong_type(j, at, n, "a time like 2026-01-31T12:00:00Z");
		return 0;
	case SCHEMA_QUANTITY:
		if ((n->type != DOC_INT && n->type != DOC_STR) || !schema_quantity(n->text, &v))
			return wrong_type(j, at, n, "a quantity like 64Mi or 1G");
		if (v < (uint64_t)f->min || v > (uint64_t)f->max)
			return refuse(j, at, n->line, "must be from %lld to %lld bytes, not %s",
				      (long long)f->min, (long long)f->max, seen);
		return 0;
	case SCHEMA_DURATION:
		if (n->type != DOC_STR || !schema_duration(n->text, &ms))
			return wrong_type(j, at, n, "a duration like 500ms, 30s or 1h30m (at most four "
					  "whole numbers of five digits, each with h, m, s or ms)");
		if (ms < f->min || ms > f->max)
			return refuse(j, at, n->line, "must be from %s to %s, not %s",
				      schema_duration_text((uint32_t)f->min, least),
				      schema_duration_text((uint32_t)f->max, most), seen);
		return 0;
	case SCHEMA_PORTREF:
		if (n->type == DOC_INT && n->number >= 1 && n->number <= 65535)
			return 0;
		if (n->type == DOC_STR && n->text.n <= 15 && schema_is_dns_label(n->text))
			return 0;
		return wrong_type(j, at, n,
				  "a port from 1 to 65535, or the name of one (at most 15 lower-case "
				  "letters, digits and -)");
	case SCHEMA_OBJ:
		return check_object(j, at, f->of, n);
	case SCHEMA_OBJS:
	case SCHEMA_TEXTS:
		return check_list(j, at, f, n);
	case SCHEMA_MAP:
		return check_map(j, at, f, n);
	case SCHEMA_ANY:
		return 0;
	}
	return 0;
}

static const char *nth_kind(const void *arg __attribute__((unused)), unsigned i)
{
	return i < countof(kind_row) ? kind_row[i].kind : NULL;
}

const char *schema_kinds(char *out, size_t room)
{
	size_t n = 0;

	out[0] = 0;
	for (size_t i = 0; i < countof(kind_row) && n < room; i++)
		if (kind_row[i].row != ROW_RESIDENT)	/* which hosts write */
			n += (size_t)snprintf(out + n, room - n, "%s%s", i ? ", " : "", kind_row[i].kind);
	return out;
}

int schema_kind_of(struct judge *j, const struct doc_node *root, const struct schema_kind **ret)
{
	const struct doc_node *kind = doc_get(root, "kind"), *version = doc_get(root, "apiVersion");
	char seen[64], words[400];
	const char *near;

	judge_field(j, "%s", "");
	if (root->type != DOC_MAP)
		return judge_refuse(j, root->line, "must be a mapping with apiVersion, kind and metadata, not %s",
				    doc_type_name(root->type));
	judge_field(j, "kind");
	if (kind == NULL)
		return judge_refuse(j, root->line, "is required: one of %s",
				    schema_kinds(words, sizeof words));
	doc_clean(kind->text, seen, sizeof seen);
	for (size_t i = 0; i < countof(kind_row) && kind->type == DOC_STR; i++) {
		const struct schema_kind *k = &kind_row[i];

		if (!slice_eq(kind->text, slice_str(k->kind)))
			continue;
		judge_field(j, "apiVersion");
		words_text(k->versions, words, sizeof words);
		if (version == NULL)
			return judge_refuse(j, root->line, "is required: %s for kind %s", words, k->kind);
		if (version->type != DOC_STR || !in_words(k->versions, version->text))
			return judge_refuse(j, version->line, "must be %s for kind %s, not \"%s\"", words,
					    k->kind, doc_clean(version->text, seen, sizeof seen));
		*ret = k;
		return 0;
	}
	if (kind->type == DOC_STR && slice_eq(kind->text, SLICE("List")))
		return judge_refuse(j, kind->line,
				    "a List is not served: write each object as a document of its own, "
				    "with --- lines between them");
	near = doc_nearest(kind->text, nth_kind, NULL);
	if (near)
		return judge_refuse(j, kind->line, "\"%s\" is not served by this release (did you mean %s?)",
				    seen, near);
	return judge_refuse(j, kind->line, "\"%s\" is not served by this release, only %s", seen,
			    schema_kinds(words, sizeof words));
}

static int check_mode(struct judge *j, enum row_kind kind, enum ns_mode m, const struct doc_node *label)
{
	char words[64], seen[64];
	uint8_t value;

	if (kind != ROW_NAMESPACE && !((kind == ROW_WORKLOAD || kind == ROW_RESIDENT) && ns_mode_is_of_pods(m)))
		return judge_refuse(j, label->line, "is for Namespaces only");
	if (ns_mode_parse(m, label->text, &value))
		return 0;
	return judge_refuse(j, label->line, "must be %s, not \"%s\"", ns_mode_words(m, words, sizeof words),
			    doc_clean(label->text, seen, sizeof seen));
}

/* Our own labels and annotations are checked by name: one that is ignored would look obeyed. */
static int check_ours(struct judge *j, enum row_kind kind, const struct doc_node *meta,
		      const char *map)
{
	const struct doc_node *m = doc_get(meta, map);
	const bool labels = map[0] == 'l';
	char name[128];

	for (m = m ? m->first : NULL; m; m = m->next) {
		enum ns_mode mode = labels ? ns_mode_by_label(m->key) : NS_MODES;

		if (!slice_starts(m->key, SLICE("nodeproxy.io/")))
			continue;
		judge_field(j, "metadata.%s[%s]", map, doc_clean(m->key, name, sizeof name));
		if (mode < NS_MODES) {
			int e = check_mode(j, kind, mode, m);

			if (e < 0)
				return e;
			continue;
		}
		if (labels && slice_eq(m->key, SLICE("nodeproxy.io/mtls")))
			return judge_refuse(j, m->line, "not supported by this release");
		if (!labels && (slice_eq(m->key, SLICE("nodeproxy.io/weight")) ||
				slice_eq(m->key, SLICE("nodeproxy.io/priority")))) {
			if (kind == ROW_SLICE)
				continue;
			return judge_refuse(j, m->line, "is for EndpointSlices only");
		}
		if (!labels && slice_eq(m->key, SLICE("nodeproxy.io/service-accounts"))) {
			if (kind == ROW_SERVICE)
				continue;
			return judge_refuse(j, m->line, "is for Services only");
		}
		return judge_refuse(j, m->line, "unknown %s of nodeproxy.io",
				    labels ? "label" : "annotation");
	}
	return 0;
}

int schema_check(struct judge *j, const struct schema_kind *k, struct doc_node *root)
{
	const struct doc_node *meta, *n;
	int e = check_object(j, NULL, k->object, root);
	char seen[64];

	if (e < 0)
		return e;
	meta = doc_get(root, "metadata");
	n = doc_get(meta, "namespace");
	judge_field(j, "metadata.namespace");
	if (!k->namespaced && n)
		return judge_refuse(j, n->line, "a %s is in no namespace: leave it out", k->kind);
	n = doc_get(meta, "name");
	judge_field(j, "metadata.name");
	if ((k->row == ROW_NAMESPACE || k->row == ROW_TENANT || k->row == ROW_SERVICE) &&
	    !schema_is_dns_label(n->text))
		return judge_refuse(j, n->line, "must be at most 63 lower-case letters, digits and -, "
				    "starting and ending with a letter or digit, not \"%s\"",
				    doc_clean(n->text, seen, sizeof seen));
	e = check_ours(j, k->row, meta, "labels");
	return e < 0 ? e : check_ours(j, k->row, meta, "annotations");
}
