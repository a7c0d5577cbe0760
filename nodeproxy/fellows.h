/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Lines between workers that are at home with the same pods, by which the fuller one passes connections on
 * (workers/fellows.h).  The master makes them and keeps no end; a new master makes others, and the workers
 * close those before. */
#ifndef NODEPROXY_FELLOWS_H
#define NODEPROXY_FELLOWS_H

#include <stdint.h>

#include "workers/obs/board.h"

struct master;
struct pod;

struct fellows {
	struct {
		uint32_t low, high;	/* generations of the two that have a line; 0: none */
	} line[BOARD_WORKERS][BOARD_WORKERS];	/* of the lower slot, and the higher one */
};

/* The other one of those that are at home with it; NO_FELLOW. */
uint32_t fellow_of(const struct pod *, unsigned slot);
/* The two that are get a line if they have none; before they hear of the pod. */
void fellows_connect(struct master *, const struct pod *);
/* Those of the slots in `has` that had heard another name. */
void fellows_tell(struct master *, const struct pod *, uint64_t has);
/* Lines did not arrive at this slot. */
void fellows_again(struct master *, unsigned slot);

#endif
