/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* HTTP/1.x: bytes to heads and bodies and back (RFC 9112).  Pure functions over slices and small
 * state structs: no sockets, no allocation but from the arena given.
 *
 * Heads are parsed by llhttp with every lenient flag off, after our own grammar check has closed
 * what llhttp 8.1 lets through; they lie in one contiguous piece.  Bodies are framed by us: a
 * chunked body is decoded and encoded again, whatever its sender wrote. */
#ifndef NODEPROXY_WORKERS_CODEC_HTTP1_H
#define NODEPROXY_WORKERS_CODEC_HTTP1_H

#include <sys/uio.h>

#include "nodeproxy/lib/base/arena.h"
#include "workers/codec/codec.h"

struct http1_limits {
	uint32_t head_bytes, headers, uri_bytes;
};

/* Parses a head at the start of bytes (leading empty lines of a request are skipped and counted in
 * head.bytes).  1: *ret holds it; 0: more bytes are needed (never once bytes.n > limits.head_bytes);
 * -1: refused, *why says which (BAD_REQUEST, BAD_FRAMING, BAD_VERSION, BAD_TRANSFER_CODING,
 * BAD_METHOD, BAD_EXPECT, URI_TOO_LONG, HEAD_TOO_LARGE; for responses BACK_BAD_RESPONSE,
 * BACK_BAD_FRAMING, BACK_HEAD_TOO_LARGE).  After -1 the connection must be closed. */
must_use int http1_request(struct slice bytes, const struct http1_limits *, struct head *ret,
			   enum reason *why);
/* req_head: the request was HEAD; req_connect: CONNECT (2xx is a tunnel). */
must_use int http1_response(struct slice bytes, const struct http1_limits *, bool req_head,
			    bool req_connect, struct head *ret, enum reason *why);

/* How a head goes out.  Framing follows head.body (a length stays a length, plain decimal, whatever
 * way it was spelled); interim responses carry none and must not be sent to a 1.0 caller at all.
 * Passed-on lines are referenced where they lie (lines that follow each
 * other become one iovec); request line, Host, framing and connection lines are written into the
 * arena.  Returns the number of iovecs, -1: does not fit max or the arena (TOO_LARGE). */
struct http1_out {
	bool keep_alive;		/* what we tell the other side about its connection */
	bool chunked;			/* body goes out chunked, else as head.body says */
	bool to_http10;			/* the other side speaks HTTP/1.0: no chunks */
	struct slice extra, more;	/* complete lines to add ("X-Forwarded-For: …\r\n"), or none */
	struct slice date;		/* the Date line of a final response that has none */
};
int http1_put_request(const struct head *, const struct http1_out *, struct arena *,
		      struct iovec *, int max);
int http1_put_response(const struct head *, const struct http1_out *, struct arena *,
		       struct iovec *, int max);

/* A local answer: short text body, `x-nodeproxy-reason: NAME`, Connection: close unless keep; date
 * is its Date line.  Written into out; returns its length (never cut: out holds at least 512 bytes). */
size_t http1_local_answer(unsigned status, enum reason, bool keep, bool head_only,
			  struct slice date, char *out, size_t room);
/* "Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n" without a NUL, of a time in Unix seconds. */
#define HTTP1_DATE_TEXT 37
void http1_date(int64_t unix_s, char out[HTTP1_DATE_TEXT]);
const char *http_status_text(unsigned status);	/* "Bad Gateway"; "" when unknown */

/* ---- bodies ---- */

/* The least number of iovecs http1_body_pass() can work with. */
#define HTTP1_BODY_IOVS 8

enum body_state { BODY_AT_START, BODY_DATA, BODY_CHUNK_SIZE, BODY_CHUNK_END, BODY_TRAILERS,
		  BODY_DONE, BODY_BAD, BODY_OVER };

struct http1_body {
	enum body_kind kind;
	uint8_t state;		/* enum body_state */
	bool encode;		/* goes out chunked */
	bool keeps_trailers;	/* does not, but trailers are wanted: see trailers_at */
	uint8_t trailers_at;	/* the iovec of the last call where trailers begin, as complete lines
				 * but for the last; 255: none came */
	bool ends_apart;	/* of a known length, and yet in_end says its end: trailers may come first */
	bool pass_line;		/* the trailer at hand is passed on */
	uint8_t sub;		/* where in a chunk-size line or trailer; private */
	uint16_t line;		/* bytes of the chunk-size line or trailers seen, bounded */
	uint64_t left;		/* of the length, or of the chunk at hand */
	uint64_t passed;	/* body bytes so far, without framing */
	uint64_t most;		/* of a body without a length; 0: any number */
	struct slice trailers;	/* of a body whose end in_end says: complete lines for behind it */
	uint8_t name_n;
	char name[63];		/* of the trailer at hand; longer names are refused */
};

void http1_body_init(struct http1_body *, const struct head *, bool encode);
/* Takes from in what belongs to the body: *used says how much of in was consumed, and at most max
 * iovecs of output are filled (data in place, our own framing from static text or the arena, at
 * most 24 + 64 bytes of it per call: the arena may be reset once the iovecs are written or copied).
 * Input may be split anywhere; all of it is taken unless the body ends in it or iovecs ran out
 * (then call again).  Returns their number, 0 also when only framing came, or -1: bad framing (the
 * caller knows the side) or no room in the arena (state BODY_BAD), or a chunk that goes beyond most
 * (BODY_OVER).  state BODY_DONE: the body is complete, the rest of in is the next message's.  in_end:
 * the sender has closed; ends BODY_UNTIL_CLOSE, else it is a cut (caller). */
int http1_body_pass(struct http1_body *, struct slice in, bool in_end, struct arena *,
		    struct iovec *, int max, size_t *used);
/* Bytes that may be moved without looking (splice): left of a LENGTH body, or UINT64_MAX for
 * UNTIL_CLOSE and TUNNEL; 0 for chunked ones.  http1_body_moved accounts them. */
uint64_t http1_body_blind(const struct http1_body *);
void http1_body_moved(struct http1_body *, uint64_t n);
static inline bool http1_body_is_done(const struct http1_body *b)
{
	return b->state == BODY_DONE;
}

#endif
