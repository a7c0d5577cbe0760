/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See snapshot.h. */
#include "admin/resources/snapshot.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "store/db/dir.h"

#define TRIES	    20
#define LOG_NAME    DB_NAME "-wal"
#define LOG_HEAD    32	/* of SQLite's log: with the salts that are new when it begins anew */
#define PIECE	    (1u << 18)

/* A file of the store, while it is copied. */
struct source {
	int fd;			/* -1: there is none */
	ino_t inode;
	uint8_t head[LOG_HEAD];
	size_t n_head;
};

static int look(int dir, const char *name, struct source *ret)
{
	struct stat st;
	ssize_t n;

	*ret = (struct source){ .fd = openat(dir, name, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK) };
	if (ret->fd < 0)
		return errno == ENOENT ? 0 : -errno;
	if (fstat(ret->fd, &st) < 0)
		return -errno;
	if (!S_ISREG(st.st_mode))
		return -EINVAL;
	ret->inode = st.st_ino;
	n = pread(ret->fd, ret->head, sizeof ret->head, 0);
	ret->n_head = n > 0 ? (size_t)n : 0;
	return n < 0 ? -errno : 0;
}

static void unlook(struct source *s)
{
	if (s->fd >= 0)
		close(s->fd);
	s->fd = -1;
}

/* Nobody put another file in its place, and (a log) did not begin it anew. */
static bool is_still(int dir, const char *name, const struct source *was, bool by_head)
{
	struct source now;
	bool same = look(dir, name, &now) == 0 && (now.fd < 0) == (was->fd < 0) && now.inode == was->inode &&
		    (!by_head || (now.n_head == was->n_head && memcmp(now.head, was->head, now.n_head) == 0));

	unlook(&now);
	return same;
}

static int copy(int dir, const char *name, const struct source *from, uint64_t *ret_bytes)
{
	static uint8_t piece[PIECE];
	off_t at = 0;
	ssize_t n = 0;
	int fd, r = 0;

	*ret_bytes = 0;
	(void)unlinkat(dir, name, 0);
	if (from->fd < 0)
		return 0;
	fd = openat(dir, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600);
	if (fd < 0)
		return -errno;
	while (r == 0 && (n = pread(from->fd, piece, sizeof piece, at)) > 0) {
		if (pwrite(fd, piece, (size_t)n, at) != n)
			r = errno ? -errno : -ENOSPC;
		at += n;
	}
	if (r == 0 && n < 0)
		r = -errno;
	close(fd);
	*ret_bytes = (uint64_t)at;
	return r;
}

/* One try.  -EAGAIN: it changed under our hands. */
static int copy_once(struct snapshot *s, int state)
{
	struct source file, log = { .fd = -1 };
	int r = look(state, DB_NAME, &file);

	if (r == 0 && file.fd < 0)
		r = -ENOENT;
	if (r == 0)
		r = look(state, LOG_NAME, &log);
	if (r == 0)
		r = copy(s->dir, DB_NAME, &file, &s->bytes);
	if (r == 0)
		r = copy(s->dir, LOG_NAME, &log, &s->log_bytes);
	if (r == 0 && (!is_still(state, DB_NAME, &file, false) || !is_still(state, LOG_NAME, &log, true)))
		r = -EAGAIN;
	unlook(&file);
	unlook(&log);
	return r;
}

static int make_dir(struct snapshot *s)
{
	const char *tmp = getenv("TMPDIR");

	snprintf(s->path, sizeof s->path, "%.200s/nodeproxyctl-store.XXXXXX", tmp && tmp[0] ? tmp : "/tmp");
	if (mkdtemp(s->path) == NULL) {
		int e = errno;

		s->path[0] = 0;
		return -e;
	}
	s->dir = open(s->path, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return s->dir < 0 ? -errno : 0;
}

int snapshot_take(struct snapshot *s, const char *state_dir, char problem[512])
{
	int state = open(state_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), r;

	*s = (struct snapshot){ .dir = -1 };
	if (state < 0) {
		r = -errno;
		snprintf(problem, 512, "%.400s: %s", state_dir, strerror(-r));
		return r;
	}
	r = make_dir(s);
	if (r < 0) {
		snprintf(problem, 512, "a directory for a copy of the store: %s", strerror(-r));
	} else {
		r = -EAGAIN;
		for (int i = 0; r == -EAGAIN && i < TRIES; i++)
			r = copy_once(s, state);
		snprintf(problem, 512, "%.400s/" DB_NAME ": %s", state_dir,
			 r == -ENOENT	? "there is no store"
			 : r == -EAGAIN ? "it changes too fast to be copied"
					: strerror(-r));
	}
	close(state);
	return r;
}

/* Of no directory it removes nothing: names are relative to -1. */
void snapshot_remove(struct snapshot *s)
{
	static const char *const names[] = { DB_NAME, LOG_NAME, DB_NAME "-journal", DB_NAME "-shm" };
	char name[48];

	for (size_t i = 0; i < countof(names); i++)
		(void)unlinkat(s->dir, names[i], 0);
	for (int i = 1; i <= 4; i++) {	/* what was found to be damaged */
		snprintf(name, sizeof name, DB_NAME ".bad-%d", i);
		(void)unlinkat(s->dir, name, 0);
		snprintf(name, sizeof name, DB_NAME ".bad-%d-wal", i);
		(void)unlinkat(s->dir, name, 0);
	}
	if (s->path[0])
		(void)rmdir(s->path);
	s->path[0] = 0;
}

void snapshot_close(struct snapshot *s)
{
	snapshot_remove(s);
	if (s->dir >= 0)
		close(s->dir);
	s->dir = -1;
}
