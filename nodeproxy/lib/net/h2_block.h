/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Header blocks of HTTP/2: lists of lines as they were received, and lines to send.  No session is
 * needed to read or make one.
 *
 * The lines of a block lie behind each other in one piece, each with ": " and CRLF and an empty line
 * behind the last, as whoever passes them on to HTTP/1 needs them; marks of where they are grow
 * towards them from the other end. */
#ifndef NODEPROXY_LIB_NET_H2_BLOCK_H
#define NODEPROXY_LIB_NET_H2_BLOCK_H

#include "nodeproxy/lib/base/slice.h"

enum h2_block_kind { H2_REQUEST, H2_RESPONSE, H2_INTERIM, H2_TRAILERS };

struct h2_block {
	uint8_t kind;			/* enum h2_block_kind */
	bool is_too_large;		/* a request over the limit: its lines are not all here */
	bool is_end;			/* no body follows */
	uint16_t lines;
	uint32_t size;			/* as RFC 9113 section 6.5.2 counts it */
	uint32_t used, room;		/* bytes behind this struct: of text, and in all */
};

#define H2_LINE_EXTRA 4u		/* ": " and CRLF */

/* An empty block with bytes of memory behind it. */
static inline void h2_block_init(struct h2_block *b, enum h2_block_kind kind, size_t bytes)
{
	*b = (struct h2_block){ .kind = (uint8_t)kind, .room = (uint32_t)(bytes & ~(size_t)3) };
}

/* Adds a line; false: it does not fit. */
bool h2_block_put(struct h2_block *, struct slice name, struct slice value);
/* The i-th line is from now on the one whose name lies at p, inside the text of the block. */
void h2_block_mark(struct h2_block *, uint32_t i, const uint8_t *p, size_t name_n, size_t value_n);
/* The same lines into an empty block with more room. */
void h2_block_copy(struct h2_block *to, const struct h2_block *from);
/* The i-th line; false: it has no more. */
bool h2_block_line(const struct h2_block *, uint32_t i, struct slice *ret_name,
		   struct slice *ret_value);
/* The whole of it, CRLF included. */
static inline struct slice h2_line_whole(struct slice name, struct slice value)
{
	return slice_of(name.p, name.n + value.n + H2_LINE_EXTRA);
}

/* A line to send.  Names need not be lower-case; nothing else is changed or checked. */
struct h2_field {
	const uint8_t *name, *value;
	size_t name_n, value_n;
	uint8_t is_secret;		/* 1: never put into a compression table */
};

#endif
