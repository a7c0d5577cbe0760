/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Which Services' endpoints are on this host, where not all are (source.slices: on-demand).
 *
 * etcd cannot leave EndpointSlices out of a watch: they lie between other keys of their namespace, and one
 * watch for each namespace and kind would be thousands.  So the source hears of every one, and of those of
 * Services that nobody uses here it keeps the name only, with the name of the Service, which it finds in the
 * value without parsing it (slice_service()).  So they are found again whatever they are called, are fetched
 * by their keys, and that the rest of them changes costs neither a change set nor memory.
 *
 *   state     a Service that
 *   LEFT      nobody uses: its slices are names
 *   FETCHING  somebody does, or a listener leads to it: its slices are being told, and are no endpoints yet
 *   HERE      has all of them told, and whatever changes of them from now on
 *
 * Use keeps it HERE (uses.h); demand_leave() makes it LEFT again.  What the store had is HERE from the start:
 * it was used. */
#ifndef NODEPROXY_STORE_SYNC_DEMAND_H
#define NODEPROXY_STORE_SYNC_DEMAND_H

#include "nodeproxy/lib/base/hash.h"
#include "nodeproxy/lib/base/list.h"
#include "nodeproxy/lib/base/ratelimit.h"
#include "nodeproxy/lib/base/slice.h"

/* Services of which the endpoints begin to be fetched, a second: what workers ask for beyond is asked for
 * again while somebody waits, so that a broken one cannot make this host read everything at once. */
#define DEMAND_FETCHES_S 200u

enum demand_state { DEMAND_LEFT, DEMAND_FETCHING, DEMAND_HERE };

/* One that is not LEFT; of all others there are slices at most. */
struct demand_service {
	struct hash_node by_name;	/* key_hash(): as the model's */
	struct node in_wanted;
	uint32_t left;			/* slices that are not told */
	uint8_t state;			/* enum demand_state */
	bool pinned;			/* a listener leads to it */
	struct mono since;		/* of the state */
	struct mono used;		/* last */
	uint64_t uses;			/* that were counted by then */
	const char *ns, *name;
	char text[];
};

/* There are as many as in the registry: 64 bytes, where names are as short as they mostly are. */
struct demand_slice {
	struct hash_node by_name;
	struct hash_node by_service;	/* by its name's hash, which stands for it; 0: it is of none */
	uint32_t listed;		/* the snapshot that had it last */
	bool is_left;
	uint8_t ns_n;
	char text[];			/* namespace, name, with a NUL each */
};

static inline const char *demand_slice_name(const struct demand_slice *x)
{
	return x->text + x->ns_n + 1;
}

struct demand {
	struct hash services, slices, of_services;
	struct node wanted;
	uint32_t here, fetching, left;	/* Services, Services, slices */
	uint32_t most;			/* slices */
	uint64_t fetches, let_go, refused;
	uint64_t last_ms, max_ms;	/* from the first who asked until all were told */
	struct ratelimit rate;
	/* Whether the Service of this hash has its endpoints may be another matter now. */
	void (*changed)(void *arg, uint64_t service);
	void *arg;
};

void demand_init(struct demand *, uint32_t most, void (*changed)(void *, uint64_t), void *arg);
void demand_fini(struct demand *);

/* ---- what the model asks ---- */

/* Its endpoints are all told. */
bool demand_is_here(const struct demand *, const char *ns, const char *name);
/* It has EndpointSlices in the registry, told or not. */
bool demand_has_slices(const struct demand *, const char *ns, const char *name);
/* The store has a slice of it. */
void demand_stored(struct demand *, const char *ns, const char *name);

/* ---- what others want ---- */

/* Somebody asks for the endpoints of this Service, which exists.  True: the source is to fetch something. */
bool demand_want(struct demand *, const char *ns, const char *name);
/* A listener leads to it (no more). */
void demand_pin(struct demand *, const char *ns, const char *name, bool pinned);
struct demand_service *demand_find(const struct demand *, const char *ns, const char *name);

/* ---- what the source says ---- */

/* The name of the Service in the label of a slice; empty: it has none, or it cannot be read. */
struct slice slice_service(struct slice json, char room[64]);
/* The slice is there, and of this Service.  True: it is to be told. */
bool demand_seen(struct demand *, struct slice ns, struct slice name, struct slice service, uint32_t listing);
/* It is not there (any more). */
void demand_gone(struct demand *, struct slice ns, struct slice name);
/* Those that the snapshot did not have are gone. */
void demand_listed(struct demand *, uint32_t listing);
/* The next slice to be fetched behind this one (NULL: the first); NULL: none is. */
struct demand_slice *demand_next(const struct demand *, const struct demand_slice *);
/* One of a Service that is being fetched. */
bool demand_is_due(const struct demand *, const struct demand_slice *);
/* The next slice of a wanted Service behind this one (NULL: the first); NULL: there is none. */
struct demand_slice *demand_slice_of(const struct demand *, const struct demand_service *,
				     const struct demand_slice *);
struct demand_slice *demand_slice_find(const struct demand *, struct slice ns, struct slice name);
/* It was told, or could not be: it is not left any more. */
void demand_told(struct demand *, struct demand_slice *);
/* Of those that are being fetched the one that was asked for first; NULL: none is. */
const struct demand_service *demand_oldest(const struct demand *);
/* Whatever is asked for and has no slice left to be told is here now: the source knows all slices there are.
 * True: something is. */
bool demand_settle(struct demand *);
/* Nobody uses it any more: its slices are left.  The source has let go of them. */
void demand_leave(struct demand *, struct demand_service *);

#endif
