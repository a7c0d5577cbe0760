/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* An upgrade, from both sides.
 *
 *   the old master                             the new one (PHASE_TRIAL)
 *   order: looks at the program
 *   COPYING   syncd copies its store
 *   TRYING    LAUNCH to the keeper       ->    starts with the shared entries of the table,
 *                                              a board, pages and children of its own; says
 *                                              what it still lacks (LAST_WORDS), then READY
 *   RETIRE: answers, drains, leaves      <-->  TAKE_OVER: listens, answers operators
 *   or LAUNCH_FAILED: answers why,             is killed by the keeper, with all it started
 *      goes on as if nothing had been
 *
 * The two never talk to each other, and nothing of one is looked at by the other but the shared
 * entries: listen/NAME/ADDRESS/GROUP, admin/PATH, metrics/ADDRESS (sockets), state_dir (with its lock),
 * panics. */
#ifndef NODEPROXY_UPGRADE_H
#define NODEPROXY_UPGRADE_H

#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/base/loop.h"
#include "nodeproxy/lib/ipc/msg.h"

struct master;
struct child;

enum upgrade_state { UPGRADE_NONE, UPGRADE_COPYING, UPGRADE_TRYING };

struct upgrade {
	enum upgrade_state state;
	uint64_t serial;		/* of the order that waits for its answer */
	uint32_t asker;			/* generation of the admind that asked */
	int64_t drain_ms;
	struct fd program;
	struct loop_timer patience;
	struct msg_old_ones old;	/* that still drain, as the keeper says */
	char lacks[256];		/* trial: what is not ready */
	bool ready_said;
};

#define UPGRADE_MAY_RUN "is not an executable file of root that only root may write"

/* What root may run: see UPGRADE_MAY_RUN. */
bool upgrade_may_run(int fd);
/* The operator's wish.  -EINPROGRESS: the answer comes later; else -errno with words. */
int upgrade_order(struct master *, const struct msg_order *, char *text, size_t n);
/* While one is under way nothing else may change what both share. */
bool upgrade_is_running(const struct master *);
/* From syncd: the copy is there, or is not. */
void upgrade_copied(struct master *, const struct msg_store_copied *);
/* What the keeper says. */
void upgrade_heard(struct master *, const struct msg *);

/* Something changed.  On trial: READY to the keeper when nothing is missing, else what is.  While the
 * store is copied: on without, when syncd died of it. */
void upgrade_settle(struct master *);
/* On trial: a child died or is of another build, that is enough. */
_Noreturn void upgrade_give_up(struct master *, const struct child *, const char *why);

#endif
