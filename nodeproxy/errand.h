/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Errands as the master sees them: forked, heard, buried; what they do is in netns.h. */
#ifndef NODEPROXY_ERRAND_H
#define NODEPROXY_ERRAND_H

#include <sys/types.h>

#include "nodeproxy/netns.h"

struct child;

#define ERRANDS 8	/* at once; who finds them all under way asks again later */

struct errand {
	struct master *m;
	struct errand_job job;
	uint32_t worker, generation;	/* BANK: for whom */
	pid_t pid;			/* 0: none */
	bool answered;			/* ENTER */
	struct fd pidfd;
	struct chan chan;
	struct loop_io on_death;
};

/* Forks one.  0, -EAGAIN (ERRANDS are under way), or -errno. */
must_use int errand_start(struct master *, const struct errand_job *, const struct child *whom);

#endif
