/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See query.h. */
#include "store/db/query.h"

#include <errno.h>

static struct slice text_at(sqlite3_stmt *st, int column)
{
	const void *p = sqlite3_column_text(st, column);

	return p ? slice_of(p, (size_t)sqlite3_column_bytes(st, column)) : slice_of("", 0);
}

int db_meta(struct db *db, const char *key, uint64_t *ret)
{
	sqlite3_stmt *st = db->stmt[DB_META_GET];
	int rc = sqlite3_bind_text(st, 1, key, -1, SQLITE_STATIC);
	uint64_t v = 0;
	int r;

	if (rc == SQLITE_OK && (rc = sqlite3_step(st)) == SQLITE_ROW)
		v = (uint64_t)sqlite3_column_int64(st, 0);
	r = db_error(db, rc);
	sqlite3_reset(st);
	if (r == 0)
		*ret = v;
	return r;
}

int db_each_resource(struct db *db, int (*fn)(void *, const struct db_resource *), void *arg)
{
	sqlite3_stmt *st = db->stmt[DB_RESOURCES];
	int rc, r = 0;

	while (r == 0 && (rc = sqlite3_step(st)) != SQLITE_DONE) {
		struct db_resource d = { 0 };

		r = db_error(db, rc);
		if (r < 0)
			break;
		d.kind = text_at(st, 0);
		d.ns = text_at(st, 1);
		d.name = text_at(st, 2);
		d.json = text_at(st, 3);
		if (sqlite3_column_bytes(st, 4) == sizeof d.digest)
			memcpy(d.digest, sqlite3_column_blob(st, 4), sizeof d.digest);
		d.source = text_at(st, 5);
		d.line = (uint32_t)sqlite3_column_int64(st, 6);
		d.created_unix_ms = sqlite3_column_int64(st, 7);
		d.created_rev = 0;
		if (d.created_unix_ms < 0) {
			d.created_rev = d.created_unix_ms == INT64_MIN ? 0 : -d.created_unix_ms;
			d.created_unix_ms = 0;
		}
		d.generation = sqlite3_column_int64(st, 8);
		r = fn(arg, &d);
	}
	sqlite3_reset(st);
	return r;
}

int db_each_slot(struct db *db, int (*fn)(void *, const struct db_slot *), void *arg)
{
	sqlite3_stmt *st = db->stmt[DB_SLOTS];
	int rc, r = 0;

	while (r == 0 && (rc = sqlite3_step(st)) != SQLITE_DONE) {
		struct db_slot s;
		sqlite3_int64 slot, gen;

		r = db_error(db, rc);
		if (r < 0)
			break;
		slot = sqlite3_column_int64(st, 2);
		gen = sqlite3_column_int64(st, 3);
		if (slot < 1 || slot > UINT32_MAX || gen < 1 || gen > UINT32_MAX)
			continue;
		s = (struct db_slot){ text_at(st, 0), text_at(st, 1), (uint32_t)slot, (uint32_t)gen };
		r = fn(arg, &s);
	}
	sqlite3_reset(st);
	return r;
}
