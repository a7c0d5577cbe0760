/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Memory of one exchange: parsing, matching and header work allocate only here, and the end of the
 * exchange is one reset.  An arena starts without memory, takes fixed blocks from a pool (a slab of
 * ARENA_BLOCK bytes) and has a ceiling: past it arena_take() says NULL, which is an answer
 * (REASON_TOO_LARGE), never a crash. */
#ifndef NODEPROXY_LIB_BASE_ARENA_H
#define NODEPROXY_LIB_BASE_ARENA_H

#include "nodeproxy/lib/base/slab.h"
#include "nodeproxy/lib/base/slice.h"

#define ARENA_BLOCK 4096

struct arena_block {
	struct arena_block *older;
	uint8_t bytes[ARENA_BLOCK - sizeof(void *)];
};

struct arena {
	struct slab *pool;		/* of struct arena_block; borrowed */
	struct arena_block *newest;	/* NULL: none yet */
	size_t used;			/* in newest */
	uint32_t blocks, max_blocks;
};

static inline void arena_init(struct arena *a, struct slab *pool, uint32_t max_blocks)
{
	*a = (struct arena){ .pool = pool, .max_blocks = max_blocks };
}

/* n bytes, aligned to 8, not zeroed; NULL when n is larger than a block or the ceiling is reached. */
void *arena_take(struct arena *, size_t n);
/* A copy; false when it does not fit. */
must_use bool arena_copy(struct arena *, struct slice from, struct slice *ret);
/* Gives all but the first block back and starts again. */
void arena_reset(struct arena *);
/* Gives everything back. */
void arena_fini(struct arena *);

#endif
