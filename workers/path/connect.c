/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* connect: a stream to that endpoint, from the pool when the codec can share one, else a new one.
 *
 * Where a BackendTLSPolicy wants it, a new stream becomes one in TLS first (wrap.h).
 *
 * To an endpoint that speaks HTTP/2 it is a place on a trunk (pool/trunk.h), for which it may have to
 * wait in line; what follows holds for that wait too.
 *
 * While a connect is under way the request head waits in ex->replay, because the buffer it was
 * parsed in belongs to everybody.  A connect that fails has sent nothing: another endpoint is tried,
 * limits.connect_attempts in all and as long as the Service's retry budget lasts. */
#include "workers/path/codecs.h"

#include <errno.h>

#include "workers/obs/endpoint.h"
#include "workers/pool/origin.h"

/* Dialled in one step for those who wait. */
#define TRUNKS_AT_ONCE 8

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
	case -EPROTO:
		return REASON_BACK_BAD_H2;
	case -EKEYREJECTED:
		return REASON_BACK_TLS_CERTIFICATE;
	case -EKEYREVOKED:
		return REASON_BACK_TLS_REVOKED;
	case -EKEYEXPIRED:
		return REASON_BACK_TLS_EXPIRED;
	case -ENOKEY:
		return REASON_BACK_TLS_NAME;
	case -EBADE: case -ESTALE:
		return REASON_BACK_TLS_FAILED;
	case -ETIME:
		return REASON_BACK_TLS_SLOW;
	default:
		return REASON_BACK_REFUSED;
	}
}

/* It says something of the endpoint, and to everybody on this host.  That a pod has no way there does
 * not. */
static bool is_endpoints(const struct exchange *ex, enum reason why)
{
	if (attempt_is_ours(why) || unlikely(ex->passes))
		return false;
	return ex->conn->gate->pod == 0 || why != REASON_BACK_UNREACHABLE;
}

static enum step failed(struct exchange *ex, enum reason why)
{
	if (is_endpoints(ex, why)) {
		__atomic_fetch_add(&exchange_endpoint(ex)->connect_failures, 1, __ATOMIC_RELAXED);
		exchange_back_failed(ex);
	}
	return exchange_try_another(ex, why);
}

void exchange_leave_view(struct exchange *ex)
{
	if (ex->view == NULL)	/* of what passes, or another connection to the endpoint was needed */
		return;
	ex->again.id = ex->target.service.id;
	ex->again.slot = vservice_slot(&ex->target.service);
	ex->again.port = ex->target.port;
	exchange_release_view(ex);
}

static enum step connected(struct exchange *ex)
{
	ex->connected = clock_now();
	ex->sent_before = ex->back->leg.sent;
	ex->back->leg.want = 0;
	exchange_leave_view(ex);
	if (unlikely(ex->has_trying))
		attempt_starts(ex);
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

/* A connection that waits idle may make room. */
bool exchange_take_limit(struct exchange *ex, uint32_t claim_no, enum limit what, uint32_t max)
{
	struct path *p = ex->conn->path;
	const struct slot_gen *l = &ex->policy.limit;

	if (board_limit_take(p->board, p->worker, claim_no, l->slot, l->gen, what, max))
		return true;
	return what == LIMIT_CONNECTIONS && path_give_back_limited(p, (uint16_t)l->slot) &&
	       board_limit_take(p->board, p->worker, claim_no, l->slot, l->gen, what, max);
}

static bool take_limit(struct exchange *ex, enum limit what, uint32_t max)
{
	return exchange_take_limit(ex, slab_ref(&ex->conn->path->pool.backs, ex->back).slot, what, max);
}

/* What the limits say against this exchange on this back. */
static enum reason over_limit(struct exchange *ex)
{
	if (likely(ex->policy.limit.slot == 0))
		return REASON_NONE;
	/* Connections that requests share count when they are dialled: until then it has no place. */
	if (!ex->back->on && !take_limit(ex, LIMIT_CONNECTIONS, ex->policy.connections))
		return REASON_OVER_SERVICE_CONNECTIONS;
	if (ex->is_http && !take_limit(ex, LIMIT_REQUESTS, ex->policy.requests))
		return REASON_OVER_SERVICE_REQUESTS;
	if (unlikely(ex->pending) && !ex->back->on)
		pending_leave(ex);
	return REASON_NONE;
}

/* There is no place within the limits: admit knows whether it may wait for one. */
static enum step no_place(struct exchange *ex, enum reason why)
{
	ex->lacks = (uint8_t)why;
	ex->at = STAGE_admit - 1;
	return NEXT;
}

/* The request head, kept for when the endpoint has accepted. */
enum step exchange_keep_request(struct exchange *ex)
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
	if (ex->back_codec->keep(ex, v, n) < 0)
		return end(ex, REASON_OVER_BUDGET);
	arena_reset(&p->arena);
	p->head_of = NULL;
	return WAIT;
}

static int64_t connect_ms(const struct exchange *ex)
{
	return ex->policy.connect_ms ?: ex->conn->path->knobs->connect_ms;
}

/* ---- over a trunk ---- */

static bool has_descriptors(struct exchange *ex)
{
	struct path *p = ex->conn->path;

	return path_fds_for_back(p, ex->conn->gate) || path_give_back(p, NULL, 4) > 0;
}

static int dial_trunk(struct exchange *ex)
{
	struct path *p = ex->conn->path;

	return has_descriptors(ex) ? trunk_dial(&p->trunks, ex->back, ex->tenant, connect_ms(ex)) : -EMFILE;
}

/* A place now, or a place in the line. */
static enum step take_place(struct exchange *ex)
{
	struct path *p = ex->conn->path;
	int r = trunk_take(&p->trunks, ex->back);

	for (int i = 0; r == -ENOENT && i < TRUNKS_AT_ONCE; i++) {
		r = dial_trunk(ex);
		if (r == 0)
			r = trunk_take(&p->trunks, ex->back);
	}
	if (r == -EDQUOT) {
		exchange_release_back(ex, false, false);
		ex->attempts--;
		return no_place(ex, REASON_OVER_SERVICE_CONNECTIONS);
	}
	if (unlikely(ex->pending))
		pending_leave(ex);
	if (r == 0) {
		board_add(&p->mine->c[WC_pool_hits], 1);
		/* Nobody waits for that one, and nobody is hurt when there is none. */
		if (unlikely(trunk_wants_another(&p->trunks, ex->back)) && dial_trunk(ex) < 0)
			board_add(&p->mine->c[WC_trunks_missed], 1);
		return connected(ex);
	}
	if (r != -EAGAIN && r != -ENOENT)
		return failed(ex, reason_of(r));
	return exchange_keep_request(ex);
}

static enum step begin_on_trunk(struct exchange *ex, const struct back_key *key)
{
	struct path *p = ex->conn->path;
	enum reason why;
	enum step s;

	ex->attempts++;
	ex->back = back_new(&p->pool, key);
	if (ex->back == NULL)
		return failed(ex, REASON_NO_MEMORY);
	ex->back->on = &p->trunks;
	p->fds.none++;
	ex->back->user = ex->conn;
	why = over_limit(ex);
	if (why != REASON_NONE) {
		exchange_release_back(ex, false, false);
		ex->attempts--;
		return no_place(ex, why);
	}
	claim(ex);
	s = take_place(ex);
	if (s == WAIT)
		exchange_deadline_ms(ex, connect_ms(ex));
	return s;
}

/* It was woken in the line. */
static enum step go_on_in_line(struct exchange *ex)
{
	struct conn *c = ex->conn;
	struct path *p = c->path;
	const struct back *b = ex->back;

	if (b->trunk.gen) {
		if (b->uses == 0)
			__atomic_fetch_add(&exchange_endpoint(ex)->connects, 1, __ATOMIC_RELAXED);
		return connected(ex);
	}
	if (b->trunk_error)
		return failed(ex, reason_of(b->trunk_error));
	if (c->expired) {
		c->expired = false;
		return failed(ex, trunk_is_full(&p->trunks, b)	    ? REASON_BACK_FULL :
				  trunk_lacks_socket(&p->trunks, b) ? REASON_NO_POD_SOCKET :
								      REASON_BACK_CONNECT_TIMEOUT);
	}
	return take_place(ex);
}

/* ---- */

/* Also again, when the bank of its pod was empty. */
static enum step dial(struct exchange *ex)
{
	struct conn *c = ex->conn;
	struct path *p = c->path;
	int r;

	p->banks.most = path_bank_most(p);
	r = bank_dial(&p->banks, &ex->back->key, &ex->back->leg.s);

	if (r == -EAGAIN)
		return exchange_keep_request(ex);
	if (r < 0 && r != -EINPROGRESS)
		return failed(ex, reason_of(r));
	board_add(&p->mine->c[WC_connects], 1);
	ex->back->leg.want = READY_OUT;
	if (tcp_world->watch(&p->poll, &ex->back->leg.s,
			     path_token(TOKEN_BACK, slab_ref(&p->pool.backs, ex->back))) < 0)
		return failed(ex, REASON_NO_MEMORY);
	return exchange_keep_request(ex);
}

/* TCP is there, or the handshake goes on.  True: it is over; else *ret. */
static bool secure(struct exchange *ex, enum step *ret)
{
	struct conn *c = ex->conn;
	struct back *b = ex->back;
	int r = 0;

	if (!wrap_is_on(&b->leg.s)) {
		r = wrap_begin(c->path, &b->key, ex->tenant, ex->is_http ? WRAP_HTTP1 : WRAP_OPAQUE, &b->leg.s);
		tenant_ref(b->payer = ex->tenant);
		exchange_deadline_ms(ex, c->path->knobs->handshake_ms);
	}
	if (r == 0 && c->expired)
		r = -ETIME;
	c->expired = false;
	if (r == 0) {
		b->leg.want = 0;
		r = wrap_shake(&b->leg.s, &b->leg.ready, &b->leg.want);
	}
	*ret = r < 0 ? failed(ex, reason_of(r)) : WAIT;
	return r > 0;
}

static enum step begin(struct exchange *ex)
{
	struct conn *c = ex->conn;
	struct path *p = c->path;
	struct back_key key = { .addr = ex->endpoint, .tenant = (uint16_t)ex->tenant->slot,
				.tenant_gen = ex->tenant->gen, .pod = c->gate->pod,
				.limit = (uint16_t)ex->policy.limit.slot };
	enum reason why;

	/* Once more: something may have changed since it was matched. */
	if (unlikely(ex->policy.tls)) {
		key.tls = ex->policy.tls = wrap_find(p, &ex->target);
		if (key.tls == 0)
			return end(ex, REASON_NO_BACK_TLS);
	}

	ex->connect_began = clock_now();
	if (unlikely(key.pod)) {
		why = residents_way(ex, &key);
		if (why != REASON_NONE) {
			ex->attempts++;
			return failed(ex, why);
		}
	}
	if (ex->back_codec->trunks)
		return begin_on_trunk(ex, &key);
	if (ex->is_http && !ex->fresh_only) {
		ex->back = pool_take(&p->pool, &key);
		if (ex->back) {
			wheel_clear(&p->wheel, &ex->back->deadline);
			ex->back->user = c;
			why = over_limit(ex);
			if (why != REASON_NONE) {
				exchange_release_back(ex, why == REASON_OVER_SERVICE_REQUESTS, false);
				return no_place(ex, why);
			}
			claim(ex);
			board_add(&p->mine->c[WC_pool_hits], 1);
			return connected(ex);
		}
	}
	ex->attempts++;
	if (!has_descriptors(ex))
		return failed(ex, REASON_NO_DESCRIPTORS);
	ex->back = back_new(&p->pool, &key);
	if (ex->back == NULL)
		return failed(ex, REASON_NO_MEMORY);
	why = over_limit(ex);
	if (why != REASON_NONE) {
		exchange_release_back(ex, false, false);
		ex->attempts--;
		return no_place(ex, why);
	}
	claim(ex);
	ex->back->user = c;
	exchange_deadline_ms(ex, connect_ms(ex));
	return dial(ex);
}

static enum step arrived(struct exchange *ex)
{
	struct board_endpoint *e = exchange_endpoint(ex);

	__atomic_fetch_add(&e->connects, 1, __ATOMIC_RELAXED);
	if (!ex->is_http)
		endpoint_succeeded(e, ex->connect_began);
	return connected(ex);
}

enum step stage_connect(struct exchange *ex)
{
	struct conn *c = ex->conn;
	enum step s;

	if (ex->back == NULL)
		return begin(ex);
	if (c->front.ready & READY_ERR && !c->expired)
		return end(ex, REASON_FRONT_CUT);
	if (c->expired && exchange_is_over(ex))
		return end(ex, (enum reason)ex->until_why);
	if (ex->back->on)
		return go_on_in_line(ex);
	if (unlikely(!stream_is_open(&ex->back->leg.s))) {
		if (!c->expired)
			return dial(ex);
		c->expired = false;
		return failed(ex, REASON_NO_POD_SOCKET);
	}
	if (unlikely(wrap_is_on(&ex->back->leg.s)))
		return secure(ex, &s) ? arrived(ex) : s;
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
	if (unlikely(ex->back->key.how)) {
		int r = origin_tell(&ex->back->key, &ex->back->leg.s);

		if (r < 0)
			return failed(ex, reason_of(r));
	}
	if (unlikely(ex->passes))
		return connected(ex);
	if (unlikely(ex->back->key.tls) && !secure(ex, &s))
		return s;
	return arrived(ex);
}
