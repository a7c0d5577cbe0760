/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What the C tools of the benches share.  They are tools, not product: 127.0.0.1 only, little
 * checking, and what goes wrong ends the program. */
#ifndef TESTS_BENCH_TOOL_H
#define TESTS_BENCH_TOOL_H

#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REQUEST "GET /x HTTP/1.1\r\nHost: bench\r\n\r\n"

static int ep;

static inline uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static inline _Noreturn void die(const char *what)
{
	fprintf(stderr, "bench tool: %s: %s\n", what, strerror(errno));
	exit(1);
}

static inline struct sockaddr_in local(int port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static inline void watch(int fd, uint32_t events, uint64_t token)
{
	struct epoll_event e = { .events = events, .data.u64 = token };

	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) < 0)
		die("epoll_ctl");
}

/* A connection; receive > 0: with so small a receive buffer. */
static inline int dial_with(int port, int receive)
{
	struct sockaddr_in a = local(port);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd >= 0 && receive > 0)
		setsockopt(fd, SOL_SOCKET, SO_RCVBUF, &receive, sizeof receive);
	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

static inline int dial(int port)
{
	return dial_with(port, 0);
}

/* Takes what has come without copying it anywhere: bytes, 0 at the end, -1 with errno. */
static inline ssize_t swallow(int fd)
{
	return recv(fd, NULL, 1 << 20, MSG_DONTWAIT | MSG_TRUNC);
}

/* Gone at once, without waiting in the kernel. */
static inline void cut(int fd)
{
	struct linger l = { .l_onoff = 1 };

	setsockopt(fd, SOL_SOCKET, SO_LINGER, &l, sizeof l);
	close(fd);
}

static inline void tool_init(void)
{
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
	signal(SIGPIPE, SIG_IGN);
	ep = epoll_create1(0);
}

#endif
