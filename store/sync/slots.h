/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Which slots of the board are taken, of one scope.
 *
 * A slot is a number from 1 to max - 1; 0 is the one that everybody shares who has none.  Each use
 * of a slot has a generation that was never used before on this host, so that counters of the one
 * before are not taken for the new one's.  The generation is one rising number for all scopes, kept
 * in the store. */
#ifndef NODEPROXY_STORE_SYNC_SLOTS_H
#define NODEPROXY_STORE_SYNC_SLOTS_H

#include "nodeproxy/lib/base/must.h"
#include "store/view/view.h"

struct slots {
	uint64_t *used;		/* a bit per slot */
	uint32_t max;		/* slots, with slot 0 */
	uint32_t taken;
	uint32_t next;		/* where to look first */
	uint64_t exhausted;	/* times somebody had to share slot 0 */
	uint32_t *gen;		/* borrowed: the last generation given, shared by the scopes */
};

must_use int slots_init(struct slots *, uint32_t max, uint32_t *gen);	/* 0 or -ENOMEM */
void slots_fini(struct slots *);
/* A free slot with a new generation; {0, 0} when all are taken. */
struct slot_gen slots_take(struct slots *);
/* Takes exactly this one, as read from the store; false when it is out of range or taken. */
bool slots_take_same(struct slots *, struct slot_gen);
void slots_give(struct slots *, struct slot_gen);	/* {0, 0} is fine */

#endif
