/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See tls_hello.h. */
#include "nodeproxy/lib/net/tls_hello.h"

#include <errno.h>

enum { RECORD_HANDSHAKE = 22, CLIENT_HELLO = 1, EXTENSION_SERVER_NAME = 0, EXTENSION_ALPN = 16 };

#define RECORD_MAX 16384u

static bool take(struct slice *from, size_t n, struct slice *ret)
{
	if (from->n < n)
		return false;
	*ret = slice_of(from->p, n);
	*from = slice_from(*from, n);
	return true;
}

/* What a length of so many bytes stands in front of. */
static bool take_long(struct slice *from, unsigned of, struct slice *ret)
{
	struct slice len;
	size_t n = 0;

	if (!take(from, of, &len))
		return false;
	for (unsigned i = 0; i < of; i++)
		n = n << 8 | len.p[i];
	return take(from, n, ret);
}

static bool server_name(struct slice ext, struct slice *ret)
{
	struct slice list, name, type;

	if (!take_long(&ext, 2, &list) || ext.n || !take(&list, 1, &type) ||
	    !take_long(&list, 2, &name) || list.n || type.p[0] != 0 || name.n == 0 || name.n > 255)
		return false;
	for (size_t i = 0; i < name.n; i++)
		if (name.p[i] <= ' ' || name.p[i] > '~')
			return false;
	*ret = name;
	return true;
}

static bool alpn(struct slice ext, struct slice *ret)
{
	struct slice list, name;

	if (!take_long(&ext, 2, &list) || ext.n || list.n == 0)
		return false;
	*ret = list;
	while (list.n)
		if (!take_long(&list, 1, &name) || name.n == 0)
			return false;
	return true;
}

static bool parse(struct slice m, struct tls_hello *ret)
{
	struct slice skip, exts, ext, type;

	*ret = (struct tls_hello){ 0 };
	if (!take(&m, 2 + 32, &skip) ||		/* version, random */
	    !take_long(&m, 1, &skip) ||		/* session id */
	    !take_long(&m, 2, &skip) || skip.n == 0 || skip.n % 2 ||	/* cipher suites */
	    !take_long(&m, 1, &skip) || skip.n == 0)	/* compression */
		return false;
	if (m.n == 0)
		return true;
	if (!take_long(&m, 2, &exts) || m.n)
		return false;
	while (exts.n) {
		struct slice *once = NULL;

		if (!take(&exts, 2, &type) || !take_long(&exts, 2, &ext))
			return false;
		if (type.p[0])
			continue;
		if (type.p[1] == EXTENSION_SERVER_NAME)
			once = &ret->server_name;
		else if (type.p[1] == EXTENSION_ALPN)
			once = &ret->alpn;
		if (once && (once->n || !(once == &ret->alpn ? alpn : server_name)(ext, once)))
			return false;
	}
	return true;
}

/* Walks the records: 1: the message in them is whole, of *ret_n bytes; else as tls_hello().  Looks at no more than their heads and the message's, so that bytes that come one by one
 * are not all read for each. */
static int is_whole(struct slice bytes, size_t *ret_n)
{
	size_t have = 0, want = 4;
	uint8_t head[4];

	while (have < want) {
		size_t n, here;

		if (bytes.n && bytes.p[0] != RECORD_HANDSHAKE)
			return -EPROTO;
		if (bytes.n > 1 && bytes.p[1] != 3)
			return -EPROTO;
		if (bytes.n < 5)
			return 0;
		n = (size_t)bytes.p[3] << 8 | bytes.p[4];
		if (n == 0 || n > RECORD_MAX)
			return -EPROTO;
		bytes = slice_from(bytes, 5);
		here = min_of(n, bytes.n);
		for (size_t i = 0; i < here && have + i < 4; i++)
			head[have + i] = bytes.p[i];
		if (here && head[0] != CLIENT_HELLO)
			return -EPROTO;
		have += here;
		if (have >= 4)
			want = 4 + ((size_t)head[1] << 16 | (size_t)head[2] << 8 | head[3]);
		if (want > TLS_HELLO_MAX)
			return -EMSGSIZE;
		if (have < want && here < n)
			return 0;
		bytes = slice_from(bytes, here);
	}
	*ret_n = want;
	return 1;
}

int tls_hello(struct slice bytes, uint8_t room[TLS_HELLO_MAX], struct tls_hello *ret)
{
	size_t have = 0, want;
	int r = is_whole(bytes, &want);

	if (r != 1)
		return r;
	while (have < want) {
		size_t n = (size_t)bytes.p[3] << 8 | bytes.p[4], take = min_of(n, want - have);

		memcpy(room + have, bytes.p + 5, take);
		have += take;
		bytes = slice_from(bytes, 5 + take);
	}
	return parse(slice_of(room + 4, want - 4), ret) ? 1 : -EPROTO;
}
