/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* RateLimitPolicy, attached to Services of its own namespace as a TrafficPolicy is. */
#include "store/resource/make.h"

/* A burst that takes longer to come again is no rate: and times of it fit 64 bits of ns. */
#define REFILL_MAX_MS (7 * 24 * 3600 * 1000ull)

static int pace(struct judge *j, const struct doc_node *spec, const char *name, struct row_pace *p)
{
	const struct doc_node *m = doc_get(spec, name);

	if (m == NULL)
		return 0;
	p->requests = (uint32_t)make_number(m, "requests", 0);
	p->interval_ms = make_duration(m, "interval", 1000);
	p->burst = (uint32_t)make_number(m, "burst", p->requests);
	judge_field(j, "spec.%s.burst", name);
	if ((uint64_t)p->burst * p->interval_ms / p->requests > REFILL_MAX_MS)
		return judge_refuse(j, doc_get(m, "burst")->line,
				    "takes more than 7 days to come again at this rate");
	return 0;
}

int make_rate(struct judge *j, const struct doc_node *root, struct row *r)
{
	const struct doc_node *spec = doc_get(root, "spec");
	struct row_rate *p = &r->rate;
	int e = make_targets(j, spec, &p->targets, &p->n_targets);

	if (e == 0)
		e = pace(j, spec, "identity", &p->identity);
	if (e == 0)
		e = pace(j, spec, "total", &p->total);
	if (e < 0)
		return e;
	p->key = slice_eq(make_slice_of(doc_get(spec, "identity"), "key"), SLICE("Tenant")) ?
			 ROW_RATE_TENANT : ROW_RATE_NAMESPACE;
	judge_field(j, "spec");
	if (p->identity.requests == 0 && p->total.requests == 0)
		return judge_refuse(j, spec->line, "limits nothing: write identity, total or both");
	return 0;
}
