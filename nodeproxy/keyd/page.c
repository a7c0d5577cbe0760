/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See page.h. */
#include "nodeproxy/keyd/page.h"

#include <errno.h>
#include <openssl/mem.h>

#include "nodeproxy/lib/base/memfd.h"

int page_make(const struct keystore *s, struct identities *i, const uint64_t refused[SIGN_REFUSALS],
	      int64_t now_s, struct fd *ret)
{
	size_t at = certs_head(s->now.n, i->n, i->terms.bundles);
	size_t n = at + keystore_bytes(s) + identities_bytes(i);
	struct certs *c = n <= CERTS_BYTES ? OPENSSL_malloc(n) : NULL;
	int r;

	if (c == NULL)
		return -ENOMEM;
	memset(c, 0, n);
	*c = (struct certs){ .magic = CERTS_MAGIC, .bytes = (uint32_t)n, .n = s->now.n, .identities = i->n,
			     .bundles = i->terms.bundles };
	memcpy(c->refused, refused, sizeof c->refused);
	keystore_put(s, c, &at);
	identities_put(i, c, &at, now_s);
	r = memfd_sealed("nodeproxy-certs", slice_of(c, n), ret);
	OPENSSL_free(c);
	return r;
}
