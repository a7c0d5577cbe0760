/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* An etcd in the test's own loop that keeps a few keys, and lies about them when it is told to. */
#ifndef TESTS_LIB_ETCD_FAR_H
#define TESTS_LIB_ETCD_FAR_H

#include "tests/lib/grpc_far.h"

#define ETCD_FAR_WATCHES 8

enum etcd_lie {
	LIE_NONE,
	LIE_SILENT,	/* takes calls and never answers */
	LIE_GARBAGE,	/* answers what is no protobuf */
	LIE_TWICE,	/* answers everything twice */
	LIE_REFUSE,	/* ends calls with status and words */
};

struct etcd_far_event {
	int64_t revision, created;
	bool is_delete;
	char *key, *value;
	size_t bytes;
};

struct etcd_far {
	struct far far;
	uint64_t cluster;
	int64_t revision, compacted;
	struct etcd_far_event *event;	/* all that ever happened, in order */
	size_t events;
	struct {
		struct far_call *call;
		char key[256], end[256];
		int64_t next;		/* revision */
	} watch[ETCD_FAR_WATCHES];
	enum etcd_lie lie;
	unsigned status;
	const char *words;
	unsigned lie_at;		/* it begins with this range; 0: at once */
	unsigned ranges, watches, proofs;	/* that were asked for */
	size_t page_max;		/* keys of a page, whatever the limit; 0: the limit */
	size_t bytes_max;		/* of a page; more is refused as etcd does; 0: any */
	bool fragments;			/* each event is told by itself */
	bool asks_for_token;
};

void etcd_far_open(struct etcd_far *, struct loop *);
void etcd_far_close(struct etcd_far *);
void etcd_far_put(struct etcd_far *, const char *key, struct slice value);
void etcd_far_delete(struct etcd_far *, const char *key);
/* Several keys at one revision: those put after this, until the next call with false. */
void etcd_far_hold(struct etcd_far *, bool);
void etcd_far_forget(struct etcd_far *, int64_t back_to);	/* a snapshot of that time was restored */
void etcd_far_progress(struct etcd_far *);			/* watches hear that nothing happened */

#endif
