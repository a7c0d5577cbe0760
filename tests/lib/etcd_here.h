/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A real etcd of one member on loopback, in a directory that goes with it. */
#ifndef TESTS_LIB_ETCD_HERE_H
#define TESTS_LIB_ETCD_HERE_H

#include <sys/types.h>

#include "nodeproxy/lib/net/addr.h"

struct etcd_here {
	char dir[64];
	pid_t pid;
	struct addr addr;
	char peer[64], client[64];	/* URLs */
};

/* False: there is no etcd on this machine.  It may not answer yet when this returns. */
bool etcd_here_start(struct etcd_here *);
void etcd_here_kill(struct etcd_here *);	/* -9; what it knew stays */
void etcd_here_again(struct etcd_here *);	/* at the same address, with what it knew */
/* etcdctl with these words, against it; the exit code. */
int etcd_here_ctl(const struct etcd_here *, const char *words);
void etcd_here_stop(struct etcd_here *);	/* and nothing of it is left */

#endif
