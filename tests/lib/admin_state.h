/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A host as admind sees it, made up: two workers (and the spare slot), two Services with a route, a
 * tenant, numbers on the board (per worker ten requests of 2 ms that ended well, and one that the
 * endpoint answered with 503 in 80 s; on the second also one whose endpoint refused), a report with one
 * refused document, one panic.  Everything may be changed by the test; admin_state_free() undoes it. */
#ifndef TESTS_LIB_ADMIN_STATE_H
#define TESTS_LIB_ADMIN_STATE_H

#include "admin/dispatch.h"

/* What the shared pages of *st point to, for a test that changes them. */
struct admin_pages {
	struct knobs knobs;
	struct board *board;
	struct procs procs;
	struct panic_archive panics;
};

struct admin_pages *admin_state_new(struct state *st);
/* So many requests more of the Service in a slot, that took so long. */
void admin_state_requests(struct admin_pages *, unsigned worker, struct slot_gen, unsigned status,
			  enum reason, uint64_t ns, unsigned times);
void admin_state_free(struct state *st, struct admin_pages **);
/* Another report: JSON text. */
void admin_state_report(struct state *st, const char *json);

/* A request as the wire would make it, by somebody with this uid; the JSON answer (json_decref it)
 * and its status.  For an order: status 0 and *ret_order. */
json_t *admin_ask(struct state *st, const char *method, const char *target, const char *body,
		  uint32_t uid, int *ret_status, struct msg_order *ret_order);

#endif
