/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See apply.h. */
#include "store/db/apply.h"

#include <errno.h>

/* Runs a statement whose parameters are bound (rc: how binding went). */
static int finish(struct db *db, enum db_statement which, int rc)
{
	sqlite3_stmt *st = db->stmt[which];
	int r;

	if (rc == SQLITE_OK)
		rc = sqlite3_step(st);
	r = db_error(db, rc);
	sqlite3_reset(st);
	return r;
}

/* The same inside a change: an error drops the whole change. */
static int step(struct db *db, enum db_statement which, int rc)
{
	int r = finish(db, which, rc);

	if (r < 0)
		db_change_drop(db);
	return r;
}

static int bind_slice(sqlite3_stmt *st, int n, struct slice a)
{
	return sqlite3_bind_text64(st, n, (const char *)(a.p ? a.p : (const uint8_t *)""), a.n,
				   SQLITE_STATIC, SQLITE_UTF8);
}

int db_change_begin(struct db *db)
{
	int r;

	must(!db->changing);
	r = finish(db, DB_BEGIN, SQLITE_OK);
	db->changing = r == 0;
	return r;
}

void db_change_drop(struct db *db)
{
	if (!db->changing)
		return;
	db->changing = false;
	/* SQLite has rolled back by itself after some errors (full disk, I/O). */
	if (!sqlite3_get_autocommit(db->sql)) {
		sqlite3_step(db->stmt[DB_ROLLBACK]);
		sqlite3_reset(db->stmt[DB_ROLLBACK]);
	}
}

int db_put_resource(struct db *db, const struct db_resource *d, uint64_t rev)
{
	sqlite3_stmt *st = db->stmt[DB_RESOURCE_PUT];
	int64_t created = d->created_rev ? -d->created_rev : max_of(d->created_unix_ms, (int64_t)0);
	int rc;

	if (!db->changing)
		return -ECANCELED;
	if ((rc = bind_slice(st, 1, d->kind)) == SQLITE_OK &&
	    (rc = bind_slice(st, 2, d->ns)) == SQLITE_OK &&
	    (rc = bind_slice(st, 3, d->name)) == SQLITE_OK &&
	    (rc = bind_slice(st, 4, d->json)) == SQLITE_OK &&
	    (rc = sqlite3_bind_blob(st, 5, d->digest, sizeof d->digest, SQLITE_STATIC)) ==
		    SQLITE_OK &&
	    (rc = bind_slice(st, 6, d->source)) == SQLITE_OK &&
	    (rc = sqlite3_bind_int64(st, 7, d->line)) == SQLITE_OK &&
	    (rc = sqlite3_bind_int64(st, 8, created)) == SQLITE_OK &&
	    (rc = sqlite3_bind_int64(st, 9, d->generation)) == SQLITE_OK)
		rc = sqlite3_bind_int64(st, 10, (sqlite3_int64)rev);
	return step(db, DB_RESOURCE_PUT, rc);
}

int db_delete_resource(struct db *db, struct slice kind, struct slice ns, struct slice name)
{
	sqlite3_stmt *st = db->stmt[DB_RESOURCE_DELETE];
	int rc;

	if (!db->changing)
		return -ECANCELED;
	if ((rc = bind_slice(st, 1, kind)) == SQLITE_OK && (rc = bind_slice(st, 2, ns)) == SQLITE_OK)
		rc = bind_slice(st, 3, name);
	return step(db, DB_RESOURCE_DELETE, rc);
}

int db_put_slot(struct db *db, const struct db_slot *s)
{
	sqlite3_stmt *st = db->stmt[DB_SLOT_PUT];
	int rc;

	if (!db->changing)
		return -ECANCELED;
	if ((rc = bind_slice(st, 1, s->scope)) == SQLITE_OK &&
	    (rc = bind_slice(st, 2, s->key)) == SQLITE_OK &&
	    (rc = sqlite3_bind_int64(st, 3, s->slot)) == SQLITE_OK)
		rc = sqlite3_bind_int64(st, 4, s->gen);
	return step(db, DB_SLOT_PUT, rc);
}

int db_delete_slot(struct db *db, struct slice scope, struct slice key)
{
	sqlite3_stmt *st = db->stmt[DB_SLOT_DELETE];
	int rc;

	if (!db->changing)
		return -ECANCELED;
	if ((rc = bind_slice(st, 1, scope)) == SQLITE_OK)
		rc = bind_slice(st, 2, key);
	return step(db, DB_SLOT_DELETE, rc);
}

int db_clear(struct db *db)
{
	int r;

	if (!db->changing)
		return -ECANCELED;
	r = step(db, DB_RESOURCE_CLEAR, SQLITE_OK);
	return r < 0 ? r : step(db, DB_SLOT_CLEAR, SQLITE_OK);
}

int db_put_meta(struct db *db, const char *key, uint64_t value)
{
	sqlite3_stmt *st = db->stmt[DB_META_PUT];
	int rc;

	if (!db->changing)
		return -ECANCELED;
	if ((rc = sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC)) == SQLITE_OK)
		rc = sqlite3_bind_int64(st, 2, (sqlite3_int64)value);
	return step(db, DB_META_PUT, rc);
}

int db_change_end(struct db *db)
{
	int r = db->changing ? step(db, DB_COMMIT, SQLITE_OK) : -ECANCELED;

	if (r == 0)
		db->changing = false;
	return r;
}

int db_change_commit(struct db *db, uint64_t rev)
{
	int r = db_put_meta(db, "rev", rev);

	return r < 0 ? r : db_change_end(db);
}
