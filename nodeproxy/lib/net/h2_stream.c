/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Streams of an HTTP/2 session: header blocks and bodies both ways.
 *
 * What comes in is kept until its user takes it, and only then the peer may send more; what goes
 * out is kept until it is packed into frames, whole chunks without copying.  Everything its user
 * calls works on a broken stream too, and then changes nothing but the stream itself. */
#include <errno.h>

#include "nodeproxy/lib/net/h2_inner.h"

/* Header blocks that may wait in one stream: interim ones, a final one, trailers. */
#define BLOCKS_MOST 8
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

/* NULL: nghttp2 must not be asked about it any more. */
static nghttp2_session *wire(const struct h2_stream *st)
{
	return st->held != H2_HELD_BY_USER && st->h && st->h->state < H2_DYING ? st->h->ng : NULL;
}

/* nghttp2 has no memory for what was asked of it. */
static void shortage(struct h2 *h, int r)
{
	if (r == NGHTTP2_ERR_NOMEM)
		h->fatal = H2_OFFENCE_MEMORY;
}

static void want_room(struct h2_stream *st, bool want)
{
	if (st->wants_room == want)
		return;
	st->wants_room = want;
	if (st->h)
		st->h->wanting += want ? 1u : -1u;
}

static void room_news(struct h2_stream *st)
{
	if (!st->wants_room)
		return;
	want_room(st, false);
	h2_news(st, H2_NEWS_ROOM);
}

void h2_wants_room(struct h2 *h)
{
	if (h->wanting == 0)
		return;
	list_each(it, &h->streams)
		room_news(list_entry(it, struct h2_stream, all));
}

/* ---- life ---- */

static void in_done(struct h2_stream *st, size_t n);
static const struct stream_ops stream_ops;

struct h2_stream *h2_stream_new(struct h2 *h, int32_t id, struct budget *b, enum h2_held held)
{
	struct h2_stream *st = slab_take(&h->stock->streams, NULL);

	if (st == NULL)
		return NULL;
	st->s = (struct stream){ .ops = &stream_ops, .fd = { -1 } };
	st->magic = H2_STREAM_MAGIC;
	st->id = id;
	st->held = (uint8_t)held;
	st->h = h;
	st->stock = h->stock;
	st->budget = b;
	st->born = clock_now();
	list_init(&st->blocks);
	list_init(&st->ready);
	chunkq_init(&st->in);
	chunkq_init(&st->out);
	list_add_tail(&h->streams, &st->all);
	h->wired++;
	return st;
}

static void stream_free(struct h2_stream *st)
{
	struct chunk_pool *pool = st->stock->chunks;

	list_each(it, &st->blocks) {
		struct chunk *c = list_entry(it, struct chunk, node);

		chunk_give(pool, &c);
	}
	if (st->block)
		chunk_give(pool, &st->block);
	if (st->trailers)
		chunk_give(pool, &st->trailers);
	if (st->in.bytes)
		in_done(st, st->in.bytes);
	chunkq_clear(&st->out, pool);
	if (st->h && st->h->heading == st)
		st->h->heading = NULL;
	want_room(st, false);
	list_remove(&st->ready);
	list_remove(&st->all);
	st->magic = 0;
	slab_give(&st->stock->streams, st);
}

void h2_stream_unwired(struct h2_stream *st, uint32_t code)
{
	struct h2 *h = st->h;
	bool whole = code == H2_NO_ERROR && st->gets == H2_GETS_NOTHING &&
		     st->sends == H2_SENDS_NOTHING;

	h->wired--;
	if (st->held == H2_HELD_BY_WIRE || st->is_new) {
		st->held = H2_HELD_BY_USER;	/* nobody's: nghttp2 is not asked about it */
		stream_free(st);
		return;
	}
	st->held = H2_HELD_BY_USER;
	chunkq_clear(&st->out, st->stock->chunks);
	if (st->trailers)
		chunk_give(st->stock->chunks, &st->trailers);
	want_room(st, false);
	st->stalled.ns = 0;
	if (!whole) {
		if (!st->was_reset)
			st->code = code;
		st->was_reset = true;
	}
	h2_news(st, whole ? H2_NEWS_CLOSED : H2_NEWS_RESET);
}

static void reset(struct h2_stream *st, enum h2_code code)
{
	nghttp2_session *ng = wire(st);

	if (st->was_reset)
		return;
	st->was_reset = true;
	st->code = code;
	chunkq_clear(&st->out, st->stock->chunks);
	if (st->trailers)
		chunk_give(st->stock->chunks, &st->trailers);
	want_room(st, false);
	st->stalled.ns = 0;
	if (ng == NULL)
		return;
	h2_guard_forgive(&st->h->guard, st->h->window);
	shortage(st->h, nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, st->id, code));
}

void h2_reset(struct h2_stream *st, enum h2_code code)
{
	if (st->sends == H2_SENDS_NOTHING && st->gets == H2_GETS_NOTHING)
		return;
	reset(st, code);
}

void h2_stream_offends(struct h2_stream *st, enum h2_offence o)
{
	if (st->offence == H2_OFFENCE_NONE) {
		st->offence = (uint8_t)o;
		st->stock->offences[o]++;
	}
	reset(st, h2_offence_row(o)->code);
}

void h2_stream_pays(struct h2_stream *st, struct budget *b)
{
	st->budget = b;
}

/* ---- header blocks in ---- */

static struct h2_block *block_of(struct chunk *c)
{
	return (struct h2_block *)(void *)c->data;
}

static void block_clear(struct chunk *c, enum h2_block_kind kind)
{
	h2_block_init(block_of(c), kind, c->room - sizeof(struct h2_block));
}

bool h2_block_begin(struct h2_stream *st)
{
	must(st->block == NULL);
	if (st->n_blocks == BLOCKS_MOST)
		return false;
	st->block = chunk_take(st->stock->chunks, st->budget, false);
	if (st->block == NULL)
		return false;
	block_clear(st->block, H2_REQUEST);
	return true;
}

/* Into a small chunk, or all of it into a large one. */
static bool block_add(struct chunk_pool *pool, struct budget *budget, struct chunk **cp, struct slice name,
		      struct slice value)
{
	struct chunk *c;

	if (likely(h2_block_put(block_of(*cp), name, value)))
		return true;
	if ((*cp)->large)
		return false;
	c = chunk_take(pool, budget, true);
	if (c == NULL)
		return false;
	block_clear(c, H2_REQUEST);
	h2_block_copy(block_of(c), block_of(*cp));
	chunk_give(pool, cp);
	*cp = c;
	return h2_block_put(block_of(c), name, value);
}

bool h2_block_add(struct h2_stream *st, struct slice name, struct slice value)
{
	return block_add(st->stock->chunks, st->budget, &st->block, name, value);
}

/* Of a response: ":status" is its first line or nghttp2 would have refused it. */
static bool is_interim(const struct h2_block *b)
{
	struct slice name, value;

	for (uint32_t i = 0; h2_block_line(b, i, &name, &value); i++)
		if (slice_eq(name, SLICE(":status")))
			return value.n == 3 && value.p[0] == '1';
	return false;
}

bool h2_block_end(struct h2_stream *st, bool end)
{
	struct h2_block *b = block_of(st->block);

	if (st->gets == H2_GETS_BODY)
		b->kind = H2_TRAILERS;
	else if (st->gets == H2_GETS_NOTHING)
		return false;
	else if (st->h->server)
		b->kind = H2_REQUEST;
	else
		b->kind = is_interim(b) ? H2_INTERIM : H2_RESPONSE;
	if ((b->kind == H2_TRAILERS) > end || (b->kind == H2_INTERIM && end))
		return false;
	b->is_end = end;
	if (b->kind != H2_INTERIM)
		st->gets = end ? H2_GETS_NOTHING : H2_GETS_BODY;
	list_add_tail(&st->blocks, &st->block->node);
	st->block = NULL;
	st->n_blocks++;
	h2_news(st, H2_NEWS_BLOCK | (b->kind == H2_TRAILERS ? H2_NEWS_DATA : 0));
	return true;
}

struct h2_block *h2_block(const struct h2_stream *st)
{
	struct node *n = list_first(&st->blocks);

	return n ? block_of(list_entry(n, struct chunk, node)) : NULL;
}

void h2_block_take(struct h2_stream *st)
{
	struct node *n = list_first(&st->blocks);
	struct chunk *c;

	if (n == NULL)
		return;
	c = list_entry(n, struct chunk, node);
	chunk_give(st->stock->chunks, &c);
	st->n_blocks--;
}

/* ---- bodies in ---- */

/* n bytes of in are done with: their memory and their part of the windows go back.  The stream's own
 * window is widened only while more may come. */
static void in_done(struct h2_stream *st, size_t n)
{
	nghttp2_session *ng = st->h && st->h->state < H2_DYING ? st->h->ng : NULL;
	size_t conn = min_of(n, (size_t)st->withheld);

	chunkq_consume(&st->in, st->stock->chunks, n);
	st->withheld -= (uint32_t)conn;
	if (st->h)
		st->h->kept -= n;
	if (ng && conn)
		shortage(st->h, nghttp2_session_consume_connection(ng, conn));
	if (wire(st) && st->held == H2_HELD_BY_BOTH && st->gets == H2_GETS_BODY && !st->was_reset)
		shortage(st->h, nghttp2_session_consume_stream(ng, st->id, n));
}

/* The connection's window is given back at once, so that one who does not read stops nobody else,
 * until as much is kept as may be on its way: then only what is taken is given back. */
void h2_stream_got(struct h2_stream *st, struct slice data)
{
	struct h2 *h = st->h;

	st->received += data.n;
	if (st->held == H2_HELD_BY_WIRE || st->was_reset ||
	    (chunkq_add(&st->in, st->stock->chunks, st->budget, data) < 0 &&
	     (h2_stream_offends(st, H2_OFFENCE_OVER_BUDGET), true))) {
		shortage(h, nghttp2_session_consume_connection(h->ng, data.n));
		return;
	}
	h->kept += data.n;
	if (h->kept <= h->window_limit)
		shortage(h, nghttp2_session_consume_connection(h->ng, data.n));
	else
		st->withheld += (uint32_t)data.n;
	h2_news(st, H2_NEWS_DATA);
}

int h2_body(const struct h2_stream *st, struct iovec *v, int max)
{
	return chunkq_iov(&st->in, v, max);
}

void h2_body_take(struct h2_stream *st, size_t n)
{
	in_done(st, n);
}

static ssize_t stream_read(struct stream *s, uint8_t *buf, size_t room)
{
	struct h2_stream *st = h2_stream_of(s);
	size_t n = 0;

	for (struct node *it = st->in.chunks.next; it != &st->in.chunks && n < room; it = it->next) {
		const struct chunk *c = list_entry(it, struct chunk, node);
		size_t k = min_of((size_t)(c->end - c->at), room - n);

		memcpy(buf + n, c->data + c->at, k);
		n += k;
	}
	if (n) {
		in_done(st, n);
		return (ssize_t)n;
	}
	if (st->gets == H2_GETS_NOTHING && !st->offence)
		return 0;
	return st->was_reset || wire(st) == NULL ? -ECONNRESET : -EAGAIN;
}

/* ---- bodies out ---- */

/* There is something to send, or the end of it. */
static void resume(struct h2_stream *st, nghttp2_session *ng)
{
	if (!st->is_deferred)
		return;
	st->is_deferred = false;
	shortage(st->h, nghttp2_session_resume_data(ng, st->id));
}

static void stall_clock(struct h2_stream *st)
{
	if (st->stalled.ns == 0) {
		st->stalled = clock_now();
		st->sent_then = st->sent;
	}
}

static ssize_t stream_write(struct stream *s, const struct iovec *v, int n)
{
	struct h2_stream *st = h2_stream_of(s);
	nghttp2_session *ng = wire(st);
	int64_t room, window;
	bool starved = false;
	size_t done = 0;

	if (ng == NULL || st->was_reset)
		return -ECONNRESET;
	if (st->sends != H2_SENDS_BODY)
		return -EPIPE;
	/* What the peer does not want yet is better off where it came from.  -1: the request has not
	 * been packed yet. */
	window = nghttp2_session_get_stream_remote_window_size(ng, st->id);
	if (window < 0)
		window = nghttp2_session_get_remote_settings(ng, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
	window = min_of(window, (int64_t)nghttp2_session_get_remote_window_size(ng));
	room = min_of(window, (int64_t)st->h->lim->stream_out) - (int64_t)st->out.bytes;
	stall_clock(st);
	st->is_held_up = room <= 0;
	if (room <= 0) {
		want_room(st, true);
		return -EAGAIN;
	}
	for (int i = 0; i < n; i++) {
		size_t k = min_of(v[i].iov_len, (size_t)room);

		if (k < v[i].iov_len) {
			want_room(st, true);
			st->is_held_up = true;
		}
		if (k == 0)
			continue;
		if (chunkq_add(&st->out, st->stock->chunks, st->budget, slice_of(v[i].iov_base, k)) < 0) {
			starved = true;
			break;
		}
		done += k;
		room -= (int64_t)k;
	}
	if (done == 0)
		return starved ? -ENOBUFS : 0;
	resume(st, ng);
	return (ssize_t)done;
}

static int stream_finish(struct stream *s)
{
	struct h2_stream *st = h2_stream_of(s);
	nghttp2_session *ng = wire(st);

	if (ng == NULL || st->was_reset)
		return -ENOTCONN;
	if (st->sends == H2_SENDS_HEAD)
		return -EPROTO;
	if (st->sends == H2_SENDS_BODY) {
		st->sends = H2_SENDS_LAST;
		want_room(st, false);
		resume(st, ng);
	}
	return 0;
}

static int stream_error(struct stream *s)
{
	const struct h2_stream *st = h2_stream_of(s);

	if (!st->was_reset)
		return 0;
	return st->code == H2_REFUSED_STREAM ? -ECONNREFUSED : -ECONNRESET;
}

/* What its user leaves behind to be sent is the session's to pay for. */
static bool charge_session(struct h2_stream *st)
{
	list_each(it, &st->out.chunks)
		if (chunk_charge_to(list_entry(it, struct chunk, node), st->h->budget) < 0)
			return false;
	return st->trailers == NULL || chunk_charge_to(st->trailers, st->h->budget) == 0;
}

static void stream_close_op(struct stream *s, bool abort)
{
	struct h2_stream *st = h2_stream_of(s);
	nghttp2_session *ng = wire(st);

	if (ng == NULL) {
		st->held = H2_HELD_BY_USER;
		stream_free(st);
		return;
	}
	if (!abort)
		(void)stream_finish(s);
	/* A server whose answer is whole takes the rest of the request until that is out: a reset
	 * would overtake it.  A client has no use for the rest of an answer. */
	if (st->sends < H2_SENDS_LAST || abort)
		h2_reset(st, st->h->server ? H2_INTERNAL_ERROR : H2_CANCEL);
	else if (st->gets != H2_GETS_NOTHING && (!st->h->server || st->sends == H2_SENDS_NOTHING))
		h2_reset(st, st->h->server ? H2_NO_ERROR : H2_CANCEL);
	st->held = H2_HELD_BY_WIRE;
	st->user = NULL;
	if (!charge_session(st))
		h2_stream_offends(st, H2_OFFENCE_OVER_BUDGET);
	st->budget = st->h->budget;
	list_remove(&st->ready);
	if (st->in.bytes)
		in_done(st, st->in.bytes);
	while (st->n_blocks)
		h2_block_take(st);
}

static const struct stream_ops stream_ops = {
	.name = "h2", .read = stream_read, .write = stream_write, .finish = stream_finish,
	.error = stream_error, .close = stream_close_op,
};

/* nghttp2 asks how much of the body goes into the next frame. */
ssize_t h2_stream_pack(nghttp2_session *ng, int32_t id, uint8_t *buf, size_t length, uint32_t *flags,
		       nghttp2_data_source *source, void *user)
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
		struct h2_block *b = block_of(st->trailers);
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
			shortage(st->h, r);
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
			size_t k = min_of((size_t)(c->end - c->at), H2_FRAME_HEADER_BYTES + length - at);

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
		if (chunkq_add(&h->out, pool, h->budget, slice_of(small, H2_FRAME_HEADER_BYTES)) < 0) {
			if (part)
				chunk_give(pool, &part);
			return NGHTTP2_ERR_WOULDBLOCK;
		}
		while (n) {
			struct chunk *c = list_entry(list_first(&st->out.chunks), struct chunk, node);

			n -= c->end - c->at;
			list_remove(&c->node);
			list_add_tail(&h->out.chunks, &c->node);
		}
		h->out.bytes += length;
		st->out.bytes -= whole;
		if (part) {
			const struct chunk *c = list_entry(list_first(&st->out.chunks), struct chunk, node);

			memcpy(part->data, c->data + c->at, left);
			part->end = (uint32_t)left;
			list_add_tail(&h->out.chunks, &part->node);
			chunkq_consume(&st->out, pool, left);
		}
	}
	st->sent += length;
	bad = h2_guard_sent(&h->guard, length < H2_DRIBBLE_BYTES && (st->out.bytes || st->is_held_up),
			    clock_now());
	if (st->out.bytes == 0 && !st->wants_room)
		st->stalled.ns = 0;
	room_news(st);
		if (bad) {
		h->fatal = (uint8_t)bad;
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	}
	return 0;
}

/* ---- heads out ---- */

static int result(struct h2 *h, int r)
{
	shortage(h, r);
	return r == 0 ? 0 : r == NGHTTP2_ERR_NOMEM ? -ENOBUFS : -EPROTO;
}

int h2_request(struct h2 *h, const struct h2_field *f, size_t n, bool end, struct budget *b, void *user,
	       struct h2_stream **ret)
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
		stream_free(st);
		/* No more ids: the peer is as good as gone, in good order. */
		if (id == NGHTTP2_ERR_STREAM_ID_NOT_AVAILABLE) {
			h->peer_leaves = true;
			return -ENOTCONN;
		}
		return result(h, id);
	}
	st->id = id;
	h->guard.opened++;
	*ret = st;
	return 0;
}

int h2_respond(struct h2_stream *st, const struct h2_field *f, size_t n, bool end)
{
	nghttp2_data_provider body = { .source.ptr = st, .read_callback = h2_stream_pack };
	nghttp2_session *ng = wire(st);
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
	nghttp2_session *ng = wire(st);

	if (ng == NULL || st->was_reset)
		return -ENOTCONN;
	if (!st->h->server || st->sends != H2_SENDS_HEAD)
		return -EPROTO;
	return result(st->h, nghttp2_submit_headers(ng, NGHTTP2_FLAG_NONE, st->id, NULL, nv_of(f), n, NULL));
}

int h2_trailers(struct h2_stream *st, const struct h2_field *f, size_t n)
{
	nghttp2_session *ng = wire(st);
	struct chunk *c;

	if (ng == NULL || st->was_reset)
		return -ENOTCONN;
	if (st->sends != H2_SENDS_BODY || n == 0 || n > TRAILERS_MOST)
		return -EPROTO;
	c = chunk_take(st->stock->chunks, st->budget, false);
	if (c == NULL)
		return -ENOBUFS;
	block_clear(c, H2_TRAILERS);
	for (size_t i = 0; i < n; i++) {
		if (!block_add(st->stock->chunks, st->budget, &c, slice_of(f[i].name, f[i].name_n),
			       slice_of(f[i].value, f[i].value_n))) {
			chunk_give(st->stock->chunks, &c);
			return -ENOBUFS;
		}
	}
	st->trailers = c;
	return stream_finish(&st->s);
}
