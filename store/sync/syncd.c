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

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/ipc/debug.h"
#include "store/db/copy.h"
#include "store/registry/key.h"
#include "store/sync/said.h"
#include "store/sync/syncd.h"

#define WORK_SLICE_US	500	/* of background building per pass */
#define REPORT_FIRST_MS 100	/* "starting" is only said when the source takes that long */
#define REPORT_MIN_MS	25	/* msg.def allows 50 a second */
#define REPORT_MAX_MS	5000
#define REPORT_SLICE_US	5000
#define REPORT_PAUSE_US	1000
#define REPORT_COST	10	/* a report that took 1 ms is not made again for 10 ms */
#define VIEW_RETRY_MS	20
#define MODES_A_SLICE	256
#define MODES_PAUSE_MS	25
#define MESSAGES_A_PASS 128
#define LARGE_BYTES	(64 << 10)
#define PODS_AGAIN_MS	250	/* pages that did not arrive */

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

/* ---- modes of namespaces ---- */

/* Within what msg.def allows a second. */
static void modes_cb(void *arg)
{
	struct syncd *s = arg;
	const struct msg_ns_modes *next = modes_next(&s->model.modes);

	for (unsigned i = 0; next && i < MODES_A_SLICE && chan_say(&s->born.chan, MSG_NS_MODES, next) == 0; i++) {
		modes_said(&s->model.modes);
		next = modes_next(&s->model.modes);
	}
	if (next)
		loop_timer_start(&s->loop, &s->modes_again, MODES_PAUSE_MS * NS_PER_MS, 0, modes_cb, s);
}

static void tell_modes(struct syncd *s)
{
	if (!s->model.modes.telling)
		modes_all(&s->model);
	if (!loop_timer_is_running(&s->modes_again))
		modes_cb(s);
}

/* ---- Workloads of this host ---- */

/* After the view, so that workers know what they are asked for. */
static void say_workloads(void *arg)
{
	struct syncd *s = arg;

	if (workloads_say(&s->model.workloads, &s->born.chan) < 0)
		loop_timer_start(&s->loop, &s->workloads_retry, VIEW_RETRY_MS * NS_PER_MS, 0, say_workloads, s);
}

/* ---- the model as it stands ---- */

/* The model as it stands becomes a view of the current rev; tried again when it cannot be. */
void syncd_commit_view(struct syncd *s)
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
	tell_modes(s);
	say_workloads(s);
	if (builder_wants_work(s->model.builder))
		loop_timer_start(&s->loop, &s->work, 0, 0, work_cb, s);
}

static void commit_cb(void *arg)
{
	struct syncd *s = arg;

	s->rev++;
	syncd_commit_view(s);
	stored_write(s, false);
}

/* ---- the report ---- */

/* Of a registry: what is wrong here. */
static void say_to_others(struct syncd *s, struct fd report)
{
	struct slice bytes;
	char *text;

	if (s->source->ops->say == NULL || memfd_map_sealed(report, SIZE_MAX, &bytes) < 0)
		return;
	text = said_of_report(bytes, s->knobs->node);
	memfd_unmap(&bytes);
	s->source->ops->say(s->source, &text);
}

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
	s->source->ops->news(s->source, &s->report.news);
	r = report_step(&s->job, &s->model, &s->keep, &s->report, REPORT_SLICE_US, &text);
	if (r == 1 && chan_send(&s->born.chan, MSG_SOURCES_MADE, &(struct msg_rev){ s->rev },
				(struct slice){ 0 }, &text.v, 1) < 0)
		r = -EAGAIN;
	if (r == 1)
		say_to_others(s, text);
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

void syncd_report_soon(struct syncd *s)
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

void syncd_trim_soon(struct syncd *s)
{
	if (!loop_timer_is_running(&s->trim))
		loop_timer_start(&s->loop, &s->trim, NS_PER_S, 0, trim_cb, s);
}

void syncd_make_true(struct syncd *s, bool changed, struct timing *timing, struct mono since)
{
	if (s->model.shortages) {
		/* A model with holes must not become the truth.  The next process starts from the
		 * store, and the workers keep the view they have. */
		log_error("out_of_memory", "rev=%llu", (unsigned long long)s->rev);
		exit(1);
	}
	if (changed || !s->announced) {
		s->rev++;
		syncd_commit_view(s);
		if (since.ns)
			timing_add(timing, mono_diff_us(clock_tick(), since));
		log_limited(LOG_INFO, "changed", "rev=%llu services=%zu places=%zu us=%lld",
			    (unsigned long long)s->rev, s->model.services.count,
			    s->model.places.count, (long long)timing->last_us);
	}
	stored_write(s, false);
	syncd_report_soon(s);
	syncd_trim_soon(s);
}

static void set_state(struct syncd *s, enum source_state state, const char *why)
{
	snprintf(s->problem, sizeof s->problem, "%s", why);
	s->report.problem = s->problem;
	if (s->report.state == state)
		return;
	s->report.state = state;
	s->report.since = clock_tick();
	if (state == SOURCE_LOST) {
		struct source_news n;

		s->source->ops->news(s->source, &n);
		if (n.heard.ns)
			s->report.since = n.heard;	/* so old is what is served */
	}
	if (state == SOURCE_LOST)
		log_warn("source_lost", "path=\"%s\" why=\"%s\" serving_rev=%llu",
			 s->report.path, why, (unsigned long long)s->rev);
	else
		log_info("source_synced", "path=\"%s\" places=%zu", s->report.path,
			 s->model.places.count);
	syncd_report_soon(s);
}

/* ---- the pods of this host ---- */

/* Not in the middle of what the source tells, which is not true yet; nor before the first view, which it
 * or the store makes.  The end of its change set takes these along. */
bool syncd_may_apply(const struct syncd *s)
{
	return s->announced && !s->telling_all && s->source->ops->since(s->source).ns == 0 &&
	       !loop_timer_is_running(&s->load_again);
}

void syncd_apply_locals(struct syncd *s)
{
	if (!syncd_may_apply(s))
		return;
	if (locals_apply(&s->locals, &s->model))
		syncd_make_true(s, model_settle(&s->model), &s->report.change, (struct mono){ 0 });
}

static void pods_due_cb(void *arg)
{
	syncd_apply_locals(arg);
}

/* Of several pages that come at once, once. */
static void locals_due(void *arg)
{
	struct syncd *s = arg;

	loop_timer_start(&s->loop, &s->pods_due, 0, 0, pods_due_cb, s);
}

static void locals_posted(void *arg, const char *ns, const char *pod, const char *text)
{
	struct syncd *s = arg;

	if (s->source->ops->post)
		s->source->ops->post(s->source, ns, pod, text);
}

static void ask_pods_cb(void *arg)
{
	struct syncd *s = arg;

	(void)chan_say(&s->born.chan, MSG_LOST, &(struct msg_lost){ .type = MSG_PODS_SEEN });
}

static void ask_pods(struct syncd *s)
{
	locals_again(&s->locals);
	loop_timer_start(&s->loop, &s->pods_again, PODS_AGAIN_MS * NS_PER_MS, 0, ask_pods_cb, s);
}

static void pods_seen(struct syncd *s, const struct msg *m)
{
	const struct msg_pods_seen *seen = m->p;
	int r = locals_page(&s->locals, seen->page, m->fd[0]);

	if (r == -EBADMSG) {
		log_error("bad_message", "what=\"a list of pods that is none\"");
		loop_stop(&s->loop);
	} else if (r < 0) {
		ask_pods(s);
	}
}

static void pods_all(struct syncd *s, const struct msg_pods_all *all)
{
	locals_all(&s->locals, all->pages);
	if (locals_lacks(&s->locals))
		ask_pods(s);
}

static void on_snapshot(void *arg)
{
	struct syncd *s = arg;

	s->telling_all = true;
	model_snapshot(&s->model);
}

static void say_refused(const struct documents *docs)
{
	char text[1400];

	for (size_t i = 0; i < docs->n; i++)
		if (docs->v[i].refusal)
			log_limited(LOG_WARN, "refused", "%s",
				    refusal_text(docs->v[i].refusal, text, sizeof text));
}

static void on_place(void *arg, const char *place, struct slice content)
{
	struct syncd *s = arg;
	struct documents docs = { 0 };

	if (documents_read(&docs, place, content) < 0)
		s->model.shortages++;
	log_debug("told", "place=%s bytes=%zu documents=%zu", place, content.n, docs.n);
	say_refused(&docs);
	model_place(&s->model, place, &docs);
}

static void on_documents(void *arg, const char *place, struct documents *docs)
{
	struct syncd *s = arg;

	say_refused(docs);
	model_place(&s->model, place, docs);
}

static uint32_t on_places(void *arg)
{
	const struct model *m = &((struct syncd *)arg)->model;
	uint32_t n = 0;

	for (const struct node *it = m->all_places.next; it != &m->all_places; it = it->next)
		n += !residents_place_is(container_of(it, struct place, in_model)->name);
	return n;
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

/* That a registry was read again, which is not what it should need. */
static void say_snapshot(struct syncd *s)
{
	struct source_news n;

	s->source->ops->news(s->source, &n);
	if (n.snapshots == s->snapshots)
		return;
	s->snapshots = n.snapshots;
	log_info("source_read", "path=\"%s\" endpoint=%s revision=%lld cluster=%llx why=\"%s\"", s->report.path,
		 n.endpoint, (long long)n.revision, (unsigned long long)n.cluster,
		 n.snapshot_why[0] ? n.snapshot_why : "the first time");
}

static void on_end(void *arg)
{
	struct syncd *s = arg;
	bool changed;

	if (s->telling_all)
		locals_keep(&s->locals, &s->model);
	(void)locals_apply(&s->locals, &s->model);
	changed = model_settle(&s->model);
	syncd_make_true(s, changed, s->telling_all ? &s->report.snapshot : &s->report.change,
		  s->source->ops->since(s->source));
	s->telling_all = false;
	workloads_all(&s->model.workloads);
	say_workloads(s);
	say_snapshot(s);
	set_state(s, SOURCE_SYNCED, "");
}

static void on_lost(void *arg, const char *why)
{
	struct syncd *s = arg;
	bool changed;

	/* Places that were told are as they were told; the others stay. */
	model_snapshot_broken(&s->model);
	s->telling_all = false;
	if (s->announced)
		(void)locals_apply(&s->locals, &s->model);
	changed = model_settle(&s->model);
	if (changed)
		syncd_make_true(s, true, &s->report.change, (struct mono){ 0 });
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
	syncd_report_soon(s);
}

/* ---- settings ---- */

static void name_place(struct syncd *s)
{
	if (s->knobs->source_kind == SOURCE_FILE)
		snprintf(s->place, sizeof s->place, "%s", s->knobs->source_path);
	else if (key_root(s->knobs->source_prefix, s->knobs->cluster, s->place) < 0)
		s->place[0] = 0;
	s->report.path = s->place;
}

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
		wanted_pins(s, false);
		s->born.knobs = now;
		s->knobs = (const void *)now.p;
		name_place(s);
	}
	if (r == 0)
		r = want_spaces(s, true);
	wanted_pins(s, true);
	if (r == 0)
		r = model_settings(&s->model, s->knobs->domain, s->knobs->service_cidr, s->knobs->zone);
	if (r == 0)
		r = s->source->ops->settings(s->source, s->knobs);
	if (r < 0) {
		log_error("settings_not_used", "error=\"%s\"", strerror(-r));
		exit(ROLE_EXIT_START);	/* the next one is born with them */
	}
	locals_zone(&s->locals, s->knobs->zone);
	changed = !same_spaces(old, s->knobs) || strcmp(old->domain, s->knobs->domain) != 0 ||
		  strcmp(old->service_cidr, s->knobs->service_cidr) != 0 ||
		  strcmp(old->zone, s->knobs->zone) != 0;
	memfd_unmap(&was);
	s->rebuild |= changed;
	if (changed && s->announced) {
		s->rev++;
		syncd_commit_view(s);
		stored_write(s, false);
	}
	syncd_report_soon(s);
}

/* The master had no descriptors for what we made, or died with it, or with what we asked for.  Which
 * of several views it lacks is not known: all of it is made anew, as a base. */
static void say_again(struct syncd *s, const struct msg_lost *l)
{
	if (l->type == MSG_NONE) {
		s->source->ops->dropped(s->source, MSG_FILE_HERE);
		if (s->announced) {
			modes_all(&s->model);
			tell_modes(s);
		}
	}
	if (l->type == MSG_NONE)
		ask_pods(s);
	if (l->type == MSG_NONE || l->type == MSG_WORKLOAD_HERE) {
		workloads_again(&s->model.workloads);
		say_workloads(s);
	}
	if (l->type != MSG_VIEW_MADE)
		syncd_report_soon(s);
	if (l->type == MSG_SOURCES_MADE || l->type == MSG_WORKLOAD_HERE || !s->announced ||
	    (l->type == MSG_NONE && l->rev >= s->rev))
		return;
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
	case MSG_SOURCE_SECRETS:
		s->source->ops->message(s->source, m);
		break;
	case MSG_VIEW_FAILED:
		view_failed(s, m);
		break;
	case MSG_STORE_COPY:
		stored_copy(s, m->p);
		break;
	case MSG_STORE_CONFIRM:
		stored_confirm(s);
		locals_post(&s->locals);	/* under our lease, whatever the former process did last */
		break;
	case MSG_AGAIN:
		say_again(s, m->p);
		break;
	case MSG_PODS_SEEN:
		pods_seen(s, m);
		break;
	case MSG_PODS_ALL:
		pods_all(s, m->p);
		break;
	case MSG_ENDPOINTS_WANTED:
		wanted_ask(s, m->p);
		break;
	case MSG_WORKLOAD_STATE:
		if (workloads_heard(&s->model.workloads, m->p, m->tail))
			syncd_report_soon(s);
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
			if (m->type == MSG_PODS_SEEN)
				ask_pods(s);
			s->source->ops->dropped(s->source, m->type);
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
int syncd_new_model(struct syncd *s)
{
	int r = model_init(&s->model, s->knobs->domain, s->knobs->service_cidr, s->knobs->zone);

	s->model.demand = s->demand.changed ? &s->demand : NULL;
	workloads_node(&s->model.workloads, s->knobs->node, s->knobs->source_kind != SOURCE_FILE);
	return r < 0 ? r : want_spaces(s, true);
}

static int open_source(struct syncd *s, const struct source_events *events)
{
	struct source_file *file;
	struct source_etcd *etcd;
	int r;

	if (s->knobs->source_kind == SOURCE_FILE) {
		r = source_file_new(&s->loop, &s->born.chan, s->knobs->source_path, events, &file);
		if (r == 0)
			s->source = source_of_file(file);
	} else {
		r = source_etcd_new(&s->loop, &s->born.chan, s->knobs, events,
				    s->model.demand ? &s->demand : NULL, &etcd);
		if (r == 0)
			s->source = source_of_etcd(etcd);
	}
	return r;
}

int main(int argc, char **argv)
{
	struct syncd *s = &the;
	const struct source_events events = {
		.snapshot = on_snapshot, .place = on_place, .documents = on_documents, .same = on_same,
		.unreadable = on_unreadable, .gone = on_gone, .end = on_end, .lost = on_lost,
		.places = on_places,
		.arg = s,
	};
	const struct locals_events pods = { .due = locals_due, .post = locals_posted, .arg = s };
	int r;

	rand_init();
	/* Pages of a registry and texts of reports come and go between what stays: never in the same heap. */
	mallopt(M_MMAP_THRESHOLD, LARGE_BYTES);
	role_begin(ROLE_SYNCD, argc, argv, &s->born);
	s->began = clock_tick();
	if (knobs_check(s->born.knobs.p, s->born.knobs.n) < 0) {
		log_error("bad_knobs", "bytes=%zu", s->born.knobs.n);
		return ROLE_EXIT_START;
	}
	s->knobs = (const void *)s->born.knobs.p;
	snprintf(s->store_path, sizeof s->store_path, "%s/store.db", s->knobs->state_dir);
	s->report = (struct report){ .kind = s->knobs->source_kind == SOURCE_FILE ? "file" : "etcd",
				     .state = SOURCE_STARTING, .problem = "",
				     .since = s->began,
				     .store_path = s->store_path };
	name_place(s);
	r = loop_init(&s->loop);
	if (r == 0)
		wanted_init(s);
	if (r == 0) {
		locals_init(&s->locals, &s->loop, s->knobs->node, &pods);
		snprintf(s->locals.zone, sizeof s->locals.zone, "%s", s->knobs->zone);
		r = syncd_new_model(s);
	}
	if (r == 0)
		r = open_source(s, &events);
	wanted_pins(s, true);
	if (r < 0) {
		log_error("cannot_start", "error=\"%s\"", strerror(-r));
		return ROLE_EXIT_START;
	}
	s->keep.dir = syncd_state_dir(s);
	if (s->born.start.trial)
		stored_use_copy(s);
	else if (s->keep.dir >= 0)
		db_copy_remove(s->keep.dir);
	s->was_durable = true;
	s->had_dir = s->keep.dir >= 0 && !keep_dir_is_removed(&s->keep);
	stored_load(s);
	stored_watch(s);
	s->report_due = true;
	loop_timer_start(&s->loop, &s->report_again, REPORT_FIRST_MS * NS_PER_MS, 0, report_cb, s);
	chan_watch(&s->born.chan, &s->loop, chan_cb, s);
	role_ready(&s->born.chan);
	loop_run(&s->loop);
	locals_fini(&s->locals);
	source_free(&s->source);
	wanted_fini(s);
	keep_close(&s->keep);
	return s->exit_code;
}
