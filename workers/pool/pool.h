/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Backs: connections to endpoints, and the idle ones that wait to be used again.
 *
 * An idle back belongs to one tenant and one endpoint address (a connection that carried one
 * tenant's requests never carries another's), to one Service port where that has limits, which
 * it goes on counting for, and to what was wanted of its TLS; the one used last is taken first, so the rest can time out.  An idle back
 * that becomes readable is of no use any more, whatever it has to say.
 *
 *   phase       who        how
 *   new         connect    back_new(), tcp connect
 *   attached    exchange   back->user is its conn; its events wake that conn
 *   idle        pool       pool_put() .. pool_take(); deadline in the wheel
 *   gone        reaper     back_free() */
#ifndef WORKERS_POOL_POOL_H
#define WORKERS_POOL_POOL_H

#include "nodeproxy/lib/base/hash.h"
#include "nodeproxy/lib/base/wheel.h"
#include "nodeproxy/lib/net/addr.h"
#include "workers/pool/leg.h"

#define BACK_MAGIC 0x4e50424bu	/* "NPBK" */

/* Of a socket inside a pod: how its application is to see the caller's address. */
enum origin_how {
	ORIGIN_NONE,		/* not: it sees the pod's own */
	ORIGIN_BOUND,		/* as the one that the connection comes from */
	ORIGIN_TOLD,		/* by the PROXY protocol */
};

struct back_key {
	struct addr addr;
	uint16_t tenant;		/* slot of the view */
	uint16_t limit;			/* slot of the limits that it counts for; 0: none */
	uint32_t tenant_gen;
	uint32_t pod;			/* ref, where the socket is inside one; 0: the host */
	uint32_t tls;			/* number of what is wanted of its TLS (path/wrap.h); 0: plain */
	uint32_t how;			/* enum origin_how: never shared with callers of another origin */
	struct addr origin;		/* BOUND: port 0; TOLD: with the caller's port */
};
#define BACK_KEY_PLAIN offsetof(struct back_key, how)	/* bytes of one with ORIGIN_NONE */

/* The bytes that tell it from others. */
static inline struct slice back_key_bytes(const struct back_key *k)
{
	return slice_of(k, likely(k->how == ORIGIN_NONE) ? BACK_KEY_PLAIN : sizeof *k);
}
static inline bool back_key_eq(const struct back_key *a, const struct back_key *b)
{
	return memcmp(a, b, BACK_KEY_PLAIN) == 0 && a->how == b->how &&
	       (likely(a->how == ORIGIN_NONE) || addr_eq(&a->origin, &b->origin));
}

struct pool_entry;
struct bundle;
struct h2_stream;
struct trunks;
struct tenant;

struct back {
	uint32_t magic;
	uint32_t uses;			/* exchanges it served before this one */
	struct leg leg;
	void *user;			/* the conn it serves; NULL: none */
	struct tenant *payer;		/* of the memory of its TLS, holds a reference; NULL: it has none */
	struct back_key key;
	struct pool_entry *idle_at;	/* while idle */
	struct node node;		/* of its entry while idle, of the dead when closed */
	struct wheel_entry deadline;	/* of idleness */
	/* Of one that has a place on a trunk instead of a socket (trunk.h). */
	struct trunks *on;		/* NULL: it has a socket */
	struct bundle *waits_at;	/* in whose line, by node */
	struct slot_ref trunk;		/* SLOT_NONE: no place */
	struct h2_stream *stream;	/* once it was begun there; then leg.s leads to it */
	bool had_stream;		/* one was begun there, ever */
	int trunk_error;		/* why it waited in vain, -errno */
	uint8_t broke;			/* enum reason: why its stream broke; NONE: it did not */
	uint8_t text_len;
	char text[ADDR_TEXT];		/* the address, for the log */
};

struct pool {
	struct slab backs, entries;
	struct node *bucket;
	uint32_t buckets;		/* a power of two */
	uint32_t keep;			/* idle ones per entry at most */
	uint32_t idle;
	uint32_t limited;		/* idle ones that count for limits */
};

/* 0 or -errno. */
must_use int pool_init(struct pool *, uint32_t backs, uint32_t keep);
void pool_fini(struct pool *);

/* A fresh back without a stream; NULL: no room. */
struct back *back_new(struct pool *, const struct back_key *);
void back_free(struct pool *, struct back **);

/* The idle back used last, now attached to nobody; NULL: none. */
struct back *pool_take(struct pool *, const struct back_key *);
/* Makes it idle; false: enough are, close this one. */
must_use bool pool_put(struct pool *, struct back *);
/* Takes an idle one out, to close it. */
void pool_remove(struct pool *, struct back *);

#endif
