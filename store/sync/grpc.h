/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A gRPC client: calls over HTTP/2 over TCP or TLS, driven by the loop of the process.
 *
 *   stock    what all channels of a process share: memory, sessions
 *   channel  one service at several endpoints, of which one is connected at a time
 *   call     a request and its answer, or two sequences of messages
 *
 * A channel connects by itself and goes on doing so:
 *
 *   WAITING   for the next attempt.  The first round over all endpoints is quick, later ones wait
 *             longer and longer; all pauses are at random, so that those who lost one server together do
 *             not come back together.  Endpoints take turns, the first is chosen at random
 *   DIALING   TCP
 *   SHAKING   TLS
 *   GREETING  HTTP/2: SETTINGS are waited for
 *   UP        calls can be made
 *
 * Whoever has something to say about an endpoint that a connection does not show (it answers, but not
 * for the cluster; it lost its leader) leaves it: grpc_leave().  That it is of use is said too
 * (grpc_fine), and ends the waiting longer and longer.
 *
 * Endpoints are addresses: names are not resolved, since a registry has to be found when DNS is not there.
 *
 * Callbacks come from the loop, never from inside a call of this header.  They may make, send on and
 * cancel calls, and leave; they may not free the channel.  Everything that the other side sends has a
 * bound: message_max, h2_limits, the time of a call. */
#ifndef NODEPROXY_STORE_SYNC_GRPC_H
#define NODEPROXY_STORE_SYNC_GRPC_H

#include "nodeproxy/lib/base/loop.h"
#include "nodeproxy/lib/net/addr.h"
#include "nodeproxy/lib/net/h2.h"
#include "nodeproxy/lib/net/tls.h"

#define GRPC_ENDPOINTS	16u
#define GRPC_WORDS	240u

/* ---- statuses ---- */

enum grpc_status {
#define STATUS(name, words) GRPC_##name,
#include "store/sync/grpc_status.def"
#undef STATUS
	GRPC_STATUSES
};
const char *grpc_status_name(enum grpc_status);

/* ---- stock ---- */

struct grpc_stock {
	struct chunk_pool chunks;
	struct budget budget;
	struct h2_stock h2;
	struct tls_stock tls;
	struct node channels;
	uint64_t last_id;		/* of a channel: what its key is called in tls */
	uint8_t scratch[65536];
};

/* At start, before seccomp or after.  0 or -errno. */
must_use int grpc_stock_init(struct grpc_stock *);
void grpc_stock_fini(struct grpc_stock *);

/* ---- channels ---- */

enum grpc_state { GRPC_WAITING, GRPC_DIALING, GRPC_SHAKING, GRPC_GREETING, GRPC_UP };

struct grpc_terms {
	const struct addr *endpoint;
	unsigned endpoints;		/* 1 .. GRPC_ENDPOINTS */
	uint32_t message_max;		/* bytes of one that is received */
	struct slice ca;		/* PEM of whom is trusted; empty: no TLS */
	struct slice cert, key;		/* PEM of ours; both or none */
	const char *name;		/* that a server's certificate must have; "": the address */
	void (*up)(void *arg);
	/* Not connected (any more), and why; after every attempt. */
	void (*down)(void *arg, const char *why);
	void *arg;
};

struct grpc;
/* Copies all.  0; -EINVAL with words; -ENOMEM. */
must_use int grpc_new(struct loop *, struct grpc_stock *, const struct grpc_terms *, struct grpc **ret,
		      char why[GRPC_WORDS]);
/* Calls end without a word. */
void grpc_free(struct grpc **);

enum grpc_state grpc_state(const struct grpc *);
const struct addr *grpc_endpoint(const struct grpc *);	/* the one that is, or was last, tried */
/* The endpoint answers but is of no use: another one, after a pause. */
void grpc_leave(struct grpc *, const char *why);
void grpc_fine(struct grpc *);
/* A line that all calls from now on have, secret; value NULL: none. */
void grpc_token(struct grpc *, const char *name, const char *value);

/* ---- calls ---- */

struct grpc_call_terms {
	const char *method;		/* "/package.Service/Method" */
	int64_t deadline_ms;		/* 0: none */
	bool open;			/* more messages of ours may follow the first */
	const struct h2_field *field;	/* more lines; borrowed for the call of grpc_call() */
	unsigned fields;		/* at most 4 */
	void (*message)(void *arg, struct slice);
	/* Exactly once, unless it was cancelled; the call is gone then.  words: printable, short. */
	void (*ended)(void *arg, enum grpc_status, const char *words);
	void *arg;
};

struct grpc_call;
/* NULL: the channel is not up, or has no room or memory. */
struct grpc_call *grpc_call(struct grpc *, const struct grpc_call_terms *, struct slice message);
/* Of an open one.  0, -ENOMEM, or -EPIPE: it was closed. */
must_use int grpc_call_send(struct grpc_call *, struct slice message);
/* No callback any more. */
void grpc_call_cancel(struct grpc_call **);

#endif
