/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Banks: when sockets are asked for, how many wait, who gets them. */
#include "tests/unit/test.h"

#include <errno.h>
#include <sys/socket.h>

#include "workers/pool/bank.h"

#define REF (3 * BANKS + 7)

static struct banks bs;
static unsigned asks, asked[BANK_SORTS];
static struct fd listener;

static void want(uint32_t ref, const uint16_t n[BANK_SORTS])
{
	ck_assert_uint_eq(ref, REF);
	asks++;
	for (unsigned i = 0; i < BANK_SORTS; i++)
		asked[i] += n[i];
}

static void begin(bool has_ipv6)
{
	bs = (struct banks){ .want = want };
	asks = 0;
	memset(asked, 0, sizeof asked);
	clock_tick();
	ck_assert_int_eq(banks_init(&bs), 0);
	bank_open(&bs, REF, has_ipv6, false);
	listener.v = socket(AF_INET, SOCK_STREAM, 0);
	ck_assert_int_eq(listen(listener.v, 128), 0);
}

static void end(void)
{
	banks_fini(&bs);
	ck_assert_uint_eq(bs.held, 0);
	fd_close(&listener);
}

static bool put(unsigned n)
{
	struct fd fd[BANK_MOST + 1];
	bool waited;

	for (unsigned i = 0; i < n; i++)
		fd[i].v = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK, 0);
	waited = bank_put(&bs, REF, bank_sort(4, false), fd, n);
	for (unsigned i = 0; i < n; i++)
		fd_close(&fd[i]);
	return waited;
}

static int dial(uint32_t ref)
{
	struct sockaddr_storage ss;
	socklen_t n = sizeof ss;
	struct back_key k = { .pod = ref };
	struct stream s = { 0 };
	int r;

	ck_assert_int_eq(getsockname(listener.v, (struct sockaddr *)&ss, &n), 0);
	addr_from_sockaddr(&ss, &k.addr);
	k.addr.ip[0] = 127;
	k.addr.ip[3] = 1;
	r = bank_dial(&bs, &k, &s);
	stream_close(&s, true);
	return r;
}

static void rest(void)
{
	for (int i = 0; i < 10; i++)
		banks_tick(&bs, true);
}

START_TEST(a_pod_keeps_none_until_somebody_came_and_few_when_it_is_quiet)
{
	begin(true);
	rest();
	bank_open(&bs, REF, true, false);	/* said again */
	ck_assert_uint_eq(asks, 0);
	ck_assert_int_eq(dial(REF), -EAGAIN);
	ck_assert_uint_eq(asks, 1);
	ck_assert_uint_gt(asked[0], BANK_LEAST);	/* they seldom come alone */
	ck_assert_uint_eq(asked[1], 0);			/* of that family nobody came */
	ck_assert(put(asked[0]));
	ck_assert_int_eq(dial(REF), -EINPROGRESS);
	rest();
	ck_assert_uint_eq(bs.held, BANK_LEAST);
	end();
}
END_TEST

START_TEST(none_is_kept_for_guests_until_the_pod_itself_is_here)
{
	begin(false);
	bank_close(&bs, REF);
	bank_open(&bs, REF, false, true);
	ck_assert_int_eq(dial(REF), -EAGAIN);
	put(asked[0]);
	ck_assert_int_eq(dial(REF), -EINPROGRESS);
	rest();
	ck_assert_uint_eq(bs.held, 0);
	bank_open(&bs, REF, false, false);
	bank_open(&bs, REF, false, true);
	ck_assert_int_eq(dial(REF), -EAGAIN);
	put(4);
	rest();
	ck_assert_uint_eq(bs.held, BANK_LEAST);
	end();
}
END_TEST

START_TEST(a_socket_is_used_once_and_more_are_asked_for)
{
	begin(false);
	ck_assert_int_eq(dial(REF), -EAGAIN);
	put(asked[0]);
	rest();
	ck_assert_uint_eq(bs.held, BANK_LEAST);
	ck_assert_int_eq(dial(REF), -EINPROGRESS);
	ck_assert_uint_eq(bs.held, BANK_LEAST - 1);
	ck_assert_uint_eq(asks, 2);
	end();
}
END_TEST

START_TEST(an_empty_bank_says_so_and_tells_when_it_is_not)
{
	begin(false);
	ck_assert_int_eq(dial(REF), -EAGAIN);
	ck_assert_int_eq(dial(REF), -EAGAIN);
	ck_assert_uint_gt(asked[0], BANK_LEAST);
	ck_assert(put(asked[0]));
	ck_assert(!put(0));
	ck_assert_int_eq(dial(REF), -EINPROGRESS);
	end();
}
END_TEST

START_TEST(who_asks_often_gets_more_but_never_more_than_the_most)
{
	begin(false);
	for (int i = 0; i < 1000; i++) {
		unsigned before = asked[0];

		if (dial(REF) == -EAGAIN || asked[0] > before)
			put(asked[0] - before);
		ck_assert_uint_le(bs.held, BANK_MOST);
	}
	ck_assert_uint_lt(asks, 1000 / (BANK_MOST / 4));
	put(BANK_MOST + 1);
	ck_assert_uint_eq(bs.held, BANK_MOST);
	end();
}
END_TEST

START_TEST(banks_shrink_while_descriptors_are_scarce)
{
	begin(false);
	for (int i = 0; i < 100; i++) {
		unsigned before = asked[0];

		if (dial(REF) == -EAGAIN || asked[0] > before)
			put(asked[0] - before);
	}
	put(BANK_MOST);
	banks_tick(&bs, false);
	ck_assert_uint_eq(bs.held, BANK_MOST);	/* it was used a moment ago */
	rest();
	ck_assert_uint_eq(bs.held, BANK_LEAST);
	end();
}
END_TEST

START_TEST(banks_grow_less_while_descriptors_are_scarce)
{
	begin(false);
	bs.most = 16;
	for (int i = 0; i < 1000; i++) {
		unsigned before = asked[0];

		if (dial(REF) == -EAGAIN || asked[0] > before)
			put(asked[0] - before);
		ck_assert_uint_le(bs.held, 16);
	}
	end();
}
END_TEST

START_TEST(a_pod_that_has_left_gives_nothing)
{
	begin(false);
	put(2);
	ck_assert_int_eq(dial(REF + BANKS), -ENETDOWN);	/* another one in its slot */
	bank_close(&bs, REF);
	ck_assert_uint_eq(bs.held, 0);
	ck_assert_int_eq(dial(REF), -ENETDOWN);
	ck_assert(!put(2));				/* they come too late */
	ck_assert_uint_eq(bs.held, 0);
	ck_assert_int_eq(dial(0), -EINPROGRESS);	/* the host has sockets of its own */
	end();
}
END_TEST

START_TEST(a_family_that_the_pod_lacks_cannot_be_reached)
{
	struct back_key k = { .pod = REF, .addr = { .family = 6, .port = 1 } };
	struct stream s = { 0 };

	begin(false);
	ck_assert_int_eq(bank_dial(&bs, &k, &s), -ENETUNREACH);
	end();
}
END_TEST

START_TEST(sockets_of_udp_come_when_names_are_asked_for_and_come_back)
{
	struct fd fd[2] = { FD_NONE, FD_NONE };
	unsigned n;

	begin(false);
	ck_assert_uint_eq(asked[2] + asked[3], 0);
	ck_assert_int_eq(bank_take_udp(&bs, REF, 6, &fd[0]), -ENETUNREACH);
	ck_assert_int_eq(bank_take_udp(&bs, REF, 4, &fd[0]), -EAGAIN);
	n = asked[2];
	ck_assert_uint_ge(n, 2);
	for (unsigned i = 0; i < 2; i++)
		fd[i].v = socket(AF_INET, SOCK_DGRAM | SOCK_NONBLOCK, 0);
	ck_assert(bank_put(&bs, REF, bank_sort(4, true), fd, 2));
	for (int i = 0; i < 100; i++) {		/* always the same two */
		ck_assert_int_eq(bank_take_udp(&bs, REF, 4, &fd[0]), 0);
		ck_assert_int_eq(bank_take_udp(&bs, REF, 4, &fd[1]), 0);
		bank_give_udp(&bs, REF, 4, &fd[0]);
		bank_give_udp(&bs, REF, 4, &fd[1]);
	}
	ck_assert_uint_eq(bs.held, 2);
	ck_assert_int_eq(bank_take_udp(&bs, REF, 4, &fd[0]), 0);
	bank_close(&bs, REF);
	bank_give_udp(&bs, REF, 4, &fd[0]);	/* the pod has left meanwhile */
	ck_assert(!fd_is_open(fd[0]));
	end();
}
END_TEST

/* Of hundreds of pods most are idle. */
START_TEST(room_for_descriptors_is_taken_when_sockets_come)
{
	begin(false);
	ck_assert_int_eq(dial(REF), -EAGAIN);
	ck_assert_uint_eq(bs.rooms.live, 0);
	bs.rooms.fail_after = 1;
	ck_assert(put(1));			/* closed: there is no room */
	ck_assert_uint_eq(bs.held, 0);
	ck_assert_int_eq(dial(REF), -EAGAIN);
	ck_assert(put(2));
	ck_assert_uint_eq(bs.rooms.live, 1);
	bank_close(&bs, REF);
	ck_assert_uint_eq(bs.rooms.live, 0);
	end();
}
END_TEST

UNIT_TESTS("pool/bank", a_pod_keeps_none_until_somebody_came_and_few_when_it_is_quiet,
	   none_is_kept_for_guests_until_the_pod_itself_is_here,
	   a_socket_is_used_once_and_more_are_asked_for, an_empty_bank_says_so_and_tells_when_it_is_not,
	   who_asks_often_gets_more_but_never_more_than_the_most, banks_shrink_while_descriptors_are_scarce,
	   banks_grow_less_while_descriptors_are_scarce,
	   a_pod_that_has_left_gives_nothing, sockets_of_udp_come_when_names_are_asked_for_and_come_back,
	   a_family_that_the_pod_lacks_cannot_be_reached,
	   room_for_descriptors_is_taken_when_sockets_come)
