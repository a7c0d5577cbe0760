/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See change.h. */
#include "nodeproxy/lib/knobs/change.h"

struct walk {
	void (*fn)(void *arg, const struct knob_change *);
	void *arg;
	unsigned n;
	struct knob_change change;
};

static void tell(struct walk *w)
{
	w->n++;
	if (w->fn)
		w->fn(w->arg, &w->change);
}

bool knobs_differ(const struct knobs *was, const struct knobs *now, enum knob_index i)
{
	char a[KNOB_VALUE], b[KNOB_VALUE];

	knobs_value(was, i, a, sizeof a);
	knobs_value(now, i, b, sizeof b);
	return strcmp(a, b) != 0;
}

bool knobs_same_socket(const struct knobs_listener *a, const struct knobs_listener *b)
{
	return addr_eq(&a->addr, &b->addr) && (a->addr.port != 0 || strcmp(a->name, b->name) == 0);
}

int knobs_find_socket(const struct knobs *k, const struct knobs_listener *l)
{
	for (uint32_t i = 0; i < k->n_listeners; i++)
		if (knobs_same_socket(&k->listener[i], l))
			return (int)i;
	return -1;
}

static void listener_fields(struct walk *w, const struct knobs_listener *was,
			    const struct knobs_listener *now)
{
	struct knob_change *c = &w->change;
	struct knob_row row;

	for (unsigned i = 0; knobs_row(KNOBS + i, &row); i++) {
		knobs_listener_value(was, i, c->was, sizeof c->was);
		knobs_listener_value(now, i, c->now, sizeof c->now);
		snprintf(c->key, sizeof c->key, "listeners[%s].%s", now->name, row.key);
		if (strcmp(c->was, c->now) != 0)
			tell(w);
	}
}

/* The listener of this name, if its socket is not one of other's. */
static const struct knobs_listener *by_name(const struct knobs *k, const struct knobs *other,
					    const char *name)
{
	for (uint32_t i = 0; i < k->n_listeners; i++)
		if (strcmp(k->listener[i].name, name) == 0 &&
		    knobs_find_socket(other, &k->listener[i]) < 0)
			return &k->listener[i];
	return NULL;
}

static void came_or_went(struct walk *w, const struct knobs_listener *l, bool came)
{
	struct knob_change *c = &w->change;

	snprintf(c->key, sizeof c->key, "listeners[%s]", l->name);
	snprintf(c->was, sizeof c->was, "%s", came ? "" : l->bind);
	snprintf(c->now, sizeof c->now, "%s", came ? l->bind : "");
	tell(w);
}

unsigned knobs_changes(const struct knobs *was, const struct knobs *now,
		       void (*fn)(void *arg, const struct knob_change *), void *arg)
{
	struct walk w = { .fn = fn, .arg = arg };
	struct knob_change *c = &w.change;
	struct knob_row row;

	for (unsigned i = 0; i < KNOBS && knobs_row(i, &row); i++) {
		knobs_value(was, i, c->was, sizeof c->was);
		knobs_value(now, i, c->now, sizeof c->now);
		if (strcmp(c->was, c->now) == 0)
			continue;
		snprintf(c->key, sizeof c->key, "%s", row.key);
		c->reload = row.reload;
		c->row = i;
		tell(&w);
	}
	c->reload = RELOAD_LIVE;
	c->row = KNOBS;
	for (uint32_t i = 0; i < now->n_listeners; i++) {
		const struct knobs_listener *l = &now->listener[i], *old;
		int at = knobs_find_socket(was, l);

		old = at >= 0 ? &was->listener[at] : by_name(was, now, l->name);
		if (old)
			listener_fields(&w, old, l);
		else
			came_or_went(&w, l, true);
	}
	for (uint32_t i = 0; i < was->n_listeners; i++) {
		const struct knobs_listener *l = &was->listener[i];

		if (knobs_find_socket(now, l) < 0 && !by_name(now, was, l->name))
			came_or_went(&w, l, false);
	}
	return w.n;
}

const char *knob_reload_name(enum knob_reload r)
{
	static const char *const names[] = { "live", "workers", "restart" };

	return (unsigned)r < countof(names) ? names[r] : "?";
}
