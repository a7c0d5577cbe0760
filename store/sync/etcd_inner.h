/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What etcd.c (the client and its calls), etcd_watch.c and etcd_lease.c share; nobody else includes it. */
#ifndef NODEPROXY_STORE_SYNC_ETCD_INNER_H
#define NODEPROXY_STORE_SYNC_ETCD_INNER_H

#include "store/sync/etcd_msg.h"

/* DOWN: no member is connected; PROVING: a token was asked for; UP: calls can be made. */
enum etcd_state { ETCD_DOWN, ETCD_PROVING, ETCD_UP };

struct etcd {
	struct loop *loop;
	struct grpc *g;
	enum etcd_state state;
	unsigned endpoints;
	bool has_token;			/* all members know it, for some minutes since it was used */
	unsigned proofs;		/* tokens since an answer was good */
	struct etcd_call *proof;
	uint64_t cluster;		/* 0: none has answered */
	uint64_t stranger;		/* another one that did */
	unsigned strangers;		/* answers of it, and of no other, since then */
	struct node calls, watches;	/* only to know that there are none */
	struct node leases;
	void (*on_up)(void *arg);
	void (*on_down)(void *arg, const char *why);
	void *arg;
	char user[ETCD_USER], password[ETCD_PASSWORD];
};

/* A line of each request: a member that has lost its leader says so at once. */
extern const struct h2_field etcd_led;
const char *etcd_method_path(enum etcd_method);
/* A call of one message and one answer; mem has the message, and goes with the call.  NULL as of etcd_op(). */
struct etcd_call *etcd_call_new(struct etcd *, enum etcd_method, struct etcd_mem *, struct slice,
				etcd_done_fn *, void *arg);
/* What an end says about the member: it is fine, or left, or wants another token. */
void etcd_judge(struct etcd *, enum grpc_status, const char *words);
/* False: the answer is of another cluster, and not to be believed. */
bool etcd_knows(struct etcd *, const struct etcd_head *);
/* The client is up: leases that wait for it go on. */
void etcd_leases_up(struct etcd *);

#endif
