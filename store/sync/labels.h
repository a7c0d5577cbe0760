/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Labels: which pods have one, and which Services ask for it, so that neither a pod that comes looks at
 * all Services of its namespace, nor a Service at all pods.
 *
 * A pod is in all of its labels.  A Service is in one of those that it selects by, the one that the fewest
 * others are in: whoever has all that it asks for has that one, too.  A label is there while somebody is
 * in it. */
#ifndef NODEPROXY_STORE_SYNC_LABELS_H
#define NODEPROXY_STORE_SYNC_LABELS_H

#include "nodeproxy/lib/base/hash.h"
#include "nodeproxy/lib/base/list.h"
#include "store/rows.h"

struct resource;

enum label_side { LABEL_PODS, LABEL_SERVICES, LABEL_SIDES };

struct labels {
	struct hash labels, entries;	/* by namespace, name and value; by resource */
};

struct label {
	struct hash_node by_pair;
	struct node in[LABEL_SIDES];	/* label_entry.in_label, in the order in which they came */
	uint32_t n[LABEL_SIDES];
	const char *ns, *name, *value;
	char text[];
};

struct label_entry {
	struct hash_node by_resource;
	struct node in_label;
	struct label *label;
	enum label_side side;
	struct resource *resource;
};

static inline struct resource *label_resource(const struct node *n)
{
	return container_of(n, struct label_entry, in_label)->resource;
}

void labels_fini(struct labels *);
/* NULL: nobody is in it. */
struct label *labels_find(const struct labels *, const char *ns, const struct row_pair *);
/* 0 or -ENOMEM: then it may be in some of them. */
must_use int labels_add_pod(struct labels *, struct resource *, const struct row_pair *, uint32_t n);
must_use int labels_add_service(struct labels *, struct resource *, const struct row_pair *, uint32_t n);
/* Is in none any more. */
void labels_remove(struct labels *, const struct resource *);

#endif
