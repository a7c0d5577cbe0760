/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The pool of pipes: who gets one, and what happens when there is none. */
#include <fcntl.h>
#include <sys/resource.h>
#include <unistd.h>

#include "tests/unit/test.h"
#include "workers/pool/pipes.h"

START_TEST(one_user_never_holds_them_all)
{
	struct pipe *mine[16], *his[16];
	uint32_t me = 0, him = 0;
	struct pipes ps;
	unsigned n = 0, k = 0;

	pipes_init(&ps, 16);
	while ((mine[n] = pipe_take(&ps, &me)))
		n++;
	ck_assert_uint_eq(n, 8);
	while ((his[k] = pipe_take(&ps, &him)))
		k++;
	ck_assert_uint_eq(k, 4);
	ck_assert_uint_lt(me + him, 16);
	/* What he gives back is for everybody again. */
	while (k)
		pipe_give(&ps, &his[--k]);
	ck_assert_uint_eq(him, 0);
	ck_assert_uint_eq(ps.open - ps.n_spare, 8);
	while (n)
		pipe_give(&ps, &mine[--n]);
	ck_assert_uint_eq(me, 0);
	ck_assert_uint_eq(ps.open, ps.n_spare);
	pipes_trim(&ps);
	ck_assert_uint_eq(ps.open, 0);
	pipes_fini(&ps);
}
END_TEST

START_TEST(a_pool_of_one_gives_one)
{
	struct pipes ps;
	uint32_t me = 0, him = 0;
	struct pipe *p;

	pipes_init(&ps, 1);
	p = pipe_take(&ps, &me);
	ck_assert_ptr_nonnull(p);
	ck_assert_ptr_null(pipe_take(&ps, &him));
	pipe_give(&ps, &p);
	p = pipe_take(&ps, &him);
	ck_assert_ptr_nonnull(p);
	pipe_give(&ps, &p);
	pipes_fini(&ps);
}
END_TEST

START_TEST(without_descriptors_there_is_none_and_later_there_is)
{
	struct rlimit was, none;
	struct pipes ps;
	uint32_t me = 0;
	struct pipe *p;
	int next = dup(0);

	ck_assert_int_ge(next, 0);
	close(next);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = (rlim_t)next + 1;	/* room for one, a pipe has two */
	pipes_init(&ps, 4);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	p = pipe_take(&ps, &me);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &was), 0);
	ck_assert_ptr_null(p);
	ck_assert_uint_eq(me, 0);
	ck_assert_uint_eq(ps.open, 0);
	p = pipe_take(&ps, &me);
	ck_assert_ptr_nonnull(p);
	pipe_give(&ps, &p);
	pipes_fini(&ps);
}
END_TEST

UNIT_TESTS("pipes",
	   one_user_never_holds_them_all,
	   a_pool_of_one_gives_one,
	   without_descriptors_there_is_none_and_later_there_is)
