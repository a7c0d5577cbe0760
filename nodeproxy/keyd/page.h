/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* All certificates that are in use, with whom the mesh trusts, as one sealed file (lib/net/certs.h). */
#ifndef NODEPROXY_KEYD_PAGE_H
#define NODEPROXY_KEYD_PAGE_H

#include "nodeproxy/keyd/identities.h"
#include "nodeproxy/keyd/keystore.h"

/* 0 or -errno. */
must_use int page_make(const struct keystore *, struct identities *, const uint64_t refused[SIGN_REFUSALS],
		       int64_t now_s, struct fd *ret);

#endif
