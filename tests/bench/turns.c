/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* How long a process goes without looking at its events: a library to preload (LD_PRELOAD).
 *
 *   NP_TURNS  directory; each process that waits in epoll_wait() has a file there, named by its pid:
 *             struct turns below, in the byte order of the host
 *
 * A turn is from one epoll_wait() to the next.  Beside the time that passed there is the CPU's: on a
 * busy machine the first one is that of others, too.  Of some calls the longest are kept. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/mman.h>
#include <time.h>
#include <unistd.h>

#define CALLS 3

struct turns {
	uint64_t n, over_1ms, over_1ms_cpu;
	uint64_t longest_ns, longest_cpu_ns;
	uint64_t call_ns[CALLS], calls[CALLS];	/* fork, renameat, write: the longest, of the CPU; how many */
	uint64_t reset;				/* whoever reads it has it begin anew by this */
};

enum { FORK, RENAME, WRITE };

static struct turns *t, none;
static uint64_t began, began_cpu;
static pid_t whose;

static uint64_t now(clockid_t id)
{
	struct timespec ts;

	clock_gettime(id, &ts);
	return (uint64_t)ts.tv_sec * 1000000000u + (uint64_t)ts.tv_nsec;
}

static void open_file(void)
{
	const char *dir = getenv("NP_TURNS");
	char path[256];
	int fd;

	whose = getpid();
	t = &none;
	if (dir == NULL)
		return;
	snprintf(path, sizeof path, "%s/%d", dir, (int)whose);
	fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (fd >= 0 && ftruncate(fd, sizeof *t) == 0) {
		void *p = mmap(NULL, sizeof *t, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);

		t = p == MAP_FAILED ? &none : p;
	}
	if (fd >= 0)
		close(fd);
}

static void called(int which, uint64_t from)
{
	uint64_t ns = now(CLOCK_THREAD_CPUTIME_ID) - from;

	if (t == NULL)
		return;
	t->calls[which]++;
	if (ns > t->call_ns[which])
		t->call_ns[which] = ns;
}

static void turn_ends(void)
{
	uint64_t ns = now(CLOCK_MONOTONIC) - began, cpu = now(CLOCK_THREAD_CPUTIME_ID) - began_cpu;

	if (began == 0)
		return;
	t->n++;
	t->over_1ms += ns > 1000000;
	t->over_1ms_cpu += cpu > 1000000;
	if (ns > t->longest_ns)
		t->longest_ns = ns;
	if (cpu > t->longest_cpu_ns)
		t->longest_cpu_ns = cpu;
}

int epoll_wait(int fd, struct epoll_event *e, int n, int ms)
{
	static int (*real)(int, struct epoll_event *, int, int);
	int r;

	if (real == NULL)
		real = (int (*)(int, struct epoll_event *, int, int))dlsym(RTLD_NEXT, "epoll_wait");
	if (t == NULL)
		open_file();
	turn_ends();
	r = real(fd, e, n, ms);
	if (t->reset)
		memset(t, 0, sizeof *t);
	began = now(CLOCK_MONOTONIC);
	began_cpu = now(CLOCK_THREAD_CPUTIME_ID);
	return r;
}

pid_t fork(void)
{
	static pid_t (*real)(void);
	uint64_t from = now(CLOCK_THREAD_CPUTIME_ID);
	pid_t pid;

	if (real == NULL)
		real = (pid_t (*)(void))dlsym(RTLD_NEXT, "fork");
	pid = real();
	if (pid > 0)
		called(FORK, from);
	else if (pid == 0)
		t = NULL;		/* if it waits, it has a file of its own */
	return pid;
}

int renameat(int a, const char *from_path, int b, const char *to_path)
{
	static int (*real)(int, const char *, int, const char *);
	uint64_t from = now(CLOCK_THREAD_CPUTIME_ID);
	int r;

	if (real == NULL)
		real = (int (*)(int, const char *, int, const char *))dlsym(RTLD_NEXT, "renameat");
	r = real(a, from_path, b, to_path);
	called(RENAME, from);
	return r;
}

ssize_t write(int fd, const void *p, size_t n)
{
	static ssize_t (*real)(int, const void *, size_t);
	uint64_t from = now(CLOCK_THREAD_CPUTIME_ID);
	ssize_t r;

	if (real == NULL)
		real = (ssize_t (*)(int, const void *, size_t))dlsym(RTLD_NEXT, "write");
	r = real(fd, p, n);
	called(WRITE, from);
	return r;
}
