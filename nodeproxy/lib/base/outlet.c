/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See outlet.h. */
#include "nodeproxy/lib/base/outlet.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include "nodeproxy/lib/base/must.h"

struct outlet outlet_of(int fd)
{
	struct outlet o = { fd, OUTLET_SHARED };
	struct stat st;
	int flags;

	if (fstat(fd, &st) < 0)
		return o;
	flags = fcntl(fd, F_GETFL);
	if (S_ISREG(st.st_mode))
		o.kind = OUTLET_FILE;
	else if (S_ISSOCK(st.st_mode))
		o.kind = OUTLET_SOCKET;
	else if (flags >= 0 && (flags & O_NONBLOCK))
		o.kind = OUTLET_OWN;
	return o;
}

struct fd outlet_again(int fd)
{
	struct fd f = FD_NONE;
	char path[40];

	if (outlet_of(fd).kind == OUTLET_SHARED) {
		snprintf(path, sizeof path, "/proc/self/fd/%d", fd);
		f.v = open(path, O_WRONLY | O_NONBLOCK | O_CLOEXEC | O_NOCTTY);
	}
	if (!fd_is_open(f))
		f.v = fcntl(fd, F_DUPFD_CLOEXEC, 0);
	return f;
}

ssize_t outlet_write(const struct outlet *o, const void *bytes, size_t n)
{
	struct pollfd p = { .fd = o->fd, .events = POLLOUT };
	ssize_t r;

	if (o->kind == OUTLET_SHARED) {
		if (poll(&p, 1, 0) <= 0 || !(p.revents & (POLLOUT | POLLERR | POLLHUP)))
			return -EAGAIN;
		n = min_of(n, (size_t)PIPE_BUF);
	}
	do
		r = o->kind == OUTLET_SOCKET ? send(o->fd, bytes, n, MSG_DONTWAIT | MSG_NOSIGNAL) :
					       write(o->fd, bytes, n);
	while (r < 0 && errno == EINTR);
	return r < 0 ? -errno : r;
}
