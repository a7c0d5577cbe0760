/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Putting out endpoints that succeed less often than the others of their port (Envoy's success rate
 * outlier detection): every interval, of those that are not out and had enough requests in it, who has
 * a rate below mean - factor * standard deviation (of the population) goes out as if it had failed in
 * a row, by the same breaker and within the same share of endpoints (obs/endpoint.h, obs/levels.h).
 *
 * One worker of the host does it, whoever comes first: the time is on the board, and so is what was
 * counted by then. */
#ifndef WORKERS_POOL_OUTLIER_H
#define WORKERS_POOL_OUTLIER_H

#include "store/view/view.h"
#include "workers/obs/board.h"

/* Requests of one endpoint in one interval. */
struct tally {
	uint32_t requests, failures;
};

/* Over those that are judged. */
struct verdict {
	uint32_t n;
	double mean, variance;		/* of rates from 0 to 1 */
};

void verdict_add(struct verdict *, struct tally);	/* mean and variance as they come (Welford) */
/* Below the threshold. */
bool verdict_is_out(const struct verdict *, struct tally, uint32_t deviation_thousandths);

/* Judges the port when it is time; how many went out. */
uint32_t outlier_sweep(struct board *, const struct vport *, const struct ejection *, struct mono now);

#endif
