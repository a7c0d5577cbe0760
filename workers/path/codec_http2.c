/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* An exchange in HTTP/2, on the caller's side: heads are header blocks, bodies are raw and end with
 * their stream, and what is not whole is reset.  What was done here goes out in a step of the session
 * (mux.c), with what other streams did until then. */
#include <errno.h>

#include "nodeproxy/lib/base/strbuf.h"
#include "workers/codec/http2.h"
#include "workers/codec/websocket.h"
#include "workers/path/codecs.h"
#include "workers/path/grpc.h"
#include "workers/path/mux.h"

/* Lines that filters give to an answer of ours. */
#define LOCAL_LINES 40	/* a Location, 6 of CORS, 32 of a modifier */
#define FIELDS_MAX (HEAD_LINES_MAX + HTTP2_FIELDS_EXTRA)

static size_t size_of(const struct h2_field *f, int n)
{
	size_t bytes = 0;

	for (int i = 0; i < n; i++)
		bytes += f[i].name_n + f[i].value_n + H2_LINE_EXTRA;
	return bytes;
}

/* The scratch head as fields; how many, or -EMSGSIZE. */
static int put_response(struct exchange *ex, struct h2_field *f)
{
	struct path *p = ex->conn->path;
	struct added added;
	struct http2_out out;
	int n;

	if (exchange_response_lines(ex, &added) < 0)
		return -EMSGSIZE;
	out = (struct http2_out){ .more = added.more, .date = added.date };
	n = http2_put_response(&p->head, &out, &p->arena, f, FIELDS_MAX);
	return n < 0 ? -EMSGSIZE : n;
}

static int interim(struct exchange *ex)
{
	struct h2_field f[FIELDS_MAX];
	int n = put_response(ex, f), r;

	if (n < 0)
		return n;
	r = h2_interim(mux_stream(ex->conn), f, (size_t)n);
	ex->bytes_out += size_of(f, n);
	arena_reset(&ex->conn->path->arena);
	return r;
}

/* Whoever switched has understood the key that was made for the caller (RFC 6455 section 4.2.2). */
static bool has_right_accept(const struct exchange *ex, const struct head *h)
{
	uint8_t want[WEBSOCKET_ACCEPT_BYTES];
	unsigned lines = 0, right = 0;

	if (ex->websocket_key.n == 0)
		return true;
	websocket_accept(ex->websocket_key, want);
	for (uint32_t i = 0; i < h->n; i++) {
		if (!slice_caseeq(h->h[i].name, SLICE("sec-websocket-accept")))
			continue;
		lines += !h->h[i].drop;
		right += !h->h[i].drop && slice_eq(h->h[i].value, slice_of(want, sizeof want));
	}
	return lines == 1 && right == 1;
}

static int response(struct exchange *ex, struct iovec *v, int max)
{
	struct conn *c = ex->conn;
	const struct head *h = &c->path->head;
	struct h2_field f[FIELDS_MAX];
	bool end = false;
	size_t bytes;
	int n, r;

	(void)v;
	(void)max;
	/* A success is a tunnel to who asked for one (RFC 8441), and this is none. */
	if (ex->upgrade && !ex->is_tunnel && h->status < 300)
		return -EBADMSG;
	if (ex->is_tunnel && !has_right_accept(ex, h))
		return -EBADMSG;
	if (!ex->is_tunnel) {
		codec_body(&ex->down.body, h, ex->back_codec->raw, false);
		ex->down.body.keeps_trailers = true;
		end = http1_body_is_done(&ex->down.body);
	}
	n = put_response(ex, f);
	if (n < 0)
		return n;
	bytes = size_of(f, n);
	r = h2_respond(mux_stream(c), f, (size_t)n, end);
	if (r < 0)
		return r;
	h2_stream_stalls(mux_stream(c), ex->policy.stall_ms);
	ex->down.gave += bytes;
	c->front.sent += bytes;
	return 0;
}

static int over(struct exchange *ex)
{
	struct h2_stream *st = mux_stream(ex->conn);
	const struct chunk *t = ex->down.trailers;
	struct h2_field f[HEAD_LINES_MAX];
	int n;

	if (t == NULL)
		return st->s.ops->finish(&st->s);
	n = http2_put_lines(slice_of(t->data, t->end), f, HEAD_LINES_MAX);
	if (n < 0)
		return -EMSGSIZE;
	ex->bytes_out += size_of(f, n);
	return h2_trailers(st, f, (size_t)n);
}

static int trailers(struct exchange *ex, struct flow *f)
{
	struct conn *c = ex->conn;
	struct path *p = c->path;
	const struct h2_block *b = h2_block(mux_stream(c));
	struct head *h = &p->head;

	if (b == NULL || b->kind != H2_TRAILERS)
		return 0;
	p->head_of = NULL;
	if (!http2_trailers(b, h))
		return -EPROTO;
	for (uint32_t i = 0; i < h->n; i++)
		if (!h->h[i].drop && flow_trailers_add(c, f, h->h[i].line) < 0)
			return -ENOBUFS;
	f->took += b->size;
	return 0;
}

/* ---- answers of ours ---- */

static struct h2_field field(const char *name, struct slice value)
{
	return (struct h2_field){ (const uint8_t *)name, value.p, strlen(name), value.n, 0 };
}

/* Its text goes along as far as the caller's window lets it, so no length is told. */
static int local(struct exchange *ex, const struct reason_row *row, bool keep)
{
	struct h2_stream *st = mux_stream(ex->conn);
	struct slice words = slice_str(row->words);
	struct slice date = path_date(ex->conn->path);
	char digits[20], *status = u64_digits(ex->status, digits);
	struct h2_field f[6 + LOCAL_LINES];
	struct iovec v[] = { { (void *)(uintptr_t)words.p, words.n }, { (void *)(uintptr_t)"\n", 1 } };
	bool end = ex->is_head || ex->is_grpc;
	size_t n = 0;
	ssize_t k;
	int r;

	(void)keep;
	f[n++] = field(":status", ex->is_grpc ? SLICE("200")
					      : slice_of(status, (size_t)(digits + sizeof digits - status)));
	/* "Date: " and CRLF are HTTP/1's. */
	f[n++] = field("date", slice_of(date.p + 6, date.n - 8));
	f[n++] = field("content-type", ex->is_grpc ? SLICE("application/grpc") : SLICE("text/plain"));
	f[n++] = field("x-nodeproxy-reason", slice_str(row->name));
	if (ex->is_grpc) {
		status = u64_digits(grpc_local(ex, row), digits);
		f[n++] = field("grpc-status", slice_of(status, (size_t)(digits + sizeof digits - status)));
		f[n++] = field("grpc-message", words);
	}
	r = http2_put_lines(ex->answer_lines, f + n, LOCAL_LINES);
	if (r < 0)
		return -EMSGSIZE;
	n += (size_t)r;
	r = h2_respond(st, f, n, end);
	if (r < 0)
		return r;
	ex->bytes_out += size_of(f, (int)n);
	if (end)
		return 0;
	k = st->s.ops->write(&st->s, v, 2);
	if (k > 0)
		ex->bytes_out += (size_t)k;
	return 0;
}

static void cut(struct exchange *ex)
{
	struct conn *c = ex->conn;
	enum h2_code code = H2_CANCEL;

	if (!stream_is_open(&c->front.s))
		return;
	if (!ex->sent_head && ex->answer == ANSWER_NONE)
		code = H2_REFUSED_STREAM;	/* nothing was done with it: it may be sent again */
	else if (reason_row((enum reason)ex->reason)->fault != FAULT_FRONT)
		code = H2_INTERNAL_ERROR;
	h2_reset(mux_stream(c), code);
}

const struct front_codec front_http2 = {
	.major = 2, .keep = CONN_EV_GONE, .last = CONN_EV_GONE, .raw = true,
	.interim = interim, .response = response, .trailers = trailers, .over = over, .local = local,
	.cut = cut,
};
