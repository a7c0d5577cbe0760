/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See reason.h. */
#include "nodeproxy/lib/base/reason.h"

static const struct reason_row rows[REASONS] = {
#define REASON(name, fault, http, retry, flag, words)                                              \
	[REASON_##name] = { #name, FAULT_##fault, http, RETRY_##retry, flag, words },
#include "nodeproxy/lib/base/reasons.def"
#undef REASON
};

const struct reason_row *reason_row(enum reason r)
{
	return &rows[(unsigned)r < REASONS ? r : REASON_OUR_BUG];
}

const char *fault_name(enum fault f)
{
	static const char *const names[FAULTS] = { "nobody", "front",  "back", "tenant",
						   "operator", "policy", "us" };

	return (unsigned)f < FAULTS ? names[f] : "us";
}
