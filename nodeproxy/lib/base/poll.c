/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See poll.h. */
#include "nodeproxy/lib/base/poll.h"

#include <errno.h>

#include "nodeproxy/lib/base/clock.h"

int poll_init(struct poll *p)
{
	p->fd.v = epoll_create1(EPOLL_CLOEXEC);
	return p->fd.v < 0 ? -errno : 0;
}

void poll_fini(struct poll *p)
{
	fd_close(&p->fd);
}

static int ctl(struct poll *p, int op, int fd, uint32_t events, uint64_t token)
{
	struct epoll_event ev = { .events = events, .data.u64 = token };

	return epoll_ctl(p->fd.v, op, fd, &ev) < 0 ? -errno : 0;
}

int poll_add(struct poll *p, int fd, uint64_t token)
{
	return ctl(p, EPOLL_CTL_ADD, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, token);
}

int poll_add_listener(struct poll *p, int fd, uint64_t token)
{
	return ctl(p, EPOLL_CTL_ADD, fd, EPOLLIN, token);
}

int poll_retoken(struct poll *p, int fd, uint64_t token)
{
	return ctl(p, EPOLL_CTL_MOD, fd, EPOLLIN | EPOLLOUT | EPOLLRDHUP | EPOLLET, token);
}

void poll_remove(struct poll *p, int fd)
{
	struct epoll_event ev = { 0 };

	epoll_ctl(p->fd.v, EPOLL_CTL_DEL, fd, &ev);
}

int poll_collect(struct poll *p, int wait_ms, void (*fn)(void *, uint64_t, unsigned), void *arg)
{
	int n = epoll_wait(p->fd.v, p->ev, POLL_BATCH, wait_ms);

	if (wait_ms)
		clock_tick();
	for (int i = 0; i < n; i++) {
		uint32_t e = p->ev[i].events;
		unsigned bits = (e & EPOLLIN ? READY_IN : 0) | (e & EPOLLOUT ? READY_OUT : 0) |
				(e & (EPOLLRDHUP | EPOLLHUP) ? READY_END | READY_IN : 0) |
				(e & EPOLLERR ? READY_ERR | READY_IN | READY_OUT : 0);

		fn(arg, p->ev[i].data.u64, bits);
	}
	return n < 0 ? 0 : n;
}
