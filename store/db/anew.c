/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See anew.h. */
#include "store/db/anew.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "store/db/apply.h"
#include "store/db/dir.h"

#define ANEW	  DB_NAME ".new"
#define OLD	  DB_NAME ".old"
#define CACHE_KIB 16384	/* rows come in the order of their keys; only the index of slots is random */

int db_anew_begin(int dir, struct db **ret, char why[256])
{
	struct db *db = calloc(1, sizeof *db);
	int r;

	if (db == NULL)
		return -ENOMEM;
	db->dir = dir;
	unlinkat(dir, ANEW, 0);
	unlinkat(dir, ANEW "-journal", 0);
	r = db_error(db, sqlite3_open_v2("/" ANEW, &db->sql,
					 SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
						 SQLITE_OPEN_NOMUTEX, NULL));
	if (r == 0) {
		sqlite3_extended_result_codes(db->sql, 1);
		db_cache(db, CACHE_KIB);
		r = db_make(db);
	}
	if (r == 0)
		r = db_change_begin(db);
	if (r < 0) {
		snprintf(why, 256, "%s", db->problem);
		db_anew_drop(&db);
		return r;
	}
	*ret = db;
	return 0;
}

/* Without waiting: the disk is busy already when db_anew_end() has to wait for it. */
static void begin_writing(const struct db *db)
{
	int fd = openat(db->dir, ANEW, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);

	if (fd >= 0) {
		(void)sync_file_range(fd, 0, 0, SYNC_FILE_RANGE_WRITE);
		close(fd);
	}
}

int db_anew_flush(struct db *db)
{
	int r = db_change_end(db);

	begin_writing(db);
	return r < 0 ? r : db_change_begin(db);
}

static int sync_name(int dir, const char *name)
{
	int fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC), r = 0;

	if (fd < 0)
		return -errno;
	if (fsync(fd) < 0)
		r = -errno;
	close(fd);
	return r;
}

/* Renames the new one over the old.  A log that the old one could not write back must not be found
 * beside the new one: then the old one leaves first, and a crash in between leaves no store. */
static int replace(int dir)
{
	if (faccessat(dir, DB_NAME "-wal", F_OK, 0) == 0) {
		if (renameat(dir, DB_NAME, dir, OLD) < 0 && errno != ENOENT)
			return -errno;
		if (unlinkat(dir, DB_NAME "-wal", 0) < 0 && errno != ENOENT)
			return -errno;
	}
	if (renameat(dir, ANEW, dir, DB_NAME) < 0)
		return -errno;
	unlinkat(dir, OLD, 0);
	return sync_name(dir, ".");
}

int db_anew_end(struct db **anew, struct db **old, uint64_t rev, char why[256])
{
	int dir = (*anew)->dir, r = db_change_commit(*anew, rev);

	if (r < 0) {
		snprintf(why, 256, "%s", (*anew)->problem);
		db_anew_drop(anew);
		return r;
	}
	db_close(anew);
	r = sync_name(dir, ANEW);
	if (r == 0) {
		db_close(old);
		r = replace(dir);
	}
	if (r < 0) {
		snprintf(why, 256, "the new store cannot take its place: %s", strerror(-r));
		unlinkat(dir, ANEW, 0);
		return r;
	}
	return db_open_ours(dir, old, why);
}

void db_anew_drop(struct db **p)
{
	int dir;

	if (*p == NULL)
		return;
	dir = (*p)->dir;
	db_change_drop(*p);
	db_close(p);
	unlinkat(dir, ANEW, 0);
}
