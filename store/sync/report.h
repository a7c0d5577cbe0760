/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What the sync process tells the operator: two JSON objects in one text, sealed (SOURCES_MADE); the
 * second, all but the resources, is its last line.
 *
 *   sources    [{kind, path, state, problem, documents, accepted, refused, since_unix_ms};
 *              of a registry also {endpoint, connected, revision, cluster_id, snapshots, snapshot_why};
 *              with source.slices: on-demand also {on_demand: {...}}]
 *   refused    [{source, line, field, reason, kind, namespace, name, serving_last_good}]
 *   resources  [{kind, namespace, name, source, line, created, generation, status}]
 *   rev, durable, store, views, timings
 *
 * status has the conditions of status.c.  EndpointSlices are not among the resources, and lists are
 * cut (and say so) before the text grows past its bound.
 *
 * Of many resources it is made in steps, which change sets may come between: each resource is as it
 * was when its turn came, everything else as it is at the end. */
#ifndef NODEPROXY_STORE_SYNC_REPORT_H
#define NODEPROXY_STORE_SYNC_REPORT_H

#include "nodeproxy/lib/base/fd.h"
#include "store/sync/keep.h"
#include "store/sync/source.h"

#define REPORT_REFUSED_MAX   10000
#define REPORT_RESOURCES_MAX 40000

enum source_state { SOURCE_STARTING, SOURCE_SYNCED, SOURCE_LOST };

struct timing {
	int64_t last_us, max_us;	/* -1: never */
	uint64_t count;
};
void timing_add(struct timing *, int64_t us);

struct report {
	const char *kind, *path;	/* of the source */
	enum source_state state;
	const char *problem;		/* while lost: why */
	struct mono since;		/* of state; of one that is lost, when it was heard last */
	struct source_news news;
	const struct demand *demand;	/* NULL: endpoints of all Services are here */
	uint64_t rev;
	uint64_t failed_rev, failed_views;
	uint64_t views, bases;
	const char *store_path;
	struct timing load;		/* store to view: from opening the store to VIEW_MADE */
	struct timing snapshot;		/* first file read to VIEW_MADE */
	struct timing change;		/* first event noticed to VIEW_MADE */
	struct timing store;		/* one transaction, or everything anew */
	struct timing store_step;	/* for how long at once that held the loop */
	struct timing report_step;	/* the same for reports like this one */
};

const char *source_state_name(enum source_state);

/* A report being made; all zero: none is. */
struct report_job {
	bool on, began, listed, cut;
	struct fd fd;		/* what is written so far */
	size_t kind, bucket, buckets;
	uint32_t said;
};

/* Begins one, or goes on with it for about budget_us.  1: *ret is the sealed text and the job is
 * over; 0: more to do; -errno: given up. */
must_use int report_step(struct report_job *, struct model *, const struct keep *,
			 const struct report *, int64_t budget_us, struct fd *ret);
void report_drop(struct report_job *);
/* All steps at once.  0 and the sealed text, or -errno. */
must_use int report_make(struct model *, const struct keep *, const struct report *,
			 struct fd *ret);

#endif
