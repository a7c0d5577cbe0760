/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* An exchange in HTTP/2, on the endpoint's side: its back is a place on a trunk, and from send() on a
 * stream there.
 *
 * A request head goes out as fields that point to where its lines lie.  Where it must wait or may have
 * to be sent again its fields are kept in ex->replay, each behind a struct kept. */
#include <errno.h>

#include "workers/codec/headers.h"
#include "workers/codec/http2.h"
#include "workers/path/codecs.h"
#include "workers/path/grpc.h"

/* Tokens and keys that are longer have no use; exchanges have room for these. */
#define UPGRADE_MAX 32

struct kept {
	uint32_t value_n;
	uint16_t name_n;
	uint16_t is_secret;
};

static size_t size_of(const struct h2_field *f, int n)
{
	size_t bytes = 0;

	for (int i = 0; i < n; i++)
		bytes += f[i].name_n + f[i].value_n + H2_LINE_EXTRA;
	return bytes;
}

/* ---- the request ---- */

/* What the answer to an upgrade has to fit. */
static void remember_upgrade(struct exchange *ex, const struct head *h)
{
	ex->upgrade_token = exchange_text(ex, h->upgrade_token);
	exchange_keep_websocket_key(ex, h);
}

static int spell(struct exchange *ex, struct iovec *v, int max)
{
	struct path *p = ex->conn->path;
	struct head *h = &p->head;
	struct http2_out out = { .https = ex->policy.tls != 0 };
	struct added added;

	(void)v;
	(void)max;
	if (exchange_request_lines(ex, &added) < 0)
		return -1;
	out.extra = added.fixed;
	out.more = added.more;
	h->upgrade = h->upgrade && http2_can_put_request(h, true) && h->upgrade_token.n <= UPGRADE_MAX;
	if (h->upgrade)
		remember_upgrade(ex, h);
	p->n_fields = http2_put_request(h, &out, &p->arena, p->fields, countof(p->fields));
	return p->n_fields < 0 ? -1 : 0;
}

static int keep(struct exchange *ex, const struct iovec *v, int n)
{
	struct path *p = ex->conn->path;
	struct budget *b = &ex->tenant->memory;

	(void)v;
	(void)n;
	for (int i = 0; i < p->n_fields; i++) {
		const struct h2_field *f = &p->fields[i];
		struct kept k = { (uint32_t)f->value_n, (uint16_t)f->name_n, f->is_secret };

		if (chunkq_add(&ex->replay, &p->chunks, b, slice_of(&k, sizeof k)) < 0 ||
		    chunkq_add(&ex->replay, &p->chunks, b, slice_of(f->name, f->name_n)) < 0 ||
		    chunkq_add(&ex->replay, &p->chunks, b, slice_of(f->value, f->value_n)) < 0)
			return -ENOBUFS;
	}
	return 0;
}

/* The fields again. */
static int read_kept(struct path *p, struct slice s)
{
	int n = 0;

	while (s.n >= sizeof(struct kept)) {
		struct kept k;

		memcpy(&k, s.p, sizeof k);
		s = slice_from(s, sizeof k);
		if (never(n == (int)countof(p->fields) || s.n < (size_t)k.name_n + k.value_n))
			return -1;
		p->fields[n++] = (struct h2_field){ s.p, s.p + k.name_n, k.name_n, k.value_n,
						    (uint8_t)k.is_secret };
		s = slice_from(s, (size_t)k.name_n + k.value_n);
	}
	return n;
}

/* In one piece: most are in one chunk already. */
static int gather(struct exchange *ex, const struct iovec *v, int n, struct chunk **ret)
{
	struct path *p = ex->conn->path;
	struct chunk *c;

	if (n == 1) {
		p->n_fields = read_kept(p, slice_of(v->iov_base, v->iov_len));
		return 0;
	}
	c = *ret = chunk_take(&p->chunks, &ex->tenant->memory, true);
	if (c == NULL)
		return -ENOBUFS;
	for (int i = 0; i < n; i++) {
		if (c->room - c->end < v[i].iov_len)
			return -ENOBUFS;
		memcpy(c->data + c->end, v[i].iov_base, v[i].iov_len);
		c->end += (uint32_t)v[i].iov_len;
	}
	p->n_fields = read_kept(p, slice_of(c->data, c->end));
	return 0;
}

/* To an endpoint that does not take CONNECT with :protocol the request goes without asking for the
 * upgrade, as a proxy may send it (RFC 9110 section 7.8). */
static void put_back_upgrade(struct exchange *ex)
{
	struct path *p = ex->conn->path;
	int n = 0;

	for (int i = 0; i < p->n_fields; i++) {
		struct h2_field f = p->fields[i];
		struct slice name = slice_of(f.name, f.name_n);

		if (slice_eq(name, SLICE(":protocol")))
			continue;
		if (slice_eq(name, SLICE(":method"))) {
			f.value = (const uint8_t *)"GET";
			f.value_n = 3;
		}
		p->fields[n++] = f;
	}
	p->n_fields = n;
	ex->upgrade_token.n = 0;
}

static int send_head(struct exchange *ex, const struct iovec *v, int n)
{
	struct path *p = ex->conn->path;
	struct back *b = ex->back;
	struct chunk *held = NULL;
	struct h2 *h = trunk_session(&p->trunks, b);
	int r = 0;

	if (ex->replay.bytes)
		r = gather(ex, v, n, &held);
	if (r == 0 && never(p->n_fields < 0))
		r = -EPROTO;
	if (r == 0 && ex->upgrade_token.n && h && !h2_peer_takes_connect(h))
		put_back_upgrade(ex);
	if (r == 0)
		r = trunk_request(&p->trunks, b, p->fields, (size_t)p->n_fields,
				  http1_body_is_done(&ex->up.body) && !ex->upgrade_token.n &&
					  likely(!replay_has_body(ex)));
	if (r == 0) {
		b->leg.sent += size_of(p->fields, p->n_fields);
		h2_stream_stalls(b->stream, ex->policy.stall_ms);
	}
	if (held)
		chunk_give(&p->chunks, &held);
	return r;
}

static int over(struct exchange *ex)
{
	struct stream *s = &ex->back->leg.s;
	const struct chunk *t = ex->up.trailers;
	struct h2_field f[HEAD_LINES_MAX];
	int n, r;

	if (ex->upgrade_token.n)
		return 0;	/* it ends with the tunnel, if there will be one */
	if (t == NULL)
		return s->ops->finish(s);
	n = http2_put_lines(slice_of(t->data, t->end), f, HEAD_LINES_MAX);
	if (n < 0)
		return -EMSGSIZE;
	ex->back->leg.sent += size_of(f, n);
	r = h2_trailers(ex->back->stream, f, (size_t)n);
	trunk_kick(&ex->conn->path->trunks, ex->back);
	return r;
}

/* ---- the response ---- */

static enum heard hear(struct exchange *ex, struct behind *behind, enum reason *why)
{
	struct path *p = ex->conn->path;
	struct back *b = ex->back;
	struct h2_block *block = b->stream ? h2_block(b->stream) : NULL;
	struct http2_asked asked = { .head = ex->is_head, .upgrade = ex->upgrade_token,
				     .websocket_key = ex->websocket_key };

	if (block == NULL) {
		if (b->broke || b->stream == NULL)
			return HEARD_END;
		b->leg.want |= READY_IN;
		return HEARD_PART;
	}
	behind->held = h2_block_lift(b->stream);
	if (http2_response(block, &p->limits, &p->arena, &asked, &p->head, why) < 0)
		return HEARD_BAD;
	p->head_of = NULL;
	ex->down.took += block->size;
	if (ex->is_grpc && block->is_end)
		grpc_status(ex, &p->head);
	return HEARD_HEAD;
}

static int trailers(struct exchange *ex, struct flow *f)
{
	struct conn *c = ex->conn;
	struct path *p = c->path;
	const struct h2_block *block = h2_block(ex->back->stream);
	struct head *h = &p->head;

	if (block == NULL || block->kind != H2_TRAILERS)
		return 0;
	p->head_of = NULL;
	if (!http2_trailers(block, h))
		return -EPROTO;
	if (ex->is_grpc)
		grpc_status(ex, h);
	for (uint32_t i = 0; i < h->n; i++)
		if (!h->h[i].drop && flow_trailers_add(c, f, h->h[i].line) < 0)
			return -ENOBUFS;
	f->took += block->size;
	return 0;
}

const struct back_codec back_http2 = {
	.major = 2, .carries_grpc = true, .raw = true, .trunks = true,
	.spell = spell, .keep = keep, .send = send_head, .trailers = trailers, .over = over, .hear = hear,
};
