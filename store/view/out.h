/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A unit while it is written.  It grows in one buffer: fixed part, arrays, then the table of texts and
 * their bytes, which is why texts are numbered while the arrays are written.  Errors are sticky:
 * after the first, everything is a no-op, and the end looks once. */
#ifndef NODEPROXY_STORE_VIEW_OUT_H
#define NODEPROXY_STORE_VIEW_OUT_H

#include "store/view/compile.h"
#include "store/view/layout.h"

struct out {
	struct unit_bytes *b;
	int error;
	struct text *texts;
	uint32_t n_texts, room_texts;
	uint32_t *bucket; /* number of a text + 1; open addressing */
	uint32_t buckets; /* power of two, at least twice n_texts */
};

/* Grows *p (elements of size) to hold n; n at most 2^31 by UNIT_MAX_BYTES.  false: no memory. */
must_use bool out_grow(void **p, uint32_t *room, uint32_t n, size_t size);
void out_begin(struct out *, struct unit_bytes *);
/* n zeroed bytes, aligned; their offset. */
uint32_t out_room(struct out *, uint64_t n, uint32_t align);
/* The number of this text, the same for the same bytes, which must live until the end. */
uint32_t out_text(struct out *, struct slice);
uint32_t out_str(struct out *, const char *);
/* The bytes of a text that was numbered before. */
struct slice out_text_at(const struct out *, uint32_t);
/* The unit refers to the Service of this id. */
void out_ref(struct out *, uint32_t id);
/* Writes texts and head.  0, -ENOMEM, -E2BIG. */
must_use int out_end(struct out *, uint32_t id, enum unit_kind, struct slice ns, struct slice name);

#endif
