/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The retry budget of a Service, one for the whole host: retries may add at most a fifth to its
 * requests, and ten a second beside that (Linkerd's and the Gateway API's defaults: 20 %, 10 per
 * second, over 10 s).  Without it, W workers that each retry would turn a weak endpoint's trouble
 * into everybody's. */
#ifndef WORKERS_POOL_RETRY_H
#define WORKERS_POOL_RETRY_H

#include "nodeproxy/lib/base/clock.h"
#include "workers/obs/board.h"

#define RETRY_PERMILLE	 200
#define RETRY_PER_SECOND 10
#define RETRY_WINDOW_MS	 10000

/* Takes one retry from the budget of the Service in this slot; false: it is used up. */
bool retry_take(struct board *, uint32_t slot, uint32_t gen, struct mono now);

#endif
