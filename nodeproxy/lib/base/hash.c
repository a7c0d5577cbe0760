/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See hash.h. */
#include "nodeproxy/lib/base/hash.h"

#include <errno.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/rand.h"

static uint64_t rotl(uint64_t x, int b)
{
	return x << b | x >> (64 - b);
}

static uint64_t load64(const uint8_t *p)
{
	uint64_t v;

	memcpy(&v, p, 8);
	return v;	/* little endian hosts only, checked by configure */
}

#define ROUND                                                                                      \
	do {                                                                                       \
		v0 += v1, v1 = rotl(v1, 13), v1 ^= v0, v0 = rotl(v0, 32);                          \
		v2 += v3, v3 = rotl(v3, 16), v3 ^= v2;                                             \
		v0 += v3, v3 = rotl(v3, 21), v3 ^= v0;                                             \
		v2 += v1, v1 = rotl(v1, 17), v1 ^= v2, v2 = rotl(v2, 32);                          \
	} while (0)

uint64_t siphash(const uint8_t key[16], struct slice a)
{
	uint64_t k0 = load64(key), k1 = load64(key + 8);
	uint64_t v0 = k0 ^ 0x736f6d6570736575u, v1 = k1 ^ 0x646f72616e646f6du;
	uint64_t v2 = k0 ^ 0x6c7967656e657261u, v3 = k1 ^ 0x7465646279746573u;
	uint64_t last = (uint64_t)a.n << 56, m;
	size_t i = 0;

	for (; i + 8 <= a.n; i += 8) {
		m = load64(a.p + i);
		v3 ^= m;
		ROUND;
		ROUND;
		v0 ^= m;
	}
	for (size_t k = 0; i + k < a.n; k++)
		last |= (uint64_t)a.p[i + k] << 8 * k;
	v3 ^= last;
	ROUND;
	ROUND;
	v0 ^= last;
	v2 ^= 0xff;
	ROUND;
	ROUND;
	ROUND;
	ROUND;
	return v0 ^ v1 ^ v2 ^ v3;
}

uint64_t hash_slice(struct slice a)
{
	static uint8_t key[16];
	static bool keyed;

	if (unlikely(!keyed)) {
		rand_bytes(key, sizeof key);
		keyed = true;
	}
	return siphash(key, a);
}

uint64_t hash_stable(struct slice a)
{
	static const uint8_t key[16] = "nodeproxy-stable";

	return siphash(key, a);
}

int hash_add(struct hash *h, struct hash_node *n, uint64_t hash)
{
	if (h->count >= h->buckets) {
		size_t want = h->buckets ? h->buckets * 2 : 16;
		struct hash_node **b = calloc(want, sizeof *b);

		if (b == NULL && h->buckets == 0)
			return -ENOMEM;
		if (b) {	/* without memory the old table only gets slower */
			for (size_t i = 0; i < h->buckets; i++) {
				for (struct hash_node *x = h->bucket[i], *next; x; x = next) {
					next = x->next;
					x->next = b[x->hash & (want - 1)];
					b[x->hash & (want - 1)] = x;
				}
			}
			free(h->bucket);
			h->bucket = b;
			h->buckets = want;
		}
	}
	n->hash = hash;
	n->next = h->bucket[hash & (h->buckets - 1)];
	h->bucket[hash & (h->buckets - 1)] = n;
	h->count++;
	return 0;
}

void hash_remove(struct hash *h, struct hash_node *n)
{
	struct hash_node **at = &h->bucket[n->hash & (h->buckets - 1)];

	while (*at != n) {
		must(*at);
		at = &(*at)->next;
	}
	*at = n->next;
	h->count--;
}

static struct hash_node *same(struct hash_node *n, uint64_t hash)
{
	while (n && n->hash != hash)
		n = n->next;
	return n;
}

struct hash_node *hash_first(const struct hash *h, uint64_t hash)
{
	return h->buckets ? same(h->bucket[hash & (h->buckets - 1)], hash) : NULL;
}

struct hash_node *hash_next(const struct hash_node *n)
{
	return same(n->next, n->hash);
}

void hash_fini(struct hash *h)
{
	free(h->bucket);
	*h = (struct hash){ 0 };
}
