/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The store: the documents this host serves, in SQLite, so that it can start while their source is
 * away.
 *
 * The sync process is its only user; it keeps the truth in memory and the store follows.  WAL mode
 * with synchronous=NORMAL: after a crash of the process nothing committed is lost, after a power
 * failure the last commits may be, but what is found is always one whole revision.  (FULL would
 * make every change wait for the disk; the source still has the documents.)  Locking is exclusive:
 * a second process on the same file gets -EBUSY, and no shared-memory file exists whose disk could
 * be full under a mapping.
 *
 *   phase     how
 *   open      db_open: checked (quick_check), migrated; what is not ours or broken is moved aside
 *   read      query.h: once, after opening
 *   changed   apply.h: one transaction per change set
 *   renewed   anew.h: everything into another file, which then takes its place
 *   gone      db_close */
#ifndef NODEPROXY_STORE_DB_DB_H
#define NODEPROXY_STORE_DB_DB_H

#include <sqlite3.h>

#include "nodeproxy/lib/base/must.h"

#define DB_VERSION	  1
#define DB_APPLICATION_ID 0x4e505354	/* "NPST" */
#define DB_CACHE_KIB	  1024
#define DB_ASIDE_MAX	  4		/* store.db.bad-1 .. bad-4: a crash loop must not fill the disk */
#define DB_TEXT_MAX	  (32u << 20)	/* no value in it is larger */

enum db_statement { DB_BEGIN, DB_COMMIT, DB_ROLLBACK, DB_META_GET, DB_META_PUT, DB_RESOURCES,
		    DB_RESOURCE_PUT, DB_RESOURCE_DELETE, DB_RESOURCE_CLEAR, DB_SLOTS, DB_SLOT_PUT,
		    DB_SLOT_DELETE, DB_SLOT_CLEAR, DB_STATEMENTS };

struct db {
	sqlite3 *sql;
	sqlite3_stmt *stmt[DB_STATEMENTS];
	int dir;		/* borrowed */
	uint64_t inode;		/* of the file we have open: see db_is_in_place */
	bool changing;
	char problem[256];	/* words for the last error */
};

/* What db_open found. */
struct db_found {
	bool fresh;		/* there was no store, or it was moved aside */
	char aside[32];		/* name it was moved to, "" when none was */
	char why[256];		/* why it was moved aside, or why opening failed */
};

/* Opens or makes store.db in dir (borrowed, must stay open).  What is damaged, no regular file, of
 * somebody else or of a newer nodeproxy is renamed to store.db.bad-N and an empty store is made;
 * ret_found says so.  0, -EBUSY (another process has it), -ENOSPC, -EROFS, -EACCES, -ENOMEM, -EIO. */
must_use int db_open(int dir, struct db **ret, struct db_found *ret_found);
void db_close(struct db **);
/* The same for a store that was found to be damaged after it was opened (close it first); why, in
 * words, and the name it got are put into ret_found.  0 or -errno: it is where it was. */
must_use int db_move_aside(int dir, const char *why, struct db_found *ret_found);
/* False when the file was removed or replaced behind our back: what is committed goes nowhere. */
bool db_is_in_place(const struct db *);

/* Bytes of its log: what was committed and could not be written back yet. */
uint64_t db_log_bytes(const struct db *);

/* Pages kept in memory: kib of them for a while, 0: back to the usual few, the rest is freed. */
void db_cache(struct db *, unsigned kib);

/* For anew.c: makes the tables in an empty file that is thrown away when anything fails, and
 * opens what was just written and needs no second look.  Words in db->problem, or why. */
must_use int db_make(struct db *);
must_use int db_open_ours(int dir, struct db **ret, char why[256]);

/* For query.c and apply.c: 0 or -errno from SQLite's code, the words in db->problem.
 * -EBADMSG: the file is damaged. */
int db_error(struct db *, int rc);

#endif
