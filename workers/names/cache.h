/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Answers of resolvers, kept for as long as they say, and a while longer for when no resolver answers
 * (RFC 8767).
 *
 * Each pod has its own: who answers a pod's questions is decided in its network namespace, where its
 * root may play the resolver, and nobody else shall believe him.  A pod keeps at most names.cache of
 * them, charged to its tenant's memory; beyond, and beyond what all together may have, those that were
 * not used for longest go.  They are not kept at the expense of traffic: none is added where a quarter of
 * the memory is in use, and all of a tenant go that is short of it. */
#ifndef WORKERS_NAMES_CACHE_H
#define WORKERS_NAMES_CACHE_H

#include "workers/names/dns.h"
#include "workers/sched/budget.h"

#define CACHE_ANSWERS 8192		/* of a worker */
#define CACHE_BUCKETS 4096
#define CACHE_BYTES   DNS_UDP_OURS	/* larger ones are not kept */
#define CACHE_LOOKS   64		/* at old ones, in one tick */

/* What was asked, and by which pod. */
struct names_key {
	uint64_t hash;
	uint32_t pod;			/* ref */
	uint16_t type, bits;		/* AD and CD, and whether signatures are wanted */
	struct dns_name name;		/* in lower case */
};

/* Those of a pod, not used for longest first. */
struct cache_pod {
	struct node of;
	uint32_t n;
};

struct cached {
	struct node in_bucket, in_pod, in_age;
	struct cache_pod *home;
	uint64_t hash;
	uint32_t pod;
	uint16_t type, bits;
	uint16_t n, additional;		/* see dns_reply */
	uint32_t ttl_s;
	struct mono at;			/* when it came */
	struct mono again_at;		/* resolvers did not answer: until then they are not asked again */
	struct tenant *tenant;		/* who pays; holds a reference */
	uint8_t message[CACHE_BYTES];
};

struct cache {
	struct slab answers;
	struct node bucket[CACHE_BUCKETS];
	struct node age;		/* of all, those not used for longest first */
	uint32_t at;			/* where cache_tick() goes on */
};

struct names_key names_key(uint32_t pod, const struct dns_query *);
bool names_key_eq(const struct names_key *, const struct names_key *);

must_use int cache_init(struct cache *);	/* 0 or -ENOMEM */
void cache_begin(struct cache *);	/* before it is used first */
void cache_fini(struct cache *);
void cache_pod_init(struct cache_pod *);

/* The answer that is kept, however old; NULL: none. */
struct cached *cache_find(struct cache *, const struct names_key *);
/* Seconds that it has lived; whether it may still be passed on as it is. */
uint32_t cached_age_s(const struct cached *);
bool cached_is_fresh(const struct cached *);
/* It may be passed on when nobody answers. */
bool cached_is_of_use(const struct cached *, int64_t stale_ms);
/* It was used. */
void cache_touch(struct cache *, struct cached *);
/* Keeps it, if it may be kept: by at most `most` of the pod. */
void cache_put(struct cache *, struct cache_pod *, struct tenant *, const struct names_key *,
	       struct slice message, const struct dns_reply *, uint32_t most);
/* All of a pod. */
void cache_drop_pod(struct cache *, struct cache_pod *);
/* Now and then: those that are of no use any more go. */
void cache_tick(struct cache *, int64_t stale_ms);

#endif
