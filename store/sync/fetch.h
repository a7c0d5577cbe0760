/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* EndpointSlices that are asked for (demand.h), read by their keys beside the watch, which has told that
 * they are there: some at a time, the first Services first.
 *
 * What the watch tells of one meanwhile is newer or the same: then the slice is not left any more, and what
 * was read is dropped. */
#ifndef NODEPROXY_STORE_SYNC_FETCH_H
#define NODEPROXY_STORE_SYNC_FETCH_H

#include "store/sync/demand.h"
#include "store/sync/etcd.h"
#include "store/registry/key.h"

#define FETCHES		8	/* at once */
#define FETCH_AGAIN_MS	500	/* after one that was refused */

struct fetcher;

struct fetch {
	struct fetcher *of;
	struct etcd_call *call;		/* NULL: none */
	struct slice ns, name;		/* in key */
	char key[KEY_MAX];
};

struct fetcher {
	struct loop *loop;
	struct etcd *e;			/* NULL: not now */
	const char *root;
	struct demand *demand;
	/* This is what stands there. */
	void (*got)(void *arg, const struct etcd_kv *);
	/* For now that was all that can be read: whatever was asked for may be here. */
	void (*done)(void *arg);
	void *arg;
	struct fetch v[FETCHES];
	struct loop_timer again;
};

/* As far as there is something to read and room: also when it was begun already. */
void fetcher_run(struct fetcher *, struct etcd *);
void fetcher_stop(struct fetcher *);

/* False: it would be too long to be one. */
bool fetch_key(const char *root, const struct demand_slice *, char out[KEY_MAX]);
/* A key, behind the root, of the kind that is fetched. */
bool fetch_is_slice(const struct key_parts *);

#endif
