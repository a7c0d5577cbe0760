/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See slots.h. */
#include "store/sync/slots.h"

#include <errno.h>
#include <stdlib.h>

int slots_init(struct slots *s, uint32_t max, uint32_t *gen)
{
	must(max > 1);
	*s = (struct slots){ .max = max, .next = 1, .gen = gen };
	s->used = calloc((max + 63) / 64, sizeof *s->used);
	if (s->used == NULL)
		return -ENOMEM;
	s->used[0] = 1;		/* slot 0 is nobody's */
	return 0;
}

void slots_fini(struct slots *s)
{
	free(s->used);
	s->used = NULL;
}

static void mark(struct slots *s, uint32_t slot)
{
	s->used[slot / 64] |= 1ull << slot % 64;
	s->taken++;
}

struct slot_gen slots_take(struct slots *s)
{
	uint32_t at = s->next;

	if (s->taken == s->max - 1) {
		s->exhausted++;
		return (struct slot_gen){ 0, 0 };
	}
	/* Onwards from the last one taken, so that a freed slot rests as long as possible. */
	while (s->used[at / 64] & 1ull << at % 64) {
		if (at % 64 == 0 && s->used[at / 64] == UINT64_MAX)
			at += 64;
		else
			at++;
		if (at >= s->max)
			at = 1;
	}
	mark(s, at);
	s->next = at + 1 < s->max ? at + 1 : 1;
	if (++*s->gen == 0)
		*s->gen = 1;
	return (struct slot_gen){ at, *s->gen };
}

bool slots_take_same(struct slots *s, struct slot_gen g)
{
	if (g.slot == 0 || g.gen == 0 || g.slot >= s->max || s->used[g.slot / 64] & 1ull << g.slot % 64)
		return false;
	mark(s, g.slot);
	if (g.gen > *s->gen)
		*s->gen = g.gen;
	return true;
}

void slots_give(struct slots *s, struct slot_gen g)
{
	if (g.slot == 0)
		return;
	must(g.slot < s->max && s->used[g.slot / 64] & 1ull << g.slot % 64);
	s->used[g.slot / 64] &= ~(1ull << g.slot % 64);
	s->taken--;
}
