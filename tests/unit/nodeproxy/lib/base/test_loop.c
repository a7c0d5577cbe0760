/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The loop and the edge-triggered set, on real descriptors. */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/epoll.h>
#include <sys/socket.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/loop.h"
#include "nodeproxy/lib/base/poll.h"

static int calls;
static unsigned last;

static void on_io(void *arg, unsigned events)
{
	(void)arg;
	calls++;
	last = events;
}

static void on_timer(void *arg)
{
	calls++;
	loop_stop(arg);
}

static void on_signal(void *arg, int signo)
{
	calls = signo;
	loop_stop(arg);
}

START_TEST(a_descriptor_reports_only_what_is_wanted)
{
	struct loop l;
	struct loop_io io;
	int p[2];

	ck_assert_int_eq(loop_init(&l), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p), 0);
	calls = 0;
	loop_io_start(&l, &io, p[0], LOOP_READ, on_io, NULL);
	loop_once(&l);
	ck_assert_int_eq(calls, 0);
	ck_assert_int_eq(write(p[1], "x", 1), 1);
	loop_once(&l);
	ck_assert_int_eq(calls, 1);
	ck_assert_uint_eq(last, LOOP_READ);
	loop_io_change(&l, &io, LOOP_WRITE);
	loop_once(&l);
	ck_assert_uint_eq(last, LOOP_WRITE);
	loop_io_change(&l, &io, 0);
	calls = 0;
	loop_once(&l);
	ck_assert_int_eq(calls, 0);
	loop_io_stop(&l, &io);
	close(p[0]);
	close(p[1]);
	loop_fini(&l);
}
END_TEST

START_TEST(timers_and_signals_wake_the_loop)
{
	struct loop l;
	struct loop_timer t = { 0 };
	struct loop_signal s;

	ck_assert_int_eq(loop_init(&l), 0);
	calls = 0;
	loop_timer_start(&l, &t, NS_PER_MS, 0, on_timer, &l);
	loop_run(&l);
	ck_assert_int_eq(calls, 1);
	ck_assert(!loop_timer_is_running(&t));
	loop_signal_start(&l, &s, SIGUSR1, on_signal, &l);
	raise(SIGUSR1);
	loop_run(&l);
	ck_assert_int_eq(calls, SIGUSR1);
	loop_fini(&l);
}
END_TEST

/* Ours comes before the C library's, also for libev. */
static int refuse, refuse_fd, refusals;
int epoll_ctl(int set, int op, int fd, struct epoll_event *e)
{
	if (op == EPOLL_CTL_ADD && refuse && fd == refuse_fd) {
		refusals++;
		errno = ENOSPC;
		return -1;
	}
	return (int)syscall(SYS_epoll_ctl, set, op, fd, e);
}

static void on_time(void *arg)
{
	loop_stop(arg);
}

static void on_pass(void *arg)
{
	++*(int *)arg;
}

/* Lets a loop that has other work go on until time is up; how many passes that were. */
static int run_ms(struct loop *l, int ms)
{
	struct loop_timer end = { 0 }, work = { 0 };
	int passes = 0;

	loop_timer_start(l, &end, ms * NS_PER_MS, 0, on_time, l);
	loop_timer_start(l, &work, NS_PER_MS, 1, on_pass, &passes);
	loop_run(l);
	loop_timer_stop(l, &work);
	return passes;
}

/* A full set once made the loop try the same descriptor again in every pass. */
START_TEST(a_descriptor_that_is_refused_is_tried_again_at_leisure)
{
	struct loop l;
	struct loop_io io;
	int p[2];

	ck_assert_int_eq(loop_init(&l), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, p), 0);
	ck_assert_int_eq(write(p[1], "x", 1), 1);
	refuse = 1;
	refuse_fd = p[0];
	calls = refusals = 0;
	loop_io_start(&l, &io, p[0], LOOP_READ, on_io, NULL);
	for (int passes = 0; passes < 50;)
		passes += run_ms(&l, 100);
	ck_assert_int_eq(calls, 0);
	ck_assert_int_ge(refusals, 2);
	ck_assert_int_le(refusals, 12);		/* 5 + 10 + ... + 320 ms, every 320 ms */
	loop_io_change(&l, &io, LOOP_READ | LOOP_WRITE);	/* no way round the wait */
	loop_once(&l);
	ck_assert_int_le(refusals, 12);
	refuse = 0;
	while (calls == 0)
		run_ms(&l, 20);
	ck_assert_uint_eq(last, LOOP_READ | LOOP_WRITE);
	loop_io_stop(&l, &io);
	/* stopped while it waits: nothing comes any more */
	refuse = 1;
	loop_io_start(&l, &io, p[0], LOOP_READ, on_io, NULL);
	loop_once(&l);
	loop_io_stop(&l, &io);
	refuse = calls = 0;
	run_ms(&l, 20);
	ck_assert_int_eq(calls, 0);
	close(p[0]);
	close(p[1]);
	loop_fini(&l);
}
END_TEST

static uint64_t seen_token;
static unsigned seen_bits, events;

static void on_event(void *arg, uint64_t token, unsigned bits)
{
	(void)arg;
	seen_token = token;
	seen_bits |= bits;
	events++;
}

static unsigned collect(struct poll *p)
{
	seen_bits = events = 0;
	poll_collect(p, 0, on_event, NULL);
	return events;
}

START_TEST(an_edge_is_reported_once_with_its_token)
{
	struct poll p;
	int s[2];

	ck_assert_int_eq(poll_init(&p), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s), 0);
	ck_assert_int_eq(poll_add(&p, s[0], 0x1234567890u), 0);
	ck_assert_uint_eq(collect(&p), 1);	/* room to write */
	ck_assert_uint_eq(seen_bits, READY_OUT);
	ck_assert_uint_eq(seen_token, 0x1234567890u);
	ck_assert_uint_eq(collect(&p), 0);
	ck_assert_int_eq(write(s[1], "x", 1), 1);
	ck_assert_uint_eq(collect(&p), 1);
	ck_assert(seen_bits & READY_IN);
	ck_assert_uint_eq(collect(&p), 0);	/* unread, but no new edge */
	shutdown(s[1], SHUT_WR);
	ck_assert_uint_eq(collect(&p), 1);
	ck_assert(seen_bits & READY_END);
	ck_assert_int_eq(poll_retoken(&p, s[0], 5), 0);
	collect(&p);				/* a new token reports the present state again */
	ck_assert_uint_eq(seen_token, 5);
	poll_remove(&p, s[0]);
	close(s[1]);
	ck_assert_uint_eq(collect(&p), 0);
	close(s[0]);
	poll_fini(&p);
}
END_TEST

START_TEST(simulated_time_stands_still_between_ticks)
{
	struct mono a = clock_tick(), b;

	ck_assert_int_eq(clock_now().ns, a.ns);
	b = clock_tick();
	ck_assert_int_ge(b.ns, a.ns);
	ck_assert_int_eq(mono_diff_ms(mono_after_ms(a, 15), a), 15);
	ck_assert_int_gt(clock_unix_ms(), 1600000000000);
}
END_TEST

/* How a worker sleeps: in its own set, with the loop inside. */
START_TEST(a_loop_inside_a_set_says_when_it_has_something_to_do)
{
	struct loop_timer t = { 0 }, often = { 0 };
	struct loop_io io;
	struct poll p;
	struct loop l;
	struct mono now;
	int s[2];

	ck_assert_int_eq(loop_init(&l), 0);
	ck_assert_int_eq(poll_init(&p), 0);
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0, s), 0);
	ck_assert_int_ge(loop_fd(&l), 0);
	ck_assert_int_eq(poll_add_listener(&p, loop_fd(&l), 7), 0);
	ck_assert(loop_due(&l).ns == INT64_MAX);
	loop_io_start(&l, &io, s[0], LOOP_READ, on_io, NULL);
	ck_assert_int_eq(loop_due(&l).ns, 0);		/* libev has not heard of it yet */
	loop_once(&l);
	ck_assert(loop_due(&l).ns == INT64_MAX);
	ck_assert_uint_eq(collect(&p), 0);
	ck_assert_int_eq(write(s[1], "x", 1), 1);
	ck_assert_uint_eq(collect(&p), 1);
	ck_assert_uint_eq(seen_token, 7);
	calls = 0;
	loop_once(&l);
	ck_assert_int_eq(calls, 1);
	loop_io_change(&l, &io, LOOP_WRITE);
	ck_assert_int_eq(loop_due(&l).ns, 0);
	loop_io_stop(&l, &io);
	loop_once(&l);
	ck_assert_uint_eq(collect(&p), 0);

	now = clock_tick();
	loop_timer_start(&l, &often, 5 * NS_PER_MS, 5, on_pass, &calls);
	loop_timer_start(&l, &t, NS_PER_S, 0, on_time, &l);
	ck_assert_int_ge(loop_due(&l).ns, now.ns + 5 * NS_PER_MS);
	ck_assert_int_lt(loop_due(&l).ns, now.ns + NS_PER_S);
	for (calls = 0; calls < 3; ) {
		int64_t ns = loop_due(&l).ns - clock_now().ns;

		poll_collect(&p, (int)max_of((ns + NS_PER_MS - 1) / NS_PER_MS, (int64_t)0), on_event,
			     NULL);
		loop_once(&l);
	}
	ck_assert_int_ge(clock_tick().ns - now.ns, 15 * NS_PER_MS);
	loop_timer_stop(&l, &often);
	ck_assert_int_ge(loop_due(&l).ns, now.ns + NS_PER_S);
	ck_assert(!loop_is_stopped(&l));
	loop_stop(&l);
	ck_assert(loop_is_stopped(&l));
	loop_timer_stop(&l, &t);
	ck_assert(loop_due(&l).ns == INT64_MAX);
	close(s[0]);
	close(s[1]);
	poll_fini(&p);
	loop_fini(&l);
}
END_TEST

UNIT_TESTS("loop", a_loop_inside_a_set_says_when_it_has_something_to_do, a_descriptor_reports_only_what_is_wanted,
	   a_descriptor_that_is_refused_is_tried_again_at_leisure, timers_and_signals_wake_the_loop,
	   an_edge_is_reported_once_with_its_token, simulated_time_stands_still_between_ticks)
