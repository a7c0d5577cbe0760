/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See chan.h. */
#include "nodeproxy/lib/ipc/chan.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdlib.h>
#include <sys/socket.h>

#include "nodeproxy/lib/ipc/msg.h"

/* The kernel passes at most 253 descriptors (SCM_MAX_FD).  Room for all of them means that
 * MSG_CTRUNC can only come from descriptor pressure here, and too many is the sender's fault. */
#define SCM_MOST 253

struct waiting {
	struct node in_queue;
	size_t n;
	unsigned nfds;
	int fd[CHAN_MAX_FDS];
	uint8_t bytes[];
};

int chan_pair(struct fd ret[2])
{
	int sp[2];

	if (socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0, sp) < 0)
		return -errno;
	ret[0].v = sp[0];
	ret[1].v = sp[1];
	return 0;
}

int chan_pair_short(struct fd ret[2])
{
	const int least = 1;		/* less than the kernel lets anybody have */
	int r = chan_pair(ret);

	for (int i = 0; r == 0 && i < 2; i++)
		if (setsockopt(ret[i].v, SOL_SOCKET, SO_SNDBUF, &least, sizeof least) < 0)
			r = -errno;
	for (int i = 0; r < 0 && i < 2; i++)
		fd_close(&ret[i]);
	return r;
}

void chan_init(struct chan *ch, struct fd *fd, enum role my_role, enum role peer_role)
{
	memset(ch, 0, sizeof *ch);
	ch->fd = fd_take(fd);
	ch->my_role = my_role;
	ch->peer_role = peer_role;
	list_init(&ch->queue);
	for (unsigned i = 0; i < CHAN_MAX_FDS; i++)
		ch->in.fd[i] = FD_NONE;		/* 0 would be somebody's standard input */
	for (unsigned t = 1; t < MSGS; t++) {
		const struct msg_rule *r = msg_rule(t);

		ch->rate[t] = ratelimit_of(r->rate, 2 * r->rate);
	}
}

/* Closes what somebody sent.  It may be the last copy of a socket that lingers: closing that would
 * stop us for as long as its sender liked.  (roles.def lets no child make one; this is for the day
 * that it does.) */
static void foreign_close(const struct chan *ch, struct fd *f)
{
	const struct linger off = { 0, 0 };

	if (ch->my_role == ROLE_MASTER)		/* the others hear only those who have them */
		(void)!setsockopt(f->v, SOL_SOCKET, SO_LINGER, &off, sizeof off);
	fd_close(f);
}

static void drop_fds(struct chan *ch)
{
	struct msg *m = &ch->in;

	for (unsigned i = 0; i < m->nfds; i++)
		if (fd_is_open(m->fd[i]))
			foreign_close(ch, &m->fd[i]);
	m->nfds = 0;
}

static void waiting_free(struct chan *ch, struct waiting *w)
{
	list_remove(&w->in_queue);
	ch->queued--;
	for (unsigned i = 0; i < w->nfds; i++)
		close(w->fd[i]);
	free(w);
}

void chan_fini(struct chan *ch)
{
	struct node *n;

	chan_unwatch(ch);
	drop_fds(ch);
	while ((n = list_first(&ch->queue)))
		waiting_free(ch, list_entry(n, struct waiting, in_queue));
	fd_close(&ch->fd);
}

/* 0, -EAGAIN (no room now), -EPIPE, -ENOBUFS (the kernel cannot take it, not even later). */
static int put(int s, struct iovec *iov, int iovs, const int *fds, unsigned nfds)
{
	union {
		char room[CMSG_SPACE(CHAN_MAX_FDS * sizeof(int))];
		struct cmsghdr align;
	} u;
	struct msghdr h = { .msg_iov = iov, .msg_iovlen = (size_t)iovs };

	if (nfds) {
		struct cmsghdr *c;

		memset(&u, 0, sizeof u);
		h.msg_control = u.room;
		h.msg_controllen = CMSG_SPACE(nfds * sizeof(int));
		c = CMSG_FIRSTHDR(&h);
		c->cmsg_level = SOL_SOCKET;
		c->cmsg_type = SCM_RIGHTS;
		c->cmsg_len = CMSG_LEN(nfds * sizeof(int));
		memcpy(CMSG_DATA(c), fds, nfds * sizeof(int));
	}
	for (;;) {
		if (sendmsg(s, &h, MSG_NOSIGNAL | MSG_DONTWAIT) >= 0)
			return 0;
		switch (errno) {
		case EINTR:
			continue;
		case EAGAIN:
			return -EAGAIN;
		case EPIPE:
		case ECONNRESET:
		case ENOTCONN:
			return -EPIPE;
		default:	/* ENOMEM, ETOOMANYREFS (too many descriptors in flight) */
			return -ENOBUFS;
		}
	}
}

int chan_flush(struct chan *ch)
{
	struct node *n;
	int r = 0;

	while ((n = list_first(&ch->queue))) {
		struct waiting *w = list_entry(n, struct waiting, in_queue);
		struct iovec iov = { w->bytes, w->n };

		r = put(ch->fd.v, &iov, 1, w->fd, w->nfds);
		if (r < 0)
			break;
		waiting_free(ch, w);
	}
	if (ch->loop)	/* -ENOBUFS: room may come back without an event; the next send tries */
		loop_io_change(ch->loop, &ch->io,
			       LOOP_READ | (r == -EAGAIN ? LOOP_WRITE : 0));
	return r;
}

static int enqueue(struct chan *ch, const struct iovec *iov, int iovs, const int *fds,
		   unsigned nfds)
{
	struct waiting *w;
	size_t n = 0;

	if (ch->queued >= CHAN_QUEUE)
		return -ENOBUFS;
	for (int i = 0; i < iovs; i++)
		n += iov[i].iov_len;
	w = malloc(sizeof *w + n);
	if (!w)
		return -ENOBUFS;
	w->n = 0;
	w->nfds = 0;
	for (int i = 0; i < iovs; i++) {
		if (iov[i].iov_len)
			memcpy(w->bytes + w->n, iov[i].iov_base, iov[i].iov_len);
		w->n += iov[i].iov_len;
	}
	list_init(&w->in_queue);
	list_add_tail(&ch->queue, &w->in_queue);
	ch->queued++;
	for (unsigned i = 0; i < nfds; i++) {
		int d = fcntl(fds[i], F_DUPFD_CLOEXEC, 0);

		if (d < 0) {
			waiting_free(ch, w);
			return -ENOBUFS;
		}
		w->fd[w->nfds++] = d;
	}
	return 0;
}

/* What it is made of, in iov; it is then sent if it can be now: as put(). */
static int send_now(struct chan *ch, const struct msg_head *head, const void *payload, struct slice tail,
		    const int *fds, unsigned nfds, struct iovec iov[3])
{
	const struct msg_rule *rule = msg_rule(head->type);
	int r;

	must(rule && msg_may(rule, ch->my_role, ch->peer_role));
	must(tail.n <= rule->tail && nfds >= rule->fds_min && nfds <= rule->fds_max);
	if (!fd_is_open(ch->fd))
		return -EPIPE;
	iov[0] = (struct iovec){ (void *)(uintptr_t)head, sizeof *head };
	iov[1] = (struct iovec){ (void *)(uintptr_t)payload, rule->bytes };
	iov[2] = (struct iovec){ (void *)(uintptr_t)tail.p, tail.n };
	r = chan_flush(ch);		/* what waits goes first */
	return r < 0 ? r : put(ch->fd.v, iov, 3, fds, nfds);
}

int chan_try(struct chan *ch, enum msg_type t, const void *payload, const int *fds, unsigned nfds)
{
	struct msg_head head = { .type = t };
	struct iovec iov[3];

	return send_now(ch, &head, payload, (struct slice){ 0 }, fds, nfds, iov);
}

void chan_finish(struct chan *ch)
{
	(void)shutdown(ch->fd.v, SHUT_WR);
}

int chan_send(struct chan *ch, enum msg_type t, const void *payload, struct slice tail,
	      const int *fds, unsigned nfds)
{
	struct msg_head head = { .type = t };
	struct iovec iov[3];
	int r = send_now(ch, &head, payload, tail, fds, nfds, iov);

	if (r == 0 || r == -EPIPE)
		return r;
	r = enqueue(ch, iov, 3, fds, nfds);
	if (r == 0 && ch->loop)
		loop_io_change(ch->loop, &ch->io, LOOP_READ | LOOP_WRITE);
	return r;
}

int chan_say(struct chan *ch, enum msg_type t, const void *payload)
{
	return chan_send(ch, t, payload, (struct slice){ 0 }, NULL, 0);
}

/* Over its rate: dropped.  Several times over it for a while: not an honest sender. */
static int within_rate(struct chan *ch, enum msg_type t)
{
	struct ratelimit *rl = &ch->rate[t];

	if (rl->rate == 0)
		return 0;
	if (ratelimit_take(rl, clock_tick())) {
		rl->refused -= min_of(rl->refused, 4u);
		return 0;
	}
	return rl->refused > 100 + 2 * (uint64_t)rl->rate ? -EPROTO : -EAGAIN;
}

/* No bytes and no descriptors: the end, or an empty datagram, which nobody honest sends.  Nothing in
 * what recvmsg() says tells them apart, but only the end is a hang-up. */
static int nothing_came(const struct chan *ch)
{
	struct pollfd p = { .fd = ch->fd.v };

	return poll(&p, 1, 0) > 0 && (p.revents & (POLLHUP | POLLERR)) ? -EPIPE : -EPROTO;
}

/* Descriptors were cut for want of room in our table.  That is no crime of a sender who may send
 * some; the rest of the message must be as good as any other, and so must its rate, or it would be
 * a way to keep us busy without a limit. */
static int cut(struct chan *ch, size_t n, unsigned came)
{
	struct msg *m = &ch->in;
	const struct msg_head *head = (const void *)ch->buf;
	const struct msg_rule *rule = n >= sizeof *head ? msg_rule(head->type) : NULL;
	int r;

	if (!rule || rule->fds_max == 0 || came > rule->fds_max)
		return -EPROTO;
	r = msg_parse(ch->buf, n, rule->fds_max, ch->peer_role, ch->my_role, m);
	if (r == 0)
		r = within_rate(ch, m->type);
	return r < 0 ? r : -EMFILE;
}

int chan_recv(struct chan *ch, const struct msg **ret)
{
	union {
		char room[CMSG_SPACE(SCM_MOST * sizeof(int))];
		struct cmsghdr align;
	} u;
	struct iovec iov = { ch->buf, sizeof ch->buf };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.room,
			    .msg_controllen = sizeof u.room };
	struct msg *m = &ch->in;
	unsigned came = 0;
	ssize_t n;
	int r;

	drop_fds(ch);
	if (!fd_is_open(ch->fd))
		return -EPIPE;
	do
		n = recvmsg(ch->fd.v, &h, MSG_CMSG_CLOEXEC | MSG_DONTWAIT);
	while (n < 0 && errno == EINTR);
	/* Short of memory is no end: the message still waits, and the loop asks again. */
	if (n < 0)
		return errno == EAGAIN || errno == ENOMEM || errno == ENOBUFS ? 0 : -EPIPE;
	for (struct cmsghdr *c = CMSG_FIRSTHDR(&h); c; c = CMSG_NXTHDR(&h, c)) {
		unsigned k = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));

		if (c->cmsg_level != SOL_SOCKET || c->cmsg_type != SCM_RIGHTS)
			continue;
		for (unsigned i = 0; i < k; i++) {
			int fd;

			memcpy(&fd, CMSG_DATA(c) + i * sizeof fd, sizeof fd);
			if (came < CHAN_MAX_FDS)
				m->fd[m->nfds++].v = fd;
			else
				foreign_close(ch, &(struct fd){ fd });
			came++;
		}
	}
	if (n == 0 && came == 0 && !(h.msg_flags & MSG_CTRUNC)) {
		r = nothing_came(ch);
		ch->refused += r == -EPROTO;
		return r;
	}
	if (h.msg_flags & MSG_TRUNC)
		r = -EPROTO;
	else if (h.msg_flags & MSG_CTRUNC)
		r = cut(ch, (size_t)n, came);
	else
		r = msg_parse(ch->buf, (size_t)n, came, ch->peer_role, ch->my_role, m);
	if (r == 0)
		r = within_rate(ch, m->type);
	if (r < 0) {
		ch->refused += r != -EMFILE;
		drop_fds(ch);
		if (r == -EMFILE)
			*ret = m;
		return r;
	}
	*ret = m;
	return 1;
}

static void io_ready(void *arg, unsigned events)
{
	struct chan *ch = arg;

	if (events & LOOP_WRITE)
		(void)chan_flush(ch);	/* -EPIPE shows up as readable, too */
	if (events & LOOP_READ)
		ch->on_ready(ch->arg);	/* last: it may end the channel */
}

void chan_watch(struct chan *ch, struct loop *loop, void (*fn)(void *arg), void *arg)
{
	ch->loop = loop;
	ch->on_ready = fn;
	ch->arg = arg;
	loop_io_start(loop, &ch->io, ch->fd.v,
		      LOOP_READ | (list_is_empty(&ch->queue) ? 0 : LOOP_WRITE), io_ready, ch);
}

void chan_unwatch(struct chan *ch)
{
	if (ch->loop)
		loop_io_stop(ch->loop, &ch->io);
	ch->loop = NULL;
}
