/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Bundles: which trunk takes whose request, who waits for one, and when another is needed.  See
 * trunk.h. */
#include <errno.h>

#include "nodeproxy/lib/base/hash.h"
#include "workers/pool/trunk_inner.h"

static uint32_t less(uint32_t a, uint32_t b)
{
	return a - min_of(a, b);
}

/* Those who have a place and no stream yet will want one of the session's. */
uint32_t trunk_room(const struct trunk *t)
{
	if (t->state != TRUNK_OPEN)
		return 0;
	return min_of(less(TRUNK_STREAMS, t->taken), less(h2_room(t->h), t->unused));
}

static struct trunk *least_loaded(const struct bundle *u)
{
	struct trunk *best = NULL;

	list_each(it, &u->trunks) {
		struct trunk *t = container_of(it, struct trunk, node);

		if ((best == NULL || t->taken < best->taken) && trunk_room(t))
			best = t;
	}
	return best;
}

static void place(struct trunk *t, struct back *b)
{
	b->trunk = slab_ref(&t->home->trunks, t);
	b->had_stream = false;
	b->broke = REASON_NONE;
	b->uses = t->served++;
	b->leg.ready = READY_OUT;
	t->taken++;
	t->unused++;
	t->home->taken++;
	t->idle_at.ns = 0;
}

static void leave_line(struct back *b)
{
	b->waits_at->n_line--;
	b->waits_at = NULL;
	list_remove(&b->node);
}

static bool needs_another(const struct bundle *u)
{
	return u->n_line > u->n_coming * u->each && u->n_trunks < TRUNKS_PER_BUNDLE &&
	       (u->n_trunks == 0 || clock_now().ns >= u->not_before.ns);
}

void bundle_settle(struct trunks *ts, struct bundle *u)
{
	struct trunk *t;

	while (u->n_line && (t = least_loaded(u))) {
		struct back *b = container_of(list_first(&u->line), struct back, node);

		leave_line(b);
		place(t, b);
		ts->calls->wake(b);
	}
	if (u->n_line && needs_another(u))
		ts->calls->wake(container_of(list_first(&u->line), struct back, node));
	if (u->n_line || u->n_trunks)
		return;
	list_remove(&u->node);
	slab_give(&ts->bundles, u);
}

/* Nobody is left who could serve those who wait. */
static void fail_line(struct trunks *ts, struct bundle *u, int error)
{
	while (u->n_line) {
		struct back *b = container_of(list_first(&u->line), struct back, node);

		leave_line(b);
		b->trunk_error = error;
		ts->calls->wake(b);
	}
}

void bundle_failed(struct trunks *ts, struct bundle *u, int error)
{
	u->not_before = mono_after_ms(clock_now(), TRUNK_AGAIN_MS);
	if (u->n_trunks == 0)
		fail_line(ts, u, error);
	bundle_settle(ts, u);
}

void bundle_join(struct bundle *u, struct trunk *t)
{
	t->bundle = u;
	list_add_tail(&u->trunks, &t->node);
	u->n_trunks++;
	u->n_coming++;
}

void bundle_opened(struct bundle *u, struct trunk *t)
{
	u->n_coming--;
	u->each = max_of(trunk_room(t), 1u);
	bundle_settle(t->home, u);
}

void bundle_left(struct trunk *t, bool was_coming)
{
	struct bundle *u = t->bundle;

	if (u == NULL)
		return;
	t->bundle = NULL;
	list_remove(&t->node);
	u->n_trunks--;
	if (was_coming) {
		u->n_coming--;
		board_add(&t->home->c[WC_trunks_missed], u->n_trunks > 0);
		bundle_failed(t->home, u, t->error);
	} else {
		bundle_settle(t->home, u);
	}
}

/* ---- for exchanges ---- */

static struct bundle *find(const struct trunks *ts, const struct back_key *key, struct node **ret_bucket)
{
	/* Keyed: whoever may name endpoint addresses must not choose who shares a bucket. */
	struct node *h = &ts->bucket[hash_slice(back_key_bytes(key)) & (ts->buckets - 1)];

	*ret_bucket = h;
	list_each(it, h) {
		struct bundle *u = container_of(it, struct bundle, node);

		if (back_key_eq(&u->key, key))
			return u;
	}
	return NULL;
}

struct bundle *bundle_at(struct trunks *ts, const struct back_key *key)
{
	struct node *bucket;
	struct bundle *u = find(ts, key, &bucket);

	if (u)
		return u;
	u = slab_take(&ts->bundles, NULL);
	if (u == NULL)
		return NULL;
	u->key = *key;
	u->each = TRUNK_STREAMS;
	list_init(&u->trunks);
	list_init(&u->line);
	list_add_head(bucket, &u->node);
	return u;
}

int trunk_take(struct trunks *ts, struct back *b)
{
	struct bundle *u = bundle_at(ts, &b->key);
	struct trunk *t;

	must(b->on == ts && b->trunk.gen == 0 && !stream_is_open(&b->leg.s));
	if (u == NULL)
		return -ENOMEM;
	if (b->waits_at == NULL) {
		t = u->n_line ? NULL : least_loaded(u);
		if (t) {
			place(t, b);
			return 0;
		}
		b->trunk_error = 0;
		b->waits_at = u;
		list_add_tail(&u->line, &b->node);
		u->n_line++;
		board_add(&ts->c[WC_trunk_waits], 1);
	}
	return needs_another(u) ? -ENOENT : -EAGAIN;
}

bool trunk_is_full(const struct trunks *ts, const struct back *b)
{
	(void)ts;
	return b->waits_at && b->waits_at->n_trunks > b->waits_at->n_coming;
}

bool trunk_lacks_socket(const struct trunks *ts, const struct back *b)
{
	(void)ts;
	return b->waits_at && b->waits_at->n_trunks == 0;
}

bool trunk_wants_another(const struct trunks *ts, const struct back *b)
{
	const struct trunk *t = trunk_of(ts, b);
	const struct bundle *u = t ? t->bundle : NULL;

	/* It was the least loaded one. */
	return u && t->taken > (t->taken + trunk_room(t)) / 2 && t->taken > 1 && u->n_coming == 0 &&
	       u->n_trunks < TRUNKS_PER_BUNDLE && clock_now().ns >= u->not_before.ns;
}

void trunk_give(struct trunks *ts, struct back *b)
{
	struct trunk *t = trunk_of(ts, b);

	if (b->waits_at) {
		struct bundle *u = b->waits_at;

		leave_line(b);
		bundle_settle(ts, u);
	}
	if (t && t->state != TRUNK_CLOSED) {
		t->taken--;
		t->unused -= !b->had_stream;
		ts->taken--;
		/* The step writes what the end of the stream still has to say, then gives the place
		 * to who waits. */
		sched_wake(ts->sched, &t->unit);
	}
	b->trunk = SLOT_NONE;
}
