/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Findings of `nodeproxyctl check`: rows of checks.def as JSON, worst first.  Whoever checks runs once
 * per severity (findings_pass), so nothing has to be kept to be sorted. */
#ifndef ADMIN_FINDING_H
#define ADMIN_FINDING_H

#include "admin/text.h"
#include "nodeproxy/lib/ipc/facts.h"

enum severity { ERROR, WARNING, INFO, SEVERITIES };

enum check {
#define CHECK(name, severity, title, todo) CHECK_##name,
#include "admin/checks.def"
#undef CHECK
	CHECKS
};

struct findings {
	struct text *t;
	enum severity pass;	/* only these now */
	unsigned n[SEVERITIES];
};

/* fmt: what it is in particular.  where may be NULL. */
void found(struct findings *, enum check, const char *where, const char *fmt, ...) printf_like(4, 5);
/* Opens the list, and runs fn once per severity; then closes it and says the sums. */
void findings_all(struct text *, void (*fn)(struct findings *, void *arg), void *arg);

/* What struct facts says of a host and its settings; max_conns: limits.connections, 0: not known. */
void check_host(struct findings *, const struct facts *, int64_t max_conns);

#endif
