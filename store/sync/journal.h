/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What the store does not have yet.
 *
 * The model notes here, in order, every row and slot that changed; keep.c writes the notes in one
 * transaction and empties the journal.  While the store cannot be written the notes wait; when they
 * are many compared with everything there is, they are dropped and `rewrite` says that the whole
 * model has to be written instead, so the journal is bounded. */
#ifndef NODEPROXY_STORE_SYNC_JOURNAL_H
#define NODEPROXY_STORE_SYNC_JOURNAL_H

#include "nodeproxy/lib/base/slice.h"
#include "store/rows.h"
#include "store/view/view.h"

/* A row that several hold: claims, what is served, the journal. */
struct held {
	struct row *row;
	uint32_t refs;
};

/* Takes the row; NULL without memory (the row stays the caller's). */
struct held *held_new(struct row **);
struct held *held_ref(struct held *);	/* NULL stays NULL */
void held_unref(struct held **);

enum slot_scope { SLOT_TENANT, SLOT_SERVICE, SLOT_ENDPOINT, SLOT_LIMIT, SLOT_RATE, SLOT_SCOPES };
struct slice slot_scope_name(enum slot_scope);

enum note_kind { NOTE_ROW, NOTE_ROW_GONE, NOTE_SLOT, NOTE_SLOT_GONE };

struct note {
	enum note_kind kind;
	enum row_kind row_kind;		/* ROW_GONE */
	enum slot_scope scope;
	struct slot_gen slot;
	struct held *held;		/* ROW */
	char *ns, *key;			/* ROW_GONE: namespace and name; SLOT: key */
};

struct journal {
	struct note *note;
	size_t n, room;
	size_t limit;	/* of n, before rewrite is set */
	bool rewrite;
};

void journal_row(struct journal *, struct held *);
void journal_row_gone(struct journal *, enum row_kind, const char *ns, const char *name);
void journal_slot(struct journal *, enum slot_scope, struct slice key, struct slot_gen);
void journal_slot_gone(struct journal *, enum slot_scope, struct slice key);
static inline bool journal_is_empty(const struct journal *j)
{
	return j->n == 0 && !j->rewrite;
}
/* Everything noted is written (or will be, by a rewrite). */
void journal_clear(struct journal *);
void journal_fini(struct journal *);

#endif
