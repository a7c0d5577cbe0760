/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See loop.h. */
#include "nodeproxy/lib/base/loop.h"

#include <errno.h>
#include <fcntl.h>

int loop_init(struct loop *l)
{
	l->ev = ev_loop_new(EVBACKEND_EPOLL | EVFLAG_NOENV);
	return l->ev ? 0 : -ENOMEM;
}

void loop_fini(struct loop *l)
{
	if (l->ev)
		ev_loop_destroy(l->ev);
	l->ev = NULL;
}

void loop_run(struct loop *l)
{
	ev_run(l->ev, 0);
}

void loop_stop(struct loop *l)
{
	ev_break(l->ev, EVBREAK_ALL);
}

void loop_once(struct loop *l)
{
	ev_run(l->ev, EVRUN_NOWAIT);
}

static void retry_cb(struct ev_loop *ev, ev_timer *w, int events)
{
	struct loop_io *io = container_of(w, struct loop_io, retry);

	(void)events;
	if (fcntl(io->w.fd, F_GETFD) < 0)
		return;
	ev_io_set(&io->w, io->w.fd, io->w.events & (EV_READ | EV_WRITE));	/* else: no change */
	ev_io_start(ev, &io->w);
}

/* The kernel had no room for it in the set (ENOMEM, ENOSPC), and libev stopped it.  Trying again in
 * every pass would cost a call in each for as long as that lasts; never again would leave a channel
 * deaf. */
static void refused(struct ev_loop *ev, struct loop_io *io)
{
	io->wait_ms = io->wait_ms ? min_of(io->wait_ms * 2, (unsigned)LOOP_RETRY_MAX_MS) :
				    LOOP_RETRY_MIN_MS;
	ev_timer_stop(ev, &io->retry);
	ev_timer_set(&io->retry, io->wait_ms / 1e3, 0);
	ev_timer_start(ev, &io->retry);
}

static void io_cb(struct ev_loop *ev, ev_io *w, int events)
{
	struct loop_io *io = container_of(w, struct loop_io, w);

	if (events & EV_ERROR) {
		refused(ev, io);
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
	io->wait_ms = 0;
	ev_timer_init(&io->retry, retry_cb, 0, 0);
	ev_io_init(&io->w, io_cb, fd, (int)events);
	if (events)
		ev_io_start(l->ev, &io->w);
}

void loop_io_change(struct loop *l, struct loop_io *io, unsigned events)
{
	if ((ev_is_active(&io->w) || ev_is_active(&io->retry)) &&
	    (unsigned)(io->w.events & (EV_READ | EV_WRITE)) == events)
		return;
	ev_io_stop(l->ev, &io->w);
	ev_io_set(&io->w, io->w.fd, (int)events);
	if (ev_is_active(&io->retry) && events)
		return;		/* with these events, when its time has come */
	ev_timer_stop(l->ev, &io->retry);
	if (events)
		ev_io_start(l->ev, &io->w);
}

void loop_io_stop(struct loop *l, struct loop_io *io)
{
	ev_timer_stop(l->ev, &io->retry);
	ev_io_stop(l->ev, &io->w);
}

static void timer_cb(struct ev_loop *ev, ev_timer *w, int events)
{
	struct loop_timer *t = container_of(w, struct loop_timer, w);

	(void)ev, (void)events;
	t->fn(t->arg);
}

void loop_timer_start(struct loop *l, struct loop_timer *t, int64_t after_ns, int64_t repeat_ms,
		      void (*fn)(void *), void *arg)
{
	ev_timer_stop(l->ev, &t->w);
	t->fn = fn;
	t->arg = arg;
	ev_timer_init(&t->w, timer_cb, (double)after_ns / 1e9, (double)repeat_ms / 1e3);
	ev_timer_start(l->ev, &t->w);
}

void loop_timer_stop(struct loop *l, struct loop_timer *t)
{
	ev_timer_stop(l->ev, &t->w);
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
