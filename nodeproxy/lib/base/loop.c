/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See loop.h. */
#include "nodeproxy/lib/base/loop.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/epoll.h>
#include <unistd.h>

/* libev keeps its descriptor to itself.  The set is the first thing that it opens, so it gets the
 * number that was free a moment ago; who says that it is a set, is one.  (libev makes another one when
 * a descriptor was closed here and lives on elsewhere; nobody closes what is watched.) */
int loop_init(struct loop *l)
{
	int free = epoll_create1(EPOLL_CLOEXEC);
	struct epoll_event e;

	*l = (struct loop){ .fd = -1 };
	list_init(&l->timers);
	if (free >= 0)
		close(free);
	l->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
	if (l->ev == NULL)
		return -ENOMEM;
	if (free >= 0 && epoll_wait(free, &e, 1, 0) == 0)
		l->fd = free;
	return 0;
}

void loop_fini(struct loop *l)
{
	if (l->ev)
		ev_loop_destroy(l->ev);
	l->ev = NULL;
}

void loop_run(struct loop *l)
{
	l->stopped = false;
	ev_run(l->ev, 0);
}

void loop_stop(struct loop *l)
{
	l->stopped = true;
	ev_break(l->ev, EVBREAK_ALL);
}

void loop_once(struct loop *l)
{
	l->changed = false;
	ev_run(l->ev, EVRUN_NOWAIT);
}

struct mono loop_due(const struct loop *l)
{
	struct mono due = { INT64_MAX };

	if (l->changed)
		return (struct mono){ 0 };
	list_each(it, &l->timers) {
		const struct loop_timer *t = container_of(it, struct loop_timer, node);

		if (t->due.ns < due.ns)
			due = t->due;
	}
	return due;
}

static void retry(void *arg)
{
	struct loop_io *io = arg;

	if (fcntl(io->w.fd, F_GETFD) < 0)
		return;
	ev_io_set(&io->w, io->w.fd, io->w.events & (EV_READ | EV_WRITE));	/* else: no change */
	ev_io_start(io->loop->ev, &io->w);
	io->loop->changed = true;
}

/* The kernel had no room for it in the set (ENOMEM, ENOSPC), and libev stopped it.  Trying again in
 * every pass would cost a call in each for as long as that lasts; never again would leave a channel
 * deaf. */
static void refused(struct loop_io *io)
{
	io->wait_ms = io->wait_ms ? min_of(io->wait_ms * 2, (unsigned)LOOP_RETRY_MAX_MS) :
				    LOOP_RETRY_MIN_MS;
	loop_timer_start(io->loop, &io->retry, io->wait_ms * NS_PER_MS, 0, retry, io);
}

static void io_cb(struct ev_loop *ev, ev_io *w, int events)
{
	struct loop_io *io = container_of(w, struct loop_io, w);

	(void)ev;
	if (events & EV_ERROR) {
		refused(io);
		return;
	}
	io->wait_ms = 0;
	io->fn(io->arg, (unsigned)events & (LOOP_READ | LOOP_WRITE));
}

void loop_io_start(struct loop *l, struct loop_io *io, int fd, unsigned events,
		   void (*fn)(void *, unsigned), void *arg)
{
	io->fn = fn;
	io->arg = arg;
	io->loop = l;
	io->wait_ms = 0;
	io->retry = (struct loop_timer){ 0 };
	ev_io_init(&io->w, io_cb, fd, (int)events);
	if (events)
		ev_io_start(l->ev, &io->w);
	l->changed = true;
}

void loop_io_change(struct loop *l, struct loop_io *io, unsigned events)
{
	if ((ev_is_active(&io->w) || loop_timer_is_running(&io->retry)) &&
	    (unsigned)(io->w.events & (EV_READ | EV_WRITE)) == events)
		return;
	ev_io_stop(l->ev, &io->w);
	ev_io_set(&io->w, io->w.fd, (int)events);
	l->changed = true;
	if (loop_timer_is_running(&io->retry) && events)
		return;		/* with these events, when its time has come */
	loop_timer_stop(l, &io->retry);
	if (events)
		ev_io_start(l->ev, &io->w);
}

void loop_io_stop(struct loop *l, struct loop_io *io)
{
	loop_timer_stop(l, &io->retry);
	ev_io_stop(l->ev, &io->w);
	l->changed = true;
}

static void forget_due(struct loop_timer *t)
{
	if (t->loop)
		list_remove(&t->node);
	t->loop = NULL;
}

static void timer_cb(struct ev_loop *ev, ev_timer *w, int events)
{
	struct loop_timer *t = container_of(w, struct loop_timer, w);

	(void)events;
	if (ev_is_active(w))
		t->due.ns = clock_tick().ns + (int64_t)(ev_timer_remaining(ev, w) * 1e9);
	else
		forget_due(t);
	t->fn(t->arg);
}

void loop_timer_start(struct loop *l, struct loop_timer *t, int64_t after_ns, int64_t repeat_ms,
		      void (*fn)(void *), void *arg)
{
	loop_timer_stop(l, t);
	t->fn = fn;
	t->arg = arg;
	t->loop = l;
	t->due.ns = clock_tick().ns + after_ns;
	list_add_tail(&l->timers, &t->node);
	/* libev counts from when it looked at the clock last, which a worker lets it do seldom. */
	ev_now_update(l->ev);
	ev_timer_init(&t->w, timer_cb, (double)after_ns / 1e9, (double)repeat_ms / 1e3);
	ev_timer_start(l->ev, &t->w);
}

void loop_timer_stop(struct loop *l, struct loop_timer *t)
{
	ev_timer_stop(l->ev, &t->w);
	forget_due(t);
}

static void signal_cb(struct ev_loop *ev, ev_signal *w, int events)
{
	struct loop_signal *s = container_of(w, struct loop_signal, w);

	(void)ev, (void)events;
	s->fn(s->arg, w->signum);
}

void loop_signal_start(struct loop *l, struct loop_signal *s, int signo,
		       void (*fn)(void *, int), void *arg)
{
	s->fn = fn;
	s->arg = arg;
	ev_signal_init(&s->w, signal_cb, signo);
	ev_signal_start(l->ev, &s->w);
}

static void pass_cb(struct ev_loop *ev, ev_prepare *w, int events)
{
	struct loop_pass *p = container_of(w, struct loop_pass, w);

	(void)ev, (void)events;
	p->fn(p->arg);
}

void loop_pass_start(struct loop *l, struct loop_pass *p, void (*fn)(void *), void *arg)
{
	p->fn = fn;
	p->arg = arg;
	ev_prepare_init(&p->w, pass_cb);
	ev_prepare_start(l->ev, &p->w);
}
