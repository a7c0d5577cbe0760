/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The processes below the master: born, watched, replaced.
 *
 * Slots: one per worker id (and a spare: a worker is replaced by starting another beside it), then
 * syncd and admind.  A slot's life, states of procs.h:
 *
 *   NONE      nobody                        child_start
 *   STARTING  forked; HELLO, START, READY   its messages, its death
 *   READY     does its work                 child_drain, child_stop, its death
 *   DRAINING  worker: takes nothing new     DRAINED or the deadline, then STOP, then its death
 *   WAITING   died too often, back-off      the timer
 *
 * A death is seen on the pidfd, which also works for children of a dead master.  What a child
 * leaves: a panic page (copied into the archive), claims on the board (returned), listeners (lent
 * to a sibling at once). */
#ifndef NODEPROXY_CHILDREN_H
#define NODEPROXY_CHILDREN_H

#include <sys/types.h>

#include "nodeproxy/lib/base/panic.h"
#include "nodeproxy/lib/ipc/procs.h"
#include "workers/obs/board.h"

#define CHILD_SYNCD  BOARD_WORKERS
#define CHILD_ADMIND (BOARD_WORKERS + 1)
#define CHILDREN     (BOARD_WORKERS + 2)
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
	struct mono started, ready_at;
	uint64_t started_unix_ms;
	uint64_t rev, refused_rev;
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

/* Finds the programs and the accounts, and takes over what the keeper has.  0, or -errno with
 * words on standard error. */
must_use int children_open(struct master *);
/* Whom a role's process becomes. */
void children_ids(enum role, uid_t *uid, gid_t *gid);
/* Goes on with the children of a dead master. */
void children_adopt(struct master *);
/* Starts what should run and does not. */
void children_start(struct master *);
void child_start(struct child *);
/* Says START, with the role's descriptors. */
void child_tell(struct child *);
void child_became(struct child *, enum proc_state);
/* Broke msg.def, hangs or is not needed: dies now and is (or is not) replaced. */
void child_kill(struct child *, const char *why);
void child_drain(struct child *, int64_t deadline_ms);
/* STOP now, SIGKILL when it does not leave. */
void child_stop(struct child *);
/* Replaces a worker without losing anything: another one starts in the spare slot, takes its
 * listeners, and the old one drains.  -EAGAIN: one is being replaced already (it waits its turn);
 * -ENOENT: no such worker. */
int child_replace(struct child *, int64_t deadline_ms);
/* Once a second: hangs, late views, adopted children that never spoke. */
void children_tick(struct master *);
/* A replacement goes on as soon as the new one can accept. */
void children_settle(struct master *);
/* A worker that may hold listeners. */
bool child_can_accept(const struct child *);
void procs_write(struct master *);

#endif
