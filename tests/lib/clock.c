/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Clocks that a test sets: a library to preload (LD_PRELOAD).
 *
 *   NP_CLOCK_FILE  16 bytes, shared by all processes that map it when they start: what is added to
 *                  the wall clock, then to the monotonic one, in nanoseconds
 *
 * Only calls through the C library's wrappers count; the kernel's own timeouts stay what they are. */
#include <dlfcn.h>
#include <fcntl.h>
#include <stdint.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/time.h>
#include <time.h>
#include <unistd.h>

static volatile int64_t *add;

__attribute__((constructor)) static void clock_init(void)
{
	const char *file = getenv("NP_CLOCK_FILE");
	int fd = file ? open(file, O_RDONLY | O_CLOEXEC) : -1;
	void *p;

	if (fd < 0)
		return;
	p = mmap(NULL, 16, PROT_READ, MAP_SHARED, fd, 0);
	close(fd);
	if (p != MAP_FAILED)
		add = p;
}

int clock_gettime(clockid_t id, struct timespec *ts)
{
	static int (*real)(clockid_t, struct timespec *);
	int64_t ns;
	int r;

	if (real == NULL)
		real = (int (*)(clockid_t, struct timespec *))dlsym(RTLD_NEXT, "clock_gettime");
	r = real(id, ts);
	if (r < 0 || add == NULL || (id != CLOCK_REALTIME && id != CLOCK_MONOTONIC))
		return r;
	ns = ts->tv_sec * 1000000000LL + ts->tv_nsec + add[id == CLOCK_MONOTONIC];
	ts->tv_sec = ns / 1000000000LL;
	ts->tv_nsec = ns % 1000000000LL;
	return 0;
}

int gettimeofday(struct timeval *restrict tv, void *restrict tz)
{
	struct timespec ts;
	int r = clock_gettime(CLOCK_REALTIME, &ts);

	(void)tz;
	tv->tv_sec = ts.tv_sec;
	tv->tv_usec = ts.tv_nsec / 1000;
	return r;
}

time_t time(time_t *t)
{
	struct timespec ts;

	clock_gettime(CLOCK_REALTIME, &ts);
	if (t)
		*t = ts.tv_sec;
	return ts.tv_sec;
}
