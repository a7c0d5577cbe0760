/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What the filters of a rule and of its backend do with a request and its response.
 *
 * The head of a request is changed in the step that matched it, while it is the scratch head: its
 * lines then point into the view, which no step changes, and what goes out is spelled, or kept to be
 * sent later or again, before that step ends.  So a further attempt sends what the first one did.
 *
 * The response comes when the view is let go of (a tunnel of days must not keep a base mapped).  Its
 * edits were copied by then, into one chunk of the tenant: bounded by what a rule and a backend may say. */
#ifndef WORKERS_PATH_FILTER_H
#define WORKERS_PATH_FILTER_H

#include "workers/path/exchange.h"

/* Changes the lines of a head as an edit (store/view/edit.h) says: those that leave are dropped and
 * have no known name any more, those that come point into it.  0, -1: more lines than a head has. */
must_use int filter_edit(struct head *, struct slice edit);

/* The path that a redirect or rewrite makes of this one.  It begins with one slash, whatever came; in
 * out, of path.n + f->path.n + 1 bytes, where it lies nowhere yet. */
struct slice filter_path(const struct vfilter *, struct slice path, uint8_t *out);
/* The value of Location for a request to this port: its length, at most filter_location_room(). */
size_t filter_location_room(const struct vfilter *, const struct head *);
size_t filter_location(const struct vfilter *, const struct vport *, const struct head *, bool by_address,
		       char *out);

/* The filters of the rule, or those of its backend that was chosen.  NEXT, or END with a reason. */
enum step filter_request(struct exchange *, const struct vrule *, const struct vfilters *);
/* The head of a final response goes to the caller.  0 or -1, as filter_edit(). */
must_use int filter_response(struct exchange *);

#endif
