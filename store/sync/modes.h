/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What the master is to know of namespaces: their modes (ns_modes.def), as far as they are not the
 * default.  Part of the model, which queues here what is to be said; syncd.c says it.
 *
 *   phase     queued
 *   silent    nothing: the first view is not made yet
 *   telling   by modes_all(): a beginning, each namespace whose modes are not the default, an end
 *   telling   by modes_changed(): each namespace as it changes
 *
 * modes_all() again, for a master that is new, takes the place of whatever waits. */
#ifndef NODEPROXY_STORE_SYNC_MODES_H
#define NODEPROXY_STORE_SYNC_MODES_H

#include "nodeproxy/lib/ipc/messages.h"

struct model;

struct modes {
	struct msg_ns_modes *queue;	/* [next, n) waits */
	size_t next, n, room;
	bool telling;
};

void modes_all(struct model *);
/* From what it was to what it is; NULL: there is no such Namespace. */
void modes_changed(struct model *, const char *ns, const struct ns_modes *was, const struct ns_modes *now);
void modes_fini(struct modes *);
static inline const struct msg_ns_modes *modes_next(const struct modes *m)
{
	return m->next < m->n ? &m->queue[m->next] : NULL;
}
/* The next one was said. */
void modes_said(struct modes *);

#endif
