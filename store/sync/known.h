/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Keys of a registry that were told, so that what did not change is not told again. */
#ifndef NODEPROXY_STORE_SYNC_KNOWN_H
#define NODEPROXY_STORE_SYNC_KNOWN_H

#include "nodeproxy/lib/base/hash.h"
#include "nodeproxy/lib/base/list.h"

/* Whoever writes keys of a kind that has a bound for each who does. */
struct known_owner {
	struct hash_node by_name;
	uint32_t keys;
	size_t n;
	uint8_t name[];
};

struct known_key {
	struct hash_node by_name;
	struct node in_known;
	int64_t created, modified;	/* 0: it has to be told anew */
	uint64_t digest;		/* of the value */
	uint64_t listed;		/* the snapshot that had it last */
	uint32_t bytes;			/* in known.bytes */
	struct known_owner *owner;	/* NULL: of none */
	char name[];
};

struct known {
	struct hash by_name, owners;
	struct node all;
	uint64_t bytes;
	uint32_t most;
};

void known_init(struct known *, uint32_t most);
void known_fini(struct known *);
struct known_key *known_find(const struct known *, const char *name);
/* NULL: no memory, or no room for one more. */
struct known_key *known_make(struct known *, const char *name);
/* How many are of that owner, and one more that is. */
uint32_t known_owned(const struct known *, struct slice owner);
struct known_key *known_make_of(struct known *, const char *name, struct slice owner);
void known_free(struct known *, struct known_key *);
void known_bytes(struct known *, struct known_key *, uint32_t bytes);

#endif
