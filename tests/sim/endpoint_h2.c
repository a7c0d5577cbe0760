/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Endpoints of the simulation that speak HTTP/2: they check every byte of the requests and answer as
 * planned, in streams that take turns.  Their session is the product's, its user is not. */
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "nodeproxy/lib/net/h2.h"
#include "tests/sim/sim.h"

/* One request. */
struct asked {
	struct node node;
	struct h2_stream *st;
	unsigned id;
	uint64_t got, sent;
	bool whole, answered;
};

struct session {
	struct stream s;
	struct endpoint *e;
	struct h2 *h;
	struct budget budget;
	struct node asked;
};

static struct h2_stock stock;
static struct chunk_pool chunks;
static unsigned users;

static struct session *session_of(struct stream *s)
{
	return container_of(s, struct session, s);
}

static ssize_t far_read(struct stream *s, uint8_t *buf, size_t room)
{
	struct endpoint *e = session_of(s)->e;

	return link_take(&e->sim->net, e->link, buf, 1 + net_rand(&e->sim->net, (uint32_t)room));
}

static ssize_t far_write(struct stream *s, const struct iovec *v, int n)
{
	struct endpoint *e = session_of(s)->e;
	size_t len = v[0].iov_len;
	ssize_t k;

	(void)n;
	if (net_chance(&e->sim->net, 2))
		len = 1 + net_rand(&e->sim->net, (uint32_t)len);
	if (e->break_at)
		len = min_of(len, (size_t)(e->break_at - e->sent));
	k = len ? link_give(&e->sim->net, e->link, v[0].iov_base, len) : -EAGAIN;
	if (k > 0)
		e->sent += (uint64_t)k;
	return k;
}

static const struct stream_ops far_ops = { .name = "far", .read = far_read, .write = far_write };

void endpoint_h2_begin(struct endpoint *e)
{
	struct session *w = calloc(1, sizeof *w);

	must(w);
	if (users++ == 0) {
		must(chunk_pool_init(&chunks, 16384, 64) == 0);
		must(h2_stock_init(&stock, &chunks, 256, 8192) == 0);
	}
	w->s = (struct stream){ .ops = &far_ops, .fd = { -1 } };
	w->e = e;
	list_init(&w->asked);
	/* By the seed's own hand: what it takes at a time. */
	w->h = h2_new(&stock, true, &e->sim->far_limits, &w->s, &w->budget);
	must(w->h);
	e->h2 = w;
}

static void forget(struct asked *a)
{
	list_remove(&a->node);
	stream_close(&a->st->s, !a->answered);
	free(a);
}

void endpoint_h2_end(struct endpoint *e)
{
	struct session *w = e->h2;

	if (w == NULL)
		return;
	e->h2 = NULL;
	list_each(it, &w->asked)
		forget(container_of(it, struct asked, node));
	h2_free(&w->h);
	must(w->budget.used == 0);
	free(w);
	if (--users == 0) {
		must(stock.streams.live == 0 && chunks.small.live == 0);
		h2_stock_fini(&stock);
		chunk_pool_fini(&chunks);
	}
}

static bool line(const struct h2_block *b, const char *name, char *out, size_t room)
{
	struct slice n, v;

	for (uint32_t i = 0; h2_block_line(b, i, &n, &v); i++) {
		if (!slice_eq(n, slice_str(name)))
			continue;
		snprintf(out, room, "%.*s", (int)v.n, (const char *)v.p);
		return true;
	}
	return false;
}

static struct h2_field field(const char *name, const char *value)
{
	return (struct h2_field){ (const uint8_t *)name, (const uint8_t *)value, strlen(name),
				  strlen(value), 0 };
}

static bool has_body(const struct plan *p)
{
	return strcmp(plan_method(p), "HEAD") && p->response != PLAN_EMPTY;
}

static void respond(struct session *w, struct asked *a)
{
	struct plan *p = &w->e->sim->plan[a->id];
	char status[8], id[16], length[16];
	struct h2_field f[3], hint = field(":status", "103");
	size_t n = 0;

	if (a->answered)
		return;
	a->answered = true;
	p->answered++;
	snprintf(status, sizeof status, "%u", p->status);
	snprintf(id, sizeof id, "%u", a->id);
	snprintf(length, sizeof length, "%u", p->response_bytes);
	if (p->interim && h2_interim(a->st, &hint, 1) < 0)
		return;
	f[n++] = field(":status", status);
	f[n++] = field("x-plan", id);
	if (p->response == PLAN_LENGTH)
		f[n++] = field("content-length", length);
	if (h2_respond(a->st, f, n, !has_body(p)) < 0)
		p->hurt = true;		/* its caller has gone */
}

/* False: it is refused. */
static bool look_at(struct session *w, struct asked *a, const struct h2_block *b)
{
	struct sim *s = w->e->sim;
	struct h2_field go_on = field(":status", "100");
	char method[16], path[32], text[32];
	struct plan *p;

	must(line(b, ":method", method, sizeof method) && line(b, ":path", path, sizeof path));
	must(sscanf(path, "/p/%u", &a->id) == 1 && a->id < s->plans);
	p = &s->plan[a->id];
	must(!strcmp(method, plan_method(p)));
	must(line(b, ":authority", text, sizeof text) && !strcmp(text, "web.front"));
	must(line(b, "x-plan", text, sizeof text) && (unsigned)atoi(text) == a->id);
	must(line(b, "x-forwarded-for", text, sizeof text));
	must(!line(b, "x-hop", text, sizeof text) && !line(b, "connection", text, sizeof text));
	must(b->is_end == (p->request == PLAN_EMPTY) || p->request_bytes == 0);
	/* Before anything was done with it. */
	if (s->hostile && net_chance(&s->net, s->break_off)) {
		p->hurt = true;
		h2_reset(a->st, H2_REFUSED_STREAM);
		return false;
	}
	p->seen++;
	if (w->e->dead_end || w->e->break_at || w->e->idle_until)
		p->hurt = true;
	if (p->expect && line(b, "expect", text, sizeof text) && h2_interim(a->st, &go_on, 1) < 0)
		p->hurt = true;
	return true;
}

static void take(struct session *w, struct asked *a)
{
	struct sim *s = w->e->sim;
	struct plan *p = &s->plan[a->id];
	uint8_t buf[8192];
	ssize_t k;

	while (!a->whole && (k = a->st->s.ops->read(&a->st->s, buf, 1 + net_rand(&s->net, sizeof buf))) >= 0) {
		a->whole = k == 0;
		for (ssize_t i = 0; i < k; i++)
			must(buf[i] == plan_byte(a->id, false, a->got + (uint64_t)i));
		a->got += (uint64_t)k;
		must(a->got <= p->request_bytes);
	}
	must(!a->whole || a->got == p->request_bytes);
	if (!w->e->dead_end && (a->whole || (p->early && a->got)))
		respond(w, a);
}

/* True: all of it was given to the session. */
static bool give(struct session *w, struct asked *a)
{
	struct sim *s = w->e->sim;
	struct plan *p = &s->plan[a->id];
	uint8_t buf[8192];

	while (a->answered && has_body(p) && a->sent < p->response_bytes) {
		size_t n = min_of((size_t)(p->response_bytes - a->sent), (size_t)1 + net_rand(&s->net, sizeof buf));
		struct iovec v = { buf, n };
		ssize_t k;

		for (size_t i = 0; i < n; i++)
			buf[i] = plan_byte(a->id, true, a->sent + i);
		k = a->st->s.ops->write(&a->st->s, &v, 1);
		if (k < 0)
			return false;
		a->sent += (uint64_t)k;
		if (s->hostile && net_chance(&s->net, s->break_off) && net_chance(&s->net, 4)) {
			p->hurt = true;
			h2_reset(a->st, net_chance(&s->net, 2) ? H2_INTERNAL_ERROR : H2_CANCEL);
			return true;
		}
	}
	return a->answered;
}

static void news(struct session *w)
{
	struct h2_stream *st;
	unsigned what;

	while ((st = h2_next(w->h, &what))) {
		struct asked *a = st->user;

		if (a == NULL) {
			a = calloc(1, sizeof *a);
			must(a);
			a->st = st;
			st->user = a;
			list_add_tail(&w->asked, &a->node);
			if (h2_block(st) == NULL || !look_at(w, a, h2_block(st))) {
				forget(a);
				continue;
			}
			h2_block_take(st);
		}
		if (what & H2_NEWS_RESET && !a->whole)
			w->e->sim->plan[a->id].hurt = true;
	}
}

/* False: the connection is of no use any more. */
bool endpoint_h2_step(struct endpoint *e)
{
	struct session *w = e->h2;
	struct sim *s = e->sim;
	uint8_t scratch[8192];
	enum h2_went r;

	do {
		r = h2_read(w->h, scratch, sizeof scratch);
	} while (r == H2_MORE && !net_chance(&s->net, 4));
	news(w);
	list_each(it, &w->asked) {
		struct asked *a = container_of(it, struct asked, node);

		if (net_chance(&s->net, 4))
			continue;
		if (!a->st->was_reset)
			take(w, a);
		if (a->st->was_reset || (give(w, a) && (a->whole || s->plan[a->id].early)))
			forget(a);
	}
	h2_tick(w->h);
	if (s->hostile && e->idle_until && s->world_ns > e->idle_until)
		h2_drain(w->h);
	r = h2_write(w->h);
	if (e->break_at && e->sent >= e->break_at)
		return false;
	return r != H2_OVER && !(h2_state(w->h) == H2_LAST && h2_is_idle(w->h) && !h2_wants_write(w->h));
}
