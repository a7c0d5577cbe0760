/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Keys: where an object lies in a registry of keys and values, so that what may be read and written can
 * be said by ranges of keys.  Below the root, which is PREFIX/CLUSTER/:
 *
 *   ns/NAMESPACE/GROUP/KIND/NAME         written by whoever runs the namespace
 *   global/GROUP/KIND/NAME               kinds without namespace
 *   node/NODE/...                        written by that host alone
 *   vip/ADDRESS                          whose address it is
 *
 * The group of core kinds is "core", for a part of a key is never empty. */
#ifndef NODEPROXY_STORE_REGISTRY_KEY_H
#define NODEPROXY_STORE_REGISTRY_KEY_H

#include "nodeproxy/lib/base/must.h"
#include "store/registry/registry.h"

#define KEY_PREFIX 100u			/* longest prefix, with its NUL */
#define KEY_MAX	   640u			/* longest key, with its NUL: PLACE_MAX of store/sync */

enum key_place { KEY_NS, KEY_GLOBAL, KEY_NODE, KEY_VIP };

struct key_parts {
	enum key_place place;
	/* NS, GLOBAL; group as it is called in objects: empty for core */
	struct slice group, kind, ns, name;
	struct slice node;		/* NODE */
	struct slice rest;		/* NODE: behind the node; VIP: the address */
};

/* "PREFIX/CLUSTER/"; its length, or -ENAMETOOLONG. */
must_use int key_root(const char *prefix, const char *cluster, char out[KEY_MAX]);
/* The key of an object behind the root; its length, or -ENAMETOOLONG. */
must_use int key_write(const char *root, const struct registry_key *, char out[KEY_MAX]);
/* What stands behind the root.  0, or -EINVAL with words. */
must_use int key_read(struct slice rest, struct key_parts *ret, const char **ret_words);

#endif
