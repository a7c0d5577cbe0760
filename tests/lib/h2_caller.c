/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See h2_caller.h. */
#include "tests/lib/h2_caller.h"

#include <check.h>
#include <errno.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

static ssize_t caller_read(struct stream *s, uint8_t *buf, size_t room)
{
	ssize_t n = recv(s->fd.v, buf, room, MSG_DONTWAIT);

	return n < 0 ? -errno : n;
}

static ssize_t caller_write(struct stream *s, const struct iovec *v, int n)
{
	struct msghdr m = { .msg_iov = (struct iovec *)(uintptr_t)v, .msg_iovlen = (size_t)n };
	ssize_t k = sendmsg(s->fd.v, &m, MSG_DONTWAIT | MSG_NOSIGNAL);

	return k < 0 ? -errno : k;
}

static const struct stream_ops caller_ops = { .name = "caller", .read = caller_read, .write = caller_write };

struct h2_caller *h2_dial(struct rig *r)
{
	struct h2_caller *c = calloc(1, sizeof *c);

	c->rig = r;
	c->s = (struct stream){ .ops = &caller_ops, .fd = { rig_dial(r) } };
	c->lim = h2_limits_default;
	ck_assert_int_eq(chunk_pool_init(&c->chunks, 256, 2), 0);
	ck_assert_int_eq(h2_stock_init(&c->stock, &c->chunks, 1, 128), 0);
	c->h = h2_new(&c->stock, false, &c->lim, &c->s, &c->budget);
	ck_assert_ptr_nonnull(c->h);
	return c;
}

void h2_hang_up(struct h2_caller **cp)
{
	struct h2_caller *c = *cp;
	struct h2_stream *st;

	*cp = NULL;
	while ((st = h2_held(c->h)))
		stream_close(&st->s, true);
	if (!c->is_cut)
		(void)h2_write(c->h);
	h2_free(&c->h);
	h2_stock_fini(&c->stock);
	chunk_pool_fini(&c->chunks);
	close(c->s.fd.v);
	free(c);
}

void h2_move(struct h2_caller *c)
{
	unsigned news;

	if (!c->is_cut && h2_write(c->h) == H2_OVER)
		c->is_cut = true;
	rig_pass(c->rig);
	if (!c->is_cut && !c->deaf && h2_read(c->h, c->scratch, sizeof c->scratch) == H2_OVER)
		c->is_cut = true;
	while (h2_next(c->h, &news))
		;
}

struct h2_stream *h2_ask(struct h2_caller *c, const char *method, const char *path, const char *lines,
			 bool end)
{
	struct h2_field f[64] = {
		{ (const uint8_t *)":method", (const uint8_t *)method, 7, strlen(method), 0 },
		{ (const uint8_t *)":scheme", (const uint8_t *)"http", 7, 4, 0 },
		{ (const uint8_t *)":authority", (const uint8_t *)"x", 10, 1, 0 },
		{ (const uint8_t *)":path", (const uint8_t *)path, 5, strlen(path), 0 },
	};
	struct h2_stream *st = NULL;
	size_t n = 4;
	int r;

	while (lines && *lines) {
		const char *colon = strchr(lines + 1, ':'), *to = strchr(lines, '\n');

		f[n++] = (struct h2_field){ (const uint8_t *)lines, (const uint8_t *)colon + 2,
					    (size_t)(colon - lines), (size_t)(to - colon - 2), 0 };
		lines = to + 1;
	}
	r = h2_request(c->h, f, n, end, &c->budget, c, &st);
	ck_assert_msg(r == 0, "no request: %s", strerror(-r));
	return st;
}

struct h2_stream *h2_get(struct h2_caller *c, const char *path)
{
	return h2_ask(c, "GET", path, NULL, true);
}

void h2_say(struct h2_caller *c, struct h2_stream *st, const void *p, size_t n)
{
	int64_t began = clock_tick().ns;

	while (n) {
		struct iovec v = { (void *)(uintptr_t)p, n };
		ssize_t k = st->s.ops->write(&st->s, &v, 1);

		ck_assert_msg(k > 0 || k == -EAGAIN, "cannot say: %s", strerror((int)-k));
		if (k > 0) {
			p = (const char *)p + k;
			n -= (size_t)k;
			began = clock_tick().ns;
		}
		ck_assert_msg(clock_tick().ns - began < 10 * NS_PER_S, "nobody listens");
		h2_move(c);
	}
}

const char *h2_hear_head(struct h2_caller *c, struct h2_stream *st)
{
	static char text[65536];
	struct slice name, value;
	size_t n = 0;

	h2_until(c, h2_block(st) || st->was_reset || c->is_cut);
	ck_assert_msg(h2_block(st) != NULL, "reset with %u instead of a head", st->code);
	for (uint32_t i = 0; h2_block_line(h2_block(st), i, &name, &value); i++)
		n += (size_t)snprintf(text + n, sizeof text - n, "%.*s: %.*s\n", (int)name.n, name.p,
				      (int)value.n, value.p);
	h2_block_take(st);
	return text;
}

void h2_hear(struct h2_caller *c, struct h2_stream *st, unsigned status, const char *body)
{
	char line[32], *got = calloc(1, strlen(body) + 2);
	const char *head = h2_hear_head(c, st);
	size_t n = 0;

	snprintf(line, sizeof line, ":status: %u\n", status);
	ck_assert_msg(strstr(head, line) == head, "%s instead of %u", head, status);
	for (;;) {
		ssize_t k = st->s.ops->read(&st->s, (uint8_t *)got + n, strlen(body) + 1 - n);

		if (k == 0)
			break;
		ck_assert_msg(k > 0 || k == -EAGAIN, "body: %s after \"%s\"", strerror((int)-k), got);
		n += k > 0 ? (size_t)k : 0;
		ck_assert_msg(n <= strlen(body), "heard \"%s\", expected \"%s\"", got, body);
		if (k < 0)
			h2_until(c, st->in.bytes || st->gets == H2_GETS_NOTHING || st->was_reset);
	}
	ck_assert_str_eq(got, body);
	free(got);
	stream_close(&st->s, false);
}

void h2_hear_reset(struct h2_caller *c, struct h2_stream *st, enum h2_code code)
{
	h2_until(c, st->was_reset);
	ck_assert_uint_eq(st->code, code);
	stream_close(&st->s, true);
}
