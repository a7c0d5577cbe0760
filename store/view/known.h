/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Known addresses: those of all endpoints, ready or not, of whatever family and port.  A destination
 * that is none of them, and no Service's, is an unknown one.
 *
 * The builder counts who has each.  A base says all of them, an overlay those that came since its base
 * and those that went.  In the file a set (struct view_set) is a table of where each bucket begins, and
 * behind it the addresses, bucket after bucket: no slot is empty, and what one bucket holds is only for
 * who has the key to choose. */
#ifndef NODEPROXY_STORE_VIEW_KNOWN_H
#define NODEPROXY_STORE_VIEW_KNOWN_H

#include "nodeproxy/lib/base/hash.h"
#include "nodeproxy/lib/base/list.h"
#include "store/rows.h"
#include "store/view/layout.h"

struct known {
	struct hash_node by_ip;		/* of the file's key */
	struct node changed;		/* in knowns.changed: in_base is not what is */
	uint32_t users;
	bool in_base;
	uint8_t ip[16];
};

struct knowns {
	const uint8_t *key;		/* of the file */
	struct hash all;		/* with those that only the base has */
	uint32_t n;			/* that have users */
	struct node changed;
	uint32_t came, went;		/* of them */
};

/* What one unit has: as often as it is listed. */
struct known_list {
	struct known **at;
	uint32_t n;
};

void knowns_init(struct knowns *, const uint8_t key[16]);
void knowns_fini(struct knowns *);
/* 0 or -ENOMEM; then nothing was taken. */
must_use int knowns_take(struct knowns *, const struct row *const *slices, uint32_t n, struct known_list *ret);
void knowns_give(struct knowns *, struct known_list *);

/* Which of them. */
enum known_set { KNOWN_ALL, KNOWN_CAME, KNOWN_WENT };
/* Bytes of such a set in a file, a multiple of 8. */
uint64_t knowns_bytes(const struct knowns *, enum known_set);
/* Writes it there: that many bytes, zeroed, which will be at this offset of the file. */
void knowns_write(const struct knowns *, enum known_set, uint8_t *to, uint64_t at, struct view_set *ret);
#define KNOWN_NONE_BYTES 8u	/* of a set of none */
/* A base that has them all is the base from now on. */
void knowns_in_base(struct knowns *);

#endif
