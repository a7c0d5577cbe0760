/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See out.h. */
#include "store/view/out.h"

#include <errno.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/hash.h"

struct text {
	struct slice s;
	uint64_t hash;
};

bool out_grow(void **p, uint32_t *room, uint32_t n, size_t size)
{
	uint32_t want = *room ? *room : 16;
	void *q;

	if (n <= *room)
		return true;
	while (want < n)
		want *= 2;
	q = realloc(*p, want * size);
	if (q == NULL)
		return false;
	*p = q;
	*room = want;
	return true;
}

uint32_t out_room(struct out *o, uint64_t n, uint32_t align)
{
	struct unit_bytes *b = o->b;
	uint32_t at = (b->n + align - 1) & ~(align - 1);

	if (o->error)
		return 0;
	if (at + n > UNIT_MAX_BYTES) {
		o->error = -E2BIG;
		return 0;
	}
	if (!out_grow((void **)&b->p, &b->room, at + (uint32_t)n, 1)) {
		o->error = -ENOMEM;
		return 0;
	}
	memset(b->p + b->n, 0, at + n - b->n);
	b->n = at + (uint32_t)n;
	return at;
}

static bool texts_rehash(struct out *o, uint32_t buckets)
{
	uint32_t *q = calloc(buckets, sizeof *q);

	if (q == NULL)
		return false;
	free(o->bucket);
	o->bucket = q;
	o->buckets = buckets;
	for (uint32_t t = 0; t < o->n_texts; t++) {
		uint32_t i = (uint32_t)o->texts[t].hash & (buckets - 1);

		while (q[i])
			i = (i + 1) & (buckets - 1);
		q[i] = t + 1;
	}
	return true;
}

uint32_t out_text(struct out *o, struct slice s)
{
	uint64_t hash = hash_slice(s);
	uint32_t i;

	if (o->error)
		return 0;
	if (o->buckets < (o->n_texts + 1) * 2 &&
	    !texts_rehash(o, o->buckets ? o->buckets * 2 : 32)) {
		o->error = -ENOMEM;
		return 0;
	}
	for (i = (uint32_t)hash & (o->buckets - 1); o->bucket[i]; i = (i + 1) & (o->buckets - 1)) {
		const struct text *t = &o->texts[o->bucket[i] - 1];

		if (t->hash == hash && slice_eq(t->s, s))
			return o->bucket[i] - 1;
	}
	if (!out_grow((void **)&o->texts, &o->room_texts, o->n_texts + 1, sizeof *o->texts)) {
		o->error = -ENOMEM;
		return 0;
	}
	o->bucket[i] = o->n_texts + 1;
	o->texts[o->n_texts] = (struct text){ s, hash };
	return o->n_texts++;
}

struct slice out_text_at(const struct out *o, uint32_t text)
{
	return text < o->n_texts ? o->texts[text].s : (struct slice){ 0 };
}

uint32_t out_str(struct out *o, const char *s)
{
	return out_text(o, slice_str(s));
}

void out_begin(struct out *o, struct unit_bytes *b)
{
	*o = (struct out){ .b = b };
	b->n = 0;
	b->n_refs = 0;
	out_text(o, (struct slice){ 0 });
}

int out_end(struct out *o, uint32_t id, enum unit_kind kind, struct slice ns,
		   struct slice name)
{
	uint32_t t_ns = out_text(o, ns), t_name = out_text(o, name);
	uint32_t table = out_room(o, (uint64_t)o->n_texts * sizeof(struct unit_text), 4);
	struct unit_head *h;

	for (uint32_t i = 0; i < o->n_texts && !o->error; i++) {
		struct slice s = o->texts[i].s;
		uint32_t at = out_room(o, s.n, 1);

		if (o->error)
			break;
		((struct unit_text *)(o->b->p + table))[i] =
			(struct unit_text){ at, (uint32_t)s.n };
		if (s.n)
			memcpy(o->b->p + at, s.p, s.n);
	}
	out_room(o, 0, 8);
	if (!o->error) {
		h = (struct unit_head *)o->b->p;
		*h = (struct unit_head){ UNIT_MAGIC, o->b->n,	 id,   kind,
					 table,	     o->n_texts, t_ns, t_name };
	}
	free(o->texts);
	free(o->bucket);
	return o->error;
}

void out_ref(struct out *o, uint32_t id)
{
	struct unit_bytes *b = o->b;

	if (o->error)
		return;
	if (!out_grow((void **)&b->refs, &b->room_refs, b->n_refs + 1, sizeof *b->refs)) {
		o->error = -ENOMEM;
		return;
	}
	b->refs[b->n_refs++] = id;
}
