/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See mesh.h. */
#include "workers/path/mesh.h"

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/net/tls_mesh.h"

static bool is_here(const struct certs *c, struct slice ns, struct slice account)
{
	const struct certs_identity *all = certs_identities(c);

	for (uint32_t i = 0; i < c->identities; i++)
		if (slice_eq(slice_str(all[i].ns), ns) && slice_eq(slice_str(all[i].account), account))
			return true;
	return false;
}

static bool placed(void *arg, struct slice host, struct slice ns, struct slice account)
{
	const struct path *p = arg;

	if (slice_eq(host, slice_str(p->knobs->node)))
		return p->certs && is_here(p->certs, ns, account);
	return p->view && view_places(p->view, ns, account, host);
}

bool mesh_is_same(const struct certs *a, const struct certs *b)
{
	const struct certs_bundle *x = certs_bundles(a), *y = certs_bundles(b);

	if (a->bundles != b->bundles || !slice_eq(certs_bytes(a, a->crl), certs_bytes(b, b->crl)))
		return false;
	for (uint32_t i = 0; i < a->bundles; i++)
		if (strcmp(x[i].trust_domain, y[i].trust_domain) != 0 ||
		    !slice_eq(certs_bytes(a, x[i].pem), certs_bytes(b, y[i].pem)))
			return false;
	return true;
}

/* not on the request path */
void mesh_renew(struct path *p)
{
	struct tls_mesh_bundle b[CERTS_BUNDLES];
	const struct certs *c = p->certs;
	const char *why = "";

	mesh_fini(p);
	if (c == NULL || c->bundles == 0)
		return;
	for (uint32_t i = 0; i < c->bundles; i++)
		b[i] = (struct tls_mesh_bundle){ certs_bundles(c)[i].trust_domain,
						 certs_bytes(c, certs_bundles(c)[i].pem) };
	if (tls_mesh_new(b, c->bundles, certs_bytes(c, c->crl), placed, p, &p->mesh, &why) < 0)
		log_limited(LOG_ERROR, "bundles_not_used", "why=\"%s\"", why);
}

void mesh_fini(struct path *p)
{
	if (p->mesh)
		tls_trust_unref(&p->mesh);
}
