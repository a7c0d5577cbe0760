/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Histograms of durations on the board: log-linear, four buckets per octave.
 *
 * A bucket is at most a quarter as wide as its lower bound; the unit is 1.024 µs (2^10 ns), the last
 * bucket takes everything from 69 s on.  Bounds are powers of two so that counting is a shift and no
 * search (~10 instructions).  One writer, any number of readers (relaxed atomics, see board.h). */
#ifndef NODEPROXY_WORKERS_OBS_HIST_H
#define NODEPROXY_WORKERS_OBS_HIST_H

#include "nodeproxy/lib/base/must.h"

#define HIST_SHIFT   10			/* ns of a unit, as a power of two */
#define HIST_OCTAVES 26			/* units of the last bucket's lower bound, likewise */
/* 4 for 0..3 units, 4 for each octave from 4 units on, and the last. */
#define HIST_BUCKETS (4 + 4 * (HIST_OCTAVES - 2) + 1)

struct hist {
	uint64_t sum_ns;
	uint64_t n[HIST_BUCKETS];	/* not cumulative */
};

static inline unsigned hist_at(uint64_t ns)
{
	uint64_t v = ns >> HIST_SHIFT;
	unsigned octave;

	if (v < 4)
		return (unsigned)v;
	if (v >> HIST_OCTAVES)
		return HIST_BUCKETS - 1;
	octave = 63 - (unsigned)__builtin_clzll(v);
	return 4 * (octave - 1) + (unsigned)(v >> (octave - 2) & 3);
}

/* The first ns that is not in bucket i any more; UINT64_MAX: the last. */
uint64_t hist_until_ns(unsigned i);

static inline void hist_add(struct hist *h, uint64_t ns, uint64_t times)
{
	uint64_t *n = &h->n[hist_at(ns)];

	__atomic_store_n(n, __atomic_load_n(n, __ATOMIC_RELAXED) + times, __ATOMIC_RELAXED);
	__atomic_store_n(&h->sum_ns, __atomic_load_n(&h->sum_ns, __ATOMIC_RELAXED) + ns * times,
			 __ATOMIC_RELAXED);
}

/* For readers: adds what is on the board to a copy of their own. */
void hist_gather(struct hist *to, const struct hist *from);
uint64_t hist_count(const struct hist *);
/* The upper bound of the bucket with the value below which permille/1000 of all are; 0: it is empty;
 * the last bucket's lower bound stands for the last. */
uint64_t hist_quantile_ns(const struct hist *, unsigned permille);

#endif
