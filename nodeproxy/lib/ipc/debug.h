/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Misbehaving on purpose: the rows of debug.def, and what every process does in the same way.  Empty
 * in a build with --disable-debug-commands. */
#ifndef NODEPROXY_LIB_IPC_DEBUG_H
#define NODEPROXY_LIB_IPC_DEBUG_H

#include "nodeproxy/lib/ipc/chan.h"

#ifdef NP_DEBUG_COMMANDS

enum debug_what {
#define MISBEHAVE(name, words, roles, how, def, most, number, help) DEBUG_##name,
#include "nodeproxy/lib/ipc/debug.def"
#undef MISBEHAVE
	DEBUG_WHATS
};

struct debug_row {
	const char *words;
	uint32_t roles;		/* bits of 1 << enum role */
	int signal;		/* 0: it is told */
	int64_t def, most;	/* of the number; most 0: it takes none */
};

/* NULL for a number that no row has. */
const struct debug_row *debug_row(uint32_t what);
/* The number of the row with these words; DEBUG_WHATS: none. */
uint32_t debug_of(const char *words);
/* Panics, stalls or leaks here and now.  True: done; false: what is left to the process (its channel,
 * views, tenants). */
bool debug_do(const struct msg_debug *);
/* Closes it: whoever reads it now finds its end. */
void debug_drop(struct chan *);

#endif
#endif
