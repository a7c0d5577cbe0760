/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Becoming a role: uid, capabilities, limits, Landlock, system call filter; by roles.def.
 *
 * Nothing here can be undone, and a process that could not enter its role must not go on.  Only
 * root can enter another uid's role. */
#ifndef NODEPROXY_LIB_ROLE_ENTER_H
#define NODEPROXY_LIB_ROLE_ENTER_H

#include <sys/types.h>

#include "nodeproxy/lib/ipc/chan.h"

struct role_row {
	const char *program;
	const char *account;	/* NULL: root */
	uint32_t uid;		/* when the account is missing; its gid too */
	uint64_t caps;		/* kept in effect, as bits */
	uint64_t spare;		/* kept, but not in effect */
	bool listed;		/* system calls: those of roles.def only */
};

/* NULL where roles.def has no row. */
const struct role_row *role_row(enum role);

/* Enters the role for good.  uid and gid are looked at only when the row has an account.
 * 0, or -errno and in *step (if not NULL) the word for what failed. */
must_use int role_enter(enum role, uid_t uid, gid_t gid, const char **step);
/* A process forked for something takes what its role only keeps into effect, for good.  0 or -errno;
 * what a container has not given is missing without a word. */
must_use int role_raise(enum role);
/* From now on this process can only open files beneath dir (several: dirs; none: no file at all).
 * 0 also where the kernel has no Landlock; -errno when it has and refuses. */
must_use int role_landlock(const int *dirs, unsigned n);
/* 0: this kernel has no Landlock; else its version. */
int role_landlock_version(void);

/* System calls refused by the filter in this process, and the number of the last one. */
extern uint64_t role_unknown_count;
extern int role_unknown_last;

#endif
