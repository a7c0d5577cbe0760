/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Residents: what this worker knows of each captured pod of the host, whether or not it accepts for it: how
 * its application is spoken to.
 *
 *   phase   who       how
 *   here    worker.c  residents_here(), also when something of it is another
 *   gone    pods.c    residents_gone() */
#ifndef WORKERS_PATH_RESIDENTS_H
#define WORKERS_PATH_RESIDENTS_H

#include "nodeproxy/lib/base/ns_modes.h"
#include "workers/pool/bank.h"

struct exchange;
struct path;

struct resident {
	uint32_t ref;			/* 0: none */
	uint8_t origin;			/* enum ns_mode_value of source-address */
	struct mono bound_until;	/* when connections that show their caller's address, and should not any
					 * more, are cut; ns 0: there is none */
};

struct residents {
	struct resident at[BANKS];
	uint32_t ending;		/* with bound_until */
};

void residents_here(struct path *, uint32_t ref, uint8_t origin);
void residents_gone(struct path *, uint32_t ref);
/* Now and then. */
void residents_tick(struct path *);

/* key->pod is the exchange's gate's: whose address its application is shown as the caller's. */
void residents_origin(const struct exchange *, struct back_key *);

#endif
