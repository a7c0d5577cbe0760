/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See check.h.  Seconds are kept modulo 2^24, 194 days. */
#include "workers/obs/check.h"

#include "workers/obs/endpoint.h"

#define SECONDS(now) ((uint32_t)((now).ns / NS_PER_S) & 0xffffff)

bool check_note(struct board *b, uint32_t slot, uint32_t gen, bool good, unsigned healthy,
		unsigned unhealthy, struct mono now)
{
	uint64_t word;
	uint32_t state, against, since;

	if (slot == 0 || slot >= BOARD_ENDPOINTS)
		return false;
	word = board_get(&b->check[slot]);
	if (word >> 32 != gen)
		word = 0;
	state = word & 3;
	against = word >> 2 & 63;
	since = (uint32_t)word >> 8;
	if (state == (good ? CHECK_HEALTHY : CHECK_UNHEALTHY)) {
		against = 0;
	} else if (++against >= (good ? (state == CHECK_UNKNOWN ? 1 : healthy) : unhealthy)) {
		state = good ? CHECK_HEALTHY : CHECK_UNHEALTHY;
		since = SECONDS(now);
		against = 0;
	}
	board_set(&b->check[slot], (uint64_t)gen << 32 | since << 8 | (against & 63) << 2 | state);
	return state != (word & 3);
}

enum check_state check_state(const struct board *b, uint32_t slot, uint32_t gen, struct mono now,
			     uint32_t *ret_since_s)
{
	uint64_t word = slot && slot < BOARD_ENDPOINTS ? board_get(&b->check[slot]) : 0;

	if (word >> 32 != gen || (word & 3) > CHECK_UNHEALTHY)
		word = 0;
	if (ret_since_s)
		*ret_since_s = (SECONDS(now) - ((uint32_t)word >> 8)) & 0xffffff;
	return (enum check_state)(word & 3);
}

enum standing endpoint_standing(const struct board *b, const struct board_endpoint *e, uint32_t slot,
				uint32_t gen, const struct ejection *ej, const struct balancing *by,
				struct mono now)
{
	if (by->checked && endpoint_is_unhealthy(b, slot, gen))
		return STANDS_UNHEALTHY;
	if (e && !endpoint_is_well(e) && endpoint_is_out(e, ej, now))
		return STANDS_EJECTED;
	return STANDS_WELL;
}
