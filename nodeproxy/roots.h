/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The issuers that the host trusts (system_ca), for BackendTLSPolicies that say so: the master opens
 * the file, unread, for each worker.  Once a second it is looked at from outside: another one, or another
 * content, is given to all. */
#ifndef NODEPROXY_ROOTS_H
#define NODEPROXY_ROOTS_H

#include <stdbool.h>
#include <sys/types.h>
#include <time.h>

struct master;
struct child;

struct roots {
	bool looked;		/* since this master began */
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec at;
};

void roots_send(struct master *, struct child *);
void roots_tick(struct master *);

#endif
