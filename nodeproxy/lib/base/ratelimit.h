/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A token bucket: rate tokens per second, at most burst saved up.  rate 0: no limit. */
#ifndef NODEPROXY_LIB_BASE_RATELIMIT_H
#define NODEPROXY_LIB_BASE_RATELIMIT_H

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/must.h"

struct ratelimit {
	uint32_t rate, burst;
	int64_t nano_tokens;	/* 10^-9 tokens */
	struct mono last;
	uint64_t refused;
};

static inline struct ratelimit ratelimit_of(uint32_t rate, uint32_t burst)
{
	return (struct ratelimit){ .rate = rate, .burst = burst,
				   .nano_tokens = (int64_t)burst * NS_PER_S };
}

static inline bool ratelimit_take(struct ratelimit *r, struct mono now)
{
	if (r->rate == 0)
		return true;
	if (now.ns > r->last.ns) {
		int64_t past = min_of(now.ns - r->last.ns, 3600 * NS_PER_S);
		int64_t full = (int64_t)r->burst * NS_PER_S;

		/* past * rate fits: 3600e9 * 2^20 < 2^63 */
		r->nano_tokens = min_of(r->nano_tokens + past * (int64_t)min_of(r->rate, 1u << 20),
					full);
		r->last = now;
	}
	if (r->nano_tokens < NS_PER_S) {
		r->refused++;
		return false;
	}
	r->nano_tokens -= NS_PER_S;
	return true;
}

#endif
