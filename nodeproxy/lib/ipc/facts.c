/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See facts.h. */
#include "nodeproxy/lib/ipc/facts.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <linux/landlock.h>
#include <linux/seccomp.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/resource.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <sys/timex.h>
#include <sys/utsname.h>
#include <unistd.h>

#include "nodeproxy/lib/base/clock.h"

/* What roles.def keeps in the master. */
static const struct { int bit; const char *name; } caps[] = {
#define C(name) { CAP_##name, #name }
	C(CHOWN), C(DAC_OVERRIDE), C(FOWNER), C(KILL), C(SETGID), C(SETUID), C(SETPCAP),
	C(NET_BIND_SERVICE), C(SYS_NICE),
#undef C
};

void facts_caps_text(uint64_t missing, char *ret, uint32_t n)
{
	uint32_t at = 0;

	ret[0] = 0;
	for (size_t i = 0; i < countof(caps); i++)
		if (missing & 1ull << caps[i].bit && at < n) {
			int k = snprintf(ret + at, n - at, "%sCAP_%s", at ? ", " : "", caps[i].name);

			at += (uint32_t)max_of(k, 0);
		}
}

/* The k-th number of a file of /proc/sys; -1: it cannot be read. */
static int64_t number(const char *path, int k)
{
	char text[128], *at = text, *end;
	int f = open(path, O_RDONLY | O_CLOEXEC);
	ssize_t n = f < 0 ? -1 : read(f, text, sizeof text - 1);
	long long v = -1;

	if (f >= 0)
		close(f);
	if (n <= 0)
		return -1;
	text[n] = 0;
	for (int i = 0; i <= k; i++) {
		v = strtoll(at, &end, 10);
		if (end == at)
			return -1;
		at = end;
	}
	return v;
}

static bool has_close_range(void)
{
	/* nothing has this number */
	return syscall(SYS_close_range, ~0u - 1, ~0u - 1, 0) == 0 || errno != ENOSYS;
}

static bool has_seals(void)
{
	int f = memfd_create("probe", MFD_CLOEXEC | MFD_ALLOW_SEALING);
	bool yes = f >= 0 && fcntl(f, F_ADD_SEALS, F_SEAL_WRITE) == 0;

	if (f >= 0)
		close(f);
	return yes;
}

static bool has_pidfd(void)
{
	int f = (int)syscall(SYS_pidfd_open, getpid(), 0);

	if (f >= 0)
		close(f);
	return f >= 0;
}

static bool has_reuseport(void)
{
	int s = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0), one = 1;
	bool yes = s >= 0 && setsockopt(s, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) == 0;

	if (s >= 0)
		close(s);
	return yes;
}

static void features(struct facts *f)
{
	uint32_t trap = SECCOMP_RET_TRAP;
	long landlock = syscall(SYS_landlock_create_ruleset, NULL, 0, LANDLOCK_CREATE_RULESET_VERSION);

	f->pidfd = has_pidfd();
	f->memfd_seals = has_seals();
	f->close_range = has_close_range();
	f->reuseport = has_reuseport();
	f->seccomp = syscall(SYS_seccomp, SECCOMP_GET_ACTION_AVAIL, 0, &trap) == 0;
	f->landlock = landlock > 0 ? (int32_t)landlock : 0;
	f->cgroup = access("/sys/fs/cgroup/cgroup.controllers", F_OK) == 0 ? 2
		    : access("/sys/fs/cgroup", F_OK) == 0		   ? 1
									   : 0;
}

static void sysctls(struct facts *f)
{
	f->somaxconn = (int32_t)number("/proc/sys/net/core/somaxconn", 0);
	f->tcp_tw_reuse = (int32_t)number("/proc/sys/net/ipv4/tcp_tw_reuse", 0);
	f->tcp_syncookies = (int32_t)number("/proc/sys/net/ipv4/tcp_syncookies", 0);
	f->port_low = (int32_t)number("/proc/sys/net/ipv4/ip_local_port_range", 0);
	f->port_high = (int32_t)number("/proc/sys/net/ipv4/ip_local_port_range", 1);
	f->file_max = number("/proc/sys/fs/file-max", 0);
	f->files_used = number("/proc/sys/fs/file-nr", 0);
	f->nr_open = number("/proc/sys/fs/nr_open", 0);
}

static void ourselves(struct facts *f)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2] = { 0 };
	struct rlimit l;
	uint64_t have;

	f->nofile = f->nofile_hard = -1;
	if (getrlimit(RLIMIT_NOFILE, &l) == 0) {
		f->nofile = l.rlim_cur == RLIM_INFINITY ? INT64_MAX : (int64_t)l.rlim_cur;
		f->nofile_hard = l.rlim_max == RLIM_INFINITY ? INT64_MAX : (int64_t)l.rlim_max;
	}
	if (syscall(SYS_capget, &h, d) < 0)
		return;
	have = d[0].permitted | (uint64_t)d[1].permitted << 32;
	for (size_t i = 0; i < countof(caps); i++)
		if (!(have & 1ull << caps[i].bit))
			f->caps_missing |= 1ull << caps[i].bit;
}

void facts_gather(struct facts *f)
{
	struct timex t = { .modes = 0 };
	struct utsname u;
	int state;

	memset(f, 0, sizeof *f);
	f->watchdog = f->programs_differ = f->cpus_away = f->lent = f->admin_away = -1;
	f->state_free_bytes = f->state_free_inodes = f->state_bytes = -1;
	if (uname(&u) == 0)
		snprintf(f->kernel, sizeof f->kernel, "%.63s", u.release);
	features(f);
	sysctls(f);
	ourselves(f);
	state = adjtimex(&t);
	f->clock = state < 0 ? CLOCK_UNKNOWN
		   : state == TIME_ERROR || (t.status & STA_UNSYNC) ? CLOCK_UNSYNCED
								    : CLOCK_SYNCED;
	f->at_unix_ms = (uint64_t)clock_unix_ms();
}
