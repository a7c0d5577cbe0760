/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What an object becomes when a document is applied: what a registry that is more than files would do
 * itself.
 *
 * The document says everything but its history: metadata.generation counts changes of anything
 * outside metadata, metadata.creationTimestamp is when the object was first written and never moves.
 * An object that had no creationTimestamp (somebody wrote it by hand) gets none: absent is oldest, and
 * a change must not make a route younger than it was. */
#ifndef NODEPROXY_STORE_REGISTRY_CHANGE_H
#define NODEPROXY_STORE_REGISTRY_CHANGE_H

#include "store/registry/registry.h"
#include "store/resource/resource.h"

enum change_result { CHANGE_CREATED, CHANGE_CONFIGURED, CHANGE_UNCHANGED };

struct change {
	enum change_result result;
	struct row *row;	/* what is to be written: row_free */
};

/* want: the document as it was validated; have: what the registry has; vip: an address to write into a
 * Service, NULL: none.  0; -EINVAL: with what is added it is not valid any more (a bug or a limit);
 * -ENOMEM. */
must_use int change_make(const struct row *want, const struct registry_value *have, const char *vip,
			 int64_t now_unix_ms, struct change *ret);

/* A Service that wants an address and does not say which. */
bool change_wants_vip(const struct row *);
/* The address that the object in the registry has; false: none. */
bool change_vip_of(const struct registry_value *, char *ret, size_t room);

/* The key of a row; borrows its names.  group is put into a buffer of the caller's. */
#define CHANGE_GROUP 128
struct registry_key change_key(const struct row *, char group[CHANGE_GROUP]);

#endif
