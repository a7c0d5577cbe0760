/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* When an endpoint is passed over, and for how long: what a TrafficPolicy may say of it, and what
 * holds where none does.  Said once, for those who read policies, those who serve by them and those
 * who show them. */
#ifndef NODEPROXY_LIB_BASE_EJECTION_H
#define NODEPROXY_LIB_BASE_EJECTION_H

#include <stdint.h>

struct ejection {
	uint32_t base_ms, max_ms;	/* out for so long the first time; at most */
	uint8_t failures;		/* in a row; 0: never because of these */
	uint8_t percent;		/* of those that are ready may be passed over */
	uint8_t jitter_percent;		/* so much longer at most, by chance */
	/* By success rate: */
	uint8_t rate_endpoints;		/* only when so many have ... */
	uint32_t rate_requests;		/* ... so many requests in an interval */
	uint32_t rate_interval_ms;	/* 0: never because of it */
	uint32_t rate_deviation;	/* below the mean, in thousandths of the standard deviation */
};

static const struct ejection ejection_default = {
	.base_ms = 1000,	/* Linkerd's penalty, as is the next; both double in between */
	.max_ms = 60000,
	.failures = 5,		/* Envoy's consecutive_5xx */
	.percent = 50,
	.rate_endpoints = 5,	/* Envoy's, as are the next, but that it is off */
	.rate_requests = 100,
	.rate_deviation = 1900,
	.jitter_percent = 50,	/* Linkerd's: many hosts must not try at the same moment */
};

#define EJECTION_BASE_MS_MAX 3600000u
#define EJECTION_RATE_INTERVAL_MS 10000u	/* where a policy asks for it without a number */
#define EJECTION_RATE_DEVIATION_MAX 10000u

#endif
