/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Posts: what this host keeps in a registry below node/NODE/pod/, a key for each of its pods, under the
 * lease of its status (said.h): a host that is dead is soon not there any more, and neither are its pods.
 *
 * One that starts again puts the same keys under its new lease before the old one ends, so that nobody
 * sees them go; only what it has put itself, or was told to be gone, it deletes.  One call at a time, in
 * the order in which pods changed. */
#ifndef NODEPROXY_STORE_SYNC_POSTS_H
#define NODEPROXY_STORE_SYNC_POSTS_H

#include "nodeproxy/lib/base/list.h"
#include "store/registry/key.h"
#include "store/sync/etcd.h"

struct post;

struct posts {
	struct loop *loop;
	struct etcd *e;			/* NULL: there is no client */
	struct etcd_call *call;
	struct post *under_way;		/* of the call */
	int64_t lease;			/* 0: none is held */
	char root[KEY_MAX];		/* PREFIX/CLUSTER/node/NODE/pod/ */
	struct node due, told;		/* struct post */
	struct loop_timer timer;
	int64_t denied_ms;		/* a pause after it was forbidden */
};

/* root: "PREFIX/CLUSTER/".  0 or -ENAMETOOLONG. */
must_use int posts_init(struct posts *, struct loop *, const char *root, const char *node);
void posts_fini(struct posts *);
/* The client; NULL: it goes, and this must be called before. */
void posts_client(struct posts *, struct etcd *);
/* All is put again under this lease; 0: there is none. */
void posts_lease(struct posts *, int64_t lease);
/* From now on this; NULL: it is gone.  0 or -errno. */
must_use int posts_set(struct posts *, const char *ns, const char *pod, const char *text);
/* Something is, or is to be, kept by a lease. */
bool posts_any(const struct posts *);

#endif
