/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The entries of one table of a port: between pathtree.c, which searches them, and rules.c, which
 * shows them. */
#ifndef NODEPROXY_STORE_VIEW_ENTRIES_H
#define NODEPROXY_STORE_VIEW_ENTRIES_H

#include "store/view/asked.h"

struct entries {
	struct slice unit;
	const struct unit_svc *svc;
	const struct unit_table *table;
	uint32_t index; /* of its first entry among those of the port */
	uint32_t first, n_exact, n;
};

/* Those of table i of the port; false: there is none. */
bool entries_of(const struct vport *, const struct unit_port *, uint32_t i, struct entries *ret);
/* Those for callers of this namespace: theirs, else the ones of everybody. */
bool entries_for(const struct vport *, struct slice caller_ns, struct entries *ret);
const struct unit_entry *entry_at(const struct entries *, uint32_t i);
bool rule_of(const struct vport *, const struct entries *, uint32_t i, struct vrule *ret);

#endif
