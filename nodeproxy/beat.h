/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Signs of life: who hangs, at birth or later, is found and ended. */
#ifndef NODEPROXY_BEAT_H
#define NODEPROXY_BEAT_H

#include "nodeproxy/children.h"

/* Once a second: hangs, late views, adopted children that never spoke. */
void children_tick(struct master *);

#endif
