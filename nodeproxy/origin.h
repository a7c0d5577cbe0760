/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Origins: whose address the applications of captured pods see as their caller's.  With source-address:
 * preserve it is the caller's own: what its namespace needs for that (nft.h, route.h) is there only as
 * long as the mode says so.
 *
 *   state    what is in its namespace          ends with
 *   OWN      nothing                            the mode
 *   COMING   an errand puts it there            its end
 *   SHOWN    all of it, and workers show them   the mode
 *   ENDING   all of it; workers have begun to   timeouts.drain, when they have cut the connections that
 *            connect otherwise                  need it; or the mode
 *   GOING    an errand takes it away            its end
 *
 * While an errand is at it nothing else is done to the rules, as with away.h.
 *
 * One that is captured comes as SHOWN or OWN.  One that leaves is cut first; at the full stop, where
 * connections may go on until timeouts.drain, one errand takes it from all when the workers have left. */
#ifndef NODEPROXY_ORIGIN_H
#define NODEPROXY_ORIGIN_H

#include <stdbool.h>
#include <stdint.h>

struct master;
struct pod;

enum origin_state { ORIGIN_OWN, ORIGIN_COMING, ORIGIN_SHOWN, ORIGIN_ENDING, ORIGIN_GOING, ORIGIN_STATES };

/* The mode says that they are to be shown. */
bool origin_is_wanted(const struct pod *);
/* enum ns_mode_value of source-address, as it holds by now: what workers are told. */
uint8_t origin_now(const struct pod *);
/* Makes true what the modes say, as far as errands can be started. */
void origins_settle(struct master *);
void origin_done(struct master *, uint32_t ref, int error);
/* It has been cut; false: an errand is under way, or could not be started yet.  Whoever is captured in that
 * namespace next waits until the rules have gone, so its own are not taken away. */
bool origin_leaves(struct master *, struct pod *);
/* The workers have left; false: the errand is under way, and calls leave_step(). */
bool origins_sweep(struct master *);
void origins_are_swept(struct master *);

#endif
