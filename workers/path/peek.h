/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Callers of a port that has TLSRoutes: the name that they ask for, looked at in their ClientHello,
 * which waits at the front meanwhile and goes on to the endpoint as it came. */
#ifndef WORKERS_PATH_PEEK_H
#define WORKERS_PATH_PEEK_H

#include "nodeproxy/lib/net/server_name.h"
#include "workers/path/exchange.h"

/* For match: NEXT: *ret, in path, is what to look for; WAIT: there is more to come; END: it is not
 * TLS, has no name, or did not come in time. */
enum step peek_server_name(struct exchange *, char path[SERVER_NAME_PATH], struct slice *ret);

#endif
