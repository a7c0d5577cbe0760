/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* How a child begins: its shared memory, its channel, the fork, its first words. */
#ifndef NODEPROXY_BIRTH_H
#define NODEPROXY_BIRTH_H

#include "nodeproxy/children.h"

/* The slot's panic page and log ring: the keeper's, or new ones.  0 or -errno. */
must_use int child_memory(struct master *, struct child *);
/* Forks it; when that fails it is tried again later. */
void child_start(struct child *);
/* Says START, with the role's descriptors. */
void child_tell(struct child *);
/* What came with a message of this type (a child's word: any number) did not arrive. */
void child_tell_again(struct child *, uint32_t type);

#endif
