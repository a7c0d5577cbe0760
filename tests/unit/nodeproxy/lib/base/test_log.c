/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Event lines to a standard error that nobody reads. */
#include "tests/unit/test.h"

#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/outlet.h"

static char heard[1 << 20];

static size_t hear(int fd)
{
	size_t n = 0;
	ssize_t r;

	fcntl(fd, F_SETFL, O_NONBLOCK);
	while ((r = read(fd, heard + n, sizeof heard - 1 - n)) > 0)
		n += (size_t)r;
	heard[n] = 0;
	return n;
}

/* Standard error becomes fd; far more lines than it takes are written. */
static void say_much(int fd)
{
	ck_assert_int_eq(dup2(fd, STDERR_FILENO), STDERR_FILENO);
	log_init("test", NULL);
	log_open();
	for (int i = 0; i < 10000; i++)
		log_info("thing_happened", "number=%d padding=%0200d", i, 0);
}

/* What the lines heard last say was lost. */
static uint64_t said_lost(void)
{
	static const char words[] = "event=log_lines_lost lines=";
	uint64_t sum = 0;

	for (char *p = heard; (p = strstr(p, words)); p += sizeof words)
		sum += strtoull(p + sizeof words - 1, NULL, 10);
	return sum;
}

static void nobody_waits(int reader, int writer)
{
	uint64_t before = log_lost(), lost, said;
	int real = dup(STDERR_FILENO);

	alarm(20);			/* a wait is a failure */
	say_much(writer);
	lost = log_lost() - before;
	ck_assert_uint_gt(lost, 1000);
	hear(reader);
	ck_assert_ptr_nonnull(strstr(heard, "event=thing_happened number=0 "));
	said = said_lost();		/* a short line may fit where a long one did not */
	log_info("again", "x=1");
	hear(reader);
	ck_assert_uint_eq(said + said_lost(), lost);
	ck_assert_ptr_nonnull(strstr(heard, "event=again x=1\n"));
	log_info("once", "more");
	hear(reader);
	ck_assert_uint_eq(said_lost(), 0);
	ck_assert_uint_eq(log_lost() - before, lost);
	dup2(real, STDERR_FILENO);
	close(real);
	log_open();
	alarm(0);
}

START_TEST(a_pipe_that_nobody_reads_stops_nobody)
{
	int p[2];

	ck_assert_int_eq(pipe(p), 0);
	nobody_waits(p[0], p[1]);
	/* others have that pipe, too, and want to wait for its reader */
	ck_assert_int_eq(fcntl(p[1], F_GETFL) & O_NONBLOCK, 0);
}
END_TEST

START_TEST(a_socket_that_nobody_reads_stops_nobody)
{
	int s[2];

	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM, 0, s), 0);
	nobody_waits(s[0], s[1]);
	ck_assert_int_eq(fcntl(s[1], F_GETFL) & O_NONBLOCK, 0);
}
END_TEST

START_TEST(where_a_pipe_cannot_be_opened_anew_it_is_asked_first)
{
	struct outlet o;
	int p[2], taken = 0;

	alarm(20);
	ck_assert_int_eq(pipe(p), 0);
	o = outlet_of(p[1]);
	ck_assert_int_eq(o.kind, OUTLET_SHARED);
	while (outlet_write(&o, heard, 8192) > 0)
		taken++;
	ck_assert_int_gt(taken, 4);
	ck_assert_int_eq(outlet_write(&o, heard, 1), -EAGAIN);
	hear(p[0]);
	ck_assert_int_eq(outlet_write(&o, heard, 1), 1);
	alarm(0);
}
END_TEST

START_TEST(a_reader_that_is_gone_is_an_error_and_no_signal_kills)
{
	struct outlet o;
	int p[2];

	signal(SIGPIPE, SIG_IGN);
	ck_assert_int_eq(pipe(p), 0);
	o = outlet_of(p[1]);
	close(p[0]);
	ck_assert_int_eq(outlet_write(&o, "x", 1), -EPIPE);
}
END_TEST

UNIT_TESTS("log", a_pipe_that_nobody_reads_stops_nobody, a_socket_that_nobody_reads_stops_nobody,
	   where_a_pipe_cannot_be_opened_anew_it_is_asked_first,
	   a_reader_that_is_gone_is_an_error_and_no_signal_kills)
