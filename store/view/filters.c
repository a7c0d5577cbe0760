/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The filters of rules and backends, read from a unit. */
#include <stdio.h>

#include "nodeproxy/lib/base/strbuf.h"
#include "store/view/edit.h"
#include "store/view/reader.h"

bool vfilter_at(const struct vservice *s, const struct vfilters *all, uint32_t i, struct vfilter *ret)
{
	struct slice unit = vservice_unit(s);
	const struct unit_svc *svc = vservice_svc(s);
	const struct unit_filter *f;

	if (i >= all->n || all->first > svc->n_filters)
		return false;
	f = unit_item(unit, svc->filters, svc->n_filters, sizeof *f, all->first + i);
	if (f == NULL || f->kind >= FILTERS || f->edit > unit.n || f->n_edit > unit.n - f->edit)
		return false;
	*ret = (struct vfilter){
		.kind = (enum filter_kind)f->kind,
		.edit = slice_of(unit.p + f->edit, f->n_edit),
		.host = unit_text(unit, f->host),
		.path_is = (enum new_path)f->path_is,
		.path = unit_text(unit, f->path),
		.cut = f->cut,
		.scheme = (enum new_scheme)f->scheme,
		.port = f->port,
		.status = f->status,
	};
	return true;
}

const char *filter_name(enum filter_kind k)
{
	static const char *const name[FILTERS] = {
		[FILTER_REDIRECT] = "RequestRedirect",
		[FILTER_REWRITE] = "URLRewrite",
		[FILTER_REQUEST_HEADERS] = "RequestHeaderModifier",
		[FILTER_RESPONSE_HEADERS] = "ResponseHeaderModifier",
	};

	return (unsigned)k < FILTERS ? name[k] : "?";
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
	case FILTERS:
		break;
	}
}
