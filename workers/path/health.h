/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Active health checks: endpoints of Service ports whose TrafficPolicy has a healthCheck are asked
 * themselves whether they are well, by one worker of the host; what it finds is on the board
 * (obs/check.h), where the balancers of all workers read it.
 *
 * Which worker: of those that are alive (their loop has passed lately), the one for which a hash with
 * the Service's slot is highest.  So when one dies, the Services that it had are taken by the others,
 * and nothing else moves.  While views change two may ask one endpoint for a moment, or nobody.
 *
 * health_tick() walks through the Services of a new view, some at a time, and makes the checks that are
 * wanted, then lets go of those that are not.  A check is a unit of the tenant of the Service, whose
 * turns pay for it; HEALTH_AT_ONCE of them have a socket at a time.
 *
 *   phase       ends with
 *   RESTS       its time: DIALS, or later when too many do
 *   DIALS       TCP: ASKS, or SHAKES where the endpoint speaks TLS; its failure, time: RESTS
 *   SHAKES      the handshake: ASKS; its failure, time: RESTS
 *   ASKS        a connection (HTTP: the request is sent, HEARS), its failure, time: RESTS
 *   HEARS       a status line, the end of the connection, time: RESTS */
#ifndef WORKERS_PATH_HEALTH_H
#define WORKERS_PATH_HEALTH_H

#include "nodeproxy/lib/base/slab.h"
#include "nodeproxy/lib/base/slice.h"
#include "nodeproxy/lib/base/wheel.h"

#define HEALTH_CHECKS	 16384	/* endpoints that one worker asks */
#define HEALTH_AT_ONCE	 64
#define HEALTH_BUCKETS	 1024
#define HEALTH_SERVICES	 2048	/* looked at in one tick */
#define HEALTH_ALIVE_MS	 3000	/* a worker whose loop has not passed for so long is dead, or as good */
#define HEALTH_REQUEST	 512

struct path;

struct health {
	struct slab checks;
	struct node bucket[HEALTH_BUCKETS];	/* by slot of the endpoint */
	uint32_t running;		/* that have a socket */
	uint32_t pass;			/* the walk that runs, or ran last */
	uint32_t at;			/* the Service it has come to */
	bool walks;
	uint64_t rev;			/* of the view, and who was alive, when it began */
	uint64_t alive;
};

/* 0 or -errno. */
must_use int health_init(struct health *);
void health_fini(struct path *);
/* A few times a second. */
void health_tick(struct path *);
void health_event(struct path *, struct slot_ref, unsigned bits);
bool health_has_entry(const struct path *, const struct wheel_entry *);
void health_deadline(struct wheel_entry *);
/* The status of the first line of a response in HTTP/1; 0: it is none, -1: more is needed. */
int health_status(struct slice);

#endif
