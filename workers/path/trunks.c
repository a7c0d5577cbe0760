/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Trunks of the path: what they need from it, and what the settings say of them. */
#include <errno.h>

#include "workers/path/exchange.h"
#include "workers/path/pressure.h"

/* An endpoint has so long to answer a PING: it may be busy, and whoever waits for it has deadlines of
 * their own. */
#define PING_WAIT_MS 10000

static void wake(struct back *b)
{
	if (b->user)
		conn_wake(b->user);
}

static struct path *path_of(struct trunks *ts)
{
	return container_of(ts, struct path, trunks);
}

static void deadline(struct trunks *ts, struct wheel_entry *e, int64_t ms)
{
	path_deadline(path_of(ts), e, ms);
}

static bool keeps(struct trunks *ts, const struct trunk *t)
{
	struct path *p = path_of(ts);

	return p->pool.keep && path_keeps_idle(p, t->tenant) &&
	       (likely(t->limit == 0) || !path_limit_is_full(p, t->limit)) &&
	       (likely(t->pod == 0) || path_has_pod(p, t->pod));
}

/* Claims behind those of backs. */
static uint32_t claim_of(const struct path *p, uint32_t slot)
{
	return p->pool.backs.count + slot;
}

static bool admits(struct trunks *ts, uint32_t slot, const struct back *b)
{
	const struct conn *c = b->user;

	return exchange_take_limit(c->ex, claim_of(path_of(ts), slot), LIMIT_CONNECTIONS,
				   c->ex->policy.connections);
}

static void closed(struct trunks *ts, uint32_t slot)
{
	struct path *p = path_of(ts);

	board_limit_give(p->board, p->worker, claim_of(p, slot), LIMIT_CONNECTIONS);
}

static int wrap(struct trunks *ts, struct trunk *t)
{
	struct path *p = path_of(ts);
	struct back_key key = { .addr = t->addr, .tls = t->tls };

	path_deadline(p, &t->deadline, p->knobs->handshake_ms);
	return wrap_begin(p, &key, t->tenant, WRAP_HTTP2, &t->s);
}

static int shake(struct trunks *ts, struct trunk *t)
{
	uint8_t want = 0;	/* it is woken for whatever comes */

	(void)ts;
	return wrap_shake(&t->s, &t->ready, &want);
}

static const struct trunk_calls calls = { .wake = wake, .deadline = deadline, .keeps = keeps,
					  .admits = admits, .closed = closed, .wrap = wrap, .shake = shake };

/* ---- those that are idle ---- */

static bool is_of_tenant(struct trunks *ts, const struct trunk *t, const void *arg)
{
	(void)ts;
	return arg == NULL || t->tenant == arg;
}

static bool is_of_limit(struct trunks *ts, const struct trunk *t, const void *arg)
{
	(void)ts;
	return t->limit == *(const uint16_t *)arg;
}

static bool is_of_full_limit(struct trunks *ts, const struct trunk *t, const void *arg)
{
	(void)arg;
	return path_limit_is_full(path_of(ts), t->limit);
}

uint32_t path_trunks_give_back(struct path *p, const struct tenant *of, uint32_t n)
{
	return trunks_give_back(&p->trunks, is_of_tenant, of, n);
}

bool path_trunks_give_back_limited(struct path *p, uint16_t limit)
{
	return trunks_give_back(&p->trunks, is_of_limit, &limit, 1) > 0;
}

uint32_t path_trunks_give_back_full(struct path *p)
{
	return trunks_give_back(&p->trunks, is_of_full_limit, NULL, UINT32_MAX);
}

void path_trunks_use(struct path *p, const struct knobs *k)
{
	struct h2_limits *lim = &p->trunks.limits;

	lim->head_bytes = (uint32_t)k->head_bytes;
	lim->head_lines = (uint32_t)k->headers;
	lim->ping_idle_ms = (uint32_t)k->trunk_ping_ms;
	/* Exchanges have this deadline themselves; here it is for what none of them waits for. */
	lim->stall_ms = (uint32_t)k->stall_ms;
	p->trunks.times = (struct trunk_times){ .idle_ms = k->pooled_ms, .age_ms = k->trunk_age_ms };
}

/* at start */
int path_trunks_init(struct path *p)
{
	p->h2.sessions.packs = p->h2.streams.packs = true;
	p->trunks = (struct trunks){
		.limits = h2_limits_default,
		.stock = &p->h2, .pool = &p->pool, .banks = &p->banks, .sched = &p->sched, .wheel = &p->wheel, .poll = &p->poll,
		.calls = &calls, .c = p->mine->c, .token = path_token(TOKEN_TRUNK, SLOT_NONE),
		.scratch = p->scratch, .scratch_room = PATH_SCRATCH,
	};
	p->trunks.limits.ping_wait_ms = PING_WAIT_MS;
	path_trunks_use(p, p->knobs);
	return trunks_init(&p->trunks, PATH_TRUNKS);
}
