/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Callers of the simulation that speak HTTP/2: plans as streams of one session (lib/net/h2, as a
 * client), several at once, in any order; every byte of the answers is checked. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodeproxy/lib/net/h2.h"
#include "tests/sim/sim.h"

struct asked {
	struct h2_stream *st;		/* NULL: not yet, or over */
	uint32_t sent, got;
	bool has_head, local, bodyless, ended;
};

struct h2_side {
	struct caller *c;
	struct stream s;
	struct chunk_pool chunks;
	struct h2_stock stock;
	struct h2_limits lim;
	struct budget budget;
	struct h2 *h;
	bool over;
	unsigned begun;
	struct asked *asked;
	uint8_t scratch[16384];
};

static ssize_t side_read(struct stream *s, uint8_t *buf, size_t room)
{
	struct h2_side *x = container_of(s, struct h2_side, s);
	struct net *n = &x->c->sim->net;

	return link_take(n, x->c->link, buf, 1 + net_rand(n, (uint32_t)room));
}

static ssize_t side_write(struct stream *s, const struct iovec *v, int n)
{
	struct h2_side *x = container_of(s, struct h2_side, s);
	size_t done = 0;

	for (int i = 0; i < n; i++) {
		ssize_t k = link_give(&x->c->sim->net, x->c->link, v[i].iov_base, v[i].iov_len);

		if (k < 0)
			return done ? (ssize_t)done : k;
		done += (size_t)k;
		if ((size_t)k < v[i].iov_len)
			break;
	}
	return done ? (ssize_t)done : -EAGAIN;
}

static const struct stream_ops side_ops = { .name = "side", .read = side_read, .write = side_write };

struct h2_side *h2_side_new(struct caller *c)
{
	struct h2_side *x = calloc(1, sizeof *x);

	must(x);
	x->c = c;
	x->s = (struct stream){ .ops = &side_ops, .fd = { -1 } };
	x->lim = h2_limits_default;
	must(chunk_pool_init(&x->chunks, 1024, 4) == 0);
	must(h2_stock_init(&x->stock, &x->chunks, 1, c->n + 1) == 0);
	x->h = h2_new(&x->stock, false, &x->lim, &x->s, &x->budget);
	x->asked = calloc(c->n, sizeof *x->asked);
	must(x->h && x->asked);
	for (unsigned i = 0; i < c->n; i++) {
		struct plan *p = &c->sim->plan[c->first + i];

		p->http10 = p->expect = p->last = false;
	}
	return x;
}

void h2_side_free(struct h2_side *x)
{
	struct h2_stream *st;

	if (x == NULL)
		return;
	while ((st = h2_held(x->h)))
		stream_close(&st->s, true);
	h2_free(&x->h);
	h2_stock_fini(&x->stock);
	chunk_pool_fini(&x->chunks);
	free(x->asked);
	free(x);
}

static struct h2_field field(const char *name, const char *value)
{
	return (struct h2_field){ (const uint8_t *)name, (const uint8_t *)value, strlen(name),
				  strlen(value), 0 };
}

static void ask(struct h2_side *x, unsigned i)
{
	unsigned id = x->c->first + i;
	const struct plan *p = &x->c->sim->plan[id];
	char path[32], which[16], length[16];
	struct h2_field f[7];
	size_t n = 0;

	snprintf(path, sizeof path, "/p/%u", id);
	snprintf(which, sizeof which, "%u", id);
	snprintf(length, sizeof length, "%u", p->request_bytes);
	f[n++] = field(":method", plan_method(p));
	f[n++] = field(":scheme", "http");
	f[n++] = field(":authority", "web.front");
	f[n++] = field(":path", path);
	f[n++] = field("x-plan", which);
	if (p->request == PLAN_LENGTH)
		f[n++] = field("content-length", length);
	if (h2_request(x->h, f, n, p->request == PLAN_EMPTY, &x->budget, x, &x->asked[i].st) == 0)
		x->begun++;
}

static void over(struct h2_side *x, unsigned i, enum fate fate)
{
	struct asked *a = &x->asked[i];

	x->c->sim->plan[x->c->first + i].outcome = (uint8_t)fate;
	stream_close(&a->st->s, fate != OUT_OK && fate != OUT_LOCAL);
	a->st = NULL;
	x->c->answering++;
	x->c->sim->h2_ok += fate == OUT_OK;
	x->c->sim->h2_cut += fate == OUT_CUT;
}

static void send_body(struct h2_side *x, unsigned i)
{
	unsigned id = x->c->first + i;
	const struct plan *p = &x->c->sim->plan[id];
	struct asked *a = &x->asked[i];
	uint8_t buf[4096];
	uint32_t n = min_of(p->request_bytes - a->sent, (uint32_t)sizeof buf);
	struct iovec v = { buf, n };
	ssize_t k;

	if (a->ended || p->request == PLAN_EMPTY)
		return;
	for (uint32_t j = 0; j < n; j++)
		buf[j] = plan_byte(id, false, a->sent + j);
	k = n ? a->st->s.ops->write(&a->st->s, &v, 1) : 0;
	a->sent += k > 0 ? (uint32_t)k : 0;
	if (a->sent == p->request_bytes) {
		a->ended = true;
		(void)a->st->s.ops->finish(&a->st->s);
	}
}

static void take_head(struct asked *a, const struct plan *p, unsigned id)
{
	struct slice name, value;
	unsigned status = 0;
	bool mine = false;

	for (uint32_t i = 0; h2_block_line(h2_block(a->st), i, &name, &value); i++) {
		if (slice_eq(name, SLICE(":status")))
			status = (unsigned)atoi((const char *)value.p);
		if (slice_eq(name, SLICE("x-nodeproxy-reason")))
			a->local = true;
		if (slice_eq(name, SLICE("x-plan")))
			mine = (unsigned)atoi((const char *)value.p) == id;
	}
	if (h2_block(a->st)->kind == H2_TRAILERS) {
		must(a->has_head);
	} else if (h2_block(a->st)->kind == H2_INTERIM) {
		must(status == 103 && p->interim);
	} else {
		must(!a->has_head && (a->local || (mine && status == p->status)));
		a->has_head = true;
		a->bodyless = !strcmp(plan_method(p), "HEAD") || status == 204 || status == 304;
	}
	h2_block_take(a->st);
}

static void hear(struct h2_side *x, unsigned i)
{
	unsigned id = x->c->first + i;
	const struct plan *p = &x->c->sim->plan[id];
	struct asked *a = &x->asked[i];
	uint8_t buf[4096];
	ssize_t k;

	while (h2_block(a->st))
		take_head(a, p, id);
	while ((k = a->st->s.ops->read(&a->st->s, buf, 1 + net_rand(&x->c->sim->net, sizeof buf))) > 0) {
		for (ssize_t j = 0; j < k && !a->local; j++)
			must(buf[j] == plan_byte(id, true, a->got + (uint64_t)j));
		a->got += (uint32_t)k;
		must(a->local ? a->got < 500 : a->got <= p->response_bytes);
		must(!a->bodyless);
	}
	if (k == 0) {
		must(a->has_head);
		/* Until the end of a connection: a cut cannot be told from an end. */
		if (!a->local && !a->bodyless && a->got < p->response_bytes) {
			must(p->hurt && p->response == PLAN_UNTIL_CLOSE);
			over(x, i, OUT_CUT);
		} else {
			over(x, i, a->local ? OUT_LOCAL : OUT_OK);
		}
	} else if (a->st->was_reset) {
		over(x, i, OUT_CUT);
	}
}

bool h2_side_step(struct h2_side *x)
{
	struct caller *c = x->c;
	unsigned news;

	while (!x->over && x->begun < c->n && x->begun - c->answering < c->depth) {
		unsigned was = x->begun;

		ask(x, was);
		if (x->begun == was)
			break;
		c->sending = x->begun;
	}
	for (unsigned i = 0; i < x->begun; i++)
		if (x->asked[i].st && !x->asked[i].st->was_reset)
			send_body(x, i);
	if (!x->over && h2_write(x->h) == H2_OVER)
		x->over = true;
	if (!x->over && h2_read(x->h, x->scratch, sizeof x->scratch) == H2_OVER)
		x->over = true;
	while (h2_next(x->h, &news))
		;
	for (unsigned i = 0; i < x->begun; i++)
		if (x->asked[i].st)
			hear(x, i);
	return x->over || c->answering == c->n || (h2_peer_is_leaving(x->h) && x->begun == c->answering);
}
