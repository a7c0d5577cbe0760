/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The BackendTLSPolicy of a port. */
#include "store/view/reader.h"

static const struct unit_tls *tls_of(const struct vport *p)
{
	const struct unit_svc *s = vservice_svc(&p->service);
	const struct unit_port *port = vport_unit(p);

	if (port == NULL || port->tls == 0)
		return NULL;
	return unit_item(vservice_unit(&p->service), s->tls, s->n_tls, sizeof(struct unit_tls), port->tls - 1);
}

bool vport_tls(const struct vport *p, struct vtls *ret)
{
	struct slice unit = vservice_unit(&p->service);
	const struct unit_tls *u = tls_of(p);

	if (u == NULL)
		return false;
	*ret = (struct vtls){
		.name = unit_text(unit, u->name),
		.host = unit_text(unit, u->host),
		.trusts_host = u->flags & TLS_TRUSTS_HOST,
		.cas = u->n_cas,
		.names = u->n_names,
	};
	static_must(sizeof ret->id == sizeof u->id);
	memcpy(ret->id, u->id, sizeof u->id);
	return true;
}

struct slice vport_tls_ca(const struct vport *p, uint32_t i)
{
	struct slice unit = vservice_unit(&p->service);
	const struct unit_svc *s = vservice_svc(&p->service);
	const struct unit_tls *u = tls_of(p);
	const uint32_t *text = u && i < u->n_cas ?
				       unit_item(unit, s->cas, s->n_cas, sizeof *text, u->ca + i) : NULL;

	return text ? unit_text(unit, *text) : (struct slice){ NULL, 0 };
}

struct slice vport_tls_name(const struct vport *p, uint32_t i, bool *ret_is_uri)
{
	struct slice unit = vservice_unit(&p->service);
	const struct unit_svc *s = vservice_svc(&p->service);
	const struct unit_tls *u = tls_of(p);
	const struct unit_tls_name *n = u && i < u->n_names ?
		unit_item(unit, s->tls_names, s->n_tls_names, sizeof *n, u->first + i) : NULL;

	*ret_is_uri = n && n->is_uri;
	return n ? unit_text(unit, n->text) : (struct slice){ NULL, 0 };
}
