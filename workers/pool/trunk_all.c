/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Trunks as a whole: those that lie idle, all of them at once, the dead, start and end.  See trunk.h. */
#include "workers/pool/trunk_inner.h"

#include <errno.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/panic.h"

/* Slots looked at for idle ones, so that giving back is a short step. */
#define GIVE_BACK_LOOKS 512

static bool is_idle(const struct trunk *t)
{
	return t->state == TRUNK_OPEN && t->taken == 0 && h2_streams(t->h) == 0;
}

uint32_t trunks_give_back(struct trunks *ts, bool (*which)(struct trunks *, const struct trunk *, const void *),
			  const void *arg, uint32_t n)
{
	uint32_t closed = 0;

	if (ts->open == 0)
		return 0;
	for (uint32_t i = 0; i < min_of(ts->trunks.fresh, (uint32_t)GIVE_BACK_LOOKS) && closed < n; i++) {
		struct trunk *t;

		if (ts->sweep >= ts->trunks.fresh)
			ts->sweep = 0;
		t = slab_at(&ts->trunks, (struct slot_ref){ ts->sweep, ts->trunks.gen[ts->sweep] });
		ts->sweep++;
		if (t && is_idle(t) && which(ts, t, arg)) {
			trunk_event(t, TRUNK_EV_IDLE);
			closed++;
		}
	}
	return closed;
}

static void each(struct trunks *ts, void (*fn)(struct trunk *))
{
	for (uint32_t i = 0; i < ts->trunks.fresh; i++) {
		struct trunk *t = slab_at(&ts->trunks, (struct slot_ref){ i, ts->trunks.gen[i] });

		if (t && t->state != TRUNK_CLOSED)
			fn(t);
	}
}

static void close_idle(struct trunk *t)
{
	if (is_idle(t))
		trunk_event(t, TRUNK_EV_IDLE);
}

static void close_now(struct trunk *t)
{
	t->error = -ECONNRESET;
	trunk_event(t, TRUNK_EV_BROKEN);
}

void trunks_close_pod(struct trunks *ts, uint32_t pod, bool now)
{
	for (uint32_t i = 0; i < ts->trunks.fresh; i++) {
		struct trunk *t = slab_at(&ts->trunks, (struct slot_ref){ i, ts->trunks.gen[i] });

		if (t && t->pod == pod && t->state != TRUNK_CLOSED)
			(now ? close_now : close_idle)(t);
	}
}

void trunks_drain(struct trunks *ts)
{
	each(ts, close_idle);
}

void trunks_close(struct trunks *ts)
{
	each(ts, close_now);
}

void trunks_reap(struct trunks *ts)
{
	struct trunk *t;

	while ((t = list_pop(&ts->dead, struct trunk, node))) {
		must(t->magic == TRUNK_MAGIC && t->state == TRUNK_CLOSED);
		tenant_give(&t->tenant);
		ts->taken -= t->taken;
		panic_trail(NULL);
		t->magic = 0;
		slab_give(&ts->trunks, t);
	}
}

/* at start */
int trunks_init(struct trunks *ts, uint32_t count)
{
	int r;

	ts->buckets = 1024;
	list_init(&ts->dead);
	list_init(&ts->starved);
	r = slab_init(&ts->trunks, "trunk", sizeof(struct trunk), count);
	if (r < 0)
		return r;
	r = slab_init(&ts->bundles, "bundle", sizeof(struct bundle), count);
	if (r < 0)
		goto fail;
	ts->bucket = malloc(ts->buckets * sizeof *ts->bucket);
	if (ts->bucket == NULL) {
		r = -ENOMEM;
		goto fail;
	}
	for (uint32_t i = 0; i < ts->buckets; i++)
		list_init(&ts->bucket[i]);
	ts->trunks.packs = true;
	return 0;
fail:
	trunks_fini(ts);
	return r;
}

void trunks_fini(struct trunks *ts)
{
	slab_fini(&ts->trunks);
	slab_fini(&ts->bundles);
	free(ts->bucket);
	ts->bucket = NULL;
}
