/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See exchange.h: the loop that runs the stages, and what they share. */
#include "workers/path/codecs.h"

#include <errno.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/panic.h"
#include "workers/path/mirror.h"
#include "workers/path/pressure.h"
#include "workers/codec/ids.h"
#include "workers/codec/websocket.h"
#include "workers/obs/endpoint.h"

static const struct {
	const char *name;
	enum step (*fn)(struct exchange *);
} stage[STAGE_COUNT] = {
#define X(name) [STAGE_##name] = { #name, stage_##name },
	STAGES(X)
#undef X
};

const char *stage_name(unsigned s)
{
	return s < STAGE_COUNT ? stage[s].name : "?";
}

struct slice exchange_text(struct exchange *ex, struct slice s)
{
	size_t n = min_of(s.n, (size_t)(EXCHANGE_TEXT - ex->text_n));
	char *to = ex->text + ex->text_n;

	if (n)
		memcpy(to, s.p, n);
	ex->text_n += (uint16_t)n;
	return slice_of(to, n);
}

void exchange_keep_websocket_key(struct exchange *ex, const struct head *h)
{
	for (uint32_t i = 0; i < h->n; i++)
		if (slice_caseeq(h->h[i].name, SLICE("sec-websocket-key")) &&
		    h->h[i].value.n == WEBSOCKET_KEY_BYTES)
			ex->websocket_key = exchange_text(ex, h->h[i].value);
}

void exchange_keep_id(struct exchange *ex, const struct head *h)
{
	if (h->has & ~h->twice & HN_BIT(HN_X_REQUEST_ID)) {
		struct slice id = head_line(h, HN_X_REQUEST_ID)->value;

		if (request_id_is_valid(id))
			ex->request_id = exchange_text(ex, id);
	}
}

struct exchange *exchange_new(struct conn *c, const struct head *h)
{
	struct path *p = c->path;
	struct exchange *ex = slab_take(&p->exchanges, NULL);

	if (ex == NULL)
		return NULL;
	memset(ex, 0, offsetof(struct exchange, text));
	ex->magic = EXCHANGE_MAGIC;
	ex->conn = c;
	ex->front_codec = c->is_stream ? &front_http2 : &front_http1;
	ex->back_codec = &back_http1;
	ex->tenant = c->tenant;
	ex->began = ex->connect_began = ex->connected = ex->sent = ex->head_at = clock_now();
	ex->rev = p->view ? view_rev(p->view) : 0;
	chunkq_init(&ex->replay);
	list_init(&ex->node);
	c->exchanges++;
	if (h == NULL)
		return ex;
	p->head_of = ex;
	ex->is_http = true;
	ex->is_head = h->is_head;
	ex->upgrade = h->upgrade;
	ex->is_grpc = h->is_grpc;
	ex->front_http10 = h->minor == 0;
	ex->front_keep = h->keep_alive;
	ex->can_replay = h->is_idempotent && h->body == BODY_NONE;
	c->bodies = h->body == BODY_CHUNKED || h->length > CHUNK_SMALL_ROOM;
	codec_body(&ex->up.body, h, ex->front_codec->raw, h->body == BODY_CHUNKED);
	ex->up.body.most = (uint64_t)p->knobs->body_bytes;
	ex->bytes_in = h->bytes;
	ex->method = exchange_text(ex, slice_of(h->method.p, min_of(h->method.n, (size_t)32)));
	ex->path_text = exchange_text(ex, slice_of(h->target.p,
						   min_of(h->target.n, (size_t)ACCESS_PATH_MAX)));
	ex->expects_continue = h->expects_continue;
	exchange_keep_id(ex, h);
	return ex;
}

void exchange_release_view(struct exchange *ex)
{
	if (ex->view)
		view_unref(ex->view);
	ex->view = NULL;
}

struct board_endpoint *exchange_endpoint(const struct exchange *ex)
{
	return board_endpoint(ex->conn->path->board, ex->endpoint_slot.slot,
			      ex->endpoint_slot.gen);
}

void exchange_event(const struct exchange *ex, enum worker_counter w, enum service_counter s)
{
	struct path *p = ex->conn->path;

	board_add(&p->mine->c[w], 1);
	board_add(&board_service(p->board, p->worker, ex->service.slot, ex->service.gen)->c[s], 1);
}

struct board_service *exchange_service(const struct exchange *ex)
{
	struct path *p = ex->conn->path;

	return board_service(p->board, p->worker, ex->policy.service.slot, ex->policy.service.gen);
}

void exchange_back_failed(struct exchange *ex)
{
	struct board_endpoint *e = exchange_endpoint(ex);
	struct path *p = ex->conn->path;

	board_set(&e->last_failure_ms, (uint64_t)(clock_now().ns / NS_PER_MS));
	if (endpoint_failed(e, &ex->policy.ejection, ex->connect_began, clock_now())) {
		board_add(&p->mine->c[WC_ejections], 1);
		board_add(&exchange_service(ex)->c[SC_ejections], 1);
	}
}

/* Nothing has come after the response, and nothing waits to go.  Bytes that were spliced, or that
 * filled the buffer exactly, leave the ready bit behind: then the socket is asked. */
static bool is_quiet(struct path *p, struct leg *l)
{
	if (l->in || l->out.bytes || l->eof || l->ready & (READY_END | READY_ERR))
		return false;
	return !(l->ready & READY_IN) || leg_read(l, p->scratch, PATH_SCRATCH) == -EAGAIN;
}

void exchange_release_back(struct exchange *ex, bool reusable, bool abort)
{
	struct path *p = ex->conn->path;
	struct back *b = ex->back;

	if (ex->holds_claim)
		board_unclaim(p->board, p->worker, slab_ref(&p->pool.backs, b).slot);
	ex->holds_claim = false;
	if (unlikely(ex->guest.gate))
		residents_leave(ex);
	if (b == NULL)
		return;
	ex->back = NULL;
	b->user = NULL;
	b->leg.want = 0;
	if (unlikely(b->key.limit)) {
		board_limit_give(p->board, p->worker, slab_ref(&p->pool.backs, b).slot,
				 LIMIT_REQUESTS);
		reusable &= !path_limit_is_full(p, b->key.limit);
	}
	if (b->on) {
		/* A stream that ends here shall not look whole to an endpoint that has not got all: what
		 * was read of the caller may wait here for room. */
		leg_close(&b->leg, conn_purse(ex->conn), abort || !ex->up.done || b->leg.out.bytes);
		trunk_give(&p->trunks, b);
		list_add_tail(&p->dead_backs, &b->node);
		return;
	}
	if (reusable && path_keeps_idle(p, ex->tenant) && is_quiet(p, &b->leg) && pool_put(&p->pool, b)) {
		path_deadline(p, &b->deadline, p->knobs->pooled_ms);
		return;
	}
	leg_close(&b->leg, conn_purse(ex->conn), abort);
	path_limit_give(p, b);
	list_add_tail(&p->dead_backs, &b->node);
	p->fds.gone++;
}

/* All that an ended exchange still holds. */
static void finish(struct exchange *ex)
{
	struct conn *c = ex->conn;
	struct path *p = c->path;

	must(ex->back == NULL);
	exchange_release_view(ex);
	if (unlikely(ex->pending))
		pending_leave(ex);
	if (unlikely(!list_is_empty(&p->pendings.all) && ex->policy.limit.slot))
		pending_call(p, ex->policy.limit.slot);
	if (unlikely(ex->await == AWAIT_WAITS))
		await_leave(ex);
	flow_fini(p, &ex->up);
	flow_fini(p, &ex->down);
	chunkq_clear(&ex->replay, &p->chunks);
	if (unlikely(ex->edits))
		chunk_give(&p->chunks, &ex->edits);
	if (unlikely(ex->has_trying))
		replay_drop(ex);
	if (unlikely(ex->mirror))
		mirror_drop(ex);
	arena_reset(&p->arena);
	if (p->head_of == ex)
		p->head_of = NULL;
	c->ex = NULL;
	list_add_tail(&p->dead_exchanges, &ex->node);
}

void exchange_run(struct exchange *ex)
{
	for (;;) {
		panic_doing(stage[ex->at].name);
		switch (stage[ex->at].fn(ex)) {
		case WAIT:
			return;
		case END:
			if (never(ex->at == STAGE_account || ex->reason == REASON_NONE))
				ex->reason = REASON_OUR_BUG;
			ex->at = STAGE_account;
			break;
		case NEXT:
			if (++ex->at == STAGE_COUNT) {
				struct conn *c = ex->conn;
				enum conn_event ev = (enum conn_event)ex->after;
				enum reason why = (enum reason)ex->reason;

				finish(ex);
				if (ev == CONN_EV_KEEP || ev == CONN_EV_LAST)
					conn_event(c, ev);
				else
					conn_end(c, why, ev);
				panic_doing("");
				return;
			}
			break;
		}
	}
}

void exchange_abort(struct exchange **exp, enum reason why)
{
	struct exchange *ex = *exp;

	if (ex->reason == REASON_NONE)
		ex->reason = (uint8_t)why;
	ex->at = STAGE_account;
	stage_account(ex);
	finish(ex);
	*exp = NULL;
}

void exchange_free(struct path *p, struct exchange *ex)
{
	must(ex->magic == EXCHANGE_MAGIC);
	list_remove(&ex->node);
	ex->magic = 0;
	slab_give(&p->exchanges, ex);
}
