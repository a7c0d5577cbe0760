/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* relay: bytes both ways until one end is done.
 *
 * HTTP: the request goes up, and at the same time an answer may come down: interim ones (1xx) are
 * passed on, a final one ends the exchange when all of it was written, even while the request is
 * still coming (then nothing more is read from it and the conn closes).  An endpoint that stops
 * taking the request may still have an answer, so only its reading side is given up ("deaf").
 * Opaque flows and upgraded ones: both ways until both have ended, each end passed on by itself. */
#include "workers/path/codecs.h"

#include <errno.h>

#include "workers/codec/opaque.h"
#include "workers/obs/endpoint.h"
#include "workers/path/filter.h"
#include "workers/path/mirror.h"

/* ---- the request ---- */

static bool nothing_sent(const struct exchange *ex)
{
	return ex->back->leg.sent == ex->sent_before;
}

/* Who has a place on a trunk and could not begin a stream there has come too late for it. */
static enum reason why_failed(const struct exchange *ex)
{
	const struct back *b = ex->back;
	bool reused = b->uses > 0 && b->leg.in == NULL;

	if (b->broke && (b->broke != REASON_BACK_CUT || !reused))
		return (enum reason)b->broke;
	if (b->on && nothing_sent(ex))
		return REASON_BACK_REFUSED_STREAM;
	return reused ? REASON_BACK_STALE : REASON_BACK_CUT;
}

static bool may_send_again(const struct exchange *ex, enum reason why)
{
	if (ex->replay.bytes == 0 || ex->conn->is_mirror || ex->is_tunnel || ex->answer != ANSWER_NONE ||
	    ex->back->leg.in != NULL)
		return false;
	if (nothing_sent(ex))
		return reason_row(why)->retry != RETRY_NO;
	/* Other safe reasons are safe because nothing was sent. */
	if (why == REASON_BACK_REFUSED_STREAM)
		return true;
	return reason_row(why)->retry == RETRY_IDEMPOTENT && ex->can_replay;
}

/* The endpoint failed before any byte of an answer. */
static enum step back_failed(struct exchange *ex)
{
	enum reason why = why_failed(ex);
	bool trunk = ex->back->on;
	enum step s;

	if (!may_send_again(ex, why) || (!trunk && ex->fresh_only))
		return attempt_failed(ex, why, &s) ? s : end(ex, why);
	if (trunk) {
		const struct h2 *h = trunk_session(&ex->conn->path->trunks, ex->back);

		/* One that leaves, or has gone, does as it should; one that has enough to do does not. */
		if (h && !h2_peer_is_leaving(h) && !nothing_sent(ex))
			exchange_back_failed(ex);
		return exchange_try_another(ex, why);
	}
	/* To the same endpoint: it is well as far as we know, only that connection was old. */
	exchange_release_back(ex, false, false);
	ex->fresh_only = true;
	ex->sent_head = false;
	ex->resent++;
	exchange_event(ex, WC_retries, SC_retries);
	ex->at = STAGE_connect - 1;
	return NEXT;
}

/* One side of a tunnel has finished: the other is seldom long in following. */
static bool is_half_closed(const struct exchange *ex)
{
	return ex->is_tunnel && (ex->up.done || ex->down.done || ex->back_deaf);
}

static int64_t stall_ms(const struct exchange *ex)
{
	return ex->policy.stall_ms ?: ex->conn->path->knobs->stall_ms;
}

/* A call of gRPC may be silent for as long as both sides like, and its endpoint need not even begin an
 * answer: its caller says how long he waits.  Only bytes that wait for somebody can stall it. */
static bool is_quiet_call(const struct exchange *ex)
{
	return ex->is_grpc && ex->conn->front.out.bytes == 0 && ex->back->leg.out.bytes == 0 &&
	       ex->up.pipe == NULL && ex->down.pipe == NULL;
}

static bool waits_for_answer(const struct exchange *ex)
{
	return ex->answer == ANSWER_NONE && ex->up.done &&
	       (ex->policy.response_ms || !is_quiet_call(ex));
}

static int64_t ms_for(const struct exchange *ex)
{
	const struct knobs *k = ex->conn->path->knobs;
	const struct policy *y = &ex->policy;

	if (ex->is_tunnel) {
		int64_t idle_ms = y->tcp_idle_ms ?: k->tcp_idle_ms;

		return is_half_closed(ex) ? min_of(k->half_closed_ms, idle_ms) : idle_ms;
	}
	if (waits_for_answer(ex))
		return y->response_ms ?: k->response_ms;
	if (is_quiet_call(ex))
		return y->tcp_idle_ms ?: k->tcp_idle_ms;
	return ex->slow_since.ns ? min_of(stall_ms(ex), k->body_rate_ms) : stall_ms(ex);
}

/* Nothing but the caller is waited for: not the endpoint, which has taken all that came (and has said
 * that it wants it, where the caller may wait for that), and not memory. */
static bool waits_for_body(const struct exchange *ex)
{
	return !ex->up.done && ex->answer == ANSWER_NONE && ex->sent_head && !ex->is_tunnel &&
	       !ex->is_grpc && !ex->back_deaf && ex->conn->front.want & READY_IN &&
	       ex->back->leg.out.bytes == 0 && ex->up.pipe == NULL && !(ex->expects_continue && ex->up.body.passed == 0);
}

/* Time is up: whose fault is it? */
static enum reason late(const struct exchange *ex)
{
	const struct leg *front = &ex->conn->front, *back = &ex->back->leg;

	if (ex->is_tunnel)
		return REASON_FRONT_IDLE;
	if (front->out.bytes || ex->down.pipe)
		return REASON_FRONT_SLOW;
	if (is_quiet_call(ex) && !waits_for_answer(ex))
		return REASON_FRONT_IDLE;
	if (ex->answer == ANSWER_NONE && !ex->up.done && !ex->back_deaf)
		return back->out.bytes || ex->up.pipe ? REASON_BACK_STALLED
						       : REASON_FRONT_BODY_TIMEOUT;
	return ex->answer == ANSWER_NONE ? REASON_BACK_TIMEOUT : REASON_BACK_STALLED;
}

/* From now on the rate of the body is measured anew. */
static void measure(struct exchange *ex)
{
	ex->slow_since = clock_now();
	ex->slow_took = ex->up.took;
}

static bool is_below_rate(const struct exchange *ex, int64_t ms)
{
	return (ex->up.took - ex->slow_took) * 1000 <
	       (uint64_t)(ex->conn->path->knobs->body_rate * ms);
}

/* At the end of each step: the body has come too slowly for as long as that is measured. */
static bool is_too_slow(struct exchange *ex)
{
	const struct knobs *k = ex->conn->path->knobs;
	int64_t ms;

	if (!waits_for_body(ex) || k->body_rate == 0) {
		ex->slow_since.ns = 0;
		return false;
	}
	if (ex->slow_since.ns) {
		ms = mono_diff_ms(clock_now(), ex->slow_since);
		if (ms < k->body_rate_ms)
			return false;
		if (is_below_rate(ex, ms))
			return true;
	}
	measure(ex);
	return false;
}

/* The deadline has passed.  NONE: enough had come before the caller fell silent, so it has the rest
 * of timeouts.stall. */
static enum reason time_is_up(struct exchange *ex)
{
	const struct knobs *k = ex->conn->path->knobs;
	int64_t ms = mono_diff_ms(clock_now(), ex->slow_since);

	if (exchange_is_over(ex))
		return (enum reason)ex->until_why;
	if (ex->slow_since.ns == 0 || ms < k->body_rate_ms)
		return late(ex);
	if (is_below_rate(ex, ms))
		return REASON_FRONT_BODY_SLOW;
	if (stall_ms(ex) <= k->body_rate_ms)
		return late(ex);
	measure(ex);
	exchange_deadline_ms(ex, min_of(stall_ms(ex) - k->body_rate_ms, k->body_rate_ms));
	return REASON_NONE;
}

/* What the sum of all progress is; compared, never shown. */
static uint64_t progress(const struct exchange *ex)
{
	return ex->up.took + ex->down.took + ex->conn->front.sent + ex->back->leg.sent;
}

/* Out of memory of the tenant: wait until some is given back. */
static enum step starve(struct exchange *ex)
{
	struct conn *c = ex->conn;

	if (!node_is_linked(&c->node))
		list_add_tail(&c->path->starved, &c->node);
	return WAIT;
}

/* Whether the request may have to be sent again, though it went out.  A trunk that is new refuses
 * streams as an old one does, and whatever the method. */
static bool is_worth_keeping(const struct exchange *ex, const struct flow *before)
{
	if (ex->back_codec->trunks)
		return http1_body_is_done(&before->body);
	return ex->back->uses > 0 && ex->can_replay;
}

/* Nothing of the body was sent. */
static void take_back(struct exchange *ex, const struct flow *before)
{
	ex->up = *before;
	if (unlikely(ex->mirror))
		mirror_rewind(ex);
}

/* Sends the request head with what is there of the body. */
static enum flowed send_request(struct exchange *ex)
{
	struct conn *c = ex->conn;
	struct path *p = c->path;
	const struct back_codec *codec = ex->back_codec;
	struct leg *back = &ex->back->leg;
	struct flow before = ex->up;
	struct iovec v[HEAD_IOVS];
	struct flow_start start = { .head = v };
	bool waited = ex->replay.bytes > 0, keeps, again = replay_has_body(ex);
	enum flowed r;
	int n, sent = 0;

	ex->sent_head = true;
	if (waited)
		n = chunkq_iov(&ex->replay, v, HEAD_IOVS);
	else if (!never(p->head_of != ex))
		n = codec->spell(ex, v, HEAD_IOVS);
	else
		return FLOW_BAD;
	if (n < 0)
		return FLOW_BAD;
	start.n = n;
	if (codec->send) {
		sent = codec->send(ex, v, n);
		start.n = 0;
	}
	if (unlikely(ex->up.keeps)) {
		if (!waited && codec->keep(ex, v, n) < 0)
			replay_drop(ex);
		if (again && sent == 0) {
			sent = start.n ? leg_send(back, conn_purse(c), v, start.n) : 0;
			start.n = 0;
			sent = sent ?: replay_send(ex);
		}
	}
	r = sent == 0 ? flow_run(ex, &ex->up, &c->front, back, &start)
		      : sent == -ENOBUFS ? FLOW_LOST : FLOW_SINK;
	keeps = is_worth_keeping(ex, &before);
	if (unlikely(ex->up.keeps)) {
		/* For the last attempt nothing need be kept. */
		if (ex->retries >= ex->trying.times.retry.attempts && !keeps)
			replay_drop(ex);
	} else if (!waited && (keeps || ((ex->back->uses > 0 || codec->trunks) && r == FLOW_SINK && nothing_sent(ex)))) {
		/* A connection that is not new may be closed under us: be able to send it again. */
		if (codec->keep(ex, v, n) < 0)
			chunkq_clear(&ex->replay, &p->chunks);
		if (r == FLOW_SINK && nothing_sent(ex))
			take_back(ex, &before);	/* its body is still all there */
	} else if (waited && !keeps && r != FLOW_SINK) {
		chunkq_clear(&ex->replay, &p->chunks);
	} else if (waited && r == FLOW_SINK && nothing_sent(ex)) {
		take_back(ex, &before);
	}
	arena_reset(&p->arena);
	p->head_of = NULL;
	ex->sent = clock_now();
	return r;
}

static enum step go_up(struct exchange *ex)
{
	struct conn *c = ex->conn;
	struct leg *back = &ex->back->leg;
	bool first = ex->is_http && !ex->sent_head;
	enum flowed r;

	if (ex->up.done && !first && back->out.bytes == 0)
		return NEXT;
	if (ex->back_deaf)
		return NEXT;
	r = first ? send_request(ex) : flow_run(ex, &ex->up, &c->front, back, NULL);
	switch (r) {
	case FLOW_WAIT:
		return NEXT;	/* the way down may go on */
	case FLOW_AGAIN:
		conn_wake(c);
		return NEXT;
	case FLOW_DONE:
		if (ex->is_tunnel && !back->finished) {
			if (leg_finish(back) < 0)
				ex->back_deaf = true;
		} else if (ex->back_codec->over && ex->is_http && ex->back_codec->over(ex) < 0) {
			ex->back_deaf = true;
		}
		if (unlikely(ex->mirror))
			mirror_launch(ex);
		return NEXT;
	case FLOW_SOURCE:
		return end(ex, REASON_FRONT_CUT);
	case FLOW_SINK:
		if (first && nothing_sent(ex) &&
		    (ex->back->on || (ex->back->uses > 0 && !(back->ready & READY_IN))))
			return back_failed(ex);
		/* It may have answered before it stopped listening. */
		ex->back_deaf = true;
		chunkq_clear(&back->out, &c->path->chunks);
		if (likely(!ex->up.keeps))
			flow_fini(c->path, &ex->up);
		back->ready |= READY_IN;
		return NEXT;
	case FLOW_BAD:
		return end(ex, ex->up.body.state == BODY_BAD ? REASON_BAD_FRAMING :
			       ex->up.body.state == BODY_OVER ? REASON_BODY_TOO_LARGE :
								REASON_TOO_LARGE);
	case FLOW_STARVED:
		return starve(ex);
	case FLOW_LOST:
		ex->front_keep = false;	/* it may have been the beginning of the next request */
		return end(ex, REASON_OVER_BUDGET);
	}
	return NEXT;
}

/* ---- the response ---- */

/* What an operation of the front said of a head that it could not send. */
static enum reason unsent(int error)
{
	switch (error) {
	case -EMSGSIZE:
		return REASON_BACK_HEAD_TOO_LARGE;
	case -EBADMSG:
		return REASON_BACK_BAD_RESPONSE;
	case -ENOBUFS:
		return REASON_OVER_BUDGET;
	default:
		return REASON_FRONT_CUT;
	}
}

static enum step go_down(struct exchange *ex, const struct flow_start *start)
{
	struct conn *c = ex->conn;
	struct leg *front = &c->front;

	switch (flow_run(ex, &ex->down, &ex->back->leg, front, start)) {
	case FLOW_WAIT:
		return WAIT;
	case FLOW_AGAIN:
		conn_wake(c);
		return WAIT;
	case FLOW_DONE:
		if (ex->is_tunnel) {
			if (!front->finished) {
				int r = leg_finish(front);

				if (r <= 0)
					return r ? end(ex, REASON_FRONT_CUT) : WAIT;
			}
			if (!ex->up.done && !ex->back_deaf)
				return WAIT;
		} else if (ex->front_codec->over) {
			int r = ex->front_codec->over(ex);

			if (r < 0)
				return end(ex, unsent(r));
		}
		ex->answer = ANSWER_DONE;
		ex->reason = REASON_DONE;
		return NEXT;
	case FLOW_SOURCE:
		return end(ex, ex->back->broke ? (enum reason)ex->back->broke : REASON_BACK_CUT);
	case FLOW_SINK:
		return end(ex, REASON_FRONT_CUT);
	case FLOW_BAD:
		return end(ex, REASON_BACK_BAD_FRAMING);
	case FLOW_STARVED:
		return starve(ex);
	case FLOW_LOST:
		return end(ex, REASON_OVER_BUDGET);
	}
	return WAIT;
}

/* 1xx but 101: passed on at once. */
static enum step interim(struct exchange *ex)
{
	int r;

	if (ex->conn->path->head.status == 100) {
		if (unlikely(ex->resent) && !ex->expects_continue)
			return NEXT;	/* he was told at an attempt before */
		ex->expects_continue = false;
	}
	r = ex->front_codec->interim(ex);
	if (r == -ENOBUFS)
		ex->answer = ANSWER_BODY;	/* part of it may be out: no answer can follow it */
	return r < 0 ? end(ex, unsent(r)) : NEXT;
}

static enum step final(struct exchange *ex, struct slice rest)
{
	struct conn *c = ex->conn;
	struct path *p = c->path;
	struct head *h = &p->head;
	struct iovec v[HEAD_IOVS];
	struct flow_start start = { .head = v, .rest = rest };
	uint64_t given = c->front.sent + c->front.out.bytes;
	enum step s;

	if (h->status == 101) {
		if (!ex->upgrade || !ex->up.done || ex->back_deaf)
			return end(ex, REASON_BACK_BAD_RESPONSE);
		ex->is_tunnel = true;
		ex->up.done = false;
		if (ex->until_why != REASON_CALLER_DEADLINE)
			ex->until.ns = 0;
		opaque_init(&ex->up.body);
		opaque_init(&ex->down.body);
		conn_wake(c);	/* what the caller sent already goes up in the next step */
	} else {
		ex->back_keep = h->keep_alive && h->body != BODY_UNTIL_CLOSE;
		/* A caller that is still sending will be cut off: nobody wants the rest. */
		ex->front_keep = ex->front_keep && ex->up.done && !conn_is_leaving(ex->conn) &&
				 !(ex->front_http10 &&
				   (h->body == BODY_CHUNKED || h->body == BODY_UNTIL_CLOSE));
	}
	ex->status = h->status;
	ex->head_at = clock_now();
	board_answered(p->board, p->worker, slab_ref(&p->pool.backs, ex->back).slot);
	if (h->status < 500) {	/* what a failure counts as is account's to say */
		struct board_endpoint *e = exchange_endpoint(ex);

		endpoint_answered(e, (uint32_t)min_of(mono_diff_us(ex->head_at, ex->sent),
						      (int64_t)UINT32_MAX), clock_now());
		endpoint_proved(e, ex->connect_began);
	}
	if (unlikely(ex->edits) && filter_response(ex) < 0)
		return end(ex, REASON_BACK_HEAD_TOO_LARGE);
	start.n = ex->front_codec->response(ex, v, HEAD_IOVS);
	if (start.n < 0) {
		ex->is_tunnel = false;	/* nobody has switched: it can be answered */
		return end(ex, unsent(start.n));
	}
	ex->answer = ANSWER_BODY;
	chunkq_clear(&ex->replay, &p->chunks);
	if (unlikely(ex->up.keeps))
		replay_drop(ex);
	s = go_down(ex, &start);
	/* A body that is wrong from its start takes its head along: then we may still answer. */
	if (s == END && ex->reason == REASON_BACK_BAD_FRAMING &&
	    given == c->front.sent + c->front.out.bytes)
		ex->answer = ANSWER_NONE;
	return s;
}

/* Acts on the response head at hand. */
static enum step act_on(struct exchange *ex, const struct behind *behind)
{
	struct conn *c = ex->conn;
	const struct head *h = &c->path->head;
	enum step s;

	if (h->status >= 200 || h->status == 101) {
		if (unlikely(ex->has_trying) && attempt_answered(ex, behind->rest, &s))
			return s;
		return final(ex, behind->rest);
	}
	s = interim(ex);
	if (s != NEXT)
		return s;
	if (leg_keep(&ex->back->leg, conn_purse(c), behind->rest) < 0)
		return end(ex, REASON_OVER_BUDGET);
	if (!sched_may_go_on(&c->path->sched)) {
		conn_wake(c);
		return WAIT;
	}
	return NEXT;
}

/* Waits for a response head and acts on it. */
static enum step answer(struct exchange *ex)
{
	struct conn *c = ex->conn;
	enum step s = NEXT;

	do {
		struct behind behind = { .held = NULL };
		enum reason why = REASON_BACK_BAD_RESPONSE;
		int r = leg_flush(&c->front, conn_purse(c));

		/* What is left of an interim answer goes out before more is read: the endpoint may
		 * be waiting for the body that the caller sends when it has seen 100. */
		if (r < 0)
			return end(ex, REASON_FRONT_CUT);
		if (r == 0) {
			c->front.want |= READY_OUT;
			return WAIT;
		}
		switch (ex->back_codec->hear(ex, &behind, &why)) {
		case HEARD_HEAD:
			s = act_on(ex, &behind);
			break;
		case HEARD_PART:
			s = WAIT;
			break;
		case HEARD_END:
			return back_failed(ex);
		case HEARD_BAD:
			s = end(ex, why);
			break;
		}
		if (behind.held)
			chunk_give(&c->path->chunks, &behind.held);
	} while (s == NEXT && ex->back && ex->answer == ANSWER_NONE);
	return s;
}

enum step stage_relay(struct exchange *ex)
{
	struct conn *c = ex->conn;
	struct leg *front = &c->front, *back = &ex->back->leg;
	uint64_t before = progress(ex);
	bool started = ex->is_http ? !ex->sent_head : !ex->is_tunnel;
	bool half = is_half_closed(ex), slow = ex->slow_since.ns;
	enum reason why;
	enum step s;

	front->want = back->want = 0;
	if (c->expired && (why = time_is_up(ex)) != REASON_NONE)
		return attempt_failed(ex, why, &s) ? s : end(ex, why);
	if (front->ready & READY_ERR && ex->answer == ANSWER_NONE)
		return end(ex, REASON_FRONT_CUT);
	if (!ex->is_http && !ex->is_tunnel) {
		ex->is_tunnel = true;
		opaque_init(&ex->up.body);
		opaque_init(&ex->down.body);
	}
	s = go_up(ex);
	if (s == NEXT && ex->back)
		s = ex->answer == ANSWER_NONE && !ex->is_tunnel ? answer(ex) : go_down(ex, NULL);
	if (s != WAIT)
		return s;
	if ((!ex->up.done || slow) && is_too_slow(ex))
		return end(ex, REASON_FRONT_BODY_SLOW);
	if (started || progress(ex) != before || is_half_closed(ex) != half ||
	    (bool)ex->slow_since.ns != slow)
		exchange_deadline_ms(ex, ms_for(ex));
	return WAIT;
}
