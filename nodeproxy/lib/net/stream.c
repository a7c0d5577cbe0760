/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See stream.h: a stream that stands for another. */
#include "nodeproxy/lib/net/stream.h"

static ssize_t through_read(struct stream *s, uint8_t *buf, size_t room)
{
	return s->other->ops->read(s->other, buf, room);
}

static bool through_more(struct stream *s)
{
	return s->other->ops->more && s->other->ops->more(s->other);
}

static ssize_t through_write(struct stream *s, const struct iovec *v, int n)
{
	return s->other->ops->write(s->other, v, n);
}

static int through_finish(struct stream *s)
{
	return s->other->ops->finish(s->other);
}

static int through_error(struct stream *s)
{
	return s->other->ops->error(s->other);
}

static void through_close(struct stream *s, bool abort)
{
	stream_close(s->other, abort);
}

static const struct stream_ops through_ops = {
	.name = "through", .read = through_read, .more = through_more, .write = through_write, .finish = through_finish,
	.error = through_error, .close = through_close,
};

struct stream stream_through(struct stream *other)
{
	return (struct stream){ .ops = &through_ops, .other = other };
}
