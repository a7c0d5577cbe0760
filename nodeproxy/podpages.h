/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The list of pods as others have it: the keeper for the next master, admind to show it, run_dir for the
 * next start (podlist.h).
 *
 * It is told in pages of PODS_A_PAGE slots (pods.h of lib/ipc), each a sealed memory file of its own, and
 * only pages in which something changed are made anew: the master must not wait for hundreds of pods when
 * one of them comes.  For the same reason only pods that were touched are looked at; should a touch have
 * been forgotten (tests look for that), the tick makes up for it, page by page.
 *
 * In the keeper's table: "pods/PAGE"; the number: refs given out until then. */
#ifndef NODEPROXY_PODPAGES_H
#define NODEPROXY_PODPAGES_H

#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/ipc/pods.h"

struct master;
struct child;
struct pod;

struct podpages {
	struct fd page[PODS_PAGES];
	uint64_t told[PODS_MAX];	/* by slot, a hash of what they say of it; 0: nothing */
	bool all_said;			/* to the syncd that is there now: PODS_ALL */
	uint64_t untold[PODS_MAX / 64];	/* bits of slots: touched since they were told, */
	uint64_t unwritten[PODS_MAX / 64];	/* and written to run_dir */
	unsigned next;			/* the page that the next tick looks at */
};

void podpages_init(struct podpages *);
/* What is told of it, or whether anything is, may be another now.  Whoever changes that says so, and then
 * has it told: with hundreds of pods a look at all of them costs more than what is told of one. */
void pod_touched(struct master *, const struct pod *);
/* What a former master has told, to pods_take_over(). */
void podpages_adopt(struct master *);
/* To the keeper, admind and syncd, as far as it is another list now.  What goes because nodeproxy stops
 * is still there for syncd: it comes back. */
void podpages_tell(struct master *);
/* All of it to admind or syncd. */
void pods_send(struct master *, struct child *);
/* That it was all is said to syncd, once, as soon as it is so. */
void podpages_all(struct master *);
/* Once a second. */
void podpages_tick(struct master *);

#endif
