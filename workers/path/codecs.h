/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What an exchange does differently by the protocol of its caller and of its endpoint: one table for
 * each side.  Stages never ask which protocol it is.
 *
 * A head is always the path's scratch head, as the parser of the other side has left it; lines that
 * are added to it come from forward.c.  Bodies go through flow_run() in either case; a protocol whose
 * streams end by themselves has raw ones (nothing frames them), and is told where they end. */
#ifndef WORKERS_PATH_CODECS_H
#define WORKERS_PATH_CODECS_H

#include "workers/path/exchange.h"

/* The caller's side. */
struct front_codec {
	uint8_t major;			/* of the protocol's version */
	/* What account tells a conn whose exchange ended in good order: another may follow, none may. */
	uint8_t keep, last;		/* enum conn_event */
	bool raw;			/* bodies of requests end with their stream */
	/* 1xx but 101.  0, -EMSGSIZE (too large), -EBADMSG (no answer to what was asked), -ENOBUFS, or
	 * another -errno: the caller is gone. */
	int (*interim)(struct exchange *);
	/* A final head, 101 among them; begins the body in ex->down.  Iovecs that the flow writes in
	 * front of the body (0: it is under way already), or as interim(). */
	int (*response)(struct exchange *, struct iovec *, int max);
	/* The stream has ended behind a raw body: trailers that came are added to the flow.  NULL: there
	 * never are any.  0 or -errno. */
	int (*trailers)(struct exchange *, struct flow *);
	/* The body is whole: its end goes out, with ex->down.trailers; NULL: its framing has said so.
	 * As interim(). */
	int (*over)(struct exchange *);
	/* An answer of ours instead; keep: another exchange may follow.  0 or -errno. */
	int (*local)(struct exchange *, const struct reason_row *, bool keep);
	/* What the caller has is not whole, and there will be no more of it; NULL: it sees that when its
	 * connection is cut. */
	void (*cut)(struct exchange *);
};

/* What became of a response head. */
enum heard {
	HEARD_HEAD,	/* it is the scratch head */
	HEARD_PART,	/* more is waited for: want bits are set */
	HEARD_END,	/* the endpoint ended or broke instead */
	HEARD_BAD,	/* refused: why says for what */
};

/* What waits behind a response head, in this step only. */
struct behind {
	struct slice rest;		/* bytes of its body that were read with it */
	struct chunk *held;		/* where they and the head lie, to be given back; NULL: elsewhere */
};

/* The endpoint's side. */
struct back_codec {
	uint8_t major;			/* of the protocol's version */
	bool carries_grpc;
	bool raw;			/* bodies of responses end with their stream */
	bool trunks;			/* its backs have places on trunks, not connections of their own */
	/* The request head, spelled so that it can be kept for later and sent again: iovecs in the
	 * arena and where the head lies, -1: too large.  Once per exchange. */
	int (*spell)(struct exchange *, struct iovec *, int max);
	/* Keeps in ex->replay what was spelled just now.  0 or -ENOBUFS. */
	int (*keep)(struct exchange *, const struct iovec *, int n);
	/* Sends what was spelled just now, or the iovecs of what was kept; NULL: the flow writes it in
	 * front of the body.  0 or -errno, then nothing was sent. */
	int (*send)(struct exchange *, const struct iovec *, int n);
	int (*trailers)(struct exchange *, struct flow *);	/* as the front's */
	/* The body is whole: its end goes out, with ex->up.trailers; NULL: its framing has said so.
	 * 0 or -errno. */
	int (*over)(struct exchange *);
	enum heard (*hear)(struct exchange *, struct behind *, enum reason *why);
};

extern const struct front_codec front_http1, front_http2;
extern const struct back_codec back_http1, back_http2;

/* A body as it will be read: raw, where its sender's stream ends it. */
static inline void codec_body(struct http1_body *b, const struct head *h, bool raw, bool encode)
{
	http1_body_init(b, h, encode);
	if (raw && h->body == BODY_CHUNKED) {
		b->kind = BODY_UNTIL_CLOSE;
		b->state = BODY_DATA;
	}
	b->ends_apart = raw && b->kind == BODY_LENGTH;
}

#endif
