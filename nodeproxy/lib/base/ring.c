/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See ring.h. */
#include "nodeproxy/lib/base/ring.h"

#include <errno.h>
#include <sys/mman.h>

#define WORD 4u

void ring_format(struct ring_shared *sh, uint32_t bytes)
{
	must(bytes >= 4096 && (bytes & (bytes - 1)) == 0);
	memset(sh, 0, sizeof *sh);	/* the header: data is what head and tail say */
	sh->bytes = bytes;
	sh->magic = RING_MAGIC;
}

static int open_end(struct ring *r, struct ring_shared *sh, size_t map_bytes)
{
	uint32_t n = sh->bytes;

	if (sh->magic != RING_MAGIC || n < 4096 || n & (n - 1) || RING_BYTES((size_t)n) > map_bytes)
		return -EBADMSG;
	*r = (struct ring){ .sh = sh, .bytes = n };
	return 0;
}

bool ring_mend(struct ring_shared *sh, uint32_t bytes)
{
	if (sh->magic == RING_MAGIC && sh->bytes == bytes)
		return false;
	ring_format(sh, bytes);
	return true;
}

int ring_open_writer(struct ring *r, struct ring_shared *sh, size_t map_bytes)
{
	int e = open_end(r, sh, map_bytes);

	if (e < 0)
		return e;
	r->cursor = __atomic_load_n(&sh->head, __ATOMIC_RELAXED) & ~(uint64_t)(WORD - 1);
	r->seen_tail = __atomic_load_n(&sh->tail, __ATOMIC_ACQUIRE);
	return 0;
}

int ring_open_reader(struct ring *r, struct ring_shared *sh, size_t map_bytes)
{
	int e = open_end(r, sh, map_bytes);

	if (e < 0)
		return e;
	r->cursor = __atomic_load_n(&sh->tail, __ATOMIC_RELAXED) & ~(uint64_t)(WORD - 1);
	return 0;
}

static uint64_t free_bytes(struct ring *r)
{
	uint64_t used = r->cursor - r->seen_tail;

	return used > r->bytes ? 0 : r->bytes - used;
}

uint8_t *ring_reserve(struct ring *r, size_t max)
{
	/* A record never wraps: what is left at the end is padded, so ask for both. */
	size_t need = WORD + ((max + WORD - 1) & ~(size_t)(WORD - 1));
	size_t at = r->cursor & (r->bytes - 1);
	size_t pad = r->bytes - at < need ? r->bytes - at : 0;

	if (max > RING_RECORD_MAX)
		return NULL;
	if (unlikely(free_bytes(r) < need + pad)) {
		r->seen_tail = __atomic_load_n(&r->sh->tail, __ATOMIC_ACQUIRE);
		if (free_bytes(r) < need + pad) {
			__atomic_store_n(&r->sh->dropped, r->sh->dropped + 1, __ATOMIC_RELAXED);
			return NULL;
		}
	}
	if (pad) {
		uint32_t word = (uint32_t)(pad - WORD) << 8 | RING_PAD;

		memcpy(r->sh->data + at, &word, WORD);
		r->cursor += pad;
		at = 0;
	}
	return r->sh->data + at + WORD;
}

void ring_commit(struct ring *r, enum ring_kind kind, size_t n)
{
	uint32_t word = (uint32_t)n << 8 | (uint32_t)kind;

	memcpy(r->sh->data + (r->cursor & (r->bytes - 1)), &word, WORD);
	r->cursor += WORD + ((n + WORD - 1) & ~(size_t)(WORD - 1));
	__atomic_store_n(&r->sh->head, r->cursor, __ATOMIC_RELEASE);
}

void ring_rest(struct ring *r)
{
	uintptr_t from = ((uintptr_t)r->sh->data + 4095) & ~(uintptr_t)4095;
	uintptr_t to = ((uintptr_t)r->sh->data + r->bytes) & ~(uintptr_t)4095;

	if (r->cursor != r->rests_at) {
		r->rests_at = r->cursor;
		return;
	}
	/* All of the ring is ours to write now; what a reader says that lies loses only its own records. */
	if (r->cursor == r->rested_at || from >= to ||
	    __atomic_load_n(&r->sh->tail, __ATOMIC_ACQUIRE) != r->cursor)
		return;
	madvise((void *)from, to - from, MADV_REMOVE);
	r->rested_at = r->cursor;
}

bool ring_take(struct ring *r, enum ring_kind *kind, uint8_t out[RING_RECORD_MAX], size_t *n)
{
	uint64_t head = __atomic_load_n(&r->sh->head, __ATOMIC_ACQUIRE);

	for (;;) {
		size_t at = r->cursor & (r->bytes - 1), len;
		uint64_t there = head - r->cursor;
		uint32_t word;

		if (there == 0)
			return false;
		if (there > r->bytes || there < WORD || (head | r->cursor) & (WORD - 1))
			goto nonsense;
		memcpy(&word, r->sh->data + at, WORD);
		len = word >> 8;
		/* WORD + len may not reach past the end of the data, nor past head. */
		if (len > r->bytes - at - WORD || ((len + WORD - 1) & ~(size_t)(WORD - 1)) > there - WORD)
			goto nonsense;
		if ((word & 0xff) == RING_PAD) {
			/* It fills what is left at the end.  Anything shorter would make a megabyte
			 * of empty records a way to keep the reader busy. */
			if (len != r->bytes - at - WORD)
				goto nonsense;
			r->cursor += WORD + ((len + WORD - 1) & ~(size_t)(WORD - 1));
			continue;
		}
		if ((word & 0xff) > RING_EVENT || len > RING_RECORD_MAX)
			goto nonsense;
		memcpy(out, r->sh->data + at + WORD, len);
		*kind = (enum ring_kind)(word & 0xff);
		*n = len;
		r->cursor += WORD + ((len + WORD - 1) & ~(size_t)(WORD - 1));
		__atomic_store_n(&r->sh->tail, r->cursor, __ATOMIC_RELEASE);
		return true;
nonsense:
		r->nonsense++;
		r->cursor = head & ~(uint64_t)(WORD - 1);
		__atomic_store_n(&r->sh->tail, r->cursor, __ATOMIC_RELEASE);
		return false;
	}
}

uint64_t ring_dropped(const struct ring *r)
{
	return __atomic_load_n(&r->sh->dropped, __ATOMIC_RELAXED);
}
