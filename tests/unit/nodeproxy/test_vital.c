/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* When a master counts as dead although its process is there. */
#include "tests/unit/test.h"

#include <sys/socket.h>
#include <unistd.h>

#include "nodeproxy/vital.h"

static int ends[2];
static struct mono now;
static struct vital v;

static void begin(void)
{
	ck_assert_int_eq(socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_NONBLOCK, 0, ends), 0);
	now.ns = 1000 * NS_PER_S;
	vital_begin(&v, now);
}

/* Goes on for so long; why it then counts as dead. */
static const char *after_ms(int64_t ms)
{
	const char *why = NULL;

	for (int64_t end = now.ns + ms * NS_PER_MS; now.ns < end && !why;) {
		now = mono_after_ms(now, 500);
		why = vital_look(&v, ends[0], now);
	}
	return why;
}

START_TEST(one_that_never_says_ready_is_dead)
{
	begin();
	ck_assert_ptr_null(after_ms(VITAL_READY_MS - 2 * VITAL_LOOK_MS));
	ck_assert_ptr_nonnull(after_ms(4 * VITAL_LOOK_MS));
}
END_TEST

START_TEST(one_that_reads_nothing_is_dead_and_one_that_reads_is_not)
{
	char c;

	begin();
	v.ready = true;
	ck_assert_ptr_null(after_ms(100000));	/* nothing was said to it */
	ck_assert(v.due);
	for (int i = 0; i < 10; i++) {
		ck_assert_int_eq(send(ends[0], "x", 1, 0), 1);
		ck_assert_ptr_null(after_ms(VITAL_HANG_MS - 2 * VITAL_LOOK_MS));
		ck_assert_int_eq(recv(ends[1], &c, 1, 0), 1);
		ck_assert_ptr_null(after_ms(VITAL_LOOK_MS));
	}
	ck_assert_int_eq(send(ends[0], "x", 1, 0), 1);
	ck_assert_ptr_nonnull(after_ms(VITAL_HANG_MS + 2 * VITAL_LOOK_MS));
}
END_TEST

START_TEST(a_machine_that_was_asleep_accuses_nobody)
{
	begin();
	v.ready = true;
	ck_assert_int_eq(send(ends[0], "x", 1, 0), 1);
	now = mono_after_ms(now, 3600000);
	ck_assert_ptr_null(vital_look(&v, ends[0], now));
	ck_assert_ptr_null(after_ms(VITAL_HANG_MS - 2 * VITAL_LOOK_MS));
	begin();
	now = mono_after_ms(now, 3600000);
	ck_assert_ptr_null(vital_look(&v, ends[0], now));
	ck_assert_ptr_null(after_ms(VITAL_READY_MS - 2 * VITAL_LOOK_MS));
}
END_TEST

UNIT_TESTS("vital", one_that_never_says_ready_is_dead,
	   one_that_reads_nothing_is_dead_and_one_that_reads_is_not,
	   a_machine_that_was_asleep_accuses_nobody)
