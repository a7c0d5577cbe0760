/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* An exchange in HTTP/1.x, on either side: heads are iovecs, bodies carry their own framing, and an
 * answer that is not whole is seen by the end of its connection. */
#include <errno.h>

#include "workers/path/codecs.h"

#define LOCAL_ANSWER_MAX 512

/* ---- the caller's side ---- */

static int put_response(struct exchange *ex, struct http1_out *out, struct iovec *v, int max)
{
	struct path *p = ex->conn->path;
	struct added added;
	int n;

	if (exchange_response_lines(ex, &added) < 0)
		return -EMSGSIZE;
	out->more = added.more;
	out->date = added.date;
	n = http1_put_response(&p->head, out, &p->arena, v, max);
	return n < 0 ? -EMSGSIZE : n;
}

/* Not to a caller that cannot understand it. */
static int interim(struct exchange *ex)
{
	struct conn *c = ex->conn;
	struct http1_out out = { .keep_alive = true };
	struct iovec v[HEAD_IOVS];
	int n, r;

	if (ex->front_http10)
		return 0;
	n = put_response(ex, &out, v, HEAD_IOVS);
	if (n < 0)
		return n;
	for (int i = 0; i < n; i++)
		ex->bytes_out += v[i].iov_len;
	r = leg_send(&c->front, conn_purse(c), v, n);
	arena_reset(&c->path->arena);
	return r;
}

static int response(struct exchange *ex, struct iovec *v, int max)
{
	const struct head *h = &ex->conn->path->head;
	bool streams = h->body == BODY_CHUNKED || h->body == BODY_UNTIL_CLOSE;
	struct http1_out out = { .to_http10 = ex->front_http10,
				 .chunked = streams && !ex->front_http10,
				 .keep_alive = ex->front_keep || ex->is_tunnel };

	if (!ex->is_tunnel)
		codec_body(&ex->down.body, h, ex->back_codec->raw, out.chunked);
	return put_response(ex, &out, v, max);
}

static int local(struct exchange *ex, const struct reason_row *row, bool keep)
{
	struct conn *c = ex->conn;
	char text[LOCAL_ANSWER_MAX];
	size_t n = http1_local_answer(ex->status, (enum reason)ex->reason, keep, ex->is_head,
				      path_date(c->path), text, sizeof text);
	size_t first = (size_t)((char *)memchr(text, '\n', n) + 1 - text);
	struct slice lines = ex->answer_lines;
	struct iovec v[] = { { text, first }, { (void *)(uintptr_t)lines.p, lines.n },
			     { text + first, n - first } };

	(void)row;
	ex->bytes_out += n + lines.n;
	if (likely(lines.n == 0))
		return leg_send(&c->front, conn_purse(c), &(struct iovec){ text, n }, 1);
	return leg_send(&c->front, conn_purse(c), v, countof(v));
}

const struct front_codec front_http1 = {
	.major = 1, .keep = CONN_EV_KEEP, .last = CONN_EV_LAST,
	.interim = interim, .response = response, .local = local,
};

/* ---- the endpoint's side ---- */

static int spell(struct exchange *ex, struct iovec *v, int max)
{
	struct path *p = ex->conn->path;
	struct http1_out out = { .keep_alive = true, .chunked = p->head.body == BODY_CHUNKED };
	struct added added;

	if (exchange_request_lines(ex, &added) < 0)
		return -1;
	out.extra = added.fixed;
	out.more = added.more;
	/* A caller of HTTP/1 checks the answer to his key himself; one of HTTP/2 has none (RFC 8441). */
	if (p->head.upgrade && ex->front_codec->major == 2)
		exchange_keep_websocket_key(ex, &p->head);
	return http1_put_request(&p->head, &out, &p->arena, v, max);
}

static int keep(struct exchange *ex, const struct iovec *v, int n)
{
	struct path *p = ex->conn->path;

	for (int i = 0; i < n; i++)
		if (chunkq_add(&ex->replay, &p->chunks, &ex->tenant->memory,
			       slice_of(v[i].iov_base, v[i].iov_len)) < 0)
			return -ENOBUFS;
	return 0;
}

static enum heard hear(struct exchange *ex, struct behind *behind, enum reason *why)
{
	struct conn *c = ex->conn;
	struct path *p = c->path;
	struct leg *back = &ex->back->leg;

	for (;;) {
		struct slice bytes;
		ssize_t n = flow_head_bytes(c, back, ex->partial, p->limits.head_bytes + 1, &bytes,
					    &behind->held);
		int r;

		if (n == -EAGAIN) {
			back->want |= READY_IN;
			return HEARD_PART;
		}
		if (n == -EMSGSIZE || n == -ENOBUFS) {
			*why = n == -EMSGSIZE ? REASON_BACK_HEAD_TOO_LARGE : REASON_OVER_BUDGET;
			return HEARD_BAD;
		}
		if (n <= 0)
			return HEARD_END;
		r = http1_response(bytes, &p->limits, ex->is_head, false, &p->head, why);
		if (r < 0)
			return HEARD_BAD;
		if (r > 0) {
			behind->rest = slice_from(bytes, p->head.bytes);
			ex->partial = false;
			ex->down.took += p->head.bytes;
			return HEARD_HEAD;
		}
		ex->partial = true;
		if (flow_head_wait(c, back, bytes, &behind->held) < 0) {
			*why = REASON_OVER_BUDGET;
			return HEARD_BAD;
		}
	}
}

const struct back_codec back_http1 = { .major = 1, .spell = spell, .keep = keep, .hear = hear };
