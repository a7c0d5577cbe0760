/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See debug.h. */
#include "nodeproxy/lib/ipc/debug.h"

#ifdef NP_DEBUG_COMMANDS

#include <errno.h>
#include <signal.h>
#include <time.h>
#include <unistd.h>

#include "nodeproxy/lib/base/log.h"

#define W    (1u << ROLE_WORKER)
#define S    (1u << ROLE_SYNCD)
#define A    (1u << ROLE_ADMIND)
#define K    (1u << ROLE_KEYD)
#define M    (1u << ROLE_MASTER)
#define TOLD 0

static const struct debug_row rows[DEBUG_WHATS] = {
#define MISBEHAVE(name, words, roles, how, def, most, number, help)                                \
	[DEBUG_##name] = { words, roles, how, def, most },
#include "nodeproxy/lib/ipc/debug.def"
#undef MISBEHAVE
};

const struct debug_row *debug_row(uint32_t what)
{
	return what < DEBUG_WHATS ? &rows[what] : NULL;
}

uint32_t debug_of(const char *words)
{
	uint32_t i = 0;

	while (i < DEBUG_WHATS && strcmp(rows[i].words, words) != 0)
		i++;
	return i;
}

static void stall(int64_t ms)
{
	struct timespec t = { .tv_sec = ms / 1000, .tv_nsec = (ms % 1000) * NS_PER_MS };

	while (nanosleep(&t, &t) < 0 && errno == EINTR)
		;
}

static void leak(int64_t n)
{
	int64_t have = 0;

	while (have < n && dup(STDERR_FILENO) >= 0)
		have++;
	log_warn("leaked", "descriptors=%lld", (long long)have);
}

bool debug_do(const struct msg_debug *d)
{
	int64_t n = min_of(max_of(d->number, (int64_t)0), (int64_t)1000000);

	switch (d->what) {
	case DEBUG_PANIC:
		panic(__FILE__, __LINE__, "asked for by `nodeproxyctl debug panic`");
	case DEBUG_STALL:
		stall(n);
		return true;
	case DEBUG_LEAK_FD:
		leak(n);
		return true;
	default:
		return false;
	}
}

void debug_drop(struct chan *ch)
{
	chan_unwatch(ch);
	fd_close(&ch->fd);
}

#endif
