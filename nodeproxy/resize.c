/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See resize.h. */
#include "nodeproxy/resize.h"

#include <errno.h>
#include <sched.h>
#include <string.h>

#include "nodeproxy/birth.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/master.h"
#include "nodeproxy/replace.h"

void workers_pin(struct master *m)
{
	for (unsigned k = 0; k < m->n_workers; k++) {
		int slot = m->listeners.home[k];
		struct child *c = slot < 0 ? NULL : &m->child[slot];
		cpu_set_t set;

		if (!c || c->cpu == m->cpu[k])
			continue;
		c->cpu = m->cpu[k];
		if (!child_is_alive(c))
			continue;
		CPU_ZERO(&set);
		CPU_SET((unsigned)c->cpu, &set);
		if (sched_setaffinity(c->pid, sizeof set, &set) < 0)
			log_warn("not_pinned", "worker=%u cpu=%d error=\"%s\"", c->id, c->cpu,
				 strerror(errno));
		else
			log_info("pinned", "worker=%u cpu=%d", c->id, c->cpu);
	}
}

static struct child *free_slot(struct master *m)
{
	for (unsigned i = 0; i < BOARD_WORKERS; i++)
		if (m->child[i].state == PROC_NONE && !listeners_is_home(m, i))
			return &m->child[i];
	return NULL;
}

static void grow(struct master *m, unsigned from)
{
	for (unsigned k = from; k < m->n_workers; k++) {
		struct child *c = free_slot(m);

		must(c != NULL);	/* the reload was refused else */
		m->listeners.home[k] = (int)c->id;
		c->cpu = m->cpu[k];
		c->fails = 0;
		child_start(c);
	}
}

static void shrink(struct master *m, unsigned from)
{
	struct child *surplus[BOARD_WORKERS];
	unsigned n = 0;

	for (unsigned k = m->n_workers; k < from; k++) {
		if (m->listeners.home[k] >= 0)
			surplus[n++] = &m->child[m->listeners.home[k]];
		m->listeners.home[k] = HELD_BY_NOBODY;
	}
	for (unsigned i = 0; i < n; i++)
		child_retire(surplus[i], m->knobs.drain_ms);
}

void workers_resize(struct master *m, unsigned n, const int cpu[])
{
	unsigned was = m->n_workers;

	memcpy(m->cpu, cpu, sizeof m->cpu);
	m->n_workers = n;
	if (n != was)
		log_info("resized", "workers=%u was=%u", n, was);
	workers_pin(m);
	shrink(m, was);
	grow(m, was);
}
