/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Locals: the captured pods of this host, of which the master tells the list in pages (lib/ipc/pods.h).
 * Each becomes a Resident at the place node/NODE/pod/NAMESPACE/POD of the model, in the words in which
 * other hosts hear of it by the registry.
 *
 *   IN        captured, and has addresses
 *   DRAINING  the master is letting it go, or it has gone less than LOCALS_DRAIN_MS ago: said to be
 *             draining, so that those who read it stop sending before it is not there
 *
 * What the store has of an earlier life stays until the master has said that those were all: while
 * nodeproxy starts again nobody sees its pods go.  Of a pod that is there twice, one leaves. */
#ifndef NODEPROXY_STORE_SYNC_LOCALS_H
#define NODEPROXY_STORE_SYNC_LOCALS_H

#include "nodeproxy/lib/base/list.h"
#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/base/loop.h"
#include "nodeproxy/lib/ipc/pods.h"

struct model;

#define LOCALS_DRAIN_MS 3000

struct locals_events {
	/* There is something to apply. */
	void (*due)(void *arg);
	/* For others; text NULL: it is gone. */
	void (*post)(void *arg, const char *ns, const char *pod, const char *text);
	void *arg;
};

struct locals {
	struct loop *loop;
	struct locals_events on;
	char node[254], zone[65];
	struct node all;		/* struct local */
	struct pods_page *page[PODS_PAGES];
	uint32_t pages;			/* bits: that came from the master that is there now */
	uint32_t wanted;		/* bits: that must have come before all are known */
	bool all_said;
	bool swept;			/* what the store had and is not there was let go */
	int64_t drain_ms;
	struct loop_timer timer;
};

/* Its loop goes with it: locals_fini() before. */
void locals_init(struct locals *, struct loop *, const char *node, const struct locals_events *);
void locals_fini(struct locals *);
/* Those of another zone; "": not known. */
void locals_zone(struct locals *, const char *zone);
/* A page of the list.  0, -EBADMSG: it is none; -ENOMEM; -errno: it could not be read. */
must_use int locals_page(struct locals *, uint32_t page, struct fd);
void locals_all(struct locals *, uint32_t pages);
/* It is said that those were all, and they were not: ask for them again. */
bool locals_lacks(const struct locals *);
/* Another master: it says all again. */
void locals_again(struct locals *);
/* What is due becomes claims of the model, to be settled by the caller.  True: there was something. */
bool locals_apply(struct locals *, struct model *);
/* A snapshot of the source is about to be settled, which tells nothing of these. */
void locals_keep(const struct locals *, struct model *);
/* Everything is posted again: whoever reads it is another. */
void locals_post(struct locals *);

#endif
