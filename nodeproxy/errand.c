/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See errand.h. */
#include "nodeproxy/errand.h"

#include <errno.h>
#include <limits.h>
#include <signal.h>
#include <sys/pidfd.h>
#include <sys/syscall.h>
#include <sys/wait.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/master.h"
#include "nodeproxy/origin.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

/* All that the master has open is not the errand's: a copy would keep it open. */
static void close_others(int channel, const struct errand_job *job)
{
	int keep[] = { channel, job->inside.v, job->rules.v };
	int from = 3;

	for (;;) {
		int next = INT_MAX;

		for (unsigned i = 0; i < countof(keep); i++)
			if (keep[i] >= from)
				next = min_of(next, keep[i]);
		if (next > from)
			(void)syscall(SYS_close_range, from, next == INT_MAX ? ~0u : (unsigned)next - 1, 0);
		if (next == INT_MAX)
			return;
		from = next + 1;
	}
}

static void said(struct errand *e, const struct msg *msg)
{
	struct fd *fd = e->chan.in.fd;

	switch (msg->type) {
	case MSG_POD_ENTERED:
		e->answered = true;
		pods_entered(e->m, e->job.ref, msg->p, msg->tail, fd, msg->nfds);
		break;
	case MSG_BANK_OPENED:
		pods_bank(e->m, e, msg->p, fd, msg->nfds);
		break;
	case MSG_POD_VISITED:
		proof_visited(e->m, msg->p);
		break;
	case MSG_POD_LEFT:
		pods_left(e->m, ((const struct msg_pod *)msg->p)->ref);
		break;
	default:
		break;
	}
}

static void hear(void *arg)
{
	struct errand *e = arg;
	const struct msg *msg;
	int r;

	clock_tick();
	while ((r = chan_recv(&e->chan, &msg)) == 1)
		said(e, msg);
	if (r == -EMFILE)
		log_limited(LOG_WARN, "descriptors_lost", "errand=%d", (int)e->pid);
	if (r < 0 && r != -EAGAIN)
		chan_unwatch(&e->chan);		/* its death follows */
}

static void died(void *arg, unsigned events)
{
	struct errand *e = arg;
	siginfo_t si = { 0 };
	int error;

	(void)events;
	hear(e);
	(void)waitid(P_PIDFD, (id_t)e->pidfd.v, &si, WEXITED);
	loop_io_stop(&e->m->loop, &e->on_death);
	fd_close(&e->pidfd);
	chan_fini(&e->chan);
	error = si.si_code == CLD_EXITED && si.si_status == 0 ? 0 : -EIO;
	if (error)
		log_limited(LOG_WARN, "errand_failed", "pid=%d status=%d", (int)e->pid, si.si_status);
	e->pid = 0;
	if (e->job.kind == ERRAND_ENTER && !e->answered) {
		struct msg_pod_entered none = { .error = -ETIMEDOUT };

		pods_entered(e->m, e->job.ref, &none,
			     SLICE("what should have entered its network namespace did not end well"),
			     NULL, 0);
	}
	if (e->job.kind == ERRAND_CHANGE)
		away_changed(e->m, e->job.ref, e->job.how.stays, error);
	if (e->job.kind == ERRAND_FREE)
		pods_freed(e->m, e->job.ref, error);
	if (e->job.kind == ERRAND_ORIGIN)
		origin_done(e->m, e->job.ref, error);
	if (e->job.kind == ERRAND_SWEEP)
		origins_are_swept(e->m);
	pods_settle(e->m);
}

int errand_start(struct master *m, const struct errand_job *job, const struct child *whom)
{
	struct errand *e = NULL;
	struct fd pair[2];
	pid_t pid;
	int r;

	for (unsigned i = 0; i < ERRANDS && !e; i++)
		if (m->pods.errand[i].pid == 0)
			e = &m->pods.errand[i];
	if (!e)
		return -EAGAIN;
	r = chan_pair(pair);
	if (r < 0)
		return r;
	pid = fork();
	if (pid == 0) {
		close_others(pair[1].v, job);
		errand_run(m, job, pair[1]);
	}
	r = pid < 0 ? -errno : 0;
	fd_close(&pair[1]);
	*e = (struct errand){ .m = m, .job = *job, .pidfd = FD_NONE };
	if (r == 0) {
		e->pidfd.v = pidfd_open(pid, 0);
		r = e->pidfd.v < 0 ? -errno : 0;
	}
	if (r < 0) {
		if (pid > 0) {
			kill(pid, SIGKILL);
			(void)waitpid(pid, NULL, 0);
		}
		fd_close(&pair[0]);
		return r;
	}
	e->pid = pid;
	e->job.inside = e->job.rules = FD_NONE;	/* it has its own */
	if (whom) {
		e->worker = whom->id;
		e->generation = whom->generation;
	}
	chan_init(&e->chan, &pair[0], ROLE_MASTER, ROLE_ERRAND);
	chan_watch(&e->chan, &m->loop, hear, e);
	loop_io_start(&m->loop, &e->on_death, e->pidfd.v, LOOP_READ, died, e);
	return 0;
}
