/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The table of descriptors as a new master gets it. */
#include <errno.h>
#include <stdlib.h>
#include <sys/resource.h>
#include <unistd.h>

#include "nodeproxy/kept.h"
#include "tests/unit/test.h"

static struct chan keeper;

/* The keeper's half: two entries and the end. */
static struct fd told(void)
{
	struct msg_keep m = { .name = "listen/front/0" };
	struct msg_kept_end end = { .count = 2, .speaks = KEEPER_SPEAKS };
	struct fd pair[2];

	ck_assert_int_eq(chan_pair(pair), 0);
	chan_init(&keeper, &pair[0], ROLE_KEEPER, ROLE_MASTER);
	for (int i = 0; i < 2; i++) {
		m.number = (uint64_t)i;
		m.name[13] = (char)('0' + i);
		ck_assert_int_eq(chan_send(&keeper, MSG_KEPT, &m, (struct slice){ 0 },
					   &keeper.fd.v, 1), 0);
	}
	ck_assert_int_eq(chan_say(&keeper, MSG_KEPT_END, &end), 0);
	return pair[1];
}

static void end(struct kept *k)
{
	for (unsigned i = 0; i < k->n; i++)
		fd_close(&k->entry[i].fd);
	free(k->entry);
	chan_fini(&k->chan);
	chan_fini(&keeper);
}

START_TEST(a_master_has_what_its_predecessor_kept)
{
	struct fd mine = told(), f = FD_NONE;
	uint64_t number = 9;
	struct kept k;

	ck_assert_int_eq(kept_open(&k, &mine), 0);
	ck_assert(kept_take(&k, &f, &number, "listen/front/%d", 1));
	ck_assert_uint_eq(number, 1);
	ck_assert(!kept_take(&k, &f, &number, "listen/front/%d", 2));
	fd_close(&f);
	end(&k);
}
END_TEST

/* It went on without: the socket of a listener was opened a second time beside the first. */
START_TEST(a_master_that_lacks_a_descriptor_says_so_instead_of_going_on)
{
	struct fd mine = told();
	struct rlimit was, none;
	struct kept k;
	int next = dup(0), r;

	ck_assert_int_ge(next, 0);
	close(next);
	ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &was), 0);
	none = was;
	none.rlim_cur = (rlim_t)next + 1;	/* room for one of the two */
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
	r = kept_open(&k, &mine);
	ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &was), 0);
	ck_assert_int_eq(r, -EMFILE);
	ck_assert_uint_eq(k.n, 1);
	end(&k);
}
END_TEST

UNIT_TESTS("kept", a_master_has_what_its_predecessor_kept,
	   a_master_that_lacks_a_descriptor_says_so_instead_of_going_on)
