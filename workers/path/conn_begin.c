/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* How a conn begins: let in or refused, and then, step by step, what its caller says of itself and what it
 * speaks.  From there on it is conn.c's. */
#include <errno.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/strbuf.h"
#include "workers/codec/detect.h"
#include "workers/codec/proxyproto.h"
#include "workers/path/conn_inner.h"
#include "workers/path/exchange.h"
#include "workers/path/mux.h"
#include "workers/path/pods.h"
#include "workers/path/pressure.h"
#include "workers/path/secure.h"

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

bool conn_start_session(struct conn *c, struct slice bytes, struct chunk **held)
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

bool conn_step_proxy(struct conn *c)
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

bool conn_step_shake(struct conn *c)
{
	if (!secure_shake(c))
		return false;
	begin(c, tls_alpn(&c->front.s).n);
	return true;
}

bool conn_step_detect(struct conn *c)
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
			return conn_start_session(c, bytes, &held);
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
	return path_fds_for_front(p, g) && p->conns.live < p->conns.count &&
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

