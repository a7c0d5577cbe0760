/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Fault injection from outside: a library to preload (LD_PRELOAD) that makes the n-th allocation or
 * the n-th system call of one program fail, once.
 *
 *   NP_FAULT_PROGRAM  name of the program it applies to ("nodeproxy-worker"); others run untouched
 *   NP_FAULT_CLASS    alloc | sys
 *   NP_FAULT_N        which one fails, from 1
 *   NP_FAULT_FILE     16 bytes of state shared by all processes and their replacements: how many
 *                     calls there were, and whether the fault has fired; a replacement therefore
 *                     runs untouched, and a test knows that n was beyond the last call
 *
 * The file is mapped when the program starts, before it drops anything.  Only calls through the C
 * library's wrappers count.  A failing allocation says ENOMEM; a failing call says what that call
 * may say when the host is short of something. */
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/uio.h>
#include <unistd.h>

struct state {
	uint64_t count;
	uint32_t fired;
	uint32_t zero;
};

static struct state *state;
static uint64_t the_n;
static int armed_alloc, armed_sys;

__attribute__((constructor)) static void fault_init(void)
{
	const char *program = getenv("NP_FAULT_PROGRAM"), *class = getenv("NP_FAULT_CLASS");
	const char *n = getenv("NP_FAULT_N"), *file = getenv("NP_FAULT_FILE");
	int fd;

	if (!program || !class || !n || !file || strcmp(program, program_invocation_short_name))
		return;
	fd = open(file, O_RDWR | O_CLOEXEC);
	if (fd < 0)
		return;
	state = mmap(NULL, sizeof *state, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	close(fd);
	if (state == MAP_FAILED) {
		state = NULL;
		return;
	}
	the_n = strtoull(n, NULL, 10);
	armed_alloc = strcmp(class, "alloc") == 0;
	armed_sys = strcmp(class, "sys") == 0;
}

/* True for exactly one call of all. */
static int fails(int armed, const char *call)
{
	char line[96];
	int n;

	if (!armed || __atomic_load_n(&state->fired, __ATOMIC_RELAXED))
		return 0;
	if (__atomic_add_fetch(&state->count, 1, __ATOMIC_RELAXED) != the_n)
		return 0;
	__atomic_store_n(&state->fired, 1, __ATOMIC_RELAXED);
	n = snprintf(line, sizeof line, "fault: %s number %llu fails in %s\n", call,
		     (unsigned long long)the_n, program_invocation_short_name);
	armed_sys = 0;
	if (write(STDERR_FILENO, line, (size_t)n) < 0)
		return 1;
	return 1;
}

#define REAL(name) ((__typeof__(name) *)real(#name))

static void *real(const char *name)
{
	void *p = dlsym(RTLD_NEXT, name);

	if (p == NULL)
		abort();
	return p;
}

/* dlsym itself may allocate before calloc is known. */
static uint8_t early[4096];
static size_t early_used;

void *calloc(size_t a, size_t b)
{
	static __typeof__(calloc) *r;
	static int looking;

	if (r == NULL) {
		if (looking) {
			void *p = early + early_used;

			early_used += (a * b + 15) & ~(size_t)15;
			return early_used <= sizeof early ? p : NULL;
		}
		looking = 1;
		r = REAL(calloc);
	}
	if (fails(armed_alloc, "calloc")) {
		errno = ENOMEM;
		return NULL;
	}
	return r(a, b);
}

void *malloc(size_t n)
{
	static __typeof__(malloc) *r;

	if (r == NULL)
		r = REAL(malloc);
	if (fails(armed_alloc, "malloc")) {
		errno = ENOMEM;
		return NULL;
	}
	return r(n);
}

void *realloc(void *p, size_t n)
{
	static __typeof__(realloc) *r;

	if (r == NULL)
		r = REAL(realloc);
	if (fails(armed_alloc, "realloc")) {
		errno = ENOMEM;
		return NULL;
	}
	return r(p, n);
}

void free(void *p)
{
	static __typeof__(free) *r;

	if ((uint8_t *)p >= early && (uint8_t *)p < early + sizeof early)
		return;
	if (r == NULL)
		r = REAL(free);
	r(p);
}

#define SYS(type, bad, err, name, params, args)                                                    \
	type name params                                                                           \
	{                                                                                          \
		static __typeof__(name) *r;                                                        \
                                                                                                   \
		if (r == NULL)                                                                     \
			r = REAL(name);                                                            \
		if (fails(armed_sys, #name)) {                                                     \
			errno = err;                                                               \
			return bad;                                                                \
		}                                                                                  \
		return r args;                                                                     \
	}

SYS(int, -1, EMFILE, socket, (int a, int b, int c), (a, b, c))
SYS(int, -1, EMFILE, socketpair, (int a, int b, int c, int d[2]), (a, b, c, d))
SYS(int, -1, ENFILE, accept4, (int a, struct sockaddr *b, socklen_t *c, int d), (a, b, c, d))
SYS(int, -1, EADDRNOTAVAIL, connect, (int a, const struct sockaddr *b, socklen_t c), (a, b, c))
SYS(int, -1, EADDRINUSE, bind, (int a, const struct sockaddr *b, socklen_t c), (a, b, c))
SYS(int, -1, ENOBUFS, listen, (int a, int b), (a, b))
SYS(int, -1, ENOPROTOOPT, setsockopt, (int a, int b, int c, const void *d, socklen_t e),
    (a, b, c, d, e))
SYS(ssize_t, -1, ECONNRESET, recv, (int a, void *b, size_t c, int d), (a, b, c, d))
SYS(ssize_t, -1, ENOBUFS, recvmsg, (int a, struct msghdr *b, int c), (a, b, c))
SYS(ssize_t, -1, ECONNRESET, send, (int a, const void *b, size_t c, int d), (a, b, c, d))
SYS(ssize_t, -1, ENOBUFS, sendmsg, (int a, const struct msghdr *b, int c), (a, b, c))
SYS(ssize_t, -1, EIO, read, (int a, void *b, size_t c), (a, b, c))
SYS(ssize_t, -1, ENOSPC, write, (int a, const void *b, size_t c), (a, b, c))
SYS(ssize_t, -1, ENOSPC, writev, (int a, const struct iovec *b, int c), (a, b, c))
SYS(int, -1, EMFILE, pipe2, (int a[2], int b), (a, b))
SYS(ssize_t, -1, ENOMEM, splice, (int a, __off64_t *b, int c, __off64_t *d, size_t e, unsigned f),
    (a, b, c, d, e, f))
SYS(int, -1, ENOMEM, epoll_create1, (int a), (a))
SYS(int, -1, ENOSPC, epoll_ctl, (int a, int b, int c, struct epoll_event *d), (a, b, c, d))
SYS(int, -1, EMFILE, memfd_create, (const char *a, unsigned b), (a, b))
SYS(int, -1, ENOSPC, ftruncate, (int a, __off_t b), (a, b))
SYS(void *, MAP_FAILED, ENOMEM, mmap, (void *a, size_t b, int c, int d, int e, __off_t f),
    (a, b, c, d, e, f))
SYS(int, -1, EIO, fsync, (int a), (a))
SYS(int, -1, EIO, fdatasync, (int a), (a))
SYS(int, -1, EMFILE, dup, (int a), (a))

int openat(int at, const char *path, int flags, ...)
{
	static int (*r)(int, const char *, int, ...);
	va_list ap;
	mode_t mode;

	va_start(ap, flags);
	mode = flags & (O_CREAT | O_TMPFILE) ? va_arg(ap, mode_t) : 0;
	va_end(ap);
	if (r == NULL)
		r = (int (*)(int, const char *, int, ...))real("openat");
	if (fails(armed_sys, "openat")) {
		errno = EMFILE;
		return -1;
	}
	return r(at, path, flags, mode);
}
