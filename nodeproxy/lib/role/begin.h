/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The birth of a child: the first thing that main() of worker, syncd and admind does.
 *
 *   master   fork, pin, fexecve with the channel as descriptor 3 and "ID UID:GID" as arguments
 *   child    role_begin(): closes everything else, ignores terminal signals, enters its role,
 *            only then reads its channel; says HELLO, waits for START, maps knobs and panic page
 *   child    whatever it needs to be of use, then role_ready() */
#ifndef NODEPROXY_LIB_ROLE_BEGIN_H
#define NODEPROXY_LIB_ROLE_BEGIN_H

#include "nodeproxy/lib/base/panic.h"
#include "nodeproxy/lib/ipc/chan.h"

/* Exit codes of a child that could not begin; the master logs them. */
enum { ROLE_EXIT_USAGE = 2, ROLE_EXIT_ENTER = 71, ROLE_EXIT_START = 72, ROLE_EXIT_BUILD = 73 };

struct role_born {
	struct chan chan;		/* to the master; not yet watched */
	struct msg_start start;
	struct slice knobs;		/* mapped until others are used: knobs_check() it */
	struct panic_page *panic;	/* mapped for good, already in use */
	struct fd fd[CHAN_MAX_FDS];	/* the other descriptors of START, in messages.h's order */
	unsigned nfds;
};

/* Never fails: exits with one line on standard error when the process was not started by the
 * master, cannot enter its role or is of another build. */
void role_begin(enum role, int argc, char **argv, struct role_born *ret);
/* Says READY. */
void role_ready(struct chan *);

#endif
