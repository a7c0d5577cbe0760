/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Both ends of the small benchmarks here, one role per process:
 *
 *   load origin PORT                      HTTP/1.1: 128 bytes for every request; never ends
 *   load sink PORT                        TCP: eats what comes; never ends
 *   load flood PORT CONNS SECONDS         keeps CONNS sockets full of pipelined requests, eats the
 *                                         answers; prints bytes sent and eaten
 *   load pour PORT CONNS SECONDS          the same with bytes that mean nothing (for an opaque port)
 *   load ask PORT CONNS RATE SECONDS      RATE requests/s, open loop: latency counts from the time a
 *                                         request was due; prints one line of JSON
 *
 * It is a tool of the bench, not of the product: 127.0.0.1 only, little checking. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define REQUEST "GET /x HTTP/1.1\r\nHost: bench\r\n\r\n"

static int ep;
static uint8_t scratch[1 << 16];

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "load: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sockaddr_in local(int port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static void watch(int fd, uint32_t events, uint64_t token)
{
	struct epoll_event e = { .events = events, .data.u64 = token };

	if (epoll_ctl(ep, EPOLL_CTL_ADD, fd, &e) < 0)
		die("epoll_ctl");
}

static int dial(int port)
{
	struct sockaddr_in a = local(port);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM, 0);

	if (fd < 0 || connect(fd, (struct sockaddr *)&a, sizeof a) < 0)
		die("connect");
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	return fd;
}

/* ---- servers ---- */

struct served {
	int fd;
	unsigned owed;		/* answers not written yet */
	unsigned at;		/* of one answer, bytes written */
	unsigned match;		/* of CRLFCRLF, bytes seen */
};

static char answer[256];
static unsigned answer_len;

static int give(struct served *c)
{
	static char many[64 * sizeof answer];

	while (c->owed) {
		unsigned k = c->owed < 64 ? c->owed : 64, n = k * answer_len - c->at;
		ssize_t w;

		for (unsigned i = 0; i < k; i++)
			memcpy(many + i * answer_len, answer, answer_len);
		w = send(c->fd, many + c->at, n, MSG_DONTWAIT | MSG_NOSIGNAL);
		if (w < 0)
			return errno == EAGAIN ? 0 : -1;
		c->owed -= (unsigned)((c->at + (size_t)w) / answer_len);
		c->at = (unsigned)((c->at + (size_t)w) % answer_len);
	}
	return 0;
}

static int serve(struct served *c, int eat_all)
{
	for (int turn = 0; turn < 4; turn++) {
		ssize_t k = recv(c->fd, scratch, sizeof scratch, MSG_DONTWAIT);

		if (k == 0 || (k < 0 && errno != EAGAIN))
			return -1;
		if (k < 0)
			break;
		for (ssize_t i = 0; i < k && !eat_all; i++) {
			c->match = scratch[i] == "\r\n\r\n"[c->match] ? c->match + 1
				   : scratch[i] == '\r' ? 1 : 0;
			if (c->match == 4)
				c->match = 0, c->owed++;
		}
		if (k < (ssize_t)sizeof scratch)
			break;
	}
	return give(c);
}

static void run_server(int port, int eat_all)
{
	struct sockaddr_in a = local(port);
	int one = 1, ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct epoll_event ev[256];

	answer_len = (unsigned)snprintf(answer, sizeof answer,
		"HTTP/1.1 200 OK\r\nContent-Length: 128\r\n\r\n%0128d", 0);
	setsockopt(ls, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	setsockopt(ls, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (bind(ls, (struct sockaddr *)&a, sizeof a) < 0 || listen(ls, 8192) < 0)
		die("listen");
	watch(ls, EPOLLIN, 0);
	for (;;) {
		int n = epoll_wait(ep, ev, 256, -1);

		for (int i = 0; i < n; i++) {
			struct served *c = (struct served *)(uintptr_t)ev[i].data.u64;

			if (c == NULL) {
				int fd = accept4(ls, NULL, NULL, SOCK_NONBLOCK);

				if (fd < 0)
					continue;
				c = calloc(1, sizeof *c);
				c->fd = fd;
				watch(fd, EPOLLIN | EPOLLOUT | EPOLLET, (uintptr_t)c);
			} else if (serve(c, eat_all) < 0) {
				close(c->fd);
				free(c);
			}
		}
	}
}

/* ---- clients ---- */

static void run_flood(int port, int conns, double secs, int requests)
{
	static char full[1 << 14];
	size_t unit = requests ? strlen(REQUEST) : sizeof full;
	size_t len = sizeof full / unit * unit;
	unsigned *at = calloc((size_t)conns, sizeof *at);
	int *fds = calloc((size_t)conns, sizeof *fds);
	uint64_t until, sent = 0, eaten = 0, cut = 0;
	struct epoll_event ev[64];

	for (size_t i = 0; i + unit <= len; i += unit)
		memcpy(full + i, requests ? REQUEST : full, unit);
	for (int i = 0; i < conns; i++) {
		fds[i] = dial(port);
		watch(fds[i], EPOLLIN | EPOLLOUT, (uint64_t)i);
	}
	until = now_ns() + (uint64_t)(secs * 1e9);
	while (now_ns() < until) {
		int n = epoll_wait(ep, ev, 64, 50);

		for (int i = 0; i < n; i++) {
			int c = (int)ev[i].data.u64;
			ssize_t k;

			if (ev[i].events & (EPOLLIN | EPOLLHUP | EPOLLERR)) {
				k = recv(fds[c], scratch, sizeof scratch, MSG_DONTWAIT);
				if (k == 0 || (k < 0 && errno != EAGAIN)) {
					cut++;
					epoll_ctl(ep, EPOLL_CTL_DEL, fds[c], &ev[i]);
					close(fds[c]);
					continue;
				}
				eaten += k > 0 ? (uint64_t)k : 0;
			}
			if (ev[i].events & EPOLLOUT) {
				k = send(fds[c], full + at[c], len - at[c], MSG_DONTWAIT | MSG_NOSIGNAL);
				if (k > 0) {
					at[c] = (unsigned)((at[c] + (size_t)k) % len);
					sent += (uint64_t)k;
				}
			}
		}
	}
	printf("{\"conns\":%d,\"sent\":%llu,\"eaten\":%llu,\"cut\":%llu}\n", conns,
	       (unsigned long long)sent, (unsigned long long)eaten, (unsigned long long)cut);
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void run_ask(int port, int conns, double rate, double secs)
{
	size_t max = (size_t)(rate * secs) + 1, done = 0, errors = 0, next = 0;
	uint32_t *lat = calloc(max, sizeof *lat);
	uint64_t *due = calloc((size_t)conns, sizeof *due);
	int *fds = calloc((size_t)conns, sizeof *fds), *idle = calloc((size_t)conns, sizeof *idle);
	int n_idle = 0;
	struct epoll_event ev[64];
	uint64_t began, until;

	prctl(PR_SET_TIMERSLACK, 1);
	for (int i = 0; i < conns; i++) {
		fds[i] = dial(port);
		watch(fds[i], EPOLLIN, (uint64_t)i);
		idle[n_idle++] = i;
	}
	began = now_ns();
	until = began + (uint64_t)(secs * 1e9);
	for (;;) {
		uint64_t t = now_ns(), at = began + (uint64_t)((double)next * 1e9 / rate);
		struct timespec wait = { 0, 0 };
		int n;

		while (at <= t && at < until && n_idle && next < max) {
			int c = idle[--n_idle];

			due[c] = at;
			if (send(fds[c], REQUEST, strlen(REQUEST), MSG_NOSIGNAL) < 0)
				errors++;
			next++;
			at = began + (uint64_t)((double)next * 1e9 / rate);
		}
		if (t >= until && (n_idle == conns || t > until + 1000000000u))
			break;
		if (at > t && at < until)
			wait.tv_nsec = (long)((at - t) % 1000000000u);
		else
			wait.tv_nsec = 1000000;
		n = epoll_pwait2(ep, ev, 64, &wait, NULL);
		for (int i = 0; i < n; i++) {
			int c = (int)ev[i].data.u64;
			ssize_t k = recv(fds[c], scratch, sizeof scratch, MSG_DONTWAIT);

			if (k <= 0 || memcmp(scratch, "HTTP/1.1 200", 12) != 0)
				errors++;
			if (done < max)
				lat[done++] = (uint32_t)((now_ns() - due[c]) / 1000);
			if (k > 0) {
				idle[n_idle++] = c;
			} else {
				epoll_ctl(ep, EPOLL_CTL_DEL, fds[c], &ev[i]);
				close(fds[c]);
			}
		}
	}
	qsort(lat, done, sizeof *lat, by_value);
	printf("{\"requests\":%zu,\"errors\":%zu,\"p50\":%u,\"p90\":%u,\"p99\":%u,\"p999\":%u,\"max\":%u}\n",
	       done, errors, done ? lat[done / 2] : 0, done ? lat[done * 9 / 10] : 0,
	       done ? lat[done * 99 / 100] : 0, done ? lat[done * 999 / 1000] : 0,
	       done ? lat[done - 1] : 0);
}

int main(int argc, char **argv)
{
	const char *role = argc > 2 ? argv[1] : "";
	int port = argc > 2 ? atoi(argv[2]) : 0;
	struct rlimit l;

	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
	signal(SIGPIPE, SIG_IGN);
	ep = epoll_create1(0);
	if (!strcmp(role, "origin") && argc == 3)
		run_server(port, 0);
	else if (!strcmp(role, "sink") && argc == 3)
		run_server(port, 1);
	else if (!strcmp(role, "flood") && argc == 5)
		run_flood(port, atoi(argv[3]), atof(argv[4]), 1);
	else if (!strcmp(role, "pour") && argc == 5)
		run_flood(port, atoi(argv[3]), atof(argv[4]), 0);
	else if (!strcmp(role, "ask") && argc == 6)
		run_ask(port, atoi(argv[3]), atof(argv[4]), atof(argv[5]));
	else
		return fprintf(stderr, "usage: see the beginning of load.c\n"), 2;
	return 0;
}
