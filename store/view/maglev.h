/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The table of the Maglev balancer (Eisenbud et al., NSDI 2016; by weight as Envoy's maglev_lb.cc has
 * it), made when a unit is compiled: every host makes the same of the same endpoints.
 *
 * Each endpoint has an order of its own over all slots, from a hash of its address and port.  In
 * rounds, each takes the next slot of its order that is free; one of weight w takes part in w of the
 * largest weight's rounds, in the first in any case, so with a slot for each all have one.  When an
 * endpoint comes or goes, few slots of the others change. */
#ifndef NODEPROXY_STORE_VIEW_MAGLEV_H
#define NODEPROXY_STORE_VIEW_MAGLEV_H

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/net/addr.h"

#define MAGLEV_SIZE_MIN 251u
#define MAGLEV_SIZE_MAX 65537u	/* 128 KiB; the largest prime whose table Envoy has by default */
#define MAGLEV_HOSTS	65535u	/* positions are 16 bits; further endpoints get nothing */

struct maglev_host {
	struct addr addr;
	uint32_t weight;
	/* maglev_fill()'s own */
	uint32_t next;		/* step of its order */
	uint64_t hash, target;
};

/* table[size], size prime: positions of hosts.  n >= 1. */
void maglev_fill(struct maglev_host *, uint32_t n, uint16_t *table, uint32_t size);

#endif
