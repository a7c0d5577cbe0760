/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Posts: what this host keeps in a registry below node/NODE/pod/, a key for each of its pods, under the
 * lease of its status (said.h): a host that is dead is soon not there any more, and neither are its pods.
 *
 * One that starts again puts the same keys under its new lease before the old one ends, so that nobody
 * sees them go; only what it has put itself, or was told to be gone, it deletes.  One call at a time, in
 * the order in which pods changed.
 *
 * Every host of the mesh is told of each call, so what is due goes in one: a host of ten pods that comes
 * again costs a thousand others a message each, and not ten. */
#ifndef NODEPROXY_STORE_SYNC_POSTS_H
#define NODEPROXY_STORE_SYNC_POSTS_H

#include "nodeproxy/lib/base/list.h"
#include "store/registry/key.h"
#include "store/sync/etcd.h"

#define POSTS_A_CALL 64u	/* of 4 KiB at most each: far from what etcd takes of a request (1.5 MiB) */

struct post;

struct posts {
	struct loop *loop;
	struct etcd *e;			/* NULL: there is no client */
	struct etcd_call *call;
	int64_t lease;			/* 0: none is held */
	char root[KEY_MAX];		/* PREFIX/CLUSTER/node/NODE/pod/ */
	struct node due, under_way, told;	/* struct post; under_way: in the call */
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
