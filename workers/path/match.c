/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* match: where may they go?  Finds the Service port that was addressed, then the rule of its routes,
 * and of that one backend by weight.  The view is held from here on, until connect has an answer. */
#include "workers/path/exchange.h"

#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/base/strbuf.h"

/* Host without its port; *ret_port 0: none was given.  false: nonsense. */
static bool split_host(struct slice authority, struct slice *ret_host, uint16_t *ret_port)
{
	struct slice host = authority;
	uint64_t port = 0;
	size_t at = authority.n;

	while (at && authority.p[at - 1] >= '0' && authority.p[at - 1] <= '9')
		at--;
	if (at && authority.p[at - 1] == ':') {
		host.n = at - 1;
		if (at < authority.n && !slice_u64(slice_from(authority, at), 65535, &port))
			return false;
	}
	*ret_host = host;
	*ret_port = (uint16_t)port;
	return host.n > 0;
}

/* By Host: its port when the Service has it, else 80, else the only one there is (a caller that
 * reaches the listener at another port writes that one). */
static bool port_of_host(const struct vservice *s, uint16_t port, struct vport *ret)
{
	if (port && vservice_port(s, port, ret))
		return true;
	if (vservice_port(s, 80, ret))
		return true;
	return vservice_ports(s) == 1 && vservice_port_at(s, 0, ret);
}

static enum reason find_port(struct exchange *ex, struct vport *ret)
{
	struct conn *c = ex->conn;
	struct path *p = c->path;
	struct gate *g = c->gate;
	struct vservice s;
	struct slice host;
	uint16_t port;

	switch ((enum listen_route)g->knobs.route) {
	case LISTEN_SERVICE:
		if (!g->has_port)
			return REASON_NO_LISTENER_SERVICE;
		*ret = g->port;
		return REASON_NONE;
	case LISTEN_HOST:
		if (!ex->is_http || !split_host(p->head.authority, &host, &port) ||
		    !view_service_by_host(p->view, host, slice_str(g->knobs.ns), &s) ||
		    !port_of_host(&s, port, ret))
			return REASON_NO_SERVICE;
		return REASON_NONE;
	case LISTEN_ORIGINAL:
		if (!view_service_by_vip(p->view, &c->dialled, &s) ||
		    !vservice_port(&s, c->dialled.port, ret))
			return REASON_NO_SERVICE;
		return REASON_NONE;
	}
	return REASON_NO_SERVICE;
}

static struct slice join(struct exchange *ex, struct slice ns, struct slice name, unsigned port)
{
	struct slice a = exchange_text(ex, ns);
	char digits[20], *d;

	a.n += exchange_text(ex, SLICE("/")).n;
	a.n += exchange_text(ex, name).n;
	if (port) {
		d = u64_digits(port, digits);
		a.n += exchange_text(ex, SLICE(":")).n;
		a.n += exchange_text(ex, slice_of(d, (size_t)(digits + sizeof digits - d))).n;
	}
	return a;
}

enum step stage_match(struct exchange *ex)
{
	struct path *p = ex->conn->path;
	struct vport port;
	struct vrule rule;
	struct vbackend b;
	enum reason why = find_port(ex, &port);

	if (why != REASON_NONE)
		return end(ex, why);
	ex->service = vservice_slot(&port.service);
	ex->service_text = join(ex, vservice_ns(&port.service), vservice_name(&port.service),
				port.port);
	ex->target = port;
	if (ex->is_http && port.has_routes) {
		switch (vport_match(&port, p->head.method, p->head.path, &rule)) {
		case MATCH_DIRECT:
			break;
		case MATCH_NOTHING:
			return end(ex, REASON_NO_ROUTE);
		case MATCH_RULE:
			ex->route_text = join(ex, rule.route_ns, rule.route_name, 0);
			if (rule.total_weight == 0 ||
			    !vrule_backend(&rule, rand_below(rule.total_weight), &b) || !b.valid)
				return end(ex, REASON_NO_BACKEND);
			ex->target = b.port;
			break;
		}
	}
	view_ref(p->view);
	ex->view = p->view;
	return NEXT;
}
