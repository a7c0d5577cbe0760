/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A stream is bytes both ways.  TCP is one, TLS another; a codec cannot tell
 * which it was given, and the simulation gives it streams of its own.  All calls are non-blocking
 * and return -errno, never set it. */
#ifndef NODEPROXY_LIB_NET_STREAM_H
#define NODEPROXY_LIB_NET_STREAM_H

#include <sys/types.h>
#include <sys/uio.h>

#include "nodeproxy/lib/base/fd.h"

struct stream;
struct tls;

struct stream_ops {
	const char *name;
	/* Bytes read, fewer than room when no more are there now; 0: the other side has finished;
	 * -EAGAIN: none now. */
	ssize_t (*read)(struct stream *, uint8_t *buf, size_t room);
	/* After a read that gave fewer than there was room for: the next call will not say -EAGAIN, and
	 * nothing from below will tell.  NULL: never so. */
	bool (*more)(struct stream *);
	/* Bytes taken, maybe fewer than given; -EAGAIN: no room.  What was not taken comes first in the
	 * next call. */
	ssize_t (*write)(struct stream *, const struct iovec *, int n);
	/* At most max bytes into / n bytes out of a pipe, without looking at them (splice); both NULL
	 * where the bytes must be touched anyway.  Results as read and write. */
	ssize_t (*pull)(struct stream *, int pipe_write_end, size_t max);
	ssize_t (*push)(struct stream *, int pipe_read_end, size_t n);
	/* No more bytes from us; what was written is still delivered.  0, -EAGAIN (no room to say so:
	 * again once there is) or -errno. */
	int (*finish)(struct stream *);
	/* Why the stream broke, e.g. -ECONNREFUSED of a connect; 0: it did not. */
	int (*error)(struct stream *);
	/* The end of the stream; abort: the other side shall see a reset, not an end. */
	void (*close)(struct stream *, bool abort);
};

struct stream {
	const struct stream_ops *ops;	/* NULL: closed */
	union {
		struct fd fd;
		struct stream *other;	/* of stream_through() */
		struct tls *tls;
	};
};

/* A stream that passes every call on to another, which lies where its owner wants it and is not
 * used by anybody else: so that it can be held by value. */
struct stream stream_through(struct stream *);

static inline bool stream_is_open(const struct stream *s)
{
	return s->ops != NULL;
}

static inline void stream_close(struct stream *s, bool abort)
{
	if (s->ops)
		s->ops->close(s, abort);
	s->ops = NULL;
}

#endif
