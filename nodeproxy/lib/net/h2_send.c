/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What leaves an HTTP/2 stream: heads and trailers are given to nghttp2, which copies them; bodies it
 * only counts, and they move from the stream to the session behind frame headers, whole chunks
 * without copying. */
#include <errno.h>

#include "nodeproxy/lib/net/h2_inner.h"

#define TRAILERS_MOST 256
/* DATA up to this is copied behind its frame header: a chunk of its own would cost more. */
#define COPY_MOST 1024u

static_must(offsetof(struct h2_field, name) == offsetof(nghttp2_nv, name));
static_must(offsetof(struct h2_field, value) == offsetof(nghttp2_nv, value));
static_must(offsetof(struct h2_field, name_n) == offsetof(nghttp2_nv, namelen));
static_must(offsetof(struct h2_field, value_n) == offsetof(nghttp2_nv, valuelen));
static_must(offsetof(struct h2_field, is_secret) == offsetof(nghttp2_nv, flags));
static_must(sizeof(struct h2_field) == sizeof(nghttp2_nv));
static_must(NGHTTP2_NV_FLAG_NO_INDEX == 1);

static const nghttp2_nv *nv_of(const struct h2_field *f)
{
	return (const nghttp2_nv *)(const void *)f;
}

/* nghttp2 asks how much of the body goes into the next frame. */
ssize_t h2_stream_pack(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t length,
		       uint32_t *flags, nghttp2_data_source *source, void *user)
{
	struct h2_stream *st = source->ptr;
	size_t n = 0;

	(void)buf;
	(void)user;
	for (struct node *it = st->out.chunks.next; it != &st->out.chunks; it = it->next) {
		const struct chunk *c = list_entry(it, struct chunk, node);
		size_t k = c->end - c->at;

		if (n + k > length) {
			/* Whole chunks need no copying, but a narrow window must be used too. */
			n = n ? n : length;
			break;
		}
		n += k;
	}
	if (n)
		*flags |= NGHTTP2_DATA_FLAG_NO_COPY;
	if (n < st->out.bytes)
		return (ssize_t)n;
	if (st->sends == H2_SENDS_BODY) {
		if (n == 0) {
			st->is_deferred = true;
			return NGHTTP2_ERR_DEFERRED;
		}
		return (ssize_t)n;
	}
	*flags |= NGHTTP2_DATA_FLAG_EOF;
	if (st->trailers) {
		struct h2_block *b = h2_block_of(st->trailers);
		nghttp2_nv nv[TRAILERS_MOST];
		struct slice name, value;
		uint32_t lines = 0;
		int r;

		*flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
		for (; h2_block_line(b, lines, &name, &value); lines++)
			nv[lines] = (nghttp2_nv){ (uint8_t *)(uintptr_t)name.p,
						    (uint8_t *)(uintptr_t)value.p, name.n, value.n, 0 };
		r = nghttp2_submit_trailer(ng, id, nv, lines);
		chunk_give(st->stock->chunks, &st->trailers);
		if (r < 0) {
			h2_shortage(st->h, r);
			return NGHTTP2_ERR_CALLBACK_FAILURE;
		}
	}
	return (ssize_t)n;
}

/* Moves length bytes from out of the stream into out of the session, behind a frame header. */
int h2_stream_send(nghttp2_session *ng, nghttp2_frame *frame, const uint8_t *head, size_t length,
		   nghttp2_data_source *source, void *user)
{
	struct h2_stream *st = source->ptr;
	struct h2 *h = user;
	struct chunk_pool *pool = h->stock->chunks;
	uint8_t small[H2_FRAME_HEADER_BYTES + COPY_MOST];
	size_t whole = 0, n = 0, left;
	enum h2_offence bad;

	(void)ng;
	(void)frame;
	/* The frame was begun before the stream was reset: there is nothing for it any more. */
	if (st->was_reset)
		return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
	if (h->out.bytes >= h->lim->out_bytes)
		return NGHTTP2_ERR_WOULDBLOCK;
	if (never(length > st->out.bytes))
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	memcpy(small, head, H2_FRAME_HEADER_BYTES);
	if (length <= COPY_MOST) {
		size_t at = H2_FRAME_HEADER_BYTES;

		for (struct node *it = st->out.chunks.next; at < H2_FRAME_HEADER_BYTES + length;
		     it = it->next) {
			const struct chunk *c = list_entry(it, struct chunk, node);
			size_t k = min_of((size_t)(c->end - c->at),
					  H2_FRAME_HEADER_BYTES + length - at);

			memcpy(small + at, c->data + c->at, k);
			at += k;
		}
		if (chunkq_add(&h->out, pool, h->budget, slice_of(small, at)) < 0)
			return NGHTTP2_ERR_WOULDBLOCK;
		chunkq_consume(&st->out, pool, length);
	} else {
		struct chunk *part = NULL;

		/* More may have been written since the length was chosen: the last chunk need not
		 * be whole.  Everything that can fail comes first.  What waits to be written is the
		 * session's: the stream's budget may be gone before it is. */
		for (struct node *it = st->out.chunks.next; it != &st->out.chunks; it = it->next) {
			const struct chunk *c = list_entry(it, struct chunk, node);

			if (whole + (c->end - c->at) > length)
				break;
			whole += c->end - c->at;
		}
		for (struct node *it = st->out.chunks.next; n < whole; it = it->next) {
			struct chunk *c = list_entry(it, struct chunk, node);

			if (chunk_charge_to(c, h->budget) < 0)
				return NGHTTP2_ERR_WOULDBLOCK;
			n += c->end - c->at;
		}
		left = length - whole;
		if (left) {
			part = chunk_take(pool, h->budget, false);
			if (part == NULL)
				return NGHTTP2_ERR_WOULDBLOCK;
		}
		if (chunkq_add(&h->out, pool, h->budget,
			       slice_of(small, H2_FRAME_HEADER_BYTES)) < 0) {
			if (part)
				chunk_give(pool, &part);
			return NGHTTP2_ERR_WOULDBLOCK;
		}
		while (n) {
			struct chunk *c = list_entry(list_first(&st->out.chunks), struct chunk,
						     node);

			n -= c->end - c->at;
			list_remove(&c->node);
			list_add_tail(&h->out.chunks, &c->node);
		}
		h->out.bytes += length;
		st->out.bytes -= whole;
		if (part) {
			const struct chunk *c = list_entry(list_first(&st->out.chunks),
							   struct chunk, node);

			memcpy(part->data, c->data + c->at, left);
			part->end = (uint32_t)left;
			list_add_tail(&h->out.chunks, &part->node);
			chunkq_consume(&st->out, pool, left);
		}
	}
	st->sent += length;
	bad = h2_guard_sent(&h->guard, length, st->out.bytes || st->is_held_up, clock_now());
	if (st->out.bytes == 0 && !st->wants_room)
		st->stalled.ns = 0;
	h2_room_news(st);
	if (bad) {
		h->fatal = (uint8_t)bad;
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	return 0;
}

/* ---- heads out ---- */

static int result(struct h2 *h, int r)
{
	h2_shortage(h, r);
	return r == 0 ? 0 : r == NGHTTP2_ERR_NOMEM ? -ENOBUFS : -EPROTO;
}

int h2_request(struct h2 *h, const struct h2_field *f, size_t n, bool end, struct budget *b,
	       void *user, struct h2_stream **ret)
{
	nghttp2_data_provider body = { .read_callback = h2_stream_pack };
	struct h2_stream *st;
	int32_t id;

	if (h->server)
		return -EPROTO;
	if (h->state != H2_OPEN || h->peer_leaves)
		return -ENOTCONN;
	if (h2_room(h) == 0)
		return -EAGAIN;
	st = h2_stream_new(h, 0, b, H2_HELD_BY_BOTH);
	if (st == NULL)
		return -EAGAIN;
	st->user = user;
	st->sends = end ? H2_SENDS_LAST : H2_SENDS_BODY;
	body.source.ptr = st;
	id = nghttp2_submit_request(h->ng, NULL, nv_of(f), n, end ? NULL : &body, st);
	if (id < 0) {
		h->wired--;
		st->held = H2_HELD_BY_USER;
		h2_stream_free(st);
		/* No more ids: the peer is as good as gone, in good order. */
		if (id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE) {
			h->peer_leaves = true;
			return -ENOTCONN;
		}
		return result(h, id);
	}
	st->id = id;
	h2_guard_opened(&h->guard);
	*ret = st;
	return 0;
}

int h2_respond(struct h2_stream *st, const struct h2_field *f, size_t n, bool end)
{
	nghttp2_data_provider body = { .source.ptr = st, .read_callback = h2_stream_pack };
	nghttp2_session *ng = h2_stream_wire(st);
	int r;

	if (ng == NULL || st->was_reset)
		return -ENOTCONN;
	if (!st->h->server || st->sends != H2_SENDS_HEAD)
		return -EPROTO;
	r = result(st->h, nghttp2_submit_response(ng, st->id, nv_of(f), n, end ? NULL : &body));
	if (r == 0)
		st->sends = end ? H2_SENDS_LAST : H2_SENDS_BODY;
	return r;
}

int h2_interim(struct h2_stream *st, const struct h2_field *f, size_t n)
{
	nghttp2_session *ng = h2_stream_wire(st);

	if (ng == NULL || st->was_reset)
		return -ENOTCONN;
	if (!st->h->server || st->sends != H2_SENDS_HEAD)
		return -EPROTO;
	return result(st->h, nghttp2_submit_headers(ng, NGHTTP2_FLAG_NONE, st->id, NULL, nv_of(f), n,
						    NULL));
}

int h2_trailers(struct h2_stream *st, const struct h2_field *f, size_t n)
{
	nghttp2_session *ng = h2_stream_wire(st);
	struct chunk *c;

	if (ng == NULL || st->was_reset)
		return -ENOTCONN;
	if (st->sends != H2_SENDS_BODY || n == 0 || n > TRAILERS_MOST)
		return -EPROTO;
	c = chunk_take(st->stock->chunks, st->budget, false);
	if (c == NULL)
		return -ENOBUFS;
	h2_block_clear(c, H2_TRAILERS);
	for (size_t i = 0; i < n; i++) {
		if (!h2_block_add_to(st->stock->chunks, st->budget, &c,
				     slice_of(f[i].name, f[i].name_n),
				     slice_of(f[i].value, f[i].value_n))) {
			chunk_give(st->stock->chunks, &c);
			return -ENOBUFS;
		}
	}
	st->trailers = c;
	return st->s.ops->finish(&st->s);
}
