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
	const char *ns;		/* of the route */
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
		 struct names *all, struct row_pair **ret, uint32_t *ret_n)
{
	if (l == NULL)
		return 0;
	if (make_array(l->n, ret) < 0)
		return -ENOMEM;
	for (const struct doc_node *m = l->first; m; m = m->next) {
		const struct doc_node *name = doc_get(m, "name");
		struct row_pair *line = &(*ret)[*ret_n];
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

/* ---- addresses ---- */

/* The text of a field, in *ret; it stays NULL without one. */
static int text_if_any(const struct doc_node *m, const char *name, char **ret)
{
	if (doc_get(m, name) == NULL)
		return 0;
	*ret = make_text(m, name, "");
	return *ret ? 0 : -ENOMEM;
}

static int new_path(const struct at *at, const char *of, const struct doc_node *m, struct row_filter *f)
{
	static const struct {
		const char *type, *field;
		enum row_new_path row;
	} way[] = {
		{ "ReplaceFullPath", "replaceFullPath", ROW_PATH_WHOLE },
		{ "ReplacePrefixMatch", "replacePrefixMatch", ROW_PATH_OTHER_PREFIX },
	};

	for (size_t i = 0; m && i < countof(way); i++) {
		const struct doc_node *n = doc_get(m, way[i].field);
		bool is = slice_eq(make_slice_of(m, "type"), slice_str(way[i].type));

		judge_field(at->j, "%s[%u].%s.path.%s", at->list, at->i, of, way[i].field);
		if (is && n == NULL)
			return judge_refuse(at->j, m->line, "is required with type %s", way[i].type);
		if (!is && n)
			return judge_refuse(at->j, n->line, "is for type %s", way[i].type);
		if (is) {
			f->new_path = way[i].row;
			f->path = make_text(m, way[i].field, "");
			if (f->path == NULL)
				return -ENOMEM;
		}
	}
	return 0;
}

static int rewrite(const struct at *at, const char *of, const struct doc_node *m, struct row_filter *f)
{
	int e = text_if_any(m, "hostname", &f->hostname);

	return e < 0 ? e : new_path(at, of, doc_get(m, "path"), f);
}

static int redirect(const struct at *at, const char *of, const struct doc_node *m, struct row_filter *f)
{
	static const uint16_t served[] = { 301, 302, 303, 307, 308 };
	const struct doc_node *status = doc_get(m, "statusCode");
	int e = text_if_any(m, "scheme", &f->scheme);
	size_t i = 0;

	f->port = (uint16_t)make_number(m, "port", 0);
	f->status = (uint16_t)make_number(m, "statusCode", 302);
	while (i < countof(served) && served[i] != f->status)
		i++;
	judge_field(at->j, "%s[%u].%s.statusCode", at->list, at->i, of);
	if (i == countof(served))
		return judge_refuse(at->j, status->line, "must be 301, 302, 303, 307 or 308, not %u", f->status);
	return e < 0 ? e : rewrite(at, of, m, f);
}

/* ---- CORS ---- */

/* Names of headers in one line: as much as a value may have. */
#define LIST_MAX 4096

/* A list of different texts, where "*" stands alone.  Names of headers are the same in any case. */
static int texts(const struct at *at, const char *of, const struct doc_node *m, const char *list, bool of_headers,
		 char ***ret, uint32_t *ret_n)
{
	size_t bytes = 0;
	const struct doc_node *l = doc_get(m, list);

	if (l == NULL)
		return 0;
	if (make_array(l->n, ret) < 0)
		return -ENOMEM;
	for (const struct doc_node *t = l->first; t; t = t->next) {
		judge_field(at->j, "%s[%u].%s.%s[%u]", at->list, at->i, of, list, *ret_n);
		bytes += t->text.n + 2;
		if (of_headers && bytes > LIST_MAX)
			return judge_refuse(at->j, t->line, "all names of the list are more than %d bytes together",
					    LIST_MAX);
		if (l->n > 1 && slice_eq(t->text, SLICE("*")))
			return judge_refuse(at->j, t->line, "* stands for all: nothing may stand beside it");
		for (uint32_t i = 0; i < *ret_n; i++) {
			struct slice was = slice_str((*ret)[i]);

			if (of_headers ? slice_caseeq(was, t->text) : slice_eq(was, t->text))
				return judge_refuse(at->j, t->line, "is the same as %s[%u]", list, i);
		}
		(*ret)[*ret_n] = strndup((const char *)t->text.p, t->text.n);
		if ((*ret)[(*ret_n)++] == NULL)
			return -ENOMEM;
	}
	return 0;
}

static int cors(const struct at *at, const char *of, const struct doc_node *m, struct row_filter *f)
{
	int e = texts(at, of, m, "allowOrigins", false, &f->origins, &f->n_origins);

	f->credentials = make_flag(m, "allowCredentials", false);
	f->max_age_s = (uint32_t)make_number(m, "maxAge", 5);
	if (e == 0)
		e = texts(at, of, m, "allowMethods", false, &f->methods, &f->n_methods);
	if (e == 0)
		e = texts(at, of, m, "allowHeaders", true, &f->headers, &f->n_headers);
	if (e == 0)
		e = texts(at, of, m, "exposeHeaders", true, &f->expose, &f->n_expose);
	return e;
}

/* ---- mirrors ---- */

static int mirror(const struct at *at, const char *of, const struct doc_node *m, struct row_filter *f)
{
	const struct doc_node *ref = doc_get(m, "backendRef"), *fraction = doc_get(m, "fraction");
	char where[128];
	int e;

	snprintf(where, sizeof where, "%s[%u].%s.backendRef", at->list, at->i, of);
	e = make_must_be_service(at->j, ref, where);
	if (e < 0)
		return e;
	f->to_ns = make_text(ref, "namespace", at->ns);
	f->to_name = make_text(ref, "name", "");
	f->port = (uint16_t)make_number(ref, "port", 0);
	if (f->to_ns == NULL || f->to_name == NULL)
		return -ENOMEM;
	judge_field(at->j, "%s[%u].%s.fraction", at->list, at->i, of);
	if (fraction && doc_get(m, "percent"))
		return judge_refuse(at->j, fraction->line, "is there beside percent: only one of them may be");
	f->numerator = fraction ? (uint32_t)make_number(fraction, "numerator", 0) :
				  (uint32_t)make_number(m, "percent", 100);
	f->denominator = (uint32_t)make_number(fraction, "denominator", 100);
	judge_field(at->j, "%s[%u].%s.fraction.numerator", at->list, at->i, of);
	if (f->numerator > f->denominator)
		return judge_refuse(at->j, fraction->line, "must be at most the denominator, %u",
				    f->denominator);
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
	{ "RequestRedirect", "requestRedirect", ROW_REDIRECT, redirect },
	{ "URLRewrite", "urlRewrite", ROW_REWRITE, rewrite },
	{ "CORS", "cors", ROW_CORS, cors },
	{ "RequestMirror", "requestMirror", ROW_MIRROR, mirror },
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
	for (const struct row_filter *b = before; b < f; b++) {
		if (b->type == f->type && f->type != ROW_MIRROR)
			return judge_refuse(at->j, type->line, "a second %s: one is all that is allowed",
					    k->type);
		if ((b->type == ROW_REDIRECT && f->type == ROW_REWRITE) ||
		    (b->type == ROW_REWRITE && f->type == ROW_REDIRECT))
			return judge_refuse(at->j, type->line,
					    "RequestRedirect and URLRewrite exclude each other");
	}
	return k->make(at, k->field, doc_get(m, k->field), f);
}

int make_filters(struct judge *j, const struct doc_node *list, const char *ns, uint32_t rule,
		 int backend, struct row_filter **ret, uint32_t *ret_n)
{
	struct at at = { .j = j, .ns = ns };

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

static uint32_t line_of(const struct doc_node *list, uint32_t i)
{
	const struct doc_node *m = list->first;

	while (i-- && m->next)
		m = m->next;
	return m->line;
}

static bool has_rewrite(const struct row_rule *r)
{
	for (uint32_t i = 0; i < r->n_filters; i++)
		if (r->filters[i].type == ROW_REWRITE)
			return true;
	return false;
}

/* Of one list: where is "" or "backendRefs[0]." */
static int fit(struct judge *j, const struct doc_node *list, uint32_t at, const char *where,
	       const struct row_rule *r, const struct row_filter *f, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		if (f != r->filters && f[i].type == ROW_CORS) {
			judge_field(j, "spec.rules[%u].%sfilters[%u].type", at, where, i);
			return judge_refuse(j, line_of(list, i), "CORS is for rules, not for one back end: "
					    "a preflight goes to none");
		}
		if (f != r->filters && (f[i].type == ROW_REDIRECT || f[i].type == ROW_REWRITE) &&
		    has_rewrite(r)) {
			judge_field(j, "spec.rules[%u].%sfilters[%u].type", at, where, i);
			return judge_refuse(j, line_of(list, i), "the rule itself has a URLRewrite already");
		}
		if (f[i].new_path != ROW_PATH_OTHER_PREFIX ||
		    (r->n_matches == 1 && r->matches[0].type == ROW_PATH_PREFIX))
			continue;
		judge_field(j, "spec.rules[%u].%sfilters[%u].%s.path.type", at, where, i,
			    f[i].type == ROW_REDIRECT ? "requestRedirect" : "urlRewrite");
		return judge_refuse(j, line_of(list, i),
				    "ReplacePrefixMatch needs exactly one match in the rule, a PathPrefix");
	}
	return 0;
}

int make_filters_fit(struct judge *j, const struct doc_node *rule, uint32_t at, const struct row_rule *r)
{
	const struct doc_node *list = doc_get(rule, "filters"), *back = doc_get(rule, "backendRefs");
	int e = fit(j, list, at, "", r, r->filters, r->n_filters);

	for (uint32_t i = 0; e == 0 && i < r->n_filters; i++) {
		if (r->filters[i].type != ROW_REDIRECT || r->n_backends == 0)
			continue;
		judge_field(j, "spec.rules[%u].filters[%u].type", at, i);
		return judge_refuse(j, line_of(list, i), "RequestRedirect is for rules without backendRefs");
	}
	back = back ? back->first : NULL;
	for (uint32_t i = 0; e == 0 && i < r->n_backends && back; i++, back = back->next) {
		char where[32];

		snprintf(where, sizeof where, "backendRefs[%u].", i);
		e = fit(j, doc_get(back, "filters"), at, where, r, r->backends[i].filters,
			r->backends[i].n_filters);
	}
	return e;
}
