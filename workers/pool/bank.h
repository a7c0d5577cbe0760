/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Banks: sockets inside pods' network namespaces, opened by the master and kept ready here, so that a
 * connection that leaves a pod (or goes to it from us) does not wait for root.
 *
 * Per pod and family a few wait, once somebody has come: a socket takes more than three kilobytes of the
 * kernel, and most pods of a host are idle or use one family.  When half of the target is gone more are
 * asked for.  Each time costs the master a process, which is as much as dozens of sockets, so who asks again
 * within BANK_BUSY_MS has twice the target from then on (at most four seconds' worth), who was empty when somebody came four times, and one that nobody came to for
 * BANK_REST_MS half of it: a quiet pod keeps BANK_LEAST, and of UDP, which only names need
 * (workers/names), none.  Sockets of UDP
 * come back after use, to be used again.  What was asked for and did not come is asked
 * for again after BANK_ASK_MS. */
#ifndef WORKERS_POOL_BANK_H
#define WORKERS_POOL_BANK_H

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/slab.h"
#include "workers/pool/pool.h"

#define BANKS	     512	/* pods: POD_SLOT() of a ref */
#define BANK_LEAST   1
#define BANK_MOST    256	/* BANK_ERRAND of nodeproxy/netns.h: one brings them */
#define BANK_ASK_MS  500
#define BANK_REST_MS 10000
#define BANK_BUSY_MS 1000

/* What a bank has of each: TCP of IPv4 and of IPv6, then UDP. */
#define BANK_SORTS 4
static inline unsigned bank_sort(unsigned family, bool udp)
{
	return 2 * udp + (family == 6);
}

struct bank_sort {
	uint16_t n, target, asked;
	uint8_t least;
	bool has;		/* the pod has its family */
	bool waited;		/* somebody found it empty since sockets came last */
	struct mono asked_at, used_at;
	int *fd;		/* BANK_MOST of them; NULL: none has come, as of most pods */
};

struct bank {
	uint32_t ref;		/* 0: none */
	bool guest;		/* only others' connections go there from this worker: it keeps none for them */
	struct bank_sort of[BANK_SORTS];
};

struct banks {
	struct bank *at;	/* BANKS of them */
	struct slab rooms;	/* for descriptors, of sorts that have had one */
	uint32_t held;		/* sockets */
	uint32_t most;		/* that one of a sort may hold now: few while descriptors are; who dials and puts says so */
	/* n[i] sockets of each sort are asked for. */
	void (*want)(uint32_t ref, const uint16_t n[BANK_SORTS]);
};

/* 0 or -ENOMEM. */
must_use int banks_init(struct banks *);
void banks_fini(struct banks *);
/* The bank of a pod begins; again: nothing happens, but that a guest's becomes the pod's own. */
void bank_open(struct banks *, uint32_t ref, bool has_ipv6, bool guest);
void bank_close(struct banks *, uint32_t ref);
/* Takes the descriptors (those there is no room for are closed); true: somebody has waited for them. */
bool bank_put(struct banks *, uint32_t ref, unsigned sort, struct fd *fd, unsigned n);
/* Now and then.  scarce: descriptors are, so that no bank keeps many. */
void banks_tick(struct banks *, bool scarce);

/* Connects to key->addr: by a socket of the host, or where key->pod names one, of that pod.  As
 * tcp_world->connect; -EAGAIN: the bank is empty, bank_put() will tell. */
must_use int bank_dial(struct banks *, const struct back_key *, struct stream *ret);

/* A socket of UDP, not connected: 0, -EAGAIN (as above), -ENETDOWN, -ENETUNREACH.  It is given back, or
 * closed, with whatever state it has. */
must_use int bank_take_udp(struct banks *, uint32_t ref, unsigned family, struct fd *ret);
void bank_give_udp(struct banks *, uint32_t ref, unsigned family, struct fd *);

#endif
