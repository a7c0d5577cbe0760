/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What health checks of an endpoint have found, on the board: written by the one worker that asks it,
 * read by all.  One word: generation | seconds of the last change | checks in a row that speak against
 * the state | state.
 *
 *   state      ends with
 *   UNKNOWN    one that is good: HEALTHY; as many failed ones as the policy says: UNHEALTHY
 *   HEALTHY    so many failed ones in a row: UNHEALTHY
 *   UNHEALTHY  so many good ones in a row: HEALTHY */
#ifndef NODEPROXY_WORKERS_OBS_CHECK_H
#define NODEPROXY_WORKERS_OBS_CHECK_H

#include "nodeproxy/lib/base/balancing.h"
#include "nodeproxy/lib/base/ejection.h"
#include "workers/obs/board.h"

enum check_state { CHECK_UNKNOWN, CHECK_HEALTHY, CHECK_UNHEALTHY };

/* A check of the endpoint in this slot was good or failed; true: its state is another now. */
bool check_note(struct board *, uint32_t slot, uint32_t gen, bool good, unsigned healthy,
		unsigned unhealthy, struct mono now);
/* *ret_since_s: how long it has been so; may be NULL. */
enum check_state check_state(const struct board *, uint32_t slot, uint32_t gen, struct mono now,
			     uint32_t *ret_since_s);

static inline bool endpoint_is_unhealthy(const struct board *b, uint32_t slot, uint32_t gen)
{
	uint64_t word = slot && slot < BOARD_ENDPOINTS ? board_get(&b->check[slot]) : 0;

	return (word & 3) == CHECK_UNHEALTHY && word >> 32 == gen;
}

/* Why an endpoint is passed over where that can be afforded (obs/levels.h).  One whose health checks fail
 * is that in the first place, whatever its exchanges say. */
enum standing { STANDS_WELL, STANDS_UNHEALTHY, STANDS_EJECTED };

/* Of the endpoint in this slot, by what the policy looks at; NULL: the board knows nothing of its
 * exchanges. */
enum standing endpoint_standing(const struct board *, const struct board_endpoint *, uint32_t slot,
				uint32_t gen, const struct ejection *, const struct balancing *,
				struct mono now);

#endif
