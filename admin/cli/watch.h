/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* nodeproxyctl top. */
#ifndef ADMIN_CLI_WATCH_H
#define ADMIN_CLI_WATCH_H

#include "admin/cli/asked.h"

/* Looks again and again and shows what happened in between.  An exit code. */
int watch(const struct asked *, const char *target);

#endif
