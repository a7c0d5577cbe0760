/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The event loop of a process: libev behind a few calls, so that nothing else includes ev.h.
 *
 * Callbacks only translate and queue.  Most processes sleep in it (loop_run).  A worker sleeps in its
 * own edge-triggered set of traffic sockets (poll.h), in which this loop is one descriptor more:
 * loop_fd() says that loop_once() has something to do, loop_due() until when it has not.  The other
 * way round, each wake-up would cost a second epoll_wait. */
#ifndef NODEPROXY_LIB_BASE_LOOP_H
#define NODEPROXY_LIB_BASE_LOOP_H

#include <ev.h>

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/base/list.h"

#define LOOP_READ  EV_READ
#define LOOP_WRITE EV_WRITE

struct loop {
	struct ev_loop *ev;
	struct node timers;		/* those that run */
	int fd;				/* libev's set; -1: unknown */
	bool stopped;
	bool changed;			/* libev has not told its set yet what is watched now */
};

struct loop_timer {
	ev_timer w;
	struct node node;		/* of loop.timers */
	struct mono due;
	struct loop *loop;
	void (*fn)(void *arg);
	void *arg;
};

/* A descriptor that the kernel refuses to watch (no memory, or the user's limit of watches) is tried
 * again after LOOP_RETRY_MIN_MS, doubled up to LOOP_RETRY_MAX_MS; until then it says nothing. */
#define LOOP_RETRY_MIN_MS 5
#define LOOP_RETRY_MAX_MS 320

struct loop_io {
	ev_io w;
	struct loop *loop;
	struct loop_timer retry;
	unsigned wait_ms;		/* before the next try; 0: it is watched, or stopped */
	void (*fn)(void *arg, unsigned events);
	void *arg;
};

struct loop_signal {
	ev_signal w;
	void (*fn)(void *arg, int signo);
	void *arg;
};

/* Runs before the loop sleeps, once per pass: the reaper's place. */
struct loop_pass {
	ev_prepare w;
	void (*fn)(void *arg);
	void *arg;
};

must_use int loop_init(struct loop *);	/* 0 or -ENOMEM */
void loop_fini(struct loop *);
void loop_run(struct loop *);		/* until loop_stop */
void loop_stop(struct loop *);
void loop_once(struct loop *);		/* one pass without sleeping */
static inline bool loop_is_stopped(const struct loop *l)
{
	return l->stopped;
}

/* Readable when loop_once() has something to do that is not a matter of time; -1: not known, then
 * the process must sleep in loop_run(). */
static inline int loop_fd(const struct loop *l)
{
	return l->fd;
}
/* When loop_once() must be called at the latest; ns INT64_MAX: whenever loop_fd() is readable. */
struct mono loop_due(const struct loop *);

void loop_io_start(struct loop *, struct loop_io *, int fd, unsigned events,
		   void (*fn)(void *, unsigned), void *arg);
void loop_io_change(struct loop *, struct loop_io *, unsigned events);	/* 0: pause */
void loop_io_stop(struct loop *, struct loop_io *);

/* repeat_ms 0: once. */
void loop_timer_start(struct loop *, struct loop_timer *, int64_t after_ns, int64_t repeat_ms,
		      void (*fn)(void *), void *arg);
void loop_timer_stop(struct loop *, struct loop_timer *);
static inline bool loop_timer_is_running(const struct loop_timer *t)
{
	return ev_is_active(&t->w);
}

void loop_signal_start(struct loop *, struct loop_signal *, int signo,
		       void (*fn)(void *, int), void *arg);
void loop_pass_start(struct loop *, struct loop_pass *, void (*fn)(void *), void *arg);

#endif
