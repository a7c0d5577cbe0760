/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Residents: the captured pods of all hosts, as their hosts say them, and which Services select them.
 *
 * They are rows like others (model.h), found by their labels (labels.h), as Services with a selector are.
 * While nobody wrote an EndpointSlice for such a Service, it is compiled with slices that are made here of
 * the pods it selects, and kept nowhere.
 *
 * An address that pods of two hosts have is no endpoint of either: one of them is wrong, or lies.  A pod
 * that is draining takes none from another, so that one may move with its address. */
#ifndef NODEPROXY_STORE_SYNC_RESIDENTS_H
#define NODEPROXY_STORE_SYNC_RESIDENTS_H

#include "nodeproxy/lib/base/hash.h"
#include "store/rows.h"
#include "store/sync/labels.h"

struct held;
struct model;
struct resource;
struct service;

struct residents {
	struct hash by_addr;		/* resident_addr, of each address of each that is served */
	struct labels labels;
};

void residents_fini(struct residents *);
/* What is served of r, a Service, is another row or none. */
void residents_selects(struct model *, struct resource *r);
/* What is served of r, a Resident, is another row or none. */
void residents_served(struct model *, struct resource *r, const struct held *was);

/* What one is made of: slices of both families, borrowing from the rows of pods and of the Service. */
struct residents_slices {
	struct row row[2];
	const struct row *slice[2];
	uint32_t n;
};

/* Whether its endpoints are pods. */
bool residents_serve(const struct service *);
/* 0 or -ENOMEM; drop what was made in either case. */
must_use int residents_slices(struct model *, const struct service *, struct residents_slices *ret);
void residents_slices_drop(struct residents_slices *);

/* The place is one that hosts write (store/resource/resident.c). */
bool residents_place_is(const char *place);

#endif
