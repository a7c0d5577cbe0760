/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The lists that come from the view: services, endpoints, routes, namespaces, tenants. */
#include "admin/show.h"
#include "workers/obs/grade.h"

#include <stdlib.h>

#define MATCH_WORDS 512

static const char *protocol_name(enum app_protocol p)
{
	switch (p) {
	case APP_HTTP: return "http";
	case APP_TCP: return "tcp";
	case APP_H2: return "h2";
	case APP_AUTO: break;
	}
	return "auto";
}

/* No view yet is not the same as no Services. */
bool show_has_view(const struct state *st, struct answer *ret)
{
	if (st->view)
		return true;
	answer_error(ret, 503, "no view has arrived yet", NULL,
		     "look at sources and processes in `nodeproxyctl status`");
	return false;
}

static bool wanted(const struct call *c, const char *arg, struct slice name)
{
	const char *only = call_text(c, arg);

	return !only || slice_eq(slice_str(only), name);
}

/* 0: not known. */
static void known(struct text *t, const char *key, uint64_t v)
{
	if (v)
		js_u64(t, key, v);
	else
		js_null(t, key);
}

static void addr_field(struct text *t, const char *key, const struct addr *a)
{
	char buf[ADDR_TEXT];

	js_str(t, key, addr_text(a, true, buf));
}

static void outcome(struct text *t, const char *protocol, unsigned status, const char *class,
		    const char *reason, uint64_t n)
{
	js_open(t, NULL, '{');
	js_str(t, "protocol", protocol);
	if (status)
		js_u64(t, "status", status);
	else
		js_null(t, "status");
	js_str(t, "class", class);
	js_str(t, "reason", reason);
	js_u64(t, "count", n);
	js_close(t, '}');
}

/* Those for whom there was no room on the board are told by their class, with reason OTHER. */
static void show_outcomes(const struct service_sums *s, struct text *t)
{
	js_open(t, "outcomes", '[');
	for (unsigned i = 0; i < s->outcomes; i++) {
		const struct outcome_id *o = &s->outcome[i].what;

		outcome(t, o->is_http ? "http" : "opaque", o->status,
			outcome_class_name(outcome_class(o)), reason_row(o->reason)->name, s->outcome[i].n);
	}
	for (unsigned i = 0; i < OUTCOME_CLASSES; i++)
		if (s->other[i])
			outcome(t, i == OUTCOME_flow ? "opaque" : "http", 0,
				outcome_class_name((enum outcome_class)i), "OTHER", s->other[i]);
	js_close(t, ']');
}

void show_service_reasons(const struct service_sums *s, struct text *t)
{
	uint64_t n[REASONS] = { 0 }, other = 0;

	for (unsigned i = 0; i < s->outcomes; i++)
		n[s->outcome[i].what.reason] += s->outcome[i].n;
	for (unsigned i = 0; i < OUTCOME_CLASSES; i++)
		other += s->other[i];
	js_open(t, "reasons", '{');
	for (unsigned i = 0; i < REASONS; i++)
		if (n[i])
			js_u64(t, reason_row((enum reason)i)->name, n[i]);
	if (other)
		js_u64(t, "OTHER", other);
	js_close(t, '}');
}

void show_service_counters(const struct state *st, struct slot_gen at, struct text *t)
{
	struct service_sums s;

	gather_service(st, at, &s);
	js_bool(t, "counters_shared", slot_is_shared(at, BOARD_SERVICES));
	js_open(t, "requests", '{');
	js_u64(t, "total", s.requests);
	for (unsigned i = 0; i < OUTCOME_flow; i++)
		js_u64(t, outcome_class_name((enum outcome_class)i), s.class[i]);
	js_close(t, '}');
	js_u64(t, "flows", s.class[OUTCOME_flow]);
	show_outcomes(&s, t);
	show_service_reasons(&s, t);
	js_u64(t, "limited_connections", s.c[SC_limited_connections]);
	js_u64(t, "limited_requests", s.c[SC_limited_requests]);
	js_u64(t, "faults_delayed", s.c[SC_faults_delayed]);
	js_u64(t, "faults_aborted", s.c[SC_faults_aborted]);
	js_u64(t, "pending", s.c[SC_pending]);
	js_u64(t, "rate_limited_identity", s.c[SC_rate_limited_identity]);
	js_u64(t, "rate_limited_total", s.c[SC_rate_limited_total]);
	js_u64(t, "received_bytes", s.c[SC_bytes_in]);
	js_u64(t, "sent_bytes", s.c[SC_bytes_out]);
	js_u64(t, "retries", s.c[SC_retries]);
	js_u64(t, "retries_refused", s.c[SC_retries_refused]);
	js_u64(t, "ejections", s.c[SC_ejections]);
	show_hist(t, "duration", &s.hist[SH_duration]);
	show_hist(t, "response", &s.hist[SH_response]);
}

void show_services(struct state *st, const struct call *c, struct answer *ret)
{
	struct vservice s;
	struct text *t;

	if (!show_has_view(st, ret))
		return;
	*ret = show_ok();
	t = &ret->body;
	js_open(t, "services", '[');
	for (uint32_t i = 0; view_service_nth(st->view, i, &s); i++) {
		struct vnamespace ns;
		struct vport p;

		if (!wanted(c, "namespace", vservice_ns(&s)))
			continue;
		view_namespace(st->view, vservice_ns(&s), &ns);
		js_open(t, NULL, '{');
		js_slice(t, "namespace", vservice_ns(&s));
		js_slice(t, "name", vservice_name(&s));
		js_slice(t, "tenant", ns.tenant);
		js_bool(t, "lacks_endpoints", vservice_lacks_endpoints(&s));
		js_open(t, "ports", '[');
		for (uint32_t k = 0; vservice_port_at(&s, k, &p); k++) {
			js_open(t, NULL, '{');
			js_slice(t, "name", vport_name(&p));
			js_u64(t, "port", p.port);
			js_str(t, "protocol", protocol_name(p.protocol));
			js_u64(t, "endpoints", p.endpoints);
			js_u64(t, "ready", vport_ready(&p));
			js_u64(t, "rules", vport_rules(&p));
			js_close(t, '}');
		}
		js_close(t, ']');
		show_service_counters(st, vservice_slot(&s), t);
		js_close(t, '}');
	}
	js_close(t, ']');
	js_u64(t, "rev", view_rev(st->view));
	show_end(ret);
}

const char *show_endpoint_state(const struct vendpoint *e, const struct endpoint_sums *n)
{
	if (n->check == CHECK_UNHEALTHY)
		return "unhealthy";
	if (n->out_ms)
		return "ejected";
	if (n->probing)
		return "probing";
	return e->ready ? "ready" : e->terminating ? "terminating" : "not-ready";
}

void show_endpoint(const struct state *st, const struct vservice *s, const struct vport *p,
		   uint32_t i, const struct vendpoint *e, struct text *t)
{
	struct endpoint_sums n;
	struct vpolicy v;

	gather_endpoint(st, p, e, &n);
	js_open(t, NULL, '{');
	if (s) {
		js_slice(t, "namespace", vservice_ns(s));
		js_slice(t, "service", vservice_name(s));
	}
	js_u64(t, "port", p->port);
	addr_field(t, "address", &e->addr);
	js_str(t, "state", show_endpoint_state(e, &n));
	js_bool(t, "ready", e->ready);
	js_bool(t, "serving", e->serving);
	js_bool(t, "terminating", e->terminating);
	js_slice(t, "zone", e->zone);
	js_slice(t, "node", e->node);
	js_u64(t, "weight", vport_weight(p, i));
	if (vport_policy(p, &v))
		js_slice(t, "policy", v.name);
	else
		js_null(t, "policy");
	js_bool(t, "counters_shared", slot_is_shared(e->slot, BOARD_ENDPOINTS));
	js_u64(t, "in_flight", n.in_flight);
	js_u64(t, "waiting", n.waiting);
	known(t, "response_time_ns", n.rtt_us * 1000ull);
	js_u64(t, "ejected_for_ms", n.out_ms);
	js_str(t, "health", n.check == CHECK_UNHEALTHY ? "unhealthy" : n.check == CHECK_HEALTHY ? "healthy" : "unknown");
	if (n.check == CHECK_UNKNOWN)
		js_null(t, "health_seconds");
	else
		js_u64(t, "health_seconds", n.check_s);
	js_u64(t, "slow_start_percent", n.warmth * 100 / ENDPOINT_WARM);
	js_u64(t, "exchanges", n.exchanges);
	js_u64(t, "connects", n.connects);
	js_u64(t, "connect_failures", n.connect_failures);
	js_u64(t, "failures", n.failures);
	if (n.last_failure_ms < 0)
		js_null(t, "last_failure_seconds");
	else
		js_i64(t, "last_failure_seconds", n.last_failure_ms / 1000);
	js_close(t, '}');
}

void show_endpoints(struct state *st, const struct call *c, struct answer *ret)
{
	struct vservice s;
	struct text *t;

	if (!show_has_view(st, ret))
		return;
	*ret = show_ok();
	t = &ret->body;
	js_open(t, "endpoints", '[');
	for (uint32_t i = 0; view_service_nth(st->view, i, &s) && !t->cut; i++) {
		struct vport p;

		if (!wanted(c, "namespace", vservice_ns(&s)) ||
		    !wanted(c, "service", vservice_name(&s)))
			continue;
		for (uint32_t k = 0; vservice_port_at(&s, k, &p); k++) {
			struct vendpoint e;

			for (uint32_t n = 0; n < p.endpoints && vport_endpoint(&p, n, &e); n++)
				show_endpoint(st, &s, &p, n, &e, t);
		}
	}
	js_close(t, ']');
	js_u64(t, "rev", view_rev(st->view));
	show_end(ret);
}

const char *show_condition(const json_t *resource, const char *type)
{
	const json_t *parents = jget_array(json_object_get(resource, "status"), "parents");
	const json_t *parent, *cond;
	const char *worst = "";
	size_t i, k;

	json_array_foreach(parents, i, parent) {
		json_array_foreach(jget_array(parent, "conditions"), k, cond) {
			const char *is = jget_str(cond, "status");

			if (strcmp(jget_str(cond, "type"), type) != 0)
				continue;
			if (worst[0] == 0 || strcmp(is, "False") == 0)
				worst = is;
		}
	}
	return worst;
}

void show_filters(const struct vservice *s, const struct vfilters *all, struct text *t)
{
	struct vfilter f;

	js_open(t, "filters", '[');
	for (uint32_t i = 0; vfilter_at(s, all, i, &f); i++) {
		char words[FILTER_WORDS], both[FILTER_WORDS + 32];

		vfilter_words(&f, words, sizeof words);
		snprintf(both, sizeof both, "%s: %s", filter_name(f.kind), words);
		js_str(t, NULL, both);
	}
	js_close(t, ']');
}

static void backends(const struct vrule *r, struct text *t)
{
	struct vbackend b;

	js_open(t, "backends", '[');
	for (uint32_t i = 0; i < r->backends && vrule_backend_at(r, i, &b); i++) {
		char ref[300];

		js_open(t, NULL, '{');
		js_slice(t, "namespace", b.ns);
		js_slice(t, "name", b.name);
		js_u64(t, "port", b.number);
		snprintf(ref, sizeof ref, "%.*s/%.*s:%u%s", (int)min_of(b.ns.n, (size_t)64),
			 (const char *)b.ns.p, (int)min_of(b.name.n, (size_t)200),
			 (const char *)b.name.p, b.number, b.valid ? "" : "(invalid)");
		js_str(t, "ref", ref);
		js_u64(t, "weight", b.weight);
		show_filters(&r->port.service, &b.filters, t);
		js_bool(t, "valid", b.valid);
		js_close(t, '}');
	}
	js_close(t, ']');
}

static bool is_route(const char *kind)
{
	for (unsigned k = 0; k < ROUTE_KINDS; k++)
		if (strcmp(kind, route_kind_name((enum route_kind)k)) == 0)
			return true;
	return false;
}

/* The routes of the report by "kind/namespace/name": a rule is shown with its route's conditions. */
static json_t *index_routes(const json_t *all)
{
	json_t *by_name = json_object();
	const json_t *r;
	char key[400];
	size_t i;

	json_array_foreach(jget_array(all, "resources"), i, r) {
		if (!is_route(jget_str(r, "kind")))
			continue;
		snprintf(key, sizeof key, "%s/%s/%s", jget_str(r, "kind"),
			 jget_str(r, "namespace"), jget_str(r, "name"));
		json_object_set(by_name, key, (json_t *)(uintptr_t)r);
	}
	return by_name;
}

static void rule_row(const struct vservice *s, const struct vport *p, const struct vrule *r,
		     const json_t *resource, struct text *t)
{
	char words[MATCH_WORDS], service[400];
	struct slice ns = vservice_ns(s), name = vservice_name(s);

	vrule_words(r, words, sizeof words);
	snprintf(service, sizeof service, "%.*s/%.*s", (int)min_of(ns.n, (size_t)100),
		 (const char *)ns.p, (int)min_of(name.n, (size_t)260), (const char *)name.p);
	js_open(t, NULL, '{');
	js_str(t, "kind", route_kind_name(r->kind));
	js_slice(t, "namespace", r->route_ns);
	js_slice(t, "name", r->route_name);
	js_slice(t, "rule", r->rule_name);
	js_str(t, "service", service);
	js_u64(t, "port", p->port);
	if (r->callers.n)
		js_slice(t, "callers", r->callers);
	else
		js_null(t, "callers");
	js_u64(t, "precedence", r->index);
	js_str(t, "match", words);
	show_filters(&r->port.service, &r->filters, t);
	backends(r, t);
	js_str(t, "accepted", show_condition(resource, "Accepted"));
	js_str(t, "resolved_refs", show_condition(resource, "ResolvedRefs"));
	js_close(t, '}');
}

void show_routes(struct state *st, const struct call *c, struct answer *ret)
{
	json_t *all, *routes, *node, *attached;
	struct vservice s;
	const char *key;
	struct text *t;

	if (!show_has_view(st, ret))
		return;
	all = report_full(&st->report);
	routes = index_routes(all);
	attached = json_object();
	*ret = show_ok();
	t = &ret->body;
	js_open(t, "routes", '[');
	for (uint32_t i = 0; view_service_nth(st->view, i, &s) && !t->cut; i++) {
		struct vport p;

		for (uint32_t k = 0; vservice_port_at(&s, k, &p); k++) {
			struct vrule r;

			for (uint32_t n = 0; vport_rule_at(&p, n, &r); n++) {
				char name[400];

				if (!wanted(c, "namespace", r.route_ns))
					continue;
				snprintf(name, sizeof name, "%s/%.*s/%.*s", route_kind_name(r.kind),
					 (int)min_of(r.route_ns.n, (size_t)100),
					 (const char *)r.route_ns.p,
					 (int)min_of(r.route_name.n, (size_t)260),
					 (const char *)r.route_name.p);
				json_object_set_new(attached, name, json_true());
				rule_row(&s, &p, &r, json_object_get(routes, name), t);
			}
		}
	}
	/* A route that no Service has is the one the operator is looking for. */
	json_object_foreach(routes, key, node) {
		if (json_object_get(attached, key) ||
		    !wanted(c, "namespace", slice_str(jget_str(node, "namespace"))))
			continue;
		js_open(t, NULL, '{');
		js_str(t, "kind", jget_str(node, "kind"));
		js_str(t, "namespace", jget_str(node, "namespace"));
		js_str(t, "name", jget_str(node, "name"));
		js_null(t, "service");
		js_null(t, "port");
		js_null(t, "match");
		js_open(t, "backends", '[');
		js_close(t, ']');
		js_str(t, "accepted", show_condition(node, "Accepted"));
		js_str(t, "resolved_refs", show_condition(node, "ResolvedRefs"));
		js_close(t, '}');
	}
	js_close(t, ']');
	js_u64(t, "rev", view_rev(st->view));
	show_end(ret);
	json_decref(attached);
	json_decref(routes);
	report_drop(all);
}

/* Services per namespace: both lists are sorted by namespace, so one pass does. */
static uint32_t count_services(const struct view *v, struct slice ns, uint32_t *at)
{
	struct vservice s;
	uint32_t n = 0;

	while (view_service_nth(v, *at, &s) && slice_cmp(vservice_ns(&s), ns) < 0)
		++*at;
	while (view_service_nth(v, *at, &s) && slice_eq(vservice_ns(&s), ns))
		n++, ++*at;
	return n;
}

void show_namespaces(struct state *st, const struct call *c, struct answer *ret)
{
	struct vnamespace ns;
	uint32_t at = 0;
	struct text *t;

	(void)c;
	if (!show_has_view(st, ret))
		return;
	*ret = show_ok();
	t = &ret->body;
	js_open(t, "namespaces", '[');
	for (uint32_t i = 0; view_namespace_nth(st->view, i, &ns); i++) {
		js_open(t, NULL, '{');
		js_slice(t, "name", ns.name);
		js_slice(t, "tenant", ns.tenant);
		js_u64(t, "services", count_services(st->view, ns.name, &at));
		js_close(t, '}');
	}
	js_close(t, ']');
	js_u64(t, "rev", view_rev(st->view));
	show_end(ret);
}

static void quantile(struct text *t, const char *key, const struct hist *h, unsigned permille)
{
	known(t, key, hist_quantile_ns(h, permille));
}

void show_hist(struct text *t, const char *key, const struct hist *h)
{
	js_open(t, key, '{');
	js_u64(t, "count", hist_count(h));
	js_u64(t, "sum_ns", h->sum_ns);
	quantile(t, "p50_ns", h, 500);
	quantile(t, "p90_ns", h, 900);
	quantile(t, "p99_ns", h, 990);
	js_open(t, "buckets", '[');
	for (unsigned b = 0; b < HIST_BUCKETS; b++) {
		if (h->n[b] == 0)
			continue;
		js_open(t, NULL, '{');
		if (b == HIST_BUCKETS - 1)
			js_null(t, "until_ns");
		else
			js_u64(t, "until_ns", hist_until_ns(b));
		js_u64(t, "count", h->n[b]);
		js_close(t, '}');
	}
	js_close(t, ']');
	js_close(t, '}');
}

void show_tenant_times(struct text *t, const struct tenant_sums *n)
{
	struct counter_row row;

	for (unsigned i = 0; tenant_histogram_row(i, &row); i++)
		show_hist(t, row.name, &n->hist[i]);
}

struct tenants_arg {
	const struct state *st;
	struct text *t;
};

static void tenant_row(void *arg, const struct vnamespace *ten)
{
	struct tenants_arg *a = arg;
	struct text *t = a->t;
	struct vnamespace ns;
	struct tenant_sums n;

	gather_tenant(a->st, ten->tenant_slot, &n);
	if (ten->tenant.n == 0 && n.c[TC_conns] == 0)
		return;		/* the nameless one only matters once somebody used it */
	js_open(t, NULL, '{');
	if (ten->tenant.n)
		js_slice(t, "name", ten->tenant);
	else
		js_str(t, "name", "(others)");
	js_u64(t, "weight", ten->weight);
	js_u64(t, "memory_quota_bytes", ten->memory_bytes);
	js_u64(t, "connections_quota", ten->connections);
	js_u64(t, "requests_quota", ten->requests);
	js_u64(t, "connections", n.c[TC_conns_gauge]);
	js_u64(t, "requests_now", n.c[TC_requests_gauge]);
	js_u64(t, "connections_total", n.c[TC_conns]);
	js_u64(t, "exchanges_total", n.c[TC_exchanges]);
	js_u64(t, "busy_ns", n.c[TC_busy_ns]);
	js_u64(t, "turns_total", n.c[TC_turns]);
	js_u64(t, "received_bytes", n.c[TC_bytes_in]);
	js_u64(t, "sent_bytes", n.c[TC_bytes_out]);
	js_u64(t, "memory_bytes", n.c[TC_memory_gauge]);
	js_str(t, "memory_grade", grade_name((unsigned)min_of(n.c[TC_memory_grade_gauge], (uint64_t)GRADES)));
	js_u64(t, "reads_stopped_total", n.c[TC_reads_stopped]);
	js_u64(t, "refused_total", n.c[TC_refused]);
	js_u64(t, "shed_total", n.c[TC_shed]);
	js_u64(t, "shed_percent", min_of(n.c[TC_shed_percent_gauge], (uint64_t)100));
	show_tenant_times(t, &n);
	js_open(t, "namespaces", '[');
	for (uint32_t i = 0; ten->tenant.n && view_namespace_nth(a->st->view, i, &ns); i++)
		if (slice_eq(ns.tenant, ten->tenant))
			js_slice(t, NULL, ns.name);
	js_close(t, ']');
	js_open(t, "reasons", '{');
	for (unsigned i = 0; i < REASONS; i++)
		if (n.reasons[i])
			js_u64(t, reason_row((enum reason)i)->name, n.reasons[i]);
	js_close(t, '}');
	js_close(t, '}');
}

void show_tenants(struct state *st, const struct call *c, struct answer *ret)
{
	struct tenants_arg a = { .st = st, .t = &ret->body };

	(void)c;
	if (!show_has_view(st, ret))
		return;
	*ret = show_ok();
	js_open(a.t, "tenants", '[');
	gather_tenants(st, tenant_row, &a);
	js_close(a.t, ']');
	js_u64(a.t, "rev", view_rev(st->view));
	show_end(ret);
}
