/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Rows: what an accepted resource means, as plain structs.
 *
 * store/resource turns a document into one row or a refusal; the sync process keeps the rows in
 * memory (the model), SQLite keeps the documents they came from, and store/view compiles units from
 * rows.  A row and everything it points to (each string, but those of endpoints, each array) is malloc'ed on
 * its own and freed by row_free, also when only half filled in (zeroed where nothing was set yet); rows are never
 * changed after they were made, only replaced. */
#ifndef NODEPROXY_STORE_ROWS_H
#define NODEPROXY_STORE_ROWS_H

#include <stdint.h>

#include "nodeproxy/lib/base/balancing.h"
#include "nodeproxy/lib/base/ejection.h"
#include "nodeproxy/lib/base/hash.h"
#include "nodeproxy/lib/base/ns_modes.h"
#include "nodeproxy/lib/net/addr.h"
#include "nodeproxy/lib/net/retries.h"

enum row_kind {
	ROW_NAMESPACE, ROW_TENANT, ROW_SERVICE, ROW_SLICE, ROW_HTTPROUTE, ROW_GRPCROUTE, ROW_TLSROUTE,
	ROW_TCPROUTE, ROW_GRANT, ROW_POLICY, ROW_BACKEND_POLICY, ROW_RATE, ROW_WORKLOAD,
	ROW_BACKEND_TLS, ROW_CONFIG_MAP, ROW_RESIDENT, ROW_KINDS
};

struct row_namespace {
	uint32_t unused_labels;	/* number of labels that are not ours: allowed, no effect */
	struct ns_modes modes;
};

struct row_tenant {
	uint32_t n_namespaces;
	char **namespaces;
	uint32_t weight;	/* 1..1000, default 1 */
	uint64_t memory_bytes;	/* 0: the knob */
	uint32_t connections;	/* 0: the knob */
	uint32_t requests;	/* 0: the knob */
};

#define ROW_RESOLVERS 3

/* Texts fit into struct pod_words, which is what the master hears of it. */
struct row_workload {
	char *account, *netns, *labels;	/* netns "": uid; labels: k=v,k=v */
	uint32_t uid;
	uint32_t n_resolvers;
	struct addr resolver[ROW_RESOLVERS];
	char *node;			/* "": not said */
};

/* A header or a parameter of the query, names of headers that are asked for in lower case; a label. */
struct row_pair {
	char *name, *value;
};

#define ROW_RESIDENT_ADDRESSES 8

/* A captured pod as its host says it, who serves what selects its labels. */
struct row_resident {
	char *node, *pod, *account, *zone;	/* zone "": not said */
	bool draining;
	uint32_t n_labels, n_addrs;
	struct row_pair *labels;
	struct addr addr[ROW_RESIDENT_ADDRESSES];
};

enum row_protocol { ROW_TCP, ROW_UDP, ROW_SCTP };
enum row_app { ROW_APP_AUTO, ROW_APP_HTTP, ROW_APP_TCP, ROW_APP_H2 };

struct row_service_port {
	char *name;		/* "" when the only one has none */
	uint16_t port;
	uint16_t target_port;	/* 0: by target_name, or the same as port */
	char *target_name;	/* NULL: by number */
	enum row_protocol protocol;
	enum row_app app;	/* from appProtocol: http, tcp, kubernetes.io/h2c; anything else: auto */
	char *app_protocol;	/* as written, "" when absent */
};

struct row_service {
	struct addr cluster_ip[2];	/* family 0: none */
	bool headless;			/* clusterIP: None */
	uint32_t n_selector, n_accounts;
	struct row_pair *selector;	/* labels of pods that are its endpoints; none: no pod is */
	char **accounts;		/* that pods must run as to be; none: any */
	uint32_t n_ports;
	struct row_service_port *ports;
};

struct row_slice_port {
	char *name;
	uint16_t port;
	enum row_protocol protocol;
};

struct row_endpoint {
	uint32_t n_addrs;		/* only the first is used for traffic, as in Kubernetes */
	struct addr addr;
	bool ready, serving, terminating;
	/* In the texts of the slice. */
	const char *zone, *node, *target;	/* "" when absent; target: targetRef "Kind/name" */
	const char *host;		/* its name in DNS, below that of the Service; "" when absent */
};

#define ROW_WEIGHT     100	/* of an endpoint of which nobody said it */
#define ROW_WEIGHT_MAX 1000
#define ROW_PRIORITY_MAX 3	/* 0 is the best */

struct row_slice {
	char *service;			/* label kubernetes.io/service-name */
	uint8_t family;			/* 4 or 6 */
	uint16_t weight;		/* of each of its endpoints, 1..ROW_WEIGHT_MAX */
	uint8_t priority;		/* of each of them, 0..ROW_PRIORITY_MAX */
	uint32_t n_ports, n_endpoints;
	struct row_slice_port *ports;
	struct row_endpoint *endpoints;
	char *texts;			/* of all endpoints, in one piece: there are very many of them */
};

enum row_path { ROW_PATH_PREFIX, ROW_PATH_EXACT };

/* All of it must hold.  A method of gRPC is a path: "/service/method", or the prefix "/service"; of
 * one in any service the path is "/" and grpc_method says which.  A hostname of a TLSRoute is one too:
 * see lib/net/server_name.h. */
struct row_match {
	enum row_path type;
	char *path;
	char *method;			/* of HTTP; "": any */
	char *grpc_method;		/* "": as the path says */
	uint32_t n_headers, n_params;
	struct row_pair *headers, *params;
};

enum row_filter_type { ROW_REQUEST_HEADERS, ROW_RESPONSE_HEADERS, ROW_REDIRECT, ROW_REWRITE, ROW_CORS,
		       ROW_MIRROR };
enum row_new_path { ROW_PATH_KEPT, ROW_PATH_WHOLE, ROW_PATH_OTHER_PREFIX };

/* What is done with a request before it goes on, or with its response; each type has its fields. */
struct row_filter {
	enum row_filter_type type;
	/* ROW_REQUEST_HEADERS, ROW_RESPONSE_HEADERS: no name is in two of them */
	uint32_t n_set, n_add, n_remove;
	struct row_pair *set, *add;
	char **remove;
	/* ROW_REDIRECT, ROW_REWRITE */
	char *hostname, *path;		/* NULL: as it is */
	enum row_new_path new_path;	/* what path takes the place of */
	/* ROW_REDIRECT */
	char *scheme;			/* NULL: as it is */
	uint16_t port, status;		/* port 0: by scheme, or that of the Service */
	/* ROW_CORS; "*" stands alone */
	uint32_t n_origins, n_methods, n_headers, n_expose;
	char **origins, **methods, **headers, **expose;
	uint32_t max_age_s;
	bool credentials;
	/* ROW_MIRROR, with port */
	char *to_ns, *to_name;		/* of a core Service */
	uint32_t numerator, denominator;
};

struct row_backend {
	char *ns, *name;		/* of a core Service */
	char *other;			/* "Kind of group": it is none, which nothing serves; "" else */
	uint16_t port;
	uint32_t weight;		/* 0..1000000, default 1 */
	struct row_filter *filters;
	uint32_t n_filters;
};

struct row_times {			/* of a rule, or of a policy that sets the time of an attempt */
	bool has_request, has_attempt;	/* written */
	uint32_t request_ms, attempt_ms;	/* 0: no limit */
};

struct row_rule {
	char *name;			/* "" when absent */
	struct row_times times;
	struct retries retry;		/* attempts 0: none was written */
	uint32_t n_matches, n_backends;
	struct row_match *matches;	/* at least one: PathPrefix / when none was written */
	struct row_filter *filters;
	uint32_t n_filters;
	struct row_backend *backends;
};

struct row_parent {
	char *ns, *name;		/* of a core Service */
	uint16_t port;			/* 0: all ports */
	char *section;			/* sectionName: name of a port; "" when absent */
};

struct row_route {			/* HTTPRoute, GRPCRoute, TLSRoute, TCPRoute */
	bool has_hostnames;		/* some are written, which the mesh does not look at */
	uint32_t n_parents, n_rules;
	struct row_parent *parents;
	struct row_rule *rules;
};

struct row_grant_from {
	char *group, *kind, *ns;
};

struct row_grant_to {
	char *group, *kind, *name;	/* name "": every one of the kind */
};

struct row_grant {			/* ReferenceGrant: each of these may refer to each of those */
	uint32_t n_from, n_to;
	struct row_grant_from *from;
	struct row_grant_to *to;
};

struct row_target {
	char *name;			/* of a core Service in the policy's namespace */
	char *section;			/* sectionName: name of a port; "" when absent */
};

enum row_balancer { ROW_BALANCER_NONE, ROW_PEAK_EWMA, ROW_LEAST_REQUEST, ROW_ROUND_ROBIN, ROW_MAGLEV };
enum row_hash { ROW_HASH_NONE, ROW_HASH_HEADER, ROW_HASH_COOKIE, ROW_HASH_SOURCE };

enum row_check { ROW_CHECK_NONE, ROW_CHECK_TCP, ROW_CHECK_HTTP };

#define ROW_STATUSES 8

struct row_health {			/* healthCheck of a TrafficPolicy; defaults are filled in */
	enum row_check type;
	char *path;			/* NULL: none was written */
	uint32_t interval_ms, timeout_ms;
	uint8_t healthy, unhealthy;	/* so many in a row */
	uint8_t n_statuses;
	struct {
		uint16_t from, to;
	} status[ROW_STATUSES];
};

struct row_budget {
	bool is_set;
	uint32_t percent, interval_ms;
	uint32_t count, per_ms;		/* retries that are allowed in any case, and in which time */
};

struct row_policy {			/* TrafficPolicy; of an XBackendTrafficPolicy targets and budget */
	uint32_t n_targets;
	struct row_target *targets;
	enum row_balancer balancer;	/* NONE: none was written */
	uint32_t connect_ms, response_ms, stall_ms, tcp_idle_ms;	/* 0: the knob */
	uint32_t connections, requests;					/* 0: no limit */
	uint32_t pending, pending_ms;	/* so many wait for a place within these, so long; 0: none */
	enum row_hash hash;		/* of MAGLEV, otherwise NONE */
	char *hash_name;		/* of header or cookie; otherwise "" */
	uint32_t table_size;		/* of MAGLEV: a prime */
	bool prefer_zone;
	struct balancing balancing;	/* defaults are filled in */
	struct ejection ejection;	/* likewise */
	struct row_times times;		/* of each attempt only */
	struct retries retry;		/* on 0: none */
	struct row_budget budget;
	struct row_health health;
	uint32_t delay_ms;		/* faults that are injected; 0: none */
	uint16_t abort_status;		/* likewise */
	uint8_t abort_grpc;		/* 1 + status; 0: as of the HTTP status */
	uint8_t delay_percent, abort_percent;
};

/* So many requests in an interval, and how many of them at once; requests 0: any number. */
struct row_pace {
	uint32_t requests, interval_ms, burst;
};

enum row_rate_key { ROW_RATE_NAMESPACE, ROW_RATE_TENANT };

struct row_rate {			/* RateLimitPolicy */
	uint32_t n_targets;
	struct row_target *targets;
	enum row_rate_key key;		/* what callers are told apart by for identity */
	struct row_pace identity;	/* of each caller */
	struct row_pace total;		/* of all of them together */
};

struct row_name {
	bool is_uri;			/* else a DNS name */
	char *text;
};

#define ROW_BACKEND_NAMES 5
#define ROW_CA_REFS       8

struct row_ca_ref {
	char *name;			/* of a ConfigMap of the policy's namespace */
	char *other;			/* "Kind of group": it is none, which has no certificates; "" else */
};

struct row_backend_tls {		/* BackendTLSPolicy */
	uint32_t n_targets;
	struct row_target *targets;
	char *hostname;			/* asked for; and wanted, unless there are names */
	bool system;			/* issuers are those of the host; then there are no refs */
	uint32_t n_refs, n_names;
	struct row_ca_ref *refs;
	struct row_name *names;
};

struct row_config_map {
	char *ca;			/* ca.crt; "" when absent */
	const char *flaw;		/* why it is no certificates in PEM; NULL: it is */
};

struct row {
	enum row_kind kind;
	char *ns;			/* "" for cluster-scoped kinds */
	char *name;
	int64_t created_unix_ms;	/* metadata.creationTimestamp; 0: absent = oldest */
	int64_t created_rev;		/* the registry's revision that made it, which counts before; 0: it has none */
	int64_t generation;		/* metadata.generation; 0: absent */
	uint8_t digest[32];		/* SHA-256 of the canonical JSON */
	char *json;			/* canonical JSON of the object: what the store keeps */
	char *source;			/* "file.yaml" (or "store" after a cold start) */
	uint32_t line;			/* where the document starts */
	struct hash_node by_key;	/* for the model */
	union {
		struct row_namespace namespace;
		struct row_tenant tenant;
		struct row_service service;
		struct row_slice slice;
		struct row_route route;
		struct row_grant grant;
		struct row_policy policy;
		struct row_rate rate;
		struct row_workload workload;
		struct row_backend_tls backend_tls;
		struct row_config_map config_map;
		struct row_resident resident;
	};
};

const char *row_kind_name(enum row_kind);	/* "Service" … as in the resource */
/* What a policy of whatever kind is attached to; NULL and none: the kind has no targets. */
const struct row_target *row_targets(const struct row *, uint32_t *ret_n);

static inline bool row_kind_is_route(enum row_kind k)
{
	return k == ROW_HTTPROUTE || k == ROW_GRPCROUTE || k == ROW_TLSROUTE || k == ROW_TCPROUTE;
}

static inline bool row_kind_is_policy(enum row_kind k)
{
	return k == ROW_POLICY || k == ROW_BACKEND_POLICY || k == ROW_RATE || k == ROW_BACKEND_TLS;
}

/* The grant, of the namespace of the Service, lets routes of this kind and namespace name it. */
bool row_grants(const struct row *grant, enum row_kind route, const char *route_ns,
		const char *service);

void row_free(struct row **);
/* What one of this kind needs of a struct row, which is as large as the largest: so many bytes there are of a
 * row that was read. */
size_t row_bytes(enum row_kind);

#endif
