/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See compile.h.  A unit grows in one buffer: fixed part, arrays, then the table of texts and their
 * bytes, which is why texts are numbered while the arrays are written.  Errors are sticky: after
 * the first, everything is a no-op, and the end looks once. */
#include "store/view/compile.h"

#include <errno.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/hash.h"
#include "store/view/layout.h"

struct text {
	struct slice s;
	uint64_t hash;
};

struct out {
	struct unit_bytes *b;
	int error;
	struct text *texts;
	uint32_t n_texts, room_texts;
	uint32_t *bucket; /* number of a text + 1; open addressing */
	uint32_t buckets; /* power of two, at least twice n_texts */
};

/* Grows *p (elements of size) to hold n; n at most 2^31 by UNIT_MAX_BYTES. */
static bool grow(void **p, uint32_t *room, uint32_t n, size_t size)
{
	uint32_t want = *room ? *room : 16;
	void *q;

	if (n <= *room)
		return true;
	while (want < n)
		want *= 2;
	q = realloc(*p, want * size);
	if (q == NULL)
		return false;
	*p = q;
	*room = want;
	return true;
}

/* n zeroed bytes, aligned; their offset. */
static uint32_t out_room(struct out *o, uint64_t n, uint32_t align)
{
	struct unit_bytes *b = o->b;
	uint32_t at = (b->n + align - 1) & ~(align - 1);

	if (o->error)
		return 0;
	if (at + n > UNIT_MAX_BYTES) {
		o->error = -E2BIG;
		return 0;
	}
	if (!grow((void **)&b->p, &b->room, at + (uint32_t)n, 1)) {
		o->error = -ENOMEM;
		return 0;
	}
	memset(b->p + b->n, 0, at + n - b->n);
	b->n = at + (uint32_t)n;
	return at;
}

static bool texts_rehash(struct out *o, uint32_t buckets)
{
	uint32_t *q = calloc(buckets, sizeof *q);

	if (q == NULL)
		return false;
	free(o->bucket);
	o->bucket = q;
	o->buckets = buckets;
	for (uint32_t t = 0; t < o->n_texts; t++) {
		uint32_t i = (uint32_t)o->texts[t].hash & (buckets - 1);

		while (q[i])
			i = (i + 1) & (buckets - 1);
		q[i] = t + 1;
	}
	return true;
}

/* The number of this text, the same for the same bytes. */
static uint32_t out_text(struct out *o, struct slice s)
{
	uint64_t hash = hash_slice(s);
	uint32_t i;

	if (o->error)
		return 0;
	if (o->buckets < (o->n_texts + 1) * 2 &&
	    !texts_rehash(o, o->buckets ? o->buckets * 2 : 32)) {
		o->error = -ENOMEM;
		return 0;
	}
	for (i = (uint32_t)hash & (o->buckets - 1); o->bucket[i]; i = (i + 1) & (o->buckets - 1)) {
		const struct text *t = &o->texts[o->bucket[i] - 1];

		if (t->hash == hash && slice_eq(t->s, s))
			return o->bucket[i] - 1;
	}
	if (!grow((void **)&o->texts, &o->room_texts, o->n_texts + 1, sizeof *o->texts)) {
		o->error = -ENOMEM;
		return 0;
	}
	o->bucket[i] = o->n_texts + 1;
	o->texts[o->n_texts] = (struct text){ s, hash };
	return o->n_texts++;
}

static uint32_t out_str(struct out *o, const char *s)
{
	return out_text(o, slice_str(s));
}

static void out_begin(struct out *o, struct unit_bytes *b)
{
	*o = (struct out){ .b = b };
	b->n = 0;
	b->n_refs = 0;
	out_text(o, (struct slice){ 0 });
}

static int out_end(struct out *o, uint32_t id, enum unit_kind kind, struct slice ns,
		   struct slice name)
{
	uint32_t t_ns = out_text(o, ns), t_name = out_text(o, name);
	uint32_t table = out_room(o, (uint64_t)o->n_texts * sizeof(struct unit_text), 4);
	struct unit_head *h;

	for (uint32_t i = 0; i < o->n_texts && !o->error; i++) {
		struct slice s = o->texts[i].s;
		uint32_t at = out_room(o, s.n, 1);

		if (o->error)
			break;
		((struct unit_text *)(o->b->p + table))[i] =
			(struct unit_text){ at, (uint32_t)s.n };
		if (s.n)
			memcpy(o->b->p + at, s.p, s.n);
	}
	out_room(o, 0, 8);
	if (!o->error) {
		h = (struct unit_head *)o->b->p;
		*h = (struct unit_head){ UNIT_MAGIC, o->b->n,	 id,   kind,
					 table,	     o->n_texts, t_ns, t_name };
	}
	free(o->texts);
	free(o->bucket);
	return o->error;
}

void unit_bytes_fini(struct unit_bytes *b)
{
	free(b->p);
	free(b->refs);
	*b = (struct unit_bytes){ 0 };
}

static void out_ref(struct out *o, uint32_t id)
{
	struct unit_bytes *b = o->b;

	if (o->error)
		return;
	if (!grow((void **)&b->refs, &b->room_refs, b->n_refs + 1, sizeof *b->refs)) {
		o->error = -ENOMEM;
		return;
	}
	b->refs[b->n_refs++] = id;
}

int compile_namespace(const struct unit_namespace *ns, uint32_t id, struct unit_bytes *ret)
{
	struct out o;
	uint32_t at, tenant;

	out_begin(&o, ret);
	at = out_room(&o, sizeof(struct unit_nspace), 8);
	tenant = out_text(&o, ns->tenant);
	if (!o.error) {
		struct unit_nspace *u = (struct unit_nspace *)(ret->p + at);

		u->slot = ns->tenant_slot.slot;
		u->gen = ns->tenant_slot.gen;
		u->tenant = tenant;
		u->weight = ns->weight < 1 ? 1 : ns->weight > 1000 ? 1000 : ns->weight;
		u->connections = ns->connections;
		u->requests = ns->requests;
		u->memory_bytes = ns->memory_bytes;
	}
	return out_end(&o, id, UNIT_NAMESPACE, (struct slice){ 0 }, ns->name);
}

/* ---- endpoints ---- */

struct found { /* an endpoint before it is written */
	struct addr addr;
	uint8_t flags;
	uint16_t weight;
	const char *zone, *node;
};

struct founds {
	struct found *p;
	uint32_t n, room;
};

static int str_cmp(const char *a, const char *b)
{
	return slice_cmp(slice_str(a), slice_str(b));
}

static int addr_cmp(const struct addr *a, const struct addr *b)
{
	int c = (a->family > b->family) - (a->family < b->family);

	if (c == 0)
		c = memcmp(a->ip, b->ip, sizeof a->ip);
	return c ? c : (a->port > b->port) - (a->port < b->port);
}

static int found_by_addr(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	int c = addr_cmp(&x->addr, &y->addr);

	if (c == 0)
		c = y->weight - x->weight;
	if (c == 0)
		c = str_cmp(x->zone, y->zone);
	return c ? c : str_cmp(x->node, y->node);
}

static int found_ready_first(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	int rx = x->flags & ENDPOINT_READY, ry = y->flags & ENDPOINT_READY;

	return rx != ry ? ry - rx : addr_cmp(&x->addr, &y->addr);
}

static bool gather_slice(const struct row_slice *s, const struct row_service_port *port,
			 struct founds *f)
{
	for (uint32_t i = 0; i < s->n_ports; i++) {
		const struct row_slice_port *p = &s->ports[i];
		uint16_t number = p->port	      ? p->port
				  : port->target_port ? port->target_port
						      : port->port;

		if (p->protocol != ROW_TCP || str_cmp(p->name, port->name) != 0)
			continue;
		for (uint32_t k = 0; k < s->n_endpoints; k++) {
			const struct row_endpoint *e = &s->endpoints[k];
			struct found *x;

			if (e->addr.family != 4 && e->addr.family != 6)
				continue;
			if (!grow((void **)&f->p, &f->room, f->n + 1, sizeof *f->p))
				return false;
			x = &f->p[f->n++];
			*x = (struct found){ .addr = e->addr, .zone = e->zone, .node = e->node,
					    .weight = s->weight ? s->weight : ROW_WEIGHT };
			x->addr.port = number;
			x->flags = (e->ready ? ENDPOINT_READY : 0) |
				   (e->serving ? ENDPOINT_SERVING : 0) |
				   (e->terminating ? ENDPOINT_TERMINATING : 0);
		}
	}
	return true;
}

/* One endpoint per address and port, and of one family when the Service prefers one. */
static void merge_founds(struct founds *f, uint8_t family)
{
	bool has_family = false;
	uint32_t n = 0;

	for (uint32_t i = 0; i < f->n; i++)
		has_family |= f->p[i].addr.family == family;
	qsort(f->p, f->n, sizeof *f->p, found_by_addr);
	for (uint32_t i = 0; i < f->n; i++) {
		struct found *x = &f->p[i];

		if (has_family && x->addr.family != family)
			continue;
		if (n && addr_cmp(&f->p[n - 1].addr, &x->addr) == 0)
			f->p[n - 1].flags |= x->flags & (ENDPOINT_READY | ENDPOINT_SERVING);
		else
			f->p[n++] = *x;
	}
	f->n = n;
	qsort(f->p, f->n, sizeof *f->p, found_ready_first);
}

/* Weights of the endpoints of all ports that have different ones, added up per port. */
struct sums {
	uint32_t *p;
	uint32_t n, room;
};

/* Adds those of a port; its first, + 1; 0: all weights are alike. */
static uint32_t add_sums(struct out *o, struct sums *s, const struct founds *f)
{
	uint32_t first = s->n, sum = 0, i = 1;

	while (i < f->n && f->p[i].weight == f->p[0].weight)
		i++;
	if (i >= f->n)
		return 0;
	if (!grow((void **)&s->p, &s->room, s->n + f->n, sizeof *s->p)) {
		o->error = -ENOMEM;
		return 0;
	}
	/* at most 1000 for each of 64 MiB / 36 endpoints: 2^31 */
	for (i = 0; i < f->n; i++)
		s->p[s->n++] = sum += f->p[i].weight;
	return first + 1;
}

/* All endpoints of one port, appended to the buffer; the arrays of all ports lie back to back. */
static void put_endpoints(struct out *o, const struct unit_service *in,
			  const struct row_service_port *port, uint32_t unit_port_at,
			  uint32_t first, uint32_t *total, struct sums *sums)
{
	uint8_t family = in->service->service.cluster_ip[0].family;
	struct founds f = { 0 };
	uint32_t at, sum = 0, ready = 0;

	for (uint32_t i = 0; i < in->n_slices && !o->error; i++)
		if (in->slices[i]->kind == ROW_SLICE &&
		    !gather_slice(&in->slices[i]->slice, port, &f))
			o->error = -ENOMEM;
	if (!o->error && f.n)
		merge_founds(&f, family);
	if (!o->error)
		sum = add_sums(o, sums, &f);
	at = out_room(o, (uint64_t)f.n * sizeof(struct unit_endpoint), 4);
	for (uint32_t i = 0; i < f.n && !o->error; i++) {
		const struct found *x = &f.p[i];
		struct slot_gen slot = in->endpoint_slot ? in->endpoint_slot(in->arg, &x->addr)
							 : (struct slot_gen){ 0 };
		struct unit_endpoint e = {
			.port = x->addr.port,
			.family = x->addr.family,
			.flags = x->flags,
			.slot = slot.slot,
			.gen = slot.gen,
			.zone = out_str(o, x->zone),
			.node = out_str(o, x->node),
		};

		memcpy(e.ip, x->addr.ip, sizeof e.ip);
		ready += x->flags & ENDPOINT_READY;
		if (!o->error)
			memcpy(o->b->p + at + i * sizeof e, &e, sizeof e);
	}
	if (!o->error) {
		struct unit_port *u = (struct unit_port *)(o->b->p + unit_port_at);

		u->endpoint = first;
		u->n_endpoints = f.n;
		u->n_ready = ready;
		u->sum = sum;
		*total += f.n;
	}
	free(f.p);
}

/* ---- routes ---- */

struct planned { /* an entry before it is written */
	const char *path;
	uint32_t path_n, key_n;
	uint32_t exact;
	uint32_t rank; /* order of routes, rules and matches */
	uint32_t rule; /* in the unit */
};

static int row_by_age(const void *a, const void *b)
{
	const struct row *x = *(const struct row *const *)a, *y = *(const struct row *const *)b;
	int c;

	if (x->created_unix_ms != y->created_unix_ms)
		return x->created_unix_ms < y->created_unix_ms ? -1 : 1;
	c = str_cmp(x->ns, y->ns);
	return c ? c : str_cmp(x->name, y->name);
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
	return str_cmp(p->ns, service->ns) == 0 && str_cmp(p->name, service->name) == 0;
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
		     (slice_str(p->section).n == 0 || str_cmp(p->section, port->name) == 0)))
			return true;
	}
	return false;
}

/* The routes that matter here, oldest first; caller frees. */
static const struct row **pick_routes(const struct unit_service *in, uint32_t *ret_n)
{
	const struct row **r = calloc(in->n_routes + 1, sizeof(struct row *));
	uint32_t n = 0;

	for (uint32_t i = 0; r && i < in->n_routes; i++)
		if (in->routes[i]->kind == ROW_HTTPROUTE &&
		    str_cmp(in->routes[i]->ns, in->service->ns) == 0 &&
		    attached_to(&in->routes[i]->route, in->service, NULL))
			r[n++] = in->routes[i];
	if (r)
		qsort(r, n, sizeof(struct row *), row_by_age);
	*ret_n = n;
	return r;
}

static uint32_t put_rules(struct out *o, const struct row *const *routes, uint32_t n,
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

static uint32_t put_backends(struct out *o, const struct row *const *routes, uint32_t n,
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

				if (str_cmp(r->ns, routes[i]->ns) == 0) {
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
static void put_entries(struct out *o, const struct row *service, const struct row *const *routes,
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

				if (!grow((void **)&plan, &room, n_plan + 1, sizeof *plan)) {
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

/* ---- policies ---- */

/* 0: not about this port, 1: about all ports of the Service, 2: about this one. */
static int policy_aim(const struct row *policy, const struct row *service,
		      const struct row_service_port *port)
{
	int aim = 0;

	if (policy->kind != ROW_POLICY || str_cmp(policy->ns, service->ns) != 0)
		return 0;
	for (uint32_t i = 0; i < policy->policy.n_targets; i++) {
		const struct row_target *t = &policy->policy.targets[i];

		if (str_cmp(t->name, service->name) != 0)
			continue;
		if (slice_str(t->section).n == 0)
			aim = max_of(aim, 1);
		else if (str_cmp(t->section, port->name) == 0)
			aim = 2;
	}
	return aim;
}

const struct row *policy_of_port(const struct row *const *policies, uint32_t n,
				 const struct row *service, const struct row_service_port *port)
{
	const struct row *best = NULL;
	int best_aim = 0;

	for (uint32_t i = 0; i < n; i++) {
		int aim = policy_aim(policies[i], service, port);

		if (aim > best_aim ||
		    (aim && aim == best_aim && row_by_age(&policies[i], &best) < 0)) {
			best = policies[i];
			best_aim = aim;
		}
	}
	return best;
}

static enum balancer balancer_of(enum row_balancer b)
{
	switch (b) {
	case ROW_PEAK_EWMA:
		return BALANCER_PEAK_EWMA;
	case ROW_LEAST_REQUEST:
		return BALANCER_LEAST_REQUEST;
	case ROW_ROUND_ROBIN:
		return BALANCER_ROUND_ROBIN;
	case ROW_BALANCER_NONE:
		break;
	}
	return BALANCER_DEFAULT;
}

/* That of one port, if there is one, appended. */
static void put_policy(struct out *o, const struct unit_service *in,
		       const struct row_service_port *port, uint32_t unit_port_at, uint32_t *total)
{
	const struct row *row = policy_of_port(in->policies, in->n_policies, in->service, port);
	const struct row_policy *p = row ? &row->policy : NULL;
	struct slot_gen slot = { 0 };
	uint32_t at;

	if (p == NULL || o->error)
		return;
	if ((p->connections || p->requests) && in->limit_slot)
		slot = in->limit_slot(in->arg, port->port);
	at = out_room(o, sizeof(struct unit_policy), 4);
	struct unit_policy u = {
		.name = out_str(o, row->name),
		.balancer = (uint8_t)balancer_of(p->balancer),
		.eject_failures = p->eject_failures,
		.eject_percent = p->eject_percent,
		.connect_ms = p->connect_ms,
		.response_ms = p->response_ms,
		.stall_ms = p->stall_ms,
		.tcp_idle_ms = p->tcp_idle_ms,
		.connections = p->connections,
		.requests = p->requests,
		.slot = slot.slot,
		.gen = slot.gen,
		.eject_base_ms = p->eject_base_ms,
		.eject_max_ms = p->eject_max_ms,
	};

	if (o->error)
		return;
	memcpy(o->b->p + at, &u, sizeof u);
	((struct unit_port *)(o->b->p + unit_port_at))->policy = ++*total;
}

/* ---- the Service ---- */

static enum app_protocol app_of(enum row_app a)
{
	switch (a) {
	case ROW_APP_HTTP:
		return APP_HTTP;
	case ROW_APP_TCP:
		return APP_TCP;
	case ROW_APP_H2:
		return APP_H2;
	case ROW_APP_AUTO:
		break;
	}
	return APP_AUTO;
}

/* The TCP ports, of two with one number the first; caller frees. */
static const struct row_service_port **pick_ports(const struct row_service *s, uint32_t *ret_n)
{
	const struct row_service_port **p =
		calloc(s->n_ports + 1, sizeof(struct row_service_port *));
	uint8_t seen[65536 / 8] = { 0 };
	uint32_t n = 0;

	for (uint32_t i = 0; p && i < s->n_ports; i++) {
		uint16_t port = s->ports[i].port;

		if (s->ports[i].protocol != ROW_TCP || port == 0 ||
		    (seen[port / 8] & 1u << port % 8))
			continue;
		seen[port / 8] |= (uint8_t)(1u << port % 8);
		p[n++] = &s->ports[i];
	}
	*ret_n = n;
	return p;
}

static void put_service(struct out *o, const struct unit_service *in,
			const struct row_service_port *const *ports, uint32_t n_ports,
			const struct row *const *routes, uint32_t n_routes, unit_id_fn id_of,
			void *arg)
{
	const struct row_service *s = &in->service->service;
	uint32_t head = out_room(o, sizeof(struct unit_svc), 8);
	struct unit_svc u = { .slot = in->slot.slot, .gen = in->slot.gen, .n_ports = n_ports };
	struct sums sums = { 0 };

	for (int i = 0; i < 2 && !s->headless; i++) {
		u.vip[i] = s->cluster_ip[i];
		u.vip[i].port = 0;
	}
	u.ports = out_room(o, (uint64_t)n_ports * sizeof(struct unit_port), 4);
	for (uint32_t i = 0; i < n_ports && !o->error; i++) {
		struct unit_port p = { .port = ports[i]->port,
				       .protocol = (uint8_t)app_of(ports[i]->app),
				       .name = out_str(o, ports[i]->name) };

		if (!o->error)
			memcpy(o->b->p + u.ports + i * sizeof p, &p, sizeof p);
	}
	u.endpoints = out_room(o, 0, 4);
	for (uint32_t i = 0; i < n_ports && !o->error; i++)
		put_endpoints(o, in, ports[i], u.ports + i * (uint32_t)sizeof(struct unit_port),
			      u.n_endpoints, &u.n_endpoints, &sums);
	u.entries = out_room(o, 0, 4);
	for (uint32_t i = 0; i < n_ports && !o->error; i++)
		put_entries(o, in->service, routes, n_routes, ports[i],
			    u.ports + i * (uint32_t)sizeof(struct unit_port), u.n_entries,
			    &u.n_entries);
	u.rules = put_rules(o, routes, n_routes, &u.n_rules);
	u.backends = put_backends(o, routes, n_routes, id_of, arg, &u.n_backends);
	u.policies = out_room(o, 0, 4);
	for (uint32_t i = 0; i < n_ports && !o->error; i++)
		put_policy(o, in, ports[i], u.ports + i * (uint32_t)sizeof(struct unit_port),
			   &u.n_policies);
	u.n_sums = sums.n;
	u.sums = out_room(o, (uint64_t)sums.n * sizeof *sums.p, 4);
	if (!o->error && sums.n)
		memcpy(o->b->p + u.sums, sums.p, sums.n * sizeof *sums.p);
	free(sums.p);
	if (!o->error)
		memcpy(o->b->p + head, &u, sizeof u);
}

int compile_service(const struct unit_service *in, uint32_t id, unit_id_fn id_of, void *arg,
		    struct unit_bytes *ret)
{
	const struct row_service_port **ports;
	const struct row **routes;
	uint32_t n_ports, n_routes;
	struct out o;

	if (in->service->kind != ROW_SERVICE)
		return -EINVAL;
	ports = pick_ports(&in->service->service, &n_ports);
	routes = pick_routes(in, &n_routes);
	out_begin(&o, ret);
	if (ports == NULL || routes == NULL)
		o.error = -ENOMEM;
	put_service(&o, in, ports, n_ports, routes, n_routes, id_of, arg);
	free(ports);
	free(routes);
	return out_end(&o, id, UNIT_SERVICE, slice_str(in->service->ns),
		       slice_str(in->service->name));
}
