/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Fault injection from outside: a library to preload (LD_PRELOAD) that makes the n-th allocation or
 * the n-th system call of one process fail, once.
 *
 * What fails is said in a file (NP_FAULT_FILE, struct control below) that every process maps when
 * it starts, before it drops anything, and that the test writes while they run.  So one instance
 * stands many faults:
 *
 *   births  each new process of `program` takes the next n, counted from its first call: a child
 *           that dies of it is followed by one that fails a call later
 *   else    the test names a pid, clears the count and sets n, as often as it wants
 *
 * Only calls through the C library's wrappers count.  A failing allocation says ENOMEM; a failing
 * call says what that call may say when the host is short of something.  live is the number of
 * allocations the named process holds: what grows with each fault is lost on an error path.
 * Instead of failing, the n-th system call may be where the process is killed or stopped: a moment of
 * its life that a test can come back to.
 *
 * Allocations inside libseccomp do not count unless NP_FAULT_SECCOMP is set: there are a thousand of
 * them in each start, and 2.5 answers many of them by looping for ever. */
#include <dlfcn.h>
#include <errno.h>
#include <execinfo.h>
#include <fcntl.h>
#include <grp.h>
#include <link.h>
#include <poll.h>
#include <signal.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/file.h>
#include <sys/inotify.h>
#include <sys/mman.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <unistd.h>

enum { NOTHING, ALLOC, SYS, KILL, STOP };

struct control {
	char program[32];	/* as argv[0] ends */
	uint32_t kind, births;
	uint64_t next;		/* n of the next birth */
	uint32_t pid, fired;
	uint64_t n, count;	/* n 0: none fails */
	int64_t live;
	char call[32];		/* the last that failed */
	uint32_t logged, born;	/* entries of the log, one per fault; processes of program started */
	struct {
		uint32_t pid, zero;
		uint64_t n;
		char call[24];
	} log[8192];
};

static struct control *the;
static uint32_t me;
static uintptr_t excused_from, excused_to;	/* code whose allocations do not count */

static int find_excused(struct dl_phdr_info *i, size_t n, void *arg)
{
	(void)n, (void)arg;
	if (!i->dlpi_name || !strstr(i->dlpi_name, "libseccomp"))
		return 0;
	for (int k = 0; k < i->dlpi_phnum; k++) {
		const ElfW(Phdr) *h = &i->dlpi_phdr[k];

		if (h->p_type != PT_LOAD || !(h->p_flags & PF_X))
			continue;
		excused_from = i->dlpi_addr + h->p_vaddr;
		excused_to = excused_from + h->p_memsz;
	}
	return 1;
}

#define IS_EXCUSED                                                                                 \
	((uintptr_t)__builtin_return_address(0) >= excused_from &&                                 \
	 (uintptr_t)__builtin_return_address(0) < excused_to)

__attribute__((constructor)) static void fault_init(void)
{
	const char *file = getenv("NP_FAULT_FILE");
	struct control *c;
	int fd = file ? open(file, O_RDWR | O_CLOEXEC) : -1;

	if (fd < 0)
		return;
	c = mmap(NULL, sizeof *c, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (c == MAP_FAILED)
		return;
	me = (uint32_t)getpid();
	if (!getenv("NP_FAULT_SECCOMP"))
		dl_iterate_phdr(find_excused, NULL);
	if (strncmp(c->program, program_invocation_short_name, sizeof c->program - 1) == 0) {
		if (c->births) {
			c->n = 0;
			c->pid = me;
			c->count = c->fired = 0;
			c->n = c->next++;
		}
		__atomic_add_fetch(&c->born, 1, __ATOMIC_RELEASE);
	}
	the = c;
}

static int is_meant(void)
{
	return the && the->pid == me;
}

/* True for exactly one call of all. */
static int fails(uint32_t kind, const char *call)
{
	struct control *c = the;
	char line[96];
	uint32_t at;
	int n;

	if (!is_meant() || (c->kind != kind && (kind != SYS || c->kind < KILL)))
		return 0;
	if (__atomic_add_fetch(&c->count, 1, __ATOMIC_RELAXED) != c->n)
		return 0;
	at = c->logged++ % (sizeof c->log / sizeof c->log[0]);
	c->log[at].pid = me;
	c->log[at].n = c->n;
	snprintf(c->log[at].call, sizeof c->log[at].call, "%s", call);
	snprintf(c->call, sizeof c->call, "%s", call);
	__atomic_store_n(&c->fired, 1, __ATOMIC_RELEASE);
	if (c->kind >= KILL) {
		syscall(SYS_tgkill, me, me, c->kind == KILL ? SIGKILL : SIGSTOP);
		return 0;
	}
	n = snprintf(line, sizeof line, "fault: %s number %llu fails in %s pid %u\n", call,
		     (unsigned long long)c->n, program_invocation_short_name, me);
	if (syscall(SYS_write, STDERR_FILENO, line, n) < 0)
		return 1;
	if (getenv("NP_FAULT_TRACE")) {
		void *frame[32];

		backtrace_symbols_fd(frame, backtrace(frame, 32), STDERR_FILENO);
	}
	return 1;
}

/* A connection of the network that fails has ended: the other side and epoll must see it, too.
 * Else (our own channels): short of buffers. */
static int cut(int fd)
{
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	socklen_t n = sizeof(int);
	int domain = 0;

	if (syscall(SYS_getsockopt, fd, SOL_SOCKET, SO_DOMAIN, &domain, &n) < 0 ||
	    (domain != AF_INET && domain != AF_INET6))
		return ENOBUFS;
	syscall(SYS_connect, fd, &none, sizeof none);
	return ECONNRESET;
}

static void *real(const char *name)
{
	void *p = dlsym(RTLD_NEXT, name);

	if (p == NULL)
		abort();
	return p;
}

#define REAL(r, name)                                                                              \
	static __typeof__(name) *r;                                                                \
	if (r == NULL)                                                                             \
		r = (__typeof__(name) *)real(#name)

static void lives(int64_t n)
{
	if (is_meant())
		__atomic_add_fetch(&the->live, n, __ATOMIC_RELAXED);
}

/* dlsym itself may allocate before calloc is known. */
static uint8_t early[4096];
static size_t early_used;

void *calloc(size_t a, size_t b)
{
	static __typeof__(calloc) *r;
	static int looking;
	void *p;

	if (r == NULL) {
		if (looking) {
			p = early + early_used;
			early_used += (a * b + 15) & ~(size_t)15;
			return early_used <= sizeof early ? p : NULL;
		}
		looking = 1;
		r = (__typeof__(calloc) *)real("calloc");
	}
	if (!IS_EXCUSED && fails(ALLOC, "calloc")) {
		errno = ENOMEM;
		return NULL;
	}
	p = r(a, b);
	lives(p != NULL);
	return p;
}

void *malloc(size_t n)
{
	REAL(r, malloc);
	void *p;

	if (!IS_EXCUSED && fails(ALLOC, "malloc")) {
		errno = ENOMEM;
		return NULL;
	}
	p = r(n);
	lives(p != NULL);
	return p;
}

void *realloc(void *old, size_t n)
{
	REAL(r, realloc);
	void *p;

	if (!IS_EXCUSED && fails(ALLOC, "realloc")) {
		errno = ENOMEM;
		return NULL;
	}
	p = r(old, n);
	lives(!old && p);
	return p;
}

void free(void *p)
{
	if ((uint8_t *)p >= early && (uint8_t *)p < early + sizeof early)
		return;
	REAL(r, free);
	r(p);
	lives(-(p != NULL));
}

#define CALL(type, bad, err, name, params, args)                                                   \
	type name params                                                                           \
	{                                                                                          \
		REAL(r, name);                                                                     \
		if (fails(SYS, #name)) {                                                           \
			errno = err;                                                               \
			return bad;                                                                \
		}                                                                                  \
		return r args;                                                                     \
	}

CALL(int, -1, EMFILE, socket, (int a, int b, int c), (a, b, c))
CALL(int, -1, EMFILE, socketpair, (int a, int b, int c, int d[2]), (a, b, c, d))
CALL(int, -1, ENFILE, accept4, (int a, struct sockaddr *b, socklen_t *c, int d), (a, b, c, d))
CALL(int, -1, EADDRNOTAVAIL, connect, (int a, const struct sockaddr *b, socklen_t c), (a, b, c))
CALL(int, -1, EADDRINUSE, bind, (int a, const struct sockaddr *b, socklen_t c), (a, b, c))
CALL(int, -1, ENOBUFS, listen, (int a, int b), (a, b))
CALL(int, -1, ENOPROTOOPT, setsockopt, (int a, int b, int c, const void *d, socklen_t e),
     (a, b, c, d, e))
CALL(int, -1, ENOBUFS, getsockopt, (int a, int b, int c, void *d, socklen_t *e), (a, b, c, d, e))
CALL(int, -1, ENOBUFS, getsockname, (int a, struct sockaddr *b, socklen_t *c), (a, b, c))
CALL(int, -1, (cut(a), ENOTCONN), shutdown, (int a, int b), (a, b))
CALL(ssize_t, -1, cut(a), recv, (int a, void *b, size_t c, int d), (a, b, c, d))
CALL(ssize_t, -1, cut(a), recvmsg, (int a, struct msghdr *b, int c), (a, b, c))
CALL(ssize_t, -1, cut(a), send, (int a, const void *b, size_t c, int d), (a, b, c, d))
CALL(ssize_t, -1, ENOBUFS, sendto,
     (int a, const void *b, size_t c, int d, const struct sockaddr *e, socklen_t f),
     (a, b, c, d, e, f))
CALL(ssize_t, -1, cut(a), sendmsg, (int a, const struct msghdr *b, int c), (a, b, c))
CALL(ssize_t, -1, EIO, read, (int a, void *b, size_t c), (a, b, c))
CALL(ssize_t, -1, ENOSPC, write, (int a, const void *b, size_t c), (a, b, c))
CALL(ssize_t, -1, ENOSPC, writev, (int a, const struct iovec *b, int c), (a, b, c))
CALL(ssize_t, -1, EIO, pread64, (int a, void *b, size_t c, __off64_t d), (a, b, c, d))
CALL(ssize_t, -1, ENOSPC, pwrite64, (int a, const void *b, size_t c, __off64_t d), (a, b, c, d))
CALL(int, -1, EMFILE, pipe2, (int a[2], int b), (a, b))
CALL(ssize_t, -1, ENOMEM, splice, (int a, __off64_t *b, int c, __off64_t *d, size_t e, unsigned f),
     (a, b, c, d, e, f))
CALL(int, -1, ENOMEM, epoll_create1, (int a), (a))
CALL(int, -1, ENOSPC, epoll_ctl, (int a, int b, int c, struct epoll_event *d), (a, b, c, d))
CALL(int, -1, EINTR, epoll_wait, (int a, struct epoll_event *b, int c, int d), (a, b, c, d))
CALL(int, -1, ENOMEM, poll, (struct pollfd *a, nfds_t b, int c), (a, b, c))
CALL(int, -1, EMFILE, eventfd, (unsigned a, int b), (a, b))
CALL(int, -1, EMFILE, signalfd, (int a, const sigset_t *b, int c), (a, b, c))
CALL(int, -1, EMFILE, memfd_create, (const char *a, unsigned b), (a, b))
CALL(int, -1, ENOSPC, ftruncate, (int a, __off_t b), (a, b))
CALL(int, -1, ENOSPC, ftruncate64, (int a, __off64_t b), (a, b))
CALL(void *, MAP_FAILED, ENOMEM, mmap, (void *a, size_t b, int c, int d, int e, __off_t f),
     (a, b, c, d, e, f))
CALL(void *, MAP_FAILED, ENOMEM, mmap64, (void *a, size_t b, int c, int d, int e, __off64_t f),
     (a, b, c, d, e, f))
CALL(int, -1, EIO, fsync, (int a), (a))
CALL(int, -1, EIO, fdatasync, (int a), (a))
CALL(int, -1, EIO, fstat, (int a, struct stat *b), (a, b))
CALL(int, -1, EIO, fstat64, (int a, struct stat64 *b), (a, b))
CALL(int, -1, EMFILE, dup, (int a), (a))
CALL(int, -1, EBUSY, dup2, (int a, int b), (a, b))
CALL(int, -1, EROFS, unlink, (const char *a), (a))
CALL(int, -1, EROFS, unlinkat, (int a, const char *b, int c), (a, b, c))
CALL(int, -1, EROFS, renameat, (int a, const char *b, int c, const char *d), (a, b, c, d))
CALL(int, -1, ENOSPC, mkdir, (const char *a, mode_t b), (a, b))
CALL(int, -1, ENOLCK, flock, (int a, int b), (a, b))
CALL(int, -1, EROFS, fchown, (int a, uid_t b, gid_t c), (a, b, c))
CALL(int, -1, EROFS, fchmod, (int a, mode_t b), (a, b))
CALL(int, -1, EMFILE, inotify_init1, (int a), (a))
CALL(int, -1, ENOSPC, inotify_add_watch, (int a, const char *b, uint32_t c), (a, b, c))
CALL(pid_t, -1, EAGAIN, fork, (void), ())
CALL(int, -1, EMFILE, pidfd_open, (pid_t a, unsigned b), (a, b))
CALL(int, -1, EPERM, pidfd_send_signal, (int a, int b, siginfo_t *c, unsigned d), (a, b, c, d))
CALL(int, -1, EAGAIN, setresuid, (uid_t a, uid_t b, uid_t c), (a, b, c))
CALL(int, -1, EPERM, setresgid, (gid_t a, gid_t b, gid_t c), (a, b, c))
CALL(int, -1, ENOMEM, setgroups, (size_t a, const gid_t *b), (a, b))
CALL(int, -1, EPERM, setrlimit, (__rlimit_resource_t a, const struct rlimit *b), (a, b))
CALL(ssize_t, -1, EINTR, getrandom, (void *a, size_t b, unsigned c), (a, b, c))

/* Those with arguments that may be absent: all are passed on. */
#define CALL_MORE(name, err, first_type)                                                           \
	int name(first_type a, int b, ...)                                                         \
	{                                                                                          \
		static int (*r)(first_type, int, unsigned long);                                   \
		unsigned long c;                                                                   \
		va_list ap;                                                                        \
                                                                                                   \
		va_start(ap, b);                                                                   \
		c = va_arg(ap, unsigned long);                                                     \
		va_end(ap);                                                                        \
		if (r == NULL)                                                                     \
			r = (int (*)(first_type, int, unsigned long))real(#name);                  \
		if (fails(SYS, #name)) {                                                           \
			errno = err;                                                               \
			return -1;                                                                 \
		}                                                                                  \
		return r(a, b, c);                                                                 \
	}

CALL_MORE(open, EMFILE, const char *)
CALL_MORE(open64, EMFILE, const char *)

#define CALL_OPENAT(name)                                                                          \
	int name(int at, const char *path, int flags, ...)                                         \
	{                                                                                          \
		static int (*r)(int, const char *, int, unsigned long);                            \
		unsigned long mode;                                                                \
		va_list ap;                                                                        \
                                                                                                   \
		va_start(ap, flags);                                                               \
		mode = va_arg(ap, unsigned long);                                                  \
		va_end(ap);                                                                        \
		if (r == NULL)                                                                     \
			r = (int (*)(int, const char *, int, unsigned long))real(#name);           \
		if (fails(SYS, #name)) {                                                           \
			errno = EMFILE;                                                            \
			return -1;                                                                 \
		}                                                                                  \
		return r(at, path, flags, mode);                                                   \
	}

CALL_OPENAT(openat)
CALL_OPENAT(openat64)

/* Only the copies of descriptors can fail for want of something. */
#define CALL_FCNTL(name)                                                                           \
	int name(int fd, int what, ...)                                                            \
	{                                                                                          \
		static int (*r)(int, int, unsigned long);                                          \
		unsigned long arg;                                                                 \
		va_list ap;                                                                        \
                                                                                                   \
		va_start(ap, what);                                                                \
		arg = va_arg(ap, unsigned long);                                                   \
		va_end(ap);                                                                        \
		if (r == NULL)                                                                     \
			r = (int (*)(int, int, unsigned long))real(#name);                         \
		if ((what == F_DUPFD || what == F_DUPFD_CLOEXEC) && fails(SYS, #name)) {           \
			errno = EMFILE;                                                            \
			return -1;                                                                 \
		}                                                                                  \
		return r(fd, what, arg);                                                           \
	}

CALL_FCNTL(fcntl)
CALL_FCNTL(fcntl64)

int prctl(int what, ...)
{
	static int (*r)(int, unsigned long, unsigned long, unsigned long, unsigned long);
	unsigned long a[4];
	va_list ap;

	va_start(ap, what);
	for (int i = 0; i < 4; i++)
		a[i] = va_arg(ap, unsigned long);
	va_end(ap);
	if (r == NULL)
		r = (int (*)(int, unsigned long, unsigned long, unsigned long, unsigned long))
			real("prctl");
	if (fails(SYS, "prctl")) {
		errno = EPERM;
		return -1;
	}
	return r(what, a[0], a[1], a[2], a[3]);
}

long syscall(long nr, ...)
{
	static long (*r)(long, long, long, long, long, long, long);
	long a[6];
	va_list ap;

	va_start(ap, nr);
	for (int i = 0; i < 6; i++)
		a[i] = va_arg(ap, long);
	va_end(ap);
	if (r == NULL)
		r = (long (*)(long, long, long, long, long, long, long))real("syscall");
	/* those four are our own */
	if (nr != SYS_write && nr != SYS_getsockopt && nr != SYS_connect && nr != SYS_tgkill &&
	    fails(SYS, "syscall")) {
		errno = EPERM;
		return -1;
	}
	return r(nr, a[0], a[1], a[2], a[3], a[4], a[5]);
}
