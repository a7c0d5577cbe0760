/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See death.h. */
#include "nodeproxy/death.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/pidfd.h>
#include <sys/wait.h>

#include "nodeproxy/beat.h"
#include "nodeproxy/birth.h"
#include "nodeproxy/homes.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/ipc/msg.h"
#include "nodeproxy/master.h"
#include "nodeproxy/reload.h"
#include "nodeproxy/replace.h"

#ifndef P_PIDFD
#define P_PIDFD 3
#endif

#define LIVED_MS 10000	/* who lived this long did not die of its start */

/* ---- what it leaves ---- */

void child_archive_panic(struct master *m, struct child *c)
{
	struct panic_archive *a = m->archive.p;
	uint64_t newest = 0;
	unsigned at = 0;
	char text[2048];
	size_t n;

	if (__atomic_load_n(&c->panic->magic, __ATOMIC_ACQUIRE) != PANIC_MAGIC)
		return;
	for (unsigned i = 0; i < PANICS_MAX; i++) {
		newest = max_of(newest, a->entry[i].serial);
		if (a->entry[i].serial < a->entry[at].serial)
			at = i;
	}
	a->entry[at].serial = 0;
	memcpy(a->entry[at].page, c->panic, PANIC_PAGE_BYTES);
	__atomic_store_n(&a->entry[at].serial, newest + 1, __ATOMIC_RELEASE);
	c->panics++;
	n = panic_page_text((const struct panic_page *)(const void *)a->entry[at].page, text,
			    sizeof text);
	log_error("panic", "serial=%llu %.*s", (unsigned long long)newest + 1, (int)min_of(n, 700u),
		  text);
	memset(c->panic, 0, PANIC_PAGE_BYTES);
}

static void chan_gone(struct child *c)
{
	if (c->has_chan)
		chan_fini(&c->chan);
	c->has_chan = c->told = false;
}

/* How long the slot stays empty: not at all after one accident, then longer and longer. */
static int64_t back_off_ms(const struct master *m, const struct child *c)
{
	unsigned n = c->fails;

	if (n <= 1)
		return 0;
	return min_of(m->knobs.respawn_min_ms << min_of(n - 2, 20u), m->knobs.respawn_max_ms);
}

static void again_cb(void *arg)
{
	child_start(arg);
}

void child_start_later(struct child *c, int64_t at_least_ms)
{
	int64_t ms = max_of(back_off_ms(c->m, c), at_least_ms);

	if (ms == 0)
		child_start(c);
	else
		loop_timer_start(&c->m->loop, &c->again, ms * NS_PER_MS, 0, again_cb, c);
}

static const char *status_text(int status, char text[32])
{
	snprintf(text, 32, "died: %s %d", WIFSIGNALED(status) ? "signal" : "exit",
		 WIFSIGNALED(status) ? WTERMSIG(status) : WEXITSTATUS(status));
	return text;
}

void child_reaped(struct master *m, const struct msg_reaped *r)
{
	for (unsigned i = 0; i < CHILDREN; i++) {
		struct child *c = &m->child[i];

		if (c->adopted_pid == 0 || c->adopted_pid != (pid_t)r->pid)
			continue;
		c->last_status = r->status;
		c->adopted_pid = 0;
		log_info("child_reaped", "child=%s/%u pid=%u status=%d", role_name(c->role), c->id,
			 r->pid, r->status);
		procs_write(m);
	}
}

static void died(void *arg, unsigned events)
{
	struct child *c = arg;
	struct master *m = c->m;
	siginfo_t si = { 0 };
	int64_t lived, wait;
	unsigned returned;
	char text[32];

	(void)events;
	clock_tick();
	if (c->ours || c->adopted_pid)
		c->last_status = -1;	/* not ours: the keeper says it, before this or soon */
	if (c->ours && waitid(P_PIDFD, (id_t)c->pidfd.v, &si, WEXITED) == 0)
		c->last_status = si.si_code == CLD_EXITED ? (si.si_status & 0xff) << 8 :
							    si.si_status & 0x7f;
	loop_io_stop(&m->loop, &c->on_death);
	loop_timer_stop(&m->loop, &c->again);
	fd_close(&c->pidfd);
	chan_gone(c);
	reload_child_died(m, c);
	keep_drop(&m->kept, "pid/%s/%u", role_name(c->role), c->id);
	keep_drop(&m->kept, "chan/%s/%u", role_name(c->role), c->id);
	lived = mono_diff_ms(clock_now(), c->started);
	child_archive_panic(m, c);
	if (child_is_worker(c)) {
		returned = board_bury(m->board.p, m->board.fd.v, c->id);
		listeners_forget(m, c->id);
		homes_forget(m, c->id);
		log_debug("buried", "worker=%u claims=%u", c->id, returned);
	}
	c->rev = 0;
	if (master_is_leaving(m) || c->retired) {
		log_info("child_left", "child=%s/%u pid=%d status=%d", role_name(c->role), c->id,
			 (int)c->pid, c->last_status);
		child_became(c, PROC_NONE);
		replace_after_death(c);
		return;
	}
	if (m->phase == PHASE_TRIAL)
		upgrade_give_up(m, c, status_text(c->last_status, text));
	c->fails = lived < LIVED_MS ? c->fails + 1 : 1;
	wait = back_off_ms(m, c);
	log_error("child_died", "child=%s/%u pid=%d status=%d signal=%d lived_ms=%lld next_in_ms=%lld",
		  role_name(c->role), c->id, (int)c->pid, c->last_status,
		  c->last_status > 0 ? c->last_status & 0x7f : 0, (long long)lived,
		  (long long)wait);
	child_became(c, PROC_WAITING);		/* lends its listeners */
	replace_after_death(c);
	if (c->state == PROC_WAITING)
		child_start_later(c, 0);
}

/* ---- the channel ---- */

static void heard(void *arg)
{
	struct child *c = arg;
	struct master *m = c->m;

	clock_tick();
	/* A bound, so that a child that talks all the time does not stop everything else; and nothing
	 * that one says whom we have killed in here. */
	for (int i = 0; i < 256 && c->has_chan && c->chan.loop; i++) {
		const struct msg *msg;
		int r = chan_recv(&c->chan, &msg);

		if (r == 0)
			return;
		if (r == 1) {
			child_spoke(c);
			master_message(m, c, msg);
		} else if (r == -EAGAIN) {
			log_limited(LOG_WARN, "over_its_rate", "child=%s/%u", role_name(c->role),
				    c->id);
		} else if (r == -EMFILE) {
			log_limited(LOG_WARN, "descriptors_lost", "child=%s/%u message=%s",
				    role_name(c->role), c->id, msg_name(msg->type));
			if (c->role == ROLE_SYNCD)
				views_lack(m, msg->type);
		} else if (r == -EPROTO) {
			child_broke(c, "a message against the table");
			return;
		} else {
			/* It closed its end: its death follows, or is helped along.  Nobody can take
			 * listeners from it any more, so others accept from them now. */
			chan_gone(c);
			child_kill_later(c, CHILD_STOP_MS);
			master_settle(m);
			return;
		}
	}
}

void child_watch(struct child *c)
{
	loop_io_start(&c->m->loop, &c->on_death, c->pidfd.v, LOOP_READ, died, c);
	chan_watch(&c->chan, &c->m->loop, heard, c);
}

void child_kill(struct child *c, const char *why)
{
	log_error("child_killed", "child=%s/%u pid=%d why=\"%s\"", role_name(c->role), c->id,
		  (int)c->pid, why);
	if (fd_is_open(c->pidfd))
		(void)pidfd_send_signal(c->pidfd.v, SIGKILL, NULL, 0);
	if (c->has_chan)
		chan_unwatch(&c->chan);		/* nothing it says counts any more */
}

void child_broke(struct child *c, const char *what)
{
	((struct procs *)c->m->procs.p)->bad_messages++;
	child_kill(c, what);
}

static void kill_cb(void *arg)
{
	child_kill(arg, "did not stop");
}

void child_kill_later(struct child *c, int64_t ms)
{
	loop_timer_start(&c->m->loop, &c->again, ms * NS_PER_MS, 0, kill_cb, c);
}
