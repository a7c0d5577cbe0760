/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See websocket.h.  SHA-1 is FIPS 180-4, written for short messages: workers need no other use of
 * it, and no library. */
#include "workers/codec/websocket.h"

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/rand.h"

#define BLOCK 64u

static void base64(const uint8_t *in, size_t n, uint8_t *out)
{
	static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

	for (size_t i = 0; i < n; i += 3) {
		uint32_t v = (uint32_t)in[i] << 16 | (i + 1 < n ? (uint32_t)in[i + 1] << 8 : 0) |
			     (i + 2 < n ? in[i + 2] : 0);

		*out++ = (uint8_t)digits[v >> 18];
		*out++ = (uint8_t)digits[v >> 12 & 63];
		*out++ = i + 1 < n ? (uint8_t)digits[v >> 6 & 63] : '=';
		*out++ = i + 2 < n ? (uint8_t)digits[v & 63] : '=';
	}
}

static uint32_t rotate(uint32_t v, unsigned by)
{
	return v << by | v >> (32 - by);
}

static void sha1_block(uint32_t h[5], const uint8_t *p)
{
	uint32_t w[80], a = h[0], b = h[1], c = h[2], d = h[3], e = h[4];

	for (unsigned i = 0; i < 16; i++)
		w[i] = (uint32_t)p[4 * i] << 24 | (uint32_t)p[4 * i + 1] << 16 |
		       (uint32_t)p[4 * i + 2] << 8 | p[4 * i + 3];
	for (unsigned i = 16; i < 80; i++)
		w[i] = rotate(w[i - 3] ^ w[i - 8] ^ w[i - 14] ^ w[i - 16], 1);
	for (unsigned i = 0; i < 80; i++) {
		uint32_t f = i < 20   ? ((b & c) | (~b & d)) + 0x5a827999
			     : i < 40 ? (b ^ c ^ d) + 0x6ed9eba1
			     : i < 60 ? ((b & c) | (b & d) | (c & d)) + 0x8f1bbcdc
				      : (b ^ c ^ d) + 0xca62c1d6;
		uint32_t t = rotate(a, 5) + f + e + w[i];

		e = d;
		d = c;
		c = rotate(b, 30);
		b = a;
		a = t;
	}
	h[0] += a;
	h[1] += b;
	h[2] += c;
	h[3] += d;
	h[4] += e;
}

void websocket_key(uint8_t out[WEBSOCKET_KEY_BYTES])
{
	uint64_t r[2] = { rand_u64(), rand_u64() };

	base64((const uint8_t *)r, sizeof r, out);
}

void websocket_accept(struct slice key, uint8_t out[WEBSOCKET_ACCEPT_BYTES])
{
	static const char magic[] = "258EAFA5-E914-47DA-95CA-C5AB0DC85B11";
	uint32_t h[5] = { 0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0 };
	/* 24 bytes of key and 36 of magic: a key of any other length is nobody's, and is cut. */
	uint8_t text[2 * BLOCK] = { 0 }, digest[20];
	size_t n = min_of(key.n, (size_t)WEBSOCKET_KEY_BYTES);

	memcpy(text, key.p, n);
	memcpy(text + n, magic, sizeof magic - 1);
	n += sizeof magic - 1;
	text[n] = 0x80;
	text[2 * BLOCK - 2] = (uint8_t)(n * 8 >> 8);
	text[2 * BLOCK - 1] = (uint8_t)(n * 8);
	/* Whatever is at most 60 bytes long could have its length in the first block; 56 to 60 not. */
	if (n < BLOCK - 8) {
		memcpy(text + BLOCK - 2, text + 2 * BLOCK - 2, 2);
		sha1_block(h, text);
	} else {
		sha1_block(h, text);
		sha1_block(h, text + BLOCK);
	}
	for (unsigned i = 0; i < 20; i++)
		digest[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
	base64(digest, sizeof digest, out);
}
