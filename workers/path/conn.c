/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See conn.h: the table, and the steps of a conn that has begun (conn_begin.c). */
#include "workers/path/conn_inner.h"

#include <errno.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/panic.h"
#include "workers/codec/detect.h"
#include "workers/codec/http2.h"
#include "workers/path/exchange.h"
#include "workers/path/mux.h"
#include "workers/path/pressure.h"
#include "workers/path/secure.h"

/* A caller whose last answer was sent has this long to close, and may send this much meanwhile
 * (closing at once with bytes unread makes the kernel reset, and the answer may be lost). */
#define LINGER_MS    2000
#define LINGER_BYTES (1u << 20)

#define ___ CONN_BUG	/* this event cannot come in this state */
const uint8_t conn_next[CONN_STATES][CONN_EVENTS] = {
#define TO(s) CONN_##s
/*                  PROXIED     TLS        SHAKE      SECURED     HTTP      HTTP2    OPAQUE    REQUEST   KEEP      LAST        CUT         GONE        DEADLINE    DRAIN_END */
[CONN_PROXY]  = { TO(DETECT), TO(HELLO), ___,       ___,        ___,      ___,     ___,      ___,      ___,      ___,        TO(CLOSED), TO(CLOSED), TO(CLOSED), TO(CLOSED) },
[CONN_HELLO]  = { ___,        ___,       TO(SHAKE), ___,        ___,      ___,     ___,      ___,      ___,      ___,        TO(CLOSED), TO(CLOSED), TO(CLOSED), TO(CLOSED) },
[CONN_SHAKE]  = { ___,        ___,       ___,       TO(DETECT), ___,      ___,     ___,      ___,      ___,      ___,        TO(CLOSED), TO(CLOSED), TO(CLOSED), TO(CLOSED) },
[CONN_DETECT] = { ___,        ___,       ___,       ___,        TO(HEAD), TO(MUX), TO(BUSY), ___,      ___,      ___,        TO(CLOSED), TO(CLOSED), TO(CLOSED), TO(CLOSED) },
[CONN_HEAD]   = { ___,        ___,       ___,       ___,        ___,      TO(MUX), ___,      TO(BUSY), ___,      ___,        TO(CLOSED), TO(CLOSED), TO(CLOSED), TO(CLOSED) },
[CONN_MUX]    = { ___,        ___,       ___,       ___,        ___,      ___,     ___,      ___,      ___,      TO(LINGER), TO(CLOSED), TO(CLOSED), ___,        TO(CLOSED) },
[CONN_STREAM] = { ___,        ___,       ___,       ___,        ___,      ___,     ___,      TO(BUSY), ___,      ___,        TO(CLOSED), ___,        ___,        TO(CLOSED) },
[CONN_BUSY]   = { ___,        ___,       ___,       ___,        ___,      ___,     ___,      ___,      TO(HEAD), TO(LINGER), TO(CLOSED), TO(CLOSED), ___,        TO(CLOSED) },
[CONN_LINGER] = { ___,        ___,       ___,       ___,        ___,      ___,     ___,      ___,      ___,      ___,        TO(CLOSED), TO(CLOSED), TO(CLOSED), TO(CLOSED) },
#undef TO
};		/* CLOSED has no row: conns in it are not found any more */

TRAIL_NAMES(conn_state_name, CONN_STATES_LIST)
TRAIL_NAMES(conn_event_name, CONN_EVENTS_LIST)

void conn_deadline_ms(struct conn *c, int64_t ms)
{
	c->expired = false;
	path_deadline(c->path, &c->deadline, ms);
}

/* ---- effects: one per state, run after the state was assigned ---- */

static void enter_head(struct conn *c)
{
	c->partial = false;
	conn_deadline_ms(c, c->path->knobs->idle_ms);
}

static void enter_linger(struct conn *c)
{
	conn_deadline_ms(c, LINGER_MS);
}

static void enter_closed(struct conn *c, enum conn_state was, enum conn_event ev)
{
	struct path *p = c->path;
	/* Who was not waiting for anything shall see an end, not a reset. */
	bool abort = ev == CONN_EV_CUT ||
		     (ev == CONN_EV_DRAIN_END && (was == CONN_BUSY || c->front.out.bytes));

	if (c->reason == REASON_NONE)
		c->reason = ev == CONN_EV_DRAIN_END ? REASON_DRAIN_DEADLINE : REASON_DONE;
	if (c->ex)
		exchange_abort(&c->ex, (enum reason)c->reason);
	else if (c->is_mirror)
		;	/* nobody's conn */
	else if (c->exchanges == 0 || (was != CONN_BUSY && c->reason != REASON_DONE)) {
		/* Ended between exchanges; one that ended the conn was counted with its reason. */
		board_add(&p->mine->reasons[c->reason], 1);
		board_add(&c->tenant->board->reasons[c->reason], 1);
		if (unlikely(was == CONN_HELLO || was == CONN_SHAKE) && c->reason != REASON_FRONT_CLOSED)
			account_unasked(c, was == CONN_SHAKE);
	}
	if (was == CONN_STREAM)		/* nobody has looked at it: it may be sent again */
		h2_reset(mux_stream(c), H2_REFUSED_STREAM);
	leg_close(&c->front, conn_purse(c), abort);
	wheel_clear(&p->wheel, &c->deadline);
	sched_forget(&p->sched, &c->unit);
	list_remove(&c->node);
	list_add_tail(&p->dead_conns, &c->node);
	if (c->is_stream || c->is_mirror)
		return;
	p->fds.gone++;
	tenant_leave(c->tenant);
	c->gate->conns--;
}

static void bug(struct conn *c, enum conn_state was, enum conn_event ev)
{
	board_add(&c->path->mine->c[WC_bugs], 1);
	c->reason = REASON_OUR_BUG;
	log_limited(LOG_ERROR, "bug", "state=%s conn_event=%s trail=%04x,%04x,%04x,%04x",
		    conn_state_name(was), conn_event_name(ev),
		    trail_at(&c->trail, TRAIL_LEN - 1), trail_at(&c->trail, TRAIL_LEN - 2),
		    trail_at(&c->trail, TRAIL_LEN - 3), trail_at(&c->trail, TRAIL_LEN - 4));
}

/* The only function that assigns c->state.  Effects run after the assignment; none of them tells the
 * conn of another event, so this never re-enters itself for one conn (a session that ends, ends its
 * streams). */
void conn_event(struct conn *c, enum conn_event ev)
{
	enum conn_state was = (enum conn_state)c->state;
	enum conn_state now = (enum conn_state)conn_next[was][ev];

	trail_add(&c->trail, was, ev, now);
	if (never(now == CONN_BUG)) {
		bug(c, was, ev);
		if (was == CONN_CLOSED)
			return;
		now = CONN_CLOSED;
	}
	c->state = (uint8_t)now;
	if (unlikely(was == CONN_MUX))
		mux_fini(c);
	switch (now) {
	case CONN_HEAD:
		enter_head(c);
		break;
	case CONN_LINGER:
		enter_linger(c);
		break;
	case CONN_CLOSED:
		enter_closed(c, was, ev);
		break;
	default:
		break;
	}
}

void conn_end(struct conn *c, enum reason why, enum conn_event ev)
{
	if (c->reason == REASON_NONE)
		c->reason = (uint8_t)why;
	conn_event(c, ev);
}

/* ---- steps: each returns true when the conn may go on at once in its new state ---- */

/* Another step later, others first. */
static bool step_yield(struct conn *c)
{
	conn_wake(c);
	return false;
}

/* A head that is refused: an exchange that is over before its first stage.  h: as far as it was
 * parsed; NULL: not at all. */
static bool refuse(struct conn *c, enum reason why, const struct head *h)
{
	c->ex = exchange_new(c, NULL);
	if (c->ex == NULL) {
		conn_end(c, why, CONN_EV_CUT);
		return false;
	}
	c->ex->is_http = true;
	if (h) {
		exchange_keep_id(c->ex, h);
		c->ex->is_head = h->is_head;
		c->ex->is_grpc = h->is_grpc;
	}
	c->ex->at = STAGE_account;
	c->ex->reason = (uint8_t)why;
	conn_event(c, CONN_EV_REQUEST);
	exchange_run(c->ex);
	return true;
}

/* What came behind the head waits where it is, in the chunk that holds both, or in one of its own. */
static int keep_rest(struct conn *c, struct slice bytes, struct chunk **held)
{
	struct path *p = c->path;
	struct chunk *h = *held;

	if (h == NULL)
		return leg_keep(&c->front, conn_purse(c), slice_from(bytes, p->head.bytes));
	if (p->head.bytes < bytes.n) {
		h->at += (uint32_t)p->head.bytes;
		c->front.in = p->head_chunk = h;
		*held = NULL;
	}
	return 0;
}

static bool step_head(struct conn *c)
{
	struct path *p = c->path;
	struct leg *f = &c->front;
	struct slice bytes;
	struct chunk *held;
	enum reason why = REASON_BAD_REQUEST;
	ssize_t n;
	int r;

	r = leg_flush(f, conn_purse(c));
	if (r < 0) {
		conn_end(c, REASON_FRONT_CUT, CONN_EV_CUT);
		return false;
	}
	if (c->expired) {
		if (f->out.bytes)
			conn_end(c, REASON_FRONT_SLOW, CONN_EV_CUT);
		else if (f->in)
			return refuse(c, REASON_FRONT_HEAD_TIMEOUT, NULL);
		else
			conn_end(c, REASON_FRONT_IDLE, CONN_EV_DEADLINE);
		return false;
	}
	if (r == 0)
		return step_wait(c, READY_OUT);
	if (!sched_may_go_on(&p->sched))
		return step_yield(c);
	n = flow_head_bytes(c, f, c->partial, p->limits.head_bytes + 1, &bytes, &held);
	if (n == -EAGAIN)
		return step_wait(c, READY_IN);
	if (n == -EMSGSIZE)
		return refuse(c, REASON_HEAD_TOO_LARGE, NULL);
	if (n == -ENOBUFS)
		return refuse(c, REASON_OVER_BUDGET, NULL);
	if (n <= 0) {
		conn_end(c, n == 0 && f->in == NULL ? REASON_FRONT_CLOSED : REASON_FRONT_CUT,
			 CONN_EV_GONE);
		return false;
	}
	p->head_of = NULL;
	r = http1_request(bytes, &p->limits, &p->head, &why);
	if (unlikely(r < 0 && c->exchanges == 0 && slice_starts(bytes, SLICE("PRI")))) {
		enum detected d = detect(bytes);

		if (d == DETECT_H2)
			return conn_start_session(c, bytes, &held);
		r = d == DETECT_MORE ? 0 : r;
	}
	if (r == 0) {
		if (flow_head_wait(c, f, bytes, &held) < 0)
			return refuse(c, REASON_OVER_BUDGET, &p->head);
		if (!c->partial)
			conn_deadline_ms(c, p->knobs->head_ms);
		c->partial = true;
		return true;		/* reads on until there is no more */
	}
	if (r < 0) {
		if (c->exchanges == 0 && detect(bytes) == DETECT_TLS)
			why = REASON_NOT_HTTP;
	} else if (pressure_refuses(p, c->tenant)) {
		why = REASON_OVER_BUDGET;
		r = -1;
	} else {
		c->ex = keep_rest(c, bytes, &held) < 0 ? NULL : exchange_new(c, &p->head);
		if (c->ex) {
			conn_event(c, CONN_EV_REQUEST);
			exchange_run(c->ex);
		} else {
			why = REASON_OVER_BUDGET;
			r = -1;
		}
		p->head_chunk = NULL;
		if (p->head_spent)
			chunk_give(&p->chunks, &p->head_spent);
	}
	r = r < 0 ? refuse(c, why, &p->head) : c->state != CONN_BUSY;
	if (held)		/* the head lies there */
		chunk_give(&p->chunks, &held);
	return r;
}

/* The head of a stream, which waits there as a whole.  It is taken out first: what waits behind it is
 * the trailers of the same request, which may go on in this step. */
static bool step_stream(struct conn *c)
{
	struct path *p = c->path;
	struct h2_stream *st = mux_stream(c);
	struct h2_block *b = h2_block(st);
	struct chunk *held = h2_block_lift(st);
	enum reason why = REASON_BAD_REQUEST;
	int r;

	p->head_of = NULL;
	r = http2_request(b, &p->limits, &p->arena, &p->head, &why);
	if (r == 0 && (pressure_refuses(p, c->tenant) || (c->ex = exchange_new(c, &p->head)) == NULL)) {
		why = REASON_OVER_BUDGET;
		r = -1;
	}
	if (r == 0) {
		conn_event(c, CONN_EV_REQUEST);
		exchange_run(c->ex);
	}
	r = r < 0 && refuse(c, why, &p->head);
	chunk_give(&p->chunks, &held);
	return r;
}

static bool step_linger(struct conn *c)
{
	struct path *p = c->path;
	struct leg *f = &c->front;
	int r = leg_flush(f, conn_purse(c));
	ssize_t n;

	if (r < 0) {
		conn_event(c, CONN_EV_CUT);
		return false;
	}
	if (c->expired) {
		conn_event(c, r ? CONN_EV_DEADLINE : CONN_EV_CUT);
		return false;
	}
	if (r == 0)
		return step_wait(c, READY_OUT);
	if (!f->finished) {
		/* All was read and nothing more has come: the usual case, without a farewell. */
		if (f->in == NULL && !(f->ready & READY_IN) && !c->partial) {
			conn_event(c, CONN_EV_GONE);
			return false;
		}
		r = leg_finish(f);
		if (r < 0)
			conn_event(c, CONN_EV_GONE);
		if (r <= 0)
			return false;
	}
	if (f->in)
		leg_used(f, conn_purse(c), leg_waiting(f).n);
	n = leg_read(f, p->scratch, PATH_SCRATCH);
	if (n == -EAGAIN)
		return step_wait(c, READY_IN);
	if (n <= 0 || c->thrown > LINGER_BYTES) {
		conn_event(c, CONN_EV_GONE);
		return false;
	}
	c->thrown += (uint32_t)n;	/* a scratch buffer over LINGER_BYTES at most */
	sched_charge(&p->sched, (size_t)n);
	return step_yield(c);
}

void conn_step(struct sched_unit *u)
{
	struct conn *c = container_of(u, struct conn, unit);
	bool more;

	panic_trail(&c->trail);
	do {
		c->front.want = 0;
		switch ((enum conn_state)c->state) {
		case CONN_PROXY:
			more = conn_step_proxy(c);
			break;
		case CONN_HELLO:
			more = secure_hello(c);
			break;
		case CONN_SHAKE:
			more = conn_step_shake(c);
			break;
		case CONN_DETECT:
			more = conn_step_detect(c);
			break;
		case CONN_HEAD:
			more = step_head(c);
			break;
		case CONN_MUX:
			more = mux_step(c);
			break;
		case CONN_STREAM:
			more = step_stream(c);
			break;
		case CONN_BUSY:
			exchange_run(c->ex);
			more = c->state != CONN_BUSY;
			break;
		case CONN_LINGER:
			more = step_linger(c);
			break;
		default:
			more = false;
			break;
		}
	} while (more && c->state != CONN_CLOSED);
	if (c->is_stream)
		mux_kick(c);
}

void conn_free(struct conn *c)
{
	struct path *p = c->path;

	must(c->magic == CONN_MAGIC && c->state == CONN_CLOSED && c->ex == NULL);
	list_remove(&c->node);
	p->streams -= c->is_stream;
	p->mirrors -= c->is_mirror;
	tenant_give(&c->tenant);
	gate_unref(&c->gate);
	panic_trail(NULL);
	c->magic = 0;
	slab_give(&p->conns, c);
}
