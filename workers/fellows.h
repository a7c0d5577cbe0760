/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Fellows: the other workers that are at home with the same pods.  Both accept from the same sockets, and
 * who is first has the connection; who has more of them than a fellow, by a margin, passes new ones on.
 *
 * The line between two is a short queue each way, made by the master, and both have both ends of it: what
 * one has sent and the other has not read can be read back.  Whoever reads a connection there begins it;
 * who has sent it keeps nothing of it.  So none is begun twice, its end is seen as soon as one of them
 * closes it, and
 *
 *   a fellow that is stopped, or busy      has some six of them (chan_pair_short) until our next tick; then
 *                                          they are begun here, and it is passed nothing for a tick, nor
 *                                          while it gives no sign of life
 *   a fellow that dies                     takes what it had read with it, as all it has; the rest is read
 *                                          back, and when we die it reads what we had sent
 *   one without room, a full tenant, or    gives it back, once: here it is begun, or refused as if it had
 *   that does not know the pod yet         never been away; and it is passed nothing until the next tick
 *   a pod that is gone                     its connections are cut, those on a line too
 *   drain, another line (a new master)     nothing more is sent, what is there is begun, the line is closed
 *
 * Who has more is looked at with each tick, on the board: while nobody has, an accept looks at one pointer
 * and no more.  What is read is not begun in a turn, for until then nobody knows whose it is; who pays for
 * accepting it is its tenant, where it was accepted, and there are no more in a second than msg.def says.
 *
 * A fellow is not believed.  What is no connection of a caller ends the line; one of a pod that is not home
 * to both, or that is gone, goes no further.  For pods that are, it could accept them, or leave them, itself:
 * by what it says on the board it gets no more than by that.  Questions for names are not passed on: they
 * are over before it would matter. */
#ifndef WORKERS_FELLOWS_H
#define WORKERS_FELLOWS_H

#include "nodeproxy/lib/ipc/chan.h"
#include "workers/listen.h"

#define FELLOWS	      8		/* two neighbours, and those of a sibling that is being replaced */
#define FELLOW_SPARE  16	/* so many more than 5/4 of the fellow's are no reason yet */
#define FELLOW_MOST   1000	/* passed per tick: less than msg.def allows */
#define FELLOW_BURST  8		/* begun per pass */
#define FELLOW_SILENT_MS 500	/* who has not passed its loop for so long is passed nothing; idle ones do in 250 */

struct fellow {
	struct fellows *all;
	bool is_open;
	unsigned worker;
	struct chan here;		/* our end: what we pass is sent by it, what we are passed comes to it */
	struct chan there;		/* the fellow's, only to read back */
	uint32_t surplus;		/* so many may be passed until the next tick */
	bool unread;			/* something was passed since nothing was left to read back */
};

struct fellows {
	struct listeners *listeners;
	struct path *path;
	const struct board *board;	/* of the path: what fellows have */
	uint32_t slots;			/* on it, as of when it was checked */
	struct loop *loop;
	bool draining;			/* no lines any more */
	struct fellow at[FELLOWS];
	struct {
		uint32_t ref;		/* 0: not at home there */
		uint32_t worker;	/* who else is; NO_FELLOW */
	} home[BANKS];
};

void fellows_init(struct fellows *, struct listeners *, struct loop *);
/* A line to that worker; one that there was is closed.  Takes the descriptors: our end, and the other. */
void fellows_line(struct fellows *, uint32_t worker, struct fd ends[2]);
/* This worker and that one (NO_FELLOW: no other) are at home with the pod, until it is gone. */
void fellows_home(struct fellows *, uint32_t ref, uint32_t worker);
void fellows_gone(struct fellows *, uint32_t ref);
/* After path_gauges(): what was not read is begun here, and who is the fuller one? */
void fellows_tick(struct fellows *);
/* Closes all lines for good; what is on them is begun here. */
void fellows_drain(struct fellows *);
/* How many of the new connections of who has `mine` are to be passed to who has `theirs`. */
uint32_t fellow_surplus(uint64_t mine, uint64_t theirs);

#endif
