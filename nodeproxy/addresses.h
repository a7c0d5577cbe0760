/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The addresses that a pod has, as its namespace says. */
#ifndef NODEPROXY_ADDRESSES_H
#define NODEPROXY_ADDRESSES_H

#include "nodeproxy/lib/ipc/messages.h"

/* In the namespace of whoever calls, which is an errand: all that others can dial, sorted.  0 or -errno. */
must_use int addresses_read(struct pod_addresses *ret);

#endif
