/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See overload.h. */
#include "workers/path/overload.h"

#include "nodeproxy/lib/base/log.h"

bool overload_draws(struct exchange *ex)
{
	struct path *p = ex->conn->path;

	if (!shed_draws(&ex->tenant->shed))
		return false;
	/* Of a copy nobody is told, so it counts for nobody: mirrors_failed has it. */
	if (likely(!ex->conn->is_mirror)) {
		board_add(&p->mine->c[WC_shed], 1);
		board_add(&ex->tenant->board->c[TC_shed], 1);
	}
	return true;
}

static void tell(struct path *p, const struct tenant *t, bool begins)
{
	log_limited(begins ? LOG_WARN : LOG_INFO, begins ? "shedding_began" : "shedding_ended",
		    "namespace=%s slot=%u delay_ms=%lld overload_delay_ms=%lld refused=%llu",
		    path_namespace_of(p, t), t->slot, (long long)(p->shedding.delay_ns / NS_PER_MS),
		    (long long)p->knobs->overload_delay_ms,
		    (unsigned long long)board_get(&t->board->c[TC_shed]));
}

/* True: some of its new exchanges are refused from now on. */
static bool go_on(struct path *p, struct tenant *t)
{
	uint32_t was = t->shed.portion, is = shed_next(&p->shedding, &t->shed, t->weight);

	if (is != was)
		board_set(&t->board->c[TC_shed_percent_gauge], (is * 100 + SHED_ALL - 1) / SHED_ALL);
	if (!is != !was)
		tell(p, t, is);
	return is;
}

void overload_tick(struct path *p)
{
	struct tenants *ts = &p->tenants;
	int64_t delay_ns = sched_delay_ns(&p->sched);
	uint64_t n = 0;

	if (!shed_look(&p->shedding, clock_now(), delay_ns, p->knobs->overload_delay_ms * NS_PER_MS))
		return;
	for (uint32_t i = 0; i < BOARD_TENANTS; i++)
		if (ts->at[i])
			shed_weigh(&p->shedding, &ts->at[i]->shed, ts->at[i]->weight);
	for (uint32_t i = 0; i < BOARD_TENANTS; i++)
		if (ts->at[i])
			n += go_on(p, ts->at[i]);
	board_set(&p->mine->c[WC_run_delay_ns_gauge], (uint64_t)max_of(delay_ns, (int64_t)0));
	board_set(&p->mine->c[WC_shed_tenants_gauge], n);
}
