/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The address that proves that a pod is captured: of the blocks that are nobody's (for documentation,
 * RFC 5737 and 3849), so a connection to it from inside a pod is either redirected to us or lost.  The
 * port is the token of this one time: whoever in the pod dials the address proves nothing. */
#ifndef NODEPROXY_LIB_NET_PROOF_H
#define NODEPROXY_LIB_NET_PROOF_H

#include "nodeproxy/lib/net/addr.h"

#define PROOF_TEXT "192.0.2.15 or 2001:db8::15"

static inline struct addr proof_addr(unsigned family, uint16_t token)
{
	static const uint8_t ipv4[4] = { 192, 0, 2, 15 }, ipv6[16] = { 0x20, 1, 0xd, 0xb8, [15] = 0x15 };
	struct addr a = { .family = (uint8_t)family, .port = token };

	memcpy(a.ip, family == 4 ? ipv4 : ipv6, family == 4 ? sizeof ipv4 : sizeof ipv6);
	return a;
}

static inline bool addr_is_proof(const struct addr *a)
{
	struct addr proof = proof_addr(a->family, a->port);

	return a->family && addr_eq(a, &proof);
}

#endif
