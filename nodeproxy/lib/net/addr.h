/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Addresses: IPv4 and IPv6 in one small value, comparable with memcmp. */
#ifndef NODEPROXY_LIB_NET_ADDR_H
#define NODEPROXY_LIB_NET_ADDR_H

#include <netinet/in.h>
#include <sys/socket.h>

#include "nodeproxy/lib/base/must.h"
#include "nodeproxy/lib/base/slice.h"

struct addr {
	uint8_t ip[16];		/* IPv4 in the first four bytes, the rest zero */
	uint16_t port;		/* host order */
	uint8_t family;		/* 4, 6, or 0 for none */
	uint8_t zero;
};
static_must(sizeof(struct addr) == 20);

#define ADDR_TEXT 56	/* "[ipv6]:65535" and its NUL */

/* "127.0.0.1:80", "[::1]:80"; port 0 is legal.  0 or -EINVAL. */
must_use int addr_parse(struct slice text, struct addr *ret);
/* An address without port. */
must_use int addr_parse_ip(struct slice text, struct addr *ret);
/* Text with port (or without when with_port is false); returns out. */
const char *addr_text(const struct addr *, bool with_port, char out[ADDR_TEXT]);
socklen_t addr_to_sockaddr(const struct addr *, struct sockaddr_storage *);
void addr_from_sockaddr(const struct sockaddr_storage *, struct addr *ret);	/* none: family 0 */

static inline bool addr_eq(const struct addr *a, const struct addr *b)
{
	return memcmp(a, b, sizeof *a) == 0;
}

#endif
