/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* account: the local answer where the caller has none, then counters and one log line, once per
 * exchange, however it ended; never fails.  Says what becomes of the conn. */
#include "workers/path/codecs.h"

#include "workers/obs/endpoint.h"
#include "workers/path/secure.h"

/* The request is whole and the caller may send another. */
static bool may_keep(const struct exchange *ex)
{
	return ex->front_keep && ex->up.done && !conn_is_leaving(ex->conn);
}

static void answer_locally(struct exchange *ex, const struct reason_row *row)
{
	const struct front_codec *front = ex->front_codec;
	struct reason_row own = *row;
	bool keep;

	if (unlikely(ex->fault_status)) {
		own.http = ex->fault_status;
		row = &own;
	}

	/* A request without a body that never met a back was not "sent", but it is whole. */
	if (!ex->sent_head)
		ex->up.done = http1_body_is_done(&ex->up.body) && ex->up.body.kind == BODY_NONE;
	keep = may_keep(ex) && row->fault != FAULT_FRONT;
	ex->status = ex->answer_status ?: (unsigned)row->http;
	if (front->local(ex, row, keep) < 0)
		ex->after = CONN_EV_CUT;
	else
		ex->after = keep ? front->keep : front->last;
}

static void decide(struct exchange *ex, const struct reason_row *row)
{
	if (ex->reason == REASON_DONE)
		ex->after = ex->is_tunnel ? CONN_EV_GONE : may_keep(ex) ? ex->front_codec->keep
									 : ex->front_codec->last;
	else if (ex->is_http && !ex->is_tunnel && ex->answer == ANSWER_NONE && row->http &&
		 stream_is_open(&ex->conn->front.s))
		answer_locally(ex, row);
	else
		ex->after = CONN_EV_CUT;
	if (ex->after == CONN_EV_CUT && ex->front_codec->cut)
		ex->front_codec->cut(ex);
}

static uint32_t us_since(struct mono t)
{
	return (uint32_t)min_of(max_of(mono_diff_us(clock_now(), t), (int64_t)0),
				(int64_t)UINT32_MAX);
}

static uint64_t ns_between(struct mono from, struct mono to)
{
	return to.ns > from.ns ? (uint64_t)(to.ns - from.ns) : 0;
}

/* A route led it to another Service: it counts for that one's retry budget. */
static __attribute__((noinline)) void count_routed(struct exchange *ex, struct board_service *from)
{
	if (ex->policy.service.slot == 0)
		return;
	board_add(&from->c[SC_routed], UINT64_MAX);
	board_add(&exchange_service(ex)->c[SC_routed], 1);
}

static void count_service(struct exchange *ex, bool answered, enum reason why, struct mono now)
{
	struct path *p = ex->conn->path;
	struct board_service *s = board_service(p->board, p->worker, ex->service.slot, ex->service.gen);

	board_add(&s->c[SC_exchanges], 1);
	if (unlikely(ex->policy.service.slot != ex->service.slot))
		count_routed(ex, s);
	board_add(&s->c[SC_bytes_in], ex->bytes_in);
	board_add(&s->c[SC_bytes_out], ex->bytes_out);
	outcome_add(&s->outcomes,
		    outcome_key_grpc(outcome_key(ex->is_http, ex->status, why), ex->grpc));
	if (!ex->is_http || ex->is_tunnel)	/* as long as somebody likes: says nothing of the Service */
		return;
	hist_add(&s->hist[SH_duration], ns_between(ex->began, now), 1);
	if (answered)
		hist_add(&s->hist[SH_response], ns_between(ex->sent, ex->head_at), 1);
}

static void count_endpoint(struct exchange *ex, const struct reason_row *row, struct mono now)
{
	bool answered = ex->answer != ANSWER_NONE;
	struct board_endpoint *e = exchange_endpoint(ex);

	if (ex->endpoint_text.n == 0 || unlikely(ex->passes))
		return;
	__atomic_fetch_add(&e->exchanges, 1, __ATOMIC_RELAXED);
	if (row->fault == FAULT_BACK || (answered && ex->status >= 500)) {
		__atomic_fetch_add(&e->failures, 1, __ATOMIC_RELAXED);
		exchange_back_failed(ex);
	} else if (answered) {
		endpoint_succeeded(e, ex->connect_began);
	} else if (ex->sent_head) {
		endpoint_abandoned(e, us_since(ex->sent), now);
	}
}

static void count(struct exchange *ex, const struct reason_row *row, enum reason why, struct mono now)
{
	bool answered = ex->answer != ANSWER_NONE;
	struct path *p = ex->conn->path;
	struct board_tenant *t = ex->tenant->board;

	board_add(&p->mine->reasons[why], 1);
	board_add(&t->reasons[why], 1);
	board_add(&t->c[TC_bytes_in], ex->bytes_in);
	board_add(&t->c[TC_bytes_out], ex->bytes_out);
	if (row->fault == FAULT_TENANT)
		board_add(&t->c[TC_refused], 1);
	if (ex->reason == REASON_OUR_BUG)
		board_add(&p->mine->c[WC_bugs], 1);
	if (ex->service_text.n)
		count_service(ex, answered, why, now);
	count_endpoint(ex, row, now);
}

/* What the caller spoke. */
static struct slice protocol_of(const struct exchange *ex)
{
	if (!ex->is_http)
		return slice_of(NULL, 0);
	if (ex->front_codec->major == 2)
		return SLICE("HTTP/2");
	return ex->front_http10 ? SLICE("HTTP/1.0") : SLICE("HTTP/1.1");
}

/* Nobody called, so nobody's counters; how the endpoint did is worth knowing. */
static void count_mirror(struct exchange *ex, const struct reason_row *row, struct mono now)
{
	if (ex->reason != REASON_DONE)
		board_add(&ex->conn->path->mine->c[WC_mirrors_failed], 1);
	count_endpoint(ex, row, now);
}

static enum step over(struct exchange *ex)
{
	struct conn *c = ex->conn;

	if (ex->is_counted) {
		tenant_request_over(ex->tenant);
		c->gate->requests--;
		ex->is_counted = false;
	}
	if (ex->is_http)
		sched_finished(&c->path->sched);
	exchange_release_back(ex,
			      ex->reason == REASON_DONE && ex->answer == ANSWER_DONE &&
				      ex->back_keep && ex->up.done && !ex->back_deaf && !ex->is_tunnel,
			      ex->reason != REASON_DONE);
	return NEXT;
}

static void tell_tls(const struct conn *c, struct access_line *l)
{
	const struct stream *s = secure_stream(c);

	if (s == NULL)
		return;
	l->tls_version = tls_version(s) == 0x0304 ? SLICE("1.3") : SLICE("1.2");
	l->tls_cipher = slice_str(tls_cipher(s));
	l->server_name = tls_server_name(s);
	l->client = tls_peer_name(s);
}

void account_unasked(struct conn *c, bool shook)
{
	struct path *p = c->path;
	struct access_line line = {
		.who = slice_of(c->gate->who, c->gate->who_n),
		.reason = (enum reason)c->reason,
		.rev = p->view ? view_rev(p->view) : 0,
	};

	if (shook)
		line.server_name = tls_server_name(&c->front.s);
	accesslog_put(&p->log, &line);
}

enum step stage_account(struct exchange *ex)
{
	struct conn *c = ex->conn;
	struct path *p = c->path;
	const struct reason_row *row = reason_row((enum reason)ex->reason);
	struct mono now = clock_now();
	struct access_line line;
	enum reason why;

	ex->bytes_in += ex->up.took;
	ex->bytes_out += ex->down.gave;
	decide(ex, row);
	why = attempt_reason(ex);
	if (ex->back && ex->holds_claim)
		ex->endpoint_text = exchange_text(ex, slice_of(ex->back->text, ex->back->text_len));
	if (unlikely(c->is_mirror)) {
		count_mirror(ex, row, now);
		return over(ex);
	}
	count(ex, row, why, now);
	line = (struct access_line){
		.who = slice_of(c->gate->who, c->gate->who_n),
		.service = ex->service_text,
		.route = ex->route_text,
		.method = ex->method,
		.path = ex->path_text,
		.protocol = protocol_of(ex),
		.endpoint = ex->endpoint_text,
		.request_id = ex->request_id,
		.status = ex->status,
		.grpc = ex->grpc,
		.reason = why,
		.attempts = ex->resent + 1u,
		.delayed = ex->delay != DELAY_NONE,
		.bytes_in = ex->bytes_in,
		.bytes_out = ex->bytes_out,
		.duration_us = mono_diff_us(now, ex->began),
		.connect_us = mono_diff_us(ex->connected, ex->connect_began),
		.response_us = mono_diff_us(ex->head_at, ex->sent),
		.rev = ex->rev,
	};
	line.server_name = ex->server_name;
	if (unlikely(c->secure) && p->log.ring)
		tell_tls(c, &line);
	accesslog_put(&p->log, &line);
	return over(ex);
}
