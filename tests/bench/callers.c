/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Callers who remember what happened to every one of their connections, and the origin they reach:
 * the hot part of tests/bench/survival, which kills processes between the two and asks who noticed.
 *
 *   callers origin HTTP_PORT ECHO_PORT
 *       HTTP/1.1: 128 bytes for every request, 101 and then an echo for an Upgrade; an echo of bytes
 *   callers load HTTP_PORT ECHO_PORT KEEP NEW WS TCP THINK_US ECHO_MS LATE_MS
 *       KEEP connections ask, wait THINK_US and ask again; NEW connections a second ask once, with
 *       Connection: close; WS and TCP connections have 32 bytes echoed every ECHO_MS
 *
 * It does what RFC 9112 wants of a caller: told "Connection: close" it opens another connection; a
 * request on a connection that was used before and ends before the first byte of an answer is sent
 * again on a new one (`retried`); everything else that is not a whole 200 is `failed`.
 *
 * Standard output is lines of JSON.  Events, when they happen: `cut` (a connection ended with work
 * on it), `refused`, `wrong` (a status, or other bytes than were sent), `late` (over LATE_MS), and
 * `starved` (we ourselves did not run for so long) and `machine`: a thread that does nothing but wake
 * up on this CPU did not; `first` says it has priority over everything (so the CPU stood still), else
 * it was waiting for its turn.  What was late then is not, or not only, the proxy's doing.  Standard
 * input: `take` prints and resets the numbers, its end ends us.  Times are
 * CLOCK_MONOTONIC, ns.  A tool of the bench: 127.0.0.1 only. */
#include <arpa/inet.h>
#include <errno.h>
#include <netinet/tcp.h>
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdbool.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>
#include <sys/epoll.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

#define MS	1000000u
#define ASK	"GET /x HTTP/1.1\r\nHost: bench\r\n\r\n"
#define ASK_ONE "GET /n HTTP/1.1\r\nHost: bench\r\nConnection: close\r\n\r\n"
#define ASK_WS	"GET /ws HTTP/1.1\r\nHost: bench\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" \
		"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\n\r\n"
#define SAY_WS	"HTTP/1.1 101 Switching Protocols\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n" \
		"Sec-WebSocket-Accept: s3pPLMBiTxaQ9kYGzzhZRbK+xOo=\r\n\r\n"
#define FRAME	32
#define GIVE_UP (10000ull * MS)
#define TURN_MS 2		/* longest sleep: a longer turn of ours means we did not run */
#define BUCKETS 320		/* 8 per octave of µs */

static int ep;

static uint64_t now_ns(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

static _Noreturn void die(const char *what)
{
	fprintf(stderr, "callers: %s: %s\n", what, strerror(errno));
	exit(1);
}

static struct sockaddr_in local(int port)
{
	return (struct sockaddr_in){ .sin_family = AF_INET, .sin_port = htons((uint16_t)port),
				     .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
}

static void watch(int op, int fd, uint32_t events, void *p)
{
	struct epoll_event e = { .events = events, .data.ptr = p };

	if (epoll_ctl(ep, op, fd, &e) < 0)
		die("epoll_ctl");
}

/* ---- origin ---- */

struct served {
	int fd;
	bool listens, echo;
	unsigned n;		/* bytes of an unfinished head */
	char head[1024];
};

static bool put(int fd, const void *p, size_t n)
{
	return send(fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT) == (ssize_t)n;	/* small: fits */
}

static bool answer(struct served *c)
{
	static char body[256];
	static int len;
	char *end;

	if (len == 0)
		len = snprintf(body, sizeof body,
			       "HTTP/1.1 200 OK\r\nContent-Length: 128\r\n\r\n%0128d", 0);
	while (!c->echo && (end = strstr(c->head, "\r\n\r\n"))) {
		end += 4;
		c->echo = strcasestr(c->head, "\nupgrade: websocket") != NULL;
		if (!put(c->fd, c->echo ? SAY_WS : body, c->echo ? strlen(SAY_WS) : (size_t)len))
			return false;
		c->n -= (unsigned)(end - c->head);
		memmove(c->head, end, c->n + 1);
	}
	if (c->echo && c->n) {
		unsigned n = c->n;

		c->n = 0;
		return put(c->fd, c->head, n);
	}
	return c->n < sizeof c->head - 1;
}

static bool serve(struct served *c)
{
	ssize_t k = recv(c->fd, c->head + c->n, sizeof c->head - 1 - c->n, MSG_DONTWAIT);

	if (k <= 0)
		return k < 0 && errno == EAGAIN;
	c->n += (unsigned)k;
	c->head[c->n] = 0;
	return answer(c);
}

static void listen_on(int port, bool echo)
{
	struct sockaddr_in a = local(port);
	struct served *l = calloc(1, sizeof *l);
	int one = 1, fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

	setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	if (bind(fd, (struct sockaddr *)&a, sizeof a) < 0 || listen(fd, 8192) < 0)
		die("listen");
	*l = (struct served){ .fd = fd, .listens = true, .echo = echo };
	watch(EPOLL_CTL_ADD, fd, EPOLLIN, l);
}

static _Noreturn void run_origin(int http, int echo)
{
	struct epoll_event ev[256];

	listen_on(http, false);
	listen_on(echo, true);
	for (;;) {
		int n = epoll_wait(ep, ev, 256, -1);

		for (int i = 0; i < n; i++) {
			struct served *c = ev[i].data.ptr, *one;

			if (c->listens) {
				int fd = accept4(c->fd, NULL, NULL, SOCK_NONBLOCK);

				if (fd < 0)
					continue;
				one = calloc(1, sizeof *one);
				one->fd = fd;
				one->echo = c->echo;
				watch(EPOLL_CTL_ADD, fd, EPOLLIN, one);
			} else if (!serve(c)) {
				close(c->fd);
				free(c);
			}
		}
	}
}

/* ---- callers ---- */

enum kind { KEEP, NEW, WS, TCP, KINDS };
enum state { EMPTY, CONNECTING, ASKED, ANSWERING, RESTING, STATES };
static const char *const kind_name[] = { "keep", "new", "ws", "tcp" };
static const char *const state_name[] = { "empty", "connecting", "asked", "answering", "resting" };

struct caller {
	struct caller *next;	/* while it rests */
	int fd;
	enum kind kind;
	enum state state;
	bool upgraded, retried;
	uint16_t port;
	uint64_t opened, connected, asked, due;
	unsigned asks;		/* answered on this connection */
	unsigned n;
	char in[1024];
};

/* Durations in µs. */
struct times {
	uint64_t count, max;
	uint32_t bucket[BUCKETS];
};

static struct {
	uint64_t answers[KINDS], opened[KINDS], refused, failed, retried, told, idle_closed, cut[KINDS],
		late, starved, starved_max_us;
	struct times connect, first, keep, echo;
} sum;

static struct {
	int http, tcp;
	uint64_t think, echo_every, late;
	struct caller *rest[2], **rest_end[2];	/* by pause: [0] THINK_US, [1] ECHO_MS */
	struct caller *spare;			/* of those that ask once */
} k;

static void time_add(struct times *t, uint64_t ns)
{
	uint64_t us = ns / 1000;
	unsigned e = us < 8 ? 0 : 61 - (unsigned)__builtin_clzll(us), i;

	i = us < 8 ? (unsigned)us : 8 * e + (unsigned)(us >> (e - 1)) % 8;
	t->bucket[i < BUCKETS ? i : BUCKETS - 1]++;
	t->count++;
	if (us > t->max)
		t->max = us;
}

static uint64_t time_at(const struct times *t, double share)
{
	uint64_t n = 0, want = (uint64_t)((double)t->count * share);

	for (unsigned i = 0; i < BUCKETS; i++) {
		n += t->bucket[i];
		if (n > want)
			return i < 8 ? i : (uint64_t)(8 + i % 8) << (i / 8 - 1);
	}
	return t->max;
}

static void print_times(const char *name, const struct times *t)
{
	printf(",\"%s_us\":{\"n\":%llu,\"p50\":%llu,\"p99\":%llu,\"p999\":%llu,\"max\":%llu}", name,
	       (unsigned long long)t->count, (unsigned long long)time_at(t, 0.5),
	       (unsigned long long)time_at(t, 0.99), (unsigned long long)time_at(t, 0.999),
	       (unsigned long long)t->max);
}

static void take(void)
{
	printf("{\"ev\":\"numbers\",\"at\":%llu,\"answers\":%llu,\"connections\":%llu,\"echoes\":%llu,"
	       "\"streams\":%llu,\"refused\":%llu,\"failed\":%llu,\"retried\":%llu,\"told\":%llu,"
	       "\"idle_closed\":%llu,\"cut_keep\":%llu,\"cut_new\":%llu,\"cut_ws\":%llu,\"cut_tcp\":%llu,"
	       "\"late\":%llu,\"starved\":%llu,\"starved_max_us\":%llu",
	       (unsigned long long)now_ns(), (unsigned long long)(sum.answers[KEEP] + sum.answers[NEW]),
	       (unsigned long long)(sum.opened[KEEP] + sum.opened[NEW]),
	       (unsigned long long)(sum.answers[WS] + sum.answers[TCP]),
	       (unsigned long long)(sum.opened[WS] + sum.opened[TCP]),
	       (unsigned long long)sum.refused, (unsigned long long)sum.failed,
	       (unsigned long long)sum.retried, (unsigned long long)sum.told,
	       (unsigned long long)sum.idle_closed, (unsigned long long)sum.cut[KEEP],
	       (unsigned long long)sum.cut[NEW], (unsigned long long)sum.cut[WS],
	       (unsigned long long)sum.cut[TCP], (unsigned long long)sum.late,
	       (unsigned long long)sum.starved, (unsigned long long)sum.starved_max_us);
	print_times("connect", &sum.connect);
	print_times("first", &sum.first);
	print_times("keep", &sum.keep);
	print_times("echo", &sum.echo);
	printf("}\n");
	fflush(stdout);
	memset(&sum, 0, sizeof sum);
}

static unsigned retransmits(int fd)
{
	struct tcp_info i = { 0 };
	socklen_t n = sizeof i;

	return getsockopt(fd, IPPROTO_TCP, TCP_INFO, &i, &n) < 0 ? 0 : i.tcpi_total_retrans;
}

/* what: a word of the file's comment; more: an errno or a status */
static void event(const struct caller *c, const char *what, int more)
{
	printf("{\"ev\":\"%s\",\"at\":%llu,\"kind\":\"%s\",\"state\":\"%s\",\"port\":%u,\"opened\":%llu,"
	       "\"connected\":%llu,\"asked\":%llu,\"asks\":%u,\"bytes\":%u,\"retransmits\":%u,\"more\":%d}\n",
	       what, (unsigned long long)now_ns(), kind_name[c->kind], state_name[c->state], c->port,
	       (unsigned long long)c->opened, (unsigned long long)c->connected,
	       (unsigned long long)c->asked, c->asks, c->n, retransmits(c->fd), more);
}

static void late_if(const struct caller *c, uint64_t since, uint64_t t)
{
	if (t - since <= k.late)
		return;
	sum.late++;
	event(c, "late", (int)((t - since) / MS));
}

static void rest(struct caller *c, uint64_t t)
{
	int which = c->kind != KEEP;

	c->state = RESTING;
	c->due = t + (which ? k.echo_every : k.think);
	c->next = NULL;
	*k.rest_end[which] = c;
	k.rest_end[which] = &c->next;
}

static void forget_rest(struct caller *c)
{
	int which = c->kind != KEEP;

	for (struct caller **p = &k.rest[which]; *p; p = &(*p)->next)
		if (*p == c) {
			*p = c->next;
			if (k.rest_end[which] == &c->next)
				k.rest_end[which] = p;
			return;
		}
}

static void open_one(struct caller *c);

static void over(struct caller *c)
{
	if (c->state == RESTING)
		forget_rest(c);
	close(c->fd);
	c->state = EMPTY;
	if (c->kind == NEW) {
		c->next = k.spare;
		k.spare = c;
	} else {
		open_one(c);
	}
}

/* The connection ended, error: why (0: orderly). */
static void ended(struct caller *c, int error)
{
	bool http = c->kind == KEEP || c->kind == NEW;

	if (c->state == CONNECTING) {
		sum.refused++;
		event(c, "refused", error);
	} else if (c->kind == KEEP && c->state == RESTING) {
		sum.idle_closed++;
		event(c, "idle", error);
	} else if (c->kind == KEEP && c->state == ASKED && c->asks > 0) {
		sum.retried++;
		sum.cut[KEEP]++;
		event(c, "cut", error);
		c->retried = true;
	} else {
		sum.failed += http || (c->kind == WS && !c->upgraded);
		sum.cut[c->kind]++;
		event(c, "cut", error);
	}
	over(c);
}

static void ask(struct caller *c)
{
	static const char *const words[] = { ASK, ASK_ONE, ASK_WS, NULL };
	char frame[FRAME + 1];
	const char *p = words[c->kind];
	size_t n;
	ssize_t r;

	if (c->kind == TCP || c->upgraded) {
		snprintf(frame, sizeof frame, "%08x%024x", c->port, c->asks);
		p = frame;
	}
	n = strlen(p);
	c->n = 0;
	c->state = ASKED;
	c->asked = now_ns();
	r = send(c->fd, p, n, MSG_NOSIGNAL | MSG_DONTWAIT);
	if (r != (ssize_t)n)
		ended(c, r < 0 ? errno : ENOBUFS);
}

static void open_one(struct caller *c)
{
	struct sockaddr_in a = local(c->kind == TCP ? k.tcp : k.http);
	socklen_t n = sizeof a;
	int one = 1;

	c->fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	if (c->fd < 0)
		die("socket");
	setsockopt(c->fd, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one);
	c->state = CONNECTING;
	c->upgraded = false;
	c->asks = c->n = 0;
	c->opened = now_ns();
	c->connected = c->asked = 0;
	c->port = 0;
	sum.opened[c->kind]++;
	if (connect(c->fd, (struct sockaddr *)&a, sizeof a) < 0 && errno != EINPROGRESS) {
		/* not over(): it would come back here at once, for ever */
		sum.refused++;
		event(c, "refused", errno);
		die("connect");
	}
	if (getsockname(c->fd, (struct sockaddr *)&a, &n) == 0)
		c->port = ntohs(a.sin_port);
	watch(EPOLL_CTL_ADD, c->fd, EPOLLIN | EPOLLOUT, c);
}

/* A whole answer is here: true.  told: it says that it is the last one. */
static bool whole(const struct caller *c, bool *told, int *status)
{
	const char *end = strstr(c->in, "\r\n\r\n"), *length;
	size_t body;

	if (!end)
		return false;
	length = strcasestr(c->in, "\ncontent-length:");
	body = length && length < end ? strtoul(length + 16, NULL, 10) : 0;
	if (c->n < (size_t)(end + 4 - c->in) + body)
		return false;
	*told = strcasestr(c->in, "\nconnection: close") != NULL;
	*status = c->n > 12 ? atoi(c->in + 9) : 0;
	return true;
}

static void answered(struct caller *c, bool told, int status)
{
	uint64_t t = now_ns();

	if (status != (c->kind == WS ? 101 : 200)) {
		sum.failed++;
		event(c, "wrong", status);
		over(c);
		return;
	}
	sum.answers[c->kind]++;
	if (c->asks++ == 0) {
		time_add(&sum.first, t - c->opened);
		late_if(c, c->opened, t);
	} else {
		late_if(c, c->asked, t);
	}
	c->retried = false;
	if (c->kind == KEEP)
		time_add(&sum.keep, t - c->asked);
	if (c->kind == NEW) {
		over(c);
	} else if (c->kind == WS) {
		c->upgraded = true;
		c->n = 0;
		rest(c, t);
	} else if (told) {
		sum.told++;
		over(c);
	} else {
		rest(c, t);
	}
}

static void echoed(struct caller *c)
{
	char frame[FRAME + 1];
	uint64_t t = now_ns();

	if (c->n < FRAME)
		return;
	snprintf(frame, sizeof frame, "%08x%024x", c->port, c->asks);
	if (c->n != FRAME || memcmp(c->in, frame, FRAME) != 0) {
		sum.failed++;
		event(c, "wrong", 0);
		over(c);
		return;
	}
	sum.answers[c->kind]++;
	c->asks++;
	time_add(&sum.echo, t - c->asked);
	late_if(c, c->asked, t);
	rest(c, t);
}

static void readable(struct caller *c)
{
	ssize_t r = recv(c->fd, c->in + c->n, sizeof c->in - 1 - c->n, MSG_DONTWAIT);
	bool told;
	int status;

	if (r < 0 && errno == EAGAIN)
		return;
	if (r <= 0) {
		ended(c, r < 0 ? errno : 0);
		return;
	}
	if (c->state == RESTING) {	/* nobody asked */
		sum.failed++;
		event(c, "wrong", -1);
		over(c);
		return;
	}
	c->n += (unsigned)r;
	c->in[c->n] = 0;
	c->state = ANSWERING;
	if (c->kind == TCP || c->upgraded)
		echoed(c);
	else if (whole(c, &told, &status))
		answered(c, told, status);
}

static void caller_event(struct caller *c, uint32_t events)
{
	int error = 0;
	socklen_t n = sizeof error;

	if (c->state == CONNECTING) {
		uint64_t t;

		getsockopt(c->fd, SOL_SOCKET, SO_ERROR, &error, &n);
		if (error) {
			ended(c, error);
			return;
		}
		if (!(events & EPOLLOUT))
			return;
		t = c->connected = now_ns();
		time_add(&sum.connect, t - c->opened);
		late_if(c, c->opened, t);
		watch(EPOLL_CTL_MOD, c->fd, EPOLLIN, c);
		ask(c);
	} else if (c->state != EMPTY) {
		readable(c);
	}
}

static void wake(uint64_t t)
{
	for (int i = 0; i < 2; i++)
		while (k.rest[i] && k.rest[i]->due <= t) {
			struct caller *c = k.rest[i];

			k.rest[i] = c->next;
			if (!k.rest[i])
				k.rest_end[i] = &k.rest[i];
			ask(c);
		}
}

static bool commanded(void)
{
	char line[64];
	ssize_t n = read(0, line, sizeof line);

	if (n > 0 && memchr(line, 't', (size_t)n))
		take();
	return n > 0 || (n < 0 && errno == EAGAIN);
}

static void more_new(double rate, uint64_t t, uint64_t *next)
{
	while (rate > 0 && *next <= t) {
		struct caller *c = k.spare;

		*next += (uint64_t)(1e9 / rate);
		if (c)
			k.spare = c->next;
		else
			c = calloc(1, sizeof *c);
		c->kind = NEW;
		open_one(c);
	}
}

static void give_up_on(struct caller *all, unsigned n, uint64_t t)
{
	for (unsigned i = 0; i < n; i++) {
		struct caller *c = &all[i];
		uint64_t since = c->state == CONNECTING ? c->opened : c->asked;

		if (c->state != EMPTY && c->state != RESTING && t > since + GIVE_UP)
			ended(c, ETIMEDOUT);
	}
}

/* ---- the machine: does every CPU run? ---- */

#define NAP_MS 5

static void *nap(void *arg)
{
	int cpu = (int)(intptr_t)arg / 2, first = (int)(intptr_t)arg % 2;
	struct sched_param fifo = { .sched_priority = 1 };
	uint64_t was, t;
	cpu_set_t set;

	CPU_ZERO(&set);
	CPU_SET((unsigned)cpu, &set);
	if (sched_setaffinity(0, sizeof set, &set) < 0 ||
	    (first && sched_setscheduler(0, SCHED_FIFO, &fifo) < 0))
		return NULL;
	for (t = now_ns();;) {
		struct timespec ts = { 0, NAP_MS * MS };

		nanosleep(&ts, NULL);
		was = t;
		t = now_ns();
		if (t - was > k.late / 4 + NAP_MS * MS)
			printf("{\"ev\":\"machine\",\"at\":%llu,\"ms\":%llu,\"cpu\":%d,\"first\":%d}\n",
			       (unsigned long long)t, (unsigned long long)((t - was) / MS), cpu,
			       first);
	}
}

static void watch_machine(void)
{
	pthread_t t;

	for (intptr_t i = 0; i < 2 * sysconf(_SC_NPROCESSORS_CONF) && i < 512; i++)
		pthread_create(&t, NULL, nap, (void *)i);
}

static void run_load(unsigned keep, double rate, unsigned ws, unsigned tcp)
{
	unsigned n = keep + ws + tcp;
	struct caller *all = calloc(n + 1, sizeof *all);
	struct epoll_event ev[256];
	uint64_t t = now_ns(), next = t, checked = t;
	static char in_mark;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	prctl(PR_SET_TIMERSLACK, 1);
	watch_machine();
	k.rest_end[0] = &k.rest[0];
	k.rest_end[1] = &k.rest[1];
	watch(EPOLL_CTL_ADD, 0, EPOLLIN, &in_mark);
	for (unsigned i = 0; i < n; i++) {
		all[i].kind = i < keep ? KEEP : i < keep + ws ? WS : TCP;
		open_one(&all[i]);
	}
	for (;;) {
		int timeout = k.rest[0] && k.think == 0 ? 0 : k.rest[0] ? 1 : TURN_MS;
		int got = epoll_wait(ep, ev, 256, timeout);
		uint64_t was = t;

		t = now_ns();
		if (t - was > k.late / 4) {
			sum.starved++;
			if ((t - was) / 1000 > sum.starved_max_us)
				sum.starved_max_us = (t - was) / 1000;
			printf("{\"ev\":\"starved\",\"at\":%llu,\"ms\":%llu}\n",
			       (unsigned long long)t, (unsigned long long)((t - was) / MS));
		}
		for (int i = 0; i < got; i++) {
			if (ev[i].data.ptr != &in_mark)
				caller_event(ev[i].data.ptr, ev[i].events);
			else if (!commanded())
				return;
		}
		wake(t);
		more_new(rate, t, &next);
		if (t - checked > 1000ull * MS) {
			give_up_on(all, n, t);
			checked = t;
		}
	}
}

int main(int argc, char **argv)
{
	struct rlimit l;
	int a[12] = { 0 };

	for (int i = 2; i < argc && i < 12; i++)
		a[i] = atoi(argv[i]);
	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		l.rlim_cur = l.rlim_max;
		setrlimit(RLIMIT_NOFILE, &l);
	}
	signal(SIGPIPE, SIG_IGN);
	setvbuf(stdout, NULL, _IOLBF, 0);
	ep = epoll_create1(0);
	if (argc == 4 && !strcmp(argv[1], "origin"))
		run_origin(a[2], a[3]);
	if (argc != 11 || strcmp(argv[1], "load") != 0)
		return fprintf(stderr, "usage: see the beginning of callers.c\n"), 2;
	k.http = a[2];
	k.tcp = a[3];
	k.think = (uint64_t)a[8] * 1000;
	k.echo_every = (uint64_t)a[9] * MS;
	k.late = (uint64_t)a[10] * MS;
	run_load((unsigned)a[4], a[5], (unsigned)a[6], (unsigned)a[7]);
	return 0;
}
