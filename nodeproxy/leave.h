/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The full stop: workers drain, then those who serve them go, then the master says GOODBYE. */
#ifndef NODEPROXY_LEAVE_H
#define NODEPROXY_LEAVE_H

#include <stdint.h>

struct master;

/* Begins it; again: with another deadline. */
void master_leave(struct master *, int64_t deadline_ms);
/* Goes on with it; called whenever something has changed. */
void leave_step(struct master *);

#endif
