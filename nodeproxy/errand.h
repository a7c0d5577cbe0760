/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Errands as the master sees them: begun, heard, over; what they do is in netns.h, who forks them in
 * forker.h.  One is over with its end of the channel. */
#ifndef NODEPROXY_ERRAND_H
#define NODEPROXY_ERRAND_H

#include "nodeproxy/netns.h"

struct child;
struct pod;

#define ERRANDS 8	/* at once; who finds them all under way asks again later */

struct errand {
	struct master *m;
	struct errand_job job;
	uint32_t worker, generation;	/* BANK: for whom */
	bool runs;
	struct mono began;
	bool answered;			/* ENTER */
	int error;			/* as it said with its last word */
	struct chan chan;
};

/* Has one forked.  0, -EAGAIN (one that ends looks for what waits), or -errno. */
must_use int errand_start(struct master *, const struct errand_job *, const struct child *whom);
/* For its job: those pods of which fn says so.  0 and sealed memory, FD_NONE: there are none; or -errno. */
must_use int errand_list(const struct master *, bool (*fn)(const struct pod *), struct fd *ret);
/* Once a second: those that should be over. */
void errands_tick(struct master *);

#endif
