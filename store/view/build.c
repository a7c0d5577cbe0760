/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See build.h: the units, and what a commit makes of them.
 *
 * A unit's bytes live in the mapping of the current base, or on the heap when they are newer.  The
 * changed list holds the ids whose bytes differ from the base: exactly what an overlay holds. */
#include "store/view/build.h"

#include <errno.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/base/rand.h"
#include "store/view/build_inner.h"

#define OVERLAY_UNITS	 256u	    /* or sqrt(units), whichever is more */
#define OVERLAY_BYTES	 (1u << 20) /* near the cheapest, sqrt(2 * unit * base), for all shapes */
#define OVERLAY_TOO_MANY 4u	    /* times the limit at once: a base right away */
/* With as much again, twice, for the directory and the indexes: below what a reader refuses. */
static_must(OVERLAY_BYTES *OVERLAY_TOO_MANY * 3ull < OVERLAY_MAX_BYTES);

bool build_grow(void **p, uint32_t *room, uint32_t n, size_t size)
{
	uint32_t want = *room ? *room : 64;
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

int builder_new(struct slice domain, struct builder **ret)
{
	struct builder *b;

	if (domain.n > VIEW_DOMAIN)
		return -EINVAL;
	b = calloc(1, sizeof *b);
	if (b == NULL)
		return -ENOMEM;
	if (domain.n)
		memcpy(b->domain_bytes, domain.p, domain.n);
	b->domain = slice_of(b->domain_bytes, domain.n);
	rand_bytes(b->key, sizeof b->key);
	knowns_init(&b->knowns, b->key);
	b->base_fd = b->old_base_fd = FD_NONE;
	for (int i = 0; i < KEPT_OVERLAYS; i++)
		b->kept[i] = FD_NONE;
	b->job.fd = FD_NONE;
	*ret = b;
	return 0;
}

/* ---- units ---- */

static uint64_t key_hash(enum unit_kind kind, struct slice ns, struct slice name)
{
	return hash_slice(ns) * 3 + hash_slice(name) + (uint64_t)kind;
}

static struct unit *unit_find(const struct builder *b, enum unit_kind kind, struct slice ns,
			      struct slice name)
{
	struct hash_node *n = hash_first(&b->by_key, key_hash(kind, ns, name));

	for (; n; n = hash_next(n)) {
		struct unit *u = container_of(n, struct unit, by_key);

		if (u->kind == kind && slice_eq(slice_of(u->key, u->ns_n), ns) &&
		    slice_eq(slice_of(u->key + u->ns_n, u->name_n), name))
			return u;
	}
	return NULL;
}

static struct unit *unit_make(struct builder *b, enum unit_kind kind, struct slice ns,
			      struct slice name)
{
	struct unit *u = unit_find(b, kind, ns, name);

	if (u)
		return u;
	if (!b->n_free && (b->n_units == UINT32_MAX / 2 ||
			   !build_grow((void **)&b->unit, &b->room_units, b->n_units + 1, sizeof *b->unit)))
		return NULL;
	u = calloc(1, sizeof *u + ns.n + name.n);
	if (u == NULL)
		return NULL;
	u->kind = kind;
	u->ns_n = (uint32_t)ns.n;
	u->name_n = (uint32_t)name.n;
	if (ns.n)
		memcpy(u->key, ns.p, ns.n);
	if (name.n)
		memcpy(u->key + ns.n, name.p, name.n);
	if (hash_add(&b->by_key, &u->by_key, key_hash(kind, ns, name)) < 0) {
		free(u);
		return NULL;
	}
	u->id = b->n_free ? b->free_ids[--b->n_free] : ++b->n_units;
	b->unit[u->id - 1] = u;
	return u;
}

static uint32_t id_of_service(void *arg, struct slice ns, struct slice name)
{
	struct unit *u = unit_make(arg, UNIT_SERVICE, ns, name);

	return u ? u->id : 0;
}

void build_unit_free(struct builder *b, struct unit *u)
{
	knowns_give(&b->knowns, &u->known);
	free(u->heap);
	free(u->refs);
	free(u);
}

static bool changed_add(struct builder *b, struct unit *u)
{
	uint32_t lo = 0, hi = b->n_changed;

	if (u->changed)
		return true;
	if (!build_grow((void **)&b->changed, &b->room_changed, b->n_changed + 1, sizeof *b->changed))
		return false;
	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (b->changed[mid] < u->id)
			lo = mid + 1;
		else
			hi = mid;
	}
	memmove(b->changed + lo + 1, b->changed + lo, (b->n_changed - lo) * sizeof *b->changed);
	b->changed[lo] = u->id;
	b->n_changed++;
	u->changed = true;
	return true;
}

/* The job has copied this unit already: once more at the end. */
static bool again_add(struct builder *b, struct unit *u)
{
	struct job *j = &b->job;

	if (!j->on || u->in_job_again || u->id >= j->next_id)
		return true;
	if (!build_grow((void **)&j->again, &j->room_again, j->n_again + 1, sizeof *j->again))
		return false;
	j->again[j->n_again++] = u->id;
	u->in_job_again = true;
	return true;
}

static void refs_release(struct builder *b, uint32_t *refs, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		struct unit *u = unit_by_id(b, refs[i]);

		if (!never(u == NULL || u->users == 0))
			u->users--;
	}
}

static void unit_count(struct builder *b, const struct unit *u, int by)
{
	if (u->kind == UNIT_SERVICE)
		b->services += (uint32_t)by;
	else
		b->namespaces += (uint32_t)by;
}

/* Gives the unit new bytes (heap and refs are consumed), or none.  On error nothing changed. */
static int unit_replace(struct builder *b, struct unit *u, uint8_t *heap, uint32_t n,
			uint32_t *refs, uint32_t n_refs)
{
	if (!changed_add(b, u) || !again_add(b, u)) {
		free(heap);
		free(refs);
		return -ENOMEM;
	}
	for (uint32_t i = 0; i < n_refs; i++)
		unit_by_id(b, refs[i])->users++;
	refs_release(b, u->refs, u->n_refs);
	if ((u->bytes != NULL) != (heap != NULL))
		unit_count(b, u, heap ? 1 : -1);
	if (u->heap)
		b->changed_bytes -= u->n;
	b->changed_bytes += n;
	free(u->heap);
	free(u->refs);
	u->heap = heap;
	u->bytes = heap;
	u->n = n;
	u->refs = refs;
	u->n_refs = n_refs;
	b->dirty = true;
	return 0;
}

/* Takes what was compiled into the scratch. */
static int unit_set(struct builder *b, struct unit *u)
{
	const struct unit_bytes *s = &b->scratch;
	uint32_t *refs = NULL;
	uint8_t *heap;

	if (u->bytes && u->n == s->n && memcmp(u->bytes, s->p, s->n) == 0)
		return 0;
	heap = malloc(s->n);
	if (s->n_refs)
		refs = malloc(s->n_refs * sizeof *refs);
	if (heap == NULL || (s->n_refs && refs == NULL)) {
		free(heap);
		free(refs);
		return -ENOMEM;
	}
	memcpy(heap, s->p, s->n);
	if (s->n_refs)
		memcpy(refs, s->refs, s->n_refs * sizeof *refs);
	return unit_replace(b, u, heap, s->n, refs, s->n_refs);
}

/* Moves them in; also of a unit whose bytes do not say so, for want of a port, or of that family. */
static void unit_knows(struct builder *b, struct unit *u, struct known_list *known)
{
	struct known_list old = u->known;

	if (old.n != known->n || (old.n && memcmp(old.at, known->at, old.n * sizeof(struct known *)) != 0))
		b->dirty = true;
	u->known = *known;
	knowns_give(&b->knowns, &old);
}

static bool names_fit(struct slice ns, struct slice name)
{
	return ns.n <= 253 && name.n >= 1 && name.n <= 253;
}

int builder_set_service(struct builder *b, const struct unit_service *in)
{
	struct slice ns = slice_str(in->service->ns), name = slice_str(in->service->name);
	struct known_list known;
	struct unit *u;
	int r;

	if (in->service->kind != ROW_SERVICE || !names_fit(ns, name))
		return -EINVAL;
	u = unit_make(b, UNIT_SERVICE, ns, name);
	if (u == NULL)
		return -ENOMEM;
	r = knowns_take(&b->knowns, in->slices, in->n_slices, &known);
	if (r < 0)
		return r;
	r = compile_service(in, u->id, id_of_service, b, &b->scratch);
	if (r == 0)
		r = unit_set(b, u);
	if (r == 0)
		unit_knows(b, u, &known);
	else
		knowns_give(&b->knowns, &known);
	return r;
}

int builder_set_namespace(struct builder *b, const struct unit_namespace *in)
{
	struct unit *u;
	int r;

	if (!names_fit((struct slice){ 0 }, in->name))
		return -EINVAL;
	u = unit_make(b, UNIT_NAMESPACE, (struct slice){ 0 }, in->name);
	if (u == NULL)
		return -ENOMEM;
	r = compile_namespace(in, u->id, &b->scratch);
	return r < 0 ? r : unit_set(b, u);
}

static int unit_remove(struct builder *b, enum unit_kind kind, struct slice ns, struct slice name)
{
	struct unit *u = unit_find(b, kind, ns, name);
	int r = u && u->bytes ? unit_replace(b, u, NULL, 0, NULL, 0) : 0;

	if (u && r == 0)
		knowns_give(&b->knowns, &u->known);
	return r;
}

int builder_remove_service(struct builder *b, struct slice ns, struct slice name)
{
	return unit_remove(b, UNIT_SERVICE, ns, name);
}

int builder_remove_namespace(struct builder *b, struct slice name)
{
	return unit_remove(b, UNIT_NAMESPACE, (struct slice){ 0 }, name);
}

/* ---- commits ---- */

static uint32_t overlay_units_limit(const struct builder *b)
{
	uint64_t n = b->services + b->namespaces;
	uint32_t limit = OVERLAY_UNITS;

	while ((uint64_t)limit * limit < n)
		limit++;
	return limit;
}

static uint64_t overlay_grown(const struct builder *b)
{
	return b->changed_bytes + knowns_bytes(&b->knowns, KNOWN_CAME) + knowns_bytes(&b->knowns, KNOWN_WENT);
}

int builder_commit(struct builder *b, uint64_t rev, struct built *ret)
{
	uint32_t limit = overlay_units_limit(b);
	uint64_t before = b->rev;
	int r;

	if (rev <= b->rev)
		return -EINVAL;
	if (b->base.p == NULL || b->n_changed > limit * OVERLAY_TOO_MANY ||
	    overlay_grown(b) > (uint64_t)OVERLAY_BYTES * OVERLAY_TOO_MANY) {
		b->rev = rev;
		r = build_base_now(b, ret);
	} else {
		r = build_overlay(b, rev, ret);
	}
	if (r < 0) {
		b->rev = before;
		return r;
	}
	b->rev = rev;
	b->dirty = false;
	/* Without memory for it the overlay grows on, and the next commit tries again. */
	if (!b->job.on && (b->n_changed > limit || overlay_grown(b) > OVERLAY_BYTES))
		(void)(build_base_start(b, limit * 2) < 0);
	return 0;
}

bool builder_wants_work(const struct builder *b)
{
	return b->job.on && !b->dirty;
}

int builder_work(struct builder *b, int64_t budget_us, struct built *ret)
{
	int r;

	if (!builder_wants_work(b))
		return 0;
	r = build_base_run(b, budget_us * NS_PER_US, ret);
	return r == -EAGAIN ? 0 : r; /* grown out of its tables: the next commit starts another */
}

void builder_stats(const struct builder *b, struct builder_stats *ret)
{
	*ret = (struct builder_stats){
		.services = b->services,
		.namespaces = b->namespaces,
		.overlay_units = b->n_changed,
		.overlay_bytes = overlay_grown(b),
		.base_bytes = b->base.n,
		.bases = b->bases,
		.overlays = b->overlays,
		.last_base_us = b->last_base_us,
		.last_overlay_us = b->last_overlay_us,
	};
}

void builder_free(struct builder **pb)
{
	struct builder *b = *pb;

	*pb = NULL;
	if (b == NULL)
		return;
	build_base_stop(b);
	for (uint32_t i = 0; i < b->n_units; i++)
		if (b->unit[i])
			build_unit_free(b, b->unit[i]);
	hash_fini(&b->by_key);
	knowns_fini(&b->knowns);
	free(b->unit);
	free(b->free_ids);
	free(b->changed);
	memfd_unmap(&b->base);
	fd_close(&b->base_fd);
	fd_close(&b->old_base_fd);
	for (int i = 0; i < KEPT_OVERLAYS; i++)
		fd_close(&b->kept[i]);
	unit_bytes_fini(&b->scratch);
	free(b->over);
	free(b);
}
