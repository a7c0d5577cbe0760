/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A copy of the store for new binaries that are on trial.
 *
 * An upgrade must be able to fail without a trace, so the new sync process does not touch the store.
 * The old one, which has it open and locked, copies it to next/store.db; the new one opens (and
 * migrates) that.  Once it has taken over and the old one is gone it goes on with store.db itself.
 * Whoever starts without being on trial removes the copy: it is never chosen. */
#ifndef NODEPROXY_STORE_DB_COPY_H
#define NODEPROXY_STORE_DB_COPY_H

#include "store/db/db.h"

/* Makes next/store.db, a whole revision; an earlier one is removed.  Takes as long as the disk.
 * 0 or -errno, and nothing is left. */
must_use int db_copy_make(struct db *);
void db_copy_remove(int dir);
/* Opens (or makes) the directory of the copy, for db_open.  0 or -errno. */
must_use int db_copy_dir(int dir, int *ret);
/* Another process has the store in dir open. */
bool db_is_taken(int dir);

#endif
