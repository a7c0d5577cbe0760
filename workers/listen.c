/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See listen.h. */
#include "workers/listen.h"

#include <errno.h>
#include <sys/socket.h>

#include "nodeproxy/lib/base/log.h"
#include "workers/path/conn.h"

#define BURST_MAX 8	/* some 50 µs */
#define QUEUE_MOST 65536	/* somaxconn is at most this */
/* For handshakes that were under way at a listener that is gone, and for the master and the keeper to
 * close theirs: who closes last must be who accepts. */
#define CLOSE_MS   500

void listeners_init(struct listeners *ls, struct path *p, int spare)
{
	ls->path = p;
	ls->spare.v = dup(spare);
	p->fds.listeners = fd_is_open(ls->spare);
	ls->pass = NULL;
	ls->n = 0;
	for (unsigned i = 0; i < LISTENERS_MAX; i++)
		ls->at[i].fd = FD_NONE;
}

/* No descriptor is left: refuse the caller instead of leaving it, and the event, where they are. */
static int refuse_one(struct listeners *ls, struct listener *l)
{
	struct stream s = { 0 };
	struct addr peer;
	int r;

	fd_close(&ls->spare);
	r = tcp_world->accept(l->fd.v, &s, &peer);
	if (r == 0) {
		gate_now(l->gate);
		conn_refuse(l->gate, &s, REASON_NO_DESCRIPTORS);
	}
	ls->spare.v = dup(l->fd.v);
	return r;
}

static void pause_one(struct listeners *ls, struct listener *l, int error)
{
	log_limited(LOG_WARN, "accept_failed", "listener=%s error=%d", l->gate->terms.name, -error);
	poll_remove(&ls->path->poll, l->fd.v);
	l->paused = true;
}

static void listener_step(struct sched_unit *u)
{
	struct listener *l = container_of(u, struct listener, unit);
	struct path *p = l->gate->path;

	if (l->paused)
		return;
	/* The event comes back while callers wait, so asking once more than there are is what costs:
	 * the burst grows when all of it was there. */
	for (uint32_t i = 0; i < l->burst; i++) {
		struct stream s = { 0 };
		struct addr peer;
		int r = tcp_world->accept(l->fd.v, &s, &peer);

		switch (r) {
		case 0:
			board_add(&p->mine->c[WC_accepted], 1);
			if (unlikely(l->home->pass) && l->index == LISTENER_OF_POD &&
			    l->home->pass(l->home->pass_arg, l->gate, &s))
				continue;
			(void)conn_new(l->gate, &s, &peer);
			continue;
		case -EAGAIN:
			l->burst = max_of(l->burst / 2, 1u);
			return;
		case -ECONNABORTED:
		case -EINTR:
		case -EPROTO:
			continue;
		case -EMFILE:
		case -ENFILE:
			r = refuse_one(l->home, l);
			if (r < 0 && r != -EAGAIN)	/* the whole host has none: do not spin */
				pause_one(l->home, l, r);
			return;
		default:
			pause_one(l->home, l, r);
			return;
		}
	}
	l->burst = min_of(l->burst * 2, (uint32_t)BURST_MAX);
}

static uint64_t token_of(const struct listeners *ls, const struct listener *l)
{
	return path_token(TOKEN_LISTENER, (struct slot_ref){ (uint32_t)(l - ls->at), 1 });
}

static int add(struct listeners *ls, struct fd *fd, struct gate *g, uint32_t index, uint32_t group)
{
	struct path *p = ls->path;
	struct listener *l = NULL;
	int r;

	for (unsigned i = 0; i < LISTENERS_MAX && l == NULL; i++)
		if (!fd_is_open(ls->at[i].fd))
			l = &ls->at[i];
	if (l == NULL)
		return -ENOSPC;
	r = tcp_listener_setup(fd->v);
	if (r == 0)
		r = poll_add_listener(&p->poll, fd->v, token_of(ls, l));
	if (r < 0)
		return r;
	*l = (struct listener){ .fd = fd_take(fd), .gate = g, .index = index,
				.group = group, .burst = 1, .home = ls };
	gate_ref(l->gate);
	gate_now(l->gate);
	l->tenant = l->gate->tenant;
	tenant_ref(l->tenant);
	sched_unit_init(&l->unit, l->tenant, listener_step);
	ls->n++;
	p->fds.listeners++;
	return 0;
}

int listeners_add(struct listeners *ls, struct fd *fd, uint32_t index, uint32_t group)
{
	if (index >= ls->path->knobs->n_listeners)
		return -EINVAL;
	listeners_drop(ls, index, group);	/* sent again: the newer one */
	return add(ls, fd, ls->path->gate[index], index, group);
}

int listeners_add_pod(struct listeners *ls, struct fd *fd, struct gate *g)
{
	return add(ls, fd, g, LISTENER_OF_POD, g->pod);
}

static void drop(struct listeners *ls, struct listener *l)
{
	sched_forget(&ls->path->sched, &l->unit);
	/* The socket lives on in the master: closing alone would leave it in the set. */
	if (!l->paused)
		poll_remove(&ls->path->poll, l->fd.v);
	fd_close(&l->fd);
	tenant_give(&l->tenant);
	gate_unref(&l->gate);
	ls->n--;
	ls->path->fds.listeners--;
}

void listeners_drop(struct listeners *ls, uint32_t index, uint32_t group)
{
	for (unsigned i = 0; i < LISTENERS_MAX; i++) {
		struct listener *l = &ls->at[i];

		if (fd_is_open(l->fd) && !l->closing && l->index == index && l->group == group)
			drop(ls, l);
	}
}

void listeners_drain(struct listeners *ls)
{
	for (unsigned i = 0; i < LISTENERS_MAX; i++)
		if (fd_is_open(ls->at[i].fd) && !ls->at[i].closing)
			drop(ls, &ls->at[i]);
}

void listeners_drop_all(struct listeners *ls)
{
	for (unsigned i = 0; i < LISTENERS_MAX; i++)
		if (fd_is_open(ls->at[i].fd))
			drop(ls, &ls->at[i]);
}

void listeners_use(struct listeners *ls, const struct knobs *was)
{
	struct path *p = ls->path;

	for (unsigned i = 0; i < LISTENERS_MAX; i++) {
		struct listener *l = &ls->at[i];
		int now;

		if (!fd_is_open(l->fd) || l->closing || l->index == LISTENER_OF_POD)
			continue;
		now = knobs_find_socket(p->knobs, &was->listener[l->index]);
		if (now < 0) {
			l->closing = true;
			l->close_at = mono_after_ms(clock_now(), CLOSE_MS);
			continue;
		}
		l->index = (uint32_t)now;
		if (l->gate == p->gate[now])
			continue;
		gate_unref(&l->gate);
		l->gate = p->gate[now];
		gate_ref(l->gate);
	}
	listeners_resume(ls);	/* the tenant of the gate pays from now on */
}

/* What is queued still, bounded: new callers should be turned away, but whether they are is not known.
 * It is followed by closing, with as little as possible between: who connects in there is reset where
 * they are not. */
static void empty_queue(struct listener *l)
{
	if (!l->paused)
		poll_remove(&l->home->path->poll, l->fd.v);
	l->paused = true;
	for (int i = 0; i < QUEUE_MOST; i++) {
		struct stream s = { 0 };
		struct addr peer;
		int r = tcp_world->accept(l->fd.v, &s, &peer);

		if (r == -ECONNABORTED || r == -EINTR || r == -EPROTO)
			continue;
		if (r < 0)
			return;
		board_add(&l->gate->path->mine->c[WC_accepted], 1);
		(void)conn_new(l->gate, &s, &peer);
	}
}

void listeners_close(struct listeners *ls)
{
	for (unsigned i = 0; i < LISTENERS_MAX; i++) {
		if (!fd_is_open(ls->at[i].fd))
			continue;
		empty_queue(&ls->at[i]);
		drop(ls, &ls->at[i]);
	}
}

void listeners_event(struct listeners *ls, uint64_t token)
{
	uint32_t i = token_ref(token).slot;

	if (i < LISTENERS_MAX && fd_is_open(ls->at[i].fd))
		sched_wake(&ls->path->sched, &ls->at[i].unit);
}

void listeners_resume(struct listeners *ls)
{
	for (unsigned i = 0, seen = 0; i < LISTENERS_MAX && seen < ls->n; i++) {
		struct listener *l = &ls->at[i];

		if (!fd_is_open(l->fd))
			continue;
		seen++;
		if (l->closing && clock_now().ns >= l->close_at.ns) {
			empty_queue(l);
			drop(ls, l);
			seen--;		/* drop() took it from the count */
			continue;
		}
		gate_now(l->gate);
		if (l->tenant != l->gate->tenant) {
			sched_forget(&ls->path->sched, &l->unit);
			tenant_give(&l->tenant);
			l->tenant = l->gate->tenant;
			tenant_ref(l->tenant);
			l->unit.tenant = l->tenant;
		}
		if (l->paused && poll_add_listener(&ls->path->poll, l->fd.v, token_of(ls, l)) == 0)
			l->paused = false;
	}
}
