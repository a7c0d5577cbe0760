/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See resolvconf.h. */
#include "nodeproxy/lib/net/resolvconf.h"

#include <errno.h>
#include <unistd.h>

static bool is_blank(uint8_t c)
{
	return c == ' ' || c == '\t';
}

/* What stands behind the keyword, which begins the line; empty: another line. */
static struct slice server_of(struct slice line)
{
	struct slice key = SLICE("nameserver");
	size_t n = 0;

	if (!slice_starts(line, key) || line.n == key.n || !is_blank(line.p[key.n]))
		return (struct slice){ 0 };
	line = slice_from(line, key.n);
	while (line.n && is_blank(line.p[0]))
		line = slice_from(line, 1);
	while (n < line.n && !is_blank(line.p[n]) && line.p[n] != '\r')
		n++;
	return slice_of(line.p, n);
}

unsigned resolvconf_parse(struct slice text, struct addr ret[RESOLVCONF_MOST])
{
	unsigned n = 0;

	while (text.n && n < RESOLVCONF_MOST) {
		const uint8_t *end = memchr(text.p, '\n', text.n);
		size_t line = end ? (size_t)(end - text.p) : text.n;
		struct addr a;

		if (addr_parse_ip(server_of(slice_of(text.p, line)), &a) == 0)
			ret[n++] = a;
		text = slice_from(text, line + (end != NULL));
	}
	return n;
}

int resolvconf_read(int fd, struct addr ret[RESOLVCONF_MOST], unsigned *n)
{
	uint8_t text[RESOLVCONF_BYTES];
	size_t at = 0;
	ssize_t k;

	while (at < sizeof text && (k = read(fd, text + at, sizeof text - at)) != 0) {
		if (k < 0 && errno == EINTR)
			continue;
		if (k < 0)
			return -errno;
		at += (size_t)k;
	}
	*n = resolvconf_parse(slice_of(text, at), ret);
	return 0;
}

bool resolver_is_far(const struct addr *a)
{
	static const uint8_t one[16] = { [15] = 1 }, none[16];

	if (a->family == 4)
		return a->ip[0] != 0 && a->ip[0] != 127 && a->ip[0] < 224;
	return a->family == 6 && memcmp(a->ip, one, 16) && memcmp(a->ip, none, 16) && a->ip[0] != 0xff &&
	       !(a->ip[0] == 0xfe && (a->ip[1] & 0xc0) == 0x80);
}
