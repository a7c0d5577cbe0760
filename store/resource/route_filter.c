/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Filters of the rules of routes and of their back ends: what the Gateway API's CRDs check across
 * fields, and what cannot be done with a message is refused by name. */
#include "store/resource/make.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

/* Names and values of one list of changes, as lines: more than any reader of heads takes. */
#define LINES_MAX 16384

struct at {
	struct judge *j;
	char list[64];		/* "spec.rules[0].filters" */
	uint32_t i;		/* of the filter in it */
};

static void field(const struct at *at, const char *name)
{
	judge_field(at->j, "%s[%u].%s", at->list, at->i, name);
}

/* ---- headers ---- */

/* What nodeproxy writes or takes away itself, whatever a filter says. */
static const char *name_refused(struct slice name)
{
	static const struct {
		const char *name, *why;
	} row[] = {
		{ "host", "the host is changed by a URLRewrite filter, not as a header" },
		{ "content-length", "the framing of bodies cannot be changed" },
		{ "transfer-encoding", "the framing of bodies cannot be changed" },
		{ "trailer", "the framing of bodies cannot be changed" },
		{ "expect", "is about a single connection, which nodeproxy keeps itself" },
		{ "connection", "is about a single connection, which nodeproxy keeps itself" },
		{ "keep-alive", "is about a single connection, which nodeproxy keeps itself" },
		{ "proxy-connection", "is about a single connection, which nodeproxy keeps itself" },
		{ "te", "is about a single connection, which nodeproxy keeps itself" },
		{ "upgrade", "is about a single connection, which nodeproxy keeps itself" },
		{ "http2-settings", "is about a single connection, which nodeproxy keeps itself" },
		{ "proxy-authenticate", "is about a single connection, which nodeproxy keeps itself" },
		{ "proxy-authorization", "is about a single connection, which nodeproxy keeps itself" },
	};

	for (size_t i = 0; i < countof(row); i++)
		if (slice_caseeq(name, slice_str(row[i].name)))
			return row[i].why;
	return NULL;
}

/* All names of a filter so far. */
struct names {
	struct slice name[48];		/* 3 lists of 16 */
	uint32_t n;
	size_t bytes;			/* of the lines */
};

static int take_name(const struct at *at, const char *where, const struct doc_node *n, size_t value_n,
		     struct names *all)
{
	const char *why = name_refused(n->text);

	field(at, where);
	if (why)
		return judge_refuse(at->j, n->line, "%s", why);
	for (uint32_t i = 0; i < all->n; i++)
		if (slice_caseeq(all->name[i], n->text))
			return judge_refuse(at->j, n->line, "%.*s is changed twice by this filter",
					    (int)min_of(n->text.n, (size_t)64), (const char *)n->text.p);
	all->name[all->n++] = n->text;
	all->bytes += n->text.n + value_n + 4;
	if (all->bytes > LINES_MAX)
		return judge_refuse(at->j, n->line, "names and values of the filter are more than %d bytes together",
				    LINES_MAX);
	return 0;
}

static int lines(const struct at *at, const char *of, const char *list, const struct doc_node *l,
		 struct names *all, struct row_line **ret, uint32_t *ret_n)
{
	if (l == NULL)
		return 0;
	if (make_array(l->n, ret) < 0)
		return -ENOMEM;
	for (const struct doc_node *m = l->first; m; m = m->next) {
		const struct doc_node *name = doc_get(m, "name");
		struct row_line *line = &(*ret)[*ret_n];
		char where[96];
		int e;

		snprintf(where, sizeof where, "%s.%s[%u].name", of, list, *ret_n);
		e = take_name(at, where, name, make_slice_of(m, "value").n, all);
		if (e < 0)
			return e;
		++*ret_n;
		line->name = make_text(m, "name", "");
		line->value = make_text(m, "value", "");
		if (line->name == NULL || line->value == NULL)
			return -ENOMEM;
	}
	return 0;
}

static int headers(const struct at *at, const char *of, const struct doc_node *m, struct row_filter *f)
{
	const struct doc_node *l = doc_get(m, "remove");
	struct names all = { .n = 0 };
	int e = lines(at, of, "set", doc_get(m, "set"), &all, &f->set, &f->n_set);

	if (e == 0)
		e = lines(at, of, "add", doc_get(m, "add"), &all, &f->add, &f->n_add);
	if (e < 0 || l == NULL)
		return e;
	if (make_array(l->n, &f->remove) < 0)
		return -ENOMEM;
	for (const struct doc_node *t = l->first; t; t = t->next) {
		char where[96];

		snprintf(where, sizeof where, "%s.remove[%u]", of, f->n_remove);
		e = take_name(at, where, t, 0, &all);
		if (e < 0)
			return e;
		f->remove[f->n_remove] = strndup((const char *)t->text.p, t->text.n);
		if (f->remove[f->n_remove++] == NULL)
			return -ENOMEM;
	}
	return 0;
}

/* ---- all of them ---- */

static const struct kind {
	const char *type, *field;
	enum row_filter_type row;
	int (*make)(const struct at *, const char *of, const struct doc_node *, struct row_filter *);
} kind[] = {
	{ "RequestHeaderModifier", "requestHeaderModifier", ROW_REQUEST_HEADERS, headers },
	{ "ResponseHeaderModifier", "responseHeaderModifier", ROW_RESPONSE_HEADERS, headers },
};

static int filter(const struct at *at, const struct doc_node *m, const struct row_filter *before,
		  struct row_filter *f)
{
	const struct kind *k = kind;
	const struct doc_node *type = doc_get(m, "type"), *body;

	while (k < kind + countof(kind) - 1 && !slice_eq(type->text, slice_str(k->type)))
		k++;
	f->type = k->row;
	for (size_t i = 0; i < countof(kind); i++) {
		body = doc_get(m, kind[i].field);
		field(at, kind[i].field);
		if (&kind[i] == k && body == NULL)
			return judge_refuse(at->j, m->line, "is required with type %s", k->type);
		if (&kind[i] != k && body)
			return judge_refuse(at->j, body->line, "is for type %s, and this filter is a %s",
					    kind[i].type, k->type);
	}
	field(at, "type");
	for (const struct row_filter *b = before; b < f; b++)
		if (b->type == f->type)
			return judge_refuse(at->j, type->line, "a second %s: one is all that is allowed",
					    k->type);
	return k->make(at, k->field, doc_get(m, k->field), f);
}

int make_filters(struct judge *j, const struct doc_node *list, uint32_t rule, int backend,
		 struct row_filter **ret, uint32_t *ret_n)
{
	struct at at = { .j = j };

	if (list == NULL)
		return 0;
	if (backend < 0)
		snprintf(at.list, sizeof at.list, "spec.rules[%u].filters", rule);
	else
		snprintf(at.list, sizeof at.list, "spec.rules[%u].backendRefs[%d].filters", rule, backend);
	if (make_array(list->n, ret) < 0)
		return -ENOMEM;
	for (const struct doc_node *m = list->first; m; m = m->next, at.i++) {
		int e = filter(&at, m, *ret, &(*ret)[(*ret_n)++]);

		if (e < 0)
			return e;
	}
	return 0;
}
