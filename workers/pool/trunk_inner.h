/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What the parts of trunks (trunk.c: the life of one; trunk_leg.c: what exchanges do to their streams;
 * trunk_all.c: all of them; bundle.c: who gets a place on which) share; nobody else includes it. */
#ifndef WORKERS_POOL_TRUNK_INNER_H
#define WORKERS_POOL_TRUNK_INNER_H

#include "workers/pool/trunk.h"

/* Trunks to one address for one tenant, and those who wait for room. */
struct bundle {
	struct node node;		/* of its bucket */
	struct back_key key;
	struct node trunks;		/* DIALLING, HELLO and OPEN, oldest first */
	struct node line;		/* backs that wait */
	uint32_t n_trunks, n_coming;	/* coming: DIALLING and HELLO */
	uint32_t n_line;
	uint32_t each;			/* what a trunk is expected to take at a time */
	struct mono not_before;		/* no other is dialled */
};

static inline struct trunk *trunk_of(const struct trunks *ts, const struct back *b)
{
	return slab_at(&ts->trunks, b->trunk);
}

/* The only function that assigns its state. */
void trunk_event(struct trunk *, enum trunk_event);
/* Streams that it could take now. */
uint32_t trunk_room(const struct trunk *);
/* The bundle of this key, made if there is none; NULL: no memory. */
struct bundle *bundle_at(struct trunks *, const struct back_key *);
/* After a change of any kind: gives out what room there is, in order; has another trunk asked for if
 * that is needed; frees the bundle when nobody is left. */
void bundle_settle(struct trunks *, struct bundle *);
/* A trunk that was dialled for it, has opened, or is of no use to it any more. */
void bundle_join(struct bundle *, struct trunk *);
void bundle_opened(struct bundle *, struct trunk *);
void bundle_left(struct trunk *, bool was_coming);
/* None could be dialled. */
void bundle_failed(struct trunks *, struct bundle *, int error);

#endif
