/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See h2.h: the life of a session, and the bytes of the stream below it. */
#include "nodeproxy/lib/net/h2.h"

#include <errno.h>

#include "nodeproxy/lib/net/h2_inner.h"

#define WRITE_IOVS 64

const struct h2_limits h2_limits_default = {
#define LIMIT(name, value, words) .name = value,
#include "nodeproxy/lib/net/h2_limits.def"
#undef LIMIT
};

enum { SCOPE_CONN, SCOPE_STREAM };

static const struct h2_offence_row offence_rows[H2_OFFENCES] = {
#define OFFENCE(name_, scope, code_, words_) \
	[H2_OFFENCE_##name_] = { .name = #name_, .words = words_, .is_stream = SCOPE_##scope,      \
				 .code = code_ },
#include "nodeproxy/lib/net/h2_offences.def"
#undef OFFENCE
};

const struct h2_offence_row *h2_offence_row(enum h2_offence o)
{
	return &offence_rows[o < H2_OFFENCES ? o : H2_OFFENCE_NONE];
}

/* ---- life ---- */

int h2_stock_init(struct h2_stock *s, struct chunk_pool *chunks, uint32_t sessions,
		  uint32_t streams)
{
	int r;

	*s = (struct h2_stock){ .chunks = chunks };
	r = h2_wire_callbacks(&s->callbacks, &s->option);
	if (r < 0)
		return r;
	r = slab_init(&s->sessions, "h2", H2_BYTES, sessions);
	if (r == 0) {
		s->sessions.raw = true;
		r = slab_init(&s->streams, "h2_stream", sizeof(struct h2_stream), streams);
		if (r == 0)
			return 0;
		slab_fini(&s->sessions);
	}
	nghttp2_option_del(s->option);
	nghttp2_session_callbacks_del(s->callbacks);
	return r;
}

void h2_stock_fini(struct h2_stock *s)
{
	slab_fini(&s->streams);
	slab_fini(&s->sessions);
	nghttp2_option_del(s->option);
	nghttp2_session_callbacks_del(s->callbacks);
}

static int first_settings(struct h2 *h)
{
	const struct h2_limits *lim = h->lim;
	nghttp2_settings_entry e[] = {
		{ NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, lim->streams },
		{ NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, h->window },
		{ NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, lim->head_bytes },
		{ NGHTTP2_SETTINGS_NO_RFC7540_PRIORITIES, 1 },
		{ NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL, 1 },
	};
	int r;

	if (!h->server) {
		e[0] = (nghttp2_settings_entry){ NGHTTP2_SETTINGS_ENABLE_PUSH, 0 };
		r = nghttp2_submit_settings(h->ng, NGHTTP2_FLAG_NONE, e, countof(e) - 1);
	} else {
		r = nghttp2_submit_settings(h->ng, NGHTTP2_FLAG_NONE, e, countof(e));
	}
	return r ? r : nghttp2_session_set_local_window_size(h->ng, NGHTTP2_FLAG_NONE, 0,
							     (int32_t)h->window_conn);
}

struct h2 *h2_new(struct h2_stock *stock, bool server, const struct h2_limits *lim,
		  struct stream *below, struct budget *b)
{
	struct slot_ref ref;
	struct h2 *h = slab_take(&stock->sessions, &ref);
	int r;

	if (h == NULL)
		return NULL;
	memset(h, 0, offsetof(struct h2, nest));
	h->magic = H2_MAGIC;
	h->server = server;
	h->stock = stock;
	h->lim = lim;
	h->below = below;
	h->budget = b;
	h->mem = h2_memory(h);
	h->heard = clock_now();
	h->early = (uint8_t)(ref.slot * 37 % 64);	/* slots that follow each other lie apart */
	list_init(&h->streams);
	list_init(&h->ready);
	chunkq_init(&h->held);
	chunkq_init(&h->out);
	h2_guard_init(&h->guard, lim, server, h->heard);
	h2_window_init(h);
	h->is_nesting = true;
	r = server ? nghttp2_session_server_new3(&h->ng, stock->callbacks, h, stock->option, &h->mem)
		   : nghttp2_session_client_new3(&h->ng, stock->callbacks, h, stock->option, &h->mem);
	h->is_nesting = false;
	if (r == 0)
		r = first_settings(h);
	if (r || h->fatal)
		h2_free(&h);
	return h;
}

void h2_free(struct h2 **hp)
{
	struct h2 *h = *hp;

	*hp = NULL;
	if (h == NULL)
		return;
	must(h->magic == H2_MAGIC);
	if (h->ng && h->state < H2_DYING)
		h2_fail(h, H2_OFFENCE_NONE, H2_CANCEL);
	list_each(it, &h->streams) {
		struct h2_stream *st = list_entry(it, struct h2_stream, all);

		list_remove(&st->all);
		list_remove(&st->ready);
		st->h = NULL;
		/* Its windows are gone too. */
		st->withheld = 0;
	}
	nghttp2_session_del(h->ng);
	chunkq_clear(&h->held, h->stock->chunks);
	chunkq_clear(&h->out, h->stock->chunks);
	must(h->bytes == 0);
	budget_return(h->budget, h->charged);
	h->magic = 0;
	slab_give(&h->stock->sessions, h);
}

int h2_begins_with(struct h2 *h, struct slice first)
{
	return chunkq_add(&h->held, h->stock->chunks, h->budget, first);
}

void h2_news(struct h2_stream *st, unsigned news)
{
	if (st->held == H2_HELD_BY_WIRE || st->h == NULL)
		return;
	st->news |= (uint8_t)news;
	if (!node_is_linked(&st->ready))
		list_add_tail(&st->h->ready, &st->ready);
}

struct h2_stream *h2_next(struct h2 *h, unsigned *ret_news)
{
	struct h2_stream *st = list_pop(&h->ready, struct h2_stream, ready);

	if (st == NULL)
		return NULL;
	st->is_new = false;
	*ret_news = st->news;
	st->news = 0;
	return st;
}

void h2_unseen(struct h2 *h, enum h2_offence o)
{
	if (o == H2_OFFENCE_NONE || h->unseen[o] == UINT16_MAX)
		return;
	h->unseen[o]++;
	h->n_unseen++;
}

enum h2_offence h2_next_unseen(struct h2 *h)
{
	enum h2_offence o;

	if (likely(h->n_unseen == 0))
		return H2_OFFENCE_NONE;
	for (o = H2_OFFENCE_NONE; h->unseen[o] == 0; o++)
		;
	h->unseen[o]--;
	h->n_unseen--;
	return o;
}

struct h2_stream *h2_held(const struct h2 *h)
{
	for (struct node *it = h->streams.next; it != &h->streams; it = it->next) {
		struct h2_stream *st = list_entry(it, struct h2_stream, all);

		if (st->held != H2_HELD_BY_WIRE && !st->is_new)
			return st;
	}
	return NULL;
}

static void put32(uint8_t *p, uint32_t v)
{
	p[0] = (uint8_t)(v >> 24);
	p[1] = (uint8_t)(v >> 16);
	p[2] = (uint8_t)(v >> 8);
	p[3] = (uint8_t)v;
}

/* The end of it for this offence: nghttp2 is not asked any more, the last words are ours, and they
 * need no memory. */
void h2_fail(struct h2 *h, enum h2_offence o, enum h2_code code)
{
	int32_t last;

	if (h->state >= H2_DYING)
		return;
	last = nghttp2_session_get_last_proc_stream_id(h->ng);
	h->state = H2_DYING;
	h->offence = (uint8_t)o;
	h->stock->offences[o]++;
	h->packed = NULL;
	memset(h->bye, 0, sizeof h->bye);
	h->bye[2] = H2_GOAWAY_BYTES - H2_FRAME_HEADER_BYTES;
	h->bye[3] = NGHTTP2_GOAWAY;
	put32(h->bye + 9, (uint32_t)max_of(last, 0));
	put32(h->bye + 13, code);
	h->bye_at = 0;
	h->bye_n = H2_GOAWAY_BYTES;
	chunkq_clear(&h->held, h->stock->chunks);
	list_each(it, &h->streams) {
		struct h2_stream *st = list_entry(it, struct h2_stream, all);

		if (st->held != H2_HELD_BY_USER)
			h2_stream_unwired(st, code ? code : H2_CANCEL);
	}
}

static void fail(struct h2 *h, enum h2_offence o)
{
	h2_fail(h, o, h2_offence_row(o)->code);
}

/* The stream below is gone: nothing can be said any more.  It is no offence between streams. */
static enum h2_went cut(struct h2 *h)
{
	if (h->state < H2_DYING)
		fail(h, h->wired ? H2_OFFENCE_CUT : H2_OFFENCE_NONE);
	chunkq_clear(&h->out, h->stock->chunks);
	h->bye_n = 0;
	h->state = H2_DEAD;
	return H2_OVER;
}

void h2_end(struct h2 *h, enum h2_code code)
{
	h2_fail(h, H2_OFFENCE_NONE, code);
}

void h2_ping(struct h2 *h, enum h2_ping kind)
{
	uint8_t opaque[8] = { (uint8_t)kind };

	put32(opaque + 4, ++h->pings);
	if (nghttp2_submit_ping(h->ng, NGHTTP2_FLAG_NONE, opaque) == NGHTTP2_ERR_NOMEM)
		h->fatal = H2_OFFENCE_MEMORY;
}

/* What a callback or a call of the user found out; true: it was the end. */
static bool act(struct h2 *h)
{
	if (h->fatal == H2_OFFENCE_NONE || h->state >= H2_DYING)
		return h->state >= H2_DYING;
	fail(h, h->fatal);
	return true;
}

/* ---- reading ---- */

/* Frames that nghttp2 took no notice of: unknown ones, and those for streams that have ended. */
static enum h2_offence look_for_waste(struct h2 *h)
{
	int64_t wasted = (int64_t)(h->guard.frames - h2_guard_is_inside(&h->guard) - h->understood);
	enum h2_offence bad = H2_OFFENCE_NONE;

	for (; h->wasted < wasted && !bad; h->wasted++)
		bad = h2_guard_useless(&h->guard, clock_now());
	h->wasted = wasted;
	return bad;
}

/* Frames of a message whose stream has ended: nghttp2 takes no notice of them.  Streams above the
 * last that was taken are unknown because we leave. */
static enum h2_offence look_for_closed(const struct h2 *h)
{
	int32_t id = (int32_t)h->guard.old_id;

	if (id == 0 || id > nghttp2_session_get_last_proc_stream_id(h->ng) ||
	    nghttp2_session_find_stream(h->ng, id))
		return H2_OFFENCE_NONE;
	return h2_guard_closed(&h->guard, (uint32_t)id);
}

/* Passes on a part of in that the guard lets through; returns how much that was. */
static size_t feed_part(struct h2 *h, struct slice in, struct h2_allowance *may)
{
	enum h2_offence bad;
	size_t n = 0;
	ssize_t r;

	bad = h2_guard_look(&h->guard, in, clock_now(), may, &n);
	if (bad == H2_OFFENCE_NONE)
		bad = look_for_closed(h);
	if (bad) {
		fail(h, bad);
		return 0;
	}
	if (n == 0)
		return 0;
	r = nghttp2_session_mem_recv(h->ng, in.p, n);
	if (act(h))
		return 0;
	if (r == (ssize_t)n) {
		bad = look_for_waste(h);
		if (bad)
			fail(h, bad);
		return n;
	}
	fail(h, r == NGHTTP2_ERR_NOMEM		    ? H2_OFFENCE_MEMORY
		: r == NGHTTP2_ERR_BAD_CLIENT_MAGIC ? H2_OFFENCE_PREFACE
		: r == NGHTTP2_ERR_FLOODED	    ? H2_OFFENCE_GLITCHES
						    : H2_OFFENCE_PROTOCOL);
	return 0;
}

/* The same with as much of in as may be. */
static size_t feed(struct h2 *h, struct slice in, struct h2_allowance *may)
{
	size_t used = 0, n;

	do {
		n = feed_part(h, slice_of(in.p + used, in.n - used), may);
		used += n;
	} while (n && used < in.n && h->state < H2_DYING);
	return used;
}

/* Too many answers (to SETTINGS, PING, bad streams) wait to be written.  What waits of bodies does not
 * count, nor the frame or two that each stream may have there: two who both have much to say must
 * read on, or each waits for the other.  Requests that the peer does not take yet (it has lowered
 * its limit meanwhile) are in that queue too, but they wait for what is to be read. */
static bool is_full(const struct h2 *h)
{
	return nghttp2_session_get_outbound_queue_size(h->ng) >= h->lim->out_frames + 2 * h->wired &&
	       nghttp2_session_want_write(h->ng);
}

enum h2_went h2_read(struct h2 *h, uint8_t *scratch, size_t room)
{
	struct h2_allowance may = { h->lim->read_frames, h->lim->read_requests };
	size_t used;
	ssize_t n;

	if (act(h))
		return H2_OVER;
	if (is_full(h))
		return H2_FULL;
	while (h->held.bytes) {
		struct iovec v;

		chunkq_iov(&h->held, &v, 1);
		used = feed(h, slice_of(v.iov_base, v.iov_len), &may);
		if (h->state >= H2_DYING)
			return H2_OVER;
		chunkq_consume(&h->held, h->stock->chunks, used);
		if (used < v.iov_len)
			return H2_MORE;
	}
	n = h->below->ops->read(h->below, scratch, room);
	if (n == -EAGAIN)
		return H2_DRY;
	if (n <= 0)
		return cut(h);
	h->heard = clock_now();
	h->is_asked = false;
	used = feed(h, slice_of(scratch, (size_t)n), &may);
	if (h->state >= H2_DYING)
		return H2_OVER;
	if (used < (size_t)n) {
		if (chunkq_add(&h->held, h->stock->chunks, h->budget,
			       slice_of(scratch + used, (size_t)n - used)) < 0) {
			fail(h, H2_OFFENCE_MEMORY);
			return H2_OVER;
		}
		return H2_MORE;
	}
	return (size_t)n < room ? H2_DRY : H2_MORE;
}

/* ---- writing ---- */

/* Frames of nghttp2 into out.  False: no memory for them now. */
static bool pack(struct h2 *h)
{
	while (h->out.bytes < h->lim->out_bytes) {
		if (h->packed == NULL) {
			size_t before = h->out.bytes;
			ssize_t n = nghttp2_session_mem_send(h->ng, &h->packed);

			if (n <= 0) {
				h->packed = NULL;
				if (n < 0 && h->fatal == H2_OFFENCE_NONE)
					h->fatal = n == NGHTTP2_ERR_NOMEM ? H2_OFFENCE_MEMORY
									  : H2_OFFENCE_PROTOCOL;
				/* DATA goes into out by itself, and stops where there is no room. */
				return n < 0 || h->out.bytes > before ||
				       !nghttp2_session_want_write(h->ng);
			}
			h->packed_n = (size_t)n;
		}
		if (chunkq_add(&h->out, h->stock->chunks, h->budget,
			       slice_of(h->packed, h->packed_n)) < 0)
			return false;
		h->packed = NULL;
	}
	return true;
}

/* 1: all is written; 0: the stream below takes no more; -1: it broke. */
static int flush(struct h2 *h)
{
	while (h->out.bytes || h->bye_at < h->bye_n) {
		struct iovec v[WRITE_IOVS];
		size_t queued = h->out.bytes;
		int n = chunkq_iov(&h->out, v, WRITE_IOVS - 1);
		ssize_t k;

		if (n < WRITE_IOVS - 1 && h->bye_at < h->bye_n)
			v[n++] = (struct iovec){ h->bye + h->bye_at,
						 (size_t)(h->bye_n - h->bye_at) };
		k = h->below->ops->write(h->below, v, n);
		if (k == -EAGAIN) {
			if (h->unread.ns == 0) {
				h->unread = clock_now();
				h->written_then = h->written;
			}
			return 0;
		}
		if (k <= 0)
			return -1;
		h->written += (uint64_t)k;
		if ((size_t)k > queued)
			h->bye_at += (uint8_t)((size_t)k - queued);
		chunkq_consume(&h->out, h->stock->chunks, min_of((size_t)k, queued));
	}
	h->unread.ns = 0;
	return 1;
}

/* The peer has seen the first GOAWAY, or had the time to. */
static void drain_on(struct h2 *h)
{
	if (h->state != H2_LEAVING ||
	    (h->drained.ns && mono_diff_ms(clock_now(), h->drained) < h->lim->drain_ms))
		return;
	h->state = H2_LAST;
	if (nghttp2_submit_goaway(h->ng, NGHTTP2_FLAG_NONE,
				  nghttp2_session_get_last_proc_stream_id(h->ng), H2_NO_ERROR, NULL,
				  0) == NGHTTP2_ERR_NOMEM)
		h->fatal = H2_OFFENCE_MEMORY;
}

enum h2_went h2_write(struct h2 *h)
{
	bool packed_all = true;
	int r;

	act(h);
	if (h->state == H2_DEAD)
		return H2_OVER;
	if (h->state < H2_DYING) {
		drain_on(h);
		packed_all = pack(h);
		/* nghttp2's own last words are in out already. */
		if (h->fatal) {
			bool said = !nghttp2_session_want_read(h->ng) && h->out.bytes;

			act(h);
			if (said)
				h->bye_n = 0;
		}
	}
	r = flush(h);
	if (r < 0)
		return cut(h);
	if (r == 0)
		return H2_FULL;
	if (h->state == H2_DYING) {
		h->state = H2_DEAD;
		return H2_OVER;
	}
	if (h2_wants_write(h))
		return packed_all ? H2_MORE : H2_STARVED;
	return H2_DRY;
}

/* ---- time ---- */

/* What gets less away in a stall's time has stalled. */
#define STALL_BYTES 1024u

/* False: it does not read. */
static bool tick_line(struct h2 *h, struct mono now)
{
	if (h->unread.ns == 0 || mono_diff_ms(now, h->unread) < h->lim->stall_ms)
		return true;
	if (h->written - h->written_then < STALL_BYTES)
		return false;
	h->unread = now;
	h->written_then = h->written;
	return true;
}

static void tick_stream(struct h2_stream *st, struct mono now)
{
	uint32_t ms = st->stall_ms ?: st->h->lim->stall_ms;

	if (st->stalled.ns == 0 || mono_diff_ms(now, st->stalled) < ms)
		return;
	if (st->sent - st->sent_then < STALL_BYTES) {
		h2_stream_offends(st, H2_OFFENCE_STALLED);
		return;
	}
	st->stalled = now;
	st->sent_then = st->sent;
}

static bool is_unheard(const struct h2 *h, struct mono now)
{
	return !h->is_heard && h->told.ns && mono_diff_ms(now, h->told) >= h->lim->settings_ms;
}

uint32_t h2_tick(struct h2 *h)
{
	const struct h2_limits *lim = h->lim;
	struct mono now = clock_now();
	int64_t silent = mono_diff_ms(now, h->heard);
	int64_t ask_ms = lim->ping_idle_ms - (int64_t)lim->ping_idle_ms * h->early / 640;
	int64_t next = 1000;

	if (act(h))
		return (uint32_t)next;
	drain_on(h);
	list_each(it, &h->streams)
		tick_stream(list_entry(it, struct h2_stream, all), now);
	if (h2_guard_is_slow(&h->guard, now)) {
		fail(h, H2_OFFENCE_HEAD_SLOW);
	} else if (!tick_line(h, now)) {
		fail(h, H2_OFFENCE_DEAF);
	} else if (is_unheard(h, now)) {
		fail(h, H2_OFFENCE_SETTINGS_UNHEARD);
	} else if (h->is_asked) {
		int64_t waited = mono_diff_ms(now, h->asked);

		if (waited >= lim->ping_wait_ms)
			fail(h, H2_OFFENCE_SILENT);
		else
			next = min_of(next, (int64_t)lim->ping_wait_ms - waited);
	} else if (ask_ms && silent >= ask_ms && h->guard.has_settings) {
		h2_ping(h, H2_PING_ALIVE);
		h->is_asked = true;
		h->asked = now;
		next = min_of(next, (int64_t)lim->ping_wait_ms);
	} else if (ask_ms) {
		next = min_of(next, max_of(ask_ms - silent, (int64_t)1));
	}
	if (h->state == H2_LEAVING)
		next = min_of(next, max_of(lim->drain_ms - mono_diff_ms(now, h->drained),
					   (int64_t)1));
	act(h);
	return (uint32_t)next;
}

void h2_drain(struct h2 *h)
{
	if (h->state != H2_OPEN)
		return;
	h->state = H2_LEAVING;
	h->drained = clock_now();
	if (!h->server) {
		h->drained.ns = 0;	/* nobody but us begins streams: nothing to wait for */
		return;
	}
	if (nghttp2_submit_shutdown_notice(h->ng) == NGHTTP2_ERR_NOMEM)
		h->fatal = H2_OFFENCE_MEMORY;
}

/* ---- questions ---- */

enum h2_state h2_state(const struct h2 *h)
{
	return h->state;
}

enum h2_offence h2_offence(const struct h2 *h)
{
	return h->offence;
}

bool h2_wants_write(const struct h2 *h)
{
	if (h->state >= H2_DYING)
		return h->state == H2_DYING;
	return h->fatal || h->out.bytes || h->packed || nghttp2_session_want_write(h->ng) ||
	       (h->state == H2_LEAVING && h->drained.ns == 0);
}

bool h2_is_greeted(const struct h2 *h)
{
	return h->is_greeted;
}

bool h2_is_idle(const struct h2 *h)
{
	return list_is_empty(&h->streams);
}

bool h2_is_quiet(const struct h2 *h)
{
	return h->state == H2_OPEN && h2_is_idle(h) && h->guard.has_settings && h->is_heard && !h->guard.in_block &&
	       h->held.bytes == 0 && h->unread.ns == 0 && !h2_wants_write(h);
}

uint32_t h2_streams(const struct h2 *h)
{
	return h->wired;
}

uint32_t h2_room(const struct h2 *h)
{
	uint32_t most;

	if (h->server || h->state != H2_OPEN || h->peer_leaves)
		return 0;
	most = nghttp2_session_get_remote_settings(h->ng, NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS);
	return most > h->wired ? most - h->wired : 0;
}

bool h2_peer_is_leaving(const struct h2 *h)
{
	return h->peer_leaves;
}

bool h2_peer_takes_connect(const struct h2 *h)
{
	return h->state < H2_DYING && nghttp2_session_get_remote_settings(
					      h->ng, NGHTTP2_SETTINGS_ENABLE_CONNECT_PROTOCOL) == 1;
}

uint32_t h2_peer_head_bytes(const struct h2 *h)
{
	return nghttp2_session_get_remote_settings(h->ng, NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE);
}

size_t h2_bytes(const struct h2 *h)
{
	return h->bytes;
}
