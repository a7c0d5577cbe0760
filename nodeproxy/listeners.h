/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Host listeners: sockets for callers that are not captured pods, one SO_REUSEPORT socket per
 * listener and group.  There are as many groups as serving workers.  A group has a home (the worker
 * slot it belongs to) and a holder (who accepts from it now).
 *
 * When a worker dies its group is lent to a sibling at once, and goes home when the replacement is
 * ready.  (Waiting 200 ms first was measured: whenever a start was slow, every connection of that
 * group was late, and the loan costs one message.)  The sockets themselves are never closed, so
 * what waits in their queues is not lost and nobody is refused. */
#ifndef NODEPROXY_LISTENERS_H
#define NODEPROXY_LISTENERS_H

#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/knobs/knobs.h"
#include "workers/obs/board.h"

struct master;
struct child;

#define HELD_BY_NOBODY (-1)

struct listeners {
	struct fd fd[KNOBS_LISTENERS][BOARD_WORKERS];
	int home[BOARD_WORKERS];	/* group -> worker slot */
	int holder[BOARD_WORKERS];	/* group -> worker slot or HELD_BY_NOBODY */
	bool cleared[BOARD_WORKERS];	/* group -> what a former master said was taken back */
	bool closed;
};

/* Opens, or takes over, all sockets.  0, or -errno with words on standard error. */
must_use int listeners_open(struct master *);
/* After a trial: those that were only bound listen. */
void listeners_listen(struct master *);
/* Makes true what should be: each group at home, or lent. */
void listeners_settle(struct master *);
/* This slot holds nothing any more: its process is dead or another one. */
void listeners_forget(struct master *, unsigned slot);
/* Some group belongs to this slot. */
bool listeners_is_home(const struct master *, unsigned slot);
/* The groups of one slot belong to another from now on. */
void listeners_move_home(struct master *, unsigned from, unsigned to);
/* The end: our copies and the keeper's are closed. */
void listeners_close(struct master *);

#endif
