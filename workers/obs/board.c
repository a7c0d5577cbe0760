/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See board.h. */
#include "workers/obs/board.h"

#include <errno.h>
#include <string.h>
#include <unistd.h>

#include "nodeproxy/lib/base/rand.h"

size_t board_bytes(unsigned workers)
{
	return sizeof(struct board) + (size_t)workers * sizeof(struct board_worker);
}

unsigned board_slots(size_t bytes)
{
	size_t n = bytes < sizeof(struct board) ?
			   0 : (bytes - sizeof(struct board)) / sizeof(struct board_worker);

	return (unsigned)min_of(n, (size_t)BOARD_WORKERS);
}

void board_format(struct board *b, unsigned workers)
{
	static const uint8_t none[sizeof b->secret];

	must(workers >= 1 && workers <= BOARD_WORKERS);
	if (memcmp(b->secret, none, sizeof none) == 0)
		rand_bytes(b->secret, sizeof b->secret);
	b->workers = workers;
	b->version = BOARD_VERSION;
	b->magic = BOARD_MAGIC;
}

bool board_mend(struct board *b, unsigned workers)
{
	if (b->magic == BOARD_MAGIC && b->version == BOARD_VERSION && b->workers == workers)
		return false;
	board_format(b, workers);
	return true;
}

int board_check(const struct board *b, size_t map_bytes)
{
	if (map_bytes < sizeof *b || b->magic != BOARD_MAGIC || b->version != BOARD_VERSION ||
	    b->workers < 1 || b->workers > BOARD_WORKERS || board_bytes(b->workers) > map_bytes)
		return -EBADMSG;
	return 0;
}

struct board_tenant *board_tenant(struct board *b, unsigned worker, uint32_t slot, uint32_t gen)
{
	struct board_tenant *t = &b->worker[worker].tenant[slot < BOARD_TENANTS ? slot : 0];

	if (unlikely(t->gen != gen)) {
		memset(t, 0, sizeof *t);
		t->gen = gen;
	}
	return t;
}

/* Looking at a page of shared memory makes it, so nobody looks at the Services of workers that never
 * were. */
static void use(struct board *b, unsigned worker)
{
	uint32_t was = __atomic_load_n(&b->used, __ATOMIC_RELAXED);

	while (was <= worker &&
	       !__atomic_compare_exchange_n(&b->used, &was, worker + 1, true, __ATOMIC_RELAXED,
					    __ATOMIC_RELAXED))
		;
}

struct board_service *board_service(struct board *b, unsigned worker, uint32_t slot, uint32_t gen)
{
	struct board_worker *w = &b->worker[worker];
	struct board_service *s;

	slot = slot < BOARD_SERVICES ? slot : 0;
	s = &w->service[slot];
	if (unlikely(w->service_gen[slot] != gen)) {
		memset(s, 0, sizeof *s);
		w->service_began_s[slot] = (uint32_t)(clock_now().ns / (1000 * NS_PER_MS));
		__atomic_store_n(&w->service_gen[slot], gen, __ATOMIC_RELEASE);
		use(b, worker);
	}
	return s;
}

const struct board_service *board_service_seen(const struct board *b, unsigned worker, uint32_t slot,
					       uint32_t gen)
{
	const struct board_worker *w = &b->worker[worker];

	if (slot >= BOARD_SERVICES || __atomic_load_n(&w->service_gen[slot], __ATOMIC_ACQUIRE) != gen)
		return NULL;
	return &w->service[slot];
}

/* A worker whose view is a little older must not take a slot back.  A generation far from the other
 * is of a numbering that began anew: syncd had lost its store. */
static bool is_newer(uint32_t gen, uint32_t was)
{
	return gen != was && (was == 0 || (int32_t)(gen - was) > 0 || was - gen > BOARD_GEN_STALE);
}

struct board_retries *board_retries(struct board *b, uint32_t slot, uint32_t gen,
				    uint32_t interval_ms, uint32_t now)
{
	struct board_retries *r = &b->retries[slot < BOARD_SERVICES ? slot : 0];
	uint64_t was = board_get(&r->of), is = (uint64_t)interval_ms << 32 | gen;
	uint32_t retries = 0, requests = 0;
	bool same = gen == (uint32_t)was && was;

	if (likely(was == is))
		return r;
	if (gen != (uint32_t)was && !is_newer(gen, (uint32_t)was))
		return NULL;
	if (!__atomic_compare_exchange_n(&r->of, &was, is, false, __ATOMIC_ACQ_REL, __ATOMIC_RELAXED))
		return r;
	/* Whoever moves it on clears the rest.  Another interval has buckets of another length: all that
	 * was is put into the one of now, or workers with views of two minds would each begin anew. */
	for (unsigned i = 0; i < BOARD_RETRY_BUCKETS; i++) {
		retries += (uint32_t)board_get(&r->bucket[i].retries);
		requests += (uint32_t)board_get(&r->bucket[i].requests);
		board_set(&r->bucket[i].retries, 0);
		board_set(&r->bucket[i].requests, 0);
	}
	if (same) {
		uint64_t at = (uint64_t)now << 32;

		board_set(&r->bucket[now % BOARD_RETRY_BUCKETS].retries, at | retries);
		board_set(&r->bucket[now % BOARD_RETRY_BUCKETS].requests, at | requests);
		board_set(&r->seen, at | (uint32_t)board_get(&r->seen));
	} else {
		board_set(&r->seen, 0);
	}
	return r;
}

struct board_endpoint *board_endpoint(struct board *b, uint32_t slot, uint32_t gen)
{
	struct board_endpoint *e = &b->endpoint[slot < BOARD_ENDPOINTS ? slot : 0];
	uint32_t was = __atomic_load_n(&e->gen, __ATOMIC_ACQUIRE);

	/* Whoever moves the generation on clears the rest; a count lost in that moment is a count
	 * of a new endpoint, and claims of the old generation are ignored by board_unclaim. */
	if (unlikely(is_newer(gen, was)) &&
	    __atomic_compare_exchange_n(&e->gen, &was, gen, false, __ATOMIC_ACQ_REL,
					__ATOMIC_RELAXED)) {
		board_set(&e->load, 0);
		board_set(&e->rtt, 0);
		board_set(&e->health, 0);
		board_set(&e->exchanges, 0);
		board_set(&e->failures, 0);
		board_set(&e->last_failure_ms, 0);
		__atomic_store_n(&e->connects, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&e->connect_failures, 0, __ATOMIC_RELAXED);
		__atomic_store_n(&e->ready_ms, 0, __ATOMIC_RELAXED);
	}
	return e;
}

#define LOAD_ONE   1ull
#define LOAD_WAITS (1ull << 32)

bool board_claim(struct board *b, unsigned worker, uint32_t claim, uint32_t slot, uint32_t gen,
		 bool waits)
{
	struct board_claim *c = &b->worker[worker].claim[claim];
	uint64_t was;

	must(claim < BOARD_CLAIMS);
	board_unclaim(b, worker, claim);
	slot = slot < BOARD_ENDPOINTS ? slot : 0;
	/* The ledger first: dying in between gives one back too many, which the floor at zero
	 * heals; the other order would hold one for ever. */
	c->gen = gen;
	__atomic_store_n(&c->endpoint, (slot + 1) | (waits ? CLAIM_WAITS : 0), __ATOMIC_RELEASE);
	was = __atomic_fetch_add(&b->endpoint[slot].load, LOAD_ONE | (waits ? LOAD_WAITS : 0),
				 __ATOMIC_RELAXED);
	return waits && was < LOAD_WAITS;
}

/* Takes back what a claim has added; neither half goes below zero. */
static void give_back(struct board *b, const struct board_claim *c, uint32_t slot, bool one,
		      bool waits)
{
	struct board_endpoint *e;
	uint64_t was, is;
	int tries = 0;

	/* Any number: the master reads what a dead worker wrote, and siblings can write here. */
	if (slot == 0 || slot > BOARD_ENDPOINTS)
		return;
	e = &b->endpoint[slot - 1];
	if (__atomic_load_n(&e->gen, __ATOMIC_ACQUIRE) != c->gen)
		return;
	was = board_get(&e->load);
	do {
		is = was;
		if (one && (uint32_t)is)
			is -= LOAD_ONE;
		if (waits && is >= LOAD_WAITS)
			is -= LOAD_WAITS;
		/* Somebody who writes all the time must not hold us. */
	} while (is != was && tries++ < 1000 &&
		 !__atomic_compare_exchange_n(&e->load, &was, is, true, __ATOMIC_RELAXED,
					      __ATOMIC_RELAXED));
}

void board_answered(struct board *b, unsigned worker, uint32_t claim)
{
	struct board_claim *c = &b->worker[worker].claim[claim];
	uint32_t held = __atomic_load_n(&c->endpoint, __ATOMIC_ACQUIRE);

	if (!(held & CLAIM_WAITS))
		return;
	give_back(b, c, held & ~CLAIM_WAITS, false, true);
	__atomic_store_n(&c->endpoint, held & ~CLAIM_WAITS, __ATOMIC_RELEASE);
}

void board_unclaim(struct board *b, unsigned worker, uint32_t claim)
{
	struct board_claim *c = &b->worker[worker].claim[claim];
	uint32_t held = __atomic_load_n(&c->endpoint, __ATOMIC_ACQUIRE), slot = held & ~CLAIM_WAITS;

	if (slot)
		give_back(b, c, slot, true, held & CLAIM_WAITS);
	__atomic_store_n(&c->endpoint, 0, __ATOMIC_RELEASE);
}

/* ---- limits ---- */

#define LIMIT_HELD(what) (1u << (30 + (what)))
#define LIMIT_ONE(what)	 ((what) == LIMIT_CONNECTIONS ? LOAD_ONE : LOAD_WAITS)
#define LIMIT_SLOT	 (LIMIT_HELD(LIMIT_CONNECTIONS) - 1)

#define FULL_MS		 1000
#define AWAITED_MS	 300

static_must(BOARD_LIMITS <= LIMIT_SLOT && BOARD_WORKERS <= 256);

static uint64_t ms_of(struct mono t)
{
	return (uint64_t)t.ns / (uint64_t)NS_PER_MS;
}

static struct board_limit *limit_of(struct board *b, uint32_t slot, uint32_t gen)
{
	struct board_limit *l = &b->limit[slot];
	uint32_t was = __atomic_load_n(&l->gen, __ATOMIC_ACQUIRE);

	if (unlikely(is_newer(gen, was)) &&
	    __atomic_compare_exchange_n(&l->gen, &was, gen, false, __ATOMIC_ACQ_REL,
					__ATOMIC_RELAXED)) {
		board_set(&l->held, 0);
		board_set(&l->full, 0);
		board_set(&l->awaited, 0);
	}
	return l;
}

static uint32_t held_of(uint64_t word, enum limit what)
{
	return what == LIMIT_CONNECTIONS ? (uint32_t)word : (uint32_t)(word >> 32);
}

void board_limit_give(struct board *b, unsigned worker, uint32_t claim, enum limit what)
{
	struct board_claim *c = &b->worker[worker].claim[claim];
	uint32_t held = __atomic_load_n(&c->limit, __ATOMIC_ACQUIRE), slot = held & LIMIT_SLOT;
	int tries = 0;

	if (likely(!(held & LIMIT_HELD(what))))
		return;
	/* Any number, as in give_back(). */
	if (slot && slot < BOARD_LIMITS) {
		struct board_limit *l = &b->limit[slot];
		uint64_t was = board_get(&l->held);

		while (__atomic_load_n(&l->gen, __ATOMIC_ACQUIRE) == c->limit_gen &&
		       held_of(was, what) && tries++ < 1000 &&
		       !__atomic_compare_exchange_n(&l->held, &was, was - LIMIT_ONE(what), true,
						    __ATOMIC_RELAXED, __ATOMIC_RELAXED))
			;
	}
	held &= ~LIMIT_HELD(what);
	if ((held & ~LIMIT_SLOT) == 0)
		held = 0;
	__atomic_store_n(&c->limit, held, __ATOMIC_RELEASE);
}

bool board_limit_take(struct board *b, unsigned worker, uint32_t claim, uint32_t slot, uint32_t gen,
		      enum limit what, uint32_t max)
{
	struct board_claim *c = &b->worker[worker].claim[claim];
	struct board_limit *l;
	uint64_t was;

	must(claim < BOARD_CLAIMS);
	if (slot == 0 || slot >= BOARD_LIMITS)
		return true;
	if ((c->limit & LIMIT_SLOT) != slot || c->limit_gen != gen) {
		board_limit_give(b, worker, claim, LIMIT_CONNECTIONS);
		board_limit_give(b, worker, claim, LIMIT_REQUESTS);
	} else if (c->limit & LIMIT_HELD(what)) {
		return true;
	}
	l = limit_of(b, slot, gen);
	if (__atomic_load_n(&l->gen, __ATOMIC_ACQUIRE) != gen)
		return true;		/* of an older view: the slot is another port's by now */
	was = board_get(&l->held);
	if (max && held_of(was, what) >= max)
		goto full;
	/* The ledger first, for the reason that board_claim() has. */
	c->limit_gen = gen;
	__atomic_store_n(&c->limit, c->limit | slot | LIMIT_HELD(what), __ATOMIC_RELEASE);
	do {
		if (max && held_of(was, what) >= max) {
			uint32_t left = c->limit & ~LIMIT_HELD(what);

			__atomic_store_n(&c->limit, left & ~LIMIT_SLOT ? left : 0, __ATOMIC_RELEASE);
			goto full;
		}
	} while (!__atomic_compare_exchange_n(&l->held, &was, was + LIMIT_ONE(what), true,
					      __ATOMIC_RELAXED, __ATOMIC_RELAXED));
	return true;
full:
	if (what == LIMIT_CONNECTIONS)
		board_set(&l->full, ms_of(clock_now()) << 8 | worker);
	return false;
}

/* Another worker wrote there lately. */
static bool is_of_another(uint64_t word, unsigned worker, struct mono now, uint64_t ms)
{
	return word && (word & 0xff) != worker && ms_of(now) - (word >> 8) < ms;
}

bool board_limit_is_full(const struct board *b, unsigned worker, uint32_t slot, struct mono now)
{
	return slot && slot < BOARD_LIMITS && is_of_another(board_get(&b->limit[slot].full), worker, now, FULL_MS);
}

void board_limit_await(struct board *b, unsigned worker, uint32_t slot, struct mono now)
{
	if (slot && slot < BOARD_LIMITS)
		board_set(&b->limit[slot].awaited, ms_of(now) << 8 | worker);
}

bool board_limit_is_awaited(const struct board *b, unsigned worker, uint32_t slot, struct mono now)
{
	return slot && slot < BOARD_LIMITS &&
	       is_of_another(board_get(&b->limit[slot].awaited), worker, now, AWAITED_MS);
}

uint32_t board_limit_held(const struct board *b, uint32_t slot, uint32_t gen, enum limit what)
{
	if (slot == 0 || slot >= BOARD_LIMITS ||
	    __atomic_load_n(&b->limit[slot].gen, __ATOMIC_ACQUIRE) != gen)
		return 0;
	return held_of(board_get(&b->limit[slot].held), what);
}

/* ---- rate limits ---- */

struct board_rate *board_rate(struct board *b, uint32_t slot, uint32_t gen)
{
	struct board_rate *r;
	uint32_t was;

	if (slot == 0 || slot >= BOARD_RATES)
		return NULL;
	r = &b->rate[slot];
	was = __atomic_load_n(&r->gen, __ATOMIC_ACQUIRE);
	/* What another takes before all is cleared is forgotten: the policy has just come. */
	if (unlikely(is_newer(gen, was)) &&
	    __atomic_compare_exchange_n(&r->gen, &was, gen, false, __ATOMIC_ACQ_REL,
					__ATOMIC_RELAXED)) {
		board_set(&r->total, 0);
		board_set(&r->rest, 0);
		for (int i = 0; i < BOARD_RATE_KEYS; i++) {
			board_set(&r->key[i].key, 0);
			board_set(&r->key[i].at, 0);
		}
	}
	return __atomic_load_n(&r->gen, __ATOMIC_ACQUIRE) == gen ? r : NULL;
}

const struct board_rate *board_rate_seen(const struct board *b, uint32_t slot, uint32_t gen)
{
	if (slot == 0 || slot >= BOARD_RATES ||
	    __atomic_load_n(&b->rate[slot].gen, __ATOMIC_ACQUIRE) != gen)
		return NULL;
	return &b->rate[slot];
}

/* The next piece of [*at, end) of the file that anybody has written to: from *at to *ret_to.  What is
 * looked at elsewhere would come into being by the look. */
static bool next_written(int fd, off_t *at, off_t end, off_t *ret_to)
{
	off_t from = *at, to = end;

	if (from >= end)
		return false;
	if (fd >= 0) {
		from = lseek(fd, *at, SEEK_DATA);
		if (from < 0 && errno != ENXIO)
			from = *at;	/* all of it, then */
		else if (from < 0 || from >= end)
			return false;
		else
			to = lseek(fd, from, SEEK_HOLE);
	}
	*at = from;
	*ret_to = to < 0 || to > end ? end : to;
	return true;
}

static void bury_tenant(struct board_tenant *t)
{
	board_set(&t->c[TC_conns_gauge], 0);
	board_set(&t->c[TC_requests_gauge], 0);
	board_set(&t->c[TC_memory_gauge], 0);
	board_set(&t->c[TC_memory_grade_gauge], 0);
	board_set(&t->c[TC_shed_percent_gauge], 0);
}

/* The entries of an array in the file that a written piece of it reaches into. */
struct entries {
	uint32_t first, last;
};

static bool next_entries(const struct board *b, int fd, const void *array, size_t size, uint32_t count,
			 off_t *at, struct entries *ret)
{
	off_t base = (const char *)array - (const char *)b, to;

	*at = max_of(*at, base);
	if (!next_written(fd, at, base + (off_t)(size * count), &to))
		return false;
	ret->first = (uint32_t)((size_t)(*at - base) / size);
	ret->last = (uint32_t)((size_t)(to - 1 - base) / size);
	*at = to;
	return true;
}

unsigned board_bury(struct board *b, int fd, unsigned worker)
{
	static const enum worker_counter gauges[] = {
		WC_conns_gauge, WC_backs_gauge, WC_pooled_gauge, WC_pipes_gauge, WC_fds_gauge,
		WC_fds_limit_gauge, WC_memory_grade_gauge, WC_pending_gauge, WC_checks_gauge,
		WC_names_waiting_gauge, WC_names_kept_gauge, WC_run_delay_ns_gauge, WC_shed_tenants_gauge,
		WC_chunk_bytes_gauge, WC_view_rev_gauge, WC_view_step_ns_gauge, WC_beat_ms_gauge,
	};
	struct board_worker *w = &b->worker[worker];
	unsigned returned = 0;
	struct entries e;
	off_t at = 0;

	must(worker < BOARD_WORKERS);	/* the caller's number; what the board says is no measure */
	while (next_entries(b, fd, w->claim, sizeof w->claim[0], BOARD_CLAIMS, &at, &e))
		for (uint32_t i = e.first; i <= e.last; i++) {
			if (w->claim[i].endpoint == 0 && w->claim[i].limit == 0)
				continue;
			board_unclaim(b, worker, i);
			board_limit_give(b, worker, i, LIMIT_CONNECTIONS);
			board_limit_give(b, worker, i, LIMIT_REQUESTS);
			returned++;
		}
	for (size_t i = 0; i < countof(gauges); i++)
		board_set(&w->c[gauges[i]], 0);
	at = 0;
	while (next_entries(b, fd, w->tenant, sizeof w->tenant[0], BOARD_TENANTS, &at, &e))
		for (uint32_t i = e.first; i <= e.last; i++)
			if (w->tenant[i].gen != 0 || i == 0)
				bury_tenant(&w->tenant[i]);
	at = 0;
	while (next_entries(b, fd, w->listener, sizeof w->listener[0], BOARD_LISTENERS, &at, &e))
		for (uint32_t i = e.first; i <= e.last; i++) {
			board_set(&w->listener[i].c[LC_conns_gauge], 0);
			board_set(&w->listener[i].c[LC_requests_gauge], 0);
			board_set(&w->listener[i].c[LC_names_silent_gauge], 0);
		}
	return returned;
}

static const struct counter_row worker_rows[] = {
#define WORKER_COUNTERS
#define C(name, prom, help) { #name, prom, help },
#include "workers/obs/counters.def"
#undef WORKER_COUNTERS
};
static const struct counter_row tenant_rows[] = {
#define TENANT_COUNTERS
#define C(name, prom, help) { #name, prom, help },
#include "workers/obs/counters.def"
#undef TENANT_COUNTERS
};
static const struct counter_row tenant_hist_rows[] = {
#define TENANT_HISTOGRAMS
#define H(name, prom, help) { #name, prom, help },
#include "workers/obs/counters.def"
#undef TENANT_HISTOGRAMS
};
static const struct counter_row listener_rows[] = {
#define LISTENER_COUNTERS
#define C(name, prom, help) { #name, prom, help },
#include "workers/obs/counters.def"
#undef LISTENER_COUNTERS
};
static const struct counter_row service_rows[] = {
#define SERVICE_COUNTERS
#define C(name, prom, help) { #name, prom, help },
#include "workers/obs/counters.def"
#undef SERVICE_COUNTERS
};
static const struct counter_row service_hist_rows[] = {
#define SERVICE_HISTOGRAMS
#define H(name, prom, help) { #name, prom, help },
#include "workers/obs/counters.def"
#undef SERVICE_HISTOGRAMS
};

static bool row(const struct counter_row *rows, size_t n, unsigned i, struct counter_row *ret)
{
	if (i >= n)
		return false;
	*ret = rows[i];
	return true;
}

bool worker_counter_row(unsigned i, struct counter_row *ret)
{
	return row(worker_rows, countof(worker_rows), i, ret);
}

bool tenant_counter_row(unsigned i, struct counter_row *ret)
{
	return row(tenant_rows, countof(tenant_rows), i, ret);
}

bool tenant_histogram_row(unsigned i, struct counter_row *ret)
{
	return row(tenant_hist_rows, countof(tenant_hist_rows), i, ret);
}

bool service_counter_row(unsigned i, struct counter_row *ret)
{
	return row(service_rows, countof(service_rows), i, ret);
}

bool listener_counter_row(unsigned i, struct counter_row *ret)
{
	return row(listener_rows, countof(listener_rows), i, ret);
}

bool service_histogram_row(unsigned i, struct counter_row *ret)
{
	return row(service_hist_rows, countof(service_hist_rows), i, ret);
}
