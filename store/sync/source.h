/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A source of documents, as the sync process drives it: what comes from the master goes in, what it
 * found comes out through changeset.h's events.  One source per process, of the kind source.kind says:
 * source_file.c, source_etcd.c. */
#ifndef NODEPROXY_STORE_SYNC_SOURCE_H
#define NODEPROXY_STORE_SYNC_SOURCE_H

#include "nodeproxy/lib/ipc/chan.h"
#include "nodeproxy/lib/knobs/knobs.h"
#include "store/sync/changeset.h"

/* More than any host should have: bounds on the memory of the sync process. */
#define SOURCE_FILES_MAX 100000u
#define SOURCE_BYTES_MAX (256u << 20)	/* of all files together; one: DOC_FILE_MAX */

#define SOURCE_KEYS_MAX	 400000u	/* of a registry */

/* What an operator may want to know of a registry. */
struct source_news {
	bool is_registry;		/* else all of it is empty */
	bool is_connected;
	char endpoint[ADDR_TEXT];	/* connected, or tried last; "": none yet */
	int64_t revision;		/* up to which everything was told; 0: nothing was */
	uint64_t cluster;		/* id; 0: not known */
	uint64_t snapshots;		/* that were read whole */
	char snapshot_why[160];		/* why the last of them was, unless it was the first */
	struct mono heard;		/* from it, last; {0}: never */
};

struct source;
struct demand;

struct source_ops {
	/* What the master says to it; takes the descriptors it wants from the message. */
	void (*message)(struct source *, const struct msg *);
	/* The kernel dropped a descriptor on the way (-EMFILE from chan_recv): ask again. */
	void (*dropped)(struct source *, enum msg_type);
	/* Other settings, borrowed until the next ones.  0 or -ENOMEM. */
	int (*settings)(struct source *, const struct knobs *);
	/* When the change set that is being told was first noticed; {0}: none is. */
	struct mono (*since)(const struct source *);
	void (*news)(const struct source *, struct source_news *ret);
	/* What this host says to others by it; takes the text.  NULL: there is nobody to tell. */
	void (*say)(struct source *, char **text);
	/* Another pod of this host, or one that is another now; text NULL: it is gone.  NULL: as say. */
	void (*post)(struct source *, const char *ns, const char *pod, const char *text);
	/* There is something in demand.h to be fetched, now or as soon as it can be; nobody uses this Service any
	 * more.  NULL: all is told. */
	void (*fetch)(struct source *);
	void (*leave)(struct source *, const char *ns, const char *name);
	void (*free)(struct source *);
};

/* The first member of every one. */
struct source {
	const struct source_ops *ops;
};

static inline void source_free(struct source **s)
{
	if (*s)
		(*s)->ops->free(*s);
	*s = NULL;
}

/* ---- files ---- */

struct source_file;
struct source *source_of_file(struct source_file *);

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

/* ---- etcd ---- */

struct source_etcd;
/* Keys below source.prefix/cluster/ of an etcd.  Borrows all but events, which it copies; knobs until
 * others come.  demand NULL: all EndpointSlices are told; else those that it wants.  0 or -errno. */
must_use int source_etcd_new(struct loop *, struct chan *, const struct knobs *,
			     const struct source_events *, struct demand *, struct source_etcd **ret);
struct source *source_of_etcd(struct source_etcd *);
/* Other bounds and times than its own (tests): keys; until it is said to be lost; over which hosts that
 * read everything again are spread. */
void source_etcd_bounds(struct source_etcd *, uint32_t keys, int64_t lost_ms, int64_t spread_ms);

#endif
