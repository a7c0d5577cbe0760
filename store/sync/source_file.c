/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The file source: a directory of YAML and JSON files, or one file.  See source.h.
 *
 * The master opens, we read: it hands over the directory (to list) with an inotify descriptor that
 * watches it, and each file on request, because we have no rights there.  What the descriptors say
 * is looked at; nothing else is believed, so a hostile directory costs refusals and time only.
 *
 *   away        no directory: asked for again, with a growing pause; what was told stands
 *   idle        every file told; an event starts a pause of 20 ms (at most 30 ms with more coming)
 *   telling     files asked for, at most WINDOW at a time; the last answer ends the change set
 *
 * A file that is being written (IN_MODIFY, but no IN_CLOSE_WRITE yet) is left alone for a while, and
 * what was read while that began is thrown away: half a file may well be a valid one.
 *
 * A snapshot (the directory is new, the kernel lost events, a link in it was swapped) asks for all
 * files, a delta for those that events named.  Whether a file changed is judged by what fstat says
 * and, when that is younger than the clock's grain or an event named it, by its bytes.  Once a
 * minute the directory is opened again by its path, for what inotify does not see: network file
 * systems, and a link above the directory that was turned elsewhere.  That it was removed is not
 * seen either while we have it open: a look each second.
 *
 * A file that could not be read (or is none: a pipe, a device) is refused, keeps serving what it
 * said last, and is asked for again with a growing pause, because a disk or a network file system
 * that recovers sends no event.  Files and their bytes are bounded; what is too much is refused with
 * words, and everything that was read before stays. */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/clock.h"
#include "store/sync/source_file_inner.h"

#define DEBOUNCE_MS	20
#define DEBOUNCE_MAX_MS 30	/* under a stream of changes each waits for that, and 5 ms on the way */
#define WINDOW		64
#define AGAIN_MIN_MS	500
#define AGAIN_MAX_MS	5000
#define LOOK_MS		1000
#define LOOKS		60	/* then the path is opened again */
#define FIRST_DIR_MS	2000

static void pump(struct source_file *);

/* ---- files ---- */

static struct file *file_find(const struct source_file *s, const char *name)
{
	for (struct hash_node *n = hash_first(&s->by_name, hash_slice(slice_str(name))); n;
	     n = hash_next(n)) {
		struct file *f = container_of(n, struct file, by_name);

		if (strcmp(f->name, name) == 0)
			return f;
	}
	return NULL;
}

struct file *source_file_make(struct source_file *s, const char *name)
{
	struct file *f = file_find(s, name);
	size_t n = strlen(name) + 1;

	if (f || s->by_name.count >= s->most_files)
		return f;
	f = calloc(1, sizeof *f + n);
	if (f == NULL || hash_add(&s->by_name, &f->by_name, hash_slice(slice_str(name))) < 0) {
		free(f);
		return NULL;
	}
	memcpy(f->name, name, n);
	list_init(&f->queued);
	list_init(&f->dirty);
	list_init(&f->bad);
	list_add_tail(&s->files, &f->in_source);
	return f;
}

static void file_free(struct source_file *s, struct file *f)
{
	list_remove(&f->in_source);
	list_remove(&f->queued);
	list_remove(&f->dirty);
	list_remove(&f->bad);
	hash_remove(&s->by_name, &f->by_name);
	s->bytes -= f->bytes;
	free(f);
}

static_must(RESOURCE_FILE_NAME == sizeof((struct msg_file *)0)->name);

bool source_file_is_ours(const struct source_file *s, const char *name)
{
	return s->only[0] ? strcmp(name, s->only) == 0 : resource_is_file(name);
}

/* ---- losing it ---- */

static void again_cb(void *arg)
{
	struct source_file *s = arg;

	(void)chan_say(s->chan, MSG_SOURCE_AGAIN, &(struct msg_empty){ 0 });
	s->again_ms = min_of(max_of(s->again_ms * 2, (int64_t)AGAIN_MIN_MS), (int64_t)AGAIN_MAX_MS);
	loop_timer_start(s->loop, &s->again, s->again_ms * NS_PER_MS, 0, again_cb, s);
}

void source_file_lose(struct source_file *s, const char *why)
{
	list_each(it, &s->files) {
		struct file *f = container_of(it, struct file, in_source);

		list_remove(&f->queued);
		list_remove(&f->dirty);
		list_remove(&f->bad);
		f->retry_ms = 0;
		f->serial = 0;
		f->gone = false;
		f->writing = false;
		f->wait_until = (struct mono){ 0 };
	}
	s->telling = s->snapshot = s->rescan = false;
	s->in_flight = 0;
	s->since = s->next_since = (struct mono){ 0 };
	s->away = true;
	loop_timer_stop(s->loop, &s->debounce);
	loop_timer_stop(s->loop, &s->resend);
	loop_timer_stop(s->loop, &s->retry);
	if (fd_is_open(s->inotify))
		loop_io_stop(s->loop, &s->io);
	fd_close(&s->inotify);
	fd_close(&s->dir);
	s->on.lost(s->on.arg, why);
	if (!loop_timer_is_running(&s->again)) {
		s->again_ms = 0;
		loop_timer_start(s->loop, &s->again, AGAIN_MIN_MS * NS_PER_MS / 5, 0, again_cb, s);
	}
}

/* ---- telling ---- */

static void finish(struct source_file *s)
{
	/* Only now: when the directory goes, its files go first, and that is no reason to forget. */
	list_each(it, &s->files) {
		struct file *f = container_of(it, struct file, in_source);

		if (f->gone)
			s->on.gone(s->on.arg, f->name);
		if (!f->gone && (!s->snapshot || f->listed == s->listing))
			continue;
		f->gone = f->told = false;
		list_remove(&f->bad);
		f->error = 0;
		s->bytes -= f->bytes;
		f->bytes = 0;
		if (!node_is_linked(&f->dirty))
			file_free(s, f);
	}
	s->telling = s->snapshot = false;
	s->on.end(s->on.arg);
	s->since = s->next_since;
	s->next_since = (struct mono){ 0 };
	s->away = false;
}

static void resend_cb(void *arg)
{
	pump(arg);
}

/* Asks for files as far as the window and the channel allow; ends the change set after the last. */
static void pump(struct source_file *s)
{
	while (s->telling && s->in_flight < WINDOW && !list_is_empty(&s->to_ask)) {
		struct file *f = container_of(s->to_ask.next, struct file, queued);
		struct msg_file want = { .serial = ++s->serial };
		int r;

		memcpy(want.name, f->name, strlen(f->name) + 1);
		r = chan_send(s->chan, MSG_FILE_WANT, &want, (struct slice){ 0 }, NULL, 0);
		if (r < 0) {
			loop_timer_start(s->loop, &s->resend, 10 * NS_PER_MS, 0, resend_cb, s);
			return;
		}
		list_remove(&f->queued);
		f->serial = s->serial;
		s->in_flight++;
	}
	if (s->telling && s->in_flight == 0 && list_is_empty(&s->to_ask))
		finish(s);
}

static void ask(struct source_file *s, struct file *f)
{
	list_remove(&f->dirty);
	if (!node_is_linked(&f->queued) && f->serial == 0)
		list_add_tail(&s->to_ask, &f->queued);
}

/* Says that the directory has more files than there is room for; one refusal for all of them. */
static void tell_left_out(struct source_file *s, uint32_t left_out)
{
	char why[160];

	if (left_out && left_out == s->left_out) {
		s->on.same(s->on.arg, s->path);
	} else if (left_out) {
		snprintf(why, sizeof why, "%u files of this directory are not read: more than %u; put "
			 "several documents into one file", left_out, s->most_files);
		s->on.unreadable(s->on.arg, s->path, why);
	}
	s->left_out = left_out;
}

/* Lists the directory and asks for every file in it.  0 or -errno. */
static int list(struct source_file *s)
{
	_Alignas(struct dirent64) char buf[32768];
	struct stat st;
	ssize_t n;
	uint32_t found = 0, left_out = 0;

	s->listing++;
	/* A directory that was removed still has a descriptor, and is empty. */
	if (fstat(s->dir.v, &st) < 0)
		return -errno;
	if (st.st_nlink == 0)
		return -ENOENT;
	if (lseek(s->dir.v, 0, SEEK_SET) < 0)
		return -errno;
	while ((n = getdents64(s->dir.v, buf, sizeof buf)) > 0) {
		for (ssize_t at = 0; at < n;) {
			const struct dirent64 *d = (const void *)(buf + at);
			struct file *f;

			at += d->d_reclen;
			if (!source_file_is_ours(s, d->d_name))
				continue;
			f = source_file_make(s, d->d_name);
			if (f == NULL && is_full(s)) {
				left_out++;
				continue;
			}
			if (f == NULL)
				return -ENOMEM;
			f->listed = s->listing;
			found++;
			f->look |= node_is_linked(&f->dirty);
			f->moved = false;	/* events since may be lost */
			if (f->wait_until.ns > clock_now().ns)
				s->on.same(s->on.arg, f->name);	/* stays dirty, comes later */
			else
				ask(s, f);
		}
	}
	if (n < 0)
		return -errno;
	tell_left_out(s, left_out);
	return s->only[0] && found == 0 ? -ENOENT : 0;
}

static void tell_all(struct source_file *s)
{
	int r;

	s->rescan = false;
	s->telling = s->snapshot = true;
	if (s->since.ns == 0)
		s->since = clock_tick();
	s->on.snapshot(s->on.arg);
	r = list(s);
	if (r < 0)
		source_file_lose(s, strerror(-r));
	else
		pump(s);
}

static void debounce_cb(void *arg);

static void tell_dirty(struct source_file *s)
{
	struct mono now = clock_tick(), wait = { 0 };
	struct stat st;

	if (fstat(s->dir.v, &st) < 0 || st.st_nlink == 0) {
		source_file_lose(s, "the directory was removed");
		return;
	}
	list_each(it, &s->dirty) {
		struct file *f = container_of(it, struct file, dirty);

		if (f->wait_until.ns > now.ns) {
			if (wait.ns == 0 || f->wait_until.ns < wait.ns)
				wait = f->wait_until;
			continue;
		}
		f->look = true;
		ask(s, f);
	}
	s->telling = !list_is_empty(&s->to_ask);
	if (wait.ns) {
		loop_timer_start(s->loop, &s->debounce, wait.ns - now.ns, 0, debounce_cb, s);
		*(s->telling ? &s->next_since : &s->since) = now;
	}
	pump(s);
}

static void debounce_cb(void *arg)
{
	struct source_file *s = arg;

	if (s->telling) {	/* one change set after the other */
		loop_timer_start(s->loop, &s->debounce, DEBOUNCE_MS * NS_PER_MS, 0, debounce_cb, s);
		return;
	}
	if (!fd_is_open(s->dir))
		return;
	if (s->rescan)
		tell_all(s);
	else if (!list_is_empty(&s->dirty))
		tell_dirty(s);
}

void source_file_soon(struct source_file *s)
{
	struct mono now = clock_tick();
	struct mono *since = s->telling ? &s->next_since : &s->since;
	int64_t left;

	if (since->ns == 0)
		*since = now;
	left = since->ns + DEBOUNCE_MAX_MS * NS_PER_MS - now.ns;
	left = min_of(max_of(left, (int64_t)0), DEBOUNCE_MS * NS_PER_MS);
	loop_timer_start(s->loop, &s->debounce, left, 0, debounce_cb, s);
}

static void file_here(struct source_file *s, const struct msg *m)
{
	const struct msg_file *here = m->p;
	struct file *f;

	if (!msg_text(here->name, sizeof here->name))
		return;
	f = file_find(s, here->name);
	if (f == NULL || f->serial == 0 || f->serial != here->serial)
		return;		/* of a change set that was given up */
	f->serial = 0;
	s->in_flight--;
	if (m->nfds == 1) {
		source_file_content(s, f, m->fd[0].v);
		if (!s->telling)
			return;
	} else if (here->error == -ENOENT && s->only[0]) {
		source_file_lose(s, "the file was removed");
		return;
	} else if (here->error == -ENOENT) {
		struct stat st;

		if (fstat(s->dir.v, &st) < 0 || st.st_nlink == 0) {
			source_file_lose(s, "the directory was removed");
			return;
		}
		f->gone = true;
	} else {
		source_file_unreadable(s, f, here->error < 0 ? here->error : -EIO);
	}
	pump(s);
}

static void source_dir(struct source_file *s, const struct msg *m)
{
	const struct msg_source *src = m->p;
	struct msg *mine = (struct msg *)m;	/* its descriptors are ours to take */
	struct stat st;
	char why[200];

	if (m->nfds != 2 || src->error < 0 || fstat(m->fd[0].v, &st) < 0 || !S_ISDIR(st.st_mode)) {
		snprintf(why, sizeof why, "%s: %s", s->path,
			 strerror(src->error < 0 ? -src->error : ENOTDIR));
		source_file_lose(s, why);
		return;
	}
	loop_timer_stop(s->loop, &s->again);
	s->again_ms = 0;
	if (fd_is_open(s->inotify))
		loop_io_stop(s->loop, &s->io);
	fd_close(&s->inotify);
	fd_close(&s->dir);
	s->dir = fd_take(&mine->fd[0]);
	s->inotify = fd_take(&mine->fd[1]);
	if (msg_text(src->name, sizeof src->name))
		snprintf(s->only, sizeof s->only, "%s", src->name);
	if (!(fcntl(s->inotify.v, F_GETFL) & O_NONBLOCK))	/* the master's is */
		fcntl(s->inotify.v, F_SETFL, O_NONBLOCK);
	loop_io_start(s->loop, &s->io, s->inotify.v, LOOP_READ, source_file_events_cb, s);
	if (s->telling) {	/* after the change set under way */
		s->rescan = true;
		source_file_soon(s);
	} else {
		tell_all(s);
	}
}

void source_file_message(struct source_file *s, const struct msg *m)
{
	if (m->type == MSG_SOURCE_DIR)
		source_dir(s, m);
	else if (m->type == MSG_FILE_HERE)
		file_here(s, m);
}

void source_file_dropped(struct source_file *s, enum msg_type type)
{
	if (type == MSG_SOURCE_DIR) {
		source_file_lose(s, "no descriptors left");
		return;
	}
	/* Which one it was is not known: all that are under way are asked for once more. */
	list_each(it, &s->files) {
		struct file *f = container_of(it, struct file, in_source);

		if (f->serial) {
			f->serial = 0;
			list_add_tail(&s->to_ask, &f->queued);
		}
	}
	s->in_flight = 0;
	if (s->telling)
		loop_timer_start(s->loop, &s->resend, 100 * NS_PER_MS, 0, resend_cb, s);
}

void source_file_bounds(struct source_file *s, uint32_t files, uint64_t bytes)
{
	s->most_files = files;
	s->most_bytes = bytes;
}

struct mono source_file_since(const struct source_file *s)
{
	return s->since;
}

/* ---- life ---- */

/* inotify says nothing about a directory that is removed while it is open. */
static void look_again_cb(void *arg)
{
	struct source_file *s = arg;
	struct stat st;

	if (!fd_is_open(s->dir) || s->telling)
		return;
	if (fstat(s->dir.v, &st) < 0 || st.st_nlink == 0)
		source_file_lose(s, "the directory was removed");
	else if (++s->looks % LOOKS == 0)
		(void)chan_say(s->chan, MSG_SOURCE_AGAIN, &(struct msg_empty){ 0 });
}

static void first_dir_cb(void *arg)
{
	source_file_lose(arg, "the directory was not handed over");
}

static const struct source_ops ops;

int source_file_new(struct loop *loop, struct chan *chan, const char *path,
		    const struct source_events *events, struct source_file **ret)
{
	struct source_file *s = calloc(1, sizeof *s);

	if (s == NULL || (s->path = strdup(path)) == NULL) {
		free(s);
		return -ENOMEM;
	}
	s->source.ops = &ops;
	s->loop = loop;
	s->chan = chan;
	s->on = *events;
	s->dir = s->inotify = FD_NONE;
	list_init(&s->files);
	list_init(&s->to_ask);
	list_init(&s->dirty);
	list_init(&s->bad);
	source_file_bounds(s, SOURCE_FILES_MAX, SOURCE_BYTES_MAX);
	loop_timer_start(loop, &s->again, FIRST_DIR_MS * NS_PER_MS, 0, first_dir_cb, s);
	loop_timer_start(loop, &s->look_again, LOOK_MS * NS_PER_MS, LOOK_MS, look_again_cb, s);
	*ret = s;
	return 0;
}

int source_file_path(struct source_file *s, const char *path)
{
	char *copy = strdup(path);

	if (copy == NULL)
		return -ENOMEM;
	free(s->path);
	s->path = copy;
	return 0;
}

void source_file_free(struct source_file **p)
{
	struct source_file *s = *p;

	if (s == NULL)
		return;
	loop_timer_stop(s->loop, &s->debounce);
	loop_timer_stop(s->loop, &s->again);
	loop_timer_stop(s->loop, &s->look_again);
	loop_timer_stop(s->loop, &s->resend);
	loop_timer_stop(s->loop, &s->retry);
	if (fd_is_open(s->inotify))
		loop_io_stop(s->loop, &s->io);
	fd_close(&s->inotify);
	fd_close(&s->dir);
	list_each(it, &s->files)
		file_free(s, container_of(it, struct file, in_source));
	hash_fini(&s->by_name);
	free(s->path);
	free(s);
	*p = NULL;
}

/* ---- as any source ---- */

struct source *source_of_file(struct source_file *s)
{
	return &s->source;
}

static struct source_file *self(const struct source *s)
{
	return container_of(s, struct source_file, source);
}

static void message(struct source *s, const struct msg *m)
{
	source_file_message(self(s), m);
}

static void dropped(struct source *s, enum msg_type type)
{
	source_file_dropped(self(s), type);
}

static int settings(struct source *s, const struct knobs *k)
{
	return source_file_path(self(s), k->source_path);
}

static struct mono since(const struct source *s)
{
	return source_file_since(self(s));
}

static void news(const struct source *s, struct source_news *ret)
{
	(void)s;
	*ret = (struct source_news){ 0 };
}

static void end(struct source *s)
{
	struct source_file *f = self(s);

	source_file_free(&f);
}

static const struct source_ops ops = {
	.message = message, .dropped = dropped, .settings = settings, .since = since, .news = news,
	.free = end,
};
