/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A store written anew, beside the one that is there: store.db.new.
 *
 * It is no store before db_anew_end() has made it one by renaming it, so it needs no journal and may
 * be written in many steps; whatever happens on the way, the old one stays what it was.
 *
 *   phase      calls
 *   written    db_anew_begin, then apply.h's puts, db_anew_flush now and then
 *   in place   db_anew_end: on the disk, renamed, opened
 *   dropped    db_anew_drop, after any error */
#ifndef NODEPROXY_STORE_DB_ANEW_H
#define NODEPROXY_STORE_DB_ANEW_H

#include "store/db/db.h"

/* An empty one in dir (borrowed), inside a change.  0 or -errno with words in why. */
must_use int db_anew_begin(int dir, struct db **ret, char why[256]);
/* Hands what was put so far to the kernel, which begins to write it: short steps now instead of a
 * long one at the end. */
must_use int db_anew_flush(struct db *);
/* Commits as rev, takes the place of *old (which may be NULL) and is *old from now on.  On an error
 * *anew is gone; *old is what it was, or NULL when it could not be opened again. */
must_use int db_anew_end(struct db **anew, struct db **old, uint64_t rev, char why[256]);
void db_anew_drop(struct db **);

#endif
