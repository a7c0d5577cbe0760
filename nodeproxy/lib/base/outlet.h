/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Writing to somebody else's descriptor without ever waiting for who reads it: standard error, an
 * access log on a pipe.
 *
 * O_NONBLOCK belongs to the open file, which a shell, a supervisor and our other processes share:
 * setting it would change it for them.  So:
 *
 *   FILE    regular files: written as they are; the page cache takes it
 *   SOCKET  MSG_DONTWAIT asks for one call only
 *   OWN     pipes and terminals opened anew (through /proc, which gives another open file of the
 *           same pipe), or given to us as such: O_NONBLOCK is ours alone
 *   SHARED  where that failed: poll(2) first, and at most PIPE_BUF.  Two writers that both saw the
 *           last free page would leave one waiting, hence only then */
#ifndef NODEPROXY_LIB_BASE_OUTLET_H
#define NODEPROXY_LIB_BASE_OUTLET_H

#include <sys/types.h>

#include "nodeproxy/lib/base/fd.h"

enum outlet_kind { OUTLET_FILE, OUTLET_SOCKET, OUTLET_OWN, OUTLET_SHARED };

struct outlet {
	int fd;			/* borrowed */
	enum outlet_kind kind;
};

/* What fd is, as it stands. */
struct outlet outlet_of(int fd);
/* The same file, opened so that it need not be SHARED where that is possible; else a copy.  Before
 * a role is entered: it opens a file. */
struct fd outlet_again(int fd);
/* How much was taken, or -errno; -EAGAIN: not now.  Async-signal-safe. */
ssize_t outlet_write(const struct outlet *, const void *, size_t n);

#endif
