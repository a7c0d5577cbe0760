/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Time, through one door that a simulation can replace.
 *
 * struct mono is CLOCK_MONOTONIC in nanoseconds, never a wall time.  A worker reads the clock
 * once per turn boundary (clock_tick) and everything inside the turn uses clock_now(). */
#ifndef NODEPROXY_LIB_BASE_CLOCK_H
#define NODEPROXY_LIB_BASE_CLOCK_H

#include <stdint.h>
#include <sys/types.h>

struct mono {
	int64_t ns;
};

#define NS_PER_US 1000LL
#define NS_PER_MS 1000000LL
#define NS_PER_S  1000000000LL

/* Reads the clock and remembers it for clock_now(). */
struct mono clock_tick(void);
/* What the last clock_tick() read; costs nothing. */
struct mono clock_now(void);
/* Wall time in Unix milliseconds; for logs and stamps only, never to measure. */
int64_t clock_unix_ms(void);
/* CPU time of the calling thread, for accounting in tests and turn measures. */
int64_t clock_cpu_ns(void);

/* That of another process, user and system; -1: there is none. */
int64_t clock_process_cpu_ns(pid_t pid);

static inline struct mono mono_after_ms(struct mono t, int64_t ms)
{
	return (struct mono){ t.ns + ms * NS_PER_MS };
}

static inline int64_t mono_diff_us(struct mono later, struct mono earlier)
{
	return (later.ns - earlier.ns) / NS_PER_US;
}

static inline int64_t mono_diff_ms(struct mono later, struct mono earlier)
{
	return (later.ns - earlier.ns) / NS_PER_MS;
}

/* Simulation only: from now on the clock is what these say; NULL restores the kernel's. */
void clock_simulate(int64_t (*mono_ns)(void), int64_t (*unix_ms)(void));

#endif
