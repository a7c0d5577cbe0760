/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See copy.h. */
#include "store/db/copy.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/db/dir.h"

/* SQLite's locks (os.h): a byte range far behind the end, the same for every version 3 file. */
#define LOCKS_AT   0x40000000
#define LOCKS_MANY 512

void db_copy_remove(int dir)
{
	static const char *const files[] = { "", "-wal", "-journal", "-shm", ".new", ".old" };
	char name[64];

	for (size_t i = 0; i < countof(files); i++) {
		snprintf(name, sizeof name, DB_NEXT_DIR "/" DB_NAME "%s", files[i]);
		(void)unlinkat(dir, name, 0);
	}
	(void)unlinkat(dir, DB_NEXT_DIR, AT_REMOVEDIR);
}

int db_copy_dir(int dir, int *ret)
{
	int fd;

	if (mkdirat(dir, DB_NEXT_DIR, 0700) < 0 && errno != EEXIST)
		return -errno;
	fd = openat(dir, DB_NEXT_DIR, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
	if (fd < 0)
		return -errno;
	*ret = fd;
	return 0;
}

int db_copy_make(struct db *db)
{
	sqlite3 *to = NULL;
	sqlite3_backup *b = NULL;
	int rc;

	db_copy_remove(db->dir);
	if (mkdirat(db->dir, DB_NEXT_DIR, 0700) < 0 && errno != EEXIST)
		return -errno;
	rc = sqlite3_open_v2(DB_NEXT_PATH, &to,
			     SQLITE_OPEN_READWRITE | SQLITE_OPEN_CREATE | SQLITE_OPEN_NOMUTEX, NULL);
	if (rc == SQLITE_OK)	/* nobody needs it after a power failure */
		rc = sqlite3_exec(to, "PRAGMA synchronous=OFF; PRAGMA journal_mode=OFF", NULL, NULL,
				  NULL);
	if (rc == SQLITE_OK) {
		b = sqlite3_backup_init(to, "main", db->sql, "main");
		rc = b ? sqlite3_backup_step(b, -1) : sqlite3_errcode(to);
	}
	if (b && rc == SQLITE_DONE)
		rc = sqlite3_backup_finish(b);
	else
		sqlite3_backup_finish(b);
	sqlite3_close(to);
	if (rc == SQLITE_OK)
		return 0;
	db_copy_remove(db->dir);
	return db_error(db, rc) < 0 ? db_error(db, rc) : -EIO;
}

bool db_is_taken(int dir)
{
	struct flock l = { .l_type = F_WRLCK, .l_whence = SEEK_SET, .l_start = LOCKS_AT,
			   .l_len = LOCKS_MANY };
	int fd = openat(dir, DB_NAME, O_RDWR | O_NOFOLLOW | O_CLOEXEC);
	bool taken = fd >= 0 && fcntl(fd, F_GETLK, &l) == 0 && l.l_type != F_UNLCK;

	/* Closing drops this process's locks of the file: so never while we have it open. */
	if (fd >= 0)
		close(fd);
	return taken;
}
