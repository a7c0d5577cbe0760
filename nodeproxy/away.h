/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What becomes of captured pods while nodeproxy does not run: the mode when-away of their namespace.
 *
 * open: the rules go with us (nft.h).  closed: they stay, and lead to nobody.  The mode may change at
 * any time; an errand then puts the rules anew, and until it has ended nothing else is done to them.
 * A pod knows how its rules are, as the list does: where that is not as it should be, by the death of
 * a master too, they are put anew. */
#ifndef NODEPROXY_AWAY_H
#define NODEPROXY_AWAY_H

#include "nodeproxy/lib/base/must.h"

struct master;
struct pod;

/* How the rules of that pod should be: they stay. */
bool away_stays(const struct pod *);
/* Pods whose rules are not as they should be, as long as errands can be started. */
void away_settle(struct master *);
/* The errand (CHANGE) is over: the rules are so now, or (error < 0) as they were. */
void away_changed(struct master *, uint32_t ref, bool stays, int error);

#endif
