/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A trail: the last 16 transitions of a conn, one word each, so that a panic page, a log line of
 * a bug and a test can tell how it came to this.  Every conn carries one, idle or not, so it is small.
 *
 * word: bits 0-3 state before, 4-7 event, 8-11 state after, 12-15 a running number (never 0
 * once written, so an empty word is 0). */
#ifndef NODEPROXY_LIB_BASE_TRAIL_H
#define NODEPROXY_LIB_BASE_TRAIL_H

#include "nodeproxy/lib/base/must.h"

#define TRAIL_LEN 16

/* States and events of whoever keeps one. */
#define TRAIL_VALUES 16

/* Their names, from the list that they are: defines the function that says them, "?" for any other. */
#define TRAIL_NAME(n) #n,
#define TRAIL_NAMES(function, LIST)                                                                \
	const char *function(unsigned i)                                                           \
	{                                                                                          \
		static const char *const names[] = { LIST(TRAIL_NAME) };                           \
                                                                                                   \
		return i < countof(names) ? names[i] : "?";                                        \
	}

struct trail {
	uint16_t at;
	uint16_t word[TRAIL_LEN];
};

static inline void trail_add(struct trail *t, unsigned was, unsigned event, unsigned now)
{
	unsigned n = ++t->at;

	t->word[n % TRAIL_LEN] = (uint16_t)((was & 0xf) | (event & 0xf) << 4 | (now & 0xf) << 8 |
					    ((n & 0x7) | 0x8) << 12);
}

/* The i-th of those that are kept, oldest first: 0 or its word. */
static inline unsigned trail_at(const struct trail *t, unsigned i)
{
	return t->word[(t->at + 1u + i) % TRAIL_LEN];
}

#endif
