/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The registry that is an etcd cluster, for writers of resources (store/registry/registry.h): one key per
 * object (store/registry/key.h), whose value is its canonical JSON.
 *
 * A version is the revision that modified the key; what is written, or removed, is so by a transaction
 * that compares it.  An address is claimed by the first one who makes its key.
 *
 * The seam waits, and etcd.h does not: each call runs a loop of its own until its answer is there.  A
 * write whose answer got lost is looked for before it is tried again: its version says whether it was
 * done. */
#ifndef NODEPROXY_STORE_SYNC_REGISTRY_ETCD_H
#define NODEPROXY_STORE_SYNC_REGISTRY_ETCD_H

#include "store/registry/registry.h"
#include "store/sync/etcd.h"

struct registry_etcd_terms {
	const struct addr *endpoint;
	unsigned endpoints;
	struct slice ca, cert, key;	/* PEM, as of etcd.h */
	const char *name, *user;
	struct slice password;
	const char *prefix, *cluster;	/* of keys */
	int64_t wait_ms;		/* for a member that answers, and for each answer */
};

/* Copies all.  On an error *ret is NULL and problem has the words. */
must_use enum registry_error registry_etcd_open(const struct registry_etcd_terms *, struct registry **ret,
						char problem[512]);

#endif
