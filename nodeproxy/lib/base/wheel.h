/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A timing wheel for the deadlines of conns and backs: 1,024 slots of 2^26 ns (67 ms).
 *
 * Deadlines are late by at most two slots, never early.  Moving a deadline later costs one store:
 * the entry stays where it is and is queued again when its old slot comes round; that makes "one
 * more request on a keep-alive connection" free.  Longer deadlines than the wheel (68 s) go round
 * it more than once. */
#ifndef NODEPROXY_LIB_BASE_WHEEL_H
#define NODEPROXY_LIB_BASE_WHEEL_H

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/list.h"

#define WHEEL_SLOTS 1024
#define WHEEL_SHIFT 26	/* ns per slot, as a power of two */

struct wheel_entry {
	struct node node;
	struct mono due;	/* ns 0: none */
	int64_t queued;		/* the tick it is queued under */
};

struct wheel {
	struct node slot[WHEEL_SLOTS];
	int64_t tick;		/* slots up to this one have been looked at */
	uint32_t count;
};

void wheel_init(struct wheel *, struct mono now);
static inline void wheel_entry_init(struct wheel_entry *e)
{
	list_init(&e->node);
	e->due.ns = 0;
	e->queued = 0;
}
void wheel_set(struct wheel *, struct wheel_entry *, struct mono due);
void wheel_clear(struct wheel *, struct wheel_entry *);
/* Calls fn for every entry that is due (after taking it out). */
void wheel_run(struct wheel *, struct mono now, void (*fn)(struct wheel_entry *, void *), void *arg);
/* The same, but looks at most entries only; the rest is for the next call. */
void wheel_run_some(struct wheel *, struct mono now, uint32_t most,
		    void (*fn)(struct wheel_entry *, void *), void *arg);
/* When wheel_run should next be called, in ns from now; -1 when the wheel is empty. */
int64_t wheel_next_ns(const struct wheel *, struct mono now);

#endif
