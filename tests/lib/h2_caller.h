/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A caller that speaks HTTP/2 to the rig of the data path (path_rig.h): a client session of
 * lib/net/h2 over its socket, which moves whenever the test waits for something.
 *
 *   struct h2_caller *c = h2_dial(r);
 *   struct h2_stream *st = h2_get(c, "/a");
 *   int b = rig_accept(r, 1);  ...
 *   h2_hear(c, st, 200, "hi");
 *
 * Nothing sleeps: what is waited for must come within 10 s or the test fails. */
#ifndef TESTS_LIB_H2_CALLER_H
#define TESTS_LIB_H2_CALLER_H

#include "nodeproxy/lib/net/h2.h"
#include "tests/lib/path_rig.h"

struct h2_caller {
	struct rig *rig;
	struct stream s;
	struct chunk_pool chunks;
	struct h2_stock stock;
	struct h2_limits lim;
	struct budget budget;
	struct h2 *h;
	bool is_cut;			/* nothing will come any more */
	bool deaf;			/* does not read */
	uint8_t scratch[65536];
};

struct h2_caller *h2_dial(struct rig *);
void h2_hang_up(struct h2_caller **);
/* One pass of both. */
void h2_move(struct h2_caller *);
/* Until x holds. */
#define h2_until(c, x)                                                                             \
	do {                                                                                       \
		int64_t began_ = clock_tick().ns;                                                  \
		while (!(x)) {                                                                     \
			ck_assert_msg(clock_tick().ns - began_ < 10 * NS_PER_S, "never: %s", #x);  \
			h2_move(c);                                                                \
		}                                                                                  \
	} while (0)

/* Begins a request; lines: "name: value\n" of more fields, or NULL. */
struct h2_stream *h2_ask(struct h2_caller *, const char *method, const char *path, const char *lines,
			 bool end);
struct h2_stream *h2_get(struct h2_caller *, const char *path);
void h2_say(struct h2_caller *, struct h2_stream *, const void *, size_t n);
/* The next header block of st: its lines as "name: value\n", valid until the next call. */
const char *h2_hear_head(struct h2_caller *, struct h2_stream *);
/* A response of that status with exactly that body and its end; the stream is closed. */
void h2_hear(struct h2_caller *, struct h2_stream *, unsigned status, const char *body);
/* It is reset with this code; the stream is closed. */
void h2_hear_reset(struct h2_caller *, struct h2_stream *, enum h2_code);

#endif
