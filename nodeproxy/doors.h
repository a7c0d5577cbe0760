/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The doors to admind, which the master opens: the admin socket (a name in the file system, whose
 * mode and group say who may connect) and the metrics listener.
 *
 * In the keeper's table they are "admin/PATH" and "metrics/ADDRESS": a table that is between two
 * settings (reload.h) never shows the one at the other's place. */
#ifndef NODEPROXY_DOORS_H
#define NODEPROXY_DOORS_H

#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/knobs/knobs.h"

struct master;
struct child;

struct doors {
	struct fd admin, metrics;	/* FD_NONE: none */
	char old_admin[108];		/* an older build's name for the admin socket, if it is another */
};

/* Opens, or takes over.  0, or -errno with words on standard error. */
must_use int doors_open(struct master *);
/* To admind. */
void doors_send(struct master *, struct child *);
/* After a trial. */
void doors_take_over(struct master *);
/* The end of the instance: the admin socket's name goes. */
void doors_close(struct master *);

/* Other settings: opens what is new.  0, or -errno with the row that is to blame and words. */
must_use int doors_try(struct master *, const struct knobs *, struct doors *opened,
		       enum knob_index *ret_bad, char why[160]);
void doors_undo(const struct knobs *, struct doors *opened);
/* The keeper gets what these settings will need. */
void doors_keep(struct master *, const struct knobs *, const struct doors *opened);
/* m->knobs are new, and admind knows them: what is gone is closed. */
void doors_use(struct master *, const struct knobs *was, struct doors *opened);

#endif
