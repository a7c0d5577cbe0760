/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A leg: one stream of the data path, its ready bits and the bytes that wait at it.
 *
 * The poll set sets ready bits, and only reading or writing clears them: READY_IN on EAGAIN or a
 * short read (not once READY_END was seen, or the end would be missed), READY_OUT on EAGAIN.  want
 * says which bits the owner waits for; other bits wake nobody.  A quiet leg holds no buffer.
 *
 * in    bytes read but not yet understood: a head that is not complete, the next request
 * out   bytes that the stream did not take yet: whoever fills it stops reading (back-pressure) */
#ifndef WORKERS_POOL_LEG_H
#define WORKERS_POOL_LEG_H

#include "nodeproxy/lib/base/chunks.h"
#include "nodeproxy/lib/base/poll.h"
#include "nodeproxy/lib/net/stream.h"

struct leg {
	struct stream s;
	uint8_t ready, want;	/* READY_ bits */
	bool eof;		/* the other side's last byte was read */
	bool finished;		/* our end was sent */
	struct chunk *in;
	struct chunkq out;
	uint64_t sent;		/* bytes the stream took, ever */
};

/* Where the chunks of a leg come from and who pays. */
struct purse {
	struct chunk_pool *pool;
	struct budget *budget;
};

static inline void leg_init(struct leg *l)
{
	chunkq_init(&l->out);
}

/* Waiting input; empty when there is none. */
static inline struct slice leg_waiting(const struct leg *l)
{
	return l->in ? slice_of(l->in->data + l->in->at, l->in->end - l->in->at)
		     : (struct slice){ NULL, 0 };
}

/* Reads into buf: bytes; 0: eof; -EAGAIN: nothing now; else -errno. */
must_use ssize_t leg_read(struct leg *, uint8_t *buf, size_t room);
/* Reads more behind what waits, growing it up to max bytes in all: as leg_read; -ENOBUFS: no memory;
 * -EMSGSIZE: max is reached. */
must_use ssize_t leg_read_more(struct leg *, struct purse, size_t max);
/* Keeps bytes (not of l->in) as waiting input; nothing may wait yet.  0 or -ENOBUFS. */
must_use int leg_keep(struct leg *, struct purse, struct slice);
/* The first n waiting bytes are understood. */
void leg_used(struct leg *, struct purse, size_t n);

/* Writes, in order behind what waits; what the stream does not take waits in out.  0, -ENOBUFS
 * (part of it is lost: end the leg), or -errno of the stream. */
must_use int leg_send(struct leg *, struct purse, struct iovec *, int n);
/* Writes what waits: 1: nothing waits any more; 0: the stream is full; -errno. */
must_use int leg_flush(struct leg *, struct purse);

/* No more bytes from us, when all before were written: 1: said; 0: the stream is full, READY_OUT is
 * wanted; -errno. */
must_use int leg_finish(struct leg *);
/* A read that gave less than there was room for is not all: READY_END and READY_ERR tell of what the
 * stream below has still to say, the stream itself of what it has. */
static inline bool leg_has_more(const struct leg *l)
{
	return l->ready & (READY_END | READY_ERR) ||
	       unlikely(l->s.ops->more && l->s.ops->more((struct stream *)(uintptr_t)&l->s));
}

/* Closes the stream and gives all chunks back. */
void leg_close(struct leg *, struct purse, bool abort);

#endif
