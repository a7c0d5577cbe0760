/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Heads on their way: the lines that a proxy adds, and those it takes away.
 *
 * Who the caller is (X-Forwarded-*, Forwarded), through whom a message came (Via), when a response was
 * made (Date), what a request is called (X-Request-Id, traceparent).  The parser has noted which of
 * these a head has (head.has), so lines are looked at only when there are any; what is the same for all
 * requests of a conn was written when it began.  Lists get ours behind what is there, in one line. */
#include "workers/codec/headers.h"
#include "workers/codec/ids.h"
#include "workers/path/codecs.h"
#include "workers/path/secure.h"

#define FORWARDED_FOR	"X-Forwarded-For: "
#define FORWARDED_HOST	"X-Forwarded-Host: "
#define FORWARDED	"Forwarded: "
#define CLIENT_CERT	"X-Forwarded-Client-Cert: "
#define VIA		"Via: "
#define REQUEST_ID	"X-Request-Id: "
#define TRACEPARENT	"traceparent: "
/* All that is written for a request at most, without what the caller sent: two ids with their lines, a
 * Via, an element of Forwarded (address, quotes and brackets) with its line. */
#define OURS (14 + REQUEST_ID_TEXT + 2 + 13 + TRACEPARENT_TEXT + 2 + 5 + 13 + 2 + \
	      11 + 4 + ADDR_TEXT + 4 + 11 + 2)

#define WHO (HN_BIT(HN_X_FORWARDED_FOR) | HN_BIT(HN_X_FORWARDED_PROTO) | \
	     HN_BIT(HN_X_FORWARDED_HOST) | HN_BIT(HN_FORWARDED) | \
	     HN_BIT(HN_X_FORWARDED_CLIENT_CERT))

static inline char *put(char *q, const void *p, size_t n)
{
	memcpy(q, p, n);
	return q + n;
}
#define PUT(q, lit) put(q, lit, sizeof(lit) - 1)

static inline char *put_slice(char *q, struct slice s)
{
	return put(q, s.p, s.n);
}

static void drop_lines(struct head *h, uint32_t names)
{
	if (likely(!(h->has & names)))
		return;
	for (uint32_t i = 0; i < h->n; i++)
		if (HN_BIT(h->h[i].id) & names)
			h->h[i].drop = true;
}

/* What the values of these names take when they are put together. */
static size_t values_room(const struct head *h, uint32_t names)
{
	size_t n = 0;

	if (likely(!(h->has & names)))
		return 0;
	for (uint32_t i = 0; i < h->n; i++)
		if (HN_BIT(h->h[i].id) & names)
			n += h->h[i].value.n + 2;
	return n;
}

/* The values of a name, in order and each with ", " behind it; its lines do not go on.  One with a
 * quoted string that does not end would take what follows it into that string: it is left out. */
static char *put_values(char *q, struct head *h, enum header_name id)
{
	if (!(h->has & HN_BIT(id)))
		return q;
	for (uint32_t i = 0; i < h->n; i++) {
		if (h->h[i].id != id)
			continue;
		h->h[i].drop = true;
		if (h->h[i].value.n == 0 || !quotes_are_closed(h->h[i].value))
			continue;
		q = put_slice(q, h->h[i].value);
		q = PUT(q, ", ");
	}
	return q;
}

/* By the version in which it came: that of HTTP/2 has no minor one. */
static char *put_via(char *q, struct head *h, uint8_t major)
{
	q = PUT(q, VIA);
	q = put_values(q, h, HN_VIA);
	*q++ = (char)('0' + major);
	if (major == 1) {
		*q++ = '.';
		*q++ = (char)('0' + h->minor);
	}
	return PUT(q, " nodeproxy\r\n");
}

/* Our element of Forwarded (RFC 7239: an IPv6 address in brackets, and that in quotes), behind theirs
 * if those go on. */
static char *put_forwarded(char *q, struct head *theirs, struct slice peer, bool secure)
{
	bool v6 = peer.n && memchr(peer.p, ':', peer.n);

	q = PUT(q, FORWARDED);
	if (theirs)
		q = put_values(q, theirs, HN_FORWARDED);
	q = PUT(q, "for=");
	if (v6)
		q = PUT(q, "\"[");
	q = put_slice(q, peer);
	if (v6)
		q = PUT(q, "]\"");
	return secure ? PUT(q, ";proto=https\r\n") : PUT(q, ";proto=http\r\n");
}

/* Who the caller is by its certificate.  Where TLS ends here nobody else is believed, whether there is one
 * or not. */
static char *put_client_cert(char *q, struct slice element, struct head *h)
{
	drop_lines(h, HN_BIT(HN_X_FORWARDED_CLIENT_CERT));
	if (element.n == 0)
		return q;
	q = PUT(q, CLIENT_CERT);
	q = put_slice(q, element);
	return PUT(q, "\r\n");
}

/* What the lines that were written at the start of the conn still have to say. */
static struct slice fixed_lines(const struct conn *c, const struct head *h, struct slice peer)
{
	size_t first = sizeof FORWARDED_FOR - 1 + peer.n + 2;
	struct slice both = slice_of(c->extra, c->extra_n);

	if (likely(!(h->has & WHO)))
		return both;
	if (h->has & HN_BIT(HN_X_FORWARDED_PROTO))
		both.n = first;
	return h->has & HN_BIT(HN_X_FORWARDED_FOR) ? slice_from(both, first) : both;
}

/* The caller's names for the request where they are valid, else ours. */
static char *put_ids(char *q, struct exchange *ex, struct head *h)
{
	const struct knobs *k = ex->conn->path->knobs;
	const uint32_t trace = HN_BIT(HN_TRACEPARENT);
	bool id = k->headers_request_id == HEADERS_MAKE && ex->request_id.n == 0;
	bool parent = k->headers_traceparent == HEADERS_MAKE &&
		      (!(h->has & ~h->twice & trace) ||
		       !traceparent_is_valid(head_line(h, HN_TRACEPARENT)->value));
	struct ids ids;

	if (!id && !parent)
		return q;
	ids_draw(&ids);
	if (id) {
		drop_lines(h, HN_BIT(HN_X_REQUEST_ID));
		q = PUT(q, REQUEST_ID);
		ids_put_request_id(&ids, q);
		ex->request_id = exchange_text(ex, slice_of(q, REQUEST_ID_TEXT));
		q += REQUEST_ID_TEXT;
		q = PUT(q, "\r\n");
	}
	if (parent) {
		drop_lines(h, trace | HN_BIT(HN_TRACESTATE));
		q = PUT(q, TRACEPARENT);
		q = ids_put_traceparent(&ids, q);
		q = PUT(q, "\r\n");
	}
	return q;
}

int exchange_request_lines(struct exchange *ex, struct added *ret)
{
	struct conn *c = ex->conn;
	struct path *p = c->path;
	struct head *h = &p->head;
	struct slice peer = conn_peer_text(c), asked = h->asked.n ? h->asked : h->authority;
	bool via = p->knobs->headers_via == HEADERS_VIA_ON;
	bool replace = c->gate->terms.forwarded == FORWARDED_REPLACE;
	struct slice element = { NULL, 0 };
	const struct stream *tls;
	size_t room = OURS;
	char *from, *q;

	if (replace)
		room += sizeof FORWARDED_HOST + 1 + asked.n;
	else
		room += values_room(h, HN_BIT(HN_X_FORWARDED_FOR) | HN_BIT(HN_FORWARDED)) +
			sizeof FORWARDED_FOR + 1 + peer.n;
	if (via)
		room += values_room(h, HN_BIT(HN_VIA));
	if (unlikely(c->secure) && (tls = secure_stream(c)) != NULL)
		room += sizeof CLIENT_CERT + (element = tls_peer_element(tls)).n + 2;
	from = q = arena_take(&p->arena, room);
	if (q == NULL)
		return -1;
	if (replace) {
		drop_lines(h, WHO);
		ret->fixed = slice_of(c->extra, c->extra_n);
		if (asked.n) {
			q = PUT(q, FORWARDED_HOST);
			q = put_slice(q, asked);
			q = PUT(q, "\r\n");
		}
		q = put_forwarded(q, NULL, peer, c->secure);
	} else {
		ret->fixed = fixed_lines(c, h, peer);
		if (h->has & HN_BIT(HN_X_FORWARDED_FOR)) {
			q = PUT(q, FORWARDED_FOR);
			q = put_values(q, h, HN_X_FORWARDED_FOR);
			q = put_slice(q, peer);
			q = PUT(q, "\r\n");
		}
		if (h->has & HN_BIT(HN_FORWARDED))
			q = put_forwarded(q, h, peer, c->secure);
	}
	if (unlikely(c->secure))
		q = put_client_cert(q, element, h);
	q = put_ids(q, ex, h);
	if (via)
		q = put_via(q, h, ex->front_codec->major);
	must((size_t)(q - from) <= room);
	ret->more = slice_of(from, (size_t)(q - from));
	return 0;
}

int exchange_response_lines(struct exchange *ex, struct added *ret)
{
	struct path *p = ex->conn->path;
	struct head *h = &p->head;
	char *q;

	*ret = (struct added){ .date = path_date(p) };
	if (p->knobs->headers_via == HEADERS_VIA_ON) {
		q = arena_take(&p->arena, sizeof VIA + 13 + 2 + values_room(h, HN_BIT(HN_VIA)));
		if (q == NULL)
			return -1;
		ret->more = slice_of(q, (size_t)(put_via(q, h, ex->back_codec->major) - q));
	}
	return 0;
}
