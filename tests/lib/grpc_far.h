/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A gRPC server on loopback that says what the test tells it to, right or wrong: for tests of clients, in
 * the client's own loop. */
#ifndef TESTS_LIB_GRPC_FAR_H
#define TESTS_LIB_GRPC_FAR_H

#include "nodeproxy/lib/base/loop.h"
#include "nodeproxy/lib/net/addr.h"
#include "nodeproxy/lib/net/h2.h"
#include "store/sync/grpc_frame.h"

#define FAR_CONNS 16

struct far;

struct far_call {
	struct far *far;
	struct h2_stream *st;
	struct grpc_frames frames;
	unsigned messages;		/* that came */
	bool headed;
	char method[128];
	char lines[4096];		/* of the request, "name: value\n" */
	void *user;
};

struct far_conn {
	struct far *far;
	struct stream s;
	struct h2 *h2;
	struct loop_io io;
	bool open;
};

struct far {
	struct loop *loop;
	struct addr addr;
	int listener;
	struct loop_io io;
	struct loop_timer again;
	struct chunk_pool chunks;
	struct budget budget;
	struct h2_stock stock;
	struct h2_limits limits;
	struct far_conn conn[FAR_CONNS];
	unsigned accepted, calls;
	/* Each message of each call; NULL: calls get no answer. */
	void (*got)(struct far_call *, struct slice message);
	void (*gone)(struct far_call *);	/* may be NULL */
	uint8_t scratch[65536];
};

void far_open(struct far *, struct loop *);
void far_close(struct far *);
void far_cut(struct far *);		/* all connections, now */
void far_deaf(struct far *, bool);	/* accepts nobody from now on; or again, at the same port */
unsigned far_conns(const struct far *);

void far_send(struct far_call *, struct slice message);
void far_raw(struct far_call *, const void *, size_t);	/* as they are, behind a head */
void far_end(struct far_call *, unsigned status, const char *words);
void far_refuse(struct far_call *, const char *http, unsigned status, const char *words);
void far_reset(struct far_call *, enum h2_code);

#endif
