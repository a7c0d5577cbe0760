/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Lines that we add: any head, by the real path, with any of the settings.
 *
 * The first byte chooses settings and kind.  Checked: what leaves parses again to the same message;
 * each line that is ours alone is there once and valid; a list has ours as its end and what was sent,
 * in order, before it; every other line is there as it came, in its order, and there is none besides. */
#include "tests/fuzz/replay.h"

#include <stdlib.h>

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/rand.h"
#include "workers/codec/headers.h"
#include "workers/codec/ids.h"
#include "workers/path/codecs.h"

static const struct http1_limits limits = { .head_bytes = 8192, .headers = 100, .uri_bytes = 4096 };
static const struct http1_limits wide = { .head_bytes = 32768, .headers = 256, .uri_bytes = 8192 };
static const char peer4[] = "10.1.2.3", peer6[] = "2001:db8::7";

static struct path *path;
static struct knobs *knobs;
static struct gate gate;
static struct conn conn;
static struct exchange *ex;
static struct head sent, left;
static uint8_t bytes[65536];

static void born(void)
{
	path = calloc(1, sizeof *path);
	knobs = malloc(sizeof *knobs);
	ex = calloc(1, sizeof *ex);
	must(path && knobs && ex);
	knobs_default(knobs);
	must(slab_init(&path->blocks, "blocks", sizeof(struct arena_block), 64) == 0);
	arena_init(&path->arena, &path->blocks, 34);
	path->knobs = knobs;
	gate.path = path;
	conn.path = path;
	conn.gate = &gate;
	ex->conn = &conn;
	ex->front_codec = &front_http1;
	ex->back_codec = &back_http1;
}

/* A list of a name: what was sent, then ours; or ours alone. */
static void check_list(enum header_name id, bool theirs, struct slice ours)
{
	struct slice v;

	must(left.has & HN_BIT(id) && !(left.twice & HN_BIT(id)));
	v = head_line(&left, id)->value;
	for (uint32_t i = 0; theirs && i < sent.n; i++) {
		if (sent.h[i].id != id || sent.h[i].value.n == 0 || !quotes_are_closed(sent.h[i].value))
			continue;
		must(slice_starts(v, sent.h[i].value));
		v = slice_from(v, sent.h[i].value.n);
		must(slice_starts(v, SLICE(", ")));
		v = slice_from(v, 2);
	}
	must(slice_eq(v, ours) && quotes_are_closed(head_line(&left, id)->value));
}

/* All lines of sent whose name is in none of ours, in order, are what is left besides ours. */
static void check_others(uint32_t ours)
{
	const uint32_t hop = HN_BIT(HN_HOST) | HN_BIT(HN_CONNECTION) | HN_BIT(HN_CONTENT_LENGTH) |
			     HN_BIT(HN_TRANSFER_ENCODING) | HN_BIT(HN_UPGRADE) | HN_BIT(HN_TE);
	uint32_t at = 0;

	for (uint32_t i = 0; i < left.n; i++) {
		const struct header *h = &left.h[i];

		if (HN_BIT(h->id) & (ours | hop))
			continue;
		while (at < sent.n && (sent.h[at].drop || HN_BIT(sent.h[at].id) & (ours | hop) ||
				       (sent.h[at].id == HN_TRAILER && left.body != BODY_CHUNKED)))
			at++;
		must(at < sent.n && slice_eq(h->line, sent.h[at].line));
		at++;
	}
	while (at < sent.n && (sent.h[at].drop || HN_BIT(sent.h[at].id) & (ours | hop) ||
			       (sent.h[at].id == HN_TRAILER && left.body != BODY_CHUNKED)))
		at++;
	must(at == sent.n);
}

static struct slice join(const struct iovec *v, int n)
{
	size_t at = 0;

	for (int i = 0; i < n; i++) {
		must(at + v[i].iov_len <= sizeof bytes);
		memcpy(bytes + at, v[i].iov_base, v[i].iov_len);
		at += v[i].iov_len;
	}
	return slice_of(bytes, at);
}

static void request(struct slice in, bool v6)
{
	struct slice peer = slice_str(v6 ? peer6 : peer4), id;
	bool replace = gate.terms.forwarded == FORWARDED_REPLACE;
	bool via = knobs->headers_via == HEADERS_VIA_ON;
	bool make_id = knobs->headers_request_id == HEADERS_MAKE;
	bool make_trace = knobs->headers_traceparent == HEADERS_MAKE;
	uint32_t ours = HN_BIT(HN_X_FORWARDED_FOR);
	struct iovec v[300];
	enum reason why;
	struct slice out;
	int n;

	if (http1_request(in, &limits, &path->head, &why) != 1)
		return;
	sent = path->head;
	ex->text_n = 0;
	ex->request_id = slice_of(NULL, 0);
	exchange_keep_id(ex, &path->head);
	n = back_http1.spell(ex, v, countof(v));
	if (n < 0)
		return;		/* lists that are too long to be written anew */
	out = join(v, n);
	must(http1_request(out, &wide, &left, &why) == 1 && left.bytes == out.n);
	must(slice_eq(left.method, sent.method) && slice_eq(left.path, sent.path));
	must(slice_eq(left.authority, sent.authority) && slice_eq(left.query, sent.query));
	must(left.body == sent.body && left.length == sent.length && left.upgrade == sent.upgrade);

	check_list(HN_X_FORWARDED_FOR, !replace, peer);
	must(left.has & HN_BIT(HN_X_FORWARDED_PROTO));
	if (replace || !(sent.has & HN_BIT(HN_X_FORWARDED_PROTO))) {
		check_list(HN_X_FORWARDED_PROTO, false, SLICE("http"));
		ours |= HN_BIT(HN_X_FORWARDED_PROTO);
	}
	if (replace) {
		if (sent.authority.n)
			check_list(HN_X_FORWARDED_HOST, false, sent.authority);
		else
			must(!(left.has & HN_BIT(HN_X_FORWARDED_HOST)));
		ours |= HN_BIT(HN_X_FORWARDED_HOST);
	}
	if (replace || sent.has & HN_BIT(HN_FORWARDED)) {
		check_list(HN_FORWARDED, !replace, v6 ? SLICE("for=\"[2001:db8::7]\";proto=http") :
							SLICE("for=10.1.2.3;proto=http"));
		ours |= HN_BIT(HN_FORWARDED);
	}
	if (via) {
		check_list(HN_VIA, true, sent.minor ? SLICE("1.1 nodeproxy") : SLICE("1.0 nodeproxy"));
		ours |= HN_BIT(HN_VIA);
	}
	if (make_id) {
		must(left.has & ~left.twice & HN_BIT(HN_X_REQUEST_ID));
		id = head_line(&left, HN_X_REQUEST_ID)->value;
		must(request_id_is_valid(id) && slice_eq(id, ex->request_id));
		if (!(sent.has & ~sent.twice & HN_BIT(HN_X_REQUEST_ID)) ||
		    !slice_eq(id, head_line(&sent, HN_X_REQUEST_ID)->value))
			ours |= HN_BIT(HN_X_REQUEST_ID);
	}
	if (make_trace) {
		must(left.has & ~left.twice & HN_BIT(HN_TRACEPARENT));
		id = head_line(&left, HN_TRACEPARENT)->value;
		must(traceparent_is_valid(id));
		if (!(sent.has & ~sent.twice & HN_BIT(HN_TRACEPARENT)) ||
		    !slice_eq(id, head_line(&sent, HN_TRACEPARENT)->value)) {
			must(!(left.has & HN_BIT(HN_TRACESTATE)));
			ours |= HN_BIT(HN_TRACEPARENT) | HN_BIT(HN_TRACESTATE);
		}
	}
	check_others(ours);
}

static void response(struct slice in)
{
	struct http1_out how = { .keep_alive = true };
	bool via = knobs->headers_via == HEADERS_VIA_ON;
	uint32_t ours = 0;
	struct added added;
	struct iovec v[300];
	enum reason why;
	struct slice out;
	int n;

	if (http1_response(in, &limits, false, false, &path->head, &why) != 1)
		return;
	sent = path->head;
	how.chunked = sent.body == BODY_CHUNKED || sent.body == BODY_UNTIL_CLOSE;
	if (exchange_response_lines(ex, &added) < 0)
		return;
	how.more = added.more;
	how.date = added.date;
	n = http1_put_response(&path->head, &how, &path->arena, v, countof(v));
	if (n < 0)
		return;
	out = join(v, n);
	must(http1_response(out, &wide, false, false, &left, &why) == 1 && left.bytes == out.n);
	must(left.status == sent.status && left.length == sent.length);
	if (sent.status >= 200) {
		must(left.has & HN_BIT(HN_DATE));
		if (!(sent.has & HN_BIT(HN_DATE))) {
			must(!(left.twice & HN_BIT(HN_DATE)));
			must(head_line(&left, HN_DATE)->line.n == HTTP1_DATE_TEXT);
			ours |= HN_BIT(HN_DATE);
		}
	}
	if (via) {
		check_list(HN_VIA, true, sent.minor ? SLICE("1.1 nodeproxy") : SLICE("1.0 nodeproxy"));
		ours |= HN_BIT(HN_VIA);
	}
	check_others(ours);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct slice in = slice_of(data + 1, size ? size - 1 : 0);
	int n;

	if (size < 1 || size > 20000)
		return 0;
	if (path == NULL)
		born();
	rand_seed(1);
	n = snprintf(conn.extra, sizeof conn.extra, "X-Forwarded-For: %s\r\nX-Forwarded-Proto: http\r\n",
		     data[0] & 2 ? peer6 : peer4);
	conn.extra_n = (uint8_t)n;
	gate.terms.forwarded = data[0] & 4 ? FORWARDED_REPLACE : FORWARDED_APPEND;
	knobs->headers_via = data[0] & 8 ? HEADERS_VIA_ON : HEADERS_VIA_OFF;
	knobs->headers_request_id = data[0] & 16 ? HEADERS_PASS : HEADERS_MAKE;
	knobs->headers_traceparent = data[0] & 32 ? HEADERS_PASS : HEADERS_MAKE;
	if (data[0] & 1)
		response(in);
	else
		request(in, data[0] & 2);
	arena_reset(&path->arena);
	return 0;
}
