/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* main(), and the keeper: the process that is never replaced.
 *
 * It forks the master, is subreaper for everything below it (and PID 1 in a container), and holds a
 * copy of every descriptor (table.h): listeners, the master's ends of the channels, shared memory,
 * pidfds, the newest view.  When the master dies it starts another, which gets the table and goes on
 * with the same workers.  For an upgrade it starts the new build's master beside the old one and
 * lets it take over when it says that it is ready; else the new one and all it started end, and
 * the old one goes on.  It parses nothing, looks into no descriptor, opens no file.
 *
 * A child's channel end dies with the last copy of the other end.  The keeper has one, so the
 * death of a master is invisible to the children; and a child that does see the end is known to
 * nobody any more and leaves by itself.  That is why there are no orphans: not after a master's
 * death in the middle of a fork (it puts the channel here before it forks), not after the death of
 * an old build's master that drains (its entries go with it), and not after the keeper's own: then
 * the masters end everything, because half an instance that nobody restarts, holding the ports a new
 * one needs, is worse than none.
 *
 * An era is the time of one build: its masters one after the other, and their entries.
 *
 *   era       its master
 *   LEADS     the one that serves; restarted when it dies
 *   TRIED     beside it; READY in time makes it the one that leads
 *   ENDED     was tried in vain and killed, not yet reaped
 *   RETIRES   the former one: drains and leaves; killed when it does not
 *
 *   state     the era that leads                 ends with
 *   STARTING  its first master, not yet ready    READY; its death ends all: it said why
 *   RUNNING   serves                             its death, LAUNCH, TERM
 *   TRIAL     serves, another is tried           that one's READY or end; its own death
 *   WAITING   has no master: back-off            the timer
 *   STOPPING  drains because of TERM             GOODBYE; its death: another, which drains
 *   LAST      has said GOODBYE                   nobody being left; after LAST_MS all are killed */
#include <errno.h>
#include <fcntl.h>
#include <getopt.h>
#include <limits.h>
#include <poll.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/stat.h>
#include <sys/wait.h>

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/panic.h"
#include "nodeproxy/lib/role/enter.h"
#include "nodeproxy/master.h"
#include "nodeproxy/table.h"
#include "nodeproxy/vital.h"

#define BACKOFF_MIN_MS 50
#define BACKOFF_MAX_MS 1000	/* without a master nobody lends a dead worker's listeners */
#define PATIENCE       5	/* deaths in a row that are answered at once */
#define LIVED_MS       10000	/* a master that lived this long did not die of its start */
#define LAST_MS	       5000	/* from the master's goodbye to the end of everything */
#define ERAS	       6	/* one leads, one is tried, four drain */

enum era_state { ERA_NONE, ERA_TRIED, ERA_LEADS, ERA_RETIRES, ERA_ENDED };

struct era {
	enum era_state state;
	uint32_t id;			/* of its entries */
	struct fd exe;
	pid_t pid;			/* its master; 0: none */
	struct chan chan;
	enum kept_birth birth;		/* of that master */
	unsigned told;			/* entries of the table that were looked at for it */
	uint32_t told_count;
	bool told_all;
	struct mono born, until;	/* tried: ready by; retires: gone by */
	struct vital vital;
	struct msg_launch launch;	/* that it came from, or that it ordered */
	char words[256];		/* the last of one that is tried */
};

/* X(state, READY, LAUNCH, WON, LOST, DIED, AGAIN, TERM, GOODBYE): ___ cannot be */
#define KEEPER_STATES(X)                                                                           \
	X(STARTING, RUNNING, ___, ___, ___, LAST, ___, STOPPING, LAST)                             \
	X(RUNNING, RUNNING, TRIAL, ___, ___, WAITING, ___, STOPPING, LAST)                         \
	X(TRIAL, TRIAL, ___, RUNNING, RUNNING, WAITING, ___, STOPPING, LAST)                       \
	X(WAITING, ___, ___, ___, ___, ___, RUNNING, STOPPING, ___)                                \
	X(STOPPING, STOPPING, ___, ___, ___, STOPPING, STOPPING, STOPPING, LAST)                   \
	X(LAST, LAST, ___, ___, ___, LAST, ___, LAST, LAST)

enum state {
	___,
#define STATE(name, ...) name,
	KEEPER_STATES(STATE)
#undef STATE
	STATES
};
enum event { EV_READY, EV_LAUNCH, EV_WON, EV_LOST, EV_DIED, EV_AGAIN, EV_TERM, EV_GOODBYE, EVENTS };

static const uint8_t next[STATES][EVENTS] = {
#define STATE(name, ...) [name] = { __VA_ARGS__ },
	KEEPER_STATES(STATE)
#undef STATE
};

static struct {
	enum state state;
	struct table table;
	struct era era[ERAS];
	struct era *leads, *tried;
	uint32_t eras;			/* so far */
	struct msg_old_ones old;	/* as the one that leads was told */
	uint64_t started_unix_ms;
	uint32_t started_mono_s;
	struct mono start_at, kill_at;
	unsigned fails;
	int exit_code;
	char **argv;
} k = { .state = STARTING };

static void event(enum event ev)
{
	enum state now = next[k.state][ev];

	if (never(now == ___))
		return;		/* a keeper that goes on in a wrong state is better than none */
	k.state = now;
}

/* ---- a master ---- */

static int fork_master(struct era *e)
{
	struct fd pair[2];
	pid_t pid;
	int r = chan_pair(pair);

	if (r < 0)
		return r;
	pid = fork();
	if (pid == 0) {
		k.argv[0] = (char *)(uintptr_t)MASTER_ARGV0;
		if (dup2(pair[1].v, CHAN_FD) < 0 || fcntl(CHAN_FD, F_SETFD, 0) < 0)
			_exit(126);
		fexecve(e->exe.v, k.argv, environ);
		_exit(127);
	}
	r = pid < 0 ? -errno : 0;
	fd_close(&pair[1]);
	if (r < 0) {
		fd_close(&pair[0]);
		return r;
	}
	e->pid = pid;
	e->born = clock_tick();
	vital_begin(&e->vital, e->born);
	e->told = e->told_count = 0;
	e->told_all = false;
	chan_init(&e->chan, &pair[0], ROLE_KEEPER, ROLE_MASTER);
	return 0;
}

/* The table as far as the channel takes it without waiting: a host with many listeners has more
 * entries than a socket buffer has room. */
static void tell_table(struct era *e)
{
	const uint32_t from = e->birth == BIRTH_TRIAL ? k.leads->id : e->id;

	while (e->pid && !e->told_all && e->chan.queued == 0) {
		struct msg_kept_end end = { .count = e->told_count, .birth = e->birth,
					    .speaks = KEEPER_SPEAKS,
					    .started_unix_ms = k.started_unix_ms,
					    .started_mono_s = k.started_mono_s,
					    .rev = e->launch.rev };
		const struct table_entry *t;

		if (e->told >= k.table.n) {
			if (chan_say(&e->chan, MSG_KEPT_END, &end) < 0)
				return;
			e->told_all = true;
			return;
		}
		t = &k.table.entry[e->told];
		if (t->era == from && (e->birth != BIRTH_TRIAL || t->m.shared)) {
			if (chan_send(&e->chan, MSG_KEPT, &t->m, (struct slice){ 0 }, &t->fd.v, 1) < 0)
				return;
			e->told_count++;
		}
		e->told++;
	}
}

static void era_over(struct era *e)
{
	table_drop(&k.table, e->id, true);
	fd_close(&e->exe);
	*e = (struct era){ .exe = FD_NONE };
}

static void start_lead(void)
{
	struct era *e = k.leads;

	if (fork_master(e) < 0)
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
	r = e->exe.v < 0 ? -errno : fork_master(e);
	if (r < 0) {
		launch_failed(by, strerror(-r));
		era_over(e);
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
		era_over(e);
		break;
	case ERA_RETIRES:
		log_info("old_master_left", "status=%d", status);
		era_over(e);		/* children it left behind see the end of their channels */
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
		tell_table(e);
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

static int keeper_run(void)
{
	struct pollfd p[ERAS + 1];
	sigset_t set;
	int sfd, ms;

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

#ifdef NP_SANITIZED
/* A leak check at exit needs ptrace, which the filter answers with death. */
int __lsan_is_turned_off(void);
int __lsan_is_turned_off(void)
{
	return 1;
}
#endif

/* Where an upgrade looks for the next program: the name we were started by, because a link in it may
 * lead elsewhere by then; where that is not us (found through PATH), the file itself. */
static void own_path(const char *argv0, char *ret, size_t n)
{
	char cwd[PATH_MAX] = "";
	struct stat named, real;
	ssize_t len;

	if (strchr(argv0, '/') && stat(argv0, &named) == 0 && stat("/proc/self/exe", &real) == 0 &&
	    named.st_dev == real.st_dev && named.st_ino == real.st_ino &&
	    (argv0[0] == '/' || getcwd(cwd, sizeof cwd)) &&
	    snprintf(ret, n, "%s%s%s", cwd, cwd[0] ? "/" : "", argv0) < (int)n)
		return;
	len = readlink("/proc/self/exe", ret, n - 1);
	ret[max_of(len, (ssize_t)0)] = 0;
}

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
	static char *master_argv[4], path[PATH_MAX];
	bool test = false;
	int o, r;

	if (argc > 1 && strcmp(argv[0], MASTER_ARGV0) == 0)
		return master_main(argv[1], argc > 2 ? argv[2] : "");
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
	log_open();
	panic_init(NULL, "keeper");
	for (int i = 0; i < ERAS; i++)
		k.era[i].exe = FD_NONE;
	k.leads = &k.era[0];
	k.leads->state = ERA_LEADS;
	k.leads->id = ++k.eras;
	k.started_unix_ms = (uint64_t)clock_unix_ms();
	k.started_mono_s = (uint32_t)(clock_tick().ns / NS_PER_S);
	o = open("/proc/self/exe", O_PATH | O_CLOEXEC);
	k.leads->exe.v = o < 0 ? -1 : fcntl(o, F_DUPFD_CLOEXEC, 10);	/* out of the channel's way */
	if (o >= 0)
		close(o);
	if (k.leads->exe.v < 0) {
		fprintf(stderr, "nodeproxy: /proc/self/exe: %s (is /proc mounted?)\n", strerror(errno));
		return 1;
	}
	r = role_enter(ROLE_KEEPER, 0, 0, &step);
	if (r < 0) {
		fprintf(stderr, "nodeproxy: cannot become the keeper: %s: %s\n", step, strerror(-r));
		return 1;
	}
	master_argv[1] = (char *)(uintptr_t)file;
	own_path(argv[0], path, sizeof path);
	master_argv[2] = path;
	k.argv = master_argv;
	return keeper_run();
}
