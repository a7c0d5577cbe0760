/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The metrics listener: /metrics (Prometheus text, 0.0.4), /healthz/ready, /healthz/live.
 *
 * Only slots that the view names are looked at.  What shares a slot (the board is full) is one
 * series without a name, never the same number under many names. */
#ifndef ADMIN_METRICS_H
#define ADMIN_METRICS_H

#include "admin/gather.h"
#include "admin/serve.h"

/* Series of single endpoints stop here: a scrape of more helps nobody. */
#define METRICS_ENDPOINTS 10000u

void metrics_text(struct state *, struct text *);
/* Answers any request of the metrics listener. */
void metrics_answer(struct state *, const struct wire_request *, struct answer *ret);

#endif
