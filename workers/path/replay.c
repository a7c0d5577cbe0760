/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A request that may have to be sent again is kept as it went out: its head in ex->replay, what came of
 * its body in ex->trying.body, with the framing that the endpoint gets; trailers that are not framed
 * stay with the flow.  That goes on (up.keeps) until the answer is given through, no attempt is left,
 * the body is over its size, or the tenant has no memory for it.  It begins in match and only where a
 * rule or policy asks for retries; nobody else pays for it. */
#include "workers/path/codecs.h"

/* Linkerd's. */
#define REPLAY_MAX 65536u

void replay_begin(struct exchange *ex)
{
	ex->up.keeps = ex->up.body.kind != BODY_LENGTH || ex->up.body.left <= REPLAY_MAX;
}

void replay_drop(struct exchange *ex)
{
	struct chunk_pool *chunks = &ex->conn->path->chunks;

	ex->up.keeps = false;
	chunkq_clear(&ex->replay, chunks);
	chunkq_clear(&ex->trying.body, chunks);
}

void replay_add(struct exchange *ex, const struct iovec *v, int n)
{
	struct chunkq *q = &ex->trying.body;

	for (int i = 0; i < n; i++) {
		if (q->bytes + v[i].iov_len <= REPLAY_MAX &&
		    chunkq_add(q, &ex->conn->path->chunks, &ex->tenant->memory,
			       slice_of(v[i].iov_base, v[i].iov_len)) == 0)
			continue;
		replay_drop(ex);
		return;
	}
}

int replay_send(struct exchange *ex)
{
	/* All chunks of a queue but the last are full. */
	struct iovec v[REPLAY_MAX / CHUNK_SMALL_ROOM + 2];
	int n = chunkq_iov(&ex->trying.body, v, countof(v));

	return n ? leg_send(&ex->back->leg, conn_purse(ex->conn), v, n) : 0;
}
