/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The state table of a conn. */
#include "tests/unit/test.h"
#include "workers/path/conn.h"

static bool reach[CONN_STATES];

static void walk(unsigned from)
{
	if (reach[from])
		return;
	reach[from] = true;
	for (unsigned e = 0; e < CONN_EVENTS; e++)
		if (conn_next[from][e] != CONN_BUG)
			walk(conn_next[from][e]);
}

START_TEST(every_state_can_be_reached_from_a_first)
{
	memset(reach, 0, sizeof reach);
	walk(CONN_PROXY);
	walk(CONN_STREAM);	/* of a request of a session */
	for (unsigned s = CONN_BUG + 1; s < CONN_STATES; s++)
		ck_assert_msg(reach[s], "%s cannot be reached", conn_state_name(s));
	ck_assert(!reach[CONN_BUG]);
}
END_TEST

START_TEST(every_state_can_end)
{
	for (unsigned s = CONN_BUG + 1; s < CONN_CLOSED; s++) {
		memset(reach, 0, sizeof reach);
		walk(s);
		ck_assert_msg(reach[CONN_CLOSED], "%s cannot end", conn_state_name(s));
		ck_assert_msg(conn_next[s][CONN_EV_DRAIN_END] == CONN_CLOSED,
			      "%s survives the drain deadline", conn_state_name(s));
	}
}
END_TEST

START_TEST(nothing_leaves_closed)
{
	for (unsigned e = 0; e < CONN_EVENTS; e++)
		ck_assert_uint_eq(conn_next[CONN_CLOSED][e], CONN_BUG);
}
END_TEST

START_TEST(every_event_is_possible_somewhere)
{
	for (unsigned e = 0; e < CONN_EVENTS; e++) {
		bool somewhere = false;

		for (unsigned s = 0; s < CONN_STATES; s++)
			somewhere |= conn_next[s][e] != CONN_BUG;
		ck_assert_msg(somewhere, "%s is impossible", conn_event_name(e));
	}
}
END_TEST

UNIT_TESTS("conn", every_state_can_be_reached_from_a_first, every_state_can_end, nothing_leaves_closed,
	   every_event_is_possible_somewhere)
