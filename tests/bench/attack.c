/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Callers that mean harm, for the noisy-tenant bench, one attack per process:
 *
 *   attack bulk PORT CONNS SECONDS        each fetches gigabytes as fast as they come
 *   attack connect PORT CONNS SECONDS     opens connections, CONNS at once, and resets each as soon
 *                                         as it is there; every other one sends a request first
 *   attack loris-head PORT CONNS SECONDS  request heads, a byte per connection every 100 ms
 *   attack loris-body PORT CONNS SECONDS  the same with request bodies
 *   attack heads PORT CONNS SECONDS       request heads of 32,000 bytes, one after the other
 *   attack idle PORT CONNS SECONDS        one request per connection, then nothing
 *   attack silent PORT CONNS SECONDS      requests; whoever has no answer after 500 ms is replaced
 *   attack slow PORT CONNS SECONDS        fetches 64 MiB and reads 4 KiB of it every 50 ms
 *   attack hello PORT CONNS SECONDS       TLS: a ClientHello, whose answer costs a key exchange and a
 *                                         signature; reset as soon as the answer comes, and again
 *   attack loris-hello PORT CONNS SECONDS TLS: a ClientHello, a byte per connection every 100 ms
 *   attack resets PORT CONNS SECONDS      HTTP/2: requests, each cancelled behind its head
 *   attack windows PORT CONNS SECONDS     HTTP/2: asks for 64 MiB on each of 100 streams and never opens
 *                                         their windows; after a second the connection is replaced
 *
 * (load.c has two more: flood and pour.)  Prints one line of JSON: what it did, and how many of its
 * connections were cut or refused.  The time counts from when all connections are there. */
#include "tests/bench/tool.h"

#include <fcntl.h>

enum what { BULK, LORIS_HEAD, LORIS_BODY, HEADS, IDLE, SILENT, SLOW, HELLO, LORIS_HELLO, RESETS, WINDOWS, WHATS };
static const char *const names[WHATS] = { "bulk", "loris-head", "loris-body", "heads", "idle", "silent", "slow",
					"hello", "loris-hello", "resets", "windows" };

static struct {
	int fd;
	unsigned at;		/* of what it sends, bytes sent */
	uint64_t born;
} *conn;
static int port, conns;
static uint64_t acts, bytes, lost;
static char huge[40000];
static size_t huge_len;

/* ---- HTTP/2 ---- */

#define STREAMS 100
#define RESET_PATH "/x"
#define HEAD_BYTES(path_n) (9 + 7 + (path_n))	/* frame header, block */
#define PAIR_BYTES (HEAD_BYTES(sizeof RESET_PATH - 1) + 9 + 4)
#define PAIRS 128	/* written at once */

static const char hello[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"
			    "\0\0\6\4\0\0\0\0\0" "\0\4\0\0\0\0";	/* INITIAL_WINDOW_SIZE 0 */

static char *put_frame(char *p, size_t n, char type, char flags, unsigned id)
{
	const char head[9] = { 0, 0, (char)n, type, flags, (char)(id >> 24), (char)(id >> 16),
			       (char)(id >> 8), (char)id };

	memcpy(p, head, sizeof head);
	return p + sizeof head;
}

/* HEADERS: END_STREAM, END_HEADERS; GET of authority "a", as a block that fills no table. */
static char *put_get(char *p, const char *path, unsigned id)
{
	size_t n = strlen(path);

	p = put_frame(p, 7 + n, 1, 5, id);
	*p++ = (char)0x82;
	*p++ = (char)0x86;
	*p++ = 4;
	*p++ = (char)n;
	memcpy(p, path, n);
	memcpy(p + n, "\1\1a", 3);
	return p + n + 3;
}

/* Streams from number `first` on, each with its reset. */
static size_t put_pairs(char *to, unsigned first)
{
	char *p = to;

	for (unsigned i = first; i < first + PAIRS; i++) {
		p = put_get(p, RESET_PATH, 2 * i + 1);
		p = put_frame(p, 4, 3, 0, 2 * i + 1);
		memcpy(p, "\0\0\0\x08", 4);	/* CANCEL */
		p += 4;
	}
	return (size_t)(p - to);
}

/* ---- TLS ---- */

/* A ClientHello of TLS 1.3 that costs its sender nothing: the key share is always the same. */
static char client_hello[512];
static size_t client_hello_len;

static void make_client_hello(void)
{
	static const char head[] = "\x16\3\1\0\0" "\1\0\0\0" "\3\3";	/* record, handshake, version */
	static const char rest[] =
		"\0"			/* no session id */
		"\0\2\x13\1"		/* AES_128_GCM_SHA256 */
		"\1\0"			/* no compression */
		"\0\0"			/* length of: */
		"\0\x2b\0\3\2\3\4"	/* supported_versions: 1.3 */
		"\0\x0a\0\4\0\2\0\x1d"	/* supported_groups: X25519 */
		"\0\x0d\0\6\0\4\4\3\x8\7"	/* signature_algorithms: P-256, Ed25519 */
		"\0\x33\0\x26\0\x24\0\x1d\0\x20";	/* key_share: of X25519, 32 bytes */
	char *p = client_hello;
	size_t ends;

	memcpy(p, head, sizeof head - 1);
	p += sizeof head - 1;
	memset(p, 'r', 32);		/* random */
	p += 32;
	memcpy(p, rest, sizeof rest - 1);
	ends = (size_t)(p - client_hello) + 9;	/* where the extensions begin */
	p += sizeof rest - 1;
	memset(p, 9, 32);
	p += 32;
	client_hello_len = (size_t)(p - client_hello);
	client_hello[4] = (char)(client_hello_len - 5);
	client_hello[8] = (char)(client_hello_len - 9);
	client_hello[ends - 1] = (char)(client_hello_len - ends);
}

static void say(int i, const char *text, size_t n)
{
	if (send(conn[i].fd, text, n, MSG_DONTWAIT | MSG_NOSIGNAL) == (ssize_t)n)
		acts++;
}

static void ask_all(int i)
{
	char buf[STREAMS * 64], *p = buf;

	for (unsigned s = 0; s < STREAMS; s++)
		p = put_get(p, "/67108864", 2 * s + 1);
	say(i, buf, (size_t)(p - buf));
}

static void open_one(enum what w, int i)
{
	static const char bulk[] = "GET /1000000000000 HTTP/1.1\r\nHost: bench\r\n\r\n";
	static const char slow[] = "GET /67108864 HTTP/1.1\r\nHost: bench\r\n\r\n";
	static const char body[] = "POST /x HTTP/1.1\r\nHost: bench\r\nContent-Length: 1000000\r\n\r\n";
	static const char line[] = "GET /x HTTP/1.1\r\n";
	const char *first = w == BULK ? bulk : w == SLOW ? slow : w == LORIS_BODY ? body
			    : w == LORIS_HEAD ? line : REQUEST;

	conn[i].fd = dial_with(port, w == SLOW ? 16384 : 0);
	conn[i].at = 0;
	conn[i].born = now_ns();
	if (w == RESETS || w == WINDOWS)
		say(i, hello, sizeof hello - 1);
	else if (w == HELLO)
		say(i, client_hello, client_hello_len);
	else if (w != HEADS && w != LORIS_HELLO)
		say(i, first, strlen(first));
	if (w == WINDOWS)
		ask_all(i);
	/* The slow ones look by the clock, not when something has come. */
	watch(conn[i].fd, w == HEADS ? EPOLLIN | EPOLLOUT | EPOLLET : w == RESETS ? EPOLLIN | EPOLLOUT
			  : w == SLOW ? EPOLLRDHUP : EPOLLIN, (uint64_t)i);
}

static void replace(enum what w, int i)
{
	cut(conn[i].fd);
	open_one(w, i);
}

/* What the clock says to connection i; called for each once per period. */
static void tick(enum what w, int i, uint64_t now)
{
	static const char trickle[] = "X-Slow: a line of a head that never ends\r\n";
	ssize_t k;

	switch (w) {
	case LORIS_HEAD:
		say(i, trickle + conn[i].at++ % (sizeof trickle - 1), 1);
		break;
	case LORIS_HELLO:
		say(i, client_hello + conn[i].at++ % client_hello_len, 1);
		break;
	case LORIS_BODY:
		say(i, "x", 1);
		break;
	case SILENT:
		if (now - conn[i].born > 500000000)
			replace(w, i);
		break;
	case WINDOWS:
		if (now - conn[i].born > 1000000000)
			replace(w, i);
		break;
	case SLOW:
		k = recv(conn[i].fd, NULL, 4096, MSG_DONTWAIT | MSG_TRUNC);
		if (k > 0)
			acts++, bytes += (uint64_t)k;
		break;
	default:
		break;
	}
}

static uint64_t period_ns(enum what w)
{
	return w == SLOW ? 50000000 : 100000000;
}

static void fill(int i)
{
	for (;;) {
		ssize_t k = send(conn[i].fd, huge + conn[i].at, huge_len - conn[i].at,
				 MSG_DONTWAIT | MSG_NOSIGNAL);

		if (k <= 0)
			return;
		bytes += (uint64_t)k;
		conn[i].at = (unsigned)((conn[i].at + (size_t)k) % huge_len);
		acts += conn[i].at == 0;
	}
}

static void cancel(int i)
{
	char buf[PAIRS * PAIR_BYTES];
	unsigned first = conn[i].at / PAIR_BYTES, part = conn[i].at % PAIR_BYTES;
	ssize_t k = send(conn[i].fd, buf + part, put_pairs(buf, first) - part,
			 MSG_DONTWAIT | MSG_NOSIGNAL);

	if (k <= 0)
		return;
	conn[i].at += (unsigned)k;
	bytes += (uint64_t)k;
	acts += conn[i].at / PAIR_BYTES - first;
}

static void on_event(enum what w, int i, uint32_t events)
{
	if (events & EPOLLOUT && w == RESETS)
		cancel(i);
	else if (events & EPOLLOUT)
		fill(i);
	if (!(events & (EPOLLIN | EPOLLHUP | EPOLLERR | EPOLLRDHUP)))
		return;
	for (;;) {
		ssize_t k = w == SLOW ? 0 : swallow(conn[i].fd);

		if (k < 0 && errno == EAGAIN)
			return;
		if (k <= 0) {
			lost++;
			replace(w, i);
			return;
		}
		bytes += (uint64_t)k;
		if (w == HELLO)
			replace(w, i);
		if (w == HELLO || w == BULK)
			return;		/* the others have a turn */
	}
}

static void run(enum what w, double secs)
{
	uint64_t now, until, period = period_ns(w);
	struct epoll_event ev[256];
	uint64_t began;
	uint64_t ticked = 0;		/* connections, since the beginning */

	conn = calloc((size_t)conns, sizeof *conn);
	for (int i = 0; i < conns; i++)
		open_one(w, i);
	began = now_ns();
	until = began + (uint64_t)(secs * 1e9);
	while ((now = now_ns()) < until) {
		/* Evenly over the period, not all at once. */
		uint64_t due = (uint64_t)((double)(now - began) / (double)period * conns);
		int n;

		for (int most = conns; ticked < due && most > 0; ticked++, most--)
			tick(w, (int)(ticked % (uint64_t)conns), now);
		n = epoll_wait(ep, ev, 256, w == BULK || w == HEADS || w == IDLE || w == HELLO || w == RESETS ? 50 : 1);
		for (int k = 0; k < n; k++)
			on_event(w, (int)ev[k].data.u64, ev[k].events);
	}
	/* An end of ours alone would leave those waiting who wait for an answer. */
	for (int i = 0; i < conns; i++)
		cut(conn[i].fd);
}

/* Connections that are reset as soon as they are there. */
static void run_connect(double secs)
{
	uint64_t until = now_ns() + (uint64_t)(secs * 1e9);
	struct sockaddr_in a = local(port);
	struct epoll_event ev[256];
	int open = 0;

	while (now_ns() < until) {
		int n;

		for (; open < conns; open++) {
			int fd = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);

			if (fd < 0 || (connect(fd, (struct sockaddr *)&a, sizeof a) < 0 &&
				       errno != EINPROGRESS)) {
				lost++;
				close(fd);
				break;
			}
			watch(fd, EPOLLOUT, (uint64_t)fd);
		}
		n = epoll_wait(ep, ev, 256, 10);
		for (int k = 0; k < n; k++) {
			int fd = (int)ev[k].data.u64;

			if (ev[k].events & (EPOLLERR | EPOLLHUP))
				lost++;
			else if (acts++ % 2)
				send(fd, REQUEST, strlen(REQUEST), MSG_DONTWAIT | MSG_NOSIGNAL);
			cut(fd);
			open--;
		}
	}
}

/* 80 lines of 400 bytes: below the limits of 32 KiB and 100 lines. */
static void make_huge(void)
{
	huge_len = (size_t)sprintf(huge, "GET /x HTTP/1.1\r\nHost: bench\r\n");
	for (int i = 0; i < 80; i++)
		huge_len += (size_t)sprintf(huge + huge_len, "X-Long-%02d: %0386d\r\n", i, 0);
	huge_len += (size_t)sprintf(huge + huge_len, "\r\n");
}

int main(int argc, char **argv)
{
	enum what w = WHATS;
	double secs;

	if (argc == 5)
		for (w = 0; w < WHATS && strcmp(argv[1], names[w]) != 0; w++)
			;
	if (argc != 5 || (w == WHATS && strcmp(argv[1], "connect") != 0))
		return fprintf(stderr, "usage: see the beginning of attack.c\n"), 2;
	port = atoi(argv[2]);
	conns = atoi(argv[3]);
	secs = atof(argv[4]);
	tool_init();
	make_huge();
	make_client_hello();
	if (w == WHATS)
		run_connect(secs);
	else
		run(w, secs);
	printf("{\"conns\":%d,\"acts\":%llu,\"bytes\":%llu,\"lost\":%llu}\n", conns,
	       (unsigned long long)acts, (unsigned long long)bytes, (unsigned long long)lost);
	return 0;
}
