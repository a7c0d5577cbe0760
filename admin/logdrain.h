/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Log rings of the workers -> access log and standard error.
 *
 * Workers never wake us: the rings are looked at by a timer, every 10 ms while there is much and
 * more seldom as it gets quiet, up to 100 ms (a ring of 1 MiB then takes bursts of 10 MiB/s).  A
 * record is one line; bytes below blank in it are replaced, because a worker's memory is hostile.
 *
 * Each sink has a bounded buffer.  What the file does not take (short write, EAGAIN, ENOSPC) waits
 * there; when the buffer is full, records are dropped and counted for the worker that wrote them,
 * so one full disk neither stops event lines nor grows memory.  No reader is ever waited for
 * (outlet.h); when one that stopped goes on, a line says how many records were lost.  What cannot be
 * helped is a disk that takes a write and does not finish it: then we hang, rings fill up, workers
 * count, and the master replaces us. */
#ifndef ADMIN_LOGDRAIN_H
#define ADMIN_LOGDRAIN_H

#include "admin/state.h"
#include "nodeproxy/lib/base/loop.h"
#include "nodeproxy/lib/base/outlet.h"
#include "nodeproxy/lib/base/ring.h"

#define LOGDRAIN_MIN_MS	   10
#define LOGDRAIN_MAX_MS	   100
#define LOGDRAIN_SINK_BYTES (512u * 1024)

struct log_sink {
	struct fd fd;		/* -1: nowhere; records for it are not kept, and losses only if wanted */
	bool wanted;		/* the settings name a file, whether or not it could be opened */
	bool borrowed;		/* standard error */
	struct outlet out;	/* how fd is written without waiting */
	int error;		/* errno of the last try, 0 */
	uint64_t lines;
	size_t at, n;		/* bytes [at, n) of buf wait */
	uint8_t *buf;
};

struct logdrain {
	struct loop *loop;
	struct loop_timer timer;
	unsigned interval_ms;
	struct log_sink access, events;
	struct {
		void *map;
		size_t bytes;
		struct ring ring;
	} worker[BOARD_WORKERS];
	uint64_t sink_drops[BOARD_WORKERS], nonsense[BOARD_WORKERS];
	uint64_t losses_said;		/* of the sum of all drops */
	struct mono losses_at;		/* when that was */
};

/* Event lines go to events_fd, which stays the caller's.  0 or -ENOMEM. */
must_use int logdrain_init(struct logdrain *, struct loop *, int events_fd);
void logdrain_fini(struct logdrain *);
/* The ring of a worker; bytes of the mapping as the master said.  0 or -errno. */
must_use int logdrain_ring(struct logdrain *, unsigned worker, struct fd, size_t bytes);
/* Another access log (taken), or none.  What waits goes to the old one first; the rest of a line
 * that is cut there is thrown away.  None although the settings name one (wanted): it could not be
 * opened, and the old one, if any, goes on. */
void logdrain_access(struct logdrain *, struct fd *, bool wanted);
/* One pass, as the timer does it; returns the bytes of records taken. */
size_t logdrain_pass(struct logdrain *);
/* What was lost so far, into the state. */
void logdrain_report(const struct logdrain *, struct state *);

#endif
