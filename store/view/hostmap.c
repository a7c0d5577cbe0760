/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Which Service did the caller mean: by the host name it used (the forms Kubernetes DNS knows) or
 * by the address it dialled. */
#include "store/view/reader.h"

#define LABEL 63 /* longest DNS label; names of Services and namespaces are labels */

/* "a.b.c" -> "a", rest "b.c"; without a dot the rest is empty. */
static struct slice label_take(struct slice *rest)
{
	const uint8_t *dot = rest->n ? memchr(rest->p, '.', rest->n) : NULL;
	struct slice label = *rest;

	if (dot == NULL) {
		*rest = slice_from(*rest, rest->n);
		return label;
	}
	label.n = (size_t)(dot - rest->p);
	*rest = slice_from(*rest, label.n + 1);
	return label;
}

/* Lower case, into room for LABEL bytes; false when it cannot be a name. */
static bool label_lower(struct slice a, uint8_t out[LABEL], struct slice *ret)
{
	if (a.n == 0 || a.n > LABEL)
		return false;
	for (size_t i = 0; i < a.n; i++)
		out[i] = byte_lower(a.p[i]);
	*ret = slice_of(out, a.n);
	return true;
}

bool view_service_by_host(const struct view *v, struct slice host, struct slice caller_ns,
			  struct vservice *ret)
{
	const struct view_head *h = layer_head(v->base);
	uint8_t name_low[LABEL], ns_low[LABEL];
	struct slice name, ns = caller_ns, rest = host;

	if (rest.n > 1 && rest.p[rest.n - 1] == '.')
		rest.n--; /* a DNS name may end with the root's dot */
	if (rest.n && rest.p[rest.n - 1] == '.')
		return false;
	if (!label_lower(label_take(&rest), name_low, &name))
		return false;
	if (rest.n) {
		if (!label_lower(label_take(&rest), ns_low, &ns))
			return false;
		if (rest.n && !slice_caseeq(label_take(&rest), SLICE("svc")))
			return false;
		if (rest.n && !slice_caseeq(rest, slice_of(h->domain, h->domain_n)))
			return false;
	}
	return view_service_by_name(v, ns, name, ret);
}

bool authority_split(struct slice authority, struct slice *ret_host, uint16_t *ret_port)
{
	struct slice host = authority;
	uint64_t port = 0;
	size_t at = authority.n;

	while (at && authority.p[at - 1] >= '0' && authority.p[at - 1] <= '9')
		at--;
	if (at && authority.p[at - 1] == ':') {
		host.n = at - 1;
		if (at < authority.n && !slice_u64(slice_from(authority, at), 65535, &port))
			return false;
	}
	*ret_host = host;
	*ret_port = (uint16_t)port;
	return host.n > 0;
}

bool vservice_port_of_host(const struct vservice *s, uint16_t port, struct vport *ret)
{
	if (port && vservice_port(s, port, ret))
		return true;
	if (vservice_port(s, 80, ret))
		return true;
	return vservice_ports(s) == 1 && vservice_port_at(s, 0, ret);
}

uint32_t index_hash_vip(const uint8_t key[16], const struct addr *a)
{
	uint8_t b[18] = { 'v', a->family };

	memcpy(b + 2, a->ip, 16);
	return (uint32_t)siphash(key, slice_of(b, sizeof b));
}

static bool has_vip(const struct vservice *s, const struct addr *a)
{
	for (int i = 0; i < 2; i++) {
		const struct addr *v = &vservice_svc(s)->vip[i];

		if (v->family == a->family && memcmp(v->ip, a->ip, sizeof a->ip) == 0)
			return true;
	}
	return false;
}

static bool find_vip_in(const struct view *v, const struct layer *l, const struct addr *a,
			struct vservice *ret)
{
	const struct view_head *h = layer_head(l);
	const struct view_slot *s = (const struct view_slot *)(l->bytes.p + h->vips);
	uint32_t hash = index_hash_vip(h->key, a), mask = h->n_vips - 1;

	for (uint32_t i = hash & mask; s[i].id != 0; i = (i + 1) & mask)
		/* The unit as the whole view knows it: it may be gone or moved by now. */
		if (s[i].hash == hash && view_service(v, s[i].id, ret) && has_vip(ret, a))
			return true;
	return false;
}

bool view_service_by_vip(const struct view *v, const struct addr *a, struct vservice *ret)
{
	if (a->family != 4 && a->family != 6)
		return false;
	return (v->over && find_vip_in(v, v->over, a, ret)) || find_vip_in(v, v->base, a, ret);
}
