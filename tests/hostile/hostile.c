/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A hostile sibling: takes the place of nodeproxy-worker, nodeproxy-syncd or nodeproxy-admind (by a
 * link of that name in NODEPROXY_LIBEXEC) and does to the master, and to the memory that processes
 * share, what a test wrote down.  It runs as root and without a filter, so it can do more than the
 * process whose place it takes.
 *
 *   NP_HOSTILE       file of a struct control, shared with the test
 *   NP_HOSTILE_REAL  directory of the real programs: whoever is not wanted becomes the real one
 *
 * With --table it prints the rows of msg.def instead: number, name, roles, sizes. */
#include <errno.h>
#include <fcntl.h>
#include <netinet/in.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <time.h>

#include "nodeproxy/lib/ipc/msg.h"

enum op_kind {
	OP_END,
	OP_SEND,	/* bytes, count times, with fds descriptors of fd_kind */
	OP_HELLO,	/* as an honest child; then reads START and keeps its descriptors */
	OP_CLOSE,	/* the channel */
	OP_EXIT,
	OP_LISTENER,	/* ends the listening sockets it was given: 0 shutdown, 1 disconnect, 2 blocks */
	OP_VIEW,	/* waits for a view and says it serves it */
	OP_SCRIBBLE,	/* random bytes over the memory it was given, for count ms: 0 all, 1 heads */
	OP_SLEEP,	/* count ms */
};

#define OPS	  8
#define OP_BYTES  1200
#define SCM_MOST  253

struct op {
	uint32_t kind, count, fds, fd_kind;
	uint32_t n, arg;
	uint8_t bytes[OP_BYTES];
};

struct control {
	uint32_t role, id;	/* who is to be hostile; role 0: nobody */
	uint32_t pid;		/* written by us: waits for go */
	uint32_t go;		/* by the test: begin */
	uint32_t done;		/* by us: all was done */
	uint32_t zero;
	struct op op[OPS];
};

static struct control *the;
static int given[16];		/* descriptors of START behind knobs and panic page */
static int listener[64];
static unsigned n_given, n_listeners;
static enum role role;

static void pause_ms(unsigned ms)
{
	struct timespec t = { ms / 1000, (ms % 1000) * 1000000L };

	nanosleep(&t, NULL);
}

static int memory(off_t bytes, size_t garbage, bool seal)
{
	static uint8_t noise[65536];
	int f = memfd_create("hostile", MFD_CLOEXEC | MFD_ALLOW_SEALING);

	for (size_t i = 0; i < sizeof noise; i++)
		noise[i] = (uint8_t)(i * 2654435761u >> 13);
	if (ftruncate(f, bytes) < 0 || pwrite(f, noise, min_of(garbage, sizeof noise), 0) < 0)
		return f;
	if (seal)
		fcntl(f, F_ADD_SEALS, F_SEAL_WRITE | F_SEAL_GROW | F_SEAL_SHRINK | F_SEAL_SEAL);
	return f;
}

/* A connected socket that has much to say to somebody who does not listen, and lingers. */
static int lingering(void)
{
	struct sockaddr_in a = { .sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK) };
	struct linger l = { 1, 3600 };
	socklen_t n = sizeof a;
	int s = socket(AF_INET, SOCK_STREAM, 0), c = socket(AF_INET, SOCK_STREAM, 0);
	static char much[1 << 20];

	if (bind(s, (struct sockaddr *)&a, n) < 0 || listen(s, 1) < 0 ||
	    getsockname(s, (struct sockaddr *)&a, &n) < 0 ||
	    connect(c, (struct sockaddr *)&a, n) < 0)
		return c;
	setsockopt(c, SOL_SOCKET, SO_LINGER, &l, sizeof l);
	while (send(c, much, sizeof much, MSG_DONTWAIT) > 0)
		;
	return c;
}

static int descriptor(uint32_t kind)
{
	int p[2] = { -1, -1 };

	switch (kind) {
	case 1:
		return pipe(p) == 0 ? p[0] : -1;
	case 2:
		return open("/", O_RDONLY | O_DIRECTORY);
	case 3:
		return socketpair(AF_UNIX, SOCK_STREAM, 0, p) == 0 ? p[0] : -1;
	case 4:
		return memory(4096, 4096, false);
	case 5:
		return memory(4096, 4096, true);
	case 6:
		return memory(1 << 20, 65536, true);
	case 7:
		return lingering();
	case 8:
		return open("/dev/null", O_RDWR);
	case 9:
		return dup(CHAN_FD);
	case 10:
		return eventfd(0, 0);
	case 11:
		return memory((off_t)1 << 40, 4096, true);
	case 12:
		return epoll_create1(0);
	default:
		return dup(STDIN_FILENO);
	}
}

static void send_op(const struct op *op)
{
	union {
		char room[CMSG_SPACE(SCM_MOST * sizeof(int))];
		struct cmsghdr align;
	} u;
	struct iovec iov = { (void *)(uintptr_t)op->bytes, op->n };
	int fd[SCM_MOST];

	for (uint32_t k = 0; k < op->count; k++) {
		struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1 };
		uint32_t fds = min_of(op->fds, (uint32_t)SCM_MOST);

		if (fds && k == 0)
			for (uint32_t i = 0; i < fds; i++)
				fd[i] = i && fds > 8 ? dup(fd[0]) : descriptor(op->fd_kind);
		if (fds) {
			struct cmsghdr *c;

			memset(&u, 0, sizeof u);
			h.msg_control = u.room;
			h.msg_controllen = CMSG_SPACE(fds * sizeof(int));
			c = CMSG_FIRSTHDR(&h);
			c->cmsg_level = SOL_SOCKET;
			c->cmsg_type = SCM_RIGHTS;
			c->cmsg_len = CMSG_LEN(fds * sizeof(int));
			memcpy(CMSG_DATA(c), fd, fds * sizeof(int));
		}
		while (sendmsg(CHAN_FD, &h, MSG_NOSIGNAL) < 0) {
			if (errno != EAGAIN && errno != ETOOMANYREFS)
				return;		/* the end: the descriptors go with us */
			poll(&(struct pollfd){ .fd = CHAN_FD, .events = POLLOUT }, 1, 10);
		}
	}
	for (uint32_t i = 0; op->count && i < min_of(op->fds, (uint32_t)SCM_MOST); i++)
		close(fd[i]);		/* what is under way may be the last copy */
}

/* One message from the master; its type, 0 at the end.  Descriptors go to fds. */
static uint32_t hear(uint8_t bytes[2048], int fds[SCM_MOST], unsigned *nfds)
{
	union {
		char room[CMSG_SPACE(SCM_MOST * sizeof(int))];
		struct cmsghdr align;
	} u;
	struct iovec iov = { bytes, 2048 };
	struct msghdr h = { .msg_iov = &iov, .msg_iovlen = 1, .msg_control = u.room,
			    .msg_controllen = sizeof u.room };
	struct cmsghdr *c;

	*nfds = 0;
	poll(&(struct pollfd){ .fd = CHAN_FD, .events = POLLIN }, 1, -1);
	if (recvmsg(CHAN_FD, &h, 0) <= 0)
		return 0;
	c = CMSG_FIRSTHDR(&h);
	if (c && c->cmsg_type == SCM_RIGHTS) {
		*nfds = (unsigned)((c->cmsg_len - CMSG_LEN(0)) / sizeof(int));
		memcpy(fds, CMSG_DATA(c), *nfds * sizeof(int));
	}
	return ((struct msg_head *)(void *)bytes)->type;
}

static void say(uint32_t type, const void *p, size_t n)
{
	uint8_t bytes[512];
	struct msg_head head = { .type = type };

	memcpy(bytes, &head, sizeof head);
	memcpy(bytes + sizeof head, p, n);
	if (send(CHAN_FD, bytes, sizeof head + n, MSG_NOSIGNAL) < 0)
		pause_ms(1);
}

static void hello(void)
{
	struct msg_hello h = { .role = role, .pid = (uint32_t)getpid() };
	_Alignas(8) uint8_t bytes[2048];
	int fds[SCM_MOST];
	unsigned n;

	snprintf(h.build, sizeof h.build, "%s", msg_build());
	say(MSG_HELLO, &h, sizeof h);
	while (hear(bytes, fds, &n) != MSG_START)
		;
	for (unsigned i = 1; i < n; i++)
		given[n_given++] = fds[i];	/* the panic page, board, ring, ... */
}

/* Serves a view, so that it gets the listeners; answers the first of them. */
static void view(void)
{
	_Alignas(8) uint8_t bytes[2048];
	int fds[SCM_MOST];
	struct msg_rev rev;
	unsigned n;
	uint32_t t;

	while ((t = hear(bytes, fds, &n)) != 0) {
		if (t == MSG_VIEW_HERE) {
			memcpy(&rev, bytes + sizeof(struct msg_head), sizeof rev);
			say(MSG_VIEW_ADOPTED, &rev, sizeof rev);
		} else if (t == MSG_LISTEN) {
			listener[n_listeners++] = fds[0];
			return;
		}
	}
}

static void end_listeners(uint32_t how)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };

	for (unsigned i = 0; i < n_listeners; i++) {
		if (how == 0)
			shutdown(listener[i], SHUT_RDWR);
		else if (how == 1 && connect(listener[i], &none, sizeof none) < 0)
			pause_ms(1);
		else if (how == 2)
			fcntl(listener[i], F_SETFL, 0);
	}
}

static void scribble(uint32_t ms, bool heads_only)
{
	struct timespec t;
	uint64_t x = 88172645463325252u, end;
	uint8_t *map[16] = { 0 };
	size_t bytes[16];

	for (unsigned i = 0; i < n_given; i++) {
		struct stat st;

		if (fstat(given[i], &st) < 0 || st.st_size <= 0)
			continue;
		bytes[i] = (size_t)st.st_size;
		map[i] = mmap(NULL, bytes[i], PROT_READ | PROT_WRITE, MAP_SHARED, given[i], 0);
		if (map[i] == MAP_FAILED)
			map[i] = NULL;
	}
	clock_gettime(CLOCK_MONOTONIC, &t);
	end = (uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000 + ms;
	do {
		for (int k = 0; k < 20000; k++) {
			unsigned i = (unsigned)(x % max_of(n_given, 1u));
			static const uint64_t extreme[] = { 0, UINT64_MAX, 1, 1ull << 63, 0x80000000u,
							    0xffffffff80000000u };
			uint64_t v;
			size_t at;

			x ^= x << 13, x ^= x >> 7, x ^= x << 17;
			if (!map[i])
				continue;
			/* every page of a board would be memory: one in 64 of them, and its start */
			at = (x >> 8) % bytes[i];
			if (heads_only || (x & 1))
				at %= 4096;
			else if (bytes[i] > 1 << 20)
				at = (at & ~(size_t)0x3ffff) | (at & 0xfff);
			at = min_of(at & ~(size_t)7, bytes[i] - 8);
			v = x & 2 ? extreme[(x >> 40) % countof(extreme)] : x * 0x9e3779b97f4a7c15u;
			memcpy(map[i] + at, &v, 8);
		}
		clock_gettime(CLOCK_MONOTONIC, &t);
	} while ((uint64_t)t.tv_sec * 1000 + (uint64_t)t.tv_nsec / 1000000 < end);
}

static void play(const struct op *op)
{
	switch (op->kind) {
	case OP_SEND:
		send_op(op);
		break;
	case OP_HELLO:
		hello();
		break;
	case OP_CLOSE:
		close(CHAN_FD);
		break;
	case OP_EXIT:
		_exit((int)op->arg);
	case OP_LISTENER:
		end_listeners(op->arg);
		break;
	case OP_VIEW:
		view();
		break;
	case OP_SCRIBBLE:
		scribble(op->count, op->arg);
		break;
	case OP_SLEEP:
		pause_ms(op->count);
		break;
	}
}

static int table(void)
{
	printf("build %s\n", msg_build());
	for (uint32_t t = 1; t < MSGS; t++) {
		const struct msg_rule *r = msg_rule(t);

		printf("%u %s %u %u %u %u %u %u %u\n", t, r->name, r->from, r->to, r->bytes, r->tail,
		       r->fds_min, r->fds_max, r->rate);
	}
	return 0;
}

int main(int argc, char **argv)
{
	const char *file = getenv("NP_HOSTILE"), *real = getenv("NP_HOSTILE_REAL");
	static const char *const name[ROLES] = { [ROLE_WORKER] = "nodeproxy-worker",
						 [ROLE_SYNCD] = "nodeproxy-syncd",
						 [ROLE_ADMIND] = "nodeproxy-admind" };
	char path[4096];
	int fd;

	if (argc == 2 && strcmp(argv[1], "--table") == 0)
		return table();
	if (!file || !real || argc < 2)
		return 2;
	for (unsigned r = ROLE_WORKER; r < ROLES; r++)
		if (name[r] && strcmp(argv[0], name[r]) == 0)
			role = r;
	fd = open(file, O_RDWR | O_CLOEXEC);
	the = mmap(NULL, sizeof *the, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (the == MAP_FAILED)
		return 2;
	if (the->role != (uint32_t)role || the->id != (uint32_t)atoi(argv[1])) {
		snprintf(path, sizeof path, "%s/%s", real, argv[0]);
		execv(path, argv);
		return 2;
	}
	__atomic_store_n(&the->done, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&the->go, 0, __ATOMIC_SEQ_CST);
	__atomic_store_n(&the->pid, (uint32_t)getpid(), __ATOMIC_SEQ_CST);
	while (__atomic_load_n(&the->go, __ATOMIC_SEQ_CST) == 0)
		pause_ms(1);
	for (unsigned i = 0; i < OPS && the->op[i].kind != OP_END; i++)
		play(&the->op[i]);
	__atomic_store_n(&the->done, 1, __ATOMIC_SEQ_CST);
	for (;;)
		pause_ms(1000);		/* whoever is not ended by others stays */
}
