/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The PROXY protocol, versions 1 and 2: what a load balancer in front of us says about its caller
 * before that caller's first byte (HAProxy's proxy-protocol.txt, sections 2.1 and 2.2).  Taken only
 * from listeners that ask for it: anybody can write it. */
#ifndef NODEPROXY_WORKERS_CODEC_PROXYPROTO_H
#define NODEPROXY_WORKERS_CODEC_PROXYPROTO_H

#include "nodeproxy/lib/net/addr.h"

/* Version 1 has at most 107 bytes; of version 2 we take what fits here, TLVs included. */
#define PROXYPROTO_MAX 1024

struct proxied {
	bool local;		/* a health check of the balancer, or it does not know: the connection's
				 * own addresses count */
	struct addr from, to;	/* caller and what it dialled; local: family 0 */
	size_t bytes;		/* of the header; the caller's first byte follows */
};

/* 1: *ret holds the header at the start of bytes; 0: more bytes are needed; -1: there is none, or it
 * is wrong (the connection must be closed). */
must_use int proxyproto(struct slice bytes, struct proxied *ret);

/* The header of version 2 that tells an application in a pod of its caller.  Both of one family; bytes. */
#define PROXYPROTO_TOLD 52	/* 16 + twice an address and a port of IPv6 */
size_t proxyproto_tell(const struct addr *from, const struct addr *to, uint8_t out[PROXYPROTO_TOLD]);

#endif
