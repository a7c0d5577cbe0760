/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Mirrors: copies of requests that a filter sends to another Service, and whose answers nobody reads.
 *
 * A copy waits until the request it was made of is whole and has gone out; then it is a caller of its
 * own: a conn without a socket, from whose stream the request is read and whose answer is thrown away.
 * So it goes the way of any request, with its own timeouts, and can neither delay nor fail the other.
 *
 *   phase      who                 how
 *   wanted     filters of match    mirror_want(); the head is copied when all filters have run
 *   filled     flow of the body    mirror_take(); more than MIRROR_BODY_MAX: dropped
 *   under way  conn (is_mirror)    mirror_launch(); no retry, no access line, no quota of requests
 *   gone       close of its stream
 *
 * What is copied is charged to the tenant; where that, the worker's number of mirrors, or a drain says
 * no, the copy is dropped and counted. */
#ifndef WORKERS_PATH_MIRROR_H
#define WORKERS_PATH_MIRROR_H

#include "workers/path/exchange.h"

#define MIRROR_BODY_MAX 65536u
/* Under way at once in a worker. */
#define MIRRORS_MAX 1024u

/* The filter asks for a copy of this request, or of a portion of all. */
void mirror_want(struct exchange *, const struct vservice *, const struct vfilter *);
/* All filters have run: the head is the scratch head. */
void mirror_head(struct exchange *);
/* These bytes of the body are passed on. */
void mirror_take(struct exchange *, const struct iovec *, int n);
/* They were not: they come again from the start. */
void mirror_rewind(struct exchange *);
/* The request has gone out as a whole. */
void mirror_launch(struct exchange *);
/* It will not. */
void mirror_drop(struct exchange *);

/* Of a conn that is one: where it goes. */
must_use bool mirror_port(struct conn *, struct vport *ret);
bool mirror_is_grpc(const struct conn *);

#endif
