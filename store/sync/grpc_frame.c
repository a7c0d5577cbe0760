/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See grpc_frame.h. */
#include "store/sync/grpc_frame.h"

#include <errno.h>
#include <stdlib.h>

#define FIRST_ROOM 4096u
#define KEPT_ROOM  65536u	/* between messages */

static void take(struct slice *in, void *to, size_t n)
{
	memcpy(to, in->p, n);
	*in = slice_from(*in, n);
}

static int grow(struct grpc_frames *f, uint32_t want)
{
	uint32_t room = max_of(f->room, FIRST_ROOM);
	uint8_t *p;

	if (want <= f->room)
		return 0;
	while (room < want)
		room = room > f->max / 2 ? f->max : room * 2;
	p = realloc(f->p, room);
	if (p == NULL)
		return -ENOMEM;
	f->p = p;
	f->room = room;
	return 0;
}

/* The last message was used. */
static void forget(struct grpc_frames *f)
{
	f->head_n = 0;
	if (f->room <= KEPT_ROOM)
		return;
	free(f->p);
	f->p = NULL;
	f->room = 0;
}

int grpc_frames_next(struct grpc_frames *f, struct slice *in, struct slice *ret)
{
	size_t k;
	int r;

	if (f->head_n == GRPC_HEAD_BYTES && f->have == f->n)
		forget(f);
	if (f->head_n < GRPC_HEAD_BYTES) {
		k = min_of(in->n, (size_t)(GRPC_HEAD_BYTES - f->head_n));
		if (k == 0)
			return 0;
		take(in, f->head + f->head_n, k);
		f->head_n += (uint8_t)k;
		if (f->head_n < GRPC_HEAD_BYTES)
			return 0;
		f->n = (uint32_t)f->head[1] << 24 | (uint32_t)f->head[2] << 16 |
		       (uint32_t)f->head[3] << 8 | f->head[4];
		f->have = 0;
		if (f->head[0] != 0)
			return -EPROTO;
		if (f->n > f->max)
			return -EMSGSIZE;
	}
	k = min_of(in->n, (size_t)(f->n - f->have));
	if (k) {
		r = grow(f, f->have + (uint32_t)k);
		if (r < 0)
			return r;
		take(in, f->p + f->have, k);
		f->have += (uint32_t)k;
	}
	if (f->have < f->n)
		return 0;
	*ret = slice_of(f->p, f->n);
	return 1;
}

void grpc_frames_fini(struct grpc_frames *f)
{
	free(f->p);
	f->p = NULL;
}
