/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Routes: rules, their backends, and the entries of each port in order of precedence. */
#include "store/view/compile_inner.h"

#include <errno.h>
#include <stdlib.h>

struct planned { /* an entry before it is written */
	const char *path;
	uint32_t path_n, key_n;
	uint32_t exact;
	uint32_t rank; /* order of routes, rules and matches */
	uint32_t rule; /* in the unit */
};

int compile_by_age(const void *a, const void *b)
{
	const struct row *x = *(const struct row *const *)a, *y = *(const struct row *const *)b;
	int c;

	if (x->created_unix_ms != y->created_unix_ms)
		return x->created_unix_ms < y->created_unix_ms ? -1 : 1;
	c = compile_str_cmp(x->ns, y->ns);
	return c ? c : compile_str_cmp(x->name, y->name);
}

static int planned_cmp(const void *a, const void *b)
{
	const struct planned *x = a, *y = b;
	int c;

	if (x->exact != y->exact)
		return x->exact ? -1 : 1;
	if (!x->exact && x->key_n != y->key_n)
		return x->key_n > y->key_n ? -1 : 1;
	c = slice_cmp(slice_of(x->path, x->key_n), slice_of(y->path, y->key_n));
	if (c)
		return c;
	if (x->path_n != y->path_n) /* /a/ is longer than /a and matches the same */
		return x->path_n > y->path_n ? -1 : 1;
	return (x->rank > y->rank) - (x->rank < y->rank);
}

static bool parent_is(const struct row_parent *p, const struct row *service)
{
	return compile_str_cmp(p->ns, service->ns) == 0 && compile_str_cmp(p->name, service->name) == 0;
}

static bool attached_to(const struct row_route *r, const struct row *service,
			const struct row_service_port *port)
{
	for (uint32_t i = 0; i < r->n_parents; i++) {
		const struct row_parent *p = &r->parents[i];

		if (!parent_is(p, service))
			continue;
		if (port == NULL ||
		    ((p->port == 0 || p->port == port->port) &&
		     (slice_str(p->section).n == 0 || compile_str_cmp(p->section, port->name) == 0)))
			return true;
	}
	return false;
}

/* The routes that matter here, oldest first; caller frees. */
const struct row **compile_pick_routes(const struct unit_service *in, uint32_t *ret_n)
{
	const struct row **r = calloc(in->n_routes + 1, sizeof(struct row *));
	uint32_t n = 0;

	for (uint32_t i = 0; r && i < in->n_routes; i++)
		if (in->routes[i]->kind == ROW_HTTPROUTE &&
		    compile_str_cmp(in->routes[i]->ns, in->service->ns) == 0 &&
		    attached_to(&in->routes[i]->route, in->service, NULL))
			r[n++] = in->routes[i];
	if (r)
		qsort(r, n, sizeof(struct row *), compile_by_age);
	*ret_n = n;
	return r;
}

uint32_t compile_put_rules(struct out *o, const struct row *const *routes, uint32_t n,
			  uint32_t *ret_n)
{
	uint64_t rules = 0;
	uint32_t at, k = 0, backend = 0;

	for (uint32_t i = 0; i < n; i++)
		rules += routes[i]->route.n_rules;
	at = out_room(o, rules * sizeof(struct unit_rule), 4);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < routes[i]->route.n_rules && !o->error; j++) {
			const struct row_rule *r = &routes[i]->route.rules[j];
			struct unit_rule u = {
				.route_ns = out_str(o, routes[i]->ns),
				.route_name = out_str(o, routes[i]->name),
				.name = out_str(o, r->name),
				.backend = backend,
				.n_backends = r->n_backends,
			};
			uint64_t weight = 0;

			for (uint32_t m = 0; m < r->n_backends; m++)
				weight += min_of(r->backends[m].weight, 1000000u);
			backend += r->n_backends;
			u.total_weight = (uint32_t)min_of(weight, (uint64_t)UINT32_MAX);
			if (!o->error)
				memcpy(o->b->p + at + k++ * sizeof u, &u, sizeof u);
		}
	*ret_n = (uint32_t)rules;
	return at;
}

uint32_t compile_put_backends(struct out *o, const struct row *const *routes, uint32_t n,
			     unit_id_fn id_of, void *arg, uint32_t *ret_n)
{
	uint64_t backends = 0;
	uint32_t at, k = 0;

	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < routes[i]->route.n_rules; j++)
			backends += routes[i]->route.rules[j].n_backends;
	at = out_room(o, backends * sizeof(struct unit_backend), 4);
	for (uint32_t i = 0; i < n; i++)
		for (uint32_t j = 0; j < routes[i]->route.n_rules; j++)
			for (uint32_t m = 0; m < routes[i]->route.rules[j].n_backends && !o->error;
			     m++) {
				const struct row_backend *r =
					&routes[i]->route.rules[j].backends[m];
				struct unit_backend u = {
					.ns = out_str(o, r->ns),
					.name = out_str(o, r->name),
					.weight = min_of(r->weight, 1000000u),
					.port = r->port,
				};

				if (compile_str_cmp(r->ns, routes[i]->ns) == 0) {
					u.id = id_of(arg, slice_str(r->ns), slice_str(r->name));
					if (u.id == 0)
						o->error = -ENOMEM;
					out_ref(o, u.id);
				}
				if (!o->error)
					memcpy(o->b->p + at + k++ * sizeof u, &u, sizeof u);
			}
	*ret_n = (uint32_t)backends;
	return at;
}

static uint32_t prefix_key(const char *path)
{
	uint32_t n = (uint32_t)slice_str(path).n;

	while (n && path[n - 1] == '/')
		n--;
	return n;
}

/* The entries of one port, appended; the arrays of all ports lie back to back. */
void compile_put_entries(struct out *o, const struct row *service, const struct row *const *routes,
			uint32_t n, const struct row_service_port *port, uint32_t unit_port_at,
			uint32_t first, uint32_t *total)
{
	struct planned *plan = NULL;
	uint32_t n_plan = 0, room = 0, rule = 0, n_exact = 0, at;
	bool any = false;

	for (uint32_t i = 0; i < n && !o->error; i++) {
		const struct row_route *r = &routes[i]->route;
		bool here = attached_to(r, service, port);

		any |= here;
		for (uint32_t j = 0; j < r->n_rules; j++, rule++)
			for (uint32_t m = 0; here && m < r->rules[j].n_matches && !o->error; m++) {
				const struct row_match *x = &r->rules[j].matches[m];

				if (!out_grow((void **)&plan, &room, n_plan + 1, sizeof *plan)) {
					o->error = -ENOMEM;
					break;
				}
				plan[n_plan] = (struct planned){
					.path = x->path,
					.path_n = (uint32_t)slice_str(x->path).n,
					.exact = x->type == ROW_PATH_EXACT,
					.rank = n_plan,
					.rule = rule,
				};
				plan[n_plan].key_n = plan[n_plan].exact ? plan[n_plan].path_n
									: prefix_key(x->path);
				n_exact += plan[n_plan++].exact;
			}
	}
	if (n_plan)
		qsort(plan, n_plan, sizeof *plan, planned_cmp);
	at = out_room(o, (uint64_t)n_plan * sizeof(struct unit_entry), 4);
	for (uint32_t i = 0; i < n_plan && !o->error; i++) {
		struct unit_entry e = { .path = out_str(o, plan[i].path),
					.key_n = plan[i].key_n,
					.rule = plan[i].rule,
					.exact = plan[i].exact };

		if (!o->error)
			memcpy(o->b->p + at + i * sizeof e, &e, sizeof e);
	}
	if (!o->error) {
		struct unit_port *u = (struct unit_port *)(o->b->p + unit_port_at);

		u->has_routes = any;
		u->entry = first;
		u->n_entries = n_plan;
		u->n_exact = n_exact;
		*total += n_plan;
	}
	free(plan);
}
