/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A source of documents, as the sync process drives it: what comes from the master goes in, what it
 * found comes out through changeset.h's events.  One source per process; source_file.c is the one
 * of this release. */
#ifndef NODEPROXY_STORE_SYNC_SOURCE_H
#define NODEPROXY_STORE_SYNC_SOURCE_H

#include "nodeproxy/lib/ipc/chan.h"
#include "store/sync/changeset.h"

/* More than any host should have: bounds on the memory of the sync process. */
#define SOURCE_FILES_MAX 100000u
#define SOURCE_BYTES_MAX (256u << 20)	/* of all files together; one: DOC_FILE_MAX */

struct source_file;

/* Files of a directory (or one of them), read through the master.  path is the configured one.
 * Borrows all but events, which it copies.  0 or -ENOMEM. */
must_use int source_file_new(struct loop *, struct chan *, const char *path,
			     const struct source_events *events, struct source_file **ret);
void source_file_free(struct source_file **);
/* Another configured path, for words only: the directory comes with SOURCE_DIR. */
must_use int source_file_path(struct source_file *, const char *path);
/* SOURCE_DIR and FILE_HERE; takes the descriptors it wants from the message. */
void source_file_message(struct source_file *, const struct msg *);
/* The kernel dropped a descriptor on the way (-EMFILE from chan_recv): ask again. */
void source_file_dropped(struct source_file *, enum msg_type);
/* Other bounds than SOURCE_FILES_MAX and SOURCE_BYTES_MAX (tests). */
void source_file_bounds(struct source_file *, uint32_t files, uint64_t bytes);
/* When the change set that is being told was first noticed; {0}: none is. */
struct mono source_file_since(const struct source_file *);

#endif
