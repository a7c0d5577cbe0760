/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* From a request of the admin socket to a call: path, method, permission, arguments, in this order,
 * all by commands.def, before any code of the command runs. */
#ifndef ADMIN_DISPATCH_H
#define ADMIN_DISPATCH_H

#include "admin/show.h"
#include "nodeproxy/lib/ipc/messages.h"

enum dispatch_result {
	DISPATCH_ANSWERED,	/* *answer is filled: done, or refused */
	DISPATCH_ORDER,		/* *order is filled, but for its serial: ask the master */
};

enum dispatch_result dispatch(struct state *, const struct wire_request *, uint32_t uid,
			      uint32_t pid, struct answer *, struct msg_order *);
/* The answer to an order once the master has spoken; error 0 or -errno, words may be empty. */
void dispatch_ordered(const struct msg_order *, int32_t error, struct slice words, struct answer *);

#endif
