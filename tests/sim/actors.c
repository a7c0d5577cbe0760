/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See actors.h. */
#include "tests/sim/actors.h"

#include <ctype.h>
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "tests/sim/sim.h"

static const char *const plan_methods[] = { "GET", "POST", "HEAD", "PUT", "DELETE", "PATCH" };
enum { M_GET, M_POST, M_HEAD, METHODS = countof(plan_methods) };

const char *plan_method(const struct plan *p)
{
	return plan_methods[p->method];
}

uint8_t plan_byte(unsigned id, bool response, uint64_t i)
{
	return (uint8_t)(id * 37 + (response ? 11 : 0) + i * 7 + (i >> 8) * 13);
}

static uint8_t flow_byte(uint32_t key, uint64_t i)
{
	return (uint8_t)(key + i * 5 + (i >> 8) * 3);
}

/* ---- buffers ---- */

static void buf_add(struct buffer *b, const void *p, size_t n)
{
	if (b->at == b->n)
		b->at = b->n = 0;
	if (b->n + n > b->room) {
		b->room = (b->n + n) * 2;
		b->p = realloc(b->p, b->room);
		must(b->p);
	}
	memcpy(b->p + b->n, p, n);
	b->n += n;
}

static void buf_printf(struct buffer *b, const char *fmt, ...) printf_like(2, 3);
static void buf_printf(struct buffer *b, const char *fmt, ...)
{
	char text[512];
	va_list ap;
	int n;

	va_start(ap, fmt);
	n = vsnprintf(text, sizeof text, fmt, ap);
	va_end(ap);
	must(n >= 0 && n < (int)sizeof text);
	buf_add(b, text, (size_t)n);
}

static void buf_body(struct net *net, struct buffer *b, unsigned id, bool response, uint32_t bytes,
		     bool chunked)
{
	uint32_t at = 0;

	while (at < bytes) {
		uint32_t n = bytes - at;

		if (chunked) {
			if (net_chance(net, 2))
				n = 1 + net_rand(net, n);
			buf_printf(b, net_chance(net, 2) ? "%x\r\n" : "%X\r\n", n);
		}
		for (uint32_t i = 0; i < n; i++) {
			uint8_t c = plan_byte(id, response, at + i);

			buf_add(b, &c, 1);
		}
		if (chunked)
			buf_add(b, "\r\n", 2);
		at += n;
	}
	if (chunked) {
		buf_printf(b, "0\r\n");
		if (id % 3 == 0)
			buf_printf(b, "X-Trailer: t%u\r\n", id);
		buf_add(b, "\r\n", 2);
	}
}

/* ---- a parser of its own: messages as they are accumulated ---- */

/* The value of a header line; NULL: absent. */
static const char *header(const struct message *m, const uint8_t *p, const char *name, size_t *n)
{
	const uint8_t *at = p + m->line + 2, *end = p + m->head - 2;
	size_t len = strlen(name);

	while (at < end) {
		const uint8_t *cr = memchr(at, '\r', (size_t)(end - at) + 2);

		must(cr);
		if ((size_t)(cr - at) > len && !strncasecmp((const char *)at, name, len) &&
		    at[len] == ':') {
			at += len + 1;
			while (at < cr && *at == ' ')
				at++;
			*n = (size_t)(cr - at);
			return (const char *)at;
		}
		at = cr + 2;
	}
	return NULL;
}

static size_t find(const uint8_t *p, size_t n, const char *what, size_t most)
{
	const uint8_t *at = n ? memmem(p, min_of(n, most), what, strlen(what)) : NULL;

	return at ? (size_t)(at - p) : SIZE_MAX;
}

/* Head of the bytes at p; false: not there yet. */
static bool parse_head(const uint8_t *p, size_t n, struct message *m)
{
	size_t end = find(p, n, "\r\n\r\n", 4096), len;
	const char *v;

	*m = (struct message){ 0 };
	if (end == SIZE_MAX) {
		must(n < 4096);
		return false;
	}
	m->head = m->at = end + 4;
	m->line = find(p, n, "\r\n", 4096);
	if (!memcmp(p, "HTTP/1.", 7))
		m->status = (unsigned)atoi((const char *)p + 9);
	if ((v = header(m, p, "Transfer-Encoding", &len)))
		m->chunked = len == 7 && !strncasecmp(v, "chunked", 7);
	if ((v = header(m, p, "Content-Length", &len))) {
		m->has_length = true;
		m->left = strtoull(v, NULL, 10);
	}
	if ((v = header(m, p, "Connection", &len)))
		m->closes = len == 5 && !strncasecmp(v, "close", 5);
	return true;
}

/* As many bytes of the body as are there, at most m->left. */
static void check_bytes(struct message *m, const uint8_t *p, size_t n, unsigned id, bool response)
{
	size_t k = (size_t)min_of((uint64_t)(n - m->at), m->left);

	for (size_t i = 0; i < k; i++)
		must(p[m->at + i] == plan_byte(id, response, m->body + i));
	m->at += k;
	m->body += k;
	m->left -= k;
}

static void parse_chunks(const uint8_t *p, size_t n, struct message *m, unsigned id, bool response)
{
	size_t line;
	char *end;

	for (;;) {
		switch (m->part) {
		case PART_SIZE:
			line = find(p + m->at, n - m->at, "\r\n", 64);
			if (line == SIZE_MAX)
				return;
			m->left = strtoull((const char *)p + m->at, &end, 16);
			must((const uint8_t *)end == p + m->at + line);
			m->at += line + 2;
			m->part = m->left ? PART_BYTES : PART_TRAILER;
			break;
		case PART_BYTES:
			check_bytes(m, p, n, id, response);
			if (m->left || n - m->at < 2)
				return;
			must(!memcmp(p + m->at, "\r\n", 2));
			m->at += 2;
			m->part = PART_SIZE;
			break;
		case PART_TRAILER:
			line = find(p + m->at, n - m->at, "\r\n", 1024);
			if (line == SIZE_MAX)
				return;
			m->at += line + 2;
			if (line == 0) {
				m->all = m->at;
				return;
			}
			break;
		}
	}
}

/* Goes on with the body; sets all when it is whole.  ended: no more will come. */
static void parse_body(const uint8_t *p, size_t n, struct message *m, unsigned id, bool response,
		       bool ended)
{
	if (m->bodyless) {
		m->all = m->head;
	} else if (m->chunked) {
		parse_chunks(p, n, m, id, response);
	} else {
		if (m->until_close)
			m->left = UINT64_MAX;
		check_bytes(m, p, n, id, response);
		if (m->until_close ? ended : m->left == 0)
			m->all = m->at;
	}
}

/* ---- plans ---- */

static uint32_t some_bytes(struct net *n)
{
	switch (net_rand(n, 6)) {
	case 0:
		return 0;
	case 1:
	case 2:
		return 1 + net_rand(n, 200);
	case 3:
		return 1 + net_rand(n, 5000);
	case 4:
		return 1 + net_rand(n, 70000);
	default:
		return 1 + net_rand(n, net_chance(n, 8) ? 300000 : 2000);
	}
}

void plan_make(struct net *n, struct plan *p)
{
	*p = (struct plan){ .method = (uint8_t)(net_chance(n, 2) ? 0 : net_rand(n, METHODS)),
			    .status = 200 };
	if (p->method != M_GET && p->method != M_HEAD) {
		p->request = (uint8_t)net_rand(n, 3);
		p->expect = p->request != PLAN_EMPTY && net_chance(n, 5);
	}
	p->http10 = p->request != PLAN_CHUNKED && !p->expect && net_chance(n, 10);
	p->request_bytes = p->request == PLAN_EMPTY ? 0 : some_bytes(n);
	p->response = (uint8_t)(PLAN_LENGTH + net_rand(n, 3));
	if (p->response == PLAN_UNTIL_CLOSE && net_chance(n, 2))
		p->response = PLAN_LENGTH;
	p->response_bytes = some_bytes(n);
	if (net_chance(n, 12))
		p->status = net_chance(n, 2) ? 204 : 304;
	else if (net_chance(n, 8))
		p->status = net_chance(n, 2) ? 404 : 503;
	if (p->status == 204 || p->status == 304) {
		p->response = PLAN_EMPTY;
		p->response_bytes = 0;
	}
	p->interim = net_chance(n, 12);
	p->early = !p->expect && p->request != PLAN_EMPTY && net_chance(n, 10);
	p->back_close = net_chance(n, 8);
	p->http10_back = p->response != PLAN_CHUNKED && !p->interim && !p->expect && net_chance(n, 12);
	p->last = net_chance(n, 10);
}

/* ---- callers ---- */

static void write_request(struct caller *c, unsigned id)
{
	struct net *n = &c->sim->net;
	struct plan *p = &c->sim->plan[id];
	struct buffer *b = &c->out;

	buf_printf(b, "%s /p/%u HTTP/1.%d\r\nhOsT: web.front\r\n", plan_method(p), id, !p->http10);
	buf_printf(b, "X-Plan: %u\r\naCCept:*/*\r\n", id);
	if (p->last && !p->http10)
		buf_printf(b, "Connection: close\r\n");
	if (p->http10 && !p->last)
		buf_printf(b, "Connection: keep-alive\r\n");
	if (net_chance(n, 3))
		buf_printf(b, "Connection: X-Hop\r\nX-Hop: must not be seen\r\n");
	if (p->expect)
		buf_printf(b, "Expect: 100-continue\r\n");
	if (p->request == PLAN_LENGTH)
		buf_printf(b, "Content-Length: %u\r\n", p->request_bytes);
	if (p->request == PLAN_CHUNKED)
		buf_printf(b, "Transfer-Encoding: chunked\r\n");
	buf_add(b, "\r\n", 2);
	if (p->expect)
		c->body_waits = true;
	else if (p->request != PLAN_EMPTY)
		buf_body(n, b, id, false, p->request_bytes, p->request == PLAN_CHUNKED);
}

static void caller_done(struct caller *c, enum fate rest)
{
	if (c->done)
		return;
	for (unsigned i = c->h2_was ? 0 : c->answering; i < c->n; i++) {
		struct plan *p = &c->sim->plan[c->first + i];

		if (p->outcome == OUT_PENDING)
			p->outcome = i >= c->sending ? OUT_NOT_SENT : (uint8_t)rest;
	}
	if (c->opaque) {
		c->sim->flows++;
		c->sim->flows_ok += c->flow_ok;
	}
	c->done = true;
	if (c->link)
		link_leave(&c->sim->net, c->link);
	c->link = NULL;
}

/* Takes whole answers off what has arrived. */
static void take_answers(struct caller *c, bool ended)
{
	while (c->answering < c->sending) {
		unsigned id = c->first + c->answering;
		struct plan *p = &c->sim->plan[id];
		const uint8_t *at = c->in.p + c->in.at;
		size_t n = c->in.n - c->in.at, len;
		const char *reason;
		struct message *m = &c->m;

		if (m->head == 0 && !parse_head(at, n, m))
			return;
		if (m->status / 100 == 1) {
			must(m->status == 100 || (m->status == 103 && p->interim));
			if (m->status == 100 && c->body_waits && c->answering + 1 == c->sending) {
				c->body_waits = false;
				buf_body(&c->sim->net, &c->out, id, false, p->request_bytes,
					 p->request == PLAN_CHUNKED);
			}
			c->in.at += m->head;
			m->head = 0;
			continue;
		}
		reason = header(m, at, "X-Nodeproxy-Reason", &len);
		m->bodyless = p->method == M_HEAD || m->status == 204 || m->status == 304;
		m->until_close = !m->chunked && !m->has_length;
		if (reason) {
			/* A local answer: short, with a length. */
			must(m->has_length && m->left < 500);
			if (!m->bodyless && n - m->head < m->left)
				return;
			c->in.at += m->head + (m->bodyless ? 0 : (size_t)m->left);
			p->outcome = OUT_LOCAL;
			p->local_status = m->status;
		} else {
			const char *which = header(m, at, "X-Plan", &len);

			must(which && (unsigned)atoi(which) == id);
			must(m->status == p->status);
			must(header(m, at, "X-Hop", &len) == NULL);
			parse_body(at, n, m, id, true, ended);
				must(m->bodyless || m->body <= p->response_bytes);
			if (m->all == 0)
				return;
			/* Whole as framed; until-close cannot be told from cut. */
			if (!m->bodyless && m->body < p->response_bytes) {
				must(p->hurt && (m->until_close || p->response == PLAN_UNTIL_CLOSE));
				p->outcome = OUT_CUT;
			} else {
				p->outcome = OUT_OK;
			}
			c->in.at += m->all;
		}
		c->answering++;
		m->head = 0;
		if (c->body_waits && c->answering == c->sending) {
			/* A final answer instead of 100: the body is never sent, so nothing more can be. */
			caller_done(c, OUT_CUT);
			return;
		}
		if (m->closes || p->last) {
			caller_done(c, OUT_CUT);
			return;
		}
	}
	must(c->answering < c->sending || c->in.at == c->in.n);	/* answers nobody asked for */
}

static void step_flow(struct caller *c)
{
	struct net *n = &c->sim->net;
	uint8_t buf[4096];
	ssize_t k;

	for (int i = 0; i < 4 && c->flow_sent < c->flow; i++) {
		uint32_t most = net_chance(n, 8) ? sizeof buf : 64;
		size_t len = min_of(c->flow - c->flow_sent, (uint64_t)1 + net_rand(n, most));

		for (size_t j = 0; j < len; j++)
			buf[j] = flow_byte(c->flow_key, c->flow_sent + j);
		k = link_give(n, c->link, buf, len);
		if (k < 0) {
			if (k == -EPIPE)
				caller_done(c, OUT_CUT);
			break;
		}
		c->flow_sent += (uint64_t)k;
	}
	if (c->done)
		return;
	if (c->flow_sent == c->flow && !c->finished) {
		link_finish(c->link);
		c->finished = true;
	}
	while ((k = link_take(n, c->link, buf, 1 + net_rand(n, sizeof buf))) > 0) {
		for (ssize_t j = 0; j < k; j++)
			must((buf[j] ^ flow_byte(c->flow_key, c->flow_got + (uint64_t)j)) == 0xff);
		c->flow_got += (uint64_t)k;
		if (net_chance(n, 3))
			break;
	}
	if (k == 0) {
		c->flow_ok = c->flow_got == c->flow;
		caller_done(c, OUT_CUT);
	} else if (k == -ECONNRESET) {
		caller_done(c, OUT_CUT);
	}
}

void caller_step(struct caller *c)
{
	struct net *n = &c->sim->net;
	uint8_t buf[8192];
	ssize_t k;

	if (c->done)
		return;
	if (c->rude && c->got >= c->rude_after && net_chance(n, 4)) {
		if (net_chance(n, 2)) {
			link_break(n, c->link);
			c->link = NULL;
		}
		caller_done(c, OUT_CUT);
		return;
	}
	if (c->opaque) {
		step_flow(c);
		return;
	}
	if (c->h2) {
		if (h2_side_step(c->h2)) {
			h2_side_free(c->h2);
			c->h2 = NULL;
			caller_done(c, OUT_CUT);
		}
		return;
	}
	while (c->sending < c->n && c->sending - c->answering < c->depth && !c->body_waits &&
	       !(c->sending && c->sim->plan[c->first + c->sending - 1].last))
		write_request(c, c->first + c->sending++);
	if (c->out.at < c->out.n) {
		size_t len = c->out.n - c->out.at;

		if (net_chance(n, 2))
			len = 1 + net_rand(n, (uint32_t)min_of(len, (size_t)3000));
		k = link_give(n, c->link, c->out.p + c->out.at, len);
		if (k > 0)
			c->out.at += (size_t)k;
	} else if (c->half_close && !c->finished && !c->body_waits &&
		   (c->sending == c->n || c->sim->plan[c->first + c->sending - 1].last)) {
		link_finish(c->link);
		c->finished = true;
	}
	k = link_take(n, c->link, buf, 1 + net_rand(n, sizeof buf));
	if (k > 0) {
		c->got += (uint64_t)k;
		buf_add(&c->in, buf, (size_t)k);
		take_answers(c, false);
	} else if (k == 0 || k == -ECONNRESET) {
		if (k == 0)
			take_answers(c, true);
		caller_done(c, OUT_CUT);
	}
	if (!c->done && c->answering == c->n)
		caller_done(c, OUT_CUT);
}

static struct caller *add(struct sim *s, struct link *l)
{
	struct caller *c = calloc(1, sizeof *c);

	must(c);
	c->sim = s;
	c->link = l;
	if (s->hostile && net_chance(&s->net, 6)) {
		c->rude = true;
		c->rude_after = net_rand(&s->net, 3000);
	}
	list_add_tail(&s->callers, &c->node);
	s->n_callers++;
	return c;
}

struct caller *caller_new(struct sim *s, struct link *l, unsigned first, unsigned n)
{
	struct caller *c = add(s, l);

	c->first = first;
	c->n = n;
	c->depth = net_chance(&s->net, 2) ? 1 : 1 + net_rand(&s->net, 8);
	c->half_close = net_chance(&s->net, 6);
	return c;
}

struct caller *caller_new_opaque(struct sim *s, struct link *l, uint64_t bytes)
{
	struct caller *c = add(s, l);

	c->opaque = true;
	c->flow = bytes;
	/* The first byte is the key, and not a letter: nobody shall take it for HTTP. */
	c->flow_key = 0x80 | net_rand(&s->net, 64);
	return c;
}

void caller_free(struct caller *c)
{
	h2_side_free(c->h2);
	list_remove(&c->node);
	c->sim->n_callers--;
	free(c->in.p);
	free(c->out.p);
	free(c);
}

/* ---- endpoints ---- */

struct endpoint *endpoint_new(struct sim *s, struct link *l, bool opaque)
{
	struct endpoint *e = calloc(1, sizeof *e);

	must(e);
	e->sim = s;
	e->link = l;
	e->opaque = opaque;
	if (net_chance(&s->net, s->stale))
		e->idle_until = s->world_ns + (1 + net_rand(&s->net, 20)) * NS_PER_MS;
	if (net_chance(&s->net, s->break_off)) {
		e->break_at = 1 + net_rand(&s->net, net_chance(&s->net, 2) ? 300 : 50000);
		e->break_softly = net_chance(&s->net, 2);
	}
	e->dead_end = net_chance(&s->net, s->black_hole);
	list_add_tail(&s->endpoints, &e->node);
	return e;
}

void endpoint_free(struct endpoint *e)
{
	endpoint_h2_end(e);
	list_remove(&e->node);
	free(e->in.p);
	free(e->out.p);
	free(e);
}

static void leave(struct endpoint *e, bool broken)
{
	if (e->done)
		return;
	if (broken)
		link_break(&e->sim->net, e->link);
	else
		link_leave(&e->sim->net, e->link);
	e->done = true;
}

static void write_response(struct endpoint *e, unsigned id, struct plan *p)
{
	struct buffer *b = &e->out;
	bool until_close = p->response == PLAN_UNTIL_CLOSE;

	p->answered++;
	if (p->interim && !p->http10)
		buf_printf(b, "HTTP/1.1 103 Early Hints\r\nLink: </x>\r\n\r\n");
	buf_printf(b, "HTTP/1.%d %u Planned So\r\nX-PlaN: %u\r\n", !p->http10_back, p->status, id);
	if (p->back_close || p->early || until_close)
		buf_printf(b, "Connection: close\r\n");
	else if (p->http10_back)
		buf_printf(b, "Connection: keep-alive\r\n");
	if (p->response == PLAN_LENGTH)
		buf_printf(b, "Content-Length: %u\r\n", p->response_bytes);
	if (p->response == PLAN_CHUNKED)
		buf_printf(b, "Transfer-Encoding: chunked\r\n");
	buf_add(b, "\r\n", 2);
	if (p->method != M_HEAD && p->response != PLAN_EMPTY)
		buf_body(&e->sim->net, b, id, true, p->response_bytes, p->response == PLAN_CHUNKED);
	if (p->back_close || p->early || until_close)
		e->ends_when_sent = true;
}

/* One request from what has arrived: true when there was one. */
static bool take_request(struct endpoint *e)
{
	const uint8_t *at = e->in.p + e->in.at;
	size_t n = e->in.n - e->in.at, len;
	struct message *m = &e->m;
	char method[16] = "";
	const char *v;
	unsigned id = 0;
	struct plan *p;

	if (n == 0 || (m->head == 0 && !parse_head(at, n, m)))
		return false;
	must(sscanf((const char *)at, "%15s /p/%u HTTP/1.1\r\n", method, &id) == 2);
	must(id < e->sim->plans);
	p = &e->sim->plan[id];
	must(!strcmp(method, plan_method(p)));
	v = header(m, at, "Host", &len);
	must(v && len == 9 && !memcmp(v, "web.front", 9));
	v = header(m, at, "X-Plan", &len);
	must(v && (unsigned)atoi(v) == id);
	must(header(m, at, "X-Hop", &len) == NULL);
	must(header(m, at, "X-Forwarded-For", &len) != NULL);
	m->bodyless = p->request == PLAN_EMPTY;
	must(m->bodyless ? !m->chunked && m->left == 0 : m->chunked || m->has_length);
	if (!(e->flow_at & 1)) {	/* this head was not looked at before */
		e->flow_at |= 1;
		p->seen++;
		if (e->dead_end) {
			p->hurt = true;
			return false;
		}
		if (p->expect && header(m, at, "Expect", &len))
			buf_printf(&e->out, "HTTP/1.1 100 Continue\r\n\r\n");
		if (p->early)
			write_response(e, id, p);
	}
	parse_body(at, n, m, id, false, false);
	must(m->body <= p->request_bytes);
	if (e->break_at || e->dead_end)
		p->hurt = true;
	if (m->all == 0 || e->dead_end)
		return false;
	must(m->body == p->request_bytes);
	if (!p->early)
		write_response(e, id, p);
	e->in.at += m->all;
	m->head = 0;
	e->flow_at = 0;
	return true;
}

static void step_echo(struct endpoint *e)
{
	struct net *n = &e->sim->net;
	uint8_t buf[4096];
	ssize_t k;

	if (e->out.n - e->out.at < 65536) {
		k = link_take(n, e->link, buf, sizeof buf);
		for (ssize_t i = 0; i < k; i++)
			buf[i] = (uint8_t)~buf[i];
		if (k > 0)
			buf_add(&e->out, buf, (size_t)k);
		if (k == 0)
			e->ends_when_sent = true;
		if (k == -ECONNRESET)
			leave(e, false);
	}
}

void endpoint_step(struct endpoint *e)
{
	struct net *n = &e->sim->net;
	uint8_t buf[8192];
	ssize_t k;

	if (e->done || e->link->connecting)
		return;
	if (e->h2) {
		if (!endpoint_h2_step(e))
			leave(e, e->break_at && !e->break_softly);
		return;
	}
	if (e->opaque) {
		step_echo(e);
	} else {
		k = link_take(n, e->link, buf, 1 + net_rand(n, sizeof buf));
		if (k > 0 && (!e->ends_when_sent || e->flow_at & 1)) {
			buf_add(&e->in, buf, (size_t)k);
			while (!e->ends_when_sent && take_request(e))
				;
			/* After an early answer the rest of the body is still read and checked. */
			if (e->ends_when_sent && e->flow_at & 1)
				take_request(e);
		}
		if (k == 0 && e->out.at == e->out.n) {
			leave(e, false);
			return;
		}
		if (k == -ECONNRESET) {
			leave(e, false);
			return;
		}
	}
	if (e->done)
		return;
	if (e->out.at < e->out.n) {
		size_t len = e->out.n - e->out.at;

		if (net_chance(n, 2))
			len = 1 + net_rand(n, (uint32_t)min_of(len, (size_t)5000));
		if (e->break_at)
			len = min_of(len, (size_t)(e->break_at - e->sent));
		k = link_give(n, e->link, e->out.p + e->out.at, len);
		if (k > 0) {
			e->out.at += (size_t)k;
			e->sent += (uint64_t)k;
		} else if (k == -EPIPE) {
			leave(e, false);
			return;
		}
		if (e->break_at && e->sent >= e->break_at) {
			leave(e, !e->break_softly);
			return;
		}
	}
	if (e->out.at == e->out.n && e->ends_when_sent) {
		/* With the request still coming, closing would be a reset that eats the answer. */
		if (e->opaque || !(e->flow_at & 1)) {
			leave(e, false);
			return;
		}
	}
	if (e->idle_until && e->sim->world_ns > e->idle_until && e->out.at == e->out.n &&
	    e->in.at == e->in.n)
		leave(e, false);
}
