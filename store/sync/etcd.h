/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A client of an etcd cluster: a channel of grpc.h, proven to be allowed, and of etcd's API what a
 * registry is made of.
 *
 *   client  one cluster at several endpoints; up when one of them is connected and, if there is a user,
 *           there is a token.  Another one is asked for when a call says that it is not valid any more
 *   call    ranges, puts, deletes, transactions
 *   watch   what changes from a revision on
 *   lease   kept alive over connections and members, until it is freed or too late
 *
 * Which member answers is the client's business: one that has no leader, does not answer in time or is
 * no etcd is left for the next.  Reads are linearizable.
 *
 * All answers are of one cluster.  A member of another one is left, too, because a host that takes the
 * registry of others for its own forgets everything; but when there is no other any more (three times as
 * many in a row as there are endpoints) the cluster was made anew, and the client takes its id: whoever
 * remembers revisions compares head.cluster.
 *
 * Callbacks come from the loop and borrow all they are given for the call.  They may make and cancel
 * calls, watches and leases; they may not free the client. */
#ifndef NODEPROXY_STORE_SYNC_ETCD_H
#define NODEPROXY_STORE_SYNC_ETCD_H

#include "store/sync/grpc.h"

#define ETCD_USER	128u
#define ETCD_PASSWORD	512u
#define ETCD_CALL_MS	10000		/* etcd itself gives up after 7 s */
#define ETCD_MESSAGE_MAX (8u << 20)	/* of a page, or of the events of a moment */
#define ETCD_OPS	128u		/* of a transaction: etcd's own bound */

/* ---- clients ---- */

struct etcd_terms {
	const struct addr *endpoint;
	unsigned endpoints;		/* 1 .. GRPC_ENDPOINTS */
	struct slice ca, cert, key;	/* as of grpc.h; the name in a certificate can be the user, too */
	const char *name;
	const char *user;		/* "": nobody is named */
	struct slice password;
	uint64_t cluster;		/* the id that is known already; 0: that of whoever answers first */
	void (*up)(void *arg);
	/* No calls can be made (any more), and why; after every attempt.  Calls that are under way say
	 * themselves how they ended: of a token only, they go on. */
	void (*down)(void *arg, const char *why);
	void *arg;
};

struct etcd;
/* Copies all.  0; -EINVAL with words; -ENOMEM. */
must_use int etcd_new(struct loop *, struct grpc_stock *, const struct etcd_terms *, struct etcd **ret,
		      char why[GRPC_WORDS]);
/* Calls, watches and leases must have been freed. */
void etcd_free(struct etcd **);
bool etcd_is_up(const struct etcd *);
const struct addr *etcd_endpoint(const struct etcd *);	/* as grpc_endpoint() */
void etcd_leave(struct etcd *, const char *why);	/* as grpc_leave() */

/* ---- calls ---- */

struct etcd_head {
	uint64_t cluster, member;
	int64_t revision;
};

struct etcd_kv {
	struct slice key, value;
	int64_t created, modified, lease;	/* revisions; 0: no lease */
};

enum etcd_kind { ETCD_RANGE, ETCD_PUT, ETCD_DELETE };

struct etcd_op {
	enum etcd_kind kind;
	struct slice key, end;		/* all in [key, end); end empty: this one */
	struct slice value;		/* PUT */
	int64_t lease;			/* PUT; 0: none */
	int64_t limit, revision;	/* RANGE; 0: no limit; now */
	bool keys_only;			/* RANGE */
};

enum etcd_what { ETCD_CREATED, ETCD_MODIFIED, ETCD_VALUE };

/* That it is as it was seen; CREATED 0: that there is no such key. */
struct etcd_if {
	enum etcd_what what;
	struct slice key;
	int64_t revision;		/* CREATED, MODIFIED */
	struct slice value;		/* VALUE */
};

struct etcd_txn {
	const struct etcd_if *conds;
	const struct etcd_op *then, *otherwise;
	unsigned n_conds, n_then, n_otherwise;	/* at most ETCD_OPS each */
};

struct etcd_result {
	const struct etcd_kv *kv;	/* RANGE, by key */
	size_t kvs;
	bool more;			/* RANGE: the limit cut it */
	int64_t count;			/* RANGE: without the limit; DELETE: deleted */
};

struct etcd_answer {
	enum grpc_status status;	/* of all but OK there are words only */
	const char *words;
	struct etcd_head head;
	bool holds;			/* the conditions; true when there are none */
	const struct etcd_result *result;	/* of each op that was done */
	size_t results;
	int64_t lease, ttl_s;		/* of calls about leases; ttl 0: there is no such lease */
	const char *token;		/* of AUTHENTICATE */
};

typedef void etcd_done_fn(void *arg, const struct etcd_answer *);

struct etcd_call;
/* NULL: the client is not up, or there is no room or memory.  done comes exactly once unless the call
 * is cancelled; the call is gone then. */
struct etcd_call *etcd_op(struct etcd *, const struct etcd_op *, etcd_done_fn *, void *arg);
struct etcd_call *etcd_txn(struct etcd *, const struct etcd_txn *, etcd_done_fn *, void *arg);
void etcd_call_cancel(struct etcd_call **);
/* The first key behind all that begin with prefix, of which prefix.n bytes are written to room. */
struct slice etcd_end(struct slice prefix, uint8_t *room);

/* ---- watches ---- */

struct etcd_event {
	struct etcd_kv kv;		/* of a delete: key, and modified is when */
	bool is_delete;
};

struct etcd_told {
	struct etcd_head head;
	const struct etcd_event *event;
	size_t events;
	/* Everything up to head.revision was told: the next watch begins behind it.  Not so while more of
	 * the same revisions follows. */
	bool whole;
};

struct etcd_watch_terms {
	struct slice key, end;
	int64_t from;			/* the first revision that is told */
	void (*told)(void *arg, const struct etcd_told *);
	/* Exactly once, unless it is freed first; it is gone then.  compacted: revisions up to this one
	 * cannot be told any more; 0: not the reason. */
	void (*ended)(void *arg, enum grpc_status, const char *words, int64_t compacted);
	void *arg;
	struct mono *heard;		/* set whenever anything of it comes; may be NULL */
};

struct etcd_watch;
/* NULL as of calls.  One that is silent is asked whether it lives, and ends if it does not say so. */
struct etcd_watch *etcd_watch_new(struct etcd *, const struct etcd_watch_terms *);
void etcd_watch_free(struct etcd_watch **);

/* ---- leases ---- */

struct etcd_lease_terms {
	int64_t ttl_s;			/* at least 2 */
	/* There is one (again): whatever was kept by another has to be put again. */
	void (*held)(void *arg, int64_t id);
	void (*lost)(void *arg, const char *why);
	void *arg;
};

struct etcd_lease;
/* NULL: no memory.  Asked for as soon as the client is up, and again whenever it was lost. */
struct etcd_lease *etcd_lease_new(struct etcd *, const struct etcd_lease_terms *);
/* revoke: tries to tell etcd, which then deletes what the lease keeps; otherwise that goes with time. */
void etcd_lease_free(struct etcd_lease **, bool revoke);

#endif
