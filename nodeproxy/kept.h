/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The master's side of the keeper's table of descriptors.
 *
 * The keeper holds a copy of every descriptor that must outlive a master, under a name and with a
 * number.  A master gets the whole table when it starts, takes what it knows and drops the rest.
 * What was sent to the keeper counts: it reads its channel to the end also when the master that
 * wrote it is dead. */
#ifndef NODEPROXY_KEPT_H
#define NODEPROXY_KEPT_H

#include "nodeproxy/lib/ipc/chan.h"

#define KEPT_MOST 8192

struct kept_entry {
	char name[MSG_NAME];
	uint64_t number;
	struct fd fd;
};

struct kept {
	struct chan chan;		/* to the keeper */
	bool adopted;			/* there was a master before us */
	struct kept_entry *entry;
	unsigned n;
};

/* Takes the channel and reads the table; blocks until all is here.  0, -EPIPE (the keeper is
 * gone), -EPROTO, -ENOMEM. */
must_use int kept_open(struct kept *, struct fd *chan);
/* Moves an entry out of the received table; no such entry: false, *ret stays. */
bool kept_take(struct kept *, struct fd *ret, uint64_t *number, const char *fmt, ...)
	printf_like(4, 5);
/* Whatever nobody took is dropped from the keeper's table, too. */
void kept_drop_rest(struct kept *);

/* Puts (or replaces) a copy; the caller keeps its descriptor.  Best effort: a keeper that does not
 * listen means that a new master would start from nothing. */
void keep_put(struct kept *, struct fd, uint64_t number, const char *fmt, ...) printf_like(4, 5);
void keep_drop(struct kept *, const char *fmt, ...) printf_like(2, 3);

#endif
