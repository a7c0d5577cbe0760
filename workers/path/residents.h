/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Residents: what this worker knows of each captured pod of the host, whether or not it accepts for it: where
 * it is, and how its application is spoken to.
 *
 *   phase   who       how
 *   here    worker.c  residents_here(), also when something of it is another
 *   gone    pods.c    residents_gone()
 *
 * What a captured pod sends to an address of another one goes straight to the application there, from a
 * socket inside that pod, where its namespace's same-host says direct: one pass through one worker,
 * nothing on any veth.  The exchange is a guest there until its connection is given back: it counts as
 * what comes to that pod, and for its tenant, as it would behind the pod's own listener.  An address that
 * two pods have is nobody's, and our own ports (pods.h) are never gone to: such connections leave by the
 * pod's interface. */
#ifndef WORKERS_PATH_RESIDENTS_H
#define WORKERS_PATH_RESIDENTS_H

#include "nodeproxy/lib/base/hash.h"
#include "nodeproxy/lib/base/ns_modes.h"
#include "nodeproxy/lib/base/reason.h"
#include "nodeproxy/lib/base/slab.h"
#include "workers/pool/bank.h"

#define RESIDENT_ADDRESSES 8

struct exchange;
struct path;
struct resident;

struct resident_at {
	struct hash_node by_ip;
	struct addr addr;		/* without port */
	struct resident *of;
	struct resident_at *next;	/* of the same resident */
};

struct resident {
	uint32_t ref;			/* 0: none */
	uint8_t origin;			/* enum ns_mode_value of source-address */
	bool has_ipv6;
	char name[64], ns[64];
	struct mono bound_until;	/* when connections that show their caller's address, and should not any
					 * more, are cut; ns 0: there is none */
	struct resident_at *first;	/* of at most RESIDENT_ADDRESSES: most have one or two */
};

struct residents {
	struct resident at[BANKS];
	struct slab addresses;
	struct hash by_ip;
	uint32_t ending;		/* with bound_until */
};

/* As the master says it. */
struct resident_told {
	uint32_t ref;
	uint8_t origin;
	bool has_ipv6;
	const char *name, *ns;
	const struct addr *at;		/* at most RESIDENT_ADDRESSES; ports are not looked at */
	uint32_t n;
};

/* At start.  0 or -errno. */
must_use int residents_init(struct path *);
/* 0, or -ENOMEM: some of its addresses are not known. */
must_use int residents_here(struct path *, const struct resident_told *);
void residents_gone(struct path *, uint32_t ref);
void residents_fini(struct path *);
/* Now and then. */
void residents_tick(struct path *);

/* Whose address that is, at whatever port; NULL: nobody's, or of more than one. */
const struct resident *residents_at(const struct path *, const struct addr *);

/* key is one of a socket in the pod of the exchange's gate: where it is to be instead, and whose address the
 * application is shown.  NONE; or why it may not go there, as if the endpoint had refused. */
must_use enum reason residents_way(struct exchange *, struct back_key *);
/* What residents_way() began is over. */
void residents_leave(struct exchange *);

#endif
