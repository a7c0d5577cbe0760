/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Trunks: HTTP/2 connections to endpoints, each shared by the exchanges of one tenant.
 *
 * An exchange still has a back of its own, which is its claim on the board; what that back has
 * instead of a socket is a place on a trunk, and from trunk_request() on a stream there, to which its
 * leg leads: reading, writing and closing it are what they are on a socket.  What they leave to be
 * sent goes out in a step of the trunk, together with what others left until then.  Trunks to
 * one address for one tenant form a bundle.  No bundle puts everything on one connection: when even
 * the least loaded of its trunks is more than half full another is dialled, TRUNKS_PER_BUNDLE in all.
 *
 *   trunk     means                                      ends with
 *   DIALLING  TCP connects                               CONNECTED, SHAKE, BROKEN
 *   SHAKE     the handshake of TLS, where it is wanted   CONNECTED, BROKEN
 *   HELLO     our SETTINGS are out, the endpoint's       GREETED, BROKEN
 *             have not come: nothing is known of what
 *             it takes, and no request was sent
 *   OPEN      takes requests while it has room           GOAWAY, AGED, IDLE, BROKEN
 *   LEAVING   takes no more, streams finish              IDLE, BROKEN
 *   CLOSED    trunks_reap() takes it
 *
 * Whoever finds no room waits, in the order of the bundle's line, until a stream ends or a trunk has
 * opened; while anybody waits, no trunk of the bundle has room.  A back that waits is told by its
 * unit being woken: it has a place then, or trunk_error says why not, or trunk_take() asks for another
 * trunk.
 *
 * A trunk has a unit of its own on its tenant.  Its step moves frames and turns news of streams into
 * ready bits of the backs; it runs nobody's exchange.  Nothing points at a trunk or a back across
 * steps but slot_refs and the lists that both are taken out of when they end. */
#ifndef WORKERS_POOL_TRUNK_H
#define WORKERS_POOL_TRUNK_H

#include "nodeproxy/lib/base/trail.h"
#include "nodeproxy/lib/net/h2.h"
#include "workers/pool/pool.h"
#include "workers/sched/sched.h"

#define TRUNK_MAGIC	  0x4e505452u	/* "NPTR" */
/* Streams on one trunk, though the endpoint may take more: what shares a connection shares its losses,
 * and its one receive window. */
#define TRUNK_STREAMS	  100u
#define TRUNKS_PER_BUNDLE 64u
/* After a trunk could not be had beside others that serve, no other is tried for so long. */
#define TRUNK_AGAIN_MS	  1000

#define TRUNK_STATES_LIST(X) X(BUG) X(DIALLING) X(SHAKE) X(HELLO) X(OPEN) X(LEAVING) X(CLOSED)
enum trunk_state {
#define X(n) TRUNK_##n,
	TRUNK_STATES_LIST(X)
#undef X
	TRUNK_STATES
};

/*   SHAKE      TCP is there, and TLS comes first
 *   CONNECTED  the endpoint hears what we say
 *   GREETED    the endpoint's SETTINGS have come
 *   GOAWAY     the endpoint takes no more requests, or its stream ids are used up
 *   AGED       it has lived for timeouts.trunk_age
 *   IDLE       its last stream has ended and nobody wants to keep it
 *   BROKEN     the connection or the session is over, or never came to be */
#define TRUNK_EVENTS_LIST(X) X(SHAKE) X(CONNECTED) X(GREETED) X(GOAWAY) X(AGED) X(IDLE) X(BROKEN)
enum trunk_event {
#define X(n) TRUNK_EV_##n,
	TRUNK_EVENTS_LIST(X)
#undef X
	TRUNK_EVENTS
};

static_must((int)TRUNK_STATES <= TRAIL_VALUES && (int)TRUNK_EVENTS <= TRAIL_VALUES);

extern const uint8_t trunk_next[TRUNK_STATES][TRUNK_EVENTS];	/* enum trunk_state */
const char *trunk_state_name(unsigned);
const char *trunk_event_name(unsigned);

struct trunks;

struct trunk {
	uint32_t magic;
	uint8_t state;			/* enum trunk_state; assigned by trunk_event() only */
	uint8_t ready;			/* READY_ bits */
	uint16_t limit;			/* as in its bundle's key, like pod */
	uint32_t pod, tls;
	struct addr addr;
	bool expired;			/* its deadline has passed; the next step looks at it */
	int error;			/* why it did not open, -errno */
	struct sched_unit unit;
	struct trunks *home;
	struct tenant *tenant;		/* holds a reference */
	struct bundle *bundle;		/* until it is LEAVING or CLOSED */
	struct stream s;		/* TCP, or TLS over it */
	struct h2 *h;			/* from HELLO on, until CLOSED */
	uint32_t taken;			/* places */
	uint32_t unused;		/* of them: without a stream yet */
	uint32_t served;		/* places given, ever */
	struct mono born, age_at;
	struct mono idle_at;		/* since when nobody has a place; ns 0: somebody has */
	struct mono tick_at;
	struct wheel_entry deadline;
	struct node node;		/* of its bundle; of the dead */
	struct node starved;
	struct trail trail;
};

/* What trunks need of the path above them. */
struct trunk_calls {
	void (*wake)(struct back *);			/* its exchange has something to do */
	void (*deadline)(struct trunks *, struct wheel_entry *, int64_t ms);
	bool (*keeps)(struct trunks *, const struct trunk *);	/* when it is idle */
	/* The limits of where b goes let there be another connection, which this slot of the slab is
	 * from now on, until closed() (both only where b->key.limit says that there are any). */
	bool (*admits)(struct trunks *, uint32_t slot, const struct back *);
	void (*closed)(struct trunks *, uint32_t slot);
	/* What is done with a stream whose key has tls: as wrap_begin() and wrap_shake(). */
	int (*wrap)(struct trunks *, struct trunk *);
	int (*shake)(struct trunks *, struct trunk *);
};

struct trunk_times {
	int64_t idle_ms;
	int64_t age_ms;			/* 0: any */
};

struct banks;

struct trunks {
	struct slab trunks, bundles;
	struct node *bucket;
	uint32_t buckets;		/* a power of two */
	uint32_t open;			/* with a descriptor */
	uint32_t sessions;		/* of them: with one */
	uint32_t taken;			/* places, on all of them */
	uint32_t sweep;			/* where trunks_give_back() goes on */
	struct node dead, starved;
	struct h2_limits limits;	/* of their sessions */
	struct trunk_times times;
	/* borrowed */
	struct h2_stock *stock;
	struct pool *pool;
	struct banks *banks;
	struct sched *sched;
	struct wheel *wheel;
	struct poll *poll;
	const struct trunk_calls *calls;
	uint64_t *c;			/* the worker's counters */
	uint64_t token;			/* kind of its tokens */
	uint8_t *scratch;		/* of the step that runs */
	size_t scratch_room;
};

/* All but slabs, buckets and what they count is set by the caller before.  0 or -errno. */
must_use int trunks_init(struct trunks *, uint32_t count);
void trunks_fini(struct trunks *);	/* after trunks_close() and trunks_reap() */

/* A place for the exchange of b, which has no socket (b->on).  0: b->trunk is one that is OPEN; -EAGAIN: b waits; -ENOENT: b
 * waits, and another trunk is needed for that: trunk_dial(), then again; -ENOMEM.  May be called
 * again while it waits. */
must_use int trunk_take(struct trunks *, struct back *);
/* All trunks to where b goes are more than half full: it would be well to dial another. */
bool trunk_wants_another(const struct trunks *, const struct back *);
/* Whether b waits for room on trunks that are there, and not for one that comes. */
bool trunk_is_full(const struct trunks *, const struct back *);
/* Whether b waits with none dialled, because there is no socket in its pod. */
bool trunk_lacks_socket(const struct trunks *, const struct back *);
/* Dials another trunk for the bundle that b waits in, or has a place in, which has so many ms to open.
 * 0 or -errno; -EDQUOT: limits allow none; -EAGAIN: nor now, and b goes on waiting for those that are
 * there, or for a socket in its pod (bank.h). */
must_use int trunk_dial(struct trunks *, const struct back *, struct tenant *, int64_t ms);
/* Ends the wait, or gives the place back; its leg was closed by then. */
void trunk_give(struct trunks *, struct back *);

/* The session that b has a place on; NULL: it is gone. */
struct h2 *trunk_session(const struct trunks *, const struct back *);
/* Begins the stream of b: as h2_request(). */
must_use int trunk_request(struct trunks *, struct back *, const struct h2_field *, size_t n, bool end);
/* Something was done to the stream of b but through its leg: wakes its trunk if that has to be sent. */
void trunk_kick(struct trunks *, const struct back *);

/* Tells a trunk of an event of the poll set. */
void trunk_ready(struct trunks *, struct slot_ref, unsigned bits);
static inline bool trunks_have_entry(const struct trunks *ts, const struct wheel_entry *e)
{
	return (const uint8_t *)e >= ts->trunks.mem &&
	       (const uint8_t *)e < ts->trunks.mem + ts->trunks.map_bytes;
}
void trunk_expired(struct wheel_entry *);

/* Those that could not read for want of memory look again. */
void trunks_feed(struct trunks *);
/* Closes idle ones that which() says, at most n, looking at a bounded number; how many. */
uint32_t trunks_give_back(struct trunks *, bool (*which)(struct trunks *, const struct trunk *, const void *),
			  const void *arg, uint32_t n);
/* Idle ones are closed now, others when their last stream ends (calls->keeps says no by then): all, or
 * those of a pod; now: at once, for it has left. */
void trunks_drain(struct trunks *);
void trunks_close_pod(struct trunks *, uint32_t pod, bool now);
void trunks_close(struct trunks *);	/* all of them, at once */
void trunks_reap(struct trunks *);
static inline bool trunks_have_dead(const struct trunks *ts)
{
	return !list_is_empty(&ts->dead);
}

#endif
