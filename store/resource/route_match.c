/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What a rule of HTTPRoute, GRPCRoute or TLSRoute matches.  A method of gRPC becomes the path it has in
 * HTTP/2, and a hostname of a TLSRoute one too, so that one lookup serves all kinds. */
#include "store/resource/route_inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/lib/net/addr.h"
#include "nodeproxy/lib/net/server_name.h"

#define MATCHES_MAX 128		/* in a route */

/* "/service", "/service/method" */
static char *path_of(struct slice service, struct slice method)
{
	size_t room = service.n + method.n + 3;
	char *out = malloc(room);

	if (out)
		snprintf(out, room, "/%.*s%s%.*s", (int)service.n, (const char *)service.p,
			 method.n ? "/" : "", (int)method.n, method.n ? (const char *)method.p : "");
	return out;
}

/* Names are the key of the list: twice the same is an error.  Of two headers that only differ in
 * case the Gateway API says that the first counts. */
static int pairs(struct judge *j, const struct doc_node *list, const char *where, bool any_case,
		 struct row_pair **ret, uint32_t *ret_n)
{
	uint32_t at = 0;

	if (list == NULL || list->n == 0)
		return 0;
	if (make_array(list->n, ret) < 0)
		return -ENOMEM;
	for (const struct doc_node *m = list->first; m; m = m->next, at++) {
		struct slice name = make_slice_of(m, "name");
		struct row_pair *p = &(*ret)[*ret_n];
		bool later = false;

		for (const struct doc_node *o = list->first; o != m; o = o->next) {
			judge_field(j, "%s[%u].name", where, at);
			if (slice_eq(make_slice_of(o, "name"), name))
				return judge_refuse(j, m->line, "%.*s is there twice", (int)name.n,
						    (const char *)name.p);
			later |= any_case && slice_caseeq(make_slice_of(o, "name"), name);
		}
		if (later)
			continue;
		++*ret_n;
		p->name = make_text(m, "name", "");
		p->value = make_text(m, "value", "");
		if (p->name == NULL || p->value == NULL)
			return -ENOMEM;
		for (char *c = p->name; any_case && *c; c++)
			*c = (char)byte_lower((uint8_t)*c);
	}
	return 0;
}

static int http_match(struct judge *j, const struct doc_node *m, const char *where,
		      struct row_match *ret)
{
	const struct doc_node *path = doc_get(m, "path");
	char list[96];
	int e;

	ret->type = slice_eq(make_slice_of(path, "type"), SLICE("Exact")) ? ROW_PATH_EXACT :
									    ROW_PATH_PREFIX;
	ret->path = make_slice_of(path, "value").n ? make_text(path, "value", "") : strdup("/");
	ret->method = make_text(m, "method", "");
	ret->grpc_method = strdup("");
	if (ret->path == NULL || ret->method == NULL || ret->grpc_method == NULL)
		return -ENOMEM;
	snprintf(list, sizeof list, "%s.headers", where);
	e = pairs(j, doc_get(m, "headers"), list, true, &ret->headers, &ret->n_headers);
	snprintf(list, sizeof list, "%s.queryParams", where);
	return e < 0 ? e :
		       pairs(j, doc_get(m, "queryParams"), list, false, &ret->params, &ret->n_params);
}

static int grpc_match(struct judge *j, const struct doc_node *m, const char *where,
		      struct row_match *ret)
{
	const struct doc_node *of = doc_get(m, "method");
	struct slice service = make_slice_of(of, "service"), method = make_slice_of(of, "method");
	char list[96];

	judge_field(j, "%s.method", where);
	if (of && service.n == 0 && method.n == 0)
		return judge_refuse(j, of->line, "needs a service or a method");
	ret->type = service.n && method.n ? ROW_PATH_EXACT : ROW_PATH_PREFIX;
	ret->path = service.n ? path_of(service, method) : strdup("/");
	ret->method = strdup("");
	ret->grpc_method = service.n ? strdup("") : make_text(of, "method", "");
	if (ret->path == NULL || ret->method == NULL || ret->grpc_method == NULL)
		return -ENOMEM;
	snprintf(list, sizeof list, "%s.headers", where);
	return pairs(j, doc_get(m, "headers"), list, true, &ret->headers, &ret->n_headers);
}

int route_make_matches(struct judge *j, const struct doc_node *rule, enum row_kind kind, uint32_t at,
		       uint32_t *total, struct row_rule *r)
{
	static const struct doc_node everything = { .type = DOC_MAP };
	const struct doc_node *list = doc_get(rule, "matches");
	uint32_t n = list ? list->n : 0;

	judge_field(j, "spec.rules[%u].matches", at);
	*total += n;
	if (*total > MATCHES_MAX)
		return judge_refuse(j, list->line, "more than %d matches in the whole route", MATCHES_MAX);
	if (make_array(max_of(n, 1u), &r->matches) < 0)
		return -ENOMEM;
	for (const struct doc_node *m = n ? list->first : &everything; m; m = m->next) {
		char where[64];
		int e;

		snprintf(where, sizeof where, "spec.rules[%u].matches[%u]", at, r->n_matches);
		e = kind == ROW_GRPCROUTE ?
			    grpc_match(j, m, where, &r->matches[r->n_matches++]) :
			    http_match(j, m, where, &r->matches[r->n_matches++]);
		if (e < 0)
			return e;
	}
	return 0;
}

int route_make_names(struct judge *j, const struct doc_node *hostnames, struct row_rule *r)
{
	if (make_array(hostnames->n, &r->matches) < 0)
		return -ENOMEM;
	for (const struct doc_node *m = hostnames->first; m; m = m->next) {
		struct row_match *to = &r->matches[r->n_matches];
		char path[SERVER_NAME_PATH], seen[64];
		struct addr a;

		judge_field(j, "spec.hostnames[%u]", r->n_matches);
		if (addr_parse_ip(m->text, &a) == 0 || server_name_path(m->text, true, path) < 0)
			return judge_refuse(j, m->line, "must be a name, not \"%s\"",
					    doc_clean(m->text, seen, sizeof seen));
		r->n_matches++;
		to->type = slice_starts(m->text, SLICE("*.")) ? ROW_PATH_PREFIX : ROW_PATH_EXACT;
		to->path = strdup(path);
		to->method = strdup("");
		to->grpc_method = strdup("");
		if (to->path == NULL || to->method == NULL || to->grpc_method == NULL)
			return -ENOMEM;
	}
	return 0;
}
