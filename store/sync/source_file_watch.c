/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Of the file source: what inotify says of its directory, and which files that makes dirty. */
#include <errno.h>
#include <sys/inotify.h>
#include <unistd.h>

#include "nodeproxy/lib/base/clock.h"
#include "store/sync/source_file_inner.h"

#define WRITING_MS	2000	/* longest wait for a writer to close its file */
#define CREATED_MS	100	/* for one to begin; links come without a writer */

static void one_event(struct source_file *s, const struct inotify_event *e)
{
	const char *name = e->len ? e->name : "";
	struct file *f;

	if (e->mask & IN_Q_OVERFLOW || strncmp(name, "..", 2) == 0) {
		s->rescan = true;
		source_file_soon(s);
		return;
	}
	if (!source_file_is_ours(s, name))
		return;
	f = source_file_make(s, name);
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
	source_file_soon(s);
}

void source_file_events_cb(void *arg, unsigned events)
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
				source_file_lose(s, "the directory was moved or removed");
				return;
			}
			one_event(s, e);
		}
	}
	if (n == 0 || (n < 0 && errno != EAGAIN && errno != EINTR))
		source_file_lose(s, "the directory cannot be watched");
}

