/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A trail: the last 16 transitions of a conn, one word each, so that a panic page, a log line of
 * a bug and a test can tell how it came to this.
 *
 * word: bits 0-7 state before, 8-15 event, 16-23 state after, 24-31 a running number (never 0
 * once written, so an empty word is 0). */
#ifndef NODEPROXY_LIB_BASE_TRAIL_H
#define NODEPROXY_LIB_BASE_TRAIL_H

#include <stdint.h>

#define TRAIL_LEN 16

struct trail {
	uint32_t at;
	uint32_t word[TRAIL_LEN];
};

static inline void trail_add(struct trail *t, unsigned was, unsigned event, unsigned now)
{
	uint32_t n = ++t->at;

	t->word[n % TRAIL_LEN] = (was & 0xff) | (event & 0xff) << 8 | (now & 0xff) << 16 |
				 ((n & 0x7f) | 0x80) << 24;
}

#endif
