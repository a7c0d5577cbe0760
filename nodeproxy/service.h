/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What the service manager is told (sd_notify(3)), and when:
 *
 *   READY, MAINPID   once by every master, when all workers, syncd and admind do their work.  The
 *                    main process is the keeper: it is the one that stays
 *   STATUS           in one line, what serves; again when it changes, at most once a second
 *   WATCHDOG         four times in the time that is allowed, while our loop turns and a worker
 *                    shows signs of life: an instance that serves nobody is not to be kept
 *   RELOADING        from the order to read the file again until all processes use it; from the
 *                    order to upgrade until the new master's READY, or ours when it was no good
 *   STOPPING         at the beginning of the end, with the time that draining may take
 *
 * Nothing needs a service manager: without NOTIFY_SOCKET all of this does nothing. */
#ifndef NODEPROXY_SERVICE_H
#define NODEPROXY_SERVICE_H

#include "nodeproxy/lib/base/loop.h"

struct master;

struct service {
	struct loop_timer watchdog;
	bool ready_said, reloading;
	char status[128];	/* said last */
};

/* The watchdog's timer; the loop must be there.  Not on trial. */
void service_open(struct master *);
/* A new build's master speaks from now on. */
void service_close(struct master *);
/* Something changed. */
void service_settle(struct master *);
/* A second went by. */
void service_tick(struct master *);
void service_reloading(struct master *);
void service_reloaded(struct master *);
void service_stopping(struct master *, int64_t at_most_ms);

#endif
