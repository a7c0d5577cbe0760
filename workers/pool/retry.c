/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See retry.h.
 *
 * Only who retries pays: requests are counted per worker anyway, and a look at the budget adds
 * them up.  Tokens age out linearly over the window, so that in a steady state there are exactly
 * the window's worth of them. */
#include "workers/pool/retry.h"

#define TOKEN 1000u

static uint64_t requests_of(const struct board *b, uint32_t slot, uint32_t gen)
{
	uint32_t used = min_of(__atomic_load_n(&b->used, __ATOMIC_RELAXED), b->workers);
	uint64_t sum = 0;

	for (unsigned w = 0; w < used && w < BOARD_WORKERS; w++) {
		const struct board_service *s = board_service_seen(b, w, slot, gen);

		if (s)
			sum += board_get(&s->c[SC_exchanges]);
	}
	return sum;
}

/* What there is after ms more and n more requests. */
static uint64_t refilled(uint64_t tokens, uint64_t ms, uint64_t n)
{
	uint64_t in_window = min_of(ms, (uint64_t)RETRY_WINDOW_MS);

	n = min_of(n, (uint64_t)UINT32_MAX);
	if (ms > RETRY_WINDOW_MS)
		n = n * RETRY_WINDOW_MS / ms;
	/* rounded, or looks at every millisecond would lose a tenth of it */
	tokens -= (tokens * in_window + RETRY_WINDOW_MS / 2) / RETRY_WINDOW_MS;
	return tokens + in_window * RETRY_PER_SECOND * TOKEN / 1000 + n * RETRY_PERMILLE * TOKEN / 1000;
}

bool retry_take(struct board *b, uint32_t slot, uint32_t gen, struct mono now)
{
	uint32_t ms = (uint32_t)((uint64_t)now.ns / (uint64_t)NS_PER_MS), at = slot;
	struct board_retries *r;
	uint64_t was, is, requests;
	bool taken;

	if (at >= BOARD_SERVICES)
		at = 0;
	r = &b->retries[at];
	requests = requests_of(b, at, gen);
	was = board_get(&r->tokens);
	do {
		uint64_t before = board_get(&r->requests), tokens;
		uint32_t ago = ms - (uint32_t)(was >> 32);

		if (was == 0 || ago > INT32_MAX)	/* the first look, or no time we know */
			tokens = (uint64_t)RETRY_WINDOW_MS * RETRY_PER_SECOND * TOKEN / 1000;
		else
			tokens = refilled((uint32_t)was, ago,
					  requests > before ? requests - before : 0);
		tokens = min_of(tokens, (uint64_t)UINT32_MAX);
		taken = tokens >= TOKEN;
		is = (uint64_t)ms << 32 | (taken ? tokens - TOKEN : tokens);
	} while (!__atomic_compare_exchange_n(&r->tokens, &was, is, true, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	board_set(&r->requests, requests);
	return taken;
}
