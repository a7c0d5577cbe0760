/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Exchanges that wait for the endpoints of a Service which are in the registry and not on this host
 * (source.slices: on-demand).
 *
 * Whoever picks and finds that its Service lacks them asks the sync process, once for all of this
 * worker who come after, and waits for a view that has them, for timeouts.endpoints at most.  Nobody
 * else waits, and nothing of this is looked at while there are endpoints.
 *
 *   state of an exchange   ends with
 *   NONE
 *   WAITS   in the line of its Service   a view that has them, or has the Service no more (CALLED); time, or
 *                                        its own end
 *   CALLED  woken                        picks: OVER.  It waits once
 *
 * How many wait is bounded by the requests that their tenants may have under way; how many Services a
 * worker may ask for at once, and one tenant of those, by the lines below. */
#ifndef WORKERS_PATH_AWAIT_H
#define WORKERS_PATH_AWAIT_H

#include "nodeproxy/lib/base/ratelimit.h"
#include "nodeproxy/lib/base/slab.h"
#include "store/view/view.h"

#define AWAIT_LINES	   1024		/* Services that are waited for */
#define AWAIT_LINES_TENANT 128		/* of them those that callers of one tenant were the first to ask for */
#define AWAIT_BUCKETS	   256
#define AWAIT_AGAIN_MS	   1000		/* asked for again: the sync process may be another one */
#define AWAIT_ASKS_S	   100		/* msg.def allows twice as many */

enum await { AWAIT_NONE, AWAIT_WAITS, AWAIT_CALLED, AWAIT_OVER };

struct awaited;
struct exchange;
struct path;
struct tenant;

struct awaits {
	struct slab lines;
	uint32_t n;			/* exchanges that wait */
	struct node all;		/* lines */
	struct node by_id[AWAIT_BUCKETS];
	struct ratelimit asks;
	/* Asks the sync process for the endpoints of this Service; NULL: nobody can be asked. */
	void (*ask)(struct slice ns, struct slice name);
};

/* 0 or -errno. */
must_use int await_init(struct awaits *);
void await_fini(struct awaits *);

/* Somebody wants the endpoints of this Service, which lacks them: they are asked for.  A line is kept for a while
 * after; false: there is no room for one. */
must_use bool await_ask(struct path *, const struct vservice *, const struct tenant *);
/* There is a new view. */
void await_view(struct path *);
/* Now and then. */
void await_tick(struct path *);
/* It ends while it waits. */
void await_leave(struct exchange *);

#endif
