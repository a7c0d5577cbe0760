/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See http2.h.
 *
 * nghttp2 has looked at the same lines before, as llhttp does at those of HTTP/1: what either of us
 * refuses is refused.  Nothing is relied on here that it has checked. */
#include "workers/codec/http2.h"

#include "workers/codec/headers.h"
#include "workers/codec/http1.h"
#include "workers/codec/websocket.h"

#define METHOD_MAX 64	/* as in HTTP/1 */

enum pseudo { PSEUDO_METHOD, PSEUDO_SCHEME, PSEUDO_AUTHORITY, PSEUDO_PATH, PSEUDO_PROTOCOL,
	      PSEUDO_STATUS, PSEUDOS };
static const char *const pseudo_names[PSEUDOS] = { ":method", ":scheme", ":authority", ":path",
						   ":protocol", ":status" };

/* What the lines said, before it is decided whether they may have said it together. */
struct said {
	struct slice pseudo[PSEUDOS];	/* p NULL: not there */
	struct slice host;
	unsigned hosts, lengths;
	unsigned cookies, crumbs;	/* crumbs: of them, those that hold something */
	size_t cookie_bytes;
	uint64_t length;
	bool length_bad;
	bool te_trailers;
	bool expect_continue, expect_other;
};

static bool is_lower_token(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!byte_is(s.p[i], BC_TOKEN) || (s.p[i] >= 'A' && s.p[i] <= 'Z'))
			return false;
	return s.n > 0;
}

/* Section 8.2.1: nothing that HTTP/1 could not carry, and no blanks at the ends: it loses them. */
static bool is_value(struct slice v)
{
	if (v.n == 0)
		return true;
	return v.p[0] != ' ' && v.p[0] != '\t' && v.p[v.n - 1] != ' ' && v.p[v.n - 1] != '\t' &&
	       value_end(v.p, v.p + v.n) == v.p + v.n;
}

static bool said_pseudo(struct said *s, struct slice name, struct slice value)
{
	for (unsigned i = 0; i < PSEUDOS; i++) {
		if (!slice_eq(name, slice_str(pseudo_names[i])))
			continue;
		if (s->pseudo[i].p)
			return false;
		s->pseudo[i] = value;
		return true;
	}
	return false;
}

static bool is_cookie(const struct header *h)
{
	return h->id == HN_OTHER && h->name.n == 6 && memcmp(h->name.p, "cookie", 6) == 0;
}

/* application/grpc, +anything or ;anything behind it. */
static bool is_grpc(const struct header *h)
{
	static const char type[] = "application/grpc";
	const size_t n = sizeof type - 1;

	return h->name.n == 12 && memcmp(h->name.p, "content-type", 12) == 0 && h->value.n >= n &&
	       slice_caseeq(slice_of(h->value.p, n), slice_of(type, n)) &&
	       (h->value.n == n || h->value.p[n] == '+' || h->value.p[n] == ';');
}

/* Notes what a line says.  False: it may not be there.  *drop: it is not passed on. */
static bool said_line(struct said *s, enum header_name id, struct slice v, bool *drop)
{
	uint64_t n;

	*drop = true;
	switch (id) {
	case HN_CONNECTION:
	case HN_KEEP_ALIVE:
	case HN_PROXY_CONNECTION:
	case HN_TRANSFER_ENCODING:
	case HN_UPGRADE:
		return false;		/* section 8.2.2 */
	case HN_TE:
		s->te_trailers = true;
		return slice_caseeq(v, SLICE("trailers"));
	case HN_HOST:
		s->hosts++;
		s->host = v;
		return true;
	case HN_CONTENT_LENGTH:
		if (!slice_u64(v, INT64_MAX, &n) || (s->lengths && n != s->length))
			s->length_bad = true;
		else
			s->length = n;
		s->lengths++;
		return true;
	case HN_EXPECT:
		if (slice_caseeq(v, SLICE("100-continue")))
			s->expect_continue = true;
		else
			s->expect_other = true;
		*drop = false;
		return true;
	case HN_PROXY_AUTHENTICATE:
	case HN_PROXY_AUTHORIZATION:
		return true;
	default:
		*drop = false;
		return true;
	}
}

enum { LINES_OK, LINES_BAD, LINES_FULL };

static int parse_lines(const struct h2_block *b, uint32_t most, struct head *ret, struct said *s)
{
	struct slice name, value;

	memset(ret, 0, offsetof(struct head, h));
	if (b->is_too_large)
		return LINES_FULL;
	for (uint32_t i = 0; h2_block_line(b, i, &name, &value); i++) {
		struct header *h;
		bool drop = false;

		if (!is_value(value))
			return LINES_BAD;
		if (name.n && name.p[0] == ':') {
			if (ret->n || !said_pseudo(s, name, value))
				return LINES_BAD;	/* late, twice or unknown */
			continue;
		}
		if (!is_lower_token(name))
			return LINES_BAD;
		if (ret->n == min_of(most, (uint32_t)HEAD_LINES_MAX))
			return LINES_FULL;
		h = &ret->h[ret->n++];
		h->line = h2_line_whole(name, value);
		h->name = name;
		h->value = value;
		h->id = (uint8_t)header_name_of(name);
		if (h->id != HN_OTHER && !said_line(s, h->id, value, &drop))
			return LINES_BAD;
		head_has(ret, h);
		h->drop = drop;
		ret->is_grpc |= is_grpc(h);
		if (is_cookie(h)) {
			s->cookies++;
			s->crumbs += value.n > 0;
			s->cookie_bytes += value.n + 2;
		}
	}
	ret->bytes = b->size;
	ret->minor = 1;
	ret->keep_alive = true;
	return LINES_OK;
}

/* Section 8.2.3: crumbs become one line again, where the first of them stood.  As a rule they follow
 * each other in the block, and what joins them is shorter than what parts them.  The block then says
 * so: who reads it again finds the same cookie. */
static bool join_cookies(struct h2_block *b, struct head *m, const struct said *s, struct arena *a)
{
	uint32_t pseudos = b->lines - m->n;
	struct header *first = NULL, *full = NULL;
	const uint8_t *behind = NULL;
	bool together = true;
	uint8_t *start, *p;

	if (s->cookies < 2)
		return true;
	for (uint32_t i = 0; i < m->n; i++) {
		struct header *h = &m->h[i];

		if (!is_cookie(h))
			continue;
		first = first ? first : h;
		full = full || h->value.n == 0 ? full : h;
		together &= behind == NULL || behind == h->line.p;
		behind = h->line.p + h->line.n;
	}
	if (s->crumbs < 2) {		/* one is kept, and nothing joined */
		full = full ? full : first;
		for (uint32_t i = 0; i < m->n; i++)
			if (is_cookie(&m->h[i]))
				m->h[i].drop = &m->h[i] != full;
		return true;
	}
	start = together ? (uint8_t *)(uintptr_t)first->line.p
			 : arena_take(a, sizeof "cookie: " + s->cookie_bytes + 1);
	if (start == NULL)
		return false;
	memmove(start, "cookie: ", 8);
	p = start + 8;
	for (uint32_t i = 0; i < m->n; i++) {
		struct header *h = &m->h[i];
		struct slice v = h->value;

		if (!is_cookie(h))
			continue;
		h->drop = h != first;
		h->name = slice_of(start, 6);	/* its own is written over */
		if (v.n == 0)
			continue;
		if (p != start + 8) {
			*p++ = ';';
			*p++ = ' ';
		}
		memmove(p, v.p, v.n);
		p += v.n;
	}
	first->value = slice_of(start + 8, (size_t)(p - start) - 8);
	for (uint32_t i = 0; together && i < m->n; i++)
		if (is_cookie(&m->h[i]))
			h2_block_mark(b, pseudos + i, start, 6, &m->h[i] == first ? first->value.n : 0);
	*p++ = '\r';
	*p++ = '\n';
	first->line = slice_of(start, (size_t)(p - start));
	return true;
}

enum { METHOD_IDEMPOTENT = 1, METHOD_HEAD = 2, METHOD_CONNECT = 4, METHOD_OPTIONS = 8 };

static unsigned method_flags(struct slice m)
{
	static const struct {
		const char *name;
		unsigned flags;
	} rows[] = {
		{ "GET", METHOD_IDEMPOTENT },	  { "PUT", METHOD_IDEMPOTENT },
		{ "HEAD", METHOD_IDEMPOTENT | METHOD_HEAD },
		{ "DELETE", METHOD_IDEMPOTENT },  { "OPTIONS", METHOD_IDEMPOTENT | METHOD_OPTIONS },
		{ "CONNECT", METHOD_CONNECT },	  { "TRACE", METHOD_IDEMPOTENT },
	};

	for (unsigned i = 0; i < countof(rows); i++)
		if (slice_eq(m, slice_str(rows[i].name)))
			return rows[i].flags;
	return 0;
}

static bool parse_path(struct head *m, struct slice t, bool options)
{
	const uint8_t *q;

	for (size_t i = 0; i < t.n; i++)
		if (!byte_is(t.p[i], BC_TARGET))
			return false;
	if (t.n == 0)
		return false;
	m->target = t;
	if (t.p[0] == '*') {
		m->path = t;
		return t.n == 1 && options;
	}
	if (t.p[0] != '/')
		return false;
	q = memchr(t.p, '?', t.n);
	m->path = slice_of(t.p, q ? (size_t)(q - t.p) : t.n);
	if (q)
		m->query = slice_from(t, m->path.n + 1);
	return true;
}

/* A line of our own, the last one, so the empty line follows (codec.h).  False: no room. */
static bool add_line(struct head *m, struct arena *a, struct slice name, struct slice value)
{
	struct slice text[] = { name, SLICE(": "), value, SLICE("\r\n\r\n") };
	uint8_t *p = NULL, *q;

	if (m->n < HEAD_LINES_MAX)
		p = arena_take(a, name.n + value.n + H2_LINE_EXTRA + 2);
	if (p == NULL)
		return false;
	q = p;
	for (unsigned i = 0; i < countof(text); i++) {
		memcpy(q, text[i].p, text[i].n);
		q += text[i].n;
	}
	m->h[m->n++] = (struct header){ .line = slice_of(p, name.n + value.n + H2_LINE_EXTRA),
					.name = slice_of(p, name.n),
					.value = slice_of(p + name.n + 2, value.n) };
	return true;
}

/* The line of this name that is passed on, or NULL. */
static struct header *line_named(struct head *m, struct slice name)
{
	for (uint32_t i = 0; i < m->n; i++)
		if (!m->h[i].drop && slice_caseeq(m->h[i].name, name))
			return &m->h[i];
	return NULL;
}

static bool add_websocket_key(struct head *m, struct arena *a)
{
	uint8_t key[WEBSOCKET_KEY_BYTES];

	if (line_named(m, SLICE("sec-websocket-key")))
		return true;
	websocket_key(key);
	return add_line(m, a, SLICE("sec-websocket-key"), slice_of(key, sizeof key));
}

/* Section 8.3.1, RFC 8441 section 4: which pseudo headers there must be, and what they may hold. */
static enum reason parse_pseudo(struct head *m, const struct said *s,
				const struct http1_limits *lim)
{
	const struct slice *ps = s->pseudo;
	bool extended = ps[PSEUDO_PROTOCOL].p != NULL;
	struct slice host = s->host;
	unsigned flags;

	m->method = ps[PSEUDO_METHOD];
	if (ps[PSEUDO_STATUS].p || !is_token(m->method))
		return REASON_BAD_REQUEST;
	if (m->method.n > METHOD_MAX)
		return REASON_BAD_METHOD;
	flags = method_flags(m->method);
	m->is_connect = flags & METHOD_CONNECT && !extended;
	if (extended && !(flags & METHOD_CONNECT))
		return REASON_BAD_REQUEST;
	m->is_head = flags & METHOD_HEAD;
	m->is_idempotent = flags & METHOD_IDEMPOTENT;

	m->authority = ps[PSEUDO_AUTHORITY];
	if (s->hosts > 1 || (s->hosts && !is_authority(host, false)))
		return REASON_BAD_REQUEST;
	if (m->authority.n == 0 && !m->is_connect)
		m->authority = host;
	if (!is_authority(m->authority, m->is_connect) ||
	    (s->hosts && !slice_caseeq(m->authority, host)))
		return REASON_BAD_REQUEST;

	if (m->is_connect) {
		m->target = m->authority;
		return ps[PSEUDO_SCHEME].p || ps[PSEUDO_PATH].p ? REASON_BAD_REQUEST : REASON_NONE;
	}
	if (!slice_caseeq(ps[PSEUDO_SCHEME], SLICE("http")) &&
	    !slice_caseeq(ps[PSEUDO_SCHEME], SLICE("https")))
		return REASON_BAD_REQUEST;
	if (ps[PSEUDO_PATH].n > lim->uri_bytes)
		return REASON_URI_TOO_LONG;
	if (!parse_path(m, ps[PSEUDO_PATH], flags & METHOD_OPTIONS))
		return REASON_BAD_REQUEST;
	if (extended) {
		/* As it would have been asked in HTTP/1.  h2c there would hide requests from us. */
		if (!is_token(ps[PSEUDO_PROTOCOL]) || slice_caseeq(ps[PSEUDO_PROTOCOL], SLICE("h2c")) ||
		    slice_caseeq(ps[PSEUDO_PROTOCOL], SLICE("h2")))
			return REASON_BAD_REQUEST;
		m->method = SLICE("GET");
		m->is_idempotent = false;
		m->upgrade = true;
		m->upgrade_token = ps[PSEUDO_PROTOCOL];
	}
	return REASON_NONE;
}

static enum reason parse_request(struct h2_block *b, const struct http1_limits *lim, struct arena *a,
				 struct head *m)
{
	struct said s = { 0 };
	enum reason bad;
	int r = parse_lines(b, lim->headers, m, &s);

	if (r != LINES_OK)
		return r == LINES_FULL ? REASON_HEAD_TOO_LARGE : REASON_BAD_REQUEST;
	bad = parse_pseudo(m, &s, lim);
	if (bad)
		return bad;
	/* A tunnel has bytes, no body: no length, and the block does not end it. */
	if (m->is_connect || m->upgrade) {
		if (s.lengths && (s.length_bad || s.length))
			return REASON_BAD_FRAMING;
		if (b->is_end && m->is_connect)
			return REASON_BAD_REQUEST;
		m->body = BODY_NONE;
	} else {
		if (s.length_bad || (b->is_end && s.length))
			return REASON_BAD_FRAMING;
		m->body = s.lengths ? BODY_LENGTH : b->is_end ? BODY_NONE : BODY_CHUNKED;
		m->length = s.length;
	}
	if (s.expect_other)
		return REASON_BAD_EXPECT;
	m->expects_continue = s.expect_continue && (m->body == BODY_CHUNKED || m->length);
	for (uint32_t i = 0; s.expect_continue && i < m->n; i++)
		if (m->h[i].id == HN_EXPECT && !m->expects_continue)
			m->h[i].drop = true;
	m->te_trailers = s.te_trailers;
	if (!join_cookies(b, m, &s, a))
		return REASON_TOO_LARGE;
	if (m->upgrade && slice_caseeq(m->upgrade_token, SLICE("websocket")) &&
	    !add_websocket_key(m, a))
		return REASON_TOO_LARGE;
	return REASON_NONE;
}

int http2_request(struct h2_block *b, const struct http1_limits *lim, struct arena *a,
		  struct head *ret, enum reason *why)
{
	enum reason bad = parse_request(b, lim, a, ret);

	if (bad == REASON_NONE)
		return 0;
	*why = bad;
	return -1;
}

static enum reason parse_response(const struct h2_block *b, const struct http1_limits *lim,
				  struct arena *a, const struct http2_asked *asked, struct head *m)
{
	struct said s = { 0 };
	uint64_t status;
	int r = parse_lines(b, lim->headers, m, &s);

	if (r != LINES_OK)
		return r == LINES_FULL ? REASON_BACK_HEAD_TOO_LARGE : REASON_BACK_BAD_RESPONSE;
	for (unsigned i = 0; i < PSEUDO_STATUS; i++)
		if (s.pseudo[i].p)
			return REASON_BACK_BAD_RESPONSE;
	if (s.pseudo[PSEUDO_STATUS].n != 3 || !slice_u64(s.pseudo[PSEUDO_STATUS], 999, &status) ||
	    status < 100 || status == 101)
		return REASON_BACK_BAD_RESPONSE;
	m->status = (unsigned)status;
	m->status_text = slice_str(http_status_text(m->status));
	if (s.length_bad)
		return REASON_BACK_BAD_FRAMING;
	if (status < 200) {
		if (s.length || b->is_end)
			return REASON_BACK_BAD_FRAMING;
		m->body = BODY_NONE;
	} else if (asked->upgrade.n && status < 300) {
		m->status = 101;
		m->status_text = slice_str(http_status_text(101));
		m->upgrade = true;
		m->upgrade_token = asked->upgrade;
		m->body = BODY_TUNNEL;
		m->keep_alive = false;
		if (asked->websocket_key.n) {
			uint8_t accept[WEBSOCKET_ACCEPT_BYTES];
			struct header *h = line_named(m, SLICE("sec-websocket-accept"));

			if (h)
				h->drop = true;
			websocket_accept(asked->websocket_key, accept);
			if (!add_line(m, a, SLICE("sec-websocket-accept"),
				      slice_of(accept, sizeof accept)))
				return REASON_BACK_HEAD_TOO_LARGE;
		}
	} else if (asked->connect && status < 300) {
		m->body = BODY_TUNNEL;
		m->keep_alive = false;
	} else if (asked->head || status == 304 || status == 204) {
		m->body = BODY_NONE;
		m->length = status == 204 ? 0 : s.length;
	} else if (b->is_end && s.length) {
		return REASON_BACK_BAD_FRAMING;
	} else if (s.lengths || b->is_end) {
		m->body = BODY_LENGTH;
		m->length = s.length;
	} else {
		m->body = BODY_CHUNKED;
	}
	return REASON_NONE;
}

int http2_response(const struct h2_block *b, const struct http1_limits *lim, struct arena *a,
		   const struct http2_asked *asked, struct head *ret, enum reason *why)
{
	enum reason bad = parse_response(b, lim, a, asked, ret);

	if (bad == REASON_NONE)
		return 0;
	*why = bad;
	return -1;
}

bool http2_trailers(const struct h2_block *b, struct head *ret)
{
	struct said s = { 0 };

	if (parse_lines(b, HEAD_LINES_MAX, ret, &s) != LINES_OK)
		return false;
	for (unsigned i = 0; i < PSEUDOS; i++)
		if (s.pseudo[i].p)
			return false;
	for (uint32_t i = 0; i < ret->n; i++)
		ret->h[i].drop = !header_may_be_trailer(ret->h[i].name);
	return true;
}
