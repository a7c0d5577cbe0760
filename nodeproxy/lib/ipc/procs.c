/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See procs.h. */
#include "nodeproxy/lib/ipc/procs.h"

#include <errno.h>
#include <string.h>

const char *proc_state_name(enum proc_state s)
{
	static const char *const names[PROC_STATES] = { "none", "starting", "ready", "draining",
							"waiting" };

	return s < PROC_STATES ? names[s] : "none";
}

int procs_copy(const struct procs *shared, struct procs *ret)
{
	for (int tries = 0; tries < 100; tries++) {
		uint32_t seq = __atomic_load_n(&shared->seq, __ATOMIC_ACQUIRE);

		if (seq & 1)
			continue;
		memcpy(ret, shared, sizeof *ret);
		__atomic_thread_fence(__ATOMIC_ACQUIRE);
		if (__atomic_load_n(&shared->seq, __ATOMIC_RELAXED) != seq)
			continue;
		if (ret->magic != PROCS_MAGIC || ret->count > PROCS_MAX)
			return -EBADMSG;
		return 0;
	}
	return -EAGAIN;
}
