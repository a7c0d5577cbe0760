/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What the master opens for others and never reads: the state directory, the source directory and
 * its files, those by which a registry is reached, the access log. */
#ifndef NODEPROXY_FILES_H
#define NODEPROXY_FILES_H

#include <sys/types.h>

#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/ipc/messages.h"
#include "nodeproxy/lib/knobs/knobs.h"

struct master;
struct child;

struct files {
	struct fd state_dir;		/* locked: two instances cannot share it; none: see files_open */
	uid_t sync_uid;			/* whose it is */
	gid_t sync_gid;
	struct fd source_dir;		/* for FILE_WANT; none while the directory is away */
	char only[256];			/* source.path is one file: its name; else empty */
};

/* Opens, or takes over, the directories.  0, or -errno with words on standard error.  A state
 * directory on a full, read-only or broken disk is done without. */
must_use int files_open(struct master *, uid_t sync_uid, gid_t sync_gid);
/* Before a syncd starts: makes the state directory again when it was removed, or could not be made. */
void files_renew_state_dir(struct master *);
/* Makes path and its parents; those that exist are left alone.  0 or -errno. */
must_use int files_make_dirs(const char *path, mode_t mode);
/* To syncd: the directory and a fresh inotify descriptor, or why there is none (it asks again). */
void files_send_source(struct master *);
/* Whether the files of a registry (source.ca ...) can be opened: 0, or -errno and the row. */
must_use int files_try_secrets(const struct knobs *, enum knob_index *ret_row);
void files_want(struct master *, struct child *, const struct msg_file *);
/* Opens a regular file for reading, without waiting: 0, -EINVAL when it is none, -errno. */
must_use int files_open_regular(struct fd dir, const char *name, struct fd *ret);
/* Opens the access log (again).  0, or -errno. */
int files_send_log(struct master *, struct child *);
/* Whether the access log could be opened; *ret_made: it was not there and is now.  0 or -errno. */
must_use int files_try_log(const char *path, bool *ret_made);
/* Settings of the source are others: what they name is opened and syncd told. */
void files_source_moved(struct master *, const struct knobs *was);

#endif
