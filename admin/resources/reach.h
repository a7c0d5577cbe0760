/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* How the registry is reached, and as whom: the source of nodeproxy.yaml, and what was said instead.
 *
 * A host may read its registry, and write below its own name alone; so whoever writes resources to an
 * etcd says who he is (--user, --cert), or uses a nodeproxy.yaml of his own. */
#ifndef ADMIN_RESOURCES_REACH_H
#define ADMIN_RESOURCES_REACH_H

#include "admin/resources/resources.h"

/* NULL: said why not, with *ret_code. */
struct registry *reach_registry(const struct options *, const struct knobs *, bool write, int *ret_code);

#endif
