/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The procs page: what the master tells everybody about its children, in shared memory that only
 * the master can write (sealed against future writes).  A reader copies it under the sequence
 * number (odd: being written) and shows it; nothing in it is an authorization. */
#ifndef NODEPROXY_LIB_IPC_PROCS_H
#define NODEPROXY_LIB_IPC_PROCS_H

#include "nodeproxy/lib/ipc/chan.h"
#include "nodeproxy/lib/ipc/facts.h"

#define PROCS_MAGIC 0x4e505052u	/* "NPPR" */
#define PROCS_MAX   96
#define PANICS_MAX  16		/* pages kept in the panic archive, newest first by serial */

enum proc_state { PROC_NONE, PROC_STARTING, PROC_READY, PROC_DRAINING, PROC_WAITING /* back-off */,
		  PROC_STALLED /* only told: ready, but without a sign of life */, PROC_STATES };

/* Of a process that runs, looked at every second.  -1: not known. */
struct usage {
	int64_t cpu_ns;			/* user and system */
	int64_t resident_bytes;
	int64_t private_bytes;		/* of them: shared with nobody */
};
#define USAGE_UNKNOWN ((struct usage){ -1, -1, -1 })

struct proc {
	uint32_t role, id;
	uint32_t state, pid;
	int32_t cpu;			/* -1: not pinned */
	uint32_t restarts;		/* starts after the first */
	uint64_t started_mono_ms;	/* CLOCK_MONOTONIC: one clock for all processes of a host */
	uint64_t rev;			/* worker: view it serves */
	uint64_t refused_rev;		/* worker: view it refused last, 0: none */
	int32_t last_status;		/* wait status of the last death */
	uint32_t panics;
	uint32_t fails;			/* deaths in a row, each soon after its start */
	uint32_t zero;
	uint64_t behind_mono_ms;	/* worker: since when its view has been an old one, 0: it is not */
	struct usage usage;
};

#define PROC_LOOPS 3	/* so many fails are called a crash loop */

struct procs {
	uint32_t magic, seq;
	uint64_t started_unix_ms;	/* of the instance; to be shown, not to be counted with */
	uint64_t started_mono_ms;
	uint64_t master_starts;
	uint64_t rev;			/* newest view the master holds */
	uint64_t failed_rev;		/* newest view that all workers refused */
	uint32_t accounts_missing;	/* 1: runs with fixed unused uids */
	uint32_t shutting_down;
	uint32_t upgrading;		/* new binaries are being tried */
	uint32_t old_masters, old_workers;	/* of earlier binaries, that still drain */
	uint32_t zero;
	uint64_t bad_messages;		/* from children that broke msg.def */
	uint64_t stalls;		/* workers that said nothing for two seconds */
	struct usage master;
	uint64_t log_lost;		/* lines of the master that standard error did not take */
	uint32_t slots;			/* slots of the board that workers were started in: 0..slots-1 */
	uint32_t workers;		/* that should serve */
	uint64_t config_generation;	/* times that settings came into use: 1 since the start */
	uint64_t config_unix_ms;	/* when the last did */
	struct procs_reload {
		uint64_t at_unix_ms;	/* the last one; 0: there was none */
		uint64_t done, refused;	/* how many ended so */
		uint32_t ok, zero;	/* how the last one ended */
		char reason[512];	/* why it was refused, or what it did */
	} reload;
	uint32_t count, zero2;
	struct proc proc[PROCS_MAX];
	struct facts facts;		/* of the host, looked at now and then */
};

/* The archive of panic pages: entry k is valid when serial != 0. */
struct panic_archive {
	struct {
		uint64_t serial;
		uint8_t page[4096];
	} entry[PANICS_MAX];
};

const char *proc_state_name(enum proc_state);
/* It dies whenever it is started. */
bool proc_loops(const struct proc *);
/* The state in the operator's words: "crash-loop", else the state's name. */
const char *proc_word(const struct proc *);
/* A consistent copy; -EAGAIN when the writer kept writing (try later), -EBADMSG. */
must_use int procs_copy(const struct procs *shared, struct procs *ret);

#endif
