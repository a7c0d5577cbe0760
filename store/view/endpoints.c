/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Ports of a Service and the endpoints behind each. */
#include "store/view/reader.h"

static void port_at(const struct vservice *s, uint32_t i, const struct unit_port *p,
		    struct vport *ret)
{
	*ret = (struct vport){
		.service = *s,
		.index = i,
		.port = p->port,
		.protocol = (enum app_protocol)p->protocol,
		.has_routes = p->has_routes,
		.endpoints = p->n_endpoints,
	};
}

uint32_t vservice_ports(const struct vservice *s)
{
	return vservice_svc(s)->n_ports;
}

bool vservice_port_at(const struct vservice *s, uint32_t i, struct vport *ret)
{
	const struct unit_svc *u = vservice_svc(s);
	const struct unit_port *p = unit_item(vservice_unit(s), u->ports, u->n_ports, sizeof *p, i);

	if (p == NULL)
		return false;
	port_at(s, i, p, ret);
	return true;
}

bool vservice_port(const struct vservice *s, uint16_t port, struct vport *ret)
{
	const struct unit_svc *u = vservice_svc(s);

	for (uint32_t i = 0; i < u->n_ports; i++) {
		const struct unit_port *p =
			unit_item(vservice_unit(s), u->ports, u->n_ports, sizeof *p, i);

		if (p && p->port == port) {
			port_at(s, i, p, ret);
			return true;
		}
	}
	return false;
}

struct slice vport_name(const struct vport *p)
{
	const struct unit_port *u = vport_unit(p);

	return u ? unit_text(vservice_unit(&p->service), u->name) : (struct slice){ 0 };
}

bool vport_endpoint(const struct vport *p, uint32_t i, struct vendpoint *ret)
{
	struct slice unit = vservice_unit(&p->service);
	const struct unit_svc *s = vservice_svc(&p->service);
	const struct unit_port *u = vport_unit(p);
	const struct unit_endpoint *e;

	if (u == NULL || i >= u->n_endpoints || u->endpoint > s->n_endpoints)
		return false;
	e = unit_item(unit, s->endpoints, s->n_endpoints, sizeof *e, u->endpoint + i);
	if (e == NULL)
		return false;
	*ret = (struct vendpoint){
		.addr = { .port = e->port, .family = e->family },
		.slot = { e->slot, e->gen },
		.ready = e->flags & ENDPOINT_READY,
		.serving = e->flags & ENDPOINT_SERVING,
		.terminating = e->flags & ENDPOINT_TERMINATING,
		.zone = unit_text(unit, e->zone),
		.node = unit_text(unit, e->node),
	};
	memcpy(ret->addr.ip, e->ip, sizeof e->ip);
	return true;
}

uint32_t vport_ready(const struct vport *p)
{
	const struct unit_port *u = vport_unit(p);

	return u ? u->n_ready : 0;
}

uint32_t vport_ready_at(const struct vport *p, uint32_t n)
{
	(void)p;
	return n; /* ready ones stand first */
}
