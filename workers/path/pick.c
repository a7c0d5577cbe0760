/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* pick: which endpoint takes them?  Also after a connect that failed: then among those not tried
 * yet. */
#include "workers/path/codecs.h"

static bool pick(struct exchange *ex, struct vendpoint *ret)
{
	struct wish wish = { .how = (enum balancer)ex->policy.balancer,
			     .balancing = &ex->policy.balancing, .ejection = &ex->policy.ejection };

	if (wish.how == BALANCER_DEFAULT)
		wish.how = ex->is_http ? BALANCER_PEAK_EWMA : BALANCER_LEAST_REQUEST;
	return balance_pick(&ex->conn->path->balance, &ex->target, &wish, &ex->tried, ret);
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

enum step stage_pick(struct exchange *ex)
{
	struct vendpoint e;

	if (!pick(ex, &e) && !pick_same(ex, &e))
		/* A connect that failed has left its own reason. */
		return end(ex, ex->attempts ? (enum reason)ex->reason : REASON_NO_ENDPOINT);
	ex->endpoint = e.addr;
	ex->endpoint_slot = e.slot;
	ex->reason = REASON_NONE;
	if (unlikely(ex->is_grpc && !ex->back_codec->carries_grpc))
		return end(ex, REASON_NO_GRPC);
	return NEXT;
}
