/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The store in the life of the sync process: loaded at the start, written behind what is true already,
 * looked after, and handed over in an upgrade.  See syncd.h, keep.h.
 *
 * Nothing here delays a view.  What cannot be read is looked at again, and not written to before the
 * source has told everything; what cannot be written is tried again, and said. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/rand.h"
#include "store/db/copy.h"
#include "store/sync/syncd.h"

#define STORE_SLICE_US	3000	/* of writing everything anew */
#define STORE_PAUSE_US	500	/* and between, for what came in */
#define LOOK_MS		1000	/* at whether the store is still where it was */
#define DIR_AGAIN_MS	60000	/* a state directory that could not be made */
#define MOVE_MS		20	/* between two looks whether the store is free */
#define LOAD_AGAIN_MS	1000	/* a store that could not be read */

/* ---- writing ---- */

static void store_retry_cb(void *arg);
static void store_work_cb(void *arg);

static void say_aside(struct syncd *s)
{
	if (s->asides == s->keep.asides)
		return;
	s->asides = s->keep.asides;
	log_error("store_moved_aside", "to=%s why=\"%s\"", s->keep.aside, s->keep.aside_why);
	syncd_report_soon(s);
}

/* After the store was worked on. */
static void store_was(struct syncd *s, uint64_t commits, int64_t us)
{
	bool durable = s->keep.durable;

	timing_add(&s->report.store_step, us);
	if (s->keep.commits > commits) {
		timing_add(&s->report.store, mono_diff_us(clock_tick(), s->store_began));
		syncd_trim_soon(s);
		syncd_report_soon(s);
	}
	say_aside(s);
	if (durable != s->was_durable) {
		if (durable)
			log_info("durable", "rev=%llu", (unsigned long long)s->keep.rev);
		else
			log_error("not_durable", "rev=%llu problem=\"%s\"",
				  (unsigned long long)s->rev, s->keep.problem);
		s->was_durable = durable;
		syncd_report_soon(s);
	}
	if (rewrite_is_on(&s->keep.rewrite)) {
		if (!loop_timer_is_running(&s->store_work))
			loop_timer_start(&s->loop, &s->store_work, STORE_PAUSE_US * NS_PER_US, 0,
					 store_work_cb, s);
	} else if (!durable && !loop_timer_is_running(&s->store_retry)) {
		loop_timer_start(&s->loop, &s->store_retry, s->keep.wait_ms * NS_PER_MS + NS_PER_MS,
				 0, store_retry_cb, s);
	} else if (durable && s->keep.rev != s->rev) {
		stored_write(s, false);	/* what changed while it was written anew */
	}
}

static void store_work_cb(void *arg)
{
	struct syncd *s = arg;
	struct mono before = clock_tick();
	uint64_t commits = s->keep.commits;

	(void)keep_work(&s->keep, &s->model, s->rev, STORE_SLICE_US);
	store_was(s, commits, mono_diff_us(clock_tick(), before));
}

void stored_write(struct syncd *s, bool force)
{
	struct mono before = clock_tick();
	uint64_t commits = s->keep.commits;

	if (!s->announced)
		return;		/* nothing was told yet: what the store has must stay */
	if (!rewrite_is_on(&s->keep.rewrite))
		s->store_began = before;
	(void)keep_begin(&s->keep, &s->model, s->rev, force);
	store_was(s, commits, mono_diff_us(clock_tick(), before));
}

static void store_retry_cb(void *arg)
{
	struct syncd *s = arg;

	stored_write(s, true);
}

/* A store that is removed says nothing.  When its directory went with it, only a process that is born
 * with another one can write again (Landlock names directories, not paths); the source has told us
 * everything, so nothing is lost by being that process. */
static void look_cb(void *arg)
{
	struct syncd *s = arg;

	if (s->on_copy)
		return;		/* whose end is in other hands */
	if (keep_dir_is_removed(&s->keep) || s->keep.dir < 0) {
		int64_t up_ms = mono_diff_ms(clock_tick(), s->began);

		if (s->report.state == SOURCE_SYNCED && (s->had_dir || up_ms > DIR_AGAIN_MS)) {
			log_error("state_dir_removed", "rev=%llu what=\"starting again with a new one\"",
				  (unsigned long long)s->rev);
			loop_stop(&s->loop);
			s->exit_code = ROLE_EXIT_START;
			return;
		}
	}
	if (keep_is_removed(&s->keep))
		stored_write(s, true);
}

void stored_watch(struct syncd *s)
{
	loop_timer_start(&s->loop, &s->look, LOOK_MS * NS_PER_MS, LOOK_MS, look_cb, s);
}

/* ---- the store in an upgrade: copy.h ---- */

/* For the next binaries: a copy, or (they were no good) none. */
void stored_copy(struct syncd *s, const struct msg_store_copy *m)
{
	struct msg_store_copied done = { .error = 0 };

	if (!m->make) {
		if (!s->on_copy)
			db_copy_remove(s->keep.dir);
		return;
	}
	/* All of it, also when it is being written anew. */
	if (s->announced && !s->on_copy)
		(void)keep_write(&s->keep, &s->model, s->rev, true);
	done.error = s->on_copy ? -EBUSY : s->keep.db ? db_copy_make(s->keep.db) : -ENOENT;
	chan_say(&s->born.chan, MSG_STORE_COPIED, &done);
}

void stored_use_copy(struct syncd *s)
{
	int dir = syncd_state_dir(s);
	int r = dir >= 0 ? db_copy_dir(dir, &s->keep.dir) : -EBADF;

	s->on_copy = true;
	if (r < 0) {		/* the source will tell everything, or we do not become ready */
		log_error("no_copy", "error=\"%s\"", strerror(-r));
		s->keep.dir = -1;
	}
}

static void move_cb(void *arg)
{
	struct syncd *s = arg;
	int copy = s->keep.dir, dir = syncd_state_dir(s);
	uint64_t rev = 0;
	int r;

	if (db_is_taken(dir)) {
		log_limited(LOG_INFO, "store_taken", "by=\"the former sync process\"");
		loop_timer_start(&s->loop, &s->move, MOVE_MS * NS_PER_MS, 0, move_cb, s);
		return;
	}
	r = keep_move(&s->keep, &s->model, dir, &rev);
	s->on_copy = false;
	if (copy >= 0)
		close(copy);
	db_copy_remove(dir);
	log_info("store_confirmed", "rev=%llu found=%llu error=%d", (unsigned long long)s->rev,
		 (unsigned long long)rev, -r);
	if (rev >= s->rev) {	/* the former process went on while we were on trial */
		s->rev = rev + 1;
		syncd_commit_view(s);
	}
	stored_write(s, true);
	syncd_report_soon(s);
}

/* We have taken over: the store is ours as soon as the former process has let go of it. */
void stored_confirm(struct syncd *s)
{
	if (s->on_copy && syncd_state_dir(s) >= 0 && !loop_timer_is_running(&s->move))
		move_cb(s);
}

/* ---- the start ---- */

static void load_again_cb(void *arg)
{
	struct syncd *s = arg;

	/* Else the source came first, and what it tells counts. */
	if (!s->announced && s->model.places.count == 0)
		stored_load(s);
	syncd_apply_locals(s);
}

/* Opens and reads the store; false: there is nothing in it, or nothing that can be served. */
static bool load_store(struct syncd *s, struct keep_loaded *loaded)
{
	int r = keep_open_again(&s->keep);

	if (r == 0)
		r = keep_load(&s->keep, &s->model, loaded);
	say_aside(s);
	if (r == 0)
		return s->keep.rev > 0;
	if (r != -EBADMSG) {
		log_limited(LOG_ERROR, "store_failed", "error=\"%s\" problem=\"%s\"", strerror(-r),
			    s->keep.problem);
		/* Unread is not empty: it is looked at again, and not written to before the source
		 * has told everything. */
		loop_timer_start(&s->loop, &s->load_again, LOAD_AGAIN_MS * NS_PER_MS, 0,
				 load_again_cb, s);
	}
	/* Half of it may be in the model. */
	model_fini(&s->model);
	if (syncd_new_model(s) < 0) {
		log_error("out_of_memory", "rev=%llu", (unsigned long long)s->rev);
		exit(1);
	}
	return false;
}

void stored_load(struct syncd *s)
{
	struct keep_loaded loaded = { 0 };
	bool any = load_store(s, &loaded);

	if (s->was_durable && !s->keep.durable)
		log_error("not_durable", "rev=%llu problem=\"%s\"", (unsigned long long)s->rev,
			  s->keep.problem);
	s->was_durable = s->keep.durable;
	/* Generations go on from where they were, and where that is not known, from anywhere: what the
	 * board still has of an earlier life must not look like ours, nor like a newer one
	 * (BOARD_GEN_STALE).  No clock says how far that life came. */
	if (s->model.gen == 0)
		s->model.gen = rand_u32();
	else if (s->born.start.generation > 1)
		s->model.gen += 1u << 16;
	/* Views only go forward, also when the last ones did not get into the store. */
	s->rev = s->keep.rev;
	if (s->born.start.rev >= s->rev && s->born.start.rev > 0)
		s->rev = s->born.start.rev + (s->keep.rev > 0);
	if (!model_settle(&s->model) && !any)
		return;		/* nothing was ever told: the first view waits for the source */
	if (s->model.shortages) {
		log_error("out_of_memory", "rev=%llu", (unsigned long long)s->rev);
		exit(1);
	}
	syncd_commit_view(s);
	timing_add(&s->report.load, mono_diff_us(clock_tick(), s->began));
	log_info("loaded", "rev=%llu rows=%u refused=%u slots=%u us=%lld",
		 (unsigned long long)s->rev, loaded.rows, loaded.refused, loaded.slots,
		 (long long)s->report.load.last_us);
	stored_write(s, false);
}
