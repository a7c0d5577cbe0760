/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The filters of rules and backends, read from a unit. */
#include <stdio.h>

#include "nodeproxy/lib/base/strbuf.h"
#include "store/view/edit.h"
#include "store/view/reader.h"

static struct slice bytes(struct slice unit, uint32_t at, uint32_t n)
{
	return at > unit.n || n > unit.n - at ? (struct slice){ 0 } : slice_of(unit.p + at, n);
}

bool vfilter_at(const struct vservice *s, const struct vfilters *all, uint32_t i, struct vfilter *ret)
{
	struct slice unit = vservice_unit(s);
	const struct unit_svc *svc = vservice_svc(s);
	const struct unit_filter *f;

	if (i >= all->n || all->first > svc->n_filters)
		return false;
	f = unit_item(unit, svc->filters, svc->n_filters, sizeof *f, all->first + i);
	if (f == NULL || f->kind >= FILTERS)
		return false;
	*ret = (struct vfilter){
		.kind = (enum filter_kind)f->kind,
		.edit = bytes(unit, f->edit, f->n_edit),
		.host = unit_text(unit, f->host),
		.path_is = (enum new_path)f->path_is,
		.path = unit_text(unit, f->path),
		.cut = f->cut,
		.scheme = (enum new_scheme)f->scheme,
		.port = f->port,
		.status = f->status,
		.cors = f->cors,
		.miss = bytes(unit, f->miss, f->n_miss),
		.plain = bytes(unit, f->plain, f->n_plain),
		.lines = bytes(unit, f->lines, f->n_lines),
		.origins = bytes(unit, f->origins, f->n_origins),
		.to = f->to,
		.to_ns = unit_text(unit, f->to_ns),
		.to_name = unit_text(unit, f->to_name),
		.numerator = f->numerator,
		.denominator = f->denominator,
	};
	return true;
}

bool vfilter_target(const struct vservice *s, const struct vfilter *f, struct vport *ret)
{
	struct vservice to;

	return f->to && view_service(s->view, f->to, &to) && vservice_port(&to, f->port, ret);
}

const char *filter_name(enum filter_kind k)
{
	static const char *const name[FILTERS] = {
		[FILTER_CORS] = "CORS",
		[FILTER_MIRROR] = "RequestMirror",
		[FILTER_REDIRECT] = "RequestRedirect",
		[FILTER_REWRITE] = "URLRewrite",
		[FILTER_REQUEST_HEADERS] = "RequestHeaderModifier",
		[FILTER_RESPONSE_HEADERS] = "ResponseHeaderModifier",
	};

	return (unsigned)k < FILTERS ? name[k] : "?";
}

/* The text of an origin without its *, and where that was; past the end: it has none. */
static bool next_origin(struct slice *rest, struct slice *ret, size_t *ret_star)
{
	if (rest->n < 2 || rest->n < 2u + rest->p[0])
		return false;
	*ret = slice_of(rest->p + 2, rest->p[0]);
	*ret_star = rest->p[1] <= rest->p[0] ? rest->p[1] : SIZE_MAX;
	*rest = slice_from(*rest, 2u + rest->p[0]);
	return true;
}

/* What a * stands for: labels of a host and the dots between them, nothing that would end it. */
static bool is_labels(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!(byte_lower(s.p[i]) >= 'a' && byte_lower(s.p[i]) <= 'z') &&
		    !(s.p[i] >= '0' && s.p[i] <= '9') && s.p[i] != '-' && s.p[i] != '.' && s.p[i] != '_')
			return false;
	return s.n > 0;
}

bool vfilter_allows(const struct vfilter *f, struct slice origin)
{
	struct slice rest = f->origins, o;
	size_t star;

	if (f->cors & CORS_ANY_ORIGIN)
		return true;
	while (next_origin(&rest, &o, &star)) {
		if (star > o.n) {
			if (slice_caseeq(o, origin))
				return true;
			continue;
		}
		if (origin.n > o.n && slice_caseeq(slice_of(o.p, star), slice_of(origin.p, star)) &&
		    slice_caseeq(slice_from(o, star), slice_from(origin, origin.n - (o.n - star))) &&
		    is_labels(slice_of(origin.p + star, origin.n - o.n)))
			return true;
	}
	return false;
}

/* Names that leave and do not come back are removed, those that come back are set, others added. */
static bool has_name(struct slice names, struct slice name)
{
	struct slice one;

	while (edit_name(&names, &one))
		if (slice_caseeq(one, name))
			return true;
	return false;
}

static bool has_line(const struct edit *e, struct slice name)
{
	struct slice rest = e->text, line, one, value;

	for (uint32_t i = 0; edit_line(e, i, &rest, &line, &one, &value); i++)
		if (slice_caseeq(one, name))
			return true;
	return false;
}

/* "set A, B" of one kind of change, behind what is there already. */
static void add_words(struct strbuf *b, const char *verb, bool *any, struct slice name)
{
	strbuf_adds(b, *any ? ", " : b->n ? "; " : "");
	if (!*any) {
		strbuf_adds(b, verb);
		strbuf_addc(b, ' ');
	}
	strbuf_add(b, name);
	*any = true;
}

static void edit_words(const struct edit *e, struct strbuf *b)
{
	struct slice rest, line, name, value;
	bool any;

	for (int adds = 0; adds < 2; adds++) {
		any = false;
		rest = e->text;
		for (uint32_t i = 0; edit_line(e, i, &rest, &line, &name, &value); i++)
			if (has_name(e->names, name) == !adds)
				add_words(b, adds ? "add" : "set", &any, name);
	}
	any = false;
	for (rest = e->names; edit_name(&rest, &name);)
		if (!has_line(e, name))
			add_words(b, "remove", &any, name);
}

static void address_words(const struct vfilter *f, struct strbuf *b)
{
	if (f->host.n) {
		strbuf_adds(b, b->n ? ", host " : "host ");
		strbuf_add(b, f->host);
	}
	if (f->path_is == PATH_KEPT)
		return;
	strbuf_adds(b, b->n ? ", " : "");
	strbuf_adds(b, f->path_is == PATH_WHOLE ? "path " : "prefix ");
	if (f->path.n)
		strbuf_add(b, f->path);
	else
		strbuf_adds(b, "/");
}

void vfilter_words(const struct vfilter *f, char *out, size_t n)
{
	struct strbuf b = strbuf_on(out, n);
	struct edit e;
	size_t star;

	switch (f->kind) {
	case FILTER_REQUEST_HEADERS:
	case FILTER_RESPONSE_HEADERS:
		if (edit_open(f->edit, &e))
			edit_words(&e, &b);
		break;
	case FILTER_REDIRECT:
		strbuf_printf(&b, "answer %u", f->status);
		if (f->scheme)
			strbuf_printf(&b, ", scheme %s", f->scheme == SCHEME_HTTPS ? "https" : "http");
		if (f->port)
			strbuf_printf(&b, ", port %u", f->port);
		address_words(f, &b);
		break;
	case FILTER_REWRITE:
		address_words(f, &b);
		break;
	case FILTER_MIRROR:
		strbuf_adds(&b, "to ");
		strbuf_add(&b, f->to_ns);
		strbuf_addc(&b, '/');
		strbuf_add(&b, f->to_name);
		strbuf_printf(&b, ":%u, %u of %u%s", f->port, f->numerator, f->denominator,
			      f->to ? "" : " (invalid)");
		break;
	case FILTER_CORS:
		strbuf_adds(&b, "origins");
		for (struct slice rest = f->origins, o; next_origin(&rest, &o, &star);) {
			strbuf_addc(&b, ' ');
			strbuf_add(&b, slice_of(o.p, min_of(star, o.n)));
			if (star <= o.n)
				strbuf_addc(&b, '*');
			strbuf_add(&b, slice_from(o, star));
		}
		break;
	case FILTERS:
		break;
	}
}
