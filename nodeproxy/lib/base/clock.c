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

	if (clock_gettime(id, &ts) < 0)
		return -1;	/* of a process that has just died */
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

int64_t clock_process_cpu_ns(pid_t pid)
{
	clockid_t id;

	return clock_getcpuclockid(pid, &id) == 0 ? read_ns(id) : -1;
}

void clock_simulate(int64_t (*mono_ns)(void), int64_t (*unix_ms)(void))
{
	sim_mono = mono_ns;
	sim_unix = unix_ms;
	now.ns = 0;
}
