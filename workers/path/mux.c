/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See mux.h. */
#include "workers/path/mux.h"

#include <errno.h>

#include "workers/path/pressure.h"

/* A session that has said its last words, or must say them, gets rid of them within this. */
#define LAST_WORDS_MS 2000
/* Between two looks at the clock of a session with streams, at most. */
#define TICK_MS 1000
/* What may be on its way to us while the tenant is short of memory. */
#define WINDOW_SHORT 65535u

static const uint8_t reasons[H2_OFFENCES] = {
	[H2_OFFENCE_NONE] = REASON_DONE,
	[H2_OFFENCE_CUT] = REASON_FRONT_CUT,
	[H2_OFFENCE_PREFACE] = REASON_H2_PREFACE,
	[H2_OFFENCE_PROTOCOL] = REASON_H2_PROTOCOL,
	[H2_OFFENCE_STREAM_CLOSED] = REASON_H2_STREAM_CLOSED,
	[H2_OFFENCE_FLOW_CONTROL] = REASON_H2_FLOW_CONTROL,
	[H2_OFFENCE_FRAME_SIZE] = REASON_H2_FRAME_SIZE,
	[H2_OFFENCE_COMPRESSION] = REASON_H2_COMPRESSION,
	[H2_OFFENCE_HEADER_BOMB] = REASON_H2_HEADER_BOMB,
	[H2_OFFENCE_CONTINUATIONS] = REASON_H2_CONTINUATIONS,
	[H2_OFFENCE_HEAD_SLOW] = REASON_H2_HEAD_SLOW,
	[H2_OFFENCE_SETTINGS_UNHEARD] = REASON_H2_SETTINGS_UNHEARD,
	[H2_OFFENCE_EMPTY_FRAMES] = REASON_H2_EMPTY_FRAMES,
	[H2_OFFENCE_PINGS] = REASON_H2_PINGS,
	[H2_OFFENCE_SETTINGS] = REASON_H2_SETTINGS,
	[H2_OFFENCE_SETTINGS_LONG] = REASON_H2_SETTINGS_LONG,
	[H2_OFFENCE_PRIORITIES] = REASON_H2_PRIORITIES,
	[H2_OFFENCE_WINDOW_UPDATES] = REASON_H2_WINDOW_UPDATES,
	[H2_OFFENCE_DRIBBLE] = REASON_H2_DRIBBLE,
	[H2_OFFENCE_RESETS] = REASON_H2_RESETS,
	[H2_OFFENCE_RESETS_CAUSED] = REASON_H2_RESETS_CAUSED,
	[H2_OFFENCE_STREAMS] = REASON_H2_STREAMS,
	[H2_OFFENCE_GLITCHES] = REASON_H2_GLITCHES,
	[H2_OFFENCE_DEAF] = REASON_H2_DEAF,
	[H2_OFFENCE_SILENT] = REASON_H2_SILENT,
	[H2_OFFENCE_MEMORY] = REASON_OVER_BUDGET,
	[H2_OFFENCE_BAD_MESSAGE] = REASON_H2_BAD_MESSAGE,
	[H2_OFFENCE_HEAD_TOO_LARGE] = REASON_HEAD_TOO_LARGE,
	[H2_OFFENCE_STALLED] = REASON_H2_STALLED,
	[H2_OFFENCE_OVER_BUDGET] = REASON_OVER_BUDGET,
	[H2_OFFENCE_NO_ROOM] = REASON_NO_MEMORY,
};

enum reason mux_reason(enum h2_offence o)
{
	return reasons[o < H2_OFFENCES ? o : H2_OFFENCE_NONE];
}

void mux_limits(struct h2_limits *l, const struct knobs *k)
{
	*l = h2_limits_default;
	l->streams = (uint32_t)k->h2_streams;
	l->head_bytes = (uint32_t)k->head_bytes;
	l->head_lines = (uint32_t)k->headers;
	l->head_ms = (uint32_t)k->head_ms;
	l->stall_ms = (uint32_t)min_of(k->stall_ms, (int64_t)INT32_MAX);
	/* An answer to PING waits behind whatever a slow caller still has to read: he is judged by what
	 * he reads (stall_ms). */
	l->ping_idle_ms = 0;
}

/* What a stream's user field holds: never NULL, for a generation in use is odd. */
static void *user_of(struct slot_ref r)
{
	return (void *)((uintptr_t)r.slot << 32 | r.gen);
}

static struct conn *conn_at(const struct path *p, struct slot_ref r)
{
	struct conn *c = slab_at(&p->conns, r);

	return c && c->state != CONN_CLOSED ? c : NULL;
}

static struct conn *stream_conn(const struct path *p, const struct h2_stream *st)
{
	uintptr_t u = (uintptr_t)st->user;

	return conn_at(p, (struct slot_ref){ (uint32_t)(u >> 32), (uint32_t)u });
}

void mux_kick(struct conn *c)
{
	struct conn *outer = conn_at(c->path, c->outer);

	if (outer && outer->state == CONN_MUX && h2_wants_write(outer->h2))
		conn_wake(outer);
}

bool mux_begin(struct conn *c, struct slice first)
{
	struct path *p = c->path;

	c->h2 = h2_new(&p->h2, true, &p->h2_limits, &c->front.s, &c->tenant->memory);
	if (c->h2 && h2_begins_with(c->h2, first) < 0)
		h2_free(&c->h2);
	if (c->h2 == NULL)
		return false;
	c->partial = true;	/* those bytes wait */
	c->quiet = false;
	conn_deadline_ms(c, min_of(p->knobs->head_ms, (int64_t)TICK_MS));
	return true;
}

/* ---- news ---- */

static void count_refused(struct conn *c, enum reason why)
{
	board_add(&c->path->mine->reasons[why], 1);
	board_add(&c->tenant->board->reasons[why], 1);
}

static unsigned ready_of(const struct h2_stream *st)
{
	return st->gets == H2_GETS_NOTHING ? READY_IN | READY_END : READY_IN;
}

/* A request: a conn for it. */
static void begin_stream(struct conn *c, struct h2_stream *st)
{
	struct path *p = c->path;
	struct slot_ref ref;
	struct conn *s = slab_take(&p->conns, &ref);

	if (s == NULL) {
		count_refused(c, REASON_NO_MEMORY);
		h2_reset(st, H2_REFUSED_STREAM);
		stream_close(&st->s, true);
		return;
	}
	p->streams++;
	s->magic = CONN_MAGIC;
	s->state = CONN_STREAM;
	s->is_stream = true;
	s->path = p;
	s->gate = c->gate;
	gate_ref(s->gate);
	s->tenant = c->tenant;
	tenant_ref(s->tenant);
	s->outer = slab_ref(&p->conns, c);
	sched_unit_init(&s->unit, s->tenant, c->unit.step);
	wheel_entry_init(&s->deadline);
	list_init(&s->node);
	leg_init(&s->front);
	s->front.s = stream_through(&st->s);
	s->front.ready = (uint8_t)(READY_OUT | ready_of(st));
	s->secure = c->secure;
	s->extra_n = c->extra_n;
	memcpy(s->extra, c->extra, c->extra_n);
	s->peer_port = c->peer_port;
	s->dialled = c->dialled;
	st->user = user_of(ref);
	conn_wake(s);
}

/* Why a stream has broken. */
static enum reason broken(const struct conn *c, const struct h2_stream *st)
{
	enum h2_offence o = st->offence ? st->offence : h2_offence(c->h2);

	return o ? mux_reason(o) : c->reason ? (enum reason)c->reason : REASON_FRONT_CUT;
}

static void pass_news(struct conn *c)
{
	struct path *p = c->path;
	enum h2_offence unseen;
	struct h2_stream *st;
	unsigned news;

	while ((unseen = h2_next_unseen(c->h2)))
		count_refused(c, mux_reason(unseen));
	while ((st = h2_next(c->h2, &news))) {
		struct conn *s = st->user ? stream_conn(p, st) : NULL;
		unsigned bits = 0;

		if (st->user == NULL && !(news & H2_NEWS_RESET)) {
			begin_stream(c, st);
			continue;
		}
		if (s == NULL) {
			stream_close(&st->s, true);
			continue;
		}
		if (news & H2_NEWS_RESET) {
			conn_end(s, broken(c, st), CONN_EV_CUT);
			continue;
		}
		if (news & H2_NEWS_DATA)
			bits |= ready_of(st);
		if (news & H2_NEWS_ROOM)
			bits |= READY_OUT;
		s->front.ready |= (uint8_t)bits;
		if (bits & (s->front.want | READY_END))
			conn_wake(s);
	}
}

/* ---- steps ---- */

/* Its streams go first, so that all of them are there to be told why. */
static void end_streams(struct conn *c)
{
	struct h2_stream *st;

	while ((st = h2_held(c->h2))) {
		struct conn *s = st->user ? stream_conn(c->path, st) : NULL;

		if (s)
			conn_end(s, broken(c, st), CONN_EV_CUT);
		else
			stream_close(&st->s, true);
	}
}

void mux_fini(struct conn *c)
{
	bool said = h2_state(c->h2) == H2_LAST && h2_is_idle(c->h2);

	if (h2_state(c->h2) < H2_DYING) {
		h2_end(c->h2, H2_NO_ERROR);
		/* As much of it as the socket takes now. */
		if (!said)
			(void)h2_write(c->h2);
	}
	end_streams(c);
	h2_free(&c->h2);
}

static enum h2_went read_some(struct conn *c)
{
	struct path *p = c->path;
	struct leg *f = &c->front;
	enum h2_went r = H2_DRY;

	if (h2_state(c->h2) >= H2_DYING || (!(f->ready & READY_IN) && !c->partial))
		return H2_DRY;
	if (pressure_stops_reading(p, c->tenant)) {
		h2_windows(c->h2, WINDOW_SHORT);
		return H2_STARVED;
	}
	h2_windows(c->h2, (uint32_t)p->knobs->h2_window);
	/* Once more where a short read may have hidden the end. */
	for (int i = 0; i < 2 && r == H2_DRY; i++) {
		r = h2_read(c->h2, p->scratch, PATH_SCRATCH);
		if (r == H2_DRY && !leg_has_more(f))
			break;
	}
	if (r == H2_DRY)
		f->ready &= (uint8_t)~READY_IN;
	c->partial = r == H2_MORE || r == H2_FULL || r == H2_STARVED;
	return r;
}

/* All is said: by us, or nobody hears it any more. */
static bool over(struct conn *c, bool was_idle)
{
	enum h2_offence o = h2_offence(c->h2);

	if (o == H2_OFFENCE_CUT) {
		conn_end(c, was_idle ? REASON_FRONT_CLOSED : REASON_FRONT_CUT, CONN_EV_GONE);
		return false;
	}
	c->reason = (uint8_t)(o				      ? mux_reason(o)
			      : h2_state(c->h2) < H2_LAST     ? REASON_FRONT_CLOSED
			      : conn_is_leaving(c)	      ? REASON_DRAINED
							      : REASON_FRONT_IDLE);
	c->partial = true;	/* what the caller still sends must not turn our last words into a reset */
	conn_event(c, CONN_EV_LAST);
	return true;
}

static void starve(struct conn *c)
{
	if (!node_is_linked(&c->node))
		list_add_tail(&c->path->starved, &c->node);
}

/* No new requests; those that are under way may finish. */
static void leave(struct conn *c)
{
	if (h2_state(c->h2) != H2_OPEN)
		return;
	h2_drain(c->h2);
	c->quiet = false;
	conn_deadline_ms(c, TICK_MS);
}

/* The clock: a quiet session has the time that any idle connection has, others are looked at now and
 * then. */
static void watch(struct conn *c)
{
	bool quiet = h2_is_quiet(c->h2);

	if (quiet == c->quiet)
		return;
	c->quiet = quiet;
	conn_deadline_ms(c, quiet ? c->path->knobs->idle_ms : TICK_MS);
}

/* Nothing is under way, and by what one side has said nothing will be.  nghttp2 answers not even a
 * PING then. */
static bool is_done(const struct conn *c, enum h2_went r, enum h2_went w)
{
	if (h2_state(c->h2) == H2_DEAD)
		return true;
	if (w != H2_DRY || !h2_is_idle(c->h2))
		return false;
	return h2_state(c->h2) == H2_LAST || (h2_peer_is_leaving(c->h2) && r == H2_DRY);
}

bool mux_step(struct conn *c)
{
	struct leg *f = &c->front;
	bool was_idle = h2_is_idle(c->h2), dying;
	enum h2_went r, w = H2_FULL;

	if (conn_is_leaving(c))
		leave(c);
	if (c->expired && c->quiet) {
		leave(c);
	} else if (c->expired) {
		if (h2_state(c->h2) == H2_DYING) {
			conn_end(c, mux_reason(h2_offence(c->h2)), CONN_EV_CUT);
			return false;
		}
		conn_deadline_ms(c, (int64_t)min_of(h2_tick(c->h2), (uint32_t)TICK_MS));
	}
	dying = h2_state(c->h2) >= H2_DYING;
	r = read_some(c);
	pass_news(c);
	if (f->ready & READY_OUT) {
		w = h2_write(c->h2);
		pass_news(c);
	}
	if (is_done(c, r, w))
		return over(c, was_idle);
	if (w == H2_FULL) {
		f->ready &= (uint8_t)~READY_OUT;
		f->want |= READY_OUT;
	}
	if (r == H2_STARVED || w == H2_STARVED)
		starve(c);
	if (h2_state(c->h2) == H2_DYING) {
		if (!dying)
			conn_deadline_ms(c, LAST_WORDS_MS);
		return false;
	}
	watch(c);
	f->want |= READY_IN;
	if (r == H2_MORE || w == H2_MORE || (r == H2_FULL && w != H2_FULL) ||
	    (w == H2_DRY && h2_wants_write(c->h2)))
		conn_wake(c);
	return false;
}
