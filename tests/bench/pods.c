/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The ends of tests/bench/pods, and what it compares us with; one thread each, HTTP/1.1 of one size:
 *
 *   pods serve IP PORT               128 bytes for every request; never ends
 *   pods ask IP PORT CONNS SECONDS   closed loop on CONNS connections that are kept; prints requests
 *   pods once IP PORT CONNS SECONDS  the same, each request on a connection of its own
 *   pods relay PORT                  takes what is redirected to it, opens a socket of its own for each
 *                                    (marked, with its caller's address), and passes bytes and ends both
 *                                    ways */
#include "tests/bench/tool.h"

#include <linux/netfilter_ipv4.h>

#define MARK 0x539

static const char request[] = "GET /x HTTP/1.1\r\nHost: bench\r\n\r\n";
static uint8_t scratch[1 << 16];

static struct sockaddr_in at(const char *ip, int port)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_port = htons((uint16_t)port) };

	if (inet_pton(AF_INET, ip, &a.sin_addr) != 1)
		die("address");
	return a;
}

static int listen_at(const struct sockaddr_in *a)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (bind(fd, (const struct sockaddr *)a, sizeof *a) < 0 || listen(fd, 4096) < 0)
		die("listen");
	watch(fd, EPOLLIN, 0);
	return fd;
}

/* ---- serve ---- */

static void run_serve(const char *ip, int port)
{
	struct sockaddr_in a = at(ip, port);
	int ls = listen_at(&a);
	struct epoll_event ev[256];
	char answer[256];
	int len = snprintf(answer, sizeof answer, "HTTP/1.1 200 OK\r\nContent-Length: 128\r\n\r\n%0128d", 0);

	for (;;) {
		int n = epoll_wait(ep, ev, 256, -1);

		for (int i = 0; i < n; i++) {
			int fd = (int)ev[i].data.u64;
			ssize_t k;

			if (fd == 0) {
				fd = accept4(ls, NULL, NULL, SOCK_NONBLOCK);
				if (fd >= 0)
					watch(fd, EPOLLIN, (uint64_t)fd);
				continue;
			}
			/* A request is one segment here. */
			k = recv(fd, scratch, sizeof scratch, 0);
			if (k <= 0 || send(fd, answer, (size_t)len, MSG_NOSIGNAL) != len)
				close(fd);
		}
	}
}

/* ---- ask, once ---- */

static int dial_at(const struct sockaddr_in *a)
{
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (const struct sockaddr *)a, sizeof *a) < 0)
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	watch(fd, EPOLLIN, (uint64_t)fd);
	if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) < 0)
		die("send");
	return fd;
}

static void run_ask(const char *ip, int port, int conns, double secs, int once)
{
	struct sockaddr_in a = at(ip, port);
	uint64_t until = now_ns() + (uint64_t)(secs * 1e9), done = 0, errors = 0;
	struct epoll_event ev[256];

	for (int i = 0; i < conns; i++)
		dial_at(&a);
	while (now_ns() < until) {
		int n = epoll_wait(ep, ev, 256, 100);

		for (int i = 0; i < n; i++) {
			int fd = (int)ev[i].data.u64;
			ssize_t k = recv(fd, scratch, sizeof scratch, MSG_DONTWAIT);

			if (k <= 0 || memcmp(scratch, "HTTP/1.1 200", 12) != 0)
				errors++;
			done++;
			if (once || k <= 0) {
				close(fd);
				dial_at(&a);
			} else if (send(fd, request, sizeof request - 1, MSG_NOSIGNAL) < 0) {
				errors++;
			}
		}
	}
	printf("{\"requests\":%llu,\"errors\":%llu}\n", (unsigned long long)done, (unsigned long long)errors);
}

/* ---- relay ---- */

#define FDS 65536
static int other[FDS];	/* the other end of each */
static char heard[FDS];	/* a back whose front is watched */
static char ended[FDS];	/* it has said all, and the other end was told */

static void begin(int front, const struct sockaddr_in *peer, int own_port)
{
	struct sockaddr_in to, from = *peer;
	socklen_t n = sizeof to;
	int mark = MARK, one = 1, back = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	from.sin_port = 0;
	if (back < 0 || getsockopt(front, SOL_IP, SO_ORIGINAL_DST, &to, &n) < 0)
		die("back");
	if (to.sin_port == htons((uint16_t)own_port)) {		/* or it would dial itself for ever */
		close(back);
		close(front);
		return;
	}
	if (setsockopt(back, SOL_SOCKET, SO_MARK, &mark, sizeof mark) < 0 ||
	    setsockopt(back, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
	    setsockopt(back, SOL_IP, IP_TRANSPARENT, &one, sizeof one) < 0 ||
	    setsockopt(back, SOL_IP, IP_BIND_ADDRESS_NO_PORT, &one, sizeof one) < 0 ||
	    bind(back, (struct sockaddr *)&from, sizeof from) < 0 ||
	    (connect(back, (struct sockaddr *)&to, sizeof to) < 0 && errno != EINPROGRESS))
		die("back");
	other[front] = back;
	other[back] = front;
	/* The front is heard once there is somebody to pass it on to. */
	watch(back, EPOLLIN | EPOLLOUT | EPOLLET | EPOLLRDHUP, (uint64_t)back);
}

static void pass(int from)
{
	int to = other[from];
	ssize_t k = recv(from, scratch, sizeof scratch, MSG_DONTWAIT);

	if (k < 0 && errno == EAGAIN)
		return;
	if (k > 0 && send(to, scratch, (size_t)k, MSG_DONTWAIT | MSG_NOSIGNAL) == k)
		return;
	/* Either way ends by itself, as with us: who has said all may still be answered. */
	if (k == 0 && !ended[to]) {
		if (!ended[from])
			shutdown(to, SHUT_WR);
		ended[from] = 1;
		return;
	}
	close(from);
	close(to);
	other[from] = other[to] = 0;
	heard[from] = heard[to] = 0;
	ended[from] = ended[to] = 0;
}

static void run_relay(int port)
{
	struct sockaddr_in a = at("0.0.0.0", port);
	int ls = listen_at(&a);
	struct epoll_event ev[256];

	for (;;) {
		int n = epoll_wait(ep, ev, 256, -1);

		for (int i = 0; i < n; i++) {
			int fd = (int)ev[i].data.u64;
			struct sockaddr_in peer;
			socklen_t len = sizeof peer;

			if (fd == 0) {
				fd = accept4(ls, (struct sockaddr *)&peer, &len, SOCK_NONBLOCK);
				if (fd >= 0)
					begin(fd, &peer, port);
				continue;
			}
			if (!other[fd])		/* closed by an event before this one */
				continue;
			if (ev[i].events & EPOLLOUT && !heard[fd]) {
				heard[fd] = heard[other[fd]] = 1;
				watch(other[fd], EPOLLIN | EPOLLET | EPOLLRDHUP, (uint64_t)other[fd]);
			}
			if (other[fd] && ev[i].events & (EPOLLIN | EPOLLRDHUP | EPOLLHUP | EPOLLERR))
				pass(fd);
			/* It came together with bytes, and is not told of twice. */
			if (other[fd] && ev[i].events & EPOLLRDHUP && !ended[fd])
				pass(fd);
		}
	}
}

int main(int argc, char **argv)
{
	const char *role = argc > 2 ? argv[1] : "";

	tool_init();
	if (!strcmp(role, "serve") && argc == 4)
		run_serve(argv[2], atoi(argv[3]));
	else if ((!strcmp(role, "ask") || !strcmp(role, "once")) && argc == 6)
		run_ask(argv[2], atoi(argv[3]), atoi(argv[4]), atof(argv[5]), role[0] == 'o');
	else if (!strcmp(role, "relay") && argc == 3)
		run_relay(atoi(argv[2]));
	else
		return fprintf(stderr, "usage: see the beginning of pods.c\n"), 2;
	return 0;
}
