/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* roles.def against the kernel: a child enters each role, /proc/PID/status is compared with the row,
 * and what the role may not do is tried.  Needs root; without it the tests say so and pass. */
#include "nodeproxy/lib/role/enter.h"

#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/ptrace.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "tests/unit/test.h"

static const enum role children[] = { ROLE_WORKER, ROLE_SYNCD, ROLE_ADMIND, ROLE_KEYD };

static bool not_root(void)
{
	if (geteuid() == 0)
		return false;
	fprintf(stderr, "skipped: entering a role needs root\n");
	return true;
}

/* Runs fn in a child that entered the role; the wait status. */
static int in_role(enum role role, int (*fn)(void *), void *arg)
{
	int st;
	pid_t pid = fork();

	ck_assert_int_ge(pid, 0);
	if (pid == 0) {
		const char *step = "";
		uint32_t uid = role_row(role)->uid;
		int r = role_enter(role, uid, uid, &step);

		if (r < 0) {
			fprintf(stderr, "role_enter %s: %s: %s\n", role_name(role), step,
				strerror(-r));
			_exit(99);
		}
		_exit(fn(arg));
	}
	ck_assert_int_eq(waitpid(pid, &st, 0), pid);
	return st;
}

static int tell_and_wait(void *arg)
{
	int *pipes = arg;
	char c;

	if (write(pipes[1], "x", 1) != 1)
		return 1;
	return read(pipes[2], &c, 1) < 0;
}

static void status_of(pid_t pid, const char *key, char out[128])
{
	char path[64], line[256];
	FILE *f;

	snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
	f = fopen(path, "r");
	ck_assert_ptr_nonnull(f);
	out[0] = 0;
	while (fgets(line, sizeof line, f)) {
		size_t n = strlen(key);

		if (strncmp(line, key, n) == 0 && line[n] == ':')
			snprintf(out, 128, "%s", line + n + 1 + strspn(line + n + 1, " \t"));
	}
	fclose(f);
	out[strcspn(out, "\n")] = 0;
}

static void compare_status(enum role role)
{
	const struct role_row *row = role_row(role);
	char got[128], want[128];
	int a[2], b[2], st;
	uint64_t have;
	pid_t pid;

	ck_assert_int_eq(pipe(a), 0);
	ck_assert_int_eq(pipe(b), 0);
	pid = fork();
	if (pid == 0) {
		int fds[3] = { a[0], a[1], b[0] };

		close(b[1]);	/* or the end never comes */
		if (role_enter(role, row->uid, row->uid, NULL) < 0)
			_exit(99);
		_exit(tell_and_wait(fds));
	}
	close(a[1]);
	ck_assert_int_eq(read(a[0], got, 1), 1);
	status_of(pid, "Uid", got);
	snprintf(want, sizeof want, "%u\t%u\t%u\t%u", row->uid, row->uid, row->uid, row->uid);
	ck_assert_str_eq(got, want);
	status_of(pid, "Gid", got);
	if (row->account) {
		ck_assert_str_eq(got, want);
		status_of(pid, "Groups", got);
		ck_assert_int_eq(atoi(got), 0);
	}
	status_of(getpid(), "CapPrm", got);	/* a container may have given us less */
	have = strtoull(got, NULL, 16);
	for (size_t i = 0; i < 3; i++) {
		static const char *const key[] = { "CapEff", "CapPrm", "CapBnd" };

		snprintf(want, sizeof want, "%016llx",
			 (unsigned long long)((row->caps | (i ? row->spare : 0)) & have));
		status_of(pid, key[i], got);
		ck_assert_msg(strcmp(got, want) == 0, "%s %s: %s, not %s", role_name(role), key[i],
			      got, want);
	}
	status_of(pid, "CapInh", got);
	ck_assert_str_eq(got, "0000000000000000");
	status_of(pid, "CapAmb", got);
	ck_assert_str_eq(got, "0000000000000000");
	status_of(pid, "NoNewPrivs", got);
	ck_assert_str_eq(got, "1");
	status_of(pid, "Seccomp", got);
	ck_assert_str_eq(got, "2");
	close(b[1]);
	ck_assert_int_eq(waitpid(pid, &st, 0), pid);
	ck_assert_int_eq(st, 0);
	close(a[0]);
	close(b[0]);
}

START_TEST(proc_status_says_what_roles_def_says)
{
	if (not_root())
		return;
	for (size_t i = 0; i < countof(children); i++)
		compare_status(children[i]);
	compare_status(ROLE_MASTER);
}
END_TEST

static int raises(void *arg)
{
	char eff[128], prm[128];

	if (role_raise(*(enum role *)arg) < 0)
		return 1;
	status_of(getpid(), "CapEff", eff);
	status_of(getpid(), "CapPrm", prm);
	return strcmp(eff, prm) == 0 ? 0 : 2;
}

START_TEST(what_is_spare_comes_into_effect_when_it_is_raised_and_not_before)
{
	enum role master = ROLE_MASTER;

	if (not_root())
		return;
	ck_assert(role_row(ROLE_MASTER)->spare && !(role_row(ROLE_MASTER)->spare & role_row(ROLE_MASTER)->caps));
	for (size_t i = 0; i < countof(children); i++)
		ck_assert_uint_eq(role_row(children[i])->spare, 0);
	ck_assert_int_eq(in_role(ROLE_MASTER, raises, &master), 0);
}
END_TEST

static int forbidden(void *arg)
{
	static char *const none[] = { NULL };

	switch (*(int *)arg) {
	case 0:
		execve("/bin/true", none, none);
		break;
	case 1:
		ptrace(PTRACE_TRACEME, 0, NULL, NULL);
		break;
	case 2:
		syscall(SYS_mount, "none", "/mnt", "tmpfs", 0, NULL);
		break;
	case 3:
		(void)socket(AF_INET, SOCK_RAW | SOCK_CLOEXEC, IPPROTO_ICMP);
		break;
	case 4:
		(void)socket(AF_PACKET, SOCK_DGRAM, 0);
		break;
	}
	return 0;
}

START_TEST(exec_ptrace_mount_and_raw_sockets_kill)
{
	if (not_root())
		return;
	for (int i = 0; i < 15; i++) {
		enum role role = children[i / 5];
		int what = i % 5;
		int st = in_role(role, forbidden, &what);

		ck_assert_msg(WIFSIGNALED(st) && WTERMSIG(st) == SIGSYS, "%s lives after %d: %x",
			      role_name(role), what, st);
	}
}
END_TEST

static int unknown_call(void *arg)
{
	(void)arg;
	errno = 0;
	if (syscall(SYS_acct, NULL) != -1 || errno != EPERM)
		return 1;
	if (role_unknown_count != 1 || role_unknown_last != SYS_acct)
		return 2;
	if (syscall(SYS_setns, 0, 0) != -1 || errno != EPERM || role_unknown_count != 2)
		return 3;
	return 0;
}

START_TEST(unknown_calls_are_refused_and_counted)
{
	if (not_root())
		return;
	for (size_t i = 0; i < countof(children); i++)
		ck_assert_int_eq(in_role(children[i], unknown_call, NULL), 0);
}
END_TEST

static int worker_sockets(void *arg)
{
	int s;

	(void)arg;
	s = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	if (s < 0)
		return 1;
	close(s);
	s = socket(AF_INET6, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, IPPROTO_TCP);
	if (s < 0 && errno != EAFNOSUPPORT)
		return 2;
	if (s >= 0)
		close(s);
	if (socket(AF_INET, SOCK_DGRAM, 0) >= 0 || errno != EPERM)
		return 3;
	if (socket(AF_UNIX, SOCK_STREAM, 0) >= 0 || errno != EPERM)
		return 4;
	if (socket(AF_INET, SOCK_STREAM, 132) >= 0 || errno != EPERM)	/* SCTP */
		return 5;
	return 0;
}

START_TEST(worker_and_syncd_open_only_tcp_sockets)
{
	if (not_root())
		return;
	ck_assert_int_eq(in_role(ROLE_WORKER, worker_sockets, NULL), 0);
	ck_assert_int_eq(in_role(ROLE_SYNCD, worker_sockets, NULL), 0);
}
END_TEST

/* What belongs to a socket or open file that siblings, master and keeper share. */
static int shared_flags(void *arg)
{
	enum role role = *(enum role *)arg;
	struct linger linger = { 1, 1000 };
	struct sockaddr none = { .sa_family = AF_UNSPEC };
	int pair[2] = { STDIN_FILENO, STDOUT_FILENO }, one = 1, s = pair[0];

	if (role == ROLE_WORKER || role == ROLE_SYNCD)
		s = socket(AF_INET, SOCK_STREAM, 0);
	if (s < 0)
		return 1;
#define REFUSED(call) (errno = 0, (call) == -1 && errno == EPERM)
	if (!REFUSED(fcntl(s, F_SETFL, 0)) || !REFUSED(fcntl(s, F_SETOWN, getpid())) ||
	    !REFUSED(fcntl(s, F_SETSIG, SIGKILL)))
		return 2;
	/* the kernel takes an int: bits above it must not hide the command */
	if (!REFUSED(syscall(SYS_fcntl, s, 0x100000000 | F_SETFL, 0)))
		return 3;
	if (!REFUSED(setsockopt(s, SOL_SOCKET, SO_LINGER, &linger, sizeof linger)) ||
	    !REFUSED(setsockopt(s, SOL_SOCKET, SO_ATTACH_FILTER, &one, sizeof one)) ||
	    !REFUSED(setsockopt(s, SOL_SOCKET, SO_ATTACH_REUSEPORT_CBPF, &one, sizeof one)) ||
	    !REFUSED(syscall(SYS_setsockopt, s, 0x100000000 | SOL_SOCKET, SO_LINGER, &linger,
			     sizeof linger)))
		return 4;
	if (!REFUSED(shutdown(s, SHUT_RDWR)) || !REFUSED(shutdown(s, SHUT_RD)))
		return 5;
	if (!REFUSED(syscall(SYS_tgkill, getppid(), getppid(), 0)))
		return 6;
	if (syscall(SYS_tgkill, getpid(), syscall(SYS_gettid), 0) < 0)
		return 7;
	if (fcntl(s, F_GETFD) < 0)
		return 8;
	if ((role == ROLE_WORKER || role == ROLE_SYNCD) &&
	    (setsockopt(s, IPPROTO_TCP, TCP_NODELAY, &one, sizeof one) < 0 ||
	     connect(s, &none, sizeof none) < 0))
		return 9;
#undef REFUSED
	return 0;
}

START_TEST(children_change_nothing_that_siblings_share)
{
	if (not_root())
		return;
	for (size_t i = 0; i < countof(children); i++) {
		enum role role = children[i];

		ck_assert_int_eq(in_role(role, shared_flags, &role), 0);
	}
}
END_TEST

static int no_files(void *arg)
{
	(void)arg;
	if (open("/etc/hostname", O_RDONLY) >= 0 || open("/dev/null", O_RDWR) >= 0)
		return 1;
	if (mmap(NULL, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1,
		 0) != MAP_FAILED)
		return 2;
	if (kill(1, 0) == 0)
		return 3;
	return 0;
}

START_TEST(worker_and_admind_open_no_file_and_map_no_code)
{
	if (not_root())
		return;
#ifdef NP_SANITIZED
	fprintf(stderr, "skipped: sanitizers open files of their own\n");
	(void)no_files;
#else
	ck_assert_int_eq(in_role(ROLE_WORKER, no_files, NULL), 0);
	ck_assert_int_eq(in_role(ROLE_ADMIND, no_files, NULL), 0);
#endif
}
END_TEST

static int syncd_files(void *arg)
{
	const char *dir = arg;
	int d = openat(AT_FDCWD, dir, O_RDONLY | O_DIRECTORY | O_CLOEXEC), f;

	if (d < 0)
		return 1;
	if (role_landlock(&d, 1) < 0)
		return 2;
	f = openat(d, "store.db", O_RDWR | O_CREAT | O_CLOEXEC, 0600);
	if (f < 0)
		return 3;
	close(f);
	if (renameat(d, "store.db", d, "b") < 0 || unlinkat(d, "b", 0) < 0)
		return 4;
	if (role_landlock_version() && open("/etc/passwd", O_RDONLY | O_CLOEXEC) >= 0)
		return 5;
	if (role_landlock_version() && openat(d, "../", O_RDONLY | O_CLOEXEC) >= 0)
		return 6;
	/* To its registry over TCP, and no other way. */
	if (socket(AF_INET, SOCK_STREAM, 0) < 0)
		return 7;
	if (socket(AF_INET, SOCK_DGRAM, 0) >= 0 || socket(AF_UNIX, SOCK_STREAM, 0) >= 0)
		return 8;
	return 0;
}

START_TEST(syncd_writes_its_directory_and_opens_nothing_else)
{
	char dir[] = "/tmp/np-enter-XXXXXX";
	uint32_t uid = role_row(ROLE_SYNCD)->uid;

	if (not_root())
		return;
	ck_assert_ptr_nonnull(mkdtemp(dir));
	ck_assert_int_eq(chown(dir, uid, uid), 0);
	ck_assert_int_eq(in_role(ROLE_SYNCD, syncd_files, dir), 0);
	ck_assert_int_eq(rmdir(dir), 0);
}
END_TEST

static int core_limit(void *arg)
{
	struct rlimit l;

	(void)arg;
	return getrlimit(RLIMIT_CORE, &l) < 0 || l.rlim_cur != 0 || l.rlim_max != 0;
}

START_TEST(no_child_writes_a_core_file)
{
	if (not_root())
		return;
	for (size_t i = 0; i < countof(children); i++)
		ck_assert_int_eq(in_role(children[i], core_limit, NULL), 0);
}
END_TEST

START_TEST(unknown_roles_have_no_row)
{
	ck_assert_ptr_null(role_row(ROLE_NONE));
	ck_assert_ptr_null(role_row(ROLES));
	ck_assert_int_eq(role_enter(ROLE_NONE, 0, 0, NULL), -EINVAL);
}
END_TEST

UNIT_TESTS("role/enter", proc_status_says_what_roles_def_says,
	   what_is_spare_comes_into_effect_when_it_is_raised_and_not_before,
	   exec_ptrace_mount_and_raw_sockets_kill, unknown_calls_are_refused_and_counted,
	   worker_and_syncd_open_only_tcp_sockets, worker_and_admind_open_no_file_and_map_no_code,
	   syncd_writes_its_directory_and_opens_nothing_else, no_child_writes_a_core_file,
	   children_change_nothing_that_siblings_share, unknown_roles_have_no_row)
