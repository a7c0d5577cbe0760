/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Who is refused how much in an overload: the controller with given numbers, then in a world of its own
 * clock around the real scheduler, where a request costs SERVE_NS and a refused one a quarter of it. */
#include "tests/unit/test.h"

#include <sys/mman.h>

#include "nodeproxy/lib/base/rand.h"
#include "workers/sched/sched.h"

#define TARGET_NS (500 * NS_PER_MS)	/* limits.overload_delay */
#define TICK_NS	  (250 * NS_PER_MS)

/* ---- given numbers ---- */

#define MS   NS_PER_MS
#define LATE (TARGET_NS + 50 * MS)
static const struct {
	const char *what;
	int64_t before, delay;		/* waited at the look before, and now */
	unsigned late;			/* looks over the target before this one */
	int64_t target;
	struct {
		uint32_t weight;
		struct shed is;
		uint32_t then;
	} t[3];
} decisions[] = {
	{ "one late look is none", 0, LATE, 0, TARGET_NS, {
		{ 1, { .used_ns = 90 * MS }, 0 }, { 1, { .used_ns = 10 * MS }, 0 } } },
	{ "the furthest pays, not who is within its share", LATE, LATE, 1, TARGET_NS, {
		{ 1, { .used_ns = 90 * MS }, SHED_UP }, { 1, { .used_ns = 10 * MS }, 0 } } },
	{ "the furthest pays first, not who is over its share by less", LATE, LATE, 1, TARGET_NS, {
		{ 1, { .used_ns = 50 * MS }, SHED_UP }, { 1, { .used_ns = 40 * MS }, 0 },
		{ 1, { .used_ns = 10 * MS }, 0 } } },
	{ "those as far over as each other pay alike", LATE, LATE, 1, TARGET_NS, {
		{ 1, { .used_ns = 33 * MS }, SHED_UP }, { 1, { .used_ns = 34 * MS }, SHED_UP },
		{ 1, { .used_ns = 32 * MS }, SHED_UP } } },
	{ "weights count", LATE, LATE, 1, TARGET_NS, {
		{ 4, { .used_ns = 70 * MS }, 0 }, { 1, { .used_ns = 30 * MS }, SHED_UP } } },
	{ "who used nothing has no share", LATE, LATE, 1, TARGET_NS, {
		{ 1, { .used_ns = 60 * MS }, SHED_UP }, { 1000, { .used_ns = 0 }, 0 } } },
	{ "who uses less because of what is refused is not within its share for that", LATE, LATE, 9, TARGET_NS, {
		{ 1, { 20 * MS, 1000, 500, 512 }, 512 }, { 1, { .used_ns = 30 * MS }, SHED_UP } } },
	{ "nothing more while the line gets shorter", LATE + LATE / 4, LATE, 9, TARGET_NS, {
		{ 1, { 60 * MS, 100, 50, 512 }, 512 }, { 1, { .used_ns = 40 * MS }, 0 } } },
	{ "all but the last sixteenth may be refused", LATE, LATE, 9, TARGET_NS, {
		{ 1, { 60 * MS, 100, 94, SHED_MOST }, SHED_MOST }, { 1, { .used_ns = 1 * MS }, 0 } } },
	{ "then the next one pays", LATE, LATE, 9, TARGET_NS, {
		{ 1, { 60 * MS, 100, 94, SHED_MOST }, SHED_MOST },
		{ 1, { .used_ns = 60 * MS }, SHED_UP }, { 1, { .used_ns = 1 * MS }, 0 } } },
	{ "between half the target and all of it nothing changes", LATE, TARGET_NS, 9, TARGET_NS, {
		{ 1, { 60 * MS, 100, 50, 512 }, 512 }, { 1, { .used_ns = 40 * MS }, 0 } } },
	{ "nothing less while the line grows", TARGET_NS / 2 - 2, TARGET_NS / 2 - 1, 0, TARGET_NS, {
		{ 1, { 60 * MS, 100, 50, 512 }, 512 } } },
	{ "under half of it less is refused", LATE, TARGET_NS / 2 - 1, 0, TARGET_NS, {
		{ 1, { 60 * MS, 100, 50, 512 }, 512 - SHED_DOWN },
		{ 1, { 50 * MS, 100, 1, SHED_DOWN - 1 }, 0 } } },
	{ "who is within its share again is refused nothing", LATE, LATE, 9, TARGET_NS, {
		{ 1, { 20 * MS, 100, 50, 512 }, 0 }, { 1, { .used_ns = 90 * MS }, SHED_UP } } },
	{ "nor who asks for nothing any more", LATE, LATE, 9, TARGET_NS, {
		{ 1, { .portion = 512 }, 0 }, { 1, { .used_ns = 90 * MS }, SHED_UP } } },
	{ "all are idle", 0, 0, 0, TARGET_NS, { { 1, { .portion = 512 }, 0 } } },
	{ "it is switched off", LATE, LATE, 9, 0, {
		{ 1, { 60 * MS, 100, 50, 512 }, 0 }, { 1, { .used_ns = 40 * MS }, 0 } } },
	{ "numbers that cannot be", 0, INT64_MAX, 9, TARGET_NS, {
		{ 1, { INT64_MAX, UINT32_MAX, UINT32_MAX, SHED_MOST }, SHED_MOST },
		{ 1, { INT64_MAX, 0, 0, 0 }, SHED_UP } } },
};

START_TEST(a_look_decides_by_its_numbers)
{
	for (size_t i = 0; i < countof(decisions); i++) {
		struct shedding s = { .at.ns = NS_PER_S, .delay_ns = decisions[i].before,
				      .late = decisions[i].late };
		struct shed t[3];

		ck_assert(shed_look(&s, (struct mono){ NS_PER_S + TICK_NS }, decisions[i].delay,
				    decisions[i].target));
		for (int k = 0; k < 3; k++) {
			t[k] = decisions[i].t[k].is;
			shed_weigh(&s, &t[k], max_of(decisions[i].t[k].weight, 1u));
		}
		for (int k = 0; k < 3; k++) {
			uint32_t then = shed_next(&s, &t[k], max_of(decisions[i].t[k].weight, 1u));

			ck_assert_msg(then == decisions[i].t[k].then && t[k].portion == then,
				      "%s: tenant %d: %u", decisions[i].what, k, then);
			ck_assert(t[k].used_ns == 0 && t[k].asked == 0 && t[k].refused == 0);
		}
	}
}
END_TEST

START_TEST(looks_are_not_nearer_than_a_tenth_of_a_second)
{
	struct shedding s = { 0 };

	ck_assert(shed_look(&s, (struct mono){ NS_PER_S }, LATE, TARGET_NS));
	ck_assert(!shed_look(&s, (struct mono){ NS_PER_S + SHED_LOOK_NS - 1 }, LATE, TARGET_NS));
	ck_assert_uint_eq(s.late, 1);
	ck_assert(shed_look(&s, (struct mono){ NS_PER_S + SHED_LOOK_NS }, LATE, TARGET_NS));
	ck_assert_uint_eq(s.late, 2);
	ck_assert(shed_look(&s, (struct mono){ 2 * NS_PER_S }, TARGET_NS, TARGET_NS));
	ck_assert_uint_eq(s.late, 0);
}
END_TEST

/* ---- a world ---- */

#define TENANTS	  5
#define SEEDS	  5
#define REQUESTS  16384
#define SERVE_NS  NS_PER_MS
#define REFUSE_NS (SERVE_NS / 4)

struct request {
	struct sched_unit unit;
	struct node node;	/* when it is nobody's */
	bool again;		/* its caller asks again at once */
};

static struct request request[REQUESTS];
static struct node spare;
static int64_t world_ns, look_at, longest_ns;
static struct board *board;
static struct tenants ts;
static struct budget all;
static struct sched s;
static struct shedding shedding;
static struct {
	struct tenant *t;
	int64_t every_ns;	/* a request comes, on the average; 0: none does */
	int64_t next_ns;
	uint64_t served, refused;
	uint64_t begun;		/* times that some began to be refused */
} world[TENANTS];

static int64_t world_mono(void)
{
	return world_ns;
}
static int64_t world_unix(void)
{
	return 1;
}

static void request_step(struct sched_unit *u)
{
	struct request *q = container_of(u, struct request, unit);
	struct tenant *t = u->tenant;
	bool refused = t->shed.portion && shed_draws(&t->shed);

	world_ns += refused ? REFUSE_NS : SERVE_NS;
	world[t->slot - 1].served += !refused;
	world[t->slot - 1].refused += refused;
	if (q->again)
		sched_wake(&s, u);
	else
		list_add_tail(&spare, &q->node);
}

static void begin(uint64_t seed, const uint32_t weight[TENANTS])
{
	rand_seed(seed);
	world_ns = NS_PER_S;
	look_at = world_ns + TICK_NS;
	clock_simulate(world_mono, world_unix);
	board = mmap(NULL, board_bytes(1), PROT_READ | PROT_WRITE,
		     MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	ck_assert_ptr_ne(board, MAP_FAILED);
	board_format(board, 1);
	all = (struct budget){ .limit = 1 << 20 };
	ck_assert_int_eq(tenants_init(&ts, board, 0, &all, 1 << 16, 4, 4), 0);
	sched_init(&s, 50, 262144, board->worker[0].c);
	shedding = (struct shedding){ 0 };
	clock_tick();
	list_init(&spare);
	for (unsigned i = 0; i < REQUESTS; i++)
		list_add_tail(&spare, &request[i].node);
	memset(world, 0, sizeof world);
	for (uint32_t i = 0; i < TENANTS; i++)
		world[i].t = tenant_take(&ts, &(struct tenant_terms){ .slot = 1 + i, .gen = 1,
								     .weight = weight ? weight[i] : 1 });
}

static void finish(void)
{
	for (unsigned i = 0; i < REQUESTS; i++)
		if (request[i].unit.tenant)
			sched_forget(&s, &request[i].unit);
	memset(request, 0, sizeof request);
	tenants_fini(&ts);
	munmap(board, board_bytes(1));
	clock_simulate(NULL, NULL);
}

/* What a tenant asks for, in per cent of what the worker can do. */
static void asks(unsigned i, unsigned percent)
{
	world[i].every_ns = percent ? SERVE_NS * 100 / percent : 0;
	world[i].next_ns = world_ns;
}

static void arrive(unsigned i, bool again)
{
	struct request *q = list_pop(&spare, struct request, node);

	ck_assert_msg(q != NULL, "nothing is refused");
	sched_unit_init(&q->unit, world[i].t, request_step);
	q->again = again;
	sched_wake(&s, &q->unit);
}

static void look(void)
{
	int64_t delay_ns = sched_delay_ns(&s);

	longest_ns = max_of(longest_ns, delay_ns);
	ck_assert(shed_look(&shedding, clock_now(), delay_ns, TARGET_NS));
	for (unsigned i = 0; i < TENANTS; i++)
		shed_weigh(&shedding, &world[i].t->shed, world[i].t->weight);
	for (unsigned i = 0; i < TENANTS; i++) {
		uint32_t was = world[i].t->shed.portion;

		world[i].begun += shed_next(&shedding, &world[i].t->shed, world[i].t->weight) && !was;
	}
}

static void run_ms(int64_t ms)
{
	int64_t until = world_ns + ms * NS_PER_MS, next;

	longest_ns = 0;
	while (world_ns < until) {
		clock_tick();
		if (world_ns >= look_at) {
			look();
			look_at = world_ns + TICK_NS;
		}
		next = min_of(look_at, until);
		for (unsigned i = 0; i < TENANTS; i++) {
			if (world[i].every_ns == 0)
				continue;
			for (; world[i].next_ns <= world_ns;
			     world[i].next_ns += rand_below((uint32_t)(2 * world[i].every_ns)))
				arrive(i, false);
			next = min_of(next, world[i].next_ns);
		}
		world_ns += NS_PER_US;
		if (!sched_run(&s))
			world_ns = max_of(world_ns, next);
	}
}

static uint64_t used_ns(void)
{
	return board->worker[0].c[WC_busy_ns];
}

/* It asks for all that the worker can do, five times its share, and four others for half of theirs. */
START_TEST(a_greedy_tenant_is_shed_until_nobody_waits_long_and_others_never_are)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		uint64_t used;

		begin(seed, NULL);
		asks(0, 100);
		for (unsigned i = 1; i < TENANTS; i++)
			asks(i, 10);
		run_ms(10000);
		ck_assert_int_gt(longest_ns, TARGET_NS);
		used = used_ns();
		run_ms(20000);
		ck_assert_msg(longest_ns < TARGET_NS / 2 * 3, "seed %d: %d ms", (int)seed,
			      (int)(longest_ns / NS_PER_MS));
		/* The worker is kept busy, not emptied. */
		ck_assert_uint_gt(used_ns() - used, 18 * NS_PER_S);
		ck_assert_uint_gt(world[0].refused, 0);
		for (unsigned i = 1; i < TENANTS; i++)
			ck_assert_uint_eq(world[i].refused, 0);
		finish();
	}
}
END_TEST

START_TEST(weights_say_who_is_greedy)
{
	static const uint32_t weight[TENANTS] = { 8, 1, 1, 1, 1 };

	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		begin(seed, weight);
		asks(0, 55);		/* less than its eight twelfths */
		asks(1, 60);
		asks(2, 5);
		run_ms(20000);
		run_ms(10000);
		ck_assert_int_lt(longest_ns, 2 * TARGET_NS);
		ck_assert_uint_gt(world[1].refused, 0);
		ck_assert_uint_eq(world[0].refused + world[2].refused, 0);
		finish();
	}
}
END_TEST

START_TEST(equals_are_shed_evenly)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		uint64_t sum = 0;

		begin(seed, NULL);
		for (unsigned i = 0; i < TENANTS; i++)
			asks(i, 40);
		run_ms(20000);
		run_ms(20000);
		ck_assert_int_lt(longest_ns, 3 * TARGET_NS);
		for (unsigned i = 0; i < TENANTS; i++)
			sum += world[i].refused;
		ck_assert_uint_gt(sum, 0);
		for (unsigned i = 0; i < TENANTS; i++) {
			ck_assert_uint_gt(world[i].refused * TENANTS, sum / 4 * 3);
			ck_assert_uint_lt(world[i].refused * TENANTS, sum / 4 * 5);
		}
		finish();
	}
}
END_TEST

static uint32_t refused_now(void)
{
	uint32_t sum = 0;

	for (unsigned i = 0; i < TENANTS; i++)
		sum += world[i].t->shed.portion;
	return sum;
}

START_TEST(it_ends_with_the_load)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		begin(seed, NULL);
		asks(0, 200);
		asks(1, 10);
		run_ms(6000);
		ck_assert_uint_gt(refused_now(), 0);
		asks(0, 5);
		for (int i = 0; i < 40 && refused_now(); i++)
			run_ms(TICK_NS / NS_PER_MS);
		ck_assert_uint_eq(refused_now(), 0);
		run_ms(5000);
		ck_assert_uint_eq(world[0].begun, 1);	/* it does not flap */
		/* And within one look when nothing at all comes any more. */
		asks(0, 200);
		run_ms(6000);
		ck_assert_uint_gt(refused_now(), 0);
		asks(0, 0);
		while (s.runnable)
			run_ms(10);
		run_ms(2 * TICK_NS / NS_PER_MS);
		ck_assert_uint_eq(refused_now(), 0);
		finish();
	}
}
END_TEST

/* Three quarters by chance with bursts of 150 ms of work; and as much as 100 connections can ask for, each
 * again as soon as it has its answer: as 5,000 do whose requests cost 20 µs. */
START_TEST(a_busy_worker_sheds_nobody)
{
	for (uint64_t seed = 1; seed <= SEEDS; seed++) {
		begin(seed, NULL);
		asks(0, 50);
		asks(1, 25);
		for (unsigned i = 0; i < 20; i++) {
			for (unsigned k = 0; k < 150 * NS_PER_MS / SERVE_NS; k++)
				arrive(2, false);
			run_ms(900 + rand_below(200));
		}
		asks(0, 20);
		asks(1, 10);
		for (unsigned i = 0; i < 100; i++)
			arrive(3, true);
		run_ms(10000);
		ck_assert_uint_eq(world[0].begun + world[1].begun + world[2].begun + world[3].begun, 0);
		finish();
	}
}
END_TEST

START_TEST(who_loses_its_slot_is_refused_nothing)
{
	struct tenant *old, *now;

	begin(1, NULL);
	old = world[0].t;
	old->shed.portion = SHED_ALL;
	now = tenant_take(&ts, &(struct tenant_terms){ .slot = 1, .gen = 2, .weight = 1 });
	ck_assert_ptr_ne(now, old);
	ck_assert_uint_eq(old->shed.portion + now->shed.portion, 0);
	tenant_give(&now);
	finish();
}
END_TEST

START_TEST(the_delay_is_of_who_has_waited_longest)
{
	begin(1, NULL);
	ck_assert_int_eq(sched_delay_ns(&s), 0);
	arrive(0, false);
	world_ns += 3 * NS_PER_MS;
	clock_tick();
	arrive(0, false);
	arrive(1, false);
	world_ns += 4 * NS_PER_MS;
	clock_tick();
	ck_assert_int_eq(sched_delay_ns(&s), 7 * NS_PER_MS);
	while (sched_run(&s))
		;
	ck_assert_int_eq(sched_delay_ns(&s), 0);
	finish();
}
END_TEST

UNIT_TESTS("shed", a_look_decides_by_its_numbers, looks_are_not_nearer_than_a_tenth_of_a_second,
	   a_greedy_tenant_is_shed_until_nobody_waits_long_and_others_never_are,
	   weights_say_who_is_greedy, equals_are_shed_evenly, it_ends_with_the_load,
	   a_busy_worker_sheds_nobody, who_loses_its_slot_is_refused_nothing,
	   the_delay_is_of_who_has_waited_longest)
