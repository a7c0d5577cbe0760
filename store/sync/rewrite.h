/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The whole model into a new store (store/db/anew.h), a slice at a time.
 *
 * The model may change between two slices.  What it serves is held (by count) when the rewrite
 * begins and written as it was then; the journal, emptied at that moment, notes what changed since
 * and is written after it.  Every row and slot is therefore right in the end: it has not changed
 * since the beginning, or the last note about it was written last. */
#ifndef NODEPROXY_STORE_SYNC_REWRITE_H
#define NODEPROXY_STORE_SYNC_REWRITE_H

#include "store/db/db.h"
#include "store/sync/model.h"

struct rewrite {
	struct db *db;		/* the new store; NULL: none is under way */
	struct held **held;	/* in the order of the keys */
	size_t n, at;
	enum { REWRITE_ROWS, REWRITE_SLOTS, REWRITE_TENANTS } part;
	unsigned unflushed;
};

static inline bool rewrite_is_on(const struct rewrite *w)
{
	return w->db != NULL;
}

/* Begins; the caller empties the journal.  0 or -errno with words in why. */
must_use int rewrite_begin(struct rewrite *, const struct model *, int dir, char why[256]);
/* Works for about budget_us.  1: everything that was there at the beginning is written; 0: more to
 * do; -errno: dropped, with words in why. */
must_use int rewrite_step(struct rewrite *, const struct model *, uint64_t rev, int64_t budget_us,
			  char why[256]);
/* The new store, to write the journal into and to put in place; the rest of the rewrite ends. */
struct db *rewrite_take(struct rewrite *);
void rewrite_drop(struct rewrite *);

/* ---- for keep.c too: one row, one slot ---- */

must_use int put_row(struct db *, const struct row *, uint64_t rev);
must_use int put_slot(struct db *, enum slot_scope, struct slice key, struct slot_gen);

#endif
