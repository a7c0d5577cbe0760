/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See origin.h. */
#include "nodeproxy/origin.h"

#include <errno.h>

#include "nodeproxy/leave.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/master.h"

/* Workers cut by their own clocks, once a second. */
#define CUT_MS 2500

bool origin_is_wanted(const struct pod *p)
{
	return !p->words.uid && p->modes.of[MODE_source_address] == MODE_PRESERVE;
}

uint8_t origin_now(const struct pod *p)
{
	uint8_t mode = p->modes.of[MODE_source_address];

	return mode == MODE_PRESERVE && p->origin != ORIGIN_SHOWN ? MODE_OWN : mode;
}

static int start(struct master *m, struct pod *p, bool on)
{
	struct errand_job job = { .kind = ERRAND_ORIGIN, .ref = p->ref, .inside = p->fd[POD_NETNS],
				  .rules = p->state == POD_CAPTURED ? p->fd[POD_TABLE] : FD_NONE,
				  .list = FD_NONE, .how = pod_rules(p), .has_ipv6 = fd_is_open(p->fd[POD_OUT6]) };
	int r;

	job.how.origin = on;
	r = errand_start(m, &job, NULL);

	if (r == 0) {
		p->in_change = true;
		pod_touched(m, p);	/* its origin is another one now */
	}
	return r;
}

/* -EAGAIN: no errand can be started now. */
static int settle(struct master *m, struct pod *p)
{
	bool wanted = origin_is_wanted(p);
	int r = 0;

	switch (p->origin) {
	case ORIGIN_OWN:
		if (wanted && (r = start(m, p, true)) == 0)
			p->origin = ORIGIN_COMING;
		break;
	case ORIGIN_SHOWN:
		if (wanted)
			break;
		p->origin = ORIGIN_ENDING;
		p->origin_until = mono_after_ms(clock_now(), m->knobs.drain_ms + CUT_MS);
		p->knows = 0;
		pod_touched(m, p);
		break;
	case ORIGIN_ENDING:
		if (wanted) {
			p->origin = ORIGIN_SHOWN;
			p->knows = 0;
			pod_touched(m, p);
		} else if (mono_diff_ms(p->origin_until, clock_now()) <= 0 && (r = start(m, p, false)) == 0) {
			p->origin = ORIGIN_GOING;
		}
		break;
	default:
		break;
	}
	return r;
}

void origins_settle(struct master *m)
{
	char why[64];

	if (pods_may_change(m, why, sizeof why) < 0)
		return;
	for (unsigned i = 0; i < PODS_MAX; i++) {
		struct pod *p = &m->pods.at[i];

		if (p->state == POD_CAPTURED && !p->in_change && settle(m, p) == -EAGAIN)
			return;		/* one that ends looks here again */
	}
}

void origin_done(struct master *m, uint32_t ref, int error)
{
	struct pod *p = &m->pods.at[POD_SLOT(ref)];
	bool on = p->origin == ORIGIN_COMING;

	if (p->state == POD_NONE || p->ref != ref || (!on && p->origin != ORIGIN_GOING))
		return;
	p->in_change = false;
	p->origin = on && error == 0 ? ORIGIN_SHOWN : ORIGIN_OWN;
	p->knows = 0;
	pod_touched(m, p);
	if (error == 0)
		log_info("origin_set", "pod=%s/%s shown=%d", p->words.ns, p->words.name, on);
	else	/* of what is to be shown the next tick tries it again */
		log_limited(LOG_WARN, "origin_not_set", "pod=%s/%s shown=%d", p->words.ns, p->words.name, on);
	pods_changed(m);
	if (p->state == POD_CUT)
		pods_release_some(m);
}

bool origin_leaves(struct master *m, struct pod *p)
{
	int r = 0;

	if (p->origin != ORIGIN_OWN && p->origin != ORIGIN_GOING && (r = start(m, p, false)) == 0)
		p->origin = ORIGIN_GOING;
	/* Should there be no errand at all: what is left leads nothing anywhere. */
	return p->origin == ORIGIN_OWN || (r < 0 && r != -EAGAIN);
}

/* Of those whose rules stay nothing else is left. */
static bool is_marked(const struct pod *p)
{
	return p->origin != ORIGIN_OWN;
}

bool origins_sweep(struct master *m)
{
	struct errand_job job = { .kind = ERRAND_SWEEP, .inside = FD_NONE, .rules = FD_NONE };

	if (m->pods.sweep == SWEEP_DONE || m->phase != PHASE_LEAVING)
		return true;
	if (m->pods.sweep == SWEEP_RUNS)
		return false;
	/* Without it what is left leads nothing anywhere. */
	m->pods.sweep = SWEEP_DONE;
	if (errand_list(m, is_marked, &job.list) < 0 || !fd_is_open(job.list))
		return true;
	if (errand_start(m, &job, NULL) == 0)
		m->pods.sweep = SWEEP_RUNS;
	fd_close(&job.list);
	return m->pods.sweep == SWEEP_DONE;
}

void origins_are_swept(struct master *m)
{
	m->pods.sweep = SWEEP_DONE;
	if (master_is_leaving(m))
		leave_step(m);
}
