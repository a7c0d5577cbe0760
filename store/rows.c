/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See rows.h. */
#include "store/rows.h"

#include <stdlib.h>
#include <string.h>

const char *row_kind_name(enum row_kind k)
{
	static const char *const name[ROW_KINDS] = {
		[ROW_NAMESPACE] = "Namespace", [ROW_TENANT] = "Tenant",
		[ROW_SERVICE] = "Service",     [ROW_SLICE] = "EndpointSlice",
		[ROW_HTTPROUTE] = "HTTPRoute", [ROW_GRPCROUTE] = "GRPCRoute",
		[ROW_TLSROUTE] = "TLSRoute",   [ROW_TCPROUTE] = "TCPRoute",
		[ROW_GRANT] = "ReferenceGrant",
		[ROW_POLICY] = "TrafficPolicy", [ROW_RATE] = "RateLimitPolicy",
		[ROW_BACKEND_POLICY] = "XBackendTrafficPolicy", [ROW_WORKLOAD] = "Workload",
		[ROW_BACKEND_TLS] = "BackendTLSPolicy", [ROW_CONFIG_MAP] = "ConfigMap",
		[ROW_RESIDENT] = "Resident",
	};

	return (unsigned)k < ROW_KINDS ? name[k] : "?";
}

static void texts_free(char **t, uint32_t n)
{
	for (uint32_t i = 0; t && i < n; i++)
		free(t[i]);
	free(t);
}

static void tenant_fini(struct row_tenant *t)
{
	texts_free(t->namespaces, t->n_namespaces);
}

static void pairs_fini(struct row_pair *p, uint32_t n)
{
	for (uint32_t i = 0; p && i < n; i++) {
		free(p[i].name);
		free(p[i].value);
	}
	free(p);
}

static void service_fini(struct row_service *s)
{
	for (uint32_t i = 0; s->ports && i < s->n_ports; i++) {
		free(s->ports[i].name);
		free(s->ports[i].target_name);
		free(s->ports[i].app_protocol);
	}
	free(s->ports);
	pairs_fini(s->selector, s->n_selector);
	texts_free(s->accounts, s->n_accounts);
}

static void resident_fini(struct row_resident *p)
{
	free(p->node);
	free(p->pod);
	free(p->account);
	free(p->zone);
	pairs_fini(p->labels, p->n_labels);
}

static void slice_fini(struct row_slice *s)
{
	free(s->service);
	for (uint32_t i = 0; s->ports && i < s->n_ports; i++)
		free(s->ports[i].name);
	free(s->ports);
	free(s->endpoints);
	free(s->texts);
}

static void match_fini(struct row_match *m)
{
	free(m->path);
	free(m->method);
	free(m->grpc_method);
	pairs_fini(m->headers, m->n_headers);
	pairs_fini(m->params, m->n_params);
}

static void filters_free(struct row_filter *f, uint32_t n)
{
	for (uint32_t i = 0; f && i < n; i++) {
		pairs_fini(f[i].set, f[i].n_set);
		pairs_fini(f[i].add, f[i].n_add);
		texts_free(f[i].remove, f[i].n_remove);
		texts_free(f[i].origins, f[i].n_origins);
		texts_free(f[i].methods, f[i].n_methods);
		texts_free(f[i].headers, f[i].n_headers);
		texts_free(f[i].expose, f[i].n_expose);
		free(f[i].to_ns);
		free(f[i].to_name);
		free(f[i].hostname);
		free(f[i].path);
		free(f[i].scheme);
	}
	free(f);
}

static void rule_fini(struct row_rule *r)
{
	free(r->name);
	for (uint32_t i = 0; r->matches && i < r->n_matches; i++)
		match_fini(&r->matches[i]);
	for (uint32_t i = 0; r->backends && i < r->n_backends; i++) {
		free(r->backends[i].ns);
		free(r->backends[i].name);
		free(r->backends[i].other);
		filters_free(r->backends[i].filters, r->backends[i].n_filters);
	}
	filters_free(r->filters, r->n_filters);
	free(r->matches);
	free(r->backends);
}

static void route_fini(struct row_route *r)
{
	for (uint32_t i = 0; r->parents && i < r->n_parents; i++) {
		free(r->parents[i].ns);
		free(r->parents[i].name);
		free(r->parents[i].section);
	}
	for (uint32_t i = 0; r->rules && i < r->n_rules; i++)
		rule_fini(&r->rules[i]);
	free(r->parents);
	free(r->rules);
}

bool row_grants(const struct row *grant, enum row_kind route, const char *route_ns,
		const char *service)
{
	const struct row_grant *g = &grant->grant;
	bool from = false;

	for (uint32_t i = 0; i < g->n_from && !from; i++)
		from = strcmp(g->from[i].group, "gateway.networking.k8s.io") == 0 &&
		       strcmp(g->from[i].kind, row_kind_name(route)) == 0 &&
		       strcmp(g->from[i].ns, route_ns) == 0;
	for (uint32_t i = 0; i < g->n_to && from; i++)
		if (g->to[i].group[0] == 0 && strcmp(g->to[i].kind, "Service") == 0 &&
		    (g->to[i].name[0] == 0 || strcmp(g->to[i].name, service) == 0))
			return true;
	return false;
}

static void grant_fini(struct row_grant *g)
{
	for (uint32_t i = 0; g->from && i < g->n_from; i++) {
		free(g->from[i].group);
		free(g->from[i].kind);
		free(g->from[i].ns);
	}
	for (uint32_t i = 0; g->to && i < g->n_to; i++) {
		free(g->to[i].group);
		free(g->to[i].kind);
		free(g->to[i].name);
	}
	free(g->from);
	free(g->to);
}

static void targets_fini(struct row_target *t, uint32_t n)
{
	for (uint32_t i = 0; t && i < n; i++) {
		free(t[i].name);
		free(t[i].section);
	}
	free(t);
}

const struct row_target *row_targets(const struct row *r, uint32_t *ret_n)
{
	switch (r->kind) {
	case ROW_POLICY:
	case ROW_BACKEND_POLICY:
		*ret_n = r->policy.n_targets;
		return r->policy.targets;
	case ROW_RATE:
		*ret_n = r->rate.n_targets;
		return r->rate.targets;
	case ROW_BACKEND_TLS:
		*ret_n = r->backend_tls.n_targets;
		return r->backend_tls.targets;
	default:
		*ret_n = 0;
		return NULL;
	}
}

static void backend_tls_fini(struct row_backend_tls *p)
{
	targets_fini(p->targets, p->n_targets);
	free(p->hostname);
	for (uint32_t i = 0; p->refs && i < p->n_refs; i++) {
		free(p->refs[i].name);
		free(p->refs[i].other);
	}
	for (uint32_t i = 0; p->names && i < p->n_names; i++)
		free(p->names[i].text);
	free(p->refs);
	free(p->names);
}

size_t row_bytes(enum row_kind kind)
{
#define UP_TO(member) (offsetof(struct row, member) + sizeof(((struct row *)NULL)->member))
	switch (kind) {
	case ROW_SERVICE:	/* of which there are most */
		return UP_TO(service);
	case ROW_SLICE:
		return UP_TO(slice);
	case ROW_NAMESPACE:
		return UP_TO(namespace);
	case ROW_RESIDENT:
		return UP_TO(resident);
	default:
		return sizeof(struct row);
	}
#undef UP_TO
}

void row_free(struct row **pr)
{
	struct row *r = *pr;

	*pr = NULL;
	if (r == NULL)
		return;
	switch (r->kind) {
	case ROW_TENANT:
		tenant_fini(&r->tenant);
		break;
	case ROW_SERVICE:
		service_fini(&r->service);
		break;
	case ROW_SLICE:
		slice_fini(&r->slice);
		break;
	case ROW_HTTPROUTE:
	case ROW_GRPCROUTE:
	case ROW_TLSROUTE:
	case ROW_TCPROUTE:
		route_fini(&r->route);
		break;
	case ROW_GRANT:
		grant_fini(&r->grant);
		break;
	case ROW_POLICY:
	case ROW_BACKEND_POLICY:
		targets_fini(r->policy.targets, r->policy.n_targets);
		free(r->policy.hash_name);
		free(r->policy.health.path);
		break;
	case ROW_RATE:
		targets_fini(r->rate.targets, r->rate.n_targets);
		break;
	case ROW_WORKLOAD:
		free(r->workload.account);
		free(r->workload.netns);
		free(r->workload.labels);
		free(r->workload.node);
		break;
	case ROW_BACKEND_TLS:
		backend_tls_fini(&r->backend_tls);
		break;
	case ROW_CONFIG_MAP:
		free(r->config_map.ca);
		break;
	case ROW_RESIDENT:
		resident_fini(&r->resident);
		break;
	case ROW_NAMESPACE:
	case ROW_KINDS:
		break;
	}
	free(r->ns);
	free(r->name);
	free(r->json);
	free(r->source);
	free(r);
}
