/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What the files of this folder share to read view bytes: layers, the directory, and bounds-checked
 * steps inside a unit.  Nobody else includes it. */
#ifndef NODEPROXY_STORE_VIEW_READER_H
#define NODEPROXY_STORE_VIEW_READER_H

#include "nodeproxy/lib/base/hash.h"
#include "store/view/check.h"
#include "store/view/layout.h"
#include "store/view/view.h"

/* One mapped file, shared by the views that use it. */
struct layer {
	uint32_t refs;
	uint64_t rev; /* as announced; equals the head's once checked */
	struct slice bytes;
	struct check check; /* .done: verified */
	struct layer *next; /* in the list of what is to be unmapped */
	size_t unmapped;    /* bytes from the start that are gone already */
};

struct view {
	uint32_t magic;
	uint32_t refs;
	struct layer *base;
	struct layer *over;	       /* NULL: none */
	uint32_t services, namespaces; /* in both layers together */
	uint32_t *order;	       /* unit ids: services by ns and name, then namespaces; made
					* by the first *_nth() */
	uint32_t n_order;
};

#define VIEW_LIVE 0x4c495645u

static inline const struct view_head *layer_head(const struct layer *l)
{
	return (const struct view_head *)l->bytes.p;
}

/* The unit with this id in this layer.  Returns false when the layer does not mention it; a
 * tombstone is true with an empty slice. */
static inline bool layer_unit(const struct layer *l, uint32_t id, struct slice *ret)
{
	const struct view_head *h = layer_head(l);
	const struct view_dir *d = (const struct view_dir *)(l->bytes.p + h->dir);
	uint32_t lo = 0, hi = h->n_dir, guess = id - 1;

	/* Ids are dense: in a base the entry usually stands where it would without gaps. */
	if (guess < hi && d[guess].id == id)
		lo = guess;
	else
		while (lo < hi) {
			uint32_t mid = lo + (hi - lo) / 2;

			if (d[mid].id < id)
				lo = mid + 1;
			else
				hi = mid;
		}
	if (lo >= h->n_dir || d[lo].id != id)
		return false;
	if (d[lo].at > l->bytes.n || d[lo].bytes > l->bytes.n - d[lo].at)
		return false;
	*ret = slice_of(l->bytes.p + d[lo].at, d[lo].bytes);
	return true;
}

/* The unit with this id in the view: the newest layer that mentions it decides. */
static inline bool view_unit(const struct view *v, uint32_t id, enum unit_kind kind,
			     struct slice *ret)
{
	struct slice s;

	if ((v->over == NULL || !layer_unit(v->over, id, &s)) && !layer_unit(v->base, id, &s))
		return false;
	if (s.n < (kind == UNIT_SERVICE ? sizeof(struct unit_svc) : sizeof(struct unit_nspace)) ||
	    ((const struct unit_head *)s.p)->kind != kind)
		return false;
	*ret = s;
	return true;
}

/* Element i of an array inside a unit; NULL when any of it would be outside. */
static inline const void *unit_item(struct slice u, uint32_t at, uint32_t n, size_t size,
				    uint32_t i)
{
	if (i >= n || at > u.n || ((uint64_t)i + 1) * size > u.n - at)
		return NULL;
	return u.p + at + (size_t)i * size;
}

static inline struct slice unit_text(struct slice u, uint32_t text)
{
	const struct unit_head *h = (const struct unit_head *)u.p;
	const struct unit_text *t = unit_item(u, h->texts, h->n_texts, sizeof *t, text);

	if (t == NULL || t->at > u.n || t->n > u.n - t->at)
		return (struct slice){ 0 };
	return slice_of(u.p + t->at, t->n);
}

static inline struct slice vservice_unit(const struct vservice *s)
{
	return slice_of(s->unit, s->bytes);
}

static inline const struct unit_svc *vservice_svc(const struct vservice *s)
{
	return (const struct unit_svc *)s->unit;
}

/* NULL only when the handle was not made by this folder. */
static inline const struct unit_port *vport_unit(const struct vport *p)
{
	const struct unit_svc *s = vservice_svc(&p->service);

	return unit_item(vservice_unit(&p->service), s->ports, s->n_ports, sizeof(struct unit_port),
			 p->index);
}

/* ---- the indexes ---- */

/* Keys of the indexes: kind, ns, '/', name; and 'v', family, 16 bytes.  Names are at most 253 bytes
 * (checked where units are made); longer ones hash to something that is never found. */
#define KEY_ROOM 512
uint32_t index_hash_name(const uint8_t key[16], enum unit_kind, struct slice ns, struct slice name);
uint32_t index_hash_vip(const uint8_t key[16], const struct addr *);
bool view_find_name(const struct view *, enum unit_kind, struct slice ns, struct slice name,
		    uint32_t *ret_id, struct slice *ret_unit);

#endif
