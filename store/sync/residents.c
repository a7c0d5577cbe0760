/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See residents.h. */
#include "store/sync/residents.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/sync/model.h"

struct resident_addr {
	struct hash_node by_addr;
	struct addr addr;
	struct resource *resource;
};

static const struct row_resident *resident_of(const struct resource *r)
{
	return &r->served->row->resident;
}

/* ---- who is selected ---- */

static bool has_label(const struct row_resident *p, const struct row_pair *want)
{
	for (uint32_t i = 0; i < p->n_labels; i++)
		if (strcmp(p->labels[i].name, want->name) == 0)
			return strcmp(p->labels[i].value, want->value) == 0;
	return false;
}

static bool selects(const struct row_service *s, const struct row_resident *p)
{
	bool may = s->n_accounts == 0;

	for (uint32_t i = 0; i < s->n_selector; i++)
		if (!has_label(p, &s->selector[i]))
			return false;
	for (uint32_t i = 0; i < s->n_accounts && !may; i++)
		may = strcmp(s->accounts[i], p->account) == 0;
	return may && s->n_selector > 0;
}

/* The Services of its namespace that select it; NULL: it is none. */
static void touch_selecting(struct model *m, const char *ns, const struct row_resident *p)
{
	for (uint32_t i = 0; p && i < p->n_labels; i++) {
		const struct label *l = labels_find(&m->residents.labels, ns, &p->labels[i]);
		const struct node *in = l ? &l->in[LABEL_SERVICES] : NULL;

		for (const struct node *n = in ? in->next : NULL; n != in; n = n->next) {
			const struct resource *r = label_resource(n);
			struct service *service = NULL;

			if (selects(&r->served->row->service, p))
				service = service_find(m, slice_str(r->ns), slice_str(r->name));
			if (service)
				touch_service(m, service);
		}
	}
}

void residents_selects(struct model *m, struct resource *r)
{
	const struct row_service *s = r->served ? &r->served->row->service : NULL;

	labels_remove(&m->residents.labels, r);
	if (s && labels_add_service(&m->residents.labels, r, s->selector, s->n_selector) < 0)
		m->shortages++;
}

/* ---- addresses ---- */

static uint64_t addr_hash(const struct addr *a)
{
	return hash_slice(slice_of(a, sizeof *a));
}

/* Another host's pod that has the address, and does not leave it; NULL: there is none. */
static const struct resource *rival(const struct model *m, const struct resource *r, const struct addr *a)
{
	const char *node = resident_of(r)->node;

	for (struct hash_node *n = hash_first(&m->residents.by_addr, addr_hash(a)); n; n = hash_next(n)) {
		const struct resident_addr *e = container_of(n, struct resident_addr, by_addr);

		if (addr_eq(&e->addr, a) && !resident_of(e->resource)->draining &&
		    strcmp(resident_of(e->resource)->node, node) != 0)
			return e->resource;
	}
	return NULL;
}

static void settle_rivals(const struct model *m, struct resource *r)
{
	const struct row_resident *p = resident_of(r);
	char text[768] = "", ip[ADDR_TEXT];

	for (uint32_t i = 0; i < p->n_addrs && text[0] == 0; i++) {
		const struct resource *other = rival(m, r, &p->addr[i]);

		if (other)
			snprintf(text, sizeof text, "%s is also said by %s, of pod %s/%s: it is no endpoint of either",
				 addr_text(&p->addr[i], false, ip), resident_of(other)->node, other->ns,
				 resident_of(other)->pod);
	}
	resource_conflict(r, text);
}

/* Those of other hosts that have the address: it may be theirs again, or theirs no more. */
static void touch_rivals(struct model *m, const char *node, const struct addr *a)
{
	for (struct hash_node *n = hash_first(&m->residents.by_addr, addr_hash(a)); n; n = hash_next(n)) {
		struct resident_addr *e = container_of(n, struct resident_addr, by_addr);
		const struct row_resident *p = resident_of(e->resource);

		if (!addr_eq(&e->addr, a) || strcmp(p->node, node) == 0)
			continue;
		settle_rivals(m, e->resource);
		touch_selecting(m, e->resource->ns, p);
	}
}

static void add_addr(struct model *m, struct resource *r, const struct addr *a)
{
	struct resident_addr *e = calloc(1, sizeof *e);

	if (e == NULL || hash_add(&m->residents.by_addr, &e->by_addr, addr_hash(a)) < 0) {
		free(e);
		m->shortages++;
		return;
	}
	e->addr = *a;
	e->resource = r;
}

static void remove_addr(struct model *m, const struct resource *r, const struct addr *a)
{
	for (struct hash_node *n = hash_first(&m->residents.by_addr, addr_hash(a)); n; n = hash_next(n)) {
		struct resident_addr *e = container_of(n, struct resident_addr, by_addr);

		if (e->resource != r || !addr_eq(&e->addr, a))
			continue;
		hash_remove(&m->residents.by_addr, &e->by_addr);
		free(e);
		return;
	}
}

void residents_served(struct model *m, struct resource *r, const struct held *was)
{
	const struct row_resident *old = was ? &was->row->resident : NULL;
	const struct row_resident *now = r->served ? resident_of(r) : NULL;

	for (uint32_t i = 0; old && i < old->n_addrs; i++)
		remove_addr(m, r, &old->addr[i]);
	for (uint32_t i = 0; now && i < now->n_addrs; i++)
		add_addr(m, r, &now->addr[i]);
	for (uint32_t i = 0; old && i < old->n_addrs; i++)
		touch_rivals(m, old->node, &old->addr[i]);
	for (uint32_t i = 0; now && i < now->n_addrs; i++)
		touch_rivals(m, now->node, &now->addr[i]);
	if (now)
		settle_rivals(m, r);
	labels_remove(&m->residents.labels, r);
	if (now && labels_add_pod(&m->residents.labels, r, now->labels, now->n_labels) < 0)
		m->shortages++;
	touch_selecting(m, r->ns, old);
	touch_selecting(m, r->ns, now);
}

void residents_fini(struct residents *all)
{
	for (size_t b = 0; b < all->by_addr.buckets; b++) {
		while (all->by_addr.bucket[b]) {
			struct hash_node *n = all->by_addr.bucket[b];

			hash_remove(&all->by_addr, n);
			free(container_of(n, struct resident_addr, by_addr));
		}
	}
	hash_fini(&all->by_addr);
	labels_fini(&all->labels);
}

/* ---- slices ---- */

bool residents_serve(const struct service *s)
{
	return s->resource && s->resource->served->row->service.n_selector > 0 &&
	       list_is_empty(&s->links[LINK_SLICE]);
}

/* Its address of that family; NULL: none that counts. */
static const struct addr *address_of(const struct model *m, const struct resource *r, uint8_t family)
{
	const struct row_resident *p = resident_of(r);

	for (uint32_t i = 0; i < p->n_addrs; i++)
		if (p->addr[i].family == family && !rival(m, r, &p->addr[i]))
			return &p->addr[i];
	return NULL;
}

static struct row_endpoint endpoint_of(const struct row_resident *p, const struct addr *a)
{
	return (struct row_endpoint){ .n_addrs = 1, .addr = *a, .ready = !p->draining, .serving = true,
				      .terminating = p->draining, .zone = p->zone, .node = p->node,
				      .target = p->pod, .host = "" };
}

static int ports_of(const struct row_service *s, struct row_slice *slice)
{
	slice->ports = calloc(max_of(s->n_ports, 1u), sizeof *slice->ports);
	if (slice->ports == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < s->n_ports; i++) {
		const struct row_service_port *p = &s->ports[i];

		if (!p->target_name)
			slice->ports[slice->n_ports++] = (struct row_slice_port){
				.name = p->name, .port = p->target_port ? p->target_port : p->port,
				.protocol = p->protocol };
	}
	return 0;
}

static int slice_of_family(struct model *m, const struct service *s, const struct node *in, uint32_t pods,
			   struct row *ret)
{
	const struct row *service = s->resource->served->row;
	struct row_slice *slice = &ret->slice;

	ret->kind = ROW_SLICE;
	ret->ns = service->ns;
	ret->name = slice->service = service->name;
	slice->weight = ROW_WEIGHT;
	slice->endpoints = calloc(max_of(pods, 1u), sizeof *slice->endpoints);
	if (slice->endpoints == NULL || ports_of(&service->service, slice) < 0)
		return -ENOMEM;
	for (const struct node *n = in->next; n != in; n = n->next) {
		const struct resource *r = label_resource(n);
		const struct addr *a;

		if (!selects(&service->service, resident_of(r)))
			continue;
		a = address_of(m, r, slice->family);
		if (a)
			slice->endpoints[slice->n_endpoints++] = endpoint_of(resident_of(r), a);
	}
	return 0;
}

/* Among whom those are that it selects: of its labels the one that the fewest pods have.  NULL: nobody. */
static const struct node *candidates(const struct model *m, const struct service *s)
{
	const struct row_service *row = &s->resource->served->row->service;
	const struct label *best = NULL;

	for (uint32_t i = 0; i < row->n_selector; i++) {
		const struct label *l = labels_find(&m->residents.labels, s->ns, &row->selector[i]);

		if (l == NULL || l->n[LABEL_PODS] == 0)
			return NULL;
		if (best == NULL || l->n[LABEL_PODS] < best->n[LABEL_PODS])
			best = l;
	}
	return best ? &best->in[LABEL_PODS] : NULL;
}

int residents_slices(struct model *m, const struct service *s, struct residents_slices *ret)
{
	static const uint8_t families[] = { 4, 6 };
	const struct node *in = candidates(m, s);
	uint32_t pods = 0;
	int r = 0;

	*ret = (struct residents_slices){ 0 };
	for (const struct node *n = in ? in->next : NULL; n != in; n = n->next)
		pods += selects(&s->resource->served->row->service, resident_of(label_resource(n)));
	for (size_t i = 0; pods && r == 0 && i < countof(families); i++) {
		struct row *row = &ret->row[ret->n];

		row->slice.family = families[i];
		ret->slice[ret->n++] = row;
		r = slice_of_family(m, s, in, pods, row);
	}
	return r;
}

void residents_slices_drop(struct residents_slices *all)
{
	for (uint32_t i = 0; i < all->n; i++) {
		free(all->row[i].slice.ports);
		free(all->row[i].slice.endpoints);
	}
}

bool residents_place_is(const char *place)
{
	const char *node = strncmp(place, "node/", 5) == 0 ? place : strstr(place, "/node/");

	return node && strstr(node, "/pod/");
}
