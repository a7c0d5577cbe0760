/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See cache.h. */
#include "workers/names/cache.h"

#include "nodeproxy/lib/base/hash.h"

#define TTL_MOST_S 86400u
#define KEY_DNSSEC 1u		/* beside AD and CD */

struct names_key names_key(uint32_t pod, const struct dns_query *q)
{
	struct names_key k = { .pod = pod, .type = q->type, .name = q->name,
			       .bits = (uint16_t)((q->flags & (DNS_AD | DNS_CD)) | (q->dnssec ? KEY_DNSSEC : 0)) };
	uint8_t all[DNS_NAME + 8];

	dns_name_lower(&k.name);
	memcpy(all, &k.pod, 4);
	memcpy(all + 4, &k.type, 2);
	memcpy(all + 6, &k.bits, 2);
	memcpy(all + 8, k.name.at, k.name.n);
	k.hash = hash_slice(slice_of(all, 8u + k.name.n));
	return k;
}

bool names_key_eq(const struct names_key *a, const struct names_key *b)
{
	return a->hash == b->hash && a->pod == b->pod && a->type == b->type && a->bits == b->bits &&
	       dns_name_eq(&a->name, &b->name);
}

/* at start */
int cache_init(struct cache *c)
{
	c->at = 0;
	return slab_init(&c->answers, "names_answer", sizeof(struct cached), CACHE_ANSWERS);
}

void cache_begin(struct cache *c)
{
	for (unsigned i = 0; i < CACHE_BUCKETS; i++)
		list_init(&c->bucket[i]);
	list_init(&c->age);
}

void cache_fini(struct cache *c)
{
	slab_fini(&c->answers);
}

void cache_pod_init(struct cache_pod *p)
{
	list_init(&p->of);
	p->n = 0;
}

struct cached *cache_find(struct cache *c, const struct names_key *k)
{
	list_each(it, &c->bucket[k->hash % CACHE_BUCKETS]) {
		struct cached *a = container_of(it, struct cached, in_bucket);

		/* The name ends with the root's label, so one that begins like it is it. */
		if (a->hash == k->hash && a->pod == k->pod && a->type == k->type && a->bits == k->bits &&
		    slice_caseeq(slice_of(a->message + DNS_HEAD, k->name.n),
				 slice_of(k->name.at, k->name.n)))
			return a;
	}
	return NULL;
}

uint32_t cached_age_s(const struct cached *a)
{
	return (uint32_t)(mono_diff_ms(clock_now(), a->at) / 1000);
}

bool cached_is_fresh(const struct cached *a)
{
	return cached_age_s(a) < a->ttl_s;
}

bool cached_is_of_use(const struct cached *a, int64_t stale_ms)
{
	return mono_diff_ms(clock_now(), a->at) < (int64_t)a->ttl_s * 1000 + stale_ms;
}

void cache_touch(struct cache *c, struct cached *a)
{
	list_remove(&a->in_pod);
	list_add_tail(&a->home->of, &a->in_pod);
	list_remove(&a->in_age);
	list_add_tail(&c->age, &a->in_age);
}

static void drop(struct cache *c, struct cached *a)
{
	list_remove(&a->in_bucket);
	list_remove(&a->in_pod);
	list_remove(&a->in_age);
	a->home->n--;
	budget_return(&a->tenant->memory, sizeof *a);
	tenant_give(&a->tenant);
	slab_give(&c->answers, a);
}

/* Three quarters of whatever it is charged to are for traffic. */
static bool has_room(const struct budget *b)
{
	for (; b; b = b->parent)
		if (b->limit && b->used + sizeof(struct cached) > b->limit / 4)
			return false;
	return true;
}

/* A place for one more of this pod, paid for; NULL: there is none. */
static struct cached *take(struct cache *c, struct cache_pod *p, struct tenant *t, uint32_t most)
{
	struct cached *a;

	while (p->n >= most)
		drop(c, container_of(list_first(&p->of), struct cached, in_pod));
	if (c->answers.live == CACHE_ANSWERS)
		drop(c, container_of(list_first(&c->age), struct cached, in_age));
	if (!has_room(&t->memory) || budget_charge(&t->memory, sizeof *a) < 0)
		return NULL;
	a = slab_take(&c->answers, NULL);
	if (a == NULL) {
		budget_return(&t->memory, sizeof *a);
		return NULL;
	}
	a->home = p;
	a->tenant = t;
	tenant_ref(t);
	p->n++;
	list_add_tail(&p->of, &a->in_pod);
	list_add_tail(&c->age, &a->in_age);
	return a;
}

void cache_put(struct cache *c, struct cache_pod *p, struct tenant *t, const struct names_key *k,
	       struct slice message, const struct dns_reply *r, uint32_t most)
{
	struct cached *a = cache_find(c, k);

	if (a)
		drop(c, a);
	if (most == 0 || r->ttl == 0 || r->bytes > CACHE_BYTES)
		return;
	a = take(c, p, t, most);
	if (a == NULL)
		return;
	a->hash = k->hash;
	a->pod = k->pod;
	a->type = k->type;
	a->bits = k->bits;
	a->n = (uint16_t)r->bytes;
	a->additional = r->additional;
	a->ttl_s = min_of(r->ttl, TTL_MOST_S);
	a->at = clock_now();
	memcpy(a->message, message.p, r->bytes);
	list_add_tail(&c->bucket[k->hash % CACHE_BUCKETS], &a->in_bucket);
}

void cache_drop_pod(struct cache *c, struct cache_pod *p)
{
	while (!list_is_empty(&p->of))
		drop(c, container_of(list_first(&p->of), struct cached, in_pod));
}

void cache_tick(struct cache *c, int64_t stale_ms)
{
	for (unsigned i = 0; i < CACHE_LOOKS && c->answers.live; i++, c->at++) {
		struct cached *a;

		if (c->at >= c->answers.fresh)
			c->at = 0;
		a = slab_at(&c->answers, (struct slot_ref){ c->at, c->answers.gen[c->at] });
		if (a && !cached_is_of_use(a, stale_ms))
			drop(c, a);
	}
}
