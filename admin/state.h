/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What admind holds to answer from: everything it was given and nothing it made up.
 *
 * Pages in shared memory belong to others and may change while they are read: procs is copied
 * before each answer (state_refresh), numbers of the board are read one by one and only shown,
 * counts that bound a loop are private copies taken when the page was mapped.  Any part may be
 * missing (early, or its owner is away); answers then say so instead of showing zeros as truth. */
#ifndef ADMIN_STATE_H
#define ADMIN_STATE_H

#include "admin/report.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/ipc/pods.h"
#include "nodeproxy/lib/ipc/procs.h"
#include "nodeproxy/lib/knobs/knobs.h"
#include "nodeproxy/lib/net/certs.h"
#include "nodeproxy/lib/net/resolvconf.h"
#include "store/view/view.h"
#include "workers/obs/board.h"

/* What was lost on its way from a worker's ring to a file. */
struct log_losses {
	uint64_t ring;		/* dropped by the worker: its ring was full */
	uint64_t sink;		/* dropped by admind: the file or pipe did not take them */
	uint64_t nonsense;	/* times the ring's bytes made no sense */
};

struct state {
	const struct knobs *knobs;
	struct knobs knobs_was;			/* before the last reload */
	uint64_t knobs_used;			/* reloads that were used */
	const struct board *board;
	unsigned board_slots;			/* that the mapping has room for */
	/* Slots of the board in which a worker was ever started, from the first to the last; 0: none
	 * yet.  Others are not looked at, for looking at a page of shared memory makes it. */
	unsigned workers;
	const struct procs *procs_shared;
	struct procs procs;			/* the last consistent copy */
	bool has_procs;
	const struct panic_archive *panics;
	const struct view *view;		/* NULL: none checked yet */
	struct report report;
	const struct certs *certs;		/* of listeners, checked; NULL: none yet */
	struct addr resolver[RESOLVCONF_MOST];	/* of the host: of pods that have none of their own */
	unsigned n_resolvers;
	struct slice pods_told[PODS_PAGES];	/* mapped; empty: has not come */
	struct pods_page *pods;			/* made of them */
	struct slice pods_bytes;		/* its: pods_page(); empty: none has come */
	struct slice proofs_bytes;		/* mapped: proofs_page(); likewise */
	struct log_losses losses[BOARD_WORKERS];
	uint64_t log_lines;			/* written to the access log */
	int log_error;				/* errno of the last failed write of the access log, 0 */
	uint64_t started_unix_ms;		/* of the instance */
	enum log_level log_level;
	uint64_t open_files_limit;
	char kernel[64];			/* uname -r */
	int landlock_abi;			/* 0: the kernel has none */
	int64_t now_unix_ms;			/* of the answer at hand */
	int64_t now_mono_ms;
};

/* How many workers there should be. */
static inline unsigned state_wanted(const struct state *st)
{
	return st->has_procs ? st->procs.workers : 0;
}

/* A consistent copy of the procs page and the time, before an answer. */
void state_refresh(struct state *);
struct addr;
/* The captured pod that has this address, at whatever port; NULL: none, or more than one. */
const struct pod_told *state_pod_at(const struct state *, const struct addr *);
/* A page of the list of pods has come; borrows the descriptor. */
void state_pods(struct state *, uint32_t page, struct fd);
/* Likewise of what is known of them. */
void state_proofs(struct state *, struct fd);

static inline const struct pods_page *state_pods_page(const struct state *st)
{
	return st->pods_bytes.n ? pods_page(st->pods_bytes) : NULL;
}

static inline const struct proofs_page *state_proofs_page(const struct state *st)
{
	return st->proofs_bytes.n ? proofs_page(st->proofs_bytes) : NULL;
}
/* Those of the host, by an open resolv.conf (none: there is none). */
void state_host_resolvers(struct state *, struct fd);
/* Whom a pod asks for names of others: how many. */
unsigned state_resolvers(const struct state *, const struct pod_told *, struct addr ret[RESOLVCONF_MOST]);
/* None of them answered when they were asked last. */
bool state_names_are_silent(const struct state *, const struct pod_told *);

#endif
