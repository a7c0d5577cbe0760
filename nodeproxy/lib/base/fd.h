/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* An owned descriptor: whoever holds a struct fd closes it or gives it away. */
#ifndef NODEPROXY_LIB_BASE_FD_H
#define NODEPROXY_LIB_BASE_FD_H

#include <unistd.h>

#include "nodeproxy/lib/base/must.h"

struct fd {
	int v;	/* -1: none */
};

#define FD_NONE ((struct fd){ -1 })

static inline bool fd_is_open(struct fd f)
{
	return f.v >= 0;
}

/* Moves: the source becomes -1. */
static inline struct fd fd_take(struct fd *f)
{
	struct fd r = *f;

	f->v = -1;
	return r;
}

/* Closing twice is harmless; errors of close(2) mean nothing to anybody here. */
static inline void fd_close(struct fd *f)
{
	if (f->v >= 0)
		close(f->v);
	f->v = -1;
}

#endif
