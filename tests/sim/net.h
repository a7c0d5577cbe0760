/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The network of the simulation: connections whose bytes, ends and resets arrive when a seed says.
 *
 * A link has two ends: ours (a struct stream that the real data path uses through tcp_world) and
 * theirs (an actor's).  Bytes written at one end are on their way until net_tick() lets some of them
 * arrive; each way has a window, so writes are short or say EAGAIN.  Events for our end are
 * edge-triggered as epoll's are: an arrival, room after EAGAIN, an end or an error, each reported
 * once, with all that is true then.
 *
 * As the kernel does: closing with bytes unread, or bytes arriving after the close, is a reset; a
 * reset loses what is still on its way, not what has arrived.  Links die when both ends are closed
 * and net_tick() finds them. */
#ifndef TESTS_SIM_NET_H
#define TESTS_SIM_NET_H

#include "nodeproxy/lib/base/list.h"
#include "nodeproxy/lib/net/tcp.h"

#define NET_WINDOW_MAX 65536u

struct way {
	uint8_t *ring;			/* of window bytes */
	uint32_t window;
	uint64_t wrote, arrived, read;
	bool end_wrote, end_arrived;
};

#define NET_LINKS 4096		/* at a time */
#define NET_FD	  1000000	/* of the first: no real descriptor is as large */

struct link {
	struct node node;
	uint32_t slot;
	struct way in, out;		/* towards us, away from us */
	bool connecting;		/* our connect has no answer yet */
	bool ours_open, theirs_open;
	bool ours_reset, theirs_reset;	/* what that end will find */
	bool wants_room;		/* our last write said EAGAIN */
	bool watched, event;
	int error;			/* of our end, -errno */
	uint64_t token;
	int64_t quiet_until_ns;		/* nothing moves before (slow peers), in world ns */
	struct addr addr;		/* dialled by us, or the caller's */
};

struct net {
	struct node links;
	struct link *at[NET_LINKS];
	uint32_t n_links;
	uint64_t x;			/* the seed's state */
	int64_t *world_ns;
	bool pipes;			/* streams can be spliced */
	uint64_t moved;			/* bytes and ends that arrived anywhere: progress */
	/* Our connect(): who answers is up to the owner of the net.  0, or -errno at once. */
	int (*dialled)(void *arg, struct link *);
	void *arg;
	/* Faults: each in so many calls; 0 never. */
	unsigned short_of_descriptors;
};

void net_init(struct net *, uint64_t seed, int64_t *world_ns);
void net_fini(struct net *);
/* Makes this net the world of the data path. */
extern const struct tcp_world net_world;
void net_use(struct net *);

uint32_t net_rand(struct net *, uint32_t below);
static inline bool net_chance(struct net *n, uint32_t one_in)
{
	return one_in && net_rand(n, one_in) == 0;
}

/* A caller connects: *ret is our end, as accept() would give it. */
struct link *net_call(struct net *, struct stream *ret);
/* Answers of the one that was dialled. */
void link_accept(struct net *, struct link *);
void link_refuse(struct net *, struct link *, int error);

/* Their end.  As stream_ops. */
ssize_t link_take(struct net *, struct link *, uint8_t *buf, size_t room);
ssize_t link_give(struct net *, struct link *, const void *p, size_t n);
void link_finish(struct link *);	/* no more bytes from them */
void link_leave(struct net *, struct link *);	/* close */
void link_break(struct net *, struct link *);	/* reset */

/* Lets some bytes arrive, buries dead links. */
void net_tick(struct net *);
/* Tells fn of a random part of what has happened at our ends. */
unsigned net_collect(struct net *, bool (*fn)(void *, uint64_t token, unsigned bits), void *arg);

#endif
