/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Resources: rows from good documents, refusals with line, field and reason from all others. */
#include "tests/unit/test.h"

#include <errno.h>
#include <stdio.h>

#include "store/resource/resource.h"

static struct row *row;
static struct refusal *no;

/* The first document of a file. */
static int first(const char *yaml)
{
	struct resource_reader r;

	row_free(&row);
	refusal_free(&no);
	resource_reader_init(&r, "f.yaml", slice_str(yaml));
	return resource_next(&r, &row, &no);
}

static const struct row *accepted(const char *yaml)
{
	char text[1024];

	ck_assert_int_eq(first(yaml), 1);
	ck_assert_msg(row != NULL, "%.500s: %s", yaml, no ? refusal_text(no, text, sizeof text) : "?");
	return row;
}

static void done(void)
{
	row_free(&row);
	refusal_free(&no);
}

/* Documents up to where they begin to differ; line 5 is the first of the caller. */
#define SERVICE "apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop}\nspec:\n"
#define PORTS	"  ports:\n  - {name: a, port: 80}\n"
#define SLICE_TOP                                                                                  \
	"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\n"                                   \
	"metadata: {name: s, namespace: shop, labels: {kubernetes.io/service-name: web}}\n"       \
	"addressType: IPv4\n"
#define ROUTE                                                                                      \
	"apiVersion: gateway.networking.k8s.io/v1\nkind: HTTPRoute\n"                              \
	"metadata: {name: r, namespace: shop}\nspec:\n"
#define PARENT "  parentRefs: [{group: \"\", kind: Service, name: web}]\n"
#define RULES  ROUTE PARENT "  rules:\n"
#define TENANT                                                                                     \
	"apiVersion: nodeproxy.io/v1alpha1\nkind: Tenant\nmetadata: {name: t}\nspec:\n"
#define POLICY                                                                                     \
	"apiVersion: nodeproxy.io/v1alpha1\nkind: TrafficPolicy\n"                                 \
	"metadata: {name: p, namespace: shop}\nspec:\n"
#define RATE                                                                                       \
	"apiVersion: nodeproxy.io/v1alpha1\nkind: RateLimitPolicy\n"                               \
	"metadata: {name: p, namespace: shop}\nspec:\n"
#define WORKLOAD                                                                                   \
	"apiVersion: nodeproxy.io/v1alpha1\nkind: Workload\n"                                      \
	"metadata: {name: w, namespace: shop}\nspec:\n"
#define LABEL_60 "a23456789012345678901234567890123456789012345678901234567890"
#define NAME_64 "a23456789012345678901234567890123456789012345678901234567890.234"
#define XPOLICY                                                                                    \
	"apiVersion: gateway.networking.x-k8s.io/v1alpha1\nkind: XBackendTrafficPolicy\n"          \
	"metadata: {name: b}\nspec:\n"
#define BTLS                                                                                       \
	"apiVersion: gateway.networking.k8s.io/v1\nkind: BackendTLSPolicy\n"                      \
	"metadata: {name: p, namespace: shop}\nspec:\n"
#define SYSTEM BTLS TARGET "  validation:\n    hostname: a.b\n    wellKnownCACertificates: System\n"
#define REFS3 "{group: \"\", kind: ConfigMap, name: a}, {group: \"\", kind: ConfigMap, name: b}, {group: \"\", kind: ConfigMap, name: c}, "
#define NAMES3 "{type: Hostname, hostname: a}, {type: Hostname, hostname: b}, {type: URI, uri: c}, "
#define RETRIES POLICY TARGET "  retries:\n"
#define TARGET "  targetRefs: [{group: \"\", kind: Service, name: web}]\n"
#define META "apiVersion: v1\nkind: Service\nspec: {clusterIP: None}\nmetadata:\n"
#define NAMESPACE "apiVersion: v1\nkind: Namespace\nmetadata:\n  name: shop\n"

#define LABEL_RULE "must be at most 63 letters, digits, -, _ and ., the first and last a letter or digit"
#define DNS_RULE   "must be at most 63 lower-case letters, digits and -, starting and ending with a letter or digit"
#define DURATION_RULE "must be a duration like 500ms, 30s or 1h30m (at most four whole numbers of five digits, each with h, m, s or ms)"
#define FILTERS_SERVED "RequestHeaderModifier, ResponseHeaderModifier, RequestRedirect, URLRewrite, CORS or RequestMirror"
#define MIRROR "{type: RequestMirror, requestMirror: "
#define CORS "{type: CORS, cors: "
#define ORIGIN_RULE "must be * or scheme://host[:port], of http or https, without a path"
#define REDIRECT "{type: RequestRedirect, requestRedirect: "
#define REWRITE "{type: URLRewrite, urlRewrite: "
#define REQUEST "{type: RequestHeaderModifier, requestHeaderModifier: "
#define NOT_YET	   "not supported by this release"

START_TEST(every_refusal_names_line_field_and_reason)
{
	static const struct {
		const char *yaml;
		uint32_t line;
		const char *field, *reason;
	} t[] = {
		/* which kind */
		{ "a text\n", 1, "", "must be a mapping with apiVersion, kind and metadata, not text" },
		{ "- a\n", 1, "", "must be a mapping with apiVersion, kind and metadata, not a list" },
		{ "\n{}\n", 2, "kind", "is required: one of Namespace, Tenant, Service, EndpointSlice, HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, ReferenceGrant, TrafficPolicy, XBackendTrafficPolicy, RateLimitPolicy, Workload, BackendTLSPolicy, ConfigMap" },
		{ "apiVersion: v1\nkind: Servce\n", 2, "kind", "\"Servce\" is not served by this release (did you mean Service?)" },
		{ "apiVersion: apps/v1\nkind: Deployment\n", 2, "kind", "\"Deployment\" is not served by this release, only Namespace, Tenant, Service, EndpointSlice, HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, ReferenceGrant, TrafficPolicy, XBackendTrafficPolicy, RateLimitPolicy, Workload, BackendTLSPolicy, ConfigMap" },
		{ "apiVersion: gateway.networking.k8s.io/v1\nkind: UDPRoute\n", 2, "kind", "\"UDPRoute\" is not served by this release (did you mean TCPRoute?)" },
		{ "apiVersion: v1\nkind: List\nitems: []\n", 2, "kind", "a List is not served: write each object as a document of its own, with --- lines between them" },
		{ "apiVersion: v1\nkind: [a]\n", 2, "kind", "\"\" is not served by this release, only Namespace, Tenant, Service, EndpointSlice, HTTPRoute, GRPCRoute, TLSRoute, TCPRoute, ReferenceGrant, TrafficPolicy, XBackendTrafficPolicy, RateLimitPolicy, Workload, BackendTLSPolicy, ConfigMap" },
		{ "kind: Service\n", 1, "apiVersion", "is required: v1 for kind Service" },
		{ "kind: Service\napiVersion: v2\n", 2, "apiVersion", "must be v1 for kind Service, not \"v2\"" },
		{ "kind: HTTPRoute\napiVersion: gateway.networking.k8s.io/v1alpha2\n", 2, "apiVersion", "must be gateway.networking.k8s.io/v1 or gateway.networking.k8s.io/v1beta1 for kind HTTPRoute, not \"gateway.networking.k8s.io/v1alpha2\"" },
		{ "kind: EndpointSlice\napiVersion: v1\n", 2, "apiVersion", "must be discovery.k8s.io/v1 for kind EndpointSlice, not \"v1\"" },

		/* metadata */
		{ "apiVersion: v1\nkind: Service\nspec: {clusterIP: None}\n", 1, "metadata", "is required" },
		{ META "  namespace: a\n", 4, "metadata.name", "is required: name of the object; of a Service, Namespace and Tenant at most 63 bytes without dots" },
		{ META "  name: \"\"\n", 5, "metadata.name", "must not be empty" },
		{ META "  name: 7\n", 5, "metadata.name", "must be text: write \"7\" in quotes" },
		{ META "  name: on\n", 5, "metadata.name", "must be text: write \"on\" in quotes" },
		{ META "  name: [a]\n", 5, "metadata.name", "must be text, not a list" },
		{ META "  name: A\n", 5, "metadata.name", "must be lower-case letters, digits, - and ., each part starting and ending with a letter or digit, not \"A\"" },
		{ META "  name: a.b\n", 5, "metadata.name", DNS_RULE ", not \"a.b\"" },
		{ META "  name: a\n  namespace: b.c\n", 6, "metadata.namespace", DNS_RULE ", not \"b.c\"" },
		{ META "  name: a\n  lables: {}\n", 6, "metadata.lables", "unknown field (did you mean labels?)" },
		{ META "  name: a\n  frob: 1\n", 6, "metadata.frob", "unknown field" },
		{ META "  name: a\n  labels: [a]\n", 6, "metadata.labels", "must be a mapping of names to texts, not a list" },
		{ META "  name: a\n  labels:\n    x: 1\n", 7, "metadata.labels[x]", "must be text: write \"1\" in quotes" },
		{ META "  name: a\n  labels:\n    x: yes\n", 7, "metadata.labels[x]", "must be text: write \"yes\" in quotes" },
		{ META "  name: a\n  labels:\n    x:\n", 7, "metadata.labels[x]", "has no value; for none write \"\"" },
		{ META "  name: a\n  labels:\n    x: a b\n", 7, "metadata.labels[x]", LABEL_RULE ", not \"a b\"" },
		{ META "  name: a\n  labels:\n    x/y/z: a\n", 7, "metadata.labels[x/y/z]", "the name must be letters, digits, -, _ and ., perhaps with a DNS name and / before" },
		{ META "  name: a\n  annotations:\n    \"\": a\n", 7, "metadata.annotations[]", "the name must be letters, digits, -, _ and ., perhaps with a DNS name and / before" },
		{ META "  name: a\n  labels:\n    nodeproxy.io/x: a\n", 7, "metadata.labels[nodeproxy.io/x]", "unknown label of nodeproxy.io" },
		{ META "  name: a\n  annotations:\n    nodeproxy.io/x: a\n", 7, "metadata.annotations[nodeproxy.io/x]", "unknown annotation of nodeproxy.io" },
		{ META "  name: a\n  creationTimestamp: yesterday\n", 6, "metadata.creationTimestamp", "must be a time like 2026-01-31T12:00:00Z, not yesterday" },
		{ META "  name: a\n  creationTimestamp: 2026-02-30T12:00:00Z\n", 6, "metadata.creationTimestamp", "must be a time like 2026-01-31T12:00:00Z, not 2026-02-30T12:00:00Z" },
		{ META "  name: a\n  generation: -1\n", 6, "metadata.generation", "must be at least 0, not -1" },
		{ META "  name: a\n  generation: x\n", 6, "metadata.generation", "must be a whole number, not x" },
		{ META "  name: a\n  generation: 017\n", 6, "metadata.generation", "must be a whole number, not 017" },
		{ META "  name: a\n  uid: \"a\\nb\"\n", 6, "metadata.uid", "must not have control characters, not \"a?b\"" },

		{ META "  name: a\n  annotations:\n    nodeproxy.io/weight: \"5\"\n", 7, "metadata.annotations[nodeproxy.io/weight]", "is for EndpointSlices only" },
		{ META "  name: a\n  annotations:\n    nodeproxy.io/priority: \"1\"\n", 7, "metadata.annotations[nodeproxy.io/priority]", "is for EndpointSlices only" },

		/* RateLimitPolicy */
		{ RATE TARGET, 4, "spec", "limits nothing: write identity, total or both" },
		{ RATE "  total: {requests: 5}\n", 4, "spec.targetRefs", "is required: the Services it is about, of its own namespace" },
		{ RATE TARGET "  total: {}\n", 6, "spec.total.requests", "is required: so many requests in each interval" },
		{ RATE TARGET "  total: {requests: 0}\n", 6, "spec.total.requests", "must be from 1 to 1000000, not 0" },
		{ RATE TARGET "  total: {requests: 1, interval: 50ms}\n", 6, "spec.total.interval", "must be from 100ms to 24h, not 50ms" },
		{ RATE TARGET "  total: {requests: 1, key: Namespace}\n", 6, "spec.total.key", "unknown field" },
		{ RATE TARGET "  total:\n    requests: 1\n    interval: 24h\n    burst: 8\n", 9, "spec.total.burst", "takes more than 7 days to come again at this rate" },
		{ RATE TARGET "  identity:\n    requests: 1\n    key: SourceAddress\n", 8, "spec.identity.key", "SourceAddress is not supported by this release: only Namespace or Tenant" },
		{ RATE TARGET "  identity:\n    requests: 1\n    burst: 1000001\n", 8, "spec.identity.burst", "must be from 1 to 1000000, not 1000001" },

		/* BackendTLSPolicy and ConfigMap */
		{ BTLS TARGET, 4, "spec.validation", "is required: when an endpoint is the right one" },
		{ BTLS TARGET "  validation: {hostname: a.b}\n", 6, "spec.validation", "must have caCertificateRefs or wellKnownCACertificates, and not both" },
		{ BTLS TARGET "  validation: {hostname: a.b, wellKnownCACertificates: System, caCertificateRefs: [{group: \"\", kind: ConfigMap, name: a}]}\n", 6, "spec.validation", "must have caCertificateRefs or wellKnownCACertificates, and not both" },
		{ BTLS TARGET "  validation: {hostname: '*.b', wellKnownCACertificates: System}\n", 6, "spec.validation.hostname", "must be lower-case letters, digits, - and ., each part starting and ending with a letter or digit, not \"*.b\"" },
		{ BTLS TARGET "  validation: {wellKnownCACertificates: System}\n", 6, "spec.validation.hostname", "is required: the server name (SNI) that is asked for; the certificate must have it as a DNS name, unless there are subjectAltNames" },
		{ BTLS TARGET "  validation: {hostname: a.b, wellKnownCACertificates: Mine}\n", 6, "spec.validation.wellKnownCACertificates", "must be System, not \"Mine\"" },
		{ SYSTEM "    subjectAltNames: [{type: URI, hostname: a}]\n", 9, "spec.validation.subjectAltNames[0].uri", "is required of type URI" },
		{ SYSTEM "    subjectAltNames: [{type: Hostname, hostname: a}, {type: Hostname, hostname: a, uri: b}]\n", 9, "spec.validation.subjectAltNames[1].hostname", "stands beside uri: a name is one of them" },
		{ BTLS TARGET "  validation: {hostname: a.b, caCertificateRefs: [" REFS3 REFS3 REFS3 "]}\n", 6, "spec.validation.caCertificateRefs", "must have at most 8 entries, not 9" },
		{ SYSTEM "    subjectAltNames: [" NAMES3 NAMES3 "]\n", 9, "spec.validation.subjectAltNames", "must have at most 5 entries, not 6" },
		{ "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\ndata:\n  x: y\n  ca.crt: z\n", 5, "data.x", "unknown field" },
		{ "apiVersion: v1\nkind: ConfigMap\nmetadata: {name: a}\nbinaryData: {x: y}\n", 4, "binaryData", "not supported by this release (bytes that are no text)" },

		/* TrafficPolicy */
		{ POLICY "  loadBalancer: {type: RoundRobin}\n", 4, "spec.targetRefs", "is required: the Services it is about, of its own namespace" },
		{ POLICY "  targetRefs: []\n", 5, "spec.targetRefs", "must have at least 1 entry" },
		{ POLICY "  targetRefs:\n  - {kind: Service, name: web}\n", 6, "spec.targetRefs[0].group", "is required: must be \"\", the group of Service" },
		{ POLICY "  targetRefs:\n  - {group: apps, kind: Service, name: web}\n", 6, "spec.targetRefs[0].group", "must be \"\", the group of Service, not \"apps\"" },
		{ POLICY "  targetRefs:\n  - {group: \"\", kind: HTTPRoute, name: web}\n", 6, "spec.targetRefs[0].kind", "HTTPRoute is not supported by this release: only Service" },
		{ POLICY "  targetRefs:\n  - {group: \"\", kind: Service, name: web, namespace: x}\n", 6, "spec.targetRefs[0].namespace", "unknown field" },
		{ POLICY "  targetRefs:\n  - {group: \"\", kind: Service, name: web, sectionName: a}\n  - {group: \"\", kind: Service, name: web, sectionName: a}\n", 7, "spec.targetRefs[1]", "is the same as targetRefs[0]" },
		{ POLICY TARGET "  ejection:\n    successRate: {interval: 10ms}\n", 7, "spec.ejection.successRate.interval", "must be from 1s to 1h, not 10ms" },
		{ POLICY TARGET "  ejection:\n    successRate: {minEndpoints: 1}\n", 7, "spec.ejection.successRate.minEndpoints", "must be from 2 to 255, not 1" },
		{ POLICY TARGET "  ejection:\n    successRate: {minRequests: 0}\n", 7, "spec.ejection.successRate.minRequests", "must be from 1 to 1000000, not 0" },
		{ POLICY TARGET "  ejection:\n    successRate: {deviationThousandths: 10001}\n", 7, "spec.ejection.successRate.deviationThousandths", "must be from 0 to 10000, not 10001" },
		{ POLICY TARGET "  loadBalancer:\n    slowStart: {}\n", 7, "spec.loadBalancer.slowStart.window", "is required: for so long after it became ready, as this host has seen it while there was traffic (Envoy: slow_start_window)" },
		{ POLICY TARGET "  loadBalancer:\n    slowStart: {window: 10ms}\n", 7, "spec.loadBalancer.slowStart.window", "must be from 1s to 1h, not 10ms" },
		{ POLICY TARGET "  loadBalancer:\n    slowStart: {window: 10s, aggressionPercent: 9}\n", 7, "spec.loadBalancer.slowStart.aggressionPercent", "must be from 10 to 1000, not 9" },
		{ POLICY TARGET "  loadBalancer:\n    slowStart: {window: 10s, minPercent: 0}\n", 7, "spec.loadBalancer.slowStart.minPercent", "must be from 1 to 100, not 0" },
		{ POLICY TARGET "  loadBalancer:\n    type: Maglev\n    hash: {type: SourceIP}\n    slowStart: {window: 10s}\n", 9, "spec.loadBalancer.slowStart", "is not for type Maglev: keys would move" },
		{ POLICY TARGET "  loadBalancer:\n    preferSameZone: yes please\n", 7, "spec.loadBalancer.preferSameZone", "must be true or false, not yes please" },
		{ POLICY TARGET "  loadBalancer:\n    overprovisioningPercent: 99\n", 7, "spec.loadBalancer.overprovisioningPercent", "must be from 100 to 1000, not 99" },
		{ POLICY TARGET "  loadBalancer:\n    panicPercent: 101\n", 7, "spec.loadBalancer.panicPercent", "must be from 0 to 100, not 101" },
		{ POLICY TARGET "  ejection:\n    jitterPercent: 101\n", 7, "spec.ejection.jitterPercent", "must be from 0 to 100, not 101" },
		{ POLICY TARGET "  loadBalancer:\n    type: Maglev\n", 6, "spec.loadBalancer.hash", "is required for type Maglev: the key that decides" },
		{ POLICY TARGET "  loadBalancer:\n    type: RoundRobin\n    hash: {type: SourceIP}\n", 8, "spec.loadBalancer.hash", "is for type Maglev only" },
		{ POLICY TARGET "  loadBalancer:\n    hash: {type: SourceIP}\n", 7, "spec.loadBalancer.hash", "is for type Maglev only" },
		{ POLICY TARGET "  loadBalancer:\n    type: Maglev\n    hash:\n      name: x\n", 8, "spec.loadBalancer.hash.type", "is required: what the key is: the first value of a header, a cookie, or the address of the caller. A request without it, and a connection without HTTP unless SourceIP, goes to any endpoint" },
		{ POLICY TARGET "  loadBalancer:\n    type: Maglev\n    hash: {type: QueryParam}\n", 8, "spec.loadBalancer.hash.type", "QueryParam is not supported by this release: only Header, Cookie or SourceIP" },
		{ POLICY TARGET "  loadBalancer:\n    type: Maglev\n    hash: {type: Header}\n", 8, "spec.loadBalancer.hash.name", "is required: the name of the header" },
		{ POLICY TARGET "  loadBalancer:\n    type: Maglev\n    hash: {type: Cookie}\n", 8, "spec.loadBalancer.hash.name", "is required: the name of the cookie" },
		{ POLICY TARGET "  loadBalancer:\n    type: Maglev\n    hash: {type: SourceIP, name: x}\n", 8, "spec.loadBalancer.hash.name", "is for types Header and Cookie only" },
		{ POLICY TARGET "  loadBalancer:\n    type: Maglev\n    hash: {type: Header, name: \"a b\"}\n", 8, "spec.loadBalancer.hash.name", "must be letters, digits and !#$%&'*+-.^_`|~, not \"a b\"" },
		{ POLICY TARGET "  loadBalancer:\n    type: Maglev\n    hash: {type: SourceIP, tableSize: 250}\n", 8, "spec.loadBalancer.hash.tableSize", "must be from 251 to 65537, not 250" },
		{ POLICY TARGET "  loadBalancer:\n    type: Maglev\n    hash: {type: SourceIP, tableSize: 1000}\n", 8, "spec.loadBalancer.hash.tableSize", "must be a prime, not 1000" },
		{ POLICY TARGET "  loadBalancer:\n    type: Random\n", 7, "spec.loadBalancer.type", "Random is not supported by this release: only PeakEWMA, LeastRequest, RoundRobin or Maglev" },
		{ POLICY TARGET "  loadBalancer:\n    type: roundrobin\n", 7, "spec.loadBalancer.type", "must be PeakEWMA, LeastRequest, RoundRobin or Maglev, not \"roundrobin\"" },
		{ POLICY TARGET "  healthCheck: {path: /}\n", 6, "spec.healthCheck.type", "is required: HTTP: a GET in HTTP/1.1 is answered with an expected status; TCP: a connection is accepted (for endpoints that speak nothing but HTTP/2, too)" },
		{ POLICY TARGET "  healthCheck: {type: GRPC}\n", 6, "spec.healthCheck.type", "GRPC is not supported by this release: only HTTP or TCP" },
		{ POLICY TARGET "  healthCheck: {type: TCP, path: /}\n", 6, "spec.healthCheck.path", "is for type HTTP only" },
		{ POLICY TARGET "  healthCheck: {type: HTTP, expectedStatuses: [\"299-200\"]}\n", 6, "spec.healthCheck.expectedStatuses[0]", "must be a status like \"200\", or several like \"200-299\", not \"299-200\"" },
		{ POLICY TARGET "  healthCheck: {type: HTTP, expectedStatuses: [\"99\"]}\n", 6, "spec.healthCheck.expectedStatuses[0]", "must be a status like \"200\", or several like \"200-299\", not \"99\"" },
		{ POLICY TARGET "  healthCheck: {type: HTTP, interval: 50ms}\n", 6, "spec.healthCheck.interval", "must be from 100ms to 1h, not 50ms" },
		{ POLICY TARGET "  healthCheck: {type: HTTP, unhealthyThreshold: 61}\n", 6, "spec.healthCheck.unhealthyThreshold", "must be from 1 to 60, not 61" },
		{ POLICY TARGET "  faults: {abort: {status: 204}}\n", 6, "spec.faults.abort.status", "must be from 400 to 599, not 204" },
		{ POLICY TARGET "  faults: {abort: {status: 500, percent: 101}}\n", 6, "spec.faults.abort.percent", "must be from 0 to 100, not 101" },
		{ POLICY TARGET "  faults: {delay: {percent: 5}}\n", 6, "spec.faults.delay.fixed", "is required: so long; access lines of such requests have the flag DI" },
		{ POLICY TARGET "  limits:\n    pending: 5\n", 7, "spec.limits.pending", "there is nothing to wait for without connections or requests" },
		{ POLICY TARGET "  limits:\n    requests: 5\n    pendingTime: 1s\n", 8, "spec.limits.pendingTime", "nobody waits without pending" },
		{ POLICY TARGET "  timeouts:\n    connect: 2\n", 7, "spec.timeouts.connect", DURATION_RULE ", not 2" },
		{ POLICY TARGET "  timeouts:\n    connect: 1.5s\n", 7, "spec.timeouts.connect", DURATION_RULE ", not 1.5s" },
		{ POLICY TARGET "  timeouts:\n    connect: 1m1\n", 7, "spec.timeouts.connect", DURATION_RULE ", not 1m1" },
		{ POLICY TARGET "  timeouts:\n    connect: 0s\n", 7, "spec.timeouts.connect", "must be from 10ms to 10m, not 0s" },
		{ POLICY TARGET "  timeouts:\n    connect: 10m1ms\n", 7, "spec.timeouts.connect", "must be from 10ms to 10m, not 10m1ms" },
		{ POLICY TARGET "  timeouts:\n    response: 24h1s\n", 7, "spec.timeouts.response", "must be from 10ms to 24h, not 24h1s" },
		{ POLICY TARGET "  timeouts:\n    stall: 9ms\n", 7, "spec.timeouts.stall", "must be from 10ms to 24h, not 9ms" },
		{ POLICY TARGET "  timeouts:\n    tcpIdle: 99999h\n", 7, "spec.timeouts.tcpIdle", "must be from 10ms to 168h, not 99999h" },
		{ POLICY TARGET "  timeouts:\n    idle: 1s\n", 7, "spec.timeouts.idle", "unknown field (did you mean tcpIdle?)" },
		{ POLICY TARGET "  limits:\n    connections: 0\n", 7, "spec.limits.connections", "must be from 1 to 1000000, not 0" },
		{ POLICY TARGET "  limits:\n    requests: 1000001\n", 7, "spec.limits.requests", "must be from 1 to 1000000, not 1000001" },
		{ POLICY TARGET "  ejection:\n    consecutiveFailures: 256\n", 7, "spec.ejection.consecutiveFailures", "must be from 0 to 255, not 256" },
		{ POLICY TARGET "  ejection:\n    maxPercent: 0\n", 7, "spec.ejection.maxPercent", "must be from 1 to 100, not 0" },
		{ POLICY TARGET "  ejection:\n    baseTime: 2s\n    maxTime: 1s\n", 8, "spec.ejection.maxTime", "must be at least baseTime, 2s" },
		{ POLICY TARGET "  ejection:\n    baseTime: 2h\n", 7, "spec.ejection.baseTime", "must be from 10ms to 1h, not 2h" },
		{ POLICY TARGET "  retries: 3\n", 6, "spec.retries", "must be a mapping of fields, not 3" },
		{ RETRIES "    on: reset\n", 7, "spec.retries.on", "must be a list, not reset" },
		{ RETRIES "    on: [never]\n", 7, "spec.retries.on[0]", "must be connect-failure, refused-stream, reset, gateway-error, 5xx, retriable-status-codes, cancelled, deadline-exceeded, resource-exhausted, internal or unavailable, not \"never\"" },
		{ RETRIES "    attempts: 2\n", 7, "spec.retries.attempts", "has no effect without on, which says what is tried again" },
		{ RETRIES "    backoff: {base: 1s}\n", 7, "spec.retries.backoff", "has no effect without on, which says what is tried again" },
		{ RETRIES "    statusCodes: [503]\n", 7, "spec.retries.statusCodes", "has no effect without on, which says what is tried again" },
		{ RETRIES "    on: [reset]\n    statusCodes: [503]\n", 8, "spec.retries.statusCodes", "has no effect without retriable-status-codes in on" },
		{ RETRIES "    on: [retriable-status-codes]\n", 6, "spec.retries.statusCodes", "is required with retriable-status-codes" },
		{ RETRIES "    on: [5xx]\n    statusCodes: [200]\n", 8, "spec.retries.statusCodes[0]", "must be from 400 to 599, not 200" },
		{ RETRIES "    on: [5xx]\n    attempts: 0\n", 8, "spec.retries.attempts", "must be from 1 to 100, not 0" },
		{ RETRIES "    on: [5xx]\n    perTryTimeout: 0s\n", 8, "spec.retries.perTryTimeout", "must be from 1ms to 24h, not 0s" },
		{ RETRIES "    on: [5xx]\n    backoff: {base: 2s, max: 1s}\n", 8, "spec.retries.backoff.max", "must be at least base, 2s" },
		{ RETRIES "    budget: {percent: 101}\n", 7, "spec.retries.budget.percent", "must be from 0 to 100, not 101" },
		{ RETRIES "    budget: {interval: 999ms}\n", 7, "spec.retries.budget.interval", "must be from 1s to 1h, not 999ms" },
		{ RETRIES "    budget: {minRetryRate: {count: 0}}\n", 7, "spec.retries.budget.minRetryRate.count", "must be from 1 to 1000000, not 0" },

		/* XBackendTrafficPolicy */
		{ XPOLICY "  retryConstraint: {}\n", 4, "spec.targetRefs", "is required: the Services it is about, of its own namespace" },
		{ XPOLICY "  targetRefs:\n  - {group: \"\", kind: Service, name: web, sectionName: a}\n", 6, "spec.targetRefs[0].sectionName", "unknown field" },
		{ XPOLICY "  targetRefs:\n  - {group: \"\", kind: Service, name: web}\n  - {group: \"\", kind: Service, name: web}\n", 7, "spec.targetRefs[1]", "is the same as targetRefs[0]" },
		{ XPOLICY TARGET "  sessionPersistence: {type: Cookie}\n", 6, "spec.sessionPersistence", NOT_YET " (keeps a caller at one endpoint)" },
		{ XPOLICY TARGET "  retryConstraint: {budget: {percent: -1}}\n", 6, "spec.retryConstraint.budget.percent", "must be from 0 to 100, not -1" },
		{ XPOLICY TARGET "  retryConstraint: {budget: {interval: 2h}}\n", 6, "spec.retryConstraint.budget.interval", "must be from 1s to 1h, not 2h" },
		{ XPOLICY TARGET "  retryConstraint: {minRetryRate: {interval: 0s}}\n", 6, "spec.retryConstraint.minRetryRate.interval", "must be from 1s to 1h, not 0s" },

		/* Namespace */
		{ NAMESPACE "  namespace: x\n", 5, "metadata.namespace", "a Namespace is in no namespace: leave it out" },
		{ NAMESPACE "  labels:\n    nodeproxy.io/mtls: strict\n", 6, "metadata.labels[nodeproxy.io/mtls]", NOT_YET },
		{ NAMESPACE "  labels:\n    nodeproxy.io/unknown-destination: refuse\n", 6, "metadata.labels[nodeproxy.io/unknown-destination]", "must be pass or deny, not \"refuse\"" },
		{ NAMESPACE "  labels:\n    nodeproxy.io/when-away: \"\"\n", 6, "metadata.labels[nodeproxy.io/when-away]", "must be open or closed, not \"\"" },
		{ NAMESPACE "  labels:\n    a: b\n    nodeproxy.io/same-host: DIRECT\n", 7, "metadata.labels[nodeproxy.io/same-host]", "must be direct or veth, not \"DIRECT\"" },
		{ NAMESPACE "  labels:\n    nodeproxy.io/source-address: mine\n", 6, "metadata.labels[nodeproxy.io/source-address]", "must be preserve, proxy-protocol or own, not \"mine\"" },
		{ META "  name: a\n  labels:\n    nodeproxy.io/when-away: open\n", 7, "metadata.labels[nodeproxy.io/when-away]", "is for Namespaces only" },
		{ NAMESPACE "  annotations:\n    nodeproxy.io/when-away: open\n", 6, "metadata.annotations[nodeproxy.io/when-away]", "unknown annotation of nodeproxy.io" },
		{ NAMESPACE "data: {}\n", 5, "data", "unknown field" },
		{ NAMESPACE "spec: {finalizer: []}\n", 5, "spec.finalizer", "unknown field (did you mean finalizers?)" },

		/* Tenant */
		{ TENANT "  weight: 1\n", 4, "spec.namespaces", "is required: the namespaces of the tenant; a namespace is in one tenant only" },
		{ TENANT "  namespaces: []\n", 5, "spec.namespaces", "must have at least 1 entry" },
		{ TENANT "  namespaces: shop\n", 5, "spec.namespaces", "must be a list, not shop" },
		{ TENANT "  namespaces:\n  - a\n  - B\n", 7, "spec.namespaces[1]", DNS_RULE ", not \"B\"" },
		{ TENANT "  namespaces:\n  - a\n  - b\n  - a\n", 8, "spec.namespaces[2]", "a is there twice" },
		{ TENANT "  namespaces:\n  - \"\"\n", 6, "spec.namespaces[0]", "must not be empty" },
		{ TENANT "  namespaces: [a]\n  weight: 0\n", 6, "spec.weight", "must be from 1 to 1000, not 0" },
		{ TENANT "  namespaces: [a]\n  weight: 1001\n", 6, "spec.weight", "must be from 1 to 1000, not 1001" },
		{ TENANT "  namespaces: [a]\n  weight: \"5\"\n", 6, "spec.weight", "must be a whole number, not 5" },
		{ TENANT "  namespaces: [a]\n  quotas:\n    memory: lots\n", 7, "spec.quotas.memory", "must be a quantity like 64Mi or 1G, not lots" },
		{ TENANT "  namespaces: [a]\n  quotas:\n    memory: 1Ki\n", 7, "spec.quotas.memory", "must be from 65536 to 1099511627776 bytes, not 1Ki" },
		{ TENANT "  namespaces: [a]\n  quotas:\n    connections: 0\n", 7, "spec.quotas.connections", "must be from 1 to 1000000, not 0" },
		{ TENANT "  namespaces: [a]\n  quotas:\n    requests: 1000001\n", 7, "spec.quotas.requests", "must be from 1 to 1000000, not 1000001" },
		{ TENANT "  namespaces: [a]\n  quotas:\n    cpu: 1\n", 7, "spec.quotas.cpu", "unknown field" },
		{ "apiVersion: nodeproxy.io/v1alpha1\nkind: Tenant\nmetadata: {name: t, namespace: a}\nspec: {namespaces: [a]}\n", 3, "metadata.namespace", "a Tenant is in no namespace: leave it out" },

		/* Workload */
		{ WORKLOAD "  serviceAccount: a\n", 4, "spec", "must have either networkNamespace or uid" },
		{ WORKLOAD "  networkNamespace: /a\n  uid: 7\n", 4, "spec", "must have either networkNamespace or uid" },
		{ WORKLOAD "  uid: 0\n", 5, "spec.uid", "must be from 1 to 4294967294, not 0" },
		{ WORKLOAD "  uid: 4294967295\n", 5, "spec.uid", "must be from 1 to 4294967294, not 4294967295" },
		{ "apiVersion: nodeproxy.io/v1alpha1\nkind: Workload\nmetadata:\n  name: w\n  labels:\n    nodeproxy.io/source-address: own\nspec: {uid: 7}\n", 6, "metadata.labels", "of nodeproxy.io are for what comes to a Workload, and of a uid nothing does" },
		{ WORKLOAD "  networkNamespace: netns/web\n", 5, "spec.networkNamespace", "must be an absolute path, in ASCII" },
		{ WORKLOAD "  networkNamespace: /\xc3\xa4\n", 5, "spec.networkNamespace", "must be an absolute path, in ASCII" },
		{ WORKLOAD "  networkNamespace: /a\n  serviceAccount: A\n", 6, "spec.serviceAccount", "must be lower-case letters, digits, - and ., each part starting and ending with a letter or digit, not \"A\"" },
		{ WORKLOAD "  networkNamespace: /a\n  node: \"\"\n", 6, "spec.node", "must not be empty" },
		{ WORKLOAD "  networkNamespace: /a\n  addresses: [10.0.0.300]\n", 6, "spec.addresses[0]", "must be an IPv4 or IPv6 address, not \"10.0.0.300\"" },
		{ "apiVersion: nodeproxy.io/v1alpha1\nkind: Workload\nmetadata:\n  name: w\n  labels: {nodeproxy.io/when-away: open}\nspec: {networkNamespace: /a}\n", 5, "metadata.labels[nodeproxy.io/when-away]", "is for Namespaces only" },
		{ "apiVersion: nodeproxy.io/v1alpha1\nkind: Workload\nmetadata:\n  name: w\n  labels: {nodeproxy.io/source-address: theirs}\nspec: {networkNamespace: /a}\n", 5, "metadata.labels[nodeproxy.io/source-address]", "must be preserve, proxy-protocol or own, not \"theirs\"" },
		{ WORKLOAD "  networkNamespace: /a\n  resolvers: [10.0.0.53, a]\n", 6, "spec.resolvers", "must be addresses that mean the same inside its network namespace, and a is none" },
		{ WORKLOAD "  networkNamespace: /a\n  resolvers: [169.254.169.253, 127.0.0.53]\n", 6, "spec.resolvers", "must be addresses that mean the same inside its network namespace, and 127.0.0.53 is none" },
		{ WORKLOAD "  networkNamespace: /a\n  resolvers: [10.0.0.1, 10.0.0.2, 10.0.0.3, 10.0.0.4]\n", 6, "spec.resolvers", "must have at most 3 entries, not 4" },
		{ WORKLOAD "  uid: 7\n  resolvers: [10.0.0.1]\n", 6, "spec.resolvers", "are of no use to processes of a uid: names are not answered to them" },
		{ WORKLOAD "  networkNamespace: /a\n  pid: 1\n", 6, "spec.pid", "unknown field (did you mean uid?)" },
		{ "apiVersion: nodeproxy.io/v1alpha1\nkind: Workload\nmetadata: {name: " NAME_64 "}\nspec: {networkNamespace: /a}\n", 3, "metadata.name", "must be at most 63 bytes: it is the name of a pod" },
		{ "apiVersion: nodeproxy.io/v1alpha1\nkind: Workload\nspec: {networkNamespace: /a}\nmetadata:\n  name: w\n  labels:\n"
		  "    " LABEL_60 "a: " LABEL_60 "\n    " LABEL_60 "b: " LABEL_60 "\n    a: x1234567\n", 9, "metadata.labels", "must be at most 255 bytes when they are written as key=value with commas between them" },

		/* Service */
		{ "apiVersion: v1\nkind: Service\nmetadata: {name: web}\n", 1, "spec", "is required" },
		{ SERVICE "  selector: {a: b}\n", 4, "spec.ports", "is required unless clusterIP is None" },
		{ SERVICE "  ports: []\n", 4, "spec.ports", "is required unless clusterIP is None" },
		{ SERVICE "  port: 80\n", 5, "spec.port", "unknown field (did you mean ports?)" },
		{ SERVICE "  ports: [80]\n", 5, "spec.ports[0]", "must be a mapping of fields, not 80" },
		{ SERVICE "  ports:\n  - {name: a}\n", 6, "spec.ports[0].port", "is required: the port that callers use" },
		{ SERVICE "  ports:\n  - {port: 0}\n", 6, "spec.ports[0].port", "must be from 1 to 65535, not 0" },
		{ SERVICE "  ports:\n  - {port: 65536}\n", 6, "spec.ports[0].port", "must be from 1 to 65535, not 65536" },
		{ SERVICE "  ports:\n  - {port: http}\n", 6, "spec.ports[0].port", "must be a whole number, not http" },
		{ SERVICE PORTS "  - {port: 81}\n", 7, "spec.ports[1].name", "is required when there is more than one port" },
		{ SERVICE PORTS "  - {name: a, port: 81}\n", 7, "spec.ports[1].name", "a is the name of ports[0] already" },
		{ SERVICE PORTS "  - {name: b, port: 80}\n", 7, "spec.ports[1].port", "80 is the port of ports[0] already" },
		{ SERVICE "  ports:\n  - {port: 80, protocol: tcp}\n", 6, "spec.ports[0].protocol", "must be TCP, UDP or SCTP, not \"tcp\"" },
		{ SERVICE "  ports:\n  - {port: 80, name: A}\n", 6, "spec.ports[0].name", DNS_RULE ", not \"A\"" },
		{ SERVICE "  ports:\n  - {port: 80, targetPort: 0}\n", 6, "spec.ports[0].targetPort", "must be a port from 1 to 65535, or the name of one (at most 15 lower-case letters, digits and -), not 0" },
		{ SERVICE "  ports:\n  - {port: 80, appProtocol: \"a b\"}\n", 6, "spec.ports[0].appProtocol", "must be a name of letters, digits, -, _ and ., perhaps with a DNS name and / before, not \"a b\"" },
		{ SERVICE PORTS "  clusterIP: 10.0.0.256\n", 7, "spec.clusterIP", "must be an IPv4 or IPv6 address, not \"10.0.0.256\"" },
		{ SERVICE PORTS "  clusterIP: 0.0.0.0\n", 7, "spec.clusterIP", "must not be the unspecified address, not \"0.0.0.0\"" },
		{ SERVICE PORTS "  clusterIP: 224.0.0.1\n", 7, "spec.clusterIP", "must not be a multicast or reserved address, not \"224.0.0.1\"" },
		{ SERVICE PORTS "  clusterIP: 10.0.0.1\n  clusterIPs: [10.0.0.2]\n", 8, "spec.clusterIPs[0]", "must be equal to spec.clusterIP" },
		{ SERVICE PORTS "  clusterIPs: [10.0.0.1, 10.0.0.2]\n", 7, "spec.clusterIPs[1]", "must be of another family than the first (one IPv4, one IPv6)" },
		{ SERVICE PORTS "  clusterIPs: [None, 10.0.0.2]\n", 7, "spec.clusterIPs", "None must be the only entry" },
		{ SERVICE PORTS "  clusterIPs: [10.0.0.2, None]\n", 7, "spec.clusterIPs[1]", "must be an address" },
		{ SERVICE PORTS "  clusterIPs: [a, b, c]\n", 7, "spec.clusterIPs", "must have at most 2 entries, not 3" },
		{ SERVICE PORTS "  type: ExternalName\n", 7, "spec.type", "ExternalName is not supported by this release: only ClusterIP, NodePort or LoadBalancer" },
		{ SERVICE PORTS "  type: Cluster\n", 7, "spec.type", "must be ClusterIP, NodePort or LoadBalancer, not \"Cluster\"" },
		{ SERVICE PORTS "  clusterIP: None\n  type: NodePort\n", 8, "spec.type", "must be ClusterIP when clusterIP is None" },
		{ SERVICE PORTS "  externalName: a.b\n", 7, "spec.externalName", NOT_YET " (an alias for a DNS name)" },
		{ SERVICE PORTS "  sessionAffinity: ClientIP\n", 7, "spec.sessionAffinity", "ClientIP is not supported by this release: only None" },
		{ SERVICE PORTS "  sessionAffinityConfig: {clientIP: {timeoutSeconds: 5}}\n", 7, "spec.sessionAffinityConfig", NOT_YET " (details of sessionAffinity: ClientIP)" },
		{ SERVICE PORTS "  internalTrafficPolicy: Local\n", 7, "spec.internalTrafficPolicy", "Local is not supported by this release: only Cluster" },
		{ SERVICE PORTS "  trafficDistribution: PreferClose\n", 7, "spec.trafficDistribution", NOT_YET " (a preference for near endpoints)" },
		{ SERVICE PORTS "  externalIPs: [1.2.3.4]\n", 7, "spec.externalIPs", NOT_YET " (further addresses)" },
		{ SERVICE PORTS "  publishNotReadyAddresses: 1\n", 7, "spec.publishNotReadyAddresses", "must be true or false, not 1" },
		{ SERVICE PORTS "  ipFamilies: [IPv5]\n", 7, "spec.ipFamilies[0]", "must be IPv4 or IPv6, not \"IPv5\"" },

		/* EndpointSlice */
		{ "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: s\naddressType: IPv4\n", 3, "metadata.labels[kubernetes.io/service-name]", "is required: the name of the Service whose endpoints these are" },
		{ "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata:\n  name: s\n  labels:\n    kubernetes.io/service-name: A.b\naddressType: IPv4\n", 6, "metadata.labels[kubernetes.io/service-name]", "must be the name of a Service, not \"A.b\"" },
		{ "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s}\n", 1, "addressType", "is required: family of all its addresses" },
		{ "apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\nmetadata: {name: s}\naddressType: FQDN\n", 4, "addressType", "FQDN is not supported by this release: only IPv4 or IPv6" },
		{ SLICE_TOP "endpoints:\n- {}\n", 6, "endpoints[0].addresses", "is required: its address; further ones are the same endpoint and are not used" },
		{ SLICE_TOP "endpoints:\n- addresses: []\n", 6, "endpoints[0].addresses", "must have at least 1 entry" },
		{ SLICE_TOP "endpoints:\n- addresses: [a.example]\n", 6, "endpoints[0].addresses[0]", "must be an IPv4 or IPv6 address, not \"a.example\"" },
		{ SLICE_TOP "endpoints:\n- addresses: [\"::1\"]\n", 6, "endpoints[0].addresses[0]", "must be an IPv4 address, as addressType says, not \"::1\"" },
		{ SLICE_TOP "endpoints:\n- addresses: [10.0.0.1]\n- addresses: [169.254.169.254]\n", 7, "endpoints[1].addresses[0]", "must not be a link-local address, not \"169.254.169.254\"" },
		{ SLICE_TOP "endpoints:\n- addresses: [0.0.0.0]\n", 6, "endpoints[0].addresses[0]", "must not be the unspecified address, not \"0.0.0.0\"" },
		{ SLICE_TOP "endpoints:\n- addresses: [255.255.255.255]\n", 6, "endpoints[0].addresses[0]", "must not be a multicast or reserved address, not \"255.255.255.255\"" },
		{ SLICE_TOP "endpoints:\n- addresses: [\"::ffff:10.0.0.1\"]\n", 6, "endpoints[0].addresses[0]", "must not be an IPv4 address written as IPv6, not \"::ffff:10.0.0.1\"" },
		{ SLICE_TOP "endpoints:\n- addresses: [10.0.0.1]\n  conditions: {ready: maybe}\n", 7, "endpoints[0].conditions.ready", "must be true or false, not maybe" },
		{ SLICE_TOP "endpoints:\n- adresses: [10.0.0.1]\n", 6, "endpoints[0].adresses", "unknown field (did you mean addresses?)" },
		{ SLICE_TOP "ports:\n- {name: a}\n", 6, "ports[0].port", "is required: the port at the endpoint" },
		{ SLICE_TOP "ports:\n- {name: a, port: 1}\n- {name: a, port: 2}\n", 7, "ports[1].name", "a is the name of ports[0] already" },
		{ SLICE_TOP "ports:\n- {port: 1}\n- {port: 2}\n", 7, "ports[1].name", "is required, as ports[0] has none" },
		{ SLICE_TOP "spec: {}\n", 5, "spec", "unknown field" },

		/* HTTPRoute */
		{ ROUTE "  parentRefs: [{name: web}]\n", 5, "spec.parentRefs[0].group", "is required: must be \"\", the group of Service" },
		{ ROUTE "  parentRefs: [{group: \"\", name: web}]\n", 5, "spec.parentRefs[0].kind", "is required: must be Service" },
		{ ROUTE "  parentRefs: [{group: gateway.networking.k8s.io, kind: Gateway, name: web}]\n", 5, "spec.parentRefs[0].kind", "Gateway is not supported by this release: only Service" },
		{ ROUTE "  parentRefs: [{group: core, kind: Service, name: web}]\n", 5, "spec.parentRefs[0].group", "must be \"\", the group of Service, not \"core\"" },
		{ ROUTE "  parentRefs: [{group: \"\", kind: Service}]\n", 5, "spec.parentRefs[0].name", "is required: name of the Service" },
		{ ROUTE "  parentRefs:\n  - {group: \"\", kind: Service, name: web}\n  - {group: \"\", kind: Service, name: web}\n", 7, "spec.parentRefs[1]", "names shop/web as parentRefs[0] does: both need a port or a sectionName" },
		{ ROUTE "  parentRefs:\n  - {group: \"\", kind: Service, name: web, port: 80}\n  - {group: \"\", kind: Service, name: web, namespace: shop, port: 80}\n", 7, "spec.parentRefs[1]", "is the same as parentRefs[0]" },
		{ ROUTE PARENT "  rules: []\n", 6, "spec.rules", "must have at least 1 entry" },
		{ RULES "  - filters: [{}]\n", 7, "spec.rules[0].filters[0].type", "is required: which one; the field of the same name says the rest. Each at most once in a list, but for RequestMirror" },
		{ RULES "  - filters: [{type: ExtensionRef}]\n", 7, "spec.rules[0].filters[0].type", "ExtensionRef is not supported by this release: only " FILTERS_SERVED },
		{ RULES "  - filters: [{type: Teapot}]\n", 7, "spec.rules[0].filters[0].type", "must be " FILTERS_SERVED ", not \"Teapot\"" },
		{ RULES "  - filters: [{type: RequestHeaderModifier, extensionRef: {name: a}}]\n", 7, "spec.rules[0].filters[0].extensionRef", NOT_YET " (a filter of another kind of resource)" },
		{ RULES "  - filters: [{type: RequestHeaderModifier}]\n", 7, "spec.rules[0].filters[0].requestHeaderModifier", "is required with type RequestHeaderModifier" },
		{ RULES "  - filters: [{type: RequestHeaderModifier, requestHeaderModifier: {}, responseHeaderModifier: {}}]\n", 7, "spec.rules[0].filters[0].responseHeaderModifier", "is for type ResponseHeaderModifier, and this filter is a RequestHeaderModifier" },
		{ RULES "  - filters:\n    - " REQUEST "{}}\n    - " REQUEST "{}}\n", 9, "spec.rules[0].filters[1].type", "a second RequestHeaderModifier: one is all that is allowed" },
		{ RULES "  - filters:\n    - " REQUEST "{set: [{name: Host, value: a}]}}\n", 8, "spec.rules[0].filters[0].requestHeaderModifier.set[0].name", "the host is changed by a URLRewrite filter, not as a header" },
		{ RULES "  - filters:\n    - " REQUEST "{add: [{name: Content-Length, value: \"1\"}]}}\n", 8, "spec.rules[0].filters[0].requestHeaderModifier.add[0].name", "the framing of bodies cannot be changed" },
		{ RULES "  - filters:\n    - " REQUEST "{remove: [a, TE]}}\n", 8, "spec.rules[0].filters[0].requestHeaderModifier.remove[1]", "is about a single connection, which nodeproxy keeps itself" },
		{ RULES "  - filters:\n    - " REQUEST "{remove: [\"\"]}}\n", 8, "spec.rules[0].filters[0].requestHeaderModifier.remove[0]", "must not be empty, not \"\"" },
		{ RULES "  - filters:\n    - " REQUEST "{set: [{name: \":path\", value: a}]}}\n", 8, "spec.rules[0].filters[0].requestHeaderModifier.set[0].name", "must be a header name: letters, digits and !#$%&'*+-.^_`|~, not \":path\"" },
		{ RULES "  - filters:\n    - " REQUEST "{set: [{name: a, value: \"b\\r\\nc: d\"}]}}\n", 8, "spec.rules[0].filters[0].requestHeaderModifier.set[0].value", "must not have control characters, not \"b??c: d\"" },
		{ RULES "  - filters:\n    - " REQUEST "{set: [{name: a, value: \" b\"}]}}\n", 8, "spec.rules[0].filters[0].requestHeaderModifier.set[0].value", "must not begin or end with a blank, not \" b\"" },
		{ RULES "  - filters:\n    - " REQUEST "{set: [{name: a, value: \"\"}]}}\n", 8, "spec.rules[0].filters[0].requestHeaderModifier.set[0].value", "must not be empty" },
		{ RULES "  - filters:\n    - " REQUEST "{set: [{name: a}]}}\n", 8, "spec.rules[0].filters[0].requestHeaderModifier.set[0].value", "is required: its value; all of a filter at most 16384 bytes together" },
		{ RULES "  - filters:\n    - " REQUEST "{set: [{name: a, value: b}], add: [{name: A, value: c}]}}\n", 8, "spec.rules[0].filters[0].requestHeaderModifier.add[0].name", "A is changed twice by this filter" },
		{ RULES "  - filters:\n    - " REQUEST "{add: [{name: a, value: b}], remove: [a]}}\n", 8, "spec.rules[0].filters[0].requestHeaderModifier.remove[0]", "a is changed twice by this filter" },
		{ RULES "  - filters:\n    - " REDIRECT "{scheme: ftp}}\n", 8, "spec.rules[0].filters[0].requestRedirect.scheme", "must be http or https, not \"ftp\"" },
		{ RULES "  - filters:\n    - " REDIRECT "{hostname: A.b}}\n", 8, "spec.rules[0].filters[0].requestRedirect.hostname", "must be lower-case letters, digits, - and ., each part starting and ending with a letter or digit, not \"A.b\"" },
		{ RULES "  - filters:\n    - " REDIRECT "{hostname: \"*.b\"}}\n", 8, "spec.rules[0].filters[0].requestRedirect.hostname", "must be lower-case letters, digits, - and ., each part starting and ending with a letter or digit, not \"*.b\"" },
		{ RULES "  - filters:\n    - " REDIRECT "{hostname: \"\"}}\n", 8, "spec.rules[0].filters[0].requestRedirect.hostname", "must not be empty" },
		{ RULES "  - filters:\n    - " REDIRECT "{port: 0}}\n", 8, "spec.rules[0].filters[0].requestRedirect.port", "must be from 1 to 65535, not 0" },
		{ RULES "  - filters:\n    - " REDIRECT "{statusCode: 304}}\n", 8, "spec.rules[0].filters[0].requestRedirect.statusCode", "must be 301, 302, 303, 307 or 308, not 304" },
		{ RULES "  - filters:\n    - " REDIRECT "{statusCode: 200}}\n", 8, "spec.rules[0].filters[0].requestRedirect.statusCode", "must be from 301 to 308, not 200" },
		{ RULES "  - filters:\n    - " REDIRECT "{path: {}}}\n", 8, "spec.rules[0].filters[0].requestRedirect.path.type", "is required: ReplacePrefixMatch: the rule must have exactly one match, a PathPrefix, whose elements are replaced" },
		{ RULES "  - filters:\n    - " REDIRECT "{path: {type: Regex}}}\n", 8, "spec.rules[0].filters[0].requestRedirect.path.type", "must be ReplaceFullPath or ReplacePrefixMatch, not \"Regex\"" },
		{ RULES "  - filters:\n    - " REDIRECT "{path: {type: ReplaceFullPath}}}\n", 8, "spec.rules[0].filters[0].requestRedirect.path.replaceFullPath", "is required with type ReplaceFullPath" },
		{ RULES "  - filters:\n    - " REDIRECT "{path: {type: ReplaceFullPath, replaceFullPath: /a, replacePrefixMatch: /b}}}\n", 8, "spec.rules[0].filters[0].requestRedirect.path.replacePrefixMatch", "is for type ReplacePrefixMatch" },
		{ RULES "  - filters:\n    - " REWRITE "{path: {type: ReplacePrefixMatch}}}\n", 8, "spec.rules[0].filters[0].urlRewrite.path.replacePrefixMatch", "is required with type ReplacePrefixMatch" },
		{ RULES "  - filters:\n    - " REWRITE "{path: {type: ReplacePrefixMatch, replaceFullPath: /a, replacePrefixMatch: /b}}}\n", 8, "spec.rules[0].filters[0].urlRewrite.path.replaceFullPath", "is for type ReplaceFullPath" },
		{ RULES "  - filters:\n    - " REWRITE "{path: {type: ReplaceFullPath, replaceFullPath: \"/a b\"}}}\n", 8, "spec.rules[0].filters[0].urlRewrite.path.replaceFullPath", "has a character that must be percent-encoded in a path, not \"/a b\"" },
		{ RULES "  - filters:\n    - " REWRITE "{path: {type: ReplaceFullPath, replaceFullPath: a}}}\n", 8, "spec.rules[0].filters[0].urlRewrite.path.replaceFullPath", "must start with /, not \"a\"" },
		{ RULES "  - filters:\n    - " REWRITE "{path: {type: ReplaceFullPath, replaceFullPath: //a}}}\n", 8, "spec.rules[0].filters[0].urlRewrite.path.replaceFullPath", "must not contain //, not \"//a\"" },
		{ RULES "  - matches: [{path: {value: /a}}, {path: {value: /b}}]\n    filters:\n    - " REWRITE "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /c}}}\n", 9, "spec.rules[0].filters[0].urlRewrite.path.type", "ReplacePrefixMatch needs exactly one match in the rule, a PathPrefix" },
		{ RULES "  - matches: [{path: {value: /a, type: Exact}}]\n    filters:\n    - " REDIRECT "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /c}}}\n", 9, "spec.rules[0].filters[0].requestRedirect.path.type", "ReplacePrefixMatch needs exactly one match in the rule, a PathPrefix" },
		{ RULES "  - matches: [{path: {value: /a, type: Exact}}]\n    backendRefs:\n    - name: a\n      port: 1\n      filters:\n      - " REWRITE "{path: {type: ReplacePrefixMatch, replacePrefixMatch: /c}}}\n", 12, "spec.rules[0].backendRefs[0].filters[0].urlRewrite.path.type", "ReplacePrefixMatch needs exactly one match in the rule, a PathPrefix" },
		{ RULES "  - filters:\n    - " REWRITE "{}}\n    - " REDIRECT "{}}\n", 9, "spec.rules[0].filters[1].type", "RequestRedirect and URLRewrite exclude each other" },
		{ RULES "  - filters:\n    - " REDIRECT "{}}\n    backendRefs: [{name: a, port: 1}]\n", 8, "spec.rules[0].filters[0].type", "RequestRedirect is for rules without backendRefs" },
		{ RULES "  - filters:\n    - " REWRITE "{}}\n    backendRefs:\n    - {name: a, port: 1, filters: [" REWRITE "{}}]}\n", 10, "spec.rules[0].backendRefs[0].filters[0].type", "the rule itself has a URLRewrite already" },
		{ RULES "  - filters:\n    - " CORS "{allowOrigins: [\"a.example\"]}}\n", 8, "spec.rules[0].filters[0].cors.allowOrigins[0]", ORIGIN_RULE ", not \"a.example\"" },
		{ RULES "  - filters:\n    - " CORS "{allowOrigins: [\"ftp://a\"]}}\n", 8, "spec.rules[0].filters[0].cors.allowOrigins[0]", ORIGIN_RULE ", not \"ftp://a\"" },
		{ RULES "  - filters:\n    - " CORS "{allowOrigins: [\"https://\"]}}\n", 8, "spec.rules[0].filters[0].cors.allowOrigins[0]", ORIGIN_RULE ", not \"https://\"" },
		{ RULES "  - filters:\n    - " CORS "{allowOrigins: [\"https://a/\"]}}\n", 8, "spec.rules[0].filters[0].cors.allowOrigins[0]", ORIGIN_RULE ", not \"https://a/\"" },
		{ RULES "  - filters:\n    - " CORS "{allowOrigins: [\"https://a:0\"]}}\n", 8, "spec.rules[0].filters[0].cors.allowOrigins[0]", ORIGIN_RULE ", not \"https://a:0\"" },
		{ RULES "  - filters:\n    - " CORS "{allowOrigins: [\"https://a:65536\"]}}\n", 8, "spec.rules[0].filters[0].cors.allowOrigins[0]", ORIGIN_RULE ", not \"https://a:65536\"" },
		{ RULES "  - filters:\n    - " CORS "{allowOrigins: [\"https://a..b\"]}}\n", 8, "spec.rules[0].filters[0].cors.allowOrigins[0]", ORIGIN_RULE ", not \"https://a..b\"" },
		{ RULES "  - filters:\n    - " CORS "{allowOrigins: [\"https://*a\"]}}\n", 8, "spec.rules[0].filters[0].cors.allowOrigins[0]", ORIGIN_RULE ", not \"https://*a\"" },
		{ RULES "  - filters:\n    - " CORS "{allowOrigins: [\"https://a.*\"]}}\n", 8, "spec.rules[0].filters[0].cors.allowOrigins[0]", ORIGIN_RULE ", not \"https://a.*\"" },
		{ RULES "  - filters:\n    - " CORS "{allowOrigins: [\"https://.a\"]}}\n", 8, "spec.rules[0].filters[0].cors.allowOrigins[0]", ORIGIN_RULE ", not \"https://.a\"" },
		{ RULES "  - filters:\n    - " CORS "{allowOrigins: [\"https://a:\"]}}\n", 8, "spec.rules[0].filters[0].cors.allowOrigins[0]", ORIGIN_RULE ", not \"https://a:\"" },
		{ RULES "  - filters:\n    - " CORS "{allowOrigins: [\"https://a@b\"]}}\n", 8, "spec.rules[0].filters[0].cors.allowOrigins[0]", ORIGIN_RULE ", not \"https://a@b\"" },
		{ RULES "  - filters:\n    - " CORS "{allowOrigins: [\"*\", https://a]}}\n", 8, "spec.rules[0].filters[0].cors.allowOrigins[0]", "* stands for all: nothing may stand beside it" },
		{ RULES "  - filters:\n    - " CORS "{allowOrigins: [https://a, https://a]}}\n", 8, "spec.rules[0].filters[0].cors.allowOrigins[1]", "is the same as allowOrigins[0]" },
		{ RULES "  - filters:\n    - " CORS "{allowMethods: [GET, \"*\"]}}\n", 8, "spec.rules[0].filters[0].cors.allowMethods[1]", "* stands for all: nothing may stand beside it" },
		{ RULES "  - filters:\n    - " CORS "{allowMethods: [get]}}\n", 8, "spec.rules[0].filters[0].cors.allowMethods[0]", "must be GET, HEAD, POST, PUT, DELETE, CONNECT, OPTIONS, TRACE, PATCH or *, not \"get\"" },
		{ RULES "  - filters:\n    - " CORS "{allowHeaders: [a, \"*\"]}}\n", 8, "spec.rules[0].filters[0].cors.allowHeaders[1]", "* stands for all: nothing may stand beside it" },
		{ RULES "  - filters:\n    - " CORS "{exposeHeaders: [a, A]}}\n", 8, "spec.rules[0].filters[0].cors.exposeHeaders[1]", "is the same as exposeHeaders[0]" },
		{ RULES "  - filters:\n    - " CORS "{maxAge: 0}}\n", 8, "spec.rules[0].filters[0].cors.maxAge", "must be from 1 to 2147483647, not 0" },
		{ RULES "  - filters:\n    - " CORS "{allowCredentials: 1}}\n", 8, "spec.rules[0].filters[0].cors.allowCredentials", "must be true or false, not 1" },
		{ RULES "  - backendRefs:\n    - {name: a, port: 1, filters: [" CORS "{}}]}\n", 8, "spec.rules[0].backendRefs[0].filters[0].type", "CORS is for rules, not for one back end: a preflight goes to none" },
		{ RULES "  - filters:\n    - " MIRROR "{}}\n", 8, "spec.rules[0].filters[0].requestMirror.backendRef", "is required: the Service that gets the copies" },
		{ RULES "  - filters:\n    - " MIRROR "{backendRef: {name: a}}}\n", 8, "spec.rules[0].filters[0].requestMirror.backendRef.port", "is required: port of the Service, not of its endpoints" },
		{ RULES "  - filters:\n    - " MIRROR "{backendRef: {name: a, port: 1, weight: 1}}}\n", 8, "spec.rules[0].filters[0].requestMirror.backendRef.weight", "unknown field" },
		{ RULES "  - filters:\n    - " MIRROR "{backendRef: {name: a, port: 1}, percent: 101}}\n", 8, "spec.rules[0].filters[0].requestMirror.percent", "must be from 0 to 100, not 101" },
		{ RULES "  - filters:\n    - " MIRROR "{backendRef: {name: a, port: 1}, percent: 1, fraction: {numerator: 1}}}\n", 8, "spec.rules[0].filters[0].requestMirror.fraction", "is there beside percent: only one of them may be" },
		{ RULES "  - filters:\n    - " MIRROR "{backendRef: {name: a, port: 1}, fraction: {numerator: 101}}}\n", 8, "spec.rules[0].filters[0].requestMirror.fraction.numerator", "must be at most the denominator, 100" },
		{ RULES "  - filters:\n    - " MIRROR "{backendRef: {name: a, port: 1}, fraction: {numerator: 0, denominator: 0}}}\n", 8, "spec.rules[0].filters[0].requestMirror.fraction.denominator", "must be from 1 to 2147483647, not 0" },
		{ RULES "  - filters:\n    - " REQUEST "{sets: []}}\n", 8, "spec.rules[0].filters[0].requestHeaderModifier.sets", "unknown field (did you mean set?)" },
		{ RULES "  - timeouts: {request: 1}\n", 7, "spec.rules[0].timeouts.request", DURATION_RULE ", not 1" },
		{ RULES "  - timeouts: {request: 1h30m10s20ms50h}\n", 7, "spec.rules[0].timeouts.request", DURATION_RULE ", not 1h30m10s20ms50h" },
		{ RULES "  - timeouts: {request: 1s, backendRequest: 1001ms}\n", 7, "spec.rules[0].timeouts.backendRequest", "must be at most request, 1s" },
		{ RULES "  - timeouts: {response: 1s}\n", 7, "spec.rules[0].timeouts.response", "unknown field" },
		{ RULES "  - retry: {attempts: 0}\n", 7, "spec.rules[0].retry.attempts", "must be from 1 to 100, not 0" },
		{ RULES "  - retry: {codes: [500, 399]}\n", 7, "spec.rules[0].retry.codes[1]", "must be from 400 to 599, not 399" },
		{ RULES "  - retry: {codes: [600]}\n", 7, "spec.rules[0].retry.codes[0]", "must be from 400 to 599, not 600" },
		{ RULES "  - retry: {codes: 500}\n", 7, "spec.rules[0].retry.codes", "must be a list, not 500" },
		{ RULES "  - retry: {codes: [\"500\"]}\n", 7, "spec.rules[0].retry.codes[0]", "must be a whole number, not 500" },
		{ RULES "  - retry: {backoff: 2h}\n", 7, "spec.rules[0].retry.backoff", "must be from 0s to 1h, not 2h" },
		{ RULES "  - sessionPersistence: {type: Cookie}\n", 7, "spec.rules[0].sessionPersistence", NOT_YET " (keeps a caller at one endpoint)" },
		{ RULES "  - matches:\n    - path: {type: RegularExpression, value: /a.*}\n", 8, "spec.rules[0].matches[0].path.type", "RegularExpression is not supported by this release: only PathPrefix or Exact" },
		{ RULES "  - matches:\n    - path: {type: Prefix}\n", 8, "spec.rules[0].matches[0].path.type", "must be PathPrefix or Exact, not \"Prefix\"" },
		{ RULES "  - matches:\n    - path: {value: a}\n", 8, "spec.rules[0].matches[0].path.value", "must start with /, not \"a\"" },
		{ RULES "  - matches: [{path: {value: /a//b}}]\n", 7, "spec.rules[0].matches[0].path.value", "must not contain //, not \"/a//b\"" },
		{ RULES "  - matches: [{path: {value: /a/./b}}]\n", 7, "spec.rules[0].matches[0].path.value", "must not contain /./, not \"/a/./b\"" },
		{ RULES "  - matches: [{path: {value: /a/../b}}]\n", 7, "spec.rules[0].matches[0].path.value", "must not contain /../, not \"/a/../b\"" },
		{ RULES "  - matches: [{path: {value: /a%2fb}}]\n", 7, "spec.rules[0].matches[0].path.value", "must not contain an encoded slash (%2f), not \"/a%2fb\"" },
		{ RULES "  - matches: [{path: {value: /a%2Fb}}]\n", 7, "spec.rules[0].matches[0].path.value", "must not contain an encoded slash (%2f), not \"/a%2Fb\"" },
		{ RULES "  - matches: [{path: {value: \"/a#b\"}}]\n", 7, "spec.rules[0].matches[0].path.value", "must not contain #, not \"/a#b\"" },
		{ RULES "  - matches: [{path: {value: /a/..}}]\n", 7, "spec.rules[0].matches[0].path.value", "must not end with /.., not \"/a/..\"" },
		{ RULES "  - matches: [{path: {value: /a/.}}]\n", 7, "spec.rules[0].matches[0].path.value", "must not end with /., not \"/a/.\"" },
		{ RULES "  - matches: [{path: {value: /a%2}}]\n", 7, "spec.rules[0].matches[0].path.value", "has a % that two hexadecimal digits do not follow, not \"/a%2\"" },
		{ RULES "  - matches: [{path: {value: \"/a b\"}}]\n", 7, "spec.rules[0].matches[0].path.value", "has a character that must be percent-encoded in a path, not \"/a b\"" },
		{ RULES "  - matches: [{path: {value: \"/a?b\"}}]\n", 7, "spec.rules[0].matches[0].path.value", "has a character that must be percent-encoded in a path, not \"/a?b\"" },
		{ RULES "  - name: a\n  - name: a\n", 8, "spec.rules[1].name", "a is the name of rules[0] already" },
		{ RULES "  - backendRefs: [{name: a}]\n", 7, "spec.rules[0].backendRefs[0].port", "is required: port of the Service, not of its endpoints" },
		{ RULES "  - backendRefs: [{port: 1}]\n", 7, "spec.rules[0].backendRefs[0].name", "is required: name of the Service" },
		{ RULES "  - backendRefs: [{name: a, port: 1, weight: -1}]\n", 7, "spec.rules[0].backendRefs[0].weight", "must be from 0 to 1000000, not -1" },
		{ RULES "  - backendRefs: [{name: a, port: 1, weight: 1000001}]\n", 7, "spec.rules[0].backendRefs[0].weight", "must be from 0 to 1000000, not 1000001" },
		{ RULES "  - backendRefs:\n    - name: a\n      port: 1\n      filters: [{type: RequestHeaderModifier}]\n", 10, "spec.rules[0].backendRefs[0].filters[0].requestHeaderModifier", "is required with type RequestHeaderModifier" },
		{ RULES "  - backendRefs:\n    - name: a\n      port: 1\n      filters:\n      - " REQUEST "{remove: [Host]}}\n", 11, "spec.rules[0].backendRefs[0].filters[0].requestHeaderModifier.remove[0]", "the host is changed by a URLRewrite filter, not as a header" },
		{ RULES "  - backendRef: []\n", 7, "spec.rules[0].backendRef", "unknown field (did you mean backendRefs?)" },
	};

	for (size_t i = 0; i < countof(t); i++) {
		ck_assert_int_eq(first(t[i].yaml), 1);
		ck_assert_msg(no != NULL, "accepted: %s", t[i].yaml);
		ck_assert_str_eq(no->source, "f.yaml");
		ck_assert_msg(strcmp(no->field, t[i].field) == 0 && strcmp(no->reason, t[i].reason) == 0,
			      "%s\n is: %s: %s\nnot: %s: %s", t[i].yaml, no->field, no->reason, t[i].field,
			      t[i].reason);
		ck_assert_msg(no->line == t[i].line, "%s: line %u", t[i].yaml, no->line);
		ck_assert(!no->broken);
	}
	done();
}
END_TEST

START_TEST(a_refusal_says_whose_document_it_was)
{
	ck_assert_int_eq(first("# x\n" RULES "  - filters: [{type: A}]\n"), 1);
	ck_assert_str_eq(no->kind, "HTTPRoute");
	ck_assert_str_eq(no->ns, "shop");
	ck_assert_str_eq(no->name, "r");
	ck_assert_uint_eq(no->doc_line, 2);
	ck_assert_int_eq(first("apiVersion: v1\nkind: Service\nmetadata: {name: web}\n"), 1);
	ck_assert_str_eq(no->ns, "default");
	ck_assert_int_eq(first(TENANT), 1);
	ck_assert_str_eq(no->ns, "");
	ck_assert_str_eq(no->name, "t");
	ck_assert_int_eq(first("kind: \"a\\nb\"\nmetadata: {name: [a], namespace: \"\\u00e9\"}\n"), 1);
	ck_assert_str_eq(no->kind, "a?b");
	ck_assert_str_eq(no->ns, "??");
	ck_assert_str_eq(no->name, "");
	ck_assert_int_eq(first("kind: Service\nmetadata: {name: web}\nspec: [\n"), 1);
	ck_assert(no->broken);
	ck_assert_str_eq(no->name, "web");
	ck_assert_str_eq(no->ns, "");
	done();
}
END_TEST

START_TEST(limits_across_entries_hold)
{
	static char text[400000];
	size_t n;

#define GROW(start, count, each)                                                                   \
	n = (size_t)snprintf(text, sizeof text, "%s", start);                                      \
	for (int i = 0; i < (count); i++)                                                          \
	n += (size_t)snprintf(text + n, sizeof text - n, each, i)
#define REFUSED_AS(f, r)                                                                           \
	ck_assert_int_eq(first(text), 1);                                                          \
	ck_assert_msg(no != NULL, "accepted");                                                     \
	ck_assert_str_eq(no->field, f);                                                            \
	ck_assert_str_eq(no->reason, r)
	GROW(RULES, 16, "  - name: a%d\n");
	ck_assert_uint_eq(accepted(text)->route.n_rules, 16);
	GROW(RULES, 17, "  - name: a%d\n");
	REFUSED_AS("spec.rules", "must have at most 16 entries, not 17");
	GROW(RULES "  - matches:\n", 64, "    - path: {value: /%d}\n");
	ck_assert_uint_eq(accepted(text)->route.rules[0].n_matches, 64);
	GROW(RULES "  - matches:\n", 65, "    - path: {value: /%d}\n");
	REFUSED_AS("spec.rules[0].matches", "must have at most 64 entries, not 65");
	GROW(RULES "  - matches:\n", 64, "    - path: {value: /%d}\n");
	n += (size_t)snprintf(text + n, sizeof text - n, "  - matches:\n");
	for (int i = 0; i < 64; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "    - path: {value: /%d}\n", i);
	accepted(text);
	snprintf(text + n, sizeof text - n, "  - matches: [{path: {value: /}}]\n");
	REFUSED_AS("spec.rules[2].matches", "more than 128 matches in the whole route");
	GROW(RULES "  - backendRefs:\n", 17, "    - {name: a%d, port: 1}\n");
	REFUSED_AS("spec.rules[0].backendRefs", "must have at most 16 entries, not 17");
	GROW(ROUTE "  parentRefs:\n", 33, "  - {group: \"\", kind: Service, name: a%d}\n");
	REFUSED_AS("spec.parentRefs", "must have at most 32 entries, not 33");
	n = (size_t)snprintf(text, sizeof text, "%s", SLICE_TOP "endpoints:\n");
	for (int i = 0; i < 1000; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "- addresses: [10.0.%d.%d]\n", i / 250,
				      i % 250 + 1);
	ck_assert_uint_eq(accepted(text)->slice.n_endpoints, 1000);
	snprintf(text + n, sizeof text - n, "- addresses: [10.1.0.1]\n");
	REFUSED_AS("endpoints", "must have at most 1000 entries, not 1001");
	GROW(RULES "  - filters:\n    - type: RequestHeaderModifier\n      requestHeaderModifier:\n        set:\n", 16,
	     "        - {name: a%d, value: b}\n");
	ck_assert_uint_eq(accepted(text)->route.rules[0].filters[0].n_set, 16);
	GROW(RULES "  - filters:\n    - type: RequestHeaderModifier\n      requestHeaderModifier:\n        set:\n", 17,
	     "        - {name: a%d, value: b}\n");
	REFUSED_AS("spec.rules[0].filters[0].requestHeaderModifier.set", "must have at most 16 entries, not 17");
	n = (size_t)snprintf(text, sizeof text, "%s", RULES "  - filters:\n    - type: RequestHeaderModifier\n      requestHeaderModifier:\n        add:\n");
	for (int i = 0; i < 5; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "        - {name: a%d, value: \"%04096d\"}\n", i, 0);
	REFUSED_AS("spec.rules[0].filters[0].requestHeaderModifier.add[3].name",
		   "names and values of the filter are more than 16384 bytes together");
	GROW(RULES "  - filters:\n    - type: CORS\n      cors:\n        allowOrigins:\n", 65, "        - http://a%d\n");
	REFUSED_AS("spec.rules[0].filters[0].cors.allowOrigins", "must have at most 64 entries, not 65");
	n = (size_t)snprintf(text, sizeof text, "%s", RULES "  - filters:\n    - type: CORS\n      cors:\n        exposeHeaders:\n");
	for (int i = 0; i < 20; i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "        - a%0255d\n", i);
	REFUSED_AS("spec.rules[0].filters[0].cors.exposeHeaders[15]", "all names of the list are more than 4096 bytes together");
	n = strlen(RULES "  - matches:\n    - path: {value: /");
	memcpy(text, RULES "  - matches:\n    - path: {value: /", n);
	memset(text + n, 'a', 1023);
	memcpy(text + n + 1023, "}\n", 3);
	accepted(text);
	memset(text + n, 'a', 1024);
	memcpy(text + n + 1024, "}\n", 3);
	REFUSED_AS("spec.rules[0].matches[0].path.value", "must be at most 1024 bytes, not 1025");
	done();
}
END_TEST

START_TEST(a_service_becomes_a_row)
{
	const struct row *r = accepted(
		"apiVersion: v1\nkind: Service\nmetadata: {name: web, namespace: shop, generation: 4,\n"
		"  creationTimestamp: \"2026-01-31T12:00:00.25+01:00\"}\nspec:\n  clusterIP: 10.96.0.9\n"
		"  clusterIPs: [10.96.0.9, \"fd00::9\"]\n  type: LoadBalancer\n  sessionAffinityConfig: {}\n"
		"  ports:\n  - {name: a, port: 80, targetPort: 8080, appProtocol: http, nodePort: 30080}\n"
		"  - {name: b, port: 80, protocol: UDP, targetPort: dns}\n"
		"  - {name: c, port: 81, appProtocol: kubernetes.io/h2c}\n"
		"  - {name: d, port: 82, appProtocol: tcp}\n  - {name: e, port: 83, appProtocol: redis}\n"
		"status: {loadBalancer: {x: 1.5}}\n");
	const struct row_service *s = &r->service;

	ck_assert_int_eq(r->kind, ROW_SERVICE);
	ck_assert_str_eq(r->ns, "shop");
	ck_assert_str_eq(r->name, "web");
	ck_assert_str_eq(r->source, "f.yaml");
	ck_assert_uint_eq(r->line, 1);
	ck_assert_int_eq(r->generation, 4);
	ck_assert_int_eq(r->created_unix_ms, 1769857200250);
	ck_assert_int_eq(s->cluster_ip[0].family, 4);
	ck_assert_int_eq(s->cluster_ip[1].family, 6);
	ck_assert(!s->headless);
	ck_assert_uint_eq(s->n_ports, 5);
	ck_assert_int_eq(s->ports[0].target_port, 8080);
	ck_assert_ptr_null(s->ports[0].target_name);
	ck_assert_int_eq(s->ports[0].app, ROW_APP_HTTP);
	ck_assert_int_eq(s->ports[1].protocol, ROW_UDP);
	ck_assert_str_eq(s->ports[1].target_name, "dns");
	ck_assert_int_eq(s->ports[1].app, ROW_APP_AUTO);
	ck_assert_int_eq(s->ports[2].app, ROW_APP_H2);
	ck_assert_int_eq(s->ports[3].app, ROW_APP_TCP);
	ck_assert_int_eq(s->ports[4].app, ROW_APP_AUTO);
	ck_assert_str_eq(s->ports[4].app_protocol, "redis");

	r = accepted("apiVersion: v1\nkind: Service\nmetadata: {name: db}\nspec: {clusterIP: None}\n");
	ck_assert_str_eq(r->ns, "default");
	ck_assert(r->service.headless);
	ck_assert_uint_eq(r->service.n_ports, 0);
	ck_assert_int_eq(r->created_unix_ms, 0);
	r = accepted(SERVICE "  ports: [{port: 80}]\n");
	ck_assert_int_eq(r->service.cluster_ip[0].family, 0);
	ck_assert_str_eq(r->service.ports[0].name, "");
	done();
}
END_TEST

START_TEST(a_slice_becomes_a_row)
{
	const struct row *r = accepted(
		SLICE_TOP "ports:\n- {name: a, port: 9000}\n- {name: b, port: 9001, protocol: UDP}\n"
			  "endpoints:\n- {addresses: [127.0.0.1, 127.0.0.2], zone: z, nodeName: n, hostname: h, targetRef: {kind: Pod, name: p}}\n"
			  "- {addresses: [127.0.0.3], conditions: {ready: false, serving: true, terminating: true}}\n"
			  "- {addresses: [127.0.0.4], conditions: {ready: null}, hints: {forZones: [{name: a}]}}\n"
			  "- {addresses: [127.0.0.5], conditions: {ready: false}}\n"
			  "- {addresses: [127.0.0.6], zone: z, nodeName: n-2, targetRef: {}}\n");
	const struct row_slice *s = &r->slice;

	ck_assert_str_eq(s->service, "web");
	ck_assert_int_eq(s->family, 4);
	ck_assert_uint_eq(s->n_ports, 2);
	ck_assert_int_eq(s->ports[1].port, 9001);
	ck_assert_int_eq(s->ports[1].protocol, ROW_UDP);
	ck_assert_uint_eq(s->n_endpoints, 5);
	ck_assert_uint_eq(s->endpoints[0].n_addrs, 2);
	ck_assert_int_eq(s->endpoints[0].addr.ip[3], 1);
	ck_assert(s->endpoints[0].ready && s->endpoints[0].serving && !s->endpoints[0].terminating);
	ck_assert_str_eq(s->endpoints[0].target, "Pod/p");
	ck_assert_str_eq(s->endpoints[0].zone, "z");
	ck_assert_str_eq(s->endpoints[0].node, "n");
	ck_assert_str_eq(s->endpoints[0].host, "h");
	ck_assert_str_eq(s->endpoints[1].host, "");
	ck_assert(!s->endpoints[1].ready && s->endpoints[1].serving && s->endpoints[1].terminating);
	ck_assert(s->endpoints[2].ready);
	ck_assert(!s->endpoints[3].ready && !s->endpoints[3].serving);
	ck_assert_str_eq(s->endpoints[3].target, "");
	ck_assert_str_eq(s->endpoints[4].zone, "z");
	ck_assert_str_eq(s->endpoints[4].node, "n-2");
	ck_assert_str_eq(s->endpoints[4].target, "/");
	ck_assert_str_eq(s->endpoints[4].host, "");
	done();
}
END_TEST

START_TEST(a_route_becomes_a_row)
{
	const struct row *r = accepted(
		ROUTE "  parentRefs:\n  - {group: \"\", kind: Service, name: web, port: 80}\n"
		      "  - {group: \"\", kind: Service, name: web, namespace: other, sectionName: a}\n"
		      "  - {group: \"\", kind: Service, name: web, port: 81}\n"
		      "  hostnames: []\n  rules:\n"
		      "  - name: first\n    matches:\n    - path: {type: Exact, value: /a/}\n    - path: {value: /b}\n    - {}\n"
		      "      \n"
		      "    backendRefs:\n    - {name: x, port: 80, weight: 0}\n    - {group: \"\", kind: Service, name: y, namespace: n, port: 81}\n"
		      "    filters: []\n    timeouts: {}\n    retry: null\n"
		      "  - backendRefs: [{name: z, port: 1}]\n");
	const struct row_route *rt = &r->route;

	ck_assert_uint_eq(rt->n_parents, 3);
	ck_assert_str_eq(rt->parents[0].ns, "shop");
	ck_assert_int_eq(rt->parents[0].port, 80);
	ck_assert_str_eq(rt->parents[1].ns, "other");
	ck_assert_str_eq(rt->parents[1].section, "a");
	ck_assert_int_eq(rt->parents[1].port, 0);
	ck_assert_uint_eq(rt->n_rules, 2);
	ck_assert_str_eq(rt->rules[0].name, "first");
	ck_assert_uint_eq(rt->rules[0].n_matches, 3);
	ck_assert_int_eq(rt->rules[0].matches[0].type, ROW_PATH_EXACT);
	ck_assert_str_eq(rt->rules[0].matches[0].path, "/a/");
	ck_assert_int_eq(rt->rules[0].matches[1].type, ROW_PATH_PREFIX);
	ck_assert_str_eq(rt->rules[0].matches[2].path, "/");
	ck_assert_uint_eq(rt->rules[0].n_backends, 2);
	ck_assert_uint_eq(rt->rules[0].backends[0].weight, 0);
	ck_assert_str_eq(rt->rules[0].backends[0].ns, "shop");
	ck_assert_str_eq(rt->rules[0].backends[1].ns, "n");
	ck_assert_uint_eq(rt->rules[0].backends[1].weight, 1);
	ck_assert_uint_eq(rt->rules[1].n_matches, 1);
	ck_assert_str_eq(rt->rules[1].matches[0].path, "/");

	r = accepted(RULES "  - filters:\n    - " REQUEST "{set: [{name: X-A, value: b c}], add: [{name: d, value: \"1\"}], remove: [e, F]}}\n"
		     "    - {type: ResponseHeaderModifier, responseHeaderModifier: {remove: [g]}}\n"
		     "    backendRefs:\n    - {name: x, port: 1, filters: [" REQUEST "{remove: [x-a]}}]}\n");
	ck_assert_uint_eq(r->route.rules[0].n_filters, 2);
	ck_assert_str_eq(r->route.rules[0].filters[0].set[0].name, "X-A");
	ck_assert_str_eq(r->route.rules[0].filters[0].set[0].value, "b c");
	ck_assert_str_eq(r->route.rules[0].filters[0].add[0].value, "1");
	ck_assert_str_eq(r->route.rules[0].filters[0].remove[1], "F");
	ck_assert_int_eq(r->route.rules[0].filters[1].type, ROW_RESPONSE_HEADERS);
	ck_assert_str_eq(r->route.rules[0].backends[0].filters[0].remove[0], "x-a");

	r = accepted(RULES "  - filters:\n    - " REDIRECT "{scheme: https, hostname: h.example, port: 8443, statusCode: 307, "
		     "path: {type: ReplacePrefixMatch, replacePrefixMatch: \"\"}}}\n"
		     "  - filters: [" REWRITE "{path: {type: ReplaceFullPath, replaceFullPath: /a}}}]\n"
		     "  - filters: [" REDIRECT "{}}]\n");
	ck_assert_str_eq(r->route.rules[0].filters[0].scheme, "https");
	ck_assert_str_eq(r->route.rules[0].filters[0].hostname, "h.example");
	ck_assert_uint_eq(r->route.rules[0].filters[0].port, 8443);
	ck_assert_uint_eq(r->route.rules[0].filters[0].status, 307);
	ck_assert_int_eq(r->route.rules[0].filters[0].new_path, ROW_PATH_OTHER_PREFIX);
	ck_assert_str_eq(r->route.rules[0].filters[0].path, "");
	ck_assert_int_eq(r->route.rules[1].filters[0].new_path, ROW_PATH_WHOLE);
	ck_assert_ptr_null(r->route.rules[1].filters[0].hostname);
	ck_assert_uint_eq(r->route.rules[2].filters[0].status, 302);
	ck_assert_ptr_null(r->route.rules[2].filters[0].scheme);

	r = accepted(RULES "  - filters: [" CORS "{allowOrigins: [\"https://*.a:81\", \"http://*\"], allowMethods: [\"*\"], allowCredentials: true, exposeHeaders: [x]}}]\n");
	ck_assert_uint_eq(r->route.rules[0].filters[0].n_origins, 2);
	ck_assert_str_eq(r->route.rules[0].filters[0].methods[0], "*");
	ck_assert_uint_eq(r->route.rules[0].filters[0].max_age_s, 5);
	ck_assert(r->route.rules[0].filters[0].credentials);

	r = accepted(RULES "  - filters:\n    - " MIRROR "{backendRef: {name: a, port: 1}}}\n    - " MIRROR "{backendRef: {name: b, namespace: n, port: 2}, fraction: {numerator: 1, denominator: 3}}}\n");
	ck_assert_uint_eq(r->route.rules[0].n_filters, 2);
	ck_assert_str_eq(r->route.rules[0].filters[0].to_ns, "shop");
	ck_assert_uint_eq(r->route.rules[0].filters[0].numerator, 100);
	ck_assert_str_eq(r->route.rules[0].filters[1].to_name, "b");
	ck_assert_uint_eq(r->route.rules[0].filters[1].denominator, 3);

	r = accepted("apiVersion: gateway.networking.k8s.io/v1beta1\nkind: HTTPRoute\n"
		     "metadata: {name: a.b}\nspec: {}\n");
	ck_assert_uint_eq(r->route.n_parents, 0);
	ck_assert_uint_eq(r->route.n_rules, 1);		/* the CRD's default: everything, to nowhere */
	ck_assert_str_eq(r->route.rules[0].matches[0].path, "/");
	ck_assert_uint_eq(r->route.rules[0].n_backends, 0);
	done();
}
END_TEST

START_TEST(a_policy_becomes_a_row)
{
	const struct row_policy *p;

	p = &accepted(POLICY
		      "  targetRefs:\n  - {group: \"\", kind: Service, name: web, sectionName: a}\n"
		      "  - {group: \"\", kind: Service, name: web}\n"
		      "  loadBalancer: {type: LeastRequest}\n"
		      "  timeouts: {connect: 2s, response: 1m30s, stall: 250ms, tcpIdle: 168h}\n"
		      "  limits: {connections: 100, requests: 500, pending: 20, pendingTime: 2s}\n"
		      "  ejection: {consecutiveFailures: 0, baseTime: 2m, maxTime: 2m, maxPercent: 100}\n")->policy;
	ck_assert_uint_eq(p->n_targets, 2);
	ck_assert_str_eq(p->targets[0].name, "web");
	ck_assert_str_eq(p->targets[0].section, "a");
	ck_assert_str_eq(p->targets[1].section, "");
	ck_assert_int_eq(p->balancer, ROW_LEAST_REQUEST);
	ck_assert_uint_eq(p->connect_ms, 2000);
	ck_assert_uint_eq(p->response_ms, 90000);
	ck_assert_uint_eq(p->stall_ms, 250);
	ck_assert_uint_eq(p->tcp_idle_ms, 604800000);
	ck_assert_uint_eq(p->connections, 100);
	ck_assert_uint_eq(p->requests, 500);
	ck_assert_uint_eq(p->pending, 20);
	ck_assert_uint_eq(p->pending_ms, 2000);
	ck_assert_uint_eq(p->ejection.failures, 0);
	ck_assert_uint_eq(p->ejection.base_ms, 120000);
	ck_assert_uint_eq(p->ejection.max_ms, 120000);
	ck_assert_uint_eq(p->ejection.percent, 100);
	/* What is not written is the knob's, or what holds without a policy. */
	p = &accepted(POLICY TARGET)->policy;
	ck_assert_int_eq(p->balancer, ROW_BALANCER_NONE);
	ck_assert_uint_eq(p->connect_ms | p->response_ms | p->stall_ms | p->tcp_idle_ms, 0);
	ck_assert_uint_eq(p->connections | p->requests | p->pending | p->pending_ms, 0);
	ck_assert_uint_eq(p->ejection.failures, 5);
	ck_assert_uint_eq(p->ejection.base_ms, 1000);
	ck_assert_uint_eq(p->ejection.max_ms, 60000);
	ck_assert_uint_eq(p->ejection.percent, 50);
	ck_assert_uint_eq(p->ejection.jitter_percent, 50);
	ck_assert(!p->prefer_zone);
	ck_assert_uint_eq(p->balancing.overprovision_percent, 140);
	ck_assert_uint_eq(p->balancing.panic_percent, 50);
	p = &accepted(POLICY TARGET "  loadBalancer: {preferSameZone: true, overprovisioningPercent: 200, "
				    "panicPercent: 0}\n  ejection: {jitterPercent: 0}\n")->policy;
	ck_assert_int_eq(p->balancer, ROW_BALANCER_NONE);
	ck_assert(p->prefer_zone);
	ck_assert_uint_eq(p->balancing.overprovision_percent, 200);
	ck_assert_uint_eq(p->balancing.panic_percent, 0);
	ck_assert_uint_eq(p->ejection.jitter_percent, 0);
	ck_assert_uint_eq(p->balancing.slow_ms, 0);
	p = &accepted(POLICY TARGET "  ejection: {successRate: {}}\n")->policy;
	ck_assert_uint_eq(p->ejection.rate_interval_ms, 10000);
	ck_assert_uint_eq(p->ejection.rate_endpoints, 5);
	ck_assert_uint_eq(p->ejection.rate_requests, 100);
	ck_assert_uint_eq(p->ejection.rate_deviation, 1900);
	p = &accepted(POLICY TARGET "  ejection: {jitterPercent: 1}\n")->policy;
	ck_assert_uint_eq(p->ejection.rate_interval_ms, 0);
	p = &accepted(POLICY TARGET "  loadBalancer: {slowStart: {window: 30s, minPercent: 20, "
				    "aggressionPercent: 150}}\n")->policy;
	ck_assert_uint_eq(p->balancing.slow_ms, 30000);
	ck_assert_uint_eq(p->balancing.slow_min_percent, 20);
	ck_assert_uint_eq(p->balancing.slow_aggression_percent, 150);
	ck_assert_int_eq(p->hash, ROW_HASH_NONE);
	ck_assert_uint_eq(p->table_size, 0);
	p = &accepted(POLICY TARGET "  loadBalancer: {type: Maglev, hash: {type: Cookie, name: id}}\n")->policy;
	ck_assert_int_eq(p->balancer, ROW_MAGLEV);
	ck_assert_int_eq(p->hash, ROW_HASH_COOKIE);
	ck_assert_str_eq(p->hash_name, "id");
	ck_assert_uint_eq(p->table_size, 16381);
	p = &accepted(POLICY TARGET "  loadBalancer: {type: Maglev, hash: {type: SourceIP, tableSize: 65537}}\n")->policy;
	ck_assert_int_eq(p->hash, ROW_HASH_SOURCE);
	ck_assert_uint_eq(p->table_size, 65537);
	ck_assert_int_eq(p->health.type, ROW_CHECK_NONE);
	p = &accepted(POLICY TARGET "  healthCheck: {type: HTTP, path: /well, expectedStatuses: [\"200\", \"204-206\"],\n"
				    "    interval: 10s, timeout: 2s, healthyThreshold: 4, unhealthyThreshold: 5}\n")->policy;
	ck_assert_int_eq(p->health.type, ROW_CHECK_HTTP);
	ck_assert_str_eq(p->health.path, "/well");
	ck_assert_uint_eq(p->health.interval_ms, 10000);
	ck_assert_uint_eq(p->health.timeout_ms, 2000);
	ck_assert_uint_eq(p->health.healthy, 4);
	ck_assert_uint_eq(p->health.unhealthy, 5);
	ck_assert_uint_eq(p->health.n_statuses, 2);
	ck_assert_uint_eq(p->health.status[0].from | p->health.status[0].to, 200);
	ck_assert_uint_eq(p->health.status[1].to, 206);
	p = &accepted(POLICY TARGET "  faults: {delay: {fixed: 2s, percent: 7}, abort: {status: 418, grpcStatus: 9}}\n")->policy;
	ck_assert_uint_eq(p->delay_ms, 2000);
	ck_assert_uint_eq(p->delay_percent, 7);
	ck_assert_uint_eq(p->abort_status, 418);
	ck_assert_uint_eq(p->abort_grpc, 10);
	ck_assert_uint_eq(p->abort_percent, 100);
	p = &accepted(POLICY TARGET "  healthCheck: {type: TCP}\n")->policy;
	ck_assert_uint_eq(p->delay_ms | p->delay_percent | p->abort_status | p->abort_grpc | p->abort_percent, 0u);
	ck_assert_int_eq(p->health.type, ROW_CHECK_TCP);
	ck_assert_uint_eq(p->health.interval_ms, 3000);
	ck_assert_uint_eq(p->health.timeout_ms, 1000);
	ck_assert_uint_eq(p->health.healthy, 1);
	ck_assert_uint_eq(p->health.unhealthy, 3);
	p = &accepted(POLICY TARGET "  ejection: {baseTime: 5m}\n")->policy;
	ck_assert_uint_eq(p->ejection.max_ms, 300000);
	done();
}
END_TEST

START_TEST(a_rate_limit_becomes_a_row)
{
	const struct row_rate *p;

	p = &accepted(RATE TARGET "  identity: {key: Tenant, requests: 50, burst: 100}\n"
				  "  total: {requests: 1000, interval: 1m}\n")->rate;
	ck_assert_uint_eq(p->n_targets, 1);
	ck_assert_str_eq(p->targets[0].name, "web");
	ck_assert_int_eq(p->key, ROW_RATE_TENANT);
	ck_assert_uint_eq(p->identity.requests, 50);
	ck_assert_uint_eq(p->identity.interval_ms, 1000);
	ck_assert_uint_eq(p->identity.burst, 100);
	ck_assert_uint_eq(p->total.requests, 1000);
	ck_assert_uint_eq(p->total.interval_ms, 60000);
	ck_assert_uint_eq(p->total.burst, 1000);
	p = &accepted(RATE TARGET "  identity: {requests: 1, interval: 24h, burst: 7}\n")->rate;
	ck_assert_int_eq(p->key, ROW_RATE_NAMESPACE);
	ck_assert_uint_eq(p->total.requests | p->total.interval_ms | p->total.burst, 0);
	done();
}
END_TEST

START_TEST(a_workload_becomes_a_row)
{
	const struct row_workload *w = &accepted(WORKLOAD "  networkNamespace: /run/netns/a\n")->workload;

	ck_assert_str_eq(w->netns, "/run/netns/a");
	ck_assert_str_eq(w->account, "default");
	ck_assert_str_eq(w->node, "");
	ck_assert_str_eq(w->labels, "");
	w = &accepted("apiVersion: nodeproxy.io/v1alpha1\nkind: Workload\n"
		      "metadata: {name: w, labels: {app: web, a.b/c: \"\", nodeproxy.io/source-address: own}}\n"
		      "spec: {networkNamespace: /a, serviceAccount: b.c, node: Host 1, addresses: [10.0.0.1, 'fd00::1']}\n")
			 ->workload;
	ck_assert_str_eq(w->account, "b.c");
	ck_assert_str_eq(w->node, "Host 1");
	ck_assert_str_eq(w->labels, "app=web,a.b/c=,nodeproxy.io/source-address=own");
	ck_assert_uint_eq(w->n_resolvers, 0);
	w = &accepted(WORKLOAD "  networkNamespace: /a\n  resolvers: [10.0.0.53, 'fd00::53']\n")->workload;
	ck_assert_uint_eq(w->n_resolvers, 2);
	ck_assert_uint_eq(w->resolver[0].ip[3], 53);
	ck_assert_uint_eq(w->resolver[1].family, 6);
	w = &accepted(WORKLOAD "  uid: 4294967294\n")->workload;
	ck_assert_str_eq(w->netns, "");
	ck_assert_uint_eq(w->uid, 4294967294);
	/* As long as they may be: 255 bytes. */
	w = &accepted("apiVersion: nodeproxy.io/v1alpha1\nkind: Workload\nspec: {networkNamespace: /a}\nmetadata:\n"
		      "  name: w\n  labels:\n    " LABEL_60 "a: " LABEL_60 "\n    " LABEL_60 "b: " LABEL_60
		      "\n    a: x123456\n")->workload;
	ck_assert_uint_eq(strlen(w->labels), 255);
	done();
}
END_TEST

START_TEST(the_weight_of_a_slice_is_that_of_each_of_its_endpoints)
{
#define WEIGHT(w)                                                                                  \
	"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nmetadata:\n"      \
	"  name: s\n  labels: {kubernetes.io/service-name: web}\n  annotations:\n"                  \
	"    nodeproxy.io/weight: " w "\n"
	static const char *const bad[] = { "\"0\"", "\"1001\"", "\"\"", "\" 5\"", "\"1.5\"", "a" };

	ck_assert_uint_eq(accepted(SLICE_TOP)->slice.weight, 100);
	ck_assert_uint_eq(accepted(WEIGHT("\"1\""))->slice.weight, 1);
	ck_assert_uint_eq(accepted(WEIGHT("\"1000\""))->slice.weight, 1000);
	ck_assert_int_eq(first(WEIGHT("5")), 1);
	ck_assert_str_eq(no->reason, "must be text: write \"5\" in quotes");
	for (size_t i = 0; i < countof(bad); i++) {
		char yaml[512];

		snprintf(yaml, sizeof yaml, WEIGHT("%s"), bad[i]);
		ck_assert_int_eq(first(yaml), 1);
		ck_assert_ptr_nonnull(no);
		ck_assert_uint_eq(no->line, 8);
		ck_assert_str_eq(no->field, "metadata.annotations[nodeproxy.io/weight]");
		ck_assert_ptr_nonnull(strstr(no->reason, "must be a whole number from 1 to 1000, not "));
	}
	done();
}
END_TEST

START_TEST(a_service_says_which_pods_are_its_endpoints)
{
#define SELECTING(a, s)                                                                            \
	"apiVersion: v1\nkind: Service\nmetadata:\n  name: web\n  annotations:\n"                  \
	"    nodeproxy.io/service-accounts: " a "\nspec:\n  selector: {" s "}\n  ports: [{port: 80}]\n"
	static const char *const bad[] = { "\"\"", "\",\"", "\"a,\"", "\"A\"", "\"a b\"", "\"a,,b\"" };
	const struct row *r = accepted(SELECTING("\"web, api.v1 ,x\"", "app: web, a/b: ''"));
	char yaml[4096], labels[2048] = "";

	ck_assert_uint_eq(r->service.n_accounts, 3);
	ck_assert_str_eq(r->service.accounts[1], "api.v1");
	ck_assert_str_eq(r->service.accounts[2], "x");
	ck_assert_uint_eq(r->service.n_selector, 2);
	ck_assert_str_eq(r->service.selector[0].name, "app");
	ck_assert_str_eq(r->service.selector[1].value, "");
	ck_assert_uint_eq(accepted(SELECTING("web", ""))->service.n_selector, 0);
	for (size_t i = 0; i < countof(bad); i++) {
		snprintf(yaml, sizeof yaml, SELECTING("%s", "app: web"), bad[i]);
		ck_assert_int_eq(first(yaml), 1);
		ck_assert_ptr_nonnull(no);
		ck_assert_str_eq(no->field, "metadata.annotations[nodeproxy.io/service-accounts]");
		ck_assert_ptr_nonnull(strstr(no->reason, "must be names of service accounts with commas"));
	}
	for (unsigned i = 0; i < 65; i++)
		snprintf(labels + strlen(labels), sizeof labels - strlen(labels), "a%u: b,", i);
	snprintf(yaml, sizeof yaml, SELECTING("web", "%s"), labels);
	ck_assert_int_eq(first(yaml), 1);
	ck_assert_str_eq(no->field, "spec.selector");
	ck_assert_str_eq(no->reason, "must be at most 64 labels");
	ck_assert_int_eq(first("apiVersion: v1\nkind: Namespace\nmetadata:\n  name: a\n"
			       "  annotations: {nodeproxy.io/service-accounts: web}\n"), 1);
	ck_assert_str_eq(no->reason, "is for Services only");
	done();
}
END_TEST

START_TEST(the_priority_of_a_slice_is_that_of_each_of_its_endpoints)
{
#define PRIORITY(n)                                                                                \
	"apiVersion: discovery.k8s.io/v1\nkind: EndpointSlice\naddressType: IPv4\nmetadata:\n"      \
	"  name: s\n  labels: {kubernetes.io/service-name: web}\n  annotations:\n"                  \
	"    nodeproxy.io/priority: " n "\n"

	ck_assert_uint_eq(accepted(SLICE_TOP)->slice.priority, 0);
	ck_assert_uint_eq(accepted(PRIORITY("\"0\""))->slice.priority, 0);
	ck_assert_uint_eq(accepted(PRIORITY("\"3\""))->slice.priority, 3);
	ck_assert_int_eq(first(PRIORITY("\"4\"")), 1);
	ck_assert_str_eq(no->field, "metadata.annotations[nodeproxy.io/priority]");
	ck_assert_str_eq(no->reason, "must be a whole number from 0 to 3, not \"4\"");
	done();
}
END_TEST

START_TEST(tenants_and_namespaces_become_rows)
{
	const struct row *r = accepted(TENANT "  namespaces: [a, b]\n  weight: 20\n"
					      "  quotas: {memory: 1.5Gi, connections: 7, requests: 9}\n");

	ck_assert_str_eq(r->ns, "");
	ck_assert_uint_eq(r->tenant.n_namespaces, 2);
	ck_assert_str_eq(r->tenant.namespaces[1], "b");
	ck_assert_uint_eq(r->tenant.weight, 20);
	ck_assert_uint_eq(r->tenant.memory_bytes, 3ull << 29);
	ck_assert_uint_eq(r->tenant.connections, 7);
	ck_assert_uint_eq(r->tenant.requests, 9);
	r = accepted(TENANT "  namespaces: [a]\n");
	ck_assert_uint_eq(r->tenant.weight, 1);
	ck_assert_uint_eq(r->tenant.memory_bytes, 0);
	ck_assert_uint_eq(r->tenant.connections, 0);
	ck_assert_uint_eq(r->tenant.requests, 0);
	r = accepted(NAMESPACE "  labels: {a: b, kubernetes.io/metadata.name: shop}\n"
			       "  creationTimestamp: null\nspec: {finalizers: [kubernetes]}\nstatus: {phase: Active}\n");
	ck_assert_uint_eq(r->namespace.unused_labels, 2);
	ck_assert(ns_modes_are_default(&r->namespace.modes));
	r = accepted(NAMESPACE "  labels: {a: b, nodeproxy.io/when-away: closed, nodeproxy.io/source-address: own,\n"
			       "           nodeproxy.io/same-host: direct, nodeproxy.io/unknown-destination: deny}\n");
	ck_assert_uint_eq(r->namespace.unused_labels, 1);
	ck_assert_uint_eq(r->namespace.modes.of[MODE_when_away], MODE_CLOSED);
	ck_assert_uint_eq(r->namespace.modes.of[MODE_source_address], MODE_OWN);
	ck_assert_uint_eq(r->namespace.modes.of[MODE_same_host], MODE_DIRECT);
	ck_assert_uint_eq(r->namespace.modes.of[MODE_unknown_destination], MODE_DENY);
	done();
}
END_TEST

/* What others observed and bookkeeping of the API server change neither JSON nor digest. */
START_TEST(canonical_json_and_digest_name_what_was_asked_for)
{
	uint8_t digest[32];
	static const char want[] =
		"{\"apiVersion\":\"v1\",\"kind\":\"Service\",\"metadata\":{\"labels\":{\"a\":\"b\"},"
		"\"name\":\"web\",\"namespace\":\"shop\"},\"spec\":{\"clusterIP\":\"None\"}}";
	const struct row *r = accepted("kind: Service\nspec: {clusterIP: None, ports: ~}\napiVersion: v1\n"
				       "metadata:\n  namespace: shop\n  labels: {a: b}\n  name: \"web\"\n"
				       "  resourceVersion: \"5\"\n  managedFields: [{a: 0.5}]\n  selfLink: /x\n"
				       "  ownerReferences: [{a: 1e3}]\nstatus: {x: [0x5]}\n");
	/* sha256sum of want */
	ck_assert_str_eq(r->json, want);
	memcpy(digest, r->digest, sizeof digest);
	done();
	ck_assert_int_eq(resource_json("store", 9, slice_str(want), &row, &no), 0);
	ck_assert_ptr_nonnull(row);
	ck_assert_str_eq(row->json, want);
	ck_assert_mem_eq(row->digest, digest, sizeof digest);
	ck_assert_str_eq(row->source, "store");
	ck_assert_uint_eq(row->line, 9);
	ck_assert_uint_eq(digest[0], 0x67);
	ck_assert_uint_eq(digest[31], 0x84);
	done();
	ck_assert_int_eq(resource_json("store", 9, SLICE("{\"kind\":\"Service\",\"apiVersion\":\"v1\",\"x\":1}"), &row, &no), 0);
	ck_assert_str_eq(no->field, "x");
	ck_assert_uint_eq(no->line, 9);
	done();
	ck_assert_int_eq(resource_json("store", 9, SLICE("{"), &row, &no), 0);
	ck_assert(no->broken);
	done();
}
END_TEST

START_TEST(one_bad_document_blocks_no_other)
{
	static const struct {
		const char *name;	/* of a row; NULL: a refusal */
		uint32_t line;
	} want[] = { { "a", 1 }, { NULL, 3 }, { NULL, 4 }, { "d", 8 } };
	struct resource_reader r;

	resource_reader_init(&r, "f.yaml", SLICE("{apiVersion: v1, kind: Namespace, metadata: {name: a}}\n"
						 "---\n{apiVersion: v1, kind: Namespace, metadata: {nam: b}}\n"
						 "---\n  x: [\n\n---\n{apiVersion: v1, kind: Namespace, metadata: {name: d}}\n"));
	for (size_t i = 0; i < countof(want); i++) {
		ck_assert_int_eq(resource_next(&r, &row, &no), 1);
		ck_assert_int_eq(row != NULL, want[i].name != NULL);
		if (row) {
			ck_assert_str_eq(row->name, want[i].name);
			ck_assert_uint_eq(row->line, want[i].line);
		} else {
			ck_assert_uint_ge(no->line, want[i].line);
			ck_assert_int_eq(no->broken, i == 2);
		}
		done();
	}
	ck_assert_int_eq(resource_next(&r, &row, &no), 0);
	ck_assert(!row && !no);
}
END_TEST

START_TEST(a_file_that_is_too_large_is_one_refusal)
{
	size_t n = DOC_FILE_MAX + 1;
	char *text = malloc(n);
	struct resource_reader r;

	ck_assert_ptr_nonnull(text);
	memset(text, '#', n);
	resource_reader_init(&r, "f.yaml", slice_of(text, n));
	ck_assert_int_eq(resource_next(&r, &row, &no), 1);
	ck_assert_str_eq(no->reason, "a file of more than 16777216 bytes");
	ck_assert_uint_eq(no->line, 1);
	ck_assert(no->broken);
	done();
	ck_assert_int_eq(resource_next(&r, &row, &no), 0);
	free(text);
}
END_TEST

START_TEST(times_and_retries_of_a_rule)
{
	const struct row_rule *u = accepted(RULES
		"  - timeouts: {request: 10s30m1h, backendRequest: 100ms200ms300ms}\n"
		"    retry: {codes: [500, 503, 599, 400], attempts: 3, backoff: 200ms}\n"
		"  - timeouts: {request: 0s, backendRequest: 99999h}\n"
		"    retry: {}\n"
		"  - name: none\n")->route.rules;
	const uint32_t connection = 1u << RETRY_ON_connect_failure | 1u << RETRY_ON_refused_stream |
				    1u << RETRY_ON_reset;

	ck_assert(u[0].times.has_request && u[0].times.has_attempt);
	ck_assert_uint_eq(u[0].times.request_ms, 5410000);
	ck_assert_uint_eq(u[0].times.attempt_ms, 600);
	ck_assert_uint_eq(u[0].retry.attempts, 3);
	ck_assert_uint_eq(u[0].retry.on, connection | 1u << RETRY_ON_retriable_status_codes);
	for (unsigned code = 300; code < 700; code++)
		ck_assert_int_eq(retries_have_code(&u[0].retry, code),
				 code == 500 || code == 503 || code == 599 || code == 400);
	ck_assert_uint_eq(u[0].retry.least_ms, 200);
	ck_assert_uint_eq(u[0].retry.base_ms, 200);
	ck_assert_uint_eq(u[0].retry.max_ms, 2000);
	ck_assert(u[1].times.has_request && u[1].times.has_attempt);
	ck_assert_uint_eq(u[1].times.request_ms, 0);
	ck_assert_uint_eq(u[1].times.attempt_ms, UINT32_MAX);
	ck_assert_uint_eq(u[1].retry.attempts, 1);
	ck_assert_uint_eq(u[1].retry.on, connection);
	ck_assert_uint_eq(u[1].retry.base_ms, 25);
	ck_assert(!u[2].times.has_request && !u[2].times.has_attempt);
	ck_assert_uint_eq(u[2].retry.attempts, 0);
}
END_TEST

START_TEST(retries_and_budgets_of_policies)
{
	const struct row_policy *p = &accepted(RETRIES
		"    on: [5xx, reset, retriable-status-codes, unavailable]\n    statusCodes: [429]\n"
		"    attempts: 2\n    perTryTimeout: 1s\n    backoff: {base: 10ms, max: 1s}\n"
		"    budget: {percent: 50, interval: 1m, minRetryRate: {count: 5, interval: 2s}}\n")->policy;

	ck_assert_uint_eq(p->retry.on, 1u << RETRY_ON_5xx | 1u << RETRY_ON_reset | 1u << RETRY_ON_unavailable |
					       1u << RETRY_ON_retriable_status_codes);
	ck_assert(retries_have_code(&p->retry, 429));
	ck_assert_uint_eq(p->retry.attempts, 2);
	ck_assert_uint_eq(p->times.attempt_ms, 1000);
	ck_assert_uint_eq(p->retry.base_ms, 10);
	ck_assert_uint_eq(p->retry.max_ms, 1000);
	ck_assert_uint_eq(p->retry.least_ms, 0);
	ck_assert(p->budget.is_set);
	ck_assert_uint_eq(p->budget.percent, 50);
	ck_assert_uint_eq(p->budget.interval_ms, 60000);
	ck_assert_uint_eq(p->budget.count, 5);
	ck_assert_uint_eq(p->budget.per_ms, 2000);

	p = &accepted(RETRIES "    on: [5xx]\n")->policy;
	ck_assert_uint_eq(p->retry.attempts, 1);
	ck_assert_uint_eq(p->retry.base_ms, 25);
	ck_assert_uint_eq(p->retry.max_ms, 250);
	ck_assert(!p->times.has_attempt && !p->budget.is_set);
	ck_assert_uint_eq(accepted(RETRIES "    perTryTimeout: 2s\n")->policy.times.attempt_ms, 2000);

	p = &accepted(XPOLICY TARGET "  retryConstraint:\n    budget: {percent: 0, interval: 1h}\n"
		      "    minRetryRate: {count: 1, interval: 1m}\n")->policy;
	ck_assert(p->budget.is_set);
	ck_assert_uint_eq(p->n_targets, 1);
	ck_assert_uint_eq(p->budget.percent, 0);
	ck_assert_uint_eq(p->budget.interval_ms, 3600000);
	ck_assert_uint_eq(p->budget.count, 1);
	ck_assert_uint_eq(p->budget.per_ms, 60000);
	p = &accepted(XPOLICY TARGET)->policy;
	ck_assert_uint_eq(p->budget.percent, 20);
	ck_assert_uint_eq(p->budget.interval_ms, 10000);
}
END_TEST

UNIT_TESTS("resource", times_and_retries_of_a_rule, retries_and_budgets_of_policies, every_refusal_names_line_field_and_reason,
	   a_refusal_says_whose_document_it_was, limits_across_entries_hold, a_service_becomes_a_row,
	   a_slice_becomes_a_row, a_route_becomes_a_row,
	   a_policy_becomes_a_row, a_rate_limit_becomes_a_row, a_workload_becomes_a_row, the_weight_of_a_slice_is_that_of_each_of_its_endpoints,
	   a_service_says_which_pods_are_its_endpoints,
	   the_priority_of_a_slice_is_that_of_each_of_its_endpoints, tenants_and_namespaces_become_rows,
	   canonical_json_and_digest_name_what_was_asked_for, one_bad_document_blocks_no_other,
	   a_file_that_is_too_large_is_one_refusal)
