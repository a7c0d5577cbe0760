/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Bounded text building.  A strbuf writes into memory of the caller; once something does not fit,
 * it is marked as cut and later calls do nothing (a sticky error, checked once at the end). */
#ifndef NODEPROXY_LIB_BASE_STRBUF_H
#define NODEPROXY_LIB_BASE_STRBUF_H

#include <stdarg.h>

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

struct strbuf {
	char *p;
	size_t n;	/* bytes written, without the terminating NUL */
	size_t room;	/* bytes at p */
	bool cut;
};

/* room counts the NUL that always ends the text; room >= 1. */
static inline struct strbuf strbuf_on(char *p, size_t room)
{
	p[0] = 0;
	return (struct strbuf){ .p = p, .room = room };
}

void strbuf_add(struct strbuf *, struct slice);
void strbuf_addc(struct strbuf *, char);
void strbuf_adds(struct strbuf *, const char *);
void strbuf_u64(struct strbuf *, uint64_t);
void strbuf_i64(struct strbuf *, int64_t);
void strbuf_hex(struct strbuf *, uint64_t v, unsigned digits);
void strbuf_printf(struct strbuf *, const char *fmt, ...) printf_like(2, 3);
/* Bytes of strangers: at most max of them; quotes, backslashes and everything outside printable
 * ASCII as \xHH, so that a log line stays one line of text. */
void strbuf_quoted(struct strbuf *, struct slice, size_t max);
/* A JSON string with its quotes; invalid UTF-8 bytes become U+FFFD. */
void strbuf_json(struct strbuf *, struct slice);

static inline struct slice strbuf_slice(const struct strbuf *s)
{
	return slice_of(s->p, s->n);
}

/* Decimal digits of v at the end of a 20-byte buffer; returns where they start. */
char *u64_digits(uint64_t v, char buf[20]);

#endif
