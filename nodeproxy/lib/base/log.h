/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The log of events of a process: field=value lines, one per decision, no pointers.
 *
 * lib/ and store/ return errors and do not log; processes do.  A line is
 * `time=... level=info role=master event=child_started pid=7 ...`.  Lines go to standard error, or,
 * in a worker, to its ring (RING_EVENT).  Nobody ever waits for who reads them: what a full pipe
 * does not take is lost and counted, and the first line after that says how many there were.
 * Whatever a stranger can trigger goes through log_limited(). */
#ifndef NODEPROXY_LIB_BASE_LOG_H
#define NODEPROXY_LIB_BASE_LOG_H

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/ratelimit.h"
#include "nodeproxy/lib/base/ring.h"

enum log_level { LOG_DEBUG, LOG_INFO, LOG_WARN, LOG_ERROR, LOG_LEVELS };

extern enum log_level log_level;	/* lines below it are not written */

/* role is the process' word (a literal).  ring NULL: standard error. */
void log_init(const char *role, struct ring *ring);
/* Opens standard error once more, for us alone, so that it never blocks; while files can still be
 * opened (outlet.h). */
void log_open(void);
/* Where lines go when there is no ring; borrowed. */
struct outlet;
const struct outlet *log_outlet(void);
/* Text as it stands, with its newline; async-signal-safe. */
void log_text(const char *text, size_t n);
/* Lines that standard error did not take so far; says so there when it takes lines again. */
uint64_t log_lost(void);
/* The name of a level, and back (-1: none has that name). */
const char *log_level_name(enum log_level);
int log_level_of(const char *name);

/* fmt makes the fields after event=NAME; strings of strangers only by %s of a cleaned copy. */
void log_line(enum log_level, const char *event, const char *fmt, ...) printf_like(3, 4);

#define log_debug(...) (log_level <= LOG_DEBUG ? log_line(LOG_DEBUG, __VA_ARGS__) : (void)0)
#define log_info(...)  (log_level <= LOG_INFO ? log_line(LOG_INFO, __VA_ARGS__) : (void)0)
#define log_warn(...)  log_line(LOG_WARN, __VA_ARGS__)
#define log_error(...) log_line(LOG_ERROR, __VA_ARGS__)

/* At most 5 lines a second from this place, with a burst of 20. */
#define log_limited(level, ...)                                                                    \
	do {                                                                                       \
		static struct ratelimit rl_ = { .rate = 5, .burst = 20,                            \
						.nano_tokens = 20 * NS_PER_S };                    \
		if ((level) >= log_level && ratelimit_take(&rl_, clock_now()))                     \
			log_line(level, __VA_ARGS__);                                              \
	} while (0)

#endif
