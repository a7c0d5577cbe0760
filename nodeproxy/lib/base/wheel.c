/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See wheel.h. */
#include "nodeproxy/lib/base/wheel.h"

static struct node *slot_of(struct wheel *w, int64_t tick)
{
	return &w->slot[tick & (WHEEL_SLOTS - 1)];
}

void wheel_init(struct wheel *w, struct mono now)
{
	for (int i = 0; i < WHEEL_SLOTS; i++)
		list_init(&w->slot[i]);
	w->tick = now.ns >> WHEEL_SHIFT;
	w->count = 0;
}

static void queue(struct wheel *w, struct wheel_entry *e)
{
	int64_t t = (e->due.ns >> WHEEL_SHIFT) + 1;	/* late rather than early */

	t = max_of(t, w->tick + 1);
	t = min_of(t, w->tick + WHEEL_SLOTS - 1);
	e->queued = t;
	list_add_tail(slot_of(w, t), &e->node);
}

void wheel_set(struct wheel *w, struct wheel_entry *e, struct mono due)
{
	bool linked = node_is_linked(&e->node);

	e->due = due;
	if (linked && (due.ns >> WHEEL_SHIFT) + 1 >= e->queued)
		return;		/* its slot comes first and queues it again */
	if (linked)
		list_remove(&e->node);
	else
		w->count++;
	queue(w, e);
}

void wheel_clear(struct wheel *w, struct wheel_entry *e)
{
	if (node_is_linked(&e->node)) {
		list_remove(&e->node);
		w->count--;
	}
	e->due.ns = 0;
}

void wheel_run(struct wheel *w, struct mono now, void (*fn)(struct wheel_entry *, void *), void *arg)
{
	wheel_run_some(w, now, UINT32_MAX, fn, arg);
}

void wheel_run_some(struct wheel *w, struct mono now, uint32_t most,
		    void (*fn)(struct wheel_entry *, void *), void *arg)
{
	int64_t end = now.ns >> WHEEL_SHIFT;

	if (end - w->tick >= WHEEL_SLOTS)	/* a long sleep: once round is enough */
		w->tick = end - WHEEL_SLOTS + 1;
	while (w->tick < end) {
		struct node due;
		struct wheel_entry *e;

		w->tick++;
		/* Move the slot aside, so that entries queued by fn wait for the next pass. */
		list_init(&due);
		list_move_all(&due, slot_of(w, w->tick));
		while (most && (e = list_pop(&due, struct wheel_entry, node))) {
			most--;
			if (e->due.ns > now.ns) {
				queue(w, e);
				continue;
			}
			w->count--;
			e->due.ns = 0;
			fn(e, arg);
		}
		if (!list_is_empty(&due)) {
			list_move_all(slot_of(w, w->tick), &due);
			w->tick--;
			return;
		}
	}
}

int64_t wheel_next_ns(const struct wheel *w, struct mono now)
{
	if (w->count == 0)
		return -1;
	for (int64_t t = w->tick + 1; t < w->tick + WHEEL_SLOTS; t++)
		if (!list_is_empty(&w->slot[t & (WHEEL_SLOTS - 1)]))
			return max_of((t << WHEEL_SHIFT) - now.ns, (int64_t)0);
	return -1;
}
