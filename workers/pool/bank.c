/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See bank.h. */
#include "workers/pool/bank.h"

#include <errno.h>
#include <stdlib.h>

#include "nodeproxy/lib/net/tcp.h"

/* at start */
int banks_init(struct banks *bs)
{
	int r = slab_init(&bs->rooms, "bank", BANK_MOST * sizeof(int), BANKS * BANK_SORTS);

	if (r < 0)
		return r;
	bs->rooms.raw = true;
	bs->most = BANK_MOST;
	bs->at = calloc(BANKS, sizeof *bs->at);
	return bs->at ? 0 : -ENOMEM;
}

static struct bank *find(const struct banks *bs, uint32_t ref)
{
	struct bank *b = &bs->at[ref % BANKS];

	return ref && b->ref == ref ? b : NULL;
}

static void drop(struct banks *bs, struct bank_sort *f, unsigned keep)
{
	while (f->n > keep) {
		close(f->fd[--f->n]);
		bs->held--;
	}
	if (f->n == 0 && f->fd) {
		slab_give(&bs->rooms, f->fd);
		f->fd = NULL;
	}
}

/* Into a bank that has a place for it; or it stays the caller's. */
static void hold(struct banks *bs, struct bank_sort *f, struct fd *fd)
{
	if (f->fd == NULL)
		f->fd = slab_take(&bs->rooms, NULL);
	if (f->fd == NULL)
		return;
	f->fd[f->n++] = fd_take(fd).v;
	bs->held++;
}

void banks_fini(struct banks *bs)
{
	for (unsigned i = 0; bs->at && i < BANKS; i++)
		if (bs->at[i].ref)
			bank_close(bs, bs->at[i].ref);
	free(bs->at);
	bs->at = NULL;
	slab_fini(&bs->rooms);
}

static void ask(struct banks *bs, struct bank *b)
{
	uint16_t n[BANK_SORTS] = { 0 };
	bool any = false;

	for (unsigned i = 0; i < BANK_SORTS; i++) {
		struct bank_sort *f = &b->of[i];

		if (!f->has || f->target == 0 || f->n + f->asked > f->target / 2)
			continue;
		if (mono_diff_ms(clock_now(), f->asked_at) < BANK_BUSY_MS)
			f->target = (uint16_t)max_of(min_of(f->target * 2u, bs->most), (unsigned)f->target);
		n[i] = (uint16_t)(f->target - f->n - f->asked);
		f->asked = (uint16_t)(f->asked + n[i]);
		f->asked_at = clock_now();
		any |= n[i] != 0;
	}
	if (any && bs->want)
		bs->want(b->ref, n);
}

void bank_open(struct banks *bs, uint32_t ref, bool has_ipv6, bool guest)
{
	struct bank *b = &bs->at[ref % BANKS];

	if (ref == 0)
		return;
	if (b->ref != ref) {
		if (b->ref)
			bank_close(bs, b->ref);		/* its end was not heard */
		*b = (struct bank){ .ref = ref, .guest = true };
		for (unsigned i = 0; i < BANK_SORTS; i++) {
			b->of[i].has = i % 2 == 0 || has_ipv6;
			b->of[i].used_at = clock_now();
		}
	}
	b->guest &= guest;
}

void bank_close(struct banks *bs, uint32_t ref)
{
	struct bank *b = find(bs, ref);

	if (b == NULL)
		return;
	for (unsigned i = 0; i < BANK_SORTS; i++)
		drop(bs, &b->of[i], 0);
	b->ref = 0;
}

bool bank_put(struct banks *bs, uint32_t ref, unsigned sort, struct fd *fd, unsigned n)
{
	struct bank *b = find(bs, ref);
	struct bank_sort *f;
	bool waited;

	if (b == NULL || sort >= BANK_SORTS)
		return false;
	f = &b->of[sort];
	f->asked = (uint16_t)(f->asked - min_of((unsigned)f->asked, n));
	for (unsigned i = 0; i < n && f->n < bs->most; i++)
		hold(bs, f, &fd[i]);
	waited = f->waited;
	f->waited = false;
	return waited;
}

void banks_tick(struct banks *bs, bool scarce)
{
	struct mono now = clock_now();

	for (unsigned i = 0; i < BANKS; i++) {
		struct bank *b = &bs->at[i];

		if (b->ref == 0)
			continue;
		for (unsigned k = 0; k < BANK_SORTS; k++) {
			struct bank_sort *f = &b->of[k];

			bool rests = mono_diff_ms(now, f->used_at) > BANK_REST_MS;

			if (f->asked && mono_diff_ms(now, f->asked_at) > BANK_ASK_MS)
				f->asked = 0;
			if (f->target > f->least && (rests || scarce)) {
				f->target = (uint16_t)max_of(f->target / 2, (int)f->least);
				f->used_at = now;
				drop(bs, f, f->target);
			}
		}
		ask(bs, b);
	}
}

static int take(struct banks *bs, uint32_t ref, unsigned sort, struct fd *ret)
{
	struct bank *b = find(bs, ref);
	struct bank_sort *f;

	if (b == NULL)
		return -ENETDOWN;	/* the pod has left */
	f = &b->of[sort];
	if (!f->has)
		return -ENETUNREACH;
	f->used_at = clock_now();
	if (!b->guest && sort < bank_sort(4, true))
		f->least = BANK_LEAST;
	if (f->n == 0) {
		if (!f->waited)
			f->target = (uint16_t)max_of(min_of(max_of(f->target * 4u, 4u), bs->most), (unsigned)f->target);
		f->waited = true;
		ask(bs, b);
		return -EAGAIN;
	}
	ret->v = f->fd[--f->n];
	bs->held--;
	ask(bs, b);
	return 0;
}

int bank_dial(struct banks *bs, const struct back_key *key, struct stream *ret)
{
	struct fd fd;
	int r;

	if (likely(key->pod == 0))
		return tcp_world->connect(&key->addr, ret);
	r = take(bs, key->pod, bank_sort(key->addr.family, false), &fd);
	return r < 0 ? r : tcp_world->connect_by(&fd, key->how == ORIGIN_BOUND ? &key->origin : NULL,
						&key->addr, ret);
}

int bank_take_udp(struct banks *bs, uint32_t ref, unsigned family, struct fd *ret)
{
	return take(bs, ref, bank_sort(family, true), ret);
}

void bank_give_udp(struct banks *bs, uint32_t ref, unsigned family, struct fd *fd)
{
	struct bank *b = find(bs, ref);
	struct bank_sort *f = b ? &b->of[bank_sort(family, true)] : NULL;

	if (f && f->n < f->target)
		hold(bs, f, fd);
	fd_close(fd);
}
