/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* HTTP/2 heads on their way out: pseudo headers and framing are written by us, lines are referenced
 * where they lie; nghttp2 makes their names lower-case when it copies them. */
#include "nodeproxy/lib/base/strbuf.h"
#include "workers/codec/headers.h"
#include "workers/codec/http2.h"

struct put {
	struct h2_field *f;
	struct arena *arena;
	int n, max;
	bool full;		/* sticky; checked once at the end */
};

static void put(struct put *o, struct slice name, struct slice value)
{
	if (o->n == o->max) {
		o->full = true;
		return;
	}
	o->f[o->n++] = (struct h2_field){ name.p, value.p, name.n, value.n, 0 };
}

static void put_number(struct put *o, struct slice name, uint64_t v)
{
	uint8_t *p = arena_take(o->arena, 20);
	char *at;

	if (p == NULL) {
		o->full = true;
		return;
	}
	at = u64_digits(v, (char *)p);
	put(o, name, slice_of(at, (size_t)((char *)p + 20 - at)));
}

/* What a table of the connection must not remember: it would let who shares it guess them. */
static bool is_secret(struct slice name, struct slice value)
{
	switch (name.n) {
	case 6:		/* short ones can be guessed */
		return value.n < 20 && slice_caseeq(name, SLICE("cookie"));
	case 10:
		return slice_caseeq(name, SLICE("set-cookie"));
	case 13:
		return slice_caseeq(name, SLICE("authorization"));
	case 19:
		return slice_caseeq(name, SLICE("proxy-authorization"));
	default:
		return false;
	}
}

/* Lines of HTTP/1 only, beside those that are dropped already. */
static bool is_of_http1(const struct header *h, bool websocket)
{
	switch (h->id) {
	case HN_CONNECTION:
	case HN_KEEP_ALIVE:
	case HN_PROXY_CONNECTION:
	case HN_TRANSFER_ENCODING:
	case HN_UPGRADE:
	case HN_TE:
	case HN_HOST:
	case HN_CONTENT_LENGTH:
		return true;
	case HN_OTHER:
		return slice_caseeq(h->name, SLICE("http2-settings")) ||
		       (websocket && (slice_caseeq(h->name, SLICE("sec-websocket-key")) ||
				      slice_caseeq(h->name, SLICE("sec-websocket-accept"))));
	default:
		return false;
	}
}

static void put_lines(struct put *o, const struct head *m, bool websocket)
{
	for (uint32_t i = 0; i < m->n; i++) {
		const struct header *h = &m->h[i];

		if (h->drop || is_of_http1(h, websocket))
			continue;
		put(o, h->name, h->value);
		if (!o->full)
			o->f[o->n - 1].is_secret = is_secret(h->name, h->value);
	}
}

/* Complete lines of HTTP/1, as we write them. */
static void put_extra(struct put *o, struct slice extra)
{
	while (extra.n) {
		const uint8_t *end = memchr(extra.p, '\r', extra.n);
		struct slice line = slice_of(extra.p, end ? (size_t)(end - extra.p) : extra.n);
		const uint8_t *colon = memchr(line.p, ':', line.n);

		extra = slice_from(extra, line.n + 2);
		if (colon)
			put(o, slice_of(line.p, (size_t)(colon - line.p)),
			    slice_trim(slice_from(line, (size_t)(colon - line.p) + 1)));
	}
}

/* Path and query lie together as they came, but for targets that had no path. */
static bool target(const struct head *m, struct arena *a, struct slice *ret)
{
	uint8_t *p;

	*ret = m->path;
	if (m->query.p == NULL)
		return true;
	if (m->path.p + m->path.n + 1 == m->query.p) {
		ret->n += 1 + m->query.n;
		return true;
	}
	p = arena_take(a, m->path.n + 1 + m->query.n);
	if (p == NULL)
		return false;
	memcpy(p, m->path.p, m->path.n);
	p[m->path.n] = '?';
	if (m->query.n)
		memcpy(p + m->path.n + 1, m->query.p, m->query.n);
	*ret = slice_of(p, m->path.n + 1 + m->query.n);
	return true;
}

bool http2_can_put_request(const struct head *m, bool peer_takes_connect)
{
	return !m->upgrade || (peer_takes_connect && is_token(m->upgrade_token));
}

int http2_put_request(const struct head *m, const struct http2_out *how, struct arena *a,
		      struct h2_field *f, int max)
{
	struct put o = { .f = f, .arena = a, .max = max };
	struct slice path;

	put(&o, SLICE(":method"), m->upgrade ? SLICE("CONNECT") : m->method);
	if (!m->is_connect) {
		if (!target(m, a, &path))
			return -1;
		put(&o, SLICE(":scheme"), how->https ? SLICE("https") : SLICE("http"));
		put(&o, SLICE(":path"), path);
	}
	/* HTTP/1.0 need not have one, and an empty one may not be sent. */
	if (m->authority.n)
		put(&o, SLICE(":authority"), m->authority);
	if (m->upgrade)
		put(&o, SLICE(":protocol"), m->upgrade_token);
	if (m->body == BODY_LENGTH)
		put_number(&o, SLICE("content-length"), m->length);
	if (m->te_trailers)
		put(&o, SLICE("te"), SLICE("trailers"));
	put_extra(&o, how->extra);
	put_extra(&o, how->more);
	put_lines(&o, m, m->upgrade);
	return o.full ? -1 : o.n;
}

int http2_put_response(const struct head *m, const struct http2_out *how, struct arena *a,
		       struct h2_field *f, int max)
{
	struct put o = { .f = f, .arena = a, .max = max };

	put_number(&o, SLICE(":status"), m->status == 101 ? 200 : m->status);
	if (m->body == BODY_LENGTH) {
		put_number(&o, SLICE("content-length"), m->length);
	} else if (m->body == BODY_NONE && m->status >= 200 && m->status != 204 &&
		   m->has & HN_BIT(HN_CONTENT_LENGTH)) {
		/* HEAD and 304 tell the length of what they do not send. */
		put_number(&o, SLICE("content-length"), m->length);
	}
	if (m->status >= 200 && !(m->has & HN_BIT(HN_DATE)))
		put_extra(&o, how->date);
	put_extra(&o, how->extra);
	put_extra(&o, how->more);
	put_lines(&o, m, m->status == 101);
	return o.full ? -1 : o.n;
}

int http2_put_trailers(const struct head *m, struct h2_field *f, int max)
{
	struct put o = { .f = f, .max = max };

	put_lines(&o, m, false);
	return o.full ? -1 : o.n;
}

int http2_put_lines(struct slice lines, struct h2_field *f, int max)
{
	struct put o = { .f = f, .max = max };

	put_extra(&o, lines);
	return o.full ? -1 : o.n;
}
