/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* connect: a stream to that endpoint, from the pool when the codec can share one, else a new one.
 *
 * While a connect is under way the request head waits in ex->replay, because the buffer it was
 * parsed in belongs to everybody.  A connect that fails has sent nothing: another endpoint is tried,
 * limits.connect_attempts in all and as long as the Service's retry budget lasts. */
#include "workers/path/codecs.h"

#include <errno.h>

#include "workers/obs/endpoint.h"
#include "workers/pool/retry.h"

static enum reason reason_of(int error)
{
	switch (error) {
	case -EMFILE: case -ENFILE:
		return REASON_NO_DESCRIPTORS;
	case -ENOMEM: case -ENOBUFS: case -EADDRNOTAVAIL:
		return REASON_NO_MEMORY;
	case -ENETUNREACH: case -EHOSTUNREACH: case -EACCES: case -EPERM: case -EINVAL:
	case -ENETDOWN: case -EAFNOSUPPORT: case -EHOSTDOWN:
		return REASON_BACK_UNREACHABLE;
	case -ETIMEDOUT:
		return REASON_BACK_CONNECT_TIMEOUT;
	default:
		return REASON_BACK_REFUSED;
	}
}

/* Ours to mend, not the endpoint's: trying another one would not help. */
static bool is_ours(enum reason why)
{
	return why == REASON_NO_DESCRIPTORS || why == REASON_NO_MEMORY;
}

static enum step failed(struct exchange *ex, enum reason why)
{
	struct path *p = ex->conn->path;

	if (!is_ours(why)) {
		__atomic_fetch_add(&exchange_endpoint(ex)->connect_failures, 1, __ATOMIC_RELAXED);
		exchange_back_failed(ex);
	}
	exchange_release_back(ex, false, false);
	if (is_ours(why) || ex->view == NULL || ex->attempts >= p->knobs->connect_attempts ||
	    ex->tried.n == BALANCE_TRIED)
		return end(ex, why);
	if (!retry_take(p->board, ex->service.slot, ex->service.gen, clock_now())) {
		exchange_event(ex, WC_retries_refused, SC_retries_refused);
		return end(ex, why);
	}
	ex->tried.addr[ex->tried.n++] = ex->endpoint;
	ex->reason = (uint8_t)why;	/* should there be no other endpoint */
	exchange_event(ex, WC_retries, SC_retries);
	ex->at = STAGE_pick - 1;
	return NEXT;
}

static enum step connected(struct exchange *ex)
{
	ex->connected = clock_now();
	ex->sent_before = ex->back->leg.sent;
	ex->back->leg.want = 0;
	exchange_release_view(ex);
	return NEXT;
}

/* From now on, so that whoever picks next sees it, the exchange counts as the endpoint's. */
static void claim(struct exchange *ex)
{
	struct path *p = ex->conn->path;

	if (board_claim(p->board, p->worker, slab_ref(&p->pool.backs, ex->back).slot,
			ex->endpoint_slot.slot, ex->endpoint_slot.gen, ex->is_http))
		endpoint_woken(exchange_endpoint(ex), clock_now());
	ex->holds_claim = true;
}

/* One of a limit of the target's; a connection that waits idle may make room. */
static bool take_limit(struct exchange *ex, enum limit what, uint32_t max)
{
	struct path *p = ex->conn->path;
	uint32_t claim_no = slab_ref(&p->pool.backs, ex->back).slot;
	const struct slot_gen *l = &ex->policy.limit;

	if (board_limit_take(p->board, p->worker, claim_no, l->slot, l->gen, what, max))
		return true;
	return what == LIMIT_CONNECTIONS && path_give_back_limited(p, ex->back->key.limit) &&
	       board_limit_take(p->board, p->worker, claim_no, l->slot, l->gen, what, max);
}

/* What the limits say against this exchange on this back. */
static enum reason over_limit(struct exchange *ex)
{
	enum service_counter counter = SC_limited_connections;
	enum reason why = REASON_OVER_SERVICE_CONNECTIONS;

	if (likely(ex->policy.limit.slot == 0))
		return REASON_NONE;
	if (take_limit(ex, LIMIT_CONNECTIONS, ex->policy.connections)) {
		if (!ex->is_http || take_limit(ex, LIMIT_REQUESTS, ex->policy.requests))
			return REASON_NONE;
		counter = SC_limited_requests;
		why = REASON_OVER_SERVICE_REQUESTS;
	}
	board_add(&exchange_service(ex)->c[counter], 1);
	return why;
}

/* The request head, kept for when the endpoint has accepted. */
static enum step keep_request(struct exchange *ex)
{
	struct conn *c = ex->conn;
	struct path *p = c->path;
	struct iovec v[64];
	int n;

	if (!ex->is_http || p->head_of != ex || ex->replay.bytes)
		return WAIT;
	n = ex->back_codec->spell(ex, v, countof(v));
	if (n < 0)
		return end(ex, REASON_TOO_LARGE);
	for (int i = 0; i < n; i++)
		if (chunkq_add(&ex->replay, &p->chunks, &c->tenant->memory,
			       slice_of(v[i].iov_base, v[i].iov_len)) < 0)
			return end(ex, REASON_OVER_BUDGET);
	arena_reset(&p->arena);
	p->head_of = NULL;
	return WAIT;
}

static enum step begin(struct exchange *ex)
{
	struct conn *c = ex->conn;
	struct path *p = c->path;
	struct back_key key = { .addr = ex->endpoint, .tenant = (uint16_t)ex->tenant->slot,
				.tenant_gen = ex->tenant->gen,
				.limit = (uint16_t)ex->policy.limit.slot };
	enum reason why;
	int r;

	ex->connect_began = clock_now();
	if (ex->is_http && !ex->fresh_only) {
		ex->back = pool_take(&p->pool, &key);
		if (ex->back) {
			wheel_clear(&p->wheel, &ex->back->deadline);
			ex->back->user = c;
			why = over_limit(ex);
			if (why != REASON_NONE) {
				exchange_release_back(ex, why == REASON_OVER_SERVICE_REQUESTS, false);
				return end(ex, why);
			}
			claim(ex);
			board_add(&p->mine->c[WC_pool_hits], 1);
			return connected(ex);
		}
	}
	ex->attempts++;
	if (path_fds_free(p) <= p->fds.reserve / 8 && path_give_back(p, NULL, 4) == 0)
		return failed(ex, REASON_NO_DESCRIPTORS);
	ex->back = back_new(&p->pool, &key);
	if (ex->back == NULL)
		return failed(ex, REASON_NO_MEMORY);
	why = over_limit(ex);
	if (why != REASON_NONE) {
		exchange_release_back(ex, false, false);
		return end(ex, why);
	}
	claim(ex);
	r = tcp_world->connect(&ex->endpoint, &ex->back->leg.s);
	if (r < 0 && r != -EINPROGRESS)
		return failed(ex, reason_of(r));
	board_add(&p->mine->c[WC_connects], 1);
	ex->back->user = c;
	ex->back->leg.want = READY_OUT;
	if (tcp_world->watch(&p->poll, &ex->back->leg.s,
			     path_token(TOKEN_BACK, slab_ref(&p->pool.backs, ex->back))) < 0)
		return failed(ex, REASON_NO_MEMORY);
	conn_deadline_ms(c, ex->policy.connect_ms ?: p->knobs->connect_ms);
	return keep_request(ex);
}

enum step stage_connect(struct exchange *ex)
{
	struct conn *c = ex->conn;
	struct board_endpoint *e;

	if (ex->back == NULL)
		return begin(ex);
	if (c->front.ready & READY_ERR && !c->expired)
		return end(ex, REASON_FRONT_CUT);
	if (ex->back->leg.ready & READY_ERR) {
		int error = ex->back->leg.s.ops->error(&ex->back->leg.s);

		return failed(ex, reason_of(error ? error : -ECONNREFUSED));
	}
	if (c->expired) {
		c->expired = false;
		return failed(ex, REASON_BACK_CONNECT_TIMEOUT);
	}
	if (!(ex->back->leg.ready & READY_OUT)) {
		ex->back->leg.want = READY_OUT;
		return WAIT;
	}
	e = exchange_endpoint(ex);
	__atomic_fetch_add(&e->connects, 1, __ATOMIC_RELAXED);
	if (!ex->is_http)
		endpoint_succeeded(e, &ex->policy.ejection, clock_now());
	return connected(ex);
}
