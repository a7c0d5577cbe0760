/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Questions whose answer is the endpoints of a Service that lacks them (workers/path/await.h): they are asked
 * for, and the question waits for a view that has them, for timeouts.endpoints at most; then it could not be
 * found out.  Each counts for its tenant as one does that waits for a resolver (names.pending). */
#ifndef WORKERS_NAMES_LACKING_H
#define WORKERS_NAMES_LACKING_H

#include "workers/names/names.h"

#define LACKING_MOST 2048

size_t lacking_bytes(void);
/* 0; -EUSERS: the tenant has too many under way, or there is no room. */
must_use int lacking_wait(struct names *, const struct names_from *, const struct dns_query *,
			  const struct vservice *);
/* There is a new view. */
void lacking_view(struct names *);
/* Now and then: who has waited for too long. */
void lacking_tick(struct names *);
/* Nobody of this pod waits any more. */
void lacking_end(struct names *, const struct names_pod *);

#endif
