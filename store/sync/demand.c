/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See demand.h. */
#include "store/sync/demand.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "store/resource/resource.h"
#include "store/rows.h"
#include "store/sync/model.h"

void demand_init(struct demand *d, uint32_t most, void (*changed)(void *, uint64_t), void *arg)
{
	*d = (struct demand){ .most = most, .changed = changed, .arg = arg,
			      .rate = ratelimit_of(DEMAND_FETCHES_S, DEMAND_FETCHES_S) };
	list_init(&d->wanted);
}

static uint64_t service_hash(struct slice ns, struct slice name)
{
	return key_hash(ROW_SERVICE, ns, name);
}

/* ---- Services ---- */

static struct demand_service *find(const struct demand *d, struct slice ns, struct slice name)
{
	for (struct hash_node *n = hash_first(&d->services, service_hash(ns, name)); n; n = hash_next(n)) {
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
	if (s == NULL || hash_add(&d->services, &s->by_name, service_hash(ns, name)) < 0) {
		free(s);
		return NULL;
	}
	memcpy(s->text, ns.p, ns.n);
	memcpy(s->text + ns.n + 1, name.p, name.n);
	s->ns = s->text;
	s->name = s->text + ns.n + 1;
	list_init(&s->in_wanted);
	for (const struct demand_slice *x = demand_slice_of(d, s, NULL); x; x = demand_slice_of(d, s, x))
		s->left += x->is_left;
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
	d->changed(d->arg, s->by_name.hash);
}

static void drop_unused(struct demand *d, struct demand_service *s)
{
	if (s->state != DEMAND_LEFT || s->pinned)
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
	return hash_first(&d->of_services, service_hash(slice_str(ns), slice_str(name))) != NULL;
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

static bool is_called(const struct demand_slice *x, struct slice ns, struct slice name)
{
	return slice_eq(slice_of((const uint8_t *)x->text, x->ns_n), ns) &&
	       slice_eq(slice_str(demand_slice_name(x)), name);
}

static uint64_t slice_hash(struct slice ns, struct slice name)
{
	return key_hash(ROW_SLICE, ns, name);
}

struct demand_slice *demand_slice_find(const struct demand *d, struct slice ns, struct slice name)
{
	for (struct hash_node *n = hash_first(&d->slices, slice_hash(ns, name)); n; n = hash_next(n)) {
		struct demand_slice *x = container_of(n, struct demand_slice, by_name);

		if (is_called(x, ns, name))
			return x;
	}
	return NULL;
}

static struct demand_slice *slice_make(struct demand *d, struct slice ns, struct slice name)
{
	struct demand_slice *x = demand_slice_find(d, ns, name);

	if (x || d->slices.count >= d->most || ns.n > UINT8_MAX)
		return x;
	x = calloc(1, sizeof *x + ns.n + name.n + 2);
	if (x == NULL || hash_add(&d->slices, &x->by_name, slice_hash(ns, name)) < 0) {
		free(x);
		return NULL;
	}
	memcpy(x->text, ns.p, ns.n);
	memcpy(x->text + ns.n + 1, name.p, name.n);
	x->ns_n = (uint8_t)ns.n;
	return x;
}

/* Its Service, if that is wanted. */
static struct demand_service *service_of(const struct demand *d, const struct demand_slice *x)
{
	struct hash_node *n = x->by_service.hash ? hash_first(&d->services, x->by_service.hash) : NULL;

	return n ? container_of(n, struct demand_service, by_name) : NULL;
}

struct demand_slice *demand_slice_of(const struct demand *d, const struct demand_service *s,
				     const struct demand_slice *after)
{
	struct hash_node *n = after ? hash_next(&after->by_service) : hash_first(&d->of_services, s->by_name.hash);

	return n ? container_of(n, struct demand_slice, by_service) : NULL;
}

bool demand_is_due(const struct demand *d, const struct demand_slice *x)
{
	const struct demand_service *s = service_of(d, x);

	return x->is_left && s && s->state == DEMAND_FETCHING;
}

static void set_left(struct demand *d, struct demand_slice *x, bool left)
{
	struct demand_service *s = service_of(d, x);

	if (x->is_left == left)
		return;
	x->is_left = left;
	d->left += left ? 1 : -1u;
	if (s)
		s->left += left ? 1 : -1u;
}

static void unlink_slice(struct demand *d, struct demand_slice *x)
{
	uint64_t was = x->by_service.hash;

	if (was == 0)
		return;
	set_left(d, x, false);
	hash_remove(&d->of_services, &x->by_service);
	x->by_service.hash = 0;
	if (hash_first(&d->of_services, was) == NULL)
		d->changed(d->arg, was);
}

static void link_slice(struct demand *d, struct demand_slice *x, uint64_t service)
{
	bool first = service && hash_first(&d->of_services, service) == NULL;

	if (service == 0 || hash_add(&d->of_services, &x->by_service, service) < 0) {
		x->by_service.hash = 0;
		return;
	}
	if (first)
		d->changed(d->arg, service);
}

bool demand_seen(struct demand *d, struct slice ns, struct slice name, struct slice service, uint32_t listing)
{
	struct demand_slice *x = slice_make(d, ns, name);
	uint64_t of = service.n ? service_hash(ns, service) : 0;
	const struct demand_service *s;
	bool tell;

	if (x == NULL)
		return false;
	if (x->by_service.hash != of) {
		unlink_slice(d, x);
		link_slice(d, x, of);
	}
	x->listed = listing;
	s = service_of(d, x);
	tell = s && s->state != DEMAND_LEFT;
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

void demand_listed(struct demand *d, uint32_t listing)
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
	const struct demand_service *of = after ? service_of(d, after) : NULL;
	const struct node *n = of ? &of->in_wanted : d->wanted.next;

	for (; n != &d->wanted; n = n->next, after = NULL) {
		const struct demand_service *s = container_of(n, struct demand_service, in_wanted);
		struct demand_slice *x = s->state == DEMAND_FETCHING && s->left ? demand_slice_of(d, s, after) : NULL;

		while (x && !x->is_left)
			x = demand_slice_of(d, s, x);
		if (x)
			return x;
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
	for (struct demand_slice *x = demand_slice_of(d, s, NULL); x; x = demand_slice_of(d, s, x))
		set_left(d, x, true);
	d->let_go++;
	s->uses = 0;
	become(d, s, DEMAND_LEFT);
	drop_unused(d, s);
}

static void nothing_changed(void *arg, uint64_t service)
{
	(void)arg;
	(void)service;
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
	hash_fini(&d->of_services);
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
