/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The list of pods (pods.h of lib/ipc) in run_dir, for a nodeproxy that is started after this one has
 * stopped: what the host forgets when it is booted, network namespaces among it, this forgets too.
 *
 * Pods come and go one by one, and the master must not wait: each has a place in the file, by its slot,
 * and only places that changed are written.  A place says by a checksum that it is whole: of one that a
 * master died in while it wrote nothing is believed, and nothing of the others lost. */
#ifndef NODEPROXY_PODLIST_H
#define NODEPROXY_PODLIST_H

#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/base/slice.h"
#include "nodeproxy/lib/ipc/messages.h"

struct pod_told;

/* All 0: nothing was written yet. */
struct podlist {
	bool is_open;
	struct fd file;
	bool anew;			/* it was opened; who puts all slots says false */
	uint64_t check[PODS_MAX];	/* of what is in the file, by slot; 0: none */
};

/* Opens or makes it, if it is not open; each slot is to be put then (anew).  Then, for slots that may be
 * others, what is there: the pod, NULL: none.  0 or -errno: it is not so in the file; the next time makes
 * up for it. */
must_use int podlist_begin(struct podlist *, const char *run_dir);
must_use int podlist_put(struct podlist *, unsigned slot, const struct pod_told *);
void podlist_close(struct podlist *);
/* A page, to be freed with free(); -ENOENT: there is none; -EPERM: others than root could have
 * written it; -EBADMSG: it is none of our build; -errno. */
must_use int podlist_read(const char *run_dir, struct slice *ret);

#endif
