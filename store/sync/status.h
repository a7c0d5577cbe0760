/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Status of resources: conditions with the words of the Gateway API.
 *
 *   routes     per parent: Accepted (Accepted, NoMatchingParent, UnsupportedValue, Conflicted when a
 *              route that comes first counts for all the ports it is about, Pending when those
 *              for callers of other namespaces are too many for a unit), ResolvedRefs
 *              (ResolvedRefs, BackendNotFound, RefNotPermitted, InvalidKind), and while an older
 *              version serves than the newest, which was refused, PartiallyInvalid
 *              (UnsupportedValue, "Fall Back")
 *   TrafficPolicy, RateLimitPolicy  per target ("ancestor", GEP-713): Accepted (Accepted, TargetNotFound, Conflicted
 *              when other policies count for all the ports it is about, Pending when the board has
 *              no slot left for its limits)
 *   Workload   Accepted, and Enrolled: whether it is captured on this host (Enrolled, Pending, NotCaptured,
 *              OtherNode)
 *   others     Accepted (Accepted, AddressCollision, Conflict, Invalid)
 *
 * Computed from the settled model whenever asked; nothing is stored but the time of the last
 * change of what a condition says. */
#ifndef NODEPROXY_STORE_SYNC_STATUS_H
#define NODEPROXY_STORE_SYNC_STATUS_H

#include <stdio.h>

#include "store/sync/model.h"

/* A JSON string. */
void json_text(FILE *, const char *);
/* The status object of a resource that is served, or refused with a known key. */
void status_json(FILE *, const struct model *, struct resource *);
/* The refusal that stands against the newest version of it; NULL: none. */
const struct refusal *status_refusal(const struct resource *);

#endif
