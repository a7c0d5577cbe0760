/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* How a child ends and what follows: its pidfd and its channel are watched, what it leaves is
 * returned, kept or lent, and it is started again after a while. */
#ifndef NODEPROXY_DEATH_H
#define NODEPROXY_DEATH_H

#include "nodeproxy/children.h"

#define CHILD_STOP_MS 2000	/* from STOP, or the end of its channel, to SIGKILL */

/* From now on its death and its words are heard. */
void child_watch(struct child *);
/* Started again after its back-off (none after one accident), at least at_least_ms. */
void child_start_later(struct child *, int64_t at_least_ms);
/* Broke msg.def, hangs or is not needed: dies now and is (or is not) replaced. */
void child_kill(struct child *, const char *why);
/* The same for one who said or sent what no honest child does; counted. */
void child_broke(struct child *, const char *what);
/* Unless it has left by itself by then. */
void child_kill_later(struct child *, int64_t ms);
/* From the keeper: how a child ended that is not ours to wait for. */
void child_reaped(struct master *, const struct msg_reaped *);
/* Copies its panic page, when there is one, to the archive, and clears it. */
void child_archive_panic(struct master *, struct child *);

#endif
