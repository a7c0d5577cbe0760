/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Slots of one size with generations: the memory of long-lived objects (conns, backs, exchanges).
 *
 * All room is reserved at start and touched only when used; take and give never call malloc.  A
 * struct slot_ref survives its object: slab_at() says NULL once the slot was given back.  Slots are
 * reused last in, first out, so the touched part stays small; what lies idle after a burst is found by
 * slab_trim(). */
#ifndef NODEPROXY_LIB_BASE_SLAB_H
#define NODEPROXY_LIB_BASE_SLAB_H

#include "nodeproxy/lib/base/must.h"

struct slot_ref {
	uint32_t slot, gen;	/* gen 0 refers to nothing */
};

#define SLOT_NONE ((struct slot_ref){ 0, 0 })

struct slab {
	uint8_t *mem;
	uint32_t *gen;		/* per slot: odd while taken, even while free */
	uint32_t *next_free;	/* of free slots, with SLOT_ bits for slab_trim() */
	uint32_t free_head;	/* count: none on the list */
	uint32_t free_last;	/* while there is one */
	uint32_t fresh;		/* slots from here on were never used */
	uint32_t count;
	uint32_t live;
	size_t size;		/* bytes per object, rounded up to 16 */
	size_t map_bytes;
	const char *name;
	bool raw;		/* set after init: taken objects are not zeroed (arena blocks) */
	/* Set after init: objects live long and share pages, so slots beyond as many as live are
	 * reused last: what is left of a burst moves together by and by, and its pages become free. */
	bool packs;
	uint32_t fail_after;	/* fault injection: the n-th take from now fails; 0: off */
};

/* Room for count objects of size bytes; 0 or -errno. */
must_use int slab_init(struct slab *, const char *name, size_t size, uint32_t count);
void slab_fini(struct slab *);
/* A zeroed object (unless raw), NULL when all are taken. */
void *slab_take(struct slab *, struct slot_ref *ret);
void slab_give(struct slab *, void *);
/* The object while it lives, else NULL; any bytes may be passed. */
static inline void *slab_at(const struct slab *s, struct slot_ref r)
{
	if (r.slot >= s->count || !(r.gen & 1) || s->gen[r.slot] != r.gen)
		return NULL;
	return s->mem + (size_t)r.slot * s->size;
}
enum slab_trim {
	SLAB_TRIM_IDLE,		/* of slots that were free at the last look and not taken since */
	SLAB_TRIM_FREE,		/* of all free slots */
};
/* Gives whole pages of such slots back to the kernel, looking at most at looks slots from *at on,
 * round and round; pages that were given back before cost no call.  Slots that are taken again are
 * zero (raw: may be). */
void slab_trim(struct slab *, uint32_t *at, uint32_t looks, enum slab_trim);
struct slot_ref slab_ref(const struct slab *, const void *);

#endif
