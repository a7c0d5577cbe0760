/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* certs: certificates of this host, as the key process has told of them. */
#include "admin/show.h"

#include <stdio.h>

const struct certs_leaf *show_leaf(const struct state *st, const struct knobs_listener *l, char names[CERTS_NAMES])
{
	const struct certs_identity *i;
	const struct certs_entry *e;

	names[0] = 0;
	if (st->certs == NULL || l->tls != TLS_TERMINATE)
		return NULL;
	if (l->tls_identity[0]) {
		i = certs_identity_of(st->certs, l->tls_ns, l->tls_account);
		snprintf(names, CERTS_NAMES, "spiffe://%.100s/ns/%s/sa/%s", st->certs->issuer.trust_domain, l->tls_ns,
			 l->tls_account);
		return i && i->leaves ? &i->leaf[0] : NULL;
	}
	e = certs_of(st->certs, l->name);
	if (e)
		snprintf(names, CERTS_NAMES, "%s", e->names);
	return e ? &e->leaf : NULL;
}
