/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The full stop: workers drain, then those who serve them go, then the master says GOODBYE.  One
 * that retires after an upgrade does the same, without a word: the instance goes on. */
#ifndef NODEPROXY_LEAVE_H
#define NODEPROXY_LEAVE_H

#include <stdint.h>

struct master;

#define LEAVE_MS 5000	/* after the drain deadline everything is killed */

/* Begins it; again: with another deadline. */
void master_leave(struct master *, int64_t deadline_ms);
/* The same for a master whose instance goes on without it: a new build serves. */
void master_retire(struct master *, int64_t deadline_ms);
/* Goes on with it; called whenever something has changed. */
void leave_step(struct master *);

#endif
