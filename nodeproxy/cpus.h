/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* How many workers, and on which CPUs: `workers:` of nodeproxy.yaml against the affinity mask that
 * the process inherited (a cpuset, taskset, systemd's CPUAffinity). */
#ifndef NODEPROXY_CPUS_H
#define NODEPROXY_CPUS_H

#include <sched.h>

#include "nodeproxy/lib/base/must.h"

/* "auto": max(2, a quarter of the mask's CPUs): pods need the others.  A number: that many, dealt
 * round the mask.  "cpus=0,2-5": one on each of these that the mask has.
 * Fills cpu[0..*ret_n-1]; 0, -EINVAL (not understood, or 0 or more than max workers) or -ENODEV
 * (none of the listed CPUs is ours), with words in error. */
must_use int cpus_plan(const char *spec, const cpu_set_t *mask, unsigned max, int cpu[],
		       unsigned *ret_n, char error[128]);

#endif
