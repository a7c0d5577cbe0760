/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Signs of life: who hangs, at birth or later, is found and ended. */
#ifndef NODEPROXY_BEAT_H
#define NODEPROXY_BEAT_H

#include "nodeproxy/children.h"

/* It gave a sign of life: a message, or its beat on the board. */
void child_spoke(struct child *);
/* Reads the clock, before anybody is judged by it: time in which the host slept counts for nobody. */
void children_clock(struct master *);
/* Once a second: hangs, late views, adopted children that never spoke. */
void children_tick(struct master *);

#endif
