/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Residents: what every worker, and not only those that accept for it, knows of a captured pod: how it is
 * spoken to.  Told when it is captured, to workers that come, and whenever it is something else. */
#ifndef NODEPROXY_RESIDENTS_H
#define NODEPROXY_RESIDENTS_H

struct master;

/* Tells whoever does not know; of many not all at once: the next tick goes on. */
void residents_settle(struct master *);

#endif
