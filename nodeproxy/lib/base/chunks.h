/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Buffers: chains of chunks charged to a budget.
 *
 * Bytes are kept in chunks only while they wait (a head not complete, output the other side does
 * not take); a quiet connection holds none.  Chunks come in two sizes from a pool reserved at
 * start: small ones for queues, large ones where a head must lie in one piece.  Each chunk is
 * charged to the budget of the tenant whose bytes it holds, and every budget to its parent; over
 * the limit nothing is given (-ENOBUFS) and the caller stops reading: back-pressure, not a crash.
 * A pool gives memory beyond its cache back to the kernel. */
#ifndef NODEPROXY_LIB_BASE_CHUNKS_H
#define NODEPROXY_LIB_BASE_CHUNKS_H

#include <sys/uio.h>

#include "nodeproxy/lib/base/list.h"
#include "nodeproxy/lib/base/slab.h"
#include "nodeproxy/lib/base/slice.h"

#define CHUNK_SMALL_BYTES 4096u		/* with its header */
#define CHUNK_LARGE_BYTES 69632u	/* 64 KiB + a page: a head of 64 KiB fits */

/* Who pays.  used never exceeds limit (0: no limit); parent may be NULL. */
struct budget {
	struct budget *parent;
	size_t used, limit, peak;
	uint64_t refusals;
};

must_use int budget_charge(struct budget *, size_t bytes);	/* 0 or -ENOBUFS */
void budget_return(struct budget *, size_t bytes);
/* How much could be charged now. */
static inline size_t budget_room(const struct budget *b)
{
	size_t room = SIZE_MAX;

	for (; b; b = b->parent)
		if (b->limit)
			room = min_of(room, b->limit - min_of(b->used, b->limit));
	return room;
}

struct chunk {
	struct node node;
	struct budget *budget;
	uint32_t at, end;	/* bytes [at, end) of data wait */
	uint32_t room;
	uint32_t large;
	uint8_t data[];
};

#define CHUNK_SMALL_ROOM (CHUNK_SMALL_BYTES - sizeof(struct chunk))

/* Free large slots kept warm; the memory of any further one goes back to the kernel.  Whoever takes
 * and gives, takes what was given last, so the kernel is asked only when many are given in a row. */
#define CHUNKS_WARM 16u

struct chunk_pool {
	struct slab small, large;
	/* Free large slots that still have their memory, oldest first from warm_at on: those that
	 * will be taken next. */
	struct chunk *warm[CHUNKS_WARM];
	uint32_t warm_at, warm_n;
};

must_use int chunk_pool_init(struct chunk_pool *, uint32_t small, uint32_t large);
void chunk_pool_fini(struct chunk_pool *);

/* An empty chunk; NULL when the budget or the pool says no. */
struct chunk *chunk_take(struct chunk_pool *, struct budget *, bool large);
void chunk_give(struct chunk_pool *, struct chunk **);
/* From now on another budget pays: 0 or -ENOBUFS. */
must_use int chunk_charge_to(struct chunk *, struct budget *);

/* A queue of waiting bytes, first in first out. */
struct chunkq {
	struct node chunks;
	size_t bytes;
};

static inline void chunkq_init(struct chunkq *q)
{
	list_init(&q->chunks);
	q->bytes = 0;
}

/* Copies the bytes in; all or nothing: 0 or -ENOBUFS. */
must_use int chunkq_add(struct chunkq *, struct chunk_pool *, struct budget *, struct slice);
/* Fills at most max iovecs with the oldest bytes; returns how many. */
int chunkq_iov(const struct chunkq *, struct iovec *, int max);
/* Drops the n oldest bytes (n <= bytes). */
void chunkq_consume(struct chunkq *, struct chunk_pool *, size_t n);
void chunkq_clear(struct chunkq *, struct chunk_pool *);

#endif
