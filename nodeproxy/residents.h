/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Residents: what every worker, and not only those that accept for it, knows of a captured pod: where it
 * is, and how it is spoken to.  Its addresses are read when it is captured, and with each proof that it
 * is (proof.h).  Told when it is captured, to workers that come, and whenever it is something else. */
#ifndef NODEPROXY_RESIDENTS_H
#define NODEPROXY_RESIDENTS_H

struct master;
struct pod;
struct pod_addresses;

/* Tells whoever does not know; of many not all at once: the next tick goes on. */
void residents_settle(struct master *);
/* An errand has seen these. */
void residents_seen(struct master *, struct pod *, const struct pod_addresses *);

#endif
