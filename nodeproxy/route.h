/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The way back of answers to callers whose address is not of the pod (nft.h marks them): one rule per
 * family, what has that mark goes by a table of ours, and one route in it, everything is here.  In the
 * network namespace of whoever calls.
 *
 * The rule stands before those of others, which may choose by addresses; nothing else has that mark.  Left
 * behind, by a keeper that was killed, they lead nothing anywhere: nobody sets the mark any more. */
#ifndef NODEPROXY_ROUTE_H
#define NODEPROXY_ROUTE_H

#include <stdbool.h>

#include "nodeproxy/lib/base/must.h"

#define ORIGIN_MARK 0x111	/* of 0xfff: as in Istio */

/* What is there already, or gone already, is no error.  0 or -errno. */
must_use int route_origin(bool on, bool has_ipv6);

#endif
