/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Errands: what is done inside pods' network namespaces, each by a process of its own that is forked
 * for it (forker.h), does that one thing, hands over what it opened and ends.
 *
 * Only such a process ever enters a namespace, and none comes back from there: so the master cannot be
 * left in one.  Nor does the master wait for it: what it has to say comes over a channel, and one that
 * takes too long is ended by its own alarm.
 *
 * All that it knows is what the master says over that channel: first what is to be done, and, of one that
 * enters, whether what it found may be captured. */
#ifndef NODEPROXY_NETNS_H
#define NODEPROXY_NETNS_H

#include "nodeproxy/lib/ipc/chan.h"
#include "nodeproxy/lib/ipc/messages.h"
#include "nodeproxy/nft.h"

struct master;

#define ERRAND_S 5		/* it ends itself after that */
#define BANK_ERRAND 256		/* sockets of a sort that one opens at most: BANK_MOST of workers */

enum errand_kind {
	ERRAND_ENTER,		/* finds the namespace by its path; opens listeners there, puts the rules */
	ERRAND_BANK,		/* opens sockets for connections that leave the pod, or go to it from us */
	ERRAND_CHANGE,		/* has the rules of a pod stay while we are away, or not */
	ERRAND_FREE,		/* makes the rules of a pod match nothing any more */
	ERRAND_ORIGIN,		/* puts or takes away what shows callers' addresses to applications */
	ERRAND_SWEEP,		/* takes that away from all pods: nodeproxy ends */
	ERRAND_LOOK,		/* whether the namespaces of all pods are still where they were; visits some */
};

struct errand_job {
	enum errand_kind kind;
	uint32_t ref;		/* of the pod */
	char netns[192];	/* ENTER */
	uint64_t cookie;	/* ENTER: it must still be this one (an inode may be used again); 0: any */
	struct rules how;	/* ENTER (without a port), CHANGE, ORIGIN: the rules are to be; FREE: are */
	struct fd inside, rules, list;	/* BANK, ORIGIN: the namespace; CHANGE, FREE, ORIGIN: the socket of the
				 * rules; LOOK, SWEEP: sealed memory, of struct errand_pod; of the master
				 * borrowed; FD_NONE: none */
	uint16_t n[BANK_KINDS];	/* BANK: how many of each sort */
	bool has_ipv6;		/* ORIGIN */
};

/* One of those that LOOK and SWEEP are about. */
struct errand_pod {
	uint32_t ref, uid;
	uint64_t inode;
	uint16_t token;		/* LOOK: of its visit (proof.h); 0: none */
	uint8_t has_ipv6;
	uint8_t zero[5];
	char netns[192];
};

/* In an errand.  Waits until the master has room for it. */
void errand_say(struct chan *, enum msg_type, const void *payload, const char *text, const struct fd *,
		unsigned n);
/* 0, or -errno (-EINVAL: it is no namespace). */
must_use int netns_open(const char *path, struct fd *ret, uint64_t *ret_inode);

/* Of a socket that is bound; 0: of none. */
uint16_t netns_port(struct fd);

/* In the forked process, with nothing open but the channel.  Does not return. */
_Noreturn void errand_run(struct fd chan);

#endif
