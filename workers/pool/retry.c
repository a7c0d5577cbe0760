/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See retry.h.  A word of a bucket is its number and how many; buckets lie in a ring, and whoever
 * comes first with a later number begins it anew.  Workers look at the clock at different moments, so
 * one may be a bucket ahead of another. */
#include "workers/pool/retry.h"

#define AHEAD 2u	/* buckets that another worker may be ahead */

/* 1000 ms in buckets of 15 reach into 67; with the one of now. */
static_must(BOARD_RETRY_BUCKETS >= 67 + 1 + AHEAD);

static const struct retry_budget shared = { 20, 10000, 100 };

static uint32_t width_of(const struct retry_budget *y)
{
	return max_of(y->interval_ms / RETRY_BUCKETS, 1u);
}

static uint32_t bucket_at(const struct retry_budget *y, struct mono now)
{
	return (uint32_t)((uint64_t)now.ns / (uint64_t)NS_PER_MS / width_of(y));
}

/* Those that the Service's endpoints were to serve, ever; began: when the first came. */
static uint32_t requests_of(const struct board *b, uint32_t slot, uint32_t gen, uint64_t *began_ms)
{
	uint32_t used = min_of(__atomic_load_n(&b->used, __ATOMIC_RELAXED), b->workers);
	uint64_t sum = 0;

	*began_ms = UINT64_MAX;
	for (unsigned w = 0; w < used && w < BOARD_WORKERS; w++) {
		const struct board_service *s = board_service_seen(b, w, slot, gen);

		if (s == NULL)
			continue;
		sum += board_get(&s->c[SC_exchanges]) + board_get(&s->c[SC_routed]);
		*began_ms = min_of(*began_ms, 1000ull * b->worker[w].service_began_s[slot]);
	}
	return (uint32_t)sum;
}

/* So many more in the bucket of this number; false: the ring has moved on. */
static bool enter(uint64_t *word, uint32_t at, uint32_t n)
{
	uint64_t was = board_get(word), is;

	do {
		uint32_t ahead = (uint32_t)(was >> 32) - at;

		if (ahead == 0 && n > UINT32_MAX - (uint32_t)was)
			return false;
		if (ahead && ahead <= BOARD_RETRY_BUCKETS)
			return false;
		is = ahead ? (uint64_t)at << 32 | n : was + n;
	} while (!__atomic_compare_exchange_n(word, &was, is, true, __ATOMIC_SEQ_CST,
					      __ATOMIC_RELAXED));
	return true;
}

static void take_back(uint64_t *word, uint32_t at)
{
	uint64_t was = board_get(word);

	while ((uint32_t)(was >> 32) == at && (uint32_t)was &&
	       !__atomic_compare_exchange_n(word, &was, was - 1, true, __ATOMIC_SEQ_CST,
					    __ATOMIC_RELAXED))
		;
}

/* What the buckets say, from so many older ones to so many newer ones, that another worker has begun
 * already. */
#define SUM_OF(what)                                                                               \
	static uint64_t what##_in(const struct board_retries *r, uint32_t now, uint32_t older,     \
				  uint32_t newer)                                                  \
	{                                                                                          \
		uint64_t sum = 0;                                                                  \
												   \
		for (uint32_t at = now - older; at != now + newer + 1; at++) {                     \
			uint64_t v = __atomic_load_n(&r->bucket[at % BOARD_RETRY_BUCKETS].what,     \
						     __ATOMIC_SEQ_CST);                            \
												   \
			if ((uint32_t)(v >> 32) == at)                                             \
				sum += (uint32_t)v;                                                \
		}                                                                                  \
		return sum;                                                                        \
	}
SUM_OF(retries)
SUM_OF(requests)

static uint64_t used(const struct board_retries *r, const struct retry_budget *y, uint32_t now)
{
	/* Those that reach into the interval: buckets are rounded down. */
	uint32_t older = (y->interval_ms + width_of(y) - 1) / width_of(y);

	return retries_in(r, now, min_of(older, BOARD_RETRY_BUCKETS - AHEAD - 1), AHEAD);
}

static uint64_t allowed(const struct board_retries *r, const struct retry_budget *y, uint32_t now)
{
	uint64_t requests = requests_in(r, now, RETRY_BUCKETS - 1, 0);

	return max_of(requests * y->percent / 100, (uint64_t)y->least);
}

/* Enters the requests since the last look, each once: they are his who moves `seen` on. */
static void enter_requests(struct board_retries *r, const struct retry_budget *y, uint32_t now,
			   uint32_t requests, uint64_t began_ms)
{
	uint64_t was = board_get(&r->seen), is = (uint64_t)now << 32 | requests;
	uint32_t n, gap;

	do {
		n = requests - (uint32_t)was;
		gap = now - (uint32_t)(was >> 32);
		if (was == 0)		/* the first look: as long as there is a Service */
			gap = now - (uint32_t)(began_ms / width_of(y));
		if (gap > UINT32_MAX - BOARD_RETRY_BUCKETS)
			gap = 0;	/* who looked last is a little ahead */
		if (n == 0 && gap == 0 && was)
			return;
		if (n > INT32_MAX && gap < BOARD_RETRY_BUCKETS)
			return;		/* who looked last has seen more */
	} while (!__atomic_compare_exchange_n(&r->seen, &was, is, true, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
	if (n > INT32_MAX)
		return;
	/* Who comes at the same time may see fewer for a moment: that errs on the right side.  So does
	 * what cannot be shared out evenly, with the oldest. */
	for (uint32_t k = min_of(gap, RETRY_BUCKETS - 1u); k; k--) {
		uint32_t part = (uint32_t)((uint64_t)n * (k + 1) / (gap + 1ull)) -
				(uint32_t)((uint64_t)n * k / (gap + 1ull));

		if (part)
			(void)enter(&r->bucket[(now - k) % BOARD_RETRY_BUCKETS].requests, now - k, part);
	}
	n = (uint32_t)(n / (gap + 1ull));
	(void)enter(&r->bucket[now % BOARD_RETRY_BUCKETS].requests, now, n);
}

bool retry_take(struct board *b, uint32_t slot, uint32_t gen, const struct retry_budget *y,
		struct mono now)
{
	struct board_retries *r;
	uint64_t began_ms, *word;
	uint32_t requests, at;

	/* Those without a slot of their own have one budget. */
	if (slot == 0 || slot >= BOARD_SERVICES) {
		slot = gen = 0;
		y = &shared;
	}
	at = bucket_at(y, now);
	r = board_retries(b, slot, gen, y->interval_ms, at);
	if (r == NULL)
		return false;
	requests = requests_of(b, slot, gen, &began_ms);
	enter_requests(r, y, at, requests, began_ms);
	word = &r->bucket[at % BOARD_RETRY_BUCKETS].retries;
	if (!enter(word, at, 1))
		return false;
	if (used(r, y, at) <= allowed(r, y, at))
		return true;
	take_back(word, at);
	return false;
}
