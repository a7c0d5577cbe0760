/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Typed readers of the store.  Everything read is hostile until validated again: the caller parses
 * json like any other document. */
#ifndef NODEPROXY_STORE_DB_QUERY_H
#define NODEPROXY_STORE_DB_QUERY_H

#include "nodeproxy/lib/base/slice.h"
#include "store/db/db.h"

/* One row of table resource; in a reader the slices are valid during the call. */
struct db_resource {
	struct slice kind, ns, name, json, source;
	uint8_t digest[32];
	uint32_t line;
	int64_t created_unix_ms, created_rev, generation;	/* one of the first two, as of struct row */
};

struct db_slot {
	struct slice scope, key;
	uint32_t slot, gen;
};

/* 0 and *ret (0 when nobody wrote it), or -errno. */
must_use int db_meta(struct db *, const char *key, uint64_t *ret);
/* Calls fn for each row, in order of kind, ns, name.  0, -errno, or fn's first result that is not 0. */
must_use int db_each_resource(struct db *, int (*fn)(void *arg, const struct db_resource *),
			      void *arg);
must_use int db_each_slot(struct db *, int (*fn)(void *arg, const struct db_slot *), void *arg);

#endif
