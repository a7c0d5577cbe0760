/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See tcp.h. */
#include "nodeproxy/lib/net/tcp.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/filter.h>
#include <linux/netfilter_ipv4.h>
#include <netinet/tcp.h>
#include <string.h>
#include <sys/socket.h>

#ifndef IP6T_SO_ORIGINAL_DST
#define IP6T_SO_ORIGINAL_DST 80	/* linux/netfilter_ipv6/ip6_tables.h, which clashes with netinet */
#endif

static ssize_t tcp_read(struct stream *s, uint8_t *buf, size_t room)
{
	ssize_t n = recv(s->fd.v, buf, room, 0);

	return n < 0 ? -errno : n;
}

/* So much is put into one piece for send(): sendmsg() costs some 200 ns more, which is what the copy
 * of several KiB costs. */
#define GATHER_BYTES 2048

/* The bytes of all pieces in out; 0: they do not fit. */
static size_t gather(const struct iovec *v, int n, uint8_t out[GATHER_BYTES])
{
	size_t at = 0;

	for (int i = 0; i < n; i++) {
		if (v[i].iov_len > GATHER_BYTES - at)
			return 0;	/* before anything is copied in vain */
		at += v[i].iov_len;
	}
	at = 0;
	for (int i = 0; i < n; i++) {
		memcpy(out + at, v[i].iov_base, v[i].iov_len);
		at += v[i].iov_len;
	}
	return at;
}

static ssize_t tcp_write(struct stream *s, const struct iovec *v, int n)
{
	uint8_t small[GATHER_BYTES];
	size_t total;
	ssize_t k;

	if (n == 1) {
		k = send(s->fd.v, v->iov_base, v->iov_len, MSG_NOSIGNAL);
	} else if ((total = gather(v, n, small)) > 0) {
		k = send(s->fd.v, small, total, MSG_NOSIGNAL);
	} else {
		struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)v, .msg_iovlen = (size_t)n };

		k = sendmsg(s->fd.v, &m, MSG_NOSIGNAL);
	}
	return k < 0 ? -errno : k;
}

static ssize_t tcp_pull(struct stream *s, int pipe, size_t max)
{
	ssize_t n = splice(s->fd.v, NULL, pipe, NULL, max, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);

	return n < 0 ? -errno : n;
}

/* A worker ignores SIGPIPE: splice has no MSG_NOSIGNAL. */
static ssize_t tcp_push(struct stream *s, int pipe, size_t n)
{
	ssize_t k = splice(pipe, NULL, s->fd.v, NULL, n, SPLICE_F_NONBLOCK | SPLICE_F_MOVE);

	return k < 0 ? -errno : k;
}

static int tcp_finish(struct stream *s)
{
	return shutdown(s->fd.v, SHUT_WR) < 0 ? -errno : 0;
}

static int tcp_error(struct stream *s)
{
	int e = 0;
	socklen_t n = sizeof e;

	if (getsockopt(s->fd.v, SOL_SOCKET, SO_ERROR, &e, &n) < 0)
		return -errno;
	return -e;
}

/* These sockets are not inherited, and passed on only before they are in a poll set, by who closes its copy
 * then (tcp_adopt): so closing takes them out of the set too, and no EPOLL_CTL_DEL is needed first. */
/* A reset, as with SO_LINGER 0, which roles.def does not allow: a socket that lingers, sent to the master,
 * would stop it in close().  Should this fail, the other side sees an ordinary end. */
static void kernel_cut(const struct stream *s)
{
	const struct sockaddr none = { .sa_family = AF_UNSPEC };

	(void)!connect(s->fd.v, &none, sizeof none);
}

static void tcp_close(struct stream *s, bool abort)
{
	if (abort)
		kernel_cut(s);
	fd_close(&s->fd);
}

static const struct stream_ops tcp_ops = {
	.name = "tcp", .read = tcp_read, .write = tcp_write, .pull = tcp_pull, .push = tcp_push,
	.finish = tcp_finish, .error = tcp_error, .close = tcp_close,
};

static int kernel_accept(int listener, struct stream *ret, struct addr *peer)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof ss;
	int fd = accept4(listener, (struct sockaddr *)&ss, &n, SOCK_NONBLOCK | SOCK_CLOEXEC);

	if (fd < 0)
		return -errno;
	addr_from_sockaddr(&ss, peer);
	*ret = (struct stream){ .ops = &tcp_ops, .fd = { fd } };
	return 0;
}

static int option(int s, int which)
{
	int v = -1;
	socklen_t n = sizeof v;

	return getsockopt(s, SOL_SOCKET, which, &v, &n) < 0 || n != sizeof v ? -1 : v;
}

int tcp_may_adopt(struct fd fd, struct addr *peer)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof ss;
	int family = option(fd.v, SO_DOMAIN), flags = fcntl(fd.v, F_GETFL);

	if ((family != AF_INET && family != AF_INET6) || option(fd.v, SO_PROTOCOL) != IPPROTO_TCP ||
	    option(fd.v, SO_ACCEPTCONN) != 0 || flags < 0 || !(flags & O_NONBLOCK))
		return -EPROTO;
	memset(&ss, 0, sizeof ss);
	if (getpeername(fd.v, (struct sockaddr *)&ss, &n) < 0)
		ss.ss_family = (sa_family_t)family;	/* reset meanwhile, as who reads will see */
	addr_from_sockaddr(&ss, peer);
	return 0;
}

struct stream tcp_adopt(struct fd *fd)
{
	return (struct stream){ .ops = &tcp_ops, .fd = fd_take(fd) };
}

static int start(struct fd *fd, const struct sockaddr_storage *ss, socklen_t n, struct stream *ret)
{
	if (connect(fd->v, (const struct sockaddr *)ss, n) < 0 && errno != EINPROGRESS) {
		int r = -errno;

		fd_close(fd);
		return r;
	}
	/* On an established socket connect() said 0, else EINPROGRESS; both are told by READY_OUT. */
	*ret = (struct stream){ .ops = &tcp_ops, .fd = fd_take(fd) };
	return -EINPROGRESS;
}

static int kernel_connect(const struct addr *a, struct stream *ret)
{
	struct sockaddr_storage ss;
	socklen_t n = addr_to_sockaddr(a, &ss);
	int one = 1;
	struct fd fd = { socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };

	if (fd.v < 0)
		return -errno;
	if (setsockopt(fd.v, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0) {
		int r = -errno;

		fd_close(&fd);
		return r;
	}
	return start(&fd, &ss, n, ret);
}

static int kernel_connect_by(struct fd *fd, const struct addr *from, const struct addr *a,
			     struct stream *ret)
{
	struct sockaddr_storage ss;
	socklen_t n;

	if (from) {
		n = addr_to_sockaddr(from, &ss);
		if (bind(fd->v, (const struct sockaddr *)&ss, n) < 0) {
			int r = -errno;

			fd_close(fd);
			return r;
		}
	}
	n = addr_to_sockaddr(a, &ss);
	return start(fd, &ss, n, ret);
}

static int kernel_dialled(const struct stream *s, struct addr *ret)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof ss;

	/* After a REDIRECT the address is only in conntrack; otherwise (TPROXY, local route) it is
	 * the socket's own. */
	if (getsockopt(s->fd.v, SOL_IP, SO_ORIGINAL_DST, &ss, &n) == 0 ||
	    (n = sizeof ss, getsockopt(s->fd.v, SOL_IPV6, IP6T_SO_ORIGINAL_DST, &ss, &n) == 0) ||
	    (n = sizeof ss, getsockname(s->fd.v, (struct sockaddr *)&ss, &n) == 0)) {
		addr_from_sockaddr(&ss, ret);
		return 0;
	}
	return -errno;
}

static int kernel_watch(struct poll *p, const struct stream *s, uint64_t token)
{
	return poll_add(p, s->fd.v, token);
}

const struct tcp_world tcp_kernel = {
	.accept = kernel_accept, .connect = kernel_connect, .connect_by = kernel_connect_by,
	.cut = kernel_cut, .dialled = kernel_dialled, .watch = kernel_watch,
};
const struct tcp_world *tcp_world = &tcp_kernel;

int tcp_listener_setup(int listener)
{
	int one = 1;

	return setsockopt(listener, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ? -errno : 0;
}

/* A filter on the socket sees TCP headers: a segment with SYN and without ACK is a new caller. */
int tcp_listener_hush(int listener)
{
	struct sock_filter f[] = {
		BPF_STMT(BPF_LD | BPF_B | BPF_ABS, 13),			/* the flags */
		BPF_STMT(BPF_ALU | BPF_AND | BPF_K, 0x12),		/* ACK, SYN */
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, 0x02, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, 0),
		BPF_STMT(BPF_RET | BPF_K, 0xffffffff),
	};
	struct sock_fprog prog = { .len = countof(f), .filter = f };

	return setsockopt(listener, SOL_SOCKET, SO_ATTACH_FILTER, &prog, sizeof prog) < 0 ? -errno : 0;
}
