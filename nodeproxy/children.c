/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See children.h. */
#include "nodeproxy/children.h"

#include <errno.h>
#include <signal.h>
#include <sys/pidfd.h>

#include "nodeproxy/birth.h"
#include "nodeproxy/death.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/ipc/msg.h"
#include "nodeproxy/master.h"
#include "nodeproxy/programs.h"
#include "nodeproxy/replace.h"
#include "nodeproxy/resize.h"

/* ---- the procs page ---- */

/* Since when somebody whose job is to serve the newest view does not. */
static void compare_revs(struct child *c, uint64_t newest)
{
	bool should = child_is_worker(c) && child_is_alive(c) && c->state != PROC_DRAINING;

	if (!should || c->rev >= newest)
		c->behind_mono_ms = 0;
	else if (c->behind_mono_ms == 0)
		c->behind_mono_ms = (uint64_t)(clock_now().ns / NS_PER_MS);
}

/* Readers retry while the number is odd, so a master that died in here left it odd for its
 * successor to put right. */
void procs_write(struct master *m)
{
	struct procs *p = m->procs.p;
	uint32_t seq = __atomic_load_n(&p->seq, __ATOMIC_RELAXED) | 1, n = 0;

	__atomic_store_n(&p->seq, seq, __ATOMIC_RELAXED);
	__atomic_thread_fence(__ATOMIC_RELEASE);
	p->started_unix_ms = m->started_unix_ms;
	p->started_mono_ms = m->started_mono_ms;
	p->rev = viewset_rev(&m->views.newest);
	p->shutting_down = m->phase == PHASE_LEAVING;
	p->upgrading = m->upgrade.state != UPGRADE_NONE;
	p->old_masters = m->upgrade.old.masters;
	p->old_workers = m->upgrade.old.workers;
	p->slots = m->slots;
	p->workers = m->n_workers;
	p->config_generation = m->reload.generation;
	p->config_unix_ms = m->reload.since_unix_ms;
	p->reload = m->reload.last;
	for (unsigned i = 0; i < CHILDREN; i++) {
		struct child *c = &m->child[i];

		if (c->state == PROC_NONE)
			continue;
		compare_revs(c, p->rev);
		p->proc[n++] = (struct proc){
			.role = c->role,
			.id = c->id,
			.state = c->stalled && c->state == PROC_READY ? PROC_STALLED : c->state,
			.pid = child_is_alive(c) ? (uint32_t)c->pid : 0,
			.cpu = c->cpu,
			.restarts = c->restarts,
			.started_mono_ms = c->started_mono_ms,
			.rev = c->rev,
			.refused_rev = c->refused_rev,
			.last_status = c->last_status,
			.panics = c->panics,
			.fails = c->fails,
			.behind_mono_ms = c->behind_mono_ms,
			.usage = child_is_alive(c) ? c->usage : USAGE_UNKNOWN,
		};
	}
	p->count = n;
	p->facts = m->facts;
	__atomic_store_n(&p->seq, seq + 1, __ATOMIC_RELEASE);
}

/* ---- state ---- */

void child_became(struct child *c, enum proc_state s)
{
	enum proc_state was = c->state;

	if (was == s)
		return;
	c->state = s;
	log_debug("child_state", "child=%s/%u from=%s to=%s", role_name(c->role), c->id,
		  proc_state_name(was), proc_state_name(s));
	master_settle(c->m);
}

bool child_can_accept(const struct child *c)
{
	/* Before the first view there is nothing to say to a caller; it waits in the queue. */
	return child_is_worker(c) && c->state == PROC_READY && c->has_chan && c->rev != 0 &&
	       !c->stalled;
}

bool child_is_wanted(const struct master *m, unsigned i)
{
	return i < BOARD_WORKERS ? listeners_is_home(m, i) : i != CHILD_KEYD || keys_are_wanted(&m->knobs);
}

void children_start(struct master *m)
{
	for (unsigned i = 0; i < CHILDREN; i++) {
		struct child *c = &m->child[i];

		if (!child_is_alive(c) && child_is_wanted(m, i))
			child_start(c);
	}
}

/* ---- adoption ---- */

/* A child of a dead master, known by its pidfd and its channel.  What it was last heard of stands
 * in the procs page; an answer to PING makes up for a READY that was lost with the master. */
static void adopt(struct master *m, struct child *c)
{
	const struct procs *page = m->procs.p;
	struct msg_ping ping = { 0 };
	uint64_t pid = 0, generation = 0;
	struct fd chan = FD_NONE;

	for (uint32_t i = 0; i < min_of(page->count, (uint32_t)PROCS_MAX); i++) {
		const struct proc *p = &page->proc[i];

		if (p->role != c->role || p->id != c->id)
			continue;
		c->state = p->state < PROC_STATES ? (enum proc_state)p->state : PROC_NONE;
		if (c->state == PROC_STALLED)
			c->state = PROC_READY;
		c->restarts = p->restarts;
		c->panics = p->panics;
		c->rev = p->rev;
		c->refused_rev = p->refused_rev;
		c->behind_mono_ms = p->behind_mono_ms;
		c->usage = USAGE_UNKNOWN;
		c->last_status = p->last_status;
		c->started_mono_ms = p->started_mono_ms;
		c->cpu = p->cpu;
	}
	c->generation = c->restarts + (c->started_mono_ms != 0);
	c->started = c->beat_at = clock_tick();
	if (!kept_take(&m->kept, &c->pidfd, &pid, "pid/%s/%u", role_name(c->role), c->id) ||
	    !kept_take(&m->kept, &chan, &generation, "chan/%s/%u", role_name(c->role), c->id) ||
	    pidfd_send_signal(c->pidfd.v, 0, NULL, 0) < 0) {
		fd_close(&c->pidfd);
		fd_close(&chan);
		c->state = PROC_NONE;
		if (child_is_worker(c))
			(void)board_bury(m->board.p, m->board.fd.v, c->id);
		child_archive_panic(m, c);
		return;
	}
	c->pid = c->adopted_pid = (pid_t)pid;
	c->generation = (uint32_t)generation;
	c->told = true;
	chan_init(&c->chan, &chan, ROLE_MASTER, c->role);
	c->has_chan = true;
	c->retired = c->state == PROC_DRAINING;
	if (!child_is_alive(c))
		c->state = PROC_STARTING;
	child_watch(c);
	(void)chan_say(&c->chan, MSG_PING, &ping);
	m->views.adopting |= c->role == ROLE_SYNCD;
	if (c->role != ROLE_SYNCD && c->role != ROLE_KEYD && c->rev != viewset_rev(&m->views.newest))
		c->view_late = true;
	log_info("child_adopted", "child=%s/%u pid=%d state=%s", role_name(c->role), c->id,
		 (int)c->pid, proc_state_name(c->state));
	if (c->state == PROC_DRAINING)
		child_drain(c, m->knobs.drain_ms);
	reload_tell(m, c);
}

int children_open(struct master *m)
{
	int r = programs_open(m);

	if (r < 0)
		return r;
	for (unsigned i = 0; i < CHILDREN; i++) {
		struct child *c = &m->child[i];

		c->m = m;
		c->role = i == CHILD_SYNCD  ? ROLE_SYNCD :
			  i == CHILD_ADMIND ? ROLE_ADMIND :
			  i == CHILD_KEYD   ? ROLE_KEYD :
					      ROLE_WORKER;
		c->id = child_is_worker(c) ? i : 0;
		c->cpu = i < m->n_workers ? m->cpu[i] : -1;
		c->panic_fd = c->ring_fd = c->pidfd = FD_NONE;
		if (!child_is_worker(c) || i < m->slots) {
			r = child_memory(m, c);
			if (r < 0)
				return r;
		}
	}
	return 0;
}

/* Group k's home: slot s. */
static void at_home(struct master *m, unsigned k, unsigned s, uint64_t *homeless)
{
	m->listeners.home[k] = (int)s;
	*homeless &= ~(1ull << s);
}

/* Slots of which the bits are set get the groups that have no home yet: first those that run where the
 * plan wants one. */
static void give_homes(struct master *m, uint64_t *homeless)
{
	for (int any = 0; any < 2; any++)
		for (unsigned k = 0; k < m->n_workers; k++)
			for (unsigned s = 0; s < BOARD_WORKERS && m->listeners.home[k] < 0; s++)
				if (*homeless & 1ull << s && (any || m->child[s].cpu == m->cpu[k]))
					at_home(m, k, s, homeless);
}

void children_adopt(struct master *m)
{
	struct child *syncd = &m->child[CHILD_SYNCD], *admind = &m->child[CHILD_ADMIND];
	struct msg_order_done lost = { .error = -EPIPE };
	struct msg_empty none = { 0 };
	uint64_t serving = 0, empty = 0;

	for (unsigned i = 0; i < CHILDREN; i++)
		if (m->child[i].panic)
			adopt(m, &m->child[i]);
	/* Our predecessor may have died between the two ends of a line. */
	keys_connect(m, &m->child[CHILD_KEYD]);
	/* A replacement or a resizing under way when our predecessor died: slots that serve get the
	 * homes, a worker too many drains. */
	for (unsigned k = 0; k < BOARD_WORKERS; k++)
		m->listeners.home[k] = HELD_BY_NOBODY;
	for (unsigned i = 0; i < BOARD_WORKERS; i++) {
		const struct child *c = &m->child[i];

		if (c->state == PROC_READY || c->state == PROC_STARTING)
			serving |= 1ull << i;
		else if (!child_is_alive(c))
			empty |= 1ull << i;
	}
	give_homes(m, &serving);
	give_homes(m, &empty);
	workers_pin(m);
	for (unsigned i = 0; i < BOARD_WORKERS; i++)
		if (serving & 1ull << i)
			child_drain(&m->child[i], m->knobs.drain_ms);
	/* Our predecessor may have died between the take-over and this word. */
	if (syncd->has_chan)
		(void)chan_say(&syncd->chan, MSG_STORE_CONFIRM, &none);
	if (admind->has_chan)
		chan_offer(&admind->chan, MSG_ORDER_DONE, &lost,
			   SLICE("the master died before it answered: look before you ask again"),
			   NULL, 0);
}
