/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The board: slots with generations, claims, and what a dead worker leaves. */
#include "tests/unit/test.h"

#include <sched.h>
#include <signal.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "nodeproxy/lib/base/memfd.h"
#include "workers/obs/endpoint.h"

static struct board *fresh(unsigned workers)
{
	struct board *b = mmap(NULL, board_bytes(workers), PROT_READ | PROT_WRITE,
			       MAP_SHARED | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);

	ck_assert_ptr_ne(b, MAP_FAILED);
	board_format(b, workers);
	ck_assert_int_eq(board_check(b, board_bytes(workers)), 0);
	return b;
}

START_TEST(claims_of_a_dead_worker_are_returned_and_only_its_own)
{
	struct board *b = fresh(2);

	board_endpoint(b, 5, 1);
	board_claim(b, 0, 10, 5, 1, false);
	board_claim(b, 0, 11, 5, 1, false);
	board_claim(b, 1, 10, 5, 1, false);
	ck_assert_uint_eq(endpoint_in_flight(board_endpoint(b, 5, 1)), 3);
	board_set(&b->worker[0].c[WC_conns_gauge], 9);
	board_set(&b->worker[0].c[WC_accepted], 9);
	ck_assert_uint_eq(board_bury(b, -1, 0), 2);
	ck_assert_uint_eq(endpoint_in_flight(board_endpoint(b, 5, 1)), 1);
	ck_assert_uint_eq(board_get(&b->worker[0].c[WC_conns_gauge]), 0);
	ck_assert_uint_eq(board_get(&b->worker[0].c[WC_accepted]), 9);	/* history stays */
	ck_assert_uint_eq(board_bury(b, -1, 0), 0);
	munmap(b, board_bytes(2));
}
END_TEST

START_TEST(a_new_generation_starts_from_zero_and_old_claims_do_not_touch_it)
{
	struct board *b = fresh(1);

	board_endpoint(b, 7, 1)->failures = 3;
	board_claim(b, 0, 1, 7, 1, false);
	ck_assert_uint_eq(endpoint_in_flight(board_endpoint(b, 7, 2)), 0);
	ck_assert_uint_eq(board_endpoint(b, 7, 2)->failures, 0);
	board_claim(b, 0, 2, 7, 2, false);
	board_unclaim(b, 0, 1);
	ck_assert_uint_eq(endpoint_in_flight(board_endpoint(b, 7, 2)), 1);
	/* a worker with an older view does not turn it back */
	board_endpoint(b, 7, 1);
	ck_assert_uint_eq(endpoint_in_flight(board_endpoint(b, 7, 2)), 1);
	board_tenant(b, 0, 3, 1)->c[TC_conns] = 4;
	ck_assert_uint_eq(board_tenant(b, 0, 3, 2)->c[TC_conns], 0);
	board_service(b, 0, 3, 1)->c[SC_exchanges] = 4;
	ck_assert_uint_eq(board_service(b, 0, 3, 2)->c[SC_exchanges], 0);
	munmap(b, board_bytes(1));
}
END_TEST

START_TEST(a_numbering_that_began_anew_is_not_taken_for_an_old_view)
{
	static const struct {
		uint32_t was, now;
		bool newer;
	} row[] = {
		{ 0, 1, true }, { 0, UINT32_MAX, true }, { 0, 1u << 31, true },
		{ 100, 101, true }, { 101, 100, false }, { UINT32_MAX, 3, true },
		{ 3, UINT32_MAX, false }, { 1760000000, 5000, true }, { 5000, 1760000000, true },
		{ 1760000000, 1760000000 - BOARD_GEN_STALE, false },
		{ 1760000000, 1760000000 - BOARD_GEN_STALE - 1, true },
	};

	for (size_t i = 0; i < countof(row); i++) {
		struct board *b = fresh(2);

		b->endpoint[7].gen = row[i].was;
		b->endpoint[7].failures = 3;
		board_endpoint(b, 7, row[i].now);
		ck_assert_msg((b->endpoint[7].gen == row[i].now) == row[i].newer, "row %zu", i);
		ck_assert_uint_eq(b->endpoint[7].failures, row[i].newer ? 0 : 3);
		munmap(b, board_bytes(2));
	}
}
END_TEST

START_TEST(what_a_hostile_worker_wrote_never_leads_outside)
{
	struct board *b = fresh(1);

	b->worker[0].claim[0] = (struct board_claim){ .endpoint = UINT32_MAX, .gen = 1 };
	b->worker[0].claim[1] = (struct board_claim){ .endpoint = BOARD_ENDPOINTS + 1, .gen = 1 };
	b->worker[0].claim[2] = (struct board_claim){ .endpoint = 1, .gen = 0 };
	b->worker[0].claim[3] = (struct board_claim){ .endpoint = CLAIM_WAITS, .gen = 0 };	/* waits for nobody */
	board_answered(b, 0, 3);
	b->worker[0].claim[3] = (struct board_claim){ .endpoint = CLAIM_WAITS, .gen = 0 };
	ck_assert_uint_eq(board_bury(b, -1, 0), 4);
	ck_assert_uint_eq(endpoint_in_flight(&b->endpoint[0]), 0);	/* never below zero */
	ck_assert_ptr_eq(board_endpoint(b, UINT32_MAX, 1), &b->endpoint[0]);
	ck_assert_ptr_eq(board_tenant(b, 0, 99999, 1), &b->worker[0].tenant[0]);
	b->workers = 65;
	ck_assert_int_lt(board_check(b, board_bytes(1)), 0);
	munmap(b, board_bytes(1));
}
END_TEST

START_TEST(limits_are_never_exceeded_and_die_with_their_worker)
{
	struct board *b = fresh(3);
	unsigned taken = 0;

	clock_tick();
	for (unsigned w = 0; w < 3; w++)
		for (uint32_t i = 0; i < 4; i++)
			taken += board_limit_take(b, w, i, 7, 1, LIMIT_CONNECTIONS, 10);
	ck_assert_uint_eq(taken, 10);
	ck_assert_uint_eq(board_limit_held(b, 7, 1, LIMIT_CONNECTIONS), 10);
	/* Requests are another count, of the same claims; what is held is not taken twice. */
	for (uint32_t i = 0; i < 4; i++) {
		ck_assert(board_limit_take(b, 0, i, 7, 1, LIMIT_REQUESTS, 4));
		ck_assert(board_limit_take(b, 0, i, 7, 1, LIMIT_REQUESTS, 4));
		ck_assert(board_limit_take(b, 0, i, 7, 1, LIMIT_CONNECTIONS, 10));
	}
	ck_assert(!board_limit_take(b, 1, 0, 7, 1, LIMIT_REQUESTS, 4));
	ck_assert_uint_eq(board_limit_held(b, 7, 1, LIMIT_REQUESTS), 4);
	/* A worker that finds it full wants idle ones of others, not its own. */
	ck_assert(!board_limit_take(b, 2, 9, 7, 1, LIMIT_CONNECTIONS, 10));
	ck_assert_uint_eq(b->worker[2].claim[9].limit, 0);
	ck_assert(board_limit_is_full(b, 0, 7, clock_now()));
	ck_assert(!board_limit_is_full(b, 2, 7, clock_now()));
	ck_assert(!board_limit_is_full(b, 0, 7, mono_after_ms(clock_now(), 1001)));
	ck_assert(!board_limit_is_full(b, 0, 0, clock_now()));
	/* It dies: what it held is there for others. */
	board_claim(b, 0, 0, 5, 1, true);
	ck_assert_uint_eq(board_bury(b, -1, 0), 4);
	ck_assert_uint_eq(board_limit_held(b, 7, 1, LIMIT_CONNECTIONS), 6);
	ck_assert_uint_eq(board_limit_held(b, 7, 1, LIMIT_REQUESTS), 0);
	ck_assert(board_limit_take(b, 2, 9, 7, 1, LIMIT_CONNECTIONS, 7));
	ck_assert(!board_limit_take(b, 2, 10, 7, 1, LIMIT_CONNECTIONS, 7));
	board_limit_give(b, 2, 9, LIMIT_REQUESTS);	/* does not hold one */
	board_limit_give(b, 2, 9, LIMIT_CONNECTIONS);
	board_limit_give(b, 2, 9, LIMIT_CONNECTIONS);
	ck_assert_uint_eq(board_limit_held(b, 7, 1, LIMIT_CONNECTIONS), 6);
	/* Any number: only counted. */
	ck_assert(board_limit_take(b, 2, 9, 7, 1, LIMIT_CONNECTIONS, 0));
	ck_assert_uint_eq(board_limit_held(b, 7, 1, LIMIT_CONNECTIONS), 7);
	munmap(b, board_bytes(3));
}
END_TEST

#define RACERS 4
#define ROUNDS 20000

/* One worker: takes and gives, and looks who else is in. */
static void race(struct board *b, unsigned worker, uint32_t *inside, bool forever)
{
	for (unsigned i = 0; forever || i < ROUNDS; i++) {
		uint32_t claim = i % 3;

		if (!board_limit_take(b, worker, claim, 7, 1, LIMIT_REQUESTS, 3))
			continue;
		if (__atomic_add_fetch(inside, 1, __ATOMIC_SEQ_CST) > 3)
			_exit(1);
		if (i % 16 == 0)
			sched_yield();
		__atomic_sub_fetch(inside, 1, __ATOMIC_SEQ_CST);
		board_limit_give(b, worker, claim, LIMIT_REQUESTS);
	}
	_exit(0);
}

START_TEST(workers_that_race_for_a_limit_never_exceed_it)
{
	struct board *b = fresh(RACERS);
	uint32_t *inside = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0);
	pid_t pid[RACERS];
	int status;

	clock_tick();
	for (unsigned w = 0; w < RACERS; w++) {
		pid[w] = fork();
		ck_assert_int_ge(pid[w], 0);
		if (pid[w] == 0)
			race(b, w, inside, false);
	}
	for (unsigned w = 0; w < RACERS; w++) {
		ck_assert_int_eq(waitpid(pid[w], &status, 0), pid[w]);
		ck_assert_int_eq(status, 0);
	}
	ck_assert_uint_eq(board_limit_held(b, 7, 1, LIMIT_REQUESTS), 0);
	/* One that is killed wherever it is leaves nothing behind. */
	for (int i = 0; i < 50; i++) {
		uint32_t mine = 0;

		pid[0] = fork();
		ck_assert_int_ge(pid[0], 0);
		if (pid[0] == 0)
			race(b, 0, &mine, true);
		for (unsigned k = 0; k < 100 * (unsigned)i; k++)
			sched_yield();
		kill(pid[0], SIGKILL);
		ck_assert_int_eq(waitpid(pid[0], &status, 0), pid[0]);
		board_bury(b, -1, 0);
		ck_assert_uint_eq(board_limit_held(b, 7, 1, LIMIT_REQUESTS), 0);
	}
	munmap(inside, 4096);
	munmap(b, board_bytes(RACERS));
}
END_TEST

START_TEST(limits_of_another_generation_start_from_zero)
{
	struct board *b = fresh(1);

	clock_tick();
	ck_assert(board_limit_take(b, 0, 1, 7, 5, LIMIT_CONNECTIONS, 1));
	ck_assert(!board_limit_take(b, 0, 2, 7, 5, LIMIT_CONNECTIONS, 1));
	ck_assert(board_limit_take(b, 0, 2, 7, 6, LIMIT_CONNECTIONS, 1));
	ck_assert_uint_eq(board_limit_held(b, 7, 5, LIMIT_CONNECTIONS), 0);
	ck_assert_uint_eq(board_limit_held(b, 7, 6, LIMIT_CONNECTIONS), 1);
	/* An old claim takes nothing of the new count along; an old view counts nothing. */
	board_limit_give(b, 0, 1, LIMIT_CONNECTIONS);
	ck_assert(board_limit_take(b, 0, 3, 7, 5, LIMIT_CONNECTIONS, 1));
	ck_assert_uint_eq(b->worker[0].claim[3].limit, 0);
	ck_assert_uint_eq(board_limit_held(b, 7, 6, LIMIT_CONNECTIONS), 1);
	/* A claim that goes over to another port returns what it held. */
	ck_assert(board_limit_take(b, 0, 2, 8, 6, LIMIT_CONNECTIONS, 1));
	ck_assert_uint_eq(board_limit_held(b, 7, 6, LIMIT_CONNECTIONS), 0);
	ck_assert_uint_eq(board_limit_held(b, 8, 6, LIMIT_CONNECTIONS), 1);
	/* What a hostile worker wrote is only a number. */
	for (uint32_t i = 0; i < 3; i++)
		b->worker[0].claim[i] = (struct board_claim){ .limit = UINT32_MAX << i, .limit_gen = 6 };
	b->limit[8].held = UINT64_MAX;
	ck_assert(!board_limit_take(b, 0, 4, 8, 6, LIMIT_REQUESTS, 3));
	ck_assert_uint_eq(board_bury(b, -1, 0), 3);
	ck_assert(board_limit_take(b, 0, 4, UINT32_MAX, 6, LIMIT_REQUESTS, 1));
	ck_assert_uint_eq(board_limit_held(b, UINT32_MAX, 6, LIMIT_REQUESTS), 0);
	munmap(b, board_bytes(1));
}
END_TEST

START_TEST(a_spoiled_header_is_mended_and_takes_no_count_with_it)
{
	struct board *b = fresh(2);

	ck_assert_uint_eq(board_slots(board_bytes(2)), 2);
	ck_assert_uint_eq(board_slots(sizeof(struct board) - 1), 0);
	ck_assert_uint_eq(board_slots(SIZE_MAX), BOARD_WORKERS);
	b->worker[1].c[WC_accepted] = 7;
	ck_assert(!board_mend(b, 2));
	b->workers = 0;
	ck_assert_uint_eq(board_bury(b, -1, 1), 0);	/* believes the caller */
	ck_assert(board_mend(b, 2));
	ck_assert_int_eq(board_check(b, board_bytes(2)), 0);
	ck_assert_uint_eq(b->worker[1].c[WC_accepted], 7);
	munmap(b, board_bytes(2));
}
END_TEST

START_TEST(a_burial_returns_what_was_claimed_and_makes_no_page)
{
	struct fd fd = FD_NONE;
	struct stat before, after;
	struct board *b;
	void *p;

	ck_assert_int_eq(memfd_shared("board", board_bytes(4), &fd), 0);
	ck_assert_int_eq(memfd_map_shared(fd, board_bytes(4), true, &p), 0);
	b = p;
	board_format(b, 4);
	board_claim(b, 2, 0, 5, 1, false);
	board_claim(b, 2, 40000, 5, 1, false);
	board_claim(b, 2, BOARD_CLAIMS - 1, 5, 1, false);
	board_tenant(b, 2, 700, 1)->c[TC_conns_gauge] = 4;
	b->worker[2].listener[300].c[LC_requests_gauge] = 2;
	board_set(&b->worker[3].c[WC_accepted], 1);
	fstat(fd.v, &before);
	ck_assert_uint_eq(board_bury(b, fd.v, 2), 3);
	ck_assert_uint_eq(board_bury(b, fd.v, 3), 0);
	fstat(fd.v, &after);
	ck_assert_uint_eq(endpoint_in_flight(board_endpoint(b, 5, 1)), 0);
	ck_assert_uint_eq(board_tenant(b, 2, 700, 1)->c[TC_conns_gauge], 0);
	ck_assert_uint_eq(b->worker[2].listener[300].c[LC_requests_gauge], 0);
	/* at most what lies beside it: a page at each end of the three arrays, per worker */
	ck_assert_int_le(after.st_blocks, before.st_blocks + 2 * 6 * 4096 / 512);
	munmap(p, board_bytes(4));
	fd_close(&fd);
}
END_TEST

/* A page of shared memory is made by the look at it: what no worker has served costs nothing. */
START_TEST(who_reads_a_service_makes_no_page_of_those_without_traffic)
{
	struct board *b;
	struct stat before, after;
	struct fd fd;
	void *p;

	ck_assert_int_eq(memfd_shared("board", board_bytes(2), &fd), 0);
	ck_assert_int_eq(memfd_map_shared(fd, board_bytes(2), true, &p), 0);
	b = p;
	board_format(b, 2);
	board_add(&board_service(b, 0, 9, 1)->c[SC_exchanges], 5);
	ck_assert_ptr_null(board_service_seen(b, 1, 9, 1));
	fstat(fd.v, &before);
	for (uint32_t slot = 1; slot < 1000; slot++)
		ck_assert((board_service_seen(b, 0, slot, 1) != NULL) == (slot == 9));
	ck_assert_ptr_null(board_service_seen(b, 0, BOARD_SERVICES, 1));
	ck_assert_ptr_null(board_service_seen(b, 0, UINT32_MAX, 0));
	fstat(fd.v, &after);
	ck_assert_int_le(after.st_blocks, before.st_blocks + 2 * 4096 / 512);	/* of generations */
	ck_assert_uint_le(sizeof(struct board_service), 2432);	/* what board.h promises, and a little */
	munmap(p, board_bytes(2));
	fd_close(&fd);
}
END_TEST

START_TEST(every_counter_row_matches_its_number)
{
	struct counter_row r;

	ck_assert(worker_counter_row(WC_accepted, &r));
	ck_assert_str_eq(r.name, "accepted");
	ck_assert(tenant_counter_row(TC_refused, &r));
	ck_assert_str_eq(r.name, "refused");
	ck_assert(tenant_histogram_row(TH_inside, &r));
	ck_assert_str_eq(r.name, "inside");
	ck_assert(!tenant_histogram_row(THS, &r));
	ck_assert(service_counter_row(SC_exchanges, &r));
	ck_assert_str_eq(r.name, "exchanges");
	ck_assert(service_histogram_row(SH_response, &r));
	ck_assert_str_eq(r.name, "response");
	ck_assert(!service_histogram_row(SHS, &r));
	ck_assert(!worker_counter_row(WCS, &r));
}
END_TEST

UNIT_TESTS("board", a_numbering_that_began_anew_is_not_taken_for_an_old_view, claims_of_a_dead_worker_are_returned_and_only_its_own,
	   a_new_generation_starts_from_zero_and_old_claims_do_not_touch_it,
	   what_a_hostile_worker_wrote_never_leads_outside,
	   limits_are_never_exceeded_and_die_with_their_worker,
	   workers_that_race_for_a_limit_never_exceed_it,
	   limits_of_another_generation_start_from_zero,
	   a_spoiled_header_is_mended_and_takes_no_count_with_it,
	   a_burial_returns_what_was_claimed_and_makes_no_page,
	   who_reads_a_service_makes_no_page_of_those_without_traffic, every_counter_row_matches_its_number)
