/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Addresses of Services without clusterIP.
 *
 * Where the registry gives none (files) every host hashes the name into the range; where it does, one
 * address is claimed once, by compare-and-swap on its own key, and written into the Service.  The first
 * one that is tried is the hashed one, so a move from files to a registry keeps most of them. */
#ifndef NODEPROXY_STORE_REGISTRY_VIP_H
#define NODEPROXY_STORE_REGISTRY_VIP_H

#include "nodeproxy/lib/net/addr.h"
#include "store/registry/registry.h"

#define VIP_TRIES_MAX 65536u	/* of a range that is larger, no more are tried */

/* Addresses in the range base/bits (bits: length of the prefix), at most 2^63. */
uint64_t vip_room(const struct addr *base, unsigned bits);
/* The n-th address to try for owner ("namespace/name"); all of the range come, each once. */
struct addr vip_address(const struct addr *base, unsigned bits, struct slice owner, uint64_t n);
/* One that is owner's from now on, as text.  FULL: none is free. */
must_use enum registry_error vip_allocate(struct registry *, const struct addr *base, unsigned bits,
					  const char *owner, char ret[ADDR_TEXT]);

#endif
