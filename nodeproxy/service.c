/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See service.h. */
#include "nodeproxy/service.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "nodeproxy/beat.h"
#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/master.h"
#include "nodeproxy/notify.h"

#define SILENT_MS 3000	/* a worker that was silent for so long serves nobody */

static unsigned serving(const struct master *m)
{
	unsigned n = 0;

	for (unsigned g = 0; g < m->n_workers; g++)
		n += child_can_accept(&m->child[m->listeners.home[g]]);
	return n;
}

static void status_text(const struct master *m, char *ret, size_t bytes)
{
	unsigned n = serving(m);
	unsigned long long rev = viewset_rev(&m->views.newest);

	if (m->phase == PHASE_LEAVING)
		snprintf(ret, bytes, "draining");
	else if (m->upgrade.state != UPGRADE_NONE)
		snprintf(ret, bytes, "upgrading");
	else if (m->service.reloading)
		snprintf(ret, bytes, "reloading");
	else if (n == m->n_workers)
		snprintf(ret, bytes, "%u worker%s, revision %llu", n, n == 1 ? "" : "s", rev);
	else
		snprintf(ret, bytes, "%u of %u workers, revision %llu; see nodeproxyctl check", n,
			 m->n_workers, rev);
}

/* STATUS when it is another one than was said, after the other words. */
static void say(struct master *m, const char *words)
{
	struct service *s = &m->service;
	char now[sizeof s->status];

	status_text(m, now, sizeof now);
	if (words[0] == 0 && strcmp(now, s->status) == 0)
		return;
	memcpy(s->status, now, sizeof now);
	notify("%sSTATUS=%s", words, now);
}

static void say_ready(struct master *m)
{
	char words[64] = "READY=1\n";
	pid_t keeper = getppid();

	m->service.ready_said = true;
	log_info("ready", "workers=%u rev=%llu", m->n_workers,
		 (unsigned long long)viewset_rev(&m->views.newest));
	/* In a pid namespace of our own the manager knows us by another number. */
	if (keeper > 1)
		snprintf(words, sizeof words, "READY=1\nMAINPID=%d\n", (int)keeper);
	say(m, words);
}

void service_settle(struct master *m)
{
	if (!m->service.ready_said && m->phase == PHASE_SERVING && serving(m) == m->n_workers &&
	    m->child[CHILD_ADMIND].state == PROC_READY && m->child[CHILD_SYNCD].state == PROC_READY &&
	    (m->child[CHILD_KEYD].state == PROC_READY || !keys_are_wanted(&m->knobs)))
		say_ready(m);
}

void service_tick(struct master *m)
{
	if (m->service.ready_said && m->phase != PHASE_RETIRING)
		say(m, "");
}

void service_reloading(struct master *m)
{
	char words[96];

	m->service.reloading = true;
	snprintf(words, sizeof words, "RELOADING=1\nMONOTONIC_USEC=%lld\n",
		 (long long)(clock_now().ns / 1000));
	say(m, words);
}

void service_reloaded(struct master *m)
{
	if (!m->service.reloading)
		return;
	m->service.reloading = false;
	say(m, "READY=1\n");
}

void service_stopping(struct master *m, int64_t at_most_ms)
{
	char words[96];

	snprintf(words, sizeof words, "STOPPING=1\nEXTEND_TIMEOUT_USEC=%lld\n",
		 (long long)at_most_ms * 1000);
	say(m, words);
}

/* ---- the watchdog ---- */

static bool is_well(const struct master *m)
{
	if (m->phase == PHASE_LEAVING ||
	    (m->kept.birth == BIRTH_FIRST && !m->service.ready_said))
		return true;
	for (unsigned i = 0; i < BOARD_WORKERS; i++) {
		const struct child *c = &m->child[i];

		if ((c->state == PROC_READY || c->state == PROC_DRAINING) &&
		    mono_diff_ms(clock_now(), c->beat_at) < SILENT_MS)
			return true;
	}
	return false;
}

static void on_watchdog(void *arg)
{
	struct master *m = arg;

	children_clock(m);
	if (is_well(m))
		notify("WATCHDOG=1");
	else
		log_limited(LOG_ERROR, "watchdog_withheld", "why=\"no worker shows a sign of life\"");
}

void service_close(struct master *m)
{
	loop_timer_stop(&m->loop, &m->service.watchdog);
}

void service_open(struct master *m)
{
	int64_t ms = notify_watchdog_ms();

	if (ms > 0)
		loop_timer_start(&m->loop, &m->service.watchdog, 0, max_of(ms / 4, (int64_t)1),
				 on_watchdog, m);
}
