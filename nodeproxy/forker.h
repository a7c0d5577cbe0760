/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The forker: a process of the master's of which all errands are forked.
 *
 * To fork the master costs it half a millisecond with hundreds of pods, for it has thousands of descriptors
 * and all pods' memory, and to bury a child may cost several.  The forker has neither: it is given the
 * channel of an errand, forks a process that serves it (netns.h), and forgets both.  It knows of no pods,
 * enters no namespace and raises no capability.  It is our program under another name, started with nothing
 * but its channel.
 *
 * It is started with the first errand, so that a host without pods has none, and ends with its channel, that
 * is with its master.  When it dies, or hangs and is killed for that, another one is started with the next
 * errand; errands that are under way go on. */
#ifndef NODEPROXY_FORKER_H
#define NODEPROXY_FORKER_H

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/ipc/chan.h"

struct master;

#define FORKER_NAME  "nodeproxy-forkr"
#define FORKER_ARGV0 "nodeproxy: forker"

struct forker {
	bool runs;
	struct mono since;
	struct fd pidfd;
	struct chan chan;
	struct loop_io on_death;
};

/* main() of the forker, with its channel as CHAN_FD; the exit code. */
int forker_main(void);
/* Has an errand forked that serves this end of a channel, which stays the caller's.  0; -EAGAIN: the forker
 * has just died, and its death, which follows, looks for errands that wait; or -errno. */
must_use int forker_fork(struct master *, struct fd errand);
/* Ends it if it forked none for an errand that began then, and should be over by now; once a second. */
void forker_look(struct master *, struct mono began);

#endif
