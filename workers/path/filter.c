/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See filter.h. */
#include "workers/path/filter.h"

#include "nodeproxy/lib/base/strbuf.h"
#include "store/view/edit.h"
#include "workers/codec/headers.h"
#include "workers/path/mirror.h"

int filter_edit(struct head *m, struct slice bytes)
{
	struct slice rest, line, name, value;
	struct edit e;

	if (!edit_open(bytes, &e))
		return -1;
	for (uint32_t i = 0; i < m->n; i++) {
		struct header *h = &m->h[i];

		if (!edit_drops(&e, h->name))
			continue;
		m->has &= ~HN_BIT(h->id);
		m->twice &= ~HN_BIT(h->id);
		h->id = HN_OTHER;
		h->drop = true;
	}
	rest = e.text;
	for (uint32_t i = 0; edit_line(&e, i, &rest, &line, &name, &value); i++) {
		if (m->n == HEAD_LINES_MAX)
			return -1;
		m->h[m->n] = (struct header){ .line = line, .name = name, .value = value,
					      .id = (uint8_t)header_name_of(name) };
		head_has(m, &m->h[m->n++]);
	}
	return 0;
}

/* ---- addresses ---- */

struct slice filter_path(const struct vfilter *f, struct slice path, uint8_t *out)
{
	struct slice rest;

	switch (f->path_is) {
	case PATH_WHOLE:
		return f->path;
	case PATH_PREFIX:
		/* What is left begins with a slash or is empty: the prefix ended where an element does. */
		rest = slice_from(path, f->cut);
		if (f->cut > path.n || (rest.n && rest.p[0] != '/'))
			return path;
		if (f->path.n == 0) {
			/* Some read //host as an address of its own. */
			while (rest.n > 1 && rest.p[1] == '/')
				rest = slice_from(rest, 1);
			return rest.n ? rest : SLICE("/");
		}
		if (rest.n == 0)
			return f->path;
		memcpy(out, f->path.p, f->path.n);
		memcpy(out + f->path.n, rest.p, rest.n);
		return slice_of(out, f->path.n + rest.n);
	case PATH_KEPT:
	case NEW_PATHS:
		break;
	}
	return path;
}

static char *put(char *q, struct slice s)
{
	if (s.n)
		memcpy(q, s.p, s.n);
	return q + s.n;
}

/* The host of an authority as it is written, brackets and all, and its port; 0: none. */
static struct slice host_of(struct slice authority, uint16_t *ret_port)
{
	const uint8_t *colon = authority.n ? memrchr(authority.p, ':', authority.n) : NULL;
	size_t n = colon ? (size_t)(colon - authority.p) : authority.n;
	uint64_t port = 0;

	*ret_port = 0;
	if (authority.n && authority.p[authority.n - 1] == ']')
		return authority;
	if (colon && slice_u64(slice_from(authority, n + 1), 65535, &port))
		*ret_port = (uint16_t)port;
	return slice_of(authority.p, n);
}

/* Names of a Service and a namespace, dots and "svc"; a scheme with "://"; a colon and a port; '?'. */
#define LOCATION_EXTRA (63 + 1 + 63 + 4 + 8 + 6 + 1)

size_t filter_location_room(const struct vfilter *f, const struct head *h)
{
	return LOCATION_EXTRA + f->host.n + h->authority.n + 2 * (h->path.n + f->path.n + 1) + h->query.n;
}

size_t filter_location(const struct vfilter *f, const struct vport *p, const struct head *h, bool by_address,
		       char *out)
{
	uint16_t port, written;
	bool https = f->scheme == SCHEME_HTTPS;
	struct slice host = host_of(h->authority, &written), path;
	char *q = out, digits[20], *d;
	/* At the end of the room, as what is put together there is copied to where it belongs. */
	uint8_t *scratch = (uint8_t *)out + filter_location_room(f, h) - (h->path.n + f->path.n + 1);

	if (f->port)
		port = f->port;
	else if (f->scheme)
		port = https ? 443 : 80;
	else
		port = !by_address && f->host.n == 0 && h->authority.n ? written : p->port;
	q = put(q, https ? SLICE("https://") : SLICE("http://"));
	if (f->host.n || host.n) {
		q = put(q, f->host.n ? f->host : host);
	} else {	/* HTTP/1.0 without a Host: never an address without one, that could be read as another */
		q = put(q, vservice_name(&p->service));
		*q++ = '.';
		q = put(q, vservice_ns(&p->service));
		q = put(q, SLICE(".svc"));
	}
	if (port && port != (https ? 443 : 80)) {
		d = u64_digits(port, digits);
		*q++ = ':';
		q = put(q, slice_of(d, (size_t)(digits + sizeof digits - d)));
	}
	path = filter_path(f, h->path, scratch);
	if (path.n == 0 || path.p[0] != '/')	/* "*" of OPTIONS would lengthen the host */
		path = SLICE("/");
	memmove(q, path.p, path.n);
	q += path.n;
	if (h->query.p) {
		*q++ = '?';
		q = put(q, h->query);
	}
	return (size_t)(q - out);
}

/* ---- answers of ours ---- */

/* The next of the edits that were kept for the response. */
static bool next_edit(struct slice *rest, struct slice *ret)
{
	uint32_t n;

	if (rest->n < sizeof n)
		return false;
	memcpy(&n, rest->p, sizeof n);
	*rest = slice_from(*rest, sizeof n);
	if (never(n > rest->n))
		return false;
	*ret = slice_of(rest->p, n);
	*rest = slice_from(*rest, n);
	return true;
}

/* Room for n bytes of the lines of an answer of ours, behind those that edits kept so far would have put
 * into one of the endpoint. */
static char *answer_room(struct exchange *ex, size_t n)
{
	struct path *p = ex->conn->path;
	struct chunk *had = ex->edits;
	struct slice rest = had ? slice_of(had->data, had->end) : slice_of(NULL, 0), one;
	struct edit e;
	char *q;

	ex->edits = chunk_take(&p->chunks, &ex->tenant->memory, n + rest.n > CHUNK_SMALL_ROOM);
	if (ex->edits == NULL || n + rest.n > ex->edits->room) {
		if (had)
			chunk_give(&p->chunks, &had);
		return NULL;
	}
	q = (char *)ex->edits->data;
	while (next_edit(&rest, &one))
		if (edit_open(one, &e) && e.lines)
			q = put(q, slice_of(e.text.p, e.text.n - 2));
	if (had)
		chunk_give(&p->chunks, &had);
	return q;
}

static enum step answer(struct exchange *ex, const char *end_of_lines, enum reason why)
{
	const char *from = (const char *)ex->edits->data;

	ex->answer_lines = slice_of(from, (size_t)(end_of_lines - from));
	return end(ex, why);
}

#define LOCATION SLICE("Location: ")

static enum step redirect(struct exchange *ex, const struct vport *port, const struct vfilter *f)
{
	const struct head *h = &ex->conn->path->head;
	bool by_address = ex->conn->gate->terms.route == LISTEN_ORIGINAL;
	char *q = answer_room(ex, LOCATION.n + filter_location_room(f, h) + 2);

	if (q == NULL)
		return end(ex, REASON_OVER_BUDGET);
	q = put(q, LOCATION);
	q += filter_location(f, port, h, by_address, q);
	q = put(q, SLICE("\r\n"));
	ex->answer_status = f->status;
	return answer(ex, q, REASON_REDIRECTED);
}

static enum step rewrite(struct exchange *ex, const struct vfilter *f)
{
	struct path *p = ex->conn->path;
	struct head *h = &p->head;
	uint8_t *out = NULL;

	if (f->host.n) {
		if (h->asked.n == 0)
			h->asked = h->authority;
		h->authority = f->host;
	}
	if (f->path_is == PATH_KEPT || h->path.n == 0 || h->path.p[0] != '/')
		return NEXT;
	if (f->path_is == PATH_PREFIX && f->path.n) {
		out = arena_take(&p->arena, h->path.n + f->path.n + 1);
		if (out == NULL)
			return end(ex, REASON_TOO_LARGE);
	}
	h->path = filter_path(f, h->path, out);
	return NEXT;
}

/* ---- of a request ---- */

static const uint8_t *request_id_of(const struct head *h)
{
	return h->has & HN_BIT(HN_X_REQUEST_ID) ? head_line(h, HN_X_REQUEST_ID)->value.p : NULL;
}

static enum step edit_request(struct exchange *ex, struct slice edit)
{
	struct head *h = &ex->conn->path->head;
	const uint8_t *id = request_id_of(h);

	if (filter_edit(h, edit) < 0)
		return end(ex, REASON_TOO_LARGE);
	if (request_id_of(h) != id) {
		ex->request_id.n = 0;
		exchange_keep_id(ex, h);
	}
	return NEXT;
}

/* ---- of a response ---- */

/* Each edit is kept behind its length. */
static enum step keep_edit(struct exchange *ex, struct slice edit)
{
	struct path *p = ex->conn->path;
	struct chunk *c = ex->edits, *larger;
	uint32_t n = (uint32_t)edit.n, had = c ? c->end : 0;

	if (c == NULL || c->room - c->end < sizeof n + n) {
		larger = chunk_take(&p->chunks, &ex->tenant->memory,
				    had + sizeof n + n > CHUNK_SMALL_ROOM);
		if (larger == NULL || larger->room < had + sizeof n + n) {
			if (larger)
				chunk_give(&p->chunks, &larger);
			return end(ex, REASON_OVER_BUDGET);
		}
		if (c) {
			memcpy(larger->data, c->data, had);
			larger->end = had;
			chunk_give(&p->chunks, &ex->edits);
		}
		c = ex->edits = larger;
	}
	memcpy(c->data + c->end, &n, sizeof n);
	memcpy(c->data + c->end + sizeof n, edit.p, n);
	c->end += (uint32_t)sizeof n + n;
	return NEXT;
}

int filter_response(struct exchange *ex)
{
	struct slice rest = slice_of(ex->edits->data, ex->edits->end), one;

	while (next_edit(&rest, &one))
		if (filter_edit(&ex->conn->path->head, one) < 0)
			return -1;
	return 0;
}

/* ---- CORS ---- */

/* Longer ones are nobody's. */
#define ORIGIN_MAX	512
#define ALLOW_ORIGIN	"Access-Control-Allow-Origin"
#define ALLOW_METHODS	"Access-Control-Allow-Methods"
#define ALLOW_HEADERS	"Access-Control-Allow-Headers"

/* What a request says of this; p NULL: nothing. */
struct asks {
	struct slice origin, method, headers;
	unsigned origins;
};

static void read_asks(const struct head *m, struct asks *a)
{
	*a = (struct asks){ .origins = 0 };
	for (uint32_t i = 0; i < m->n; i++) {
		const struct header *h = &m->h[i];

		if (h->drop) {
			continue;
		} else if (h->name.n == 6 && slice_caseeq(h->name, SLICE("origin"))) {
			a->origin = h->value;
			a->origins++;
		} else if (h->name.n == 29 && slice_caseeq(h->name, SLICE("access-control-request-method"))) {
			a->method = h->value;
		} else if (h->name.n == 30 && slice_caseeq(h->name, SLICE("access-control-request-headers"))) {
			a->headers = h->value;
		}
	}
}

static char *put_line(char *q, struct slice name, struct slice value)
{
	q = put(q, name);
	q = put(q, SLICE(": "));
	q = put(q, value);
	return put(q, SLICE("\r\n"));
}

static enum step preflight(struct exchange *ex, const struct vfilter *f, const struct asks *a, bool ok)
{
	size_t room = f->lines.n + a->origin.n + a->method.n + a->headers.n +
		      sizeof ALLOW_ORIGIN + sizeof ALLOW_METHODS + sizeof ALLOW_HEADERS + 3 * 4 + 16;
	char *q = answer_room(ex, room);

	if (q == NULL)
		return end(ex, REASON_OVER_BUDGET);
	if (!ok)
		return answer(ex, f->cors & CORS_ECHO_ORIGIN ? put(q, SLICE("Vary: Origin\r\n")) : q,
			      REASON_PREFLIGHT);
	if (f->cors & CORS_ECHO_ORIGIN)
		q = put_line(q, SLICE(ALLOW_ORIGIN), a->origin);
	if (f->cors & CORS_ECHO_METHOD && a->method.n)
		q = put_line(q, SLICE(ALLOW_METHODS), a->method);
	if (f->cors & CORS_ECHO_HEADERS && a->headers.n)
		q = put_line(q, SLICE(ALLOW_HEADERS), a->headers);
	return answer(ex, put(q, f->lines), REASON_PREFLIGHT);
}

/* The one line that is not known before: an edit of its own. */
static enum step keep_origin(struct exchange *ex, struct slice origin)
{
	uint16_t sizes[] = { sizeof ALLOW_ORIGIN - 1, (uint16_t)origin.n };
	struct edit_head head = { .lines = 1 };
	char bytes[sizeof head + sizeof sizes + sizeof ALLOW_ORIGIN + ORIGIN_MAX + 6], *q = bytes;

	q = put(q, slice_of(&head, sizeof head));
	q = put(q, slice_of(sizes, sizeof sizes));
	q = put_line(q, SLICE(ALLOW_ORIGIN), origin);
	q = put(q, SLICE("\r\n"));
	return keep_edit(ex, slice_of(bytes, (size_t)(q - bytes)));
}

static enum step cors(struct exchange *ex, const struct vfilter *f)
{
	const struct head *h = &ex->conn->path->head;
	enum step s;
	struct asks a;
	bool ok;

	read_asks(h, &a);
	if (a.origins == 0)
		return f->cors & CORS_ECHO_ORIGIN ? keep_edit(ex, f->plain) : NEXT;
	ok = a.origins == 1 && a.origin.n && a.origin.n <= ORIGIN_MAX && vfilter_allows(f, a.origin);
	if (a.method.p && slice_eq(h->method, SLICE("OPTIONS")))
		return preflight(ex, f, &a, ok);
	s = keep_edit(ex, ok ? f->edit : f->miss);
	return s == NEXT && ok && f->cors & CORS_ECHO_ORIGIN ? keep_origin(ex, a.origin) : s;
}

/* ---- all of them ---- */

enum step filter_request(struct exchange *ex, const struct vrule *rule, const struct vfilters *all)
{
	enum step s = NEXT;
	struct vfilter f;

	for (uint32_t i = 0; s == NEXT && vfilter_at(&rule->port.service, all, i, &f); i++) {
		switch (f.kind) {
		case FILTER_CORS:
			s = cors(ex, &f);
			break;
		case FILTER_REDIRECT:
			s = redirect(ex, &rule->port, &f);
			break;
		case FILTER_REWRITE:
			s = rewrite(ex, &f);
			break;
		case FILTER_REQUEST_HEADERS:
			s = edit_request(ex, f.edit);
			break;
		case FILTER_RESPONSE_HEADERS:
			s = keep_edit(ex, f.edit);
			break;
		case FILTER_MIRROR:
			mirror_want(ex, &rule->port.service, &f);
			break;
		case FILTERS:
			break;
		}
	}
	return s;
}
