/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The file source as source_file.c, source_file_read.c and source_file_watch.c have it. */
#ifndef NODEPROXY_STORE_SYNC_SOURCE_FILE_INNER_H
#define NODEPROXY_STORE_SYNC_SOURCE_FILE_INNER_H

#include <sys/stat.h>

#include "nodeproxy/lib/base/hash.h"
#include "store/sync/source.h"

struct file {
	struct hash_node by_name;
	struct node in_source;	/* source.files */
	struct node queued;	/* source.to_ask */
	struct node dirty;	/* source.dirty: an event named it */
	uint64_t serial;	/* of the request under way; 0: none */
	uint64_t listed;	/* number of the listing that had it last */
	bool look;		/* at its bytes, whatever fstat says */
	bool told;		/* the rest is as it was then */
	bool settled;		/* it was older than the grain of file times when it was read */
	bool gone;		/* as this change set found; told at its end */
	bool writing;		/* modified and not closed since */
	bool moved;		/* put in place by a rename, and no event since */
	struct mono wait_until;	/* left alone till then */
	struct stat seen;	/* not believed yet */
	struct mono seen_at;	/* {0}: nothing is in doubt */
	struct stat st;
	uint64_t digest;
	uint32_t bytes;		/* of what was told last; in source.bytes */
	int error;		/* why it could not be read, as it was told; 0: it could */
	struct node bad;	/* in source.bad, while error */
	struct mono retry_at;
	int64_t retry_ms;
	char name[];
};

struct source_file {
	struct source source;
	struct loop *loop;
	struct chan *chan;
	struct source_events on;
	char *path;
	struct fd dir, inotify;
	char only[256];		/* the one file that counts; "": all */
	struct loop_io io;
	struct loop_timer debounce, again, look_again, resend, retry;
	struct hash by_name;
	struct node files, to_ask, dirty, bad;
	uint64_t bytes;		/* of all files as they were told */
	uint64_t most_bytes;
	uint32_t most_files;
	uint32_t left_out;	/* files of the last listing that there was no room for */
	bool away;		/* said lost */
	bool telling, snapshot, rescan;
	unsigned in_flight;
	uint64_t serial, listing;
	int64_t again_ms;
	unsigned looks;
	struct mono since;	/* first event of the next change set, or of the one being told */
	struct mono next_since;
	struct mono retry_at;	/* what the timer retry is set to */
};

static inline bool is_full(const struct source_file *s)
{
	return s->by_name.count >= s->most_files;
}

/* source_file.c.  NULL: no memory, or no room for one more. */
struct file *source_file_make(struct source_file *, const char *name);
/* Names that are documents; or the one that counts. */
bool source_file_is_ours(const struct source_file *, const char *name);
/* A change set will be told after the next pause. */
void source_file_soon(struct source_file *);
void source_file_lose(struct source_file *, const char *why);

/* source_file_read.c: the file that the master has opened, and one that it could not (-errno). */
void source_file_content(struct source_file *, struct file *, int fd);
void source_file_unreadable(struct source_file *, struct file *, int error);

/* source_file_watch.c: what inotify has to say, all of it; arg is a struct source_file. */
void source_file_events_cb(void *arg, unsigned events);

#endif
