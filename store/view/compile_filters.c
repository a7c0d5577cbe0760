/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Filters of rules and backends: what of them can be spelled, sorted or measured once, is. */
#include "store/view/compile_inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/strbuf.h"
#include "store/view/edit.h"

/* ---- headers ---- */

#define NAMES_MAX 32	/* of set and of remove, 16 each at most */

struct names {
	struct slice name[NAMES_MAX];
	uint32_t n;
};

static int name_cmp(const void *a, const void *b)
{
	const struct slice *x = a, *y = b;

	if (x->n != y->n)
		return x->n < y->n ? -1 : 1;
	return x->n ? memcmp(x->p, y->p, x->n) : 0;
}

static void add_name(struct names *all, const char *name)
{
	struct slice s = slice_str(name);

	if (all->n < NAMES_MAX && s.n && s.n <= EDIT_NAME_MAX)
		all->name[all->n++] = s;
}

static size_t lines_room(const struct row_pair *l, uint32_t n)
{
	size_t room = 0;

	for (uint32_t i = 0; i < n; i++)
		room += 4 + EDIT_LINE(slice_str(l[i].name).n, slice_str(l[i].value).n);
	return room;
}

static uint8_t *put(uint8_t *q, const void *p, size_t n)
{
	if (n)
		memcpy(q, p, n);
	return q + n;
}

static void put_lines(const struct row_pair *l, uint32_t n, uint8_t **index, uint8_t **text)
{
	for (uint32_t i = 0; i < n; i++) {
		struct slice name = slice_str(l[i].name), value = slice_str(l[i].value);
		uint16_t sizes[] = { (uint16_t)name.n, (uint16_t)value.n };

		*index = put(*index, sizes, sizeof sizes);
		*text = put(*text, name.p, name.n);
		*text = put(*text, ": ", 2);
		*text = put(*text, value.p, value.n);
		*text = put(*text, "\r\n", 2);
	}
}

static void put_edit(struct out *o, const struct row_filter *f, uint32_t *ret_at, uint32_t *ret_n)
{
	struct edit_head head = { .lines = (uint16_t)(f->n_set + f->n_add) };
	struct names names = { .n = 0 };
	uint8_t *p, *text;
	size_t n;

	for (uint32_t i = 0; i < f->n_set; i++)
		add_name(&names, f->set[i].name);
	for (uint32_t i = 0; i < f->n_remove; i++)
		add_name(&names, f->remove[i]);
	qsort(names.name, names.n, sizeof names.name[0], name_cmp);
	/* at most 32 names of 257 bytes */
	for (uint32_t i = 0; i < names.n; i++) {
		head.lengths |= 1u << names.name[i].n % 32;
		head.names_n += (uint16_t)(1 + names.name[i].n);
	}
	n = sizeof head + head.names_n + lines_room(f->set, f->n_set) + lines_room(f->add, f->n_add) + 2;
	*ret_at = out_room(o, n, 4);
	*ret_n = (uint32_t)n;
	if (o->error)
		return;
	p = put(o->b->p + *ret_at, &head, sizeof head);
	for (uint32_t i = 0; i < names.n; i++) {
		*p++ = (uint8_t)(names.name[i].n - 1);
		p = put(p, names.name[i].p, names.name[i].n);
	}
	text = p + 4u * head.lines;
	put_lines(f->set, f->n_set, &p, &text);
	put_lines(f->add, f->n_add, &p, &text);
	put(text, "\r\n", 2);
}

/* ---- CORS ---- */

#define NAMED "Access-Control-"

static void put_bytes(struct out *o, const void *p, size_t n, uint32_t *ret_at, uint32_t *ret_n)
{
	*ret_at = out_room(o, n, 4);
	*ret_n = (uint32_t)n;
	if (!o->error && n)
		memcpy(o->b->p + *ret_at, p, n);
}

/* "a, b, c"; malloced. */
static char *join(struct out *o, char *const *texts, uint32_t n)
{
	size_t room = 1, at = 0;
	char *p;

	for (uint32_t i = 0; i < n; i++)
		room += slice_str(texts[i]).n + 2;
	p = calloc(room, 1);
	if (p == NULL)
		o->error = -ENOMEM;
	for (uint32_t i = 0; p && i < n; i++) {
		struct slice s = slice_str(texts[i]);

		if (i)
			at = (size_t)((char *)put((uint8_t *)p + at, ", ", 2) - p);
		at = (size_t)((char *)put((uint8_t *)p + at, s.p, s.n) - p);
	}
	return p;
}

static bool is_any(char *const *texts, uint32_t n)
{
	return n == 1 && slice_eq(slice_str(texts[0]), SLICE("*"));
}

/* Each origin as two bytes, the length of its text without the * and where that was (255: nowhere), and
 * the text. */
static void put_origins(struct out *o, const struct row_filter *f, struct unit_filter *ret)
{
	size_t room = 0;
	uint8_t *q;

	for (uint32_t i = 0; i < f->n_origins; i++)
		room += 2 + slice_str(f->origins[i]).n;
	ret->origins = out_room(o, room, 4);
	if (o->error)
		return;
	q = o->b->p + ret->origins;
	for (uint32_t i = 0; i < f->n_origins; i++) {
		struct slice s = slice_str(f->origins[i]);
		const uint8_t *star = s.n ? memchr(s.p, '*', s.n) : NULL;
		size_t before = star ? (size_t)(star - s.p) : s.n;

		*q++ = (uint8_t)(s.n - (star != NULL));
		*q++ = star ? (uint8_t)before : 255;
		q = put(q, s.p, before);
		if (star)
			q = put(q, star + 1, s.n - before - 1);
	}
	ret->n_origins = (uint32_t)(q - (o->b->p + ret->origins));
}

/* One complete line, where there is a value. */
static void add_line(struct strbuf *b, const char *name, const char *value)
{
	if (value[0] == 0)
		return;
	strbuf_adds(b, name);
	strbuf_adds(b, ": ");
	strbuf_adds(b, value);
	strbuf_adds(b, "\r\n");
}

static void put_preflight(struct out *o, const struct row_filter *f, unsigned cors, const char *methods,
			  const char *headers, struct unit_filter *ret)
{
	size_t room = 512 + strlen(methods) + strlen(headers);
	char *text = malloc(room), age[16];
	struct strbuf b;

	if (text == NULL) {
		o->error = -ENOMEM;
		return;
	}
	snprintf(age, sizeof age, "%u", f->max_age_s);
	b = strbuf_on(text, room);
	add_line(&b, NAMED "Allow-Origin", cors & CORS_ECHO_ORIGIN ? "" : "*");
	add_line(&b, NAMED "Allow-Methods", cors & CORS_ECHO_METHOD ? "" : methods);
	add_line(&b, NAMED "Allow-Headers", cors & CORS_ECHO_HEADERS ? "" : headers);
	add_line(&b, NAMED "Allow-Credentials", f->credentials ? "true" : "");
	add_line(&b, NAMED "Max-Age", age);
	add_line(&b, "Vary", cors & CORS_ECHO_ORIGIN ? "Origin, " NAMED "Request-Method, " NAMED "Request-Headers" : "");
	must(!b.cut);	/* names and the rest: 400 */
	put_bytes(o, text, b.n, &ret->lines, &ret->n_lines);
	free(text);
}

/* Rows have texts that can be freed; those of an edit made here are not. */
#define LENT(lit) ((char *)(uintptr_t)(lit))

static void put_cors(struct out *o, const struct row_filter *f, struct unit_filter *ret)
{
	char *theirs[] = { LENT(NAMED "Allow-Origin"), LENT(NAMED "Allow-Credentials"),
			   LENT(NAMED "Expose-Headers") };
	char *methods = join(o, f->methods, f->n_methods), *headers = join(o, f->headers, f->n_headers);
	char *expose = join(o, f->expose, f->n_expose);
	bool any = is_any(f->origins, f->n_origins), named = !any || f->credentials;
	struct row_pair vary = { LENT("Vary"), LENT("Origin") }, set[3];
	struct row_filter edit = { .add = &vary, .n_add = named, .set = set };

	ret->cors = (uint8_t)((any ? CORS_ANY_ORIGIN : 0) | (named ? CORS_ECHO_ORIGIN : 0) |
			      (f->credentials && is_any(f->methods, f->n_methods) ? CORS_ECHO_METHOD : 0) |
			      (f->credentials && is_any(f->headers, f->n_headers) ? CORS_ECHO_HEADERS : 0));
	if (!o->error) {
		put_preflight(o, f, ret->cors, methods, headers, ret);
		put_origins(o, f, ret);
		put_edit(o, &edit, &ret->plain, &ret->n_plain);
		edit.remove = theirs;
		edit.n_remove = countof(theirs);
		put_edit(o, &edit, &ret->miss, &ret->n_miss);
		if (!named)
			set[edit.n_set++] = (struct row_pair){ theirs[0], LENT("*") };
		if (f->credentials)
			set[edit.n_set++] = (struct row_pair){ theirs[1], LENT("true") };
		/* With credentials * is a name like any other to a browser. */
		if (expose[0] && !(f->credentials && is_any(f->expose, f->n_expose)))
			set[edit.n_set++] = (struct row_pair){ theirs[2], expose };
		put_edit(o, &edit, &ret->edit, &ret->n_edit);
	}
	free(methods);
	free(headers);
	free(expose);
}

/* ---- addresses ---- */

static void put_address(struct out *o, const struct row_filter *f, const struct row_rule *r,
			struct unit_filter *ret)
{
	struct slice path = slice_str(f->path);

	ret->host = out_str(o, f->hostname);
	ret->port = f->port;
	ret->status = f->status;
	if (f->scheme)
		ret->scheme = slice_eq(slice_str(f->scheme), SLICE("https")) ? SCHEME_HTTPS : SCHEME_HTTP;
	switch (f->new_path) {
	case ROW_PATH_KEPT:
		break;
	case ROW_PATH_WHOLE:
		ret->path_is = PATH_WHOLE;
		ret->path = out_text(o, path.n ? path : SLICE("/"));
		break;
	case ROW_PATH_OTHER_PREFIX:
		/* /foo and /foo/ are the same prefix, and so are /xyz and /xyz/ in its place. */
		while (path.n && path.p[path.n - 1] == '/')
			path.n--;
		ret->path_is = PATH_PREFIX;
		ret->path = out_text(o, path);
		ret->cut = r->n_matches ? compile_prefix_key(r->matches[0].path) : 0;
		break;
	}
}

/* ---- all of them ---- */

static enum filter_kind kind_of(const struct row_filter *f)
{
	switch (f->type) {
	case ROW_REQUEST_HEADERS:
		return FILTER_REQUEST_HEADERS;
	case ROW_RESPONSE_HEADERS:
		return FILTER_RESPONSE_HEADERS;
	case ROW_REDIRECT:
		return FILTER_REDIRECT;
	case ROW_REWRITE:
		return FILTER_REWRITE;
	case ROW_CORS:
		return FILTER_CORS;
	case ROW_MIRROR:
		return FILTER_MIRROR;
	}
	return FILTERS;
}

/* Whose ids they are, and of whose route. */
struct ids {
	unit_id_fn id_of;
	void *arg;
	const struct unit_service *in;
	const struct row *route;
};

/* As a backend of the route would be: one that is not permitted is refused. */
static void put_mirror(struct out *o, const struct row_filter *f, const struct ids *ids,
		       struct unit_filter *ret)
{
	struct row_backend b = { .ns = f->to_ns, .name = f->to_name, .port = f->port };

	ret->to_ns = out_str(o, f->to_ns);
	ret->to_name = out_str(o, f->to_name);
	ret->port = f->port;
	ret->numerator = f->numerator;
	ret->denominator = f->denominator;
	if (route_backend(ids->route, ids->in->service->ns, &b, ids->in->granted, ids->in->arg) !=
		    BACKEND_PERMITTED || o->error)
		return;
	ret->to = ids->id_of(ids->arg, slice_str(f->to_ns), slice_str(f->to_name));
	if (ret->to == 0)
		o->error = -ENOMEM;
	out_ref(o, ret->to);
}

/* Those of one rule or backend, by kind; the array is there already. */
static void put_filters(struct out *o, const struct row_rule *r, const struct row_filter *f, uint32_t n,
			const struct ids *ids, uint32_t *at)
{
	for (unsigned kind = 0; kind < FILTERS; kind++)
		for (uint32_t i = 0; i < n && !o->error; i++) {
			struct unit_filter u = { .kind = kind };

			if (kind_of(&f[i]) != kind)
				continue;
			if (f[i].type == ROW_REQUEST_HEADERS || f[i].type == ROW_RESPONSE_HEADERS)
				put_edit(o, &f[i], &u.edit, &u.n_edit);
			else if (f[i].type == ROW_CORS)
				put_cors(o, &f[i], &u);
			else if (f[i].type == ROW_MIRROR)
				put_mirror(o, &f[i], ids, &u);
			else
				put_address(o, &f[i], r, &u);
			if (!o->error)
				memcpy(o->b->p + *at, &u, sizeof u);
			*at += (uint32_t)sizeof u;
		}
}

static uint32_t count(const struct row_route *r)
{
	uint32_t n = 0;

	for (uint32_t i = 0; i < r->n_rules; i++) {
		n += r->rules[i].n_filters;
		for (uint32_t k = 0; k < r->rules[i].n_backends; k++)
			n += r->rules[i].backends[k].n_filters;
	}
	return n;
}

uint32_t compile_put_filters(struct out *o, const struct unit_service *in,
			     const struct row *const *routes, uint32_t n,
			     unit_id_fn id_of, void *arg, uint32_t *ret_n)
{
	uint32_t at, to;

	*ret_n = 0;
	for (uint32_t i = 0; i < n; i++)
		*ret_n += count(&routes[i]->route);
	at = to = out_room(o, (uint64_t)*ret_n * sizeof(struct unit_filter), 4);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < routes[i]->route.n_rules; j++)
			put_filters(o, &routes[i]->route.rules[j], routes[i]->route.rules[j].filters,
				    routes[i]->route.rules[j].n_filters,
				    &(struct ids){ id_of, arg, in, routes[i] }, &to);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < routes[i]->route.n_rules; j++) {
			const struct row_rule *r = &routes[i]->route.rules[j];

			for (uint32_t m = 0; m < r->n_backends; m++)
				put_filters(o, r, r->backends[m].filters, r->backends[m].n_filters,
					    &(struct ids){ id_of, arg, in, routes[i] }, &to);
		}
	return at;
}
