/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See h2_block.h. */
#include "nodeproxy/lib/net/h2_block.h"

struct mark {
	uint32_t at, name_n, value_n;
};

static struct mark *mark_of(const struct h2_block *b, uint32_t i)
{
	return (struct mark *)(uintptr_t)((const uint8_t *)(b + 1) + b->room) - 1 - i;
}

bool h2_block_put(struct h2_block *b, struct slice name, struct slice value)
{
	size_t n = name.n + value.n + H2_LINE_EXTRA;
	uint8_t *p = (uint8_t *)(b + 1) + b->used;

	/* 2: the empty line behind the last one, written over by the next. */
	if (b->used + n + 2 + (b->lines + 1u) * sizeof(struct mark) > b->room ||
	    b->lines == UINT16_MAX)
		return false;
	*mark_of(b, b->lines++) = (struct mark){ b->used, (uint32_t)name.n, (uint32_t)value.n };
	b->used += (uint32_t)n;
	if (name.n)
		memcpy(p, name.p, name.n);
	p += name.n;
	*p++ = ':';
	*p++ = ' ';
	if (value.n)
		memcpy(p, value.p, value.n);
	memcpy(p + value.n, "\r\n\r\n", 4);
	return true;
}

void h2_block_mark(struct h2_block *b, uint32_t i, const uint8_t *p, size_t name_n, size_t value_n)
{
	*mark_of(b, i) = (struct mark){ (uint32_t)(p - (const uint8_t *)(b + 1)), (uint32_t)name_n,
					(uint32_t)value_n };
}

void h2_block_copy(struct h2_block *to, const struct h2_block *from)
{
	uint32_t room = to->room;

	*to = *from;
	to->room = room;
	if (from->lines == 0)
		return;
	memcpy(to + 1, from + 1, from->used + 2);
	memcpy(mark_of(to, from->lines - 1u), mark_of(from, from->lines - 1u),
	       from->lines * sizeof(struct mark));
}

bool h2_block_line(const struct h2_block *b, uint32_t i, struct slice *name,
		   struct slice *value)
{
	const struct mark *m;
	const uint8_t *p;

	if (i >= b->lines)
		return false;
	m = mark_of(b, i);
	p = (const uint8_t *)(b + 1) + m->at;
	*name = slice_of(p, m->name_n);
	*value = slice_of(p + m->name_n + 2, m->value_n);
	return true;
}
