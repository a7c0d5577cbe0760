/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* SipHash-2-4 (Aumasson and Bernstein 2012), keyed once per process, and a small chained hash
 * index of intrusive nodes built on it.  The key makes collisions unguessable to strangers. */
#ifndef NODEPROXY_LIB_BASE_HASH_H
#define NODEPROXY_LIB_BASE_HASH_H

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

uint64_t siphash(const uint8_t key[16], struct slice);
/* With a random key of this process. */
uint64_t hash_slice(struct slice);
/* With a fixed key: the same on every host and in every file (VIP allocation, digests of names);
 * only where the input is not hostile or a collision is handled. */
uint64_t hash_stable(struct slice);

struct hash_node {
	struct hash_node *next;
	uint64_t hash;
};

/* Grows by doubling; the nodes belong to the caller. */
struct hash {
	struct hash_node **bucket;
	size_t buckets;	/* power of two, 0 before the first add */
	size_t count;
};

must_use int hash_add(struct hash *, struct hash_node *, uint64_t hash);	/* 0 or -ENOMEM */
void hash_remove(struct hash *, struct hash_node *);
/* First node with this hash, and the next one after it; the caller compares keys. */
struct hash_node *hash_first(const struct hash *, uint64_t hash);
struct hash_node *hash_next(const struct hash_node *);
void hash_fini(struct hash *);	/* the buckets, not the nodes */

#endif
