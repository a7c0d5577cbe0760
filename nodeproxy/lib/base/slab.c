/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See slab.h. */
#include "nodeproxy/lib/base/slab.h"

#include <errno.h>
#include <string.h>
#include <sys/mman.h>

/* Of a free slot, in next_free: giving it back clears them. */
#define SLOT_SEEN 0x40000000u	/* free at a look */
#define SLOT_COLD 0x80000000u	/* its pages were given back, but for those that it shares */
#define SLOT_NEXT 0x3fffffffu

int slab_init(struct slab *s, const char *name, size_t size, uint32_t count)
{
	size_t aligned = (size + 15) & ~(size_t)15;
	size_t objects = (aligned * count + 4095) & ~(size_t)4095;
	size_t tables = (size_t)count * 2 * sizeof(uint32_t);
	uint8_t *p;

	must(count <= SLOT_NEXT);
	p = mmap(NULL, objects + tables, PROT_READ | PROT_WRITE,
		 MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	if (p == MAP_FAILED)
		return -errno;
	/* Huge pages would be touched whole and make idle memory a lie. */
	madvise(p, objects + tables, MADV_NOHUGEPAGE);
	*s = (struct slab){ .mem = p, .gen = (uint32_t *)(void *)(p + objects),
			    .next_free = (uint32_t *)(void *)(p + objects) + count,
			    .free_head = count, .count = count, .size = aligned,
			    .map_bytes = objects + tables, .name = name };
	return 0;
}

void slab_fini(struct slab *s)
{
	if (s->mem)
		munmap(s->mem, s->map_bytes);
	*s = (struct slab){ 0 };
}

void *slab_take(struct slab *s, struct slot_ref *ret)
{
	uint32_t slot = s->free_head;
	void *p;

	if (s->fail_after && --s->fail_after == 0)
		return NULL;
	if (slot < s->count)
		s->free_head = s->next_free[slot] & SLOT_NEXT;
	else if (s->fresh < s->count)
		slot = s->fresh++;
	else
		return NULL;
	s->gen[slot]++;
	must(s->gen[slot] & 1);
	s->live++;
	p = s->mem + (size_t)slot * s->size;
	if (!s->raw)
		memset(p, 0, s->size);
	if (ret)
		*ret = (struct slot_ref){ slot, s->gen[slot] };
	return p;
}

struct slot_ref slab_ref(const struct slab *s, const void *p)
{
	size_t at = (size_t)((const uint8_t *)p - s->mem);
	uint32_t slot = (uint32_t)(at / s->size);

	must(at % s->size == 0 && slot < s->count && s->gen[slot] & 1);
	return (struct slot_ref){ slot, s->gen[slot] };
}

void slab_give(struct slab *s, void *p)
{
	uint32_t slot = slab_ref(s, p).slot;

	s->gen[slot]++;
	if (s->gen[slot] == UINT32_MAX - 1)
		s->gen[slot] = 0;	/* generation 0 never refers to anything */
	s->live--;
	if (s->free_head == s->count) {
		s->next_free[slot] = s->count;
		s->free_head = s->free_last = slot;
	} else if (s->packs && slot > s->live) {
		s->next_free[slot] = s->count;
		s->next_free[s->free_last] = slot | (s->next_free[s->free_last] & ~SLOT_NEXT);
		s->free_last = slot;
	} else {
		s->next_free[slot] = s->free_head;
		s->free_head = slot;
	}
}

/* Slots [from, to) are free.  Those that are not cold lie in [first, last]: their pages, and those they
 * share with cold neighbours. */
static void cool(struct slab *s, uint32_t from, uint32_t to, uint32_t first, uint32_t last)
{
	uint32_t beside = (uint32_t)(4096 / s->size) + 1;
	uint32_t lo = first - from > beside ? first - beside : from;
	uint32_t hi = to - last > beside + 1 ? last + 1 + beside : to;
	uintptr_t a = ((uintptr_t)s->mem + (size_t)lo * s->size + 4095) & ~(uintptr_t)4095;
	uintptr_t b = ((uintptr_t)s->mem + (size_t)hi * s->size) & ~(uintptr_t)4095;

	if (a < b)
		madvise((void *)a, b - a, MADV_DONTNEED);
	for (uint32_t i = first; i <= last; i++)
		s->next_free[i] |= SLOT_COLD;
}

void slab_trim(struct slab *s, uint32_t *at, uint32_t looks, enum slab_trim what)
{
	uint32_t from, end, first = UINT32_MAX, last = 0;

	if (*at >= s->fresh)
		*at = 0;
	end = s->fresh - *at > looks ? *at + looks : s->fresh;
	from = *at;
	for (uint32_t i = *at; i < end; i++) {
		bool taken = s->gen[i] & 1;

		if (taken || (what == SLAB_TRIM_IDLE && !(s->next_free[i] & (SLOT_SEEN | SLOT_COLD)))) {
			if (!taken)
				s->next_free[i] |= SLOT_SEEN;
			if (first < i)
				cool(s, from, i, first, last);
			first = UINT32_MAX;
			from = i + 1;
		} else if (!(s->next_free[i] & SLOT_COLD)) {
			first = min_of(first, i);
			last = i;
		}
	}
	if (first < end)
		cool(s, from, end, first, last);
	*at = end;
}
