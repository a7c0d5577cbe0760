/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The sync process, for its own files: syncd.c (views, reports, what the source and the master say) and
 * stored.c (its store).  There is one. */
#ifndef NODEPROXY_STORE_SYNC_SYNCD_H
#define NODEPROXY_STORE_SYNC_SYNCD_H

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/loop.h"
#include "nodeproxy/lib/knobs/knobs.h"
#include "nodeproxy/lib/role/begin.h"
#include "store/sync/locals.h"
#include "store/sync/report.h"
#include "store/sync/source.h"
#include "store/sync/uses.h"

struct waiting_view {
	struct built built;
	bool waits;
};

struct syncd {
	struct role_born born;
	const struct knobs *knobs;
	struct loop loop;
	struct model model;
	struct locals locals;
	struct demand demand;		/* with source.slices: on-demand */
	struct uses uses;
	struct keep keep;
	struct source *source;
	struct report report;
	char store_path[256], problem[400];
	char place[PLACE_MAX];		/* where the source reads, for words */
	uint64_t snapshots;		/* of a registry that were said */
	uint64_t rev;			/* of the model */
	bool announced;			/* a view was made */
	bool rebuild;			/* all workers refused what the builder made */
	bool telling_all;		/* the change set under way is a snapshot */
	bool report_due;
	struct report_job job;		/* the report being made */
	int64_t report_us;		/* spent on it */
	struct mono report_next;	/* not before */
	bool was_durable;
	bool on_copy;			/* on trial, and until the store itself is free */
	struct loop_timer move;
	uint64_t asides;		/* that were said */
	struct mono store_began;	/* the write under way */
	bool had_dir;			/* a state directory that was there */
	int exit_code;
	struct mono began;
	struct waiting_view base, overlay;
	struct loop_timer work, view_retry, demand_due, demand_look, modes_again, workloads_retry, pods_again, pods_due, store_retry, report_again, trim, load_again, look, store_work;
};

/* The model as it stands becomes a view of s->rev; tried again when it cannot be. */
void syncd_commit_view(struct syncd *);
/* What is due of the pods of this host becomes true, unless something else must before. */
void syncd_apply_locals(struct syncd *);
/* The operator is told, not more often than it costs. */
void syncd_report_soon(struct syncd *);
/* What was freed goes back to the kernel, a little later. */
void syncd_trim_soon(struct syncd *);
/* An empty model, as it was before anything was told.  0 or -errno. */
must_use int syncd_new_model(struct syncd *);

/* The state directory it was born with; -1: none. */
static inline int syncd_state_dir(const struct syncd *s)
{
	return s->born.nfds > 1 ? s->born.fd[1].v : -1;
}

/* ---- wanted.c ---- */

/* Before there is a model and a source. */
void wanted_init(struct syncd *);
void wanted_fini(struct syncd *);
/* Services that listeners of the settings lead to are wanted (no more). */
void wanted_pins(struct syncd *, bool wanted);
/* A worker asks for the endpoints of one. */
void wanted_ask(struct syncd *, const struct msg_service *);
/* What is due of the pods of this host, and of what is wanted, may become true now: no change set is being told. */
bool syncd_may_apply(const struct syncd *);
/* After the model was settled: what changed goes out, first to the workers.  since {0}: not timed. */
void syncd_make_true(struct syncd *, bool changed, struct timing *, struct mono since);

/* ---- stored.c ---- */

/* At the start: what the store has becomes the first view, before the source has answered. */
void stored_load(struct syncd *);
/* What changed becomes durable, now or as soon as it can.  force: without the pause after a failure. */
void stored_write(struct syncd *, bool force);
/* From now on looks whether the store is still there. */
void stored_watch(struct syncd *);
/* An upgrade: this process copies the store for the one on trial; that one uses the copy, and the
 * store itself once it has taken over. */
void stored_copy(struct syncd *, const struct msg_store_copy *);
void stored_use_copy(struct syncd *);
void stored_confirm(struct syncd *);

#endif
