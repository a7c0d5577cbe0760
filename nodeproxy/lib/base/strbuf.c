/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See strbuf.h. */
#include "nodeproxy/lib/base/strbuf.h"

#include <stdio.h>

static const char hex_digits[] = "0123456789abcdef";

void strbuf_add(struct strbuf *s, struct slice a)
{
	if (s->cut || a.n >= s->room - s->n) {
		s->cut = true;
		return;
	}
	if (a.n)
		memcpy(s->p + s->n, a.p, a.n);
	s->n += a.n;
	s->p[s->n] = 0;
}

void strbuf_addc(struct strbuf *s, char c)
{
	strbuf_add(s, slice_of(&c, 1));
}

void strbuf_adds(struct strbuf *s, const char *t)
{
	strbuf_add(s, slice_str(t));
}

char *u64_digits(uint64_t v, char buf[20])
{
	char *p = buf + 20;

	do {
		*--p = (char)('0' + v % 10);
		v /= 10;
	} while (v);
	return p;
}

void strbuf_u64(struct strbuf *s, uint64_t v)
{
	char b[20], *p = u64_digits(v, b);

	strbuf_add(s, slice_of(p, (size_t)(b + 20 - p)));
}

void strbuf_i64(struct strbuf *s, int64_t v)
{
	if (v < 0)
		strbuf_addc(s, '-');
	strbuf_u64(s, v < 0 ? -(uint64_t)v : (uint64_t)v);
}

void strbuf_hex(struct strbuf *s, uint64_t v, unsigned digits)
{
	char b[16];

	for (unsigned i = 0; i < digits && i < 16; i++)
		b[i] = hex_digits[v >> 4 * (digits - 1 - i) & 15];
	strbuf_add(s, slice_of(b, min_of(digits, 16u)));
}

void strbuf_printf(struct strbuf *s, const char *fmt, ...)
{
	va_list ap;
	int r;

	if (s->cut)
		return;
	va_start(ap, fmt);
	r = vsnprintf(s->p + s->n, s->room - s->n, fmt, ap);
	va_end(ap);
	if (r < 0 || (size_t)r >= s->room - s->n) {
		s->p[s->n] = 0;
		s->cut = true;
		return;
	}
	s->n += (size_t)r;
}

void strbuf_quoted(struct strbuf *s, struct slice a, size_t max)
{
	size_t n = min_of(a.n, max);

	for (size_t i = 0; i < n; i++) {
		uint8_t c = a.p[i];

		if (c >= 0x20 && c < 0x7f && c != '"' && c != '\\') {
			strbuf_addc(s, (char)c);
		} else {
			char x[4] = { '\\', 'x', hex_digits[c >> 4], hex_digits[c & 15] };

			strbuf_add(s, slice_of(x, 4));
		}
	}
	if (a.n > max)
		strbuf_adds(s, "...");
}

/* Length of the valid UTF-8 sequence at p (1-4), 0 when there is none.  RFC 3629 section 4. */
static size_t utf8_len(const uint8_t *p, size_t n)
{
	uint8_t c = p[0];
	size_t want = c < 0x80 ? 1 : c >= 0xc2 && c < 0xe0 ? 2 : (c & 0xf0) == 0xe0 ? 3
							    : c >= 0xf0 && c < 0xf5 ? 4 : 0;

	if (want == 0 || want > n)
		return 0;
	for (size_t i = 1; i < want; i++)
		if ((p[i] & 0xc0) != 0x80)
			return 0;
	if ((c == 0xe0 && p[1] < 0xa0) || (c == 0xed && p[1] > 0x9f) ||
	    (c == 0xf0 && p[1] < 0x90) || (c == 0xf4 && p[1] > 0x8f))
		return 0;
	return want;
}

void strbuf_json(struct strbuf *s, struct slice a)
{
	strbuf_addc(s, '"');
	for (size_t i = 0; i < a.n;) {
		uint8_t c = a.p[i];
		size_t n = utf8_len(a.p + i, a.n - i);

		if (c == '"' || c == '\\') {
			char x[2] = { '\\', (char)c };

			strbuf_add(s, slice_of(x, 2));
		} else if (c < 0x20 || c == 0x7f) {
			strbuf_adds(s, "\\u00");
			strbuf_hex(s, c, 2);
		} else if (n == 0) {
			strbuf_adds(s, "\\ufffd");
		} else {
			strbuf_add(s, slice_of(a.p + i, n));
		}
		i += max_of(n, (size_t)1);
	}
	strbuf_addc(s, '"');
}
