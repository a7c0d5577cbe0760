/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The opaque codec: bytes are bytes.  One exchange per connection, both ways until both have ended;
 * also what an upgraded HTTP/1.1 connection becomes. */
#ifndef WORKERS_CODEC_OPAQUE_H
#define WORKERS_CODEC_OPAQUE_H

#include "workers/codec/http1.h"

/* Makes the body a tunnel. */
void opaque_init(struct http1_body *);
/* As http1_body_pass, for a body of kind BODY_TUNNEL: everything is passed, in_end ends it. */
int opaque_pass(struct http1_body *, struct slice in, bool in_end, struct iovec *, size_t *used);

#endif
