/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Workloads: those of this host are said to the master, which captures them and answers what became
 * of it.
 *
 * A Workload of this host that is served, or served no more, is due; what is due is said when the model
 * is settled (WORKLOAD_HERE, WORKLOAD_GONE).  A master that is new is told all again.  When the source has told everything, WORKLOADS_ALL says
 * so: only then does the master let go of what an earlier syncd had said and this one has not.  Before
 * it nobody is freed by what is not there (yet). */
#ifndef NODEPROXY_STORE_SYNC_WORKLOADS_H
#define NODEPROXY_STORE_SYNC_WORKLOADS_H

#include "nodeproxy/lib/base/hash.h"
#include "nodeproxy/lib/base/list.h"
#include "nodeproxy/lib/ipc/chan.h"

struct model;
struct resource;
struct row_workload;

enum workload_state {
	WORKLOAD_TOLD,		/* the master has not answered yet */
	WORKLOAD_ENROLLED,
	WORKLOAD_NOT,		/* enrolled; why */
	WORKLOAD_ELSEWHERE,	/* another host's, or nobody's */
};

struct workload {
	struct hash_node by_name;
	struct node in_all;
	struct node due;		/* in workloads.due: the master is to hear of it */
	struct resource *resource;	/* NULL: gone, and the master has not heard */
	enum workload_state state;
	bool said;			/* to the master, that it is here */
	char why[160];
	const char *ns, *name;
	char text[];
};

struct workloads {
	struct hash by_name;
	struct node all, due;
	bool all_due, all_known;	/* WORKLOADS_ALL is to be said; what it says is true */
	bool shared;			/* the source tells other hosts the same */
	char node[256];			/* of this host */
};

void workloads_init(struct workloads *);
void workloads_fini(struct workloads *);
/* Before anything is served: which host this is. */
void workloads_node(struct workloads *, const char *node, bool shared);
/* The host that one is on; NULL: not said. */
const char *workloads_host(const struct workloads *, const struct row_workload *);
/* What is served of r, a Workload, is another row or none. */
void workloads_served(struct model *, struct resource *r);
/* A new master: all of them are due. */
void workloads_again(struct workloads *);
/* The source has told everything. */
void workloads_all(struct workloads *);
/* Says what is due: 0, or -EAGAIN while the channel has no room. */
must_use int workloads_say(struct workloads *, struct chan *);
/* What the master answers; true: that is news. */
bool workloads_heard(struct workloads *, const struct msg_workload_state *, struct slice words);
/* NULL: none of that name is served. */
const struct workload *workloads_find(const struct workloads *, const char *ns, const char *name);

#endif
