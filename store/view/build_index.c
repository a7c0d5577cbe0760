/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What both kinds of view file have: a head, and the indexes of names and of addresses. */
#include "store/view/build_inner.h"
#include "store/view/reader.h"

uint32_t build_slots(uint32_t n)
{
	uint32_t s = 16;

	while (s / 2 < n) /* at most half full */
		s *= 2;
	return s;
}

static bool index_put(struct index *x, uint32_t hash, uint32_t id)
{
	uint32_t mask = x->n - 1, i = hash & mask;

	for (; x->slot[i].id != 0; i = (i + 1) & mask)
		if (x->slot[i].hash == hash && x->slot[i].id == id)
			return true;
	if (x->used >= x->n / 4 * 3 - 1)
		return false;
	x->slot[i] = (struct view_slot){ hash, id };
	x->used++;
	return true;
}

bool build_index_name(const struct builder *b, struct index *x, const struct unit *u)
{
	return index_put(x,
			 index_hash_name(b->key, u->kind, slice_of(u->key, u->ns_n),
					 slice_of(u->key + u->ns_n, u->name_n)),
			 u->id);
}

bool build_index_vips(const struct builder *b, struct index *x, const struct unit *u)
{
	const struct unit_svc *s = (const struct unit_svc *)u->bytes;

	for (int i = 0; u->kind == UNIT_SERVICE && i < 2; i++)
		if (s->vip[i].family && !index_put(x, index_hash_vip(b->key, &s->vip[i]), u->id))
			return false;
	return true;
}

void build_head(const struct builder *b, struct view_head *h, enum view_layer layer)
{
	*h = (struct view_head){
		.magic = VIEW_MAGIC,
		.version = VIEW_VERSION,
		.layer = (uint16_t)layer,
		.domain_n = (uint32_t)b->domain.n,
	};
	memcpy(h->key, b->key, sizeof h->key);
	memcpy(h->domain, b->domain_bytes, sizeof h->domain);
}

