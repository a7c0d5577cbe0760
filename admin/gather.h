/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Numbers of one thing, added up over the workers.  A slot counts only where its generation is the
 * one the view names; a worker that has not touched the slot yet adds nothing. */
#ifndef ADMIN_GATHER_H
#define ADMIN_GATHER_H

#include "admin/state.h"
#include "admin/text.h"
#include "workers/obs/check.h"
#include "workers/obs/endpoint.h"

/* Of one worker at most OUTCOME_SLOTS; the same ones on all of them, but for a few. */
#define OUTCOMES_TOLD (4 * OUTCOME_SLOTS)

struct service_sums {
	uint64_t c[SCS];
	uint64_t grpc[GRPC_STATUSES];	/* of the outcomes that are known */
	struct hist hist[SHS];
	uint64_t class[OUTCOME_CLASSES];
	uint64_t requests;		/* the sum of all classes but flow */
	struct outcome_sum {
		struct outcome_id what;
		uint64_t n;
	} outcome[OUTCOMES_TOLD];	/* requests first, by status and reason, whatever their grpc */
	unsigned outcomes;
	uint64_t other[OUTCOME_CLASSES];	/* of class: those whose reason is not known */
};

struct tenant_sums {
	uint64_t c[TCS];
	uint64_t reasons[REASONS];
	struct hist hist[THS];
};

struct endpoint_sums {
	uint64_t in_flight, waiting, exchanges, connects, connect_failures, failures;
	uint32_t rtt_us, out_ms;	/* 0: not known; not out */
	uint32_t warmth;		/* of 1,024: the part that it gets while it starts slowly */
	bool by_rate;			/* out, or was, because of its success rate */
	bool probing;			/* its time is over, and its one exchange is under way */
	int64_t last_failure_ms;	/* ago; -1: never */
	enum check_state check;		/* of health checks, and for how long */
	uint32_t check_s;
};

/* In one step; ret is 5 KiB. */
void gather_service(const struct state *, struct slot_gen, struct service_sums *);
/* False: no worker has counted anything for it, and the sums are zero. */
bool gather_service_used(const struct state *, struct slot_gen);
void gather_tenant(const struct state *, struct slot_gen, struct tenant_sums *);
/* Of the listener with this name; one that is gone and still has connections counts too. */
void gather_listener(const struct state *, const char *name, uint64_t ret[LCS]);
/* Of an endpoint of this port, whose policy says how long it may be out. */
void gather_endpoint(const struct state *, const struct vport *, const struct vendpoint *,
		     struct endpoint_sums *);
/* What is held of a limit; 0: nothing, or no slot. */
uint64_t gather_limit(const struct state *, struct slot_gen, enum limit);
/* What holds for a port. */
struct ejection gather_ejection(const struct vport *);
struct balancing gather_balancing(const struct vport *);
uint64_t gather_worker(const struct state *, unsigned worker, enum worker_counter);
uint64_t gather_workers(const struct state *, enum worker_counter);
uint64_t gather_reason(const struct state *, enum reason);

/* Seconds since a time of CLOCK_MONOTONIC in ms that another process wrote; never negative. */
int64_t gather_age_s(const struct state *, uint64_t since_mono_ms);

/* NULL: nothing is known of it. */
const struct board_rate *gather_rate(const struct state *, struct slot_gen);

/* What the wall clock, as it is set now, would have said then. */
int64_t gather_unix_ms(const struct state *, uint64_t since_mono_ms);
/* True for a slot that several things share because the board was full. */
bool slot_is_shared(struct slot_gen, uint32_t slots);

/* The process with this role and id that serves (or will): the newest when one is draining. */
const struct proc *gather_proc(const struct state *, enum role, uint32_t id);

/* Ready: as many workers as there should be serve a view, and nobody is shutting down.  Otherwise
 * false, and why, in words, added to an empty text. */
bool gather_ready(const struct state *, struct text *why);

/* Calls fn for every distinct tenant that the view names; last with the one without a name, whose
 * slot 0 everybody shares who has none of their own. */
void gather_tenants(const struct state *, void (*fn)(void *arg, const struct vnamespace *),
		    void *arg);

#endif
