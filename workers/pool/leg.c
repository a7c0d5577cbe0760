/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See leg.h. */
#include "workers/pool/leg.h"

#include <errno.h>

#define FLUSH_IOVS 16

ssize_t leg_read(struct leg *l, uint8_t *buf, size_t room)
{
	ssize_t n;

	if (l->eof)
		return 0;
	if (!(l->ready & READY_IN))
		return -EAGAIN;
	n = l->s.ops->read(&l->s, buf, room);
	if (n == 0)
		l->eof = true;
	else if (n == -EAGAIN || (n > 0 && (size_t)n < room && !leg_has_more(l)))
		l->ready &= (uint8_t)~READY_IN;
	return n;
}

/* Room behind the waiting bytes: by moving them to the front, or into a large chunk. */
static int make_room(struct leg *l, struct purse w)
{
	struct chunk *c = l->in, *big;
	uint32_t n = c->end - c->at;

	if (c->end < c->room)
		return 0;
	if (c->at) {
		memmove(c->data, c->data + c->at, n);
		c->at = 0;
		c->end = n;
		return 0;
	}
	if (c->large)
		return -EMSGSIZE;
	big = chunk_take(w.pool, w.budget, true);
	if (big == NULL)
		return -ENOBUFS;
	memcpy(big->data, c->data, n);
	big->end = n;
	chunk_give(w.pool, &l->in);
	l->in = big;
	return 0;
}

ssize_t leg_read_more(struct leg *l, struct purse w, size_t max)
{
	struct chunk *c;
	ssize_t n;
	int r;

	if (l->in == NULL && (l->in = chunk_take(w.pool, w.budget, false)) == NULL)
		return -ENOBUFS;
	if (leg_waiting(l).n >= max)
		return -EMSGSIZE;
	r = make_room(l, w);
	if (r < 0)
		return r;
	c = l->in;
	n = leg_read(l, c->data + c->end, c->room - c->end);
	if (n > 0)
		c->end += (uint32_t)n;
	else if (c->at == c->end)
		chunk_give(w.pool, &l->in);
	return n;
}

int leg_keep(struct leg *l, struct purse w, struct slice a)
{
	struct chunk *c;

	must(l->in == NULL);
	if (a.n == 0)
		return 0;
	c = chunk_take(w.pool, w.budget, a.n > CHUNK_SMALL_BYTES - sizeof *c);
	if (c == NULL)
		return -ENOBUFS;
	must(a.n <= c->room);
	memcpy(c->data, a.p, a.n);
	c->end = (uint32_t)a.n;
	l->in = c;
	return 0;
}

void leg_used(struct leg *l, struct purse w, size_t n)
{
	struct chunk *c = l->in;

	if (n == 0)
		return;
	must(c && n <= c->end - c->at);
	c->at += (uint32_t)n;
	if (c->at == c->end)
		chunk_give(w.pool, &l->in);
}

int leg_send(struct leg *l, struct purse w, struct iovec *v, int n)
{
	ssize_t k = 0;

	if (n == 0)
		return 0;
	if (l->out.bytes == 0 && l->ready & READY_OUT) {
		k = l->s.ops->write(&l->s, v, n);
		if (k == -EAGAIN) {
			l->ready &= (uint8_t)~READY_OUT;
			k = 0;
		} else if (k < 0) {
			return (int)k;
		}
		l->sent += (uint64_t)k;
	}
	for (int i = 0; i < n; i++) {
		size_t taken = min_of((size_t)k, v[i].iov_len);
		int r;

		k -= (ssize_t)taken;
		if (taken == v[i].iov_len)
			continue;
		/* A short write means that the socket is full: leg_flush finds out by EAGAIN. */
		r = chunkq_add(&l->out, w.pool, w.budget,
			       slice_of((uint8_t *)v[i].iov_base + taken, v[i].iov_len - taken));
		if (r < 0)
			return r;
	}
	return 0;
}

int leg_flush(struct leg *l, struct purse w)
{
	while (l->out.bytes) {
		struct iovec v[FLUSH_IOVS];
		ssize_t k;

		if (!(l->ready & READY_OUT))
			return 0;
		k = l->s.ops->write(&l->s, v, chunkq_iov(&l->out, v, FLUSH_IOVS));
		if (k == -EAGAIN) {
			l->ready &= (uint8_t)~READY_OUT;
			return 0;
		}
		if (k < 0)
			return (int)k;
		l->sent += (uint64_t)k;
		chunkq_consume(&l->out, w.pool, (size_t)k);
	}
	return 1;
}

int leg_finish(struct leg *l)
{
	int r = l->s.ops->finish(&l->s);

	if (r == -EAGAIN) {
		l->ready &= (uint8_t)~READY_OUT;
		l->want |= READY_OUT;
		return 0;
	}
	l->finished = true;
	return r < 0 ? r : 1;
}

void leg_close(struct leg *l, struct purse w, bool abort)
{
	stream_close(&l->s, abort);
	if (l->in)
		chunk_give(w.pool, &l->in);
	chunkq_clear(&l->out, w.pool);
	l->ready = l->want = 0;
}
