/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Visits: what an errand does inside pods whose turn it is (proof.h): reads what passed their rules,
 * and dials, as anybody in the pod would, the address that proves that they are captured. */
#ifndef NODEPROXY_VISIT_H
#define NODEPROXY_VISIT_H

#include "nodeproxy/lib/ipc/chan.h"

struct errand_pod;

#define VISITS	 64	/* pods at once */
#define VISIT_MS 1000	/* for all that were dialled together to arrive */

/* Those of these that have a token. */
void visit_pods(const struct errand_pod *, size_t n, struct chan *);

#endif
