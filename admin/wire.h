/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* HTTP/1.1 of the admin socket and the metrics listener: bytes -> one request, and the head of its
 * response.  Pure: no descriptors, no clock; serve.c owns both.
 *
 * A struct wire reads one request after the other from one connection.  It takes no byte of the
 * next request before wire_next(), so pipelined requests wait with the caller.  llhttp does the
 * grammar; the bounds are ours: a head of WIRE_HEAD bytes, a target of WIRE_TARGET, a body of
 * WIRE_BODY.  After anything wrong the connection is of no further use: answer status and close.
 *
 *   reading   wire_feed() says WIRE_MORE
 *   request   wire_feed() said WIRE_REQUEST: wire->req is filled until wire_next()
 *   bad       wire_feed() said WIRE_BAD: wire->status and wire->why */
#ifndef ADMIN_WIRE_H
#define ADMIN_WIRE_H

#include <llhttp.h>

#include "admin/text.h"

#define WIRE_HEAD   16384u
#define WIRE_TARGET 2048u
#define WIRE_BODY   65536u

enum wire_method { WIRE_OTHER, WIRE_GET, WIRE_HEAD_METHOD, WIRE_POST };
enum wire_result { WIRE_MORE, WIRE_REQUEST, WIRE_BAD };

struct wire_request {
	enum wire_method method;
	struct slice target;		/* as sent: path and query; no NUL, no control bytes */
	struct slice body;
	bool keep_alive;
};

struct wire {
	llhttp_t parser;
	size_t head_n;			/* bytes of head taken */
	size_t rest_n;			/* bytes taken after the head */
	bool head_done, done;
	bool wants_continue;		/* the caller waits for "100 Continue": serve says it once */
	unsigned hosts;
	char name[24];			/* of the header line at hand, lower case; cut when longer */
	size_t name_n;
	char value[24];
	size_t value_n;
	size_t target_n;
	char target[WIRE_TARGET];
	uint8_t *body;			/* heap, WIRE_BODY bytes, only while one is being read */
	size_t body_n;
	struct wire_request req;
	int status;			/* WIRE_BAD: what to answer */
	const char *why;		/* a literal */
};

void wire_init(struct wire *);
void wire_fini(struct wire *);
/* Takes bytes; *used of them were consumed.  Not to be called again after BAD. */
enum wire_result wire_feed(struct wire *, struct slice bytes, size_t *used);
/* The request was answered: ready for the next one. */
void wire_next(struct wire *);
/* True when no byte of a request was taken yet. */
bool wire_is_idle(const struct wire *);

/* The head of a response with a body of body_n bytes; allow: value of the Allow header or NULL. */
void wire_response_head(struct text *, int status, const char *type, size_t body_n,
			bool keep_alive, const char *allow);
const char *wire_status_words(int status);

/* Decodes %XX of a path or a query value in place of out (room bytes with NUL).  -EINVAL: a broken
 * escape, a NUL or control byte, or no room. */
must_use int wire_decode(struct slice, bool plus_is_blank, char *out, size_t room);

#endif
