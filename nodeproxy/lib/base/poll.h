/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The worker's own set of traffic sockets: epoll, edge-triggered.  The worker sleeps in it; the loop
 * of libev is one descriptor in it (loop.h).
 *
 * A socket is added once with EPOLLIN|EPOLLOUT|EPOLLRDHUP|EPOLLET and removed explicitly before it
 * is closed (it may live on in another process).  An event carries the 64-bit token given at
 * poll_add; the receiver sets ready bits and queues the conn, nothing else. */
#ifndef NODEPROXY_LIB_BASE_POLL_H
#define NODEPROXY_LIB_BASE_POLL_H

#include <sys/epoll.h>

#include "nodeproxy/lib/base/fd.h"

#define POLL_BATCH 256

/* Ready bits. */
#define READY_IN	 1u	/* bytes, or a connection to accept */
#define READY_OUT 2u	/* room to write; also: connect has finished */
#define READY_END 4u	/* the other side sent its last byte (RDHUP), or hung up */
#define READY_ERR 8u

struct poll {
	struct fd fd;
	struct epoll_event ev[POLL_BATCH];
};

must_use int poll_init(struct poll *);	/* 0 or -errno */
void poll_fini(struct poll *);
must_use int poll_add(struct poll *, int fd, uint64_t token);
/* Level-triggered and input only: for listening sockets, and for sets inside this one. */
must_use int poll_add_listener(struct poll *, int fd, uint64_t token);
/* Another token for a socket already in the set (a pooled back gets a new conn). */
must_use int poll_retoken(struct poll *, int fd, uint64_t token);
void poll_remove(struct poll *, int fd);
/* One batch: calls fn(arg, token, bits) per event; returns the number.  Sleeps for wait_ms at most
 * until there is one (0: not at all; -1: for ever), then reads the clock. */
int poll_collect(struct poll *, int wait_ms, void (*fn)(void *arg, uint64_t token, unsigned bits),
		 void *arg);

#endif
