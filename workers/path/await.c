/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See await.h. */
#include "workers/path/exchange.h"

#include "workers/path/await.h"

struct awaited {
	struct node in_all, in_bucket;
	uint32_t id;			/* of the Service's unit */
	struct slot_gen service;
	uint32_t tenant, tenant_gen;	/* whose callers were the first; compared, never followed */
	struct mono made, asked;	/* asked ns 0: not yet */
	struct node waiting;		/* exchange.node, in order */
};

int await_init(struct awaits *a)
{
	list_init(&a->all);
	for (unsigned i = 0; i < AWAIT_BUCKETS; i++)
		list_init(&a->by_id[i]);
	a->asks = ratelimit_of(AWAIT_ASKS_S, AWAIT_ASKS_S);
	return slab_init(&a->lines, "awaited", sizeof(struct awaited), AWAIT_LINES);
}

void await_fini(struct awaits *a)
{
	slab_fini(&a->lines);
}

/* ---- lines ---- */

static struct awaited *line_of(struct path *p, const struct vservice *s)
{
	struct slot_gen slot = vservice_slot(s);

	list_each(it, &p->awaits.by_id[s->id % AWAIT_BUCKETS]) {
		struct awaited *l = container_of(it, struct awaited, in_bucket);

		if (l->id == s->id && l->service.slot == slot.slot && l->service.gen == slot.gen)
			return l;
	}
	return NULL;
}

static bool is_of(const struct awaited *l, const struct tenant *t)
{
	return l->tenant == t->slot && l->tenant_gen == t->gen;
}

/* Of those that many tenants ask for, the one who asks for most pays: the others find room. */
static bool may_open(const struct path *p, const struct tenant *t)
{
	uint32_t n = 0;

	list_each(it, &p->awaits.all)
		n += is_of(container_of(it, struct awaited, in_all), t);
	return n < AWAIT_LINES_TENANT;
}

static struct awaited *line_make(struct path *p, const struct vservice *s, const struct tenant *t)
{
	struct awaited *l = line_of(p, s);

	if (l || !may_open(p, t))
		return l;
	l = slab_take(&p->awaits.lines, NULL);
	if (l == NULL)
		return NULL;
	*l = (struct awaited){ .id = s->id, .service = vservice_slot(s), .tenant = t->slot,
			       .tenant_gen = t->gen, .made = clock_now() };
	list_init(&l->waiting);
	list_add_tail(&p->awaits.all, &l->in_all);
	list_add_tail(&p->awaits.by_id[s->id % AWAIT_BUCKETS], &l->in_bucket);
	return l;
}

static void line_drop(struct path *p, struct awaited *l)
{
	list_remove(&l->in_all);
	list_remove(&l->in_bucket);
	slab_give(&p->awaits.lines, l);
}

static void line_ask(struct path *p, struct awaited *l, const struct vservice *s)
{
	if (p->awaits.ask == NULL || !ratelimit_take(&p->awaits.asks, clock_now()))
		return;		/* await_tick() will */
	l->asked = clock_now();
	board_add(&p->mine->c[WC_endpoint_asks], 1);
	p->awaits.ask(vservice_ns(s), vservice_name(s));
}

bool await_ask(struct path *p, const struct vservice *s, const struct tenant *t)
{
	struct awaited *l = line_make(p, s, t);

	if (l && l->asked.ns == 0)
		line_ask(p, l, s);
	return l != NULL;
}

/* Whatever the view says now, they look for themselves. */
static void call_all(struct path *p, struct awaited *l)
{
	struct exchange *ex;

	while ((ex = list_pop(&l->waiting, struct exchange, node))) {
		p->awaits.n--;
		ex->await = AWAIT_CALLED;
		conn_wake(ex->conn);
	}
	line_drop(p, l);
}

/* The Service of the line, while it lacks its endpoints. */
static bool is_lacking(const struct path *p, const struct awaited *l, struct vservice *ret)
{
	struct slot_gen slot;

	if (!view_service(p->view, l->id, ret) || !vservice_lacks_endpoints(ret))
		return false;
	slot = vservice_slot(ret);
	return slot.slot == l->service.slot && slot.gen == l->service.gen;
}

void await_view(struct path *p)
{
	struct vservice s;

	list_each(it, &p->awaits.all) {
		struct awaited *l = container_of(it, struct awaited, in_all);

		if (!is_lacking(p, l, &s))
			call_all(p, l);
	}
}

void await_tick(struct path *p)
{
	list_each(it, &p->awaits.all) {
		struct awaited *l = container_of(it, struct awaited, in_all);
		int64_t since_ms = mono_diff_ms(clock_now(), l->asked.ns ? l->asked : l->made);
		struct vservice s;

		if (list_is_empty(&l->waiting) && mono_diff_ms(clock_now(), l->made) > p->knobs->endpoints_ms)
			line_drop(p, l);
		else if ((l->asked.ns == 0 || since_ms >= AWAIT_AGAIN_MS) && is_lacking(p, l, &s))
			line_ask(p, l, &s);
	}
}

/* ---- exchanges ---- */

static enum step not_here(struct exchange *ex)
{
	exchange_event(ex, WC_endpoints_not_here, SC_endpoints_not_here);
	return end(ex, REASON_ENDPOINTS_NOT_HERE);
}

enum step await_begin(struct exchange *ex)
{
	struct path *p = ex->conn->path;
	struct awaited *l;

	if (ex->await == AWAIT_OVER || !await_ask(p, &ex->target.service, ex->tenant))
		return not_here(ex);
	if (exchange_keep_request(ex) == END)
		return END;
	l = line_of(p, &ex->target.service);
	list_add_tail(&l->waiting, &ex->node);
	p->awaits.n++;
	ex->await = AWAIT_WAITS;
	exchange_event(ex, WC_endpoint_waits, SC_endpoint_waits);
	ex->await_began = clock_now();
	ex->wait_until = mono_after_ms(clock_now(), p->knobs->endpoints_ms);
	ex->conn->front.want = 0;
	exchange_leave_view(ex);
	exchange_deadline_ms(ex, p->knobs->endpoints_ms);
	return WAIT;
}

void await_leave(struct exchange *ex)
{
	list_remove(&ex->node);
	ex->conn->path->awaits.n--;
	ex->await = AWAIT_OVER;
}

enum step await_go_on(struct exchange *ex)
{
	struct conn *c = ex->conn;

	if (c->front.ready & READY_ERR && !c->expired)
		return end(ex, REASON_FRONT_CUT);
	if (c->expired && exchange_is_over(ex))
		return end(ex, (enum reason)ex->until_why);
	if (ex->await == AWAIT_WAITS && clock_now().ns < ex->wait_until.ns) {
		if (c->expired)		/* by a step of the wheel too early */
			exchange_deadline_ms(ex, max_of(mono_diff_ms(ex->wait_until, clock_now()) + 1, (int64_t)1));
		c->expired = false;
		return WAIT;
	}
	c->expired = false;
	ex->wait_until.ns = 0;
	board_add(&c->path->mine->c[WC_endpoint_wait_ns], (uint64_t)(clock_now().ns - ex->await_began.ns));
	if (ex->await == AWAIT_WAITS) {
		await_leave(ex);
		return not_here(ex);
	}
	ex->await = AWAIT_OVER;
	return exchange_find_port_again(ex) ? NEXT : end(ex, REASON_NO_ENDPOINT);
}
