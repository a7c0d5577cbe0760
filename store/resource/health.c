/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* healthCheck of a TrafficPolicy. */
#include <errno.h>

#include "store/resource/make.h"

#define INTERVAL_MS 3000
#define TIMEOUT_MS  1000
#define UNHEALTHY   3

int make_health(struct judge *j, const struct doc_node *m, struct row_health *h)
{
	const struct doc_node *path = doc_get(m, "path"), *statuses = doc_get(m, "expectedStatuses");
	bool http = slice_eq(make_slice_of(m, "type"), SLICE("HTTP"));

	if (m == NULL)
		return 0;
	judge_field(j, "spec.healthCheck.%s", path ? "path" : "expectedStatuses");
	if (!http && (path || statuses))
		return judge_refuse(j, (path ?: statuses)->line, "is for type HTTP only");
	h->type = http ? ROW_CHECK_HTTP : ROW_CHECK_TCP;
	h->path = make_text(m, "path", "/");
	if (h->path == NULL)
		return -ENOMEM;
	h->interval_ms = make_duration(m, "interval", INTERVAL_MS);
	h->timeout_ms = make_duration(m, "timeout", TIMEOUT_MS);
	h->healthy = (uint8_t)make_number(m, "healthyThreshold", 1);
	h->unhealthy = (uint8_t)make_number(m, "unhealthyThreshold", UNHEALTHY);
	for (const struct doc_node *s = statuses ? statuses->first : NULL; s; s = s->next, h->n_statuses++)
		if (!schema_statuses(s->text, &h->status[h->n_statuses].from, &h->status[h->n_statuses].to))
			return -EINVAL;		/* the schema has read it already */
	if (h->n_statuses == 0) {
		h->status[0].from = 200;
		h->status[0].to = 399;
		h->n_statuses = 1;
	}
	return 0;
}
