/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See upgrade.h. */
#include "nodeproxy/upgrade.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/stat.h>

#include "nodeproxy/leave.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/master.h"
#include "nodeproxy/replace.h"

#define COPY_MS 5000	/* for the copy of the store; without one the source must be there */

/* ---- the old master ---- */

bool upgrade_may_run(int fd)
{
	struct stat st;

	return fstat(fd, &st) == 0 && S_ISREG(st.st_mode) && st.st_uid == 0 &&
	       (st.st_mode & S_IXUSR) && !(st.st_mode & S_IWOTH) &&
	       (!(st.st_mode & S_IWGRP) || st.st_gid == 0);
}

bool upgrade_is_running(const struct master *m)
{
	return m->upgrade.state != UPGRADE_NONE || m->phase == PHASE_TRIAL;
}

static int open_program(struct master *m, char *text, size_t n)
{
	struct fd f = { open(m->path, O_PATH | O_CLOEXEC) };
	int r = 0;

	if (!fd_is_open(f)) {
		r = -errno;
		snprintf(text, n, "%s: %s", m->path, strerror(-r));
	} else if (!upgrade_may_run(f.v)) {
		r = -EPERM;
		snprintf(text, n, "%s: %s", m->path, UPGRADE_MAY_RUN);
	}
	if (r == 0)
		m->upgrade.program = fd_take(&f);
	fd_close(&f);
	return r;
}

static void answer(struct master *m, int error, const char *text)
{
	struct child *admind = &m->child[CHILD_ADMIND];
	struct msg_order_done done = { .serial = m->upgrade.serial, .error = error };

	if (admind->has_chan && admind->generation == m->upgrade.asker)
		chan_offer(&admind->chan, MSG_ORDER_DONE, &done,
			   slice_of(text, min_of(strlen(text), (size_t)512)), NULL, 0);
}

static void copy(struct master *m, bool make)
{
	struct child *syncd = &m->child[CHILD_SYNCD];
	struct msg_store_copy c = { .make = make };

	if (syncd->has_chan && syncd->told)
		(void)chan_say(&syncd->chan, MSG_STORE_COPY, &c);
}

/* As if nothing had been. */
static void failed(struct master *m, int error, const char *why)
{
	char text[400];

	if (m->upgrade.state == UPGRADE_NONE)
		return;
	snprintf(text, sizeof text, "the upgrade failed, the running version goes on: %s", why);
	log_error("upgrade_failed", "why=\"%s\"", why);
	m->upgrade.state = UPGRADE_NONE;
	fd_close(&m->upgrade.program);
	loop_timer_stop(&m->loop, &m->upgrade.patience);
	copy(m, false);
	answer(m, error, text);
	service_reloaded(m);
	procs_write(m);
}

static void try_it(struct master *m)
{
	struct msg_launch l = {
		.rev = viewset_rev(&m->views.newest),
		.ready_ms = (uint32_t)m->knobs.upgrade_ms,
		.retire_ms = (uint32_t)(m->upgrade.drain_ms + LEAVE_MS + LEAVE_MS),
	};
	int r;

	loop_timer_stop(&m->loop, &m->upgrade.patience);
	m->upgrade.state = UPGRADE_TRYING;
	r = chan_send(&m->kept.chan, MSG_LAUNCH, &l, (struct slice){ 0 }, &m->upgrade.program.v, 1);
	fd_close(&m->upgrade.program);
	if (r < 0)
		failed(m, r, strerror(-r));
}

static void no_copy_cb(void *arg)
{
	log_warn("store_not_copied", "ms=%d", COPY_MS);
	try_it(arg);
}

int upgrade_order(struct master *m, const struct msg_order *o, char *text, size_t n)
{
	struct upgrade *u = &m->upgrade;
	int r;

	if (o->number < 0 || o->number > 86400000) {
		snprintf(text, n, "the deadline is 0 to 86400 seconds");
		return -EINVAL;
	}
	if (u->state != UPGRADE_NONE || m->reload.state != RELOAD_IDLE || m->phase != PHASE_SERVING) {
		snprintf(text, n, "an upgrade, a reload or the end is under way");
		return -EALREADY;
	}
	r = open_program(m, text, n);
	if (r < 0)
		return r;
	u->serial = o->serial;
	u->asker = m->child[CHILD_ADMIND].generation;
	u->drain_ms = o->number;
	u->state = UPGRADE_COPYING;
	if (m->service.ready_said)
		service_reloading(m);
	procs_write(m);
	if (m->child[CHILD_SYNCD].state != PROC_READY) {
		try_it(m);
		return -EINPROGRESS;
	}
	copy(m, true);
	loop_timer_start(&m->loop, &u->patience, COPY_MS * NS_PER_MS, 0, no_copy_cb, m);
	return -EINPROGRESS;
}

void upgrade_copied(struct master *m, const struct msg_store_copied *c)
{
	if (m->upgrade.state != UPGRADE_COPYING)
		return;
	if (c->error < 0)
		log_warn("store_not_copied", "error=\"%s\"", strerror(c->error == INT32_MIN ? 0 : -c->error));
	try_it(m);
}

static void retire(struct master *m, const struct msg_build *build)
{
	struct child *admind = &m->child[CHILD_ADMIND];
	struct msg_sockets none = { 0 };
	char text[256];
	unsigned old = 0;

	for (unsigned i = 0; i < CHILDREN; i++)
		old += child_is_worker(&m->child[i]) && child_is_alive(&m->child[i]);
	snprintf(text, sizeof text, "now version %.*s; %u old workers have %lld ms to finish",
		 (int)sizeof build->build,
		 msg_text(build->build, sizeof build->build) ? build->build : "?", old,
		 (long long)m->upgrade.drain_ms);
	log_info("upgraded", "to=%.32s workers=%u", build->build, old);
	m->upgrade.state = UPGRADE_NONE;
	answer(m, 0, text);
	/* It stays for the logs of those who drain, and answers nobody any more. */
	if (admind->has_chan && admind->told)
		chan_offer(&admind->chan, MSG_ADMIN_SOCKETS, &none, (struct slice){ 0 }, NULL, 0);
	child_stop(&m->child[CHILD_SYNCD]);	/* the store is another's now */
	master_retire(m, m->upgrade.drain_ms);
}

/* ---- the new master ---- */

static void lack(char text[256], const char *what, unsigned id, const char *state)
{
	size_t n = strlen(text);

	snprintf(text + n, 256 - n, "%s%s/%u %s", n ? ", " : "", what, id, state);
}

static void trial_settle(struct master *m)
{
	struct upgrade *u = &m->upgrade;
	struct msg_build b;
	char text[256] = "";

	if (u->ready_said)
		return;
	for (unsigned i = 0; i < CHILDREN; i++) {
		const struct child *c = &m->child[i];

		if (!child_is_wanted(m, i))
			continue;
		if (c->state != PROC_READY)
			lack(text, role_name(c->role), c->id, proc_state_name(c->state));
		else if (child_is_worker(c) && !child_can_accept(c))
			lack(text, role_name(c->role), c->id, "has no view");
	}
	if (strcmp(text, u->lacks) != 0)
		keep_last_words(&m->kept, text);
	memcpy(u->lacks, text, sizeof text);
	if (text[0])
		return;
	u->ready_said = true;
	memset(&b, 0, sizeof b);
	snprintf(b.build, sizeof b.build, "%s", msg_build());
	log_info("trial_ready", "workers=%u rev=%llu", m->n_workers,
		 (unsigned long long)viewset_rev(&m->views.newest));
	(void)chan_say(&m->kept.chan, MSG_MASTER_READY, &b);
}

void upgrade_settle(struct master *m)
{
	if (m->phase == PHASE_TRIAL) {
		trial_settle(m);
	} else if (m->upgrade.state == UPGRADE_COPYING && m->phase == PHASE_SERVING &&
		   m->child[CHILD_SYNCD].state != PROC_READY) {
		log_warn("store_not_copied", "why=\"syncd died\"");
		try_it(m);
	}
}

void upgrade_give_up(struct master *m, const struct child *c, const char *why)
{
	char text[256];

	snprintf(text, sizeof text, "%s/%u %s", role_name(c->role), c->id, why);
	log_error("trial_over", "why=\"%s\"", text);
	keep_last_words(&m->kept, text);
	exit(1);
}

static void take_over(struct master *m)
{
	struct child *syncd = &m->child[CHILD_SYNCD];
	struct msg_empty none = { 0 };

	if (m->phase != PHASE_TRIAL)
		return;
	m->phase = PHASE_SERVING;
	log_info("took_over", "rev=%llu", (unsigned long long)viewset_rev(&m->views.newest));
	kept_drop_rest(&m->kept);
	doors_take_over(m);
	listeners_listen(m);
	listeners_settle(m);
	if (syncd->has_chan && syncd->told)
		(void)chan_say(&syncd->chan, MSG_STORE_CONFIRM, &none);
	service_open(m);
	master_settle(m);
}

/* ---- both ---- */

void upgrade_heard(struct master *m, const struct msg *msg)
{
	char why[256];

	switch (msg->type) {
	case MSG_LAUNCH_FAILED:
		snprintf(why, sizeof why, "%.*s", (int)msg->tail.n, (const char *)msg->tail.p);
		failed(m, -ECANCELED, msg_text(why, sizeof why) ? why : "?");
		break;
	case MSG_RETIRE:
		if (m->upgrade.state == UPGRADE_TRYING)
			retire(m, msg->p);
		break;
	case MSG_TAKE_OVER:
		take_over(m);
		break;
	case MSG_OLD_ONES:
		m->upgrade.old = *(const struct msg_old_ones *)msg->p;
		procs_write(m);
		break;
	default:
		break;
	}
}
