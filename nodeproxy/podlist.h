/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The list of pods (pods.h of lib/ipc) in run_dir, for a nodeproxy that is started after this one has
 * stopped: what the host forgets when it is booted, network namespaces among it, this forgets too. */
#ifndef NODEPROXY_PODLIST_H
#define NODEPROXY_PODLIST_H

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

/* In place of the one that is there, whole.  0 or -errno. */
must_use int podlist_write(const char *run_dir, struct slice page);
/* The page, to be freed with free(); -ENOENT: there is none; -EPERM: others than root could have
 * written it; -EBADMSG: it is none of our build; -errno. */
must_use int podlist_read(const char *run_dir, struct slice *ret);

#endif
