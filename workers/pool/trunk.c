/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See trunk.h: the life of a trunk, and what its step does. */
#include "workers/pool/bank.h"
#include "workers/pool/origin.h"
#include "workers/pool/trunk_inner.h"

#include <errno.h>

#include "nodeproxy/lib/base/log.h"
#include "nodeproxy/lib/base/panic.h"
#include "nodeproxy/lib/base/rand.h"
#include "nodeproxy/lib/net/tcp.h"

/* Reads of a step; each is a scratch buffer at most. */
#define STEP_READS 2
/* What must be had before more is read: all of it may have to be kept. */
#define READ_ROOM (2 * CHUNK_LARGE_BYTES)
/* Response bodies on their way or waiting, of a trunk: a part of what its tenant has left, within these. */
#define WINDOW_LEAST 65536u
#define WINDOW_MOST  (1u << 20)
#define WINDOW_PART  16

#define ___ TRUNK_BUG	/* this event cannot come in this state */
const uint8_t trunk_next[TRUNK_STATES][TRUNK_EVENTS] = {
#define TO(s) TRUNK_##s
/*                     SHAKE      CONNECTED  GREETED   GOAWAY       AGED         IDLE        BROKEN */
[TRUNK_DIALLING] = { TO(SHAKE), TO(HELLO), ___,      ___,         ___,         ___,        TO(CLOSED) },
[TRUNK_SHAKE]    = { ___,       TO(HELLO), ___,      ___,         ___,         ___,        TO(CLOSED) },
[TRUNK_HELLO]    = { ___,       ___,       TO(OPEN), ___,         ___,         ___,        TO(CLOSED) },
[TRUNK_OPEN]     = { ___,       ___,       ___,      TO(LEAVING), TO(LEAVING), TO(CLOSED), TO(CLOSED) },
[TRUNK_LEAVING]  = { ___,       ___,       ___,      ___,         ___,         TO(CLOSED), TO(CLOSED) },
#undef TO
};		/* CLOSED has no row: nothing finds those in it */

TRAIL_NAMES(trunk_state_name, TRUNK_STATES_LIST)
TRAIL_NAMES(trunk_event_name, TRUNK_EVENTS_LIST)

static bool is_coming(const struct trunk *t)
{
	return t->state == TRUNK_DIALLING || t->state == TRUNK_SHAKE || t->state == TRUNK_HELLO;
}

/* ---- effects: one per state, run after the state was assigned ---- */

static void enter_hello(struct trunk *t)
{
	struct trunks *ts = t->home;

	t->h = h2_new(ts->stock, false, &ts->limits, &t->s, &t->tenant->memory);
	if (t->h == NULL)
		t->error = -ENOMEM;	/* the step sees to it */
	else
		ts->sessions++;
}

static void enter_open(struct trunk *t)
{
	struct trunks *ts = t->home;

	t->idle_at = t->tick_at = clock_now();
	/* Up to a tenth earlier, so that those which began together do not end together. */
	if (ts->times.age_ms)
		t->age_at = mono_after_ms(clock_now(), ts->times.age_ms -
					  (int64_t)rand_below((uint32_t)(ts->times.age_ms / 10) + 1));
	board_add(&ts->c[WC_trunks_opened], 1);
	bundle_opened(t->bundle, t);
}

static void enter_leaving(struct trunk *t)
{
	h2_drain(t->h);
	bundle_left(t, false);
}

/* What the endpoint or the loss of it did to the stream; NONE: nothing. */
static enum reason reason_of(const struct h2 *h, const struct h2_stream *st)
{
	switch ((enum h2_offence)st->offence) {
	case H2_OFFENCE_NONE:
		break;
	case H2_OFFENCE_OVER_BUDGET:
		return REASON_OVER_BUDGET;
	case H2_OFFENCE_STALLED:
		return REASON_BACK_STALLED;
	case H2_OFFENCE_HEAD_TOO_LARGE:
		return REASON_BACK_HEAD_TOO_LARGE;
	default:
		return REASON_BACK_BAD_RESPONSE;
	}
	if (st->code == H2_REFUSED_STREAM)
		return REASON_BACK_REFUSED_STREAM;
	/* One that was reset just before the connection ended was not cut. */
	if (h2_state(h) < H2_DYING || (h2_offence(h) == H2_OFFENCE_CUT && st->code != H2_CANCEL))
		return REASON_BACK_RESET;
	switch (h2_offence(h)) {
	case H2_OFFENCE_NONE:
	case H2_OFFENCE_CUT:
		return REASON_BACK_CUT;
	case H2_OFFENCE_SILENT:
	case H2_OFFENCE_DEAF:
		return REASON_BACK_STALLED;
	case H2_OFFENCE_MEMORY:
		return REASON_OVER_BUDGET;
	default:
		return REASON_BACK_BAD_H2;
	}
}

static struct slot_ref ref_of(const void *user)
{
	uint64_t v = (uint64_t)(uintptr_t)user;

	return (struct slot_ref){ (uint32_t)(v >> 32), (uint32_t)v };
}

/* News of streams become ready bits. */
static void tell(struct trunk *t)
{
	struct trunks *ts = t->home;
	struct h2_stream *st;
	unsigned news;

	while ((st = h2_next(t->h, &news))) {
		struct back *b = slab_at(&ts->pool->backs, ref_of(st->user));
		unsigned bits = 0;

		if (never(b == NULL || b->stream != st))
			continue;
		if (news & (H2_NEWS_BLOCK | H2_NEWS_DATA))
			bits |= READY_IN;
		if (news & H2_NEWS_ROOM)
			bits |= READY_OUT;
		/* What came is still read; then the stream itself says how it ended. */
		if (news & H2_NEWS_RESET) {
			b->broke = (uint8_t)reason_of(t->h, st);
			if (b->broke == REASON_BACK_REFUSED_STREAM)
				board_add(&ts->c[WC_streams_refused], 1);
			bits |= READY_IN | READY_OUT | READY_END | READY_ERR;
		}
		if (st->gets == H2_GETS_NOTHING)
			bits |= READY_IN | READY_END;
		b->leg.ready |= (uint8_t)bits;
		if (bits & (b->leg.want | READY_END | READY_ERR))
			ts->calls->wake(b);
	}
}

static void enter_closed(struct trunk *t, bool was_coming)
{
	struct trunks *ts = t->home;

	if (t->h) {
		h2_end(t->h, H2_NO_ERROR);	/* unless it has ended by itself */
		tell(t);
		if (t->ready & READY_OUT)
			(void)h2_write(t->h);	/* last words, if there is room for them */
		h2_free(&t->h);
		ts->sessions--;
	}
	if (stream_is_open(&t->s)) {
		stream_close(&t->s, false);
		ts->open--;
		if (t->limit)
			ts->calls->closed(ts, slab_ref(&ts->trunks, t).slot);
	}
	wheel_clear(ts->wheel, &t->deadline);
	sched_forget(ts->sched, &t->unit);
	list_remove(&t->starved);
	bundle_left(t, was_coming);
	list_remove(&t->node);
	list_add_tail(&ts->dead, &t->node);
}

static void bug(struct trunk *t, enum trunk_state was, enum trunk_event ev)
{
	board_add(&t->home->c[WC_bugs], 1);
	log_limited(LOG_ERROR, "bug", "trunk_state=%s trunk_event=%s trail=%04x,%04x,%04x,%04x",
		    trunk_state_name(was), trunk_event_name(ev), trail_at(&t->trail, TRAIL_LEN - 1),
		    trail_at(&t->trail, TRAIL_LEN - 2), trail_at(&t->trail, TRAIL_LEN - 3),
		    trail_at(&t->trail, TRAIL_LEN - 4));
}

/* The only function that assigns t->state.  Effects run after the assignment; none of them tells the
 * trunk of another event, so this never re-enters itself. */
void trunk_event(struct trunk *t, enum trunk_event ev)
{
	enum trunk_state was = (enum trunk_state)t->state;
	enum trunk_state now = (enum trunk_state)trunk_next[was][ev];
	bool was_coming = is_coming(t);

	trail_add(&t->trail, was, ev, now);
	if (never(now == TRUNK_BUG)) {
		bug(t, was, ev);
		if (was == TRUNK_CLOSED)
			return;
		now = TRUNK_CLOSED;
	}
	t->state = (uint8_t)now;
	switch (now) {
	case TRUNK_SHAKE:
		t->error = t->home->calls->wrap(t->home, t);	/* the step sees to it */
		break;
	case TRUNK_HELLO:
		enter_hello(t);
		break;
	case TRUNK_OPEN:
		enter_open(t);
		break;
	case TRUNK_LEAVING:
		enter_leaving(t);
		break;
	case TRUNK_CLOSED:
		enter_closed(t, was_coming);
		break;
	default:
		break;
	}
}

/* ---- steps ---- */

/* It did not come to be. */
static void fail(struct trunk *t, int error)
{
	if (t->error == 0)
		t->error = error ? error : -ECONNREFUSED;
	trunk_event(t, TRUNK_EV_BROKEN);
}

static void starve(struct trunk *t)
{
	if (!node_is_linked(&t->starved))
		list_add_tail(&t->home->starved, &t->starved);
}

/* True: it is over.  *again: more could be read, if need be once what waits is written: when there is
 * no room for that, the event that tells of room comes first. */
static bool read_some(struct trunk *t, bool *again)
{
	struct trunks *ts = t->home;

	*again = false;
	for (int i = 0; t->ready & READY_IN; i++) {
		if (i == STEP_READS) {
			*again = true;
			return false;
		}
		if (budget_room(&t->tenant->memory) < READ_ROOM) {
			starve(t);
			return false;
		}
		switch (h2_read(t->h, ts->scratch, ts->scratch_room)) {
		case H2_DRY:
			/* Not once its end was seen, or that would be missed; nor while the stream has
			 * something to say that no event tells. */
			if (!(t->ready & (READY_END | READY_ERR)) &&
			    likely(t->s.ops->more == NULL || !t->s.ops->more(&t->s)))
				t->ready &= (uint8_t)~READY_IN;
			break;
		case H2_MORE:
			break;
		case H2_FULL:
			*again = t->ready & READY_OUT;
			return false;
		case H2_STARVED:
			starve(t);
			return false;
		case H2_OVER:
			return true;
		}
	}
	return false;
}

static bool write_some(struct trunk *t, bool *again)
{
	if (!(t->ready & READY_OUT) || !h2_wants_write(t->h))
		return false;
	switch (h2_write(t->h)) {
	case H2_DRY:
		break;
	case H2_MORE:
		*again = true;
		break;
	case H2_FULL:
		t->ready &= (uint8_t)~READY_OUT;
		break;
	case H2_STARVED:
		starve(t);
		break;
	case H2_OVER:
		return true;
	}
	return false;
}

static void may_leave(struct trunk *t)
{
	if (t->state != TRUNK_OPEN)
		return;
	if (h2_peer_is_leaving(t->h))
		trunk_event(t, TRUNK_EV_GOAWAY);
	else if (t->age_at.ns && clock_now().ns >= t->age_at.ns)
		trunk_event(t, TRUNK_EV_AGED);
}

/* True: its time is over.  Nobody has a place, and what they wrote is out. */
static bool is_done_with(struct trunk *t)
{
	struct trunks *ts = t->home;

	if (t->taken || h2_streams(t->h))
		return false;
	if (t->state == TRUNK_LEAVING)
		return !h2_wants_write(t->h) || !(t->ready & READY_OUT);
	if (t->idle_at.ns == 0)
		t->idle_at = clock_now();
	return mono_diff_ms(clock_now(), t->idle_at) >= ts->times.idle_ms ||
	       !ts->calls->keeps(ts, t);
}

static void set_deadline(struct trunk *t)
{
	struct trunks *ts = t->home;
	struct mono now = clock_now();
	int64_t ms = mono_diff_ms(t->tick_at, now);

	if (t->idle_at.ns)
		ms = min_of(ms, ts->times.idle_ms - mono_diff_ms(now, t->idle_at));
	if (t->state == TRUNK_OPEN && t->age_at.ns)
		ms = min_of(ms, mono_diff_ms(t->age_at, now));
	ts->calls->deadline(ts, &t->deadline, max_of(ms, (int64_t)1));
}

static void set_windows(struct trunk *t)
{
	size_t part = min_of(budget_room(&t->tenant->memory) / WINDOW_PART, (size_t)WINDOW_MOST);
	uint32_t bytes = WINDOW_LEAST;

	/* In powers of two: each change is a frame. */
	while (bytes * 2 <= part)
		bytes *= 2;
	h2_windows(t->h, bytes);
}

static void step_session(struct trunk *t)
{
	struct trunks *ts = t->home;
	bool again;

	if (clock_now().ns >= t->tick_at.ns) {
		set_windows(t);
		t->tick_at = mono_after_ms(clock_now(), h2_tick(t->h));
		t->expired = true;
	}
	if (read_some(t, &again)) {
		trunk_event(t, TRUNK_EV_BROKEN);
		return;
	}
	may_leave(t);
	tell(t);
	if (write_some(t, &again)) {
		trunk_event(t, TRUNK_EV_BROKEN);
		return;
	}
	/* Room comes of streams that have ended on the wire, and of new SETTINGS. */
	if (t->bundle && t->bundle->n_line)
		bundle_settle(ts, t->bundle);
	if (is_done_with(t)) {
		trunk_event(t, TRUNK_EV_IDLE);
		return;
	}
	if (again)
		sched_wake(ts->sched, &t->unit);
	if (t->expired || t->idle_at.ns) {
		t->expired = false;
		set_deadline(t);
	}
}

static void step_hello(struct trunk *t)
{
	bool again;

	if (t->h == NULL || t->expired) {
		fail(t, t->h ? -ETIMEDOUT : t->error);
		return;
	}
	if (read_some(t, &again) || write_some(t, &again)) {
		/* Whoever is there does not speak HTTP/2, or has gone. */
		fail(t, h2_offence(t->h) == H2_OFFENCE_MEMORY ? -ENOMEM : -EPROTO);
		return;
	}
	if (h2_is_greeted(t->h)) {
		trunk_event(t, TRUNK_EV_GREETED);
		again = true;
	}
	if (again)
		sched_wake(t->home->sched, &t->unit);
}

static void step_shake(struct trunk *t)
{
	int r = t->error ? t->error : t->expired ? -ETIME : t->home->calls->shake(t->home, t);

	if (r < 0) {
		fail(t, r);
	} else if (r) {
		trunk_event(t, TRUNK_EV_CONNECTED);
		step_hello(t);
	}
}

static void step_dialling(struct trunk *t)
{
	if (t->ready & READY_ERR) {
		fail(t, t->s.ops->error(&t->s));
	} else if (t->expired) {
		fail(t, -ETIMEDOUT);
	} else if (t->ready & READY_OUT && t->tls) {
		trunk_event(t, TRUNK_EV_SHAKE);
		step_shake(t);
	} else if (t->ready & READY_OUT) {
		int r = origin_tell(&t->bundle->key, &t->s);

		if (r < 0) {
			fail(t, r);
			return;
		}
		trunk_event(t, TRUNK_EV_CONNECTED);
		step_hello(t);
	}
}

static void trunk_step(struct sched_unit *u)
{
	struct trunk *t = container_of(u, struct trunk, unit);

	panic_trail(&t->trail);
	panic_doing("trunk");
	switch ((enum trunk_state)t->state) {
	case TRUNK_DIALLING:
		step_dialling(t);
		break;
	case TRUNK_SHAKE:
		step_shake(t);
		break;
	case TRUNK_HELLO:
		step_hello(t);
		break;
	case TRUNK_OPEN:
	case TRUNK_LEAVING:
		step_session(t);
		break;
	default:
		break;
	}
	panic_doing("");
}

/* ---- for exchanges ---- */

/* Not another one. */
static int refuse(struct trunks *ts, const struct back *b, struct bundle *u, struct trunk *t, int error)
{
	slab_give(&ts->trunks, t);
	bundle_failed(ts, u, error);
	return error == -EDQUOT && b->waits_at ? -EAGAIN : error;
}

int trunk_dial(struct trunks *ts, const struct back *b, struct tenant *tenant, int64_t ms)
{
	struct bundle *u = bundle_at(ts, &b->key);
	struct slot_ref ref;
	struct trunk *t = u ? slab_take(&ts->trunks, &ref) : NULL;
	int r;

	must(u == NULL || u->n_line || u->n_trunks);
	if (t == NULL)
		return -ENOMEM;
	if (b->key.limit && !ts->calls->admits(ts, ref.slot, b))
		return refuse(ts, b, u, t, -EDQUOT);
	r = bank_dial(ts->banks, &b->key, &t->s);
	if (r < 0 && r != -EINPROGRESS) {
		if (b->key.limit)
			ts->calls->closed(ts, ref.slot);
		if (r != -EAGAIN)
			return refuse(ts, b, u, t, r);
		slab_give(&ts->trunks, t);	/* b is woken when there are sockets in its pod */
		return r;
	}
	t->magic = TRUNK_MAGIC;
	t->state = TRUNK_DIALLING;
	t->home = ts;
	t->limit = b->key.limit;
	t->pod = b->key.pod;
	t->tls = b->key.tls;
	t->addr = b->key.addr;
	t->tenant = tenant;
	tenant_ref(tenant);
	t->born = clock_now();
	sched_unit_init(&t->unit, tenant, trunk_step);
	wheel_entry_init(&t->deadline);
	list_init(&t->starved);
	bundle_join(u, t);
	ts->open++;
	if (tcp_world->watch(ts->poll, &t->s, ts->token | (uint64_t)ref.slot << 32 | ref.gen) < 0) {
		/* Who dials learns it from here, the others in line from the trunk. */
		t->error = -ENOMEM;
		trunk_event(t, TRUNK_EV_BROKEN);
		return -ENOMEM;
	}
	board_add(&ts->c[WC_connects], 1);
	ts->calls->deadline(ts, &t->deadline, ms);
	return 0;
}

/* ---- events ---- */

void trunk_ready(struct trunks *ts, struct slot_ref ref, unsigned bits)
{
	struct trunk *t = slab_at(&ts->trunks, ref);

	if (t == NULL || t->state == TRUNK_CLOSED)
		return;
	t->ready |= (uint8_t)bits;
	/* Room alone concerns only who has something to write. */
	if (bits != READY_OUT || t->h == NULL || h2_wants_write(t->h))
		sched_wake(ts->sched, &t->unit);
}

void trunk_expired(struct wheel_entry *e)
{
	struct trunk *t = container_of(e, struct trunk, deadline);

	t->expired = true;
	sched_wake(t->home->sched, &t->unit);
}

void trunks_feed(struct trunks *ts)
{
	list_each(it, &ts->starved) {
		struct trunk *t = container_of(it, struct trunk, starved);

		list_remove(&t->starved);
		sched_wake(ts->sched, &t->unit);
	}
}
