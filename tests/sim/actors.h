/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The people of the simulation: callers that send planned requests and check every byte of the
 * answers, endpoints that check every byte of the requests and answer as planned.
 *
 * A plan is one request and its answer, made from the seed; both sides know it by the number in the
 * path.  A body's bytes follow from that number and their position, so a byte lost, doubled, swapped
 * with another exchange's or out of place is seen.  The parsers here share nothing with the
 * product's. */
#ifndef TESTS_SIM_ACTORS_H
#define TESTS_SIM_ACTORS_H

#include "tests/sim/net.h"

#define PLANS_MAX 512

enum plan_body { PLAN_EMPTY, PLAN_LENGTH, PLAN_CHUNKED, PLAN_UNTIL_CLOSE };
enum fate {
	OUT_PENDING,
	OUT_OK,			/* answered as planned, every byte */
	OUT_LOCAL,		/* a local answer of the proxy's */
	OUT_CUT,		/* the connection ended and the caller can tell that it is not whole */
	OUT_NOT_SENT,		/* the connection ended before any of its bytes was sent */
	OUTCOMES
};

struct plan {
	uint8_t method;			/* index of plan_methods */
	uint8_t request, response;	/* enum plan_body */
	bool http10, expect, last;	/* last: the caller says close */
	bool http10_back;		/* the endpoint answers as HTTP/1.0 */
	bool early;			/* the endpoint answers before it has read the body */
	bool back_close;		/* the endpoint says close */
	bool interim;			/* an unasked 103 first */
	unsigned status;
	uint32_t request_bytes, response_bytes;
	/* what became of it */
	uint8_t outcome;		/* enum fate */
	unsigned local_status;
	uint32_t seen;			/* times an endpoint saw its head */
	uint32_t answered;		/* times an endpoint began to answer */
	bool hurt;			/* an endpoint broke off on purpose */
};

struct buffer {
	uint8_t *p;
	size_t at, n, room;
};

/* A message as far as it was parsed; positions are in its bytes. */
struct message {
	size_t head;		/* bytes of the head; 0: not there yet */
	size_t line;		/* of the first line */
	size_t at;		/* parsed up to here */
	size_t all;		/* of head and body; 0: not all there yet */
	unsigned status;
	bool chunked, has_length, closes, bodyless, until_close;
	enum { PART_SIZE, PART_BYTES, PART_TRAILER } part;	/* chunked */
	uint64_t left;		/* of the body or chunk */
	uint64_t body;		/* bytes of it seen, and right */
};

struct sim;

/* A caller of HTTP: plans [first, first + n). */
struct caller {
	struct node node;
	struct sim *sim;
	struct link *link;
	bool opaque;
	struct h2_side *h2;		/* it speaks HTTP/2 */
	bool h2_was;			/* or did: answers came in any order */
	unsigned first, n, sending, answering;
	unsigned depth;			/* requests at once */
	bool body_waits;		/* for 100 */
	bool half_close, finished;
	bool rude;			/* leaves in the middle */
	uint64_t rude_after;		/* bytes received */
	uint64_t got;
	struct buffer out, in;
	struct message m;
	/* opaque: bytes to send, sent and received */
	uint64_t flow, flow_sent, flow_got;
	uint32_t flow_key;
	bool flow_ok, greeted;
	bool done;
};

struct endpoint {
	struct node node;
	struct sim *sim;
	struct link *link;
	bool opaque, speaks_first;
	bool ends_when_sent;		/* closes after what is in out */
	uint64_t flow_at;
	struct buffer in, out;
	struct message m;
	int64_t idle_until;		/* leaves when idle then; 0: never */
	bool dead_end;			/* will never answer */
	uint64_t break_at;		/* resets after so many bytes sent; 0: never */
	bool break_softly;		/* closes instead */
	uint64_t sent;
	struct session *h2;		/* of one that speaks HTTP/2 */
	bool done;
};

void plan_make(struct net *, struct plan *);
const char *plan_method(const struct plan *);
/* The i-th byte of a body. */
uint8_t plan_byte(unsigned id, bool response, uint64_t i);

struct caller *caller_new(struct sim *, struct link *, unsigned first, unsigned n);
struct caller *caller_new_opaque(struct sim *, struct link *, uint64_t bytes);
/* The plans of the caller over HTTP/2 (h2_caller.c); a step: true when it is done. */
struct h2_side *h2_side_new(struct caller *);
bool h2_side_step(struct h2_side *);
void h2_side_free(struct h2_side *);
void caller_step(struct caller *);
void caller_free(struct caller *);
struct endpoint *endpoint_new(struct sim *, struct link *, bool opaque);
void endpoint_step(struct endpoint *);
void endpoint_free(struct endpoint *);
/* endpoint_h2.c: one that was made not opaque speaks HTTP/2 from now on. */
void endpoint_h2_begin(struct endpoint *);
void endpoint_h2_end(struct endpoint *);
bool endpoint_h2_step(struct endpoint *);

#endif
