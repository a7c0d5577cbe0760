/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See grpc_far.h. */
#include "tests/lib/grpc_far.h"

#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <unistd.h>

#include "nodeproxy/lib/net/tcp.h"

static void step(struct far_conn *);

static struct far_call *call_of(struct h2_stream *st, struct far *f)
{
	struct far_call *c = st->user;

	if (c == NULL) {
		c = st->user = calloc(1, sizeof *c);
		must(c != NULL);
		c->far = f;
		c->st = st;
		c->frames.max = 1u << 24;
		f->calls++;
	}
	return c;
}

static void call_free(struct far_call *c)
{
	if (c->far->gone)
		c->far->gone(c);
	grpc_frames_fini(&c->frames);
	stream_close(&c->st->s, true);
	free(c);
}

static void read_head(struct far_call *c)
{
	const struct h2_block *b = h2_block(c->st);
	struct slice name, value;
	size_t n = strlen(c->lines);

	for (uint32_t i = 0; b && h2_block_line(b, i, &name, &value); i++) {
		if (slice_eq(name, SLICE(":path")))
			snprintf(c->method, sizeof c->method, "%.*s", (int)value.n, (const char *)value.p);
		n += (size_t)snprintf(c->lines + n, sizeof c->lines - n, "%.*s: %.*s\n", (int)name.n,
				      (const char *)name.p, (int)value.n, (const char *)value.p);
		must(n < sizeof c->lines);
	}
	while (h2_block(c->st))
		h2_block_take(c->st);
}

static void read_body(struct far_call *c)
{
	uint8_t buf[16384];
	struct slice in, message;
	ssize_t n;

	while ((n = c->st->s.ops->read(&c->st->s, buf, sizeof buf)) > 0) {
		in = slice_of(buf, (size_t)n);
		while (grpc_frames_next(&c->frames, &in, &message) == 1) {
			c->messages++;
			if (c->far->got)
				c->far->got(c, message);
		}
	}
}

static void drop(struct far_conn *c)
{
	struct h2_stream *st;

	if (!c->open)
		return;
	c->open = false;
	loop_io_stop(c->far->loop, &c->io);
	while ((st = h2_held(c->h2)))
		call_free(call_of(st, c->far));
	h2_free(&c->h2);
	stream_close(&c->s, true);
}

static void io_cb(void *arg, unsigned events)
{
	(void)events;
	clock_tick();
	step(arg);
}

static void step(struct far_conn *c)
{
	enum h2_went in, out;
	struct h2_stream *st;
	unsigned news;

	do {
		in = h2_read(c->h2, c->far->scratch, sizeof c->far->scratch);
		while ((st = h2_next(c->h2, &news))) {
			struct far_call *call = call_of(st, c->far);

			if (news & H2_NEWS_BLOCK)
				read_head(call);
			if (news & H2_NEWS_DATA)
				read_body(call);
			if (news & (H2_NEWS_RESET | H2_NEWS_CLOSED))
				call_free(call);
		}
		out = h2_write(c->h2);
		if (in == H2_OVER || out == H2_OVER) {
			drop(c);
			return;
		}
	} while (in == H2_MORE);
	loop_io_change(c->far->loop, &c->io, LOOP_READ | (out == H2_FULL ? LOOP_WRITE : 0));
}

static void again_cb(void *arg)
{
	struct far *f = arg;

	clock_tick();
	for (int i = 0; i < FAR_CONNS; i++)
		if (f->conn[i].open)
			step(&f->conn[i]);
}

static void soon(struct far *f)
{
	loop_timer_start(f->loop, &f->again, 0, 0, again_cb, f);
}

static void accept_cb(void *arg, unsigned events)
{
	struct far *f = arg;
	struct far_conn *c = f->conn;
	struct stream s;
	struct addr peer;

	(void)events;
	clock_tick();
	if (tcp_kernel.accept(f->listener, &s, &peer) < 0)
		return;
	while (c->open)
		must(++c < f->conn + FAR_CONNS);
	*c = (struct far_conn){ .far = f, .s = s, .open = true };
	f->accepted++;
	c->h2 = h2_new(&f->stock, true, &f->limits, &c->s, &f->budget);
	must(c->h2 != NULL);
	loop_io_start(f->loop, &c->io, c->s.fd.v, LOOP_READ, io_cb, c);
	soon(f);
}

static void listen_at(struct far *f)
{
	struct sockaddr_storage ss;
	socklen_t n = addr_to_sockaddr(&f->addr, &ss);
	int one = 1;

	f->listener = socket(AF_INET, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
	must(f->listener >= 0);
	setsockopt(f->listener, SOL_SOCKET, SO_REUSEADDR, &one, sizeof one);
	must(bind(f->listener, (struct sockaddr *)&ss, n) == 0 && listen(f->listener, 64) == 0);
	n = sizeof ss;
	must(getsockname(f->listener, (struct sockaddr *)&ss, &n) == 0);
	addr_from_sockaddr(&ss, &f->addr);
	loop_io_start(f->loop, &f->io, f->listener, LOOP_READ, accept_cb, f);
}

void far_open(struct far *f, struct loop *l)
{
	memset(f, 0, sizeof *f);
	f->loop = l;
	must(addr_parse(SLICE("127.0.0.1:0"), &f->addr) == 0);
	f->limits = h2_limits_default;
	must(chunk_pool_init(&f->chunks, 4096, 32) == 0);
	must(h2_stock_init(&f->stock, &f->chunks, FAR_CONNS, 1024) == 0);
	listen_at(f);
}

void far_deaf(struct far *f, bool deaf)
{
	if (!deaf) {
		listen_at(f);
		return;
	}
	loop_io_stop(f->loop, &f->io);
	close(f->listener);
	f->listener = -1;
}

void far_cut(struct far *f)
{
	for (int i = 0; i < FAR_CONNS; i++)
		drop(&f->conn[i]);
}

void far_close(struct far *f)
{
	far_cut(f);
	if (f->listener >= 0)
		far_deaf(f, true);
	loop_timer_stop(f->loop, &f->again);
	must(f->stock.streams.live == 0 && f->budget.used == 0);
	h2_stock_fini(&f->stock);
	chunk_pool_fini(&f->chunks);
}

unsigned far_conns(const struct far *f)
{
	unsigned n = 0;

	for (int i = 0; i < FAR_CONNS; i++)
		n += f->conn[i].open;
	return n;
}

/* ---- answers ---- */

static struct h2_field line(const char *name, const char *value)
{
	return (struct h2_field){ (const uint8_t *)name, (const uint8_t *)value, strlen(name),
				  strlen(value), 0 };
}

static void head(struct far_call *c)
{
	struct h2_field f[] = { line(":status", "200"), line("content-type", "application/grpc+proto") };

	if (!c->headed)
		must(h2_respond(c->st, f, countof(f), false) == 0);
	c->headed = true;
}

void far_raw(struct far_call *c, const void *p, size_t n)
{
	struct iovec v = { (void *)(uintptr_t)p, n };

	head(c);
	must(c->st->s.ops->write(&c->st->s, &v, 1) == (ssize_t)n);
	soon(c->far);
}

void far_send(struct far_call *c, struct slice m)
{
	uint8_t h[GRPC_HEAD_BYTES];

	grpc_frame_head((uint32_t)m.n, h);
	far_raw(c, h, sizeof h);
	if (m.n)
		far_raw(c, m.p, m.n);
}

void far_end(struct far_call *c, unsigned status, const char *words)
{
	char number[12];
	struct h2_field f[2] = { { 0 }, line("grpc-message", words) };

	snprintf(number, sizeof number, "%u", status);
	f[0] = line("grpc-status", number);
	head(c);
	must(h2_trailers(c->st, f, words[0] ? 2 : 1) == 0);
	soon(c->far);
}

void far_refuse(struct far_call *c, const char *http, unsigned status, const char *words)
{
	char number[12];
	struct h2_field f[4] = { line(":status", http), line("content-type", "application/grpc") };

	snprintf(number, sizeof number, "%u", status);
	f[2] = line("grpc-status", number);
	f[3] = line("grpc-message", words);
	must(h2_respond(c->st, f, countof(f), true) == 0);
	c->headed = true;
	soon(c->far);
}

void far_reset(struct far_call *c, enum h2_code code)
{
	h2_reset(c->st, code);
	soon(c->far);
}
