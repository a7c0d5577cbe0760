/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The sync process' report: sealed JSON that comes through the master as SOURCES_SEEN.
 *
 *   {"resources":[{"kind","namespace","name","source","line","created","generation","status"}]}
 *   {"sources":[{"kind","path","state","documents","accepted","refused","since_unix_ms"}],
 *    "refused":[{"source","line","field","reason","kind","namespace","name","serving_last_good"}],
 *    "rev":n, "durable":bool, "store":{...}}
 *
 * The second object is the last line: of 10,000 Services the first takes a tenth of a second to parse,
 * and is asked for seldom.  Reports may come often, so a new one is only kept as a descriptor; it is
 * parsed when somebody asks, and the last line stays in memory.  The sender is another process: every
 * type in it is checked where it is used. */
#ifndef ADMIN_REPORT_H
#define ADMIN_REPORT_H

#include <jansson.h>

#include "nodeproxy/lib/base/fd.h"

#define REPORT_BYTES (64u << 20)

struct report {
	struct fd fd;		/* the newest */
	bool parsed;		/* brief is of fd */
	bool broken;		/* fd could not be read or parsed: brief is of an older one */
	char problem[160];	/* why */
	json_t *brief;		/* NULL: none was ever readable */
};

static inline struct report report_none(void)
{
	return (struct report){ .fd = FD_NONE };
}

void report_fini(struct report *);
/* Takes the descriptor. */
void report_put(struct report *, struct fd *);
/* Everything but the resources; NULL: no report yet.  Borrowed, until the next report_put. */
const json_t *report_brief(struct report *);
/* All of it, for one answer, then report_drop() it; NULL: none. */
json_t *report_full(struct report *);
/* Also gives the memory back to the kernel: a parsed report is many times its text. */
void report_drop(json_t *);

/* Total accessors: never fail on a wrong type. */
const char *jget_str(const json_t *object, const char *key);		/* "" */
uint64_t jget_u64(const json_t *object, const char *key);		/* 0 */
bool jget_bool(const json_t *object, const char *key);			/* false */
const json_t *jget_array(const json_t *object, const char *key);	/* NULL: json_array_* take it */

#endif
