/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A view as text, one thing per line, in a fixed order: for golden tests and for operators who want
 * to see exactly what the workers see.  Texts that came from documents are quoted where they could
 * hold more than names. */
#ifndef NODEPROXY_STORE_VIEW_DUMP_H
#define NODEPROXY_STORE_VIEW_DUMP_H

#include "nodeproxy/lib/base/must.h"
#include "store/view/view.h"

/* Everything in the view, line by line, each ended by a newline; say gets pieces as they come.
 * Without revisions, so that equal states are equal texts. */
void view_dump(const struct view *, void (*say)(void *arg, const char *p, size_t n), void *arg);
/* Only this Service. */
void view_dump_service(const struct vservice *, void (*say)(void *arg, const char *p, size_t n),
		       void *arg);

#endif
