/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The worker's part in `nodeproxyctl reload`: other settings, while it works.
 *
 *   KNOBS_TRY   looked at, answered OK or REFUSED with words, and forgotten: nothing is promised
 *               that the next KNOBS_USE could not keep, because only TRY and USE take gates
 *   KNOBS_USE   taken over; the old mapping goes.  A worker that cannot leaves: its replacement is
 *               born with them */
#ifndef WORKERS_RELOAD_H
#define WORKERS_RELOAD_H

#include "nodeproxy/lib/ipc/chan.h"
#include "workers/listen.h"

struct reload {
	struct slice knobs;	/* in use: mapped until the next ones are */
	struct path *path;
	struct listeners *listeners;
	uint32_t refuses;	/* on purpose, so many times more (debug.def) */
	struct ring *ring;	/* of the access log, whether or not it is written */
};

/* Answers on the channel. */
void reload_try(struct reload *, struct chan *, const struct msg_knobs *, struct fd);
/* Answers too.  0, or -errno: it cannot go on. */
must_use int reload_use(struct reload *, struct chan *, const struct msg_knobs *, struct fd);

#endif
