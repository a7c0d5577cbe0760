/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See table.h. */
#include "nodeproxy/table.h"

#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/pidfd.h>

#include "nodeproxy/lib/base/log.h"

#define PIDS "pid/"

static bool begins(const struct table_entry *e, const char *with)
{
	return strncmp(e->m.name, with, strlen(with)) == 0;
}

static void drop(struct table_entry *e)
{
	fd_close(&e->fd);
	e->era = 0;
}

static struct table_entry *find(struct table *t, uint32_t era, const char *name)
{
	for (unsigned i = 0; i < t->n; i++)
		if (t->entry[i].era == era && strcmp(t->entry[i].m.name, name) == 0)
			return &t->entry[i];
	return NULL;
}

static struct table_entry *find_hole(struct table *t)
{
	struct table_entry *more;

	for (unsigned i = 0; i < t->n; i++)
		if (t->entry[i].era == 0)
			return &t->entry[i];
	more = t->n < TABLE_MOST ? reallocarray(t->entry, t->n + 1, sizeof *more) : NULL;
	if (!more)
		return NULL;
	t->entry = more;
	more += t->n++;
	*more = (struct table_entry){ .fd = FD_NONE };
	return more;
}

void table_keep(struct table *t, uint32_t era, const struct msg_keep *m, struct fd *fd)
{
	struct table_entry *e;

	if (!msg_text(m->name, sizeof m->name))
		return;
	e = find(t, era, m->name);
	if (!fd_is_open(*fd)) {
		if (e)
			drop(e);
		return;
	}
	if (!e)
		e = find_hole(t);
	if (!e) {
		log_limited(LOG_ERROR, "table_full", "name=%s entries=%u", m->name, t->n);
		return;
	}
	fd_close(&e->fd);
	*e = (struct table_entry){ .m = *m, .era = era, .fd = fd_take(fd) };
}

void table_inherit(struct table *t, uint32_t from, uint32_t to)
{
	for (unsigned i = 0; i < t->n; i++) {
		struct table_entry *e = &t->entry[i];

		if (e->era != from || !e->m.shared)
			continue;
		if (find(t, to, e->m.name))
			drop(e);
		else
			e->era = to;
	}
}

void table_drop(struct table *t, uint32_t era, bool pids_too)
{
	for (unsigned i = 0; i < t->n; i++)
		if (t->entry[i].era == era && (pids_too || !begins(&t->entry[i], PIDS)))
			drop(&t->entry[i]);
}

void table_kill(const struct table *t, uint32_t era)
{
	for (unsigned i = 0; i < t->n; i++) {
		const struct table_entry *e = &t->entry[i];

		if (e->era && (era == 0 || e->era == era) && begins(e, PIDS))
			(void)pidfd_send_signal(e->fd.v, SIGKILL, NULL, 0);
	}
}

unsigned table_count(const struct table *t, uint32_t era, const char *with)
{
	unsigned n = 0;

	for (unsigned i = 0; i < t->n; i++)
		n += t->entry[i].era == era && begins(&t->entry[i], with);
	return n;
}
