/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See listeners.h. */
#include "nodeproxy/listeners.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <sys/socket.h>

#include "nodeproxy/death.h"
#include "nodeproxy/death.h"
#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/net/tcp.h"
#include "nodeproxy/master.h"
#include "nodeproxy/words.h"

#define LISTEN_NAME "listen/%s/%s/%u"	/* 7 + 63 + 1 + 55 + 1 + 2 < MSG_NAME */
#define BACKLOG 4096	/* the kernel's somaxconn cuts it */

int listener_bind(const struct addr *a, bool shared, struct fd *ret)
{
	struct sockaddr_storage ss;
	socklen_t n = addr_to_sockaddr(a, &ss);
	struct fd f = { socket(ss.ss_family, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0) };
	int one = 1, r = 0;

	if (f.v < 0)
		return -errno;
	if (setsockopt(f.v, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one) < 0 ||
	    (shared && setsockopt(f.v, SOL_SOCKET, SO_REUSEPORT, &one, sizeof one) < 0) ||
	    (a->family == 6 &&
	     setsockopt(f.v, IPPROTO_IPV6, IPV6_V6ONLY, &one, sizeof one) < 0) ||
	    bind(f.v, (struct sockaddr *)&ss, n) < 0)
		r = -errno;
	if (r < 0)
		fd_close(&f);
	else
		*ret = f;
	return r;
}

int listener_listen(struct fd f)
{
	return listen(f.v, BACKLOG) < 0 ? -errno : 0;
}

int listener_bound_to(struct fd f, struct addr *ret)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof ss;

	if (getsockname(f.v, (struct sockaddr *)&ss, &n) < 0)
		return -errno;
	addr_from_sockaddr(&ss, ret);
	return 0;
}

/* On trial we only bind: a socket that listens gets its part of the connections at once. */
static int open_one(struct master *m, const struct addr *a, bool shared, struct fd *ret)
{
	int r = listener_bind(a, shared, ret);

	if (r == 0 && m->phase != PHASE_TRIAL)
		r = listener_listen(*ret);
	if (r < 0)
		fd_close(ret);
	return r;
}

void listener_keep(struct master *m, const struct knobs_listener *l, unsigned g, struct fd f)
{
	char text[ADDR_TEXT];

	addr_text(&l->addr, true, text);
	if (fd_is_open(f))
		keep_share(&m->kept, f, 0, LISTEN_NAME, l->name, text, g);
	else
		keep_drop(&m->kept, LISTEN_NAME, l->name, text, g);
}

/* What the keeper has of one listener; the number of sockets. */
static unsigned take_kept(struct master *m, const struct knobs_listener *l,
			  struct fd fd[BOARD_WORKERS])
{
	char text[ADDR_TEXT];
	unsigned n = 0;

	addr_text(&l->addr, true, text);
	for (unsigned g = 0; g < BOARD_WORKERS; g++) {
		if (!kept_take(&m->kept, &fd[g], NULL, LISTEN_NAME, l->name, text, g))
			continue;
		m->listeners.groups = max_of(m->listeners.groups, g + 1);
		n++;
	}
	return n;
}

/* All groups' sockets of one listener. */
static int open_listener(struct master *m, unsigned i)
{
	struct knobs_listener *l = &m->knobs.listener[i];
	struct fd *fd = m->listeners.set.fd[i];
	struct addr a = l->addr;
	char text[ADDR_TEXT];
	unsigned kept = take_kept(m, l, fd);
	int r = 0;

	for (unsigned g = 0; g < BOARD_WORKERS && kept; g++)
		if (fd_is_open(fd[g]))
			r = listener_bound_to(fd[g], &a);
	if (r == 0 && kept == 0 && a.port != 0) {
		/* SO_REUSEPORT would let us share the port with another instance of ours without
		 * a word: the first bind is exclusive. */
		struct fd probe = FD_NONE;

		r = open_one(m, &a, false, &probe);
		fd_close(&probe);
	}
	for (unsigned g = 0; g < m->n_workers && r == 0; g++) {
		if (fd_is_open(fd[g]))
			continue;
		r = open_one(m, &a, true, &fd[g]);
		if (r == 0)
			r = listener_bound_to(fd[g], &a);	/* port 0: the others take the same */
		if (r == 0)
			listener_keep(m, l, g, fd[g]);
	}
	addr_text(&a, true, text);
	if (r < 0) {
		words_say("listeners: %s: cannot listen on %s: %s", l->name, text, strerror(-r));
		return r;
	}
	if (kept == 0)
		log_info("listening", "listener=%s address=%s", l->name, text);
	return 0;
}

void listeners_listen(struct master *m)
{
	for (unsigned i = 0; i < m->knobs.n_listeners; i++)
		for (unsigned g = 0; g < m->listeners.groups; g++) {
			struct fd f = m->listeners.set.fd[i][g];

			if (fd_is_open(f) && listener_listen(f) < 0)
				log_error("not_listening", "listener=%s group=%u error=\"%s\"",
					  m->knobs.listener[i].name, g, strerror(errno));
		}
}

/* The one before us died during the full stop: it has closed the sockets, or its keeper does when we
 * do not take them, and the workers that still drain must not meet new ones at their address.  The
 * keeper sends the signal before it tells the table, and it stays blocked until the loop runs. */
static bool is_told_to_stop(void)
{
	sigset_t pending;

	return sigpending(&pending) == 0 &&
	       (sigismember(&pending, SIGTERM) == 1 || sigismember(&pending, SIGINT) == 1);
}

int listeners_open(struct master *m)
{
	struct listeners *ls = &m->listeners;

	listen_set_init(&ls->set);
	ls->groups = m->n_workers;
	for (unsigned g = 0; g < BOARD_WORKERS; g++) {
		ls->home[g] = g < m->n_workers ? (int)g : HELD_BY_NOBODY;
		ls->holder[g] = HELD_BY_NOBODY;
	}
	if (m->kept.birth == BIRTH_AGAIN && is_told_to_stop()) {
		ls->closed = true;
		return 0;
	}
	for (unsigned i = 0; i < m->knobs.n_listeners; i++) {
		int r = open_listener(m, i);

		if (r < 0)
			return r;
	}
	if (m->kept.birth == BIRTH_AGAIN)	/* perhaps after a trial, and before it listened */
		listeners_listen(m);
	return 0;
}

void listener_say(struct master *m, unsigned slot, unsigned t, unsigned i, unsigned g)
{
	struct child *c = &m->child[slot];
	struct msg_listen l = { .listener = i, .group = g };
	struct fd f = m->listeners.set.fd[i][g];

	if (!c->has_chan || !fd_is_open(f))
		return;
	/* a thousand messages unread: it hangs */
	if (chan_send(&c->chan, (enum msg_type)t, &l, (struct slice){ 0 }, &f.v,
		      t == MSG_LISTEN) == -ENOBUFS)
		child_kill(c, "channel full");
}

static void say(struct master *m, unsigned slot, enum msg_type t, unsigned g)
{
	for (unsigned i = 0; i < m->knobs.n_listeners; i++)
		listener_say(m, slot, t, i, g);
}

void listeners_tell_again(struct master *m, unsigned slot)
{
	for (unsigned g = 0; g < m->n_workers; g++) {
		if (m->listeners.closed || m->listeners.holder[g] != (int)slot)
			continue;
		/* Which one did not arrive is not known, and one that did must not be there twice. */
		say(m, slot, MSG_LISTEN_DROP, g);
		say(m, slot, MSG_LISTEN, g);
	}
}

void listeners_tick(struct master *m)
{
	struct listeners *ls = &m->listeners;

	for (unsigned i = 0; i < m->knobs.n_listeners && !ls->closed; i++) {
		for (unsigned g = 0; g < ls->groups; g++) {
			int listens = 1, who = ls->holder[g];
			struct fd f = ls->set.fd[i][g];
			socklen_t n = sizeof listens;

			if (!fd_is_open(f) ||
			    getsockopt(f.v, SOL_SOCKET, SO_ACCEPTCONN, &listens, &n) < 0 || listens)
				continue;
			if (listener_listen(f) < 0)
				log_limited(LOG_ERROR, "listener_lost", "listener=%s group=%u error=\"%s\"",
					    m->knobs.listener[i].name, g, strerror(errno));
			else
				log_limited(LOG_ERROR, "listener_mended", "listener=%s group=%u worker=%d",
					    m->knobs.listener[i].name, g, who);
			if (who >= 0 && child_is_alive(&m->child[who]))
				child_broke(&m->child[who], "ended a listening socket");
		}
	}
}

static unsigned groups_of(const struct listeners *ls, unsigned n, unsigned slot)
{
	unsigned k = 0;

	for (unsigned g = 0; g < n; g++)
		k += ls->holder[g] == (int)slot;
	return k;
}

/* Serves, and goes on serving: one without a home of its own is about to drain. */
static bool may_hold(const struct master *m, int slot)
{
	return slot >= 0 && child_can_accept(&m->child[slot]) && listeners_is_home(m, (unsigned)slot);
}

/* Who should accept from group g: its home, else the sibling that holds fewest, else nobody. */
static int who_should(struct master *m, unsigned g)
{
	struct listeners *ls = &m->listeners;
	int best = HELD_BY_NOBODY;
	unsigned least = UINT32_MAX;

	if (may_hold(m, ls->home[g]))
		return ls->home[g];
	if (may_hold(m, ls->holder[g]))
		return ls->holder[g];
	for (unsigned s = 0; s < BOARD_WORKERS; s++) {
		unsigned k;

		if (!may_hold(m, (int)s))
			continue;
		k = groups_of(ls, ls->groups, s);
		if (k < least) {
			least = k;
			best = (int)s;
		}
	}
	return best;
}

/* A new master does not know what its predecessor's words did.  Taking back from everybody and
 * giving again leaves the same truth whatever it was. */
static void take_back(struct master *m, unsigned g)
{
	if (m->kept.birth != BIRTH_AGAIN || m->listeners.cleared[g])
		return;
	m->listeners.cleared[g] = true;
	for (unsigned s = 0; s < BOARD_WORKERS; s++)
		if (child_is_alive(&m->child[s]))
			say(m, s, MSG_LISTEN_DROP, g);
}

void listeners_settle(struct master *m)
{
	struct listeners *ls = &m->listeners;

	if (ls->closed || m->phase == PHASE_TRIAL)
		return;
	for (unsigned g = 0; g < m->listeners.groups; g++) {
		int was = ls->holder[g], now = who_should(m, g);

		if (now == was || now == HELD_BY_NOBODY)
			continue;
		take_back(m, g);
		ls->holder[g] = now;
		if (now != ls->home[g])
			log_info("lent", "group=%u worker=%d home=%d", g, now, ls->home[g]);
		say(m, (unsigned)now, MSG_LISTEN, g);
		if (was >= 0)
			say(m, (unsigned)was, MSG_LISTEN_DROP, g);
	}
}

void listeners_forget(struct master *m, unsigned slot)
{
	for (unsigned g = 0; g < m->listeners.groups; g++)
		if (m->listeners.holder[g] == (int)slot)
			m->listeners.holder[g] = HELD_BY_NOBODY;
}

bool listeners_is_home(const struct master *m, unsigned slot)
{
	for (unsigned g = 0; g < m->listeners.groups; g++)
		if (m->listeners.home[g] == (int)slot)
			return true;
	return false;
}

void listeners_move_home(struct master *m, unsigned from, unsigned to)
{
	for (unsigned g = 0; g < m->listeners.groups; g++)
		if (m->listeners.home[g] == (int)from)
			m->listeners.home[g] = (int)to;
}

void listener_hush(struct fd f, const struct knobs_listener *l)
{
	int r = fd_is_open(f) ? tcp_listener_hush(f.v) : 0;

	/* Some kernels want CAP_NET_ADMIN for any filter, which only errands have in effect; it is not worth
	 * one of them: who calls in the moment before it is closed is reset instead of refused. */
	if (r == -EPERM)
		log_limited(LOG_INFO, "still_dialled", "listener=%s error=\"this kernel wants CAP_NET_ADMIN for a filter on it\"",
			    l->name);
	else if (r < 0)
		log_warn("still_dialled", "listener=%s error=\"%s\"", l->name, strerror(-r));
}

void listeners_close(struct master *m)
{
	m->listeners.closed = true;
	for (unsigned i = 0; i < m->knobs.n_listeners; i++)
		for (unsigned g = 0; g < m->listeners.groups; g++) {
			/* At a full stop only: in an upgrade the new master has them. */
			if (m->phase == PHASE_LEAVING)
				listener_hush(m->listeners.set.fd[i][g], &m->knobs.listener[i]);
			fd_close(&m->listeners.set.fd[i][g]);
			listener_keep(m, &m->knobs.listener[i], g, FD_NONE);
		}
}
