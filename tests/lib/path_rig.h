/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The real data path in the process of a test, between real sockets on loopback: the test is the
 * caller and the endpoint, and lets the path pass only while it waits for something.
 *
 *   struct rig *r = rig_new("service t/s port=80/main/http\n" "endpoint t/s:main $1\n");
 *   int c = rig_dial(r);              a caller at listener "front" (route: service t/s:80)
 *   rig_say(r, c, "GET / HTTP/1.1\r\nHost: x\r\n\r\n");
 *   int b = rig_accept(r, 1);         the endpoint's side; $1..$4 are endpoints of the test
 *   rig_hear(r, b, "GET / HTTP/1.1\r\n");
 *
 * Nothing sleeps: what is waited for must come within 10 s or the test fails. */
#ifndef TESTS_LIB_PATH_RIG_H
#define TESTS_LIB_PATH_RIG_H

#include "tests/lib/view_from.h"
#include "workers/listen.h"

#define RIG_BACKS 4

struct rig {
	struct knobs knobs;
	struct board *board;
	struct ring_shared *ring_mem;
	struct ring ring, reader;
	struct world *world;
	struct path path;
	struct listeners listeners;
	uint16_t port;			/* of the front */
	int back_fd[RIG_BACKS];		/* listening sockets of endpoints; -1: closed */
	uint16_t back_port[RIG_BACKS];
	char log[ACCESS_LINE_MAX + 1];	/* last access line */
	unsigned lines;
};

/* change may set knobs before the path starts (NULL: none); headers.request_id and .traceparent are
 * pass until then. */
struct rig *rig_new(const char *view, void (*change)(struct knobs *));
void rig_free(struct rig **);
/* What an event of the set does, for poll_collect(). */
void rig_event(void *rig, uint64_t token, unsigned bits);
void rig_pass(struct rig *);
/* More words about the world, as in view_from.h. */
void rig_view(struct rig *, const char *text);
int rig_dial(struct rig *);
int rig_accept(struct rig *, int back);		/* 1.. */
bool rig_nobody_calls(struct rig *, int back);	/* after some passes */
void rig_close_back(struct rig *, int back);	/* nobody listens there any more */
void rig_say(struct rig *, int fd, const char *text);
void rig_say_bytes(struct rig *, int fd, const void *p, size_t n);
/* Exactly this comes next, but for Date lines that text does not have. */
void rig_hear(struct rig *, int fd, const char *text);
/* Everything up to an empty line, NUL-terminated. */
const char *rig_hear_head(struct rig *, int fd);
void rig_hear_end(struct rig *, int fd);	/* a clean end */
void rig_hear_cut(struct rig *, int fd);	/* an end of any kind, after whatever bytes */
/* The next access line has these words (blank-separated, each must occur). */
void rig_log(struct rig *, const char *words);
void rig_until_quiet(struct rig *);		/* nothing more happens */
/* All conns, backs and chunks are gone once callers and endpoints have closed. */
void rig_must_be_empty(struct rig *);
/* The end of a test: closes a caller and an endpoint (-1: none); nothing may be left. */
void rig_end(struct rig **, int caller, int back);

#endif
