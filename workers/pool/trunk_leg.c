/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What an exchange does to its stream on a trunk: it begins it, and its leg leads to it; then the trunk may
 * have to write.  See trunk.h. */
#include "workers/pool/trunk_inner.h"

#include <errno.h>

static void *user_of(struct slot_ref r)
{
	static_must(sizeof(void *) == sizeof(uint64_t));
	return (void *)(uintptr_t)((uint64_t)r.slot << 32 | r.gen);
}

struct h2 *trunk_session(const struct trunks *ts, const struct back *b)
{
	const struct trunk *t = trunk_of(ts, b);

	return t ? t->h : NULL;
}

void trunk_kick(struct trunks *ts, const struct back *b)
{
	struct trunk *t = trunk_of(ts, b);

	if (t && t->h && h2_wants_write(t->h))
		sched_wake(ts->sched, &t->unit);
}

/* What a leg does to a stream is done to the session's, and then its trunk may have to write. */
static struct back *back_of(struct stream *s)
{
	return container_of(s, struct back, leg.s);
}

static ssize_t leg_read_op(struct stream *s, uint8_t *buf, size_t room)
{
	struct back *b = back_of(s);
	ssize_t n = b->stream->s.ops->read(&b->stream->s, buf, room);

	trunk_kick(b->on, b);	/* windows */
	return n;
}

static ssize_t leg_write_op(struct stream *s, const struct iovec *v, int n)
{
	struct back *b = back_of(s);
	ssize_t k = b->stream->s.ops->write(&b->stream->s, v, n);

	trunk_kick(b->on, b);
	return k;
}

static int leg_finish_op(struct stream *s)
{
	struct back *b = back_of(s);
	int r = b->stream->s.ops->finish(&b->stream->s);

	trunk_kick(b->on, b);
	return r;
}

static int leg_error_op(struct stream *s)
{
	struct back *b = back_of(s);

	return b->stream->s.ops->error(&b->stream->s);
}

static void leg_close_op(struct stream *s, bool abort)
{
	struct back *b = back_of(s);

	b->stream->s.ops->close(&b->stream->s, abort);
	b->stream = NULL;
	trunk_kick(b->on, b);
}

static const struct stream_ops leg_ops = {
	.name = "trunk", .read = leg_read_op, .write = leg_write_op, .finish = leg_finish_op,
	.error = leg_error_op, .close = leg_close_op,
};

int trunk_request(struct trunks *ts, struct back *b, const struct h2_field *f, size_t n, bool end)
{
	struct trunk *t = trunk_of(ts, b);
	int r;

	must(!stream_is_open(&b->leg.s));
	if (t == NULL || t->state == TRUNK_CLOSED)
		return -ENOTCONN;
	r = h2_request(t->h, f, n, end, &t->tenant->memory, user_of(slab_ref(&ts->pool->backs, b)),
		       &b->stream);
	if (r < 0)
		return r;
	b->leg.s = (struct stream){ .ops = &leg_ops, .fd = FD_NONE };
	b->had_stream = true;
	t->unused--;
	sched_wake(ts->sched, &t->unit);
	return 0;
}
