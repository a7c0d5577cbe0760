/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* A ClientHello for tests: with this name (NULL: none), a key share of this size, in records of this
 * size. */
#ifndef TESTS_LIB_HELLO_H
#define TESTS_LIB_HELLO_H

#include <string.h>

#include "nodeproxy/lib/base/must.h"

static inline size_t put16(uint8_t *p, size_t v)
{
	p[0] = (uint8_t)(v >> 8);
	p[1] = (uint8_t)v;
	return 2;
}

/* One with this name and a key share of so many bytes, in records of at most piece bytes. */
static inline size_t hello_of(uint8_t *out, const char *name, size_t share, size_t piece)
{
	static uint8_t m[32768];
	size_t n = 4, at, exts, name_n = name ? strlen(name) : 0, done = 0, k = 0;

	n += put16(m + n, 0x0303);
	memset(m + n, 7, 32);
	n += 32;
	m[n++] = 0;
	n += put16(m + n, 2);
	n += put16(m + n, 0x1301);
	m[n++] = 1;
	m[n++] = 0;
	at = n;
	n += 2;
	exts = n;
	n += put16(m + n, 51);		/* key_share */
	n += put16(m + n, share);
	memset(m + n, 9, share);
	n += share;
	if (name) {
		n += put16(m + n, 0);
		n += put16(m + n, name_n + 5);
		n += put16(m + n, name_n + 3);
		m[n++] = 0;
		n += put16(m + n, name_n);
		memcpy(m + n, name, name_n);
		n += name_n;
	}
	n += put16(m + n, 16);
	n += put16(m + n, 5);
	n += put16(m + n, 3);
	memcpy(m + n, "\x02h2", 3);
	n += 3;
	put16(m + at, n - exts);
	m[0] = 1;
	m[1] = (uint8_t)((n - 4) >> 16);
	put16(m + 2, n - 4);
	while (done < n) {
		size_t len = min_of(piece, n - done);

		out[k++] = 22;
		out[k++] = 3;
		out[k++] = 1;
		k += put16(out + k, len);
		memcpy(out + k, m + done, len);
		k += len;
		done += len;
	}
	return k;
}

#endif
