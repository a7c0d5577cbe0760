/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Messages of gRPC in the bytes of a stream: a flag, four bytes of length, the message.
 *
 * What is announced is not believed: memory grows with what came, up to the bound.  Compressed messages
 * are refused, because we never say that we take them. */
#ifndef NODEPROXY_STORE_SYNC_GRPC_FRAME_H
#define NODEPROXY_STORE_SYNC_GRPC_FRAME_H

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

#define GRPC_HEAD_BYTES 5u

struct grpc_frames {
	uint32_t max;		/* bytes of a message */
	uint8_t head[GRPC_HEAD_BYTES];
	uint8_t head_n;
	uint8_t *p;
	uint32_t n, have, room;	/* of the message at hand */
};

/* Takes bytes off *in.  1: a message, valid until the next call; 0: more is needed, *in is empty;
 * -EPROTO: a flag that may not be; -EMSGSIZE: over max; -ENOMEM.  After an error: fini only. */
must_use int grpc_frames_next(struct grpc_frames *, struct slice *in, struct slice *ret);
/* A message has begun and is not whole. */
static inline bool grpc_frames_is_inside(const struct grpc_frames *f)
{
	return f->head_n > 0 && !(f->head_n == GRPC_HEAD_BYTES && f->have == f->n);
}
void grpc_frames_fini(struct grpc_frames *);
/* What stands before a message of n bytes. */
static inline void grpc_frame_head(uint32_t n, uint8_t out[GRPC_HEAD_BYTES])
{
	out[0] = 0;
	out[1] = (uint8_t)(n >> 24);
	out[2] = (uint8_t)(n >> 16);
	out[3] = (uint8_t)(n >> 8);
	out[4] = (uint8_t)n;
}

#endif
