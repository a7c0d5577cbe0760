/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Banks: sockets inside pods' network namespaces, opened by the master and kept ready here, so that a
 * connection that leaves a pod (or goes to it from us) does not wait for root.
 *
 * Per pod and family a few wait.  When half of the target is gone more are asked for.  Each time costs
 * the master a process, so who asks again within BANK_BUSY_MS has twice the target from then on, who
 * was empty when somebody came four times, and one that nobody came to for BANK_REST_MS half of it: a
 * quiet pod keeps BANK_LEAST.  What was asked for and did not come is asked
 * for again after BANK_ASK_MS. */
#ifndef WORKERS_POOL_BANK_H
#define WORKERS_POOL_BANK_H

#include "nodeproxy/lib/base/clock.h"
#include "workers/pool/pool.h"

#define BANKS	     512	/* pods: POD_SLOT() of a ref */
#define BANK_LEAST   2
#define BANK_MOST    64
#define BANK_ASK_MS  500
#define BANK_REST_MS 10000
#define BANK_BUSY_MS 1000

struct bank_family {
	uint8_t n, target, asked;
	bool has;		/* the pod has this family */
	bool waited;		/* somebody found it empty since sockets came last */
	struct mono asked_at, used_at;
	int fd[BANK_MOST];
};

struct bank {
	uint32_t ref;		/* 0: none */
	struct bank_family of[2];	/* IPv4, IPv6 */
};

struct banks {
	struct bank *at;	/* BANKS of them */
	uint32_t held;		/* sockets */
	/* n[i] sockets of each family are asked for. */
	void (*want)(uint32_t ref, const uint16_t n[2]);
};

/* 0 or -ENOMEM. */
must_use int banks_init(struct banks *);
void banks_fini(struct banks *);
/* The bank of a pod begins, and asks; again: nothing happens. */
void bank_open(struct banks *, uint32_t ref, bool has_ipv6);
void bank_close(struct banks *, uint32_t ref);
/* Takes the descriptors (those there is no room for are closed); true: somebody has waited for them. */
bool bank_put(struct banks *, uint32_t ref, unsigned family, struct fd *fd, unsigned n);
/* Now and then.  scarce: descriptors are, so that no bank keeps many. */
void banks_tick(struct banks *, bool scarce);

/* Connects to key->addr: by a socket of the host, or where key->pod names one, of that pod.  As
 * tcp_world->connect; -EAGAIN: the bank is empty, bank_put() will tell. */
must_use int bank_dial(struct banks *, const struct back_key *, struct stream *ret);

#endif
