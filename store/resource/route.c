/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* HTTPRoute, attached to Services (GAMMA).  The limits and the checks across fields are those of
 * the Gateway API's CRD (v1.6, standard channel), which nobody else applies on bare metal. */
#include "store/resource/make.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#define MATCHES_MAX 128		/* in a route */

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

static int match(const struct doc_node *m, struct row_match *ret)
{
	const struct doc_node *path = doc_get(m, "path");

	ret->type = slice_eq(make_slice_of(path, "type"), SLICE("Exact")) ? ROW_PATH_EXACT :
									    ROW_PATH_PREFIX;
	ret->path = make_text(path, "value", "/");
	if (ret->path && ret->path[0] == 0) {
		free(ret->path);
		ret->path = strdup("/");
	}
	return ret->path ? 0 : -ENOMEM;
}

static int backend(struct judge *j, const struct doc_node *m, const char *ns, uint32_t rule_at,
		   struct row_rule *r)
{
	struct row_backend *b = &r->backends[r->n_backends++];
	char where[64];
	int e;

	snprintf(where, sizeof where, "spec.rules[%u].backendRefs[%u]", rule_at, r->n_backends - 1);
	e = make_must_be_service(j, m, where);
	if (e < 0)
		return e;
	b->ns = make_text(m, "namespace", ns);
	b->name = make_text(m, "name", "");
	b->port = (uint16_t)make_number(m, "port", 0);
	b->weight = (uint32_t)make_number(m, "weight", 1);
	return b->ns && b->name ? 0 : -ENOMEM;
}

static int rule(struct judge *j, const struct doc_node *m, const char *ns, struct row_route *r,
		uint32_t *matches)
{
	struct row_rule *ru = &r->rules[r->n_rules++];
	const struct doc_node *list = doc_get(m, "matches");
	uint32_t at = r->n_rules - 1;
	int e;

	ru->name = make_text(m, "name", "");
	if (ru->name == NULL)
		return -ENOMEM;
	judge_field(j, "spec.rules[%u].name", at);
	for (uint32_t i = 0; i < at && ru->name[0]; i++)
		if (strcmp(ru->name, r->rules[i].name) == 0)
			return judge_refuse(j, m->line, "%.63s is the name of rules[%u] already", ru->name, i);
	judge_field(j, "spec.rules[%u].matches", at);
	*matches += list ? list->n : 0;
	if (*matches > MATCHES_MAX)
		return judge_refuse(j, list->line, "more than %d matches in the whole route", MATCHES_MAX);
	if (list && list->n) {
		if (make_array(list->n, &ru->matches) < 0)
			return -ENOMEM;
		for (const struct doc_node *x = list->first; x; x = x->next) {
			e = match(x, &ru->matches[ru->n_matches++]);
			if (e < 0)
				return e;
		}
	} else {
		if (make_array(1u, &ru->matches) < 0)
			return -ENOMEM;
		ru->n_matches = 1;
		e = match(NULL, &ru->matches[0]);
		if (e < 0)
			return e;
	}
	list = doc_get(m, "backendRefs");
	if (make_array(list ? list->n : 0, &ru->backends) < 0)
		return -ENOMEM;
	for (const struct doc_node *x = list ? list->first : NULL; x; x = x->next) {
		e = backend(j, x, ns, at, ru);
		if (e < 0)
			return e;
	}
	return 0;
}

int make_route(struct judge *j, const struct doc_node *root, struct row *r)
{
	static const struct doc_node everything = { .type = DOC_MAP };
	const struct doc_node *spec = doc_get(root, "spec"), *list = doc_get(spec, "parentRefs");
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
	list = doc_get(spec, "rules");
	if (make_array(list ? list->n : 1, &rt->rules) < 0)
		return -ENOMEM;
	if (list == NULL)
		return rule(j, &everything, r->ns, rt, &matches);
	for (const struct doc_node *m = list->first; m; m = m->next) {
		e = rule(j, m, r->ns, rt, &matches);
		if (e < 0)
			return e;
	}
	return 0;
}
