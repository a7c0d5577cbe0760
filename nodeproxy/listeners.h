/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Host listeners: sockets for callers that are not captured pods, one SO_REUSEPORT socket per
 * listener and group.  There are as many groups as there were ever workers that serve at once.  A
 * group has a home (the worker slot it belongs to; surplus ones have none) and a holder (who accepts
 * from it now).
 *
 * When a worker dies its group is lent to a sibling at once, and goes home when the replacement is
 * ready.  (Waiting 200 ms first was measured: whenever a start was slow, every connection of that
 * group was late, and the loan costs one message.)  The sockets themselves are never closed while
 * their listener exists, so what waits in their queues is not lost and nobody is refused: with fewer
 * workers the surplus groups stay lent.
 *
 * In the keeper's table a socket is "listen/NAME/ADDRESS/GROUP", so that a table which is between
 * two settings (reload.h) never shows one listener's socket under another's name. */
#ifndef NODEPROXY_LISTENERS_H
#define NODEPROXY_LISTENERS_H

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/knobs/knobs.h"
#include "workers/obs/board.h"

struct master;
struct child;

#define HELD_BY_NOBODY (-1)

/* By index of the listener in some settings, and group; FD_NONE where there is none. */
struct listen_set {
	struct fd fd[KNOBS_LISTENERS][BOARD_WORKERS];
};

struct listeners {
	struct listen_set set;		/* of the settings in use */
	uint64_t fresh[KNOBS_LISTENERS];	/* bits of groups: opened, and nobody was told */
	unsigned groups;
	int home[BOARD_WORKERS];	/* group -> worker slot or HELD_BY_NOBODY */
	int holder[BOARD_WORKERS];	/* group -> worker slot or HELD_BY_NOBODY */
	bool cleared[BOARD_WORKERS];	/* group -> what a former master said was taken back */
	bool closed;
	struct {			/* closed here a moment ago, and by the workers soon */
		struct addr addr;
		struct mono until;
	} gone[KNOBS_LISTENERS];
};

/* Opens, or takes over, all sockets.  0, or -errno with words on standard error. */
must_use int listeners_open(struct master *);
/* After a trial: those that were only bound listen. */
void listeners_listen(struct master *);
/* Makes true what should be: each group at home, or lent. */
void listeners_settle(struct master *);
/* A worker lacks some of its sockets: all it holds are said once more. */
void listeners_tell_again(struct master *, unsigned slot);
/* Once a second: a worker can end a listening socket for all who share it (and only by ill will); such
 * a socket listens again, and its holder is broken. */
void listeners_tick(struct master *);
/* This slot holds nothing any more: its process is dead or another one. */
void listeners_forget(struct master *, unsigned slot);
/* Some group belongs to this slot. */
bool listeners_is_home(const struct master *, unsigned slot);
/* The groups of one slot belong to another from now on. */
void listeners_move_home(struct master *, unsigned from, unsigned to);
/* The end: our copies and the keeper's are closed. */
void listeners_close(struct master *);

/* ---- other settings (relisten.c) ---- */

void listen_set_init(struct listen_set *);
void listen_set_close(struct listen_set *);
/* Opens and binds what these settings need with so many workers and is not there; nobody can connect
 * to it yet.  0, or -errno with *ret_bad the index of the listener and words in why. */
must_use int listeners_try(struct master *, const struct knobs *, unsigned n_workers,
			   struct listen_set *opened, unsigned *ret_bad, char why[128]);
/* The keeper gets what these settings will need, besides what it has. */
void listeners_keep(struct master *, const struct knobs *, const struct listen_set *opened);
/* m->knobs are new: nobody new is answered on listeners that are gone (listener_hush). */
void listeners_hush_gone(struct master *, const struct knobs *was);
/* m->knobs are new, and there may be so many workers now: indices change, what was opened listens, what is gone lets no
 * handshake begin and is closed (workers accept who has connected before they close theirs). */
void listeners_use(struct master *, const struct knobs *was, struct listen_set *opened,
		   unsigned n_workers);
/* After the workers were told the settings: they get what was opened, the keeper drops what is gone. */
void listeners_used(struct master *, const struct knobs *was);

/* ---- between the two files ---- */

must_use int listener_bind(const struct addr *, bool shared, struct fd *ret);
must_use int listener_listen(struct fd);
/* Nobody new is answered there any more, as far as the kernel lets us (tcp_listener_hush). */
void listener_hush(struct fd, const struct knobs_listener *);
must_use int listener_bound_to(struct fd, struct addr *ret);
void listener_keep(struct master *, const struct knobs_listener *, unsigned group, struct fd);
/* To the holder of the group. */
void listener_say(struct master *, unsigned slot, unsigned type, unsigned listener, unsigned group);

#endif
