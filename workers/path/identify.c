/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* identify: whose bytes are these?  A conn belongs to the namespace of the listening socket it came
 * in on, hence to its tenant; no address and no header can change that. */
#include "workers/path/exchange.h"

enum step stage_identify(struct exchange *ex)
{
	struct conn *c = ex->conn;
	struct path *p = c->path;

	gate_now(c->gate);
	board_add(&ex->tenant->board->c[TC_exchanges], 1);
	if (p->view == NULL)
		return end(ex, REASON_NO_VIEW);
	return NEXT;
}
