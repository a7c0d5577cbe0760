/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Short of memory: what is given up, by whom (grades.def says in which order).
 *
 * A tenant has a grade by its own budget, the worker one by the sum of all.  What the worker's grade
 * asks for is asked of those who use more than their weight entitles them to: reading stops for
 * tenants over their share, and new work is refused of the one furthest over it, never of another.
 * Grades are looked at where they matter (a read, a new request, a connection that could be pooled)
 * and once per tick. */
#ifndef WORKERS_PATH_PRESSURE_H
#define WORKERS_PATH_PRESSURE_H

#include "workers/path/path.h"

/* Both grades as they are now; changes are counted, logged and shown. */
void pressure_look(struct path *, struct tenant *);

/* Whether there is anything to look at: half a budget free is no shortage.  Two compares on the path
 * of every request. */
static inline bool pressure_is_near(const struct path *p, const struct tenant *t)
{
	return unlikely(t->memory.used > t->memory.limit / 2 || p->memory.used > p->memory.limit / 2 ||
			t->grade || p->grade);
}

bool pressure_keeps_nothing(struct path *, struct tenant *);
bool pressure_stops_reading(struct path *, struct tenant *);
bool pressure_refuses(struct path *, struct tenant *);
/* Four times a second: what a grade gives back, the end of grades that nobody looks at, and the memory
 * of bursts that are over. */
void pressure_tick(struct path *);

#endif
