/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Of the file source: one file that was opened.  Whether it has changed, whether it may be believed yet
 * (somebody may be in the middle of writing it), and when one that could not be read is asked for
 * again. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "nodeproxy/lib/base/clock.h"
#include "store/sync/source_file_inner.h"

#define YOUNG_MS	15	/* a file younger than that may be in the middle of a change */
#define EMPTY_MS	250	/* an empty file is not believed before */
#define IN_PLACE_MS	60	/* nor what was written over, before it has stood still for so long */
#define RETRY_MIN_MS	500	/* pauses before a file that could not be read is asked for again */
#define RETRY_MAX_MS	30000

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
			source_file_soon(s);
		}
		if (next.ns == 0 || f->retry_at.ns < next.ns)
			next = f->retry_at;
	}
	if (next.ns)
		retry_at(s, next);
}

void source_file_unreadable(struct source_file *s, struct file *f, int error)
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

	source_file_events_cb(s, LOOP_READ);
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
		source_file_soon(s);
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
	source_file_soon(s);
	return true;
}

void source_file_content(struct source_file *s, struct file *f, int fd)
{
	struct stat st;
	char *bytes = NULL;
	size_t n = 0;
	uint64_t digest;
	int r;

	if (fstat(fd, &st) < 0 || !S_ISREG(st.st_mode)) {
		source_file_unreadable(s, f, -EINVAL);
		return;
	}
	if (f->told && f->settled && !f->look && same_file(&st, &f->st)) {
		s->on.same(s->on.arg, f->name);
		return;
	}
	f->look = false;
	r = read_file(fd, st.st_size > 0 ? (size_t)st.st_size : 0, &bytes, &n);
	if (r < 0) {
		source_file_unreadable(s, f, r);
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
		source_file_unreadable(s, f, -EFBIG);
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

