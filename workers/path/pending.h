/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Exchanges that wait for a place within the limits of a Service port (TrafficPolicy: limits.pending),
 * instead of being refused at once.
 *
 * Those of one port stand in a line of this worker, in it by source: the tenant of the caller.
 * Sources are called in turn, each its oldest first, so that one who sends much waits for itself.
 * When the line is full the source that has most in it loses its newest, unless that is the one who
 * comes.  Nobody overtakes: while a line is there, who comes later joins it.
 *
 *   state of an exchange   ends with
 *   NONE
 *   WAITS   stands in line    a place that came free (CALLED), time, another's turn when the line is
 *                             full (PUSHED), or its own end
 *   CALLED  picks and tries   a place: NONE; none after all: WAITS again, first of its source
 *   PUSHED  must go           refused
 *
 * What ends on this worker calls the next one here.  Of places that come free on others nobody tells:
 * a timer looks, while a line is there (PENDING_LOOK_MS).  A worker that waits leaves word of it on the
 * board, and where somebody else waits every eighth place is left for the looks of others, so that a
 * worker that holds none gets some too. */
#ifndef WORKERS_PATH_PENDING_H
#define WORKERS_PATH_PENDING_H

#include "nodeproxy/lib/base/slab.h"
#include "nodeproxy/lib/base/wheel.h"

#define PENDING_LINES	1024	/* Service ports where somebody waits; more are refused at once */
#define PENDING_SOURCES 4096	/* tenants in all of them; likewise */
#define PENDING_LOOK_MS 60	/* a step of the wheel */
#define PENDING_BUCKETS 256
#define PENDING_LEAVES	8

enum pending { PENDING_NONE, PENDING_WAITS, PENDING_CALLED, PENDING_PUSHED };

struct exchange;
struct path;
struct pending_line;
struct pending_source;

struct pendings {
	struct slab lines, sources;
	uint32_t n;			/* exchanges that wait or were called */
	struct node all;		/* lines */
	struct node by_slot[PENDING_BUCKETS];
	struct wheel_entry look;	/* while there are any */
};

/* 0 or -errno. */
must_use int pending_init(struct pendings *);
void pending_fini(struct pendings *);

/* Somebody stands in line for these limits. */
bool pending_has_line(const struct exchange *);
/* Puts it into the line (back into it, when it was called); false: it must be refused. */
must_use bool pending_join(struct exchange *);
/* It has its place, or has ended. */
void pending_leave(struct exchange *);
/* Something that counted for these limits has ended. */
void pending_call(struct path *, uint32_t limit_slot);
/* The timer. */
void pending_look(struct path *);

#endif
