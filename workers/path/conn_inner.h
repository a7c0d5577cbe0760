/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What conn.c and conn_begin.c share. */
#ifndef WORKERS_PATH_CONN_INNER_H
#define WORKERS_PATH_CONN_INNER_H

#include "workers/path/conn.h"

/* conn.c: as far as it goes without waiting. */
void conn_step(struct sched_unit *);

/* Steps; each returns true when the conn may go on at once in its new state. */
bool conn_step_proxy(struct conn *);
bool conn_step_shake(struct conn *);
bool conn_step_detect(struct conn *);
/* The bytes begin as HTTP/2 does.  Consumes the chunk they lie in. */
bool conn_start_session(struct conn *, struct slice bytes, struct chunk **held);

static inline bool step_wait(struct conn *c, unsigned bits)
{
	c->front.want |= (uint8_t)bits;
	return false;
}

#endif
