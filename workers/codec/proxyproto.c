/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See proxyproto.h.  Both versions are refused at the first byte that cannot be right, so a caller
 * that does not speak the protocol is not waited for. */
#include "workers/codec/proxyproto.h"

#define V1_MAX	 107
#define V2_FIXED 16

static const uint8_t v2_signature[12] = { 0x0d, 0x0a, 0x0d, 0x0a, 0x00, 0x0d,
					  0x0a, 0x51, 0x55, 0x49, 0x54, 0x0a };

/* The two agree as far as both go. */
static bool begins(struct slice bytes, const void *with, size_t n)
{
	return memcmp(bytes.p, with, min_of(bytes.n, n)) == 0;
}

/* ---- version 1: PROXY TCP4 192.0.2.1 192.0.2.2 56324 443 CR LF ---- */

/* The next word; exactly one blank stands between two. */
static bool word(struct slice *rest, struct slice *ret)
{
	const uint8_t *blank = rest->n ? memchr(rest->p, ' ', rest->n) : NULL;

	*ret = slice_of(rest->p, blank ? (size_t)(blank - rest->p) : rest->n);
	*rest = slice_from(*rest, ret->n + (blank ? 1 : 0));
	return ret->n > 0 && (!blank || rest->n > 0);
}

static bool port_of(struct slice s, uint16_t *ret)
{
	uint64_t n;

	if (!slice_u64(s, 65535, &n) || (s.n > 1 && s.p[0] == '0'))
		return false;
	*ret = (uint16_t)n;
	return true;
}

static bool v1_addresses(struct slice line, struct proxied *ret)
{
	struct slice family, from, to, from_port, to_port;
	uint8_t wanted;

	if (!word(&line, &family))
		return false;
	if (slice_eq(family, SLICE("UNKNOWN"))) {	/* whatever follows is ignored */
		ret->local = true;
		return true;
	}
	wanted = slice_eq(family, SLICE("TCP4")) ? 4 : slice_eq(family, SLICE("TCP6")) ? 6 : 0;
	return wanted && word(&line, &from) && word(&line, &to) && word(&line, &from_port) &&
	       word(&line, &to_port) && line.n == 0 && addr_parse_ip(from, &ret->from) == 0 &&
	       addr_parse_ip(to, &ret->to) == 0 && ret->from.family == wanted &&
	       ret->to.family == wanted && port_of(from_port, &ret->from.port) &&
	       port_of(to_port, &ret->to.port);
}

static int version_1(struct slice bytes, struct proxied *ret)
{
	struct slice seen = slice_of(bytes.p, min_of(bytes.n, (size_t)V1_MAX));
	const uint8_t *lf = memchr(seen.p, '\n', seen.n);
	struct slice line;

	if (lf == NULL)
		return bytes.n >= V1_MAX ? -1 : 0;
	line = slice_of(bytes.p, (size_t)(lf - bytes.p));
	ret->bytes = line.n + 1;
	if (line.n == 0 || line.p[line.n - 1] != '\r')
		return -1;
	line.n--;
	if (memchr(line.p, 0, line.n) || memchr(line.p, '\r', line.n))
		return -1;
	return line.n > 6 && v1_addresses(slice_from(line, 6), ret) ? 1 : -1;
}

/* ---- version 2 ---- */

static uint16_t u16_at(const uint8_t *p)
{
	return (uint16_t)(p[0] << 8 | p[1]);
}

/* Source, destination, source port, destination port, in network order. */
static void v2_addresses(const uint8_t *p, uint8_t family, size_t ip, struct proxied *ret)
{
	ret->from.family = ret->to.family = family;
	memcpy(ret->from.ip, p, ip);
	memcpy(ret->to.ip, p + ip, ip);
	ret->from.port = u16_at(p + 2 * ip);
	ret->to.port = u16_at(p + 2 * ip + 2);
}

static int version_2(struct slice bytes, struct proxied *ret)
{
	size_t n;

	if (bytes.n > 12 && bytes.p[12] != 0x20 && bytes.p[12] != 0x21)
		return -1;	/* LOCAL and PROXY of version 2 */
	if (bytes.n < V2_FIXED)
		return 0;
	n = u16_at(bytes.p + 14);
	if (V2_FIXED + n > PROXYPROTO_MAX)
		return -1;
	ret->local = bytes.p[12] == 0x20;
	switch (bytes.p[13]) {
	case 0x11:		/* TCP over IPv4 */
		if (n < 12)
			return -1;
		break;
	case 0x21:		/* TCP over IPv6 */
		if (n < 36)
			return -1;
		break;
	case 0x00:		/* it does not say */
		ret->local = true;
		break;
	default:		/* datagrams and Unix sockets are nothing that comes here */
		if (!ret->local)
			return -1;
		break;
	}
	if (bytes.n < V2_FIXED + n)
		return 0;
	ret->bytes = V2_FIXED + n;
	if (!ret->local && bytes.p[13] == 0x11)
		v2_addresses(bytes.p + V2_FIXED, 4, 4, ret);
	else if (!ret->local)
		v2_addresses(bytes.p + V2_FIXED, 6, 16, ret);
	return 1;
}

int proxyproto(struct slice bytes, struct proxied *ret)
{
	*ret = (struct proxied){ 0 };
	if (bytes.n == 0)
		return 0;
	if (begins(bytes, v2_signature, sizeof v2_signature))
		return version_2(bytes, ret);
	if (begins(bytes, "PROXY ", 6))
		return bytes.n < 6 ? 0 : version_1(bytes, ret);
	return -1;
}

size_t proxyproto_tell(const struct addr *from, const struct addr *to, uint8_t out[PROXYPROTO_TOLD])
{
	size_t ip = from->family == 4 ? 4 : 16, n = 2 * ip + 4;

	memcpy(out, v2_signature, sizeof v2_signature);
	out[12] = 0x21;				/* version 2, PROXY */
	out[13] = from->family == 4 ? 0x11 : 0x21;	/* TCP over IPv4, IPv6 */
	out[14] = 0;
	out[15] = (uint8_t)n;
	out += V2_FIXED;
	memcpy(out, from->ip, ip);
	memcpy(out + ip, to->ip, ip);
	out += 2 * ip;
	out[0] = (uint8_t)(from->port >> 8);
	out[1] = (uint8_t)from->port;
	out[2] = (uint8_t)(to->port >> 8);
	out[3] = (uint8_t)to->port;
	return V2_FIXED + n;
}
