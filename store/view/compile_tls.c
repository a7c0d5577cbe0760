/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* BackendTLSPolicies of a unit: what each port's says, with the issuers that it refers to. */
#include "store/view/compile_inner.h"

#include <errno.h>
#include <stdlib.h>

#include "nodeproxy/lib/base/hash.h"
#include "store/view/view.h"

enum ca_ref ca_of_ref(const struct row *policy, const struct row_ca_ref *r, config_map_fn find, void *arg,
		      const struct row **ret)
{
	*ret = NULL;
	if (r->other[0])
		return CA_NO_KIND;
	*ret = find ? find(arg, policy->ns, r->name) : NULL;
	if (*ret == NULL)
		return CA_NOT_FOUND;
	return (*ret)->config_map.flaw ? CA_FLAWED : CA_GOOD;
}

/* Everything that matters of a policy, hashed as it is put together. */
struct digest {
	uint64_t a, b;
};

/* Keyed, and twice: whoever may write policies must not make two of them look alike. */
static void add(struct digest *d, struct slice s)
{
	uint64_t x[4] = { d->a, d->b, hash_slice(s), s.n };

	d->a = hash_slice(slice_of(x, sizeof x));
	x[0] ^= UINT64_MAX;
	d->b = hash_slice(slice_of(x, sizeof x));
}

/* Numbers of texts, or names, of all ports. */
struct all {
	void *p;
	uint32_t n, room;
};

static void push(struct out *o, struct all *to, const void *item, size_t size)
{
	if (!out_grow(&to->p, &to->room, to->n + 1, size)) {
		o->error = -ENOMEM;
		return;
	}
	memcpy((uint8_t *)to->p + to->n++ * size, item, size);
}

static uint32_t append(struct out *o, const struct all *from, size_t size)
{
	uint32_t at = out_room(o, (uint64_t)from->n * size, 4);

	if (!o->error && from->n)
		memcpy(o->b->p + at, from->p, from->n * size);
	return at;
}

static struct unit_tls tls_of(struct out *o, const struct unit_service *in, const struct row *row,
			      struct all *cas, struct all *names)
{
	const struct row_backend_tls *p = &row->backend_tls;
	struct digest d = { 0 };
	struct unit_tls u = { .name = out_str(o, row->name), .host = out_str(o, p->hostname),
			      .flags = p->system ? TLS_TRUSTS_HOST : 0, .ca = cas->n, .first = names->n };

	add(&d, slice_str(p->hostname));
	add(&d, slice_of(&u.flags, sizeof u.flags));
	for (uint32_t i = 0; i < p->n_refs && !o->error; i++) {
		const struct row *map;
		uint32_t text;

		if (ca_of_ref(row, &p->refs[i], in->config_map, in->arg, &map) != CA_GOOD)
			continue;
		text = out_str(o, map->config_map.ca);
		push(o, cas, &text, sizeof text);
		add(&d, slice_str(map->config_map.ca));
		u.n_cas++;
	}
	add(&d, SLICE("names"));
	for (uint32_t i = 0; i < p->n_names && !o->error; i++) {
		struct unit_tls_name n = { p->names[i].is_uri, out_str(o, p->names[i].text) };

		push(o, names, &n, sizeof n);
		add(&d, slice_of(&n.is_uri, sizeof n.is_uri));
		add(&d, slice_str(p->names[i].text));
		u.n_names++;
	}
	static_must(ROW_CA_REFS == VTLS_CAS && ROW_BACKEND_NAMES == VTLS_NAMES);
	static_must(sizeof d == sizeof u.id);
	memcpy(u.id, &d, sizeof d);
	return u;
}

void compile_put_tls(struct out *o, const struct unit_service *in, const struct row_service_port *const *ports,
		     uint32_t n_ports, struct unit_svc *u)
{
	struct all tls = { 0 }, cas = { 0 }, names = { 0 };

	for (uint32_t i = 0; i < n_ports && !o->error; i++) {
		const struct row *row = policy_of_port(in->tls, in->n_tls, in->service, ports[i]);
		struct unit_tls t;

		if (row == NULL)
			continue;
		t = tls_of(o, in, row, &cas, &names);
		push(o, &tls, &t, sizeof t);
		if (!o->error)
			((struct unit_port *)(o->b->p + u->ports))[i].tls = tls.n;
	}
	u->n_tls = tls.n;
	u->tls = append(o, &tls, sizeof(struct unit_tls));
	u->n_cas = cas.n;
	u->cas = append(o, &cas, sizeof(uint32_t));
	u->n_tls_names = names.n;
	u->tls_names = append(o, &names, sizeof(struct unit_tls_name));
	free(tls.p);
	free(cas.p);
	free(names.p);
}
