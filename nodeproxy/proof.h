/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The proof that pods are captured: every pods.check each is visited by an errand (visit.h), which
 * dials from inside, as anybody there would, an address that is nobody's.  If the rules are there and
 * nothing goes before them, the connection arrives at one of the pod's own listeners, and the worker
 * that accepts it says which token it was (lib/net/proof.h).
 *
 *   state     what is known                                          until
 *   NONE      nothing: it is new, or has no route to that address    a visit
 *   PROVEN    of all families that could be dialled it came to us    a visit of which that is not so
 *   FAILED    it did not, within PROOF_MS, in PROOF_MISSES visits    a visit of which it is
 *             one after the other (a worker may have died in one):
 *             said once, in the log
 *
 * What comes to a pod is not proven: to dial it somebody would have to be outside of it, with a route
 * to it that nobody filters, and who tries in vain learns nothing.  Its rule is in the same table, which
 * stands or falls as a whole. */
#ifndef NODEPROXY_PROOF_H
#define NODEPROXY_PROOF_H

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/ipc/pods.h"

#define PROOF_MS       2000
#define PROOF_MISSES   2
#define PROOF_AGAIN_MS 4000	/* after one that did not prove it, if pods.check is longer */

struct master;

struct proof {
	enum proof_state state;
	uint64_t proven_unix_ms, failed_unix_ms;
	uint64_t passed[PASSED];
	struct mono due;		/* of the next visit; 0: at once */
	struct mono asked;
	uint16_t token;			/* of the visit under way; 0: none is */
	bool visited;			/* and what of these it dialled, and what of them came to us: */
	uint8_t dialled, heard;		/* bits of families, IPv4 first */
	uint8_t misses;			/* visits up to now that proved nothing, at most PROOF_MISSES */
};

/* Those whose turn it is are to be visited by the errand that is started next. */
void proof_begin(struct master *);
void proof_visited(struct master *, const struct msg_pod_visited *);
void proof_heard(struct master *, const struct msg_pod_proven *);
/* Once a second. */
void proof_tick(struct master *);
/* What is known now to admind. */
void proofs_send(struct master *);

#endif
