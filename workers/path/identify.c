/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* identify: whose bytes are these, and may they have one more exchange?  A conn belongs to the
 * namespace of the listening socket it came in on, hence to its tenant; no address and no header can
 * change that.  What is counted here is under way until account. */
#include "workers/path/exchange.h"

static enum reason admit(struct exchange *ex)
{
	struct gate *g = ex->conn->gate;

	if (unlikely(g->terms.requests && g->requests >= g->terms.requests)) {
		board_add(&g->board->c[LC_refused], 1);
		return REASON_OVER_LISTENER_REQUESTS;
	}
	if (unlikely(tenant_request(ex->tenant) < 0))
		return REASON_OVER_REQUESTS;
	g->requests++;
	ex->is_counted = true;
	return REASON_NONE;
}

enum step stage_identify(struct exchange *ex)
{
	struct conn *c = ex->conn;
	struct path *p = c->path;
	enum reason why = REASON_NONE;

	gate_now(c->gate);
	if (likely(!c->is_mirror)) {	/* those take nothing from what callers may have */
		board_add(&ex->tenant->board->c[TC_exchanges], 1);
		why = admit(ex);
	}
	if (unlikely(why != REASON_NONE))
		return end(ex, why);
	if (unlikely(ex->up.body.left > ex->up.body.most && ex->up.body.most))
		return end(ex, REASON_BODY_TOO_LARGE);
	if (p->view == NULL)
		return end(ex, REASON_NO_VIEW);
	return NEXT;
}
