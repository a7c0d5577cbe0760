/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See build.h.
 *
 * A unit's bytes live in the mapping of the current base, or on the heap when they are newer.  The
 * changed list holds the ids whose bytes differ from the base: exactly what an overlay holds.  The
 * job copies units by id into a new file; a unit that changes after it was copied is copied again
 * at the end, so the old copy is dead bytes in one base, and the finished base is complete. */
#include "store/view/build.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/hash.h"
#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/base/rand.h"
#include "store/view/known.h"
#include "store/view/reader.h"

#define OVERLAY_UNITS	 256u	    /* or sqrt(units), whichever is more */
#define OVERLAY_BYTES	 (1u << 20) /* near the cheapest, sqrt(2 * unit * base), for all shapes */
#define OVERLAY_TOO_MANY 4u	    /* times the limit at once: a base right away */
/* With as much again, twice, for the directory and the indexes: below what a reader refuses. */
static_must(OVERLAY_BYTES *OVERLAY_TOO_MANY * 3ull < OVERLAY_MAX_BYTES);
#define KEPT_OVERLAYS 4
#define PIECE_BYTES   (256u << 10)

struct unit {
	struct hash_node by_key;
	uint32_t id;
	enum unit_kind kind;
	uint32_t users;		/* how many references other units hold on this id */
	uint32_t *refs, n_refs; /* the ids this one refers to */
	struct known_list known; /* addresses of its endpoints */
	uint8_t *heap;		/* its bytes when they are not in the base */
	const uint8_t *bytes;	/* NULL: there is no such unit (only a name) */
	uint32_t n;
	bool changed; /* in builder.changed */
	bool in_job_again;
	uint64_t job_at; /* offset in the base being made; 0: not copied yet */
	uint32_t job_n;
	bool job_named; /* in the index of names of the base being made */
	uint32_t ns_n, name_n;
	uint8_t key[]; /* ns, name */
};

struct index {
	struct view_slot *slot;
	uint32_t n, used;
};

struct job {
	bool on;
	struct fd fd;
	uint32_t next_id;
	uint64_t at; /* next offset, flushed and staged */
	uint8_t *piece;
	uint32_t staged;
	struct index names, vips;
	uint32_t *again, n_again, room_again;
	int64_t cpu_ns;
};

struct builder {
	struct slice domain;
	uint8_t domain_bytes[256];
	uint8_t key[16];
	struct hash by_key;
	struct unit **unit; /* by id - 1; NULL: free id */
	uint32_t n_units, room_units;
	uint32_t *free_ids, n_free, room_free;
	uint32_t services, namespaces;		    /* live */
	uint32_t *changed, n_changed, room_changed; /* ids, ascending */
	uint64_t changed_bytes;
	struct knowns knowns;
	bool dirty; /* changes since the last commit */
	uint64_t rev, base_rev;
	struct fd base_fd, old_base_fd;
	struct slice base; /* mapped; empty before the first */
	struct fd kept[KEPT_OVERLAYS];
	uint32_t next_kept;
	struct unit_bytes scratch;
	uint8_t *over; /* an overlay being put together */
	uint64_t room_over;
	struct job job;
	uint64_t bases, overlays;
	int64_t last_base_us, last_overlay_us;
};

static bool grow(void **p, uint32_t *room, uint32_t n, size_t size)
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

static struct unit *unit_by_id(const struct builder *b, uint32_t id)
{
	return id >= 1 && id <= b->n_units ? b->unit[id - 1] : NULL;
}

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
	if (!b->n_free && (b->n_units == UINT32_MAX / 2 || !grow((void **)&b->unit, &b->room_units,
								 b->n_units + 1, sizeof *b->unit)))
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

static void unit_free(struct builder *b, struct unit *u)
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
	if (!grow((void **)&b->changed, &b->room_changed, b->n_changed + 1, sizeof *b->changed))
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
	if (!grow((void **)&j->again, &j->room_again, j->n_again + 1, sizeof *j->again))
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

/* ---- what both kinds of file share ---- */

static uint32_t slots_for(uint32_t n)
{
	uint32_t s = 16;

	while (s / 2 < n) /* at most half full */
		s *= 2;
	return s;
}

/* False: the table would get too full (or there is no memory, when it was never made). */
static bool index_put(struct index *x, uint32_t hash, uint32_t id)
{
	uint32_t mask = x->n - 1, i = hash & mask;

	for (; x->slot[i].id != 0; i = (i + 1) & mask)
		if (x->slot[i].hash == hash && x->slot[i].id == id)
			return true;
	if (x->used >= x->n / 4 * 3 - 1)
		return false;
	x->slot[i] = (struct view_slot){ hash, id };
	x->used++;
	return true;
}

static bool index_name(const struct builder *b, struct index *x, const struct unit *u)
{
	return index_put(x,
			 index_hash_name(b->key, u->kind, slice_of(u->key, u->ns_n),
					 slice_of(u->key + u->ns_n, u->name_n)),
			 u->id);
}

static bool index_vips(const struct builder *b, struct index *x, const struct unit *u)
{
	const struct unit_svc *s = (const struct unit_svc *)u->bytes;

	for (int i = 0; u->kind == UNIT_SERVICE && i < 2; i++)
		if (s->vip[i].family && !index_put(x, index_hash_vip(b->key, &s->vip[i]), u->id))
			return false;
	return true;
}

static void head_fill(const struct builder *b, struct view_head *h, enum view_layer layer)
{
	*h = (struct view_head){
		.magic = VIEW_MAGIC,
		.version = VIEW_VERSION,
		.layer = (uint16_t)layer,
		.domain_n = (uint32_t)b->domain.n,
	};
	memcpy(h->key, b->key, sizeof h->key);
	memcpy(h->domain, b->domain_bytes, sizeof h->domain);
}

static uint32_t overlay_units_limit(const struct builder *b)
{
	uint64_t n = b->services + b->namespaces;
	uint32_t limit = OVERLAY_UNITS;

	while ((uint64_t)limit * limit < n)
		limit++;
	return limit;
}

/* ---- the overlay ---- */

static int overlay_make(struct builder *b, uint64_t rev, struct built *ret)
{
	int64_t start = clock_cpu_ns();
	uint32_t live = 0, services = 0, d = 0;
	uint64_t at = sizeof(struct view_head), bytes = 0, sets;
	struct view_head *h;
	struct index names, vips;
	struct view_dir *dir;
	int r;

	for (uint32_t i = 0; i < b->n_changed; i++) {
		const struct unit *u = unit_by_id(b, b->changed[i]);

		live += u->bytes != NULL;
		services += u->bytes != NULL && u->kind == UNIT_SERVICE;
		bytes += u->bytes ? u->n : 0;
	}
	names = (struct index){ .n = slots_for(live) };
	vips = (struct index){ .n = slots_for(2 * services) };
	bytes += at + (uint64_t)b->n_changed * sizeof *dir +
		 ((uint64_t)names.n + vips.n) * sizeof(struct view_slot);
	sets = bytes;
	bytes += knowns_bytes(&b->knowns, KNOWN_CAME) + knowns_bytes(&b->knowns, KNOWN_WENT);
	if (bytes > b->room_over) {
		uint8_t *p = realloc(b->over, bytes * 2);

		if (p == NULL)
			return -ENOMEM;
		b->over = p;
		b->room_over = bytes * 2;
	}
	h = (struct view_head *)b->over;
	head_fill(b, h, LAYER_OVERLAY);
	h->bytes = bytes;
	h->rev = rev;
	h->base_rev = b->base_rev;
	h->services = services;
	h->namespaces = live - services;
	h->n_dir = b->n_changed;
	h->n_names = names.n;
	h->n_vips = vips.n;
	h->vips = sets - (uint64_t)vips.n * sizeof(struct view_slot);
	h->names = h->vips - (uint64_t)names.n * sizeof(struct view_slot);
	h->dir = h->names - (uint64_t)b->n_changed * sizeof *dir;
	memset(b->over + h->names, 0, bytes - h->names);
	names.slot = (struct view_slot *)(b->over + h->names);
	vips.slot = (struct view_slot *)(b->over + h->vips);
	knowns_write(&b->knowns, KNOWN_CAME, b->over + sets, sets, &h->known);
	sets += knowns_bytes(&b->knowns, KNOWN_CAME);
	knowns_write(&b->knowns, KNOWN_WENT, b->over + sets, sets, &h->gone);
	dir = (struct view_dir *)(b->over + h->dir);
	for (uint32_t i = 0; i < b->n_changed; i++) {
		const struct unit *u = unit_by_id(b, b->changed[i]);

		dir[d++] = (struct view_dir){ u->id, u->bytes ? u->n : 0, u->bytes ? at : 0 };
		if (u->bytes == NULL)
			continue;
		memcpy(b->over + at, u->bytes, u->n);
		at += u->n;
		if (never(!index_name(b, &names, u) || !index_vips(b, &vips, u)))
			return -EIO;
	}
	r = memfd_sealed("view-overlay", slice_of(b->over, bytes), &ret->fd);
	if (r < 0)
		return r;
	fd_close(&b->kept[b->next_kept]);
	b->kept[b->next_kept].v = fcntl(ret->fd.v, F_DUPFD_CLOEXEC, 3);
	b->next_kept = (b->next_kept + 1) % KEPT_OVERLAYS;
	ret->is_base = false;
	ret->rev = rev;
	ret->base_rev = b->base_rev;
	ret->bytes = bytes;
	b->overlays++;
	b->last_overlay_us = (clock_cpu_ns() - start) / NS_PER_US;
	return 0;
}

/* ---- the base ---- */

static void job_stop(struct builder *b)
{
	struct job *j = &b->job;

	for (uint32_t i = 0; j->on && i < b->n_units; i++) {
		struct unit *u = b->unit[i];

		if (u == NULL)
			continue;
		u->job_at = 0;
		u->job_n = 0;
		u->job_named = u->in_job_again = false;
	}
	fd_close(&j->fd);
	free(j->piece);
	free(j->names.slot);
	free(j->vips.slot);
	free(j->again);
	*j = (struct job){ .fd = FD_NONE };
}

/* spare: how many more units may come while the job runs; past it the job starts again. */
static int job_start(struct builder *b, uint32_t spare)
{
	struct job *j = &b->job;

	*j = (struct job){
		.on = true,
		.fd = { memfd_create("view-base", MFD_CLOEXEC | MFD_ALLOW_SEALING) },
		.next_id = 1,
		.at = (sizeof(struct view_head) + 7) & ~7ull,
		.names.n = slots_for(b->services + b->namespaces + spare),
		.vips.n = slots_for(2 * b->services + spare),
	};
	if (j->fd.v < 0) {
		int r = -errno;

		job_stop(b);
		return r;
	}
	j->piece = malloc(PIECE_BYTES);
	j->names.slot = calloc(j->names.n, sizeof(struct view_slot));
	j->vips.slot = calloc(j->vips.n, sizeof(struct view_slot));
	if (j->piece == NULL || j->names.slot == NULL || j->vips.slot == NULL) {
		job_stop(b);
		return -ENOMEM;
	}
	return 0;
}

static int write_at(struct fd fd, const void *p, uint64_t n, uint64_t at)
{
	while (n) {
		ssize_t w = pwrite(fd.v, p, n, (off_t)at);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return w < 0 ? -errno : -ENOSPC;
		p = (const uint8_t *)p + w;
		at += (uint64_t)w;
		n -= (uint64_t)w;
	}
	return 0;
}

static int job_flush(struct job *j)
{
	int r = write_at(j->fd, j->piece, j->staged, j->at - j->staged);

	if (r == 0)
		j->staged = 0;
	return r;
}

static int job_write(struct job *j, const void *p, uint64_t n)
{
	int r;

	if (j->staged + n > PIECE_BYTES) {
		r = job_flush(j);
		if (r < 0)
			return r;
	}
	if (n > PIECE_BYTES) {
		r = write_at(j->fd, p, n, j->at);
		if (r < 0)
			return r;
	} else if (n) {
		memcpy(j->piece + j->staged, p, n);
		j->staged += (uint32_t)n;
	}
	j->at += n;
	return 0;
}

/* 0; -EAGAIN: the indexes are too small by now; -errno. */
static int job_copy(struct builder *b, struct unit *u)
{
	struct job *j = &b->job;
	int r;

	if (u->bytes == NULL) {
		u->job_at = 0;
		return 0;
	}
	if ((!u->job_named && !index_name(b, &j->names, u)) || !index_vips(b, &j->vips, u))
		return -EAGAIN;
	u->job_named = true;
	u->job_at = j->at;
	u->job_n = u->n;
	r = job_write(j, u->bytes, u->n);
	return r;
}

/* Ids of names that nobody has and nobody refers to are free again: the new base does not know
 * them, and neither will any overlay on it. */
static void sweep_ids(struct builder *b)
{
	for (uint32_t i = 0; i < b->n_units; i++) {
		struct unit *u = b->unit[i];

		if (u == NULL || u->bytes || u->users)
			continue;
		if (!grow((void **)&b->free_ids, &b->room_free, b->n_free + 1, sizeof *b->free_ids))
			return;
		b->free_ids[b->n_free++] = u->id;
		b->unit[i] = NULL;
		hash_remove(&b->by_key, &u->by_key);
		unit_free(b, u);
	}
}

/* The new base is written and sealed: from here on it is the base. */
static void base_adopt(struct builder *b, struct slice map)
{
	for (uint32_t i = 0; i < b->n_units; i++) {
		struct unit *u = b->unit[i];

		if (u == NULL)
			continue;
		u->changed = false;
		if (u->bytes) {
			u->bytes = map.p + u->job_at;
			u->n = u->job_n;
		}
		free(u->heap);
		u->heap = NULL;
	}
	b->n_changed = 0;
	b->changed_bytes = 0;
	memfd_unmap(&b->base);
	b->base = map;
	fd_close(&b->old_base_fd);
	b->old_base_fd = fd_take(&b->base_fd);
	b->base_fd = fd_take(&b->job.fd);
	for (int i = 0; i < KEPT_OVERLAYS; i++)
		fd_close(&b->kept[i]);
}

/* Directory, indexes, head, seals.  All in one go: the state must not change in between. */
static int job_finish(struct builder *b, struct built *ret)
{
	struct job *j = &b->job;
	struct view_head h;
	struct view_dir *dir;
	struct slice map;
	uint64_t n_known = knowns_bytes(&b->knowns, KNOWN_ALL), n_gone = KNOWN_NONE_BYTES, sets;
	uint8_t *known;
	uint32_t n = 0;
	int r = 0;

	for (uint32_t i = 0; i < j->n_again && r == 0; i++)
		r = job_copy(b, unit_by_id(b, j->again[i]));
	if (r == 0)
		r = job_flush(j);
	if (r < 0)
		return r;
	dir = calloc((size_t)b->services + b->namespaces + 1, sizeof *dir);
	if (dir == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < b->n_units; i++) {
		const struct unit *u = b->unit[i];

		if (u && u->bytes && u->job_at)
			dir[n++] = (struct view_dir){ u->id, u->job_n, u->job_at };
	}
	if (never(n != b->services + b->namespaces)) {
		free(dir);
		return -EIO;
	}
	head_fill(b, &h, LAYER_BASE);
	h.rev = h.base_rev = b->rev;
	h.services = b->services;
	h.namespaces = b->namespaces;
	h.dir = j->at;
	h.n_dir = n;
	h.names = h.dir + n * sizeof *dir;
	h.n_names = j->names.n;
	h.vips = h.names + (uint64_t)h.n_names * sizeof(struct view_slot);
	h.n_vips = j->vips.n;
	sets = h.vips + (uint64_t)h.n_vips * sizeof(struct view_slot);
	h.bytes = sets + n_known + n_gone;
	known = calloc(1, n_known + n_gone);
	if (known == NULL) {
		free(dir);
		return -ENOMEM;
	}
	knowns_write(&b->knowns, KNOWN_ALL, known, sets, &h.known);
	h.gone = (struct view_set){ .at = sets + n_known, .n_buckets = 1 };
	if ((r = write_at(j->fd, dir, n * sizeof *dir, h.dir)) == 0 &&
	    (r = write_at(j->fd, j->names.slot, (uint64_t)h.n_names * sizeof(struct view_slot),
			  h.names)) == 0 &&
	    (r = write_at(j->fd, j->vips.slot, (uint64_t)h.n_vips * sizeof(struct view_slot),
			  h.vips)) == 0 &&
	    (r = write_at(j->fd, known, n_known + n_gone, sets)) == 0 &&
	    (r = write_at(j->fd, &h, sizeof h, 0)) == 0 &&
	    fcntl(j->fd.v, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) <
		    0)
		r = -errno;
	free(dir);
	free(known);
	if (r == 0)
		r = memfd_map_sealed(j->fd, VIEW_MAX_BYTES, &map);
	if (r < 0)
		return r;
	ret->fd.v = fcntl(j->fd.v, F_DUPFD_CLOEXEC, 3);
	if (ret->fd.v < 0) {
		r = -errno;
		memfd_unmap(&map);
		return r;
	}
	ret->is_base = true;
	ret->rev = ret->base_rev = b->rev;
	ret->bytes = h.bytes;
	base_adopt(b, map);
	knowns_in_base(&b->knowns);
	b->base_rev = b->rev;
	b->bases++;
	return 0;
}

/* 1: *ret is the new base; 0: the budget is used up; -errno. */
static int job_run(struct builder *b, int64_t budget_ns, struct built *ret)
{
	struct job *j = &b->job;
	int64_t start = clock_cpu_ns();
	uint32_t n = 0;
	int r = 0;

	while (r == 0 && j->next_id <= b->n_units) {
		struct unit *u = unit_by_id(b, j->next_id++);

		if (u)
			r = job_copy(b, u);
		if (++n % 16 == 0 && clock_cpu_ns() - start >= budget_ns)
			break;
	}
	if (r == 0 && j->next_id > b->n_units)
		r = job_finish(b, ret) ?: 1;
	j->cpu_ns += clock_cpu_ns() - start;
	if (r == 0)
		return 0;
	if (r > 0)
		b->last_base_us = j->cpu_ns / NS_PER_US;
	job_stop(b);
	if (r > 0)
		sweep_ids(b);
	return r;
}

static int base_now(struct builder *b, struct built *ret)
{
	int r;

	for (int try = 0; try < 2; try++) {
		if (!b->job.on) {
			r = job_start(b, 0);
			if (r < 0)
				return r;
		}
		r = job_run(b, INT64_MAX / 2, ret);
		if (r != -EAGAIN) /* sized for less than there is by now: once more */
			break;
	}
	return r > 0 ? 0 : r;
}

/* ---- commits ---- */

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
		r = base_now(b, ret);
	} else {
		r = overlay_make(b, rev, ret);
	}
	if (r < 0) {
		b->rev = before;
		return r;
	}
	b->rev = rev;
	b->dirty = false;
	/* Without memory for it the overlay grows on, and the next commit tries again. */
	if (!b->job.on && (b->n_changed > limit || overlay_grown(b) > OVERLAY_BYTES))
		(void)(job_start(b, limit * 2) < 0);
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
	r = job_run(b, budget_us * NS_PER_US, ret);
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
	job_stop(b);
	for (uint32_t i = 0; i < b->n_units; i++)
		if (b->unit[i])
			unit_free(b, b->unit[i]);
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
