/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What nftables is told, as messages of netlink: the rules of nft.h, put together in memory.  Who sends it is
 * nft.c. */
#ifndef NODEPROXY_RULESET_H
#define NODEPROXY_RULESET_H

#include "nodeproxy/nft.h"

#define RULESET_ROOM 8192	/* of a transaction; it takes some 6,000 bytes */

/* A transaction as it grows.  Nests are closed by the offset that opening them returned. */
struct batch {
	_Alignas(8) uint8_t at[RULESET_ROOM];
	size_t n, msg;
	uint32_t seq;
	uint32_t uid;		/* of struct rules */
	uint16_t port;		/* that what is dialled is redirected to */
	char table[40];
};

/* A transaction; of its messages the first begins it.  ruleset_end: the number of the last that is answered. */
void ruleset_begin(struct batch *, const struct rules *);
uint32_t ruleset_end(struct batch *);
/* What goes first: the table, should it be there; one that is ours and stays, else all is refused. */
void ruleset_no_table(struct batch *);
void ruleset_no_table_that_stays(struct batch *);
/* Rules that capture; those that match nothing, in the place of what is there. */
void ruleset_capture(struct batch *, const struct rules *);
void ruleset_hollow(struct batch *, const struct rules *);

/* Not a transaction: what the counters say, each by its name. */
void ruleset_ask_counters(struct batch *, uint32_t uid);
extern const char *const ruleset_counters[PASSED];

#endif
