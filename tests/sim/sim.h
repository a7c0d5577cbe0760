/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The simulation: the real data path of a worker (scheduler, conns, exchanges, pool, view) in a
 * world whose clock, randomness and network belong to a seed.
 *
 * A run is reproducible: the same seed gives the same order of everything.  Time passes only when
 * the data path calls the network, and in jumps when nothing moves.  The passes of the loop are those
 * of the worker: events, deadlines, turns, reaper.
 *
 * sim_check() at the end of a life wants every slab empty, every claim returned, every budget at
 * zero.  must() and never() stop a run at once. */
#ifndef TESTS_SIM_SIM_H
#define TESTS_SIM_SIM_H

#include "tests/sim/actors.h"
#include "workers/path/conn.h"
#include "workers/path/path.h"

enum { GATE_HTTP, GATE_RAW, GATE_AUTO, GATE_H2, GATES };

struct sim {
	uint64_t seed;
	int64_t world_ns;
	struct net net;
	struct knobs *knobs;
	struct board *board;
	struct path *path;
	struct ring ring_in, ring_out;
	struct ring_shared *ring_mem;
	struct builder *builder;
	uint64_t rev;
	struct plan plan[PLANS_MAX];
	unsigned plans;
	struct node callers, endpoints;
	struct h2_limits far_limits;	/* of endpoints that speak HTTP/2 */
	unsigned n_callers, flows, flows_ok;
	unsigned h2_ok, h2_cut;		/* answers over HTTP/2, and what was reset instead */
	uint64_t log_lines, log_by_reason[REASONS];

	/* What may go wrong in this life; 0: never, else once in so many. */
	bool http2;			/* some callers speak it */
	bool hostile;
	unsigned refuse, black_hole, break_off, stale, fail_memory;
	unsigned starve;		/* tenants have little memory */
	/* Of each Service: requests under way, and how many more wait; 0: no limit. */
	uint32_t max_requests, pending;
};

struct sim *sim_new(uint64_t seed);
void sim_free(struct sim **);
/* The view with n endpoints behind each Service (0..4). */
void sim_view(struct sim *, unsigned endpoints);
/* A caller with n fresh plans at this gate, or an opaque flow; NULL: refused at the gate. */
struct caller *sim_caller(struct sim *, int gate, unsigned n);
struct caller *sim_flow(struct sim *, int gate, uint64_t bytes);
/* One pass of the loop, with everybody else's doings. */
void sim_pass(struct sim *);
/* Until all callers are done; false: they are not after so much time of the world. */
bool sim_run(struct sim *, int64_t ms);
/* How it stands, as text: what lives, and the callers that are not done. */
const char *sim_state(struct sim *);
/* Lets all deadlines pass; then nothing may be left.  Returns what is, as text; NULL: nothing. */
const char *sim_check(struct sim *);

#endif
