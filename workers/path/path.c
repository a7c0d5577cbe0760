/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See path.h. */
#include "workers/path/path.h"

#include <errno.h>
#include <fcntl.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "workers/path/exchange.h"
#include "workers/path/mux.h"
#include "workers/path/overload.h"
#include "workers/path/pressure.h"
#include "workers/path/secure.h"

/* Slots of backs looked at for an idle one, so that giving back is a short step. */
#define GIVE_BACK_LOOKS 512
/* The starved look for memory once per this, so many at a time, those who waited longest first:
 * thousands of them asking in vain would be a load of their own. */
#define STARVED_NS   NS_PER_MS
#define STARVED_MOST 64
/* Backs closed in a step; deadlines looked at in a pass. */
#define CLOSE_STEP 8
#define DEADLINES_MAX 1024u

/* Those that are open now lie at the bottom: descriptors are given out lowest first. */
static void init_fds(struct fds *f)
{
	struct rlimit r;

	*f = (struct fds){ .limit = 1024 };
	if (getrlimit(RLIMIT_NOFILE, &r) == 0)
		f->limit = (uint32_t)min_of(r.rlim_cur, (rlim_t)1 << 22);
	f->reserve = f->limit >= 2 * FDS_RESERVE ? FDS_RESERVE : f->limit / 2;
	for (int i = 0; i < 1024; i++)
		f->fixed += fcntl(i, F_GETFD) >= 0;
}

static int init_memory(struct path *p, const struct knobs *k)
{
	uint32_t conns = (uint32_t)k->max_conns;
	uint32_t small = (uint32_t)min_of(k->worker_memory / CHUNK_SMALL_BYTES, (int64_t)1 << 22);
	uint32_t large = (uint32_t)min_of(k->worker_memory / CHUNK_LARGE_BYTES + 1, (int64_t)1 << 18);
	int r;

	p->memory.limit = (size_t)k->worker_memory;
	if ((r = chunk_pool_init(&p->chunks, small, large)) < 0 ||
	    (r = slab_init(&p->conns, "conn", sizeof(struct conn), conns)) < 0 ||
	    (r = slab_init(&p->exchanges, "exchange", sizeof(struct exchange), conns)) < 0 ||
	    (r = slab_init(&p->blocks, "arena_block", sizeof(struct arena_block), 64)) < 0 ||
	    /* A stream goes on without its conn until what was written to it is out. */
	    (r = h2_stock_init(&p->h2, &p->chunks, conns + PATH_TRUNKS,
				2 * conns + BOARD_CLAIMS)) < 0 ||
	    (r = pool_init(&p->pool, BOARD_CLAIMS - PATH_TRUNKS, (uint32_t)k->pooled)) < 0)
		return r;
	p->exchanges.raw = p->blocks.raw = true;
	p->conns.packs = p->pool.backs.packs = true;
	if ((r = path_trunks_init(p)) < 0 || (r = pending_init(&p->pendings)) < 0 ||
	    (r = await_init(&p->awaits)) < 0 ||
	    (r = health_init(&p->health)) < 0 || (r = secure_init(p)) < 0)
		return r;
	/* 64 KiB of head written anew is 17 blocks; twice that. */
	arena_init(&p->arena, &p->blocks, 34);
	return 0;
}

static void closer_step(struct sched_unit *u);

/* at start */
int path_init(struct path *p, const struct knobs *k, struct board *b, unsigned worker,
	      struct ring *access_ring)
{
	int r;

	memset(p, 0, offsetof(struct path, scratch));
	p->poll.fd = FD_NONE;
	p->knobs = k;
	p->board = p->balance.board = b;
	p->worker = worker;
	p->mine = &b->worker[worker];
	p->limits = (struct http1_limits){ .head_bytes = (uint32_t)k->head_bytes,
					   .headers = (uint32_t)k->headers,
					   .uri_bytes = (uint32_t)k->uri_bytes };
	mux_limits(&p->h2_limits, k);
	list_init(&p->dead_conns);
	list_init(&p->dead_backs);
	list_init(&p->dead_exchanges);
	list_init(&p->starved);
	list_init(&p->spent);
	list_init(&p->trunks.dead);
	list_init(&p->trunks.starved);
	sched_unit_init(&p->closer, NULL, closer_step);
	clock_tick();
	wheel_init(&p->wheel, clock_now());
	p->due.ns = INT64_MAX;
	pipes_init(&p->pipes, (unsigned)k->pipes);
	accesslog_init(&p->log, access_ring, k->access_log_format == LOG_JSON);
	sched_init(&p->sched, k->turn_us, k->turn_bytes, p->mine->c);
#ifdef NP_DEBUG_COMMANDS
	if (k->debug_scheduler == DEBUG_SCHEDULER_OFF)
		sched_switch_off(&p->sched);
#endif
	if ((r = poll_init(&p->poll)) < 0 || (init_fds(&p->fds), r = init_memory(p, k)) < 0 ||
	    (r = tenants_init(&p->tenants, b, worker, &p->memory, (uint64_t)k->tenant_memory,
			      (uint32_t)k->tenant_conns, (uint32_t)k->tenant_requests)) < 0)
		goto fail;
	if ((r = banks_init(&p->banks)) < 0 || (r = residents_init(p)) < 0 || (r = path_gates_init(p)) < 0)
		goto fail;
	return 0;
fail:
	path_fini(p);
	return r;
}

void path_each_conn(struct path *p, void (*fn)(struct conn *))
{
	for (uint32_t i = 0; i < p->conns.fresh; i++) {
		struct conn *c = slab_at(&p->conns, (struct slot_ref){ i, p->conns.gen[i] });

		if (c && c->magic == CONN_MAGIC && c->state != CONN_CLOSED)
			fn(c);
	}
}

static void cut_now(struct conn *c)
{
	conn_end(c, REASON_DRAIN_DEADLINE, CONN_EV_DRAIN_END);
}

/* One that is out of the pool. */
static void bury_back(struct path *p, struct back *b)
{
	leg_close(&b->leg, (struct purse){ &p->chunks, &p->memory }, false);
	path_limit_give(p, b);
	list_remove(&b->node);
	list_add_tail(&p->dead_backs, &b->node);
	p->fds.gone++;
}

void path_close_back(struct path *p, struct back *b)
{
	pool_remove(&p->pool, b);
	wheel_clear(&p->wheel, &b->deadline);
	bury_back(p, b);
}

/* Closing takes the kernel some microseconds, and an endpoint that ends, or a second without
 * requests, makes it hundreds: the tenant's turns pay for it. */
static void closer_wake(struct path *p)
{
	struct back *b = container_of(list_first(&p->spent), struct back, node);
	struct tenant *t = p->tenants.at[b->key.tenant];

	if (t == NULL || t->gen != b->key.tenant_gen)
		t = p->tenants.at[0];
	tenant_ref(t);
	p->closer.tenant = t;
	sched_wake(&p->sched, &p->closer);
}

static void closer_step(struct sched_unit *u)
{
	struct path *p = container_of(u, struct path, closer);
	struct tenant *t = u->tenant;
	uint32_t of = 0;

	for (int i = 0; i < CLOSE_STEP && !list_is_empty(&p->spent); i++) {
		struct back *b = container_of(list_first(&p->spent), struct back, node);

		if (i && b->key.tenant != of)
			break;
		of = b->key.tenant;
		bury_back(p, b);
	}
	tenant_give(&t);
	if (!list_is_empty(&p->spent))
		closer_wake(p);
}

static void close_back_later(struct path *p, struct back *b)
{
	pool_remove(&p->pool, b);
	wheel_clear(&p->wheel, &b->deadline);
	list_add_tail(&p->spent, &b->node);
	if (!sched_is_queued(&p->closer))
		closer_wake(p);
}

static void close_spent_now(struct path *p)
{
	if (list_is_empty(&p->spent))
		return;
	sched_forget(&p->sched, &p->closer);
	tenant_give(&p->closer.tenant);
	while (!list_is_empty(&p->spent))
		bury_back(p, container_of(list_first(&p->spent), struct back, node));
}

/* The next back in the slab; NULL: an empty slot. */
static struct back *sweep(struct path *p)
{
	struct back *b;

	if (p->sweep >= p->pool.backs.fresh)
		p->sweep = 0;
	b = slab_at(&p->pool.backs, (struct slot_ref){ p->sweep, p->pool.backs.gen[p->sweep] });
	p->sweep++;
	return b;
}

bool path_give_back_limited(struct path *p, uint16_t limit)
{
	for (uint32_t i = 0; i < GIVE_BACK_LOOKS && p->pool.limited; i++) {
		struct back *b = sweep(p);

		if (b && b->idle_at && b->key.limit == limit) {
			path_close_back(p, b);
			board_add(&p->mine->c[WC_given_back], 1);
			return true;
		}
	}
	return path_trunks_give_back_limited(p, limit);
}

/* Idle backs and trunks that count for limits which leave others without a connection. */
static void give_back_full(struct path *p)
{
	for (uint32_t i = 0; i < GIVE_BACK_LOOKS && p->pool.limited; i++) {
		struct back *b = sweep(p);

		if (b && b->idle_at && b->key.limit && path_limit_is_full(p, b->key.limit)) {
			close_back_later(p, b);
			board_add(&p->mine->c[WC_given_back], 1);
		}
	}
	board_add(&p->mine->c[WC_given_back], path_trunks_give_back_full(p));
}

uint32_t path_give_back(struct path *p, const struct tenant *of, uint32_t n)
{
	uint32_t closed = 0;

	for (uint32_t i = 0; p->pool.idle && i < GIVE_BACK_LOOKS && closed < n; i++) {
		struct back *b = sweep(p);

		if (b && b->idle_at && (of == NULL || (b->key.tenant == of->slot &&
						       b->key.tenant_gen == of->gen))) {
			path_close_back(p, b);
			closed++;
		}
	}
	closed += path_trunks_give_back(p, of, n - closed);
	board_add(&p->mine->c[WC_given_back], closed);
	return closed;
}

bool path_keeps_idle(struct path *p, struct tenant *t)
{
	return !p->draining && !pressure_keeps_nothing(p, t) && !path_fds_are_scarce(p);
}

static void close_pool(struct path *p, void (*close)(struct path *, struct back *))
{
	for (uint32_t i = 0; i < p->pool.backs.fresh; i++) {
		struct back *b = slab_at(&p->pool.backs,
					 (struct slot_ref){ i, p->pool.backs.gen[i] });

		if (b && b->idle_at)
			close(p, b);
	}
}

void path_fini(struct path *p)
{
	if (p->conns.mem)
		path_each_conn(p, cut_now);
	if (p->pool.backs.mem) {
		close_pool(p, path_close_back);
		close_spent_now(p);
	}
	if (p->trunks.trunks.mem)
		trunks_close(&p->trunks);
	path_reap(p);
	if (p->gates.mem)
		path_gates_fini(p);
	health_fini(p);
	residents_fini(p);
	banks_fini(&p->banks);
	tenants_fini(&p->tenants);
	if (p->view)
		view_unref(p->view);
	p->view = NULL;
	arena_fini(&p->arena);
	trunks_fini(&p->trunks);
	pending_fini(&p->pendings);
	await_fini(&p->awaits);
	pool_fini(&p->pool);
	h2_stock_fini(&p->h2);
	secure_fini(p);
	slab_fini(&p->blocks);
	slab_fini(&p->exchanges);
	slab_fini(&p->conns);
	if (p->chunks.small.mem)
		chunk_pool_fini(&p->chunks);
	pipes_fini(&p->pipes);
	poll_fini(&p->poll);
}

void path_spell_date(struct path *p)
{
	int64_t ms = clock_unix_ms();

	http1_date(ms / 1000, p->date);
	p->date_until = mono_after_ms(clock_now(), 1000 - ms % 1000);
}

bool path_event(struct path *p, uint64_t token, unsigned bits)
{
	struct slot_ref ref = token_ref(token);
	struct conn *c;
	struct leg *l;

	if (token >> TOKEN_SHIFT == TOKEN_CONN) {
		c = slab_at(&p->conns, ref);
		if (c == NULL || c->state == CONN_CLOSED)
			return true;
		l = &c->front;
	} else if (token >> TOKEN_SHIFT == TOKEN_TRUNK) {
		trunk_ready(&p->trunks, ref, bits);
		return true;
	} else if (token >> TOKEN_SHIFT == TOKEN_CHECK) {
		health_event(p, ref, bits);
		return true;
	} else if (token >> TOKEN_SHIFT == TOKEN_BACK) {
		struct back *b = slab_at(&p->pool.backs, ref);

		if (b == NULL || !stream_is_open(&b->leg.s))
			return true;
		b->leg.ready |= (uint8_t)bits;
		c = b->user;
		if (c == NULL) {
			/* Idle ones have nothing to say that anybody wants to hear. */
			if (b->idle_at && bits & (READY_IN | READY_END | READY_ERR))
				close_back_later(p, b);
			return true;
		}
		l = &b->leg;
	} else {
		return false;
	}
	l->ready |= (uint8_t)bits;
	if (bits & (l->want | READY_END | READY_ERR))
		conn_wake(c);
	return true;
}

static void on_deadline(struct wheel_entry *e, void *arg)
{
	struct path *p = arg;

	/* Deadlines of conns lie inside the slab of conns, of trunks in theirs, of checks in theirs, one is of
	 * those that wait for limits; all others are of backs. */
	if ((uint8_t *)e >= p->conns.mem && (uint8_t *)e < p->conns.mem + p->conns.map_bytes) {
		struct conn *c = container_of(e, struct conn, deadline);

		c->expired = true;
		conn_wake(c);
	} else if (health_has_entry(p, e)) {
		health_deadline(e);
	} else if (e == &p->pendings.look) {
		pending_look(p);
	} else if (trunks_have_entry(&p->trunks, e)) {
		trunk_expired(e);
	} else {
		close_back_later(p, container_of(e, struct back, deadline));
	}
}

void path_deadlines(struct path *p)
{
	int64_t next;

	wheel_run_some(&p->wheel, clock_now(), DEADLINES_MAX, on_deadline, p);
	next = wheel_next_ns(&p->wheel, clock_now());
	p->due.ns = next < 0 ? INT64_MAX : clock_now().ns + next;
}

bool path_has_dead(const struct path *p)
{
	return !list_is_empty(&p->dead_conns) || !list_is_empty(&p->dead_backs) ||
	       !list_is_empty(&p->dead_exchanges) || trunks_have_dead(&p->trunks);
}

void path_reap(struct path *p)
{
	struct exchange *ex;
	struct back *b;
	struct conn *c;

	while ((ex = list_pop(&p->dead_exchanges, struct exchange, node)))
		exchange_free(p, ex);
	while ((b = list_pop(&p->dead_backs, struct back, node))) {
		p->fds.none -= b->on != NULL;
		if (unlikely(b->payer))
			tenant_give(&b->payer);
		back_free(&p->pool, &b);
	}
	trunks_reap(&p->trunks);
	while ((c = list_pop(&p->dead_conns, struct conn, node)))
		conn_free(c);
	p->fds.gone = 0;
	if ((list_is_empty(&p->starved) && list_is_empty(&p->trunks.starved)) || clock_now().ns - p->starved_at.ns < STARVED_NS)
		return;
	/* They look for themselves whether there is memory now. */
	p->starved_at = clock_now();
	for (int i = 0; i < STARVED_MOST && (c = list_pop(&p->starved, struct conn, node)); i++)
		conn_wake(c);
	trunks_feed(&p->trunks);
}

void path_adopt(struct path *p, const struct view *v)
{
	const struct view *old = p->view;

	p->view = v;
	for (uint32_t i = 0; i < p->knobs->n_listeners; i++)
		gate_resolve(p->gate[i]);
	await_view(p);
	if (old)
		view_unref(old);
	board_set(&p->mine->c[WC_view_rev_gauge], view_rev(v));
}

static void wake_session(struct conn *c)
{
	if (c->state == CONN_MUX && conn_is_leaving(c))
		conn_wake(c);
}

void path_wake_sessions(struct path *p)
{
	if (p->h2.sessions.live)
		path_each_conn(p, wake_session);
}

static void cut_mirror(struct conn *c)
{
	if (c->is_mirror)
		cut_now(c);
}

void path_drain(struct path *p)
{
	p->draining = true;
	if (p->mirrors)
		path_each_conn(p, cut_mirror);
	path_wake_sessions(p);
	close_pool(p, close_back_later);
	trunks_drain(&p->trunks);
}

void path_drain_deadline(struct path *p)
{
	p->past_deadline = true;
	path_each_conn(p, cut_now);
}

static void close_if_idle(struct conn *c)
{
	if (c->state == CONN_HEAD && c->front.in == NULL && c->front.out.bytes == 0 &&
	    !(c->front.ready & READY_IN))
		conn_end(c, REASON_DRAINED, CONN_EV_DEADLINE);
}

void path_close_idle(struct path *p)
{
	path_each_conn(p, close_if_idle);
}

void path_gauges(struct path *p)
{
	uint64_t *c = p->mine->c;

	pressure_tick(p);
	overload_tick(p);
	banks_tick(&p->banks, path_fds_are_scarce(p));
	give_back_full(p);
	health_tick(p);
	await_tick(p);

	board_set(&c[WC_conns_gauge], p->conns.live - p->streams - p->mirrors);
	board_set(&c[WC_sessions_gauge], p->h2.sessions.live - p->trunks.sessions);
	board_set(&c[WC_streams_gauge], p->streams);
	board_set(&c[WC_backs_gauge], p->pool.backs.live);
	board_set(&c[WC_pooled_gauge], p->pool.idle);
	board_set(&c[WC_trunks_gauge], p->trunks.open);
	board_set(&c[WC_trunk_streams_gauge], p->trunks.taken);
	board_set(&c[WC_pipes_gauge], p->pipes.open - p->pipes.n_spare);
	board_set(&c[WC_tls_gauge], p->tls.conns.live);
	board_set(&c[WC_tls_bytes_gauge], tls_heap_bytes());
	board_set(&c[WC_fds_gauge], path_fds_used(p));
	board_set(&c[WC_fds_limit_gauge], p->fds.limit);
	board_set(&c[WC_pending_gauge], p->pendings.n);
	board_set(&c[WC_endpoint_waiting_gauge], p->awaits.n);
	board_set(&c[WC_chunk_bytes_gauge], p->memory.used);
	path_gates_gauges(p);
	if (p->log.ring)
		board_set(&c[WC_log_dropped], ring_dropped(p->log.ring));
}
