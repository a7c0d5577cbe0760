/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See pem.h. */
#include "nodeproxy/lib/net/pem.h"

#include <errno.h>

#include "nodeproxy/lib/base/strbuf.h"

#define BEGIN SLICE("-----BEGIN ")
#define END   SLICE("-----END ")
#define DASH  SLICE("-----")

/* The next line without its end; false: there is none. */
static bool line(struct slice *text, struct slice *ret)
{
	const uint8_t *nl = text->n ? memchr(text->p, '\n', text->n) : NULL;

	if (text->n == 0)
		return false;
	*ret = slice_of(text->p, nl ? (size_t)(nl - text->p) : text->n);
	*text = slice_from(*text, ret->n + (nl != NULL));
	if (ret->n && ret->p[ret->n - 1] == '\r')
		ret->n--;
	*ret = slice_trim(*ret);
	return true;
}

/* What stands between the words and the dashes; false: it is no such line. */
static bool label_of(struct slice l, struct slice words, struct slice *ret)
{
	if (!slice_starts(l, words) || l.n < words.n + DASH.n + 1 || l.n > 128 ||
	    !slice_eq(slice_from(l, l.n - DASH.n), DASH))
		return false;
	*ret = slice_of(l.p + words.n, l.n - words.n - DASH.n);
	return true;
}

static int six_bits(uint8_t c)
{
	if (c >= 'A' && c <= 'Z')
		return c - 'A';
	if (c >= 'a' && c <= 'z')
		return c - 'a' + 26;
	if (c >= '0' && c <= '9')
		return c - '0' + 52;
	return c == '+' ? 62 : c == '/' ? 63 : -1;
}

struct base64 {
	uint8_t *out;
	size_t room, n;
	uint32_t bits;
	unsigned held;		/* characters in bits */
	unsigned pads;
};

static int put(struct base64 *b, uint8_t c)
{
	int v = six_bits(c);

	if (c == '=') {
		b->pads++;
		if (b->pads > 2 || b->held + b->pads > 4 || b->held < 2)
			return -EINVAL;
		return 0;
	}
	if (v < 0 || b->pads)
		return -EINVAL;
	b->bits = b->bits << 6 | (uint32_t)v;
	if (++b->held < 4)
		return 0;
	if (b->room - b->n < 3)
		return -EINVAL;
	b->out[b->n++] = (uint8_t)(b->bits >> 16);
	b->out[b->n++] = (uint8_t)(b->bits >> 8);
	b->out[b->n++] = (uint8_t)b->bits;
	b->held = 0;
	b->bits = 0;
	return 0;
}

static int rest(struct base64 *b)
{
	if (b->held == 0)
		return b->pads ? -EINVAL : 0;
	if (b->held + b->pads != 4 || b->room - b->n < b->held - 1)
		return -EINVAL;
	b->bits <<= 6 * (4 - b->held);
	b->out[b->n++] = (uint8_t)(b->bits >> 16);
	if (b->held == 3)
		b->out[b->n++] = (uint8_t)(b->bits >> 8);
	/* bits that are thrown away must be none */
	return b->bits & (b->held == 3 ? 0xff : 0xffff) ? -EINVAL : 0;
}

int pem_next(struct slice *text, struct slice *ret_label, uint8_t *out, size_t room, size_t *ret_n)
{
	struct base64 b = { .out = out, .room = room };
	struct slice l, label, end;

	do {
		if (!line(text, &l))
			return 0;
	} while (!label_of(l, BEGIN, &label));
	for (;;) {
		if (!line(text, &l))
			return -EINVAL;
		if (label_of(l, END, &end))
			break;
		for (size_t i = 0; i < l.n; i++)
			if (put(&b, l.p[i]) < 0)
				return -EINVAL;
	}
	if (!slice_eq(label, end) || rest(&b) < 0 || b.n == 0)
		return -EINVAL;
	*ret_label = label;
	*ret_n = b.n;
	return 1;
}

void pem_print(struct strbuf *b, const char *label, struct slice der)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	strbuf_adds(b, "-----BEGIN ");
	strbuf_adds(b, label);
	strbuf_adds(b, "-----\n");
	for (size_t i = 0; i < der.n; i += 3) {
		size_t left = der.n - i;
		uint32_t v = (uint32_t)der.p[i] << 16 | (left > 1 ? (uint32_t)der.p[i + 1] << 8 : 0) |
			     (left > 2 ? der.p[i + 2] : 0);

		strbuf_addc(b, digits[v >> 18]);
		strbuf_addc(b, digits[v >> 12 & 63]);
		strbuf_addc(b, left > 1 ? digits[v >> 6 & 63] : '=');
		strbuf_addc(b, left > 2 ? digits[v & 63] : '=');
		if (i % 48 == 45 || left <= 3)
			strbuf_addc(b, '\n');
	}
	strbuf_adds(b, "-----END ");
	strbuf_adds(b, label);
	strbuf_adds(b, "-----\n");
}
