/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Sealed memory files: how bulk data travels between our processes.
 *
 * The writer fills a memfd and seals it; the reader checks the seals before it maps, so the bytes
 * cannot change under it and cannot shrink (no SIGBUS from a hostile sibling). */
#ifndef NODEPROXY_LIB_BASE_MEMFD_H
#define NODEPROXY_LIB_BASE_MEMFD_H

#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/base/slice.h"

/* A sealed copy of the bytes; name shows in /proc.  0 or -errno. */
must_use int memfd_sealed(const char *name, struct slice bytes, struct fd *ret);
/* Seals what was made with MFD_ALLOW_SEALING and written: nothing in it changes any more.  0 or -errno. */
must_use int memfd_seal(struct fd);
/* Maps a file that somebody else wrote, read-only and private.  -EPERM: not sealed against
 * writing, growing and shrinking; -EMSGSIZE: over max or empty.  Unmap with memfd_unmap. */
must_use int memfd_map_sealed(struct fd, size_t max, struct slice *ret);
void memfd_unmap(struct slice *);

/* Shared memory of fixed size (boards, rings, panic pages): sealed against growing and shrinking,
 * writable.  0 or -errno. */
must_use int memfd_shared(const char *name, size_t bytes, struct fd *ret);
/* Maps shared memory after checking that it has at least bytes and cannot shrink. */
must_use int memfd_map_shared(struct fd, size_t bytes, bool writable, void **ret);
/* After the owner mapped it writable: whoever maps the descriptor from now on can only read. */
must_use int memfd_seal_future_writes(struct fd);

#endif
