/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Between route.c and route_match.c. */
#ifndef NODEPROXY_STORE_RESOURCE_ROUTE_INNER_H
#define NODEPROXY_STORE_RESOURCE_ROUTE_INNER_H

#include "store/resource/make.h"

/* The matches of rule `at`, as this kind of route writes them; one for everything when there are
 * none.  *total counts those of the whole route. */
must_use int route_make_matches(struct judge *, const struct doc_node *rule, enum row_kind,
				uint32_t at, uint32_t *total, struct row_rule *);

/* One match for each hostname of a TLSRoute. */
must_use int route_make_names(struct judge *, const struct doc_node *hostnames, struct row_rule *);

#endif
