/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The master's words to a keeper that does not listen for a while. */
#include "tests/unit/test.h"

#include <fcntl.h>
#include <poll.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "nodeproxy/kept.h"

#define NAMES 7
#define PUTS  3000	/* more than socket and queue hold */

START_TEST(a_keeper_that_listens_again_gets_the_newest_of_each_name)
{
	struct msg_kept_end end = { .speaks = UINT32_MAX };
	struct fd pair[2], null;
	struct chan keeper;
	struct kept k;
	const struct msg *m;
	uint64_t last[NAMES] = { 0 };
	bool there[NAMES] = { false };
	unsigned heard = 0;
	int r;

	null.v = open("/dev/null", O_RDONLY | O_CLOEXEC);
	ck_assert_int_eq(chan_pair(pair), 0);
	chan_init(&keeper, &pair[0], ROLE_KEEPER, ROLE_MASTER);
	ck_assert_int_eq(chan_say(&keeper, MSG_KEPT_END, &end), 0);
	ck_assert_int_eq(kept_open(&k, &pair[1]), 0);
	for (uint64_t i = 1; i <= PUTS; i++)
		keep_put(&k, null, i, "name/%u", (unsigned)(i % NAMES));
	keep_drop(&k, "name/%u", 3u);
	ck_assert_uint_gt(k.n_late, 0);
	ck_assert_uint_le(k.n_late, NAMES);
	do {
		while ((r = chan_recv(&keeper, &m)) != 0) {
			const struct msg_keep *p;
			unsigned name;

			ck_assert_int_eq(r, 1);
			p = m->p;
			ck_assert_int_eq(sscanf(p->name, "name/%u", &name), 1);
			ck_assert_uint_lt(name, NAMES);
			ck_assert(m->nfds == 0 || p->number > last[name]);
			last[name] = m->nfds ? p->number : 0;
			there[name] = m->nfds != 0;
			heard++;
		}
		(void)chan_flush(&k.chan);
		kept_tick(&k);
	} while (k.n_late || k.chan.queued || poll(&(struct pollfd){ keeper.fd.v, POLLIN, 0 }, 1, 0) > 0);
	ck_assert_uint_lt(heard, PUTS);
	for (unsigned i = 0; i < NAMES; i++) {
		ck_assert(there[i] == (i != 3));
		if (i != 3)
			ck_assert_uint_eq(last[i], PUTS - (PUTS - i) % NAMES);
	}
	free(k.late);
	chan_fini(&k.chan);
	chan_fini(&keeper);
	close(null.v);
}
END_TEST

UNIT_TESTS("kept_late", a_keeper_that_listens_again_gets_the_newest_of_each_name)
