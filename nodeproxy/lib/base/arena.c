/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See arena.h. */
#include "nodeproxy/lib/base/arena.h"

void *arena_take(struct arena *a, size_t n)
{
	void *p;

	n = (n + 7) & ~(size_t)7;
	if (n > sizeof a->newest->bytes)
		return NULL;
	if (a->newest == NULL || n > sizeof a->newest->bytes - a->used) {
		struct arena_block *b;

		if (a->blocks == a->max_blocks)
			return NULL;
		b = slab_take(a->pool, NULL);
		if (b == NULL)
			return NULL;
		b->older = a->newest;
		a->newest = b;
		a->used = 0;
		a->blocks++;
	}
	p = a->newest->bytes + a->used;
	a->used += n;
	return p;
}

bool arena_copy(struct arena *a, struct slice from, struct slice *ret)
{
	uint8_t *p = arena_take(a, from.n);

	if (p == NULL)
		return false;
	if (from.n)
		memcpy(p, from.p, from.n);
	*ret = slice_of(p, from.n);
	return true;
}

void arena_reset(struct arena *a)
{
	while (a->newest && a->newest->older) {
		struct arena_block *b = a->newest;

		a->newest = b->older;
		slab_give(a->pool, b);
		a->blocks--;
	}
	a->used = 0;
}

void arena_fini(struct arena *a)
{
	arena_reset(a);
	if (a->newest)
		slab_give(a->pool, a->newest);
	a->newest = NULL;
	a->blocks = 0;
}
