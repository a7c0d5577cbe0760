/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See cpus.h. */
#include "nodeproxy/cpus.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "nodeproxy/lib/base/slice.h"

static struct slice until(struct slice *rest, char c)
{
	const uint8_t *p = rest->n ? memchr(rest->p, c, rest->n) : NULL;
	struct slice r = *rest;

	if (p)
		r.n = (size_t)(p - rest->p);
	*rest = slice_from(*rest, p ? r.n + 1 : rest->n);
	return r;
}

/* "0,2-5" into a set. */
static bool list_parse(struct slice s, cpu_set_t *ret)
{
	CPU_ZERO(ret);
	while (s.n) {
		struct slice item = until(&s, ','), from = until(&item, '-');
		uint64_t a, b;

		if (!slice_u64(from, CPU_SETSIZE - 1, &a))
			return false;
		b = a;
		if (item.n && (!slice_u64(item, CPU_SETSIZE - 1, &b) || b < a))
			return false;
		for (; a <= b; a++)
			CPU_SET(a, ret);
	}
	return CPU_COUNT(ret) > 0;
}

static unsigned members(const cpu_set_t *set, int cpu[CPU_SETSIZE])
{
	unsigned n = 0;

	for (int i = 0; i < CPU_SETSIZE; i++)
		if (CPU_ISSET(i, set))
			cpu[n++] = i;
	return n;
}

int cpus_plan(const char *spec, const cpu_set_t *mask, unsigned max, int cpu[], unsigned *ret_n,
	      char error[128])
{
	int have[CPU_SETSIZE];
	unsigned n = members(mask, have);
	struct slice s = slice_str(spec);
	uint64_t want;

	if (n == 0) {
		snprintf(error, 128, "this process may run on no CPU");
		return -ENODEV;
	}
	if (slice_starts(s, SLICE("cpus="))) {
		cpu_set_t listed;

		if (!list_parse(slice_from(s, 5), &listed)) {
			snprintf(error, 128, "not a list of CPUs like cpus=0,2-5");
			return -EINVAL;
		}
		CPU_AND(&listed, &listed, mask);
		n = members(&listed, have);
		if (n == 0) {
			snprintf(error, 128, "none of these CPUs is in the inherited affinity mask");
			return -ENODEV;
		}
		want = n;
	} else if (slice_eq(s, SLICE("auto"))) {
		want = max_of(2u, n / 4);
		want = min_of(want, max);
	} else if (!slice_u64(s, UINT32_MAX, &want)) {
		snprintf(error, 128, "not auto, a number or a list like cpus=0,2-5");
		return -EINVAL;
	}
	if (want == 0 || want > max) {
		snprintf(error, 128, "there can be 1 to %u workers", max);
		return -EINVAL;
	}
	for (uint64_t i = 0; i < want; i++)
		cpu[i] = have[i % n];
	*ret_n = (unsigned)want;
	return 0;
}
