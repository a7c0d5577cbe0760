/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See survey.h. */
#include "nodeproxy/survey.h"

#include <fcntl.h>
#include <limits.h>
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <unistd.h>

#include "nodeproxy/master.h"
#include "nodeproxy/notify.h"
#include "nodeproxy/programs.h"

#define EVERY_MS 900	/* every tick: some twenty short reads and one per child, under 0.2 ms */

/* Another file, or none, stands where this open one was found. */
static bool is_replaced(const char *self)
{
	char path[PATH_MAX];
	struct stat then, now;
	ssize_t n = readlink(self, path, sizeof path - 1);

	if (n < 0)
		return false;
	path[n] = 0;
	if (stat(self, &then) < 0)
		return false;
	return stat(path, &now) < 0 || now.st_ino != then.st_ino || now.st_dev != then.st_dev;
}

/* What a process costs.  From statm, which is three counters: smaps_rollup would tell shared memory
 * by halves and quarters, but walks all of it with a lock that a worker's page faults wait for.  Where
 * the unit hides processes (ProtectProc=) the group root, which is ours, still sees them. */
static struct usage usage_of(pid_t pid)
{
	struct usage u = USAGE_UNKNOWN;
	long long resident, shared;
	char path[64], text[128];
	ssize_t n;
	int fd;

	u.cpu_ns = clock_process_cpu_ns(pid);
	snprintf(path, sizeof path, "/proc/%d/statm", (int)pid);
	fd = open(path, O_RDONLY | O_CLOEXEC);
	if (fd < 0)
		return u;
	n = read(fd, text, sizeof text - 1);
	close(fd);
	text[max_of(n, (ssize_t)0)] = 0;
	if (sscanf(text, "%*d %lld %lld", &resident, &shared) == 2) {
		u.resident_bytes = resident * sysconf(_SC_PAGESIZE);
		u.private_bytes = (resident - shared) * sysconf(_SC_PAGESIZE);
	}
	return u;
}

static bool programs_differ(void)
{
	char self[64];
	bool differ = is_replaced("/proc/self/exe");

	for (enum role r = ROLE_WORKER; r <= ROLE_KEYD && !differ; r++) {
		snprintf(self, sizeof self, "/proc/self/fd/%d", program_of(r).v);
		differ = is_replaced(self);
	}
	return differ;
}

static int cpus_away(const struct master *m)
{
	cpu_set_t mask;		/* the kernel leaves those out that are offline */
	int away = 0;

	if (sched_getaffinity(0, sizeof mask, &mask) < 0)
		return -1;
	for (unsigned i = 0; i < m->n_workers; i++)
		away += m->cpu[i] >= 0 && !CPU_ISSET((unsigned)m->cpu[i], &mask);
	return away;
}

static int lent(const struct master *m)
{
	const struct listeners *ls = &m->listeners;
	int n = 0;

	for (unsigned g = 0; g < ls->groups; g++)
		n += ls->home[g] >= 0 && ls->holder[g] >= 0 && ls->home[g] != ls->holder[g];
	return n;
}

/* The inode of a bound socket cannot be asked for: what stands there first is taken for ours. */
static int admin_away(const struct master *m)
{
	static struct stat first;
	struct stat now;

	if (lstat(m->knobs.admin_socket, &now) < 0)
		return 1;
	if (first.st_ino == 0)
		first = now;
	return !S_ISSOCK(now.st_mode) || now.st_ino != first.st_ino || now.st_dev != first.st_dev;
}

static void state_room(const struct master *m, struct facts *f)
{
	struct statvfs v;

	if (!fd_is_open(m->files.state_dir) || fstatvfs(m->files.state_dir.v, &v) < 0)
		return;
	f->state_bytes = (int64_t)(v.f_blocks * v.f_frsize);
	f->state_free_bytes = (int64_t)(v.f_bavail * v.f_frsize);
	/* some file systems have no inodes to run out of */
	f->state_free_inodes = v.f_files ? (int64_t)v.f_favail : -1;
}

void survey(struct master *m)
{
	struct facts *f = &m->facts;

	if (f->at_unix_ms && mono_diff_ms(clock_now(), m->surveyed) < EVERY_MS)
		return;
	m->surveyed = clock_now();
	facts_gather(f);
	f->watchdog = getenv("NOTIFY_SOCKET") ? notify_watchdog_ms() != 0 : -1;
	f->programs_differ = programs_differ();
	f->cpus_away = cpus_away(m);
	f->lent = lent(m);
	f->admin_away = admin_away(m);
	state_room(m, f);
	for (unsigned i = 0; i < CHILDREN; i++)
		if (child_is_alive(&m->child[i]))
			m->child[i].usage = usage_of(m->child[i].pid);
	((struct procs *)m->procs.p)->master = usage_of(getpid());
	procs_write(m);
}
