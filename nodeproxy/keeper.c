/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See keeper.h. */
#include "nodeproxy/keeper.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <poll.h>
#include <signal.h>
#include <stdio.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/wait.h>

#include "nodeproxy/era.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/master.h"

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 1000	/* without a master nobody lends a dead worker's listeners */
#define PATIENCE       5	/* deaths in a row that are answered at once */
#define LIVED_MS       10000	/* a master that lived this long did not die of its start */
#define LAST_MS	       5000	/* from the master's goodbye to the end of everything */
#define ERAS	       6	/* one leads, one is tried, four drain */

const uint8_t keeper_next[KEEPER_STATES][KEEPER_EVENTS] = {
#define STATE(name, ...) [name] = { __VA_ARGS__ },
	KEEPER_TABLE(STATE)
#undef STATE
};

static struct {
	enum keeper_state state;
	struct table table;
	struct era era[ERAS];
	struct era *leads, *tried;
	uint32_t eras;			/* so far */
	struct msg_old_ones old;	/* as the one that leads was told */
	struct msg_kept_end about;	/* the instance: what each master is told */
	struct mono start_at, kill_at;
	unsigned fails;
	int exit_code;
	char *argv[4];
} k = { .state = STARTING };

static void event(enum keeper_event ev)
{
	enum keeper_state now = keeper_next[k.state][ev];

	if (never(now == ___))
		return;		/* a keeper that goes on in a wrong state is better than none */
	k.state = now;
}

/* ---- the master that leads ---- */

static void start_lead(void)
{
	struct era *e = k.leads;

	if (era_fork(e, k.argv) < 0)
		k.start_at = mono_after_ms(clock_tick(), BACKOFF_MAX_MS);
	else if (k.state == STOPPING)
		kill(e->pid, SIGTERM);	/* blocked until it can take it */
}

/* The one that leads may show who still drains. */
static void tell_old(void)
{
	struct msg_old_ones old = { 0 };

	if (!k.leads->pid || !k.leads->told_all)
		return;
	for (unsigned i = 0; i < ERAS; i++)
		if (k.era[i].state == ERA_RETIRES) {
			old.masters++;
			old.workers += table_count(&k.table, k.era[i].id, "pid/worker/");
		}
	if ((old.masters != k.old.masters || old.workers != k.old.workers) &&
	    chan_say(&k.leads->chan, MSG_OLD_ONES, &old) == 0)
		k.old = old;
}

/* ---- an upgrade ---- */

static void launch_failed(struct era *e, const char *why)
{
	struct msg_empty none = { 0 };

	log_info("trial_over", "why=\"%s\"", why);
	if (e->pid)
		chan_offer(&e->chan, MSG_LAUNCH_FAILED, &none,
			   slice_of(why, min_of(strlen(why), (size_t)255)), NULL, 0);
}

static void launch(struct era *by, const struct msg_launch *m, struct fd *program)
{
	struct era *e = NULL;
	int r;

	for (unsigned i = 0; i < ERAS && !e; i++)
		if (k.era[i].state == ERA_NONE)
			e = &k.era[i];
	if (!e || k.state != RUNNING || by != k.leads || !by->pid) {
		launch_failed(by, !e ? "too many old processes still drain" : "not now");
		return;
	}
	*e = (struct era){ .state = ERA_TRIED, .id = ++k.eras, .birth = BIRTH_TRIAL, .launch = *m };
	e->exe.v = fcntl(program->v, F_DUPFD_CLOEXEC, 10);	/* out of the channel's way */
	r = e->exe.v < 0 ? -errno : era_fork(e, k.argv);
	if (r < 0) {
		launch_failed(by, strerror(-r));
		era_over(e, &k.table);
		return;
	}
	e->until = mono_after_ms(e->born, m->ready_ms);
	by->launch = *m;
	k.tried = e;
	event(EV_LAUNCH);
	log_info("upgrade_tried", "pid=%d ready_ms=%u", (int)e->pid, m->ready_ms);
}

static void take_over(const struct msg_build *build)
{
	struct era *old = k.leads, *e = k.tried;
	struct msg_empty none = { 0 };

	event(EV_WON);
	table_inherit(&k.table, old->id, e->id);
	old->state = ERA_RETIRES;
	old->until = mono_after_ms(clock_tick(), old->launch.retire_ms);
	fd_close(&old->exe);
	e->state = ERA_LEADS;
	e->birth = BIRTH_AGAIN;		/* whoever follows it */
	k.leads = e;
	k.tried = NULL;
	k.fails = 0;
	k.old = (struct msg_old_ones){ 0 };
	log_info("upgraded", "pid=%d old=%d", (int)e->pid, (int)old->pid);
	(void)chan_say(&e->chan, MSG_TAKE_OVER, &none);
	(void)chan_say(&old->chan, MSG_RETIRE, build);
}

/* It died, or was not ready in time, or nobody can be upgraded any more.  why "": its words say it. */
static void trial_lost(const char *why)
{
	struct era *e = k.tried;
	char text[sizeof e->words + 80];

	if (why[0])
		snprintf(text, sizeof text, "%s%s%s", why, e->words[0] ? ": " : "", e->words);
	else
		snprintf(text, sizeof text, "%s", e->words);
	launch_failed(k.leads, text);
	if (e->pid)
		kill(e->pid, SIGKILL);
	e->state = ERA_ENDED;
	k.tried = NULL;
	if (k.state == TRIAL)
		event(EV_LOST);
}

/* ---- what masters say ---- */

static void said(struct era *e, const struct msg *m)
{
	switch (m->type) {
	case MSG_KEEP:
		table_keep(&k.table, e->id, m->p, &e->chan.in.fd[0]);
		break;
	case MSG_MASTER_READY:
		e->vital.ready = true;
		if (e == k.tried) {
			take_over(m->p);
		} else if (e == k.leads) {
			e->birth = BIRTH_AGAIN;
			event(EV_READY);
		}
		break;
	case MSG_LAUNCH:
		launch(e, m->p, &e->chan.in.fd[0]);
		break;
	case MSG_LAST_WORDS:
		snprintf(e->words, sizeof e->words, "%.*s", (int)m->tail.n, (const char *)m->tail.p);
		if (!msg_text(e->words, sizeof e->words))
			e->words[0] = 0;
		break;
	case MSG_GOODBYE:
		if (e != k.leads)
			break;
		if (k.tried)
			trial_lost("the serving master leaves");
		event(EV_GOODBYE);
		k.exit_code = ((const struct msg_goodbye *)m->p)->exit_code;
		k.kill_at = mono_after_ms(clock_tick(), LAST_MS);
		break;
	default:
		break;
	}
}

/* Messages that wait, also those of a dead master: what it sent counts. */
static void hear(struct era *e)
{
	const struct msg *m;
	int r;

	while ((r = chan_recv(&e->chan, &m)) != 0) {
		if (r == -EMFILE)	/* the master still has it, but the next one will not */
			log_limited(LOG_ERROR, "not_kept", "error=\"%s\"", strerror(EMFILE));
		if (r == -EMFILE || r == -EAGAIN)
			continue;
		if (r < 0) {
			if (e->pid)
				kill(e->pid, SIGKILL);	/* nonsense, or it closed its end */
			return;
		}
		said(e, m);
	}
}

/* ---- death ---- */

static void lead_died(struct era *e, int status)
{
	int64_t lived = mono_diff_ms(clock_tick(), e->born), wait = 0;

	if (k.tried)
		trial_lost("the serving master died");
	k.old = (struct msg_old_ones){ 0 };
	if (k.state == STARTING) {
		k.exit_code = WIFEXITED(status) && WEXITSTATUS(status) ? WEXITSTATUS(status) : 1;
		if (k.exit_code >= 126)		/* else it said why itself */
			log_error("master_not_started", "status=%d", status);
		k.kill_at = mono_after_ms(clock_now(), LAST_MS);
	}
	event(EV_DIED);
	k.fails = lived < LIVED_MS ? k.fails + 1 : 1;
	if (k.state == STOPPING && k.fails > PATIENCE) {
		event(EV_GOODBYE);	/* nobody is able to drain */
		k.exit_code = 1;
		k.kill_at = clock_now();
	}
	if (k.state == LAST) {
		table_drop(&k.table, e->id, false);	/* who waits on a channel sees its end */
		return;
	}
	if (k.fails > PATIENCE)
		wait = min_of(BACKOFF_MIN_MS << min_of(k.fails - PATIENCE - 1, 10u), BACKOFF_MAX_MS);
	k.start_at = mono_after_ms(clock_now(), wait);
	log_error("master_died", "status=%d lived_ms=%lld next_in_ms=%lld", status,
		  (long long)lived, (long long)wait);
}

static void master_died(struct era *e, int status)
{
	char why[80];

	e->pid = 0;
	hear(e);
	chan_fini(&e->chan);
	if (e == k.tried) {
		snprintf(why, sizeof why, "the new master died: %s %d",
			 WIFSIGNALED(status) ? "signal" : "exit",
			 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
		if (WIFEXITED(status) && e->words[0])
			why[0] = 0;		/* it left because of what it said */
		trial_lost(why);
	}
	switch (e->state) {
	case ERA_LEADS:
		lead_died(e, status);
		break;
	case ERA_ENDED:
		table_kill(&k.table, e->id);
		era_over(e, &k.table);
		break;
	case ERA_RETIRES:
		log_info("old_master_left", "status=%d", status);
		era_over(e, &k.table);		/* children it left behind see the end of their channels */
		break;
	case ERA_TRIED:
	case ERA_NONE:
		break;
	}
}

/* True when no child is left. */
static bool reap(void)
{
	int status;
	pid_t pid;

	while ((pid = waitpid(-1, &status, WNOHANG)) > 0) {
		struct msg_reaped m = { .pid = (uint32_t)pid, .status = status };
		struct era *e = NULL;

		for (unsigned i = 0; i < ERAS && !e; i++)
			if (k.era[i].pid == pid)
				e = &k.era[i];
		if (e)
			master_died(e, status);
		else if (k.leads->pid && k.leads->told_all)
			(void)chan_say(&k.leads->chan, MSG_REAPED, &m);
	}
	return pid < 0 && errno == ECHILD;
}

/* ---- the loop ---- */

static void hear_signals(int sfd)
{
	struct signalfd_siginfo si;

	while (read(sfd, &si, sizeof si) == sizeof si) {
		if (si.ssi_signo == SIGCHLD)
			continue;
		if (si.ssi_signo != SIGHUP) {
			if (k.tried)
				trial_lost("nodeproxy is told to stop");
			event(EV_TERM);
		}
		for (unsigned i = 0; i < ERAS; i++)
			if (k.era[i].pid && k.era[i].state != ERA_TRIED)
				kill(k.era[i].pid, (int)si.ssi_signo);
	}
}

/* One that hangs is as bad as none: nobody replaces a worker, nothing changes any more. */
static void look_after(struct era *e, struct mono now)
{
	const char *why = vital_look(&e->vital, e->chan.fd.v, now);

	if (why) {
		log_error("master_hangs", "pid=%d why=\"%s\"", (int)e->pid, why);
		kill(e->pid, SIGKILL);
	} else if (e->vital.due && e->told_all) {
		e->vital.due = false;
		(void)chan_say(&e->chan, MSG_OLD_ONES, &k.old);
	}
}

/* What is due; how long nothing will be. */
static int next_ms(void)
{
	struct mono now = clock_tick();
	int64_t ms = INT_MAX;

	if (!k.leads->pid && k.state != LAST && mono_diff_ms(k.start_at, now) <= 0) {
		if (k.state != STARTING)
			event(EV_AGAIN);
		start_lead();
	}
	if (!k.leads->pid && k.state != LAST)
		ms = mono_diff_ms(k.start_at, now) + 1;
	if (k.tried && mono_diff_ms(k.tried->until, now) <= 0) {
		char why[64];

		snprintf(why, sizeof why, "not ready within %u ms", k.tried->launch.ready_ms);
		trial_lost(why);
	}
	for (unsigned i = 0; i < ERAS; i++) {
		struct era *e = &k.era[i];

		if (e->state == ERA_RETIRES && mono_diff_ms(e->until, now) <= 0) {
			table_kill(&k.table, e->id);
			kill(e->pid, SIGKILL);
			ms = min_of(ms, (int64_t)50);
		} else if (e->state == ERA_RETIRES || e->state == ERA_TRIED) {
			ms = min_of(ms, mono_diff_ms(e->until, now) + 1);
		}
		era_tell(e, &k.table, e->birth == BIRTH_TRIAL ? k.leads->id : e->id,
			 &k.about);
	}
	tell_old();
	if (k.leads->pid) {
		look_after(k.leads, now);
		ms = min_of(ms, (int64_t)VITAL_LOOK_MS);
	}
	return k.state == LAST ? 50 : ms == INT_MAX ? -1 : (int)max_of(ms, (int64_t)0);
}

/* In LAST, once the masters are gone or out of time; those that retire have theirs. */
static void kill_rest(void)
{
	if (mono_diff_ms(k.kill_at, clock_tick()) > 0)
		return;
	for (unsigned i = 0; i < ERAS; i++)
		if (k.era[i].state == ERA_RETIRES)
			return;
	if (k.leads->pid)
		kill(k.leads->pid, SIGKILL);
	table_kill(&k.table, 0);
}

static int open_signals(void)
{
	sigset_t set;

	sigemptyset(&set);
	sigaddset(&set, SIGCHLD);
	sigaddset(&set, SIGTERM);
	sigaddset(&set, SIGINT);
	sigaddset(&set, SIGHUP);
	sigprocmask(SIG_BLOCK, &set, NULL);	/* the master starts with them blocked, too */
	signal(SIGPIPE, SIG_IGN);
	signal(SIGXFSZ, SIG_IGN);	/* a log file at its limit is an error, not the end */
	return signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK);
}

static void first_era(const struct keeper_args *args)
{
	for (int i = 0; i < ERAS; i++)
		k.era[i].exe = FD_NONE;
	k.leads = &k.era[0];
	*k.leads = (struct era){ .state = ERA_LEADS, .id = ++k.eras, .exe = { args->exe } };
	k.about = (struct msg_kept_end){
		.speaks = KEEPER_SPEAKS,
		.started_unix_ms = (uint64_t)clock_unix_ms(),
		.started_mono_s = (uint32_t)(clock_tick().ns / NS_PER_S),
	};
	k.argv[0] = (char *)(uintptr_t)MASTER_ARGV0;
	k.argv[1] = (char *)(uintptr_t)args->file;
	k.argv[2] = (char *)(uintptr_t)args->path;
}

int keeper_run(const struct keeper_args *args)
{
	struct pollfd p[ERAS + 1];
	int sfd = open_signals(), ms;

	first_era(args);
	if (sfd < 0 || prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) < 0) {
		log_error("cannot_keep", "error=\"%s\"", strerror(errno));
		return 1;
	}
	for (;;) {
		ms = next_ms();
		p[ERAS] = (struct pollfd){ .fd = sfd, .events = POLLIN };
		for (unsigned i = 0; i < ERAS; i++) {
			const struct era *e = &k.era[i];

			p[i] = (struct pollfd){ .fd = e->pid ? e->chan.fd.v : -1, .events = POLLIN };
			if (e->pid && (!e->told_all || e->chan.queued))
				p[i].events |= POLLOUT;
		}
		(void)poll(p, ERAS + 1, ms);
		for (unsigned i = 0; i < ERAS; i++) {
			if (k.era[i].pid && (p[i].revents & POLLOUT))
				(void)chan_flush(&k.era[i].chan);
			if (k.era[i].pid && (p[i].revents & (POLLIN | POLLHUP)))
				hear(&k.era[i]);
		}
		hear_signals(sfd);
		if (reap() && k.state == LAST)
			return k.exit_code;
		if (k.state == LAST)
			kill_rest();
	}
}
