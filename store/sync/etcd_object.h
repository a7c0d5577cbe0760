/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Objects in keys and values of etcd: what is written there by whoever may, hence hostile. */
#ifndef NODEPROXY_STORE_SYNC_ETCD_OBJECT_H
#define NODEPROXY_STORE_SYNC_ETCD_OBJECT_H

#include "store/registry/key.h"
#include "store/sync/changeset.h"
#include "store/sync/etcd.h"

#define ETCD_VALUE_MAX (1u << 20)

/* A key as the name of a place: itself, when it is printable and not too long (true), or words for it
 * that no such key is called by. */
bool etcd_object_name(struct slice key, char out[KEY_MAX]);
/* The value as one document: a row of the age of its key, or a refusal.  The key must say what the object
 * says of itself.  0 or -ENOMEM. */
must_use int etcd_object_read(const char *name, const struct key_parts *, const struct etcd_kv *,
			      struct documents *);

#endif
