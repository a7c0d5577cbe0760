/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What this host says of itself in a registry, for whoever shows it: the key node/NODE/status, which is
 * there as long as the host is (a lease).
 *
 *   {"node": ..., "more": n, "problems": [{"kind", "namespace", "name", "generation", "type", "reason"}]}
 *
 * Every host of the mesh reads below node/, so what one says costs all of them: it says only what is
 * wrong (a condition that is False), little of it, when that has changed, and after a pause at random, so
 * that a thousand hosts that find the same thing wrong do not say so at once. */
#ifndef NODEPROXY_STORE_SYNC_SAID_H
#define NODEPROXY_STORE_SYNC_SAID_H

#include "store/registry/key.h"
#include "store/sync/etcd.h"
#include "store/sync/posts.h"

#define SAID_KEY	 "status"	/* behind node/NODE/ */
#define SAID_PROBLEMS	 20u
#define SAID_LEASE_S	 60
#define SAID_SPREAD_MS	 5000

struct said {
	struct loop *loop;
	struct etcd *e;			/* NULL: there is no client */
	struct etcd_lease *lease;
	struct etcd_call *call;
	int64_t lease_id;		/* 0: none is held */
	char key[KEY_MAX];
	char *text;			/* NULL: nothing was to be said yet */
	bool is_told;
	int64_t spread_ms;
	struct loop_timer timer;
	struct posts posts;		/* kept by the same lease */
};

/* root: "PREFIX/CLUSTER/".  0 or -ENAMETOOLONG. */
must_use int said_init(struct said *, struct loop *, const char *root, const char *node);
void said_fini(struct said *);
/* The client to say it by; NULL: it goes, and this must be called before. */
void said_client(struct said *, struct etcd *);
/* From now on this; takes the text. */
void said_text(struct said *, char **text);

/* Of a pod of this host: posts_set(). */
must_use int said_post(struct said *, const char *ns, const char *pod, const char *text);

/* What a report (report.h) has to say to others; malloc'ed.  NULL: no memory. */
char *said_of_report(struct slice report, const char *node);

#endif
