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
#include <sys/inotify.h>
#include <sys/stat.h>

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/hash.h"
#include "store/sync/source.h"

#define DEBOUNCE_MS	20
#define DEBOUNCE_MAX_MS 30	/* under a stream of changes each waits for that, and 5 ms on the way */
#define WINDOW		64
#define AGAIN_MIN_MS	500
#define AGAIN_MAX_MS	5000
#define WRITING_MS	2000	/* longest wait for a writer to close its file */
#define CREATED_MS	100	/* for one to begin; links come without a writer */
#define YOUNG_MS	15	/* a file younger than that may be in the middle of a change */
#define EMPTY_MS	250	/* an empty file is not believed before */
#define IN_PLACE_MS	60	/* nor what was written over, before it has stood still for so long */
#define LOOK_MS		1000
#define LOOKS		60	/* then the path is opened again */
#define FIRST_DIR_MS	2000
#define RETRY_MIN_MS	500	/* pauses before a file that could not be read is asked for again */
#define RETRY_MAX_MS	30000

struct file {
	struct hash_node by_name;
	struct node in_source;	/* source.files */
	struct node queued;	/* source.to_ask */
	struct node dirty;	/* source.dirty: an event named it */
	uint64_t serial;	/* of the request under way; 0: none */
	uint64_t listed;	/* number of the listing that had it last */
	bool look;		/* at its bytes, whatever fstat says */
	bool told;		/* the rest is as it was then */
	bool settled;		/* it was older than the grain of file times when it was read */
	bool gone;		/* as this change set found; told at its end */
	bool writing;		/* modified and not closed since */
	bool moved;		/* put in place by a rename, and no event since */
	struct mono wait_until;	/* left alone till then */
	struct stat seen;	/* not believed yet */
	struct mono seen_at;	/* {0}: nothing is in doubt */
	struct stat st;
	uint64_t digest;
	uint32_t bytes;		/* of what was told last; in source.bytes */
	int error;		/* why it could not be read, as it was told; 0: it could */
	struct node bad;	/* in source.bad, while error */
	struct mono retry_at;
	int64_t retry_ms;
	char name[];
};

struct source_file {
	struct source source;
	struct loop *loop;
	struct chan *chan;
	struct source_events on;
	char *path;
	struct fd dir, inotify;
	char only[256];		/* the one file that counts; "": all */
	struct loop_io io;
	struct loop_timer debounce, again, look_again, resend, retry;
	struct hash by_name;
	struct node files, to_ask, dirty, bad;
	uint64_t bytes;		/* of all files as they were told */
	uint64_t most_bytes;
	uint32_t most_files;
	uint32_t left_out;	/* files of the last listing that there was no room for */
	bool away;		/* said lost */
	bool telling, snapshot, rescan;
	unsigned in_flight;
	uint64_t serial, listing;
	int64_t again_ms;
	unsigned looks;
	struct mono since;	/* first event of the next change set, or of the one being told */
	struct mono next_since;
	struct mono retry_at;	/* what the timer retry is set to */
};

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

/* NULL: no memory, or no room for one more. */
static struct file *file_make(struct source_file *s, const char *name)
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

static bool is_full(const struct source_file *s)
{
	return s->by_name.count >= s->most_files;
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

/* Names that are documents; or the one that counts. */
static bool is_ours(const struct source_file *s, const char *name)
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

static void lose(struct source_file *s, const char *why)
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
			if (!is_ours(s, d->d_name))
				continue;
			f = file_make(s, d->d_name);
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
		lose(s, strerror(-r));
	else
		pump(s);
}

static void debounce_cb(void *arg);

static void tell_dirty(struct source_file *s)
{
	struct mono now = clock_tick(), wait = { 0 };
	struct stat st;

	if (fstat(s->dir.v, &st) < 0 || st.st_nlink == 0) {
		lose(s, "the directory was removed");
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

static void soon(struct source_file *s)
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

/* ---- events ---- */

static void one_event(struct source_file *s, const struct inotify_event *e)
{
	const char *name = e->len ? e->name : "";
	struct file *f;

	if (e->mask & IN_Q_OVERFLOW || strncmp(name, "..", 2) == 0) {
		s->rescan = true;
		soon(s);
		return;
	}
	if (!is_ours(s, name))
		return;
	f = file_make(s, name);
	if (f == NULL && is_full(s))
		return;		/* the next listing says so */
	if (f == NULL) {
		s->rescan = true;
	} else {
		f->retry_ms = 0;
		/* Asked for already, perhaps opened before this change: once more. */
		if (!node_is_linked(&f->dirty))
			list_add_tail(&s->dirty, &f->dirty);
		if (e->mask & IN_MODIFY && !f->writing)
			f->wait_until = mono_after_ms(clock_tick(), WRITING_MS);
		else if (e->mask & IN_CREATE)
			f->wait_until = mono_after_ms(clock_tick(), CREATED_MS);
		else if (!(e->mask & (IN_MODIFY | IN_ATTRIB)))
			f->wait_until = (struct mono){ 0 };
		f->writing = e->mask & IN_MODIFY ||
			     (f->writing && e->mask & (IN_CREATE | IN_ATTRIB));
		f->moved = e->mask & IN_MOVED_TO;
	}
	soon(s);
}

static void inotify_cb(void *arg, unsigned events)
{
	struct source_file *s = arg;
	_Alignas(struct inotify_event) char buf[8192];
	ssize_t n;

	(void)events;
	while ((n = read(s->inotify.v, buf, sizeof buf)) > 0) {
		for (ssize_t at = 0; at + (ssize_t)sizeof(struct inotify_event) <= n;) {
			const struct inotify_event *e = (const void *)(buf + at);

			at += (ssize_t)sizeof *e + e->len;
			if (at > n)
				break;
			if (e->mask & (IN_IGNORED | IN_DELETE_SELF | IN_MOVE_SELF | IN_UNMOUNT)) {
				lose(s, "the directory was moved or removed");
				return;
			}
			one_event(s, e);
		}
	}
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		lose(s, "the directory cannot be watched");
}

/* ---- what comes from the master ---- */

static bool same_file(const struct stat *a, const struct stat *b)
{
	return a->st_dev == b->st_dev && a->st_ino == b->st_ino && a->st_size == b->st_size &&
	       a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec &&
	       a->st_ctim.tv_sec == b->st_ctim.tv_sec && a->st_ctim.tv_nsec == b->st_ctim.tv_nsec;
}

/* All of a file, or its first DOC_FILE_MAX + 1 bytes (which the reader then refuses). */
static int read_file(int fd, size_t expect, char **ret, size_t *ret_n)
{
	size_t room = min_of(expect, (size_t)DOC_FILE_MAX) + 1, n = 0;
	char *p = malloc(room);

	while (p) {
		ssize_t r = read(fd, p + n, room - n);

		if (r < 0 && errno == EINTR)
			continue;
		if (r < 0) {
			int e = -errno;

			free(p);
			return e;
		}
		n += (size_t)r;
		if (r == 0 || n > DOC_FILE_MAX)
			break;
		if (n == room) {	/* it grew since fstat */
			char *q;

			room = min_of(room * 2, (size_t)DOC_FILE_MAX + 1);
			q = realloc(p, room);
			if (q == NULL)
				free(p);
			p = q;
		}
	}
	if (p == NULL)
		return -ENOMEM;
	*ret = p;
	*ret_n = n;
	return 0;
}

static void retry_cb(void *arg);

static void retry_at(struct source_file *s, struct mono at)
{
	int64_t left = max_of(at.ns - clock_now().ns, (int64_t)0);

	if (!loop_timer_is_running(&s->retry) || at.ns < s->retry_at.ns) {
		s->retry_at = at;
		loop_timer_start(s->loop, &s->retry, left, 0, retry_cb, s);
	}
}

/* Asks for the files whose pause is over. */
static void retry_cb(void *arg)
{
	struct source_file *s = arg;
	struct mono now = clock_tick(), next = { 0 };

	for (struct node *it = s->bad.next; it != &s->bad; it = it->next) {
		struct file *f = container_of(it, struct file, bad);

		if (f->retry_at.ns <= now.ns) {
			/* The answer sets the next pause; should none come, this one is tried again. */
			f->retry_at = mono_after_ms(now, RETRY_MAX_MS);
			if (!node_is_linked(&f->dirty))
				list_add_tail(&s->dirty, &f->dirty);
			soon(s);
		}
		if (next.ns == 0 || f->retry_at.ns < next.ns)
			next = f->retry_at;
	}
	if (next.ns)
		retry_at(s, next);
}

static void unreadable(struct source_file *s, struct file *f, int error)
{
	char why[200];

	f->told = false;
	if (error == -EINVAL)
		snprintf(why, sizeof why, "is not a regular file");
	else if (error == -EFBIG)
		snprintf(why, sizeof why, "is too much: all files together may have %llu KiB",
			 (unsigned long long)s->most_bytes >> 10);
	else
		snprintf(why, sizeof why, "cannot be read: %s", strerror(-error));
	if (f->error == error)
		s->on.same(s->on.arg, f->name);		/* the refusal stands */
	else
		s->on.unreadable(s->on.arg, f->name, why);
	f->error = error;
	f->retry_ms = min_of(max_of(f->retry_ms * 2, (int64_t)RETRY_MIN_MS), (int64_t)RETRY_MAX_MS);
	f->retry_at = mono_after_ms(clock_tick(), f->retry_ms);
	if (!node_is_linked(&f->bad))
		list_add_tail(&s->bad, &f->bad);
	retry_at(s, f->retry_at);
}

/* True when the file was written to since st was taken: what was read then may be half of it. */
static bool is_being_written(struct source_file *s, struct file *f, int fd, const struct stat *st)
{
	struct stat now;
	int64_t age_ms;
	bool changed;

	inotify_cb(s, LOOP_READ);
	if (!s->telling)
		return true;		/* lost meanwhile */
	/* The clock of file times may be a little ahead of ours; one far ahead is another host's. */
	age_ms = clock_unix_ms() - (st->st_mtim.tv_sec * 1000 + st->st_mtim.tv_nsec / NS_PER_MS);
	/* A file told for the first time has nothing to lose, and the first view waits for it; one that
	 * was renamed was written before, and whoever still writes it makes an event. */
	changed = fstat(fd, &now) < 0 || !same_file(st, &now) ||
		  (f->told && !f->moved && age_ms > -1000 && age_ms < YOUNG_MS);
	if (changed && !node_is_linked(&f->dirty)) {
		list_add_tail(&s->dirty, &f->dirty);
		f->wait_until = mono_after_ms(clock_tick(), YOUNG_MS);
		soon(s);
	}
	/* Changed and closed again already is no better: it is dirty, and read once more. */
	return changed || (node_is_linked(&f->dirty) && f->wait_until.ns > clock_now().ns);
}

/* True when the file was written over, or emptied, a moment ago.  A file that is opened for writing is
 * emptied first, and on a busy host we see that, and parts of it, before its times and inotify say
 * so.  One that was put in place by a rename, or is new, is believed at once. */
static bool is_in_doubt(struct source_file *s, struct file *f, const struct stat *st, size_t bytes)
{
	bool in_place = f->told && f->st.st_dev == st->st_dev && f->st.st_ino == st->st_ino;
	int64_t doubt_ms = !f->told ? 0 : bytes == 0 ? EMPTY_MS : in_place ? IN_PLACE_MS : 0;
	struct mono now = clock_tick();

	if (f->seen_at.ns == 0 || !same_file(&f->seen, st)) {
		f->seen = *st;
		f->seen_at = now;
	}
	if (mono_diff_ms(now, f->seen_at) >= doubt_ms) {
		f->seen_at = (struct mono){ 0 };
		return false;
	}
	if (!node_is_linked(&f->dirty))
		list_add_tail(&s->dirty, &f->dirty);
	f->wait_until = mono_after_ms(f->seen_at, doubt_ms);
	soon(s);
	return true;
}

static void file_content(struct source_file *s, struct file *f, int fd)
{
	struct stat st;
	char *bytes = NULL;
	size_t n = 0;
	uint64_t digest;
	int r;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		unreadable(s, f, -EINVAL);
		return;
	}
	if (f->told && f->settled && !f->look && same_file(&st, &f->st)) {
		s->on.same(s->on.arg, f->name);
		return;
	}
	f->look = false;
	r = read_file(fd, st.st_size > 0 ? (size_t)st.st_size : 0, &bytes, &n);
	if (r < 0) {
		unreadable(s, f, r);
		return;
	}
	if (is_being_written(s, f, fd, &st) || is_in_doubt(s, f, &st, n)) {
		free(bytes);
		if (s->telling)
			s->on.same(s->on.arg, f->name);
		return;
	}
	if (s->bytes - f->bytes + n > s->most_bytes) {
		free(bytes);
		unreadable(s, f, -EFBIG);
		return;
	}
	s->bytes += n - f->bytes;
	f->bytes = (uint32_t)n;
	list_remove(&f->bad);
	f->error = 0;
	f->retry_ms = 0;
	digest = hash_slice(slice_of(bytes, n));
	if (f->told && f->digest == digest && f->st.st_size == st.st_size)
		s->on.same(s->on.arg, f->name);
	else
		s->on.place(s->on.arg, f->name, slice_of(bytes, n));
	free(bytes);
	f->told = true;
	f->digest = digest;
	f->st = st;
	f->settled = st.st_ctim.tv_sec + 2 < clock_unix_ms() / 1000;
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
		file_content(s, f, m->fd[0].v);
		if (!s->telling)
			return;
	} else if (here->error == -ENOENT && s->only[0]) {
		lose(s, "the file was removed");
		return;
	} else if (here->error == -ENOENT) {
		struct stat st;

		if (fstat(s->dir.v, &st) < 0 || st.st_nlink == 0) {
			lose(s, "the directory was removed");
			return;
		}
		f->gone = true;
	} else {
		unreadable(s, f, here->error < 0 ? here->error : -EIO);
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
		lose(s, why);
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
	loop_io_start(s->loop, &s->io, s->inotify.v, LOOP_READ, inotify_cb, s);
	if (s->telling) {	/* after the change set under way */
		s->rescan = true;
		soon(s);
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
		lose(s, "no descriptors left");
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
		lose(s, "the directory was removed");
	else if (++s->looks % LOOKS == 0)
		(void)chan_say(s->chan, MSG_SOURCE_AGAIN, &(struct msg_empty){ 0 });
}

static void first_dir_cb(void *arg)
{
	lose(arg, "the directory was not handed over");
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
