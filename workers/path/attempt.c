/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Attempts: how long each may take, which are followed by another, and when.
 *
 * Without a word of rule or policy only what did no harm is sent again: a connect that failed, a stream
 * that was refused.  With one, what its conditions name is, whatever the method, as long as nothing of
 * an answer was given to the caller and the request is still at hand (replay.c).  Every attempt after
 * the first costs one of the Service's retry budget; where there is none left, or no attempt, the
 * failure or answer that there is counts. */
#include "workers/path/codecs.h"

#include "nodeproxy/lib/base/rand.h"
#include "workers/path/grpc.h"
#include "workers/pool/retry.h"

/* An endpoint that wants to be left alone for longer has given its answer. */
#define PUSHBACK_MAX_MS 300000
#define WEEK_MS		(7 * 24 * 3600 * 1000u)

static void until_total(struct exchange *ex)
{
	ex->until = ex->trying.until;
	ex->until_why = ex->trying.until_why;
}

void attempt_begin(struct exchange *ex, const struct vrule *r)
{
	struct trying *y = &ex->trying;
	struct vtimes *t = &y->times;

	vtimes_of(r, &ex->target, t);
	ex->has_trying = true;
	chunkq_init(&y->body);
	y->until = ex->until;
	y->until_why = ex->until_why;
	if (t->request_ms) {
		struct mono at = mono_after_ms(ex->began, t->request_ms);

		if (y->until.ns == 0 || at.ns < y->until.ns) {
			y->until = at;
			y->until_why = REASON_REQUEST_TIMEOUT;
		}
	}
	until_total(ex);
	/* Who says how long the whole may take does not mean the default of a part of it. */
	if (r && r->times && (t->has_request || t->has_attempt) && ex->policy.response_ms == 0)
		ex->policy.response_ms = WEEK_MS;
	if (t->retry.attempts)
		replay_begin(ex);
}

void attempt_starts(struct exchange *ex)
{
	struct mono t = mono_after_ms(clock_now(), ex->trying.times.attempt_ms);

	if (ex->trying.times.attempt_ms && (ex->until.ns == 0 || t.ns < ex->until.ns)) {
		ex->until = t;
		ex->until_why = REASON_BACK_TRY_TIMEOUT;
	}
}

/* The view that the port came from is let go of once an endpoint has the request. */
bool exchange_find_port_again(struct exchange *ex)
{
	struct path *p = ex->conn->path;
	struct vservice s;
	struct slot_gen slot;

	if (ex->view)
		return true;
	if (!view_service(p->view, ex->again.id, &s))
		return false;
	slot = vservice_slot(&s);
	if (slot.slot != ex->again.slot.slot || slot.gen != ex->again.slot.gen ||
	    !vservice_port(&s, ex->again.port, &ex->target))
		return false;
	view_ref(p->view);
	ex->view = p->view;
	return true;
}

/* One of the budget, of the Service whose endpoints are tried. */
static bool take_budget(struct exchange *ex)
{
	struct vbudget b = vservice_budget(&ex->target.service);
	struct retry_budget y = { b.percent, b.interval_ms, b.least };
	struct slot_gen slot = vservice_slot(&ex->target.service);

	if (retry_take(ex->conn->path->board, slot.slot, slot.gen, &y, clock_now()))
		return true;
	exchange_event(ex, WC_retries_refused, SC_retries_refused);
	return false;
}

static enum service_counter counter_of(enum reason why)
{
	switch (why) {
	case REASON_BACK_CUT: case REASON_BACK_STALE: case REASON_BACK_RESET: case REASON_BACK_BAD_H2:
		return SC_retries_reset;
	case REASON_BACK_TIMEOUT: case REASON_BACK_TRY_TIMEOUT:
		return SC_retries_timeout;
	default:
		return SC_retries_connect;
	}
}

/* Which of the conditions stand for this failure. */
static uint32_t conditions_of(enum reason why)
{
	const uint32_t any = 1u << RETRY_ON_gateway_error | 1u << RETRY_ON_5xx;

	switch (why) {
	case REASON_BACK_REFUSED: case REASON_BACK_UNREACHABLE: case REASON_BACK_CONNECT_TIMEOUT:
	case REASON_BACK_FULL: case REASON_BACK_TLS_CERTIFICATE: case REASON_BACK_TLS_REVOKED:
	case REASON_BACK_TLS_EXPIRED: case REASON_BACK_TLS_NAME: case REASON_BACK_TLS_FAILED:
	case REASON_BACK_TLS_SLOW:
		return any | 1u << RETRY_ON_connect_failure;
	case REASON_BACK_REFUSED_STREAM:
		return any | 1u << RETRY_ON_refused_stream;
	case REASON_BACK_CUT: case REASON_BACK_STALE: case REASON_BACK_RESET: case REASON_BACK_BAD_H2:
	case REASON_BACK_TIMEOUT: case REASON_BACK_TRY_TIMEOUT:
		return any | 1u << RETRY_ON_reset;
	default:
		return 0;
	}
}

static bool has_attempts(const struct exchange *ex)
{
	return ex->retries < ex->trying.times.retry.attempts;
}

static bool is_asked_for(const struct exchange *ex, enum reason why)
{
	return unlikely(ex->has_trying) && has_attempts(ex) &&
	       ex->trying.times.retry.on & conditions_of(why);
}

/* The n-th waits for a random part of what doubles with each. */
static int64_t backoff_ms(const struct exchange *ex)
{
	const struct retries *y = &ex->trying.times.retry;
	uint64_t most = min_of((uint64_t)y->base_ms << min_of(ex->retries - 1u, 31u),
			       (uint64_t)y->max_ms);

	return (int64_t)y->least_ms + (most ? rand_below((uint32_t)most) : 0);
}

/* The next attempt: at another endpoint, wait_ms from now. */
static enum step go_again(struct exchange *ex, enum reason why, int64_t wait_ms)
{
	struct tried *t = &ex->tried;

	if (t->n == BALANCE_TRIED)
		memmove(&t->addr[0], &t->addr[1], --t->n * sizeof t->addr[0]);
	t->addr[t->n++] = ex->endpoint;
	ex->reason = (uint8_t)why;	/* should there be no other endpoint */
	ex->resent++;
	exchange_event(ex, WC_retries, SC_retries);
	ex->sent_head = ex->partial = ex->back_deaf = false;
	ex->slow_since.ns = 0;
	ex->status = 0;
	ex->grpc = 0;
	ex->conn->expired = false;
	if (unlikely(ex->has_trying))
		until_total(ex);
	if (wait_ms) {
		exchange_release_view(ex);
		ex->wait_until = mono_after_ms(clock_now(), wait_ms);
	}
	ex->at = STAGE_pick - 1;
	return NEXT;
}

enum step exchange_try_another(struct exchange *ex, enum reason why)
{
	bool asked = is_asked_for(ex, why);

	exchange_release_back(ex, false, false);
	ex->sent_head = false;
	if (attempt_is_ours(why) || ex->passes || ex->conn->is_mirror || !exchange_find_port_again(ex))
		return end(ex, why);
	if (!asked && (ex->attempts >= ex->conn->path->knobs->connect_attempts ||
		       ex->tried.n == BALANCE_TRIED))
		return end(ex, why);
	if (!take_budget(ex))
		return end(ex, why);
	board_add(&exchange_service(ex)->c[counter_of(why)], 1);
	ex->retries += asked;
	return go_again(ex, why, asked ? backoff_ms(ex) : 0);
}

/* As account has it of the last attempt. */
static void blame(struct exchange *ex)
{
	struct board_endpoint *e = exchange_endpoint(ex);

	__atomic_fetch_add(&e->exchanges, 1, __ATOMIC_RELAXED);
	__atomic_fetch_add(&e->failures, 1, __ATOMIC_RELAXED);
	exchange_back_failed(ex);
}

bool attempt_failed(struct exchange *ex, enum reason why, enum step *ret)
{
	if (likely(!ex->has_trying) || ex->answer != ANSWER_NONE || ex->is_tunnel || !ex->up.keeps ||
	    ex->replay.bytes == 0 || !is_asked_for(ex, why) || !exchange_find_port_again(ex) || !take_budget(ex))
		return false;
	blame(ex);
	exchange_release_back(ex, false, true);
	board_add(&exchange_service(ex)->c[counter_of(why)], 1);
	ex->retries++;
	*ret = go_again(ex, why, backoff_ms(ex));
	return true;
}

/* The time that the endpoint asks for; -1: it does not want another attempt; -2: it has not said. */
static int64_t pushback_ms(const struct exchange *ex)
{
	struct slice v;

	if (!ex->is_grpc || !grpc_line(&ex->conn->path->head, SLICE("grpc-retry-pushback-ms"), &v))
		return -2;
	return grpc_pushback_ms(v, PUSHBACK_MAX_MS);
}

bool attempt_answered(struct exchange *ex, struct slice rest, enum step *ret)
{
	const struct head *h = &ex->conn->path->head;
	bool whole = h->body == BODY_NONE || (h->body == BODY_LENGTH && h->length == rest.n);
	bool keep = whole && h->keep_alive && ex->up.done && !ex->back_deaf;
	int64_t wait_ms;

	if (!retries_want(&ex->trying.times.retry, h->status, ex->grpc))
		return false;
	wait_ms = pushback_ms(ex);
	if (wait_ms == -1)
		return false;
	if (!has_attempts(ex)) {
		ex->spent = REASON_RETRIES_SPENT;
		return false;
	}
	if (!ex->up.keeps || ex->replay.bytes == 0 || !exchange_find_port_again(ex))
		return false;
	if (!take_budget(ex)) {
		exchange_release_view(ex);
		ex->spent = REASON_RETRY_BUDGET_SPENT;
		return false;
	}
	if (h->status >= 500)
		blame(ex);
	board_add(&exchange_service(ex)->c[SC_retries_status], 1);
	ex->retries++;
	exchange_release_back(ex, keep, !whole);
	*ret = go_again(ex, REASON_NO_ENDPOINT, wait_ms >= 0 ? wait_ms : backoff_ms(ex));
	return true;
}

enum step attempt_wait(struct exchange *ex)
{
	struct conn *c = ex->conn;

	if (c->front.ready & READY_ERR)
		return end(ex, REASON_FRONT_CUT);
	if (exchange_is_over(ex))
		return end(ex, (enum reason)ex->until_why);
	if (clock_now().ns < ex->wait_until.ns) {
		c->front.want = 0;
		exchange_deadline_ms(ex, max_of(mono_diff_ms(ex->wait_until, clock_now()) + 1, (int64_t)1));
		return WAIT;
	}
	ex->wait_until.ns = 0;
	c->expired = false;
	return exchange_find_port_again(ex) ? NEXT : end(ex, (enum reason)ex->reason);
}
