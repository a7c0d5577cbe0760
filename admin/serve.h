/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The two listening sockets of admind and their clients.
 *
 * A client sends requests and gets one answer after the other; nothing is read while an answer is
 * being written, so pipelining costs no memory.  At most SERVE_CLIENTS clients, of which
 * SERVE_METRICS may be on the metrics listener: scrapers can never lock the operator out.  When all
 * places are taken, the client that was idle longest goes first.  Slow ones are timed out.
 *
 *   reading   a request comes in          READ_MS for a whole one, IDLE_MS between two
 *   asked     the answer comes later      serve_answer() ends it; the caller has the deadline
 *   writing   the answer goes out         STALL_MS without a byte, WRITE_MS in all
 *   leaving   our end is shut, theirs is read and thrown away (a close with unread bytes would
 *             destroy the answer)         LEAVE_MS */
#ifndef ADMIN_SERVE_H
#define ADMIN_SERVE_H

#include "admin/wire.h"
#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/loop.h"
#include "nodeproxy/lib/base/slab.h"

#define SERVE_CLIENTS  64
#define SERVE_METRICS  32
#define SERVE_IDLE_MS  60000
#define SERVE_READ_MS  10000
#define SERVE_STALL_MS 10000
#define SERVE_WRITE_MS 120000
#define SERVE_LEAVE_MS 2000
#define SERVE_ANSWER_BYTES (64u << 20)	/* of one answer */
#define SERVE_ALL_BYTES	   (160u << 20)	/* of all answers that wait */

enum serve_door { DOOR_ADMIN, DOOR_METRICS, DOORS };

/* Who asks; valid during the call.  uid and pid only at DOOR_ADMIN, from SO_PEERCRED. */
struct asker {
	enum serve_door door;
	struct slot_ref ref;
	uint32_t uid, pid;
};

struct answer {
	int status;
	const char *type;	/* a literal */
	const char *allow;	/* Allow header, a literal, or NULL */
	struct text body;	/* consumed */
};

/* Answers now (true, *ret filled) or later by serve_answer(). */
typedef bool serve_fn(void *arg, const struct asker *, const struct wire_request *,
		      struct answer *ret);

struct serve_client;

struct serve {
	struct loop *loop;
	serve_fn *fn;
	void *arg;
	struct fd door[DOORS];
	struct loop_io door_io[DOORS];
	bool door_open[DOORS];		/* accepting */
	bool paused;			/* short of descriptors, until the next tick */
	bool finishing;			/* another process answers now: what runs is the last */
	struct serve_client *client[SERVE_CLIENTS];
	uint32_t gen[SERVE_CLIENTS];
	unsigned clients, on_metrics;
	size_t out_bytes;		/* of answers that wait */
	struct loop_timer tick;
	uint64_t accepted, timed_out, shed;
};

void serve_init(struct serve *, struct loop *, serve_fn *, void *arg);
void serve_fini(struct serve *);
/* Takes a listening socket; an earlier one of that door is closed, its clients stay. */
void serve_open(struct serve *, enum serve_door, struct fd *);
/* Closes the doors and every client that waits for nothing; the others get their one answer. */
void serve_finish(struct serve *);
/* The late answer; consumes the body.  Nothing happens when the client went away meanwhile. */
void serve_answer(struct serve *, struct slot_ref, struct answer *);
/* {"error":..., "where":..., "do":...}; where and todo may be NULL. */
void answer_error(struct answer *, int status, const char *error, const char *where,
		  const char *todo);

#endif
