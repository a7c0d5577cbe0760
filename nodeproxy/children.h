/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The processes below the master: born, watched, replaced.
 *
 * Slots: one per worker id (and a spare: a worker is replaced by starting another beside it), then
 * syncd, admind and keyd.  A slot's life, states of procs.h:
 *
 *   NONE      nobody                        child_start (birth.h)
 *   STARTING  forked; HELLO, START, READY   its messages, its death
 *   READY     does its work                 child_drain, child_stop (replace.h)
 *   DRAINING  worker: takes nothing new     DRAINED or the deadline, then STOP, then its death
 *   WAITING   died too often, back-off      the timer
 *
 * A death (death.h) is seen on the pidfd, which also works for children of a dead master.  What a
 * child leaves: a panic page (copied into the archive), claims on the board (returned), listeners
 * (lent to a sibling at once). */
#ifndef NODEPROXY_CHILDREN_H
#define NODEPROXY_CHILDREN_H

#include <sys/types.h>

#include "nodeproxy/lib/base/panic.h"
#include "nodeproxy/lib/ipc/procs.h"
#include "workers/obs/board.h"

#define CHILD_SYNCD  BOARD_WORKERS
#define CHILD_ADMIND (BOARD_WORKERS + 1)
#define CHILD_KEYD   (BOARD_WORKERS + 2)	/* runs while some listener terminates TLS */
#define CHILDREN     (BOARD_WORKERS + 3)
static_must(CHILDREN <= PROCS_MAX);

struct master;

struct child {
	struct master *m;
	enum role role;
	unsigned id;			/* worker: its slot; others 0 */
	enum proc_state state;
	pid_t pid;
	struct fd pidfd;
	struct loop_io on_death;
	bool ours;			/* forked by this master */
	struct chan chan;
	bool has_chan;
	bool told;			/* has START */
	bool retired;			/* its end is no accident: the slot stays empty */
	uint32_t generation;		/* times the slot was started */
	int cpu;			/* -1: not pinned */
	struct fd panic_fd, ring_fd;
	struct panic_page *panic;
	uint32_t restarts, panics, fails;
	int last_status;		/* wait status of the last death, -1: unknown */
	pid_t adopted_pid;		/* the keeper reaps it and says how it ended */
	struct mono started, ready_at;
	uint64_t started_mono_ms;	/* also of one that was adopted */
	uint64_t rev, refused_rev;
	uint64_t behind_mono_ms;	/* since when rev is not the newest; 0: it is */
	struct usage usage;
	bool view_late;			/* its channel was full: send the newest view again */
	struct loop_timer again;	/* back-off, or the end of draining, or of stopping */
	uint64_t beat;			/* last seen */
	struct mono beat_at;		/* when it last moved, or the child answered */
	bool pinged, stalled;
};

static inline bool child_is_worker(const struct child *c)
{
	return c->role == ROLE_WORKER;
}

static inline bool child_is_alive(const struct child *c)
{
	return c->state == PROC_STARTING || c->state == PROC_READY || c->state == PROC_DRAINING;
}

/* Their slots, their programs, their shared memory.  0, or -errno with words on standard error. */
must_use int children_open(struct master *);
/* Goes on with the children of a dead master. */
void children_adopt(struct master *);
/* The settings in use want something in slot i. */
bool child_is_wanted(const struct master *, unsigned i);
/* Starts what should run and does not. */
void children_start(struct master *);
void child_became(struct child *, enum proc_state);
/* A worker that may hold listeners. */
bool child_can_accept(const struct child *);
void procs_write(struct master *);

#endif
