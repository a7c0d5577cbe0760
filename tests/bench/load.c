/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Both ends of the small benchmarks here, one role per process:
 *
 *   load origin PORT                      HTTP/1.1: GET /N is answered with N bytes, anything else
 *                                         with 128; request bodies by Content-Length; never ends
 *   load sink PORT                        TCP: eats what comes; never ends
 *   load flood PORT CONNS SECONDS         keeps CONNS sockets full of pipelined requests, eats the
 *                                         answers; prints bytes sent and eaten
 *   load pour PORT CONNS SECONDS          the same with bytes that mean nothing (for an opaque port)
 *   load ask PORT CONNS RATE SECONDS      RATE requests/s, open loop: latency counts from the time a
 *                                         request was due; prints one line of JSON
 *   load many PORT PORTS CONNS SECONDS    closed loop over PORTS ports from PORT on, connections dealt
 *                                         in turn; prints requests done */
#include "tests/bench/tool.h"

#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/sendfile.h>

static uint8_t scratch[1 << 16];

/* ---- servers ---- */

struct served {
	int fd;
	unsigned owed;		/* answers of 128 bytes not written yet */
	unsigned at;		/* of one answer, bytes written */
	uint64_t big;		/* bytes of a large answer not written yet */
	uint64_t body;		/* bytes of a request body still to come, before its answer */
	unsigned n;		/* bytes of an unfinished head */
	char head[2048];	/* its beginning; what is longer only has to end */
};

static char answer[256];
static unsigned answer_len;
static int zeros;			/* a file of them: large answers are not copied */
#define ZEROS (1 << 20)

static int give_big(struct served *c)
{
	while (c->big) {
		off_t from = 0;
		ssize_t w = sendfile(c->fd, zeros, &from, c->big < ZEROS ? c->big : ZEROS);

		if (w <= 0)
			return w < 0 && errno == EAGAIN ? 0 : -1;
		c->big -= (uint64_t)w;
	}
	return 0;
}

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
	return give_big(c);
}

/* A whole head is in c->head. */
static void asked(struct served *c)
{
	unsigned long long size = 0;
	const char *length = strstr(c->head, "Content-Length: ");

	if (length)
		c->body = strtoull(length + 16, NULL, 10);
	if (sscanf(c->head, "GET /%llu ", &size) == 1 && size) {
		/* Nobody pipelines requests for large answers here. */
		dprintf(c->fd, "HTTP/1.1 200 OK\r\nContent-Length: %llu\r\n\r\n", size);
		c->big = size;
	} else if (c->body == 0) {
		c->owed++;
	}
}

static void heads(struct served *c, const char *p, size_t n)
{
	while (n) {
		const char *end;
		size_t k = n < c->body ? n : (size_t)c->body, keep;

		c->body -= k, p += k, n -= k;
		if (k && c->body == 0)
			c->owed++;
		if (n == 0)
			return;
		/* The end may lie across two reads: its last three bytes are kept. */
		if (c->n >= sizeof c->head - 512)
			memmove(c->head + 1024, c->head + c->n - 3, 3), c->n = 1027;
		keep = sizeof c->head - 1 - c->n;
		keep = n < keep ? n : keep;
		memcpy(c->head + c->n, p, keep);
		c->head[c->n + keep] = 0;
		end = memmem(c->head + (c->n > 3 ? c->n - 3 : 0), keep + (c->n > 3 ? 3 : c->n),
			     "\r\n\r\n", 4);
		if (end == NULL) {
			c->n += (unsigned)keep;
			p += keep, n -= keep;
			continue;
		}
		k = (size_t)(end + 4 - c->head) - c->n;
		p += k, n -= k;
		c->head[end + 4 - c->head] = 0;
		c->n = 0;
		asked(c);
	}
}

static int serve(struct served *c, int eat_all)
{
	for (;;) {
		ssize_t k = eat_all ? swallow(c->fd) : recv(c->fd, scratch, sizeof scratch, MSG_DONTWAIT);

		if (k == 0 || (k < 0 && errno != EAGAIN))
			return -1;
		if (k < 0)
			break;
		if (!eat_all)
			heads(c, (const char *)scratch, (size_t)k);
	}
	return give(c);
}

static void run_server(int port, int eat_all)
{
	struct sockaddr_in a = local(port);
	int one = 1, ls = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	struct epoll_event ev[256];

	zeros = memfd_create("zeros", 0);
	if (zeros < 0 || ftruncate(zeros, ZEROS) < 0)
		die("memfd_create");
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
	uint64_t until, sent = 0, eaten = 0, lost = 0;
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
				k = swallow(fds[c]);
				if (k == 0 || (k < 0 && errno != EAGAIN)) {
					lost++;
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
	       (unsigned long long)sent, (unsigned long long)eaten, (unsigned long long)lost);
}

static int by_value(const void *a, const void *b)
{
	uint32_t x = *(const uint32_t *)a, y = *(const uint32_t *)b;

	return x < y ? -1 : x > y;
}

static void run_ask(int port, int conns, double rate, double secs)
{
	size_t max = (size_t)(rate * secs) + 1, done = 0, errors = 0, next = 0, due_by_now;
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
	/* What should have been sent and was not, and what was not answered. */
	due_by_now = (size_t)(rate * secs);
	if (done < due_by_now)
		errors += due_by_now - done;
	qsort(lat, done, sizeof *lat, by_value);
	printf("{\"requests\":%zu,\"errors\":%zu,\"p50\":%u,\"p90\":%u,\"p99\":%u,\"p999\":%u,\"max\":%u}\n",
	       done, errors, done ? lat[done / 2] : 0, done ? lat[done * 9 / 10] : 0,
	       done ? lat[done * 99 / 100] : 0, done ? lat[done * 999 / 1000] : 0,
	       done ? lat[done - 1] : 0);
}

static void run_many(int port, int ports, int conns, double secs)
{
	int *fds = calloc((size_t)conns, sizeof *fds);
	uint64_t until, began, done = 0, errors = 0;
	struct epoll_event ev[256];

	for (int i = 0; i < conns; i++) {
		fds[i] = dial(port + i % ports);
		watch(fds[i], EPOLLIN, (uint64_t)i);
	}
	for (int i = 0; i < conns; i++)
		if (send(fds[i], REQUEST, strlen(REQUEST), MSG_NOSIGNAL) < 0)
			errors++;
	began = now_ns();
	until = began + (uint64_t)(secs * 1e9);
	while (now_ns() < until) {
		int n = epoll_wait(ep, ev, 256, 100);

		for (int i = 0; i < n; i++) {
			int fd = fds[ev[i].data.u64];
			ssize_t k = recv(fd, scratch, sizeof scratch, MSG_DONTWAIT);

			if (k <= 0 || memcmp(scratch, "HTTP/1.1 200", 12) != 0) {
				errors++;
				epoll_ctl(ep, EPOLL_CTL_DEL, fd, &ev[i]);
				continue;
			}
			done++;
			if (send(fd, REQUEST, strlen(REQUEST), MSG_NOSIGNAL) < 0)
				errors++;
		}
	}
	printf("{\"requests\":%llu,\"errors\":%llu,\"seconds\":%.3f}\n", (unsigned long long)done,
	       (unsigned long long)errors, (double)(now_ns() - began) / 1e9);
}

int main(int argc, char **argv)
{
	const char *role = argc > 2 ? argv[1] : "";
	int port = argc > 2 ? atoi(argv[2]) : 0;

	tool_init();
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
	else if (!strcmp(role, "many") && argc == 6)
		run_many(port, atoi(argv[3]), atoi(argv[4]), atof(argv[5]));
	else
		return fprintf(stderr, "usage: see the beginning of load.c\n"), 2;
	return 0;
}
