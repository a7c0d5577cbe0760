/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* authorize: is this caller allowed?  There are no policies yet: whoever reaches a listener is.
 * CONNECT is refused here: this host is not an open proxy. */
#include "workers/path/exchange.h"

enum step stage_authorize(struct exchange *ex)
{
	if (ex->is_http && ex->conn->path->head.is_connect)
		return end(ex, REASON_BAD_METHOD);
	return NEXT;
}
