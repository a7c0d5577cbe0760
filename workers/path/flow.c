/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* One direction of a relay: read, frame, write at once; never read what cannot be written.
 *
 * Bytes are read into the worker's scratch buffer (or moved by a pipe, unseen) and written in the
 * same step.  Only what the sink does not take is kept, in chunks of the tenant, and then nothing
 * more is read until it is gone: a flow holds at most one scratch buffer full. */
#include "workers/path/codecs.h"

#include <errno.h>

#include "workers/codec/opaque.h"
#include "workers/path/mirror.h"
#include "workers/path/pressure.h"

#define FLOW_IOVS 64
/* Bytes still to come that make a pipe worth its two calls; below, one copy is cheaper. */
#define SPLICE_MIN 65536u
/* A stream without known length goes back to copying when a pipe moved less than this. */
#define SPLICE_LOW 16384

static int pass(struct path *p, struct flow *f, struct slice in, bool in_end, struct iovec *v,
		int max, size_t *used)
{
	if (f->body.kind == BODY_TUNNEL)
		return opaque_pass(&f->body, in, in_end, v, used);
	return http1_body_pass(&f->body, in, in_end, &p->arena, v, max, used);
}

static uint64_t blind_bytes(const struct flow *f)
{
	return f->body.kind == BODY_TUNNEL ? UINT64_MAX : http1_body_blind(&f->body);
}

static void blind_moved(struct flow *f, uint64_t n)
{
	f->took += n;
	f->gave += n;
	if (f->body.kind == BODY_TUNNEL)
		f->body.passed += n;
	else
		http1_body_moved(&f->body, n);
}

/* How much may be read, when all of it may have to be kept: in the sink's queue, or what its framing
 * had no room for at the source, in one piece.  A full buffer of either is a large chunk's worth;
 * when that is not to be had, as much as fits small ones; below four of them nothing.  What is read
 * in a step is kept or sent in the same, so nobody else can take that room meanwhile. */
static size_t room_to_read(const struct budget *b)
{
	size_t free = budget_room(b);

	if (likely(free >= 2 * CHUNK_LARGE_BYTES))
		return PATH_SCRATCH;
	return free >= 4 * CHUNK_SMALL_BYTES ? CHUNK_SMALL_ROOM : 0;
}

/* The first n waiting bytes are passed on.  A chunk with the head of this step is needed until the
 * step is over. */
static void passed_on(struct path *p, struct leg *l, struct purse w, size_t n)
{
	if (l->in == p->head_chunk && n && n == leg_waiting(l).n) {
		p->head_spent = l->in;
		l->in = NULL;
	} else {
		leg_used(l, w, n);
	}
}

/* The sink has ended, and may still have an answer; or we had no memory for it, and then what it
 * was to get is lost while it waits for it. */
static enum flowed sink_failed(int error)
{
	return error == -ENOMEM || error == -ENOBUFS ? FLOW_LOST : FLOW_SINK;
}

/* Empties the pipe into the sink: FLOW_DONE when it is empty. */
static enum flowed push(struct path *p, struct flow *f, struct leg *to)
{
	while (f->pipe) {
		ssize_t k;

		if (!(to->ready & READY_OUT)) {
			to->want |= READY_OUT;
			return FLOW_WAIT;
		}
		k = to->s.ops->push(&to->s, f->pipe->out.v, f->pipe->held);
		if (k == -EAGAIN) {
			to->ready &= (uint8_t)~READY_OUT;
			continue;
		}
		if (k <= 0)
			return sink_failed((int)k);
		to->sent += (uint64_t)k;
		f->pipe->held -= (size_t)k;
		if (f->pipe->held == 0)
			pipe_give(&p->pipes, &f->pipe);
	}
	return FLOW_DONE;
}

/* Fills a pipe from the source: FLOW_AGAIN: go on (with push, or without a pipe). */
static enum flowed pull(struct path *p, struct flow *f, struct leg *from, struct tenant *t,
			uint64_t blind)
{
	struct pipe *pipe = NULL;
	ssize_t k;

	if (p->pipes.n_spare || path_fds_free(p) >= p->fds.reserve)
		pipe = pipe_take(&p->pipes, &t->pipes);
	if (pipe == NULL) {
		f->bulk = false;
		return FLOW_AGAIN;
	}
	k = from->s.ops->pull(&from->s, pipe->in.v, min_of(blind, (uint64_t)pipe->room));
	if (k <= 0) {
		pipe_give(&p->pipes, &pipe);
		if (k == -EAGAIN) {
			from->ready &= (uint8_t)~READY_IN;
			from->want |= READY_IN;
			return FLOW_WAIT;
		}
		from->eof = k == 0;
		if (k == 0)
			return FLOW_AGAIN;
		f->bulk = false;	/* no memory for splicing: copied, and a broken source shows there */
		return k == -ENOMEM || k == -ENOBUFS ? FLOW_AGAIN : FLOW_SOURCE;
	}
	pipe->held = (size_t)k;
	f->pipe = pipe;
	blind_moved(f, (uint64_t)k);
	f->done = http1_body_is_done(&f->body);
	f->bulk = k >= SPLICE_LOW;
	sched_charge(&p->sched, (size_t)k);
	board_add(&p->mine->c[WC_spliced_bytes], (uint64_t)k);
	return FLOW_AGAIN;
}

int flow_trailers_add(struct conn *c, struct flow *f, struct slice s)
{
	struct path *p = c->path;
	struct chunk *t = f->trailers;

	if (t == NULL)
		t = f->trailers = chunk_take(&p->chunks, &c->tenant->memory, false);
	if (t && t->room - t->end < s.n && !t->large) {
		t = chunk_take(&p->chunks, &c->tenant->memory, true);
		if (t) {
			memcpy(t->data, f->trailers->data, f->trailers->end);
			t->end = f->trailers->end;
			chunk_give(&p->chunks, &f->trailers);
			f->trailers = t;
		}
	}
	if (t == NULL || t->room - t->end < s.n)
		return -ENOBUFS;
	memcpy(t->data + t->end, s.p, s.n);
	t->end += (uint32_t)s.n;
	return 0;
}

/* The source's stream has ended: its trailers, if it may have some, go behind the body. */
static bool take_trailers(struct exchange *ex, struct flow *f)
{
	int (*take)(struct exchange *, struct flow *) =
		f == &ex->up ? ex->front_codec->trailers : ex->back_codec->trailers;

	if (take == NULL || (f->body.kind != BODY_UNTIL_CLOSE && !f->body.ends_apart))
		return true;
	if (take(ex, f) < 0)
		return false;
	if (f->trailers)
		f->body.trailers = slice_of(f->trailers->data, f->trailers->end);
	return true;
}

/* What was read of trailers, for a sink that does not frame them; -1: no room. */
static int keep_trailers(struct conn *c, struct flow *f, const struct iovec *v, int n)
{
	for (int i = f->body.trailers_at; i < n; i++)
		if (flow_trailers_add(c, f, slice_of(v[i].iov_base, v[i].iov_len)) < 0)
			return -1;
	return min_of(n, (int)f->body.trailers_at);
}

static enum flowed run(struct exchange *ex, struct flow *f, struct leg *from, struct leg *to,
		       struct iovec *v, int n, struct slice *rest)
{
	struct conn *c = ex->conn;
	struct path *p = c->path;
	struct purse purse = conn_purse(c);

	for (;;) {
		struct slice in = *rest;
		bool in_end = false, in_chunk = false;
		size_t used = 0;
		enum flowed r;
		int k;

		if (n == 0) {
			k = leg_flush(to, purse);
			if (k < 0)
				return sink_failed(k);
			if (k == 0) {
				to->want |= READY_OUT;
				return FLOW_WAIT;
			}
			r = push(p, f, to);
			if (r != FLOW_DONE)
				return r;
			if (f->done)
				return FLOW_DONE;
			if (!sched_may_go_on(&p->sched))
				return FLOW_AGAIN;
			if (!(to->ready & READY_OUT)) {
				to->want |= READY_OUT;
				return FLOW_WAIT;
			}
		}
		if (in.n == 0 && from->in) {
			in = leg_waiting(from);
			in_chunk = true;
		}
		if (in.n == 0 && n == 0) {
			uint64_t blind = blind_bytes(f);
			size_t room;
			ssize_t got;

			/* A copy has to see the bytes. */
			if (blind >= SPLICE_MIN && !f->keeps && !(ex->mirror && f == &ex->up) &&
			    (f->bulk || blind != UINT64_MAX) && !from->eof &&
			    from->ready & READY_IN && from->s.ops->pull && to->s.ops->push) {
				r = pull(p, f, from, c->tenant, blind);
				if (r != FLOW_AGAIN)
					return r;
				if (f->pipe)
					continue;
			}
			room = pressure_stops_reading(p, c->tenant) ? 0 : room_to_read(purse.budget);
			if (room == 0)
				return FLOW_STARVED;
			got = leg_read(from, p->scratch, room);
			if (got == -EAGAIN) {
				from->want |= READY_IN;
				return FLOW_WAIT;
			}
			if (got < 0)
				return FLOW_SOURCE;
			in_end = got == 0;
			if (in_end && !take_trailers(ex, f))
				return FLOW_LOST;
			in = slice_of(p->scratch, (size_t)got);
			f->bulk = got == PATH_SCRATCH;
			sched_charge(&p->sched, (size_t)got);
		}
		if (!f->done && !http1_body_is_done(&f->body) && (in.n || in_end)) {
			k = pass(p, f, in, in_end, v + n, FLOW_IOVS - n, &used);
			if (k < 0)
				return FLOW_BAD;
			if (unlikely(f->body.keeps_trailers) && (k = keep_trailers(c, f, v + n, k)) < 0)
				return FLOW_LOST;
			if (unlikely(f->keeps))
				replay_add(ex, v + n, k);
			if (unlikely(ex->mirror) && f == &ex->up)
				mirror_take(ex, v + n, k);
			n += k;
			if (in_end && !http1_body_is_done(&f->body))
				return FLOW_SOURCE;
		}
		f->took += used;
		for (int i = 0; i < n; i++)
			f->gave += v[i].iov_len;
		k = leg_send(to, purse, v, n);
		n = 0;
		if (k < 0) {
			/* What is kept has been taken, though it went nowhere. */
			if (f->keeps && in_chunk)
				passed_on(p, from, purse, used);
			else if (f->keeps)
				*rest = slice_from(in, used);
			return sink_failed(k);
		}
		arena_reset(&p->arena);
		if (in_chunk)
			passed_on(p, from, purse, used);
		else
			*rest = slice_from(in, used);
		f->done = http1_body_is_done(&f->body);
		if (f->done && rest->n) {
			/* The next message's, or what should not be there; the owner of the leg decides. */
			if (leg_keep(from, purse, *rest) < 0)
				return FLOW_LOST;
			*rest = (struct slice){ NULL, 0 };
		}
	}
}

enum flowed flow_run(struct exchange *ex, struct flow *f, struct leg *from, struct leg *to,
		     const struct flow_start *start)
{
	struct iovec v[FLOW_IOVS];
	struct slice rest = start ? start->rest : (struct slice){ NULL, 0 };
	int n = start ? start->n : 0;
	enum flowed r;

	must(n < FLOW_IOVS - 4);
	if (n)
		memcpy(v, start->head, (size_t)n * sizeof v[0]);
	f->done = http1_body_is_done(&f->body);
	r = run(ex, f, from, to, v, n, &rest);
	/* The scratch buffer is somebody else's after this step. */
	if (rest.n && (r == FLOW_WAIT || r == FLOW_AGAIN || (r == FLOW_SINK && f->keeps)) &&
	    leg_keep(from, conn_purse(ex->conn), rest) < 0)
		return FLOW_LOST;
	return r;
}

void flow_fini(struct path *p, struct flow *f)
{
	if (f->pipe)
		pipe_give(&p->pipes, &f->pipe);
	if (f->trailers)
		chunk_give(&p->chunks, &f->trailers);
}

ssize_t flow_head_bytes(struct conn *c, struct leg *l, bool partial, size_t max, struct slice *ret,
			struct chunk **ret_chunk)
{
	struct path *p = c->path;
	/* Of a caller no more than a small chunk can keep: he may send many requests at once, and
	 * those whose turn it is not are better off in his socket, where they hold him back.  One who
	 * sends large bodies is read in large pieces.  An endpoint has nothing to send but the answer. */
	size_t room = l == &c->front && !c->bodies ? CHUNK_SMALL_ROOM : PATH_SCRATCH;
	ssize_t n;

	*ret_chunk = NULL;
	if (l->in == NULL) {
		n = leg_read(l, p->scratch, room);
		if (n <= 0)
			return n;
		sched_charge(&p->sched, (size_t)n);
		*ret = slice_of(p->scratch, (size_t)n);
		return n;
	}
	while (partial) {
		size_t before = leg_waiting(l).n;

		n = leg_read_more(l, conn_purse(c), max);
		if (n <= 0)
			return n;
		sched_charge(&p->sched, (size_t)n);
		/* A head is parsed from its start each time: only when a line has ended, else
		 * a caller that sends single bytes makes us read it all for each. */
		if (leg_waiting(l).n >= max ||
		    memchr(l->in->data + l->in->at + before, '\n', (size_t)n))
			break;
	}
	*ret = leg_waiting(l);
	*ret_chunk = l->in;
	l->in = NULL;
	return (ssize_t)ret->n;
}

int flow_head_wait(struct conn *c, struct leg *l, struct slice bytes, struct chunk **chunk)
{
	if (*chunk == NULL)
		return leg_keep(l, conn_purse(c), bytes);
	must(l->in == NULL);
	l->in = *chunk;
	*chunk = NULL;
	l->in->at = (uint32_t)(bytes.p - l->in->data);
	return 0;
}
