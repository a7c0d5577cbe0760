/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* How traffic is shared out among the endpoints of a port, beside the balancer itself: what a
 * TrafficPolicy may say of it, and what holds where none does.  As ejection.h, said once. */
#ifndef NODEPROXY_LIB_BASE_BALANCING_H
#define NODEPROXY_LIB_BASE_BALANCING_H

#include <stdint.h>

struct balancing {
	uint16_t overprovision_percent;	/* a level takes all while so much of what is healthy is
					 * as much as all of it */
	uint8_t panic_percent;		/* with less than so much healthy, health counts for nothing; 0: never */
	uint8_t zero;
};

static const struct balancing balancing_default = {
	.overprovision_percent = 140,	/* Envoy's, as is the next */
	.panic_percent = 50,
};

#define OVERPROVISION_MAX 1000u

#endif
