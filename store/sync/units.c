/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See model.h: what served rows mean.  Services, spaces and tenants as hubs; addresses for Services
 * that wrote none; slots; and every touched unit into the builder. */
#include "store/sync/model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "store/registry/vip.h"

/* ---- hubs ---- */

struct service *service_find(const struct model *m, struct slice ns, struct slice name)
{
	for (struct hash_node *n = hash_first(&m->services, key_hash(ROW_SERVICE, ns, name)); n;
	     n = hash_next(n)) {
		struct service *s = container_of(n, struct service, by_name);

		if (slice_eq(slice_str(s->ns), ns) && slice_eq(slice_str(s->name), name))
			return s;
	}
	return NULL;
}

void touch_service(struct model *m, struct service *s)
{
	if (!node_is_linked(&s->touched))
		list_add_tail(&m->touched_services, &s->touched);
}

static struct service *service_make(struct model *m, struct slice ns, struct slice name)
{
	struct service *s = service_find(m, ns, name);

	if (s)
		return s;
	s = calloc(1, sizeof *s + ns.n + name.n + 2);
	if (s == NULL || hash_add(&m->services, &s->by_name, key_hash(ROW_SERVICE, ns, name)) < 0) {
		free(s);
		m->shortages++;
		return NULL;
	}
	memcpy(s->text, ns.p, ns.n);
	memcpy(s->text + ns.n + 1, name.p, name.n);
	s->ns = s->text;
	s->name = s->text + ns.n + 1;
	list_init(&s->touched);
	for (size_t i = 0; i < countof(s->links); i++)
		list_init(&s->links[i]);
	for (size_t i = 0; i < countof(s->vip); i++) {
		list_init(&s->vip[i].in_vip);
		s->vip[i].service = s;
	}
	return s;
}

struct space *space_find(const struct model *m, const char *name)
{
	uint64_t h = hash_slice(slice_str(name));

	for (struct hash_node *n = hash_first(&m->spaces, h); n; n = hash_next(n)) {
		struct space *s = container_of(n, struct space, by_name);

		if (strcmp(s->name, name) == 0)
			return s;
	}
	return NULL;
}

static struct space *space_make(struct model *m, const char *name)
{
	uint64_t h = hash_slice(slice_str(name));
	size_t n_name = strlen(name) + 1;
	struct space *s = space_find(m, name);

	if (s)
		return s;
	s = calloc(1, sizeof *s + n_name);
	if (s == NULL || hash_add(&m->spaces, &s->by_name, h) < 0) {
		free(s);
		m->shortages++;
		return NULL;
	}
	memcpy(s->name, name, n_name);
	list_init(&s->touched);
	for (size_t i = 0; i < countof(s->links); i++)
		list_init(&s->links[i]);
	list_add_tail(&m->all_spaces, &s->in_model);
	return s;
}

static void touch_space(struct model *m, struct space *s)
{
	if (!node_is_linked(&s->touched))
		list_add_tail(&m->touched_spaces, &s->touched);
}

static struct tenant *tenant_make(struct model *m, const char *key)
{
	uint64_t h = hash_slice(slice_str(key));
	size_t n_key = strlen(key) + 1;
	struct tenant *t;

	for (struct hash_node *n = hash_first(&m->tenants, h); n; n = hash_next(n)) {
		t = container_of(n, struct tenant, by_key);
		if (strcmp(t->key, key) == 0)
			return t;
	}
	t = calloc(1, sizeof *t + n_key);
	if (t == NULL || hash_add(&m->tenants, &t->by_key, h) < 0) {
		free(t);
		m->shortages++;
		return NULL;
	}
	memcpy(t->key, key, n_key);
	return t;
}

/* ---- links ---- */

static void link_add(struct model *m, struct resource *r, enum link_kind kind,
		     struct service *service, struct space *space)
{
	struct node *hub = service ? &service->links[kind] :
			   space   ? space_links(space, kind) :
				     NULL;
	struct link *l;

	if (hub == NULL)
		return;
	for (const struct node *n = r->links.next; n != &r->links; n = n->next) {
		const struct link *o = container_of(n, struct link, in_resource);

		if (o->kind == kind && (service ? o->service == service : o->space == space))
			return;		/* a route may name a Service once per port */
	}
	l = calloc(1, sizeof *l);
	if (l == NULL) {
		m->shortages++;
		return;
	}
	l->kind = kind;
	l->resource = r;
	if (service)
		l->service = service;
	else
		l->space = space;
	if (kind == LINK_PARENT && r->kind == ROW_GRPCROUTE)
		service->grpc_routes++;
	list_add_tail(&r->links, &l->in_resource);
	list_add_tail(hub, &l->in_hub);
}

/* The Services, by links of this kind, of those that want something of this space. */
static void touch_wanting(struct model *m, struct space *s, enum link_kind wants, enum link_kind kind)
{
	const struct node *hub = space_links(s, wants);

	for (const struct node *n = hub->next; n != hub; n = n->next) {
		const struct node *of = &container_of(n, struct link, in_hub)->resource->links;

		for (const struct node *k = of->next; k != of; k = k->next) {
			const struct link *l = container_of(k, struct link, in_resource);

			if (l->kind == kind)
				touch_service(m, l->service);
		}
	}
}

static void touch_linked(struct model *m, struct resource *r)
{
	for (const struct node *n = r->links.next; n != &r->links; n = n->next) {
		const struct link *l = container_of(n, struct link, in_resource);

		switch (l->kind) {
		case LINK_TENANT:
		case LINK_PLACED:
			touch_space(m, l->space);
			break;
		case LINK_GRANT:
			touch_wanting(m, l->space, LINK_GRANTED, LINK_PARENT);
			break;
		case LINK_GRANTED:	/* nothing of that space hangs on them */
		case LINK_TRUSTS:
		case LINKS:
			break;
		case LINK_SLICE:
		case LINK_PARENT:
		case LINK_POLICY:
		case LINK_RATE:
		case LINK_TLS:
			touch_service(m, l->service);
			break;
		}
	}
}

static void link_granted(struct model *m, struct resource *r, const char *ns)
{
	if (strcmp(ns, r->ns) != 0)
		link_add(m, r, LINK_GRANTED, NULL, space_make(m, ns));
}

static void link_mirrors(struct model *m, struct resource *r, const struct row_filter *f, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++)
		if (f[i].type == ROW_MIRROR)
			link_granted(m, r, f[i].to_ns);
}

static void link_backends(struct model *m, struct resource *r, const struct row_rule *rule)
{
	link_mirrors(m, r, rule->filters, rule->n_filters);
	for (uint32_t i = 0; i < rule->n_backends; i++) {
		link_granted(m, r, rule->backends[i].ns);
		link_mirrors(m, r, rule->backends[i].filters, rule->backends[i].n_filters);
	}
}

bool units_granted(void *model, const struct row *route, const struct row_backend *b)
{
	struct space *s = space_find(model, b->ns);
	const struct node *hub = s ? space_links(s, LINK_GRANT) : NULL;

	for (const struct node *n = hub ? hub->next : NULL; n != hub; n = n->next)
		if (row_grants(container_of(n, struct link, in_hub)->resource->served->row,
			       route->kind, route->ns, b->name))
			return true;
	return false;
}

const struct row *units_config_map(void *model, const char *ns, const char *name)
{
	const struct resource *r = model_find(model, ROW_CONFIG_MAP, ns, name);

	return r && r->served ? r->served->row : NULL;
}

enum link_kind units_link_of(enum row_kind policy)
{
	return policy == ROW_RATE ? LINK_RATE : policy == ROW_BACKEND_TLS ? LINK_TLS : LINK_POLICY;
}

void units_served(struct model *m, struct resource *r, const struct held *was)
{
	const struct row *now = r->served ? r->served->row : NULL;
	struct slice ns = slice_str(r->ns);
	const struct row_target *target;
	struct service *service;
	struct space *space;
	uint32_t targets = 0;

	touch_linked(m, r);
	list_each(it, &r->links) {
		struct link *l = container_of(it, struct link, in_resource);

		if (l->kind == LINK_PARENT && r->kind == ROW_GRPCROUTE)
			l->service->grpc_routes--;
		list_remove(&l->in_resource);
		list_remove(&l->in_hub);
		if (l->kind >= LINK_GRANT)	/* perhaps nobody needs it now */
			touch_space(m, l->space);
		free(l);
	}
	resource_conflict(r, NULL);
	switch (r->kind) {
	case ROW_SERVICE:
		service = service_make(m, ns, slice_str(r->name));
		if (service) {
			service->resource = now ? r : NULL;
			touch_service(m, service);
		}
		space = space_make(m, r->ns);
		if (space && (now == NULL) != (was == NULL)) {
			space->services += now ? 1 : -1u;
			touch_space(m, space);
		}
		residents_selects(m, r);
		break;
	case ROW_NAMESPACE:
		space = space_make(m, r->name);
		if (space) {
			space->resource = now ? r : NULL;
			touch_space(m, space);
		}
		modes_changed(m, r->name, was ? &was->row->namespace.modes : NULL,
			      now ? &now->namespace.modes : NULL);
		break;
	case ROW_SLICE:
		if (now && now->slice.service)
			link_add(m, r, LINK_SLICE,
				 service_make(m, ns, slice_str(now->slice.service)), NULL);
		if (now && now->slice.service && m->stored && m->demand)
			demand_stored(m->demand, r->ns, now->slice.service);
		break;
	case ROW_HTTPROUTE:
	case ROW_GRPCROUTE:
	case ROW_TLSROUTE:
	case ROW_TCPROUTE:
		for (uint32_t i = 0; now && i < now->route.n_parents; i++)
			link_add(m, r, LINK_PARENT,
				 service_make(m, slice_str(now->route.parents[i].ns),
					      slice_str(now->route.parents[i].name)), NULL);
		for (uint32_t i = 0; now && i < now->route.n_rules; i++)
			link_backends(m, r, &now->route.rules[i]);
		break;
	case ROW_GRANT:
		if (now)
			link_add(m, r, LINK_GRANT, NULL, space_make(m, r->ns));
		break;
	case ROW_POLICY:
	case ROW_BACKEND_POLICY:
	case ROW_RATE:
	case ROW_BACKEND_TLS:
		target = now ? row_targets(now, &targets) : NULL;
		for (uint32_t i = 0; i < targets; i++)
			link_add(m, r, units_link_of(r->kind), service_make(m, ns, slice_str(target[i].name)), NULL);
		if (now && r->kind == ROW_BACKEND_TLS && now->backend_tls.n_refs)
			link_add(m, r, LINK_TRUSTS, NULL, space_make(m, r->ns));
		break;
	case ROW_CONFIG_MAP:
		space = space_find(m, r->ns);
		if (space)
			touch_wanting(m, space, LINK_TRUSTS, LINK_TLS);
		break;
	case ROW_TENANT:
		m->tenants_touched = true;
		for (uint32_t i = 0; now && i < now->tenant.n_namespaces; i++)
			link_add(m, r, LINK_TENANT, NULL,
				 space_make(m, now->tenant.namespaces[i]));
		break;
	case ROW_WORKLOAD:
		workloads_served(m, r);
		if (now)
			link_add(m, r, LINK_PLACED, NULL, space_make(m, r->ns));
		break;
	case ROW_RESIDENT:
		residents_served(m, r, was);
		break;
	case ROW_KINDS:
		break;
	}
	touch_linked(m, r);
}

/* ---- addresses ---- */

/* The address that a Service without clusterIP gets where the registry gives none. */
static struct addr hashed_address(const struct model *m, const struct service *s)
{
	char text[2 * 256 + 2];
	int n = snprintf(text, sizeof text, "%s/%s", s->ns, s->name);

	return vip_address(&m->cidr, m->cidr_bits,
			   slice_of(text, min_of((size_t)n, sizeof text - 1)), 0);
}

static void vip_drop(struct model *m, struct vip_claim *c)
{
	struct vip *v = c->vip;

	if (v == NULL)
		return;
	list_remove(&c->in_vip);
	c->vip = NULL;
	for (const struct node *n = v->claims.next; n != &v->claims; n = n->next)
		touch_service(m, container_of(n, struct vip_claim, in_vip)->service);
	if (list_is_empty(&v->claims)) {
		hash_remove(&m->vips, &v->by_addr);
		free(v);
	}
}

static void vip_claim(struct model *m, struct vip_claim *c, const struct addr *a)
{
	uint64_t h = hash_slice(slice_of(a, sizeof *a));
	struct vip *v = NULL;

	for (struct hash_node *n = hash_first(&m->vips, h); n && v == NULL; n = hash_next(n))
		if (addr_eq(&container_of(n, struct vip, by_addr)->addr, a))
			v = container_of(n, struct vip, by_addr);
	if (v == NULL) {
		v = calloc(1, sizeof *v);
		if (v == NULL || hash_add(&m->vips, &v->by_addr, h) < 0) {
			free(v);
			m->shortages++;
			return;
		}
		v->addr = *a;
		list_init(&v->claims);
	}
	for (const struct node *n = v->claims.next; n != &v->claims; n = n->next)
		touch_service(m, container_of(n, struct vip_claim, in_vip)->service);
	list_add_tail(&v->claims, &c->in_vip);
	c->vip = v;
}

static void settle_addresses(struct model *m, struct service *s)
{
	const struct row *row = s->resource ? s->resource->served->row : NULL;
	struct addr ip[2] = { { .family = 0 }, { .family = 0 } };
	bool hashed = false;

	if (row && !row->service.headless) {
		ip[0] = row->service.cluster_ip[0];
		ip[1] = row->service.cluster_ip[1];
		if (ip[0].family == 0 && ip[1].family == 0 && m->cidr.family) {
			ip[0] = hashed_address(m, s);
			hashed = true;
		}
	}
	for (int i = 0; i < 2; i++) {
		ip[i].port = 0;
		if (addr_eq(&ip[i], &s->ip[i]) && hashed == s->hashed)
			continue;
		vip_drop(m, &s->vip[i]);
		s->ip[i] = ip[i];
		if (ip[i].family)
			vip_claim(m, &s->vip[i], &ip[i]);
	}
	s->hashed = hashed;
}

/* Whose address it is: a written one before a hashed one, then the earlier name. */
static bool comes_before(const struct service *a, const struct service *b)
{
	int d;

	if (a->hashed != b->hashed)
		return b->hashed;
	d = strcmp(a->ns, b->ns);
	return d ? d < 0 : strcmp(a->name, b->name) < 0;
}

static void settle_conflict(const struct service *s)
{
	char text[768] = "", ip[ADDR_TEXT];

	for (int i = 0; i < 2 && text[0] == 0; i++) {
		const struct vip *v = s->vip[i].vip;

		for (const struct node *n = v ? v->claims.next : NULL; v && n != &v->claims;
		     n = n->next) {
			const struct service *o = container_of(n, struct vip_claim, in_vip)->service;

			if (o == s || !comes_before(o, s))
				continue;
			snprintf(text, sizeof text,
				 "address %s%s is that of Service %s/%s: write another clusterIP",
				 addr_text(&v->addr, false, ip),
				 s->hashed ? ", made from the name," : "", o->ns, o->name);
			break;
		}
	}
	resource_conflict(s->resource, text);
}

/* ---- tenants ---- */

static int by_name(const void *a, const void *b)
{
	const struct resource *const *x = a, *const *y = b;

	return strcmp((*x)->name, (*y)->name);
}

/* Gives each space listed by a Tenant its owner: the first by name; a Tenant that lists a space of
 * an earlier one is in conflict as a whole. */
static void settle_tenants(struct model *m)
{
	struct resource **all = NULL;
	size_t n = 0, room = 0;

	m->tenants_touched = false;
	for (size_t b = 0; b < m->resources.buckets; b++) {
		for (struct hash_node *x = m->resources.bucket[b]; x; x = x->next) {
			struct resource *r = container_of(x, struct resource, by_key);

			if (r->kind != ROW_TENANT || r->served == NULL)
				continue;
			if (n == room) {
				struct resource **p;

				room = room ? room * 2 : 64;
				p = realloc(all, room * sizeof(void *));
				if (p == NULL) {
					free(all);
					m->shortages++;
					return;
				}
				all = p;
			}
			all[n++] = r;
		}
	}
	if (n)
		qsort(all, n, sizeof(void *), by_name);
	list_each(it, &m->all_spaces)
		container_of(it, struct space, in_model)->owner = NULL;
	for (size_t i = 0; i < n; i++) {
		char text[768] = "";

		list_each(it, &all[i]->links) {
			const struct space *s = container_of(it, struct link, in_resource)->space;

			if (s->owner && text[0] == 0)
				snprintf(text, sizeof text, "namespace %s is in Tenant %s already",
					 s->name, s->owner->name);
		}
		if ((text[0] == 0) != (all[i]->conflict == NULL))
			touch_linked(m, all[i]);
		resource_conflict(all[i], text);
		if (text[0])
			continue;
		list_each(it, &all[i]->links)
			container_of(it, struct link, in_resource)->space->owner = all[i];
	}
	free(all);
}

/* Lets go of the tenants that no space is of. */
static void sweep_tenants(struct model *m)
{
	for (size_t b = 0; b < m->tenants.buckets; b++) {
		for (struct hash_node *x = m->tenants.bucket[b], *next; x; x = next) {
			struct tenant *t = container_of(x, struct tenant, by_key);

			next = x->next;
			if (t->spaces)
				continue;
			if (t->slot.slot)
				journal_slot_gone(&m->journal, SLOT_TENANT, slice_str(t->key));
			slots_give(&m->slot[SLOT_TENANT], t->slot);
			hash_remove(&m->tenants, &t->by_key);
			free(t);
		}
	}
}

/* ---- endpoints' slots ---- */

static struct slice endpoint_key(const struct service *s, const struct addr *a, char buf[600])
{
	char ip[ADDR_TEXT];
	int n = snprintf(buf, 600, "%s/%s/%s", s->ns, s->name, addr_text(a, true, ip));

	return slice_of(buf, min_of((size_t)n, (size_t)599));
}

/* Where a is or would be; room > endpoints. */
static struct endpoint_slot *endpoint_at(struct endpoint_slot *table, uint32_t room,
					 const struct addr *a)
{
	uint32_t i = (uint32_t)hash_slice(slice_of(a, sizeof *a)) & (room - 1);

	while (table[i].addr.family && !addr_eq(&table[i].addr, a))
		i = (i + 1) & (room - 1);
	return &table[i];
}

/* Moves the endpoints of this round (all: every one) into a table of room; false: no memory. */
static bool endpoints_resize(struct service *s, uint32_t room, bool all)
{
	struct endpoint_slot *t = room ? calloc(room, sizeof *t) : NULL;
	uint32_t n = 0;

	if (room && t == NULL)
		return false;
	for (uint32_t i = 0; i < s->room; i++) {
		const struct endpoint_slot *e = &s->endpoint[i];

		if (e->addr.family && (all || e->round == s->round)) {
			*endpoint_at(t, room, &e->addr) = *e;
			n++;
		}
	}
	free(s->endpoint);
	s->endpoint = t;
	s->room = room;
	s->endpoints = n;
	return true;
}

static struct endpoint_slot *endpoint_make(struct service *s, const struct addr *a)
{
	struct endpoint_slot *e;

	if ((s->endpoints + 1) * 4 > s->room * 3 &&
	    !endpoints_resize(s, s->room ? s->room * 2 : 8, true))
		return NULL;
	e = endpoint_at(s->endpoint, s->room, a);
	if (e->addr.family == 0) {
		e->addr = *a;
		s->endpoints++;
	}
	return e;
}

struct slot_ask {
	struct model *m;
	struct service *s;
};

static bool ask_granted(void *arg, const struct row *route, const struct row_backend *b)
{
	return units_granted(((struct slot_ask *)arg)->m, route, b);
}

static const struct row *ask_config_map(void *arg, const char *ns, const char *name)
{
	return units_config_map(((struct slot_ask *)arg)->m, ns, name);
}

static struct slot_gen ask_slot(void *arg, const struct addr *a)
{
	struct slot_ask *ask = arg;
	struct endpoint_slot *e = endpoint_make(ask->s, a);
	char key[600];

	if (e == NULL)
		return (struct slot_gen){ 0, 0 };
	e->round = ask->s->round;
	if (e->slot.slot == 0) {
		e->slot = slots_take(&ask->m->slot[SLOT_ENDPOINT]);
		if (e->slot.slot)
			journal_slot(&ask->m->journal, SLOT_ENDPOINT, endpoint_key(ask->s, a, key),
				     e->slot);
	}
	return e->slot;
}

/* Gives back the slots of endpoints that were not in the last compilation. */
static void endpoints_sweep(struct model *m, struct service *s)
{
	uint32_t kept = 0, room = 0;
	char key[600];

	for (uint32_t i = 0; i < s->room; i++) {
		const struct endpoint_slot *e = &s->endpoint[i];

		if (e->addr.family && e->round == s->round)
			kept++;
	}
	if (kept == s->endpoints)
		return;
	for (uint32_t i = 0; i < s->room; i++) {
		struct endpoint_slot *e = &s->endpoint[i];

		if (e->addr.family == 0 || e->round == s->round)
			continue;
		if (e->slot.slot)
			journal_slot_gone(&m->journal, SLOT_ENDPOINT,
					  endpoint_key(s, &e->addr, key));
		slots_give(&m->slot[SLOT_ENDPOINT], e->slot);
		e->slot = (struct slot_gen){ 0, 0 };
	}
	if (kept)
		for (room = 8; kept * 4 > room * 3; room *= 2)
			;
	if (!endpoints_resize(s, room, false))
		m->shortages++;		/* they stay in the table, without a slot */
}

/* ---- ports' slots ---- */

static struct slice port_key(const struct service *s, uint16_t port, char buf[600])
{
	int n = snprintf(buf, 600, "%s/%s/%u", s->ns, s->name, port);

	return slice_of(buf, min_of((size_t)n, (size_t)599));
}

static struct port_slot *port_slot_make(struct port_slots *of, uint16_t port)
{
	struct port_slot *l;

	for (uint32_t i = 0; i < of->n; i++)
		if (of->p[i].port == port)
			return &of->p[i];
	l = realloc(of->p, (of->n + 1) * sizeof *l);
	if (l == NULL)
		return NULL;
	of->p = l;
	l += of->n++;
	*l = (struct port_slot){ .port = port };
	return l;
}

static struct slot_gen ask_port(const struct slot_ask *ask, enum slot_scope scope,
				struct port_slots *of, uint16_t port)
{
	struct port_slot *l = port_slot_make(of, port);
	char key[600];

	if (l == NULL) {
		ask->m->shortages++;
		return (struct slot_gen){ 0, 0 };
	}
	l->round = ask->s->round;
	if (l->slot.slot == 0) {
		l->slot = slots_take(&ask->m->slot[scope]);
		if (l->slot.slot)
			journal_slot(&ask->m->journal, scope, port_key(ask->s, port, key), l->slot);
	}
	return l->slot;
}

static struct slot_gen ask_limit(void *arg, uint16_t port)
{
	struct slot_ask *ask = arg;

	return ask_port(ask, SLOT_LIMIT, &ask->s->limits, port);
}

static struct slot_gen ask_rate(void *arg, uint16_t port)
{
	struct slot_ask *ask = arg;

	return ask_port(ask, SLOT_RATE, &ask->s->rates, port);
}

/* Gives back the slots of ports that had no use for one in the last compilation. */
static void ports_sweep(struct model *m, struct service *s, enum slot_scope scope,
			struct port_slots *of)
{
	uint32_t kept = 0;
	char key[600];

	for (uint32_t i = 0; i < of->n; i++) {
		struct port_slot *l = &of->p[i];

		if (l->round == s->round) {
			of->p[kept++] = *l;
			continue;
		}
		if (l->slot.slot)
			journal_slot_gone(&m->journal, scope, port_key(s, l->port, key));
		slots_give(&m->slot[scope], l->slot);
	}
	of->n = kept;
	if (kept == 0) {
		free(of->p);
		of->p = NULL;
	}
}

/* Of all that were not in the last compilation. */
static void slots_sweep(struct model *m, struct service *s)
{
	endpoints_sweep(m, s);
	ports_sweep(m, s, SLOT_LIMIT, &s->limits);
	ports_sweep(m, s, SLOT_RATE, &s->rates);
}

/* ---- units ---- */

static void release_slots(struct model *m, struct service *s)
{
	char key[600];

	s->round++;
	slots_sweep(m, s);
	if (s->slot.slot) {
		int n = snprintf(key, sizeof key, "%s/%s", s->ns, s->name);

		journal_slot_gone(&m->journal, SLOT_SERVICE, slice_of(key, (size_t)n));
	}
	slots_give(&m->slot[SLOT_SERVICE], s->slot);
	s->slot = (struct slot_gen){ 0, 0 };
}

const struct row **units_linked(const struct node *links, uint32_t *ret_n)
{
	const struct row **rows;
	uint32_t n = 0;

	for (const struct node *x = links->next; x != links; x = x->next)
		n++;
	rows = malloc(max_of(n, 1u) * sizeof(void *));
	*ret_n = 0;
	for (const struct node *x = links->next; rows && x != links; x = x->next)
		rows[(*ret_n)++] = container_of(x, struct link, in_hub)->resource->served->row;
	return rows;
}

/* Leaves the routes of this namespace; true: there were others. */
static bool drop_consumers(const struct row **routes, uint32_t *n, const char *ns)
{
	uint32_t kept = 0, had = *n;

	for (uint32_t i = 0; i < had; i++)
		if (strcmp(routes[i]->ns, ns) == 0)
			routes[kept++] = routes[i];
	*n = kept;
	return kept < had;
}

/* Pods that were told anyway are all it has, unless there are slices. */
static bool lacks_endpoints(const struct model *m, const struct service *s, bool has_pods)
{
	if (m->demand == NULL || demand_is_here(m->demand, s->ns, s->name))
		return false;
	return !has_pods || demand_has_slices(m->demand, s->ns, s->name);
}

static int compile_unit(struct model *m, struct service *s)
{
	struct slot_ask ask = { m, s };
	struct unit_service unit = { .endpoint_slot = ask_slot, .limit_slot = ask_limit,
				     .rate_slot = ask_rate, .granted = ask_granted,
				     .config_map = ask_config_map,
				     .zone = slice_str(m->zone), .arg = &ask };
	struct row row = { .kind = ROW_SERVICE };	/* with the address we gave it */
	struct residents_slices pods = { .n = 0 };
	char key[600];
	int r = -ENOMEM;

	memcpy(&row, s->resource->served->row, row_bytes(ROW_SERVICE));
	if (s->hashed)
		row.service.cluster_ip[0] = s->ip[0];
	if (s->slot.slot == 0) {
		s->slot = slots_take(&m->slot[SLOT_SERVICE]);
		if (s->slot.slot) {
			int n = snprintf(key, sizeof key, "%s/%s", s->ns, s->name);

			journal_slot(&m->journal, SLOT_SERVICE, slice_of(key, (size_t)n), s->slot);
		}
	}
	unit.service = &row;
	unit.slot = s->slot;
	const struct row **slices = units_linked(&s->links[LINK_SLICE], &unit.n_slices);
	const struct row **routes = units_linked(&s->links[LINK_PARENT], &unit.n_routes);
	const struct row **policies = units_linked(&s->links[LINK_POLICY], &unit.n_policies);
	const struct row **rates = units_linked(&s->links[LINK_RATE], &unit.n_rates);
	const struct row **tls = units_linked(&s->links[LINK_TLS], &unit.n_tls);

	unit.slices = slices;
	unit.routes = routes;
	unit.policies = policies;
	unit.rates = rates;
	unit.tls = tls;
	s->round++;
	if (slices && routes && policies && rates && tls)
		r = residents_serve(s) ? residents_slices(m, s, &pods) : 0;
	if (r == 0 && pods.n) {
		unit.slices = pods.slice;
		unit.n_slices = pods.n;
	}
	unit.lacks_endpoints = lacks_endpoints(m, s, pods.n > 0);
	if (unit.lacks_endpoints)
		unit.n_slices = 0;
	if (r == 0)
		r = builder_set_service(m->builder, &unit);
	/* What others write for their own callers must not take the Service away from everybody. */
	s->no_consumers = r == -E2BIG && drop_consumers(routes, &unit.n_routes, s->ns);
	if (s->no_consumers)
		r = builder_set_service(m->builder, &unit);
	if (r == 0) {
		s->in_view = true;
		slots_sweep(m, s);
	}
	residents_slices_drop(&pods);
	free(slices);
	free(routes);
	free(policies);
	free(rates);
	free(tls);
	return r;
}

/* False: no memory, to be tried again; s stays touched. */
static bool settle_service(struct model *m, struct service *s)
{
	int r = 0;

	if (s->resource)
		settle_conflict(s);
	if (s->resource && s->resource->conflict == NULL) {
		r = compile_unit(m, s);
		if (r == -E2BIG)
			resource_conflict(s->resource, "too large to be compiled");
		else if (r < 0 && r != -ENOMEM)
			resource_conflict(s->resource, "cannot be compiled");
	} else {
		if (s->in_view)
			r = builder_remove_service(m->builder, slice_str(s->ns), slice_str(s->name));
		if (r == 0) {
			s->in_view = false;
			release_slots(m, s);
		}
	}
	if (r == -ENOMEM) {
		m->shortages++;
		return false;
	}
	return true;
}

static void service_free(struct model *m, struct service *s)
{
	list_remove(&s->touched);
	for (int i = 0; i < 2; i++)
		vip_drop(m, &s->vip[i]);
	hash_remove(&m->services, &s->by_name);
	free(s->endpoint);
	free(s->limits.p);
	free(s->rates.p);
	free(s);
}

static bool service_is_unused(const struct service *s)
{
	if (s->resource || s->in_view)
		return false;
	for (size_t i = 0; i < countof(s->links); i++)
		if (!list_is_empty(&s->links[i]))
			return false;
	return true;
}

/* Where its accounts have workloads; NULL: no memory. */
static struct placed *placed_of(const struct model *m, struct space *s, uint32_t *ret_n)
{
	const struct node *hub = space_links(s, LINK_PLACED);
	struct placed *p;
	uint32_t n = 0;

	for (const struct node *l = hub->next; l != hub; l = l->next)
		n++;
	p = malloc((n + 1) * sizeof *p);
	*ret_n = 0;
	for (const struct node *l = hub->next; p && l != hub; l = l->next) {
		const struct resource *r = container_of(l, struct link, in_hub)->resource;
		const struct row_workload *w = &r->served->row->workload;
		const char *node = workloads_host(&m->workloads, w);

		if (node)
			p[(*ret_n)++] = (struct placed){ w->account, node };
	}
	return p;
}

static bool settle_space(struct model *m, struct space *s)
{
	struct unit_namespace unit = { .name = slice_str(s->name), .weight = 1 };
	bool wanted = s->resource || s->services || s->wanted ||
		      !list_is_empty(space_links(s, LINK_TENANT)) ||
		      !list_is_empty(space_links(s, LINK_PLACED));
	struct tenant *t = NULL;
	char key[600];
	int r = 0;

	if (wanted) {
		snprintf(key, sizeof key, "%s/%s", s->owner ? "tenant" : "namespace",
			 s->owner ? s->owner->name : s->name);
		t = tenant_make(m, key);
		if (t == NULL)
			return false;
		if (t->slot.slot == 0) {
			t->slot = slots_take(&m->slot[SLOT_TENANT]);
			if (t->slot.slot)
				journal_slot(&m->journal, SLOT_TENANT, slice_str(t->key), t->slot);
		}
		t->spaces++;
		unit.tenant_slot = t->slot;
		if (s->resource)
			unit.modes = s->resource->served->row->namespace.modes;
		if (s->owner) {
			const struct row *row = s->owner->served->row;

			unit.tenant = slice_str(s->owner->name);
			unit.weight = row->tenant.weight;
			unit.memory_bytes = row->tenant.memory_bytes;
			unit.connections = row->tenant.connections;
			unit.requests = row->tenant.requests;
		}
		unit.placed = placed_of(m, s, &unit.n_placed);
		r = unit.placed ? builder_set_namespace(m->builder, &unit) : -ENOMEM;
		free(unit.placed);
	} else if (s->in_view) {
		r = builder_remove_namespace(m->builder, slice_str(s->name));
	}
	if (r < 0) {
		if (t)
			t->spaces--;
		m->shortages++;
		return false;
	}
	if (s->tenant)
		s->tenant->spaces--;
	s->tenant = t;
	s->in_view = wanted;
	return true;
}

static void space_free(struct model *m, struct space *s)
{
	list_remove(&s->touched);
	list_remove(&s->in_model);
	hash_remove(&m->spaces, &s->by_name);
	free(s);
}

void units_settle(struct model *m)
{
	struct node again;
	bool sweep = m->tenants_touched || !list_is_empty(&m->touched_spaces);

	/* The list grows at its end while addresses pull in those they collide with. */
	for (struct node *n = m->touched_services.next; n != &m->touched_services; n = n->next)
		settle_addresses(m, container_of(n, struct service, touched));
	list_init(&again);
	while (!list_is_empty(&m->touched_services)) {
		struct service *s = container_of(m->touched_services.next, struct service, touched);

		list_remove(&s->touched);
		if (!settle_service(m, s))
			list_add_tail(&again, &s->touched);
		else if (service_is_unused(s))
			service_free(m, s);
	}
	while (!list_is_empty(&again)) {
		struct node *n = again.next;

		list_remove(n);
		list_add_tail(&m->touched_services, n);
	}
	if (m->tenants_touched)
		settle_tenants(m);
	while (!list_is_empty(&m->touched_spaces)) {
		struct space *s = container_of(m->touched_spaces.next, struct space, touched);

		list_remove(&s->touched);
		if (!settle_space(m, s))
			list_add_tail(&again, &s->touched);
		else if (!s->in_view && list_is_empty(space_links(s, LINK_GRANT)) &&
			 list_is_empty(space_links(s, LINK_GRANTED)) &&
			 list_is_empty(space_links(s, LINK_TRUSTS)))
			space_free(m, s);
	}
	while (!list_is_empty(&again)) {
		struct node *n = again.next;

		list_remove(n);
		list_add_tail(&m->touched_spaces, n);
	}
	if (sweep)
		sweep_tenants(m);
}

int model_rebuild(struct model *m)
{
	struct builder *b = NULL;
	int r = builder_new(slice_str(m->domain), &b);

	if (r < 0)
		return r;
	builder_free(&m->builder);
	m->builder = b;
	for (size_t i = 0; i < m->services.buckets; i++) {
		for (struct hash_node *n = m->services.bucket[i]; n; n = n->next) {
			struct service *s = container_of(n, struct service, by_name);

			s->in_view = false;
			touch_service(m, s);
		}
	}
	list_each(it, &m->all_spaces) {
		struct space *s = container_of(it, struct space, in_model);

		s->in_view = false;
		touch_space(m, s);
	}
	units_settle(m);
	return 0;
}

/* ---- the store's part ---- */

void model_slot(struct model *m, enum slot_scope scope, struct slice key, struct slot_gen slot)
{
	const uint8_t *slash = key.n ? memchr(key.p, '/', key.n) : NULL;
	struct slice ns, rest;
	struct service *s;
	struct addr a;
	uint64_t port;
	char text[600];

	if (slash == NULL || key.n >= sizeof text)
		return;
	ns = slice_of(key.p, (size_t)(slash - key.p));
	rest = slice_from(key, ns.n + 1);
	switch (scope) {
	case SLOT_TENANT:
		memcpy(text, key.p, key.n);
		text[key.n] = 0;
		struct tenant *t = tenant_make(m, text);

		if (t && t->slot.slot == 0 && slots_take_same(&m->slot[scope], slot))
			t->slot = slot;
		m->tenants_touched = true;
		return;
	case SLOT_SERVICE:
		s = service_make(m, ns, rest);
		if (s == NULL)
			return;
		if (s->slot.slot == 0 && slots_take_same(&m->slot[scope], slot))
			s->slot = slot;
		touch_service(m, s);
		return;
	case SLOT_ENDPOINT:
		slash = rest.n ? memchr(rest.p, '/', rest.n) : NULL;
		if (slash == NULL || addr_parse(slice_from(rest, (size_t)(slash - rest.p) + 1), &a) < 0)
			return;
		s = service_make(m, ns, slice_of(rest.p, (size_t)(slash - rest.p)));
		if (s == NULL)
			return;
		touch_service(m, s);
		struct endpoint_slot *e = endpoint_make(s, &a);

		if (e && e->slot.slot == 0 && slots_take_same(&m->slot[scope], slot))
			e->slot = slot;
		return;
	case SLOT_LIMIT:
	case SLOT_RATE:
		slash = rest.n ? memchr(rest.p, '/', rest.n) : NULL;
		if (slash == NULL ||
		    !slice_u64(slice_from(rest, (size_t)(slash - rest.p) + 1), 65535, &port))
			return;
		s = service_make(m, ns, slice_of(rest.p, (size_t)(slash - rest.p)));
		if (s == NULL)
			return;
		touch_service(m, s);
		struct port_slot *l = port_slot_make(scope == SLOT_LIMIT ? &s->limits : &s->rates,
						     (uint16_t)port);

		if (l && l->slot.slot == 0 && slots_take_same(&m->slot[scope], slot))
			l->slot = slot;
		return;
	case SLOT_SCOPES:
		return;
	}
}

int model_want_space(struct model *m, const char *name, bool wanted)
{
	struct space *s = space_make(m, name);

	if (s == NULL)
		return -ENOMEM;
	s->wanted = wanted;
	touch_space(m, s);
	return 0;
}

void units_fini(struct model *m)
{
	for (size_t b = 0; b < m->services.buckets; b++)
		while (m->services.bucket[b])
			service_free(m, container_of(m->services.bucket[b], struct service, by_name));
	list_each(it, &m->all_spaces)
		space_free(m, container_of(it, struct space, in_model));
	for (size_t b = 0; b < m->tenants.buckets; b++) {
		while (m->tenants.bucket[b]) {
			struct tenant *t = container_of(m->tenants.bucket[b], struct tenant, by_key);

			hash_remove(&m->tenants, &t->by_key);
			free(t);
		}
	}
	hash_fini(&m->services);
	hash_fini(&m->spaces);
	hash_fini(&m->tenants);
	hash_fini(&m->vips);
}
