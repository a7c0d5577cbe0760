/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* HTTP/1.x heads on their way out, and the answers we give ourselves.
 *
 * First line, Host, framing and connection lines are always written by us; all other lines go out
 * from where they lie, in their order, and lines that follow each other there share one iovec (the
 * last one with the empty line that ended the head).  Most heads leave as two or three pieces. */
#include <time.h>

#include "workers/codec/headers.h"
#include "workers/codec/http1.h"
#include "nodeproxy/lib/base/strbuf.h"

/* What is longer than this goes out from where it lies: the arena is for small things. */
#define COPY_MAX 512

struct put {
	struct iovec *iov;
	int n, max;
	uint8_t *own;		/* our text, from the arena */
	size_t used, room;
	bool full;		/* sticky; checked once at the end */
};

static void put_ref(struct put *o, const uint8_t *p, size_t n)
{
	struct iovec *last = o->n ? &o->iov[o->n - 1] : NULL;

	if (n == 0 || o->full)
		return;
	if (last && (const uint8_t *)last->iov_base + last->iov_len == p) {
		last->iov_len += n;
		return;
	}
	if (o->n == o->max) {
		o->full = true;
		return;
	}
	o->iov[o->n++] = (struct iovec){ (void *)p, n };
}

static void put_bytes(struct put *o, struct slice s)
{
	if (s.n > COPY_MAX) {
		put_ref(o, s.p, s.n);
		return;
	}
	if (s.n == 0)
		return;
	if (o->room - o->used < s.n) {
		o->full = true;
		return;
	}
	memcpy(o->own + o->used, s.p, s.n);
	put_ref(o, o->own + o->used, s.n);
	o->used += s.n;
}

static void put_number(struct put *o, uint64_t v)
{
	char buf[20];
	char *at = u64_digits(v, buf);

	put_bytes(o, slice_of(at, (size_t)(buf + sizeof buf - at)));
}

#define put_text(o, lit) put_bytes(o, SLICE(lit))

static size_t own_room(struct slice s)
{
	return s.n > COPY_MAX ? 0 : s.n;
}

/* 384: all literal text of a head, every line of it at once, is 234 bytes, numbers 23, the date 37. */
static bool put_start(struct put *o, struct arena *a, struct iovec *iov, int max, size_t variable)
{
	*o = (struct put){ .iov = iov, .max = max, .room = 384 + variable };
	o->own = arena_take(a, o->room);
	return o->own != NULL;
}

/* Connection, and what it names.  close says more than keep-alive, which only 1.0 needs to hear. */
static void put_connection(struct put *o, bool close, bool say_keep_alive, struct slice upgrade,
			   bool te)
{
	if (!close && !say_keep_alive && upgrade.n == 0 && !te)
		return;
	put_text(o, "Connection: ");
	if (close)
		put_text(o, "close");
	else if (say_keep_alive)
		put_text(o, "keep-alive");
	if (upgrade.n) {
		if (close || say_keep_alive)
			put_text(o, ", ");
		put_text(o, "Upgrade");
	}
	if (te) {
		if (close || say_keep_alive || upgrade.n)
			put_text(o, ", ");
		put_text(o, "TE");
	}
	put_text(o, "\r\n");
	if (upgrade.n) {
		put_text(o, "Upgrade: ");
		put_bytes(o, upgrade);
		put_text(o, "\r\n");
	}
	if (te)
		put_text(o, "TE: trailers\r\n");
}

static int put_lines(struct put *o, const struct head *m, bool trailers)
{
	static const uint8_t crlf[] = "\r\n";
	const uint8_t *empty = crlf;

	for (uint32_t i = 0; i < m->n; i++) {
		const struct header *h = &m->h[i];

		if (h->drop || (h->id == HN_TRAILER && !trailers))
			continue;
		if (h->line.n == 0) {		/* not from HTTP/1: spelled here */
			put_ref(o, h->name.p, h->name.n);
			put_ref(o, (const uint8_t *)": ", 2);
			put_ref(o, h->value.p, h->value.n);
			put_ref(o, crlf, 2);
			continue;
		}
		put_ref(o, h->line.p, h->line.n);
		if (i + 1 == m->n)
			empty = h->line.p + h->line.n;	/* there the head ended */
	}
	put_ref(o, empty, 2);
	return o->full ? -1 : o->n;
}

int http1_put_request(const struct head *m, const struct http1_out *how, struct arena *a,
		      struct iovec *iov, int max)
{
	struct slice token = m->upgrade ? m->upgrade_token : slice_of(NULL, 0);
	bool chunked = m->body == BODY_CHUNKED || (how->chunked && m->body != BODY_NONE);
	struct put o;

	if (!put_start(&o, a, iov, max, own_room(m->method) + own_room(m->path) +
		       own_room(m->query) + 2 * own_room(m->authority) + own_room(token) +
		       own_room(how->extra) + own_room(how->more)))
		return -1;
	put_bytes(&o, m->method);
	put_text(&o, " ");
	if (m->is_connect) {
		put_bytes(&o, m->authority);
	} else {
		put_bytes(&o, m->path);
		/* "/?" and "/" are two resources: an empty query keeps its mark. */
		if (m->query.p) {
			put_text(&o, "?");
			put_bytes(&o, m->query);
		}
	}
	put_text(&o, " HTTP/1.1\r\nHost: ");
	put_bytes(&o, m->authority);
	put_text(&o, "\r\n");
	if (chunked) {
		put_text(&o, "Transfer-Encoding: chunked\r\n");
	} else if (m->body == BODY_LENGTH) {
		put_text(&o, "Content-Length: ");
		put_number(&o, m->length);
		put_text(&o, "\r\n");
	}
	put_connection(&o, !how->keep_alive && token.n == 0, how->keep_alive && how->to_http10,
		       token, m->te_trailers);
	put_bytes(&o, how->extra);
	put_bytes(&o, how->more);
	return put_lines(&o, m, chunked);
}

int http1_put_response(const struct head *m, const struct http1_out *how, struct arena *a,
		       struct iovec *iov, int max)
{
	bool interim = m->status < 200 && m->status != 101;
	bool has_body = m->body == BODY_LENGTH || m->body == BODY_CHUNKED ||
			m->body == BODY_UNTIL_CLOSE;
	bool chunked = has_body && how->chunked && !how->to_http10;
	bool until_close = has_body && !chunked && m->body != BODY_LENGTH;
	bool keep = how->keep_alive && !until_close;
	struct put o;

	if (!put_start(&o, a, iov, max, own_room(m->status_text) + own_room(m->upgrade_token) +
		       own_room(how->extra) + own_room(how->more)))
		return -1;
	put_text(&o, "HTTP/1.1 ");
	put_number(&o, m->status);
	put_text(&o, " ");
	put_bytes(&o, m->status_text);
	put_text(&o, "\r\n");
	if (chunked) {
		put_text(&o, "Transfer-Encoding: chunked\r\n");
	} else if (m->body == BODY_LENGTH) {
		put_text(&o, "Content-Length: ");
		put_number(&o, m->length);
		put_text(&o, "\r\n");
	} else if (m->body == BODY_NONE && m->status >= 200 && m->status != 204 &&
		   m->has & HN_BIT(HN_CONTENT_LENGTH)) {
		/* HEAD and 304 tell the length of what they do not send. */
		put_text(&o, "Content-Length: ");
		put_number(&o, m->length);
		put_text(&o, "\r\n");
	}
	if (m->status == 101)
		put_connection(&o, false, false, m->upgrade_token, false);
	else if (!interim && m->body != BODY_TUNNEL)
		put_connection(&o, !keep, keep && how->to_http10, m->upgrade_token, false);
	if (m->status >= 200 && !(m->has & HN_BIT(HN_DATE)))
		put_bytes(&o, how->date);
	put_bytes(&o, how->extra);
	put_bytes(&o, how->more);
	return put_lines(&o, m, chunked);
}

/* ---- our own answers ---- */

void http1_date(int64_t unix_s, char out[HTTP1_DATE_TEXT])
{
	char text[HTTP1_DATE_TEXT + 1];
	time_t t = (time_t)unix_s;
	struct tm tm;

	/* No locale is ever set, so names are English. */
	must(gmtime_r(&t, &tm) &&
	     strftime(text, sizeof text, "Date: %a, %d %b %Y %H:%M:%S GMT\r\n", &tm) == HTTP1_DATE_TEXT);
	memcpy(out, text, HTTP1_DATE_TEXT);
}

const char *http_status_text(unsigned status)
{
	switch (status) {
	case 100: return "Continue";
	case 101: return "Switching Protocols";
	case 200: return "OK";
	case 204: return "No Content";
	case 301: return "Moved Permanently";
	case 302: return "Found";
	case 303: return "See Other";
	case 304: return "Not Modified";
	case 307: return "Temporary Redirect";
	case 308: return "Permanent Redirect";
	case 400: return "Bad Request";
	case 401: return "Unauthorized";
	case 403: return "Forbidden";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 408: return "Request Timeout";
	case 413: return "Content Too Large";
	case 414: return "URI Too Long";
	case 417: return "Expectation Failed";
	case 426: return "Upgrade Required";
	case 429: return "Too Many Requests";
	case 431: return "Request Header Fields Too Large";
	case 500: return "Internal Server Error";
	case 501: return "Not Implemented";
	case 502: return "Bad Gateway";
	case 503: return "Service Unavailable";
	case 504: return "Gateway Timeout";
	case 505: return "HTTP Version Not Supported";
	default: return "";
	}
}

size_t http1_local_answer(unsigned status, enum reason why, bool keep, bool head_only,
			  struct slice date, char *out, size_t room)
{
	const struct reason_row *row = reason_row(why);
	struct strbuf b = strbuf_on(out, room);

	strbuf_adds(&b, "HTTP/1.1 ");
	strbuf_u64(&b, status);
	strbuf_addc(&b, ' ');
	strbuf_adds(&b, http_status_text(status));
	strbuf_adds(&b, "\r\n");
	strbuf_add(&b, date);
	strbuf_adds(&b, "Content-Type: text/plain\r\nContent-Length: ");
	strbuf_u64(&b, strlen(row->words) + 1);
	strbuf_adds(&b, "\r\nx-nodeproxy-reason: ");
	strbuf_adds(&b, row->name);
	strbuf_adds(&b, keep ? "\r\n\r\n" : "\r\nConnection: close\r\n\r\n");
	if (!head_only) {
		strbuf_adds(&b, row->words);
		strbuf_addc(&b, '\n');
	}
	must(!b.cut);
	return b.n;
}
