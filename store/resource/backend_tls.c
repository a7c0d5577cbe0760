/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* BackendTLSPolicy, attached to Services of its own namespace as a TrafficPolicy is, and the ConfigMaps
 * that have the certificates of its issuers.  A reference to something else is kept: the policy holds,
 * and what it cannot resolve is trusted by nobody. */
#include "store/resource/make.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/lib/net/pem.h"

static int ca_ref(const struct doc_node *m, struct row_ca_ref *r)
{
	struct slice group = make_slice_of(m, "group"), kind = make_slice_of(m, "kind");
	char other[400] = "", of[254], what[64];

	if (group.n || !slice_eq(kind, SLICE("ConfigMap")))
		snprintf(other, sizeof other, "%s%s%s", doc_clean(kind, what, sizeof what),
			 group.n ? " of " : "", doc_clean(group, of, sizeof of));
	r->name = make_text(m, "name", "");
	r->other = strdup(other);
	return r->name && r->other ? 0 : -ENOMEM;
}

static int name(struct judge *j, const struct doc_node *m, uint32_t at, struct row_name *n)
{
	const char *field;

	n->is_uri = slice_eq(make_slice_of(m, "type"), SLICE("URI"));
	field = n->is_uri ? "uri" : "hostname";
	judge_field(j, "spec.validation.subjectAltNames[%u].%s", at, field);
	if (doc_get(m, field) == NULL)
		return judge_refuse(j, m->line, "is required of type %s", n->is_uri ? "URI" : "Hostname");
	if (doc_get(m, n->is_uri ? "hostname" : "uri"))
		return judge_refuse(j, m->line, "stands beside %s: a name is one of them",
				    n->is_uri ? "hostname" : "uri");
	n->text = make_text(m, field, "");
	return n->text ? 0 : -ENOMEM;
}

int make_backend_tls(struct judge *j, const struct doc_node *root, struct row *r)
{
	const struct doc_node *spec = doc_get(root, "spec"), *v = doc_get(spec, "validation");
	const struct doc_node *refs = doc_get(v, "caCertificateRefs"), *names = doc_get(v, "subjectAltNames");
	struct row_backend_tls *p = &r->backend_tls;
	int e = make_targets(j, spec, &p->targets, &p->n_targets);

	if (e < 0)
		return e;
	p->system = doc_get(v, "wellKnownCACertificates") != NULL;
	judge_field(j, "spec.validation");
	if (p->system == (refs && refs->n))
		return judge_refuse(j, v->line, "must have caCertificateRefs or wellKnownCACertificates, "
						"and not both");
	p->hostname = make_text(v, "hostname", "");
	if (p->hostname == NULL || (refs && make_array(refs->n, &p->refs) < 0) ||
	    (names && make_array(names->n, &p->names) < 0))
		return -ENOMEM;
	for (const struct doc_node *m = refs ? refs->first : NULL; e == 0 && m; m = m->next)
		e = ca_ref(m, &p->refs[p->n_refs++]);
	for (const struct doc_node *m = names ? names->first : NULL; e == 0 && m; m = m->next) {
		p->n_names++;
		e = name(j, m, p->n_names - 1, &p->names[p->n_names - 1]);
	}
	return e;
}

/* DER of one thing, whole. */
static bool is_der(const uint8_t *p, size_t n)
{
	size_t bytes = n > 1 ? p[1] & 0x7f : 0, len = 0;

	if (n < 2 || p[0] != 0x30)
		return false;
	if (p[1] < 0x80)
		return bytes + 2 == n;
	if (bytes > 3 || n < 2 + bytes)
		return false;
	for (size_t i = 0; i < bytes; i++)
		len = len << 8 | p[2 + i];
	return len + 2 + bytes == n;
}

/* Whoever verifies by them looks closer. */
static int flaw_of(struct slice pem, const char **ret)
{
	uint8_t *der = malloc(PEM_MAX);
	struct slice label;
	unsigned n = 0;
	size_t bytes;
	int r;

	if (der == NULL)
		return -ENOMEM;
	*ret = NULL;
	while ((r = pem_next(&pem, &label, der, PEM_MAX, &bytes)) == 1) {
		if (!slice_eq(label, SLICE("CERTIFICATE")))
			continue;
		n++;
		if (!is_der(der, bytes))
			*ret = "has a certificate that cannot be read";
	}
	free(der);
	if (r < 0)
		*ret = "is not whole PEM";
	else if (n == 0)
		*ret = "has no certificate";
	return 0;
}

int make_config_map(struct judge *j __attribute__((unused)), const struct doc_node *root, struct row *r)
{
	struct row_config_map *c = &r->config_map;

	c->ca = make_text(doc_get(root, "data"), "ca.crt", "");
	return c->ca ? flaw_of(slice_str(c->ca), &c->flaw) : -ENOMEM;
}
