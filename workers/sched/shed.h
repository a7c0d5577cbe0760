/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Overload: who is refused how much of what is new, while a worker has more to do than it can.
 *
 * The sign of it is a line that stands: at two looks in a row somebody has waited for a step for longer
 * than the target (sched_delay_ns(), read once per look, so it costs the path nothing; a burst that is
 * worked off in between is none).  Who pays is the tenant that is furthest over its share: its part of
 * the time that was used, by its weight among all who used any, less a tenth; so when all who are over
 * theirs come down to it, a tenth is left and lines go.  How far over it is goes by what it has used:
 * what it wants cannot be known while it has a line.  But it is not within its share for having been
 * refused something: that goes by what it would have used without.
 *
 *   from one look to the next   then
 *   still over the target       the furthest, and those within an eighth of it, are refused a
 *                               sixteenth more, at most fifteen of them; not while the line gets
 *                               shorter by a thirty-second per look as it is
 *   under it, over half         as it was
 *   under half                  all are refused a thirty-second less; not while the line grows
 *   whatever it is              who is within its share is refused nothing
 *
 * That waiting for what the last change comes to is what keeps the portion from swinging: a line is the
 * sum of all that was too much, so it tells of a change late.
 *
 * Pure functions of numbers.  Once per look, after shed_look() has said true: shed_weigh() for each
 * tenant, then shed_next() for each. */
#ifndef NODEPROXY_WORKERS_SCHED_SHED_H
#define NODEPROXY_WORKERS_SCHED_SHED_H

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/must.h"

#define SHED_ALL  1024u			/* portions are of this */
#define SHED_MOST (SHED_ALL / 16 * 15)	/* so that it can be seen what a tenant wants */
#define SHED_UP	  (SHED_ALL / 16)
#define SHED_DOWN (SHED_ALL / 32)
#define SHED_LOOK_NS (100 * NS_PER_MS)	/* looks are not nearer to each other than this */

/* Of one tenant, since the last look but for the portion. */
struct shed {
	int64_t used_ns;		/* in its steps; the scheduler adds */
	uint32_t asked, refused;	/* exchanges, while some are refused */
	uint32_t portion;		/* of SHED_ALL: of new exchanges, refused */
};

enum shed_move { SHED_HOLD, SHED_MORE, SHED_LESS, SHED_NONE };

struct shedding {
	struct mono at;			/* the last look; ns 0: there was none */
	int64_t delay_ns;		/* then */
	unsigned late;			/* looks in a row over the target */
	enum shed_move move;
	uint64_t used_ns, weights;	/* of all who used any */
	uint64_t most;			/* used by the furthest, of those who can be refused more */
};

/* A look begins: somebody has waited so long.  target_ns 0: nobody is to be refused anything.  False:
 * it is too early. */
must_use bool shed_look(struct shedding *, struct mono now, int64_t delay_ns, int64_t target_ns);
void shed_weigh(struct shedding *, const struct shed *, uint32_t weight);
/* The portion from now on; what is known of the interval is forgotten. */
uint32_t shed_next(const struct shedding *, struct shed *, uint32_t weight);

/* Whether this one of its new exchanges is refused, by chance; only while a portion is. */
must_use bool shed_draws(struct shed *);

#endif
