/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Modes of namespaces (ns_modes.def) as the sync process tells them: those that are not the default.
 *
 * Told anew as a whole by every sync process and to every master; what was told before and is not any
 * more has the default again.  Pods have what they were told last (pods.h) until then, so neither the
 * death of the one nor of the other changes anything for them. */
#ifndef NODEPROXY_SPACES_H
#define NODEPROXY_SPACES_H

#include "nodeproxy/lib/base/hash.h"
#include "nodeproxy/lib/base/ns_modes.h"
#include "nodeproxy/lib/ipc/messages.h"

struct master;
struct child;

#define SPACES_MAX 65536	/* with modes of their own; others are not remembered, which is said */

struct spaces {
	struct hash by_name;
	uint32_t round;		/* of BEGIN */
};

/* What is known of it now; the default when nothing is. */
struct ns_modes spaces_modes(const struct master *, const char *ns);
void spaces_told(struct master *, struct child *, const struct msg_ns_modes *);

#endif
