/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See headers.h. */
#include "workers/codec/headers.h"

#define V (BC_VALUE | BC_QUOTED)
#define P (V | BC_TARGET)		/* visible, no token: delimiters a target may hold */
#define PH (P | BC_HOST)		/* sub-delims that no token holds */
#define T (P | BC_TOKEN)		/* token bytes that no host holds */
#define TH (T | BC_HOST)

const uint8_t byte_classes[256] = {
	['\t'] = V, [' '] = V,
	['!'] = TH, ['"'] = BC_VALUE | BC_TARGET, ['#'] = V | BC_TOKEN, ['$'] = TH, ['%'] = TH,
	['&'] = TH, ['\''] = TH, ['('] = PH, [')'] = PH, ['*'] = TH, ['+'] = TH, [','] = PH,
	['-'] = TH, ['.'] = TH, ['/'] = P,
	['0' ... '9'] = TH | BC_DIGIT | BC_HEX,
	[':'] = P, [';'] = PH, ['<'] = P, ['='] = PH, ['>'] = P, ['?'] = P, ['@'] = P,
	['A' ... 'F'] = TH | BC_HEX, ['G' ... 'Z'] = TH,
	['['] = P, ['\\'] = BC_VALUE | BC_TARGET, [']'] = P, ['^'] = T, ['_'] = TH, ['`'] = T,
	['a' ... 'f'] = TH | BC_HEX, ['g' ... 'z'] = TH,
	['{'] = P, ['|'] = T, ['}'] = P, ['~'] = TH,
	[0x80 ... 0xff] = V,
};

#define EACH(b) (0x0101010101010101ull * (b))

/* Eight bytes at a time: a byte below 0x20 sets its high bit in m when 0x20 is taken from it, a
 * DEL becomes 0 when 0x7f is flipped in it.  Borrows reach only bytes above a real find, so the
 * lowest bit set is exact, and the CPU is little-endian (configure refuses others). */
const uint8_t *value_end(const uint8_t *p, const uint8_t *end)
{
	while (end - p >= 8) {
		uint64_t x, del, m;

		memcpy(&x, p, 8);
		del = x ^ EACH(0x7f);
		m = (((x - EACH(0x20)) & ~x) | ((del - EACH(0x01)) & ~del)) & EACH(0x80);
		if (m == 0) {
			p += 8;
			continue;
		}
		p += __builtin_ctzll(m) >> 3;
		if (*p != '\t')
			return p;
		p++;
	}
	while (p < end && byte_is(*p, BC_VALUE))
		p++;
	return p;
}

struct known_name {
	const char *text;
	uint8_t id;
};

/* By length: one comparison of length and first letters refuses nearly every other name. */
static const struct known_name known[24][3] = {
	[2] = { { "te", HN_TE } },
	[3] = { { "via", HN_VIA } },
	[4] = { { "host", HN_HOST }, { "date", HN_DATE } },
	[6] = { { "expect", HN_EXPECT } },
	[7] = { { "upgrade", HN_UPGRADE }, { "trailer", HN_TRAILER } },
	[9] = { { "forwarded", HN_FORWARDED } },
	[10] = { { "connection", HN_CONNECTION }, { "keep-alive", HN_KEEP_ALIVE },
		 { "tracestate", HN_TRACESTATE } },
	[11] = { { "traceparent", HN_TRACEPARENT } },
	[12] = { { "x-request-id", HN_X_REQUEST_ID } },
	[14] = { { "content-length", HN_CONTENT_LENGTH } },
	[15] = { { "x-forwarded-for", HN_X_FORWARDED_FOR } },
	[16] = { { "proxy-connection", HN_PROXY_CONNECTION },
		 { "x-forwarded-host", HN_X_FORWARDED_HOST } },
	[17] = { { "transfer-encoding", HN_TRANSFER_ENCODING },
		 { "x-forwarded-proto", HN_X_FORWARDED_PROTO } },
	[18] = { { "proxy-authenticate", HN_PROXY_AUTHENTICATE } },
	[19] = { { "proxy-authorization", HN_PROXY_AUTHORIZATION } },
	[23] = { { "x-forwarded-client-cert", HN_X_FORWARDED_CLIENT_CERT } },
};

enum header_name header_name_of(struct slice name)
{
	if (name.n >= countof(known))
		return HN_OTHER;
	for (unsigned i = 0; i < countof(known[0]) && known[name.n][i].text; i++) {
		const char *t = known[name.n][i].text;

		/* |0x20 is only a filter here: slice_caseeq() decides. */
		if ((name.p[0] | 0x20) == t[0] && slice_caseeq(name, slice_of(t, name.n)))
			return known[name.n][i].id;
	}
	return HN_OTHER;
}

bool header_may_be_trailer(struct slice name)
{
	static const char *const never_in_trailers[] = {
		"authorization", "cache-control", "content-encoding", "content-range",
		"content-type", "cookie", "max-forwards", "set-cookie", "http2-settings",
	};

	if (header_name_of(name) != HN_OTHER)
		return false;
	for (unsigned i = 0; i < countof(never_in_trailers); i++)
		if (slice_caseeq(name, slice_str(never_in_trailers[i])))
			return false;
	return true;
}

bool is_token(struct slice s)
{
	for (size_t i = 0; i < s.n; i++)
		if (!byte_is(s.p[i], BC_TOKEN))
			return false;
	return s.n > 0;
}

bool is_authority(struct slice s, bool port_required)
{
	uint64_t port;
	size_t i = 0;

	if (s.n && s.p[0] == '[') {
		/* An IPv6 address; whether it is one is for who dials it, that it holds nothing
		 * else is for us.  RFC 3986's IPvFuture has no user. */
		for (i = 1; i < s.n && (byte_is(s.p[i], BC_HEX) || s.p[i] == ':' || s.p[i] == '.');)
			i++;
		if (i < 4 || i == s.n || s.p[i] != ']')
			return false;
		i++;
	} else {
		for (; i < s.n && byte_is(s.p[i], BC_HOST); i++)
			if (s.p[i] == '%' && (i + 2 >= s.n || !byte_is(s.p[i + 1], BC_HEX) ||
					      !byte_is(s.p[i + 2], BC_HEX)))
				return false;
		if (i == 0)
			return false;
	}
	if (i == s.n)
		return !port_required;
	if (s.p[i] != ':')
		return false;
	s = slice_from(s, i + 1);
	if (s.n == 0)
		return !port_required;
	return s.n <= 5 && slice_u64(s, 65535, &port);
}

bool quotes_are_closed(struct slice s)
{
	bool in = false;

	for (size_t i = 0; i < s.n; i++) {
		if (s.p[i] == '"')
			in = !in;
		else if (in && s.p[i] == '\\' && ++i == s.n)
			return false;
	}
	return !in;
}

bool list_next(struct slice *rest, struct slice *ret)
{
	while (rest->n) {
		const uint8_t *comma = memchr(rest->p, ',', rest->n);
		size_t n = comma ? (size_t)(comma - rest->p) : rest->n;
		struct slice one = slice_trim(slice_of(rest->p, n));

		*rest = slice_from(*rest, n + (comma ? 1 : 0));
		if (one.n) {
			*ret = one;
			return true;
		}
	}
	return false;
}

bool cookie_find(struct slice header, struct slice name, struct slice *ret)
{
	while (header.n) {
		const uint8_t *semi = memchr(header.p, ';', header.n), *eq;
		struct slice pair = slice_of(header.p, semi ? (size_t)(semi - header.p) : header.n);

		header = slice_from(header, min_of(pair.n + 1, header.n));
		while (pair.n && (pair.p[0] == ' ' || pair.p[0] == '\t'))
			pair = slice_from(pair, 1);
		while (pair.n && (pair.p[pair.n - 1] == ' ' || pair.p[pair.n - 1] == '\t'))
			pair.n--;
		eq = pair.n ? memchr(pair.p, '=', pair.n) : NULL;
		if (eq && slice_eq(slice_of(pair.p, (size_t)(eq - pair.p)), name)) {
			*ret = slice_from(pair, (size_t)(eq - pair.p) + 1);
			return true;
		}
	}
	return false;
}
