/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A channel: one end of a SOCK_SEQPACKET pair between two of our processes.
 *
 * What arrives is checked against msg.def before anybody sees it: who sent it (the role comes from
 * the channel, never from the bytes), length, number of descriptors, rate.  -EPROTO: the other side
 * is broken or hostile; its keeper kills and replaces it and lives on.  Truncated descriptors
 * (MSG_CTRUNC, descriptor pressure) are closed and reported as -EMFILE with the message type: ask
 * again.  Sending never blocks: what the kernel does not take waits in a bounded queue
 * (CHAN_QUEUE); past it chan_send says -ENOBUFS and the caller decides what to do without. */
#ifndef NODEPROXY_LIB_IPC_CHAN_H
#define NODEPROXY_LIB_IPC_CHAN_H

#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/base/list.h"
#include "nodeproxy/lib/base/loop.h"
#include "nodeproxy/lib/base/ratelimit.h"
#include "nodeproxy/lib/base/slice.h"
#include "nodeproxy/lib/ipc/messages.h"

enum role { ROLE_NONE, ROLE_KEEPER, ROLE_MASTER, ROLE_WORKER, ROLE_SYNCD, ROLE_ADMIND,
	    ROLE_KEYD, ROLE_ERRAND /* of the master: forked from it, and soon gone */, ROLES };

enum msg_type {
	MSG_NONE,
#define MSG(name, from, to, payload, tail, fds_min, fds_max, rate) MSG_##name,
#include "nodeproxy/lib/ipc/msg.def"
#undef MSG
	MSGS
};

#define CHAN_FD	       3	/* in every child */
#define CHAN_MAX_FDS   16
#define CHAN_MAX_BYTES 1024	/* of one message */
#define CHAN_QUEUE     1024	/* messages that wait */
#define CHAN_SHORT     16	/* of chan_pair_short() */

/* A received message; valid until the next chan_recv.  Descriptors that the receiver does not
 * take (fd_take) are closed by chan_recv's next call and by chan_fini. */
struct msg {
	enum msg_type type;
	const void *p;		/* the payload struct */
	struct slice tail;
	struct fd fd[CHAN_MAX_FDS];
	unsigned nfds;
};

struct chan {
	struct fd fd;
	enum role my_role, peer_role;
	struct ratelimit rate[MSGS];
	struct node queue;	/* waiting messages, with their descriptors */
	unsigned queued;
	uint64_t refused;	/* messages that broke the table */
	struct msg in;
	_Alignas(8) uint8_t buf[CHAN_MAX_BYTES + 16];
	struct loop *loop;	/* NULL until chan_watch */
	struct loop_io io;
	void (*on_ready)(void *arg);
	void *arg;
};

const char *role_name(enum role);
const char *msg_name(enum msg_type);

must_use int chan_pair(struct fd ret[2]);
/* The same, with room for no more than CHAN_SHORT messages (the kernel makes that some six) that nobody
 * has read: for chan_try(). */
must_use int chan_pair_short(struct fd ret[2]);
/* Takes the descriptor. */
void chan_init(struct chan *, struct fd *fd, enum role my_role, enum role peer_role);
void chan_fini(struct chan *);

/* Sends or queues; the descriptors are duplicated as needed, the caller keeps its own.
 * payload must be the struct of msg.def.  0, -ENOBUFS (queue full) or -EPIPE (the other side is
 * gone). */
must_use int chan_send(struct chan *, enum msg_type, const void *payload, struct slice tail,
		       const int *fds, unsigned nfds);
/* Sends now or not at all, for what must not wait: 0, -EAGAIN (no room), -ENOBUFS (the kernel cannot
 * take it) or -EPIPE. */
must_use int chan_try(struct chan *, enum msg_type, const void *payload, const int *fds, unsigned nfds);
/* Nothing more is sent from this end, whoever else has it; what was sent is there to be read still. */
void chan_finish(struct chan *);
/* Shorthand: no tail, no descriptors; a full queue is counted by the caller's ignoring it. */
int chan_say(struct chan *, enum msg_type, const void *payload);
/* The same where a lost message is made up for by a later one. */
static inline void chan_offer(struct chan *ch, enum msg_type t, const void *payload,
			      struct slice tail, const int *fds, unsigned nfds)
{
	if (chan_send(ch, t, payload, tail, fds, nfds) < 0)
		return;
}
/* Tries to send what waits, for a process that does not watch the channel (yet).  0, -EAGAIN,
 * -ENOBUFS (the kernel is short of memory: try later), -EPIPE. */
int chan_flush(struct chan *);
/* The next message: 1 and *ret, 0 when none waits, -EPIPE at the end, -EPROTO, -EMFILE (*ret says
 * which message lost its descriptors), -EAGAIN (over its rate: dropped; a sender far over it is
 * -EPROTO). */
must_use int chan_recv(struct chan *, const struct msg **ret);
/* Calls fn whenever a message (or the end) waits, and sends the queue as room comes. */
void chan_watch(struct chan *, struct loop *, void (*fn)(void *arg), void *arg);
void chan_unwatch(struct chan *);

#endif
