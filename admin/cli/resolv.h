/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* `pod add --resolv-conf FILE`: the file is read here, by whoever may read it, and the daemon is told the
 * addresses. */
#ifndef ADMIN_CLI_RESOLV_H
#define ADMIN_CLI_RESOLV_H

#include <stddef.h>

#include "nodeproxy/lib/base/must.h"

/* The addresses of its nameserver lines, a line each, behind those that are in lines already: 0, -ENOENT (it
 * has none), -ENOSPC, or -errno. */
must_use int resolv_add(const char *file, char *lines, size_t room);

#endif
