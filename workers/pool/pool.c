/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See pool.h. */
#include "workers/pool/pool.h"

#include <errno.h>
#include <stdlib.h>

struct pool_entry {
	struct node node;	/* of its bucket */
	struct back_key key;
	struct node idle;	/* used last first */
	uint32_t n;
};

static_must(sizeof(struct back_key) == 60 && BACK_KEY_PLAIN == 36);	/* no padding: hashed as bytes */

/* at start */
int pool_init(struct pool *p, uint32_t backs, uint32_t keep)
{
	int r;

	*p = (struct pool){ .keep = keep, .buckets = 4096 };
	r = slab_init(&p->backs, "back", sizeof(struct back), backs);
	if (r < 0)
		return r;
	r = slab_init(&p->entries, "pool_entry", sizeof(struct pool_entry), backs);
	if (r < 0)
		goto fail;
	p->bucket = malloc(p->buckets * sizeof *p->bucket);
	if (p->bucket == NULL) {
		r = -ENOMEM;
		goto fail;
	}
	for (uint32_t i = 0; i < p->buckets; i++)
		list_init(&p->bucket[i]);
	return 0;
fail:
	pool_fini(p);
	return r;
}

void pool_fini(struct pool *p)
{
	slab_fini(&p->backs);
	slab_fini(&p->entries);
	free(p->bucket);
	*p = (struct pool){ 0 };
}

struct back *back_new(struct pool *p, const struct back_key *key)
{
	struct back *b = slab_take(&p->backs, NULL);

	if (b == NULL)
		return NULL;
	b->magic = BACK_MAGIC;
	b->key = *key;
	leg_init(&b->leg);
	list_init(&b->node);
	wheel_entry_init(&b->deadline);
	addr_text(&key->addr, true, b->text);
	b->text_len = (uint8_t)strlen(b->text);
	return b;
}

void back_free(struct pool *p, struct back **bp)
{
	struct back *b = *bp;

	*bp = NULL;
	must(b->magic == BACK_MAGIC && b->idle_at == NULL);
	list_remove(&b->node);
	b->magic = 0;
	slab_give(&p->backs, b);
}

static struct pool_entry *find(struct pool *p, const struct back_key *key, struct node **ret_bucket)
{
	/* Keyed: whoever may name endpoint addresses must not choose who shares a bucket. */
	struct node *h = &p->bucket[hash_slice(back_key_bytes(key)) & (p->buckets - 1)];

	if (ret_bucket)
		*ret_bucket = h;
	list_each(it, h) {
		struct pool_entry *e = container_of(it, struct pool_entry, node);

		if (back_key_eq(&e->key, key))
			return e;
	}
	return NULL;
}

void pool_remove(struct pool *p, struct back *b)
{
	struct pool_entry *e = b->idle_at;

	must(e != NULL);
	list_remove(&b->node);
	b->idle_at = NULL;
	p->idle--;
	p->limited -= b->key.limit != 0;
	if (--e->n == 0) {
		list_remove(&e->node);
		slab_give(&p->entries, e);
	}
}

struct back *pool_take(struct pool *p, const struct back_key *key)
{
	struct pool_entry *e = find(p, key, NULL);
	struct back *b;

	if (e == NULL)
		return NULL;
	b = container_of(e->idle.next, struct back, node);
	pool_remove(p, b);
	return b;
}

bool pool_put(struct pool *p, struct back *b)
{
	struct node *bucket;
	struct pool_entry *e = find(p, &b->key, &bucket);

	must(b->idle_at == NULL);
	if (p->keep == 0 || (e && e->n >= p->keep))
		return false;
	if (e == NULL) {
		e = slab_take(&p->entries, NULL);
		if (e == NULL)
			return false;
		e->key = b->key;
		list_init(&e->idle);
		list_add_head(bucket, &e->node);
	}
	list_add_head(&e->idle, &b->node);
	e->n++;
	p->idle++;
	p->limited += b->key.limit != 0;
	b->idle_at = e;
	b->uses++;
	return true;
}
