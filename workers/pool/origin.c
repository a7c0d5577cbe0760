/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See origin.h. */
#include "workers/pool/origin.h"

#include <errno.h>

#include "workers/codec/proxyproto.h"

int origin_tell(const struct back_key *key, struct stream *s)
{
	uint8_t header[PROXYPROTO_TOLD];
	struct iovec v = { .iov_base = header };
	ssize_t n;

	if (likely(key->how != ORIGIN_TOLD))
		return 0;
	v.iov_len = proxyproto_tell(&key->origin, &key->addr, header);
	n = s->ops->write(s, &v, 1);
	/* Nothing was written before: there is room for all of it. */
	return n == (ssize_t)v.iov_len ? 0 : n < 0 ? (int)n : -EPIPE;
}
