/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Homes of a pod: the workers that accept its connections, and the sockets inside that they ask for. */
#ifndef NODEPROXY_HOMES_H
#define NODEPROXY_HOMES_H

#include "nodeproxy/errand.h"

struct master;
struct child;
struct pod;

/* Bits of the workers that hold the groups which that slot's pod is at home with. */
uint64_t homes_should(const struct master *, unsigned slot);
/* Has these accept for it, and nobody else; true: they are others than until now. */
bool homes_settle(struct master *, struct pod *);
/* To a worker: accept for it. */
void homes_say_here(struct child *, struct pod *);
/* To those of these slots that are there. */
void homes_say(struct master *, uint64_t slots, enum msg_type, uint32_t ref);
/* That slot has none of them: its process is dead or another one. */
void homes_forget(struct master *, unsigned slot);

/* A worker asks for sockets. */
void homes_bank_want(struct master *, struct child *, const struct msg_bank_want *);
/* Whoever waits for some, as long as errands can be started. */
void homes_fill(struct master *);
/* An errand opened these. */
void homes_bank(struct master *, const struct errand *, const struct msg_bank *, const struct fd *, unsigned n);

#endif
