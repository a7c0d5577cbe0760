/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The panic page: what a process leaves behind when it finds that it is broken.
 *
 * A page lives in memory that the master owns (a memfd mapped by the child), so it outlives the
 * process.  panic() fills it with async-signal-safe code only and aborts; fatal signals (SEGV,
 * BUS, ILL, FPE, ABRT, and the watchdog's) come here too.  The master copies a page that is set
 * when it reaps the child.  Whoever reads a page treats it as hostile bytes: all strings are
 * bounded and cleaned by panic_page_text(). */
#ifndef NODEPROXY_LIB_BASE_PANIC_H
#define NODEPROXY_LIB_BASE_PANIC_H

#include <stddef.h>
#include <stdint.h>

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/trail.h"

#define PANIC_MAGIC	  0x4e50414eu	/* "NPAN" */
#define PANIC_TRAIL	  TRAIL_LEN	/* transitions kept */
#define PANIC_FRAMES	  24
#define PANIC_PAGE_BYTES  4096

struct panic_page {
	uint32_t magic;			/* set last: PANIC_MAGIC when the page holds a panic */
	uint32_t pid;
	uint32_t line;
	uint32_t signo;			/* 0: an assertion */
	uint64_t at_unix_ms;
	uint64_t rev;			/* view revision served, kept current by the worker */
	uint64_t turn;			/* number of the turn, kept current by the worker */
	uint64_t fault_addr;
	char role[16];
	char stage[32];			/* what it was doing, kept current by panic_doing() */
	char file[96];
	char what[512];
	char version[64];
	uint32_t trail[PANIC_TRAIL];	/* oldest first: state, event, state, a byte each; 0: none */
	uint64_t frames[PANIC_FRAMES];	/* return addresses relative to the executable's base */
};
static_must(sizeof(struct panic_page) <= PANIC_PAGE_BYTES);

/* From now on a panic of this process goes to page (borrowed, must stay mapped); NULL: only to
 * standard error.  Installs the handlers of fatal signals on an alternate stack. */
void panic_init(struct panic_page *page, const char *role);

/* Words for the page, should we die now.  what must be a string that stays (a literal). */
void panic_doing(const char *what);
/* The trail of the conn at hand (borrowed); NULL: none. */
void panic_trail(const struct trail *);

/* A page as text lines for the operator, bounded by n bytes; returns the length written. */
size_t panic_page_text(const struct panic_page *page, char *out, size_t n);

#endif
