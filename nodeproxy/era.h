/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* An era: the time of one build.  It has one master at a time and its entries in the table.
 *
 *   LEADS     the one that serves; restarted when it dies
 *   TRIED     started beside it; READY in time makes it the one that leads
 *   ENDED     was tried in vain and killed, not yet reaped
 *   RETIRES   the former one: drains and leaves; killed when it does not
 *
 * The keeper assigns the state; here is what an era is and how its master is started and told. */
#ifndef NODEPROXY_ERA_H
#define NODEPROXY_ERA_H

#include <sys/types.h>

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/ipc/chan.h"
#include "nodeproxy/table.h"
#include "nodeproxy/vital.h"

enum era_state { ERA_NONE, ERA_TRIED, ERA_LEADS, ERA_RETIRES, ERA_ENDED };

struct era {
	enum era_state state;
	uint32_t id;			/* of its entries, never 0 */
	struct fd exe;
	pid_t pid;			/* its master; 0: none */
	struct chan chan;
	enum kept_birth birth;		/* of that master */
	unsigned told;			/* entries of the table that were looked at for it */
	uint32_t told_count;
	bool told_all;
	struct mono born, until;	/* tried: ready by; retires: gone by */
	struct vital vital;
	struct msg_launch launch;	/* that it came from, or that it ordered */
	char words[256];		/* the last of one that is tried */
};

/* Starts its master.  0 or -errno. */
must_use int era_fork(struct era *, char *const argv[]);
/* Tells its master the entries of the era `from`, and at their end about the instance, as far as the
 * channel takes it without waiting: a host with many listeners has more of them than a socket buffer
 * has room.  To be called again until told_all. */
void era_tell(struct era *, const struct table *, uint32_t from, const struct msg_kept_end *about);
/* Its master is dead and nobody follows: the entries go, and the place is free. */
void era_over(struct era *, struct table *);

#endif
