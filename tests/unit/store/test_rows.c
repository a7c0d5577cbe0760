/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Rows are freed whole, also when only half filled in; the leak checker is the judge. */
#include "store/rows.h"

#include <string.h>

#include "tests/unit/test.h"

static void *zeroed(size_t n, size_t size)
{
	void *p = calloc(n, size);

	ck_assert_ptr_nonnull(p);
	return p;
}

static struct row *row_of(enum row_kind kind)
{
	struct row *r = zeroed(1, sizeof *r);

	r->kind = kind;
	r->ns = strdup("ns");
	r->name = strdup("name");
	r->json = strdup("{}");
	r->source = strdup("a.yaml");
	return r;
}

START_TEST(every_kind_is_freed_whole)
{
	for (int full = 0; full < 2; full++)
		for (int kind = 0; kind < ROW_KINDS; kind++) {
			struct row *r = row_of(kind);

			switch ((enum row_kind)kind) {
			case ROW_TENANT:
				r->tenant.n_namespaces = 2;
				r->tenant.namespaces = full ? zeroed(2, sizeof(char *)) : NULL;
				if (full)
					r->tenant.namespaces[0] = strdup("a");
				break;
			case ROW_SERVICE:
				r->service.n_ports = 2;
				r->service.ports =
					full ? zeroed(2, sizeof *r->service.ports) : NULL;
				if (full) {
					r->service.ports[0].name = strdup("http");
					r->service.ports[0].target_name = strdup("web");
					r->service.ports[1].app_protocol = strdup("http");
				}
				break;
			case ROW_SLICE:
				r->slice.service = strdup("web");
				r->slice.n_ports = r->slice.n_endpoints = 1;
				r->slice.ports = full ? zeroed(1, sizeof *r->slice.ports) : NULL;
				r->slice.endpoints =
					full ? zeroed(1, sizeof *r->slice.endpoints) : NULL;
				if (full) {
					r->slice.ports->name = strdup("http");
					r->slice.texts = strdup("z");
					r->slice.endpoints->zone = r->slice.texts;
				}
				break;
			case ROW_HTTPROUTE:
			case ROW_GRPCROUTE:
			case ROW_TLSROUTE:
			case ROW_TCPROUTE:
				r->route.n_parents = r->route.n_rules = 1;
				r->route.parents =
					full ? zeroed(1, sizeof *r->route.parents) : NULL;
				r->route.rules = full ? zeroed(1, sizeof *r->route.rules) : NULL;
				if (full) {
					struct row_rule *u = r->route.rules;

					r->route.parents->ns = strdup("a");
					r->route.parents->name = strdup("b");
					r->route.parents->section = strdup("c");
					u->name = strdup("d");
					u->n_matches = u->n_backends = 1;
					u->matches = zeroed(1, sizeof *u->matches);
					u->n_filters = 2;
					u->filters = zeroed(2, sizeof *u->filters);
					u->filters[0].n_set = u->filters[1].n_remove = 2;
					u->filters[0].set = zeroed(2, sizeof *u->filters[0].set);
					u->filters[0].set[0].name = strdup("g");
					u->filters[0].set[0].value = strdup("h");
					u->filters[1].remove = zeroed(2, sizeof(char *));
					u->filters[1].remove[0] = strdup("i");
					u->matches->path = strdup("/");
					u->matches->method = strdup("GET");
					u->matches->grpc_method = strdup("");
					u->matches->n_headers = u->matches->n_params = 1;
					u->matches->headers = zeroed(1, sizeof(struct row_pair));
					u->matches->headers->name = strdup("a");
					u->matches->params = zeroed(1, sizeof(struct row_pair));
					u->matches->params->value = strdup("b");
					u->backends = zeroed(1, sizeof *u->backends);
					u->backends->ns = strdup("e");
					u->backends->name = strdup("f");
					u->backends->other = strdup("g");
				}
				break;
			case ROW_GRANT:
				r->grant.n_from = r->grant.n_to = 1;
				r->grant.from = full ? zeroed(1, sizeof *r->grant.from) : NULL;
				r->grant.to = full ? zeroed(1, sizeof *r->grant.to) : NULL;
				if (full) {
					r->grant.from->group = strdup("a");
					r->grant.from->kind = strdup("b");
					r->grant.from->ns = strdup("c");
					r->grant.to->group = strdup("d");
					r->grant.to->kind = strdup("e");
					r->grant.to->name = strdup("f");
				}
				break;
			case ROW_POLICY:
			case ROW_BACKEND_POLICY:
				r->policy.n_targets = 2;
				r->policy.targets =
					full ? zeroed(2, sizeof *r->policy.targets) : NULL;
				if (full) {
					r->policy.targets[0].name = strdup("a");
					r->policy.targets[1].section = strdup("b");
				}
				break;
			case ROW_RATE:
				r->rate.n_targets = 2;
				r->rate.targets = full ? zeroed(2, sizeof *r->rate.targets) : NULL;
				if (full) {
					r->rate.targets[0].name = strdup("a");
					r->rate.targets[1].section = strdup("b");
				}
				break;
			case ROW_WORKLOAD:
				r->workload.account = full ? strdup("a") : NULL;
				r->workload.netns = full ? strdup("b") : NULL;
				r->workload.labels = full ? strdup("c") : NULL;
				r->workload.node = full ? strdup("d") : NULL;
				break;
			case ROW_BACKEND_TLS:
				r->backend_tls.n_targets = r->backend_tls.n_refs = r->backend_tls.n_names = 1;
				r->backend_tls.hostname = strdup("a");
				if (full) {
					r->backend_tls.targets = zeroed(1, sizeof *r->backend_tls.targets);
					r->backend_tls.refs = zeroed(1, sizeof *r->backend_tls.refs);
					r->backend_tls.names = zeroed(1, sizeof *r->backend_tls.names);
					r->backend_tls.targets->name = strdup("b");
					r->backend_tls.refs->other = strdup("c");
					r->backend_tls.names->text = strdup("d");
				}
				break;
			case ROW_CONFIG_MAP:
				r->config_map.ca = full ? strdup("a") : NULL;
				break;
			case ROW_RESIDENT:
				r->resident.node = full ? strdup("a") : NULL;
				r->resident.pod = full ? strdup("b") : NULL;
				r->resident.n_labels = 2;
				r->resident.labels = full ? zeroed(2, sizeof *r->resident.labels) : NULL;
				if (full)
					r->resident.labels[0].name = strdup("c");
				break;
			case ROW_NAMESPACE:
			case ROW_KINDS:
				break;
			}
			row_free(&r);
			ck_assert_ptr_null(r);
			row_free(&r);
		}
}
END_TEST

START_TEST(every_kind_has_the_name_of_its_resource)
{
	static const char *const want[ROW_KINDS] = { "Namespace", "Tenant", "Service",
						     "EndpointSlice", "HTTPRoute", "GRPCRoute",
						     "TLSRoute", "TCPRoute", "ReferenceGrant", "TrafficPolicy",
						     "XBackendTrafficPolicy", "RateLimitPolicy", "Workload", "BackendTLSPolicy",
						     "ConfigMap", "Resident" };

	for (int kind = 0; kind < ROW_KINDS; kind++)
		ck_assert_str_eq(row_kind_name(kind), want[kind]);
	ck_assert_str_eq(row_kind_name(ROW_KINDS), "?");
}
END_TEST

UNIT_TESTS("rows", every_kind_is_freed_whole, every_kind_has_the_name_of_its_resource)
