/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* admit: may they go on now, or are they too many?  Asked once of each exchange, not of what is sent
 * again.  Whom connect found no place for within the limits of the port comes back here to wait. */
#include "workers/path/exchange.h"

#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/base/strbuf.h"
#include "workers/obs/rate.h"
#include "workers/path/overload.h"

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
		board_add(&p->mine->c[WC_rate_shared], 1);
	if (taken == RATE_TAKEN)
		return REASON_NONE;
	board_add(&c[taken == RATE_OVER_IDENTITY ? SC_rate_limited_identity : SC_rate_limited_total], 1);
	say_when(ex, (wait_ns + (uint64_t)NS_PER_S - 1) / (uint64_t)NS_PER_S);
	return REASON_RATE_LIMITED;
}

/* What wakes an exchange that waits here, beside what it waits for: NONE, or why it ends. */
static enum reason is_cut(const struct exchange *ex)
{
	const struct conn *c = ex->conn;

	if (c->front.ready & READY_ERR && !c->expired)
		return REASON_FRONT_CUT;
	return c->expired && exchange_is_over(ex) ? (enum reason)ex->until_why : REASON_NONE;
}

/* Until something wakes it, at the latest after so long.  That may be long, and a view is not held for
 * long. */
static enum step wait_ms(struct exchange *ex, int64_t ms)
{
	if (exchange_keep_request(ex) == END)
		return END;
	exchange_leave_view(ex);
	exchange_deadline_ms(ex, max_of(ms, (int64_t)0));
	return WAIT;
}

/* ---- faults on purpose ---- */

static enum step delay(struct exchange *ex, const struct vpolicy *v)
{
	board_add(&exchange_service(ex)->c[SC_faults_delayed], 1);
	ex->delay = DELAY_WAITS;
	return wait_ms(ex, v->delay_ms);
}

/* Something has woken it while it is delayed: NEXT when that is over. */
static enum step go_on_delayed(struct exchange *ex)
{
	struct conn *c = ex->conn;
	enum reason why = is_cut(ex);

	if (why != REASON_NONE)
		return end(ex, why);
	if (!c->expired)
		return WAIT;
	c->expired = false;
	ex->delay = DELAY_OVER;
	return exchange_find_port_again(ex) ? NEXT : end(ex, REASON_NO_ENDPOINT);
}

static enum step faults(struct exchange *ex)
{
	struct vpolicy v;

	/* A copy's caller has gone on long ago. */
	if (!ex->is_http || ex->conn->is_mirror || !vport_policy(&ex->target, &v))
		return NEXT;
	if (ex->delay == DELAY_NONE && v.delay_ms && rand_below(100) < v.delay_percent)
		return delay(ex, &v);
	if (v.abort_status == 0 || rand_below(100) >= v.abort_percent)
		return NEXT;
	board_add(&exchange_service(ex)->c[SC_faults_aborted], 1);
	ex->fault_status = v.abort_status;
	ex->fault_grpc = v.abort_grpc;
	return end(ex, REASON_FAULT_INJECTED);
}

/* ---- waiting for a place ---- */

/* It waits no longer, or never may. */
static enum step refuse(struct exchange *ex)
{
	enum reason why = (enum reason)ex->lacks;

	board_add(&exchange_service(ex)->c[why == REASON_OVER_SERVICE_REQUESTS ? SC_limited_requests :
									  SC_limited_connections], 1);
	return end(ex, why);
}

/* Connect found no place within the limits, or a line of those who wait for one. */
static enum step begin_pending(struct exchange *ex)
{
	bool again = ex->pending == PENDING_CALLED;

	if (ex->policy.pending == 0 || !pending_join(ex))
		return refuse(ex);
	if (!again) {
		board_add(&exchange_service(ex)->c[SC_pending], 1);
		ex->pending_until = mono_after_ms(clock_now(), ex->policy.pending_ms);
	}
	return wait_ms(ex, mono_diff_ms(ex->pending_until, clock_now()));
}

/* Something has woken it in its line. */
static enum step go_on_pending(struct exchange *ex)
{
	struct conn *c = ex->conn;
	enum reason why = is_cut(ex);

	if (why != REASON_NONE)
		return end(ex, why);
	if (c->expired || ex->pending == PENDING_PUSHED) {
		c->expired = false;
		return refuse(ex);
	}
	if (ex->pending == PENDING_WAITS)
		return WAIT;
	ex->lacks = REASON_NONE;
	return exchange_find_port_again(ex) ? NEXT : end(ex, REASON_NO_ENDPOINT);
}

enum step stage_admit(struct exchange *ex)
{
	enum reason why;

	/* While it waits it holds no view. */
	if (unlikely(ex->lacks))
		return ex->view ? begin_pending(ex) : go_on_pending(ex);
	if (unlikely(ex->policy.faults)) {
		enum step s = ex->delay == DELAY_WAITS ? go_on_delayed(ex) : NEXT;

		if (s == NEXT)
			s = faults(ex);
		if (s != NEXT)
			return s;
	}
	if (overload_refuses(ex))
		return end(ex, REASON_OVERLOAD);
	if (unlikely(ex->target.has_rate)) {
		why = rate(ex);
		if (why != REASON_NONE)
			return end(ex, why);
	}
	if (unlikely(ex->policy.pending) && ex->policy.limit.slot && pending_has_line(ex)) {
		ex->lacks = ex->policy.requests && ex->is_http ? REASON_OVER_SERVICE_REQUESTS :
								 REASON_OVER_SERVICE_CONNECTIONS;
		return begin_pending(ex);
	}
	return NEXT;
}
