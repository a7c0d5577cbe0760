/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Streams of an HTTP/2 session: their life, what comes in, and what their user writes.
 *
 * What comes in is kept until its user takes it, and only then the peer may send more; what is
 * written is kept until it is packed into frames (h2_send.c).  Everything its user calls works on a
 * broken stream too, and then changes nothing but the stream itself. */
#include <errno.h>

#include "nodeproxy/lib/net/h2_inner.h"

/* Header blocks that may wait in one stream: interim ones, a final one, trailers. */
#define BLOCKS_MOST 8

static void want_room(struct h2_stream *st, bool want)
{
	if (st->wants_room == want)
		return;
	st->wants_room = want;
	if (st->h)
		st->h->wanting += want ? 1u : -1u;
}

void h2_room_news(struct h2_stream *st)
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
		h2_room_news(list_entry(it, struct h2_stream, all));
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

void h2_stream_free(struct h2_stream *st)
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
		if (st->is_new)
			h2_unseen(h, st->offence);
		st->held = H2_HELD_BY_USER;	/* nobody's: nghttp2 is not asked about it */
		h2_stream_free(st);
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
	nghttp2_session *ng = h2_stream_wire(st);

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
	h2_shortage(st->h, nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, st->id, code));
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

bool h2_block_begin(struct h2_stream *st)
{
	must(st->block == NULL);
	if (st->n_blocks == BLOCKS_MOST)
		return false;
	st->block = chunk_take(st->stock->chunks, st->budget, false);
	if (st->block == NULL)
		return false;
	h2_block_clear(st->block, H2_REQUEST);
	return true;
}

/* Into a small chunk, or all of it into a large one. */
bool h2_block_add_to(struct chunk_pool *pool, struct budget *budget, struct chunk **cp,
		     struct slice name, struct slice value)
{
	struct chunk *c;

	if (likely(h2_block_put(h2_block_of(*cp), name, value)))
		return true;
	if ((*cp)->large)
		return false;
	c = chunk_take(pool, budget, true);
	if (c == NULL)
		return false;
	h2_block_clear(c, H2_REQUEST);
	h2_block_copy(h2_block_of(c), h2_block_of(*cp));
	chunk_give(pool, cp);
	*cp = c;
	return h2_block_put(h2_block_of(c), name, value);
}

bool h2_block_add(struct h2_stream *st, struct slice name, struct slice value)
{
	return h2_block_add_to(st->stock->chunks, st->budget, &st->block, name, value);
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
	struct h2_block *b = h2_block_of(st->block);

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

	return n ? h2_block_of(list_entry(n, struct chunk, node)) : NULL;
}

struct chunk *h2_block_lift(struct h2_stream *st)
{
	struct chunk *c = list_pop(&st->blocks, struct chunk, node);

	st->n_blocks -= c != NULL;
	return c;
}

void h2_block_take(struct h2_stream *st)
{
	struct chunk *c = h2_block_lift(st);

	if (c)
		chunk_give(st->stock->chunks, &c);
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
		h2_shortage(st->h, nghttp2_session_consume_connection(ng, conn));
	if (h2_stream_wire(st) && st->held == H2_HELD_BY_BOTH && st->gets == H2_GETS_BODY &&
	    !st->was_reset)
		h2_shortage(st->h, nghttp2_session_consume_stream(ng, st->id, n));
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
		h2_shortage(h, nghttp2_session_consume_connection(h->ng, data.n));
		return;
	}
	h->kept += data.n;
	if (h->kept <= h->window_limit)
		h2_shortage(h, nghttp2_session_consume_connection(h->ng, data.n));
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

	for (struct node *it = st->in.chunks.next; it != &st->in.chunks && n < room;
	     it = it->next) {
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
	return st->was_reset || h2_stream_wire(st) == NULL ? -ECONNRESET : -EAGAIN;
}

/* ---- bodies out ---- */

/* There is something to send, or the end of it. */
static void resume(struct h2_stream *st, nghttp2_session *ng)
{
	if (!st->is_deferred)
		return;
	st->is_deferred = false;
	h2_shortage(st->h, nghttp2_session_resume_data(ng, st->id));
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
	nghttp2_session *ng = h2_stream_wire(st);
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
		window = nghttp2_session_get_remote_settings(
			ng, NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE);
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
		if (chunkq_add(&st->out, st->stock->chunks, st->budget,
			       slice_of(v[i].iov_base, k)) < 0) {
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
	nghttp2_session *ng = h2_stream_wire(st);

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
	nghttp2_session *ng = h2_stream_wire(st);

	if (ng == NULL) {
		st->held = H2_HELD_BY_USER;
		h2_stream_free(st);
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
	st->stall_ms = 0;
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
