/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* HTTP/1.x heads: our own grammar in one pass, then llhttp's opinion.
 *
 * The pass walks the bytes once, line by line, and stops at the first byte that RFC 9112 does not
 * allow where it stands; it keeps spans only.  What a message means (framing, connection, target)
 * is decided from the lines it found, in requests and responses by the same rules.  A head that is
 * not complete yet is parsed as far as it goes, so that nonsense is refused when it arrives and
 * not when its sender gets tired; it is parsed again from its start when more has come. */
#include <llhttp.h>

#include "workers/codec/headers.h"
#include "workers/codec/http1.h"

enum { HEAD_OK, HEAD_MORE, HEAD_BAD, HEAD_FULL };

/* Methods are short; the longest in IANA's registry has 17 bytes. */
#define METHOD_MAX 64
/* Names in Connection lines: each is compared with every line. */
#define NOMINATED_MAX 64

/* What the lines said, before it is decided whether they may have said it together. */
struct said {
	unsigned hosts, lengths, codings, upgrades;
	struct slice host, upgrade;
	uint64_t length;
	bool length_bad;		/* no number, or two different ones */
	bool coding_bad, coding_other;	/* breaks the grammar or its order; not "chunked" */
	bool connection_bad;
	bool close, keep_alive, connection_upgrade, nominates;
	bool expect_continue, expect_other;
	bool te_trailers;
};

static void said_connection(struct said *s, struct slice v)
{
	struct slice one;

	while (list_next(&v, &one)) {
		if (!is_token(one))
			s->connection_bad = true;
		else if (slice_caseeq(one, SLICE("close")))
			s->close = true;
		else if (slice_caseeq(one, SLICE("keep-alive")))
			s->keep_alive = true;
		else if (slice_caseeq(one, SLICE("upgrade")))
			s->connection_upgrade = true;
		else
			s->nominates = true;
	}
}

/* Only "chunked", once, is served.  Other codings are a matter of service (501), everything else
 * of framing: a list whose end is not chunked leaves the length of the body to be guessed. */
static void said_coding(struct said *s, struct slice v)
{
	if (s->codings++)
		s->coding_bad = true;
	if (slice_caseeq(v, SLICE("chunked")))
		return;
	s->coding_other = true;
	for (;;) {
		const uint8_t *comma = memchr(v.p, ',', v.n);
		struct slice one = slice_trim(slice_of(v.p, comma ? (size_t)(comma - v.p) : v.n));
		const uint8_t *semi = one.n ? memchr(one.p, ';', one.n) : NULL;
		struct slice name = slice_trim(slice_of(one.p, semi ? (size_t)(semi - one.p) : one.n));

		if (!is_token(name) || (comma && slice_caseeq(name, SLICE("chunked"))))
			s->coding_bad = true;
		if (comma == NULL)
			return;
		v = slice_from(v, (size_t)(comma - v.p) + 1);
	}
}

static void said_length(struct said *s, struct slice v)
{
	uint64_t n;

	if (!slice_u64(v, INT64_MAX, &n) || (s->lengths && n != s->length))
		s->length_bad = true;
	else
		s->length = n;
	s->lengths++;
}

/* Notes what a line says; true: it is not passed on (hop-by-hop, or written by us). */
static bool said_line(struct said *s, enum header_name id, struct slice v)
{
	struct slice one;

	switch (id) {
	case HN_HOST:
		s->hosts++;
		s->host = v;
		return true;
	case HN_CONNECTION:
		said_connection(s, v);
		return true;
	case HN_TRANSFER_ENCODING:
		said_coding(s, v);
		return true;
	case HN_CONTENT_LENGTH:
		said_length(s, v);
		return true;
	case HN_UPGRADE:
		s->upgrades++;
		s->upgrade = v;
		return true;
	case HN_TE:
		while (list_next(&v, &one))
			s->te_trailers |= slice_caseeq(one, SLICE("trailers"));
		return true;
	case HN_EXPECT:
		if (slice_caseeq(v, SLICE("100-continue")))
			s->expect_continue = true;
		else
			s->expect_other = true;
		return false;
	case HN_KEEP_ALIVE:
	case HN_PROXY_CONNECTION:
	case HN_PROXY_AUTHENTICATE:
	case HN_PROXY_AUTHORIZATION:
		return true;
	default:
		return false;
	}
}

/* The lines after the first, with the empty one.  *pp moves behind what was complete. */
static int parse_lines(const uint8_t **pp, const uint8_t *end, const struct http1_limits *lim,
		       struct head *ret, struct said *s)
{
	uint32_t most = min_of(lim->headers, (uint32_t)HEAD_LINES_MAX);
	const uint8_t *p = *pp;
	uint32_t n = 0;

	for (;; p += 2) {
		const uint8_t *start = p, *colon, *value, *stop;
		struct header *h;

		*pp = p;
		ret->n = n;
		while (p < end && byte_is(*p, BC_TOKEN))
			p++;
		if (unlikely(p == end))
			return HEAD_MORE;
		if (*p != ':') {
			if (p != start || *p != '\r')
				return HEAD_BAD;	/* a fold, a blank before the colon, no colon */
			if (p + 1 == end)
				return HEAD_MORE;
			if (p[1] != '\n')
				return HEAD_BAD;
			*pp = p + 2;
			return HEAD_OK;
		}
		if (p == start)
			return HEAD_BAD;		/* an empty name */
		colon = p++;
		while (p < end && (*p == ' ' || *p == '\t'))
			p++;
		value = p;
		p = value_end(p, end);
		if (unlikely(p == end))
			return HEAD_MORE;
		if (*p != '\r')
			return HEAD_BAD;
		if (unlikely(p + 1 == end))
			return HEAD_MORE;
		if (p[1] != '\n')
			return HEAD_BAD;
		if (unlikely(n == most))
			return HEAD_FULL;
		for (stop = p; stop > value && (stop[-1] == ' ' || stop[-1] == '\t'); )
			stop--;
		h = &ret->h[n++];
		h->line = slice_of(start, (size_t)(p + 2 - start));
		h->name = slice_of(start, (size_t)(colon - start));
		h->value = slice_of(value, (size_t)(stop - value));
		h->id = header_name_of(h->name);
		h->drop = false;
		if (h->id != HN_OTHER) {
			head_has(ret, h);
			h->drop = said_line(s, h->id, h->value);
		}
	}
}

/* A Connection line may name further lines of this hop.  What we write ourselves is dropped
 * already; who the caller is and the trace are not its to take away from the next hop. */
static bool may_be_nominated(enum header_name id)
{
	switch (id) {
	case HN_EXPECT:
	case HN_DATE:
	case HN_VIA:
	case HN_X_FORWARDED_FOR:
	case HN_X_FORWARDED_PROTO:
	case HN_X_FORWARDED_HOST:
	case HN_FORWARDED:
	case HN_X_REQUEST_ID:
	case HN_TRACEPARENT:
	case HN_TRACESTATE:
		return false;
	default:
		return true;
	}
}

static int drop_nominated(struct head *m)
{
	unsigned count = 0;

	for (uint32_t c = 0; c < m->n; c++) {
		struct slice v = m->h[c].value, one;

		if (m->h[c].id != HN_CONNECTION)
			continue;
		while (list_next(&v, &one)) {
			if (++count > NOMINATED_MAX)
				return HEAD_FULL;
			for (uint32_t i = 0; i < m->n; i++)
				if (slice_caseeq(m->h[i].name, one) && may_be_nominated(m->h[i].id))
					m->h[i].drop = true;
		}
	}
	return HEAD_OK;
}

/* What llhttp 8.1 refuses although RFC 9110 allows it: a Content-Length that repeats an equal one,
 * and a tab behind that or behind "chunked".  Our parse has read the values and decides alone. */
static bool llhttp_is_too_strict(const struct head *m, enum llhttp_errno e)
{
	unsigned lengths = 0;
	bool tab = false;

	for (uint32_t i = 0; i < m->n; i++) {
		if (m->h[i].id != HN_CONTENT_LENGTH && m->h[i].id != HN_TRANSFER_ENCODING)
			continue;
		lengths += m->h[i].id == HN_CONTENT_LENGTH;
		tab |= memchr(m->h[i].line.p, '\t', m->h[i].line.n) != NULL;
	}
	return (e == HPE_UNEXPECTED_CONTENT_LENGTH && lengths > 1) ||
	       ((e == HPE_INVALID_CONTENT_LENGTH || e == HPE_INVALID_TRANSFER_ENCODING) && tab);
}

/* llhttp, all lenient flags off, over exactly the head: what either of us refuses is refused.
 * Methods it does not know are no reason; it then reads a GET instead, so that it still sees the
 * rest. */
static bool llhttp_agrees(llhttp_type_t type, const struct head *m, struct slice head,
			  bool method_known)
{
	enum llhttp_errno e;
	llhttp_t l;

	llhttp_init(&l, type, NULL);
	if (!method_known) {
		e = llhttp_execute(&l, "GET", 3);
		if (e != HPE_OK)
			return false;
		head = slice_from(head, m->method.n);
	}
	e = llhttp_execute(&l, (const char *)head.p, head.n);
	return e == HPE_OK || e == HPE_PAUSED_UPGRADE || llhttp_is_too_strict(m, e);
}

static void head_clear(struct head *m)
{
	memset(m, 0, offsetof(struct head, h));
}

/* ---- requests ---- */

enum { METHOD_KNOWN = 1, METHOD_IDEMPOTENT = 2, METHOD_HEAD = 4, METHOD_CONNECT = 8,
       METHOD_OPTIONS = 16 };

/* Known: llhttp knows it too. */
static unsigned method_flags(struct slice m)
{
	static const struct {
		const char *name;
		unsigned flags;
	} rows[] = {
		{ "GET", METHOD_IDEMPOTENT },
		{ "POST", 0 },
		{ "PUT", METHOD_IDEMPOTENT },
		{ "HEAD", METHOD_IDEMPOTENT | METHOD_HEAD },
		{ "DELETE", METHOD_IDEMPOTENT },
		{ "PATCH", 0 },
		{ "OPTIONS", METHOD_IDEMPOTENT | METHOD_OPTIONS },
		{ "CONNECT", METHOD_CONNECT },
		{ "TRACE", METHOD_IDEMPOTENT },
	};

	for (unsigned i = 0; i < countof(rows); i++)
		if (m.p[0] == (uint8_t)rows[i].name[0] && slice_eq(m, slice_str(rows[i].name)))
			return rows[i].flags | METHOD_KNOWN;
	return 0;
}

/* RFC 9112 section 3.2: the four forms, each only where it belongs. */
static bool parse_target(struct head *m, bool options)
{
	struct slice t = m->target, rest;
	const uint8_t *q;
	size_t i;

	if (m->is_connect) {
		m->authority = t;
		return is_authority(t, true);
	}
	if (t.p[0] == '*') {
		m->path = t;
		return t.n == 1 && options;
	}
	rest = t;
	if (t.p[0] != '/') {
		if (t.n > 7 && slice_caseeq(slice_of(t.p, 7), SLICE("http://")))
			rest = slice_from(t, 7);
		else if (t.n > 8 && slice_caseeq(slice_of(t.p, 8), SLICE("https://")))
			rest = slice_from(t, 8);
		else
			return false;
		for (i = 0; i < rest.n && rest.p[i] != '/' && rest.p[i] != '?'; i++)
			;
		m->authority = slice_of(rest.p, i);
		if (!is_authority(m->authority, false))
			return false;
		rest = slice_from(rest, i);
		if (rest.n == 0 && options) {
			m->path = SLICE("*");		/* section 3.2.4 */
			return true;
		}
	}
	q = rest.n ? memchr(rest.p, '?', rest.n) : NULL;
	m->path = slice_of(rest.p, q ? (size_t)(q - rest.p) : rest.n);
	if (q)
		m->query = slice_from(rest, m->path.n + 1);
	if (m->path.n == 0)
		m->path = SLICE("/");
	return true;
}

/* method SP target SP HTTP/1.x CRLF, with exactly these blanks. */
static int parse_request_line(const uint8_t **pp, const uint8_t *end,
			      const struct http1_limits *lim, struct head *m, enum reason *why)
{
	const uint8_t *p = *pp, *start = p;

	while (p < end && byte_is(*p, BC_TOKEN))
		p++;
	m->method = slice_of(start, (size_t)(p - start));
	if (m->method.n > METHOD_MAX) {
		*why = REASON_BAD_METHOD;
		return HEAD_BAD;
	}
	if (p == end)
		return HEAD_MORE;
	if (*p++ != ' ' || m->method.n == 0)
		return HEAD_BAD;
	start = p;
	while (p < end && byte_is(*p, BC_TARGET))
		p++;
	m->target = slice_of(start, (size_t)(p - start));
	if (m->target.n > lim->uri_bytes) {
		*why = REASON_URI_TOO_LONG;
		return HEAD_BAD;
	}
	if (p == end)
		return HEAD_MORE;
	if (*p++ != ' ' || m->target.n == 0)
		return HEAD_BAD;
	if (likely(end - p >= 10 && memcmp(p, "HTTP/1.", 7) == 0 && (p[7] == '1' || p[7] == '0') &&
		   p[8] == '\r' && p[9] == '\n')) {
		m->minor = p[7] - '0';
		*pp = p + 10;
		return HEAD_OK;
	}
	for (unsigned i = 0; i < 5; i++, p++) {
		if (p == end)
			return HEAD_MORE;
		if (*p != (uint8_t)"HTTP/"[i])
			return HEAD_BAD;
	}
	/* Some other version, or the right one but not all of it yet. */
	for (start = p; p < end && (byte_is(*p, BC_DIGIT) || *p == '.') && p - start < 32; )
		p++;
	if (p == end || (*p == '\r' && p + 1 == end))
		return HEAD_MORE;
	if (*p != '\r' || p[1] != '\n')
		return HEAD_BAD;
	*why = REASON_BAD_VERSION;
	return HEAD_BAD;
}

static int parse_request(struct slice bytes, const struct http1_limits *lim, struct head *m,
			 enum reason *why)
{
	const uint8_t *p = bytes.p, *end = p + bytes.n;
	struct said s = { 0 };
	const uint8_t *start;
	unsigned flags;
	int r;

	while (p < end && *p == '\r') {
		if (p + 1 == end)
			return HEAD_MORE;
		if (p[1] != '\n')
			return HEAD_BAD;
		p += 2;
	}
	start = p;
	r = parse_request_line(&p, end, lim, m, why);
	if (r == HEAD_MORE && bytes.n >= lim->head_bytes && m->target.n)
		*why = REASON_URI_TOO_LONG;	/* there was no room for anything but the target */
	if (r != HEAD_OK)
		return r;
	flags = method_flags(m->method);
	m->is_head = flags & METHOD_HEAD;
	m->is_connect = flags & METHOD_CONNECT;
	m->is_idempotent = flags & METHOD_IDEMPOTENT;
	if (!parse_target(m, flags & METHOD_OPTIONS))
		return HEAD_BAD;
	r = parse_lines(&p, end, lim, m, &s);
	if (r != HEAD_OK)
		return r;
	m->bytes = (size_t)(p - bytes.p);

	/* Section 3.2: one Host in 1.1; its value is nobody's when the target has an authority,
	 * and must be valid all the same. */
	if (s.hosts > 1 || (s.hosts == 0 && m->minor == 1))
		return HEAD_BAD;
	if (s.host.n && !is_authority(s.host, false))
		return HEAD_BAD;
	if (m->authority.n == 0)
		m->authority = s.host;

	/* Section 6.1, 6.3.  Everything that two readers may frame in two ways is refused. */
	if (s.length_bad || s.coding_bad || (s.lengths && s.codings) ||
	    (s.codings && m->minor == 0) || (m->is_connect && (s.codings || s.length))) {
		*why = REASON_BAD_FRAMING;
		return HEAD_BAD;
	}
	if (s.coding_other) {
		*why = REASON_BAD_TRANSFER_CODING;
		return HEAD_BAD;
	}
	m->body = s.codings ? BODY_CHUNKED : s.lengths && !m->is_connect ? BODY_LENGTH : BODY_NONE;
	m->length = m->body == BODY_LENGTH ? s.length : 0;

	if (s.connection_bad)
		return HEAD_BAD;
	if (s.nominates) {
		r = drop_nominated(m);
		if (r != HEAD_OK)
			return r;
	}
	m->keep_alive = !s.close && (m->minor == 1 || s.keep_alive);

	/* Of a 1.0 caller Expect is ignored (RFC 9110 section 10.1.1), and without a body there is
	 * nothing to continue. */
	if (s.expect_other && m->minor == 1) {
		*why = REASON_BAD_EXPECT;
		return HEAD_BAD;
	}
	if (s.expect_continue || s.expect_other) {
		m->expects_continue = m->minor == 1 && (m->body == BODY_CHUNKED || m->length);
		for (uint32_t i = 0; i < m->n; i++)
			if (m->h[i].id == HN_EXPECT && !m->expects_continue)
				m->h[i].drop = true;
	}
	m->te_trailers = s.te_trailers && m->minor == 1;

	/* An upgrade is a wish and may be ignored: when it does not come in one piece, when a body
	 * comes first (we would have to know where it ends after the switch), and for h2c, which
	 * would hide every later request from routing and policy. */
	m->upgrade = s.connection_upgrade && s.upgrades == 1 && s.upgrade.n && m->minor == 1 &&
		     m->body != BODY_CHUNKED && m->length == 0;
	if (m->upgrade) {
		struct slice list = s.upgrade, one;

		while (list_next(&list, &one))
			if (slice_caseeq(one, SLICE("h2c")) || slice_caseeq(one, SLICE("h2")))
				m->upgrade = false;
	}
	if (m->upgrade)
		m->upgrade_token = s.upgrade;

	if (!llhttp_agrees(HTTP_REQUEST, m, slice_of(start, (size_t)(p - start)),
			   flags & METHOD_KNOWN))
		return HEAD_BAD;
	return HEAD_OK;
}

int http1_request(struct slice bytes, const struct http1_limits *lim, struct head *ret,
		  enum reason *why)
{
	enum reason bad = REASON_BAD_REQUEST;
	int r;

	head_clear(ret);
	r = parse_request(bytes, lim, ret, &bad);
	if (r == HEAD_MORE && bytes.n < lim->head_bytes)
		return 0;
	if (r == HEAD_OK && ret->bytes <= lim->head_bytes)
		return 1;
	if (r != HEAD_BAD && bad == REASON_BAD_REQUEST)
		bad = REASON_HEAD_TOO_LARGE;
	*why = bad;
	return -1;
}

/* ---- responses ---- */

/* HTTP/1.x SP status [SP [text]] CRLF: the blank after the status belongs there even without a
 * text, but too many servers leave it out, and nothing else could be meant. */
static int parse_status_line(const uint8_t **pp, const uint8_t *end, struct head *m)
{
	const uint8_t *p = *pp, *start;

	for (unsigned i = 0; i < 13; i++, p++) {
		static const char form[] = "HTTP/1.x 000";

		if (p == end)
			return HEAD_MORE;
		if (i == 7 ? *p != '0' && *p != '1' :
		    i == 12 ? *p != ' ' && *p != '\r' :
		    i > 8 ? !byte_is(*p, BC_DIGIT) : *p != (uint8_t)form[i])
			return HEAD_BAD;
	}
	m->minor = p[-6] - '0';
	m->status = (p[-4] - '0') * 100u + (p[-3] - '0') * 10u + (p[-2] - '0');
	if (m->status < 100)
		return HEAD_BAD;
	if (p[-1] == '\r')
		p--;
	start = p;
	p = value_end(p, end);
	if (p == end || (*p == '\r' && p + 1 == end))
		return HEAD_MORE;
	if (*p != '\r' || p[1] != '\n')
		return HEAD_BAD;
	m->status_text = slice_of(start, (size_t)(p - start));
	*pp = p + 2;
	return HEAD_OK;
}

static int parse_response(struct slice bytes, const struct http1_limits *lim, bool req_head,
			  bool req_connect, struct head *m, enum reason *why)
{
	const uint8_t *p = bytes.p, *end = p + bytes.n;
	struct said s = { 0 };
	int r;

	r = parse_status_line(&p, end, m);
	if (r != HEAD_OK)
		return r;
	r = parse_lines(&p, end, lim, m, &s);
	if (r != HEAD_OK)
		return r;
	m->bytes = (size_t)(p - bytes.p);

	if (s.length_bad || s.coding_bad || s.coding_other || (s.lengths && s.codings) ||
	    (s.codings && m->minor == 0)) {
		*why = REASON_BACK_BAD_FRAMING;
		return HEAD_BAD;
	}
	if (s.connection_bad)
		return HEAD_BAD;
	if (s.nominates) {
		r = drop_nominated(m);
		if (r != HEAD_OK)
			return r;
	}
	m->keep_alive = !s.close && (m->minor == 1 || s.keep_alive);
	if (m->status == 101 || m->status == 426)
		m->upgrade_token = s.upgrade;

	/* RFC 9112 section 6.3, in its order. */
	if (m->status < 200) {
		/* No interim response has a body; one that announces it is out of step. */
		if (s.codings || s.length) {
			*why = REASON_BACK_BAD_FRAMING;
			return HEAD_BAD;
		}
		m->upgrade = m->status == 101;
		m->body = m->upgrade ? BODY_TUNNEL : BODY_NONE;
	} else if (m->status == 204) {
		/* Nor has this one, but a server that says so may send it: not to be used again. */
		m->keep_alive = m->keep_alive && !s.codings && s.length == 0;
		m->body = BODY_NONE;
	} else if (req_head || m->status == 304) {
		m->body = BODY_NONE;
		m->length = s.length;
	} else if (req_connect && m->status < 300) {
		m->body = BODY_TUNNEL;
	} else if (s.codings) {
		m->body = BODY_CHUNKED;
	} else if (s.lengths) {
		m->body = BODY_LENGTH;
		m->length = s.length;
	} else {
		m->body = BODY_UNTIL_CLOSE;
	}
	if (m->body == BODY_UNTIL_CLOSE || m->body == BODY_TUNNEL)
		m->keep_alive = false;

	if (!llhttp_agrees(HTTP_RESPONSE, m, slice_of(bytes.p, m->bytes), true))
		return HEAD_BAD;
	return HEAD_OK;
}

int http1_response(struct slice bytes, const struct http1_limits *lim, bool req_head,
		   bool req_connect, struct head *ret, enum reason *why)
{
	enum reason bad = REASON_BACK_BAD_RESPONSE;
	int r;

	head_clear(ret);
	r = parse_response(bytes, lim, req_head, req_connect, ret, &bad);
	if (r == HEAD_MORE && bytes.n < lim->head_bytes)
		return 0;
	if (r == HEAD_OK && ret->bytes <= lim->head_bytes)
		return 1;
	*why = r == HEAD_BAD ? bad : REASON_BACK_HEAD_TOO_LARGE;
	return -1;
}
