/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* pick: which endpoint takes them?  Also after a connect that failed: then among those not tried
 * yet. */
#include "workers/path/codecs.h"

#include "nodeproxy/lib/base/hash.h"
#include "nodeproxy/lib/base/rand.h"
#include "workers/codec/headers.h"

/* What decides with Maglev; false: the request has no such thing. */
static bool key_of(const struct exchange *ex, const struct vpolicy *v, struct slice *ret)
{
	const struct head *h = &ex->conn->path->head;

	if (v->hash_by == HASH_BY_SOURCE) {
		*ret = conn_peer_text(ex->conn);
		return true;
	}
	if (!ex->is_http || ex->conn->path->head_of != ex)
		return false;
	if (v->hash_by == HASH_BY_HEADER && slice_caseeq(v->hash_name, SLICE("host"))) {
		*ret = h->authority;	/* HTTP/2 has no such line */
		return true;
	}
	for (uint32_t i = 0; i < h->n; i++) {
		const struct header *line = &h->h[i];

		if (v->hash_by == HASH_BY_HEADER ? slice_caseeq(line->name, v->hash_name) :
		    slice_caseeq(line->name, SLICE("cookie")) &&
			    cookie_find(line->value, v->hash_name, ret)) {
			if (v->hash_by == HASH_BY_HEADER)
				*ret = line->value;
			return true;
		}
	}
	return false;
}

/* Once per exchange: a further attempt is about the same key, and its head may be gone by then. */
static uint64_t hash_of(struct exchange *ex)
{
	struct vpolicy v;
	struct slice key;

	if (!ex->has_hash) {
		ex->hash = vport_policy(&ex->target, &v) && key_of(ex, &v, &key) ? hash_stable(key) :
										  rand_u64();
		ex->has_hash = true;
	}
	return ex->hash;
}

static bool pick(struct exchange *ex, struct vendpoint *ret)
{
	struct balance *b = &ex->conn->path->balance;
	bool found;
	struct wish wish = { .how = (enum balancer)ex->policy.balancer,
			     .balancing = &ex->policy.balancing, .ejection = &ex->policy.ejection };

	if (wish.how == BALANCER_DEFAULT)
		wish.how = ex->is_http ? BALANCER_PEAK_EWMA : BALANCER_LEAST_REQUEST;
	if (unlikely(wish.how == BALANCER_MAGLEV))
		wish.hash = hash_of(ex);
	found = balance_pick(b, &ex->target, &wish, &ex->tried, ret);
	if (unlikely(b->ejected)) {
		board_add(&ex->conn->path->mine->c[WC_ejections], b->ejected);
		board_add(&exchange_service(ex)->c[SC_ejections], b->ejected);
		b->ejected = 0;
	}
	return found;
}

/* The last one tried took connections: it was one of them that took no more requests.  When there is
 * no other endpoint, another connection is as good. */
static bool pick_same(struct exchange *ex, struct vendpoint *ret)
{
	if (ex->tried.n == 0 ||
	    (ex->reason != REASON_BACK_REFUSED_STREAM && ex->reason != REASON_BACK_STALE))
		return false;
	ex->tried.n--;
	return pick(ex, ret);
}

/* All have had it, and it is still wanted. */
static bool pick_any(struct exchange *ex, struct vendpoint *ret)
{
	if (ex->retries == 0 || ex->tried.n == 0)
		return false;
	ex->tried.n = 0;
	return pick(ex, ret);
}

enum step stage_pick(struct exchange *ex)
{
	struct vendpoint e;

	if (unlikely(ex->passes)) {
		ex->endpoint = ex->conn->dialled;
		return NEXT;
	}
	if (unlikely(ex->wait_until.ns)) {
		enum step s = await_is_on(ex) ? await_go_on(ex) : attempt_wait(ex);

		if (s != NEXT)
			return s;
	}
	if (!pick(ex, &e) && !pick_same(ex, &e) && !pick_any(ex, &e)) {
		/* A connect that failed has left its own reason. */
		if (ex->attempts || ex->resent)
			return end(ex, (enum reason)ex->reason);
		return vservice_lacks_endpoints(&ex->target.service) ? await_begin(ex) : end(ex, REASON_NO_ENDPOINT);
	}
	ex->endpoint = e.addr;
	ex->endpoint_slot = e.slot;
	ex->reason = REASON_NONE;
	if (unlikely(ex->is_grpc && !ex->back_codec->carries_grpc))
		return end(ex, REASON_NO_GRPC);
	return NEXT;
}
