/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What is said to etcd and what it answers: structs of etcd.h to bytes of protobuf and back.  The only
 * one that knows the generated code.
 *
 * Memory of a message comes from a store of its own (etcd_mem) with a bound, because a few bytes of
 * protobuf can ask for many: a message of more than that is one of no memory. */
#ifndef NODEPROXY_STORE_SYNC_ETCD_MSG_H
#define NODEPROXY_STORE_SYNC_ETCD_MSG_H

#include "store/sync/etcd.h"

#define ETCD_MEM_MAX (4u * ETCD_MESSAGE_MAX)

enum etcd_method {
#define METHOD(name, method) ETCD_DO_##name,
#include "store/sync/etcd.def"
#undef METHOD
	ETCD_METHODS
};

struct etcd_block;

struct etcd_mem {
	struct etcd_block *first;
	size_t used;			/* of all blocks, at most ETCD_MEM_MAX */
	bool is_short;			/* somebody went without */
	bool is_secret;
};

/* Zeroed; NULL: no memory. */
void *etcd_mem_take(struct etcd_mem *, size_t n);
void etcd_mem_fini(struct etcd_mem *);

/* ---- requests: 0 or -ENOMEM ---- */

must_use int etcd_msg_op(struct etcd_mem *, const struct etcd_op *, struct slice *ret);
must_use int etcd_msg_txn(struct etcd_mem *, const struct etcd_txn *, struct slice *ret);
must_use int etcd_msg_watch(struct etcd_mem *, struct slice key, struct slice end, int64_t from,
			    struct slice *ret);
must_use int etcd_msg_progress(struct etcd_mem *, struct slice *ret);
must_use int etcd_msg_grant(struct etcd_mem *, int64_t ttl_s, struct slice *ret);
must_use int etcd_msg_lease(struct etcd_mem *, int64_t id, struct slice *ret);	/* KEEP, REVOKE */
must_use int etcd_msg_authenticate(struct etcd_mem *, const char *user, const char *password,
				   struct slice *ret);

/* ---- answers: 0, -EBADMSG or -ENOMEM; what comes out lies in mem ---- */

must_use int etcd_msg_answer(struct etcd_mem *, enum etcd_method, struct slice, struct etcd_answer *ret);

struct etcd_watched {
	struct etcd_told told;
	int64_t compacted;
	const char *reason;		/* of the end */
	bool is_created, is_end, is_progress;	/* progress: nobody's answer in particular */
};

must_use int etcd_msg_watched(struct etcd_mem *, struct slice, struct etcd_watched *ret);

#endif
