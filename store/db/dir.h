/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Keeps SQLite inside one directory descriptor.
 *
 * The sync process has no rights on the directories above the state directory and is born with a
 * descriptor of it.  SQLite knows only path names, so its table of system calls (sqlite3_vfs.
 * xSetSystemCall of the "unix" VFS, for the whole process) is replaced by calls relative to that
 * descriptor.  Names are "/store.db" and "/next/store.db" and what SQLite appends to them; every other
 * path is EACCES, symbolic links are not followed. */
#ifndef NODEPROXY_STORE_DB_DIR_H
#define NODEPROXY_STORE_DB_DIR_H

#include "nodeproxy/lib/base/must.h"

#define DB_NAME "store.db"
#define DB_PATH "/" DB_NAME
#define DB_NEXT_DIR  "next"	/* of the copy, see copy.h */
#define DB_NEXT_PATH "/" DB_NEXT_DIR DB_PATH

/* From now on SQLite works in dir (borrowed; must stay open until the next call).  0 or -ENOSYS
 * when this SQLite cannot be told. */
must_use int db_dir_use(int dir);

#endif
