/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See dir.h. */
#include "store/db/dir.h"

#include <errno.h>
#include <fcntl.h>
#include <sqlite3.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static int the_dir = -1;

/* The name inside the directory, or NULL with errno set. */
static const char *inside(const char *path)
{
	static const char *const names[] = { DB_PATH, DB_NEXT_PATH };

	for (size_t i = 0; i < countof(names); i++)
		if (strncmp(path, names[i], strlen(names[i])) == 0 &&
		    strchr(path + strlen(names[i]), '/') == NULL)
			return path + 1;
	errno = EACCES;
	return NULL;
}

static int dir_open(const char *path, int flags, int mode)
{
	const char *name = inside(path);

	return name ? openat(the_dir, name, flags | O_NOFOLLOW | O_CLOEXEC, mode) : -1;
}

static int dir_access(const char *path, int mode)
{
	const char *name = inside(path);

	return name ? faccessat(the_dir, name, mode, 0) : -1;
}

static int dir_stat(const char *path, struct stat *st)
{
	/* SQLite looks whether a part of a path is a link. */
	const char *name = strcmp(path, "/" DB_NEXT_DIR) == 0 ? DB_NEXT_DIR : inside(path);

	return name ? fstatat(the_dir, name, st, AT_SYMLINK_NOFOLLOW) : -1;
}

static int dir_unlink(const char *path)
{
	const char *name = inside(path);

	return name ? unlinkat(the_dir, name, 0) : -1;
}

/* SQLite opens the directory of a file to sync it after it made or removed one. */
static int dir_open_directory(const char *path, int *ret)
{
	int fd = inside(path) ? openat(the_dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;

	if (fd < 0)
		return SQLITE_CANTOPEN;
	*ret = fd;
	return SQLITE_OK;
}

static char *dir_getcwd(char *buf, size_t n)
{
	if (n < 2) {
		errno = ERANGE;
		return NULL;
	}
	memcpy(buf, "/", 2);
	return buf;
}

static ssize_t dir_readlink(const char *path, char *buf, size_t n)
{
	(void)path, (void)buf, (void)n;
	errno = EINVAL;
	return -1;
}

static int dir_mkdir(const char *path, mode_t mode)
{
	(void)path, (void)mode;
	errno = EACCES;
	return -1;
}

static int dir_rmdir(const char *path)
{
	(void)path;
	errno = EACCES;
	return -1;
}

int db_dir_use(int dir)
{
	static const struct {
		const char *name;
		sqlite3_syscall_ptr fn;
	} calls[] = {
		{ "open", (sqlite3_syscall_ptr)(void *)dir_open },
		{ "access", (sqlite3_syscall_ptr)(void *)dir_access },
		{ "stat", (sqlite3_syscall_ptr)(void *)dir_stat },
		{ "lstat", (sqlite3_syscall_ptr)(void *)dir_stat },
		{ "unlink", (sqlite3_syscall_ptr)(void *)dir_unlink },
		{ "openDirectory", (sqlite3_syscall_ptr)(void *)dir_open_directory },
		{ "getcwd", (sqlite3_syscall_ptr)(void *)dir_getcwd },
		{ "readlink", (sqlite3_syscall_ptr)(void *)dir_readlink },
		{ "mkdir", (sqlite3_syscall_ptr)(void *)dir_mkdir },
		{ "rmdir", (sqlite3_syscall_ptr)(void *)dir_rmdir },
	};
	sqlite3_vfs *vfs = sqlite3_initialize() == SQLITE_OK ? sqlite3_vfs_find("unix") : NULL;

	if (vfs == NULL || vfs->iVersion < 3)
		return -ENOSYS;
	for (size_t i = 0; i < countof(calls); i++)
		if (vfs->xSetSystemCall(vfs, calls[i].name, calls[i].fn) != SQLITE_OK)
			return -ENOSYS;
	the_dir = dir;
	return 0;
}
