/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A view is one revision of the routing state, compiled and frozen.
 *
 * The sync process builds it from rows in memory into sealed memfds; workers (and admind, to show
 * it) map them and never see SQLite.  A *base* holds all units; an *overlay* is a newer layer of the
 * directory (unit or tombstone) on one base.  A unit is a whole Service (ports, merged routes,
 * endpoints) or a whole namespace (tenant, policy).  Inside a unit: offsets; between units: ids,
 * resolved through the directory.  No answer merges two versions of a unit.
 *
 *   phase         who       how
 *   here          master    passes descriptor and rev on, maps nothing
 *   checking      worker    view_check_step(): a slice per turn; overlays at once; or -EBADMSG
 *   current       worker    view_swap in worker.c: new exchanges use it; the old loses one ref
 *   kept          exchange  view_ref() .. view_unref(), between match and connect
 *   gone          reaper    last unref unmaps; at most two bases are mapped
 *
 * All accessors are pure functions over checked bytes, bounds-checked once more where an offset is
 * followed, and never allocate.  Slices returned point into the view: valid while it is held. */
#ifndef NODEPROXY_STORE_VIEW_VIEW_H
#define NODEPROXY_STORE_VIEW_VIEW_H

#include "nodeproxy/lib/base/balancing.h"
#include "nodeproxy/lib/base/ejection.h"
#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/ns_modes.h"
#include "nodeproxy/lib/base/slice.h"
#include "nodeproxy/lib/net/addr.h"
#include "nodeproxy/lib/net/retries.h"

struct view;

/* ---- life ---- */

/* Takes the descriptor.  -EPERM (not sealed), -EBADMSG (header), -errno.  A base. */
must_use int view_open_base(struct fd *, uint64_t rev, struct view **ret);
/* A new view that shares base's mapping (takes its own ref on it) and lays the overlay on top.
 * Verified at once: -EBADMSG when anything is wrong, -ESTALE when it lies on another base, -EBUSY
 * when the base is not checked yet.  The descriptor is taken in every case. */
must_use int view_open_overlay(const struct view *base_or_overlaid, struct fd *, uint64_t rev,
			       struct view **ret);
/* Verifies the next units of a base for at most budget_us; 1: done, all good; 0: call again;
 * -EBADMSG: refuse it, why in view_problem(). */
must_use int view_check_step(struct view *, int64_t budget_us);
/* What is wrong with this base; with NULL: with the file that was refused last. */
const char *view_problem(const struct view *);
uint64_t view_rev(const struct view *);
struct slice view_domain(const struct view *);	/* the DNS suffix of Services */
uint64_t view_base_rev(const struct view *);
void view_ref(const struct view *);
void view_unref(const struct view *);	/* the last one unmaps, a large base by way of view_trim */
/* Unmaps the next piece (1 MiB, under 0.1 ms) of bases that nobody uses any more; true: there is
 * more, call again in a later pass.  view_open_base() does what is left over. */
bool view_trim(void);
bool view_has_trash(void);	/* it would do something */

/* ---- Services ---- */

enum app_protocol { APP_AUTO, APP_HTTP, APP_TCP, APP_H2 };	/* appProtocol of a Service port */

struct vservice {		/* a Service unit, by value; valid while the view is held */
	const struct view *view;
	const uint8_t *unit;
	uint32_t bytes;
	uint32_t id;
};

bool view_service(const struct view *, uint32_t id, struct vservice *ret);
bool view_service_by_name(const struct view *, struct slice ns, struct slice name,
			  struct vservice *ret);
/* host without port, any case; "svc", "svc.ns", "svc.ns.svc", "svc.ns.svc.DOMAIN" (the view holds
 * DOMAIN); a bare "svc" is looked up in caller_ns. */
bool view_service_by_host(const struct view *, struct slice host, struct slice caller_ns,
			  struct vservice *ret);
/* Host of an authority (Host, :authority) without its port; *ret_port 0: none was given.  false:
 * nonsense. */
bool authority_split(struct slice authority, struct slice *ret_host, uint16_t *ret_port);
/* By clusterIP; addr->port is not looked at. */
bool view_service_by_vip(const struct view *, const struct addr *, struct vservice *ret);

/* Some endpoint of some Service has this address, at whatever port. */
bool view_knows(const struct view *, const struct addr *);

/* The one with the lowest id that is above this one; false: there is none. */
bool view_service_after(const struct view *, uint32_t id, struct vservice *ret);

struct slice vservice_name(const struct vservice *);
struct slice vservice_ns(const struct vservice *);
struct slot_gen { uint32_t slot, gen; };	/* of the board */
struct slot_gen vservice_slot(const struct vservice *);
/* It has none because they are in the registry only, and would be fetched when somebody asks. */
bool vservice_lacks_endpoints(const struct vservice *);
/* i: 0, 1; false: there is none. */
bool vservice_vip(const struct vservice *, unsigned i, struct addr *ret);

struct vport {
	struct vservice service;
	uint32_t index;
	uint16_t port;
	enum app_protocol protocol;
	bool has_routes, has_policy, has_rate;
	bool has_tls;			/* its endpoints are spoken to in TLS */
	bool weighted;			/* its endpoints have different weights */
	uint8_t levels;			/* of its endpoints, 0: they are all of one, without a table */
	uint32_t endpoints;		/* all of them, ready or not */
};

bool vservice_port(const struct vservice *, uint16_t port, struct vport *ret);
/* Of a caller who came by host name: its port when the Service has it, else 80, else the only one
 * there is (a caller that reaches a listener at another port writes that one). */
bool vservice_port_of_host(const struct vservice *, uint16_t port, struct vport *ret);
uint32_t vservice_ports(const struct vservice *);
bool vservice_port_at(const struct vservice *, uint32_t i, struct vport *ret);
struct slice vport_name(const struct vport *);

struct vendpoint {
	struct addr addr;		/* with port */
	struct slot_gen slot;
	bool ready, serving, terminating;
	struct slice zone, node;
	struct slice host;		/* its name in DNS below that of the Service; may be empty */
};

bool vport_endpoint(const struct vport *, uint32_t i, struct vendpoint *ret);
/* Position of the n-th ready endpoint (n < vport_ready): O(1). */
uint32_t vport_ready(const struct vport *);
uint32_t vport_ready_at(const struct vport *, uint32_t n);

/* ---- levels ---- */

#define VPORT_LEVELS 8

struct vlevel {
	uint32_t first, ready;		/* its ready endpoints: positions first and on, at least one */
	uint32_t total;			/* with those that are not ready, without those that terminate */
	uint8_t priority;		/* 0 is the best */
	bool far;			/* not in the host's zone, which the policy prefers */
	uint32_t slots;			/* of its table of Maglev; 0: it has none */
	uint32_t slot;			/* where that lies: for vlevel_slot() */
};

/* i < levels, the best first. */
bool vport_level(const struct vport *, uint32_t i, struct vlevel *ret);
/* Position, among all of the port, of the endpoint in slot i < slots. */
uint32_t vlevel_slot(const struct vport *, const struct vlevel *, uint32_t i);

/* ---- weights ---- */

#define VPORT_WEIGHT 100	/* of each, where they are alike */

/* Of endpoint i. */
uint32_t vport_weight(const struct vport *, uint32_t i);
/* Of all ready ones together; 0: they are alike, and nobody needs the sum. */
uint32_t vport_weights(const struct vport *);
/* Of the first n endpoints together. */
uint32_t vport_weights_before(const struct vport *, uint32_t n);
/* The ready one that at, of [0, vport_weights()), falls to: O(log n). */
uint32_t vport_by_weight(const struct vport *, uint32_t at);

/* ---- policies ---- */

enum balancer { BALANCER_DEFAULT, BALANCER_PEAK_EWMA, BALANCER_LEAST_REQUEST, BALANCER_ROUND_ROBIN,
		BALANCER_MAGLEV, BALANCERS };
enum hash_by { HASH_BY_NOTHING, HASH_BY_HEADER, HASH_BY_COOKIE, HASH_BY_SOURCE, HASH_BYS };

struct vpolicy {			/* the TrafficPolicy of a port */
	struct slice name;		/* its namespace is the Service's */
	enum balancer balancer;
	uint32_t connect_ms, response_ms, stall_ms, tcp_idle_ms;	/* 0: the knob */
	uint32_t connections, requests;	/* 0: no limit */
	uint32_t pending, pending_ms;	/* 0: nobody waits */
	struct slot_gen limit;		/* of the board; slot 0: no slot is left, so no limits */
	enum hash_by hash_by;		/* the key of Maglev */
	struct slice hash_name;		/* of header or cookie */
	bool prefer_zone;
	struct balancing balancing;
	struct ejection ejection;
	uint32_t times;			/* it says something for vtimes_of(); 0: it does not */
	uint32_t delay_ms;		/* faults that are injected, and of how many requests; 0: none */
	uint16_t abort_status;
	uint8_t abort_grpc;		/* 1 + status; 0: as of the HTTP status */
	uint8_t delay_percent, abort_percent;
};

enum check_type { CHECK_TCP = 1, CHECK_HTTP };

#define VCHECK_STATUSES 8

struct vcheck {				/* how its endpoints are asked whether they are well */
	enum check_type type;
	struct slice path;
	uint32_t interval_ms, timeout_ms;
	uint8_t healthy, unhealthy;	/* so many in a row */
	uint8_t n_statuses;
	struct vstatuses {
		uint16_t from, to;
	} status[VCHECK_STATUSES];
};

/* false: none is about this port. */
bool vport_policy(const struct vport *, struct vpolicy *ret);
/* false: they are not asked. */
bool vport_check(const struct vport *, struct vcheck *ret);
const char *balancer_name(enum balancer);	/* as a TrafficPolicy has it */
const char *hash_by_name(enum hash_by);		/* likewise */

/* ---- rate limits ---- */

/* What callers are told apart by. */
enum rate_key { RATE_KEY_NAMESPACE, RATE_KEY_TENANT, RATE_KEYS };

struct vpace {
	uint32_t requests, interval_ms, burst;	/* requests 0: any number */
	uint64_t every_ns;		/* one more each: the interval by the requests, rounded up */
};

struct vrate {				/* the RateLimitPolicy of a port */
	struct slice name;		/* its namespace is the Service's */
	enum rate_key key;
	struct vpace identity, total;	/* of each caller; of all together */
	struct slot_gen slot;		/* of the board; slot 0: no slot is left, so no limits */
};

/* false: none is about this port. */
bool vport_rate(const struct vport *, struct vrate *ret);
const char *rate_key_name(enum rate_key);	/* as a RateLimitPolicy has it */

/* ---- TLS to endpoints ---- */

#define VTLS_CAS   8u	/* at most */
#define VTLS_NAMES 5u
struct vtls {				/* the BackendTLSPolicy of a port */
	struct slice name;		/* its namespace is the Service's */
	struct slice host;		/* the server name that is asked for */
	bool trusts_host;		/* the issuers that the host trusts */
	uint32_t cas;			/* texts of issuers that are trusted; without any nobody is */
	uint32_t names;			/* the certificate has one of them; 0: that of host */
	uint64_t id[2];			/* the same for the same: compared, nothing else */
};

/* false: none is about this port. */
bool vport_tls(const struct vport *, struct vtls *ret);
struct slice vport_tls_ca(const struct vport *, uint32_t i);	/* PEM */
struct slice vport_tls_name(const struct vport *, uint32_t i, bool *ret_is_uri);

/* ---- filters ---- */

/* What is done with the requests of a rule, or of one of its backends, and with the responses. */
enum filter_kind { FILTER_CORS, FILTER_REDIRECT, FILTER_REWRITE, FILTER_REQUEST_HEADERS, FILTER_RESPONSE_HEADERS,
		   FILTER_MIRROR, FILTERS };
enum new_path { PATH_KEPT, PATH_WHOLE, PATH_PREFIX, NEW_PATHS };
enum new_scheme { SCHEME_KEPT, SCHEME_HTTP, SCHEME_HTTPS, NEW_SCHEMES };

struct vfilters {			/* of one rule or backend; in a Service unit */
	uint32_t first, n;
};

struct vfilter {
	enum filter_kind kind;
	struct slice edit;		/* headers: changes of lines of a head, see edit.h */
	/* redirect, rewrite */
	struct slice host;		/* empty: kept */
	enum new_path path_is;
	struct slice path;		/* WHOLE: the new one; PREFIX: what stands before the rest, without
					 * slashes at its end */
	uint32_t cut;			/* PREFIX: bytes of the old path before the rest */
	/* redirect */
	enum new_scheme scheme;
	uint16_t port, status;		/* port 0: none was written */
	/* CORS; edit is that of a response to an origin that may call */
	unsigned cors;			/* CORS_* */
	struct slice miss, plain;	/* edits of others, and of responses to requests without an origin */
	struct slice lines;		/* complete, of an answer to a preflight of an origin that may */
	struct slice origins;		/* see vfilter_allows() */
	/* mirror, with port */
	uint32_t to;			/* id of the Service; 0: refused */
	struct slice to_ns, to_name;	/* as written, for show */
	uint32_t numerator, denominator;
};

/* What cannot be written before a request is seen. */
#define CORS_ANY_ORIGIN	  1u	/* may call */
#define CORS_ECHO_ORIGIN  2u	/* it is named, not * */
#define CORS_ECHO_METHOD  4u
#define CORS_ECHO_HEADERS 8u

/* The port that a mirror filter of this Service sends to; false: there is none. */
bool vfilter_target(const struct vservice *, const struct vfilter *, struct vport *ret);
/* A CORS filter lets scripts of this origin call. */
bool vfilter_allows(const struct vfilter *, struct slice origin);

/* The i-th, in the order of their kinds, of those of a rule or backend that this Service has. */
bool vfilter_at(const struct vservice *, const struct vfilters *, uint32_t i, struct vfilter *ret);
const char *filter_name(enum filter_kind);	/* as a route has it */
/* "set A, B; add C; remove D" for show and explain. */
void vfilter_words(const struct vfilter *, char *out, size_t n);

/* ---- routes ---- */

enum match_result { MATCH_DIRECT, MATCH_RULE, MATCH_NOTHING, MATCH_BY_NAME };

/* Of those that are attached to a port for the same callers the last one counts. */
enum route_kind { ROUTE_TCP, ROUTE_TLS, ROUTE_HTTP, ROUTE_GRPC, ROUTE_KINDS };
const char *route_kind_name(enum route_kind);	/* as in the resource */

struct vrule {
	struct vport port;
	uint32_t index;			/* of the merged rules of this port: by callers, then in order
					 * of precedence */
	uint32_t rule;			/* its number in the unit */
	struct slice callers;		/* of this namespace; empty: all for whom there are no others */
	enum route_kind kind;
	struct slice route_ns, route_name, rule_name;
	uint32_t backends, total_weight;
	struct vfilters filters;
	uint32_t times;			/* it says something for vtimes_of(); 0: it does not */
};

/* What routes may want to know of a request. */
struct vrequest {
	bool is_tls;			/* a connection: path is that of its server name (lib/net/server_name.h) */
	struct slice method;
	struct slice path, query;	/* as they came; query without '?' */
	/* The next line of this header (name in lower case) at or behind line *at, which moves behind
	 * it; false: there is none.  NULL: there are no headers.  Asked only when a match wants one. */
	bool (*header)(const void *arg, struct slice name, uint32_t *at, struct slice *ret);
	const void *arg;
};

/* What routes say for a caller of this namespace.  request NULL: opaque bytes, which only TCPRoutes and
 * TLSRoutes are about.  DIRECT: no routes: its own endpoints serve; RULE: *ret; NOTHING: 404; BY_NAME:
 * they are TLSRoutes, and this was not asked with a server name. */
enum match_result vport_match(const struct vport *, struct slice caller_ns, const struct vrequest *,
			      struct vrule *ret);
/* Of all tables together, and one of them. */
uint32_t vport_rules(const struct vport *);
bool vport_rule_at(const struct vport *, uint32_t i, struct vrule *ret);
/* The rules that a caller of this namespace is matched against: [*ret_first, *ret_first + n); 0:
 * there are none. */
uint32_t vport_rules_for(const struct vport *, struct slice caller_ns, uint32_t *ret_first);
/* "path is not /a", "header x is \"1\", not \"2\"": why the request does not match the rule's
 * conditions.  false: it does. */
bool vrule_misses(const struct vrule *, const struct vrequest *, char *out, size_t n);

struct vbackend {
	bool valid;			/* false: unknown Service or port, refused reference: 500 */
	struct vport port;		/* when valid */
	uint32_t weight;
	struct slice ns, name;		/* as written, for show */
	uint16_t number;
	struct vfilters filters;
};

/* dice is uniform in [0, total_weight). */
bool vrule_backend(const struct vrule *, uint32_t dice, struct vbackend *ret);
bool vrule_backend_at(const struct vrule *, uint32_t i, struct vbackend *ret);
/* "PathPrefix /a, GET, header x = 1" for show and explain. */
void vrule_words(const struct vrule *, char *out, size_t n);

/* ---- times and retries ---- */

struct vtimes {			/* what holds for a request */
	bool has_request, has_attempt;	/* somebody said so; then 0 ms is no limit */
	uint32_t request_ms, attempt_ms;
	struct retries retry;	/* attempts 0: none */
};

/* What a rule says (NULL: there is none) before what the policy of the port says that its requests go
 * to: of the three each as a whole. */
void vtimes_of(const struct vrule *, const struct vport *to, struct vtimes *ret);
/* "request 1s, attempt 500ms, 2 retries on reset, 5xx after 25ms to 250ms"; "" nothing. */
void vtimes_words(const struct vtimes *, char *out, size_t n);

struct vbudget {		/* of the retries of a Service */
	struct slice policy;	/* whose it is, a name in its namespace; empty: the defaults hold */
	bool backend_policy;	/* and that is an XBackendTrafficPolicy */
	uint32_t percent, interval_ms, least;
};
struct vbudget vservice_budget(const struct vservice *);

/* ---- namespaces and tenants ---- */

struct vnamespace {
	struct slice name;
	struct slice tenant;
	struct slot_gen tenant_slot;
	uint32_t weight;		/* of the tenant, 1..1000 */
	uint64_t memory_bytes;		/* quota per worker, 0: the knob */
	uint32_t connections, requests;	/* quotas per worker, 0: the knob */
	struct ns_modes modes;
};

/* Any name has an answer: a namespace nobody wrote down is its own tenant with defaults; then
 * slot.gen is 0 and the worker uses the shared slot 0. */
void view_namespace(const struct view *, struct slice ns, struct vnamespace *ret);
/* Whether a workload of this service account is on this host, as the registry says. */
bool view_places(const struct view *, struct slice ns, struct slice account, struct slice node);
/* The i-th of those of a namespace, by account and node; false: there is none. */
bool view_placed_nth(const struct view *, struct slice ns, uint32_t i, struct slice *ret_account,
		     struct slice *ret_node);

/* ---- all of it, for show ---- */

uint32_t view_service_count(const struct view *);
bool view_service_nth(const struct view *, uint32_t n, struct vservice *ret);	/* by ns, name */
uint32_t view_namespace_count(const struct view *);
bool view_namespace_nth(const struct view *, uint32_t n, struct vnamespace *ret);

#endif
