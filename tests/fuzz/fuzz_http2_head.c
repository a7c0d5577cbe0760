/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* HTTP/2 heads: any list of lines as a request, a response or trailers.
 *
 * The first byte chooses which; then each line is a length of its name (or, from 0xf0 on, a name that
 * matters), a length of its value, and both.  Checked: what is taken means the same when HTTP/1 has
 * written and read it, and when it goes through HTTP/2 once more. */
#include "tests/fuzz/replay.h"

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/rand.h"
#include "workers/codec/http1.h"
#include "workers/codec/http2.h"

static const struct http1_limits limits = { .head_bytes = 32768, .headers = 100, .uri_bytes = 4096 };
static const struct http1_limits wide = { .head_bytes = 131072, .headers = 256, .uri_bytes = 65536 };
static const char *const names[16] = { ":method", ":scheme", ":authority", ":path", ":protocol", ":status",
				       "host", "cookie", "content-length", "te", "expect", "transfer-encoding",
				       "connection", "x", "trailer", "sec-websocket-key" };
static struct head first, second, third;
static struct slab blocks;
static union {
	struct h2_block b;
	uint8_t bytes[70000];
} in, back;

static struct slice joined(const struct iovec *v, int n)
{
	static uint8_t text[300000];
	size_t at = 0;

	must(n > 0);
	for (int i = 0; i < n; i++) {
		must(at + v[i].iov_len <= sizeof text);
		memcpy(text + at, v[i].iov_base, v[i].iov_len);
		at += v[i].iov_len;
	}
	return slice_of(text, at);
}

/* As the other side would get them: names in lower case. */
static void block_of(const struct h2_field *f, int n, bool end)
{
	h2_block_init(&back.b, in.b.kind, sizeof back - sizeof back.b);
	for (int i = 0; i < n; i++) {
		uint8_t name[70000];

		must(f[i].name_n <= sizeof name);
		for (size_t k = 0; k < f[i].name_n; k++)
			name[k] = byte_lower(f[i].name[k]);
		must(h2_block_put(&back.b, slice_of(name, f[i].name_n), slice_of(f[i].value, f[i].value_n)));
	}
	back.b.is_end = end;
}

static void same_lines(const struct head *a, const struct head *b)
{
	uint32_t k = 0;

	for (uint32_t i = 0; i < a->n; i++) {
		if (a->h[i].drop || a->h[i].id == HN_TRAILER)
			continue;
		while (k < b->n && (b->h[k].drop || b->h[k].id == HN_TRAILER))
			k++;
		must(k < b->n);
		must(slice_caseeq(a->h[i].name, b->h[k].name) && slice_eq(a->h[i].value, b->h[k].value));
		k++;
	}
}

static void request(bool end, struct arena *arena)
{
	struct http1_out how1 = { .keep_alive = true };
	struct http2_out how2 = { 0 };
	struct h2_field f[300];
	struct iovec v[300];
	enum reason why = REASON_NONE;
	struct slice text;
	int n;

	if (http2_request(&in.b, &limits, arena, &first, &why) < 0) {
		must(why != REASON_NONE);
		return;
	}
	/* Read again, it says the same. */
	must(http2_request(&in.b, &limits, arena, &first, &why) == 0);
	how1.chunked = first.body == BODY_CHUNKED;
	text = joined(v, http1_put_request(&first, &how1, arena, v, countof(v)));
	must(http1_request(text, &wide, &second, &why) == 1);
	must(second.bytes == text.n && second.keep_alive);
	must(slice_eq(first.method, second.method) && slice_eq(first.authority, second.authority));
	must(slice_eq(first.path, second.path) && slice_eq(first.query, second.query));
	must((first.query.p == NULL) == (second.query.p == NULL));
	must(first.body == second.body && first.length == second.length);
	must(first.is_head == second.is_head && first.is_connect == second.is_connect);
	must(first.expects_continue == second.expects_continue && first.te_trailers == second.te_trailers);
	must(first.upgrade == second.upgrade);
	must(!first.upgrade || slice_eq(first.upgrade_token, second.upgrade_token));
	same_lines(&first, &second);

	n = http2_put_request(&second, &how2, arena, f, countof(f));
	must(n > 0);
	block_of(f, n, end);
	/* What was added for HTTP/1 is not counted twice, but there may be more lines than came. */
	must(http2_request(&back.b, &wide, arena, &third, &why) == 0);
	must(slice_eq(first.method, third.method) && slice_eq(first.authority, third.authority));
	must(slice_eq(first.target, third.target));
	must(first.body == third.body && first.length == third.length && first.upgrade == third.upgrade);
	must(first.expects_continue == third.expects_continue && first.te_trailers == third.te_trailers);
}

static void response(bool end, bool head, bool upgrade, struct arena *arena)
{
	struct http2_asked asked = { .head = head, .upgrade = upgrade ? SLICE("websocket") : SLICE(""),
				     .websocket_key = upgrade ? SLICE("k") : SLICE("") };
	struct http1_out how1 = { .keep_alive = true };
	struct http2_out how2 = { 0 };
	struct h2_field f[300];
	struct iovec v[300];
	enum reason why = REASON_NONE;
	struct slice text;
	int n;

	if (http2_response(&in.b, &limits, arena, &asked, &first, &why) < 0) {
		must(why != REASON_NONE);
		return;
	}
	how1.chunked = first.body == BODY_CHUNKED;
	text = joined(v, http1_put_response(&first, &how1, arena, v, countof(v)));
	must(http1_response(text, &wide, head, false, &second, &why) == 1);
	must(second.bytes == text.n && second.status == first.status);
	must(first.body == second.body && first.upgrade == second.upgrade);
	must(first.body != BODY_LENGTH || first.length == second.length);
	same_lines(&first, &second);

	n = http2_put_response(&second, &how2, arena, f, countof(f));
	must(n > 0);
	block_of(f, n, end);
	must(http2_response(&back.b, &wide, arena, &asked, &third, &why) == 0);
	must(third.status == first.status && third.body == first.body);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	struct arena arena;
	bool end;

	if (size < 1 || size > 60000)
		return 0;
	if (blocks.mem == NULL && slab_init(&blocks, "blocks", sizeof(struct arena_block), 64))
		return 0;
	rand_seed(1);
	h2_block_init(&in.b, H2_REQUEST, sizeof in - sizeof in.b);
	end = data[0] & 4;
	in.b.is_end = end;
	for (size_t at = 1; at + 2 <= size;) {
		uint8_t n = data[at], m = data[at + 1];
		struct slice name = slice_str(names[n & 15]);

		at += 2;
		if (n < 0xf0) {
			name = slice_of(data + at, min_of((size_t)n, size - at));
			at += name.n;
		}
		m = (uint8_t)min_of((size_t)m, size - at);
		if (!h2_block_put(&in.b, name, slice_of(data + at, m)))
			break;
		at += m;
	}
	arena_init(&arena, &blocks, 32);
	if ((data[0] & 3) == 0)
		request(end, &arena);
	else if ((data[0] & 3) == 3)
		(void)!http2_trailers(&in.b, &first);
	else
		response(end, data[0] & 1, data[0] & 8, &arena);
	arena_fini(&arena);
	return 0;
}
