/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Overload: what sched/shed.h decides, applied to the exchanges of a worker, counted and told.  The
 * target is limits.overload_delay. */
#ifndef WORKERS_PATH_OVERLOAD_H
#define WORKERS_PATH_OVERLOAD_H

#include "workers/path/exchange.h"

/* Four times a second: a look at the line, and from it what is refused until the next. */
void overload_tick(struct path *);

bool overload_draws(struct exchange *);
/* Whether a new exchange is refused.  One load and branch while nothing of its tenant is. */
static inline bool overload_refuses(struct exchange *ex)
{
	return unlikely(ex->tenant->shed.portion) && overload_draws(ex);
}

#endif
