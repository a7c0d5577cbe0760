/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What an operator orders about pods: nodeproxyctl pod add, pod remove. */
#ifndef NODEPROXY_PODORDERS_H
#define NODEPROXY_PODORDERS_H

#include <stddef.h>

struct master;
struct child;
struct msg_order;

/* ORDER_POD_ADD (-EINPROGRESS: the answer comes later), ORDER_POD_REMOVE. */
int podorders_add(struct master *, struct child *from, const struct msg_order *, char *text, size_t n);
int podorders_remove(struct master *, const struct msg_order *, char *text, size_t n);

#endif
