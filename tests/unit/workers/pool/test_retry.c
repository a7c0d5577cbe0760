/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The retry budget of a Service. */
#include "tests/unit/test.h"

#include <sys/mman.h>

#include "workers/pool/retry.h"

static struct board *fresh(unsigned workers)
{
	struct board *b = mmap(NULL, board_bytes(workers), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ck_assert_ptr_ne(b, MAP_FAILED);
	board_format(b, workers);
	return b;
}

static struct mono at(int64_t ms)
{
	return (struct mono){ (1000000 + ms) * NS_PER_MS };
}

static unsigned taken(struct board *b, unsigned tries, int64_t ms)
{
	unsigned n = 0;

	while (tries--)
		n += retry_take(b, 3, 1, at(ms));
	return n;
}

START_TEST(a_quiet_service_may_retry_ten_times_a_second)
{
	struct board *b = fresh(1);
	unsigned n = 0;

	ck_assert_uint_eq(taken(b, 1000, 0), 100);	/* ten seconds' worth */
	for (int64_t ms = 1; ms <= 60000; ms++)
		n += taken(b, 3, ms);
	ck_assert_uint_ge(n, 590);
	ck_assert_uint_le(n, 600);
	ck_assert_uint_eq(taken(b, 1000, 600000), 100);
	munmap(b, board_bytes(1));
}
END_TEST

START_TEST(a_fifth_of_the_requests_of_all_workers_together)
{
	struct board *b = fresh(4);
	unsigned n = 0;

	(void)taken(b, 1000, 0);
	for (int64_t ms = 1; ms <= 20000; ms++) {	/* 1,000 requests/s, each wants a retry */
		board_add(&board_service(b, (unsigned)ms % 4, 3, 1)->c[SC_exchanges], 1);
		n += taken(b, 1, ms);
	}
	ck_assert_uint_ge(n, 4000);
	ck_assert_uint_le(n, 4250);
	munmap(b, board_bytes(4));
}
END_TEST

START_TEST(a_look_makes_no_memory_for_workers_that_never_were)
{
	struct board *b = fresh(BOARD_WORKERS);
	unsigned made = 0;

	board_add(&board_service(b, 1, 3, 1)->c[SC_exchanges], 1);
	(void)taken(b, 10, 0);
	for (unsigned w = 0; w < BOARD_WORKERS; w++) {
		uintptr_t page = (uintptr_t)&b->worker[w].service[3] & ~(uintptr_t)4095;
		unsigned char in = 0;

		ck_assert_int_eq(mincore((void *)page, 4096, &in), 0);
		made += in & 1;
	}
	ck_assert_uint_le(made, 2);
	munmap(b, board_bytes(BOARD_WORKERS));
}
END_TEST

START_TEST(what_a_sibling_wrote_is_survived)
{
	struct board *b = fresh(1);

	b->retries[3] = (struct board_retries){ UINT64_MAX, UINT64_MAX };
	(void)taken(b, 10, 0);
	b->retries[3] = (struct board_retries){ 1, 0 };
	board_add(&board_service(b, 0, 3, 1)->c[SC_exchanges], UINT64_MAX);
	(void)taken(b, 10, 0);
	ck_assert(retry_take(b, UINT32_MAX, 1, at(0)));
	munmap(b, board_bytes(1));
}
END_TEST

UNIT_TESTS("retry", a_quiet_service_may_retry_ten_times_a_second,
	   a_look_makes_no_memory_for_workers_that_never_were,
	   a_fifth_of_the_requests_of_all_workers_together, what_a_sibling_wrote_is_survived)
