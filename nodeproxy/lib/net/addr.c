/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See addr.h. */
#include "nodeproxy/lib/net/addr.h"

#include <arpa/inet.h>
#include <errno.h>

#include "nodeproxy/lib/base/strbuf.h"

int addr_parse_ip(struct slice t, struct addr *ret)
{
	char s[INET6_ADDRSTRLEN];
	struct addr a = { 0 };

	if (t.n == 0 || t.n >= sizeof s)
		return -EINVAL;
	memcpy(s, t.p, t.n);
	s[t.n] = 0;
	if (strlen(s) != t.n)
		return -EINVAL;
	if (inet_pton(AF_INET, s, a.ip) == 1)
		a.family = 4;
	else if (inet_pton(AF_INET6, s, a.ip) == 1)
		a.family = 6;
	else
		return -EINVAL;
	*ret = a;
	return 0;
}

int addr_parse(struct slice t, struct addr *ret)
{
	struct slice ip = t, port;
	struct addr a;
	uint64_t v;
	size_t at = t.n;

	while (at && t.p[at - 1] != ':')
		at--;
	if (at == 0)
		return -EINVAL;
	port = slice_from(t, at);
	ip.n = at - 1;
	if (ip.n >= 2 && ip.p[0] == '[' && ip.p[ip.n - 1] == ']') {
		ip.p++;
		ip.n -= 2;
		if (memchr(ip.p, ':', ip.n) == NULL)
			return -EINVAL;
	} else if (memchr(ip.p, ':', ip.n)) {
		return -EINVAL;		/* IPv6 without brackets is ambiguous */
	}
	if (!slice_u64(port, 65535, &v) || addr_parse_ip(ip, &a) < 0)
		return -EINVAL;
	a.port = (uint16_t)v;
	*ret = a;
	return 0;
}

static void add_ipv4(struct strbuf *b, const uint8_t ip[4])
{
	for (unsigned i = 0; i < 4; i++) {
		if (i)
			strbuf_addc(b, '.');
		strbuf_u64(b, ip[i]);
	}
}

static void add_ipv6(struct strbuf *b, const uint8_t ip[16])
{
	char text[INET6_ADDRSTRLEN];

	strbuf_adds(b, inet_ntop(AF_INET6, ip, text, sizeof text));
}

/* Two are spelled for every connection; printing takes ten times as long. */
const char *addr_text(const struct addr *a, bool with_port, char out[ADDR_TEXT])
{
	struct strbuf b = strbuf_on(out, ADDR_TEXT);
	bool port = with_port && a->family, brackets = port && a->family == 6;

	if (brackets)
		strbuf_addc(&b, '[');
	if (a->family == 4)
		add_ipv4(&b, a->ip);
	else if (a->family == 6)
		add_ipv6(&b, a->ip);
	else
		strbuf_addc(&b, '-');
	if (brackets)
		strbuf_addc(&b, ']');
	if (port) {
		strbuf_addc(&b, ':');
		strbuf_u64(&b, a->port);
	}
	return out;
}

socklen_t addr_to_sockaddr(const struct addr *a, struct sockaddr_storage *ss)
{
	memset(ss, 0, sizeof *ss);
	if (a->family == 6) {
		struct sockaddr_in6 *s = (struct sockaddr_in6 *)ss;

		s->sin6_family = AF_INET6;
		s->sin6_port = htons(a->port);
		memcpy(&s->sin6_addr, a->ip, 16);
		return sizeof *s;
	}
	struct sockaddr_in *s = (struct sockaddr_in *)ss;

	s->sin_family = AF_INET;
	s->sin_port = htons(a->port);
	memcpy(&s->sin_addr, a->ip, 4);
	return sizeof *s;
}

void addr_from_sockaddr(const struct sockaddr_storage *ss, struct addr *ret)
{
	*ret = (struct addr){ 0 };
	if (ss->ss_family == AF_INET) {
		const struct sockaddr_in *s = (const struct sockaddr_in *)ss;

		ret->family = 4;
		ret->port = ntohs(s->sin_port);
		memcpy(ret->ip, &s->sin_addr, 4);
	} else if (ss->ss_family == AF_INET6) {
		const struct sockaddr_in6 *s = (const struct sockaddr_in6 *)ss;

		ret->family = 6;
		ret->port = ntohs(s->sin6_port);
		memcpy(ret->ip, &s->sin6_addr, 16);
	}
}
