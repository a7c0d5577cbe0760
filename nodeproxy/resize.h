/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* How many workers serve, and where, while it runs: `workers:` of another nodeproxy.yaml.
 *
 * Worker k of the plan is whoever is at home in group k.  More: groups (that are there and lent, or
 * new) get a free slot and a worker.  Fewer: the groups beyond are lent, then their workers drain.
 * Other CPUs: those who serve are pinned anew where they are. */
#ifndef NODEPROXY_RESIZE_H
#define NODEPROXY_RESIZE_H

struct master;

/* From m->n_workers to n, on these CPUs.  Sockets for n groups are there. */
void workers_resize(struct master *, unsigned n, const int cpu[]);
/* Each at home runs where the plan says. */
void workers_pin(struct master *);

#endif
