/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* See vip.h. */
#include "store/registry/vip.h"

#include "nodeproxy/lib/base/hash.h"

static unsigned host_bits(const struct addr *base, unsigned bits)
{
	return (base->family == 4 ? 32 : 128) - bits;
}

/* The first and the last of an IPv4 range are not addresses of anybody. */
static bool has_edges(const struct addr *base, unsigned host)
{
	return base->family == 4 && host >= 2;
}

uint64_t vip_room(const struct addr *base, unsigned bits)
{
	unsigned host = host_bits(base, bits);

	return host >= 63 ? 1ull << 63 : (1ull << host) - (has_edges(base, host) ? 2 : 0);
}

struct addr vip_address(const struct addr *base, unsigned bits, struct slice owner, uint64_t n)
{
	unsigned host = host_bits(base, bits);
	uint64_t h = hash_stable(owner);
	struct addr a = *base;

	if (host < 63) {
		uint64_t room = vip_room(base, bits);

		h = (h % room + n % room) % room + has_edges(base, host);
	} else {
		h += n;
	}
	for (int i = (a.family == 4 ? 4 : 16) - 1, left = (int)min_of(host, 64u); left > 0;
	     i--, left -= 8) {
		uint8_t keep = left >= 8 ? 0 : (uint8_t)(0xff << left);

		a.ip[i] = (uint8_t)((a.ip[i] & keep) | ((uint8_t)h & (uint8_t)~keep));
		h >>= 8;
	}
	return a;
}

enum registry_error vip_allocate(struct registry *r, const struct addr *base, unsigned bits,
				 const char *owner, char ret[ADDR_TEXT])
{
	uint64_t tries = min_of(vip_room(base, bits), (uint64_t)VIP_TRIES_MAX);

	for (uint64_t n = 0; n < tries; n++) {
		struct addr a = vip_address(base, bits, slice_str(owner), n);
		enum registry_error e;

		addr_text(&a, false, ret);
		e = r->ops->vip_claim(r, ret, owner);
		if (e != REGISTRY_TAKEN)
			return e;
	}
	return registry_fail(r, REGISTRY_FULL, "none of %llu addresses is free for %s",
			     (unsigned long long)tries, owner);
}
