/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What grpc.c (the channel), grpc_call.c (its calls) and grpc_creds.c (whom it trusts and what it shows)
 * share; nobody else includes it. */
#ifndef NODEPROXY_STORE_SYNC_GRPC_INNER_H
#define NODEPROXY_STORE_SYNC_GRPC_INNER_H

#include "store/sync/grpc.h"
#include "store/sync/grpc_frame.h"

/* ---- credentials ---- */

struct grpc_creds;
/* NULL in *ret: no TLS is wanted.  0; -EINVAL with words; -ENOMEM. */
must_use int grpc_creds_new(const struct grpc_terms *, uint64_t key_id, struct grpc_creds **ret,
			    char why[GRPC_WORDS]);
void grpc_creds_free(struct grpc_creds **);
/* The terms of a connection to this server.  0 or -errno. */
must_use int grpc_creds_side(const struct grpc_creds *, struct tls_stock *, const char *name,
			     struct tls_side **ret);
/* Signs what was asked for, at once. */
void grpc_creds_sign(const struct grpc_creds *, struct tls_stock *, struct slot_ref,
		     const struct tls_job *);

/* ---- the channel ---- */

#define GRPC_TOKEN_MAX 4096u

struct grpc {
	struct node in_stock;
	uint64_t id;
	struct loop *loop;
	struct grpc_stock *stock;
	struct grpc_creds *creds;	/* NULL: plain text */
	struct addr endpoint[GRPC_ENDPOINTS];
	unsigned endpoints, at;
	unsigned attempts;		/* since one was fine */
	uint32_t message_max;
	char name[TLS_NAME];		/* "": the address */
	char authority[TLS_NAME];
	char token_name[32], token[GRPC_TOKEN_MAX];
	void (*on_up)(void *arg);
	void (*on_down)(void *arg, const char *why);
	void *arg;
	enum grpc_state state;
	bool was_fine;			/* the connection at hand */
	char leave[GRPC_WORDS];		/* why it is to be left; "": it is not */
	struct h2_limits limits;
	int fd;				/* of the line, for the loop */
	struct stream line;		/* TCP or TLS */
	struct h2 *h2;
	struct loop_io io;
	struct loop_timer timer;	/* WAITING: the pause; then the deadline; UP: h2_tick */
	struct loop_timer again;	/* there is something to do now */
	struct node calls, dead;
};

/* Something is to be written, or done, once the loop runs. */
void grpc_soon(struct grpc *);

/* ---- calls ---- */

/* News of its stream. */
void grpc_call_news(struct grpc_call *, unsigned news);
/* What waits to be sent. */
void grpc_calls_flush(struct grpc *);
/* The connection is gone: all calls end. */
void grpc_calls_end(struct grpc *, const char *why);
/* Those that are over, freed. */
void grpc_calls_reap(struct grpc *);
/* Without a word. */
void grpc_calls_drop(struct grpc *);

#endif
