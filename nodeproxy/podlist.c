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
#include "nodeproxy/lib/base/hash.h"
#include "nodeproxy/lib/ipc/pods.h"

#define NAME  "pods"
#define MAGIC 0x314c504eu	/* "NPL1" */

struct place {
	uint64_t check;			/* of the pod; 0: none */
	struct pod_told pod;
};

struct podlist_image {
	uint32_t magic, places;
	struct place at[];		/* PODS_MAX */
};

#define IMAGE_BYTES (sizeof(struct podlist_image) + PODS_MAX * sizeof(struct place))
#define UNKNOWN	    2u		/* check of a place that could not be written: of no pod, as these are odd */

static uint64_t check_of(const struct pod_told *p)
{
	return hash_stable(slice_of(p, sizeof *p)) | 1;
}

static int open_dir(const char *run_dir, struct fd *ret)
{
	ret->v = open(run_dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	return ret->v < 0 ? -errno : 0;
}

static int read_all(int fd, void *to, size_t n)
{
	uint8_t *p = to;

	while (n) {
		ssize_t k = read(fd, p, n);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return k < 0 ? -errno : -EBADMSG;
		p += k;
		n -= (size_t)k;
	}
	return 0;
}

static int write_all(int fd, const void *from, size_t n, off_t at)
{
	const uint8_t *p = from;

	while (n) {
		ssize_t k = pwrite(fd, p, n, at);

		if (k < 0 && errno == EINTR)
			continue;
		if (k <= 0)
			return k < 0 ? -errno : -EIO;
		p += k;
		at += k;
		n -= (size_t)k;
	}
	return 0;
}

/* What is there, if nobody but root could have written it. */
static int open_old(struct fd dir, int flags, struct podlist_image *image, struct fd *ret)
{
	struct fd f = { openat(dir.v, NAME, flags | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK) };
	struct stat st;
	int r = 0;

	if (f.v < 0 || fstat(f.v, &st) < 0)
		r = -errno;
	else if (!S_ISREG(st.st_mode) || st.st_uid != 0 || st.st_mode & (S_IWGRP | S_IWOTH))
		r = -EPERM;
	else if (st.st_size != (off_t)IMAGE_BYTES)
		r = -EBADMSG;
	if (r == 0)
		r = read_all(f.v, image, IMAGE_BYTES);
	if (r == 0 && (image->magic != MAGIC || image->places != PODS_MAX))
		r = -EBADMSG;
	if (r < 0)
		fd_close(&f);
	else
		*ret = f;
	return r;
}

static int make_new(struct fd dir, struct fd *ret)
{
	const struct podlist_image head = { .magic = MAGIC, .places = PODS_MAX };
	struct fd f;
	int r = 0;

	if (unlinkat(dir.v, NAME, 0) < 0 && errno != ENOENT)
		return -errno;
	f.v = openat(dir.v, NAME, O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
	if (f.v < 0)
		return -errno;
	if (ftruncate(f.v, IMAGE_BYTES) < 0)
		r = -errno;
	if (r == 0)
		r = write_all(f.v, &head, sizeof head, 0);
	if (r < 0)
		fd_close(&f);
	else
		*ret = f;
	return r;
}

/* Of one that is not whole nothing is known. */
static uint64_t check_whole(const struct place *place)
{
	return place->check == check_of(&place->pod) ? place->check : 0;
}

static int open_list(struct podlist *l, const char *run_dir)
{
	struct podlist_image *image;
	struct fd dir = FD_NONE;
	int r = files_make_dirs(run_dir, 0755);

	if (r == 0)
		r = open_dir(run_dir, &dir);
	if (r < 0)
		return r;
	image = malloc(IMAGE_BYTES);
	r = image ? open_old(dir, O_RDWR, image, &l->file) : -ENOMEM;
	for (unsigned i = 0; i < PODS_MAX; i++)
		l->check[i] = r == 0 ? check_whole(&image->at[i]) : 0;
	if (r < 0 && r != -ENOMEM)
		r = make_new(dir, &l->file);
	free(image);
	fd_close(&dir);
	l->is_open = l->anew = r == 0;
	return r;
}

/* Somebody removed it. */
static bool is_lost(const struct podlist *l)
{
	struct stat st;

	return fstat(l->file.v, &st) < 0 || st.st_nlink == 0;
}

int podlist_put(struct podlist *l, unsigned slot, const struct pod_told *pod)
{
	struct place place = { .check = pod ? check_of(pod) : 0 };
	size_t n = pod ? sizeof place : sizeof place.check;
	int r;

	if (place.check == l->check[slot])
		return 0;
	if (pod)	/* byte by byte: an assignment may leave out what is between members */
		memcpy(&place.pod, pod, sizeof place.pod);
	r = write_all(l->file.v, &place, n, (off_t)(sizeof(struct podlist_image) + slot * sizeof place));
	l->check[slot] = r < 0 ? UNKNOWN : place.check;
	return r;
}

int podlist_begin(struct podlist *l, const char *run_dir)
{
	if (l->is_open && is_lost(l)) {
		fd_close(&l->file);
		l->is_open = false;
	}
	return l->is_open ? 0 : open_list(l, run_dir);
}

void podlist_close(struct podlist *l)
{
	if (l->is_open)
		fd_close(&l->file);
	*l = (struct podlist){ .is_open = false };
}

/* Those that are whole. */
static int page_of(const struct podlist_image *image, struct slice *ret)
{
	struct pods_page *page = calloc(1, PODS_PAGE_BYTES(PODS_MAX));

	if (!page)
		return -ENOMEM;
	page->magic = PODS_MAGIC;
	for (unsigned i = 0; i < PODS_MAX; i++)
		if (check_whole(&image->at[i]))
			memcpy(&page->pod[page->n++], &image->at[i].pod, sizeof page->pod[0]);
	*ret = slice_of(page, PODS_PAGE_BYTES(page->n));
	if (pods_page(*ret))
		return 0;
	free(page);
	return -EBADMSG;
}

int podlist_read(const char *run_dir, struct slice *ret)
{
	struct podlist_image *image = malloc(IMAGE_BYTES);
	struct fd dir = FD_NONE, f;
	int r = image ? open_dir(run_dir, &dir) : -ENOMEM;

	if (r == 0) {
		r = open_old(dir, O_RDONLY, image, &f);
		fd_close(&dir);
	}
	if (r == 0) {
		fd_close(&f);
		r = page_of(image, ret);
	}
	free(image);
	return r;
}
