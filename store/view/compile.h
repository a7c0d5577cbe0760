/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Rows -> the bytes of one unit (layout.h).  Pure: the same rows give the same bytes, whatever the
 * order they are handed over in.
 *
 * Ports: the Service's TCP ports; UDP and SCTP are not carried and not in the view.
 *
 * Endpoints: a slice's port belongs to the Service port of the same name, as in Kubernetes.  Of a
 * Service with a clusterIP only endpoints of that IP's family are used when there are any (a
 * dual-stack pod is listed twice).  An address listed twice (slices being rearranged) is one
 * endpoint, ready when either says so, of the larger weight and the better priority.  Ready endpoints
 * come first, by level (priority, then the host's own zone before others where the policy prefers it),
 * then by address and port.
 *
 * Routes: the rules of all routes given whose parentRefs name this Service and port.  A route in
 * another namespace than the Service's is a consumer route (GAMMA): it binds only its own
 * namespace's callers, who go by such routes alone when there are any for the port; everybody else
 * goes by those of the Service's namespace.  Within each of these groups one kind counts at a port:
 * GRPCRoute before HTTPRoute before TLSRoute before TCPRoute (a group at a time, so that nobody who may write
 * routes for his own callers can switch off those of others), and its rules are merged in Gateway
 * API precedence: Exact before PathPrefix, longer prefix before shorter, one that wants a method
 * before one that does not, more headers, more query parameters, then the oldest route, then
 * namespace/name, then the order inside the route.  Of TCPRoutes the oldest counts alone.  A route
 * that has no parentRef for a port leaves that port without routes: its own endpoints serve.
 *
 * Backends: see route_backend(); one that is not permitted is kept, marked refused, and answers 500
 * for its weight.
 *
 * Policies: see policy_of_port(). */
#ifndef NODEPROXY_STORE_VIEW_COMPILE_H
#define NODEPROXY_STORE_VIEW_COMPILE_H

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"
#include "store/rows.h"
#include "store/view/view.h"

#define UNIT_MAX_BYTES (64u << 20)

/* A ReferenceGrant permits this reference of a route. */
typedef bool (*route_granted_fn)(void *arg, const struct row *route, const struct row_backend *);

/* The ConfigMap of this name; NULL: there is none. */
typedef const struct row *(*config_map_fn)(void *arg, const char *ns, const char *name);

struct unit_service {
	const struct row *service;	 /* ROW_SERVICE */
	const struct row *const *slices; /* ROW_SLICE, of this Service */
	uint32_t n_slices;
	const struct row *const
		*routes; /* of any kind that name it as a parent; others are skipped */
	uint32_t n_routes;
	const struct row *const *policies; /* ROW_POLICY and ROW_BACKEND_POLICY; those of
					    * other Services are skipped */
	uint32_t n_policies;
	struct slice zone; /* of the host; empty: not known */
	const struct row *const *rates; /* ROW_RATE, likewise */
	uint32_t n_rates;
	const struct row *const *tls; /* ROW_BACKEND_TLS, likewise */
	uint32_t n_tls;
	config_map_fn config_map; /* NULL: there is none */
	bool lacks_endpoints; /* they are not on this host: there are no slices */
	struct slot_gen slot; /* of the Service on the board; {0, 0}: the shared slot */
	/* The board slot of an address and port, asked once per endpoint of each port; {0, 0}:
	 * shared. */
	struct slot_gen (*endpoint_slot)(void *arg, const struct addr *);
	/* The board slot of the limits of a port that has some; {0, 0}: none is left, no limits. */
	struct slot_gen (*limit_slot)(void *arg, uint16_t port);
	/* Likewise of its rate limits. */
	struct slot_gen (*rate_slot)(void *arg, uint16_t port);
	/* NULL: there is no ReferenceGrant. */
	route_granted_fn granted;
	void *arg;
};

/* Where a service account has a workload. */
struct placed {
	const char *account, *node;
};

struct unit_namespace {
	struct slice name;
	struct slice tenant; /* empty: the namespace is its own tenant */
	struct slot_gen tenant_slot;
	uint32_t weight; /* 1..1000 */
	uint64_t memory_bytes;
	uint32_t connections, requests;
	struct ns_modes modes;
	struct placed *placed; /* in any order, also more than once: it is sorted in place */
	uint32_t n_placed;
};

/* A unit in the making; bytes and refs are malloc'ed, unit_bytes_fini() frees them. */
struct unit_bytes {
	uint8_t *p;
	uint32_t n, room;
	uint32_t *refs; /* ids of other units that this one names */
	uint32_t n_refs, room_refs;
};

/* Gives the id of the Service ns/name, making one up when it is new; 0: no memory. */
typedef uint32_t (*unit_id_fn)(void *arg, struct slice ns, struct slice name);

/* 0, -ENOMEM, -E2BIG, -EINVAL; *ret may hold memory in every case. */
must_use int compile_service(const struct unit_service *, uint32_t id, unit_id_fn, void *id_arg,
			     struct unit_bytes *ret);
must_use int compile_namespace(const struct unit_namespace *, uint32_t id, struct unit_bytes *ret);
void unit_bytes_fini(struct unit_bytes *);

/* What a reference of a route to a backend is worth, for requests to a Service of parent_ns: only
 * Services serve, and one in another namespace than the route's needs a ReferenceGrant there.  A
 * consumer route needs none for the namespace of its parent: its callers could go there anyway. */
enum route_backend { BACKEND_PERMITTED, BACKEND_NOT_PERMITTED, BACKEND_NO_SERVICE };
enum route_backend route_backend(const struct row *route, const char *parent_ns,
				 const struct row_backend *, route_granted_fn, void *arg);

/* What a reference of a BackendTLSPolicy to certificates is worth: those that are not good are left out. */
enum ca_ref { CA_GOOD, CA_NO_KIND, CA_NOT_FOUND, CA_FLAWED };
enum ca_ref ca_of_ref(const struct row *policy, const struct row_ca_ref *, config_map_fn, void *arg,
		      const struct row **ret);

/* Which of the routes counts at a port of this Service in place of this one, which is attached to
 * it: one for the same callers of a kind that comes first, or a TCPRoute that is older; route itself
 * when it counts. */
const struct row *route_of_port(const struct row *const *routes, uint32_t n,
				const struct row *service, const struct row_service_port *,
				const struct row *route);

/* Whose retry budget counts for a Service: the oldest XBackendTrafficPolicy's, then the first by name;
 * else likewise of the TrafficPolicies that have one; NULL: nobody's. */
const struct row *budget_of_service(const struct row *const *policies, uint32_t n,
				    const struct row *service);
/* Which of these policies, all of one kind, counts for a port of this Service: one that names the port by sectionName
 * before one that does not, then the oldest, then the first by name; NULL: none is about it. */
const struct row *policy_of_port(const struct row *const *policies, uint32_t n,
				 const struct row *service, const struct row_service_port *);

#endif
