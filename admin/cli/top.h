/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Rates from two answers of /v1/top. */
#ifndef ADMIN_CLI_TOP_H
#define ADMIN_CLI_TOP_H

#include <jansson.h>

/* {"by", "seconds", "rows": [...]}: a row for each that is in both answers or new in the second,
 * the largest first by the value at the path ("a.b"; "name": by name); sort NULL: those that did most.
 * NULL: no memory.  The caller's to json_decref.  Totals that went back (a restart in between) count
 * from zero. */
json_t *top_rates(const json_t *before, const json_t *after, const char *sort);

#endif
