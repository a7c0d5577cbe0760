/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Rate limits on the board, exact for all workers of the host together.
 *
 * A pace is one 64-bit word: the time (monotonic ns) when whoever it is of would have its whole burst
 * again (GCRA, ITU-T I.371: what a token bucket does, without tokens that somebody must put in).
 * Taking one moves the time on by what one takes to come; it is refused when that would lie more than
 * a burst ahead.  One compare and swap, nothing to return when a worker dies.
 *
 * Callers are told apart by a keyed hash of who they are, in BOARD_RATE_KEYS places.  One who has its
 * whole burst again is as if it had never called, so its place is free: nothing has to be cleaned up,
 * and places are short only when so many call at a time.  Who finds none shares a pace with all others
 * who find none.  A caller takes from its own pace first; what is then refused by that of all
 * together is given back, and what is refused by its own takes nothing from the others.
 *
 * Any worker may scribble here: a time that lies further ahead than a burst counts as a burst, so
 * nonsense is over when that time is. */
#ifndef NODEPROXY_WORKERS_OBS_RATE_H
#define NODEPROXY_WORKERS_OBS_RATE_H

#include "nodeproxy/lib/base/slice.h"
#include "workers/obs/board.h"

struct pace {
	uint64_t every_ns;	/* one more each; 0: any number */
	uint64_t burst_ns;	/* times as many as may be had at once */
};

enum rate_taken { RATE_TAKEN, RATE_OVER_IDENTITY, RATE_OVER_TOTAL };

/* One request of the caller with this key (rate_key()).  *ret_wait_ns: when it is refused, how long
 * until one may be had; *ret_shared: the caller found no place of its own. */
enum rate_taken rate_take(struct board_rate *, uint64_t key, const struct pace *identity,
			  const struct pace *total, struct mono now, uint64_t *ret_wait_ns,
			  bool *ret_shared);
/* Who a caller is, hashed; never 0. */
uint64_t rate_key(const struct board *, struct slice who);
/* How many more of a pace in this word may be had now, for show. */
uint64_t rate_left(uint64_t at, const struct pace *, struct mono now);

#endif
