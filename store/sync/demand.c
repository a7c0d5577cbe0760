/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See demand.h. */
#include "store/sync/demand.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/resource/resource.h"
#include "store/rows.h"

void demand_init(struct demand *d, uint32_t most, void (*changed)(void *, const char *, const char *), void *arg)
{
	*d = (struct demand){ .most = most, .changed = changed, .arg = arg,
			      .rate = ratelimit_of(DEMAND_FETCHES_S, DEMAND_FETCHES_S) };
	list_init(&d->wanted);
}

static uint64_t pair_hash(struct slice ns, struct slice name)
{
	uint8_t buf[2 * 256];
	size_t n = min_of(ns.n, (size_t)255), more = min_of(name.n, (size_t)255);

	memcpy(buf, ns.p, n);
	buf[n] = '/';
	memcpy(buf + n + 1, name.p, more);
	return hash_slice(slice_of(buf, n + 1 + more));
}

/* ---- Services ---- */

static struct demand_service *find(const struct demand *d, struct slice ns, struct slice name)
{
	for (struct hash_node *n = hash_first(&d->services, pair_hash(ns, name)); n; n = hash_next(n)) {
		struct demand_service *s = container_of(n, struct demand_service, by_name);

		if (slice_eq(slice_str(s->ns), ns) && slice_eq(slice_str(s->name), name))
			return s;
	}
	return NULL;
}

struct demand_service *demand_find(const struct demand *d, const char *ns, const char *name)
{
	return find(d, slice_str(ns), slice_str(name));
}

static struct demand_service *make(struct demand *d, struct slice ns, struct slice name)
{
	struct demand_service *s = find(d, ns, name);

	if (s)
		return s;
	s = calloc(1, sizeof *s + ns.n + name.n + 2);
	if (s == NULL || hash_add(&d->services, &s->by_name, pair_hash(ns, name)) < 0) {
		free(s);
		return NULL;
	}
	memcpy(s->text, ns.p, ns.n);
	memcpy(s->text + ns.n + 1, name.p, name.n);
	s->ns = s->text;
	s->name = s->text + ns.n + 1;
	list_init(&s->in_wanted);
	list_init(&s->slices);
	return s;
}

static uint32_t *count_of(struct demand *d, enum demand_state state)
{
	return state == DEMAND_HERE ? &d->here : &d->fetching;
}

/* The only function that assigns the state. */
static void become(struct demand *d, struct demand_service *s, enum demand_state state)
{
	if (s->state != DEMAND_LEFT)
		--*count_of(d, (enum demand_state)s->state);
	if (state != DEMAND_LEFT)
		++*count_of(d, state);
	if (s->state == DEMAND_LEFT)
		list_add_tail(&d->wanted, &s->in_wanted);
	if (state == DEMAND_LEFT)
		list_remove(&s->in_wanted);
	s->state = (uint8_t)state;
	s->since = clock_now();
	d->changed(d->arg, s->ns, s->name);
}

static void drop_unused(struct demand *d, struct demand_service *s)
{
	if (s->state != DEMAND_LEFT || s->pinned || s->n_slices)
		return;
	hash_remove(&d->services, &s->by_name);
	free(s);
}

bool demand_is_here(const struct demand *d, const char *ns, const char *name)
{
	const struct demand_service *s = demand_find(d, ns, name);

	return s && s->state == DEMAND_HERE;
}

bool demand_has_slices(const struct demand *d, const char *ns, const char *name)
{
	const struct demand_service *s = demand_find(d, ns, name);

	return s && s->n_slices;
}

void demand_stored(struct demand *d, const char *ns, const char *name)
{
	struct demand_service *s = make(d, slice_str(ns), slice_str(name));

	if (s && s->state != DEMAND_HERE) {
		s->used = clock_now();
		become(d, s, DEMAND_HERE);
	}
}

bool demand_want(struct demand *d, const char *ns, const char *name)
{
	struct demand_service *s = demand_find(d, ns, name);

	if (s && s->state != DEMAND_LEFT) {
		s->used = clock_now();
		return s->state == DEMAND_FETCHING;
	}
	if (!ratelimit_take(&d->rate, clock_now())) {
		d->refused++;
		return false;
	}
	s = make(d, slice_str(ns), slice_str(name));
	if (s == NULL)
		return false;
	s->used = clock_now();
	become(d, s, DEMAND_FETCHING);
	return true;
}

void demand_pin(struct demand *d, const char *ns, const char *name, bool pinned)
{
	struct demand_service *s = pinned ? make(d, slice_str(ns), slice_str(name)) : demand_find(d, ns, name);

	if (s == NULL)
		return;
	s->pinned = pinned;
	s->used = clock_now();
	if (pinned && s->state == DEMAND_LEFT)
		become(d, s, DEMAND_FETCHING);
	drop_unused(d, s);
}

/* ---- slices ---- */

struct demand_slice *demand_slice_find(const struct demand *d, struct slice ns, struct slice name)
{
	for (struct hash_node *n = hash_first(&d->slices, pair_hash(ns, name)); n; n = hash_next(n)) {
		struct demand_slice *s = container_of(n, struct demand_slice, by_name);

		if (slice_eq(slice_str(s->ns), ns) && slice_eq(slice_str(s->name), name))
			return s;
	}
	return NULL;
}

static struct demand_slice *slice_make(struct demand *d, struct slice ns, struct slice name)
{
	struct demand_slice *s = demand_slice_find(d, ns, name);

	if (s || d->slices.count >= d->most)
		return s;
	s = calloc(1, sizeof *s + ns.n + name.n + 2);
	if (s == NULL || hash_add(&d->slices, &s->by_name, pair_hash(ns, name)) < 0) {
		free(s);
		return NULL;
	}
	memcpy(s->text, ns.p, ns.n);
	memcpy(s->text + ns.n + 1, name.p, name.n);
	s->ns = s->text;
	s->name = s->text + ns.n + 1;
	list_init(&s->in_service);
	return s;
}

static void set_left(struct demand *d, struct demand_slice *x, bool left)
{
	if (x->is_left == left)
		return;
	x->is_left = left;
	d->left += left ? 1 : -1u;
	if (x->service)
		x->service->left += left ? 1 : -1u;
}

static void unlink_slice(struct demand *d, struct demand_slice *x)
{
	struct demand_service *s = x->service;

	if (s == NULL)
		return;
	set_left(d, x, false);
	list_remove(&x->in_service);
	x->service = NULL;
	if (--s->n_slices == 0)
		d->changed(d->arg, s->ns, s->name);
	drop_unused(d, s);
}

static void link_slice(struct demand *d, struct demand_slice *x, struct slice service)
{
	struct demand_service *s = service.n ? make(d, slice_str(x->ns), service) : NULL;

	if (s == NULL)
		return;
	x->service = s;
	list_add_tail(&s->slices, &x->in_service);
	if (s->n_slices++ == 0)
		d->changed(d->arg, s->ns, s->name);
}

bool demand_seen(struct demand *d, struct slice ns, struct slice name, struct slice service, uint64_t listing)
{
	struct demand_slice *x = slice_make(d, ns, name);
	bool tell;

	if (x == NULL)
		return false;
	if (x->service == NULL || !slice_eq(slice_str(x->service->name), service)) {
		unlink_slice(d, x);
		link_slice(d, x, service);
	}
	if (listing)
		x->listed = listing;
	tell = x->service && x->service->state != DEMAND_LEFT;
	set_left(d, x, !tell);
	return tell;
}

static void slice_free(struct demand *d, struct demand_slice *x)
{
	unlink_slice(d, x);
	set_left(d, x, false);
	hash_remove(&d->slices, &x->by_name);
	free(x);
}

void demand_gone(struct demand *d, struct slice ns, struct slice name)
{
	struct demand_slice *x = demand_slice_find(d, ns, name);

	if (x)
		slice_free(d, x);
}

void demand_listed(struct demand *d, uint64_t listing)
{
	for (size_t b = 0; b < d->slices.buckets; b++) {
		for (struct hash_node *n = d->slices.bucket[b], *next; n; n = next) {
			struct demand_slice *x = container_of(n, struct demand_slice, by_name);

			next = n->next;
			if (x->listed != listing)
				slice_free(d, x);
		}
	}
}

/* In the order of Services that were asked for, so that the first are done first. */
struct demand_slice *demand_next(const struct demand *d, const struct demand_slice *after)
{
	const struct node *s = after ? &after->service->in_wanted : d->wanted.next;
	const struct node *x = after ? after->in_service.next : NULL;

	for (; s != &d->wanted; s = s->next, x = NULL) {
		struct demand_service *of = container_of(s, struct demand_service, in_wanted);

		if (of->state != DEMAND_FETCHING)
			continue;
		for (x = x ?: of->slices.next; x != &of->slices; x = x->next)
			if (container_of(x, struct demand_slice, in_service)->is_left)
				return container_of(x, struct demand_slice, in_service);
	}
	return NULL;
}

const struct demand_service *demand_oldest(const struct demand *d)
{
	for (const struct node *n = d->wanted.next; n != &d->wanted; n = n->next) {
		const struct demand_service *s = container_of(n, struct demand_service, in_wanted);

		if (s->state == DEMAND_FETCHING)
			return s;
	}
	return NULL;
}

void demand_told(struct demand *d, struct demand_slice *x)
{
	set_left(d, x, false);
}

bool demand_settle(struct demand *d)
{
	bool any = false;

	list_each(it, &d->wanted) {
		struct demand_service *s = container_of(it, struct demand_service, in_wanted);

		if (s->state != DEMAND_FETCHING || s->left)
			continue;
		d->last_ms = (uint64_t)max_of(mono_diff_ms(clock_now(), s->since), (int64_t)0);
		d->max_ms = max_of(d->max_ms, d->last_ms);
		d->fetches++;
		become(d, s, DEMAND_HERE);
		any = true;
	}
	return any;
}

void demand_leave(struct demand *d, struct demand_service *s)
{
	list_each(it, &s->slices)
		set_left(d, container_of(it, struct demand_slice, in_service), true);
	d->let_go++;
	s->uses = 0;
	become(d, s, DEMAND_LEFT);
	drop_unused(d, s);
}

static void nothing_changed(void *arg, const char *ns, const char *name)
{
	(void)arg;
	(void)ns;
	(void)name;
}

void demand_fini(struct demand *d)
{
	d->changed = nothing_changed;
	for (size_t b = 0; b < d->slices.buckets; b++)
		while (d->slices.bucket[b])
			slice_free(d, container_of(d->slices.bucket[b], struct demand_slice, by_name));
	for (size_t b = 0; b < d->services.buckets; b++) {
		while (d->services.bucket[b]) {
			struct demand_service *s = container_of(d->services.bucket[b], struct demand_service, by_name);

			list_remove(&s->in_wanted);
			hash_remove(&d->services, &s->by_name);
			free(s);
		}
	}
	hash_fini(&d->slices);
	hash_fini(&d->services);
}

/* ---- the label ---- */

#define LABEL "\"kubernetes.io/service-name\""

static struct slice blanks_skipped(struct slice s)
{
	while (s.n && (s.p[0] == ' ' || s.p[0] == '\t' || s.p[0] == '\n' || s.p[0] == '\r'))
		s = slice_from(s, 1);
	return s;
}

/* The text behind "LABEL :"; false: that is not what stands there. */
static bool plain_value(struct slice s, struct slice *ret)
{
	const uint8_t *quote;

	s = blanks_skipped(s);
	if (s.n == 0 || s.p[0] != ':')
		return false;
	s = blanks_skipped(slice_from(s, 1));
	if (s.n < 2 || s.p[0] != '"')
		return false;
	s = slice_from(s, 1);
	quote = memchr(s.p, '"', s.n);
	if (quote == NULL)
		return false;
	*ret = slice_of(s.p, (size_t)(quote - s.p));
	return ret->n > 0 && ret->n < 64 && memchr(ret->p, '\\', ret->n) == NULL;
}

static struct slice parsed(struct slice json, char room[64])
{
	struct slice found = { 0 };
	struct refusal *no = NULL;
	struct row *row = NULL;

	if (resource_json("", 1, json, &row, &no) < 0)
		return found;
	if (row && row->kind == ROW_SLICE && row->slice.service && strlen(row->slice.service) < 64) {
		snprintf(room, 64, "%s", row->slice.service);
		found = slice_str(room);
	}
	row_free(&row);
	refusal_free(&no);
	return found;
}

/* What stands there once, and without escapes, is taken as it stands; of all else the document is read. */
struct slice slice_service(struct slice json, char room[64])
{
	const size_t n = sizeof LABEL - 1;
	const uint8_t *at = json.n ? memmem(json.p, json.n, LABEL, n) : NULL;
	struct slice rest, found;

	if (at == NULL && (json.n == 0 || memmem(json.p, json.n, "\\u", 2) == NULL))
		return (struct slice){ 0 };
	if (at == NULL)
		return parsed(json, room);
	rest = slice_from(json, (size_t)(at - json.p) + n);
	if (memmem(rest.p, rest.n, LABEL, n) || !plain_value(rest, &found))
		return parsed(json, room);
	memcpy(room, found.p, found.n);
	room[found.n] = 0;
	return slice_of((const uint8_t *)room, found.n);
}
