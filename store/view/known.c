/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See known.h. */
#include "store/view/known.h"

#include <errno.h>
#include <stdlib.h>

#include "store/view/reader.h"

#define A_BUCKET 2u	/* addresses in it, on the average */

/* IPv4 as ::ffff:a.b.c.d */
static void ip_of(const struct addr *a, uint8_t ret[16])
{
	memcpy(ret, a->ip, 16);
	if (a->family != 4)
		return;
	memset(ret, 0, 16);
	ret[10] = ret[11] = 0xff;
	memcpy(ret + 12, a->ip, 4);
}

static uint64_t hash_ip(const uint8_t key[16], const uint8_t ip[16])
{
	return siphash(key, slice_of(ip, 16));
}

/* ---- the builder's ---- */

void knowns_init(struct knowns *ks, const uint8_t key[16])
{
	*ks = (struct knowns){ .key = key };
	list_init(&ks->changed);
}

static void forget(struct knowns *ks, struct known *k)
{
	hash_remove(&ks->all, &k->by_ip);
	free(k);
}

void knowns_fini(struct knowns *ks)
{
	for (size_t b = 0; b < ks->all.buckets; b++)
		while (ks->all.bucket[b])
			forget(ks, container_of(ks->all.bucket[b], struct known, by_ip));
	hash_fini(&ks->all);
}

/* It came, went, or is again what the base says. */
static void moved(struct knowns *ks, struct known *k)
{
	bool is = k->users > 0, was = node_is_linked(&k->changed);

	ks->n += is ? 1 : -1u;
	if (was)	/* before this it was not what it is now */
		*(k->in_base ? &ks->went : &ks->came) -= 1;
	list_remove(&k->changed);
	if (is == k->in_base) {
		if (!is)
			forget(ks, k);
		return;
	}
	*(k->in_base ? &ks->went : &ks->came) += 1;
	list_add_tail(&ks->changed, &k->changed);
}

static struct known *known_make(struct knowns *ks, const struct addr *a)
{
	struct known *k;
	uint8_t ip[16];
	uint64_t h;

	ip_of(a, ip);
	h = hash_ip(ks->key, ip);
	for (struct hash_node *n = hash_first(&ks->all, h); n; n = hash_next(n)) {
		k = container_of(n, struct known, by_ip);
		if (memcmp(k->ip, ip, sizeof ip) == 0)
			return k;
	}
	k = calloc(1, sizeof *k);
	if (k == NULL || hash_add(&ks->all, &k->by_ip, h) < 0) {
		free(k);
		return NULL;
	}
	memcpy(k->ip, ip, sizeof ip);
	list_init(&k->changed);
	return k;
}

void knowns_give(struct knowns *ks, struct known_list *l)
{
	for (uint32_t i = 0; i < l->n; i++)
		if (--l->at[i]->users == 0)
			moved(ks, l->at[i]);
	free(l->at);
	*l = (struct known_list){ 0 };
}

int knowns_take(struct knowns *ks, const struct row *const *slices, uint32_t n, struct known_list *ret)
{
	struct known_list l = { 0 };
	uint64_t room = 0;

	for (uint32_t i = 0; i < n; i++)
		room += slices[i]->slice.n_endpoints;
	if (room == 0) {
		*ret = l;
		return 0;
	}
	l.at = room < UINT32_MAX ? calloc(room, sizeof(struct known *)) : NULL;
	if (l.at == NULL)
		return -ENOMEM;
	for (uint32_t i = 0; i < n; i++) {
		for (uint32_t k = 0; k < slices[i]->slice.n_endpoints; k++) {
			const struct addr *a = &slices[i]->slice.endpoints[k].addr;
			struct known *known;

			if (a->family != 4 && a->family != 6)
				continue;
			known = known_make(ks, a);
			if (known == NULL) {
				knowns_give(ks, &l);
				return -ENOMEM;
			}
			l.at[l.n++] = known;
			if (known->users++ == 0)
				moved(ks, known);
		}
	}
	*ret = l;
	return 0;
}

void knowns_in_base(struct knowns *ks)
{
	list_each(it, &ks->changed) {
		struct known *k = container_of(it, struct known, changed);

		list_remove(&k->changed);
		k->in_base = k->users > 0;
		if (!k->in_base)
			forget(ks, k);
	}
	ks->came = ks->went = 0;
}

/* ---- in a file ---- */

static uint32_t count(const struct knowns *ks, enum known_set which)
{
	return which == KNOWN_ALL ? ks->n : which == KNOWN_CAME ? ks->came : ks->went;
}

static uint32_t buckets_for(uint32_t n)
{
	uint32_t b = 1;

	while (b < n / A_BUCKET)
		b *= 2;
	return b;
}

static uint64_t starts_bytes(uint32_t buckets)
{
	return ((buckets + 1) * sizeof(uint32_t) + 7) & ~7ull;
}

uint64_t knowns_bytes(const struct knowns *ks, enum known_set which)
{
	uint32_t n = count(ks, which);

	return starts_bytes(buckets_for(n)) + 16ull * n;
}

struct writing {
	uint32_t *start;	/* of each bucket: how many; when placing where the next one goes */
	uint8_t (*ip)[16];
	uint32_t mask;
	bool placing;
};

static void write_one(struct writing *w, const struct known *k)
{
	uint32_t b = (uint32_t)k->by_ip.hash & w->mask;

	if (w->placing)
		memcpy(w->ip[w->start[b]++], k->ip, 16);
	else
		w->start[b]++;
}

static void write_all(const struct knowns *ks, enum known_set which, struct writing *w)
{
	if (which == KNOWN_ALL) {
		for (size_t b = 0; b < ks->all.buckets; b++)
			for (struct hash_node *n = ks->all.bucket[b]; n; n = n->next)
				if (container_of(n, struct known, by_ip)->users)
					write_one(w, container_of(n, struct known, by_ip));
		return;
	}
	for (const struct node *n = ks->changed.next; n != &ks->changed; n = n->next) {
		const struct known *k = container_of(n, struct known, changed);

		if (k->in_base == (which == KNOWN_WENT))
			write_one(w, k);
	}
}

void knowns_write(const struct knowns *ks, enum known_set which, uint8_t *to, uint64_t at, struct view_set *ret)
{
	uint32_t n = count(ks, which), buckets = buckets_for(n), sum = 0;
	struct writing w = { .start = (uint32_t *)(void *)to, .mask = buckets - 1,
			     .ip = (void *)(to + starts_bytes(buckets)) };

	write_all(ks, which, &w);
	for (uint32_t b = 0; b < buckets; b++) {
		uint32_t here = w.start[b];

		w.start[b] = sum;
		sum += here;
	}
	must(sum == n);
	w.placing = true;
	write_all(ks, which, &w);
	/* Each is now where the next begins. */
	memmove(w.start + 1, w.start, buckets * sizeof(uint32_t));
	w.start[0] = 0;
	*ret = (struct view_set){ .at = at, .n_buckets = buckets, .n = n };
}

/* ---- the reader's ---- */

static bool set_has(const struct layer *l, const struct view_set *s, const uint8_t ip[16], uint64_t hash)
{
	const uint32_t *start = (const uint32_t *)(const void *)(l->bytes.p + s->at);
	const uint8_t (*all)[16] = (const void *)(l->bytes.p + s->at + starts_bytes(s->n_buckets));
	uint32_t b = (uint32_t)hash & (s->n_buckets - 1);

	for (uint32_t i = start[b]; i < start[b + 1] && i < s->n; i++)
		if (memcmp(all[i], ip, 16) == 0)
			return true;
	return false;
}

bool view_knows(const struct view *v, const struct addr *a)
{
	const struct view_head *base = layer_head(v->base);
	uint8_t ip[16];
	uint64_t h;

	if (a->family != 4 && a->family != 6)
		return false;
	ip_of(a, ip);
	h = hash_ip(base->key, ip);
	if (v->over) {
		const struct view_head *over = layer_head(v->over);

		if (set_has(v->over, &over->known, ip, h))
			return true;
		if (set_has(v->over, &over->gone, ip, h))
			return false;
	}
	return set_has(v->base, &base->known, ip, h);
}
