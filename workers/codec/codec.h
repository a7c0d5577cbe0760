/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What codecs turn bytes into: heads, bodies, trailers, without a protocol's spelling.
 *
 * A head is a list of lines that point into the receive buffer (or the arena); it is valid until
 * the buffer moves.  Lines keep the case and order in which they came.  A codec checks its own
 * grammar completely before it hands a head on: whoever gets a head may trust its syntax, nothing
 * else. */
#ifndef NODEPROXY_WORKERS_CODEC_CODEC_H
#define NODEPROXY_WORKERS_CODEC_CODEC_H

#include "nodeproxy/lib/base/reason.h"
#include "nodeproxy/lib/base/slice.h"

#define HEAD_LINES_MAX 256

/* Names we act on; HN_OTHER is passed through. */
enum header_name {
	HN_OTHER, HN_HOST, HN_CONNECTION, HN_KEEP_ALIVE, HN_PROXY_CONNECTION, HN_TE, HN_TRAILER,
	HN_TRANSFER_ENCODING, HN_CONTENT_LENGTH, HN_UPGRADE, HN_EXPECT, HN_DATE, HN_VIA,
	HN_X_FORWARDED_FOR, HN_X_FORWARDED_PROTO, HN_X_FORWARDED_HOST, HN_FORWARDED, HN_X_FORWARDED_CLIENT_CERT,
	HN_X_REQUEST_ID, HN_TRACEPARENT, HN_TRACESTATE, HN_PROXY_AUTHENTICATE,
	HN_PROXY_AUTHORIZATION, HNS
};

/* As a bit of head.has and head.twice. */
#define HN_BIT(id) (1u << (id))

struct header {
	struct slice line;	/* whole, with CRLF, as it came; behind the last lies the empty line */
	struct slice name, value;	/* value without outer blanks */
	uint8_t id;		/* enum header_name */
	bool drop;		/* hop-by-hop: not passed on */
};

enum body_kind { BODY_NONE, BODY_LENGTH, BODY_CHUNKED, BODY_UNTIL_CLOSE, BODY_TUNNEL };

struct head {
	/* request */
	struct slice method, target;	/* as they came */
	struct slice authority;		/* Host, or of an absolute target */
	struct slice asked;		/* what it was before a route changed it; empty: it is that */
	struct slice path, query;	/* of the target; "*" for OPTIONS *; query without '?' */
	bool is_head, is_connect, is_idempotent;
	bool expects_continue;
	/* response */
	unsigned status;
	struct slice status_text;
	/* both */
	unsigned minor;			/* HTTP/1.x */
	bool keep_alive;		/* the sender lets the connection live after this message */
	bool upgrade;			/* request: asks for one; response: 101 */
	struct slice upgrade_token;
	bool te_trailers;		/* request: TE: trailers */
	bool is_grpc;			/* request in HTTP/2 with a content-type of gRPC's */
	enum body_kind body;
	uint64_t length;		/* BODY_LENGTH */
	size_t bytes;			/* of the head in the input, with its empty line */
	uint32_t has, twice;		/* HN_BITs: names of its lines, and those of more than one */
	uint32_t n;
	struct header h[HEAD_LINES_MAX];
	uint16_t at[HNS];		/* the last line of each name that it has; else not set */
};

/* A line was added to h: the head has its name. */
static inline void head_has(struct head *m, const struct header *h)
{
	if (h->id == HN_OTHER)
		return;
	m->twice |= m->has & HN_BIT(h->id);
	m->has |= HN_BIT(h->id);
	m->at[h->id] = (uint16_t)(h - m->h);
}

/* The last line of a name that the head has. */
static inline const struct header *head_line(const struct head *m, enum header_name id)
{
	return &m->h[m->at[id]];
}

#endif
