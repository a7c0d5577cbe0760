/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Reasons: see reasons.def.  A row is read-only and lives as long as the program. */
#ifndef NODEPROXY_LIB_BASE_REASON_H
#define NODEPROXY_LIB_BASE_REASON_H

enum fault { FAULT_NOBODY, FAULT_FRONT, FAULT_BACK, FAULT_TENANT, FAULT_OPERATOR, FAULT_POLICY,
	     FAULT_US, FAULTS };
enum retry { RETRY_NO, RETRY_SAFE, RETRY_IDEMPOTENT };

enum reason {
#define REASON(name, fault, http, retry, flag, words) REASON_##name,
#include "nodeproxy/lib/base/reasons.def"
#undef REASON
	REASONS
};

struct reason_row {
	const char *name;
	enum fault fault;
	int http;
	enum retry retry;
	const char *flag;
	const char *words;
};

/* Never NULL: a number out of range is the row of OUR_BUG. */
const struct reason_row *reason_row(enum reason);
const char *fault_name(enum fault);

#endif
