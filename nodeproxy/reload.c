/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See reload.h. */
#include "nodeproxy/reload.h"

#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <sys/stat.h>

#include "nodeproxy/death.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/ipc/msg.h"
#include "nodeproxy/lib/knobs/change.h"
#include "nodeproxy/master.h"
#include "nodeproxy/orders.h"
#include "nodeproxy/replace.h"
#include "nodeproxy/resize.h"

#define ANSWER_MS 5000	/* for everybody to answer KNOBS_TRY */

/* ---- what is told ---- */

void reload_open(struct master *m)
{
	const struct procs *page = m->procs.p;
	struct reload *r = &m->reload;

	r->knobs_fd = FD_NONE;
	r->generation = max_of(page->config_generation, (uint64_t)1);
	r->since_unix_ms = page->config_unix_ms ? page->config_unix_ms : (uint64_t)clock_unix_ms();
	r->last = page->reload;
	r->last.reason[sizeof r->last.reason - 1] = 0;
}

/* The end of a reload, for who ordered it, for status and for the service manager. */
static void answer(struct master *m, int error, const char *text)
{
	struct reload *r = &m->reload;
	struct child *admind = &m->child[CHILD_ADMIND];
	struct msg_order_done done = { .serial = r->order, .error = error };

	r->state = RELOAD_IDLE;
	loop_timer_stop(&m->loop, &r->deadline);
	fd_close(&r->knobs_fd);
	r->last.at_unix_ms = (uint64_t)clock_unix_ms();
	r->last.ok = error == 0;
	r->last.done += error == 0;
	r->last.refused += error != 0;
	snprintf(r->last.reason, sizeof r->last.reason, "%s", text);
	if (error == 0)
		log_info("reloaded", "generation=%llu what=\"%s\"",
			 (unsigned long long)r->generation, text);
	else
		log_error("reload_refused", "why=\"%s\"", text);
	procs_write(m);
	if (m->phase == PHASE_SERVING)
		service_reloaded(m);
	if (admind->has_chan && admind->told && admind->generation == r->asker)
		chan_offer(&admind->chan, MSG_ORDER_DONE, &done, slice_str(text), NULL, 0);
}

static void undo(struct master *m)
{
	struct reload *r = &m->reload;

	listen_set_close(&r->opened);
	doors_undo(&r->knobs, &r->doors);
	if (r->log_made)
		(void)unlink(r->knobs.access_log_path);
}

static void refuse(struct master *m, const char *fmt, ...) printf_like(2, 3);
static void refuse(struct master *m, const char *fmt, ...)
{
	char text[KNOBS_ERROR];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	undo(m);
	answer(m, -EBADMSG, text);
}

/* "file:line: " of a row, "file: " when it is not in the file any more. */
static const char *place(const struct master *m, uint32_t line, char out[256])
{
	if (line)
		snprintf(out, 256, "%.200s:%u", m->file, line);
	else
		snprintf(out, 256, "%.200s", m->file);
	return out;
}

/* ---- trying: what the master checks itself ---- */

struct differences {
	unsigned n;
	struct knob_change restart;	/* the first that needs one */
	bool has_restart, workers;
};

static void note(void *arg, const struct knob_change *c)
{
	struct differences *d = arg;

	d->n++;
	d->workers |= c->reload == RELOAD_WORKERS;
	if (c->reload == RELOAD_RESTART && !d->has_restart) {
		d->restart = *c;
		d->has_restart = true;
	}
}

static bool load(struct master *m)
{
	struct reload *r = &m->reload;
	char error[KNOBS_ERROR];
	struct stat st;

	/* A pipe would make everybody wait for who writes into it. */
	if (stat(m->file, &st) == 0 && !S_ISREG(st.st_mode)) {
		refuse(m, "%.200s: is not a regular file", m->file);
		return false;
	}
	if (knobs_load_lines(m->file, &r->knobs, &r->lines, error) < 0) {
		refuse(m, "%s", error);
		return false;
	}
	return true;
}

/* CPUs and slots.  Workers that drain hold slots that new ones would need. */
static bool plan_workers(struct master *m)
{
	struct reload *r = &m->reload;
	char at[256], error[128];
	unsigned slots = 0;

	r->n_workers = m->n_workers;
	memcpy(r->cpu, m->cpu, sizeof r->cpu);
	if (!knobs_differ(&m->knobs, &r->knobs, KNOB_workers))
		return true;
	place(m, r->lines.key[KNOB_workers], at);
	if (master_plan(&r->knobs, r->cpu, &r->n_workers, error) < 0) {
		refuse(m, "%s: workers: %s", at, error);
		return false;
	}
	for (unsigned i = 0; i < BOARD_WORKERS; i++)
		slots += m->child[i].state == PROC_NONE;
	if (r->n_workers <= m->n_workers || r->n_workers - m->n_workers <= slots)
		return true;
	refuse(m, "%s: workers: too many old workers have not ended yet; try again later", at);
	return false;
}

static bool open_new(struct master *m)
{
	struct reload *r = &m->reload;
	enum knob_index bad = KNOB_workers, secret;
	char at[256], why[160], text[320];
	struct knob_row row;
	unsigned i = 0;
	int e;

	if (listeners_try(m, &r->knobs, r->n_workers, &r->opened, &i, why) < 0) {
		place(m, r->lines.bind[i], at);
		refuse(m, "%s: listeners[%u].bind: %s", at, i, why);
		return false;
	}
	if (keys_try(&r->knobs, &i, text) < 0) {
		place(m, r->lines.bind[i], at);
		refuse(m, "%s: listeners[%u].%s", at, i, text);
		return false;
	}
	if (identity_differs(&m->knobs, &r->knobs) && identity_try(&r->knobs, &bad, text) < 0) {
		place(m, r->lines.key[bad], at);
		refuse(m, "%s: %s: %s", at, knobs_row(bad, &row) ? row.key : "", text);
		return false;
	}
	if (doors_try(m, &r->knobs, &r->doors, &bad, why) < 0) {
		place(m, r->lines.key[bad], at);
		refuse(m, "%s: %s: %s", at, knobs_row(bad, &row) ? row.key : "", why);
		return false;
	}
	e = files_try_secrets(&r->knobs, &secret);
	if (e < 0) {
		place(m, r->lines.key[secret], at);
		refuse(m, "%s: %s: cannot be opened: %s", at, knobs_row(secret, &row) ? row.key : "",
		       e == -EINVAL ? "not a regular file" : strerror(-e));
		return false;
	}
	if (!knobs_differ(&m->knobs, &r->knobs, KNOB_access_log_path))
		return true;
	e = files_try_log(r->knobs.access_log_path, &r->log_made);
	if (e < 0) {
		place(m, r->lines.key[KNOB_access_log_path], at);
		refuse(m, "%s: access_log.path: cannot open %s: %s", at, r->knobs.access_log_path,
		       strerror(-e));
	}
	return e == 0;
}

/* ---- using ---- */

static void go_on_if_all_answered(struct master *);
static void deadline_cb(void *);

static bool gets_knobs(const struct child *c)
{
	return child_is_alive(c) && c->has_chan && c->told && !c->retired;
}

void reload_tell(struct master *m, struct child *c)
{
	struct msg_knobs k = { .serial = m->reload.generation };

	if (gets_knobs(c) && c->role == ROLE_KEYD) {
		identity_send(m, c, &m->knobs, false);
		identity_here(m, c, false);
		keys_send(m, c, &m->knobs, false);
	}
	if (gets_knobs(c) && chan_send(&c->chan, MSG_KNOBS_USE, &k, (struct slice){ 0 },
				       &m->knobs_fd.v, 1) < 0)
		child_kill(c, "cannot be told the settings");
}

static void use_files(struct master *m, const struct knobs *was, struct doors *doors)
{
	doors_use(m, was, doors);
	if (knobs_differ(was, &m->knobs, KNOB_access_log_path))
		(void)files_send_log(m, &m->child[CHILD_ADMIND]);
	files_source_moved(m, was);
}

static unsigned replace_all(struct master *m)
{
	unsigned n = 0;

	for (unsigned i = 0; i < BOARD_WORKERS; i++) {
		int e = child_replace(&m->child[i], m->knobs.drain_ms);

		n += e == 0 || e == -EAGAIN;
	}
	return n;
}

static void use(struct master *m)
{
	static struct knobs was;
	struct reload *r = &m->reload;
	struct differences d = { .n = 0 };
	char *text = r->done;
	const size_t room = sizeof r->done;

	r->state = RELOAD_USING;
	was = m->knobs;
	knobs_changes(&was, &r->knobs, note, &d);
	listeners_keep(m, &r->knobs, &r->opened);
	doors_keep(m, &r->knobs, &r->doors);
	/* A log level that an operator set stands, unless the file's is another one now. */
	if (knobs_differ(&was, &r->knobs, KNOB_log_level))
		log_level = (enum log_level)min_of(r->knobs.log_level, (uint32_t)LOG_ERROR);
	keep_put(&m->kept, r->knobs_fd, log_level, "knobs");
	m->knobs = r->knobs;
	fd_close(&m->knobs_fd);
	m->knobs_fd = fd_take(&r->knobs_fd);
	r->generation++;
	r->since_unix_ms = (uint64_t)clock_unix_ms();
	listeners_hush_gone(m, &was);
	for (unsigned i = 0; i < CHILDREN; i++) {
		r->waits[i] = gets_knobs(&m->child[i]);
		reload_tell(m, &m->child[i]);
	}
	if (knobs_differ(&was, &m->knobs, KNOB_log_level))
		orders_tell_level(m, log_level);
	listeners_use(m, &was, &r->opened, r->n_workers);
	listeners_used(m, &was);
	use_files(m, &was, &r->doors);
	workers_resize(m, r->n_workers, r->cpu);
	snprintf(text, room, "%u changed, settings of generation %llu are in use", d.n,
		 (unsigned long long)r->generation);
	if (d.workers && replace_all(m))
		snprintf(text + strlen(text), room - strlen(text),
			 "; workers are replaced one by one, each old one has %lld ms to finish",
			 (long long)m->knobs.drain_ms);
	loop_timer_start(&m->loop, &r->deadline, ANSWER_MS * NS_PER_MS, 0, deadline_cb, m);
	master_settle(m);
	go_on_if_all_answered(m);
}

/* ---- what the others say ---- */

static int who_is_silent(const struct master *m)
{
	for (unsigned i = 0; i < CHILDREN; i++)
		if (m->reload.waits[i])
			return (int)i;
	return -1;
}

static void go_on_if_all_answered(struct master *m)
{
	if (who_is_silent(m) >= 0)
		return;
	if (m->reload.state == RELOAD_TRYING)
		use(m);
	else if (m->reload.state == RELOAD_USING)
		answer(m, 0, m->reload.done);
}

/* Silence before: nobody uses them.  Silence after: whoever hangs will, or is replaced and born with
 * them. */
static void deadline_cb(void *arg)
{
	struct master *m = arg;
	int i = who_is_silent(m);
	const struct child *c;
	char text[KNOBS_ERROR];

	if (i < 0)
		return;
	c = &m->child[i];
	if (m->reload.state == RELOAD_TRYING) {
		refuse(m, "%s %u (pid %d) did not say in %d ms whether it can use the settings",
		       role_name(c->role), c->id, (int)c->pid, ANSWER_MS);
		return;
	}
	snprintf(text, sizeof text, "%.300s; %s %u (pid %d) has not said yet that it uses them",
		 m->reload.done, role_name(c->role), c->id, (int)c->pid);
	answer(m, 0, text);
}

static bool ask(struct master *m, struct child *c)
{
	struct msg_knobs k = { .serial = m->reload.serial };

	if (!gets_knobs(c) || c->state != PROC_READY)
		return false;
	if (c->role == ROLE_KEYD)
		keys_send(m, c, &m->reload.knobs, true);
	if (c->role == ROLE_KEYD && identity_differs(&m->knobs, &m->reload.knobs))
		identity_send(m, c, &m->reload.knobs, true);
	return chan_send(&c->chan, MSG_KNOBS_TRY, &k, (struct slice){ 0 }, &m->reload.knobs_fd.v, 1) == 0;
}

void reload_ready(struct master *m, struct child *c)
{
	struct reload *r = &m->reload;

	if (r->state == RELOAD_TRYING && r->waits[c - m->child] && !ask(m, c))
		refuse(m, "the key process cannot be asked about the files of listeners and identities");
}

static void ask_all(struct master *m)
{
	struct reload *r = &m->reload;

	r->serial++;
	for (unsigned i = 0; i < CHILDREN; i++)
		r->waits[i] = ask(m, &m->child[i]);
	/* Files are used only when they were looked at: it is waited for, and started if need be. */
	if (keys_are_wanted(&r->knobs)) {
		r->waits[CHILD_KEYD] = true;
		keys_settle(m);
	}
	loop_timer_start(&m->loop, &r->deadline, ANSWER_MS * NS_PER_MS, 0, deadline_cb, m);
	go_on_if_all_answered(m);
}

/* Words of keyd that begin with what they are about: the place of that in the file, or NULL. */
static const char *place_of(const struct master *m, const char *why, char at[256])
{
	const struct reload *r = &m->reload;
	const char *colon = strchr(why, ':');
	struct knob_row row;
	unsigned i;

	if (sscanf(why, "listeners[%u].", &i) == 1 && i < r->knobs.n_listeners)
		return place(m, r->lines.bind[i], at);
	for (i = 0; colon && knobs_row(i, &row) && !row.of_listener; i++)
		if (strlen(row.key) == (size_t)(colon - why) && strncmp(why, row.key, strlen(row.key)) == 0)
			return place(m, r->lines.key[i], at);
	return NULL;
}

void reload_heard(struct master *m, struct child *c, const struct msg *msg)
{
	const struct msg_knobs *k = msg->p;
	struct reload *r = &m->reload;
	unsigned i = (unsigned)(c - m->child);
	bool used = msg->type == MSG_KNOBS_USED;

	if (r->state != (used ? RELOAD_USING : RELOAD_TRYING) ||
	    k->serial != (used ? r->generation : r->serial) || !r->waits[i])
		return;		/* late */
	r->waits[i] = false;
	if (msg->type == MSG_KNOBS_REFUSED) {
		char why[257], at[256];

		snprintf(why, sizeof why, "%.*s", (int)msg->tail.n, (const char *)msg->tail.p);
		if (c->role == ROLE_KEYD && msg_text(why, sizeof why) && place_of(m, why, at)) {
			refuse(m, "%s: %s", at, why);
			return;
		}
		refuse(m, "%s %u (pid %d): %s", role_name(c->role), c->id, (int)c->pid,
		       msg_text(why, sizeof why) ? why : "refused");
		return;
	}
	go_on_if_all_answered(m);
}

void reload_child_died(struct master *m, struct child *c)
{
	struct reload *r = &m->reload;
	unsigned i = (unsigned)(c - m->child);

	if (r->state == RELOAD_IDLE || !r->waits[i])
		return;
	r->waits[i] = false;
	if (c->role == ROLE_KEYD && r->state == RELOAD_TRYING) {
		refuse(m, "the key process died while it looked at the files of listeners");
		return;
	}
	go_on_if_all_answered(m);
}

void reload_cancel(struct master *m, const char *why)
{
	if (m->reload.state == RELOAD_TRYING)
		refuse(m, "%s", why);
	else if (m->reload.state == RELOAD_USING)
		answer(m, 0, m->reload.done);
}

/* ---- the order ---- */

static void begin(struct master *m)
{
	struct reload *r = &m->reload;
	struct differences d = { .n = 0 };
	char at[256], text[320];
	int e;

	listen_set_init(&r->opened);
	r->doors = (struct doors){ .admin = FD_NONE, .metrics = FD_NONE };
	r->log_made = false;
	if (!load(m))
		return;
	knobs_changes(&m->knobs, &r->knobs, note, &d);
	if (d.n == 0) {
		snprintf(text, sizeof text, "nothing has changed in %.200s", m->file);
		answer(m, 0, text);
		return;
	}
	if (d.has_restart) {
		refuse(m, "%s: %s: changing it from \"%.100s\" to \"%.100s\" needs a restart",
		       place(m, r->lines.key[d.restart.row], at), d.restart.key, d.restart.was,
		       d.restart.now);
		return;
	}
	if (!plan_workers(m) || !open_new(m))
		return;
	e = memfd_sealed("nodeproxy-knobs", slice_of(&r->knobs, sizeof r->knobs), &r->knobs_fd);
	if (e < 0)
		refuse(m, "no memory for the settings: %s", strerror(-e));
	else
		ask_all(m);
}

void reload_order(struct master *m, struct child *from, const struct msg_order *o)
{
	struct reload *r = &m->reload;
	struct msg_order_done done = { .serial = o->serial, .error = -EBUSY };

	if (r->state != RELOAD_IDLE || m->phase != PHASE_SERVING || upgrade_is_running(m)) {
		chan_offer(&from->chan, MSG_ORDER_DONE, &done,
			   r->state != RELOAD_IDLE ? SLICE("a reload is under way") :
			   upgrade_is_running(m) ? SLICE("an upgrade is under way") :
						   SLICE("nodeproxy is leaving"), NULL, 0);
		return;
	}
	r->state = RELOAD_TRYING;
	r->order = o->serial;
	r->asker = from->generation;
	if (m->service.ready_said)
		service_reloading(m);
	begin(m);
}
