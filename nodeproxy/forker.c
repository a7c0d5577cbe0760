/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See forker.h. */
#include "nodeproxy/forker.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/prctl.h>
#include <sys/wait.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/role/enter.h"
#include "nodeproxy/master.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

#define HANGS_MS (1000 * ERRAND_S + 2000)

/* ---- in the forker ---- */

static void fork_one(struct chan *ch)
{
	struct msg_errand_done done = { .error = 0 };
	struct fd fd = fd_take(&ch->in.fd[0]);
	pid_t pid = fork();

	if (pid == 0) {
		chan_fini(ch);
		errand_run(fd);
	}
	if (pid < 0) {		/* in its place, so that the master knows why */
		struct chan errand;

		done.error = -errno;
		chan_init(&errand, &fd, ROLE_ERRAND, ROLE_MASTER);
		(void)chan_say(&errand, MSG_ERRAND_DONE, &done);
		chan_fini(&errand);
	}
	fd_close(&fd);
}

int forker_main(void)
{
	/* What ends a whole group of processes ends the master when it is done, and this with it.  Nobody
	 * waits for errands: the kernel buries them. */
	static const int signals[] = { SIGTERM, SIGINT, SIGHUP, SIGCHLD };
	struct fd fd = { CHAN_FD };
	struct chan ch;
	struct pollfd p = { .fd = CHAN_FD, .events = POLLIN };
	const struct msg *msg;
	sigset_t none;
	int r;

	prctl(PR_SET_NAME, FORKER_NAME);
	for (size_t i = 0; i < countof(signals); i++)
		signal(signals[i], SIG_IGN);
	sigemptyset(&none);
	sigprocmask(SIG_SETMASK, &none, NULL);
	fcntl(CHAN_FD, F_SETFD, FD_CLOEXEC);
	if (role_enter(ROLE_MASTER, 0, 0, NULL) < 0)
		return 1;
	chan_init(&ch, &fd, ROLE_ERRAND, ROLE_MASTER);
	for (;;) {
		while ((r = chan_recv(&ch, &msg)) == 1)
			if (msg->type == MSG_ERRAND_FORK)
				fork_one(&ch);
		if (r < 0 && r != -EAGAIN && r != -EMFILE)
			return 0;
		(void)poll(&p, 1, -1);
	}
}

/* ---- in the master ---- */

static void died(void *arg, unsigned events)
{
	struct master *m = arg;
	struct forker *f = &m->pods.forker;
	siginfo_t si = { 0 };

	(void)events;
	clock_tick();
	(void)waitid(P_PIDFD, (id_t)f->pidfd.v, &si, WEXITED);
	log_warn("forker_died", "pid=%d status=%d", (int)si.si_pid, si.si_status);
	loop_io_stop(&m->loop, &f->on_death);
	fd_close(&f->pidfd);
	chan_fini(&f->chan);
	f->runs = false;
	pods_settle(m);
}

/* Our own program: the file that runs, wherever it is by now. */
static _Noreturn void be_forker(int chan)
{
	char name[] = FORKER_ARGV0;
	char *argv[] = { name, NULL };

	if (dup2(chan, CHAN_FD) < 0 || fcntl(CHAN_FD, F_SETFD, 0) < 0)
		_exit(126);
	execve("/proc/self/exe", argv, environ);
	_exit(127);
}

static int start(struct master *m)
{
	struct forker *f = &m->pods.forker;
	struct fd pair[2];
	pid_t pid;
	int r = chan_pair(pair);

	if (r < 0)
		return r;
	pid = fork();
	if (pid == 0)
		be_forker(pair[1].v);
	r = pid < 0 ? -errno : 0;
	fd_close(&pair[1]);
	if (r == 0) {
		f->pidfd.v = pidfd_open(pid, 0);
		r = f->pidfd.v < 0 ? -errno : 0;
	}
	if (r < 0) {
		if (pid > 0) {
			kill(pid, SIGKILL);
			(void)waitpid(pid, NULL, 0);
		}
		fd_close(&pair[0]);
		return r;
	}
	chan_init(&f->chan, &pair[0], ROLE_MASTER, ROLE_ERRAND);
	loop_io_start(&m->loop, &f->on_death, f->pidfd.v, LOOP_READ, died, m);
	f->runs = true;
	f->since = clock_tick();
	return 0;
}

void forker_look(struct master *m, struct mono began)
{
	struct forker *f = &m->pods.forker;

	/* Its own, and older than an errand ever gets: what it has not read yet ends with it. */
	if (!f->runs || mono_diff_ms(began, f->since) < 0 || mono_diff_ms(clock_now(), began) < HANGS_MS)
		return;
	log_error("forker_hangs", "ms=%lld", (long long)mono_diff_ms(clock_now(), began));
	(void)pidfd_send_signal(f->pidfd.v, SIGKILL, NULL, 0);
}

int forker_fork(struct master *m, struct fd errand)
{
	struct forker *f = &m->pods.forker;
	struct msg_empty none = { 0 };
	int r = f->runs ? 0 : start(m);

	if (r == 0)
		r = chan_send(&f->chan, MSG_ERRAND_FORK, &none, (struct slice){ 0 }, &errand.v, 1);
	return r == -EPIPE ? -EAGAIN : r;
}
