/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Text that grows: the body of an answer, and the JSON in it.
 *
 * A struct text holds heap memory up to its ceiling; what does not fit, or finds no memory, marks it
 * as cut and later calls do nothing (one check at the end, as with strbuf).  The js_ calls write
 * JSON directly: no tree is built for lists that may have a hundred thousand entries.  Commas are
 * theirs; key NULL inside a list.  Whoever calls balances js_open and js_close. */
#ifndef ADMIN_TEXT_H
#define ADMIN_TEXT_H

#include <jansson.h>

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

struct text {
	char *p;
	size_t n, room;
	size_t max;	/* bytes at most */
	bool cut;
	bool comma;	/* JSON: something stands before the next value */
};

static inline struct text text_of(size_t max)
{
	return (struct text){ .max = max };
}

void text_fini(struct text *);
void text_add(struct text *, struct slice);
void text_adds(struct text *, const char *);
void text_addc(struct text *, char);
void text_u64(struct text *, uint64_t);
void text_printf(struct text *, const char *fmt, ...) printf_like(2, 3);

static inline struct slice text_slice(const struct text *t)
{
	return slice_of(t->p, t->n);
}

/* what is '{' or '[', and '}' or ']' to close. */
void js_open(struct text *, const char *key, char what);
void js_close(struct text *, char what);
void js_slice(struct text *, const char *key, struct slice);
void js_str(struct text *, const char *key, const char *);	/* NULL: null */
/* At most INT64_MAX: readers of JSON (jansson, too) refuse more, and a worker that scribbles over the
 * board must not make answers unreadable. */
void js_u64(struct text *, const char *key, uint64_t);
void js_i64(struct text *, const char *key, int64_t);
void js_bool(struct text *, const char *key, bool);
void js_null(struct text *, const char *key);
void js_node(struct text *, const char *key, const json_t *);	/* NULL: null */

#endif
