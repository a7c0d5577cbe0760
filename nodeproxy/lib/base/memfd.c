/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See memfd.h. */
#include "nodeproxy/lib/base/memfd.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>

#ifndef F_SEAL_FUTURE_WRITE
#define F_SEAL_FUTURE_WRITE 0x0010
#endif

#define FROZEN (F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK)

int memfd_sealed(const char *name, struct slice a, struct fd *ret)
{
	struct fd f = { memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING) };
	int r;

	if (f.v < 0)
		return -errno;
	for (size_t at = 0; at < a.n;) {
		ssize_t w = write(f.v, a.p + at, a.n - at);

		if (w < 0 && errno == EINTR)
			continue;
		if (w <= 0) {
			r = w < 0 ? -errno : -ENOSPC;
			fd_close(&f);
			return r;
		}
		at += (size_t)w;
	}
	r = memfd_seal(f);
	if (r < 0) {
		fd_close(&f);
		return r;
	}
	*ret = f;
	return 0;
}

int memfd_seal(struct fd f)
{
	return fcntl(f.v, F_ADD_SEALS, FROZEN | F_SEAL_SEAL) < 0 ? -errno : 0;
}

int memfd_map_sealed(struct fd f, size_t max, struct slice *ret)
{
	struct stat st;
	int seals = fcntl(f.v, F_GET_SEALS);
	void *p;

	if (seals < 0)
		return -errno;
	if ((seals & FROZEN) != FROZEN)
		return -EPERM;
	if (fstat(f.v, &st) < 0)
		return -errno;
	if (st.st_size <= 0 || (uint64_t)st.st_size > max)
		return -EMSGSIZE;
	p = mmap(NULL, (size_t)st.st_size, PROT_READ, MAP_PRIVATE, f.v, 0);
	if (p == MAP_FAILED)
		return -errno;
	*ret = slice_of(p, (size_t)st.st_size);
	return 0;
}

void memfd_unmap(struct slice *a)
{
	if (a->p)
		munmap((void *)(uintptr_t)a->p, a->n);
	*a = (struct slice){ 0 };
}

int memfd_shared(const char *name, size_t bytes, struct fd *ret)
{
	struct fd f = { memfd_create(name, MFD_CLOEXEC | MFD_ALLOW_SEALING) };
	int r;

	if (f.v < 0)
		return -errno;
	if (ftruncate(f.v, (off_t)bytes) < 0 ||
	    fcntl(f.v, F_ADD_SEALS, F_SEAL_GROW | F_SEAL_SHRINK) < 0) {
		r = -errno;
		fd_close(&f);
		return r;
	}
	*ret = f;
	return 0;
}

int memfd_map_shared(struct fd f, size_t bytes, bool writable, void **ret)
{
	struct stat st;
	int seals = fcntl(f.v, F_GET_SEALS);
	void *p;

	if (seals < 0 || fstat(f.v, &st) < 0)
		return -errno;
	if (!(seals & F_SEAL_SHRINK))
		return -EPERM;
	if (st.st_size < 0 || (uint64_t)st.st_size < bytes)
		return -EMSGSIZE;
	p = mmap(NULL, bytes, PROT_READ | (writable ? PROT_WRITE : 0), MAP_SHARED, f.v, 0);
	if (p == MAP_FAILED)
		return -errno;
	*ret = p;
	return 0;
}

int memfd_seal_future_writes(struct fd f)
{
	return fcntl(f.v, F_ADD_SEALS, F_SEAL_FUTURE_WRITE) < 0 ? -errno : 0;
}
