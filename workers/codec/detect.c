/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See detect.h.  A caller whose first bytes name a common method and a target is taken for HTTP/1
 * at once, even when what follows is broken: it gets an answer that says so, instead of passing
 * around everything that is decided per request. */
#include "workers/codec/detect.h"

#include "workers/codec/headers.h"

#define LOOK_MAX    8192
#define METHOD_MAX  32
#define EMPTY_LINES 8	/* before the first request; RFC 9112 section 2.2 asks for at least one */

/* 1: it begins with all of want; 0: too short to say; -1: it does not. */
static int begins(struct slice s, struct slice want)
{
	size_t n = min_of(s.n, want.n);

	if (n && memcmp(s.p, want.p, n))
		return -1;
	return n == want.n;
}

static bool is_common_method(struct slice m)
{
	static const char *const names[] = { "GET", "POST", "PUT", "HEAD", "DELETE", "PATCH",
					     "OPTIONS", "CONNECT", "TRACE" };

	for (unsigned i = 0; i < countof(names); i++)
		if (slice_eq(m, slice_str(names[i])))
			return true;
	return false;
}

/* A TLS record (RFC 8446 section 5.1) with a ClientHello in it: type 22, version 3.x, at least 4
 * bytes of message, type 1. */
static enum detected detect_tls(struct slice s)
{
	if ((s.n > 1 && s.p[1] != 3) || (s.n > 2 && s.p[2] > 4) ||
	    (s.n > 4 && (s.p[3] << 8 | s.p[4]) < 4) || (s.n > 5 && s.p[5] != 1))
		return DETECT_OPAQUE;
	return s.n > 5 ? DETECT_TLS : DETECT_MORE;
}

static enum detected detect_http1(struct slice s)
{
	size_t i = 0, at;
	struct slice method;
	int r;

	while (i < s.n && i <= METHOD_MAX && byte_is(s.p[i], BC_TOKEN))
		i++;
	if (i == s.n && i <= METHOD_MAX)
		return DETECT_MORE;
	if (i == 0 || i > METHOD_MAX || s.p[i] != ' ')
		return DETECT_OPAQUE;
	method = slice_of(s.p, i);
	at = ++i;
	if (i < s.n && is_common_method(method) && (s.p[i] == '/' || s.p[i] == '*'))
		return DETECT_HTTP1;
	while (i < s.n && i < LOOK_MAX && byte_is(s.p[i], BC_TARGET))
		i++;
	if (i == LOOK_MAX)
		return DETECT_HTTP1;	/* a method and 8 KiB of target: it will be told what it is */
	if (i == s.n)
		return DETECT_MORE;
	if (i == at || s.p[i] != ' ')
		return DETECT_OPAQUE;
	r = begins(slice_from(s, i + 1), SLICE("HTTP/"));
	return r > 0 ? DETECT_HTTP1 : r == 0 ? DETECT_MORE : DETECT_OPAQUE;
}

enum detected detect(struct slice first)
{
	int h2;

	for (unsigned i = 0; i < EMPTY_LINES && first.n && first.p[0] == '\r'; i++) {
		if (first.n == 1)
			return DETECT_MORE;
		if (first.p[1] != '\n')
			return DETECT_OPAQUE;
		first = slice_from(first, 2);
	}
	if (first.n == 0)
		return DETECT_MORE;
	if (first.p[0] == 0x16)
		return detect_tls(first);
	h2 = begins(first, SLICE("PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"));
	if (h2 >= 0)
		return h2 ? DETECT_H2 : DETECT_MORE;
	return detect_http1(first);
}
