/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What is different between two sets of settings, row by row, and how each difference takes effect:
 * what `nodeproxyctl reload` decides by and tells.
 *
 * Listeners are known by their socket: the address, and for port 0 (any) the name as well.  One with
 * another name at the same address is the same listener renamed; its callers do not notice. */
#ifndef NODEPROXY_LIB_KNOBS_CHANGE_H
#define NODEPROXY_LIB_KNOBS_CHANGE_H

#include "nodeproxy/lib/knobs/knobs.h"

#define KNOB_VALUE 768

struct knob_change {
	char key[160];			/* "timeouts.idle", "listeners[front].service" */
	char was[KNOB_VALUE], now[KNOB_VALUE];
	enum knob_reload reload;
	unsigned row;			/* enum knob_index; KNOBS: of a listener */
};

/* Calls fn (may be NULL) for every difference, rows in the order of knobs.def, then listeners: those
 * that changed or came in the order of now, then those that went.  The order of listeners is no
 * difference.  Returns how many there are. */
unsigned knobs_changes(const struct knobs *was, const struct knobs *now,
		       void (*fn)(void *arg, const struct knob_change *), void *arg);
/* Whether this row differs. */
bool knobs_differ(const struct knobs *was, const struct knobs *now, enum knob_index);
bool knobs_same_socket(const struct knobs_listener *, const struct knobs_listener *);
/* Index of the listener with the same socket; -1: there is none. */
int knobs_find_socket(const struct knobs *, const struct knobs_listener *);
/* "live", "workers", "restart". */
const char *knob_reload_name(enum knob_reload);

#endif
