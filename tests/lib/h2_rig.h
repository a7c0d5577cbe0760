/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Two HTTP/2 sessions over a line in memory, or one and a peer that writes its own frames.
 *
 * The line splits what goes over it at random (seeded) places, takes only so much at once, and can
 * be cut; time is what the test says. */
#ifndef TESTS_LIB_H2_RIG_H
#define TESTS_LIB_H2_RIG_H

#include "nodeproxy/lib/net/h2.h"

#define RIG_LINE_BYTES (1u << 20)

/* One direction. */
struct rig_line {
	uint8_t *p;
	size_t at, end, most;	/* at most this much waits in it */
	bool is_cut;
};

struct rig_end {
	struct stream s;
	struct rig_line *in, *out;
	uint32_t step;		/* at most this much per call, at random; 0: no such limit */
	uint64_t reads, writes;
};

struct h2_rig {
	struct h2_stock stock;
	struct chunk_pool chunks;
	struct budget all, session[2], tenant;	/* session[1]: the server's */
	struct h2_limits lim[2];
	struct rig_line line[2];		/* line[i] leads to end[i] */
	struct rig_end end[2];
	struct h2 *h[2];			/* 0: client, 1: server; NULL: the test is the peer */
	uint8_t scratch[65536];
};

enum { RIG_CLIENT, RIG_SERVER };

/* Time is the rig's from now on. */
void rig_init(struct h2_rig *);
/* Starts the session of that side. */
struct h2 *rig_start(struct h2_rig *, int side);
/* Ends everything; nothing may be left: no stream, no byte of nghttp2's, no charge. */
void rig_fini(struct h2_rig *);
void rig_pass_ms(int64_t ms);

/* Lets both sides read and write until nothing moves any more. */
void rig_run(struct h2_rig *);
/* For loops that move both sides in each round. */
static inline bool either(bool a, bool b)
{
	return a || b;
}
/* One read and one write of one side; true: something moved. */
bool rig_step(struct h2_rig *, int side);

/* ---- a peer of one's own ---- */
void rig_bytes(struct h2_rig *, int to, const void *, size_t);
void rig_frame(struct h2_rig *, int to, uint8_t type, uint8_t flags, uint32_t id, const void *,
	       size_t);
/* Preface and empty SETTINGS. */
void rig_hello(struct h2_rig *);
/* What has come to that side, if the test plays it: the next whole frame; false: none. */
struct rig_frame {
	uint8_t type, flags;
	uint32_t id, n;
	const uint8_t *p;
};
bool rig_next_frame(struct h2_rig *, int side, struct rig_frame *);
/* GET / of authority "a" as a header block without dynamic entries. */
extern const uint8_t rig_get[6];

#endif
