/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What operators order.  admind passes it on; each order is checked again here, logged with who gave
 * it, and answered. */
#ifndef NODEPROXY_ORDERS_H
#define NODEPROXY_ORDERS_H

#include "nodeproxy/children.h"

/* To everybody, and to the keeper for the next master. */
void orders_tell_level(struct master *, uint32_t level);
void order(struct master *, struct child *from, const struct msg_order *);

#endif
