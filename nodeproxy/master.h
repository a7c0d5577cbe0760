/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The master: forks, pins and replaces the others, opens what they may use and passes it to them.
 *
 * It reads no byte from the network or a resource file, opens no database, and never waits for a
 * child.  All its state that matters is in the keeper's table (kept.h) or in shared memory, so that
 * the next master can go on:
 *
 *   phase      what                                             ends with
 *   (birth)    role entered, table received, file read (first)   MASTER_READY to the keeper
 *   TRIAL      everything but traffic and operators (upgrade.h)  TAKE_OVER, or SIGKILL
 *   SERVING    events only: messages, deaths, timers, signals    TERM, INT, RETIRE
 *   RETIRING   a new build serves; workers drain                 the last child's death
 *   LEAVING    workers drain, then all are told to stop          GOODBYE to the keeper
 *
 * One struct, in master.c; the files beside it own a part each: children.c (processes; birth.c,
 * death.c, beat.c and replace.c their ways), programs.c (binaries and accounts), listeners.c (host
 * listeners and who holds them), pods.c (captured pods; homes.c who accepts for them, errand.c, forker.c
 * and netns.c what is done inside), keys.c and identity.c (what the key process needs), roots.c (whom the host
 * trusts), files.c (directories, sockets, logs), views.c (the newest view and
 * who serves it), orders.c (what operators want), upgrade.c (another build), leave.c (the end). */
#ifndef NODEPROXY_MASTER_H
#define NODEPROXY_MASTER_H

#include "nodeproxy/children.h"
#include "nodeproxy/doors.h"
#include "nodeproxy/files.h"
#include "nodeproxy/identity.h"
#include "nodeproxy/kept.h"
#include "nodeproxy/fellows.h"
#include "nodeproxy/keys.h"
#include "nodeproxy/lib/ipc/procs.h"
#include "nodeproxy/lib/knobs/knobs.h"
#include "nodeproxy/listeners.h"
#include "nodeproxy/pods.h"
#include "nodeproxy/reload.h"
#include "nodeproxy/resolvers.h"
#include "nodeproxy/roots.h"
#include "nodeproxy/service.h"
#include "nodeproxy/spaces.h"
#include "nodeproxy/upgrade.h"
#include "nodeproxy/views.h"
#include "workers/obs/board.h"

#define MASTER_ARGV0 "nodeproxy: master"

/* A piece of shared memory: mapped here, kept by the keeper, passed to children. */
struct shared {
	struct fd fd, fd_ro;	/* the same memory; fd_ro cannot be mapped writable */
	void *p;
	size_t bytes;
};

enum master_phase { PHASE_TRIAL, PHASE_SERVING, PHASE_RETIRING, PHASE_LEAVING };

struct master {
	struct loop loop;
	struct kept kept;
	const char *file;		/* nodeproxy.yaml */
	struct knobs knobs;
	struct fd knobs_fd;		/* sealed, for the children */
	uint64_t started_unix_ms;	/* of the instance */
	uint64_t started_mono_ms;
	struct mono ticked;		/* the last look at the children */
	unsigned n_workers;		/* that serve */
	unsigned slots;			/* of the board that workers were started in */
	int cpu[BOARD_WORKERS];
	struct shared board, procs, archive;
	struct child child[CHILDREN];
	struct listeners listeners;
	struct pods pods;
	struct resolvers resolvers;
	struct spaces spaces;
	struct files files;
	struct doors doors;
	struct keys keys;
	struct fellows fellows;
	struct identity_list identity;
	struct roots roots;
	struct reload reload;
	struct views views;
	struct facts facts;		/* see survey.h */
	struct mono surveyed;
	struct service service;
	struct upgrade upgrade;
	enum master_phase phase;
	unsigned terms;			/* TERM or INT so far: from the second on without patience */
	const char *path;		/* of our program, for an upgrade */
	struct mono leave_at;
	struct loop_timer tick, leave;
	struct loop_signal on_term, on_int, on_hup;
};

static inline bool master_is_leaving(const struct master *m)
{
	return m->phase >= PHASE_RETIRING;
}

/* How many workers these settings mean, and where; 0, or -errno with words. */
must_use int master_plan(const struct knobs *, int cpu[], unsigned *ret_n, char error[128]);
/* The settings' file; where the next build's program will be. */
int master_main(const char *file, const char *path);
/* -t: the file is checked, the answer printed; the exit code. */
int master_test(const char *file);

/* What a child says, after msg.def let it through. */
void master_message(struct master *, struct child *, const struct msg *);
/* Something changed: who holds which listener, what the procs page says, whether all are ready. */
void master_settle(struct master *);

#endif
