/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* The board: live state of the host in shared memory, relaxed atomics throughout.
 *
 * Counters have a copy per worker (no shared cache lines on the path); what must be right per host
 * (endpoints: load, response time, health; limits; rate limits; retry budgets) is shared by all workers.  Slots
 * come from the view with a generation; the first user of a new generation clears the slot.  Gauges
 * on shared slots are held through claims: a ledger per worker says which endpoint slot each of its
 * backs holds, and of which limits, so the master can return them when the worker dies.
 *
 * Any worker may scribble here.  Nothing read from the board is ever an index, a pointer or an
 * authorization; readers show it and clamp it.  The layout has a version.  Sparse: untouched slots
 * cost no memory, so readers look only at slots that the view names. */
#ifndef NODEPROXY_WORKERS_OBS_BOARD_H
#define NODEPROXY_WORKERS_OBS_BOARD_H

#include "nodeproxy/lib/base/clock.h"
#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/reason.h"
#include "workers/obs/hist.h"
#include "workers/obs/outcome.h"

#define BOARD_MAGIC	0x4e504244u	/* "NPBD" */
#define BOARD_VERSION	4u
#define BOARD_WORKERS	64
#define BOARD_TENANTS	1024		/* slot 0: everybody without a slot of their own */
#define BOARD_SERVICES	16384		/* slot 0 likewise */
#define BOARD_LISTENERS 1536	/* of the settings and of pods, and those whose last connections go on */
#define BOARD_ENDPOINTS 131072		/* slot 0 likewise */
#define BOARD_LIMITS	16384		/* Service ports with limits; slot 0: none */
#define BOARD_RATES	4096		/* Service ports with rate limits; slot 0: none */
#define BOARD_RATE_KEYS 254		/* callers of such a port that are told apart */
#define BOARD_CLAIMS	65536		/* backs, and trunks behind them, per worker */

enum worker_counter {
#define WORKER_COUNTERS
#define C(name, prom, help) WC_##name,
#include "workers/obs/counters.def"
#undef WORKER_COUNTERS
	WCS
};
enum tenant_counter {
#define TENANT_COUNTERS
#define C(name, prom, help) TC_##name,
#include "workers/obs/counters.def"
#undef TENANT_COUNTERS
	TCS
};
enum tenant_histogram {
#define TENANT_HISTOGRAMS
#define H(name, prom, help) TH_##name,
#include "workers/obs/counters.def"
#undef TENANT_HISTOGRAMS
	THS
};
enum listener_counter {
#define LISTENER_COUNTERS
#define C(name, prom, help) LC_##name,
#include "workers/obs/counters.def"
#undef LISTENER_COUNTERS
	LCS
};
enum service_counter {
#define SERVICE_COUNTERS
#define C(name, prom, help) SC_##name,
#include "workers/obs/counters.def"
#undef SERVICE_COUNTERS
	SCS
};
enum service_histogram {
#define SERVICE_HISTOGRAMS
#define H(name, prom, help) SH_##name,
#include "workers/obs/counters.def"
#undef SERVICE_HISTOGRAMS
	SHS
};

struct board_tenant {		/* per worker */
	uint64_t gen;
	uint64_t c[TCS];
	uint64_t reasons[REASONS];	/* how its conns and exchanges ended */
	struct hist hist[THS];
};

struct board_listener {		/* per worker; where it lies means nothing: it is found by its name */
	_Alignas(128) char name[64];	/* empty: none; may lack its end */
	uint64_t c[LCS];
};
static_must(sizeof(struct board_listener) == 128);	/* none lies in two pages, as with claims */

/* Per worker; 2.4 KiB of a Service that the worker has served, nothing of others: their generations
 * stand apart, so that a reader need not touch the slot. */
struct board_service {
	uint64_t c[SCS];
	struct outcomes outcomes;
	struct hist hist[SHS];
};

struct board_endpoint {		/* shared by all workers: one cache line */
	uint32_t gen;
	uint32_t connects;
	uint64_t load;		/* gauges, by claims: exchanges and opaque flows in the low half, those
				 * of them that wait for an answer in the high half */
	uint64_t rtt, health;	/* see endpoint.h */
	uint64_t exchanges;
	uint64_t failures;	/* 5xx, cut, timeout */
	uint64_t last_failure_ms;	/* monotonic */
	uint32_t connect_failures;
	uint32_t ready_ms;	/* monotonic, modulo 2^32: since when, as far as anybody asked; 0: not known */
};
static_must(sizeof(struct board_endpoint) == 64);

struct board_round {		/* of an endpoint that is judged by its success rate: see pool/outlier.h */
	uint32_t gen, at_ms;		/* monotonic, modulo 2^32 */
	uint32_t requests, failures;	/* that were counted by then */
};

#define CLAIM_WAITS 0x80000000u	/* for an answer */

enum limit { LIMIT_CONNECTIONS, LIMIT_REQUESTS };

struct board_limit {		/* of a Service port with limits, shared by all workers */
	uint32_t gen, zero;
	uint64_t held;		/* gauges, by claims: connections in the low half, requests in the
				 * high half */
	uint64_t full;		/* who found no connection left last, and when: worker |
				 * monotonic ms << 8 */
	uint64_t awaited;	/* likewise who has callers that wait for a place */
};

struct board_rate {		/* of a Service port with rate limits, shared by all workers: rate.h */
	uint32_t gen, zero;
	uint64_t total;		/* the pace of all callers together */
	uint64_t rest;		/* of all who found no place among those told apart */
	uint64_t zero2;
	struct board_rate_key {
		uint64_t key;	/* a keyed hash of who it is; 0: nobody */
		uint64_t at;
	} key[BOARD_RATE_KEYS];
};
static_must(sizeof(struct board_rate) == 4096);

struct board_claim {
	uint32_t endpoint;	/* slot + 1, and CLAIM_WAITS; 0: nothing held */
	uint32_t gen;
	uint32_t limit;		/* slot, and 1 << 30 + enum limit for each that is held; 0: none is */
	uint32_t limit_gen;
};
static_must(sizeof(struct board_claim) == 16);

#define BOARD_RETRY_BUCKETS 72

struct board_retries {		/* per Service, shared by all workers; see workers/pool/retry.h */
	uint64_t of;		/* generation | interval of the budget in ms << 32 */
	uint64_t seen;		/* requests of all workers at the last look | its bucket << 32 */
	struct {		/* each: how many | number of the bucket << 32 */
		uint64_t retries, requests;
	} bucket[BOARD_RETRY_BUCKETS];
};

struct board_worker {
	uint64_t c[WCS];
	uint64_t reasons[REASONS];
	struct board_tenant tenant[BOARD_TENANTS];
	uint32_t service_gen[BOARD_SERVICES];
	uint32_t service_began_s[BOARD_SERVICES];	/* monotonic: when the worker first served it */
	struct board_service service[BOARD_SERVICES];
	/* None lies in two pages: looking at one must not make the next (board_bury). */
	_Alignas(16) struct board_claim claim[BOARD_CLAIMS];
	uint64_t listeners;		/* entries of listener that were ever used; readers clamp it */
	struct board_listener listener[BOARD_LISTENERS];
};

struct board {
	uint32_t magic, version;
	uint32_t workers;
	uint32_t used;		/* no worker from this one on has counted anything for a Service */
	uint8_t secret[16];	/* of the keys of rate limits, so that nobody can aim at a place */
	_Alignas(4096) struct board_endpoint endpoint[BOARD_ENDPOINTS];
	_Alignas(4096) uint64_t check[BOARD_ENDPOINTS];	/* what health checks say: check.h */
	_Alignas(4096) struct board_retries retries[BOARD_SERVICES];
	_Alignas(4096) struct board_limit limit[BOARD_LIMITS];
	_Alignas(4096) struct board_rate rate[BOARD_RATES];
	_Alignas(4096) struct board_round round[BOARD_ENDPOINTS];
	_Alignas(4096) struct board_worker worker[];
};

size_t board_bytes(unsigned workers);
/* Worker slots in so many bytes: for those who do not believe the board. */
unsigned board_slots(size_t bytes);
/* Fresh zeroed shared memory. */
void board_format(struct board *, unsigned workers);
/* Writes the header again when a worker has spoiled it: the next worker, and admind, must find it.
 * True when it was mended. */
bool board_mend(struct board *, unsigned workers);
/* 0, or -EBADMSG when magic, version or size do not fit. */
must_use int board_check(const struct board *, size_t map_bytes);

/* Single-writer counters: plain add, seen by readers in time. */
static inline void board_add(uint64_t *c, uint64_t n)
{
	__atomic_store_n(c, __atomic_load_n(c, __ATOMIC_RELAXED) + n, __ATOMIC_RELAXED);
}

static inline void board_set(uint64_t *c, uint64_t v)
{
	__atomic_store_n(c, v, __ATOMIC_RELAXED);
}

static inline uint64_t board_get(const uint64_t *c)
{
	return __atomic_load_n(c, __ATOMIC_RELAXED);
}

#define BOARD_GEN_STALE (1u << 20)	/* so far behind a generation may be that of an older view */

/* The slot of this generation, cleared when it was another's; slot out of range: slot 0. */
struct board_tenant *board_tenant(struct board *, unsigned worker, uint32_t slot, uint32_t gen);
struct board_service *board_service(struct board *, unsigned worker, uint32_t slot, uint32_t gen);
struct board_endpoint *board_endpoint(struct board *, uint32_t slot, uint32_t gen);
/* The same of retry budgets, with buckets of this interval's; now is the number of one.  NULL: the
 * slot is another's by now. */
struct board_retries *board_retries(struct board *, uint32_t slot, uint32_t gen,
				    uint32_t interval_ms, uint32_t now);
/* For readers: NULL when the worker has counted nothing for this generation. */
const struct board_service *board_service_seen(const struct board *, unsigned worker, uint32_t slot,
					       uint32_t gen);

/* Holds one exchange or flow on the endpoint for back number claim (< BOARD_CLAIMS); a claim that
 * already holds something returns that first.  waits: and it waits for an answer; true: the
 * endpoint owed nobody one before. */
bool board_claim(struct board *, unsigned worker, uint32_t claim, uint32_t slot, uint32_t gen,
		 bool waits);
/* It waits no more. */
void board_answered(struct board *, unsigned worker, uint32_t claim);
void board_unclaim(struct board *, unsigned worker, uint32_t claim);

/* Takes one of a limit for back number claim; false: max (0: any number) are held.  What the claim
 * holds of it already it keeps; what it holds of another slot or generation it returns first. */
must_use bool board_limit_take(struct board *, unsigned worker, uint32_t claim, uint32_t slot,
			       uint32_t gen, enum limit, uint32_t max);
void board_limit_give(struct board *, unsigned worker, uint32_t claim, enum limit);
/* Another worker found no connection left within the last second: it cannot use, nor close, those
 * that are idle here. */
bool board_limit_is_full(const struct board *, unsigned worker, uint32_t slot, struct mono now);
/* This worker has callers that wait; another had some lately. */
void board_limit_await(struct board *, unsigned worker, uint32_t slot, struct mono now);
bool board_limit_is_awaited(const struct board *, unsigned worker, uint32_t slot, struct mono now);
/* How many are held; 0 when the slot is another's. */
uint32_t board_limit_held(const struct board *, uint32_t slot, uint32_t gen, enum limit);

/* The rate limits in this slot; NULL: there are none (slot 0 or out of range), or the slot is another
 * port's by now. */
struct board_rate *board_rate(struct board *, uint32_t slot, uint32_t gen);
/* For readers. */
const struct board_rate *board_rate_seen(const struct board *, uint32_t slot, uint32_t gen);

/* After the death of a worker (a slot the mapping has): returns all its claims, clears its gauges.
 * By the master.  fd is that of the memory: pages that nobody has touched are not looked at, so that
 * they stay unmade; -1: all of it.  Returns how many claims were returned. */
unsigned board_bury(struct board *, int fd, unsigned worker);

/* Rows of counters.def, for readers: false after the last. */
struct counter_row { const char *name, *prom, *help; };
bool worker_counter_row(unsigned i, struct counter_row *ret);
bool tenant_counter_row(unsigned i, struct counter_row *ret);
bool tenant_histogram_row(unsigned i, struct counter_row *ret);
bool service_counter_row(unsigned i, struct counter_row *ret);
bool listener_counter_row(unsigned i, struct counter_row *ret);
bool service_histogram_row(unsigned i, struct counter_row *ret);

#endif
