/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See pending.h. */
#include "workers/path/exchange.h"

struct pending_line {
	struct node in_all, in_bucket;
	struct slot_gen limit;
	uint32_t n;			/* exchanges that wait or were called */
	uint32_t connections, requests;	/* the limits, as the last one who came has them; 0: none */
	uint32_t ended;			/* here, for PENDING_LEAVES */
	struct node sources;		/* that have somebody who waits: the first is called next */
	struct node resting;		/* the others: all of theirs were called */
};

struct pending_source {
	struct node in_line;
	struct pending_line *line;
	const struct tenant *tenant;	/* its exchanges hold it */
	uint32_t n, waits;
	struct node waiting;		/* exchange.node, in order */
};

int pending_init(struct pendings *ps)
{
	int r;

	list_init(&ps->all);
	for (unsigned i = 0; i < PENDING_BUCKETS; i++)
		list_init(&ps->by_slot[i]);
	wheel_entry_init(&ps->look);
	if ((r = slab_init(&ps->lines, "pending_line", sizeof(struct pending_line), PENDING_LINES)) < 0)
		return r;
	return slab_init(&ps->sources, "pending_source", sizeof(struct pending_source), PENDING_SOURCES);
}

void pending_fini(struct pendings *ps)
{
	slab_fini(&ps->lines);
	slab_fini(&ps->sources);
}

static struct pending_line *line_of(struct path *p, uint32_t slot)
{
	list_each(it, &p->pendings.by_slot[slot % PENDING_BUCKETS]) {
		struct pending_line *l = container_of(it, struct pending_line, in_bucket);

		if (l->limit.slot == slot)
			return l;
	}
	return NULL;
}

bool pending_has_line(const struct exchange *ex)
{
	return line_of(ex->conn->path, ex->policy.limit.slot) != NULL;
}

static struct pending_line *line_make(struct path *p, const struct exchange *ex)
{
	struct pending_line *l = line_of(p, ex->policy.limit.slot);

	if (l == NULL) {
		l = slab_take(&p->pendings.lines, NULL);
		if (l == NULL)
			return NULL;
		if (list_is_empty(&p->pendings.all))
			path_deadline(p, &p->pendings.look, PENDING_LOOK_MS);
		list_init(&l->sources);
		list_init(&l->resting);
		list_add_tail(&p->pendings.all, &l->in_all);
		list_add_tail(&p->pendings.by_slot[ex->policy.limit.slot % PENDING_BUCKETS], &l->in_bucket);
	}
	l->limit = ex->policy.limit;
	l->connections = ex->policy.connections;
	l->requests = ex->policy.requests;
	return l;
}

static void line_drop(struct path *p, struct pending_line *l)
{
	if (l->n)
		return;
	list_remove(&l->in_all);
	list_remove(&l->in_bucket);
	slab_give(&p->pendings.lines, l);
	if (list_is_empty(&p->pendings.all))
		wheel_clear(&p->wheel, &p->pendings.look);
}

static struct pending_source *source_in(struct node *list, const struct tenant *t)
{
	list_each(it, list) {
		struct pending_source *s = container_of(it, struct pending_source, in_line);

		if (s->tenant == t)
			return s;
	}
	return NULL;
}

static struct pending_source *source_make(struct path *p, struct pending_line *l, const struct tenant *t)
{
	struct pending_source *s = source_in(&l->sources, t) ?: source_in(&l->resting, t);

	if (s)
		return s;
	s = slab_take(&p->pendings.sources, NULL);
	if (s == NULL)
		return NULL;
	s->line = l;
	s->tenant = t;
	list_init(&s->waiting);
	list_add_tail(&l->resting, &s->in_line);
	return s;
}

/* Takes it out of those of its source that wait. */
static struct exchange *take_out(struct pending_source *s, struct exchange *ex)
{
	list_remove(&ex->node);
	if (--s->waits == 0) {
		list_remove(&s->in_line);
		list_add_tail(&s->line->resting, &s->in_line);
	}
	return ex;
}

static void put_in(struct pending_source *s, struct exchange *ex, bool first)
{
	if (first)
		list_add_head(&s->waiting, &ex->node);
	else
		list_add_tail(&s->waiting, &ex->node);
	ex->pending = PENDING_WAITS;
	if (s->waits++ == 0) {
		list_remove(&s->in_line);
		if (first)
			list_add_head(&s->line->sources, &s->in_line);
		else
			list_add_tail(&s->line->sources, &s->in_line);
	}
}

/* Room for one more of s, by another's going if need be. */
static bool make_room(struct pending_line *l, const struct pending_source *s, uint32_t max)
{
	struct pending_source *most = NULL;
	struct exchange *newest;

	if (l->n < max)
		return true;
	list_each(it, &l->sources) {
		struct pending_source *o = container_of(it, struct pending_source, in_line);

		if (most == NULL || o->n > most->n)
			most = o;
	}
	if (most == NULL || most->n <= s->n + 1)
		return false;
	newest = take_out(most, container_of(most->waiting.prev, struct exchange, node));
	newest->pending = PENDING_PUSHED;
	newest->source = NULL;
	newest->conn->path->pendings.n--;
	most->n--;
	l->n--;
	conn_wake(newest->conn);
	return true;
}

bool pending_join(struct exchange *ex)
{
	struct path *p = ex->conn->path;
	struct pending_source *s = ex->source;
	struct pending_line *l;

	if (ex->pending == PENDING_CALLED) {
		put_in(s, ex, true);
		return true;
	}
	l = line_make(p, ex);
	if (l == NULL)
		return false;
	s = source_make(p, l, ex->tenant);
	if (s == NULL || !make_room(l, s, ex->policy.pending)) {
		if (s && s->n == 0) {
			list_remove(&s->in_line);
			slab_give(&p->pendings.sources, s);
		}
		line_drop(p, l);
		return false;
	}
	p->pendings.n++;
	l->n++;
	s->n++;
	ex->source = s;
	put_in(s, ex, false);
	return true;
}

void pending_leave(struct exchange *ex)
{
	struct path *p = ex->conn->path;
	struct pending_source *s = ex->source;
	struct pending_line *l;

	if (ex->pending == PENDING_WAITS)
		take_out(s, ex);
	ex->pending = PENDING_NONE;
	ex->source = NULL;
	if (s == NULL)		/* it was pushed out */
		return;
	l = s->line;
	p->pendings.n--;
	l->n--;
	if (--s->n == 0) {
		list_remove(&s->in_line);
		slab_give(&p->pendings.sources, s);
	}
	line_drop(p, l);
}

/* The next of the next source; false: nobody waits. */
static bool call(struct pending_line *l)
{
	struct node *first = list_first(&l->sources);
	struct pending_source *s;
	struct exchange *ex;

	if (first == NULL)
		return false;
	s = container_of(first, struct pending_source, in_line);
	list_remove(&s->in_line);	/* its turn is over, whatever it has left */
	list_add_tail(&l->sources, &s->in_line);
	ex = take_out(s, container_of(list_first(&s->waiting), struct exchange, node));
	ex->pending = PENDING_CALLED;
	conn_wake(ex->conn);
	return true;
}

void pending_call(struct path *p, uint32_t slot)
{
	struct pending_line *l = line_of(p, slot);

	if (l == NULL)
		return;
	if (++l->ended % PENDING_LEAVES == 0 &&
	    board_limit_is_awaited(p->board, p->worker, slot, clock_now()))
		return;
	call(l);
}

static uint32_t free_of(const struct path *p, const struct pending_line *l, enum limit what, uint32_t max)
{
	uint32_t held = board_limit_held(p->board, l->limit.slot, l->limit.gen, what);

	return max > held ? max - held : 0;
}

/* As many as could find a place.  Without a limit of requests at least one is: it may find an idle
 * connection that nobody counts as free. */
static void look_at(struct path *p, struct pending_line *l)
{
	uint32_t n = l->requests ? free_of(p, l, LIMIT_REQUESTS, l->requests) :
				   max_of(free_of(p, l, LIMIT_CONNECTIONS, l->connections), 1u);

	board_limit_await(p->board, p->worker, l->limit.slot, clock_now());
	while (n && call(l))
		n--;
}

void pending_look(struct path *p)
{
	list_each(it, &p->pendings.all)
		look_at(p, container_of(it, struct pending_line, in_all));
	if (!list_is_empty(&p->pendings.all))
		path_deadline(p, &p->pendings.look, PENDING_LOOK_MS);
}
