/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The keeper's table: a copy of every descriptor that must outlive a master, under the name its
 * master gave it.
 *
 * Each entry belongs to an era, the time of the masters of one build.  A master that follows a dead
 * one is of its era and gets all of its entries.  One that is tried beside an older build's gets the
 * shared ones (listening sockets, the state directory, ...); they become its own when it takes over,
 * and go with its era until then.  Names are only looked at for "pid/": a pidfd, with the pid as
 * its number, so that an era can be ended by somebody who knows nothing else about it. */
#ifndef NODEPROXY_TABLE_H
#define NODEPROXY_TABLE_H

#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/ipc/messages.h"

#define TABLE_MOST 8192

struct table_entry {
	struct msg_keep m;
	uint32_t era;		/* 0: a hole, used again for the next entry */
	struct fd fd;
};

struct table {
	struct table_entry *entry;
	unsigned n;		/* with the holes; an entry keeps its index */
};

/* Puts (or replaces) an entry of this era, or drops it when *fd is none. */
void table_keep(struct table *, uint32_t era, const struct msg_keep *, struct fd *fd);
/* The shared entries of one era become the other's, unless that has its own of the same name. */
void table_inherit(struct table *, uint32_t from, uint32_t to);
/* Closes all entries of an era, or (pids_too false) all but the pidfds. */
void table_drop(struct table *, uint32_t era, bool pids_too);
/* SIGKILL to every process of an era; 0: of all. */
void table_kill(const struct table *, uint32_t era);
/* How many entries of this era have a name that begins so. */
unsigned table_count(const struct table *, uint32_t era, const char *begins);

#endif
