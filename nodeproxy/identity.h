/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What the master does for identities: it tells the key process which service accounts have a pod or a
 * listener on this host, and opens, unread, the files that say how they are issued and who is trusted.
 * Once a second these are looked at from outside: others are read anew.
 *
 * A file that is away is an accident and no reason not to start: what the key process has kept may be
 * valid still.  Only where the settings themselves change it is a mistake. */
#ifndef NODEPROXY_IDENTITY_H
#define NODEPROXY_IDENTITY_H

#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/ipc/messages.h"
#include "nodeproxy/lib/knobs/knobs.h"

struct master;
struct child;

struct identity_list {
	struct msg_identities *told;	/* who is here, as it was told last; IDENTITIES_MAX of them */
	uint64_t serial, seen;		/* seen: of the files, a hash of what stat says */
	unsigned ticks;
};

/* 0 or -ENOMEM. */
must_use int identity_open(struct master *);
/* Whether the files can be opened: 0, or -errno with the row and words. */
must_use int identity_try(const struct knobs *, enum knob_index *ret_row, char words[320]);
/* True when the settings of identities are other ones. */
bool identity_differs(const struct knobs *, const struct knobs *);
/* The directory that keyd is born with: made if need be, and its own; FD_NONE: there is none. */
struct fd identity_dir(struct master *);
/* To keyd: files and terms of these settings. */
void identity_send(struct master *, struct child *, const struct knobs *, bool try);
/* To keyd: who is here; when it was told already, only if that is another list now. */
void identity_here(struct master *, struct child *, bool again);
/* Once a second. */
void identity_tick(struct master *);

#endif
