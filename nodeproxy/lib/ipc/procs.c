/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See procs.h. */
#include "nodeproxy/lib/ipc/procs.h"

#include <errno.h>
#include <string.h>

const char *proc_state_name(enum proc_state s)
{
	static const char *const names[PROC_STATES] = { "none", "starting", "ready", "draining",
							"waiting", "stalled" };

	return s < PROC_STATES ? names[s] : "none";
}

bool proc_loops(const struct proc *p)
{
	return p->fails >= PROC_LOOPS && (p->state == PROC_WAITING || p->state == PROC_STARTING);
}

const char *proc_word(const struct proc *p)
{
	return proc_loops(p) ? "crash-loop" : proc_state_name((enum proc_state)p->state);
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
