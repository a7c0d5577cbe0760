/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See kept.h. */
#include "nodeproxy/kept.h"

#include <errno.h>
#include <fcntl.h>
#include <poll.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/table.h"

static int kept_add(struct kept *k, const struct msg_keep *m, struct fd *fd)
{
	struct kept_entry *e;

	if (!msg_text(m->name, sizeof m->name) || k->n == TABLE_MOST)
		return -EPROTO;
	e = reallocarray(k->entry, k->n + 1, sizeof *e);
	if (!e)
		return -ENOMEM;
	k->entry = e;
	e = &k->entry[k->n++];
	memcpy(e->name, m->name, sizeof e->name);
	e->number = m->number;
	e->fd = fd_take(fd);
	return 0;
}

int kept_open(struct kept *k, struct fd *chan)
{
	struct pollfd p;
	bool lost = false;

	memset(k, 0, sizeof *k);
	chan_init(&k->chan, chan, ROLE_MASTER, ROLE_KEEPER);
	p = (struct pollfd){ .fd = k->chan.fd.v, .events = POLLIN };
	for (;;) {
		const struct msg *m;
		int r = chan_recv(&k->chan, &m);

		if (r == 0) {
			if (poll(&p, 1, -1) < 0 && errno != EINTR)
				return -errno;
			continue;
		}
		if (r == -EMFILE) {
			/* Without a listener or a child we would open and start it once more beside
			 * the one that is there.  The keeper says all of it to the next of us. */
			lost = true;
			continue;
		}
		if (r < 0)
			return r;
		if (m->type == MSG_KEPT_END) {
			const struct msg_kept_end *end = m->p;

			k->birth = (enum kept_birth)min_of(end->birth, (uint32_t)BIRTH_TRIAL);
			k->started_unix_ms = end->started_unix_ms;
			k->started_mono_ms = end->started_mono_s * 1000ull;
			k->old_rev = end->rev;
			return end->speaks < KEEPER_SPEAKS ? -EPROTONOSUPPORT : lost ? -EMFILE : 0;
		}
		if (m->type != MSG_KEPT)
			continue;
		r = kept_add(k, m->p, &k->chan.in.fd[0]);
		if (r < 0)
			return r;
	}
}

static void name_of(struct msg_keep *m, const char *fmt, va_list ap)
{
	memset(m, 0, sizeof *m);
	vsnprintf(m->name, sizeof m->name, fmt, ap);
}

bool kept_take(struct kept *k, struct fd *ret, uint64_t *number, const char *fmt, ...)
{
	struct msg_keep m;
	va_list ap;

	va_start(ap, fmt);
	name_of(&m, fmt, ap);
	va_end(ap);
	for (unsigned i = 0; i < k->n; i++) {
		struct kept_entry *e = &k->entry[i];

		if (!fd_is_open(e->fd) || strcmp(e->name, m.name) != 0)
			continue;
		*ret = fd_take(&e->fd);
		if (number)
			*number = e->number;
		return true;
	}
	return false;
}

void kept_drop_rest(struct kept *k)
{
	for (unsigned i = 0; i < k->n; i++) {
		if (!fd_is_open(k->entry[i].fd))
			continue;
		fd_close(&k->entry[i].fd);
		keep_drop(k, "%s", k->entry[i].name);
	}
	free(k->entry);
	k->entry = NULL;
	k->n = 0;
}

static struct kept_late *late_find(const struct kept *k, const char *name)
{
	for (unsigned i = 0; i < k->n_late; i++)
		if (strcmp(k->late[i].m.name, name) == 0)
			return &k->late[i];
	return NULL;
}

/* At most one per name: the newest. */
static int late_put(struct kept *k, const struct msg_keep *m, const struct fd *fd)
{
	struct kept_late *l = late_find(k, m->name);
	struct fd copy = FD_NONE;

	if (fd) {
		copy.v = fcntl(fd->v, F_DUPFD_CLOEXEC, 0);
		if (copy.v < 0)
			return -errno;
	}
	if (!l) {
		l = reallocarray(k->late, k->n_late + 1, sizeof *l);
		if (!l) {
			fd_close(&copy);
			return -ENOMEM;
		}
		k->late = l;
		l += k->n_late++;
		l->fd = FD_NONE;
	}
	fd_close(&l->fd);
	*l = (struct kept_late){ *m, copy };
	return 0;
}

static int say(struct kept *k, const struct msg_keep *m, const struct fd *fd)
{
	return chan_send(&k->chan, MSG_KEEP, m, (struct slice){ 0 }, fd ? &fd->v : NULL, fd != NULL);
}

static void tell(struct kept *k, const struct msg_keep *m, const struct fd *fd)
{
	/* An older one of that name still waits: this one must not come before it. */
	int r = late_find(k, m->name) ? -ENOBUFS : say(k, m, fd);

	if (r == -ENOBUFS)
		r = late_put(k, m, fd);
	if (r < 0)
		log_limited(LOG_ERROR, "not_kept", "name=%s error=\"%s\"", m->name, strerror(-r));
}

void kept_tick(struct kept *k)
{
	while (k->n_late) {
		struct kept_late *l = &k->late[k->n_late - 1];

		if (say(k, &l->m, fd_is_open(l->fd) ? &l->fd : NULL) < 0)
			return;
		fd_close(&l->fd);
		k->n_late--;
	}
}

void keep_put(struct kept *k, struct fd fd, uint64_t number, const char *fmt, ...)
{
	struct msg_keep m;
	va_list ap;

	va_start(ap, fmt);
	name_of(&m, fmt, ap);
	va_end(ap);
	m.number = number;
	tell(k, &m, &fd);
}

void keep_share(struct kept *k, struct fd fd, uint64_t number, const char *fmt, ...)
{
	struct msg_keep m;
	va_list ap;

	va_start(ap, fmt);
	name_of(&m, fmt, ap);
	va_end(ap);
	m.number = number;
	m.shared = 1;
	tell(k, &m, &fd);
}

void keep_drop(struct kept *k, const char *fmt, ...)
{
	struct msg_keep m;
	va_list ap;

	va_start(ap, fmt);
	name_of(&m, fmt, ap);
	va_end(ap);
	tell(k, &m, NULL);
}

void keep_last_words(struct kept *k, const char *words)
{
	struct msg_empty none = { 0 };

	chan_offer(&k->chan, MSG_LAST_WORDS, &none,
		   slice_of(words, min_of(strlen(words), (size_t)255)), NULL, 0);
}
