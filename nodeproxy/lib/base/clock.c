/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See clock.h. */
#include "nodeproxy/lib/base/clock.h"

#include <stddef.h>
#include <time.h>

static struct mono now;
static int64_t (*sim_mono)(void);
static int64_t (*sim_unix)(void);

static int64_t read_ns(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return ts.tv_sec * NS_PER_S + ts.tv_nsec;
}

struct mono clock_tick(void)
{
	now.ns = sim_mono ? sim_mono() : read_ns(CLOCK_MONOTONIC);
	return now;
}

struct mono clock_now(void)
{
	return now.ns ? now : clock_tick();
}

int64_t clock_unix_ms(void)
{
	return sim_unix ? sim_unix() : read_ns(CLOCK_REALTIME) / NS_PER_MS;
}

int64_t clock_cpu_ns(void)
{
	return read_ns(CLOCK_THREAD_CPUTIME_ID);
}

void clock_simulate(int64_t (*mono_ns)(void), int64_t (*unix_ms)(void))
{
	sim_mono = mono_ns;
	sim_unix = unix_ms;
	now.ns = 0;
}
