/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A base: the job that copies units by id into a new file, a slice at a time, while commits go on.
 *
 * A unit that changes after it was copied is copied again at the end, so the old copy is dead bytes in
 * one base, and the finished base is complete. */
#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/mman.h>

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/memfd.h"
#include "store/view/build_inner.h"

#define PIECE_BYTES   (256u << 10)

void build_base_stop(struct builder *b)
{
	struct job *j = &b->job;

	for (uint32_t i = 0; j->on && i < b->n_units; i++) {
		struct unit *u = b->unit[i];

		if (u == NULL)
			continue;
		u->job_at = 0;
		u->job_n = 0;
		u->job_named = u->in_job_again = false;
	}
	fd_close(&j->fd);
	free(j->piece);
	free(j->names.slot);
	free(j->vips.slot);
	free(j->again);
	*j = (struct job){ .fd = FD_NONE };
}

int build_base_start(struct builder *b, uint32_t spare)
{
	struct job *j = &b->job;

	*j = (struct job){
		.on = true,
		.fd = { memfd_create("view-base", MFD_CLOEXEC | MFD_ALLOW_SEALING) },
		.next_id = 1,
		.at = (sizeof(struct view_head) + 7) & ~7ull,
		.names.n = build_slots(b->services + b->namespaces + spare),
		.vips.n = build_slots(2 * b->services + spare),
	};
	if (j->fd.v < 0) {
		int r = -errno;

		build_base_stop(b);
		return r;
	}
	j->piece = malloc(PIECE_BYTES);
	j->names.slot = calloc(j->names.n, sizeof(struct view_slot));
	j->vips.slot = calloc(j->vips.n, sizeof(struct view_slot));
	if (j->piece == NULL || j->names.slot == NULL || j->vips.slot == NULL) {
		build_base_stop(b);
		return -ENOMEM;
	}
	return 0;
}

static int write_at(struct fd fd, const void *p, uint64_t n, uint64_t at)
{
	while (n) {
		ssize_t w = pwrite(fd.v, p, n, (off_t)at);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0)
			return w < 0 ? -errno : -ENOSPC;
		p = (const uint8_t *)p + w;
		at += (uint64_t)w;
		n -= (uint64_t)w;
	}
	return 0;
}

static int job_flush(struct job *j)
{
	int r = write_at(j->fd, j->piece, j->staged, j->at - j->staged);

	if (r == 0)
		j->staged = 0;
	return r;
}

static int job_write(struct job *j, const void *p, uint64_t n)
{
	int r;

	if (j->staged + n > PIECE_BYTES) {
		r = job_flush(j);
		if (r < 0)
			return r;
	}
	if (n > PIECE_BYTES) {
		r = write_at(j->fd, p, n, j->at);
		if (r < 0)
			return r;
	} else if (n) {
		memcpy(j->piece + j->staged, p, n);
		j->staged += (uint32_t)n;
	}
	j->at += n;
	return 0;
}

/* 0; -EAGAIN: the indexes are too small by now; -errno. */
static int job_copy(struct builder *b, struct unit *u)
{
	struct job *j = &b->job;
	int r;

	if (u->bytes == NULL) {
		u->job_at = 0;
		return 0;
	}
	if ((!u->job_named && !build_index_name(b, &j->names, u)) || !build_index_vips(b, &j->vips, u))
		return -EAGAIN;
	u->job_named = true;
	u->job_at = j->at;
	u->job_n = u->n;
	r = job_write(j, u->bytes, u->n);
	return r;
}

/* Ids of names that nobody has and nobody refers to are free again: the new base does not know
 * them, and neither will any overlay on it. */
static void sweep_ids(struct builder *b)
{
	for (uint32_t i = 0; i < b->n_units; i++) {
		struct unit *u = b->unit[i];

		if (u == NULL || u->bytes || u->users)
			continue;
		if (!build_grow((void **)&b->free_ids, &b->room_free, b->n_free + 1, sizeof *b->free_ids))
			return;
		b->free_ids[b->n_free++] = u->id;
		b->unit[i] = NULL;
		hash_remove(&b->by_key, &u->by_key);
		build_unit_free(b, u);
	}
}

/* The new base is written and sealed: from here on it is the base. */
static void base_adopt(struct builder *b, struct slice map)
{
	for (uint32_t i = 0; i < b->n_units; i++) {
		struct unit *u = b->unit[i];

		if (u == NULL)
			continue;
		u->changed = false;
		if (u->bytes) {
			u->bytes = map.p + u->job_at;
			u->n = u->job_n;
		}
		free(u->heap);
		u->heap = NULL;
	}
	b->n_changed = 0;
	b->changed_bytes = 0;
	memfd_unmap(&b->base);
	b->base = map;
	fd_close(&b->old_base_fd);
	b->old_base_fd = fd_take(&b->base_fd);
	b->base_fd = fd_take(&b->job.fd);
	for (int i = 0; i < KEPT_OVERLAYS; i++)
		fd_close(&b->kept[i]);
}

/* Directory, indexes, head, seals.  All in one go: the state must not change in between. */
static int job_finish(struct builder *b, struct built *ret)
{
	struct job *j = &b->job;
	struct view_head h;
	struct view_dir *dir;
	struct slice map;
	uint64_t n_known = knowns_bytes(&b->knowns, KNOWN_ALL), n_gone = KNOWN_NONE_BYTES, sets;
	uint8_t *known;
	uint32_t n = 0;
	int r = 0;

	for (uint32_t i = 0; i < j->n_again && r == 0; i++)
		r = job_copy(b, unit_by_id(b, j->again[i]));
	if (r == 0)
		r = job_flush(j);
	if (r < 0)
		return r;
	dir = calloc((size_t)b->services + b->namespaces + 1, sizeof *dir);
	if (dir == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < b->n_units; i++) {
		const struct unit *u = b->unit[i];

		if (u && u->bytes && u->job_at)
			dir[n++] = (struct view_dir){ u->id, u->job_n, u->job_at };
	}
	if (never(n != b->services + b->namespaces)) {
		free(dir);
		return -EIO;
	}
	build_head(b, &h, LAYER_BASE);
	h.rev = h.base_rev = b->rev;
	h.services = b->services;
	h.namespaces = b->namespaces;
	h.dir = j->at;
	h.n_dir = n;
	h.names = h.dir + n * sizeof *dir;
	h.n_names = j->names.n;
	h.vips = h.names + (uint64_t)h.n_names * sizeof(struct view_slot);
	h.n_vips = j->vips.n;
	sets = h.vips + (uint64_t)h.n_vips * sizeof(struct view_slot);
	h.bytes = sets + n_known + n_gone;
	known = calloc(1, n_known + n_gone);
	if (known == NULL) {
		free(dir);
		return -ENOMEM;
	}
	knowns_write(&b->knowns, KNOWN_ALL, known, sets, &h.known);
	h.gone = (struct view_set){ .at = sets + n_known, .n_buckets = 1 };
	if ((r = write_at(j->fd, dir, n * sizeof *dir, h.dir)) == 0 &&
	    (r = write_at(j->fd, j->names.slot, (uint64_t)h.n_names * sizeof(struct view_slot),
			  h.names)) == 0 &&
	    (r = write_at(j->fd, j->vips.slot, (uint64_t)h.n_vips * sizeof(struct view_slot),
			  h.vips)) == 0 &&
	    (r = write_at(j->fd, known, n_known + n_gone, sets)) == 0 &&
	    (r = write_at(j->fd, &h, sizeof h, 0)) == 0 &&
	    fcntl(j->fd.v, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL) <
		    0)
		r = -errno;
	free(dir);
	free(known);
	if (r == 0)
		r = memfd_map_sealed(j->fd, VIEW_MAX_BYTES, &map);
	if (r < 0)
		return r;
	ret->fd.v = fcntl(j->fd.v, F_DUPFD_CLOEXEC, 3);
	if (ret->fd.v < 0) {
		r = -errno;
		memfd_unmap(&map);
		return r;
	}
	ret->is_base = true;
	ret->rev = ret->base_rev = b->rev;
	ret->bytes = h.bytes;
	base_adopt(b, map);
	knowns_in_base(&b->knowns);
	b->base_rev = b->rev;
	b->bases++;
	return 0;
}

int build_base_run(struct builder *b, int64_t budget_ns, struct built *ret)
{
	struct job *j = &b->job;
	int64_t start = clock_cpu_ns();
	uint32_t n = 0;
	int r = 0;

	while (r == 0 && j->next_id <= b->n_units) {
		struct unit *u = unit_by_id(b, j->next_id++);

		if (u)
			r = job_copy(b, u);
		if (++n % 16 == 0 && clock_cpu_ns() - start >= budget_ns)
			break;
	}
	if (r == 0 && j->next_id > b->n_units)
		r = job_finish(b, ret) ?: 1;
	j->cpu_ns += clock_cpu_ns() - start;
	if (r == 0)
		return 0;
	if (r > 0)
		b->last_base_us = j->cpu_ns / NS_PER_US;
	build_base_stop(b);
	if (r > 0)
		sweep_ids(b);
	return r;
}

int build_base_now(struct builder *b, struct built *ret)
{
	int r;

	for (int try = 0; try < 2; try++) {
		if (!b->job.on) {
			r = build_base_start(b, 0);
			if (r < 0)
				return r;
		}
		r = build_base_run(b, INT64_MAX / 2, ret);
		if (r != -EAGAIN) /* sized for less than there is by now: once more */
			break;
	}
	return r > 0 ? 0 : r;
}
