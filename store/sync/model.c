/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See model.h: places, claims, and which claim of a resource is served. */
#include "store/sync/model.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "workers/obs/board.h"

uint64_t key_hash(unsigned kind, struct slice ns, struct slice name)
{
	/* 1 kind + 2 * (63 or 253 bytes of a name); longer ones only collide more. */
	uint8_t buf[1 + 2 * 256];
	size_t n = 0;

	buf[n++] = (uint8_t)kind;
	memcpy(buf + n, ns.p, min_of(ns.n, (size_t)255));
	n += min_of(ns.n, (size_t)255);
	buf[n++] = '/';
	memcpy(buf + n, name.p, min_of(name.n, (size_t)255));
	n += min_of(name.n, (size_t)255);
	return hash_slice(slice_of(buf, n));
}

/* ---- life ---- */

static int parse_cidr(struct model *m, const char *cidr)
{
	const char *slash = strchr(cidr, '/');
	uint64_t bits;

	if (cidr[0] == 0)
		return 0;
	if (slash == NULL || addr_parse_ip(slice_of(cidr, (size_t)(slash - cidr)), &m->cidr) < 0 ||
	    !slice_u64(slice_str(slash + 1), m->cidr.family == 4 ? 32 : 128, &bits))
		return -EINVAL;
	m->cidr_bits = (unsigned)bits;
	return 0;
}

int model_init(struct model *m, const char *domain, const char *cidr, const char *zone)
{
	static const uint32_t max[SLOT_SCOPES] = {
		[SLOT_TENANT] = BOARD_TENANTS,
		[SLOT_SERVICE] = BOARD_SERVICES,
		[SLOT_ENDPOINT] = BOARD_ENDPOINTS,
		[SLOT_LIMIT] = BOARD_LIMITS,
		[SLOT_RATE] = BOARD_RATES,
	};
	int r;

	*m = (struct model){ 0 };
	list_init(&m->all_places);
	list_init(&m->all_spaces);
	list_init(&m->touched);
	list_init(&m->touched_services);
	list_init(&m->touched_spaces);
	workloads_init(&m->workloads);
	r = model_settings(m, domain, cidr, zone);
	for (int s = 0; r == 0 && s < SLOT_SCOPES; s++)
		r = slots_init(&m->slot[s], max[s], &m->gen);
	if (r == 0)
		r = builder_new(slice_str(domain), &m->builder);
	if (r < 0)
		model_fini(m);
	return r;
}

int model_settings(struct model *m, const char *domain, const char *cidr, const char *zone)
{
	if (strlen(domain) >= sizeof m->domain || strlen(zone) >= sizeof m->zone)
		return -EINVAL;
	snprintf(m->zone, sizeof m->zone, "%s", zone);
	snprintf(m->domain, sizeof m->domain, "%s", domain);
	m->cidr = (struct addr){ 0 };
	return parse_cidr(m, cidr);
}

static void refused_free(struct refused *f)
{
	list_remove(&f->in_place);
	refusal_free(&f->refusal);
	free(f);
}

static void touch(struct model *m, struct resource *r)
{
	if (!node_is_linked(&r->touched))
		list_add_tail(&m->touched, &r->touched);
}

static void claim_free(struct model *m, struct claim *c)
{
	if (c->resource->winner == c)
		c->resource->winner = NULL;
	touch(m, c->resource);
	list_remove(&c->in_place);
	list_remove(&c->in_resource);
	held_unref(&c->held);
	free(c);
}

static void place_free(struct model *m, struct place *p)
{
	while (!list_is_empty(&p->claims))
		claim_free(m, container_of(p->claims.next, struct claim, in_place));
	while (!list_is_empty(&p->refusals))
		refused_free(container_of(p->refusals.next, struct refused, in_place));
	hash_remove(&m->places, &p->by_name);
	list_remove(&p->in_model);
	free(p);
}

static void resource_free(struct model *m, struct resource *r)
{
	list_remove(&r->touched);
	hash_remove(&m->resources, &r->by_key);
	held_unref(&r->served);
	free(r->conflict);
	free(r);
}

void model_fini(struct model *m)
{
	list_each(it, &m->all_places)
		place_free(m, container_of(it, struct place, in_model));
	/* Without claims every resource was touched by claim_free; those that serve the last good
	 * row of a place that went are not told apart here. */
	for (size_t b = 0; b < m->resources.buckets; b++) {
		while (m->resources.bucket[b]) {
			struct resource *r =
				container_of(m->resources.bucket[b], struct resource, by_key);
			struct held *was = r->served;

			r->served = NULL;
			if (was)
				units_served(m, r, was);
			held_unref(&was);
			resource_free(m, r);
		}
	}
	units_fini(m);
	workloads_fini(&m->workloads);
	residents_fini(&m->residents);
	builder_free(&m->builder);
	hash_fini(&m->places);
	hash_fini(&m->resources);
	for (int s = 0; s < SLOT_SCOPES; s++)
		slots_fini(&m->slot[s]);
	journal_fini(&m->journal);
	modes_fini(&m->modes);
}

/* ---- places and claims ---- */

static struct place *place_find(const struct model *m, const char *name)
{
	for (struct hash_node *n = hash_first(&m->places, hash_slice(slice_str(name))); n;
	     n = hash_next(n)) {
		struct place *p = container_of(n, struct place, by_name);

		if (strcmp(p->name, name) == 0)
			return p;
	}
	return NULL;
}

static struct place *place_make(struct model *m, const char *name)
{
	struct place *p = place_find(m, name);
	size_t n = strlen(name) + 1;

	if (p)
		return p;
	p = calloc(1, sizeof *p + n);
	if (p == NULL || hash_add(&m->places, &p->by_name, hash_slice(slice_str(name))) < 0) {
		free(p);
		m->shortages++;
		return NULL;
	}
	memcpy(p->name, name, n);
	list_init(&p->claims);
	list_init(&p->refusals);
	list_add_tail(&m->all_places, &p->in_model);
	return p;
}

struct resource *model_find(const struct model *m, enum row_kind kind, const char *ns,
			    const char *name)
{
	uint64_t h = key_hash(kind, slice_str(ns), slice_str(name));

	for (struct hash_node *n = hash_first(&m->resources, h); n; n = hash_next(n)) {
		struct resource *r = container_of(n, struct resource, by_key);

		if (r->kind == kind && strcmp(r->ns, ns) == 0 && strcmp(r->name, name) == 0)
			return r;
	}
	return NULL;
}

static struct resource *resource_make(struct model *m, enum row_kind kind, const char *ns,
				      const char *name)
{
	struct resource *r = model_find(m, kind, ns, name);
	size_t n_ns = strlen(ns) + 1, n_name = strlen(name) + 1;

	if (r)
		return r;
	r = calloc(1, sizeof *r + n_ns + n_name);
	if (r == NULL || hash_add(&m->resources, &r->by_key,
				  key_hash(kind, slice_str(ns), slice_str(name))) < 0) {
		free(r);
		m->shortages++;
		return NULL;
	}
	r->kind = kind;
	memcpy(r->text, ns, n_ns);
	memcpy(r->text + n_ns, name, n_name);
	r->ns = r->text;
	r->name = r->text + n_ns;
	list_init(&r->claims);
	list_init(&r->touched);
	list_init(&r->links);
	return r;
}

/* Adds a claim in its order; takes the row (NULL: refused or kept). */
static struct claim *claim_add(struct model *m, struct place *p, struct resource *r, uint32_t line,
			       struct row **row)
{
	struct claim *c = calloc(1, sizeof *c);
	struct node *at = r->claims.prev;

	if (c == NULL || (*row && (c->held = held_new(row)) == NULL)) {
		free(c);
		row_free(row);
		touch(m, r);	/* so that an unclaimed resource is let go of */
		m->shortages++;
		return NULL;
	}
	c->place = p;
	c->resource = r;
	c->line = line;
	while (at != &r->claims) {
		const struct claim *o = container_of(at, struct claim, in_resource);
		int d = strcmp(o->place->name, p->name);

		if (d < 0 || (d == 0 && o->line <= line))
			break;
		at = at->prev;
	}
	list_add_head(at, &c->in_resource);	/* right behind at */
	list_add_tail(&p->claims, &c->in_place);
	touch(m, r);
	return c;
}

static int kind_of(const char *word)
{
	for (int k = 0; k < ROW_KINDS; k++)
		if (strcmp(word, row_kind_name((enum row_kind)k)) == 0)
			return k;
	return -1;
}

/* Takes the refusal. */
static void refuse(struct model *m, struct place *p, struct refusal **refusal)
{
	struct refused *f = calloc(1, sizeof *f);
	const struct refusal *why = *refusal;
	int kind = kind_of(why->kind);

	if (f == NULL) {
		refusal_free(refusal);
		p->keeps = true;
		m->shortages++;
		return;
	}
	f->refusal = *refusal;
	*refusal = NULL;
	list_add_tail(&p->refusals, &f->in_place);
	if (kind >= 0 && why->name[0])
		f->resource = resource_make(m, (enum row_kind)kind, why->ns, why->name);
	if (f->resource) {
		struct row *none = NULL;
		struct claim *c = claim_add(m, p, f->resource, why->doc_line, &none);

		if (c)
			c->refused = true;
		else
			f->resource = NULL;
	}
	/* A document of a kind we never serve cannot be one that vanished; of a broken one the names
	 * are a guess. */
	if (why->broken || (f->resource == NULL && (kind >= 0 || why->kind[0] == 0)))
		p->keeps = true;
}

static bool claims_here(const struct resource *r, const struct place *p)
{
	for (const struct node *n = r->claims.next; n != &r->claims; n = n->next)
		if (container_of(n, struct claim, in_resource)->place == p)
			return true;
	return false;
}

void model_place(struct model *m, const char *name, struct documents *docs)
{
	struct place *p = place_make(m, name);
	struct node old;

	if (p == NULL) {
		documents_fini(docs);
		return;
	}
	p->seen = true;
	p->keeps = false;
	while (!list_is_empty(&p->refusals))
		refused_free(container_of(p->refusals.next, struct refused, in_place));
	/* The old claims step aside, out of their resources too, to be compared with the new. */
	list_init(&old);
	m->mark++;
	list_each(it, &p->claims) {
		struct claim *c = container_of(it, struct claim, in_place);

		c->resource->mark = m->mark;
		list_remove(&c->in_place);
		list_remove(&c->in_resource);
		list_add_tail(&old, &c->in_place);
	}
	for (size_t i = 0; i < docs->n; i++) {
		struct document *d = &docs->v[i];

		if (d->row) {
			struct resource *r = resource_make(m, d->row->kind, d->row->ns, d->row->name);

			if (r)
				(void)claim_add(m, p, r, d->row->line, &d->row);
		} else if (d->refusal) {
			refuse(m, p, &d->refusal);
		}
	}
	documents_fini(docs);
	/* A refused document of a name that was not here before: half a name, or a mistake in it. */
	for (const struct node *n = p->claims.next; n != &p->claims; n = n->next) {
		const struct claim *c = container_of(n, struct claim, in_place);

		p->keeps |= c->refused && c->resource->mark != m->mark;
	}
	list_each(it, &old) {
		struct claim *c = container_of(it, struct claim, in_place);
		struct row *none = NULL;

		if (p->keeps && !claims_here(c->resource, p))
			(void)claim_add(m, p, c->resource, c->line, &none);
		claim_free(m, c);
	}
}

void model_add_stored(struct model *m, const char *name, uint32_t line, struct row **row)
{
	struct place *p = place_make(m, name);
	struct resource *r = p ? resource_make(m, (*row)->kind, (*row)->ns, (*row)->name) : NULL;

	if (r == NULL) {
		row_free(row);
		return;
	}
	p->seen = true;
	m->stored = true;
	(void)claim_add(m, p, r, line, row);
}

void model_add_refusal(struct model *m, const char *name, struct refusal **refusal)
{
	struct place *p = place_make(m, name);

	if (p)
		refuse(m, p, refusal);
	else
		refusal_free(refusal);
}

void model_same(struct model *m, const char *name)
{
	struct place *p = place_make(m, name);

	if (p)
		p->seen = true;
}

void model_unreadable(struct model *m, const char *name, const char *why)
{
	struct place *p = place_make(m, name);
	struct refusal *r = refusal_of_place(name, why);

	if (p == NULL || r == NULL) {
		m->shortages++;
		refusal_free(&r);
		return;
	}
	p->seen = true;
	while (!list_is_empty(&p->refusals))
		refused_free(container_of(p->refusals.next, struct refused, in_place));
	refuse(m, p, &r);
}

void model_gone(struct model *m, const char *name)
{
	struct place *p = place_find(m, name);

	if (p)
		place_free(m, p);
}

void model_snapshot(struct model *m)
{
	list_each(it, &m->all_places)
		container_of(it, struct place, in_model)->seen = false;
	m->snapshot = true;
}

void model_snapshot_broken(struct model *m)
{
	m->snapshot = false;
}

/* ---- who is served ---- */

/* The claim whose row is to be served, or NULL with *keep saying whether the last good row stays. */
static struct claim *choose(const struct resource *r, bool *keep)
{
	const struct node *first = r->claims.next;

	*keep = false;
	if (first == &r->claims)
		return NULL;
	struct claim *c = container_of(first, struct claim, in_resource);

	if (c->held)
		return c;
	/* The first one is refused, but it is what we serve: an older version of it stays. */
	if (r->served && strcmp(r->served->row->source, c->place->name) == 0) {
		*keep = true;
		return NULL;
	}
	for (const struct node *n = first->next; n != &r->claims; n = n->next) {
		c = container_of(n, struct claim, in_resource);
		if (c->held)
			return c;
	}
	/* What one host writes, wrong or not, keeps nothing of another's. */
	*keep = r->served != NULL && r->kind != ROW_RESIDENT;
	for (const struct node *n = first->next; n != &r->claims && r->served; n = n->next)
		*keep |= strcmp(r->served->row->source,
				container_of(n, struct claim, in_resource)->place->name) == 0;
	return NULL;
}

/* True when what is served changed. */
static bool settle_resource(struct model *m, struct resource *r)
{
	struct held *was = r->served;
	bool keep, same;
	struct claim *c = choose(r, &keep);

	r->winner = c;
	if (keep || (c && c->held == was) || (c == NULL && was == NULL))
		return false;
	r->served = c ? held_ref(c->held) : NULL;
	same = was && c && memcmp(was->row->digest, c->held->row->digest, 32) == 0 &&
	       was->row->created_rev == c->held->row->created_rev;
	if (c == NULL)
		journal_row_gone(&m->journal, r->kind, r->ns, r->name);
	else if (m->stored)
		;
	else if (!same || was->row->line != c->held->row->line ||
		 strcmp(was->row->source, c->held->row->source) != 0)
		journal_row(&m->journal, r->served);
	if (!same)	/* only its place changed: no unit does */
		units_served(m, r, was);
	held_unref(&was);
	return !same;
}

bool model_settle(struct model *m)
{
	bool changed = false;

	if (m->snapshot) {
		list_each(it, &m->all_places) {
			struct place *p = container_of(it, struct place, in_model);

			if (!p->seen)
				place_free(m, p);
		}
		m->snapshot = false;
	}
	/* Its own minimum: more than that at once is written anew, in slices. */
	m->journal.limit = 0;
	while (!list_is_empty(&m->touched)) {
		struct resource *r = container_of(m->touched.next, struct resource, touched);

		list_remove(&r->touched);
		changed |= settle_resource(m, r);
		if (list_is_empty(&r->claims) && r->served == NULL)
			resource_free(m, r);
	}
	m->stored = false;
	changed |= m->demanded;
	m->demanded = false;
	units_settle(m);
	return changed;
}

void model_demanded(struct model *m, uint64_t service)
{
	for (struct hash_node *n = hash_first(&m->services, service); n; n = hash_next(n)) {
		touch_service(m, container_of(n, struct service, by_name));
		m->demanded = true;
	}
}

void resource_conflict(struct resource *r, const char *text)
{
	if (text && text[0] && r->conflict && strcmp(text, r->conflict) == 0)
		return;
	free(r->conflict);
	r->conflict = text && text[0] ? strdup(text) : NULL;
}

void model_counts(const struct model *m, struct model_counts *ret)
{
	*ret = (struct model_counts){ .places = (uint32_t)m->places.count };
	for (size_t b = 0; b < m->resources.buckets; b++) {
		for (struct hash_node *n = m->resources.bucket[b]; n; n = n->next) {
			const struct resource *r = container_of(n, struct resource, by_key);

			if (r->served) {
				ret->served[r->kind]++;
				ret->conflicts += r->conflict != NULL;
			}
			for (const struct node *k = r->claims.next; k != &r->claims; k = k->next) {
				const struct claim *c = container_of(k, struct claim, in_resource);

				ret->documents += c->held != NULL;
				if (c->held && c != r->winner)
					ret->refused++;
			}
		}
	}
	for (const struct node *n = m->all_places.next; n != &m->all_places; n = n->next) {
		const struct place *p = container_of(n, struct place, in_model);

		for (const struct node *k = p->refusals.next; k != &p->refusals; k = k->next)
			ret->refused++, ret->documents++;
	}
	ret->refused += ret->conflicts;
}
