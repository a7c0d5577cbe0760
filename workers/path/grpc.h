/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What a proxy has to understand of gRPC over HTTP/2: how long the caller waits, and how the call
 * ended.  Messages are bytes. */
#ifndef WORKERS_PATH_GRPC_H
#define WORKERS_PATH_GRPC_H

#include "workers/path/exchange.h"

/* Milliseconds of a grpc-timeout ("100m"), rounded up, at most INT32_MAX; -1: not one. */
int64_t grpc_timeout_ms(struct slice);
/* The value of the first line of this name. */
bool grpc_line(const struct head *, struct slice name, struct slice *ret);
/* Of a grpc-retry-pushback-ms; -1: no further attempt (negative, no number, or more than most). */
int64_t grpc_pushback_ms(struct slice, uint32_t most);
/* Notes the caller's deadline from the request head. */
void grpc_deadline(struct exchange *, const struct head *);
/* Notes and gives the status of an answer of ours. */
unsigned grpc_local(struct exchange *, const struct reason_row *);
/* Notes the status, of trailers or of a head that is all there is. */
void grpc_status(struct exchange *, const struct head *);

#endif
