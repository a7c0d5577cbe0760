/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What the master opens for others and never reads: the state directory, the source directory and
 * its files, the admin socket, the metrics listener, the access log. */
#ifndef NODEPROXY_FILES_H
#define NODEPROXY_FILES_H

#include "nodeproxy/lib/base/fd.h"
#include "nodeproxy/lib/ipc/messages.h"

struct master;
struct child;

struct files {
	struct fd state_dir;		/* locked: two instances cannot share it; none: see files_open */
	uid_t sync_uid;			/* whose it is */
	gid_t sync_gid;
	struct fd admin, metrics;
	struct fd source_dir;		/* for FILE_WANT; none while the directory is away */
	char only[256];			/* source.path is one file: its name; else empty */
	char old_admin[108];		/* an older build's name for the admin socket, if it is another */
};

/* Opens, or takes over, directory and sockets.  0, or -errno with words on standard error.  A state
 * directory on a full, read-only or broken disk is done without. */
must_use int files_open(struct master *, uid_t sync_uid, gid_t sync_gid);
/* Before a syncd starts: makes the state directory again when it was removed, or could not be made. */
void files_renew_state_dir(struct master *);
/* To syncd: the directory and a fresh inotify descriptor, or why there is none (it asks again). */
void files_send_source(struct master *);
void files_want(struct master *, struct child *, const struct msg_file *);
/* To admind. */
void files_send_sockets(struct master *, struct child *);
/* Opens the access log (again).  0, or -errno. */
int files_send_log(struct master *, struct child *);
/* After a trial. */
void files_take_over(struct master *);
/* The end of the instance: the admin socket's name goes. */
void files_close(struct master *);

#endif
