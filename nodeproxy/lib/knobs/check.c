/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* What arrives over a channel is held to the rows again, and to what was parsed from its own texts:
 * knobs_check() believes no byte of it. */
#include <errno.h>
#include <string.h>

#include "nodeproxy/lib/base/memfd.h"
#include "nodeproxy/lib/knobs/identity.h"
#include "nodeproxy/lib/knobs/rows.h"
#include "nodeproxy/lib/knobs/source.h"
#include "nodeproxy/lib/knobs/text.h"

static bool value_is_sane(const void *base, const struct knob *k, bool of_listener)
{
	if (k->type == KNOB_NUM)
		return *num_at(base, k) >= k->min && *num_at(base, k) <= k->max;
	if (k->type == KNOB_ENU)
		return *enu_at(base, k) < 32 && knob_word(k->values, *enu_at(base, k)).n;
	if (memchr(text_at(base, k), 0, k->bytes) == NULL)
		return false;
	return (of_listener ? text_listener_wrong(k->key, text_at(base, k)) :
			      text_wrong(k->key, text_at(base, k))) == NULL;
}

static bool listener_is_sane(const struct knobs_listener *l)
{
	struct knobs_listener again = { 0 };
	const char *key;

	for (unsigned j = 0; j < countof(listener_knob); j++)
		if (!value_is_sane(l, &listener_knob[j], true))
			return false;
	if (addr_parse(slice_str(l->bind), &again.addr) < 0 || !addr_eq(&again.addr, &l->addr))
		return false;
	if ((l->route == LISTEN_SERVICE) != (l->service[0] != 0))
		return false;
	if (l->service[0] && text_service(slice_str(l->service), &again) < 0)
		return false;
	if (identity_tls_wrong(l, &key) || (l->tls_identity[0] && text_identity(slice_str(l->tls_identity), &again) < 0))
		return false;
	if (!memchr(l->tls_ns, 0, sizeof l->tls_ns) || !memchr(l->tls_account, 0, sizeof l->tls_account) ||
	    strcmp(l->tls_ns, again.tls_ns) != 0 || strcmp(l->tls_account, again.tls_account) != 0)
		return false;
	return memchr(l->service_ns, 0, sizeof l->service_ns) &&
	       memchr(l->service_name, 0, sizeof l->service_name) &&
	       strcmp(l->service_ns, again.service_ns) == 0 &&
	       strcmp(l->service_name, again.service_name) == 0 &&
	       l->service_port == again.service_port;
}

/* What was parsed is what is written. */
static bool same_endpoints(const struct knobs *k)
{
	struct addr a[KNOBS_ENDPOINTS];
	uint32_t n;

	if (source_endpoints(slice_str(k->source_endpoints), a, &n) < 0 || n != k->n_source_endpoints)
		return false;
	for (uint32_t i = 0; i < n; i++)
		if (!addr_eq(&a[i], &k->source_endpoint[i]))
			return false;
	return true;
}

int knobs_check(const void *bytes, size_t n)
{
	const struct knobs *k = bytes;
	const char *key;
	struct addr base;
	uint32_t bits;

	if (n != sizeof *k || k->magic != KNOBS_MAGIC || k->bytes != sizeof *k ||
	    k->n_listeners > KNOBS_LISTENERS)
		return -EBADMSG;
	for (unsigned i = 0; i < countof(knob); i++)
		if (!value_is_sane(k, &knob[i], false))
			return -EBADMSG;
	if (identity_wrong(k, &key))
		return -EBADMSG;
	if (k->source_kind > SOURCE_ETCD || source_wrong(k, &key) || !same_endpoints(k))
		return -EBADMSG;
	if ((k->log_ring_bytes & (k->log_ring_bytes - 1)) || k->respawn_min_ms > k->respawn_max_ms)
		return -EBADMSG;
	if (text_cidr(slice_str(k->service_cidr), &base, &bits) < 0 ||
	    !addr_eq(&base, &k->service_base) || bits != k->service_bits)
		return -EBADMSG;
	for (unsigned i = 0; i < k->n_listeners; i++)
		if (!listener_is_sane(&k->listener[i]) || identity_unmet(k, &k->listener[i]))
			return -EBADMSG;
	return 0;
}

int knobs_map(struct fd f, struct slice *ret)
{
	struct slice s = { 0 };
	int r = memfd_map_sealed(f, sizeof(struct knobs), &s);

	if (r == -EMSGSIZE)
		return -EBADMSG;	/* another build's */
	if (r == 0)
		r = knobs_check(s.p, s.n);
	if (r < 0) {
		memfd_unmap(&s);
		return r;
	}
	*ret = s;
	return 0;
}
