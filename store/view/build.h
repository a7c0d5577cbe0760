/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The builder: rows of the model in, sealed view files out.  It lives in the sync process.
 *
 * It remembers every unit in compiled form.  Setting or removing a unit changes nothing outside;
 * builder_commit() makes everything since the last commit true at once, as one file: normally an
 * *overlay* (all units that differ from the current base), the first time, and when very much
 * changed at once, a *base*.  When the overlay has grown past its limit (max(256, sqrt(units))
 * units or 1 MiB), builder_wants_work() says so and builder_work() copies units into a new base, a
 * slice at a time, while commits go on; what changed meanwhile is in it.  A finished base is
 * complete as of the last commit, so files are announced in the order they are returned, and later
 * overlays lie on the newest base.
 *
 *   phase      calls
 *   empty      builder_set_*, builder_remove_*, then the first builder_commit: a base
 *   changing   builder_set_*, builder_remove_*    (builder_work does nothing in this phase)
 *   committed  builder_work, or changing again
 *
 * Units know each other only by id; ids belong to this builder (a key keeps its id while any unit
 * is it or names it).  A backend may name a Service that does not exist (yet): when it comes,
 * nobody else has to be compiled again.
 *
 * The builder keeps the descriptors of the previous base and of the last overlays open for a while,
 * so that it, and not a worker, pays for freeing their pages. */
#ifndef NODEPROXY_STORE_VIEW_BUILD_H
#define NODEPROXY_STORE_VIEW_BUILD_H

#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"
#include "store/rows.h"
#include "store/view/compile.h"
#include "store/view/view.h"

struct builder;

/* domain: the DNS suffix of Services ("cluster.local"), at most 253 bytes.  0, -EINVAL, -ENOMEM. */
must_use int builder_new(struct slice domain, struct builder **ret);
void builder_free(struct builder **);

/* Compiles and keeps a Service; borrows all rows for the call.  On error the unit stays what it
 * was. 0, -ENOMEM, -E2BIG (over UNIT_MAX_BYTES), -EINVAL (not a Service row). */
must_use int builder_set_service(struct builder *, const struct unit_service *);
must_use int builder_set_namespace(struct builder *, const struct unit_namespace *);
/* Removing what is not there is fine. */
must_use int builder_remove_service(struct builder *, struct slice ns, struct slice name);
must_use int builder_remove_namespace(struct builder *, struct slice name);

struct built {
	struct fd fd; /* sealed; the caller's from now on */
	bool is_base;
	uint64_t rev;	   /* the revision it makes true */
	uint64_t base_rev; /* overlay: of the base it lies on; base: rev */
	uint64_t bytes;
};

/* Everything set and removed since the last commit is true as rev (must grow).  Always gives one
 * file, even when no unit changed, so that workers can report the revision.  0, -EINVAL (rev did
 * not grow), -ENOMEM, -errno; after an error the changes are still there and the next commit has
 * them. */
must_use int builder_commit(struct builder *, uint64_t rev, struct built *ret);

/* There is background work: call builder_work() whenever nothing else is to be done. */
bool builder_wants_work(const struct builder *);
/* Works for about budget_us.  1: *ret is a new base, its rev that of the last commit; 0: nothing
 * finished yet; -errno: given up, tried again after the next commit. */
must_use int builder_work(struct builder *, int64_t budget_us, struct built *ret);

struct builder_stats {
	uint32_t services, namespaces;
	uint32_t overlay_units; /* tombstones too */
	uint64_t overlay_bytes, base_bytes;
	uint64_t bases, overlays;	       /* made so far */
	int64_t last_base_us, last_overlay_us; /* CPU time spent on the last one */
};
void builder_stats(const struct builder *, struct builder_stats *ret);

#endif
