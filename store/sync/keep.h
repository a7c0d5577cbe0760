/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Keeps the store in step with the model.
 *
 * The model is right whether or not the store can be written; keep_write() puts the journal into
 * one transaction.  When that fails the state is not durable: the notes stay in the journal, and
 * the next try comes after a growing pause.  A store that was opened again is written whole; one
 * that turns out to be damaged is moved aside and written whole, since the model has everything. */
#ifndef NODEPROXY_STORE_SYNC_KEEP_H
#define NODEPROXY_STORE_SYNC_KEEP_H

#include "nodeproxy/lib/base/clock.h"
#include "store/db/db.h"
#include "store/sync/rewrite.h"

#define KEEP_WAIT_MIN_MS 200
#define KEEP_WAIT_MAX_MS 10000
#define KEEP_LOG_MAX	 (64u << 20)	/* of a log that should have been written back at 4 MiB */
#define KEEP_REV_MAX	 (1ull << 53)	/* more is damage: numbers in JSON end there */

struct keep {
	int dir;		/* borrowed */
	struct db *db;		/* NULL: could not be opened, or has failed */
	struct rewrite rewrite;	/* a store that will take its place */
	bool durable;
	uint64_t rev;		/* of the last commit */
	uint64_t commits, failures;
	struct mono again;	/* not tried before, while not durable */
	int64_t wait_ms;
	uint64_t log_max;	/* 0: KEEP_LOG_MAX */
	char problem[256];	/* why it is not durable */
	int64_t since_unix_ms;	/* and since when */
	struct mono since;
	struct db_found found;	/* by the last opening */
	char aside[32], aside_why[256];	/* the store that was moved aside last, and why; "": none */
	uint64_t asides;
};

/* Opens the store in dir.  0 or -errno: keep_write() will try again. */
must_use int keep_open(struct keep *, int dir);
/* The same once more, after keep_open or keep_load failed. */
must_use int keep_open_again(struct keep *);
void keep_close(struct keep *);
/* From the copy to the store itself, in dir, which nobody else may have open: opens it and says which
 * revision it has; the next keep_write() writes everything into it.  0 or -errno: keep_write() will
 * try again. */
must_use int keep_move(struct keep *, struct model *, int dir, uint64_t *ret_rev);

struct keep_loaded {
	uint32_t rows, refused;	/* refused: not valid (any more) */
	uint32_t slots;
};

/* Slots, then rows, from the store into a new model (which must be settled afterwards); rev as
 * stored.  Every row is validated as if its source had told it, and must be the bytes that were
 * stored.  All or nothing: on an error the model must be thrown away, because half a state may let
 * in what a missing policy forbids.  0; -EBADMSG: damaged, it was moved aside (found says so);
 * -errno: could not be read, and may be later. */
must_use int keep_load(struct keep *, struct model *, struct keep_loaded *ret);
/* True when the file that is written to was removed behind our back, or its directory: what was
 * committed is gone.  The next keep_write() then writes everything into a new one. */
bool keep_is_removed(struct keep *);
/* The directory it lies in does not exist any more: nothing can be written to it ever. */
bool keep_dir_is_removed(const struct keep *);
/* Makes the journal durable as rev, or begins to write everything anew (keep_work goes on with that);
 * at once returns the standing state while a pause lasts, unless force.  True: durable, as far as is
 * known. */
bool keep_begin(struct keep *, struct model *, uint64_t rev, bool force);
/* Writes on for about budget_us; the last slice also has to wait for the disk.  True: there is more
 * to do. */
bool keep_work(struct keep *, struct model *, uint64_t rev, int64_t budget_us);
/* Both, to the end.  True when everything is written. */
bool keep_write(struct keep *, struct model *, uint64_t rev, bool force);

#endif
