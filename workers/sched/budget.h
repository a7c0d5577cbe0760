/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Tenants as a worker knows them: who pays for time, bytes, memory and connections.
 *
 * A tenant has a slot and a generation, both from the view.  struct tenant is this worker's half:
 * weight and quotas (its terms), the memory budget that chunks are charged to, the number of its
 * conns and exchanges, and the scheduler's bookkeeping.  Slot 0 belongs to everybody who has no slot
 * of their own.
 *
 *   phase       how
 *   current     tenant_take() made it or found it; it keeps its slot even without conns, so that
 *               what it owes is not forgotten between two conns
 *   superseded  the slot got another generation: conns that hold it go on, counted nowhere
 *   gone        the last tenant_give() of a superseded one
 *
 * Conns and pooled backs hold a reference (tenant_take, tenant_ref .. tenant_give). */
#ifndef NODEPROXY_WORKERS_SCHED_BUDGET_H
#define NODEPROXY_WORKERS_SCHED_BUDGET_H

#include "nodeproxy/lib/base/chunks.h"
#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/ratelimit.h"
#include "workers/obs/board.h"
#include "workers/sched/shed.h"

#define TENANT_WEIGHT_MAX 1000u

/* One exchange alone must be able to go on, whatever it has to keep: the request head for sending it
 * again, the next request and the part of a response head in large chunks, which together must be
 * less than where reading goes on (grades.def).  Lower budgets count as this. */
#define TENANT_MEMORY_MIN (5 * CHUNK_LARGE_BYTES)

struct tenants;

/* What the view says of a tenant.  Out of range values are clamped: weight 0 is 1; 0 memory,
 * connections or requests: the default of this worker; a slot out of range is slot 0. */
struct tenant_terms {
	uint32_t slot, gen;
	uint32_t weight;
	uint32_t connections, requests;
	uint64_t memory_bytes;
};

struct tenant {
	/* sched.c */
	struct node runnable;		/* its units with something to do */
	struct node on;			/* in one of the scheduler's lists while it has work */
	int64_t time_ns, bytes;		/* what it may still use; negative: owed */
	struct mono slept;		/* since when it has had no work */
	uint32_t listed;		/* its weight in the scheduler's sum; 0: not listed */
	struct shed shed;		/* of its new exchanges, what is refused in an overload */

	struct budget memory;		/* chunks are charged here */
	uint32_t conns, conns_max;
	uint32_t requests, requests_max;
	uint32_t pipes;			/* that its flows hold */
	uint32_t names;			/* questions of its pods that wait for answers */
	struct ratelimit handshakes;	/* that its callers may begin */
	uint8_t grade;			/* enum grade: how short of memory it was found */
	uint32_t weight;
	uint32_t refs;
	uint32_t slot, gen;
	bool memory_is_default, conns_are_default, requests_are_default;
	struct board_tenant *board;	/* its counters; never NULL */
	struct tenants *home;
};

struct tenants {
	struct slab slab;
	struct tenant *at[BOARD_TENANTS];
	struct board *board;
	unsigned worker;
	struct budget *all;		/* of the worker: the parent of every tenant's */
	uint64_t memory_default;
	uint32_t conns_default, requests_default;
	struct board_tenant nowhere;	/* the counters of superseded tenants; nobody reads them */
};

/* all is borrowed and outlives the tenants; 0 or -errno. */
must_use int tenants_init(struct tenants *, struct board *, unsigned worker, struct budget *all,
			  uint64_t memory_default, uint32_t conns_default,
			  uint32_t requests_default);
void tenants_fini(struct tenants *);

/* The tenant of these terms, which become its terms; +1 reference.  Never NULL: without room for
 * another, it is slot 0's. */
struct tenant *tenant_take(struct tenants *, const struct tenant_terms *);
void tenant_ref(struct tenant *);
void tenant_give(struct tenant **);
/* New terms after a view was adopted; nothing happens when no such tenant is known here. */
void tenants_update(struct tenants *, const struct tenant_terms *);

/* Other defaults, for all whose terms do not say otherwise. */
void tenants_defaults(struct tenants *, uint64_t memory, uint32_t conns, uint32_t requests);

/* A conn of this tenant: counted until tenant_leave().  -EUSERS when it has all it may have. */
must_use int tenant_admit(struct tenant *);
void tenant_leave(struct tenant *);
/* The same for an exchange under way, until tenant_request_over(); the exchange says whose fault it
 * was, so nothing is counted as refused here. */
must_use int tenant_request(struct tenant *);
void tenant_request_over(struct tenant *);

#endif
