/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Waiting for what a loop of events does. */
#ifndef TESTS_LIB_UNTIL_H
#define TESTS_LIB_UNTIL_H

#include <check.h>
#include <poll.h>

#include "nodeproxy/lib/base/loop.h"

#define UNTIL_S 20

/* A pass of the loop, when it has something to do. */
static inline void until_pass(struct loop *l)
{
	struct pollfd p = { loop_fd(l), POLLIN, 0 };
	int64_t ms = (loop_due(l).ns - clock_tick().ns) / NS_PER_MS;

	(void)!poll(&p, 1, (int)min_of(max_of(ms, (int64_t)0), (int64_t)100));
	clock_tick();
	loop_once(l);
}

/* Does step until condition holds; words (a format and what it wants) tell what was seen when it never
 * does. */
#define UNTIL_BY(step, condition, words, ...)                                                      \
	do {                                                                                       \
		struct mono until_ = mono_after_ms(clock_tick(), UNTIL_S * 1000);                  \
		while (!(condition)) {                                                             \
			ck_assert_msg(clock_tick().ns < until_.ns, "never: %s (" words ")",        \
				      #condition, __VA_ARGS__);                                    \
			step;                                                                      \
		}                                                                                  \
	} while (0)

#endif
