/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The model: everything the sync process knows, in memory.
 *
 * Two layers.  What is *written*: places hold claims (this document is resource K) and refusals;
 * the claims of a resource are ordered by (place, line) and the first good one is *served*.  A
 * resource whose only claims are refused ones keeps what it served last.  What is *meant* (units.c):
 * services, spaces (namespaces) and tenants are hubs that served rows are linked to, whether or not
 * the row they are about exists; a hub that is touched gets its unit compiled again.
 *
 *   phase      calls
 *   telling    model_snapshot, model_place/same/unreadable/gone, in any order
 *   settled    model_settle: the change set is true, the builder has its units, the journal its
 *              notes; only now are status.c and report.c asked
 *
 * Owns all rows (shared with the journal by count).  Out of memory leaves the old state of a place
 * or unit, counted in `shortages`, and the place must be told again. */
#ifndef NODEPROXY_STORE_SYNC_MODEL_H
#define NODEPROXY_STORE_SYNC_MODEL_H

#include "nodeproxy/lib/base/hash.h"
#include "nodeproxy/lib/base/list.h"
#include "store/sync/changeset.h"
#include "store/sync/demand.h"
#include "store/sync/journal.h"
#include "store/sync/modes.h"
#include "store/sync/residents.h"
#include "store/sync/slots.h"
#include "store/sync/workloads.h"
#include "store/view/build.h"

struct place {
	struct hash_node by_name;
	struct node in_model;	/* in no order */
	struct node claims;	/* claim.in_place, as written */
	struct node refusals;	/* refused.in_place */
	bool seen;		/* by the snapshot being told */
	bool keeps;		/* a refusal has no key: claims that vanished may be in it */
	char name[];
};

struct refused {
	struct node in_place;
	struct refusal *refusal;
	struct resource *resource;	/* NULL: its key is unknown */
};

/* What a served row is linked to: Services; spaces from LINK_TENANT on.  LINK_GRANT: a ReferenceGrant
 * to the space it is in; LINK_GRANTED: a route to the other spaces it wants something of; LINK_TRUSTS: a
 * BackendTLSPolicy to the space of its ConfigMaps.  LINK_PLACED: a Workload to its own
 * space. */
enum link_kind {
	LINK_SLICE, LINK_PARENT, LINK_POLICY, LINK_RATE, LINK_TLS, LINK_TENANT, LINK_GRANT, LINK_GRANTED,
	LINK_TRUSTS, LINK_PLACED, LINKS
};

struct link {
	enum link_kind kind;
	struct node in_resource, in_hub;
	struct resource *resource;
	union {
		struct service *service;
		struct space *space;	/* LINK_TENANT and behind it */
	};
};

struct resource {
	struct hash_node by_key;
	enum row_kind kind;
	struct node claims;	/* claim.in_resource, by place and line */
	struct node touched;	/* in model.touched */
	struct node links;	/* link.in_resource: of the served row */
	struct held *served;	/* NULL: nothing */
	struct claim *winner;	/* whose row is served; NULL when the last good one is kept */
	char *conflict;		/* why the served row has no effect; NULL: it has */
	uint64_t status_was, status_now;	/* what its conditions said last (status.c) */
	int64_t status_unix_ms;		/* and since when */
	uint64_t mark;			/* model.mark: claimed by the place being told, before */
	const char *ns, *name;
	char text[];
};

struct claim {
	struct node in_place, in_resource;
	struct place *place;
	struct resource *resource;
	uint32_t line;
	struct held *held;	/* NULL: refused, or kept by place.keeps */
	bool refused;		/* a refusal says why held is NULL */
};

struct vip_claim {
	struct node in_vip;
	struct vip *vip;	/* NULL: not claimed */
	struct service *service;
};

struct vip {
	struct hash_node by_addr;
	struct addr addr;
	struct node claims;	/* vip_claim.in_vip */
};

struct endpoint_slot {
	struct addr addr;	/* family 0: free */
	struct slot_gen slot;
	uint32_t round;		/* of service.round when it was compiled last */
};

struct port_slot {		/* of a port that has limits, or rate limits */
	uint16_t port;
	struct slot_gen slot;
	uint32_t round;		/* of service.round when it was compiled last */
};

struct port_slots {
	struct port_slot *p;
	uint32_t n;
};

struct service {
	struct hash_node by_name;
	struct node touched;		/* in model.touched_services */
	struct resource *resource;	/* the Service, NULL while nobody wrote it */
	struct node links[LINK_TENANT];	/* its slices; routes and policies attached to it */
	struct vip_claim vip[2];
	struct addr ip[2];		/* addresses it asks for: written, or hashed */
	bool hashed;
	bool in_view;
	bool no_consumers;		/* there is no room for routes of other namespaces */
	struct slot_gen slot;
	struct endpoint_slot *endpoint;	/* open addressing; room is a power of two or 0 */
	uint32_t endpoints, room, round;
	struct port_slots limits, rates;
	uint32_t grpc_routes;		/* attached to it: while there are none no HTTPRoute loses */
	const char *ns, *name;
	char text[];
};

struct tenant {			/* a holder of a board slot */
	struct hash_node by_key;
	struct slot_gen slot;
	uint32_t spaces;
	char key[];		/* "tenant/NAME", or "namespace/NAME" for one on its own */
};

struct space {
	struct hash_node by_name;
	struct node in_model;
	struct node touched;
	struct resource *resource;	/* the Namespace, NULL while nobody wrote it */
	struct node links[LINKS - LINK_TENANT];	/* link.in_hub, by kind: Tenants that list it … */
	struct tenant *tenant;		/* while in the view */
	struct resource *owner;		/* the Tenant that has it; NULL: it is its own */
	uint32_t services;		/* in it */
	bool wanted;			/* a listener's callers are in it */
	bool in_view;
	char name[];
};

static inline struct node *space_links(struct space *s, enum link_kind kind)
{
	return &s->links[kind - LINK_TENANT];
}

struct model_counts {
	uint32_t places, documents, served[ROW_KINDS], refused, conflicts;
};

struct model {
	struct hash places, resources, services, spaces, tenants, vips;
	struct node all_places, all_spaces;
	struct node touched;		/* resources */
	struct node touched_services, touched_spaces;
	bool tenants_touched;
	bool snapshot;
	bool stored;			/* what was added last is in the store: no notes about rows */
	uint64_t shortages, mark;
	struct slots slot[SLOT_SCOPES];
	uint32_t gen;			/* last generation of a slot */
	struct addr cidr;		/* for Services without clusterIP; family 0: none */
	unsigned cidr_bits;
	struct builder *builder;
	struct journal journal;
	struct modes modes;
	struct workloads workloads;
	struct residents residents;
	struct demand *demand;		/* NULL: all endpoints are here */
	bool demanded;			/* a unit is another one because of it */
	char domain[254];
	char zone[128];			/* of the host; "": not known */
};

/* domain: DNS suffix; cidr: "10.96.0.0/12" or ""; zone: of the host, or "".  0, -EINVAL, -ENOMEM. */
must_use int model_init(struct model *, const char *domain, const char *cidr, const char *zone);
void model_fini(struct model *);

/* A slot as the store has it; ignored when it makes no sense. */
void model_slot(struct model *, enum slot_scope, struct slice key, struct slot_gen);
/* Namespaces of listeners are in the view even when nobody wrote them. */
must_use int model_want_space(struct model *, const char *name, bool wanted);

/* Whether the Service of this key_hash() has its endpoints here may be another matter now. */
void model_demanded(struct model *, uint64_t service);

void model_snapshot(struct model *);
/* Everything a place says now; takes the documents. */
void model_place(struct model *, const char *place, struct documents *);
/* One more document at a place: how rows come from the store. */
void model_add_stored(struct model *, const char *place, uint32_t line, struct row **);
/* A document in the store that is not valid any more; takes the refusal. */
void model_add_refusal(struct model *, const char *place, struct refusal **);
void model_same(struct model *, const char *place);
void model_unreadable(struct model *, const char *place, const char *why);
void model_gone(struct model *, const char *place);
/* The source is lost in the middle of a snapshot: places it did not come to are still there. */
void model_snapshot_broken(struct model *);

/* Ends the change set.  True when something that is served changed: commit the builder. */
must_use bool model_settle(struct model *);
/* Another DNS suffix and range of addresses: model_rebuild() makes them true.  0 or -EINVAL. */
must_use int model_settings(struct model *, const char *domain, const char *cidr, const char *zone);
/* A new builder with all units, for when workers refused what the old one made. */
must_use int model_rebuild(struct model *);

void model_counts(const struct model *, struct model_counts *ret);
struct resource *model_find(const struct model *, enum row_kind, const char *ns, const char *name);

/* ---- between model.c and units.c ---- */

uint64_t key_hash(unsigned kind, struct slice ns, struct slice name);
struct service *service_find(const struct model *, struct slice ns, struct slice name);
struct space *space_find(const struct model *, const char *name);
/* Its unit is compiled again when the change set is settled. */
void touch_service(struct model *, struct service *);
/* Links and touches hubs as the served row of r goes from was to r->served (either may be NULL). */
void units_served(struct model *, struct resource *r, const struct held *was);
/* A ReferenceGrant permits the reference: route_granted_fn, of a model. */
bool units_granted(void *model, const struct row *route, const struct row_backend *);
/* Which kind of link leads from a policy to its Services. */
enum link_kind units_link_of(enum row_kind policy);
/* config_map_fn, of a model. */
const struct row *units_config_map(void *model, const char *ns, const char *name);
/* The served rows at the other end of a hub's links; free() it; NULL: no memory. */
const struct row **units_linked(const struct node *links, uint32_t *ret_n);
/* Settles addresses and tenants, then gives the builder every touched unit. */
void units_settle(struct model *);
void units_fini(struct model *);
void resource_conflict(struct resource *, const char *text);	/* NULL or "": none */

#endif
