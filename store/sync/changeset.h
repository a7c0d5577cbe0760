/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The one shape all sources speak: what a place says now.
 *
 * A place is where documents are written: a file, or a key of a registry.  A source tells the
 * sync process the whole content of each place that changed, then ends the change set; everything
 * between two ends becomes true at once.  A snapshot is a change set that tells all places: those
 * it does not mention are gone at its end (the marker). */
#ifndef NODEPROXY_STORE_SYNC_CHANGESET_H
#define NODEPROXY_STORE_SYNC_CHANGESET_H

#include "nodeproxy/lib/base/slice.h"
#include "store/resource/resource.h"
#include "store/rows.h"

#define PLACE_MAX 640u	/* longest name of one, with its NUL */

/* One document of a place: a row or a refusal. */
struct document {
	struct row *row;
	struct refusal *refusal;
};

struct documents {
	struct document *v;
	size_t n, room;
};

/* All documents in the content of a place (YAML, hence JSON too).  0 or -ENOMEM with what there
 * was memory for. */
must_use int documents_read(struct documents *, const char *place, struct slice content);
/* A refusal of a place as a whole, line 0; NULL without memory. */
struct refusal *refusal_of_place(const char *place, const char *reason);
/* Take what is handed over, also on failure (-ENOMEM). */
must_use int documents_add_row(struct documents *, struct row **);
must_use int documents_add_refusal(struct documents *, struct refusal **);
void documents_fini(struct documents *);

/* What a source calls. */
struct source_events {
	void (*snapshot)(void *arg);	/* what follows, up to end, tells all places */
	void (*place)(void *arg, const char *place, struct slice content);
	/* The same of documents that the source has read itself; takes them. */
	void (*documents)(void *arg, const char *place, struct documents *);
	void (*same)(void *arg, const char *place);	/* is there, as it was told last */
	void (*unreadable)(void *arg, const char *place, const char *why);
	void (*gone)(void *arg, const char *place);
	void (*end)(void *arg);
	void (*lost)(void *arg, const char *why);	/* a change set under way will not end */
	uint32_t (*places)(void *arg);	/* how many there are, as far as was told */
	void *arg;
};

#endif
