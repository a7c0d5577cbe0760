/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Choosing among endpoints.
 *
 *   peak EWMA      of two drawn at random the one where the exchange is likely to be over first:
 *                  response time times what is in flight (power of two choices); HTTP's default
 *   least request  of two drawn at random the one with less in flight; for opaque flows, which stay
 *                  for long and say nothing about response times
 *   round robin    each in turn
 *   maglev         the one that the key of the request says (store/view/maglev.h), whatever it has to
 *                  do; the key of one that may not be taken is hashed on
 *
 * With weights that differ: the first of the two is drawn by weight, the second by weight among the
 * others, and what is in flight counts in proportion to the weight.  Least request takes the second
 * only when that is better off, so that with nothing in flight the weights decide alone and with much
 * all are equally full.  Peak EWMA does the same while the times of the two are within a factor of
 * two: a weight is the operator's word about a machine, and a little noise in its times does not
 * outdo it.  Beyond that it takes what is likely to be over first, as without weights.  Round robin
 * steps through the weights, laid end to end, by the golden section: of all steps it leaves the most
 * even gaps (at most three lengths), so nobody's turns come in bursts, and it needs no more state than
 * a number.
 *
 * What they compare is on the board and is the host's, not this worker's (obs/endpoint.h).
 * Positions of round robin are this worker's; they begin anywhere, so that workers do not march in
 * step, and one that was pushed out of the table begins anywhere again.
 *
 * Endpoints that are out (they failed in a row) are passed over as long as at most half of those
 * that are ready are out; when more are, the trouble is a common one and being out counts for
 * nothing: the few that are left would only be drowned.  So one endpoint alone always serves, of
 * two or three one can be out, of four or five two.  A policy may allow another part than half: one
 * of two or more can be out whatever it says, the last one never; of more than it allows only the
 * first so many, in the order of the view, are passed over, until more than half are out too.
 *
 * Endpoints whose health checks fail (obs/check.h), where the policy has a check, are passed over
 * likewise, but however many they are: only panic, or nobody else, lets them serve.
 *
 * Where endpoints are of different levels (obs/levels.h) a level is drawn first, by what each gets as
 * its health is, then one of its endpoints; when the level has none that may be taken, the others are
 * asked, best first.
 *
 * With slow start, one that became ready a while ago is taken, when it is drawn first, with the chance
 * that its age gives it, and never because it has less to do than the other of two: it always has.
 *
 * One whose time is over is like the others, but that the exchange that gets it is its probe: whoever
 * draws it takes that on the board, and who comes second draws again. */
#ifndef WORKERS_POOL_BALANCE_H
#define WORKERS_POOL_BALANCE_H

#include "nodeproxy/lib/net/addr.h"
#include "store/view/view.h"
#include "workers/obs/endpoint.h"
#include "workers/obs/levels.h"

#define BALANCE_SLOTS 4096
#define BALANCE_TRIED 16

struct balance {
	struct board *board;	/* borrowed */
	uint32_t ejected;	/* put out by a pick because of their success rate: the caller's to count and clear */
	struct balance_port {
		uint64_t key;	/* 0: unused */
		uint32_t at;	/* round robin */
		uint32_t passed;	/* ready ones before this are passed over when they are out */
		int64_t counted_ns;
		uint8_t panics;		/* a bit per level: nobody is passed over in it */
		bool warms;		/* somebody starts slowly */
		uint8_t load[VPORT_LEVELS];	/* percent of the requests, of each level */
	} slot[BALANCE_SLOTS];
};

/* Endpoints that failed this exchange already. */
struct tried {
	uint8_t n;
	struct addr addr[BALANCE_TRIED];
};

/* How to choose: what the policy of the port says. */
struct wish {
	enum balancer how;		/* not BALANCER_DEFAULT */
	const struct balancing *balancing;
	const struct ejection *ejection;
	uint64_t hash;			/* of the key, for BALANCER_MAGLEV */
};

/* A ready endpoint of the port that was not tried yet; without any ready one, a serving one that
 * terminates (as Kubernetes does); false: there is none (or all were tried). */
bool balance_pick(struct balance *, const struct vport *, const struct wish *, const struct tried *,
		  struct vendpoint *ret);

#endif
