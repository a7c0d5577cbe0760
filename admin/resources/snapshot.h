/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The store as it is at one moment, for somebody who only reads: nodeproxyctl store.
 *
 * The sync process has it locked while it runs (store/db/db.h), so what is opened is a copy.  Its file
 * is copied first, then its log: everything that reaches the file meanwhile is in the log, until the log
 * begins anew, and then it is all done once more.  So the copy is one whole revision, whoever writes. */
#ifndef ADMIN_RESOURCES_SNAPSHOT_H
#define ADMIN_RESOURCES_SNAPSHOT_H

#include "nodeproxy/lib/base/must.h"

struct snapshot {
	int dir;		/* with the copy; -1: none */
	char path[300];
	uint64_t bytes, log_bytes;
};

/* A copy of the store in the state directory, in a directory of its own below TMPDIR.  0, or -errno with
 * words in problem; snapshot_close is due in both cases. */
must_use int snapshot_take(struct snapshot *, const char *state_dir, char problem[512]);
/* Removes it; what has it open goes on. */
void snapshot_remove(struct snapshot *);
void snapshot_close(struct snapshot *);

#endif
