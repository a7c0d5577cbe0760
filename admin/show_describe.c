/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* describe: one resource with everything known about it.  Three sources, any of which may have
 * nothing: the report (where it was written, its conditions), the refusals (a document with this
 * name that is not served), the view and the board (what it does now). */
#include "admin/show.h"

#include <stdio.h>
#include <strings.h>
#include <time.h>

enum kind {
	KIND_SERVICE, KIND_SLICE, KIND_ROUTE, KIND_GRPC_ROUTE, KIND_TLS_ROUTE, KIND_TCP_ROUTE, KIND_GRANT,
	KIND_POLICY, KIND_BACKEND_POLICY, KIND_RATE, KIND_BACKEND_TLS, KIND_CONFIG_MAP, KIND_WORKLOAD, KIND_NAMESPACE, KIND_TENANT, KINDS
};

static const struct {
	const char *kind;
	const char *also[4];	/* any case */
	bool in_namespace;
} kinds[] = {
	[KIND_SERVICE] = { "Service", { "services", "svc" }, true },
	[KIND_SLICE] = { "EndpointSlice", { "endpointslices", "slice", "slices" }, true },
	[KIND_ROUTE] = { "HTTPRoute", { "httproutes", "route", "routes" }, true },
	[KIND_GRPC_ROUTE] = { "GRPCRoute", { "grpcroutes" }, true },
	[KIND_TLS_ROUTE] = { "TLSRoute", { "tlsroutes" }, true },
	[KIND_TCP_ROUTE] = { "TCPRoute", { "tcproutes" }, true },
	[KIND_GRANT] = { "ReferenceGrant", { "referencegrants", "grant", "grants" }, true },
	[KIND_POLICY] = { "TrafficPolicy", { "trafficpolicies", "policy", "policies" }, true },
	[KIND_RATE] = { "RateLimitPolicy", { "ratelimitpolicies", "ratelimit", "ratelimits" }, true },
	[KIND_BACKEND_POLICY] = { "XBackendTrafficPolicy",
				  { "xbackendtrafficpolicies", "backendpolicy", "backendpolicies" }, true },
	[KIND_WORKLOAD] = { "Workload", { "workloads" }, true },
	[KIND_BACKEND_TLS] = { "BackendTLSPolicy", { "backendtlspolicies", "btlspolicy" }, true },
	[KIND_CONFIG_MAP] = { "ConfigMap", { "configmaps", "cm" }, true },
	[KIND_NAMESPACE] = { "Namespace", { "namespaces", "ns" }, false },
	[KIND_TENANT] = { "Tenant", { "tenants" }, false },
};

struct asked {
	enum kind kind;
	char ns[256], name[256];
};

static int kind_of(const char *word)
{
	for (int k = 0; k < KINDS; k++) {
		if (strcasecmp(word, kinds[k].kind) == 0)
			return k;
		for (unsigned i = 0; i < countof(kinds[k].also) && kinds[k].also[i]; i++)
			if (strcasecmp(word, kinds[k].also[i]) == 0)
				return k;
	}
	return -1;
}

/* KIND/NAMESPACE/NAME, or KIND/NAME for what is in no namespace. */
static bool parse(const char *rest, struct asked *ret, struct answer *error)
{
	char word[32], extra;
	int k, n = sscanf(rest, "%31[^/]/%255[^/]/%255[^/]%c", word, ret->ns, ret->name, &extra);

	k = n >= 1 ? kind_of(word) : -1;
	if (k < 0) {
		answer_error(error, 404, "no such kind of resource", rest,
			     "kinds are service, endpointslice, httproute, grpcroute, tlsroute, tcproute, referencegrant, "
			     "trafficpolicy, xbackendtrafficpolicy, ratelimitpolicy, backendtlspolicy, configmap, workload, namespace, tenant");
		return false;
	}
	ret->kind = (enum kind)k;
	if (kinds[k].in_namespace ? n != 3 : n != 2) {
		answer_error(error, 400,
			     kinds[k].in_namespace ? "this kind needs NAMESPACE/NAME"
						   : "this kind is in no namespace: only NAME",
			     rest, NULL);
		return false;
	}
	if (!kinds[k].in_namespace) {
		memcpy(ret->name, ret->ns, sizeof ret->name);
		ret->ns[0] = 0;
	}
	return true;
}

static bool is_it(const json_t *o, const struct asked *a)
{
	return strcmp(jget_str(o, "kind"), kinds[a->kind].kind) == 0 &&
	       strcmp(jget_str(o, "namespace"), a->ns) == 0 &&
	       strcmp(jget_str(o, "name"), a->name) == 0;
}

static const json_t *find(const json_t *list, const struct asked *a)
{
	const json_t *o;
	size_t i;

	json_array_foreach(list, i, o)
		if (is_it(o, a))
			return o;
	return NULL;
}

static void refusals(const json_t *list, const struct asked *a, struct text *t)
{
	const json_t *o;
	size_t i;

	js_open(t, "refused", '[');
	json_array_foreach(list, i, o)
		if (is_it(o, a))
			js_node(t, NULL, o);
	js_close(t, ']');
}

static void rules_of(const struct vport *p, const struct asked *only, struct text *t)
{
	struct vport bare = *p;		/* whose policy is not looked at */
	struct vtimes times;
	struct vrule r;

	bare.has_policy = false;
	for (uint32_t i = 0; vport_rule_at(p, i, &r); i++) {
		struct vbackend b;
		char words[512], ref[400];

		if (only && (strcmp(route_kind_name(r.kind), kinds[only->kind].kind) != 0 ||
			     !slice_eq(r.route_ns, slice_str(only->ns)) ||
			     !slice_eq(r.route_name, slice_str(only->name))))
			continue;
		js_open(t, NULL, '{');
		if (only) {
			struct slice ns = vservice_ns(&p->service), name = vservice_name(&p->service);

			snprintf(ref, sizeof ref, "%.*s/%.*s", (int)min_of(ns.n, (size_t)100),
				 (const char *)ns.p, (int)min_of(name.n, (size_t)260),
				 (const char *)name.p);
			js_str(t, "service", ref);
		} else {
			snprintf(ref, sizeof ref, "%.*s/%.*s",
				 (int)min_of(r.route_ns.n, (size_t)100), (const char *)r.route_ns.p,
				 (int)min_of(r.route_name.n, (size_t)260),
				 (const char *)r.route_name.p);
			js_str(t, "route", ref);
			js_str(t, "kind", route_kind_name(r.kind));
		}
		if (r.callers.n)
			js_slice(t, "callers", r.callers);
		js_u64(t, "port", p->port);
		js_u64(t, "precedence", r.index);
		vrule_words(&r, words, sizeof words);
		js_str(t, "match", words);
		show_filters(&p->service, &r.filters, t);
		vtimes_of(&r, &bare, &times);
		vtimes_words(&times, words, sizeof words);
		if (words[0])
			js_str(t, "times", words);
		js_open(t, "backends", '[');
		for (uint32_t k = 0; k < r.backends && vrule_backend_at(&r, k, &b); k++) {
			snprintf(ref, sizeof ref, "%.*s/%.*s:%u weight %u%s",
				 (int)min_of(b.ns.n, (size_t)100), (const char *)b.ns.p,
				 (int)min_of(b.name.n, (size_t)200), (const char *)b.name.p,
				 b.number, b.weight, b.valid ? "" : " (invalid: answers 500)");
			js_str(t, NULL, ref);
		}
		js_close(t, ']');
		js_close(t, '}');
	}
}

static bool service_now(const struct state *st, const struct asked *a, struct text *t)
{
	struct vservice s;
	struct vnamespace ns;
	struct vport p;

	if (!st->view || !view_service_by_name(st->view, slice_str(a->ns), slice_str(a->name), &s))
		return false;
	view_namespace(st->view, vservice_ns(&s), &ns);
	js_slice(t, "tenant", ns.tenant);
	js_bool(t, "lacks_endpoints", vservice_lacks_endpoints(&s));
	show_service_counters(st, vservice_slot(&s), t);
	js_open(t, "ports", '[');
	for (uint32_t k = 0; vservice_port_at(&s, k, &p); k++) {
		js_open(t, NULL, '{');
		js_slice(t, "name", vport_name(&p));
		js_u64(t, "port", p.port);
		js_u64(t, "endpoints", p.endpoints);
		js_u64(t, "ready", vport_ready(&p));
		js_u64(t, "rules", vport_rules(&p));
		show_policy(st, &p, t);
		js_close(t, '}');
	}
	js_close(t, ']');
	js_open(t, "endpoints", '[');
	for (uint32_t k = 0; vservice_port_at(&s, k, &p); k++) {
		struct vendpoint e;

		for (uint32_t i = 0; i < p.endpoints && vport_endpoint(&p, i, &e); i++)
			show_endpoint(st, NULL, &p, i, &e, t);
	}
	js_close(t, ']');
	js_open(t, "routes", '[');
	for (uint32_t k = 0; vservice_port_at(&s, k, &p); k++)
		rules_of(&p, NULL, t);
	js_close(t, ']');
	return true;
}

static bool route_now(const struct state *st, const struct asked *a, struct text *t)
{
	struct vservice s;
	size_t before;

	js_open(t, "rules", '[');
	before = t->n;
	for (uint32_t i = 0; st->view && view_service_nth(st->view, i, &s); i++) {
		struct vport p;

		for (uint32_t k = 0; vservice_port_at(&s, k, &p); k++)
			rules_of(&p, a, t);
	}
	js_close(t, ']');
	return t->n > before + 1;
}

static bool policy_counts(const struct asked *a, const struct vport *p)
{
	struct vpolicy policy;
	struct vrate rate;
	struct vtls tls;

	if (a->kind == KIND_BACKEND_TLS)
		return vport_tls(p, &tls) && slice_eq(tls.name, slice_str(a->name));
	if (a->kind == KIND_RATE)
		return vport_rate(p, &rate) && slice_eq(rate.name, slice_str(a->name));
	return vport_policy(p, &policy) && slice_eq(policy.name, slice_str(a->name));
}

static void port_now(const struct state *st, const struct vservice *s, const struct vport *p, struct text *t)
{
	js_open(t, NULL, '{');
	js_slice(t, "service", vservice_name(s));
	js_u64(t, "port", p->port);
	js_slice(t, "name", vport_name(p));
	show_policy(st, p, t);
	js_close(t, '}');
}

/* The ports that it counts for. */
static bool policy_now(const struct state *st, const struct asked *a, struct text *t)
{
	struct vservice s;
	size_t before;

	js_open(t, "ports", '[');
	before = t->n;
	for (uint32_t i = 0; st->view && view_service_nth(st->view, i, &s); i++) {
		struct vport p;

		if (!slice_eq(vservice_ns(&s), slice_str(a->ns)))
			continue;
		for (uint32_t k = 0; vservice_port_at(&s, k, &p); k++) {
			if (!policy_counts(a, &p))
				continue;
			port_now(st, &s, &p, t);
		}
	}
	js_close(t, ']');
	return t->n > before + 1;
}

/* The ports of the Services whose budget it is. */
static bool budget_now(const struct state *st, const struct asked *a, struct text *t)
{
	struct vservice s;
	bool any = false;

	js_open(t, "ports", '[');
	for (uint32_t i = 0; st->view && view_service_nth(st->view, i, &s); i++) {
		struct vport p;

		if (!vservice_budget(&s).backend_policy || !slice_eq(vservice_ns(&s), slice_str(a->ns)) ||
		    !slice_eq(vservice_budget(&s).policy, slice_str(a->name)))
			continue;
		for (uint32_t k = 0; vservice_port_at(&s, k, &p); k++, any = true)
			port_now(st, &s, &p, t);
	}
	js_close(t, ']');
	return any;
}

static bool namespace_now(const struct state *st, const struct asked *a, struct text *t)
{
	struct vnamespace ns;
	struct vservice s;
	bool known = false;

	for (uint32_t i = 0; st->view && view_namespace_nth(st->view, i, &ns); i++)
		if (slice_eq(ns.name, slice_str(a->name))) {
			known = true;
			js_slice(t, "tenant", ns.tenant);
			js_open(t, "modes", '{');
			for (unsigned m = 0; m < NS_MODES; m++)
				js_str(t, ns_mode_label((enum ns_mode)m),
				       ns_mode_text((enum ns_mode)m, ns.modes.of[m]));
			js_close(t, '}');
			break;
		}
	js_open(t, "services", '[');
	for (uint32_t i = 0; st->view && view_service_nth(st->view, i, &s); i++)
		if (slice_eq(vservice_ns(&s), slice_str(a->name))) {
			known = true;
			js_slice(t, NULL, vservice_name(&s));
		}
	js_close(t, ']');
	return known;
}

struct tenant_arg {
	const struct state *st;
	const struct asked *asked;
	struct text *t;
	bool known;
};

static void tenant_now(void *arg, const struct vnamespace *ten)
{
	struct tenant_arg *a = arg;
	struct tenant_sums n;
	struct vnamespace ns;

	if (!slice_eq(ten->tenant, slice_str(a->asked->name)))
		return;
	a->known = true;
	gather_tenant(a->st, ten->tenant_slot, &n);
	js_u64(a->t, "weight", ten->weight);
	js_u64(a->t, "memory_quota_bytes",
	       ten->memory_bytes ? ten->memory_bytes : (uint64_t)a->st->knobs->tenant_memory);
	js_u64(a->t, "connections_quota",
	       ten->connections ? ten->connections : (uint64_t)a->st->knobs->tenant_conns);
	js_u64(a->t, "requests_quota",
	       ten->requests ? ten->requests : (uint64_t)a->st->knobs->tenant_requests);
	js_u64(a->t, "connections", n.c[TC_conns_gauge]);
	js_u64(a->t, "requests_now", n.c[TC_requests_gauge]);
	js_u64(a->t, "exchanges_total", n.c[TC_exchanges]);
	js_u64(a->t, "busy_ns", n.c[TC_busy_ns]);
	js_u64(a->t, "received_bytes", n.c[TC_bytes_in]);
	js_u64(a->t, "sent_bytes", n.c[TC_bytes_out]);
	js_u64(a->t, "memory_bytes", n.c[TC_memory_gauge]);
	js_u64(a->t, "refused_total", n.c[TC_refused]);
	show_tenant_times(a->t, &n);
	js_open(a->t, "reasons", '{');
	for (unsigned i = 0; i < REASONS; i++)
		if (n.reasons[i])
			js_u64(a->t, reason_row((enum reason)i)->name, n.reasons[i]);
	js_close(a->t, '}');
	js_open(a->t, "namespaces", '[');
	for (uint32_t i = 0; view_namespace_nth(a->st->view, i, &ns); i++)
		if (slice_eq(ns.tenant, ten->tenant))
			js_slice(a->t, NULL, ns.name);
	js_close(a->t, ']');
}

static bool live(const struct state *st, const struct asked *a, struct text *t)
{
	struct tenant_arg ten = { .st = st, .asked = a, .t = t };

	switch (a->kind) {
	case KIND_SERVICE:
		return service_now(st, a, t);
	case KIND_ROUTE:
	case KIND_GRPC_ROUTE:
	case KIND_TLS_ROUTE:
	case KIND_TCP_ROUTE:
		return route_now(st, a, t);
	case KIND_POLICY:
	case KIND_RATE:
	case KIND_BACKEND_TLS:
		return policy_now(st, a, t);
	case KIND_BACKEND_POLICY:
		return budget_now(st, a, t);
	case KIND_NAMESPACE:
		return namespace_now(st, a, t);
	case KIND_TENANT:
		gather_tenants(st, tenant_now, &ten);
		return ten.known;
	case KIND_SLICE:
	case KIND_GRANT:
	case KIND_WORKLOAD:
	case KIND_CONFIG_MAP:
	case KINDS:
		break;
	}
	return false;
}

/* creationTimestamp as Kubernetes writes it; null: none was written. */
static void created(uint64_t unix_ms, struct text *t)
{
	time_t s = (time_t)min_of(unix_ms / 1000, 253402300799ull);	/* year 9999 */
	char words[40];
	struct tm tm;

	if (unix_ms == 0 || !gmtime_r(&s, &tm) ||
	    strftime(words, sizeof words, "%Y-%m-%dT%H:%M:%SZ", &tm) == 0)
		js_null(t, "created");
	else
		js_str(t, "created", words);
}

void show_describe(struct state *st, const struct call *c, struct answer *ret)
{
	json_t *all;
	const json_t *resource, *refused;
	struct asked asked = { .ns = "" };
	bool known;
	struct text *t;

	if (!parse(c->rest, &asked, ret))
		return;
	all = report_full(&st->report);
	resource = find(jget_array(all, "resources"), &asked);
	refused = find(jget_array(all, "refused"), &asked);
	*ret = show_ok();
	t = &ret->body;
	js_str(t, "kind", kinds[asked.kind].kind);
	if (asked.ns[0])
		js_str(t, "namespace", asked.ns);
	js_str(t, "name", asked.name);
	if (resource) {
		js_node(t, "source", json_object_get(resource, "source"));
		js_node(t, "line", json_object_get(resource, "line"));
		created(jget_u64(resource, "created"), t);
		js_node(t, "generation", json_object_get(resource, "generation"));
	}
	if (resource && json_object_get(resource, "status"))
		js_node(t, "status", json_object_get(resource, "status"));
	refusals(jget_array(all, "refused"), &asked, t);
	known = live(st, &asked, t);
	show_end(ret);
	if (!known && !resource && !refused) {
		text_fini(&ret->body);
		answer_error(ret, 404, "no such resource on this host", c->rest,
			     all ? "look for its document in `nodeproxyctl get sources`"
				 : "the sync process has not reported yet: ask again in a second");
	}
	report_drop(all);
}
