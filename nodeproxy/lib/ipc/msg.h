/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The rows of msg.def as a table, and the check that every received message passes before anybody
 * sees it.  A pure function of bytes, roles and the number of descriptors: the fuzz target and the
 * tests call it without a socket.
 *
 * On the wire a message is a struct msg_head, the payload struct and the tail, in one datagram of
 * this machine's byte order (both ends are one build: see msg_build). */
#ifndef NODEPROXY_LIB_IPC_MSG_H
#define NODEPROXY_LIB_IPC_MSG_H

#include "nodeproxy/lib/ipc/chan.h"

struct msg_head {
	uint32_t type;		/* enum msg_type */
	uint32_t zero;
};

struct msg_rule {
	const char *name;
	uint32_t from, to;	/* masks of 1 << enum role */
	uint32_t bytes, tail;	/* of the payload, exact; most bytes of text after it */
	uint32_t fds_min, fds_max;
	uint32_t rate;		/* per second, burst twice that; 0: no limit */
};

/* NULL for a type that no row has. */
const struct msg_rule *msg_rule(uint32_t type);
/* True when a row lets from say this to to. */
bool msg_may(const struct msg_rule *, enum role from, enum role to);
/* Checks a datagram of n bytes (8-aligned) that came with nfds descriptors.  0: type, p and tail of
 * *ret are set (they point into bytes); -EPROTO: no row allows it. */
must_use int msg_parse(const void *bytes, size_t n, unsigned nfds, enum role from, enum role to,
		       struct msg *ret);
/* Version and shape of all messages: two binaries that differ must not talk.  At most
 * MSG_BUILD_ID - 1 characters. */
const char *msg_build(void);

#endif
