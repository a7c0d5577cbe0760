/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See wire.h. */
#include "admin/wire.h"

#include <errno.h>
#include <stdlib.h>

static int bad(struct wire *w, int status, const char *why)
{
	if (w->status == 0) {
		w->status = status;
		w->why = why;
	}
	return -1;
}

static int on_url(llhttp_t *p, const char *at, size_t n)
{
	struct wire *w = p->data;

	if (n > sizeof w->target - w->target_n)
		return bad(w, 414, "the request target is longer than 2048 bytes");
	for (size_t i = 0; i < n; i++)
		if ((uint8_t)at[i] <= 0x20 || (uint8_t)at[i] >= 0x7f)
			return bad(w, 400, "the request target has bytes that are not printable");
	memcpy(w->target + w->target_n, at, n);
	w->target_n += n;
	return 0;
}

static bool name_is(const struct wire *w, struct slice lit)
{
	return slice_caseeq(slice_of(w->name, w->name_n), lit);
}

/* A header line is complete: two of them matter. */
static int on_value_complete(llhttp_t *p)
{
	struct wire *w = p->data;

	if (name_is(w, SLICE("host")) && ++w->hosts > 1)
		return bad(w, 400, "more than one Host line");
	if (name_is(w, SLICE("expect"))) {
		if (!slice_caseeq(slice_trim(slice_of(w->value, w->value_n)),
				  SLICE("100-continue")))
			return bad(w, 417, "the only expectation served is 100-continue");
		w->wants_continue = true;
	}
	w->name_n = w->value_n = 0;
	return 0;
}

static int on_field(llhttp_t *p, const char *at, size_t n)
{
	struct wire *w = p->data;

	for (size_t i = 0; i < n; i++, w->name_n++) {
		if (w->name_n >= sizeof w->name) {	/* none of ours is that long */
			w->name[0] = 0;
			w->name_n = sizeof w->name;
			break;
		}
		w->name[w->name_n] = at[i];
	}
	return 0;
}

static int on_value(llhttp_t *p, const char *at, size_t n)
{
	struct wire *w = p->data;

	n = min_of(n, sizeof w->value - w->value_n);
	memcpy(w->value + w->value_n, at, n);
	w->value_n += n;
	return 0;
}

static int on_headers_complete(llhttp_t *p)
{
	struct wire *w = p->data;

	if (p->http_major != 1)
		return bad(w, 505, "only HTTP/1.1 and HTTP/1.0 are served");
	if (p->http_minor >= 1 && w->hosts == 0)
		return bad(w, 400, "no Host line");
	if (p->upgrade)
		return bad(w, 501, "upgrades are not served");
	if (p->flags & F_CONTENT_LENGTH && p->content_length > WIRE_BODY)
		return bad(w, 413, "the body is larger than 65536 bytes");
	w->head_done = true;
	return 0;
}

static int on_body(llhttp_t *p, const char *at, size_t n)
{
	struct wire *w = p->data;

	if (n > WIRE_BODY - w->body_n)
		return bad(w, 413, "the body is larger than 65536 bytes");
	if (!w->body)
		w->body = malloc(WIRE_BODY);
	if (!w->body)
		return bad(w, 503, "no memory for the body");
	memcpy(w->body + w->body_n, at, n);
	w->body_n += n;
	return 0;
}

static int on_complete(llhttp_t *p)
{
	struct wire *w = p->data;

	w->done = true;
	return HPE_PAUSED;	/* what follows belongs to the next request */
}

static const llhttp_settings_t settings = {
	.on_url = on_url,
	.on_header_field = on_field,
	.on_header_value = on_value,
	.on_header_value_complete = on_value_complete,
	.on_headers_complete = on_headers_complete,
	.on_body = on_body,
	.on_message_complete = on_complete,
};

void wire_init(struct wire *w)
{
	memset(w, 0, offsetof(struct wire, target));
	w->body = NULL;
	w->body_n = 0;
	w->req = (struct wire_request){ 0 };
	w->status = 0;
	w->why = NULL;
	llhttp_init(&w->parser, HTTP_REQUEST, &settings);
	w->parser.data = w;
}

void wire_fini(struct wire *w)
{
	free(w->body);
	w->body = NULL;
}

void wire_next(struct wire *w)
{
	wire_fini(w);
	wire_init(w);
}

bool wire_is_idle(const struct wire *w)
{
	return w->head_n == 0;
}

/* Feeds bytes that are all head or all after it, as far as is known. */
static enum wire_result feed_some(struct wire *w, struct slice s, size_t *used)
{
	bool was_head = !w->head_done;
	llhttp_errno_t e = llhttp_execute(&w->parser, (const char *)s.p, s.n);

	*used = s.n;
	if (e != HPE_OK) {
		const uint8_t *at = (const uint8_t *)llhttp_get_error_pos(&w->parser);

		*used = at && at >= s.p && at <= s.p + s.n ? (size_t)(at - s.p) : s.n;
	}
	if (was_head)
		w->head_n += *used;	/* may count some of the body: a bound, not a measure */
	else
		w->rest_n += *used;
	if (e != HPE_OK && !w->done) {
		bad(w, 400, "the request breaks the HTTP grammar");
		return WIRE_BAD;
	}
	return w->done ? WIRE_REQUEST : WIRE_MORE;
}

static void make_request(struct wire *w)
{
	switch (w->parser.method) {
	case HTTP_GET:
		w->req.method = WIRE_GET;
		break;
	case HTTP_HEAD:
		w->req.method = WIRE_HEAD_METHOD;
		break;
	case HTTP_POST:
		w->req.method = WIRE_POST;
		break;
	default:
		w->req.method = WIRE_OTHER;
		break;
	}
	w->req.target = slice_of(w->target, w->target_n);
	w->req.body = slice_of(w->body, w->body_n);
	w->req.keep_alive = llhttp_should_keep_alive(&w->parser);
}

enum wire_result wire_feed(struct wire *w, struct slice s, size_t *used)
{
	enum wire_result r = WIRE_MORE;

	*used = 0;
	while (r == WIRE_MORE && s.n > *used) {
		struct slice some = slice_from(s, *used);
		size_t took;

		if (!w->head_done) {
			if (w->head_n >= WIRE_HEAD) {
				bad(w, 431, "the request head is larger than 16384 bytes");
				return WIRE_BAD;
			}
			some.n = min_of(some.n, WIRE_HEAD - w->head_n);
		} else if (w->rest_n > 4 * WIRE_BODY) {	/* chunk sizes of one byte cost six */
			bad(w, 413, "the body is larger than 65536 bytes");
			return WIRE_BAD;
		}
		r = feed_some(w, some, &took);
		*used += took;
	}
	if (r == WIRE_REQUEST)
		make_request(w);
	return r;
}

const char *wire_status_words(int status)
{
	switch (status) {
	case 200: return "OK";
	case 202: return "Accepted";
	case 400: return "Bad Request";
	case 403: return "Forbidden";
	case 404: return "Not Found";
	case 405: return "Method Not Allowed";
	case 408: return "Request Timeout";
	case 409: return "Conflict";
	case 422: return "Unprocessable Content";
	case 413: return "Content Too Large";
	case 414: return "URI Too Long";
	case 417: return "Expectation Failed";
	case 431: return "Request Header Fields Too Large";
	case 500: return "Internal Server Error";
	case 501: return "Not Implemented";
	case 503: return "Service Unavailable";
	case 504: return "Gateway Timeout";
	case 505: return "HTTP Version Not Supported";
	}
	return "Unknown";
}

void wire_response_head(struct text *t, int status, const char *type, size_t body_n,
			bool keep_alive, const char *allow)
{
	text_printf(t, "HTTP/1.1 %d %s\r\n", status, wire_status_words(status));
	text_printf(t, "Content-Type: %s\r\nContent-Length: %zu\r\n", type, body_n);
	text_adds(t, "Cache-Control: no-store\r\nX-Content-Type-Options: nosniff\r\n");
	if (allow)
		text_printf(t, "Allow: %s\r\n", allow);
	if (!keep_alive)
		text_adds(t, "Connection: close\r\n");
	text_adds(t, "\r\n");
}

static int hex_digit(uint8_t c)
{
	if (c >= '0' && c <= '9')
		return c - '0';
	c = byte_lower(c);
	return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}

int wire_decode(struct slice s, bool plus_is_blank, char *out, size_t room)
{
	size_t n = 0;

	for (size_t i = 0; i < s.n; i++) {
		int c = s.p[i];

		if (c == '%') {
			int hi = i + 2 < s.n ? hex_digit(s.p[i + 1]) : -1;
			int lo = hi < 0 ? -1 : hex_digit(s.p[i + 2]);

			if (lo < 0)
				return -EINVAL;
			c = hi << 4 | lo;
			i += 2;
		} else if (c == '+' && plus_is_blank) {
			c = ' ';
		}
		if (c < 0x20 || c == 0x7f || n + 1 >= room)
			return -EINVAL;
		out[n++] = (char)c;
	}
	if (room == 0)
		return -EINVAL;
	out[n] = 0;
	return 0;
}
