/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* pick: which endpoint takes them?  Also after a connect that failed: then among those not tried
 * yet. */
#include "workers/path/codecs.h"

enum step stage_pick(struct exchange *ex)
{
	struct path *p = ex->conn->path;
	enum balancer how = (enum balancer)ex->policy.balancer;
	struct vendpoint e;

	if (how == BALANCER_DEFAULT)
		how = ex->is_http ? BALANCER_PEAK_EWMA : BALANCER_LEAST_REQUEST;
	if (!balance_pick(&p->balance, &ex->target, how, &ex->policy.ejection, &ex->tried, &e))
		/* A connect that failed has left its own reason. */
		return end(ex, ex->attempts ? (enum reason)ex->reason : REASON_NO_ENDPOINT);
	ex->endpoint = e.addr;
	ex->endpoint_slot = e.slot;
	ex->reason = REASON_NONE;
	if (unlikely(ex->is_grpc && !ex->back_codec->carries_grpc))
		return end(ex, REASON_NO_GRPC);
	return NEXT;
}
