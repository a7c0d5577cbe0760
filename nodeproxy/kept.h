/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The master's side of the keeper's table of descriptors.
 *
 * The keeper holds a copy of every descriptor that must outlive a master, under a name and with a
 * number (table.h).  A master gets its entries when it starts, takes what it knows and drops the rest.
 * What was sent to the keeper counts: it reads its channel to the end also when the master that
 * wrote it is dead. */
#ifndef NODEPROXY_KEPT_H
#define NODEPROXY_KEPT_H

#include "nodeproxy/lib/ipc/chan.h"

struct kept_entry {
	char name[MSG_NAME];
	uint64_t number;
	struct fd fd;
};

/* What a full channel did not take: at most one per name, the newest. */
struct kept_late {
	struct msg_keep m;
	struct fd fd;		/* closed: the name is dropped */
};

struct kept {
	struct chan chan;		/* to the keeper */
	enum kept_birth birth;		/* why we are */
	uint64_t started_unix_ms;	/* of the instance */
	uint64_t started_mono_ms;
	uint64_t old_rev;		/* BIRTH_TRIAL: newest of the older master's workers */
	struct kept_entry *entry;
	unsigned n;
	struct kept_late *late;
	unsigned n_late;
};

/* Takes the channel and reads the table; blocks until all is here.  0, -EPIPE (the keeper is
 * gone), -EPROTO, -ENOMEM, -EMFILE (descriptors of it did not arrive: leave, and be started anew). */
must_use int kept_open(struct kept *, struct fd *chan);
/* Moves an entry out of the received table; no such entry: false, *ret stays. */
bool kept_take(struct kept *, struct fd *ret, uint64_t *number, const char *fmt, ...)
	printf_like(4, 5);
/* Whatever nobody took is dropped from the keeper's table, too.  (BIRTH_TRIAL: not before the
 * take-over, until then it is another's.) */
void kept_drop_rest(struct kept *);

/* Puts (or replaces) a copy; the caller keeps its descriptor.  A keeper that does not listen gets the
 * newest of each name when it does again. */
void keep_put(struct kept *, struct fd, uint64_t number, const char *fmt, ...) printf_like(4, 5);
void keep_drop(struct kept *, const char *fmt, ...) printf_like(2, 3);
/* The same for what goes over to the next build's master: of a kind and a name that never change. */
void keep_share(struct kept *, struct fd, uint64_t number, const char *fmt, ...) printf_like(4, 5);
/* Once a second: says what a full channel did not take. */
void kept_tick(struct kept *);
/* What the operator should hear if this were the end; only one that is tried is asked for it. */
void keep_last_words(struct kept *, const char *words);

#endif
