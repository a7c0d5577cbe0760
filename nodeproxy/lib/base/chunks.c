/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See chunks.h. */
#include "nodeproxy/lib/base/chunks.h"

#include <errno.h>
#include <sys/mman.h>

int budget_charge(struct budget *b, size_t bytes)
{
	for (struct budget *x = b; x; x = x->parent) {
		if (x->limit && x->used + bytes > x->limit) {
			x->refusals++;
			for (struct budget *y = b; y != x; y = y->parent)
				y->used -= bytes;
			return -ENOBUFS;
		}
		x->used += bytes;
	}
	for (struct budget *x = b; x; x = x->parent)
		x->peak = max_of(x->peak, x->used);
	return 0;
}

void budget_return(struct budget *b, size_t bytes)
{
	for (; b; b = b->parent) {
		must(b->used >= bytes);
		b->used -= bytes;
	}
}

int chunk_pool_init(struct chunk_pool *p, uint32_t small, uint32_t large)
{
	int r = slab_init(&p->small, "chunk_small", CHUNK_SMALL_BYTES, small);

	if (r < 0)
		return r;
	r = slab_init(&p->large, "chunk_large", CHUNK_LARGE_BYTES, large);
	if (r < 0) {
		slab_fini(&p->small);
		return r;
	}
	p->small.raw = p->large.raw = true;
	p->warm_at = p->warm_n = 0;
	return 0;
}

void chunk_pool_fini(struct chunk_pool *p)
{
	slab_fini(&p->small);
	slab_fini(&p->large);
}

struct chunk *chunk_take(struct chunk_pool *p, struct budget *b, bool large)
{
	uint32_t bytes = large ? CHUNK_LARGE_BYTES : CHUNK_SMALL_BYTES;
	struct chunk *c;

	if (budget_charge(b, bytes) < 0)
		return NULL;
	c = slab_take(large ? &p->large : &p->small, NULL);
	if (c == NULL) {
		budget_return(b, bytes);
		return NULL;
	}
	if (large && p->warm_n)
		p->warm_n--;	/* it was the one given last: a slab takes those first */
	c->budget = b;
	c->at = c->end = 0;
	c->room = bytes - (uint32_t)sizeof *c;
	c->large = large;
	list_init(&c->node);
	return c;
}

/* Gives the memory of a free slot back to the kernel: whole pages inside it. */
static void cool(struct chunk *c)
{
	uintptr_t from = ((uintptr_t)c + 4095) & ~(uintptr_t)4095;
	uintptr_t to = ((uintptr_t)c + CHUNK_LARGE_BYTES) & ~(uintptr_t)4095;

	madvise((void *)from, to - from, MADV_DONTNEED);
}

static void warm_add(struct chunk_pool *p, struct chunk *c)
{
	if (p->warm_n == CHUNKS_WARM) {
		cool(p->warm[p->warm_at]);
		p->warm_at = (p->warm_at + 1) % CHUNKS_WARM;
		p->warm_n--;
	}
	p->warm[(p->warm_at + p->warm_n++) % CHUNKS_WARM] = c;
}

void chunk_give(struct chunk_pool *p, struct chunk **cp)
{
	struct chunk *c = *cp;
	bool large = c->large;

	*cp = NULL;
	list_remove(&c->node);
	budget_return(c->budget, large ? CHUNK_LARGE_BYTES : CHUNK_SMALL_BYTES);
	slab_give(large ? &p->large : &p->small, c);
	if (large)
		warm_add(p, c);
}

int chunk_charge_to(struct chunk *c, struct budget *b)
{
	size_t bytes = c->large ? CHUNK_LARGE_BYTES : CHUNK_SMALL_BYTES;

	if (c->budget == b)
		return 0;
	if (budget_charge(b, bytes) < 0)
		return -ENOBUFS;
	budget_return(c->budget, bytes);
	c->budget = b;
	return 0;
}

int chunkq_add(struct chunkq *q, struct chunk_pool *p, struct budget *b, struct slice a)
{
	struct chunk *last = list_is_empty(&q->chunks)
				     ? NULL : container_of(q->chunks.prev, struct chunk, node);
	size_t tail = last ? last->room - last->end : 0, done;
	struct node fresh;

	/* Take all new chunks first, so that a refusal changes nothing. */
	list_init(&fresh);
	for (size_t have = tail; have < a.n; have += CHUNK_SMALL_BYTES - sizeof(struct chunk)) {
		struct chunk *c = chunk_take(p, b, false);

		if (c == NULL) {
			while ((c = list_pop(&fresh, struct chunk, node)))
				chunk_give(p, &c);
			return -ENOBUFS;
		}
		list_add_tail(&fresh, &c->node);
	}
	done = min_of(tail, a.n);
	if (done) {
		memcpy(last->data + last->end, a.p, done);
		last->end += (uint32_t)done;
	}
	for (struct chunk *c; (c = list_pop(&fresh, struct chunk, node));) {
		size_t k = min_of(a.n - done, (size_t)c->room);

		memcpy(c->data, a.p + done, k);
		c->end = (uint32_t)k;
		done += k;
		list_add_tail(&q->chunks, &c->node);
	}
	q->bytes += a.n;
	return 0;
}

int chunkq_iov(const struct chunkq *q, struct iovec *v, int max)
{
	int n = 0;

	for (struct node *it = q->chunks.next; it != &q->chunks && n < max; it = it->next) {
		struct chunk *c = container_of(it, struct chunk, node);

		v[n++] = (struct iovec){ c->data + c->at, c->end - c->at };
	}
	return n;
}

void chunkq_consume(struct chunkq *q, struct chunk_pool *p, size_t n)
{
	must(n <= q->bytes);
	q->bytes -= n;
	while (n) {
		struct chunk *c = container_of(q->chunks.next, struct chunk, node);
		size_t k = min_of(n, (size_t)(c->end - c->at));

		c->at += (uint32_t)k;
		n -= k;
		if (c->at == c->end)
			chunk_give(p, &c);
	}
}

void chunkq_clear(struct chunkq *q, struct chunk_pool *p)
{
	list_each(it, &q->chunks) {
		struct chunk *c = container_of(it, struct chunk, node);

		chunk_give(p, &c);
	}
	q->bytes = 0;
}
