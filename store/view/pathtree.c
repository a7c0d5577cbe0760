/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Path -> rule -> backend, for one port of a Service.
 *
 * The entries of a port stand in order of precedence: exact paths, sorted; then prefixes, longest
 * first, those of one length sorted.  So an exact path is one binary search, and the longest prefix
 * that ends at an element of the path is one binary search per distinct length. */
#include <stdio.h>

#include "store/view/reader.h"

struct entries {
	struct slice unit;
	const struct unit_svc *svc;
	uint32_t first, n_exact, n;
};

static bool entries_of(const struct vport *p, struct entries *ret)
{
	const struct unit_port *u = vport_unit(p);

	if (u == NULL)
		return false;
	*ret = (struct entries){
		.unit = vservice_unit(&p->service),
		.svc = vservice_svc(&p->service),
		.first = u->entry,
		.n_exact = u->n_exact,
		.n = u->n_entries,
	};
	return true;
}

static const struct unit_entry *entry_at(const struct entries *e, uint32_t i)
{
	if (i >= e->n || e->first > e->svc->n_entries)
		return NULL;
	return unit_item(e->unit, e->svc->entries, e->svc->n_entries, sizeof(struct unit_entry),
			 e->first + i);
}

/* The bytes of the entry that must match. */
static struct slice entry_key(const struct entries *e, uint32_t i)
{
	const struct unit_entry *t = entry_at(e, i);
	struct slice path = t ? unit_text(e->unit, t->path) : (struct slice){ 0 };

	if (t && t->key_n < path.n)
		path.n = t->key_n;
	return path;
}

/* First exact entry with this path, or n. */
static uint32_t find_exact(const struct entries *e, struct slice path)
{
	uint32_t lo = 0, hi = min_of(e->n_exact, e->n);

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (slice_cmp(entry_key(e, mid), path) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < e->n_exact && slice_eq(entry_key(e, lo), path) ? lo : e->n;
}

/* First entry from `from` on whose key is not longer than n bytes. */
static uint32_t skip_longer(const struct entries *e, uint32_t from, size_t n)
{
	uint32_t lo = from, hi = e->n;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (entry_key(e, mid).n > n)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo;
}

/* First entry in [from, to), keys all as long as `want`, that equals it; or to. */
static uint32_t find_prefix(const struct entries *e, uint32_t from, uint32_t to, struct slice want)
{
	uint32_t lo = from, hi = to;

	while (lo < hi) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (slice_cmp(entry_key(e, mid), want) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	return lo < to && slice_eq(entry_key(e, lo), want) ? lo : to;
}

static uint32_t find(const struct entries *e, struct slice path)
{
	uint32_t at = find_exact(e, path), next;

	if (at < e->n)
		return at;
	for (at = skip_longer(e, min_of(e->n_exact, e->n), path.n); at < e->n; at = next) {
		size_t n = entry_key(e, at).n;

		/* Where the next shorter length starts; n == 0 is the last there is. */
		next = n ? skip_longer(e, at, n - 1) : e->n;
		/* A prefix ends where an element ends: /a matches /a and /a/b, not /ab. */
		if (n == path.n || (n < path.n && path.p[n] == '/')) {
			uint32_t hit = find_prefix(e, at, next, slice_of(path.p, n));

			if (hit < next)
				return hit;
		}
	}
	return e->n;
}

static bool rule_of(const struct vport *p, const struct entries *e, uint32_t i, struct vrule *ret)
{
	const struct unit_entry *t = entry_at(e, i);
	const struct unit_rule *r =
		t ? unit_item(e->unit, e->svc->rules, e->svc->n_rules, sizeof *r, t->rule) : NULL;

	if (r == NULL)
		return false;
	*ret = (struct vrule){
		.port = *p,
		.index = i,
		.route_ns = unit_text(e->unit, r->route_ns),
		.route_name = unit_text(e->unit, r->route_name),
		.rule_name = unit_text(e->unit, r->name),
		.backends = r->n_backends,
		.total_weight = r->total_weight,
	};
	return true;
}

enum match_result vport_match(const struct vport *p, struct slice method, struct slice path,
			      struct vrule *ret)
{
	struct entries e;

	(void)method; /* no kind of resource matches on it yet */
	if (!p->has_routes)
		return MATCH_DIRECT;
	if (!entries_of(p, &e) || !rule_of(p, &e, find(&e, path), ret))
		return MATCH_NOTHING;
	return MATCH_RULE;
}

uint32_t vport_rules(const struct vport *p)
{
	const struct unit_port *u = vport_unit(p);

	return u ? u->n_entries : 0;
}

bool vport_rule_at(const struct vport *p, uint32_t i, struct vrule *ret)
{
	struct entries e;

	return entries_of(p, &e) && rule_of(p, &e, i, ret);
}

void vrule_words(const struct vrule *r, char *out, size_t n)
{
	struct entries e;
	const struct unit_entry *t = entries_of(&r->port, &e) ? entry_at(&e, r->index) : NULL;
	struct slice path = t ? unit_text(e.unit, t->path) : (struct slice){ 0 };

	snprintf(out, n, "%s %.*s", t && t->exact ? "Exact" : "PathPrefix",
		 (int)min_of(path.n, 4096u), path.p ? (const char *)path.p : "");
}

/* ---- backends ---- */

static const struct unit_backend *backend_at(const struct vrule *r, uint32_t i)
{
	struct entries e;
	const struct unit_entry *t = entries_of(&r->port, &e) ? entry_at(&e, r->index) : NULL;
	const struct unit_rule *u =
		t ? unit_item(e.unit, e.svc->rules, e.svc->n_rules, sizeof *u, t->rule) : NULL;

	if (u == NULL || i >= u->n_backends || u->backend > e.svc->n_backends)
		return NULL;
	return unit_item(e.unit, e.svc->backends, e.svc->n_backends, sizeof(struct unit_backend),
			 u->backend + i);
}

bool vrule_backend_at(const struct vrule *r, uint32_t i, struct vbackend *ret)
{
	struct slice unit = vservice_unit(&r->port.service);
	const struct unit_backend *b = backend_at(r, i);
	struct vservice s;

	if (b == NULL)
		return false;
	*ret = (struct vbackend){
		.weight = b->weight,
		.ns = unit_text(unit, b->ns),
		.name = unit_text(unit, b->name),
		.number = b->port,
	};
	ret->valid = b->id != 0 && view_service(r->port.service.view, b->id, &s) &&
		     vservice_port(&s, b->port, &ret->port);
	return true;
}

bool vrule_backend(const struct vrule *r, uint32_t dice, struct vbackend *ret)
{
	for (uint32_t i = 0; i < r->backends; i++) {
		const struct unit_backend *b = backend_at(r, i);

		if (b == NULL)
			return false;
		if (dice < b->weight)
			return vrule_backend_at(r, i, ret);
		dice -= b->weight;
	}
	return false;
}
