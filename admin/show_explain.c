/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* explain: where a request would go, step by step, with the functions that the workers use on the
 * view that they serve.  Nothing is sent and no dice are thrown: of backends and endpoints all are
 * shown with what speaks for each. */
#include "admin/show.h"

#include <stdarg.h>
#include <stdio.h>

struct asked {
	struct slice authority, path, method;
	struct slice ns;
	const struct knobs_listener *listener;	/* whose namespace that is; NULL: given */
};

static void step(struct text *t, const char *name, const char *what, const char *why, ...)
	printf_like(4, 5);

static void step(struct text *t, const char *name, const char *what, const char *why, ...)
{
	char words[640];
	va_list ap;

	va_start(ap, why);
	vsnprintf(words, sizeof words, why, ap);
	va_end(ap);
	js_open(t, NULL, '{');
	js_str(t, "step", name);
	js_str(t, "what", what);
	js_str(t, "why", words);
	js_close(t, '}');
}

/* The end, with the reason that the access log would have. */
static void nowhere(struct text *t, enum reason why)
{
	const struct reason_row *row = reason_row(why);

	step(t, "answer", row->name, "status %d: %s", row->http, row->words);
}

static const char *name_of(struct slice ns, struct slice name, unsigned port, char out[400])
{
	int n = snprintf(out, 400, "%.*s/%.*s", (int)min_of(ns.n, (size_t)63), (const char *)ns.p,
			 (int)min_of(name.n, (size_t)253), (const char *)name.p);

	if (port)
		snprintf(out + n, 400 - (size_t)n, ":%u", port);
	return out;
}

static bool parse(struct state *st, const struct call *c, struct asked *a, struct answer *error)
{
	const char *url = call_text(c, "url"), *ns = call_text(c, "namespace");
	const char *method = call_text(c, "method"), *slash;

	if (!url || !url[0]) {
		answer_error(error, 400, "what is asked for is missing", "url",
			     "for example: nodeproxyctl explain web.shop/cart");
		return false;
	}
	if (strncmp(url, "http://", 7) == 0)
		url += 7;
	slash = strpbrk(url, "/?");
	a->authority = slice_of(url, slash ? (size_t)(slash - url) : strlen(url));
	a->path = slash && *slash == '/' ? slice_of(slash, strcspn(slash, "?")) : SLICE("/");
	a->method = method ? slice_str(method) : SLICE("GET");
	a->listener = ns || st->knobs->n_listeners == 0 ? NULL : &st->knobs->listener[0];
	a->ns = slice_str(ns ? ns : a->listener ? a->listener->ns : "default");
	return true;
}

static void endpoint_step(const struct state *st, const struct vendpoint *e, bool takes, struct text *t)
{
	struct endpoint_sums n;
	char addr[ADDR_TEXT];

	gather_endpoint(st, e->slot, &n);
	addr_text(&e->addr, true, addr);
	if (!takes)
		step(t, "endpoint", addr, e->terminating ? "terminating: takes nothing new" :
							   "not ready: takes nothing");
	else if (n.out_ms)
		step(t, "endpoint", addr, "ejected for %u.%u s: failed in a row", n.out_ms / 1000,
		     n.out_ms / 100 % 10);
	else if (n.rtt_us)
		step(t, "endpoint", addr, "answers within %u.%03u ms, %llu in flight", n.rtt_us / 1000,
		     n.rtt_us % 1000, (unsigned long long)n.in_flight);
	else
		step(t, "endpoint", addr, "has not answered lately, %llu in flight",
		     (unsigned long long)n.in_flight);
}

/* True: somebody could take it. */
static bool endpoints(const struct state *st, const struct vport *p, struct text *t)
{
	uint32_t ready = vport_ready(p);
	struct vendpoint e;
	bool any = false;

	step(t, "balancer", p->protocol == APP_TCP ? "least request" : "peak EWMA",
	     p->protocol == APP_TCP ? "of two ready endpoints at random the one with less in flight" :
	     "of two ready endpoints at random the one that is likely to be done first");
	for (uint32_t i = 0; i < p->endpoints && vport_endpoint(p, i, &e); i++) {
		/* without any ready one, those that still serve while they terminate */
		bool takes = ready ? e.ready : e.serving;

		any |= takes;
		endpoint_step(st, &e, takes, t);
	}
	if (!any)
		nowhere(t, REASON_NO_ENDPOINT);
	return any;
}

static bool backends(const struct state *st, const struct vrule *r, struct text *t)
{
	struct vbackend b;
	bool all = true;

	if (r->total_weight == 0) {
		nowhere(t, REASON_NO_BACKEND);
		return false;
	}
	for (uint32_t i = 0; vrule_backend_at(r, i, &b); i++) {
		char name[400];

		name_of(b.ns, b.name, b.number, name);
		if (b.weight == 0) {
			step(t, "backend", name, "weight 0: gets nothing");
			continue;
		}
		step(t, "backend", name, "weight %u of %u", b.weight, r->total_weight);
		if (!b.valid) {
			nowhere(t, REASON_NO_BACKEND);
			all = false;
			continue;
		}
		all &= endpoints(st, &b.port, t);
	}
	return all;
}

/* From the port on.  True: it would arrive. */
static bool from_port(const struct state *st, const struct asked *a, const struct vport *p,
		      struct text *t)
{
	struct vrule r;
	char words[512], name[400];

	if (!p->has_routes || p->protocol == APP_TCP) {
		step(t, "route", "none", p->has_routes ? "routes are not looked at for TCP" :
							 "no HTTPRoute is attached: its own endpoints serve");
		return endpoints(st, p, t);
	}
	switch (vport_match(p, a->method, a->path, &r)) {
	case MATCH_DIRECT:
		step(t, "route", "none", "its own endpoints serve");
		return endpoints(st, p, t);
	case MATCH_NOTHING:
		step(t, "route", "none", "of %u rules none matches %.*s", vport_rules(p),
		     (int)min_of(a->path.n, (size_t)256), (const char *)a->path.p);
		nowhere(t, REASON_NO_ROUTE);
		return false;
	case MATCH_RULE:
		break;
	}
	vrule_words(&r, words, sizeof words);
	step(t, "route", name_of(r.route_ns, r.route_name, 0, name),
	     "rule %u of %u in order of precedence: %s", r.index + 1, vport_rules(p), words);
	return backends(st, &r, t);
}

static bool from_host(const struct state *st, const struct asked *a, struct text *t)
{
	char name[400], number[16];
	struct vnamespace tenant;
	struct vservice s;
	struct vport p;
	struct slice host;
	uint16_t port;

	view_namespace(st->view, a->ns, &tenant);
	snprintf(name, sizeof name, "%.*s", (int)min_of(a->ns.n, (size_t)63), (const char *)a->ns.p);
	step(t, "caller", name, "%s%s; pays as tenant %.*s of weight %u",
	     a->listener ? "namespace of listener " : "as asked",
	     a->listener ? a->listener->name : "", (int)min_of(tenant.tenant.n, (size_t)253),
	     (const char *)tenant.tenant.p, tenant.weight);
	if (!authority_split(a->authority, &host, &port) ||
	    !view_service_by_host(st->view, host, a->ns, &s)) {
		step(t, "service", "none", "no Service is called %.*s; forms: NAME, NAME.NAMESPACE, "
		     "NAME.NAMESPACE.svc[.DOMAIN]", (int)min_of(a->authority.n, (size_t)253),
		     (const char *)a->authority.p);
		nowhere(t, REASON_NO_SERVICE);
		return false;
	}
	step(t, "service", name_of(vservice_ns(&s), vservice_name(&s), 0, name), "the host names it");
	if (!vservice_port_of_host(&s, port, &p)) {
		step(t, "port", "none", "it has neither port %u nor 80, nor only one", port);
		nowhere(t, REASON_NO_SERVICE);
		return false;
	}
	snprintf(number, sizeof number, "%u", p.port);
	step(t, "port", number, "%s", p.port == port ? "as asked" :
	     port ? "the Service does not have the one that was asked for" : "no port was asked for");
	return from_port(st, a, &p, t);
}

void show_explain(struct state *st, const struct call *c, struct answer *ret)
{
	struct asked a;
	bool ok;

	if (!show_has_view(st, ret) || !parse(st, c, &a, ret))
		return;
	*ret = show_ok();
	js_open(&ret->body, "steps", '[');
	ok = from_host(st, &a, &ret->body);
	js_close(&ret->body, ']');
	js_bool(&ret->body, "ok", ok);
	js_u64(&ret->body, "rev", view_rev(st->view));
	show_end(ret);
}
