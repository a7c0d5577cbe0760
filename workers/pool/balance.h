/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Choosing among endpoints: round robin.
 *
 * Each worker goes round on its own and starts anywhere, so that workers do not march in step.
 * Positions are kept per Service port in a small table; one that was pushed out starts anywhere
 * again, which costs evenness but never correctness. */
#ifndef WORKERS_POOL_BALANCE_H
#define WORKERS_POOL_BALANCE_H

#include "nodeproxy/lib/net/addr.h"
#include "store/view/view.h"

#define BALANCE_SLOTS 4096
#define BALANCE_TRIED 16

struct balance {
	struct {
		uint64_t key;	/* 0: unused */
		uint32_t at;
	} slot[BALANCE_SLOTS];
};

/* Endpoints that failed this exchange already. */
struct tried {
	uint8_t n;
	struct addr addr[BALANCE_TRIED];
};

/* The next ready endpoint of the port that was not tried yet; without any ready one, a serving one
 * that terminates (as Kubernetes does); false: there is none (or all were tried). */
bool balance_pick(struct balance *, const struct vport *, const struct tried *,
		  struct vendpoint *ret);

#endif
