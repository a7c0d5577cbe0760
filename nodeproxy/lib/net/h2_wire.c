/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What nghttp2 calls: frames as they were understood, and as they were packed.
 *
 * Nothing here calls the session's user, frees a stream that he holds, or ends the session: what is
 * found is noted (news of streams, h->fatal) and acted on when nghttp2 has returned. */
#include <errno.h>

#include "nodeproxy/lib/net/h2_inner.h"

/* The decoded size of a header block past which the session ends; up to there a block over the
 * limit costs its stream only. */
#define BOMB(lim) (4 * (uint64_t)(lim)->head_bytes + 65536)
/* RFC 9113 section 6.5.2. */
#define LINE_OVERHEAD 32u

static int found(struct h2 *h, enum h2_offence o)
{
	if (o == H2_OFFENCE_NONE)
		return 0;
	h->fatal = (uint8_t)o;
	return NGHTTP2_ERR_CALLBACK_FAILURE;
}

static struct h2_stream *stream_at(struct h2 *h, int32_t id)
{
	return nghttp2_session_get_stream_user_data(h->ng, id);
}

/* ---- in ---- */

static int begin_headers(nghttp2_session *ng, const nghttp2_frame *f, void *user)
{
	struct h2 *h = user;
	struct h2_stream *st;

	h->block_size = 0;
	h->heading = NULL;
	if (f->headers.cat != NGHTTP2_HCAT_REQUEST) {
		st = stream_at(h, f->hd.stream_id);
		if (st == NULL || st->held == H2_HELD_BY_WIRE || st->was_reset)
			return 0;
		h->heading = st;
		if (!h2_block_begin(st))
			h2_stream_offends(st, st->n_blocks ? H2_OFFENCE_HEAD_TOO_LARGE
							   : H2_OFFENCE_OVER_BUDGET);
		return h->fatal ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
	}
	st = h2_stream_new(h, f->hd.stream_id, h->budget, H2_HELD_BY_BOTH);
	if (st) {
		st->is_new = true;
		h->heading = st;
		if (nghttp2_session_set_stream_user_data(ng, f->hd.stream_id, st) < 0)
			return found(h, H2_OFFENCE_PROTOCOL);
		if (!h2_block_begin(st))
			h2_stream_offends(st, H2_OFFENCE_NO_ROOM);
	} else {
		h->stock->offences[H2_OFFENCE_NO_ROOM]++;
		h2_unseen(h, H2_OFFENCE_NO_ROOM);
		if (nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, f->hd.stream_id,
					      H2_REFUSED_STREAM))
			return found(h, H2_OFFENCE_MEMORY);
	}
	return h->fatal ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int header(nghttp2_session *ng, const nghttp2_frame *f, const uint8_t *name, size_t name_n,
		  const uint8_t *value, size_t value_n, uint8_t flags, void *user)
{
	struct h2 *h = user;
	struct h2_stream *st = h->heading;
	struct h2_block *b;

	(void)ng;
	(void)flags;
	h->block_size += (uint32_t)min_of(name_n + value_n + LINE_OVERHEAD, (size_t)1 << 20);
	if (h->block_size > BOMB(h->lim))
		return found(h, H2_OFFENCE_HEADER_BOMB);
	if (st == NULL || st->block == NULL || st->was_reset)
		return 0;
	b = (struct h2_block *)(void *)st->block->data;
	b->size = h->block_size;
	if (b->is_too_large)
		return 0;
	if (b->size > h->lim->head_bytes || b->lines >= h->lim->head_lines) {
		/* A request deserves an answer that says so; of all else nobody may see a part. */
		if (f->headers.cat == NGHTTP2_HCAT_REQUEST) {
			b->is_too_large = true;
			h->stock->offences[H2_OFFENCE_HEAD_TOO_LARGE]++;
		} else {
			h2_stream_offends(st, H2_OFFENCE_HEAD_TOO_LARGE);
		}
	} else if (!h2_block_add(st, slice_of(name, name_n), slice_of(value, value_n))) {
		h2_stream_offends(st, H2_OFFENCE_OVER_BUDGET);
	}
	return h->fatal ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

/* nghttp2 would leave such a line out: a message is taken whole or not at all. */
static int bad_header(nghttp2_session *ng, const nghttp2_frame *f, const uint8_t *name,
		      size_t name_n, const uint8_t *value, size_t value_n, uint8_t flags,
		      void *user)
{
	(void)ng;
	(void)f;
	(void)name;
	(void)name_n;
	(void)value;
	(void)value_n;
	(void)flags;
	(void)user;
	return NGHTTP2_ERR_TEMPORAL_CALLBACK_FAILURE;
}

static int data(nghttp2_session *ng, uint8_t flags, int32_t id, const uint8_t *p, size_t n,
		void *user)
{
	struct h2 *h = user;
	struct h2_stream *st = stream_at(h, id);

	(void)flags;
	h2_window_got(h, n);
	if (st)
		h2_stream_got(st, slice_of(p, n));
	else if (nghttp2_session_consume_connection(ng, n) < 0)
		return found(h, H2_OFFENCE_MEMORY);
	return h->fatal ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int ping_answered(struct h2 *h, const uint8_t *opaque)
{
	switch (opaque[0]) {
	case H2_PING_ALIVE:
		break;
	case H2_PING_DRAIN:
		if (h->state == H2_LEAVING)
			h->drained.ns = 0;	/* acted on by the next h2_tick() or h2_write() */
		break;
	case H2_PING_BDP:
		h2_window_ping_answered(h);
		break;
	default:
		return found(h, h2_guard_useless(&h->guard, clock_now()));
	}
	return 0;
}

static int understood(nghttp2_session *ng, const nghttp2_frame *f, void *user)
{
	struct h2 *h = user;
	struct h2_stream *st = f->hd.stream_id ? stream_at(h, f->hd.stream_id) : NULL;
	bool end = f->hd.flags & NGHTTP2_FLAG_END_STREAM;
	enum h2_offence bad = H2_OFFENCE_NONE;

	(void)ng;
	h->understood += h2_guard_counts(f->hd.type);
	switch (f->hd.type) {
	case NGHTTP2_DATA:
		if (st && end) {
			st->gets = H2_GETS_NOTHING;
			h2_news(st, H2_NEWS_DATA);
		}
		bad = h2_guard_empty(&h->guard, f->hd.length == f->data.padlen && !end);
		break;
	case NGHTTP2_HEADERS:
		if (st == NULL || st->was_reset)
			break;
		if (st->block == NULL)
			st->gets = end ? H2_GETS_NOTHING : st->gets;
		else if (!h2_block_end(st, end))
			h2_stream_offends(st, H2_OFFENCE_BAD_MESSAGE);
		break;
	case NGHTTP2_RST_STREAM:
		if (st == NULL)
			bad = h2_guard_useless(&h->guard, clock_now());
		else if (h->server)
			bad = h2_guard_cancelled(&h->guard,
						 mono_diff_ms(clock_now(), st->born) < 1000,
						 clock_now());
		break;
	case NGHTTP2_SETTINGS:
		if (f->hd.flags & NGHTTP2_FLAG_ACK)
			h->is_heard = true;
		else
			h->is_greeted = true;
		h2_wants_room(h);
		break;
	case NGHTTP2_PING:
		if (f->hd.flags & NGHTTP2_FLAG_ACK && ping_answered(h, f->ping.opaque_data))
			return NGHTTP2_ERR_CALLBACK_FAILURE;
		break;
	case NGHTTP2_GOAWAY:
		h->peer_leaves = true;
		bad = h2_guard_useless(&h->guard, clock_now());
		break;
	case NGHTTP2_WINDOW_UPDATE:
		if (f->hd.stream_id == 0) {
			h2_wants_room(h);
		} else if (st) {
			h2_room_news(st);
		}
		break;
	default:
		break;
	}
	if (h->fatal)
		return NGHTTP2_ERR_CALLBACK_FAILURE;
	return found(h, bad);
}

static int not_understood(nghttp2_session *ng, const nghttp2_frame *f, int error, void *user)
{
	struct h2 *h = user;

	(void)ng;
	h->understood += h2_guard_counts(f->hd.type);
	if (f->hd.type == NGHTTP2_HEADERS && f->headers.cat == NGHTTP2_HCAT_REQUEST &&
	    error == NGHTTP2_ERR_PROTO && h->wired >= h->lim->streams)
		h->suspect = H2_OFFENCE_STREAMS;
	/* It is going to be reset, and may be unknown to nghttp2 until then, or for ever. */
	if (h->server && f->hd.stream_id)
		h2_guard_reset(&h->guard, (uint32_t)f->hd.stream_id);
	return 0;
}

static int stream_closed(nghttp2_session *ng, int32_t id, uint32_t code, void *user)
{
	struct h2 *h = user;
	struct h2_stream *st = stream_at(h, id);

	(void)ng;
	if (st)
		h2_stream_unwired(st, code);
	return 0;
}

/* ---- out ---- */

static enum h2_offence verdict(const struct h2 *h, uint32_t code)
{
	switch (code) {
	case H2_FLOW_CONTROL_ERROR:
		return H2_OFFENCE_FLOW_CONTROL;
	case H2_FRAME_SIZE_ERROR:
		return H2_OFFENCE_FRAME_SIZE;
	case H2_COMPRESSION_ERROR:
		return H2_OFFENCE_COMPRESSION;
	case H2_ENHANCE_YOUR_CALM:
		return H2_OFFENCE_GLITCHES;
	default:
		return h->suspect ? h->suspect : H2_OFFENCE_PROTOCOL;
	}
}

/* A reset that neither its user nor a shortage of ours asked for is the peer's doing. */
static enum h2_offence reset_sent(struct h2 *h, struct h2_stream *st)
{
	if (st && !st->was_reset) {
		st->was_reset = true;
		st->offence = H2_OFFENCE_BAD_MESSAGE;
		h->stock->offences[H2_OFFENCE_BAD_MESSAGE]++;
		h2_guard_forgive(&h->guard, h->window);
	} else if (st == NULL || st->offence == H2_OFFENCE_NONE ||
		   st->offence == H2_OFFENCE_OVER_BUDGET || st->offence == H2_OFFENCE_NO_ROOM) {
		return H2_OFFENCE_NONE;
	}
	return h2_guard_caused(&h->guard, clock_now());
}

static int packed(nghttp2_session *ng, const nghttp2_frame *f, void *user)
{
	struct h2 *h = user;
	struct h2_stream *st = f->hd.stream_id ? stream_at(h, f->hd.stream_id) : NULL;

	switch (f->hd.type) {
	case NGHTTP2_DATA:
	case NGHTTP2_HEADERS:
		if (st == NULL || !(f->hd.flags & NGHTTP2_FLAG_END_STREAM))
			break;
		st->sends = H2_SENDS_NOTHING;
		/* Nobody wants the rest of a request whose answer is whole (RFC 9113 section 8.1). */
		if (h->server && st->held == H2_HELD_BY_WIRE && st->gets != H2_GETS_NOTHING &&
		    !st->was_reset) {
			st->was_reset = true;
			h2_guard_forgive(&h->guard, h->window);
			if (nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, st->id, H2_NO_ERROR))
				return found(h, H2_OFFENCE_MEMORY);
		}
		break;
	case NGHTTP2_RST_STREAM:
		if (h->server && (st == NULL || st->gets != H2_GETS_NOTHING))
			h2_guard_reset(&h->guard, (uint32_t)f->hd.stream_id);
		return found(h, reset_sent(h, st));
	case NGHTTP2_SETTINGS:
		if (h->told.ns == 0 && !(f->hd.flags & NGHTTP2_FLAG_ACK))
			h->told = clock_now();
		break;
	case NGHTTP2_PING:
		if (!(f->hd.flags & NGHTTP2_FLAG_ACK) && f->ping.opaque_data[0] == H2_PING_BDP)
			h2_window_ping_sent(h);
		break;
	case NGHTTP2_GOAWAY:
		/* Ours say NO_ERROR: this one is nghttp2's, and its end of the session.  It must still
		 * be written, so nothing fails here. */
		if (f->goaway.error_code != H2_NO_ERROR)
			h->fatal = (uint8_t)verdict(h, f->goaway.error_code);
		else if (h->server && h->state == H2_LEAVING)
			h2_ping(h, H2_PING_DRAIN);	/* behind it: who answers has seen it */
		break;
	default:
		break;
	}
	return 0;
}

/* A head of ours that cannot go out ends its stream.  nghttp2 does that by itself where the head was to
 * begin it (a request that was taken back, say): the peer knows nothing of such a stream. */
static int not_packed(nghttp2_session *ng, const nghttp2_frame *f, int error, void *user)
{
	struct h2 *h = user;

	(void)error;
	if (f->hd.type != NGHTTP2_HEADERS || f->headers.cat == NGHTTP2_HCAT_REQUEST ||
	    stream_at(h, f->hd.stream_id) == NULL)
		return 0;
	if (nghttp2_submit_rst_stream(ng, NGHTTP2_FLAG_NONE, f->hd.stream_id, H2_INTERNAL_ERROR) ==
	    NGHTTP2_ERR_NOMEM)
		return found(h, H2_OFFENCE_MEMORY);
	return 0;
}

int h2_wire_callbacks(nghttp2_session_callbacks **ret, nghttp2_option **ret_option)
{
	nghttp2_session_callbacks *c;
	nghttp2_option *o;

	if (nghttp2_session_callbacks_new(&c) < 0)
		return -ENOMEM;
	if (nghttp2_option_new(&o) < 0) {
		nghttp2_session_callbacks_del(c);
		return -ENOMEM;
	}
	nghttp2_session_callbacks_set_on_begin_headers_callback(c, begin_headers);
	nghttp2_session_callbacks_set_on_header_callback(c, header);
	nghttp2_session_callbacks_set_on_invalid_header_callback(c, bad_header);
	nghttp2_session_callbacks_set_on_data_chunk_recv_callback(c, data);
	nghttp2_session_callbacks_set_on_frame_recv_callback(c, understood);
	nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(c, not_understood);
	nghttp2_session_callbacks_set_on_stream_close_callback(c, stream_closed);
	nghttp2_session_callbacks_set_on_frame_send_callback(c, packed);
	nghttp2_session_callbacks_set_on_frame_not_send_callback(c, not_packed);
	nghttp2_session_callbacks_set_send_data_callback(c, h2_stream_send);
	nghttp2_option_set_no_auto_window_update(o, 1);
	nghttp2_option_set_no_closed_streams(o, 1);
	nghttp2_option_set_peer_max_concurrent_streams(o, 100);
	/* Ours are nearer and of the same size or less; where nghttp2 has its own they must not end a
	 * session that ours let live. */
#ifdef HAVE_NGHTTP2_OPTION_SET_MAX_SETTINGS
	nghttp2_option_set_max_settings(o, 64);
#endif
#ifdef HAVE_NGHTTP2_OPTION_SET_STREAM_RESET_RATE_LIMIT
	nghttp2_option_set_stream_reset_rate_limit(o, 100000, 100000);
#endif
#ifdef HAVE_NGHTTP2_OPTION_SET_MAX_CONTINUATIONS
	nghttp2_option_set_max_continuations(o, 64);
#endif
#ifdef HAVE_NGHTTP2_OPTION_SET_GLITCH_RATE_LIMIT
	nghttp2_option_set_glitch_rate_limit(o, 100000, 100000);
#endif
	*ret = c;
	*ret_option = o;
	return 0;
}
