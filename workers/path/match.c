/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* match: where may they go?  Finds the Service port that was addressed, then the rule of its routes,
 * and of that one backend by weight.  The view is held from here on, until connect has an answer. */
#include "workers/path/codecs.h"

#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/base/strbuf.h"
#include "workers/path/filter.h"
#include "workers/path/grpc.h"
#include "workers/path/mirror.h"
#include "workers/path/peek.h"
#include "workers/path/pods.h"

static enum reason find_port(struct exchange *ex, struct vport *ret)
{
	struct conn *c = ex->conn;
	struct path *p = c->path;
	struct gate *g = c->gate;
	struct vservice s;
	struct slice host;
	uint16_t port;

	if (unlikely(c->is_mirror)) {
		ex->is_grpc = mirror_is_grpc(c);
		return mirror_port(c, ret) ? REASON_NONE : REASON_NO_SERVICE;
	}
	switch ((enum listen_route)g->terms.route) {
	case LISTEN_SERVICE:
		if (!g->has_port)
			return REASON_NO_LISTENER_SERVICE;
		*ret = g->port;
		return REASON_NONE;
	case LISTEN_HOST:
		if (!ex->is_http || !authority_split(p->head.authority, &host, &port) ||
		    !view_service_by_host(p->view, host, slice_str(g->terms.ns), &s) ||
		    !vservice_port_of_host(&s, port, ret))
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

static void take_policy(struct policy *to, const struct vport *target)
{
	struct vpolicy v;

	to->service = vservice_slot(&target->service);
	to->balancing = balancing_default;
	to->ejection = ejection_default;
	if (likely(!target->has_policy) || !vport_policy(target, &v))
		return;
	to->connect_ms = v.connect_ms;
	to->response_ms = v.response_ms;
	to->stall_ms = v.stall_ms;
	to->tcp_idle_ms = v.tcp_idle_ms;
	to->limit = v.limit;
	to->connections = v.connections;
	to->requests = v.requests;
	to->balancing = v.balancing;
	to->ejection = v.ejection;
	to->times = v.times;
	to->faults = v.delay_ms || v.abort_status;
	to->pending = v.pending;
	to->pending_ms = v.pending_ms;
	to->balancer = (uint8_t)v.balancer;
}

/* In which protocol its endpoints are spoken to. */
static void choose_codec(struct exchange *ex, bool by_grpc_route)
{
	if (ex->is_grpc)
		grpc_deadline(ex, &ex->conn->path->head);
	if (ex->target.protocol != APP_H2 &&
	    !(ex->target.protocol == APP_AUTO && (ex->is_grpc || by_grpc_route)))
		return;
	ex->back_codec = &back_http2;
	ex->up.body.encode = false;
	ex->up.body.keeps_trailers = true;
}

/* See vrequest.  Host is what the request calls its host, however the protocol spells it. */
static bool header_of(const void *arg, struct slice name, uint32_t *at, struct slice *ret)
{
	const struct head *h = arg;

	if (unlikely(slice_eq(name, SLICE("host")))) {
		*ret = h->authority;
		return (*at)++ == 0 && h->authority.n;
	}
	while (*at < h->n) {
		const struct header *x = &h->h[(*at)++];

		if (x->name.n == name.n && slice_caseeq(x->name, name)) {
			*ret = x->value;
			return true;
		}
	}
	return false;
}

static enum match_result match(struct exchange *ex, const struct vport *port, struct vrule *ret)
{
	const struct head *h = &ex->conn->path->head;
	struct vrequest q;

	if (!ex->is_http)
		return vport_match(port, slice_str(ex->conn->gate->terms.ns), NULL, ret);
	q = (struct vrequest){ .method = h->method, .path = h->path, .query = h->query,
			       .header = header_of, .arg = h };
	return vport_match(port, slice_str(ex->conn->gate->terms.ns), &q, ret);
}

/* TLSRoutes go by the server name that the caller asks for: the same, once that has come. */
static enum step match_by_name(struct exchange *ex, const struct vport *port, struct vrule *ret)
{
	struct vrequest q = { .is_tls = true };
	char path[SERVER_NAME_PATH];
	enum step s = peek_server_name(ex, path, &q.path);

	if (s != NEXT)
		return s;
	return vport_match(port, slice_str(ex->conn->gate->terms.ns), &q, ret) == MATCH_RULE ?
		       NEXT : end(ex, REASON_NO_TLS_ROUTE);
}

/* Captured, and not for a Service. */
static bool passes(const struct exchange *ex, enum reason why)
{
	const struct gate *g = ex->conn->gate;

	return g->pod && (g->direction == GATE_IN || why == REASON_NO_SERVICE);
}

/* It goes where it was dialled, if it may. */
static enum step pass(struct exchange *ex)
{
	struct conn *c = ex->conn;

	if (c->gate->direction == GATE_OUT && pod_denies(c->gate, &c->dialled)) {
		ex->front_keep = false;
		return end(ex, REASON_UNKNOWN_DESTINATION);
	}
	ex->passes = true;
	return NEXT;
}

enum step stage_match(struct exchange *ex)
{
	struct path *p = ex->conn->path;
	bool by_grpc_route = false, by_name = false;
	struct vport port;
	struct vrule rule;
	uint32_t rule_times = 0;
	struct vbackend b;
	uint16_t texts = ex->text_n;
	enum reason why;

	if (unlikely(ex->peeks))	/* there may be another view now */
		gate_now(ex->conn->gate);
	why = find_port(ex, &port);
	if (unlikely(passes(ex, why)))
		return pass(ex);
	if (why != REASON_NONE)
		return end(ex, why);
	ex->service = vservice_slot(&port.service);
	ex->service_text = join(ex, vservice_ns(&port.service), vservice_name(&port.service),
				port.port);
	ex->target = port;
	/* One level of routes: a copy has had its own. */
	if (port.has_routes && likely(!ex->conn->is_mirror)) {
		enum match_result found = match(ex, &port, &rule);

		if (unlikely(found == MATCH_BY_NAME)) {
			enum step s = match_by_name(ex, &port, &rule);

			if (s == WAIT)
				ex->text_n = texts;	/* all of it comes again */
			if (s != NEXT)
				return s;
			by_name = true;
			found = MATCH_RULE;
		}
		switch (found) {
		case MATCH_DIRECT:
			break;
		case MATCH_NOTHING:
		case MATCH_BY_NAME:
			return end(ex, REASON_NO_ROUTE);
		case MATCH_RULE:
			ex->route_text = join(ex, rule.route_ns, rule.route_name, 0);
			if (unlikely(rule.filters.n) &&
			    filter_request(ex, &rule, &rule.filters) != NEXT)
				return END;
			if (rule.total_weight == 0 ||
			    !vrule_backend(&rule, rand_below(rule.total_weight), &b) || !b.valid)
				return end(ex, REASON_NO_BACKEND);
			if (unlikely(b.filters.n) && filter_request(ex, &rule, &b.filters) != NEXT)
				return END;
			ex->target = b.port;
			by_grpc_route = rule.kind == ROUTE_GRPC;
			rule_times = rule.times;
			break;
		}
	}
	take_policy(&ex->policy, &ex->target);
	if (unlikely(ex->target.has_tls) && !by_name && (ex->policy.tls = wrap_find(p, &ex->target)) == 0)
		return end(ex, REASON_NO_BACK_TLS);
	if (ex->is_http) {
		choose_codec(ex, by_grpc_route);
		if (unlikely(rule_times | ex->policy.times))
			attempt_begin(ex, rule_times ? &rule : NULL);
	}
	if (unlikely(ex->mirror))
		mirror_head(ex);
	view_ref(p->view);
	ex->view = p->view;
	return NEXT;
}
