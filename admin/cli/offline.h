/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* check without a daemon: what nodeproxyctl can see of this host itself, and what nodeproxy -t says of
 * the bootstrap file. */
#ifndef ADMIN_CLI_OFFLINE_H
#define ADMIN_CLI_OFFLINE_H

#include "admin/text.h"

/* The answer that the daemon would give, as a JSON object; problem: why it did not. */
void offline_check(const char *problem, struct text *ret);
/* What only nodeproxyctl can find in a daemon's answer: that it is of another version. */
void offline_compare(json_t *answer);

#endif
