/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The keeper's table of states, as a table: what it does with processes is tests/proc. */
#include "nodeproxy/keeper.h"

#include "tests/unit/test.h"

static void reach(enum keeper_state from, bool seen[KEEPER_STATES])
{
	if (from == ___ || seen[from])
		return;
	seen[from] = true;
	for (unsigned ev = 0; ev < KEEPER_EVENTS; ev++)
		reach(keeper_next[from][ev], seen);
}

START_TEST(every_state_is_reached_and_can_end)
{
	bool seen[KEEPER_STATES] = { false };

	reach(STARTING, seen);
	for (unsigned s = STARTING; s < KEEPER_STATES; s++) {
		bool ends[KEEPER_STATES] = { false };

		ck_assert_msg(seen[s], "state %u is never reached", s);
		reach(s, ends);
		ck_assert_msg(ends[LAST], "state %u never ends", s);
	}
}
END_TEST

START_TEST(nothing_comes_after_the_last_state_and_nothing_ends_a_trial_but_its_end)
{
	for (unsigned ev = 0; ev < KEEPER_EVENTS; ev++)
		ck_assert(keeper_next[LAST][ev] == LAST || keeper_next[LAST][ev] == ___);
	for (unsigned s = STARTING; s < KEEPER_STATES; s++)
		ck_assert((keeper_next[s][EV_LAUNCH] == TRIAL) == (s == RUNNING));
	ck_assert_int_eq(keeper_next[TRIAL][EV_READY], TRIAL);
}
END_TEST

START_TEST(whoever_was_told_to_stop_is_not_started_for_good_again)
{
	bool seen[KEEPER_STATES] = { false };

	for (unsigned s = STARTING; s < KEEPER_STATES; s++)
		ck_assert(keeper_next[s][EV_TERM] == STOPPING || s == LAST);
	reach(STOPPING, seen);
	ck_assert(!seen[RUNNING] && !seen[TRIAL] && !seen[WAITING] && seen[LAST]);
}
END_TEST

UNIT_TESTS("keeper", every_state_is_reached_and_can_end,
	   nothing_comes_after_the_last_state_and_nothing_ends_a_trial_but_its_end,
	   whoever_was_told_to_stop_is_not_started_for_good_again)
