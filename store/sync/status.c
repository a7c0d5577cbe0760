/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See status.h. */
#include "store/sync/status.h"

#include <stdarg.h>
#include <stdlib.h>
#include <time.h>

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/strbuf.h"

#define CONTROLLER "nodeproxy.io/nodeproxy"

void json_text(FILE *f, const char *s)
{
	char buf[6 * 256 + 3];
	struct slice a = slice_str(s);

	/* In pieces that end between characters; longer runs of continuation bytes are not UTF-8. */
	fputc('"', f);
	while (a.n) {
		size_t n = min_of(a.n, (size_t)256);
		struct strbuf b = strbuf_on(buf, sizeof buf);

		for (size_t back = 0; n < a.n && back < 4 && (a.p[n] & 0xc0) == 0x80; back++)
			n--;
		strbuf_json(&b, slice_of(a.p, n));
		fwrite(b.p + 1, 1, b.n - 2, f);
		a = slice_from(a, n);
	}
	fputc('"', f);
}

struct verdict {
	bool yes;
	const char *reason;
	char message[512];
};

static struct verdict yes(const char *reason)
{
	return (struct verdict){ .yes = true, .reason = reason };
}

static struct verdict yes_but(const char *reason, const char *fmt, ...) printf_like(2, 3);
static struct verdict yes_but(const char *reason, const char *fmt, ...)
{
	struct verdict v = { .yes = true, .reason = reason };
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(v.message, sizeof v.message, fmt, ap);
	va_end(ap);
	return v;
}

static struct verdict no(const char *reason, const char *fmt, ...) printf_like(2, 3);
static struct verdict no(const char *reason, const char *fmt, ...)
{
	struct verdict v = { .reason = reason };
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(v.message, sizeof v.message, fmt, ap);
	va_end(ap);
	return v;
}

/* ---- the time of the last change ---- */

static void remember(struct resource *r, const struct verdict *v)
{
	char text[600];
	int n = snprintf(text, sizeof text, "%d %s %s", v->yes, v->reason, v->message);

	r->status_now = r->status_now * 31 +
			hash_slice(slice_of(text, min_of((size_t)n, sizeof text - 1)));
}

static void time_text(int64_t unix_ms, char out[24])
{
	time_t t = unix_ms / 1000;
	struct tm tm;

	gmtime_r(&t, &tm);
	strftime(out, 24, "%Y-%m-%dT%H:%M:%SZ", &tm);
}

/* ---- verdicts ---- */

const struct refusal *status_refusal(const struct resource *r)
{
	const struct node *first = r->claims.next;

	if (first == &r->claims)
		return NULL;
	const struct claim *c = container_of(first, struct claim, in_resource);

	if (!c->refused)
		return NULL;
	for (const struct node *n = c->place->refusals.next; n != &c->place->refusals; n = n->next) {
		const struct refused *f = container_of(n, struct refused, in_place);

		if (f->resource == r)
			return f->refusal;
	}
	return NULL;
}

/* The Service as it counts for routes; NULL with words when it does not. */
static const struct row *service_row(const struct model *m, const char *ns, const char *name,
				     char words[400])
{
	const struct service *s = service_find(m, slice_str(ns), slice_str(name));

	if (s == NULL || s->resource == NULL) {
		snprintf(words, 400, "Service %s/%s does not exist", ns, name);
		return NULL;
	}
	if (s->resource->conflict) {
		snprintf(words, 400, "Service %s/%s is refused", ns, name);
		return NULL;
	}
	return s->resource->served->row;
}

static const struct row_service_port *port_of(const struct row *service, uint16_t number,
					      const char *name)
{
	for (uint32_t i = 0; i < service->service.n_ports; i++) {
		const struct row_service_port *p = &service->service.ports[i];

		if (p->protocol == ROW_TCP && (number == 0 || p->port == number) &&
		    (name[0] == 0 || strcmp(p->name, name) == 0))
			return p;
	}
	return NULL;
}

static struct verdict accepted(const struct row *route)
{
	return route->route.has_hostnames ?
		       yes_but("Accepted", "hostnames are not looked at in a mesh: match the header "
					   "host instead") :
		       yes("Accepted");
}

/* Which of its ports the route has, of those that the parent is about. */
static struct verdict attached_verdict(const struct row *route, const struct row_parent *p,
				       const struct row *service, const struct row *const *routes,
				       uint32_t n)
{
	char others[256] = "";
	bool any = false;

	for (uint32_t i = 0; i < service->service.n_ports; i++) {
		const struct row_service_port *port = &service->service.ports[i];
		const struct row *best;
		size_t at = strlen(others);

		if (port->protocol != ROW_TCP || (p->port && p->port != port->port) ||
		    (p->section[0] && strcmp(p->section, port->name) != 0))
			continue;
		best = route_of_port(routes, n, service, port, route);
		any |= best == route;
		if (best != route)
			snprintf(others + at, sizeof others - at, "%sport %u: %s %s/%s",
				 at ? ", " : "", port->port, row_kind_name(best->kind), best->ns,
				 best->name);
	}
	if (!any)
		return no("Conflicted", "another route counts instead: %s", others);
	if (others[0])
		return yes_but("Accepted", "another route counts for %s", others);
	return accepted(route);
}

static struct verdict parent_verdict(const struct model *m, const struct row *route,
				     const struct row_parent *p)
{
	const struct row *service, **routes;
	const struct service *s;
	struct verdict v;
	char words[400];
	uint32_t n = 0;

	service = service_row(m, p->ns, p->name, words);
	if (service == NULL)
		return no("NoMatchingParent", "%s", words);
	if (port_of(service, p->port, p->section) == NULL) {
		if (p->port)
			return no("NoMatchingParent", "Service %s/%s has no TCP port %u%s%s", p->ns,
				  p->name, p->port, p->section[0] ? " named " : "", p->section);
		return no("NoMatchingParent", "Service %s/%s has no TCP port%s%s", p->ns, p->name,
			  p->section[0] ? " named " : "", p->section);
	}
	s = service_find(m, slice_str(p->ns), slice_str(p->name));
	if (s->no_consumers && strcmp(route->ns, p->ns) != 0)
		return no("Pending", "Service %s/%s has no room for so many routes of other namespaces: "
				     "those of its own count for everybody", p->ns, p->name);
	/* Nearly always; what follows looks at all routes of the Service, for each of them. */
	if (route->kind == ROW_GRPCROUTE || (route->kind == ROW_HTTPROUTE && s->grpc_routes == 0))
		return accepted(route);
	routes = units_linked(&s->links[LINK_PARENT], &n);
	if (routes == NULL)
		return no("Pending", "out of memory");
	v = attached_verdict(route, p, service, routes, n);
	free(routes);
	return v;
}

static struct verdict backend_verdict(const struct model *m, const struct row *route,
				      const char *parent_ns, const struct row_backend *b,
				      const char *where)
{
	const struct row *service;
	char words[400];

	switch (route_backend(route, parent_ns, b, units_granted, (void *)(uintptr_t)m)) {
	case BACKEND_NO_SERVICE:
		return no("InvalidKind", "%s: %s is not supported, only Service", where, b->other);
	case BACKEND_NOT_PERMITTED:
		return no("RefNotPermitted", "%s: Service %s/%s is in another namespace and no "
					     "ReferenceGrant permits it", where, b->ns, b->name);
	case BACKEND_PERMITTED:
		break;
	}
	service = service_row(m, b->ns, b->name, words);
	if (service == NULL)
		return no("BackendNotFound", "%s: %s", where, words);
	if (port_of(service, b->port, "") == NULL)
		return no("BackendNotFound", "%s: Service %s/%s has no TCP port %u", where, b->ns,
			  b->name, b->port);
	return yes("ResolvedRefs");
}

/* What is wrong with where the mirrors of these filters send to; of: what has them. */
static struct verdict mirrors_verdict(const struct model *m, const struct row *route, const char *parent_ns,
				      const char *of, const struct row_filter *f, uint32_t n)
{
	for (uint32_t i = 0; i < n; i++) {
		char none[1] = "", where[128];
		struct row_backend b = { .ns = f[i].to_ns, .name = f[i].to_name, .other = none,
					 .port = f[i].port };
		struct verdict v;

		if (f[i].type != ROW_MIRROR)
			continue;
		snprintf(where, sizeof where, "%s.filters[%u].requestMirror.backendRef", of, i);
		v = backend_verdict(m, route, parent_ns, &b, where);
		if (!v.yes)
			return v;
	}
	return yes("ResolvedRefs");
}

/* Of requests to a Service of parent_ns. */
static struct verdict backends_verdict(const struct model *m, const struct row *route,
				       const char *parent_ns)
{
	for (uint32_t i = 0; i < route->route.n_rules; i++) {
		const struct row_rule *rule = &route->route.rules[i];
		struct verdict v;
		char where[64];

		snprintf(where, sizeof where, "rules[%u]", i);
		v = mirrors_verdict(m, route, parent_ns, where, rule->filters, rule->n_filters);

		for (uint32_t k = 0; v.yes && k < rule->n_backends; k++) {
			const struct row_backend *b = &rule->backends[k];

			snprintf(where, sizeof where, "rules[%u].backendRefs[%u]", i, k);
			v = backend_verdict(m, route, parent_ns, b, where);
			if (v.yes)
				v = mirrors_verdict(m, route, parent_ns, where, b->filters, b->n_filters);
		}
		if (!v.yes)
			return v;
	}
	return yes("ResolvedRefs");
}

/* ---- policies ---- */

/* What becomes of a target port by port.  Policies of a Service are linked to its hub. */
static struct verdict ports_verdict(const struct row *policy, const struct row_target *t,
				    const struct service *s, const struct row *const *policies,
				    uint32_t n)
{
	const struct port_slots *slots = policy->kind == ROW_RATE ? &s->rates : &s->limits;
	const struct row *service = s->resource->served->row, *winner = NULL;
	char others[256] = "";
	bool any = false, no_slot = false;

	for (uint32_t i = 0; i < service->service.n_ports; i++) {
		const struct row_service_port *p = &service->service.ports[i];
		const struct row *best;
		size_t at = strlen(others);

		if (p->protocol != ROW_TCP || (t->section[0] && strcmp(p->name, t->section) != 0))
			continue;
		best = policy_of_port(policies, n, service, p);
		if (best == policy) {
			any = true;
			for (uint32_t k = 0; k < slots->n && policy->kind != ROW_BACKEND_TLS; k++)
				no_slot |= slots->p[k].port == p->port && slots->p[k].slot.slot == 0;
			continue;
		}
		winner = best;
		if (best)
			snprintf(others + at, sizeof others - at, "%sport %u: %s %s/%s",
				 at ? ", " : "", p->port, row_kind_name(best->kind), best->ns, best->name);
	}
	if (!any && winner)
		return no("Conflicted", "another policy counts instead: %s", others);
	if (no_slot)
		return no("Pending", "the limits are not kept: the host has too many Service ports "
				     "with limits");
	return winner ? yes_but("Accepted", "another policy counts for %s", others) :
			yes("Accepted");
}

/* A retry budget is the whole Service's. */
static struct verdict budget_verdict(const struct row *policy, const struct row *service,
				     const struct row *const *policies, uint32_t n)
{
	const struct row *best = budget_of_service(policies, n, service);

	if (best == NULL || best == policy)
		return yes("Accepted");
	if (policy->kind == ROW_BACKEND_POLICY)
		return no("Conflicted", "another policy counts instead: %s %s/%s",
			  row_kind_name(best->kind), best->ns, best->name);
	return yes_but("Accepted", "another policy counts for retries.budget: %s %s/%s",
		       row_kind_name(best->kind), best->ns, best->name);
}

static struct verdict target_verdict(const struct model *m, const struct row *policy,
				     const struct row_target *t)
{
	const struct row *service, **policies;
	const struct service *s;
	struct verdict v;
	char words[400];
	uint32_t n = 0;

	service = service_row(m, policy->ns, t->name, words);
	if (service == NULL)
		return no("TargetNotFound", "%s", words);
	if (port_of(service, 0, t->section) == NULL)
		return no("TargetNotFound", "Service %s/%s has no TCP port%s%s", policy->ns, t->name,
			  t->section[0] ? " named " : "", t->section);
	s = service_find(m, slice_str(policy->ns), slice_str(t->name));
	policies = units_linked(&s->links[units_link_of(policy->kind)], &n);
	if (policies == NULL)
		return no("Pending", "out of memory");
	if (policy->kind == ROW_BACKEND_POLICY)
		v = budget_verdict(policy, service, policies, n);
	else
		v = ports_verdict(policy, t, s, policies, n);
	if (v.yes && v.message[0] == 0 && policy->kind == ROW_POLICY && policy->policy.budget.is_set)
		v = budget_verdict(policy, service, policies, n);
	free(policies);
	return v;
}

/* Whether all issuers are there that it refers to.  *good: how many are. */
static struct verdict issuers_verdict(const struct model *m, const struct row *policy, uint32_t *good)
{
	const struct row_backend_tls *p = &policy->backend_tls;
	struct verdict v = yes("ResolvedRefs");

	*good = p->system;
	for (uint32_t i = 0; i < p->n_refs; i++) {
		const struct row *map;
		enum ca_ref r = ca_of_ref(policy, &p->refs[i], units_config_map, (void *)(uintptr_t)m, &map);

		*good += r == CA_GOOD;
		if (!v.yes || r == CA_GOOD)
			continue;
		v = r == CA_NO_KIND ? no("InvalidKind", "validation.caCertificateRefs[%u]: %s is not supported, "
							"only ConfigMap", i, p->refs[i].other) :
		    r == CA_NOT_FOUND ? no("InvalidCACertificateRef", "validation.caCertificateRefs[%u]: "
					   "ConfigMap %s/%s does not exist", i, policy->ns, p->refs[i].name) :
					no("InvalidCACertificateRef", "validation.caCertificateRefs[%u]: ca.crt of "
					   "ConfigMap %s/%s %s", i, policy->ns, p->refs[i].name,
					   map->config_map.flaw);
	}
	return v;
}

static struct verdict refused_verdict(const struct resource *r, const struct refusal *why)
{
	return no(row_kind_is_route(r->kind) ? "UnsupportedValue" : "Invalid", "%s:%u: %s%s%s%s",
		  why->source, why->line, why->field, why->field[0] ? ": " : "", why->reason,
		  r->served ? " (the last good version serves)" : "");
}

/* ---- JSON ---- */

static void condition(FILE *f, struct resource *r, const char *type, const struct verdict *v,
		      int64_t generation, bool first)
{
	char at[24];

	remember(r, v);
	time_text(r->status_unix_ms, at);
	fprintf(f, "%s{\"type\":\"%s\",\"status\":\"%s\",\"reason\":\"%s\",\"message\":",
		first ? "" : ",", type, v->yes ? "True" : "False", v->reason);
	json_text(f, v->message);
	fprintf(f, ",\"observedGeneration\":%lld,\"lastTransitionTime\":\"%s\"}",
		(long long)generation, at);
}

static void parent_json(FILE *f, const struct row_parent *p)
{
	fputs("{\"parentRef\":{\"group\":\"\",\"kind\":\"Service\",\"namespace\":", f);
	json_text(f, p->ns);
	fputs(",\"name\":", f);
	json_text(f, p->name);
	if (p->port)
		fprintf(f, ",\"port\":%u", p->port);
	if (p->section && p->section[0]) {
		fputs(",\"sectionName\":", f);
		json_text(f, p->section);
	}
	fputs("},\"controllerName\":\"" CONTROLLER "\",\"conditions\":[", f);
}

/* Of the newest version, refused or not. */
static int64_t generation_of(const struct row *row, const struct refusal *why)
{
	return why ? why->generation : row ? row->generation : 0;
}

static void route_json(FILE *f, const struct model *m, struct resource *r)
{
	const struct row *row = r->served ? r->served->row : NULL;
	const struct refusal *why = status_refusal(r);
	int64_t generation = generation_of(row, why);
	struct verdict refused = why ? refused_verdict(r, why) : yes("Accepted");

	fputs("{\"parents\":[", f);
	for (uint32_t i = 0; row && i < row->route.n_parents; i++) {
		const struct row_parent *p = &row->route.parents[i];
		struct verdict v = why ? refused : parent_verdict(m, row, p);
		struct verdict refs = backends_verdict(m, row, p->ns);

		if (i)
			fputc(',', f);
		parent_json(f, p);
		condition(f, r, "Accepted", &v, generation, true);
		condition(f, r, "ResolvedRefs", &refs, generation, false);
		if (why) {
			struct verdict part = yes_but("UnsupportedValue",
						      "Fall Back: generation %lld serves instead of %s:%u",
						      (long long)row->generation, why->source,
						      why->doc_line);

			condition(f, r, "PartiallyInvalid", &part, generation, false);
		}
		fputs("]}", f);
	}
	if (row == NULL && why) {
		/* Its parents are not known: it was refused before they were. */
		fputs("{\"parentRef\":{},\"controllerName\":\"" CONTROLLER "\",\"conditions\":[", f);
		condition(f, r, "Accepted", &refused, generation, true);
		fputs("]}", f);
	}
	fputs("]}", f);
}

static void policy_json(FILE *f, const struct model *m, struct resource *r)
{
	const struct row *row = r->served ? r->served->row : NULL;
	const struct refusal *why = status_refusal(r);
	int64_t generation = generation_of(row, why);
	uint32_t n = 0;
	const struct row_target *targets = row ? row_targets(row, &n) : NULL;

	fputs("{\"ancestors\":[", f);
	for (uint32_t i = 0; i < n; i++) {
		const struct row_target *t = &targets[i];
		struct verdict v = why ? refused_verdict(r, why) : target_verdict(m, row, t);

		fprintf(f, "%s{\"ancestorRef\":{\"group\":\"\",\"kind\":\"Service\",\"namespace\":",
			i ? "," : "");
		json_text(f, row->ns);
		fputs(",\"name\":", f);
		json_text(f, t->name);
		if (t->section[0]) {
			fputs(",\"sectionName\":", f);
			json_text(f, t->section);
		}
		fputs("},\"controllerName\":\"" CONTROLLER "\",\"conditions\":[", f);
		if (row->kind == ROW_BACKEND_TLS) {
			uint32_t good;
			struct verdict refs = issuers_verdict(m, row, &good);

			if (v.yes && good == 0)
				v = no("NoValidCACertificate", "nobody is trusted: requests are answered 503");
			condition(f, r, "Accepted", &v, generation, true);
			condition(f, r, "ResolvedRefs", &refs, generation, false);
		} else {
			condition(f, r, "Accepted", &v, generation, true);
		}
		fputs("]}", f);
	}
	if (row == NULL && why) {
		struct verdict v = refused_verdict(r, why);

		fputs("{\"ancestorRef\":{},\"controllerName\":\"" CONTROLLER "\","
		      "\"conditions\":[", f);
		condition(f, r, "Accepted", &v, generation, true);
		fputs("]}", f);
	}
	fputs("]}", f);
}

/* Whether its traffic is captured, of the version that serves. */
static struct verdict enrolled_verdict(const struct model *m, const struct resource *r)
{
	const struct workload *w = workloads_find(&m->workloads, r->ns, r->name);
	const char *node = r->served->row->workload.node;

	if (w == NULL)
		return no("Pending", "out of memory");
	switch (w->state) {
	case WORKLOAD_ENROLLED:
		return yes("Enrolled");
	case WORKLOAD_NOT:
		return no("NotCaptured", "%s", w->why);
	case WORKLOAD_ELSEWHERE:
		if (node[0])
			return no("OtherNode", "it is on %s, this is %s", node, m->workloads.node);
		return no("OtherNode", "nobody knows where it is");
	case WORKLOAD_TOLD:
		break;
	}
	return no("Pending", "it is being captured");
}

/* Whether pods that its selector names are its endpoints, of the version that serves. */
static struct verdict selected_verdict(const struct row *row)
{
	for (uint32_t i = 0; i < row->service.n_ports; i++)
		if (row->service.ports[i].target_name)
			return no("NamedTargetPort", "spec.ports[%u].targetPort: ports of pods have no names here, "
				  "so that none is an endpoint of it: write the number, or an EndpointSlice", i);
	return yes("Selected");
}

static void other_json(FILE *f, const struct model *m, struct resource *r)
{
	const struct refusal *why = status_refusal(r);
	struct verdict v = yes("Accepted");

	if (why)
		v = refused_verdict(r, why);
	else if (r->conflict)
		v = no(r->kind == ROW_SERVICE  ? "AddressCollision"
		       : r->kind == ROW_WORKLOAD ? "Invalid"
						 : "Conflict", "%s", r->conflict);
	fputs("{\"conditions\":[", f);
	condition(f, r, "Accepted", &v, generation_of(r->served ? r->served->row : NULL, why), true);
	if (r->kind == ROW_WORKLOAD && r->served) {
		v = enrolled_verdict(m, r);
		condition(f, r, "Enrolled", &v, r->served->row->generation, false);
	}
	if (r->kind == ROW_SERVICE) {
		const struct service *s = service_find(m, slice_str(r->ns), slice_str(r->name));
		char ip[ADDR_TEXT];

		if (s && r->served && residents_serve(s)) {
			v = selected_verdict(r->served->row);
			condition(f, r, "Selected", &v, r->served->row->generation, false);
		}
		fputc(']', f);
		if (s && s->ip[0].family && r->conflict == NULL)
			fprintf(f, ",\"clusterIP\":\"%s\"", addr_text(&s->ip[0], false, ip));
	} else {
		fputc(']', f);
	}
	fputc('}', f);
}

void status_json(FILE *f, const struct model *m, struct resource *r)
{
	uint64_t was = r->status_was;

	/* The time is written before what it is the time of is known: it is that of the text before,
	 * unless this one differs; then it is written once more. */
	long at = ftell(f);

	for (int pass = 0; pass < 2; pass++) {
		r->status_now = 1;
		if (row_kind_is_route(r->kind))
			route_json(f, m, r);
		else if (row_kind_is_policy(r->kind))
			policy_json(f, m, r);
		else
			other_json(f, m, r);
		if (r->status_now == was)
			break;
		was = r->status_was = r->status_now;
		r->status_unix_ms = clock_unix_ms();
		if (at < 0 || fseek(f, at, SEEK_SET) < 0)
			break;
	}
}
