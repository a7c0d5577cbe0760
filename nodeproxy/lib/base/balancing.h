/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* How traffic is shared out among the endpoints of a port, beside the balancer itself: what a
 * TrafficPolicy may say of it, and what holds where none does.  As ejection.h, said once. */
#ifndef NODEPROXY_LIB_BASE_BALANCING_H
#define NODEPROXY_LIB_BASE_BALANCING_H

#include <stdint.h>

struct balancing {
	uint32_t slow_ms;		/* so long after an endpoint became ready it gets less; 0: never */
	uint16_t slow_aggression_percent;	/* the curve of it: 100 is a straight line */
	uint8_t slow_min_percent;	/* of its part: where it begins */
	uint8_t checked;		/* 0 or 1: those whose health checks fail are passed over */
	uint16_t overprovision_percent;	/* a level takes all while so much of what is healthy is
					 * as much as all of it */
	uint8_t panic_percent;		/* with less than so much healthy, health counts for nothing; 0: never */
	uint8_t zero2;
};

static const struct balancing balancing_default = {
	.slow_aggression_percent = 100,	/* Envoy's, as are the others */
	.slow_min_percent = 10,
	.overprovision_percent = 140,
	.panic_percent = 50,
};

#define OVERPROVISION_MAX 1000u
#define SLOW_AGGRESSION_MAX 1000u
#define SLOW_MS_MAX 3600000u

#endif
