/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The verification of one view file, resumable anywhere: a single Service with 100,000 endpoints
 * must not hold a worker up either.  Whatever bytes come, it ends, reads nothing outside, and after
 * "good" every accessor stays inside the file (they check once more all the same). */
#ifndef NODEPROXY_STORE_VIEW_CHECK_H
#define NODEPROXY_STORE_VIEW_CHECK_H

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

struct check {
	int result; /* 0: under way, 1: good, -EBADMSG: bad, for good */
	uint8_t phase;
	uint8_t part;  /* inside a unit */
	uint32_t dir;  /* units done */
	uint32_t item; /* of the part, or slot of an index */
	uint32_t last_id;
	uint32_t empty; /* slots of the index seen empty */
	uint32_t services, namespaces;
	const char *problem;   /* what is wrong, "" when nothing is */
	uint32_t problem_unit; /* id, 0: in the file as a whole */
};

static inline void check_init(struct check *c)
{
	*c = (struct check){ .problem = "" };
}

/* Checks the next items, at most n of them; returns c->result. */
int check_items(struct check *, struct slice file, uint32_t n);

#endif
