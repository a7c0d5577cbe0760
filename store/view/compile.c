/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See compile.h. */
#include "store/view/compile_inner.h"

#include <errno.h>
#include <stdlib.h>

#include "store/view/maglev.h"

void unit_bytes_fini(struct unit_bytes *b)
{
	free(b->p);
	free(b->refs);
	*b = (struct unit_bytes){ 0 };
}

static int placed_cmp(const void *a, const void *b)
{
	const struct placed *x = a, *y = b;
	int c = compile_str_cmp(x->account, y->account);

	return c ? c : compile_str_cmp(x->node, y->node);
}

static uint32_t put_placed(struct out *o, const struct unit_namespace *ns, uint32_t *ret_n)
{
	uint32_t n = 0, at;

	if (ns->n_placed)
		qsort(ns->placed, ns->n_placed, sizeof *ns->placed, placed_cmp);
	for (uint32_t i = 0; i < ns->n_placed; i++)
		if (n == 0 || placed_cmp(&ns->placed[i], &ns->placed[n - 1]) != 0)
			ns->placed[n++] = ns->placed[i];
	at = out_room(o, (uint64_t)n * sizeof(struct unit_placed), 4);
	for (uint32_t i = 0; i < n && !o->error; i++) {
		struct unit_placed p = { out_str(o, ns->placed[i].account), out_str(o, ns->placed[i].node) };

		if (!o->error)
			memcpy(o->b->p + at + i * sizeof p, &p, sizeof p);
	}
	*ret_n = n;
	return at;
}

int compile_namespace(const struct unit_namespace *ns, uint32_t id, struct unit_bytes *ret)
{
	struct out o;
	uint32_t at, tenant, placed, n_placed;

	out_begin(&o, ret);
	at = out_room(&o, sizeof(struct unit_nspace), 8);
	tenant = out_text(&o, ns->tenant);
	placed = put_placed(&o, ns, &n_placed);
	if (!o.error) {
		struct unit_nspace *u = (struct unit_nspace *)(ret->p + at);

		u->slot = ns->tenant_slot.slot;
		u->gen = ns->tenant_slot.gen;
		u->tenant = tenant;
		u->weight = ns->weight < 1 ? 1 : ns->weight > 1000 ? 1000 : ns->weight;
		u->connections = ns->connections;
		u->requests = ns->requests;
		u->memory_bytes = ns->memory_bytes;
		u->modes = ns->modes;
		u->placed = placed;
		u->n_placed = n_placed;
	}
	return out_end(&o, id, UNIT_NAMESPACE, (struct slice){ 0 }, ns->name);
}

/* ---- endpoints ---- */

struct found { /* an endpoint before it is written */
	struct addr addr;
	uint8_t flags;
	uint8_t level; /* priority * 2 + far */
	uint16_t weight;
	const char *zone, *node, *host;
};


struct founds {
	struct found *p;
	uint32_t n, room;
};

int compile_str_cmp(const char *a, const char *b)
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
		c = compile_str_cmp(x->zone, y->zone);
	if (c == 0)
		c = compile_str_cmp(x->node, y->node);
	return c ? c : compile_str_cmp(y->host, x->host); /* one with a name first */
}

static int found_ready_first(const void *a, const void *b)
{
	const struct found *x = a, *y = b;
	int rx = x->flags & ENDPOINT_READY, ry = y->flags & ENDPOINT_READY;

	if (rx != ry)
		return ry - rx;
	return x->level != y->level ? x->level - y->level : addr_cmp(&x->addr, &y->addr);
}

static uint8_t level_of(const struct row_slice *s, const struct row_endpoint *e, struct slice zone)
{
	bool far = zone.n && !slice_eq(slice_str(e->zone), zone);

	return (uint8_t)(min_of(s->priority, ROW_PRIORITY_MAX) * 2 + far);
}

/* zone: that is preferred; empty: none is. */
static bool gather_slice(const struct row_slice *s, const struct row_service_port *port,
			 struct slice zone, struct founds *f)
{
	for (uint32_t i = 0; i < s->n_ports; i++) {
		const struct row_slice_port *p = &s->ports[i];
		uint16_t number = p->port	      ? p->port
				  : port->target_port ? port->target_port
						      : port->port;

		if (p->protocol != ROW_TCP || compile_str_cmp(p->name, port->name) != 0)
			continue;
		for (uint32_t k = 0; k < s->n_endpoints; k++) {
			const struct row_endpoint *e = &s->endpoints[k];
			struct found *x;

			if (e->addr.family != 4 && e->addr.family != 6)
				continue;
			if (!out_grow((void **)&f->p, &f->room, f->n + 1, sizeof *f->p))
				return false;
			x = &f->p[f->n++];
			*x = (struct found){ .addr = e->addr, .zone = e->zone, .node = e->node,
					    .host = e->host,
					    .level = level_of(s, e, zone),
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
		if (n && addr_cmp(&f->p[n - 1].addr, &x->addr) == 0) {
			f->p[n - 1].flags |= x->flags & (ENDPOINT_READY | ENDPOINT_SERVING);
			f->p[n - 1].level = min_of(f->p[n - 1].level, x->level);
		} else
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
	if (!out_grow((void **)&s->p, &s->room, s->n + f->n, sizeof *s->p)) {
		o->error = -ENOMEM;
		return 0;
	}
	/* at most 1000 for each of 64 MiB / 36 endpoints: 2^31 */
	for (i = 0; i < f->n; i++)
		s->p[s->n++] = sum += f->p[i].weight;
	return first + 1;
}

/* Levels of all ports that have more than one, or tables of Maglev. */
struct levels {
	struct unit_level *p;
	uint32_t n, room;
};

struct slots {
	uint16_t *p;
	uint32_t n, room;
};

/* The table of a level whose endpoints are f[0..n). */
static void add_table(struct out *o, struct slots *all, struct unit_level *l, const struct found *f,
		      uint32_t size)
{
	struct maglev_host *h = calloc(l->n_ready, sizeof *h);

	if (h == NULL || !out_grow((void **)&all->p, &all->room, all->n + size, sizeof *all->p)) {
		o->error = -ENOMEM;
		free(h);
		return;
	}
	for (uint32_t i = 0; i < l->n_ready; i++)
		h[i] = (struct maglev_host){ .addr = f[i].addr, .weight = f[i].weight };
	maglev_fill(h, l->n_ready, all->p + all->n, size);
	l->slot = all->n;
	l->n_slots = size;
	all->n += size;
	free(h);
}

/* Adds those of a port that have ready endpoints, with their tables; how many, 0: all are of one. */
static uint32_t add_levels(struct out *o, struct levels *all, struct slots *slots,
			   const struct founds *f, uint32_t table_size)
{
	struct unit_level l[VPORT_LEVELS] = { 0 };
	uint32_t n = 0, first = 0;

	static_must(VPORT_LEVELS == (ROW_PRIORITY_MAX + 1) * 2);
	for (uint32_t i = 0; i < f->n; i++) {
		l[f->p[i].level].n_ready += f->p[i].flags & ENDPOINT_READY;
		l[f->p[i].level].n_total += (f->p[i].flags & ENDPOINT_READY) ||
					    !(f->p[i].flags & ENDPOINT_TERMINATING);
	}
	for (uint32_t i = 0; i < VPORT_LEVELS; i++)
		n += l[i].n_ready > 0;
	if (n < 2 && (n == 0 || table_size == 0))
		return 0;
	if (!out_grow((void **)&all->p, &all->room, all->n + n, sizeof *all->p)) {
		o->error = -ENOMEM;
		return 0;
	}
	for (uint32_t i = 0; i < VPORT_LEVELS; i++) {
		if (l[i].n_ready == 0)
			continue;
		l[i].first = first;
		l[i].priority = (uint8_t)(i / 2);
		l[i].far = i % 2;
		if (table_size)
			add_table(o, slots, &l[i], f->p + first, table_size);
		first += l[i].n_ready;
		all->p[all->n++] = l[i];
	}
	return n;
}

/* What belongs to the endpoints of all ports, and is written behind them. */
struct besides {
	struct sums sums;
	struct levels levels;
	struct slots slots;
};

/* All endpoints of one port, appended to the buffer; the arrays of all ports lie back to back. */
static void put_endpoints(struct out *o, const struct unit_service *in,
			  const struct row_service_port *port, uint32_t unit_port_at,
			  uint32_t first, uint32_t *total, struct besides *besides)
{
	uint32_t level = besides->levels.n, levels = 0;
	const struct row *policy = policy_of_port(in->policies, in->n_policies, in->service, port);
	struct slice zone = policy && policy->policy.prefer_zone ? in->zone : (struct slice){ 0 };
	uint8_t family = in->service->service.cluster_ip[0].family;
	struct founds f = { 0 };
	uint32_t at, sum = 0, ready = 0;

	for (uint32_t i = 0; i < in->n_slices && !o->error; i++)
		if (in->slices[i]->kind == ROW_SLICE &&
		    !gather_slice(&in->slices[i]->slice, port, zone, &f))
			o->error = -ENOMEM;
	if (!o->error && f.n)
		merge_founds(&f, family);
	if (!o->error)
		sum = add_sums(o, &besides->sums, &f);
	if (!o->error)
		levels = add_levels(o, &besides->levels, &besides->slots, &f,
				    policy ? policy->policy.table_size : 0);
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
			.host = out_str(o, x->host),
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
		u->level = levels ? level : 0;
		u->n_levels = levels;
		*total += f.n;
	}
	free(f.p);
}

/* ---- policies ---- */

/* 0: not about this port, 1: about all ports of the Service, 2: about this one. */
static int policy_aim(const struct row *policy, const struct row *service,
		      const struct row_service_port *port)
{
	uint32_t n;
	const struct row_target *targets = row_targets(policy, &n);
	int aim = 0;

	/* That of an XBackendTrafficPolicy is a Service, whole. */
	if (policy->kind == ROW_BACKEND_POLICY || compile_str_cmp(policy->ns, service->ns) != 0)
		return 0;
	for (uint32_t i = 0; i < n; i++) {
		const struct row_target *t = &targets[i];

		if (compile_str_cmp(t->name, service->name) != 0)
			continue;
		if (slice_str(t->section).n == 0)
			aim = max_of(aim, 1);
		else if (compile_str_cmp(t->section, port->name) == 0)
			aim = 2;
	}
	return aim;
}

const struct row *budget_of_service(const struct row *const *policies, uint32_t n,
				    const struct row *service)
{
	const struct row *best = NULL;

	for (uint32_t i = 0; i < n; i++) {
		const struct row *p = policies[i];
		bool named = false;

		if (!p->policy.budget.is_set || compile_str_cmp(p->ns, service->ns) != 0)
			continue;
		for (uint32_t k = 0; k < p->policy.n_targets; k++)
			named |= compile_str_cmp(p->policy.targets[k].name, service->name) == 0;
		if (named && (best == NULL ||
			      (p->kind == best->kind ? compile_by_age(&p, &best) < 0 :
						       p->kind == ROW_BACKEND_POLICY)))
			best = p;
	}
	return best;
}

const struct row *policy_of_port(const struct row *const *policies, uint32_t n,
				 const struct row *service, const struct row_service_port *port)
{
	const struct row *best = NULL;
	int best_aim = 0;

	for (uint32_t i = 0; i < n; i++) {
		int aim = policy_aim(policies[i], service, port);

		if (aim > best_aim ||
		    (aim && aim == best_aim && compile_by_age(&policies[i], &best) < 0)) {
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
	case ROW_MAGLEV:
		return BALANCER_MAGLEV;
	case ROW_BALANCER_NONE:
		break;
	}
	return BALANCER_DEFAULT;
}

static enum hash_by hash_by_of(enum row_hash h)
{
	switch (h) {
	case ROW_HASH_HEADER:
		return HASH_BY_HEADER;
	case ROW_HASH_COOKIE:
		return HASH_BY_COOKIE;
	case ROW_HASH_SOURCE:
		return HASH_BY_SOURCE;
	case ROW_HASH_NONE:
		break;
	}
	return HASH_BY_NOTHING;
}

static void put_check(struct out *o, const struct row_health *h, struct unit_policy *u)
{
	static_must(countof(u->check_status) == ROW_STATUSES);
	u->check = h->type == ROW_CHECK_HTTP ? CHECK_HTTP : CHECK_TCP;
	u->balancing.checked = 1;
	u->check_path = out_str(o, h->path);
	u->check_interval_ms = h->interval_ms;
	u->check_timeout_ms = h->timeout_ms;
	u->check_healthy = h->healthy;
	u->check_unhealthy = h->unhealthy;
	u->check_statuses = h->n_statuses;
	for (unsigned i = 0; i < h->n_statuses; i++)
		u->check_status[i] = (struct unit_statuses){ h->status[i].from, h->status[i].to };
}

/* That of one port, if there is one, appended. */
static void put_policy(struct out *o, const struct unit_service *in,
		       const struct row_service_port *port, uint32_t unit_port_at,
		       struct all_times *times, uint32_t *total)
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
		.connect_ms = p->connect_ms,
		.response_ms = p->response_ms,
		.stall_ms = p->stall_ms,
		.tcp_idle_ms = p->tcp_idle_ms,
		.connections = p->connections,
		.requests = p->requests,
		.pending = p->pending,
		.pending_ms = p->pending_ms,
		.slot = slot.slot,
		.gen = slot.gen,
		.hash_by = (uint8_t)hash_by_of(p->hash),
		.hash_name = out_str(o, p->hash_name),
		.prefer_zone = p->prefer_zone,
		.balancing = p->balancing,
		.ejection = p->ejection,
		.times = compile_times(o, times, &p->times, &p->retry),
		.delay_ms = p->delay_ms,
		.delay_percent = p->delay_percent,
		.abort_status = p->abort_status,
		.abort_grpc = p->abort_grpc,
		.abort_percent = p->abort_percent,
	};

	if (p->health.type != ROW_CHECK_NONE)
		put_check(o, &p->health, &u);

	if (o->error)
		return;
	memcpy(o->b->p + at, &u, sizeof u);
	((struct unit_port *)(o->b->p + unit_port_at))->policy = ++*total;
}

static struct unit_pace pace_of(const struct row_pace *p)
{
	return (struct unit_pace){ p->requests, p->interval_ms, p->burst };
}

/* That of one port, if there is one, appended. */
static void put_rate(struct out *o, const struct unit_service *in, const struct row_service_port *port,
		     uint32_t unit_port_at, uint32_t *total)
{
	const struct row *row = policy_of_port(in->rates, in->n_rates, in->service, port);
	struct slot_gen slot = { 0 };
	uint32_t at;

	if (row == NULL || o->error)
		return;
	if (in->rate_slot)
		slot = in->rate_slot(in->arg, port->port);
	at = out_room(o, sizeof(struct unit_rate), 4);
	struct unit_rate u = {
		.name = out_str(o, row->name),
		.key = row->rate.key == ROW_RATE_TENANT ? RATE_KEY_TENANT : RATE_KEY_NAMESPACE,
		.identity = pace_of(&row->rate.identity),
		.total = pace_of(&row->rate.total),
		.slot = slot.slot,
		.gen = slot.gen,
	};

	if (o->error)
		return;
	memcpy(o->b->p + at, &u, sizeof u);
	((struct unit_port *)(o->b->p + unit_port_at))->rate = ++*total;
}

/* ---- times and retries ---- */

uint32_t compile_times(struct out *o, struct all_times *all, const struct row_times *t,
		       const struct retries *r)
{
	struct unit_times u = {
		.set = (t->has_request ? TIMES_REQUEST : 0) | (t->has_attempt ? TIMES_ATTEMPT : 0),
		.request_ms = t->request_ms,
		.attempt_ms = t->attempt_ms,
		.retry = *r,
	};

	if (u.set == 0 && r->attempts == 0)
		return 0;
	for (uint32_t i = 0; i < all->n; i++)
		if (memcmp(&all->p[i], &u, sizeof u) == 0)
			return i + 1;
	if (!out_grow((void **)&all->p, &all->room, all->n + 1, sizeof u)) {
		o->error = -ENOMEM;
		return 0;
	}
	all->p[all->n++] = u;
	return all->n;
}

static struct unit_budget budget(struct out *o, const struct unit_service *in)
{
	static const struct row_budget usual = { .percent = RETRY_PERCENT,
						 .interval_ms = RETRY_INTERVAL_MS,
						 .count = RETRY_RATE, .per_ms = RETRY_RATE_MS };
	const struct row *row = budget_of_service(in->policies, in->n_policies, in->service);
	const struct row_budget *b = row ? &row->policy.budget : &usual;

	return (struct unit_budget){
		.policy = out_str(o, row ? row->name : ""),
		.backend_policy = row && row->kind == ROW_BACKEND_POLICY,
		.percent = b->percent,
		.interval_ms = b->interval_ms,
		/* at most a million in each second of an hour */
		.least = (uint32_t)min_of((uint64_t)b->count * b->interval_ms / max_of(b->per_ms, 1u),
					  (uint64_t)UINT32_MAX),
	};
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
	struct besides b = { 0 };
	uint32_t filters = 0;
	struct all_times times = { 0 };

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
			      u.n_endpoints, &u.n_endpoints, &b);
	compile_put_matches(o, in->service, routes, n_routes, ports, n_ports, &u);
	u.rules = compile_put_rules(o, routes, n_routes, &filters, &times,
				    &u.n_rules);
	u.backends = compile_put_backends(o, in, routes, n_routes, id_of, arg, &filters,
					  &u.n_backends);
	u.filters = compile_put_filters(o, in, routes, n_routes, id_of, arg, &u.n_filters);
	u.policies = out_room(o, 0, 4);
	for (uint32_t i = 0; i < n_ports && !o->error; i++)
		put_policy(o, in, ports[i], u.ports + i * (uint32_t)sizeof(struct unit_port),
			   &times, &u.n_policies);
	u.rates = out_room(o, 0, 4);
	for (uint32_t i = 0; i < n_ports && !o->error; i++)
		put_rate(o, in, ports[i], u.ports + i * (uint32_t)sizeof(struct unit_port), &u.n_rates);
	compile_put_tls(o, in, ports, n_ports, &u);
	u.n_sums = b.sums.n;
	u.sums = out_room(o, (uint64_t)b.sums.n * sizeof *b.sums.p, 4);
	if (!o->error && b.sums.n)
		memcpy(o->b->p + u.sums, b.sums.p, b.sums.n * sizeof *b.sums.p);
	free(b.sums.p);
	u.n_levels = b.levels.n;
	u.levels = out_room(o, (uint64_t)b.levels.n * sizeof *b.levels.p, 4);
	if (!o->error && b.levels.n)
		memcpy(o->b->p + u.levels, b.levels.p, b.levels.n * sizeof *b.levels.p);
	free(b.levels.p);
	u.n_slots = b.slots.n;
	u.slots = out_room(o, (uint64_t)b.slots.n * sizeof *b.slots.p, 4);
	if (!o->error && b.slots.n)
		memcpy(o->b->p + u.slots, b.slots.p, b.slots.n * sizeof *b.slots.p);
	free(b.slots.p);
	u.n_times = times.n;
	u.times = out_room(o, (uint64_t)times.n * sizeof *times.p, 4);
	if (!o->error && times.n)
		memcpy(o->b->p + u.times, times.p, times.n * sizeof *times.p);
	free(times.p);
	u.budget = budget(o, in);
	u.lacks_endpoints = in->lacks_endpoints;
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
	routes = compile_pick_routes(in, &n_routes);
	out_begin(&o, ret);
	if (ports == NULL || routes == NULL)
		o.error = -ENOMEM;
	put_service(&o, in, ports, n_ports, routes, n_routes, id_of, arg);
	free(ports);
	free(routes);
	return out_end(&o, id, UNIT_SERVICE, slice_str(in->service->ns),
		       slice_str(in->service->name));
}
