/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See maglev.h. */
#include "store/view/maglev.h"

#include "nodeproxy/lib/base/hash.h"

#define FREE 0xffff

static uint64_t hash_of(const struct addr *a)
{
	uint8_t b[19];

	memcpy(b, a->ip, 16);
	b[16] = a->family;
	b[17] = (uint8_t)(a->port >> 8);
	b[18] = (uint8_t)a->port;
	return hash_stable(slice_of(b, sizeof b));
}

/* The next free slot in the order of this host; there is one. */
static uint32_t next_slot(struct maglev_host *h, const uint16_t *table, uint32_t size)
{
	uint32_t offset = (uint32_t)h->hash % size, skip = (uint32_t)(h->hash >> 32) % (size - 1) + 1;
	uint32_t slot;

	do
		slot = (uint32_t)((offset + (uint64_t)skip * h->next++) % size);
	while (table[slot] != FREE);
	return slot;
}

void maglev_fill(struct maglev_host *h, uint32_t n, uint16_t *table, uint32_t size)
{
	uint32_t most = 1, filled = 0;

	n = min_of(n, MAGLEV_HOSTS);
	must(n && size > 1);
	for (uint32_t i = 0; i < n; i++) {
		h[i].next = 0;
		h[i].target = 0;
		h[i].hash = hash_of(&h[i].addr);
		most = max_of(most, h[i].weight);
	}
	for (uint32_t i = 0; i < size; i++)
		table[i] = FREE;
	for (uint64_t round = 1; filled < size; round++)
		for (uint32_t i = 0; i < n && filled < size; i++) {
			if (round * max_of(h[i].weight, 1u) < h[i].target)
				continue;
			h[i].target += most;
			table[next_slot(&h[i], table, size)] = (uint16_t)i;
			filled++;
		}
}
