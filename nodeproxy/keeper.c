/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* main(), and the keeper: the process that is never replaced.
 *
 * It forks the master, is subreaper for everything below it (and PID 1 in a container), and holds a
 * copy of every descriptor in a named table: listeners, the master's ends of the channels, shared
 * memory, pidfds, the newest view.  When the master dies it starts another, which gets the table and
 * goes on with the same workers.  It parses nothing, looks into no descriptor, opens no file.
 *
 * A child's channel end dies with the last copy of the other end.  The keeper has one, so the
 * death of a master is invisible to the children; and a child that does see the end is known to
 * nobody any more and leaves by itself.  That is why there are no orphans: not after a master's
 * death in the middle of a fork (it puts the channel here before it forks), and not after the
 * keeper's own: then the master ends everything, because half an instance that nobody restarts,
 * holding the ports a new one needs, is worse than none.
 *
 *   phase     master    what ends it
 *   running   alive     its death: another one, at once, later slower when it keeps dying
 *   waiting   none      the back-off timer
 *   stopping  leaving   GOODBYE and its death, or 5 s after that everything that is left is killed */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "nodeproxy/kept.h"
#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/panic.h"
#include "nodeproxy/lib/role/enter.h"
#include "nodeproxy/master.h"

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 1000	/* without a master nobody lends a dead worker's listeners */
#define PATIENCE       5	/* deaths in a row that are answered at once */
#define LIVED_MS       10000	/* a master that lived this long did not die of its start */
#define LAST_MS	       5000	/* from the master's goodbye to the end of everything */

static struct {
	struct kept_entry *entry;
	unsigned n;
	unsigned told;		/* entries that the new master has */
	bool told_all;
	struct chan chan;
	struct fd exe;
	pid_t master;
	struct mono born, start_at, kill_at;
	unsigned fails;
	bool was_ready, adopted, stopping, said_goodbye;
	int exit_code;
	char **argv;
} k;

/* ---- the table ---- */

static void table_drop(unsigned i)
{
	fd_close(&k.entry[i].fd);
	k.entry[i] = k.entry[--k.n];
}

static void table_put(const struct msg_keep *m, struct fd *fd)
{
	struct kept_entry *e = NULL;

	for (unsigned i = 0; i < k.n && !e; i++)
		if (strcmp(k.entry[i].name, m->name) == 0)
			e = &k.entry[i];
	if (!e) {
		e = k.n < KEPT_MOST ? reallocarray(k.entry, k.n + 1, sizeof *e) : NULL;
		if (!e) {
			log_limited(LOG_ERROR, "table_full", "name=%s entries=%u", m->name, k.n);
			return;
		}
		k.entry = e;
		e = &k.entry[k.n++];
		e->fd = FD_NONE;
		memcpy(e->name, m->name, sizeof e->name);
	}
	fd_close(&e->fd);
	e->fd = fd_take(fd);
	e->number = m->number;
}

static void table_message(const struct msg_keep *m, struct fd *fd)
{
	if (!msg_text(m->name, sizeof m->name))
		return;
	if (fd_is_open(*fd)) {
		table_put(m, fd);
		return;
	}
	for (unsigned i = 0; i < k.n; i++)
		if (strcmp(k.entry[i].name, m->name) == 0) {
			table_drop(i);
			return;
		}
}

/* ---- the master ---- */

static void start_master(void)
{
	struct fd pair[2];
	pid_t pid;

	if (chan_pair(pair) < 0) {
		k.start_at = mono_after_ms(clock_tick(), BACKOFF_MAX_MS);
		return;
	}
	pid = fork();
	if (pid == 0) {
		k.argv[0] = (char *)(uintptr_t)MASTER_ARGV0;
		if (dup2(pair[1].v, CHAN_FD) < 0 || fcntl(CHAN_FD, F_SETFD, 0) < 0)
			_exit(126);
		fexecve(k.exe.v, k.argv, environ);
		_exit(127);
	}
	fd_close(&pair[1]);
	if (pid < 0) {
		fd_close(&pair[0]);
		k.start_at = mono_after_ms(clock_tick(), BACKOFF_MAX_MS);
		return;
	}
	k.master = pid;
	k.born = clock_tick();
	k.told = 0;
	k.told_all = false;
	chan_init(&k.chan, &pair[0], ROLE_KEEPER, ROLE_MASTER);
	if (k.stopping)
		kill(pid, SIGTERM);	/* blocked until it can take it */
}

/* The table as far as the channel takes it without waiting: a host with many listeners has more
 * entries than a socket buffer has room. */
static void tell_table(void)
{
	while (k.master && !k.told_all && k.chan.queued == 0) {
		struct msg_kept_end end = { .count = k.n, .adopted = k.adopted };
		struct msg_keep m = { .number = 0 };
		int r;

		if (k.told >= k.n) {
			r = chan_say(&k.chan, MSG_KEPT_END, &end);
		} else {
			memcpy(m.name, k.entry[k.told].name, sizeof m.name);
			m.number = k.entry[k.told].number;
			r = chan_send(&k.chan, MSG_KEPT, &m, (struct slice){ 0 },
				      &k.entry[k.told].fd.v, 1);
		}
		if (r < 0)
			return;
		k.told_all = k.told++ >= k.n;
	}
}

/* Messages that wait, also those of a dead master: what it sent counts. */
static void hear_master(void)
{
	const struct msg *m;
	int r;

	while ((r = chan_recv(&k.chan, &m)) != 0) {
		if (r == -EMFILE || r == -EAGAIN)
			continue;
		if (r == -EPROTO)
			kill(k.master, SIGKILL);
		if (r < 0)
			return;
		if (m->type == MSG_KEEP) {
			table_message(m->p, &k.chan.in.fd[0]);
		} else if (m->type == MSG_MASTER_READY) {
			k.was_ready = k.adopted = true;
		} else if (m->type == MSG_GOODBYE) {
			k.said_goodbye = k.stopping = true;
			k.exit_code = ((const struct msg_goodbye *)m->p)->exit_code;
		}
	}
}

static void master_died(int status)
{
	int64_t lived = mono_diff_ms(clock_tick(), k.born), wait = 0;

	hear_master();
	chan_fini(&k.chan);
	k.master = 0;
	if (!k.was_ready && !k.stopping) {
		/* the first one could not even start: it said why */
		k.stopping = k.said_goodbye = true;
		k.exit_code = WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1;
	}
	if (k.said_goodbye) {
		k.kill_at = mono_after_ms(clock_now(), LAST_MS);
		/* whoever still waits on a channel sees its end now */
		for (unsigned i = k.n; i-- > 0;)
			if (strncmp(k.entry[i].name, "pid/", 4) != 0)
				table_drop(i);
		return;
	}
	k.fails = lived < LIVED_MS ? k.fails + 1 : 1;
	if (k.fails > PATIENCE)
		wait = min_of(BACKOFF_MIN_MS << min_of(k.fails - PATIENCE - 1, 10u), BACKOFF_MAX_MS);
	k.start_at = mono_after_ms(clock_now(), wait);
	log_error("master_died", "status=%d lived_ms=%lld next_in_ms=%lld", status,
		  (long long)lived, (long long)wait);
}

/* ---- the loop ---- */

static void hear_signals(int sfd)
{
	struct signalfd_siginfo si;

	while (read(sfd, &si, sizeof si) == sizeof si) {
		if (si.ssi_signo == SIGCHLD)
			continue;
		if (si.ssi_signo != SIGHUP)
			k.stopping = true;
		if (k.master)
			kill(k.master, (int)si.ssi_signo);
	}
}

/* True when no child is left. */
static bool reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0)
		if (pid == k.master)
			master_died(status);
	return pid < 0 && errno == ECHILD;
}

static int next_ms(void)
{
	int64_t ms;

	if (k.said_goodbye)
		return 50;
	if (k.master)
		return -1;
	ms = mono_diff_ms(k.start_at, clock_tick()) + 1;
	return (int)max_of(ms, 0);
}

static int keeper_run(void)
{
	sigset_t set;
	int sfd;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);	/* the master starts with them blocked, too */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);	/* a log file at its limit is an error, not the end */
	sfd = signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
	if (sfd < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) {
		log_error("cannot_keep", "error=\"%s\"", strerror(errno));
		return 1;
	}
	for (;;) {
		struct pollfd p[2] = { { .fd = sfd, .events = POLLIN },
				       { .fd = -1, .events = POLLIN } };
		bool alone;

		if (!k.master && !k.said_goodbye && mono_diff_ms(k.start_at, clock_tick()) <= 0)
			start_master();
		tell_table();
		if (k.master) {
			p[1].fd = k.chan.fd.v;
			if (!k.told_all || k.chan.queued)
				p[1].events |= POLLOUT;
		}
		(void)poll(p, 2, next_ms());
		if (k.master && (p[1].revents & (POLLIN | POLLHUP)))
			hear_master();
		hear_signals(sfd);
		alone = reap();
		if (!k.said_goodbye || k.master)
			continue;
		if (alone)
			return k.exit_code;
		if (mono_diff_ms(k.kill_at, clock_tick()) <= 0)
			for (unsigned i = 0; i < k.n; i++)
				(void)pidfd_send_signal(k.entry[i].fd.v, SIGKILL, NULL, 0);
	}
}

#ifdef NP_SANITIZED
/* A leak check at exit needs ptrace, which the filter answers with death. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return 1;
}
#endif

static int usage(FILE *f, int code)
{
	fprintf(f, "usage: nodeproxy [-c FILE] [-t] [-V]\n"
		   "  -c FILE  bootstrap file (default: /etc/nodeproxy/nodeproxy.yaml)\n"
		   "  -t       check the file and exit\n"
		   "  -V       print the version and exit\n");
	return code;
}

int main(int argc, char **argv)
{
	const char *file = "/etc/nodeproxy/nodeproxy.yaml", *step = "";
	static char *master_argv[4];
	bool test = false;
	int o, r;

	if (argc > 1 && strcmp(argv[0], MASTER_ARGV0) == 0)
		return master_main(argv[1]);
	while ((o = getopt(argc, argv, "c:tVh")) != -1) {
		switch (o) {
		case 'c':
			file = optarg;
			break;
		case 't':
			test = true;
			break;
		case 'V':
			printf("nodeproxy %s\n", PACKAGE_VERSION);
			return 0;
		case 'h':
			return usage(stdout, 0);
		default:
			return usage(stderr, 2);
		}
	}
	if (optind != argc)
		return usage(stderr, 2);
	if (test)
		return master_test(file);
	if (geteuid() != 0) {
		fprintf(stderr, "nodeproxy: must be started by root; it drops it everywhere but in "
				"keeper and master\n");
		return 1;
	}
	for (o = open("/dev/null", O_RDWR | O_CLOEXEC); o >= 0 && o <= 2; o = dup(o))
		fcntl(o, F_SETFD, 0);	/* 0, 1 and 2 are never anything else */
	close(o);
	log_init("keeper", NULL);
	panic_init(NULL, "keeper");
	o = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	k.exe.v = o < 0 ? -1 : fcntl(o, F_DUPFD_CLOEXEC, 10);	/* out of the channel's way */
	if (o >= 0)
		close(o);
	if (k.exe.v < 0) {
		fprintf(stderr, "nodeproxy: /proc/self/exe: %s (is /proc mounted?)\n", strerror(errno));
		return 1;
	}
	r = role_enter(ROLE_KEEPER, 0, 0, &step);
	if (r < 0) {
		fprintf(stderr, "nodeproxy: cannot become the keeper: %s: %s\n", step, strerror(-r));
		return 1;
	}
	master_argv[1] = (char *)(uintptr_t)file;
	k.argv = master_argv;
	return keeper_run();
}
