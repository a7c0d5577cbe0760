/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The keeper: the process that is never replaced.
 *
 * It forks the master, is subreaper for everything below it (and PID 1 in a container), and holds a
 * copy of every descriptor (table.h): listeners, the master's ends of the channels, shared memory,
 * pidfds, the newest view.  When the master dies it starts another, which gets the table and goes on
 * with the same workers.  For an upgrade it starts the new build's master beside the old one and
 * lets it take over when it says that it is ready; else the new one and all it started end, and
 * the old one goes on.  It parses nothing, looks into no descriptor, opens no file.
 *
 * A child's channel end dies with the last copy of the other end.  The keeper has one, so the
 * death of a master is invisible to the children; and a child that does see the end is known to
 * nobody any more and leaves by itself.  That is why there are no orphans: not after a master's
 * death in the middle of a fork (it puts the channel here before it forks), not after the death of
 * an old build's master that drains (its entries go with it), and not after the keeper's own: then
 * the masters end everything, because half an instance that nobody restarts, holding the ports a new
 * one needs, is worse than none.
 *
 *   state     the era that leads                 ends with
 *   STARTING  its first master, not yet ready    READY; its death ends all: it said why
 *   RUNNING   serves                             its death, LAUNCH, TERM
 *   TRIAL     serves, another is tried           that one's READY or end; its own death
 *   WAITING   has no master: back-off            the timer
 *   STOPPING  drains because of TERM             GOODBYE; its death: another, which drains
 *   LAST      has said GOODBYE                   nobody being left; after LAST_MS all are killed */
#ifndef NODEPROXY_KEEPER_H
#define NODEPROXY_KEEPER_H

#include <stdint.h>

/* ___: cannot be. */
/*        state     READY     LAUNCH  WON      LOST     DIED      AGAIN     TERM      GOODBYE */
#define KEEPER_TABLE(X)                                                                            \
	X(STARTING, RUNNING,  ___,    ___,     ___,     LAST,     ___,      STOPPING, LAST)        \
	X(RUNNING,  RUNNING,  TRIAL,  ___,     ___,     WAITING,  ___,      STOPPING, LAST)        \
	X(TRIAL,    TRIAL,    ___,    RUNNING, RUNNING, WAITING,  ___,      STOPPING, LAST)        \
	X(WAITING,  ___,      ___,    ___,     ___,     ___,      RUNNING,  STOPPING, ___)         \
	X(STOPPING, STOPPING, ___,    ___,     ___,     STOPPING, STOPPING, STOPPING, LAST)        \
	X(LAST,     LAST,     ___,    ___,     ___,     LAST,     ___,      LAST,     LAST)

enum keeper_state {
	___,
#define STATE(name, ...) name,
	KEEPER_TABLE(STATE)
#undef STATE
	KEEPER_STATES
};
enum keeper_event { EV_READY, EV_LAUNCH, EV_WON, EV_LOST, EV_DIED, EV_AGAIN, EV_TERM, EV_GOODBYE,
		    KEEPER_EVENTS };

/* [state][event]: the next state. */
extern const uint8_t keeper_next[KEEPER_STATES][KEEPER_EVENTS];

/* What a master is started with; see master_main(). */
struct keeper_args {
	int exe;			/* of the first one; taken */
	const char *file;		/* the settings */
	const char *path;		/* where an upgrade looks for the next */
};

/* Until all is over; the exit code. */
int keeper_run(const struct keeper_args *);

#endif
