/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See podlist.h. */
#include "nodeproxy/podlist.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "nodeproxy/files.h"
#include "nodeproxy/lib/ipc/pods.h"

#define NAME "pods"

static int open_dir(const char *run_dir, struct fd *ret)
{
	ret->v = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return ret->v < 0 ? -errno : 0;
}

static int write_all(int fd, struct slice a)
{
	while (a.n) {
		ssize_t n = write(fd, a.p, a.n);

		if (n < 0 && errno == EINTR)
			continue;
		if (n <= 0)
			return n < 0 ? -errno : -EIO;
		a = slice_from(a, (size_t)n);
	}
	return 0;
}

int podlist_write(const char *run_dir, struct slice page)
{
	struct fd dir = FD_NONE, f = FD_NONE;
	int r = files_make_dirs(run_dir, 0755);

	if (r == 0)
		r = open_dir(run_dir, &dir);
	if (r < 0)
		return r;
	f.v = openat(dir.v, NAME "~", O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600);
	r = f.v < 0 ? -errno : write_all(f.v, page);
	fd_close(&f);
	if (r == 0 && renameat(dir.v, NAME "~", dir.v, NAME) < 0)
		r = -errno;
	fd_close(&dir);
	return r;
}

static int read_all(int fd, uint8_t *to, size_t n)
{
	while (n) {
		ssize_t k = read(fd, to, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return k < 0 ? -errno : -EBADMSG;
		to += k;
		n -= (size_t)k;
	}
	return 0;
}

int podlist_read(const char *run_dir, struct slice *ret)
{
	struct fd dir, f = FD_NONE;
	struct stat st;
	uint8_t *p = NULL;
	int r = open_dir(run_dir, &dir);

	if (r < 0)
		return r;
	f.v = openat(dir.v, NAME, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK);
	fd_close(&dir);
	if (f.v < 0 || fstat(f.v, &st) < 0)
		r = -errno;
	else if (!S_ISREG(st.st_mode) || st.st_uid != 0 || st.st_mode & (S_IWGRP | S_IWOTH))
		r = -EPERM;
	else if (st.st_size < 0 || (size_t)st.st_size > PODS_PAGE_BYTES(PODS_MAX))
		r = -EBADMSG;
	if (r == 0 && !(p = malloc((size_t)st.st_size + 1)))
		r = -ENOMEM;
	if (r == 0)
		r = read_all(f.v, p, (size_t)st.st_size);
	if (r == 0 && !pods_page(slice_of(p, (size_t)st.st_size)))
		r = -EBADMSG;
	fd_close(&f);
	if (r < 0)
		free(p);
	else
		*ret = slice_of(p, (size_t)st.st_size);
	return r;
}
