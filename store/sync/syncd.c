/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* nodeproxy-syncd: the process that knows what should be true.
 *
 * Documents come from the source, become claims in the model, units in the builder and bytes in a
 * view, which the master hands to the workers; then the store follows and the operator is told.
 * That order is also the order of what must not wait for what: a full disk delays nobody's traffic.
 *
 *   start    store -> model -> view, before the source has answered
 *   then     source: a change set -> model_settle -> builder_commit -> VIEW_MADE -> store -> report
 *   between  in slices: the next base, a store written anew, reports (not more often than they cost);
 *            the store's retries
 *
 * It sees no traffic and no keys, opens files only in the state directory, and may die at any
 * moment: the next one starts from the store. */
#include <errno.h>
#include <malloc.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/ipc/debug.h"
#include "nodeproxy/lib/knobs/knobs.h"
#include "nodeproxy/lib/role/begin.h"
#include "store/db/copy.h"
#include "store/sync/report.h"
#include "store/sync/source.h"

#define WORK_SLICE_US	500	/* of background building per pass */
#define REPORT_FIRST_MS 100	/* "starting" is only said when the source takes that long */
#define REPORT_MIN_MS	25	/* msg.def allows 50 a second */
#define REPORT_MAX_MS	5000
#define REPORT_SLICE_US	5000
#define REPORT_PAUSE_US	1000
#define REPORT_COST	10	/* a report that took 1 ms is not made again for 10 ms */
#define VIEW_RETRY_MS	20
#define STORE_SLICE_US	3000	/* of writing everything anew */
#define STORE_PAUSE_US	500	/* and between, for what came in */
#define LOOK_MS		1000	/* at whether the store is still where it was */
#define DIR_AGAIN_MS	60000	/* a state directory that could not be made */
#define MOVE_MS		20	/* between two looks whether the store is free */
#define LOAD_AGAIN_MS	1000	/* a store that could not be read */
#define MESSAGES_A_PASS 128

struct waiting_view {
	struct built built;
	bool waits;
};

struct syncd {
	struct role_born born;
	const struct knobs *knobs;
	struct loop loop;
	struct model model;
	struct keep keep;
	struct source_file *source;
	struct report report;
	char store_path[256], problem[256];
	uint64_t rev;			/* of the model */
	bool announced;			/* a view was made */
	bool rebuild;			/* all workers refused what the builder made */
	bool telling_all;		/* the change set under way is a snapshot */
	bool report_due;
	struct report_job job;		/* the report being made */
	int64_t report_us;		/* spent on it */
	struct mono report_next;	/* not before */
	bool was_durable;
	bool on_copy;			/* on trial, and until the store itself is free */
	struct loop_timer move;
	uint64_t asides;		/* that were said */
	struct mono store_began;	/* the write under way */
	bool had_dir;			/* a state directory that was there */
	int exit_code;
	struct mono began;
	struct waiting_view base, overlay;
	struct loop_timer work, view_retry, store_retry, report_again, trim, load_again, look, store_work;
};

static struct syncd the;

/* ---- views ---- */

static void flush_views(struct syncd *s);

static void view_retry_cb(void *arg)
{
	flush_views(arg);
}

static bool flush_one(struct syncd *s, struct waiting_view *w)
{
	struct msg_view v = { .rev = w->built.rev, .base_rev = w->built.base_rev,
			      .bytes = w->built.bytes,
			      .kind = w->built.is_base ? VIEW_BASE : VIEW_OVERLAY };

	if (!w->waits)
		return true;
	if (chan_send(&s->born.chan, MSG_VIEW_MADE, &v, (struct slice){ 0 }, &w->built.fd.v, 1) < 0) {
		loop_timer_start(&s->loop, &s->view_retry, VIEW_RETRY_MS * NS_PER_MS, 0,
				 view_retry_cb, s);
		return false;
	}
	fd_close(&w->built.fd);
	w->waits = false;
	return true;
}

/* A base before the overlays that lie on it. */
static void flush_views(struct syncd *s)
{
	if (flush_one(s, &s->base))
		(void)flush_one(s, &s->overlay);
}

/* Takes what the builder made.  What waited and is overtaken is dropped. */
static void send_view(struct syncd *s, struct built *b)
{
	struct waiting_view *w = b->is_base ? &s->base : &s->overlay;

	if (b->is_base && s->overlay.waits) {
		fd_close(&s->overlay.built.fd);
		s->overlay.waits = false;
	}
	if (w->waits)
		fd_close(&w->built.fd);
	*w = (struct waiting_view){ *b, true };
	s->report.views++;
	s->report.bases += b->is_base;
	s->announced = true;
	flush_views(s);
}

static void work_cb(void *arg)
{
	struct syncd *s = arg;
	struct built b;
	int r = builder_work(s->model.builder, WORK_SLICE_US, &b);

	if (r == 1)
		send_view(s, &b);
	else if (r < 0)
		log_limited(LOG_WARN, "base_failed", "error=\"%s\"", strerror(-r));
	if (r >= 0 && builder_wants_work(s->model.builder))
		loop_timer_start(&s->loop, &s->work, WORK_SLICE_US * NS_PER_US, 0, work_cb, s);
}

static void commit_cb(void *arg);
static void write_store(struct syncd *s, bool force);

/* The model as it stands becomes a view of the current rev; tried again when it cannot be. */
static void commit_view(struct syncd *s)
{
	struct built b;
	int r = 0;

	if (s->rebuild)
		r = model_rebuild(&s->model);
	if (r == 0) {
		s->rebuild = false;
		r = builder_commit(s->model.builder, s->rev, &b);
	}
	if (r < 0) {
		log_error("view_failed", "rev=%llu error=\"%s\"", (unsigned long long)s->rev,
			  strerror(-r));
		loop_timer_start(&s->loop, &s->work, 200 * NS_PER_MS, 0, commit_cb, s);
		return;
	}
	send_view(s, &b);
	if (builder_wants_work(s->model.builder))
		loop_timer_start(&s->loop, &s->work, 0, 0, work_cb, s);
}

static void commit_cb(void *arg)
{
	struct syncd *s = arg;

	s->rev++;
	commit_view(s);
	write_store(s, false);
}

/* ---- the store ---- */

static void store_retry_cb(void *arg);
static void store_work_cb(void *arg);
static void report_soon(struct syncd *s);

static void say_aside(struct syncd *s)
{
	if (s->asides == s->keep.asides)
		return;
	s->asides = s->keep.asides;
	log_error("store_moved_aside", "to=%s why=\"%s\"", s->keep.aside, s->keep.aside_why);
	report_soon(s);
}

/* After the store was worked on. */
static void store_was(struct syncd *s, uint64_t commits, int64_t us)
{
	bool durable = s->keep.durable;

	timing_add(&s->report.store_step, us);
	if (s->keep.commits > commits) {
		timing_add(&s->report.store, mono_diff_us(clock_tick(), s->store_began));
		report_soon(s);
	}
	say_aside(s);
	if (durable != s->was_durable) {
		if (durable)
			log_info("durable", "rev=%llu", (unsigned long long)s->keep.rev);
		else
			log_error("not_durable", "rev=%llu problem=\"%s\"",
				  (unsigned long long)s->rev, s->keep.problem);
		s->was_durable = durable;
		report_soon(s);
	}
	if (rewrite_is_on(&s->keep.rewrite)) {
		if (!loop_timer_is_running(&s->store_work))
			loop_timer_start(&s->loop, &s->store_work, STORE_PAUSE_US * NS_PER_US, 0,
					 store_work_cb, s);
	} else if (!durable && !loop_timer_is_running(&s->store_retry)) {
		loop_timer_start(&s->loop, &s->store_retry, s->keep.wait_ms * NS_PER_MS + NS_PER_MS,
				 0, store_retry_cb, s);
	} else if (durable && s->keep.rev != s->rev) {
		write_store(s, false);	/* what changed while it was written anew */
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

static void write_store(struct syncd *s, bool force)
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

	write_store(s, true);
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
		write_store(s, true);
}

/* ---- the store in an upgrade: copy.h ---- */

/* For the next binaries: a copy, or (they were no good) none. */
static void store_copy(struct syncd *s, const struct msg_store_copy *m)
{
	struct msg_store_copied done = { .error = 0 };

	if (!m->make) {
		if (!s->on_copy)
			db_copy_remove(s->keep.dir);
		return;
	}
	write_store(s, true);
	done.error = s->on_copy ? -EBUSY : s->keep.db ? db_copy_make(s->keep.db) : -ENOENT;
	chan_say(&s->born.chan, MSG_STORE_COPIED, &done);
}

static void use_copy(struct syncd *s)
{
	int r = s->born.nfds ? db_copy_dir(s->born.fd[0].v, &s->keep.dir) : -EBADF;

	s->on_copy = true;
	if (r < 0) {		/* the source will tell everything, or we do not become ready */
		log_error("no_copy", "error=\"%s\"", strerror(-r));
		s->keep.dir = -1;
	}
}

static void move_cb(void *arg)
{
	struct syncd *s = arg;
	int copy = s->keep.dir, dir = s->born.fd[0].v;
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
		commit_view(s);
	}
	write_store(s, true);
	report_soon(s);
}

/* We have taken over: the store is ours as soon as the former process has let go of it. */
static void store_confirm(struct syncd *s)
{
	if (s->on_copy && s->born.nfds && !loop_timer_is_running(&s->move))
		move_cb(s);
}

/* ---- the report ---- */

static void report_cb(void *arg)
{
	struct syncd *s = arg;
	struct fd text = FD_NONE;
	struct mono before = clock_tick();
	int64_t us, pause_ms;
	int r;

	if (!s->job.on) {
		s->report_due = false;
		s->report_us = 0;
	}
	s->report.rev = s->rev;
	r = report_step(&s->job, &s->model, &s->keep, &s->report, REPORT_SLICE_US, &text);
	if (r == 1 && chan_send(&s->born.chan, MSG_SOURCES_MADE, &(struct msg_rev){ s->rev },
				(struct slice){ 0 }, &text.v, 1) < 0)
		r = -EAGAIN;
	fd_close(&text);
	us = mono_diff_us(clock_tick(), before);
	timing_add(&s->report.report_step, us);
	s->report_us += us;
	if (r == 0) {
		loop_timer_start(&s->loop, &s->report_again, REPORT_PAUSE_US * NS_PER_US, 0,
				 report_cb, s);
		return;
	}
	s->report_due |= r < 0;
	pause_ms = s->report_us / 1000 * REPORT_COST;
	pause_ms = min_of(max_of(pause_ms, (int64_t)REPORT_MIN_MS), (int64_t)REPORT_MAX_MS);
	s->report_next = mono_after_ms(clock_now(), pause_ms);
	if (s->report_due)
		loop_timer_start(&s->loop, &s->report_again, pause_ms * NS_PER_MS, 0, report_cb, s);
}

static void report_soon(struct syncd *s)
{
	int64_t left = s->report_next.ns - clock_tick().ns;

	if (s->job.on) {
		s->report_due = true;	/* another one, after the one under way */
		return;
	}
	if (s->report_due && s->report_next.ns)
		return;		/* its time is set */
	s->report_due = true;
	loop_timer_start(&s->loop, &s->report_again, max_of(left, (int64_t)0), 0, report_cb, s);
}

/* ---- change sets ---- */

static void trim_cb(void *arg)
{
	(void)arg;
	malloc_trim(0);
}

/* After the model was settled: what changed goes out, first to the workers. */
static void make_true(struct syncd *s, bool changed, struct timing *timing, struct mono since)
{
	if (s->model.shortages) {
		/* A model with holes must not become the truth.  The next process starts from the
		 * store, and the workers keep the view they have. */
		log_error("out_of_memory", "rev=%llu", (unsigned long long)s->rev);
		exit(1);
	}
	if (changed || !s->announced) {
		s->rev++;
		commit_view(s);
		if (since.ns)
			timing_add(timing, mono_diff_us(clock_tick(), since));
		log_limited(LOG_INFO, "changed", "rev=%llu services=%zu places=%zu us=%lld",
			    (unsigned long long)s->rev, s->model.services.count,
			    s->model.places.count, (long long)timing->last_us);
	}
	write_store(s, false);
	report_soon(s);
	if (!loop_timer_is_running(&s->trim))
		loop_timer_start(&s->loop, &s->trim, NS_PER_S, 0, trim_cb, s);
}

static void set_state(struct syncd *s, enum source_state state, const char *why)
{
	snprintf(s->problem, sizeof s->problem, "%s", why);
	s->report.problem = s->problem;
	if (s->report.state == state)
		return;
	s->report.state = state;
	s->report.since = clock_tick();
	if (state == SOURCE_LOST)
		log_warn("source_lost", "path=\"%s\" why=\"%s\" serving_rev=%llu",
			 s->report.path, why, (unsigned long long)s->rev);
	else
		log_info("source_synced", "path=\"%s\" places=%zu", s->report.path,
			 s->model.places.count);
	report_soon(s);
}

static void on_snapshot(void *arg)
{
	struct syncd *s = arg;

	s->telling_all = true;
	model_snapshot(&s->model);
}

static void on_place(void *arg, const char *place, struct slice content)
{
	struct syncd *s = arg;
	struct documents docs = { 0 };
	char text[600];

	if (documents_read(&docs, place, content) < 0)
		s->model.shortages++;
	log_debug("told", "place=%s bytes=%zu documents=%zu", place, content.n, docs.n);
	for (size_t i = 0; i < docs.n; i++)
		if (docs.v[i].refusal)
			log_limited(LOG_WARN, "refused", "%s",
				    refusal_text(docs.v[i].refusal, text, sizeof text));
	model_place(&s->model, place, &docs);
}

static void on_same(void *arg, const char *place)
{
	model_same(&((struct syncd *)arg)->model, place);
}

static void on_unreadable(void *arg, const char *place, const char *why)
{
	log_limited(LOG_WARN, "unreadable", "file=%s why=\"%s\"", place, why);
	model_unreadable(&((struct syncd *)arg)->model, place, why);
}

static void on_gone(void *arg, const char *place)
{
	model_gone(&((struct syncd *)arg)->model, place);
}

static void on_end(void *arg)
{
	struct syncd *s = arg;
	bool changed = model_settle(&s->model);

	make_true(s, changed, s->telling_all ? &s->report.snapshot : &s->report.change,
		  source_file_since(s->source));
	s->telling_all = false;
	set_state(s, SOURCE_SYNCED, "");
}

static void on_lost(void *arg, const char *why)
{
	struct syncd *s = arg;
	bool changed;

	/* Places that were told are as they were told; the others stay. */
	model_snapshot_broken(&s->model);
	s->telling_all = false;
	changed = model_settle(&s->model);
	if (changed)
		make_true(s, true, &s->report.change, (struct mono){ 0 });
	set_state(s, SOURCE_LOST, why);
}

/* ---- the master ---- */

static void view_failed(struct syncd *s, const struct msg *m)
{
	const struct msg_refused *r = m->p;
	char why[160];

	snprintf(why, sizeof why, "%.*s", (int)min_of(m->tail.n, sizeof why - 1),
		 (const char *)m->tail.p);
	log_error("view_refused_by_all", "rev=%llu why=\"%s\"", (unsigned long long)r->rev,
		  msg_text(why, sizeof why) ? why : "");
	s->report.failed_rev = max_of(s->report.failed_rev, r->rev);
	s->report.failed_views++;
	s->rebuild = true;	/* with the next change */
	report_soon(s);
}

/* ---- settings ---- */

/* Namespaces of listeners are in the view whether or not a resource names them. */
static int want_spaces(struct syncd *s, bool wanted)
{
	int r = 0;

	for (uint32_t i = 0; r == 0 && i < s->knobs->n_listeners; i++)
		r = model_want_space(&s->model, s->knobs->listener[i].ns, wanted);
	return r;
}

static bool same_spaces(const struct knobs *a, const struct knobs *b)
{
	if (a->n_listeners != b->n_listeners)
		return false;
	for (uint32_t i = 0; i < a->n_listeners; i++)
		if (strcmp(a->listener[i].ns, b->listener[i].ns) != 0)
			return false;
	return true;
}

static void knobs_try(struct syncd *s, const struct msg_knobs *m, struct fd fd)
{
	struct slice knobs;

	if (knobs_map(fd, &knobs) < 0) {
		chan_offer(&s->born.chan, MSG_KNOBS_REFUSED, m,
			   SLICE("these settings are not of our build"), NULL, 0);
		return;
	}
	memfd_unmap(&knobs);
	(void)chan_say(&s->born.chan, MSG_KNOBS_OK, m);
}

/* What the view depends on makes a new one at once; a change set that is being told goes on. */
static void knobs_use(struct syncd *s, struct fd fd)
{
	struct slice was = s->born.knobs, now;
	const struct knobs *old = s->knobs;
	bool changed;
	int r = knobs_map(fd, &now);

	if (r == 0 && slice_eq(was, now)) {
		memfd_unmap(&now);
		return;
	}
	if (r == 0) {
		r = want_spaces(s, false);
		s->born.knobs = now;
		s->knobs = (const void *)now.p;
		s->report.path = s->knobs->source_path;
	}
	if (r == 0)
		r = want_spaces(s, true);
	if (r == 0)
		r = model_settings(&s->model, s->knobs->domain, s->knobs->service_cidr);
	if (r == 0)
		r = source_file_path(s->source, s->knobs->source_path);
	if (r < 0) {
		log_error("settings_not_used", "error=\"%s\"", strerror(-r));
		exit(ROLE_EXIT_START);	/* the next one is born with them */
	}
	changed = !same_spaces(old, s->knobs) || strcmp(old->domain, s->knobs->domain) != 0 ||
		  strcmp(old->service_cidr, s->knobs->service_cidr) != 0;
	memfd_unmap(&was);
	s->rebuild |= changed;
	if (changed && s->announced) {
		s->rev++;
		commit_view(s);
		write_store(s, false);
	}
	report_soon(s);
}

/* The master had no descriptors for what we made.  Which of several views it lacks is not known:
 * all of it is made anew, as a base. */
static void say_again(struct syncd *s, const struct msg_lost *l)
{
	if (l->type == MSG_SOURCES_MADE) {
		report_soon(s);
		return;
	}
	log_warn("view_again", "rev=%llu", (unsigned long long)s->rev);
	s->rebuild = true;
	commit_cb(s);
}

static void from_master(struct syncd *s, const struct msg *m)
{
	const struct msg_log_level *level = m->p;

	switch (m->type) {
	case MSG_PING:
		(void)chan_say(&s->born.chan, MSG_PONG, m->p);
		break;
	case MSG_LOG_LEVEL:
		if (level->level < LOG_LEVELS)
			log_level = (enum log_level)level->level;
		break;
	case MSG_KNOBS_TRY:
		knobs_try(s, m->p, m->fd[0]);
		break;
	case MSG_KNOBS_USE:
		knobs_use(s, m->fd[0]);
		(void)chan_say(&s->born.chan, MSG_KNOBS_USED, m->p);
		break;
	case MSG_SOURCE_DIR:
	case MSG_FILE_HERE:
		source_file_message(s->source, m);
		break;
	case MSG_VIEW_FAILED:
		view_failed(s, m);
		break;
	case MSG_STORE_COPY:
		store_copy(s, m->p);
		break;
	case MSG_STORE_CONFIRM:
		store_confirm(s);
		break;
	case MSG_AGAIN:
		say_again(s, m->p);
		break;
#ifdef NP_DEBUG_COMMANDS
	case MSG_DEBUG:
		if (!debug_do(m->p))
			debug_drop(&s->born.chan);	/* its only other one */
		break;
#endif
	case MSG_STOP:
		if (s->announced)
			(void)keep_write(&s->keep, &s->model, s->rev, true);
		loop_stop(&s->loop);
		break;
	default:
		break;
	}
}

static void chan_cb(void *arg)
{
	struct syncd *s = arg;

	for (int i = 0; i < MESSAGES_A_PASS; i++) {
		const struct msg *m = NULL;
		int r = chan_recv(&s->born.chan, &m);

		if (r == 0)
			return;
		if (r == -EAGAIN)
			continue;
		if (r == -EMFILE && m) {
			if (m->type == MSG_KNOBS_USE)
				exit(ROLE_EXIT_START);	/* the next one is born with them */
			source_file_dropped(s->source, m->type);
			continue;
		}
		if (r < 0) {	/* the end, or a master that talks nonsense */
			if (r != -EPIPE)
				log_error("bad_message", "error=\"%s\"", strerror(-r));
			loop_stop(&s->loop);
			return;
		}
		from_master(s, m);
	}
}

/* ---- start ---- */

/* An empty model, as it was before anything was told. */
static int new_model(struct syncd *s)
{
	int r = model_init(&s->model, s->knobs->domain, s->knobs->service_cidr);

	return r < 0 ? r : want_spaces(s, true);
}

static void load(struct syncd *s);

static void load_again_cb(void *arg)
{
	struct syncd *s = arg;

	/* Else the source came first, and what it tells counts. */
	if (!s->announced && s->model.places.count == 0)
		load(s);
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
	if (new_model(s) < 0) {
		log_error("out_of_memory", "rev=%llu", (unsigned long long)s->rev);
		exit(1);
	}
	return false;
}

static void load(struct syncd *s)
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
	commit_view(s);
	timing_add(&s->report.load, mono_diff_us(clock_tick(), s->began));
	log_info("loaded", "rev=%llu rows=%u refused=%u slots=%u us=%lld",
		 (unsigned long long)s->rev, loaded.rows, loaded.refused, loaded.slots,
		 (long long)s->report.load.last_us);
	write_store(s, false);
}

int main(int argc, char **argv)
{
	struct syncd *s = &the;
	const struct source_events events = {
		.snapshot = on_snapshot, .place = on_place, .same = on_same,
		.unreadable = on_unreadable, .gone = on_gone, .end = on_end, .lost = on_lost,
		.arg = s,
	};
	int r;

	rand_init();
	role_begin(ROLE_SYNCD, argc, argv, &s->born);
	s->began = clock_tick();
	if (knobs_check(s->born.knobs.p, s->born.knobs.n) < 0) {
		log_error("bad_knobs", "bytes=%zu", s->born.knobs.n);
		return ROLE_EXIT_START;
	}
	s->knobs = (const void *)s->born.knobs.p;
	snprintf(s->store_path, sizeof s->store_path, "%s/store.db", s->knobs->state_dir);
	s->report = (struct report){ .kind = "file", .path = s->knobs->source_path,
				     .state = SOURCE_STARTING, .problem = "",
				     .since = s->began,
				     .store_path = s->store_path };
	r = loop_init(&s->loop);
	if (r == 0)
		r = new_model(s);
	if (r == 0)
		r = source_file_new(&s->loop, &s->born.chan, s->knobs->source_path, &events,
				    &s->source);
	if (r < 0) {
		log_error("cannot_start", "error=\"%s\"", strerror(-r));
		return ROLE_EXIT_START;
	}
	s->keep.dir = s->born.nfds ? s->born.fd[0].v : -1;
	if (s->born.start.trial)
		use_copy(s);
	else if (s->keep.dir >= 0)
		db_copy_remove(s->keep.dir);
	s->was_durable = true;
	s->had_dir = s->keep.dir >= 0 && !keep_dir_is_removed(&s->keep);
	load(s);
	loop_timer_start(&s->loop, &s->look, LOOK_MS * NS_PER_MS, LOOK_MS, look_cb, s);
	s->report_due = true;
	loop_timer_start(&s->loop, &s->report_again, REPORT_FIRST_MS * NS_PER_MS, 0, report_cb, s);
	chan_watch(&s->born.chan, &s->loop, chan_cb, s);
	role_ready(&s->born.chan);
	loop_run(&s->loop);
	source_file_free(&s->source);
	keep_close(&s->keep);
	return s->exit_code;
}
