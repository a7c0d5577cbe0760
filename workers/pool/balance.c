/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See balance.h. */
#include "workers/pool/balance.h"

#include "nodeproxy/lib/base/rand.h"

static uint32_t *position(struct balance *b, const struct vport *port)
{
	uint64_t key = ((uint64_t)port->service.id << 16 | port->port) + 1;
	uint64_t mixed = key * 0x9e3779b97f4a7c15u;	/* Fibonacci hashing: ids are small numbers */
	size_t i = mixed >> 52;				/* 4096 = 2^12 */

	static_must(BALANCE_SLOTS == 4096);
	if (b->slot[i].key != key) {
		b->slot[i].key = key;
		b->slot[i].at = rand_u32();
	}
	return &b->slot[i].at;
}

static bool was_tried(const struct tried *t, const struct addr *a)
{
	for (unsigned i = 0; i < t->n; i++)
		if (addr_eq(&t->addr[i], a))
			return true;
	return false;
}

bool balance_pick(struct balance *b, const struct vport *port, const struct tried *tried,
		  struct vendpoint *ret)
{
	uint32_t ready = vport_ready(port), n = ready ? ready : port->endpoints;
	uint32_t *at = position(b, port);

	for (uint32_t i = 0; i < n; i++) {
		uint32_t turn = (*at)++ % n;
		struct vendpoint e;

		if (!vport_endpoint(port, ready ? vport_ready_at(port, turn) : turn, &e))
			continue;
		if (!ready && !e.serving)
			continue;
		if (was_tried(tried, &e.addr))
			continue;
		*ret = e;
		return true;
	}
	return false;
}
