/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The retry budget of a Service, one for the whole host: in any time as long as the interval, retries
 * are at most so much of the requests that ended in it, or so many where that is more (GEP-3388; its
 * defaults: 20 %, 10 per second, over 10 s).  Without it, W workers that each retry would turn a weak
 * endpoint's trouble into everybody's.
 *
 * Time is cut into buckets, a 64th of the interval each.  A retry is entered first and counted then,
 * together with all others of the interval, and taken back when they are too many: whatever the order
 * in which workers come, none of two that are one too many is overlooked.  What is not known exactly
 * errs on the side of fewer: retries count up to a bucket's time longer than the interval, requests up
 * to one less.  Requests are not entered one by one, only who retries pays: the difference since the
 * last look is, spread over the time since then. */
#ifndef WORKERS_POOL_RETRY_H
#define WORKERS_POOL_RETRY_H

#include "nodeproxy/lib/base/clock.h"
#include "workers/obs/board.h"

#define RETRY_BUCKETS 64	/* of an interval */

struct retry_budget {
	uint32_t percent;	/* of the requests */
	uint32_t interval_ms;
	uint32_t least;		/* retries in an interval, however few requests */
};

/* Takes one retry from the budget of the Service in this slot; false: it is used up. */
bool retry_take(struct board *, uint32_t slot, uint32_t gen, const struct retry_budget *, struct mono now);

#endif
