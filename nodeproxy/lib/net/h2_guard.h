/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The guard of an HTTP/2 session: looks at frame headers before nghttp2 does.
 *
 * It follows the frames in the bytes that come in, counts them by kind and says where to stop:
 * because a flood is under way, or because enough was begun for one step.  So every limit of ours
 * holds with any version of nghttp2, costs the peer its connection before anything was allocated for
 * the frame, and is tested without a session.  What can be judged only when a frame was understood
 * (was that a stream that lived? was it empty but for padding?) the session tells it.  No memory, no
 * I/O; time is given to it. */
#ifndef NODEPROXY_LIB_NET_H2_GUARD_H
#define NODEPROXY_LIB_NET_H2_GUARD_H

#include "nodeproxy/lib/base/ratelimit.h"
#include "nodeproxy/lib/base/slice.h"
#include "nodeproxy/lib/net/h2.h"

#define H2_PREFACE_BYTES 24u
#define H2_FRAME_HEADER_BYTES 9u
/* We never announce more (RFC 9113: the least there is). */
#define H2_FRAME_MOST 16384u
/* DATA frames shorter than this for want of window are a dribble, unless there was one of a decent
 * size for it: the rest of a window that streams share. */
#define H2_DRIBBLE_BYTES 64u
#define H2_DECENT_BYTES	 512u
/* Streams we have reset that are known one by one; where there were more, older ones are trusted. */
#define H2_RESETS_KNOWN 16u

struct h2_guard {
	const struct h2_limits *lim;
	bool server;
	bool in_block;			/* between HEADERS and the end of its block */
	bool has_settings;		/* the first frame came */
	bool inside_counts;		/* the last frame is one that counts */
	uint8_t hd_n;			/* bytes of hd known */
	uint8_t hd[H2_FRAME_HEADER_BYTES];
	uint32_t preface;		/* bytes of it still to come */
	uint32_t left;			/* of the frame at hand */
	uint32_t block_bytes, continuations;
	uint32_t empties;		/* in a row */
	uint32_t last_id;		/* the highest that began */
	uint32_t old_id;		/* h2_guard_look() let a frame of this old stream through; 0: none */
	uint32_t depends_on;		/* of the PRIORITY at hand */
	uint64_t lately;		/* bit i: last_id - 2 * i began too */
	uint32_t gone[H2_RESETS_KNOWN];	/* streams we have reset while more of them could come */
	uint32_t gone_n;
	uint32_t gone_most;		/* the highest of them that fell out */
	uint32_t late;			/* frames that may come for streams we have reset */
	uint32_t pings_earned, dribbles_earned;
	uint64_t frames;		/* begun, of those that count (h2_guard_counts) */
	uint64_t opened;		/* streams, by whoever opens them here */
	uint64_t cancelled_early, priorities, window_updates, data_sent;
	struct ratelimit pings, settings, resets, caused, dribble, glitches;
	struct mono since;		/* the block at hand, or the session, began */
};

/* What may still be begun in this step. */
struct h2_allowance {
	uint32_t frames, requests;
};

void h2_guard_init(struct h2_guard *, const struct h2_limits *, bool server, struct mono now);
/* How many bytes of in may be passed on (*ret_n; 0: the allowance is used up), or which offence
 * they are.  A frame that goes on with a message is the first of them (old_id): its stream is as all
 * frames before have left it, and who knows streams can tell whether it has ended. */
must_use enum h2_offence h2_guard_look(struct h2_guard *, struct slice in, struct mono now,
				       struct h2_allowance *, size_t *ret_n);

/* Frames of which it matters whether they were of use: others have limits of their own, or are part
 * of one. */
static inline bool h2_guard_counts(uint8_t type)
{
	return type != 2 && type != 8 && type != 9;	/* PRIORITY, WINDOW_UPDATE, CONTINUATION */
}
/* The last frame counts and has not come whole. */
static inline bool h2_guard_is_inside(const struct h2_guard *g)
{
	return g->inside_counts && (g->left || g->in_block);
}

/* What the session found when it understood a frame.  All say H2_OFFENCE_NONE or the flood. */
must_use enum h2_offence h2_guard_empty(struct h2_guard *, bool is_empty);
must_use enum h2_offence h2_guard_cancelled(struct h2_guard *, bool early, struct mono now);
must_use enum h2_offence h2_guard_caused(struct h2_guard *, struct mono now);
must_use enum h2_offence h2_guard_useless(struct h2_guard *, struct mono now);
/* DATA left; is_cut: there was more to send, and no window for it. */
must_use enum h2_offence h2_guard_sent(struct h2_guard *, size_t bytes, bool is_cut, struct mono now);
/* A stream was opened, by whoever opens them here.  One frame that comes when it has ended (a reset
 * that crossed our answer) is nobody's fault. */
void h2_guard_opened(struct h2_guard *);
/* We have reset a stream: what its peer has sent meanwhile is no offence. */
void h2_guard_forgive(struct h2_guard *, uint32_t window);
/* The same, by its id: frames of it may be on their way until the peer has seen the reset. */
void h2_guard_reset(struct h2_guard *, uint32_t id);
/* A frame goes on with a message (old_id), and its stream has ended. */
must_use enum h2_offence h2_guard_closed(const struct h2_guard *, uint32_t id);
/* A header block, or the first SETTINGS, takes too long. */
bool h2_guard_is_slow(const struct h2_guard *, struct mono now);

#endif
