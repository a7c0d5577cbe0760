/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Routes: which ones count, their rules, and the backends of these. */
#include "store/view/compile_inner.h"

#include <errno.h>
#include <stdlib.h>

int compile_by_age(const void *a, const void *b)
{
	const struct row *x = *(const struct row *const *)a, *y = *(const struct row *const *)b;
	int c;

	if (x->created_rev != y->created_rev)
		return x->created_rev < y->created_rev ? -1 : 1;
	if (x->created_unix_ms != y->created_unix_ms)
		return x->created_unix_ms < y->created_unix_ms ? -1 : 1;
	c = compile_str_cmp(x->ns, y->ns);
	if (c == 0)
		c = compile_str_cmp(x->name, y->name);
	return c ? c : (x->kind > y->kind) - (x->kind < y->kind);
}

/* Those of the Service's own namespace first, then by namespace, then by age. */
static int by_callers(const void *a, const void *b, void *service_ns)
{
	const struct row *x = *(const struct row *const *)a, *y = *(const struct row *const *)b;
	const char *ns = service_ns;
	int c = compile_str_cmp(x->ns, y->ns);

	if (c == 0)
		return compile_by_age(a, b);
	if (compile_str_cmp(x->ns, ns) == 0 || compile_str_cmp(y->ns, ns) == 0)
		return compile_str_cmp(x->ns, ns) == 0 ? -1 : 1;
	return c;
}

const struct row **compile_pick_routes(const struct unit_service *in, uint32_t *ret_n)
{
	const struct row **r = calloc(in->n_routes + 1, sizeof(struct row *));
	uint32_t n = 0;

	for (uint32_t i = 0; r && i < in->n_routes; i++)
		if (row_kind_is_route(in->routes[i]->kind) &&
		    compile_attached(&in->routes[i]->route, in->service, NULL))
			r[n++] = in->routes[i];
	if (r)
		qsort_r(r, n, sizeof(struct row *), by_callers, in->service->ns);
	*ret_n = n;
	return r;
}

uint32_t compile_put_rules(struct out *o, const struct row *const *routes, uint32_t n,
			  uint32_t *filters, struct all_times *times, uint32_t *ret_n)
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
				.filter = *filters,
				.n_filters = r->n_filters,
				.times = compile_times(o, times, &r->times, &r->retry),
			};
			uint64_t weight = 0;

			for (uint32_t m = 0; m < r->n_backends; m++)
				weight += min_of(r->backends[m].weight, 1000000u);
			backend += r->n_backends;
			*filters += r->n_filters;
			u.total_weight = (uint32_t)min_of(weight, (uint64_t)UINT32_MAX);
			if (!o->error)
				memcpy(o->b->p + at + k++ * sizeof u, &u, sizeof u);
		}
	*ret_n = (uint32_t)rules;
	return at;
}

enum route_backend route_backend(const struct row *route, const char *parent_ns,
				 const struct row_backend *b, route_granted_fn granted, void *arg)
{
	if (b->other && b->other[0])
		return BACKEND_NO_SERVICE;
	/* A route for the callers of its own namespace may send them to where they were going. */
	if (compile_str_cmp(b->ns, route->ns) == 0 || compile_str_cmp(b->ns, parent_ns) == 0 ||
	    (granted && granted(arg, route, b)))
		return BACKEND_PERMITTED;
	return BACKEND_NOT_PERMITTED;
}

uint32_t compile_put_backends(struct out *o, const struct unit_service *in,
			      const struct row *const *routes, uint32_t n, unit_id_fn id_of,
			      void *arg, uint32_t *filters, uint32_t *ret_n)
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
					.filter = *filters,
					.n_filters = r->n_filters,
				};

				*filters += r->n_filters;
				if (route_backend(routes[i], in->service->ns, r, in->granted,
						  in->arg) == BACKEND_PERMITTED) {
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
