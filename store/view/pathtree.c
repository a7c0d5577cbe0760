/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Request -> rule -> backend, for one port of a Service.
 *
 * The entries of a table stand in order of precedence: exact paths, sorted; then prefixes, longest
 * first, those of one length sorted.  So an exact path is one binary search, and the longest prefix
 * that ends at an element of the path is one binary search per distinct length.  Among those of one
 * path the first whose conditions hold is taken, or else the next shorter path tried.  Many of one
 * path have a fork: a binary search by the value that most of them ask for. */
#include "store/view/entries.h"

bool entries_of(const struct vport *p, const struct unit_port *u, uint32_t i, struct entries *ret)
{
	struct slice unit = vservice_unit(&p->service);
	const struct unit_svc *svc = vservice_svc(&p->service);
	const struct unit_table *t = NULL;

	if (u && i < u->n_tables && u->table <= svc->n_tables)
		t = unit_item(unit, svc->tables, svc->n_tables, sizeof *t, u->table + i);
	if (t == NULL)
		return false;
	*ret = (struct entries){
		.unit = unit,
		.svc = svc,
		.table = t,
		.index = t->entry - u->entry,
		.first = t->entry,
		.n_exact = t->n_exact,
		.n = t->n_entries,
	};
	return true;
}

bool entries_for(const struct vport *p, struct slice caller_ns, struct entries *ret)
{
	const struct unit_port *u = vport_unit(p);
	uint32_t lo = 0, hi;
	bool common;

	if (!entries_of(p, u, 0, ret))
		return false;
	common = ret->table->ns == 0;
	if (likely(common && u->n_tables == 1))
		return true;
	for (lo = common, hi = u->n_tables; lo < hi;) {
		uint32_t mid = lo + (hi - lo) / 2;

		if (!entries_of(p, u, mid, ret))
			return false;
		if (slice_cmp(unit_text(ret->unit, ret->table->ns), caller_ns) < 0)
			lo = mid + 1;
		else
			hi = mid;
	}
	if (entries_of(p, u, lo, ret) && slice_eq(unit_text(ret->unit, ret->table->ns), caller_ns))
		return true;
	return common && entries_of(p, u, 0, ret);
}

const struct unit_entry *entry_at(const struct entries *e, uint32_t i)
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

/* ---- what else an entry wants ---- */

static const uint32_t *twig_at(const struct entries *e, uint32_t i)
{
	return unit_item(e->unit, e->svc->twigs, e->svc->n_twigs, sizeof(uint32_t), i);
}

static struct slice twig_value(const struct entries *e, const struct unit_fork *f, uint32_t i)
{
	const uint32_t *twig = twig_at(e, f->twig + i);
	const struct unit_entry *t = twig ? entry_at(e, *twig) : NULL;

	for (uint32_t k = 0; t && k < t->n_conds; k++) {
		const struct unit_cond *c = unit_item(e->unit, e->svc->conds, e->svc->n_conds,
						      sizeof *c, t->cond + k);

		if (c && c->ask == f->ask)
			return unit_text(e->unit, c->value);
	}
	return (struct slice){ 0 };
}

/* The next entry of twigs [*i, end) that holds, or e->n. */
static uint32_t next_twig(const struct entries *e, struct asked *a, uint32_t *i, uint32_t end)
{
	for (; *i < end; ++*i) {
		const uint32_t *twig = twig_at(e, *i);
		const struct unit_entry *t = twig ? entry_at(e, *twig) : NULL;

		if (t && asked_holds(a, t, NULL))
			return *twig;
	}
	return e->n;
}

/* By the value of what most of them ask for; of those that do not, the first that holds may come
 * before. */
static uint32_t by_fork(const struct entries *e, struct asked *a, const struct unit_fork *f)
{
	uint32_t lo = 0, hi = f->n_valued, at, rest = f->twig + f->n_valued, end = rest + f->n_rest;
	uint32_t valued = e->n;
	const struct seen *s;
	struct seen room;

	s = asked_look(a, f->ask, &room);
	if (s->is_there) {
		while (lo < hi) {
			uint32_t mid = lo + (hi - lo) / 2;

			if (asked_cmp(a, f->ask, s, twig_value(e, f, mid)) > 0)
				lo = mid + 1;
			else
				hi = mid;
		}
		for (hi = lo; hi < f->n_valued; hi++) {
			at = f->twig + hi;
			valued = next_twig(e, a, &at, at + 1);
			if (valued < e->n || asked_cmp(a, f->ask, s, twig_value(e, f, hi)) != 0)
				break;
		}
	}
	return min_of(valued, next_twig(e, a, &rest, end));
}

/* The first of the entries that want the path of entry `at`, which is the first of them, whose other
 * conditions hold; or e->n. */
static uint32_t holds_at(const struct entries *e, struct asked *a, uint32_t at)
{
	const struct unit_entry *t = entry_at(e, at);
	const struct unit_fork *f;
	uint32_t end;

	if (t == NULL || likely(t->n_conds == 0))
		return t ? at : e->n;
	f = t->fork ? unit_item(e->unit, e->svc->forks, e->svc->n_forks, sizeof *f, t->fork - 1) : NULL;
	if (f)
		return by_fork(e, a, f);
	for (end = at + min_of(t->more, e->n - at - 1) + 1; at < end; at++) {
		t = entry_at(e, at);
		if (t && asked_holds(a, t, NULL))
			return at;
	}
	return e->n;
}

static uint32_t find(const struct entries *e, struct asked *a)
{
	struct slice path = a->request->path;
	uint32_t at = find_exact(e, path), next;

	if (at < e->n)
		at = holds_at(e, a, at);
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
				hit = holds_at(e, a, hit);
			else
				hit = e->n;
			if (hit < e->n)
				return hit;
		}
	}
	return e->n;
}

bool rule_of(const struct vport *p, const struct entries *e, uint32_t i, struct vrule *ret)
{
	const struct unit_entry *t = entry_at(e, i);
	const struct unit_rule *r =
		t ? unit_item(e->unit, e->svc->rules, e->svc->n_rules, sizeof *r, t->rule) : NULL;

	if (r == NULL)
		return false;
	*ret = (struct vrule){
		.port = *p,
		.index = e->index + i,
		.rule = t->rule,
		.callers = unit_text(e->unit, e->table->ns),
		.kind = (enum route_kind)e->table->kind,
		.route_ns = unit_text(e->unit, r->route_ns),
		.route_name = unit_text(e->unit, r->route_name),
		.rule_name = unit_text(e->unit, r->name),
		.backends = r->n_backends,
		.total_weight = r->total_weight,
		.filters = { r->filter, r->n_filters },
		.times = r->times,
	};
	return true;
}

enum match_result vport_match(const struct vport *p, struct slice caller_ns,
			      const struct vrequest *q, struct vrule *ret)
{
	struct entries e;
	struct asked a;
	uint32_t at = 0;

	if (!p->has_routes || !entries_for(p, caller_ns, &e))
		return MATCH_DIRECT;
	if (e.table->kind != ROUTE_TCP) {
		bool by_name = e.table->kind == ROUTE_TLS, has_name = q && q->is_tls;

		if (by_name && !has_name)
			return MATCH_BY_NAME;
		if (q == NULL || (has_name && !by_name))
			return MATCH_DIRECT;
		asked_init(&a, &p->service, q);
		at = find(&e, &a);
	}
	return rule_of(p, &e, at, ret) ? MATCH_RULE : MATCH_NOTHING;
}
