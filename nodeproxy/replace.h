/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* How a child is told to leave, and how a worker is replaced without losing anything. */
#ifndef NODEPROXY_REPLACE_H
#define NODEPROXY_REPLACE_H

#include "nodeproxy/children.h"

void child_drain(struct child *, int64_t deadline_ms);
/* STOP now, SIGKILL when it does not leave. */
void child_stop(struct child *);
/* Another one starts in the spare slot, takes the listeners, and the old one drains.  -EAGAIN: one
 * is being replaced already (it waits its turn); -ENOENT: no such worker. */
int child_replace(struct child *, int64_t deadline_ms);
/* It is not needed any more, whatever it does; its groups have no home already. */
void child_retire(struct child *, int64_t deadline_ms);
/* Once a second: the replacement under way goes on or is given up, or the next one begins. */
void replace_step(struct master *);
/* It goes on as soon as the new one can accept. */
void replace_settle(struct master *);
/* After any death: a replacement that died is tried again by its own back-off; an old one that
 * died while its replacement starts leaves its slot empty. */
void replace_after_death(struct child *);

#endif
