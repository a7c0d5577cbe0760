/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* After a change of the registry: what the daemon of this host made of it. */
#ifndef ADMIN_RESOURCES_WAIT_H
#define ADMIN_RESOURCES_WAIT_H

#include <jansson.h>

#include "store/rows.h"

struct waiting {
	const char *socket;
	uint64_t seconds;	/* 0: nobody waits */
	bool is_asked;		/* by whoever runs us: that there is no daemon is an error then */
	bool was_there;		/* a daemon answered before the change */
	uint64_t rev;		/* which had this revision */
	uint64_t written;	/* the registry's own after the change; 0: it has none */
};

/* An object that was written, or removed. */
struct wait_item {
	enum row_kind kind;
	const char *ns, *name;
	bool gone;
	bool same_generation;	/* only metadata changed */
	int64_t generation;	/* 0: none */
	json_t *said;		/* gets "state": words */
};

/* Before the change. */
void wait_begin(struct waiting *);
/* Until each is seen, or the time is over.  An exit code: EXIT_REFUSED when one was refused or not seen,
 * EXIT_AWAY when nobody answers who was asked for. */
int wait_for(const struct waiting *, struct wait_item *, size_t n);

#endif
