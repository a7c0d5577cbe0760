/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See h2_rig.h. */
#include "tests/lib/h2_rig.h"

#include <errno.h>

#include "nodeproxy/lib/base/rand.h"

const uint8_t rig_get[6] = { 0x82, 0x84, 0x86, 0x01, 0x01, 'a' };

static uint8_t memory[2][3 * RIG_LINE_BYTES];
static int64_t now_ns = NS_PER_S;

static int64_t rig_mono(void)
{
	return now_ns;
}

static int64_t rig_unix(void)
{
	return now_ns / NS_PER_MS;
}

void rig_pass_ms(int64_t ms)
{
	now_ns += ms * NS_PER_MS;
	clock_tick();
}

static struct rig_end *end_of(struct stream *s)
{
	return container_of(s, struct rig_end, s);
}

static size_t bit_of(const struct rig_end *e, size_t n)
{
	return e->step ? min_of(n, (size_t)rand_below(e->step) + 1) : n;
}

static ssize_t line_read(struct stream *s, uint8_t *buf, size_t room)
{
	struct rig_end *e = end_of(s);
	size_t n = e->in->end - e->in->at;

	e->reads++;
	if (n == 0)
		return e->in->is_cut ? 0 : -EAGAIN;
	n = bit_of(e, min_of(n, room));
	memcpy(buf, e->in->p + e->in->at, n);
	e->in->at += n;
	return (ssize_t)n;
}

static size_t line_room(struct rig_line *l)
{
	if (l->at == l->end || l->at > RIG_LINE_BYTES) {
		memmove(l->p, l->p + l->at, l->end - l->at);
		l->end -= l->at;
		l->at = 0;
	}
	return l->most - min_of(l->end - l->at, l->most);
}

static ssize_t line_write(struct stream *s, const struct iovec *v, int n)
{
	struct rig_end *e = end_of(s);
	size_t room, done = 0;

	e->writes++;
	if (e->out->is_cut)
		return -EPIPE;
	room = line_room(e->out);
	if (room == 0)
		return -EAGAIN;
	room = bit_of(e, room);
	for (int i = 0; i < n && room; i++) {
		size_t k = min_of(v[i].iov_len, room);

		memcpy(e->out->p + e->out->end, v[i].iov_base, k);
		e->out->end += k;
		done += k;
		room -= k;
	}
	return (ssize_t)done;
}

static int line_finish(struct stream *s)
{
	end_of(s)->out->is_cut = true;
	return 0;
}

static int line_error(struct stream *s)
{
	(void)s;
	return 0;
}

static void line_close(struct stream *s, bool abort)
{
	(void)abort;
	line_finish(s);
}

static const struct stream_ops line_ops = {
	.name = "line", .read = line_read, .write = line_write, .finish = line_finish,
	.error = line_error, .close = line_close,
};

void rig_init(struct h2_rig *r)
{
	memset(r, 0, sizeof *r);
	now_ns = NS_PER_S;
	clock_simulate(rig_mono, rig_unix);
	clock_tick();
	must(chunk_pool_init(&r->chunks, 2048, 8) == 0);
	must(h2_stock_init(&r->stock, &r->chunks, 2, 1100) == 0);
	r->session[0].parent = r->session[1].parent = r->tenant.parent = &r->all;
	for (int i = 0; i < 2; i++) {
		r->lim[i] = h2_limits_default;
		r->line[i].p = memory[i];
		r->line[i].most = RIG_LINE_BYTES;
		r->end[i] = (struct rig_end){ .s = { .ops = &line_ops, .fd = { -1 } },
					      .in = &r->line[i], .out = &r->line[!i] };
	}
}

struct h2 *rig_start(struct h2_rig *r, int side)
{
	r->h[side] = h2_new(&r->stock, side == RIG_SERVER, &r->lim[side], &r->end[side].s,
			    &r->session[side]);
	return r->h[side];
}

void rig_fini(struct h2_rig *r)
{
	for (int i = 0; i < 2; i++)
		h2_free(&r->h[i]);
	must(r->stock.bytes == 0);
	must(r->stock.streams.live == 0 && r->stock.sessions.live == 0);
	must(r->all.used == 0 && r->chunks.small.live == 0 && r->chunks.large.live == 0);
	h2_stock_fini(&r->stock);
	chunk_pool_fini(&r->chunks);
	clock_simulate(NULL, NULL);
}

bool rig_step(struct h2_rig *r, int side)
{
	const struct rig_line *in = &r->line[side], *out = &r->line[!side];
	size_t was_in = in->end - in->at, was_out = out->end - out->at;
	enum h2_went a, b;

	if (r->h[side] == NULL)
		return false;
	a = h2_read(r->h[side], r->scratch, sizeof r->scratch);
	b = h2_write(r->h[side]);
	return in->end - in->at != was_in || out->end - out->at != was_out || a == H2_MORE ||
	       b == H2_MORE;
}

void rig_run(struct h2_rig *r)
{
	while (either(rig_step(r, RIG_CLIENT), rig_step(r, RIG_SERVER)))
		;
}

void rig_bytes(struct h2_rig *r, int to, const void *p, size_t n)
{
	struct rig_line *l = &r->line[to];

	must(line_room(l) >= n);
	if (n)
		memcpy(l->p + l->end, p, n);
	l->end += n;
}

void rig_frame(struct h2_rig *r, int to, uint8_t type, uint8_t flags, uint32_t id, const void *p,
	       size_t n)
{
	uint8_t hd[9] = { (uint8_t)(n >> 16), (uint8_t)(n >> 8), (uint8_t)n, type, flags,
			  (uint8_t)(id >> 24), (uint8_t)(id >> 16), (uint8_t)(id >> 8), (uint8_t)id };

	rig_bytes(r, to, hd, sizeof hd);
	rig_bytes(r, to, p, n);
}

void rig_hello(struct h2_rig *r)
{
	rig_bytes(r, RIG_SERVER, "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 24);
	rig_frame(r, RIG_SERVER, 4, 0, 0, NULL, 0);
}

bool rig_next_frame(struct h2_rig *r, int side, struct rig_frame *ret)
{
	struct rig_line *l = &r->line[side];
	const uint8_t *p = l->p + l->at;

	if (l->end - l->at < 9)
		return false;
	ret->n = (uint32_t)p[0] << 16 | (uint32_t)p[1] << 8 | p[2];
	ret->type = p[3];
	ret->flags = p[4];
	ret->id = (uint32_t)p[5] << 24 | (uint32_t)p[6] << 16 | (uint32_t)p[7] << 8 | p[8];
	ret->p = p + 9;
	if (l->end - l->at < 9 + ret->n)
		return false;
	l->at += 9 + ret->n;
	return true;
}
