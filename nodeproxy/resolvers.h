/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The file that says whom this host asks for names (names.resolv_conf), for pods that have no resolvers
 * of their own: opened here for workers and admind, which read it; when it changes, again. */
#ifndef NODEPROXY_RESOLVERS_H
#define NODEPROXY_RESOLVERS_H

#include <sys/stat.h>

struct master;
struct child;

struct resolvers {
	dev_t dev;
	ino_t ino;
	off_t size;
	struct timespec at;
};

void resolvers_send(struct master *, struct child *);
/* Once a second. */
void resolvers_tick(struct master *);

#endif
