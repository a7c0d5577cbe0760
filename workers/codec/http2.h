/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* HTTP/2 heads: header blocks to heads and back (RFC 9113 section 8).  Pure functions over blocks and
 * slices, no session, no allocation but from the arena given.
 *
 * A head that came in HTTP/2 looks as if it had come in HTTP/1.1: what is passed on here also passes
 * http1_request() when http1_put_request() has written it, and the other way round.  So
 *
 *   HTTP/2                         head
 *   :authority, or host            authority; the two may not differ
 *   cookie in crumbs               one line
 *   a body that just ends          BODY_CHUNKED: its length is not known in advance
 *   CONNECT with :protocol         a GET that asks for an upgrade (RFC 8441)
 *   200 to that                    101
 *
 * and keep_alive is always true: a connection of HTTP/2 does not end with an exchange.  Lines lie in
 * the block, which must stay as long as the head is used; crumbs of a cookie are joined there. */
#ifndef NODEPROXY_WORKERS_CODEC_HTTP2_H
#define NODEPROXY_WORKERS_CODEC_HTTP2_H

#include "nodeproxy/lib/base/arena.h"
#include "nodeproxy/lib/net/h2_block.h"
#include "workers/codec/codec.h"

struct http1_limits;

/* 0: *ret holds it; -1: refused, *why says which (BAD_REQUEST, BAD_FRAMING, BAD_METHOD, BAD_EXPECT,
 * URI_TOO_LONG, HEAD_TOO_LARGE, TOO_LARGE; for responses BACK_BAD_RESPONSE, BACK_BAD_FRAMING,
 * BACK_HEAD_TOO_LARGE).  After -1 the stream must be reset or answered, the connection may live. */
must_use int http2_request(struct h2_block *, const struct http1_limits *, struct arena *,
			   struct head *ret, enum reason *why);
/* What had been asked. */
struct http2_asked {
	bool head, connect;		/* HEAD; CONNECT (2xx is a tunnel) */
	struct slice upgrade;		/* CONNECT with this :protocol (200 becomes 101), or none */
	struct slice websocket_key;	/* of the caller that asked in HTTP/1 for that, or none */
};
must_use int http2_response(const struct h2_block *, const struct http1_limits *, struct arena *,
			    const struct http2_asked *, struct head *ret, enum reason *why);
/* Trailers of either side as a head of nothing but lines; those that may not be trailers are dropped.
 * False: they break the grammar. */
must_use bool http2_trailers(const struct h2_block *, struct head *ret);

/* How a head goes out: lines are referenced where they lie, numbers are written into the arena.
 * Returns the number of fields, -1: does not fit max or the arena (TOO_LARGE). */
struct http2_out {
	bool https;			/* :scheme of a request */
	struct slice extra, more;	/* complete lines of HTTP/1 to add, or none */
	struct slice date;		/* the Date line of a final response that has none */
};
/* Fields that are not lines of the head: pseudo headers, content-length, te, and lines to add. */
#define HTTP2_FIELDS_EXTRA 16
int http2_put_request(const struct head *, const struct http2_out *, struct arena *, struct h2_field *,
		      int max);
/* 101 goes out as 200: the answer to a CONNECT with :protocol. */
int http2_put_response(const struct head *, const struct http2_out *, struct arena *, struct h2_field *,
		       int max);
int http2_put_trailers(const struct head *, struct h2_field *, int max);
/* The same of complete lines of HTTP/1. */
int http2_put_lines(struct slice lines, struct h2_field *, int max);
/* A request that asks for an upgrade can be sent only to who takes CONNECT with :protocol, and only
 * one protocol at a time. */
bool http2_can_put_request(const struct head *, bool peer_takes_connect);

#endif
