/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A conn: one accepted socket, or one request of a socket that speaks HTTP/2, and its whole life as a
 * table of states and events (conn.c).
 *
 *   PROXY    waits for what the load balancer in front says about its caller
 *   HELLO    TLS: waits for the first bytes (secure.h)
 *   SHAKE    TLS: the handshake
 *   DETECT   waits for the first bytes, to see what they are
 *   HEAD     HTTP/1.x, between requests or inside a request head; idle ones hold no buffer
 *   MUX      HTTP/2: a session, whose requests are conns of their own (mux.h)
 *   STREAM   such a request, that has not begun yet
 *   BUSY     an exchange runs
 *   LINGER   the last answer is on its way out; input is thrown away until the caller has closed
 *   CLOSED   the reaper takes it
 *
 * While it is not CLOSED it is found by its slot_ref.  It owns at most one exchange. */
#ifndef WORKERS_PATH_CONN_H
#define WORKERS_PATH_CONN_H

#include "nodeproxy/lib/base/trail.h"
#include "workers/path/path.h"

#define CONN_MAGIC 0x4e50434eu	/* "NPCN" */

#define CONN_STATES_LIST(X) X(BUG) X(PROXY) X(HELLO) X(SHAKE) X(DETECT) X(HEAD) X(MUX) X(STREAM) X(BUSY) X(LINGER) X(CLOSED)
enum conn_state {
#define X(n) CONN_##n,
	CONN_STATES_LIST(X)
#undef X
	CONN_STATES
};

/*   PROXIED   the load balancer has said who the caller is
 *   TLS       the same, and TLS comes now
 *   SHAKE     the first bytes of TLS are there
 *   SECURED   the handshake is over
 *   HTTP      the bytes are HTTP/1.x, or nothing else is served here
 *   HTTP2     they are HTTP/2
 *   OPAQUE    they are neither, or must not be looked at: an opaque exchange starts
 *   REQUEST   a request head is there (or refused): an exchange starts
 *   KEEP      the exchange is over, the next may come
 *   LAST      the exchange is over, no other may come; or the session is, and has said so
 *   CUT       the exchange is over and what the caller got is not whole
 *   GONE      the caller has closed, or both ways of a tunnel have ended
 *   DEADLINE  time is up
 *   DRAIN_END the drain deadline has passed */
#define CONN_EVENTS_LIST(X) \
	X(PROXIED) X(TLS) X(SHAKE) X(SECURED) X(HTTP) X(HTTP2) X(OPAQUE) X(REQUEST) X(KEEP) X(LAST) X(CUT) X(GONE) X(DEADLINE) X(DRAIN_END)
enum conn_event {
#define X(n) CONN_EV_##n,
	CONN_EVENTS_LIST(X)
#undef X
	CONN_EVENTS
};

static_must((int)CONN_STATES <= TRAIL_VALUES && (int)CONN_EVENTS <= TRAIL_VALUES);

extern const uint8_t conn_next[CONN_STATES][CONN_EVENTS];	/* enum conn_state */
const char *conn_state_name(unsigned);
const char *conn_event_name(unsigned);

/* Idle ones are the many: what it weighs is what a quiet caller costs.  What each request needs comes
 * first, what few conns ever use last. */
struct conn {
	uint32_t magic;
	uint8_t state;			/* enum conn_state; assigned by conn_event() only */
	uint8_t reason;			/* enum reason: why it ended; NONE while it lives */
	bool expired;			/* its deadline has passed; the next step looks at it */
	bool partial;			/* what waits at the front is part of a head */
	bool bodies;			/* its last request had one that fills buffers */
	bool is_stream;			/* a request of a session */
	bool is_mirror;			/* a copy of a request: nobody called (mirror.h) */
	bool secure;			/* its caller speaks TLS */
	bool quiet;			/* a session with nothing to do: its deadline is that of idleness */
	uint16_t peer_port;
	uint32_t exchanges;
	struct sched_unit unit;

	struct path *path;
	struct gate *gate;
	struct tenant *tenant;		/* holds a reference */
	struct exchange *ex;		/* while BUSY */
	union {
		struct h2 *h2;		/* while MUX */
		struct slot_ref outer;	/* is_stream: the conn of its session */
	};
	struct wheel_entry deadline;

	struct leg front;

	struct trail trail;
	uint8_t extra_n;
	char extra[96];			/* "X-Forwarded-For: …" and "X-Forwarded-Proto: http" lines */
	struct addr dialled;		/* listeners by original destination only */
	uint32_t thrown;		/* bytes thrown away in LINGER */
	struct node node;		/* of the dead or the starved */
};
static_must(sizeof(struct conn) <= 384);

static inline struct purse conn_purse(struct conn *c)
{
	return (struct purse){ &c->path->chunks, &c->tenant->memory };
}

/* The answer under way is its last: the worker drains, or its listener is gone. */
static inline bool conn_is_leaving(const struct conn *c)
{
	return c->path->draining || c->gate->gone;
}

/* Takes the stream.  NULL: refused (counted), or it was what proves that a pod is captured, which is
 * nobody's traffic; the stream is closed. */
struct conn *conn_new(struct gate *, struct stream *, const struct addr *peer);
/* A conn of this gate would find all it needs.  False: conn_new() might let it in still, by what it can
 * make others give back. */
bool conn_has_room(struct gate *);
/* Counts and closes a stream that is no conn: told why where HTTP is or must be spoken, else cut. */
void conn_refuse(struct gate *, struct stream *, enum reason);
void conn_event(struct conn *, enum conn_event);
/* Ends it for this reason unless it has one already, by this event. */
void conn_end(struct conn *, enum reason, enum conn_event);
/* By the reaper. */
void conn_free(struct conn *);
static inline void conn_wake(struct conn *c)
{
	sched_wake(&c->path->sched, &c->unit);
}
/* The address of the caller, as the text it is logged and forwarded as. */
struct slice conn_peer_text(const struct conn *);
void conn_deadline_ms(struct conn *, int64_t ms);

#endif
