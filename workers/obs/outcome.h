/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* How the exchanges of a Service ended: counts by status, reason and grpc-status, on the board.
 *
 * An open-addressing table that one writer fills and never empties, so that counting is one look at
 * one slot: whoever comes often has found it.  An endpoint may answer with any status: what finds no
 * slot in OUTCOME_PROBES looks is counted by its class alone, and nothing grows.  Readers (relaxed
 * atomics, see board.h) believe no key: outcome_of_key() says whether it is one. */
#ifndef NODEPROXY_WORKERS_OBS_OUTCOME_H
#define NODEPROXY_WORKERS_OBS_OUTCOME_H

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/reason.h"

#define OUTCOME_BITS   5
#define OUTCOME_SLOTS  (1u << OUTCOME_BITS)
#define OUTCOME_PROBES 8u

/* The class of the status that the caller saw; none: no response.  Statuses from 600 on are failures
 * of the server as far as HTTP is concerned (RFC 9110, 15). */
enum outcome_class { OUTCOME_1xx, OUTCOME_2xx, OUTCOME_3xx, OUTCOME_4xx, OUTCOME_5xx, OUTCOME_none,
		     OUTCOME_flow, OUTCOME_CLASSES };

struct outcomes {
	struct outcome_slot {
		uint64_t key, n;	/* key 0: free */
	} slot[OUTCOME_SLOTS];
	uint64_t other[OUTCOME_CLASSES];	/* those without a slot */
};

#define GRPC_STATUSES 17u	/* OK (0) to UNAUTHENTICATED (16) */

struct outcome_id {
	bool is_http;		/* false: an opaque flow */
	uint8_t grpc;		/* 1 + grpc-status; 0: it had none */
	unsigned status;	/* 0: no response */
	enum reason reason;
};

static_must(REASONS <= 256);

/* Never 0: nothing ends with REASON_NONE. */
static inline uint32_t outcome_key(bool is_http, unsigned status, enum reason reason)
{
	return (uint32_t)is_http << 31 | (status & 0x3ff) << 8 | (uint32_t)reason;
}

/* The same of a call of gRPC: with 1 + its status. */
static inline uint32_t outcome_key_grpc(uint32_t key, uint8_t grpc)
{
	return key | (grpc & 0x1fu) << 18;
}

void outcome_add_slowly(struct outcomes *, uint32_t key, unsigned at);

static inline void outcome_add(struct outcomes *o, uint32_t key)
{
	unsigned at = key * 0x9e3779b1u >> (32 - OUTCOME_BITS);
	struct outcome_slot *s = &o->slot[at];

	if (likely(__atomic_load_n(&s->key, __ATOMIC_RELAXED) == key))
		__atomic_store_n(&s->n, __atomic_load_n(&s->n, __ATOMIC_RELAXED) + 1,
				 __ATOMIC_RELAXED);
	else
		outcome_add_slowly(o, key, at);
}

/* False: not one that anybody would have written. */
bool outcome_of_key(uint64_t key, struct outcome_id *ret);
enum outcome_class outcome_class(const struct outcome_id *);
/* "2xx", "none", "flow". */
const char *outcome_class_name(enum outcome_class);

#endif
