/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Why a master cannot start, for the operator: on standard error, and remembered, because the
 * operator of an upgrade does not look there but waits for an answer. */
#ifndef NODEPROXY_WORDS_H
#define NODEPROXY_WORDS_H

#include "nodeproxy/lib/base/must.h"

/* Writes "nodeproxy: ..." and a line end. */
void words_say(const char *fmt, ...) printf_like(1, 2);
/* The first of them, which is the cause; "" when there were none. */
const char *words_first(void);

#endif
