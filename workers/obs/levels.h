/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Levels of endpoints: those of a better priority, and in a priority those of the host's own zone
 * when that is preferred, before the others; and how much each level gets as the health of those
 * before it fails.  Integer arithmetic as in Envoy's load_balancer_impl.cc:
 *
 *   health = min(100, overprovision * healthy / total)
 *   load   = min(what is left, health * 100 / min(100, sum of all health)), best level first; what
 *            rounding leaves goes to the first that has any health
 *
 * so with 140 % a level keeps everything until fewer than 72 % of it are healthy.  A level in which
 * fewer than panic_percent are healthy, when all levels together have less than 100 of health, panics:
 * its trouble is a common one, so health counts for nothing in it.  When all levels panic, each gets
 * by how many it has.
 *
 * Pure functions of numbers, shared by the balancer and by those who explain it. */
#ifndef NODEPROXY_WORKERS_OBS_LEVELS_H
#define NODEPROXY_WORKERS_OBS_LEVELS_H

#include "nodeproxy/lib/base/balancing.h"
#include "nodeproxy/lib/base/ejection.h"
#include "nodeproxy/lib/base/must.h"

struct level {
	uint32_t total;		/* all that do not terminate, ready or not */
	uint32_t ready;
	uint32_t out;		/* of the ready ones, ejected or unhealthy, also those that are too many to be
				 * passed over */
	uint8_t load;		/* set by levels_share(): percent of the requests */
	bool panics;		/* set by it: nobody is passed over */
};

/* How many of so many ready ones may be passed over: one of two or more always, all never. */
uint32_t levels_may_be_out(uint32_t ready, const struct ejection *);

/* What each level gets; the sum is 100, unless none has a ready one. */
void levels_share(struct level *, unsigned n, const struct ejection *, const struct balancing *);

#endif
