/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The programs of the children, opened once, and the accounts they run as. */
#ifndef NODEPROXY_PROGRAMS_H
#define NODEPROXY_PROGRAMS_H

#include <sys/types.h>

#include "nodeproxy/lib/ipc/chan.h"

struct master;

/* Finds the programs and the accounts, and takes over what the keeper has.  0, or -errno with
 * words on standard error.  Needs the procs page. */
must_use int programs_open(struct master *);
/* Borrowed; for fexecve. */
struct fd program_of(enum role);
/* Whom a role's process becomes. */
void account_of(enum role, uid_t *uid, gid_t *gid);

#endif
