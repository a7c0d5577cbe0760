/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Whether a master is alive in more than name, as the keeper can know it without a word that masters
 * of other builds would have to understand: it says that it is ready in time after its birth, and
 * later it reads what it is told.  What lies unread in a channel, the kernel knows. */
#ifndef NODEPROXY_VITAL_H
#define NODEPROXY_VITAL_H

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/must.h"

#define VITAL_LOOK_MS  2000	/* between two looks */
#define VITAL_READY_MS 20000	/* from its birth to READY */
#define VITAL_HANG_MS  10000	/* with something unread */

struct vital {
	struct mono born, looked, read;
	bool ready;
	bool due;		/* nothing lies unread: say something, so that the next look means something */
};

void vital_begin(struct vital *, struct mono now);
/* Looks at the channel when it is time; why it counts as dead, or NULL. */
const char *vital_look(struct vital *, int channel, struct mono now);

#endif
