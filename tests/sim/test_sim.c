/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Lives of a worker by seed.  Check's loop index is the seed; NP_SIM_SEEDS=n runs more of each, and
 * NP_SIM_SEED=n runs only that one (CK_RUN_CASE names the scenario).  A seed that failed once becomes
 * a line of the table at the end of the scenario. */
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "tests/sim/sim.h"
#include "tests/unit/test.h"

static uint64_t seed_of(int i)
{
	const char *one = getenv("NP_SIM_SEED");

	return one ? strtoull(one, NULL, 0) : (uint64_t)i + 1;
}

static void outcomes(const struct sim *s, unsigned ret[OUTCOMES])
{
	memset(ret, 0, OUTCOMES * sizeof *ret);
	for (unsigned i = 0; i < s->plans; i++)
		ret[s->plan[i].outcome]++;
}

/* The seed is in every message: a failure names what to run again. */
#define sim_assert(s, x, ...)                                                                      \
	do {                                                                                       \
		bool holds_ = (x);                                                                 \
		if (!holds_) {                                                                     \
			fprintf(stderr, "seed %llu: ", (unsigned long long)(s)->seed);             \
			fprintf(stderr, __VA_ARGS__);                                              \
			fprintf(stderr, "\n");                                                     \
		}                                                                                  \
		ck_assert_msg(holds_, "seed %llu", (unsigned long long)(s)->seed);                 \
	} while (0)

static void populate(struct sim *s, bool flows)
{
	unsigned n = 1 + net_rand(&s->net, 8);

	for (unsigned i = 0; i < n; i++) {
		if (flows && net_chance(&s->net, 3))
			sim_flow(s, net_chance(&s->net, 2) ? GATE_RAW : GATE_AUTO,
				 1 + net_rand(&s->net, net_chance(&s->net, 4) ? 400000 : 3000));
		else
			sim_caller(s, GATE_HTTP, 1 + net_rand(&s->net, 12));
	}
	for (unsigned i = net_rand(&s->net, 4); i; i--)
		sim_caller(s, GATE_H2, 1 + net_rand(&s->net, 12));
}

/* Of all kind lives. */
static unsigned h2_ok;

/* Nothing goes wrong in the world: everything must come out as planned, once. */
START_TEST(in_a_kind_world_every_byte_arrives)
{
	struct sim *s = sim_new(seed_of(_i));
	unsigned n[OUTCOMES];
	const char *left;

	sim_view(s, 1 + net_rand(&s->net, 4));
	for (int wave = 0; wave < 3; wave++) {
		populate(s, true);
		sim_assert(s, sim_run(s, 120000), "stuck: %s", sim_state(s));
		if (net_chance(&s->net, 2))
			sim_view(s, 1 + net_rand(&s->net, 4));
	}
	outcomes(s, n);
	for (unsigned i = 0; i < s->plans; i++) {
		const struct plan *p = &s->plan[i];

		if (p->outcome == OUT_OK || p->outcome == OUT_NOT_SENT)
			continue;
		/* What was pipelined behind an answer that ended the connection. */
		sim_assert(s, p->outcome == OUT_CUT && p->answered <= 1 && p->seen <= 1,
			   "plan %u: outcome %u status %u seen %u", i, p->outcome, p->local_status,
			   p->seen);
	}
	sim_assert(s, n[OUT_LOCAL] == 0, "%u local answers", n[OUT_LOCAL]);
	sim_assert(s, s->h2_cut == 0, "%u streams reset", s->h2_cut);
	h2_ok += s->h2_ok;
	sim_assert(s, s->flows == s->flows_ok, "flows %u of %u", s->flows_ok, s->flows);
	left = sim_check(s);
	sim_assert(s, left == NULL, "left: %s", left);
	sim_free(&s);
}
END_TEST

/* How often conns and exchanges of all hostile lives ended in each way. */
static uint64_t ends[REASONS];

/* Limits low enough to be reached in every fourth life or so.  By bits of the seed, so that the rest
 * of a life is what it was without them. */
static void limit(struct sim *s)
{
	uint64_t x = s->seed * 0x9e3779b97f4a7c15u >> 16;
	struct knobs *k = s->knobs;

	if (x % 4 == 0)
		k->tenant_requests = 1 + (int64_t)(x >> 8 & 3);
	if ((x >> 2) % 4 == 0)
		k->listener[GATE_HTTP].requests = 1 + (int64_t)(x >> 10 & 1);
	if ((x >> 4) % 4 == 0)
		k->listener[GATE_HTTP].connections = 1 + (int64_t)(x >> 11 & 3);
	if ((x >> 6) % 4 == 0)
		k->body_bytes = 1 + (int64_t)(x >> 13 & 4095);
	if ((x >> 25) % 4 == 0) {
		k->body_rate = 100000;
		k->body_rate_ms = 10 + (int64_t)(x >> 28 & 1023);
	}
	if ((x >> 40) % 4 == 0) {
		s->max_requests = 1 + (uint32_t)(x >> 42 & 1);
		s->pending = (uint32_t)(x >> 43 & 3);
	}
	k->headers_via = x >> 38 & 1;
	k->listener[GATE_HTTP].forwarded = x >> 39 & 1;
}

/* Endpoints refuse, hang, break off and close idle connections; callers leave; memory fails.  An
 * answer is right, or local, or seen to be cut; nothing unsafe is sent twice; nothing is left. */
START_TEST(in_a_hostile_world_nothing_is_wrong_and_nothing_is_left)
{
	struct sim *s = sim_new(seed_of(_i) + 1000000);
	const char *left;

	s->hostile = true;
	s->refuse = net_chance(&s->net, 2) ? 2 + net_rand(&s->net, 10) : 0;
	s->break_off = net_chance(&s->net, 2) ? 2 + net_rand(&s->net, 6) : 0;
	s->stale = net_chance(&s->net, 2) ? 1 + net_rand(&s->net, 4) : 0;
	s->black_hole = net_chance(&s->net, 4) ? 4 : 0;
	s->fail_memory = net_chance(&s->net, 2) ? 20 + net_rand(&s->net, 200) : 0;
	s->starve = net_chance(&s->net, 3) ? TENANT_MEMORY_MIN + net_rand(&s->net, 200000) : 0;
	s->net.short_of_descriptors = net_chance(&s->net, 4) ? 5 : 0;
	limit(s);
	sim_view(s, net_rand(&s->net, 5));
	for (int wave = 0; wave < 3; wave++) {
		populate(s, true);
		for (unsigned k = net_rand(&s->net, 200); k; k--)
			sim_pass(s);
		if (net_chance(&s->net, 2))
			sim_view(s, net_rand(&s->net, 5));
		sim_assert(s, sim_run(s, 4000000), "stuck: %s", sim_state(s));
	}
	for (unsigned i = 0; i < s->plans; i++) {
		const struct plan *p = &s->plan[i];
		bool safe = p->request == PLAN_EMPTY && strcmp(plan_method(p), "POST") &&
			    strcmp(plan_method(p), "PATCH");

		sim_assert(s, p->outcome != OUT_PENDING, "plan %u pending", i);
		sim_assert(s, safe || p->answered <= 1, "plan %u (%s) answered %u times", i,
			   plan_method(p), p->answered);
		sim_assert(s, safe || p->seen <= 1, "plan %u (%s) seen %u times", i, plan_method(p),
			   p->seen);
	}
	sim_assert(s, s->log_by_reason[REASON_OUR_BUG] == 0, "OUR_BUG");
	for (int i = 0; i < REASONS; i++)
		ends[i] += board_get(&s->path->mine->reasons[i]);
	left = sim_check(s);
	sim_assert(s, left == NULL, "left: %s", left);
	sim_free(&s);
}
END_TEST

START_TEST(callers_of_http2_were_answered)
{
	ck_assert_uint_gt(h2_ok, 0);
}
END_TEST

START_TEST(limits_were_reached)
{
	static const enum reason limits[] = {
		REASON_OVER_REQUESTS, REASON_OVER_LISTENER_REQUESTS, REASON_OVER_LISTENER_CONNECTIONS,
		REASON_BODY_TOO_LARGE, REASON_FRONT_BODY_SLOW, REASON_OVER_SERVICE_REQUESTS,
	};

	for (size_t i = 0; i < countof(limits); i++)
		ck_assert_msg(ends[limits[i]] > 0, "no %s", reason_row(limits[i])->name);
}
END_TEST

START_TEST(drain_lets_answers_finish_and_ends_the_rest)
{
	struct sim *s = sim_new(seed_of(_i) + 2000000);
	unsigned n[OUTCOMES];
	const char *left;

	sim_view(s, 2);
	populate(s, true);
	for (unsigned k = net_rand(&s->net, 100); k; k--)
		sim_pass(s);
	path_drain(s->path);
	for (unsigned k = net_rand(&s->net, 400); k; k--)
		sim_pass(s);
	if (net_chance(&s->net, 2)) {
		path_drain_deadline(s->path);
		path_reap(s->path);
		ck_assert_uint_eq(path_live(s->path), 0);
	}
	sim_assert(s, sim_run(s, 200000), "stuck: %s", sim_state(s));
	outcomes(s, n);
	sim_assert(s, n[OUT_PENDING] == 0, "pending %u", n[OUT_PENDING]);
	left = sim_check(s);
	sim_assert(s, left == NULL, "left: %s", left);
	sim_free(&s);
}
END_TEST

START_TEST(the_same_seed_is_the_same_life)
{
	uint64_t end[2];

	for (int k = 0; k < 2; k++) {
		struct sim *s = sim_new(77);

		sim_view(s, 3);
		populate(s, true);
		sim_run(s, 60000);
		end[k] = (uint64_t)s->world_ns * 31 + s->net.moved + s->net.x;
		sim_free(&s);
	}
	ck_assert_uint_eq(end[0], end[1]);
}
END_TEST

int main(void)
{
	const char *want = getenv("NP_SIM_SEEDS");
	int seeds = want ? atoi(want) : 150;
	Suite *suite = suite_create("sim");
	TCase *t;
	SRunner *r;
	int failed;

	if (getenv("NP_SIM_SEED"))
		seeds = 1;
	suite_add_tcase(suite, t = tcase_create("kind"));
	tcase_set_timeout(t, 0);
	tcase_add_loop_test(t, in_a_kind_world_every_byte_arrives, 0, seeds);
	if (seeds >= 100)
		tcase_add_test(t, callers_of_http2_were_answered);
	suite_add_tcase(suite, t = tcase_create("hostile"));
	tcase_set_timeout(t, 0);
	tcase_add_loop_test(t, in_a_hostile_world_nothing_is_wrong_and_nothing_is_left, 0, seeds);
	if (seeds >= 100)
		tcase_add_test(t, limits_were_reached);
	suite_add_tcase(suite, t = tcase_create("drain"));
	tcase_set_timeout(t, 0);
	tcase_add_loop_test(t, drain_lets_answers_finish_and_ends_the_rest, 0, seeds);
	suite_add_tcase(suite, t = tcase_create("same"));
	tcase_add_test(t, the_same_seed_is_the_same_life);
	r = srunner_create(suite);
	srunner_set_fork_status(r, CK_NOFORK);
	srunner_run_all(r, CK_NORMAL);
	failed = srunner_ntests_failed(r);
	srunner_free(r);
	if (failed)
		_exit(EXIT_FAILURE);	/* what failed lives left behind is not a leak to report */
	return EXIT_SUCCESS;
}
