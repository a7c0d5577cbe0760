/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Whether Services whose endpoints are here (demand.h) are still used: by what workers count on the board
 * anyway, looked at now and then. */
#ifndef NODEPROXY_STORE_SYNC_USES_H
#define NODEPROXY_STORE_SYNC_USES_H

#include "nodeproxy/lib/base/fd.h"
#include "store/sync/demand.h"

#define USES_LOOK_MIN_MS 500
#define USES_LOOKS	 10	/* in the time that something is kept unused */

struct board;
struct model;

struct uses {
	const struct board *board;	/* NULL: there is none, and all stays */
	unsigned workers;		/* that the mapping has */
};

/* Maps it; what is none is left out. */
void uses_init(struct uses *, struct fd board);
void uses_of(struct uses *, const struct board *, unsigned workers);	/* tests */
/* Notes what was used since the last look. */
void uses_look(const struct uses *, const struct model *, struct demand *);
/* Nobody has used it for so long. */
bool uses_is_idle(const struct demand_service *, int64_t idle_ms);

#endif
