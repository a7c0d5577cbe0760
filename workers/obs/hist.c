/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See hist.h. */
#include "workers/obs/hist.h"

uint64_t hist_until_ns(unsigned i)
{
	if (i >= HIST_BUCKETS - 1)
		return UINT64_MAX;
	i++;
	if (i < 4)
		return (uint64_t)i << HIST_SHIFT;
	return (uint64_t)(4 + i % 4) << (i / 4 - 1) << HIST_SHIFT;
}

void hist_gather(struct hist *to, const struct hist *from)
{
	to->sum_ns += __atomic_load_n(&from->sum_ns, __ATOMIC_RELAXED);
	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		to->n[i] += __atomic_load_n(&from->n[i], __ATOMIC_RELAXED);
}

uint64_t hist_count(const struct hist *h)
{
	uint64_t all = 0;

	for (unsigned i = 0; i < HIST_BUCKETS; i++)
		all += h->n[i];
	return all;
}

uint64_t hist_quantile_ns(const struct hist *h, unsigned permille)
{
	uint64_t all = hist_count(h), seen = 0, rank;

	if (all == 0)
		return 0;
	/* A worker that scribbles may make it large: no product that overflows. */
	rank = all / 1000 * permille + all % 1000 * permille / 1000;
	for (unsigned i = 0; i < HIST_BUCKETS - 1; i++) {
		seen += h->n[i];
		if (seen > rank)
			return hist_until_ns(i);
	}
	return hist_until_ns(HIST_BUCKETS - 2);
}
