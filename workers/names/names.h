/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* DNS inside captured pods, of one worker: what a pod asks at port 53, by UDP and by TCP, comes to
 * sockets on its loopback, and the pod's tenant pays for what becomes of it.
 *
 *   names.c    pods, their sockets, events and deadlines; questions by UDP
 *   caller.c   questions by TCP
 *   question.c one question: whose name it is, and the answer
 *   ask.c      what somebody else has to answer
 *   cache.c    what they have answered
 *   local.c    names of the mesh, from the view
 *   lacking.c  those whose answer is endpoints that are not here yet
 *   dns.c      messages
 *
 * The sockets of a pod are shared by its home workers: who is first reads the question.  Work is done
 * in turns of the scheduler, as everywhere (sched.h).
 *
 *   phase     who       how
 *   here      worker.c  names_pod_here(), after path_pod_here(): the sockets are read
 *   dropped   worker.c  another worker is at home there: no more is read; what was asked is answered
 *   gone      worker.c  names_pod_gone(): callers are cut */
#ifndef WORKERS_NAMES_NAMES_H
#define WORKERS_NAMES_NAMES_H

#include "nodeproxy/lib/net/resolvconf.h"
#include "workers/names/cache.h"
#include "workers/names/dns.h"
#include "workers/path/path.h"

#define NAMES_CALLERS	  4096	/* by TCP, of a worker */
#define NAMES_CALLERS_POD 128
#define NAMES_BUCKETS	  1024
#define NAMES_UDP	  4096	/* bytes of an answer by UDP at most: on loopback nothing breaks it */

/* In the order of POD_HERE. */
enum { NAMES_TCP, NAMES_UDP_SOCKET, NAMES_SOCKETS_FAMILY };
#define NAMES_SOCKETS (2 * NAMES_SOCKETS_FAMILY)	/* of IPv4, then of IPv6 */

struct names_pod;

struct names_socket {
	struct fd fd;			/* -1: none */
	struct names_pod *pod;
	struct sched_unit unit;
	struct tenant *tenant;		/* holds a reference */
	bool paused;			/* until names_tick(): the kernel has no memory */
	bool dropped;
};

#define NAMES_RESOLVERS RESOLVCONF_MOST
#define NAMES_PORT	53

struct names_resolvers {		/* all zero behind the n-th */
	uint32_t n;
	struct addr at[NAMES_RESOLVERS];
};

struct names_pod {
	struct names *names;
	uint32_t ref;			/* 0: nobody */
	struct gate *gate;		/* of what leaves it; holds a reference */
	struct names_resolvers own;	/* none: those of the host */
	uint8_t first;			/* of them: who answered last */
	struct mono silent_at;		/* when none of them answered */
	uint32_t callers, waiters;
	struct node thirsty;		/* asks that wait for sockets of its bank */
	struct cache_pod cache;
	struct names_socket socket[NAMES_SOCKETS];
};

/* Who asked, and where the answer goes. */
struct names_from {
	struct names_pod *pod;
	const struct names_socket *socket;	/* UDP: by which the question came; else NULL */
	struct addr addr;			/* and from where */
	struct slot_ref caller;
};

struct names {
	struct path *path;
	uint32_t pods, sockets;
	bool begun;			/* there was a pod */
	bool draining;
	struct wheel wheel;
	struct mono due;		/* no deadline is earlier; ns INT64_MAX: none */
	struct names_resolvers host;	/* of the host: of pods that have none of their own */
	struct slab callers, asks, waiters, lacking;
	struct node lacks;		/* struct lacking, in order of time */
	struct node dead, dead_asks;	/* for names_reap() */
	struct node asked[NAMES_BUCKETS];	/* asks under way, by what is asked */
	struct cache cache;
	struct names_pod pod[BANKS];
	/* Scratch of the step that runs. */
	uint8_t in[DNS_MOST + 1], out[DNS_MOST + 1];
};

/* Of one that is all zero: 0 or -ENOMEM.  The path is borrowed. */
must_use int names_init(struct names *, struct path *);
void names_fini(struct names *);

/* Takes the sockets of a family; again: they take the place of those before.  0 or -errno. */
must_use int names_pod_here(struct names *, uint32_t ref, unsigned family,
			    struct fd fd[NAMES_SOCKETS_FAMILY]);
/* Whom names are asked of that are none of ours: of this pod, or (ref 0) of all that have none of their
 * own.  Those that are not far are left out (they would be ourselves, or nobody); known already: nothing
 * happens. */
void names_use_resolvers(struct names *, uint32_t ref, const struct names_resolvers *);
/* Of the host, by an open resolv.conf. */
void names_read_resolvers(struct names *, struct fd);
/* Sockets of its bank have come. */
void names_pod_bank(struct names *, uint32_t ref);
void names_pod_drop(struct names *, uint32_t ref);
void names_pod_gone(struct names *, uint32_t ref);
/* Others are at home in all pods from now on; its deadline: what waits still is given up. */
void names_drain(struct names *);
void names_end(struct names *);

/* An event of the poll set; false: a token of another kind. */
bool names_event(struct names *, uint64_t token, unsigned bits);
void names_deadlines(struct names *);
static inline bool names_have_dead(const struct names *ns)
{
	return !list_is_empty(&ns->dead) || !list_is_empty(&ns->dead_asks);
}
void names_reap(struct names *);
/* Now and then: tenants of a new view pay from now on. */
void names_tick(struct names *);
/* There is a new view: whoever waits for endpoints may have an answer. */
void names_view(struct names *);
/* Callers, and what waits for an answer. */
static inline uint32_t names_live(const struct names *ns)
{
	return ns->callers.live + ns->waiters.live + ns->lacking.live;
}

/* ---- of names alone ---- */

/* Whose token it is: the two upper bits of its slot. */
enum names_kind { NAMES_KIND_SOCKET, NAMES_KIND_CALLER, NAMES_KIND_ASK };
uint64_t names_token(enum names_kind, struct slot_ref);
void names_deadline(struct names *, struct wheel_entry *, int64_t ms);

static inline const struct names_resolvers *names_resolvers(const struct names_pod *p)
{
	return p->own.n ? &p->own : &p->names->host;
}
/* Bytes that the answer may have. */
static inline size_t names_room(const struct names_from *from, const struct dns_query *q)
{
	return from->socket ? min_of((size_t)q->udp, (size_t)NAMES_UDP) : (size_t)DNS_MOST;
}
/* One question in these bytes: 0: it was answered, or is none that gets an answer (-EBADMSG). */
must_use int names_question(struct names *, const struct names_from *, struct slice message);
/* The answer to one; false: it is endpoints that are not here. */
bool names_answer(struct names *, const struct names_from *, const struct dns_query *);
/* An answer that is nothing but its rcode. */
void names_refuse(struct names *, const struct names_from *, const struct dns_query *, enum dns_rcode);
/* The answer, n bytes of out. */
void names_say(struct names *, const struct names_from *, size_t n);

size_t caller_bytes(void);
/* Takes the stream. */
void caller_new(struct names_pod *, struct tenant *, struct stream *);
void caller_event(struct names *, struct slot_ref, unsigned bits);
void caller_deadline(struct wheel_entry *);
void caller_say(struct names *, struct slot_ref, size_t n);
/* All of a pod (NULL: of any, those with nothing under way). */
void callers_end(struct names *, const struct names_pod *);
void callers_reap(struct names *);

#endif
