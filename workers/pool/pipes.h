/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Pipes for splice: a small pool; a relay holds one only while bytes are inside.  None to be had
 * (too many in use, the kernel says no): the caller copies. */
#ifndef WORKERS_POOL_PIPES_H
#define WORKERS_POOL_PIPES_H

#include "nodeproxy/lib/base/fd.h"

#define PIPES_MAX   256		/* in all, per worker */
#define PIPES_SPARE 16		/* kept for the next user */
#define PIPE_BYTES  (256u * 1024)

struct pipe {
	struct fd in, out;	/* written to, read from */
	size_t held;		/* bytes inside */
	uint32_t room;		/* what the kernel made of PIPE_BYTES */
	uint32_t *user;		/* how many its user holds */
	bool used;
};

struct pipes {
	struct pipe pipe[PIPES_MAX];
	uint16_t spare[PIPES_SPARE];
	unsigned n_spare, open, max;
	bool off;		/* never again: the kernel refuses pipes of a useful size */
};

/* max: pipes open at once, at most PIPES_MAX; 0: none, everything is copied. */
void pipes_init(struct pipes *, unsigned max);
void pipes_fini(struct pipes *);
/* Another max; those that are open beyond it go as they are given back. */
void pipes_limit(struct pipes *, unsigned max);
/* user counts what one user holds: it gets another only while it holds fewer than are free, so that
 * however many pipes one user (with sinks that stall) holds, some are left for every other.  NULL:
 * none.  *user must live until pipe_give(). */
struct pipe *pipe_take(struct pipes *, uint32_t *user);
void pipes_trim(struct pipes *);		/* closes the spare ones */
void pipe_give(struct pipes *, struct pipe **);	/* one that holds bytes is closed */

#endif
