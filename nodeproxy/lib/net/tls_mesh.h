/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Whom the mesh trusts: for each trust domain its roots, and of who is below them only workloads.
 *
 * A certificate is a workload's when it has one URI that is its SPIFFE identity, and its path ends at a root
 * of its own trust domain: no root speaks for another domain.  Where an authority of a host is on the path
 * (spiffe://<trust domain>/node/<host>), it is believed only for accounts that are on that host: who breaks
 * into one host becomes nobody who is on others. */
#ifndef NODEPROXY_LIB_NET_TLS_MESH_H
#define NODEPROXY_LIB_NET_TLS_MESH_H

#include "nodeproxy/lib/net/tls.h"

struct tls_mesh_bundle {
	const char *trust_domain;
	struct slice pem;	/* roots, revocation lists */
};

/* Whether this account has a workload on this host; must not keep what it is told. */
typedef bool tls_placed_fn(void *arg, struct slice host, struct slice ns, struct slice account);

/* One trust of several bundles and revocation lists for all of them.  0, -EINVAL or -ENOMEM, with words. */
must_use int tls_mesh_new(const struct tls_mesh_bundle *, unsigned n, struct slice lists, tls_placed_fn *,
			  void *arg, struct tls_trust **ret, const char **why);

#endif
