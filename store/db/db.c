/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See db.h. */
#include "store/db/db.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/db/dir.h"
#include "store/db/schema.h"

/* One row per step from an older version; the step from nothing is the schema itself. */
static const struct migration {
	int from, to;
	const char *sql;
} migrations[] = {
	{ 0, DB_VERSION, schema_sql },
};

static const char *const statements[DB_STATEMENTS] = {
	[DB_BEGIN] = "BEGIN IMMEDIATE",
	[DB_COMMIT] = "COMMIT",
	[DB_ROLLBACK] = "ROLLBACK",
	[DB_META_GET] = "SELECT value FROM meta WHERE key = ?1",
	[DB_META_PUT] = "INSERT OR REPLACE INTO meta (key, value) VALUES (?1, ?2)",
	[DB_RESOURCES] = "SELECT kind, ns, name, json, digest, source, line, created, generation"
			 " FROM resource ORDER BY kind, ns, name",
	[DB_RESOURCE_PUT] =
		"INSERT OR REPLACE INTO resource"
		" (kind, ns, name, json, digest, source, line, created, generation, rev)"
		" VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8, ?9, ?10)",
	[DB_RESOURCE_DELETE] = "DELETE FROM resource WHERE kind = ?1 AND ns = ?2 AND name = ?3",
	[DB_RESOURCE_CLEAR] = "DELETE FROM resource",
	[DB_SLOTS] = "SELECT scope, key, slot, gen FROM slot",
	[DB_SLOT_PUT] = "INSERT OR REPLACE INTO slot (scope, key, slot, gen)"
			" VALUES (?1, ?2, ?3, ?4)",
	[DB_SLOT_DELETE] = "DELETE FROM slot WHERE scope = ?1 AND key = ?2",
	[DB_SLOT_CLEAR] = "DELETE FROM slot",
};

int db_error(struct db *db, int rc)
{
	if (rc == SQLITE_OK || rc == SQLITE_ROW || rc == SQLITE_DONE)
		return 0;
	const char *said = db->sql ? sqlite3_errmsg(db->sql) : "no store";
	int e = db->sql ? sqlite3_system_errno(db->sql) : 0;
	bool more = strcmp(said, sqlite3_errstr(rc)) != 0;
	bool os = e && ((rc & 0xff) == SQLITE_IOERR || (rc & 0xff) == SQLITE_CANTOPEN);

	snprintf(db->problem, sizeof db->problem, "%s%s%s%s%s", sqlite3_errstr(rc), more ? ": " : "",
		 more ? said : "", os ? ": " : "", os ? strerror(e) : "");
	switch (rc & 0xff) {
	case SQLITE_NOMEM:
		return -ENOMEM;
	case SQLITE_BUSY:
	case SQLITE_LOCKED:
		return -EBUSY;
	case SQLITE_FULL:
		return -ENOSPC;
	case SQLITE_READONLY:
		return -EROFS;
	case SQLITE_CORRUPT:
	case SQLITE_NOTADB:
	case SQLITE_SCHEMA:
		return -EBADMSG;
	case SQLITE_CANTOPEN:
	case SQLITE_PERM:
		return -EACCES;
	default:
		return -EIO;
	}
}

static int run(struct db *db, const char *sql)
{
	return db_error(db, sqlite3_exec(db->sql, sql, NULL, NULL, NULL));
}

/* The first column of the first row; text is cut to n. */
static int ask(struct db *db, const char *sql, int64_t *ret_number, char *ret_text, size_t n)
{
	sqlite3_stmt *st = NULL;
	int r = db_error(db, sqlite3_prepare_v2(db->sql, sql, -1, &st, NULL));

	if (r == 0) {
		int rc = sqlite3_step(st);

		if (rc == SQLITE_ROW) {
			const unsigned char *t = sqlite3_column_text(st, 0);

			*ret_number = sqlite3_column_int64(st, 0);
			if (ret_text)
				snprintf(ret_text, n, "%s", t ? (const char *)t : "");
		} else {
			r = rc == SQLITE_DONE ? -EBADMSG : db_error(db, rc);
		}
	}
	sqlite3_finalize(st);
	return r;
}

/* Says that the file is not one to work with, and why. */
static int refuse(struct db *db, const char *why)
{
	snprintf(db->problem, sizeof db->problem, "%s", why);
	return -EBADMSG;
}

static int migrate(struct db *db)
{
	int64_t version, id, tables;
	char sql[160];
	int r = ask(db, "PRAGMA user_version", &version, NULL, 0);

	if (r < 0 || (r = ask(db, "PRAGMA application_id", &id, NULL, 0)) < 0 ||
	    (r = ask(db, "SELECT count(*) FROM sqlite_schema", &tables, NULL, 0)) < 0)
		return r;
	if (version == 0 && tables == 0)
		id = DB_APPLICATION_ID;		/* an empty file: ours to fill */
	if (id != DB_APPLICATION_ID)
		return refuse(db, "another program's database");
	if (version > DB_VERSION)
		return refuse(db, "written by a newer nodeproxy");
	while (version < DB_VERSION) {
		const struct migration *m = NULL;

		for (size_t i = 0; i < countof(migrations); i++)
			if (migrations[i].from == version)
				m = &migrations[i];
		if (m == NULL)
			return refuse(db, "of a version that cannot be migrated");
		if ((r = run(db, "BEGIN IMMEDIATE")) < 0)
			return r;
		snprintf(sql, sizeof sql, "PRAGMA application_id=%d; PRAGMA user_version=%d; COMMIT",
			 DB_APPLICATION_ID, m->to);
		if ((r = run(db, m->sql)) < 0 || (r = run(db, sql)) < 0) {
			if (!sqlite3_get_autocommit(db->sql))
				sqlite3_exec(db->sql, "ROLLBACK", NULL, NULL, NULL);
			return r;
		}
		version = m->to;
	}
	return 0;
}

static int check_pages(struct db *db)
{
	int64_t none;
	char text[220];
	int r = ask(db, "PRAGMA quick_check(1)", &none, text, sizeof text);

	if (r == 0 && strcmp(text, "ok") != 0) {
		for (char *p = text; *p; p++)
			if (*p == '\n')
				*p = ' ';
		return refuse(db, text);
	}
	return r;
}

/* Nothing but our tables: a view or a trigger of somebody else's would run when we read or write. */
static int check_schema(struct db *db)
{
	int64_t odd;
	int r = ask(db, "SELECT count(*) FROM sqlite_schema WHERE NOT (type = 'table' AND rootpage > 0"
			" AND name IN ('meta', 'resource', 'slot') OR type = 'index' AND sql IS NULL)",
		    &odd, NULL, 0);

	return r == 0 && odd ? refuse(db, "has tables, views or triggers that are not ours") : r;
}

/* What SQLite could only call an I/O error, or would do something else with. */
static int check_file(struct db *db, const char *name)
{
	struct stat st;

	if (fstatat(db->dir, name, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return errno == ENOENT ? 0 : -errno;
	if (!S_ISREG(st.st_mode)) {
		snprintf(db->problem, sizeof db->problem, "%s is no regular file", name);
		return -EBADMSG;
	}
	if (faccessat(db->dir, name, R_OK | W_OK, AT_EACCESS) < 0 && errno == EACCES) {
		snprintf(db->problem, sizeof db->problem, "%s belongs to uid %u with mode %03o: uid %u "
			 "cannot use it", name, (unsigned)st.st_uid, (unsigned)st.st_mode & 0777,
			 (unsigned)geteuid());
		return -EBADMSG;
	}
	return 0;
}

/* On a read-only file system what was written back can be read; what is only in the log cannot be
 * told from half of it. */
static int open_read_only(struct db *db)
{
	struct stat st;

	if (fstatat(db->dir, DB_NAME "-wal", &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_size > 0) {
		snprintf(db->problem, sizeof db->problem, "the file system is read-only, and the store "
			 "has a log that must be written back first");
		return -EROFS;
	}
	return db_error(db, sqlite3_open_v2("file:" DB_PATH "?immutable=1", &db->sql,
					    SQLITE_OPEN_READONLY | SQLITE_OPEN_URI |
						    SQLITE_OPEN_NOMUTEX, NULL));
}

static int prepare(struct db *db)
{
	int r = 0;

	for (size_t i = 0; r == 0 && i < DB_STATEMENTS; i++)
		r = db_error(db, sqlite3_prepare_v3(db->sql, statements[i], -1,
						    SQLITE_PREPARE_PERSISTENT, &db->stmt[i], NULL));
	return r;
}

int db_make(struct db *db)
{
	int r = run(db, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA temp_store=MEMORY; PRAGMA mmap_size=0;"
			"PRAGMA journal_mode=OFF; PRAGMA synchronous=OFF;");

	if (r == 0)
		r = migrate(db);
	return r < 0 ? r : prepare(db);
}

/* ours: written by us a moment ago. */
static int open_once(int dir, struct db **ret, char why[256], bool ours)
{
	struct db *db = calloc(1, sizeof *db);
	struct stat st;
	bool read_only;
	int r;

	if (db == NULL)
		return -ENOMEM;
	db->dir = dir;
	r = check_file(db, DB_NAME);
	if (r == 0)
		r = check_file(db, DB_NAME "-wal");
	if (r < 0) {
		snprintf(why, 256, "%s", db->problem[0] ? db->problem : strerror(-r));
		db_close(&db);
		return r;
	}
	read_only = faccessat(dir, DB_NAME, W_OK, AT_EACCESS) < 0 && errno == EROFS;
	r = read_only ? open_read_only(db)
		      : db_error(db, sqlite3_open_v2(DB_PATH, &db->sql,
						     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE |
							     SQLITE_OPEN_NOMUTEX, NULL));
	if (r == 0) {
		sqlite3_extended_result_codes(db->sql, 1);
		sqlite3_limit(db->sql, SQLITE_LIMIT_LENGTH, DB_TEXT_MAX);
		sqlite3_db_config(db->sql, SQLITE_DBCONFIG_DEFENSIVE, 1, NULL);
		sqlite3_db_config(db->sql, SQLITE_DBCONFIG_TRUSTED_SCHEMA, 0, NULL);
		/* locking_mode before the first read in WAL mode: no shared-memory file.  A cache
		 * of 1 MiB: rows are read once and written in order. */
		r = run(db, "PRAGMA locking_mode=EXCLUSIVE; PRAGMA temp_store=MEMORY;"
			    "PRAGMA mmap_size=0; PRAGMA cell_size_check=ON;"
			    "PRAGMA foreign_keys=ON;");
	}
	if (r == 0 && !read_only) {
		r = run(db, "PRAGMA journal_mode=WAL; PRAGMA synchronous=NORMAL;"
			    "PRAGMA journal_size_limit=4194304;");
	}
	if (r == 0) {
		db_cache(db, 0);
		r = migrate(db);
	}
	if (r == 0 && !ours)
		r = check_pages(db);
	if (r == 0)
		r = check_schema(db);
	if (r == 0)
		r = prepare(db);
	if (r == -EBADMSG || r == 0) {
		if (fstatat(dir, DB_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0)
			db->inode = st.st_ino;
	}
	/* A schema that lacks what we ask of it is as foreign as another's file. */
	if (r == -EIO && (sqlite3_errcode(db->sql) & 0xff) == SQLITE_ERROR)
		r = -EBADMSG;
	if (r < 0) {
		snprintf(why, 256, "%s", db->problem);
		db_close(&db);
		return r;
	}
	*ret = db;
	return 0;
}

/* The name for what is moved aside: the first free one, or the oldest. */
static int aside_number(int dir)
{
	struct stat st;
	struct timespec oldest = { 0 };
	char to[48];
	int n = 0;

	for (int i = 1; i <= DB_ASIDE_MAX; i++) {
		snprintf(to, sizeof to, DB_NAME ".bad-%d", i);
		if (fstatat(dir, to, &st, AT_SYMLINK_NOFOLLOW) < 0)
			return i;
		if (n == 0 || st.st_ctim.tv_sec < oldest.tv_sec ||
		    (st.st_ctim.tv_sec == oldest.tv_sec && st.st_ctim.tv_nsec < oldest.tv_nsec)) {
			oldest = st.st_ctim;
			n = i;
		}
	}
	return n;
}

/* A directory in the way of a name is removed when it is empty. */
static int rename_over(int dir, const char *from, const char *to)
{
	struct stat st;

	if (fstatat(dir, from, &st, AT_SYMLINK_NOFOLLOW) < 0)
		return -errno;
	if (unlinkat(dir, to, 0) < 0 && errno != ENOENT && unlinkat(dir, to, AT_REMOVEDIR) < 0)
		return -errno;
	return renameat(dir, from, dir, to) < 0 ? -errno : 0;
}

int db_move_aside(int dir, const char *why, struct db_found *found)
{
	char name[32], wal[48], text[256];
	int n = aside_number(dir), r;

	snprintf(name, sizeof name, DB_NAME ".bad-%d", n);
	snprintf(wal, sizeof wal, "%s-wal", name);
	/* The store first: a log without its store is thrown away by SQLite, a store without its log
	 * may be half of a revision. */
	r = rename_over(dir, DB_NAME, name);
	if (r < 0 && r != -ENOENT)
		return r;
	r = rename_over(dir, DB_NAME "-wal", wal);
	if (r < 0 && r != -ENOENT)
		return r;
	unlinkat(dir, DB_NAME "-shm", 0);
	unlinkat(dir, DB_NAME "-journal", 0);
	snprintf(text, sizeof text, "%s", why);	/* why may be found->why */
	memcpy(found->why, text, sizeof text);
	memcpy(found->aside, name, sizeof name);
	found->fresh = true;
	return 0;
}

int db_open_ours(int dir, struct db **ret, char why[256])
{
	return open_once(dir, ret, why, true);
}

int db_open(int dir, struct db **ret, struct db_found *found)
{
	struct stat st;
	char why[256];
	int r = db_dir_use(dir);

	*found = (struct db_found){ 0 };
	if (r < 0) {
		snprintf(found->why, sizeof found->why, "this SQLite cannot be kept in a directory");
		return r;
	}
	unlinkat(dir, DB_NAME ".new", 0);	/* see anew.h: of a process that was killed */
	found->fresh = fstatat(dir, DB_NAME, &st, AT_SYMLINK_NOFOLLOW) < 0 || st.st_size == 0;
	r = open_once(dir, ret, found->why, false);
	if (r == -EBADMSG)	/* a read that failed once can look like damage: look twice */
		r = open_once(dir, ret, found->why, false);
	if (r == 0)
		found->why[0] = 0;
	if (r != -EBADMSG)
		return r;
	r = db_move_aside(dir, found->why, found);
	if (r < 0)
		return r;
	r = open_once(dir, ret, why, false);
	if (r < 0)
		memcpy(found->why, why, sizeof why);
	return r == -EBADMSG ? -EIO : r;
}

void db_close(struct db **p)
{
	struct db *db = *p;

	if (db == NULL)
		return;
	for (size_t i = 0; i < DB_STATEMENTS; i++)
		sqlite3_finalize(db->stmt[i]);
	sqlite3_close(db->sql);
	free(db);
	*p = NULL;
}

void db_cache(struct db *db, unsigned kib)
{
	char sql[64];

	snprintf(sql, sizeof sql, "PRAGMA cache_size=-%u", kib ? kib : DB_CACHE_KIB);
	(void)run(db, sql);	/* without it everything is only slower, or larger */
	if (kib == 0)
		sqlite3_db_release_memory(db->sql);
}

uint64_t db_log_bytes(const struct db *db)
{
	struct stat st;

	return fstatat(db->dir, DB_NAME "-wal", &st, AT_SYMLINK_NOFOLLOW) == 0 ? (uint64_t)st.st_size : 0;
}

bool db_is_in_place(const struct db *db)
{
	struct stat st;

	return fstatat(db->dir, DB_NAME, &st, AT_SYMLINK_NOFOLLOW) == 0 && st.st_ino == db->inode;
}
