/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Pods that are captured because a Workload says so.  They are pods like others (pods.h); here is what
 * else is done with them: syncd says which there are, and hears what became of each.
 *
 * One that cannot be captured (LATER), its namespace is not there yet perhaps, is tried again after 1 s,
 * 2 s, and so on to WORKLOAD_AGAIN_MS.  One whose Workload is gone is let go as soon as pods may come and
 * go.  What a syncd has not said yet stays: only when it says that these were all (WORKLOADS_ALL) are
 * those gone that it has not named.
 *
 * A pod that an order added keeps its name: the Workload waits, and says why.  A Workload keeps its name
 * against orders. */
#ifndef NODEPROXY_WORKLOADS_H
#define NODEPROXY_WORKLOADS_H

#include "nodeproxy/lib/ipc/messages.h"

struct master;
struct child;
struct pod;

#define WORKLOAD_AGAIN_MS 15000

/* What the syncd that is there now has said of it. */
enum workload_word { WORKLOAD_UNSAID, WORKLOAD_SAID, WORKLOAD_GONE };

/* Another syncd: it has said nothing. */
void workloads_unsaid(struct master *);
/* What syncd says. */
void workloads_here(struct master *, struct child *, const struct msg_workload *);
void workloads_gone(struct master *, struct child *, const struct msg_workload_name *);
void workloads_all(struct master *);
/* Whoever may be tried now is, whoever may go goes, and syncd hears it. */
void workloads_settle(struct master *);

/* ---- for pods.c ---- */

/* ENTERING: it did not succeed. */
void workload_failed(struct master *, struct pod *, int error, const char *words);
/* ENTERING: it is captured already, as have, of an earlier version of the same Workload. */
void workload_said_again(struct master *, struct pod *, struct pod *have);
/* LEAVING: its namespace went; should the Workload be there still, it is waited for. */
void workload_lost(struct master *, const struct pod *);
/* A pod of that name was removed by an operator: should a Workload have waited for it, it comes now. */
void workload_may_come(struct master *, const struct pod_words *);
/* -EEXIST with words when a Workload has that name; else 0. */
must_use int workload_has(struct master *, const struct pod_words *, char *text, size_t n);

#endif
