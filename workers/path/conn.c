/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See conn.h. */
#include "workers/path/conn.h"

#include <errno.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/panic.h"
#include "nodeproxy/lib/base/strbuf.h"
#include "workers/codec/detect.h"
#include "workers/codec/http2.h"
#include "workers/codec/proxyproto.h"
#include "workers/path/exchange.h"
#include "workers/path/mux.h"
#include "workers/path/pods.h"
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

static bool step_wait(struct conn *c, unsigned bits)
{
	c->front.want |= (uint8_t)bits;
	return false;
}

/* Another step later, others first. */
static bool step_yield(struct conn *c)
{
	conn_wake(c);
	return false;
}

static bool start_opaque(struct conn *c)
{
	c->ex = exchange_new(c, NULL);
	if (c->ex == NULL) {
		conn_end(c, REASON_NO_MEMORY, CONN_EV_CUT);
		return false;
	}
	conn_event(c, CONN_EV_OPAQUE);
	return true;
}

/* The bytes begin as HTTP/2 does.  Consumes the chunk they lie in. */
static bool start_session(struct conn *c, struct slice bytes, struct chunk **held)
{
	bool begun = mux_begin(c, bytes);

	if (*held)
		chunk_give(&c->path->chunks, held);
	if (!begun) {
		conn_end(c, REASON_NO_MEMORY, CONN_EV_CUT);
		return false;
	}
	conn_event(c, CONN_EV_HTTP2);
	return true;
}

/* What is listened for: HTTP only, opaque only, or whatever comes. */
static enum app_protocol protocol_of(struct conn *c)
{
	struct gate *g = c->gate;
	struct vservice s;
	struct vport port;

	switch ((enum listen_route)g->terms.route) {
	case LISTEN_HOST:
		return APP_HTTP;	/* nothing else names a host */
	case LISTEN_SERVICE:
		return g->has_port ? g->port.protocol : APP_AUTO;
	case LISTEN_ORIGINAL:
		/* Under TLS it was asked for before (secure_hello). */
		if (c->dialled.family == 0 &&
		    (c->secure || tcp_world->dialled(&c->front.s, &c->dialled) < 0))
			return APP_AUTO;
		if (unlikely(g->pod && g->direction == GATE_IN))
			return APP_TCP;		/* whoever sent it has looked at it */
		if (c->path->view && view_service_by_vip(c->path->view, &c->dialled, &s) &&
		    vservice_port(&s, c->dialled.port, &port))
			return port.protocol;
		/* HTTP is told in its own words that it may not go there. */
		return g->pod && likely(!pod_denies(g, &c->dialled)) ? APP_TCP : APP_AUTO;
	}
	return APP_AUTO;
}

struct slice conn_peer_text(const struct conn *c)
{
	static const size_t name = sizeof "X-Forwarded-For: " - 1;
	const char *from = c->extra + name, *to = memchr(from, '\r', c->extra_n - name);

	return slice_of(from, to ? (size_t)(to - from) : 0);
}

static void set_extra(struct conn *c, const struct addr *peer)
{
	struct strbuf b = strbuf_on(c->extra, sizeof c->extra);
	char ip[ADDR_TEXT];

	strbuf_adds(&b, "X-Forwarded-For: ");
	strbuf_adds(&b, addr_text(peer, false, ip));
	strbuf_adds(&b, c->secure ? "\r\nX-Forwarded-Proto: https\r\n" :
				    "\r\nX-Forwarded-Proto: http\r\n");
	must(!b.cut);		/* 17 + 45 + 2 + 26 + 1 < 96 */
	c->extra_n = (uint8_t)b.n;
	c->peer_port = peer->port;
}

/* The first thing that is done with what the caller sends, or without it.  http: it has agreed to HTTP
 * (of whatever version) already. */
static void begin(struct conn *c, bool http)
{
	enum app_protocol what = protocol_of(c);

	if (unlikely(c->gate->pod) && pod_is_own_port(c->gate, &c->dialled)) {
		conn_end(c, REASON_OWN_PORT, CONN_EV_CUT);
		return;
	}
	if (what != APP_TCP && http)
		what = APP_HTTP;
	switch (what) {
	case APP_HTTP:
		conn_event(c, CONN_EV_HTTP);
		break;
	case APP_TCP:
		if (start_opaque(c))
			conn_wake(c);
		break;
	case APP_H2:		/* the endpoints speak HTTP/2; callers may speak either */
	case APP_AUTO:
		conn_deadline_ms(c, c->path->knobs->detect_ms);
		break;
	}
}

static bool step_proxy(struct conn *c)
{
	struct proxied said;
	struct slice bytes;
	struct chunk *held;
	ssize_t n;
	int r;

	if (c->expired) {
		conn_end(c, REASON_FRONT_HEAD_TIMEOUT, CONN_EV_CUT);
		return false;
	}
	n = flow_head_bytes(c, &c->front, c->partial, PROXYPROTO_MAX + 1, &bytes, &held);
	if (n == -EAGAIN)
		return step_wait(c, READY_IN);
	if (n <= 0) {
		conn_end(c, n == 0 ? REASON_FRONT_CLOSED : n == -ENOBUFS ? REASON_OVER_BUDGET :
			 n == -EMSGSIZE ? REASON_BAD_PROXY_HEADER : REASON_FRONT_CUT, CONN_EV_GONE);
		return false;
	}
	r = proxyproto(bytes, &said);
	if (r > 0)
		bytes = slice_from(bytes, said.bytes);
	if (bytes.n == 0 && held)
		chunk_give(&c->path->chunks, &held);
	else if (bytes.n && flow_head_wait(c, &c->front, bytes, &held) < 0)
		r = -ENOBUFS;
	if (r < 0) {
		conn_end(c, r == -ENOBUFS ? REASON_OVER_BUDGET : REASON_BAD_PROXY_HEADER,
			 CONN_EV_CUT);
		return false;
	}
	c->partial = r == 0;
	if (r == 0)
		return step_wait(c, READY_IN) || c->front.ready & READY_IN;
	if (!said.local) {
		set_extra(c, &said.from);
		c->dialled = said.to;
	}
	wheel_clear(&c->path->wheel, &c->deadline);
	if (c->secure) {
		conn_event(c, CONN_EV_TLS);
		conn_deadline_ms(c, c->path->knobs->handshake_ms);
		return true;
	}
	conn_event(c, CONN_EV_PROXIED);
	begin(c, false);
	return true;
}

static bool step_shake(struct conn *c)
{
	if (!secure_shake(c))
		return false;
	begin(c, tls_alpn(&c->front.s).n);
	return true;
}

static bool step_detect(struct conn *c)
{
	struct slice bytes;
	struct chunk *held;
	enum detected d = DETECT_MORE;
	ssize_t n;

	if (c->expired && protocol_of(c) == APP_H2) {	/* callers of HTTP speak first, when they like */
		conn_event(c, CONN_EV_HTTP);
		return true;
	}
	if (c->expired)		/* the endpoint may be the one who speaks first */
		return start_opaque(c);
	n = flow_head_bytes(c, &c->front, c->partial, CHUNK_SMALL_BYTES, &bytes, &held);
	if (n == -EAGAIN)
		return step_wait(c, READY_IN);
	if (n == 0 && c->partial)
		return start_opaque(c);	/* few bytes and their end: the endpoint shall judge */
	if (n == -EMSGSIZE) {
		d = DETECT_OPAQUE;
	} else if (n <= 0) {
		conn_end(c, n == 0 ? REASON_FRONT_CLOSED : n == -ENOBUFS ? REASON_OVER_BUDGET :
			 REASON_FRONT_CUT, CONN_EV_GONE);
		return false;
	} else {
		d = detect(bytes);
		if (d == DETECT_H2)
			return start_session(c, bytes, &held);
		if (flow_head_wait(c, &c->front, bytes, &held) < 0) {
			conn_end(c, REASON_OVER_BUDGET, CONN_EV_CUT);
			return false;
		}
	}
	switch (d) {
	case DETECT_MORE:
		c->partial = true;
		return step_wait(c, READY_IN) || c->front.ready & READY_IN;
	case DETECT_HTTP1:
		conn_event(c, CONN_EV_HTTP);
		return true;
	default:
		return start_opaque(c);
	}
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
			return start_session(c, bytes, &held);
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

static void conn_step(struct sched_unit *u)
{
	struct conn *c = container_of(u, struct conn, unit);
	bool more;

	panic_trail(&c->trail);
	do {
		c->front.want = 0;
		switch ((enum conn_state)c->state) {
		case CONN_PROXY:
			more = step_proxy(c);
			break;
		case CONN_HELLO:
			more = secure_hello(c);
			break;
		case CONN_SHAKE:
			more = step_shake(c);
			break;
		case CONN_DETECT:
			more = step_detect(c);
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

/* ---- birth and death ---- */

/* Callers of this gate speak HTTP, or nothing that is served here. */
static bool must_be_http(const struct gate *g)
{
	return g->terms.route == LISTEN_HOST ||
	       (g->terms.route == LISTEN_SERVICE && g->has_port && g->port.protocol == APP_HTTP);
}

void conn_refuse(struct gate *g, struct stream *s, enum reason why)
{
	struct path *p = g->path;
	const struct reason_row *row = reason_row(why);
	/* What stays unread turns the answer into a reset, so this first. */
	ssize_t n = s->ops->read(s, p->scratch, PATH_SCRATCH);
	struct slice said = slice_of(p->scratch, n > 0 ? (size_t)n : 0);
	enum detected d = detect(said);
	bool http = row->http && d != DETECT_H2 && g->terms.tls == TLS_OFF &&
		    (must_be_http(g) || d == DETECT_HTTP1);

	board_add(&p->mine->c[WC_accept_refused], 1);
	board_add(&p->mine->reasons[why], 1);
	board_add(&g->tenant->board->reasons[why], 1);
	if (why == REASON_OVER_LISTENER_CONNECTIONS)
		board_add(&g->board->c[LC_refused], 1);
	if (why != REASON_OVER_CONNECTIONS)	/* tenant_admit counted that one */
		board_add(&g->tenant->board->c[TC_refused], 1);
	if (http) {
		char text[512];
		bool is_head = said.n >= 5 && memcmp(said.p, "HEAD ", 5) == 0;
		struct iovec v = { text, http1_local_answer((unsigned)row->http, why, false, is_head,
							    path_date(p), text, sizeof text) };

		/* A new socket takes this much, or its caller is gone. */
		http = s->ops->write(s, &v, 1) == (ssize_t)v.iov_len && s->ops->finish(s) == 0;
	}
	stream_close(s, !http);
}

bool conn_has_room(struct gate *g)
{
	const struct path *p = g->path;

	gate_now(g);
	return path_fds_free(p) >= p->fds.reserve && p->conns.live < p->conns.count &&
	       p->grade < GRADE_refuse && g->tenant->grade < GRADE_refuse &&
	       g->tenant->conns < g->tenant->conns_max;
}

struct conn *conn_new(struct gate *g, struct stream *s, const struct addr *peer)
{
	struct path *p = g->path;
	struct slot_ref ref;
	struct conn *c = NULL;
	struct addr dialled = { .family = 0 };
	enum reason why = REASON_OWN_PORT;

	gate_now(g);
	if (unlikely(g->pod) && tcp_world->dialled(s, &dialled) == 0 && pod_is_proof(g, &dialled)) {
		if (!pod_proves(g, &dialled))
			goto refused;
		stream_close(s, false);
		return NULL;
	}
	why = REASON_NO_DESCRIPTORS;
	if (!path_fds_for_front(p, g) && path_give_back(p, NULL, 4) == 0)
		goto refused;
	why = REASON_NO_MEMORY;
	c = slab_take(&p->conns, &ref);
	if (c == NULL)
		goto refused;
	why = REASON_OVER_BUDGET;
	if (pressure_refuses(p, g->tenant))
		goto refused;
	why = REASON_OVER_LISTENER_CONNECTIONS;
	if (g->terms.connections && g->conns >= g->terms.connections)
		goto refused;
	why = REASON_OVER_CONNECTIONS;
	if (tenant_admit(g->tenant) < 0)
		goto refused;
	c->magic = CONN_MAGIC;
	c->secure = g->terms.tls == TLS_TERMINATE;
	c->state = g->terms.proxy_protocol == PROXY_PROTOCOL_REQUIRE ? CONN_PROXY :
		   c->secure ? CONN_HELLO : CONN_DETECT;
	c->path = p;
	c->gate = g;
	gate_ref(g);
	g->conns++;
	board_add(&g->board->c[LC_conns], 1);
	c->tenant = g->tenant;
	tenant_ref(c->tenant);
	sched_unit_init(&c->unit, c->tenant, conn_step);
	wheel_entry_init(&c->deadline);
	list_init(&c->node);
	leg_init(&c->front);
	c->front.s = *s;
	c->dialled = dialled;
	set_extra(c, peer);
	if (tcp_world->watch(&p->poll, &c->front.s, path_token(TOKEN_CONN, ref)) < 0) {
		conn_end(c, REASON_NO_MEMORY, CONN_EV_CUT);
		return NULL;
	}
	/* The first event of the set says what is ready. */
	if (c->state == CONN_PROXY)
		conn_deadline_ms(c, p->knobs->head_ms);
	else if (c->state == CONN_HELLO)
		conn_deadline_ms(c, p->knobs->handshake_ms);
	else
		begin(c, false);
	c->front.want = READY_IN;
	return c;
refused:
	if (c)
		slab_give(&p->conns, c);
	conn_refuse(g, s, why);
	log_limited(LOG_WARN, "accept_refused", "listener=%s reason=%s", g->terms.name,
		    reason_row(why)->name);
	return NULL;
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
