/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See labels.h. */
#include "store/sync/labels.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>

#include "store/sync/model.h"

static uint64_t pair_hash(const char *ns, const struct row_pair *p)
{
	return key_hash(0, slice_str(ns), slice_str(p->name)) ^ hash_slice(slice_str(p->value));
}

static uint64_t resource_hash(const struct resource *r)
{
	return hash_slice(slice_of(&r, sizeof r));
}

struct label *labels_find(const struct labels *l, const char *ns, const struct row_pair *p)
{
	for (struct hash_node *n = hash_first(&l->labels, pair_hash(ns, p)); n; n = hash_next(n)) {
		struct label *x = container_of(n, struct label, by_pair);

		if (strcmp(x->name, p->name) == 0 && strcmp(x->value, p->value) == 0 && strcmp(x->ns, ns) == 0)
			return x;
	}
	return NULL;
}

static struct label *make(struct labels *l, const char *ns, const struct row_pair *p)
{
	size_t n_ns = strlen(ns) + 1, n_name = strlen(p->name) + 1, n_value = strlen(p->value) + 1;
	struct label *x = calloc(1, sizeof *x + n_ns + n_name + n_value);

	if (x == NULL || hash_add(&l->labels, &x->by_pair, pair_hash(ns, p)) < 0) {
		free(x);
		return NULL;
	}
	x->ns = memcpy(x->text, ns, n_ns);
	x->name = memcpy(x->text + n_ns, p->name, n_name);
	x->value = memcpy(x->text + n_ns + n_name, p->value, n_value);
	for (int i = 0; i < LABEL_SIDES; i++)
		list_init(&x->in[i]);
	return x;
}

static void drop_if_empty(struct labels *l, struct label *x)
{
	if (x->n[LABEL_PODS] || x->n[LABEL_SERVICES])
		return;
	hash_remove(&l->labels, &x->by_pair);
	free(x);
}

static int add(struct labels *l, struct label *x, enum label_side side, struct resource *r)
{
	struct label_entry *e = calloc(1, sizeof *e);

	if (e == NULL || hash_add(&l->entries, &e->by_resource, resource_hash(r)) < 0) {
		free(e);
		drop_if_empty(l, x);
		return -ENOMEM;
	}
	e->label = x;
	e->side = side;
	e->resource = r;
	list_add_tail(&x->in[side], &e->in_label);
	x->n[side]++;
	return 0;
}

int labels_add_pod(struct labels *l, struct resource *r, const struct row_pair *p, uint32_t n)
{
	int e = 0;

	for (uint32_t i = 0; i < n && e == 0; i++) {
		struct label *x = labels_find(l, r->ns, &p[i]);

		if (x == NULL)
			x = make(l, r->ns, &p[i]);
		e = x ? add(l, x, LABEL_PODS, r) : -ENOMEM;
	}
	return e;
}

int labels_add_service(struct labels *l, struct resource *r, const struct row_pair *p, uint32_t n)
{
	const struct row_pair *best = NULL;
	uint32_t fewest = UINT32_MAX;
	struct label *x;

	for (uint32_t i = 0; i < n; i++) {
		x = labels_find(l, r->ns, &p[i]);
		if (best && (x ? x->n[LABEL_SERVICES] : 0) >= fewest)
			continue;
		best = &p[i];
		fewest = x ? x->n[LABEL_SERVICES] : 0;
	}
	if (best == NULL)
		return 0;
	x = labels_find(l, r->ns, best);
	if (x == NULL)
		x = make(l, r->ns, best);
	return x ? add(l, x, LABEL_SERVICES, r) : -ENOMEM;
}

static void entry_free(struct labels *l, struct label_entry *e)
{
	struct label *x = e->label;

	hash_remove(&l->entries, &e->by_resource);
	list_remove(&e->in_label);
	x->n[e->side]--;
	free(e);
	drop_if_empty(l, x);
}

void labels_remove(struct labels *l, const struct resource *r)
{
	for (struct hash_node *n = hash_first(&l->entries, resource_hash(r)), *next; n; n = next) {
		struct label_entry *e = container_of(n, struct label_entry, by_resource);

		next = hash_next(n);
		if (e->resource == r)
			entry_free(l, e);
	}
}

void labels_fini(struct labels *l)
{
	for (size_t b = 0; b < l->entries.buckets; b++)
		while (l->entries.bucket[b])
			entry_free(l, container_of(l->entries.bucket[b], struct label_entry, by_resource));
	hash_fini(&l->entries);
	hash_fini(&l->labels);
}
