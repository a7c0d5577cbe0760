/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* HTTP/1: any bytes as a request or a response with its body.
 *
 * The first byte chooses what is read and how it is split.  Checked: an answer does not depend on
 * the split; what is passed on is again a message of our grammar that means the same (so no reader
 * of ours can be made to disagree with the reader behind us), its body decodes to the same bytes,
 * and writing it a second time changes nothing. */
#include "tests/fuzz/replay.h"

#include <stdlib.h>

#include "nodeproxy/lib/base/must.h"
#include "workers/codec/http1.h"

#define OUT_MAX (1u << 21)

static const struct http1_limits limits = { .head_bytes = 8192, .headers = 100, .uri_bytes = 4096 };
/* What we add may be more than what came ("GET / HTTP/1.0" has no Host). */
static const struct http1_limits wide = { .head_bytes = 16384, .headers = 256, .uri_bytes = 8192 };
static struct head first, second;
static struct slab blocks;

struct bytes {
	uint8_t *p;
	size_t n;
};

static void add(struct bytes *b, const struct iovec *iov, int n)
{
	for (int i = 0; i < n; i++) {
		must(iov[i].iov_len > 0 && b->n + iov[i].iov_len <= OUT_MAX);
		memcpy(b->p + b->n, iov[i].iov_base, iov[i].iov_len);
		b->n += iov[i].iov_len;
	}
}

/* All of in through the body; false: refused. */
static bool pass(struct http1_body *b, struct slice in, size_t step, int max, struct bytes *ret)
{
	struct iovec iov[64];
	struct arena arena;
	size_t used;

	arena_init(&arena, &blocks, 4);
	for (;;) {
		size_t n = min_of(in.n, step);
		int r = http1_body_pass(b, slice_of(in.p, n), n == in.n, &arena, iov, max, &used);

		if (r < 0) {
			arena_fini(&arena);
			return false;
		}
		must(r <= max && used <= n);
		must(used == n || r > 0 || http1_body_is_done(b));
		add(ret, iov, r);
		arena_reset(&arena);
		in = slice_from(in, used);
		if (http1_body_is_done(b) || (n == in.n && in.n == 0) || (used == n && in.n == 0))
			break;
	}
	arena_fini(&arena);
	return true;
}

static int parse(bool request, bool head, struct slice in, const struct http1_limits *lim, struct head *m,
		 enum reason *why)
{
	return request ? http1_request(in, lim, m, why) : http1_response(in, lim, head, false, m, why);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	static struct bytes out1, out2, plain1, plain2;
	bool request, head;
	enum reason why, why2;
	struct http1_out how;
	struct http1_body b;
	struct iovec iov[300];
	struct arena arena;
	struct slice in;
	size_t step;
	int r, max;

	if (size < 1 || size > 100000)
		return 0;
	if (out1.p == NULL) {
		if (slab_init(&blocks, "blocks", sizeof(struct arena_block), 64))
			return 0;
		out1.p = malloc(OUT_MAX);
		out2.p = malloc(OUT_MAX);
		plain1.p = malloc(OUT_MAX);
		plain2.p = malloc(OUT_MAX);
		must(out1.p && out2.p && plain1.p && plain2.p);
	}
	request = !(data[0] & 1);
	head = data[0] & 2;
	step = data[0] & 4 ? 1 + (data[0] >> 4) : 65536;
	max = data[0] & 8 ? HTTP1_BODY_IOVS : 64;
	in = slice_of(data + 1, size - 1);

	r = parse(request, head, in, &limits, &first, &why);
	must(r != 0 || in.n < limits.head_bytes);
	/* A shorter piece is never taken for something else. */
	for (size_t n = 0; n < in.n; n += in.n / 16 + 1) {
		int part = parse(request, head, slice_of(in.p, n), &limits, &second, &why2);

		must(part <= 0 || (r == 1 && second.bytes == first.bytes));
		must(part >= 0 || r < 0);
	}
	if (r != 1)
		return 0;
	must(first.bytes <= in.n && first.bytes <= limits.head_bytes);

	how = (struct http1_out){ .keep_alive = first.keep_alive, .chunked = first.body == BODY_CHUNKED,
				   .date = SLICE("Date: Sun, 06 Nov 1994 08:49:37 GMT\r\n") };
	arena_init(&arena, &blocks, 16);
	r = request ? http1_put_request(&first, &how, &arena, iov, countof(iov)) :
		      http1_put_response(&first, &how, &arena, iov, countof(iov));
	must(r > 0);
	out1.n = out2.n = plain1.n = plain2.n = 0;
	add(&out1, iov, r);
	r = parse(request, head, slice_of(out1.p, out1.n), &wide, &second, &why2);
	must(r == 1 && second.bytes == out1.n);
	must(second.body == first.body && second.length == first.length);
	must(second.status == first.status && second.is_head == first.is_head);
	must(second.upgrade == first.upgrade && second.expects_continue == first.expects_continue);
	if (request) {
		must(slice_eq(first.method, second.method));
		must(slice_eq(first.authority, second.authority) && slice_eq(first.path, second.path));
		must(slice_eq(first.query, second.query));
	}
	for (uint32_t i = 0; i < second.n; i++)
		must(second.h[i].id != HN_KEEP_ALIVE && second.h[i].id != HN_PROXY_CONNECTION);
	how.keep_alive = second.keep_alive;
	r = request ? http1_put_request(&second, &how, &arena, iov, countof(iov)) :
		      http1_put_response(&second, &how, &arena, iov, countof(iov));
	must(r > 0);
	add(&out2, iov, r);
	must(slice_eq(slice_of(out1.p, out1.n), slice_of(out2.p, out2.n)));
	arena_fini(&arena);

	/* The body, decoded whole and in steps, then as we would send it. */
	in = slice_from(in, first.bytes);
	out1.n = 0;
	http1_body_init(&b, &first, false);
	if (!pass(&b, in, 65536, 64, &plain1)) {
		http1_body_init(&b, &first, false);
		must(!pass(&b, in, step, max, &plain2));
		return 0;
	}
	http1_body_init(&b, &first, false);
	must(pass(&b, in, step, max, &plain2));
	must(slice_eq(slice_of(plain1.p, plain1.n), slice_of(plain2.p, plain2.n)));
	must(b.passed == plain1.n);
	http1_body_init(&b, &first, first.body == BODY_CHUNKED || first.body == BODY_UNTIL_CLOSE);
	must(pass(&b, in, step, max, &out1));
	if (!b.encode || !http1_body_is_done(&b))
		return 0;
	first.body = BODY_CHUNKED;
	http1_body_init(&b, &first, false);
	plain2.n = 0;
	must(pass(&b, slice_of(out1.p, out1.n), 65536, 64, &plain2));
	must(http1_body_is_done(&b));
	must(slice_eq(slice_of(plain1.p, plain1.n), slice_of(plain2.p, plain2.n)));
	return 0;
}
