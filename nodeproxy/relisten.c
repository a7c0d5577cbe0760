/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Host listeners while it runs: see listeners.h and reload.h.
 *
 * Sockets are bound when a reload is tried and listen when it is used: a socket that listens gets
 * connections, and closing it would cut them.  One that goes away is closed here at once; the workers
 * have it still and close it when they have accepted whoever had connected; new callers are turned
 * away here, as far as the kernel lets us (listener_hush). */
#include "nodeproxy/listeners.h"

#include <errno.h>
#include <stdio.h>
#include <sys/socket.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/ipc/msg.h"
#include "nodeproxy/lib/knobs/change.h"
#include "nodeproxy/master.h"

#define GONE_MS 10000	/* workers close theirs after half a second, or when they are asked next */

void listen_set_init(struct listen_set *s)
{
	for (unsigned i = 0; i < KNOBS_LISTENERS; i++)
		for (unsigned g = 0; g < BOARD_WORKERS; g++)
			s->fd[i][g] = FD_NONE;
}

void listen_set_close(struct listen_set *s)
{
	for (unsigned i = 0; i < KNOBS_LISTENERS; i++)
		for (unsigned g = 0; g < BOARD_WORKERS; g++)
			fd_close(&s->fd[i][g]);
}

static bool same_port(const struct addr *a, const struct addr *b)
{
	return a->port == b->port && a->family == b->family;
}

/* Whether one of the listeners in use, or one that went a moment ago and that workers still close,
 * could be what stands in the way of an exclusive bind. */
static bool is_beside_ours(const struct master *m, const struct addr *a)
{
	const struct listeners *ls = &m->listeners;

	for (uint32_t i = 0; i < m->knobs.n_listeners; i++)
		if (same_port(&m->knobs.listener[i].addr, a))
			return true;
	for (uint32_t i = 0; i < KNOBS_LISTENERS; i++)
		if (ls->gone[i].until.ns > clock_now().ns && same_port(&ls->gone[i].addr, a))
			return true;
	return false;
}

static void remember_gone(struct listeners *ls, const struct addr *a)
{
	unsigned oldest = 0;

	for (unsigned i = 0; i < KNOBS_LISTENERS; i++)
		if (ls->gone[i].until.ns < ls->gone[oldest].until.ns)
			oldest = i;
	ls->gone[oldest].addr = *a;
	ls->gone[oldest].until = mono_after_ms(clock_now(), GONE_MS);
}

static int try_one(struct master *m, const struct knobs_listener *l, unsigned n_workers,
		   struct fd opened[BOARD_WORKERS])
{
	int was = knobs_find_socket(&m->knobs, l), r = 0;
	const struct fd *have = was < 0 ? NULL : m->listeners.set.fd[was];
	struct addr a = l->addr;

	if (have) {
		for (unsigned g = 0; g < BOARD_WORKERS && r == 0; g++)
			if (fd_is_open(have[g]))
				r = listener_bound_to(have[g], &a);
	} else if (a.port != 0 && !is_beside_ours(m, &a)) {
		struct fd probe = FD_NONE;

		r = listener_bind(&a, false, &probe);	/* as listeners_open() */
		if (r == 0)
			r = listener_listen(probe);
		fd_close(&probe);
	}
	for (unsigned g = 0; g < n_workers && r == 0; g++) {
		if (have && fd_is_open(have[g]))
			continue;
		r = listener_bind(&a, true, &opened[g]);
		if (r == 0)
			r = listener_bound_to(opened[g], &a);
	}
	return r;
}

int listeners_try(struct master *m, const struct knobs *now, unsigned n_workers,
		  struct listen_set *opened, unsigned *ret_bad, char why[128])
{
	listen_set_init(opened);
	for (unsigned i = 0; i < now->n_listeners; i++) {
		int r = try_one(m, &now->listener[i], n_workers, opened->fd[i]);

		if (r == 0)
			continue;
		*ret_bad = i;
		snprintf(why, 128, "cannot listen on %s: %s", now->listener[i].bind, strerror(-r));
		listen_set_close(opened);
		return r;
	}
	return 0;
}

void listeners_keep(struct master *m, const struct knobs *now, const struct listen_set *opened)
{
	for (unsigned i = 0; i < now->n_listeners; i++) {
		const struct knobs_listener *l = &now->listener[i];
		int was = knobs_find_socket(&m->knobs, l);
		bool renamed = was >= 0 && strcmp(m->knobs.listener[was].name, l->name) != 0;

		for (unsigned g = 0; g < BOARD_WORKERS; g++) {
			if (fd_is_open(opened->fd[i][g]))
				listener_keep(m, l, g, opened->fd[i][g]);
			else if (renamed && fd_is_open(m->listeners.set.fd[was][g]))
				listener_keep(m, l, g, m->listeners.set.fd[was][g]);
		}
	}
}

void listeners_hush_gone(struct master *m, const struct knobs *was)
{
	for (unsigned i = 0; i < was->n_listeners; i++)
		for (unsigned g = 0; g < BOARD_WORKERS; g++)
			if (knobs_find_socket(&m->knobs, &was->listener[i]) < 0)
				listener_hush(m->listeners.set.fd[i][g], &was->listener[i]);
}

static void close_gone(struct master *m, const struct knobs *was)
{
	for (unsigned i = 0; i < was->n_listeners; i++) {
		const struct knobs_listener *l = &was->listener[i];

		if (knobs_find_socket(&m->knobs, l) >= 0)
			continue;
		for (unsigned g = 0; g < BOARD_WORKERS; g++)
			fd_close(&m->listeners.set.fd[i][g]);
		remember_gone(&m->listeners, &l->addr);
		log_info("listener_gone", "listener=%s address=%s", l->name, l->bind);
	}
}

static void move_row(struct fd to[BOARD_WORKERS], struct fd from[BOARD_WORKERS])
{
	for (unsigned g = 0; g < BOARD_WORKERS; g++)
		if (fd_is_open(from[g]))
			to[g] = fd_take(&from[g]);
}

/* The bits of those that do. */
static uint64_t listen_row(const struct knobs_listener *l, struct fd fd[BOARD_WORKERS])
{
	uint64_t listens = 0;

	for (unsigned g = 0; g < BOARD_WORKERS; g++) {
		int r = fd_is_open(fd[g]) ? listener_listen(fd[g]) : -EBADF;

		if (r == 0) {
			listens |= 1ull << g;
			continue;
		}
		if (fd_is_open(fd[g]))
			log_error("cannot_listen", "listener=%s error=\"%s\"", l->name,
				  strerror(-r));
		fd_close(&fd[g]);
	}
	if (listens)
		log_info("listening", "listener=%s address=%s", l->name, l->bind);
	return listens;
}

void listeners_use(struct master *m, const struct knobs *was, struct listen_set *opened,
		   unsigned n_workers)
{
	static struct listen_set now;	/* too large for the stack */
	struct listeners *ls = &m->listeners;

	listen_set_init(&now);
	close_gone(m, was);
	for (unsigned i = 0; i < m->knobs.n_listeners; i++) {
		const struct knobs_listener *l = &m->knobs.listener[i];
		int at = knobs_find_socket(was, l);

		if (at >= 0)
			move_row(now.fd[i], ls->set.fd[at]);
		ls->fresh[i] = listen_row(l, opened->fd[i]);
		move_row(now.fd[i], opened->fd[i]);
	}
	ls->set = now;
	ls->groups = max_of(ls->groups, n_workers);
}

void listeners_used(struct master *m, const struct knobs *was)
{
	struct listeners *ls = &m->listeners;

	/* A group that nobody holds gets everything from listeners_settle(). */
	for (unsigned i = 0; i < m->knobs.n_listeners; i++)
		for (unsigned g = 0; g < ls->groups; g++)
			if (ls->fresh[i] & 1ull << g && ls->holder[g] >= 0)
				listener_say(m, (unsigned)ls->holder[g], MSG_LISTEN, i, g);
	for (unsigned i = 0; i < was->n_listeners; i++) {
		const struct knobs_listener *l = &was->listener[i];
		int now = knobs_find_socket(&m->knobs, l);

		if (now >= 0 && strcmp(m->knobs.listener[now].name, l->name) == 0)
			continue;
		for (unsigned g = 0; g < ls->groups; g++)
			listener_keep(m, l, g, FD_NONE);
	}
}
