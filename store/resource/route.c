/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* HTTPRoute, GRPCRoute, TLSRoute and TCPRoute, attached to Services (GAMMA).  The limits and the checks across
 * fields are those of the Gateway API's CRDs (v1.6, standard channel), which nobody else applies on
 * bare metal. */
#include "store/resource/route_inner.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

static int parent(struct judge *j, const struct doc_node *m, const char *ns, struct row_route *r)
{
	struct row_parent *p = &r->parents[r->n_parents++];
	uint32_t at = r->n_parents - 1;
	char where[64];
	int e;

	snprintf(where, sizeof where, "spec.parentRefs[%u]", at);
	e = make_must_be_service(j, m, where);
	if (e < 0)
		return e;
	p->ns = make_text(m, "namespace", ns);
	p->name = make_text(m, "name", "");
	p->section = make_text(m, "sectionName", "");
	p->port = (uint16_t)make_number(m, "port", 0);
	if (p->ns == NULL || p->name == NULL || p->section == NULL)
		return -ENOMEM;
	judge_field(j, "%s", where);
	for (uint32_t i = 0; i < at; i++) {
		const struct row_parent *q = &r->parents[i];

		if (strcmp(p->ns, q->ns) != 0 || strcmp(p->name, q->name) != 0)
			continue;
		if ((p->port == 0 && p->section[0] == 0) || (q->port == 0 && q->section[0] == 0))
			return judge_refuse(j, m->line, "names %s/%s as parentRefs[%u] does: both need a port or a sectionName",
					    p->ns, p->name, i);
		if (p->port == q->port && strcmp(p->section, q->section) == 0)
			return judge_refuse(j, m->line, "is the same as parentRefs[%u]", i);
	}
	return 0;
}

static bool is_service(const struct doc_node *ref)
{
	const struct doc_node *kind = doc_get(ref, "kind");

	return make_slice_of(ref, "group").n == 0 &&
	       (kind == NULL || slice_eq(kind->text, SLICE("Service")));
}

/* One of another kind is kept: the route is good, only this part of it serves nothing. */
static int backend(struct judge *j, const struct doc_node *m, const char *ns, uint32_t rule_at,
		   struct row_rule *r)
{
	struct row_backend *b = &r->backends[r->n_backends++];
	const struct doc_node *port = doc_get(m, "port");
	struct slice name = make_slice_of(m, "name"), group = make_slice_of(m, "group");
	char where[64], other[400] = "", seen[64];

	snprintf(where, sizeof where, "spec.rules[%u].backendRefs[%u]", rule_at, r->n_backends - 1);
	if (is_service(m)) {
		judge_field(j, "%s.name", where);
		if (!schema_is_dns_label(name))
			return judge_refuse(j, m->line, "must be the name of a Service, not \"%s\"",
					    doc_clean(name, seen, sizeof seen));
		judge_field(j, "%s.port", where);
		if (port == NULL)
			return judge_refuse(j, m->line, "is required: port of the Service, not of its "
							"endpoints");
	} else {
		char *kind = make_text(m, "kind", "Service");

		if (kind == NULL)
			return -ENOMEM;
		snprintf(other, sizeof other, "%s%s%.*s", kind, group.n ? " of " : "", (int)group.n,
			 group.n ? (const char *)group.p : "");
		free(kind);
	}
	b->ns = make_text(m, "namespace", ns);
	b->name = make_text(m, "name", "");
	b->other = strdup(other);
	b->port = (uint16_t)make_number(m, "port", 0);
	b->weight = (uint32_t)make_number(m, "weight", 1);
	if (b->ns == NULL || b->name == NULL || b->other == NULL)
		return -ENOMEM;
	return make_filters(j, doc_get(m, "filters"), ns, rule_at, (int)r->n_backends - 1, &b->filters,
			    &b->n_filters);
}

/* names: the hostnames of the route. */
static int rule(struct judge *j, const struct doc_node *m, const struct doc_node *names, enum row_kind kind,
		const char *ns, struct row_route *r, uint32_t *matches)
{
	struct row_rule *ru = &r->rules[r->n_rules++];
	const struct doc_node *list;
	uint32_t at = r->n_rules - 1;
	int e;

	ru->name = make_text(m, "name", "");
	if (ru->name == NULL)
		return -ENOMEM;
	judge_field(j, "spec.rules[%u].name", at);
	for (uint32_t i = 0; i < at && ru->name[0]; i++)
		if (strcmp(ru->name, r->rules[i].name) == 0)
			return judge_refuse(j, m->line, "%.63s is the name of rules[%u] already", ru->name, i);
	e = kind == ROW_TLSROUTE ? route_make_names(j, names, ru) : route_make_matches(j, m, kind, at, matches, ru);
	if (e < 0)
		return e;
	e = make_filters(j, doc_get(m, "filters"), ns, at, -1, &ru->filters, &ru->n_filters);
	if (e < 0)
		return e;
	e = make_rule_times(j, m, at, ru);
	if (e < 0)
		return e;
	list = doc_get(m, "backendRefs");
	if (make_array(list ? list->n : 0, &ru->backends) < 0)
		return -ENOMEM;
	for (const struct doc_node *x = list ? list->first : NULL; x; x = x->next) {
		e = backend(j, x, ns, at, ru);
		if (e < 0)
			return e;
	}
	return make_filters_fit(j, m, at, ru);
}

int make_route(struct judge *j, const struct doc_node *root, struct row *r)
{
	static const struct doc_node everything = { .type = DOC_MAP };
	const struct doc_node *spec = doc_get(root, "spec"), *list = doc_get(spec, "parentRefs"), *names;
	struct row_route *rt = &r->route;
	uint32_t matches = 0;
	int e;

	if (make_array(list ? list->n : 0, &rt->parents) < 0)
		return -ENOMEM;
	for (const struct doc_node *m = list ? list->first : NULL; m; m = m->next) {
		e = parent(j, m, r->ns, rt);
		if (e < 0)
			return e;
	}
	names = doc_get(spec, "hostnames");
	rt->has_hostnames = names && names->n && r->kind != ROW_TLSROUTE;
	list = doc_get(spec, "rules");
	if (make_array(list ? list->n : 1, &rt->rules) < 0)
		return -ENOMEM;
	/* A GRPCRoute has no rule by default: nothing matches. */
	if (list == NULL)
		return r->kind == ROW_HTTPROUTE ? rule(j, &everything, names, r->kind, r->ns, rt, &matches) : 0;
	for (const struct doc_node *m = list->first; m; m = m->next) {
		e = rule(j, m, names, r->kind, r->ns, rt, &matches);
		if (e < 0)
			return e;
	}
	return 0;
}
