/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* SPIFFE identities as this mesh writes them:
 *
 *   spiffe://<trust domain>/ns/<namespace>/sa/<service account>     a workload
 *   spiffe://<trust domain>/node/<host>                             who issues for a host
 *
 * Exactly these: other paths are names of other systems and no identity here. */
#ifndef NODEPROXY_LIB_NET_SPIFFE_H
#define NODEPROXY_LIB_NET_SPIFFE_H

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

#define SPIFFE_MAX 1024u	/* of a whole one, with NUL */

struct spiffe {
	struct slice trust_domain;
	struct slice ns, account;	/* of a workload; empty: of a node */
	struct slice host;		/* of a node; empty: of a workload */
};

/* The slices lie in the text.  0 or -EINVAL. */
must_use int spiffe_parse(struct slice text, struct spiffe *ret);
/* The text of one that spiffe_parse() would take, with NUL: its length, or -EINVAL. */
must_use int spiffe_print(const struct spiffe *, char out[SPIFFE_MAX]);

#endif
