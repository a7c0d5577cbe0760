/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See rate.h. */
#include "workers/obs/rate.h"

#include "nodeproxy/lib/base/hash.h"

/* Places that are looked at for one caller, side by side: eight in two cache lines. */
#define LOOKS 8
/* Somebody who writes all the time must not hold us. */
#define TRIES 1000

/* What was written there, as far as it can be true. */
static uint64_t sane(uint64_t at, const struct pace *p, uint64_t now)
{
	return at < now ? now : min_of(at, now + p->burst_ns);
}

/* 0: taken; else how many ns until one may be had. */
static uint64_t take(uint64_t *word, const struct pace *p, uint64_t now)
{
	uint64_t was = board_get(word);

	for (int i = 0; i < TRIES; i++) {
		uint64_t at = sane(was, p, now), next = at + p->every_ns;

		if (next > now + p->burst_ns) {
			/* What cannot be true must not stay, or its time would never come. */
			if (at < was && !__atomic_compare_exchange_n(word, &was, at, true, __ATOMIC_RELAXED,
								     __ATOMIC_RELAXED))
				continue;
			return next - now - p->burst_ns;
		}
		if (__atomic_compare_exchange_n(word, &was, next, true, __ATOMIC_RELAXED,
						__ATOMIC_RELAXED))
			return 0;
	}
	return 0;
}

static void give(uint64_t *word, const struct pace *p)
{
	uint64_t was = board_get(word);

	for (int i = 0; i < TRIES && was >= p->every_ns; i++)
		if (__atomic_compare_exchange_n(word, &was, was - p->every_ns, true,
						__ATOMIC_RELAXED, __ATOMIC_RELAXED))
			return;
}

/* It is remembered for something; what lies too far ahead is nonsense, or of a policy before. */
static bool is_busy(uint64_t at, const struct pace *p, uint64_t now)
{
	return at > now && at <= now + p->burst_ns;
}

/* The place of a key: where it is, or a free one that is its own from now on; NULL: none is free. */
static struct board_rate_key *place_of(struct board_rate *r, uint64_t key, const struct pace *p,
				       uint64_t now)
{
	uint32_t first = (uint32_t)(key % BOARD_RATE_KEYS);

	for (uint32_t i = 0; i < LOOKS; i++) {
		struct board_rate_key *k = &r->key[(first + i) % BOARD_RATE_KEYS];

		if (__atomic_load_n(&k->key, __ATOMIC_ACQUIRE) == key)
			return k;
	}
	for (uint32_t i = 0; i < LOOKS; i++) {
		struct board_rate_key *k = &r->key[(first + i) % BOARD_RATE_KEYS];
		uint64_t was = __atomic_load_n(&k->key, __ATOMIC_ACQUIRE);

		if (was != 0 && is_busy(board_get(&k->at), p, now))
			continue;
		/* Another worker may have given it to the same caller just now. */
		if (__atomic_compare_exchange_n(&k->key, &was, key, false, __ATOMIC_ACQ_REL,
						__ATOMIC_ACQUIRE) || was == key)
			return k;
	}
	return NULL;
}

/* Of the caller's own pace; *ret_word: which it was. */
static uint64_t take_own(struct board_rate *r, uint64_t key, const struct pace *p, uint64_t now,
			 uint64_t **ret_word, bool *ret_shared)
{
	for (int i = 0; i < LOOKS; i++) {
		struct board_rate_key *k = place_of(r, key, p, now);
		uint64_t wait;

		if (k == NULL)
			break;
		*ret_word = &k->at;
		wait = take(&k->at, p, now);
		if (__atomic_load_n(&k->key, __ATOMIC_ACQUIRE) == key)
			return wait;
		/* It became another caller's in between. */
		if (wait == 0)
			give(&k->at, p);
	}
	*ret_shared = true;
	*ret_word = &r->rest;
	return take(&r->rest, p, now);
}

enum rate_taken rate_take(struct board_rate *r, uint64_t key, const struct pace *identity,
			  const struct pace *total, struct mono now, uint64_t *ret_wait_ns,
			  bool *ret_shared)
{
	uint64_t *own = NULL;

	*ret_shared = false;
	if (identity->every_ns) {
		*ret_wait_ns = take_own(r, key, identity, (uint64_t)now.ns, &own, ret_shared);
		if (*ret_wait_ns)
			return RATE_OVER_IDENTITY;
	}
	if (total->every_ns) {
		*ret_wait_ns = take(&r->total, total, (uint64_t)now.ns);
		if (*ret_wait_ns) {
			if (own)
				give(own, identity);
			return RATE_OVER_TOTAL;
		}
	}
	return RATE_TAKEN;
}

uint64_t rate_key(const struct board *b, struct slice who)
{
	uint64_t h = siphash(b->secret, who);

	return h ? h : 1;
}

uint64_t rate_left(uint64_t at, const struct pace *p, struct mono now)
{
	uint64_t t = (uint64_t)now.ns;

	return p->every_ns ? (t + p->burst_ns - sane(at, p, t)) / p->every_ns : 0;
}
