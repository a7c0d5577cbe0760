/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Origins: how an application inside a pod learns whose connection it is (pool.h: back_key). */
#ifndef WORKERS_POOL_ORIGIN_H
#define WORKERS_POOL_ORIGIN_H

#include "workers/pool/pool.h"

/* A connection has come to be: where its key says so, the first bytes tell the caller's address.  0 or
 * -errno. */
must_use int origin_tell(const struct back_key *, struct stream *);

#endif
