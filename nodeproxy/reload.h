/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* `nodeproxyctl reload`: other settings while it runs, checked by everybody before anybody uses them.
 *
 *   phase    what                                               ends with
 *   idle     the settings in use are m->knobs                   an order
 *   trying   the file was read and checked; sockets are bound;  all OK; or a refusal, silence,
 *            KNOBS_TRY was said to all who are ready             the end: all is undone
 *   using    at once, within one call: the keeper gets the new  all say KNOBS_USED, or 5 s:
 *            sockets, then the settings (from here on they are   the operator is answered
 *            the truth, also for the next master), then
 *            KNOBS_USE to all, sockets, workers
 *
 * Who is born meanwhile, or dies and is started again, is born with whatever is in use then, and hears
 * of the next by KNOBS_USE like the others.  A master that dies leaves the old settings or the new
 * ones in the keeper's table, never a mixture; its successor says KNOBS_USE to everybody it adopts.
 * Workers that drain keep what they have. */
#ifndef NODEPROXY_RELOAD_H
#define NODEPROXY_RELOAD_H

#include "nodeproxy/children.h"
#include "nodeproxy/doors.h"
#include "nodeproxy/listeners.h"
#include "nodeproxy/lib/ipc/procs.h"

enum reload_state { RELOAD_IDLE, RELOAD_TRYING, RELOAD_USING };

struct reload {
	enum reload_state state;
	/* what is tried */
	uint64_t serial;
	struct knobs knobs;
	struct fd knobs_fd;
	struct knobs_lines lines;
	int cpu[BOARD_WORKERS];
	unsigned n_workers;
	struct listen_set opened;
	struct doors doors;
	bool log_made;
	bool waits[CHILDREN];		/* has not answered */
	char done[KNOBS_ERROR];		/* using: the answer to be */
	struct loop_timer deadline;
	uint64_t order;			/* whom to answer: serial of the order, */
	uint32_t asker;			/* generation of the admind that passed it on */
	/* what is told, in the procs page as well */
	uint64_t generation;		/* of the settings in use */
	uint64_t since_unix_ms;
	struct procs_reload last;
};

/* Takes over what a former master told; else these are the first settings. */
void reload_open(struct master *);
/* ORDER_RELOAD; the answer comes later, or at once. */
void reload_order(struct master *, struct child *from, const struct msg_order *);
/* KNOBS_OK, KNOBS_REFUSED, KNOBS_USED. */
void reload_heard(struct master *, struct child *, const struct msg *);
/* keyd has become ready: if files are to be looked at, it is asked now. */
void reload_ready(struct master *, struct child *);
/* It died: nobody waits for its answer. */
void reload_child_died(struct master *, struct child *);
/* Says KNOBS_USE, so that the child has what is in use, whatever a former master told it. */
void reload_tell(struct master *, struct child *);
/* The end: what is being tried is refused. */
void reload_cancel(struct master *, const char *why);

#endif
