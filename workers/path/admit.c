/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* admit: may they go on now, or are they too many?  Asked once of each exchange, not of what is sent
 * again. */
#include "workers/path/exchange.h"

#include "nodeproxy/lib/base/strbuf.h"
#include "workers/obs/rate.h"

static struct pace pace_of(const struct vpace *v)
{
	return (struct pace){ v->every_ns, v->every_ns * v->burst };
}

static void say_when(struct exchange *ex, uint64_t in_s)
{
	char line[40];
	struct strbuf b = strbuf_on(line, sizeof line);

	strbuf_adds(&b, "Retry-After: ");
	strbuf_u64(&b, in_s);
	strbuf_adds(&b, "\r\n");
	ex->answer_lines = exchange_text(ex, slice_of(line, b.n));
}

/* REASON_NONE, or that the rate limits are against it. */
static enum reason rate(struct exchange *ex)
{
	struct path *p = ex->conn->path;
	uint64_t *c = exchange_service(ex)->c, wait_ns = 0;
	struct board_rate *r;
	enum rate_taken taken;
	bool shared = false;
	struct vrate v;

	if (!vport_rate(&ex->target, &v))
		return REASON_NONE;
	r = board_rate(p->board, v.slot.slot, v.slot.gen);
	if (r == NULL)
		return REASON_NONE;
	struct pace identity = pace_of(&v.identity), total = pace_of(&v.total);

	taken = rate_take(r, ex->conn->gate->rate_key[v.key], &identity, &total, clock_now(), &wait_ns,
			  &shared);
	if (unlikely(shared))
		board_add(&c[SC_rate_shared], 1);
	if (taken == RATE_TAKEN)
		return REASON_NONE;
	board_add(&c[taken == RATE_OVER_IDENTITY ? SC_rate_limited_identity : SC_rate_limited_total], 1);
	say_when(ex, (wait_ns + (uint64_t)NS_PER_S - 1) / (uint64_t)NS_PER_S);
	return REASON_RATE_LIMITED;
}

enum step stage_admit(struct exchange *ex)
{
	enum reason why;

	if (likely(!ex->target.has_rate))
		return NEXT;
	why = rate(ex);
	return why == REASON_NONE ? NEXT : end(ex, why);
}
