/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Request -> rule -> backend, for one port of a Service.
 *
 * The entries of a table stand in order of precedence: exact paths, sorted; then prefixes, longest
 * first, those of one length sorted.  So an exact path is one binary search, and the longest prefix
 * that ends at an element of the path is one binary search per distinct length.  Among those of one
 * path the first whose conditions hold is taken, or else the next shorter path tried.  Many of one
 * path have a fork: a binary search by the value that most of them ask for. */
#include "nodeproxy/lib/base/strbuf.h"
#include "store/view/asked.h"

struct entries { /* of one table */
	struct slice unit;
	const struct unit_svc *svc;
	const struct unit_table *table;
	uint32_t index; /* of its first entry among those of the port */
	uint32_t first, n_exact, n;
};

const char *route_kind_name(enum route_kind k)
{
	static const char *const name[ROUTE_KINDS] = { [ROUTE_TCP] = "TCPRoute",
						       [ROUTE_HTTP] = "HTTPRoute",
						       [ROUTE_GRPC] = "GRPCRoute" };

	return (unsigned)k < ROUTE_KINDS ? name[k] : "?";
}

static bool entries_of(const struct vport *p, const struct unit_port *u, uint32_t i,
		       struct entries *ret)
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

/* The table of the port for callers of this namespace: theirs, else the one of everybody. */
static bool table_for(const struct vport *p, struct slice caller_ns, struct entries *ret)
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

/* The table that has entry i of the port. */
static bool table_of(const struct vport *p, uint32_t i, struct entries *ret)
{
	const struct unit_port *u = vport_unit(p);

	for (uint32_t k = 0; entries_of(p, u, k, ret); k++)
		if (i >= ret->index && i - ret->index < ret->n)
			return true;
	return false;
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

static bool rule_of(const struct vport *p, const struct entries *e, uint32_t i, struct vrule *ret)
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
	};
	return true;
}

enum match_result vport_match(const struct vport *p, struct slice caller_ns,
			      const struct vrequest *q, struct vrule *ret)
{
	struct entries e;
	struct asked a;
	uint32_t at = 0;

	if (!p->has_routes || !table_for(p, caller_ns, &e))
		return MATCH_DIRECT;
	if (e.table->kind != ROUTE_TCP) {
		if (q == NULL)
			return MATCH_DIRECT;
		asked_init(&a, &p->service, q);
		at = find(&e, &a);
	}
	return rule_of(p, &e, at, ret) ? MATCH_RULE : MATCH_NOTHING;
}

uint32_t vport_rules(const struct vport *p)
{
	const struct unit_port *u = vport_unit(p);

	return u ? u->n_entries : 0;
}

bool vport_rule_at(const struct vport *p, uint32_t i, struct vrule *ret)
{
	struct entries e;

	return table_of(p, i, &e) && rule_of(p, &e, i - e.index, ret);
}

uint32_t vport_rules_for(const struct vport *p, struct slice caller_ns, uint32_t *ret_first)
{
	struct entries e;

	if (!p->has_routes || !table_for(p, caller_ns, &e))
		return 0;
	*ret_first = e.index;
	return e.n;
}

static const struct unit_entry *entry_of(const struct vrule *r, struct entries *e)
{
	return table_of(&r->port, r->index, e) ? entry_at(e, r->index - e->index) : NULL;
}

/* ---- words ---- */

/* As much of it as there is room for. */
static void add_words(struct strbuf *b, struct slice s)
{
	size_t room = b->room - b->n - 1;

	strbuf_add(b, slice_of(s.p, min_of(s.n, room)));
}

static void add_cond_words(struct strbuf *b, const struct entries *e, const struct unit_cond *c)
{
	const struct unit_ask *k =
		unit_item(e->unit, e->svc->asks, e->svc->n_asks, sizeof *k, c->ask);
	struct slice value = unit_text(e->unit, c->value);

	if (k == NULL)
		return;
	switch ((enum ask)k->what) {
	case ASK_METHOD:
		strbuf_adds(b, ", ");
		break;
	case ASK_GRPC_METHOD:
		strbuf_adds(b, ", method ");
		break;
	case ASK_HEADER:
	case ASK_PARAM:
		strbuf_adds(b, k->what == ASK_HEADER ? ", header " : ", parameter ");
		add_words(b, unit_text(e->unit, k->name));
		strbuf_adds(b, " = ");
		break;
	case ASKS:
		return;
	}
	add_words(b, value);
}

static void path_words(struct strbuf *b, const struct entries *e, const struct unit_entry *t)
{
	struct slice path = unit_text(e->unit, t->path);

	if (e->table->kind == ROUTE_TCP) {
		strbuf_adds(b, "everything");
		return;
	}
	if (e->table->kind == ROUTE_GRPC) {
		strbuf_adds(b, t->exact ? "method " : path.n > 1 ? "service " : "every service");
		add_words(b, slice_from(path, 1));
		return;
	}
	strbuf_adds(b, t->exact ? "Exact " : "PathPrefix ");
	add_words(b, path);
}

void vrule_words(const struct vrule *r, char *out, size_t n)
{
	struct entries e;
	const struct unit_entry *t = entry_of(r, &e);
	struct strbuf b = strbuf_on(out, n);

	if (t == NULL)
		return;
	path_words(&b, &e, t);
	for (uint32_t i = 0; i < t->n_conds; i++) {
		const struct unit_cond *c = unit_item(e.unit, e.svc->conds, e.svc->n_conds,
						      sizeof *c, t->cond + i);

		if (c)
			add_cond_words(&b, &e, c);
	}
}

static bool path_holds(const struct entries *e, const struct unit_entry *t, struct slice path)
{
	struct slice key = unit_text(e->unit, t->path);

	key.n = min_of(key.n, (size_t)t->key_n);
	if (e->table->kind == ROUTE_TCP)
		return true;
	return slice_starts(path, key) && (path.n == key.n || (!t->exact && path.p[key.n] == '/'));
}

bool vrule_misses(const struct vrule *r, const struct vrequest *q, char *out, size_t n)
{
	struct strbuf b = strbuf_on(out, n);
	const struct unit_cond *c;
	const struct unit_ask *k;
	const struct seen *s;
	struct entries e;
	const struct unit_entry *t = entry_of(r, &e);
	uint32_t failed = 0;
	struct seen room;
	struct asked a;

	asked_init(&a, &r->port.service, q);
	if (t == NULL || !path_holds(&e, t, q->path)) {
		strbuf_adds(&b, e.table->kind == ROUTE_GRPC && t ? "another service or method" :
								    "another path");
		return true;
	}
	if (asked_holds(&a, t, &failed))
		return false;
	c = unit_item(e.unit, e.svc->conds, e.svc->n_conds, sizeof *c, failed);
	k = c ? unit_item(e.unit, e.svc->asks, e.svc->n_asks, sizeof *k, c->ask) : NULL;
	if (k == NULL)
		return true;
	s = asked_look(&a, c->ask, &room);
	strbuf_adds(&b, k->what == ASK_HEADER ? "header " :
			k->what == ASK_PARAM  ? "parameter " :
						"the method");
	add_words(&b, unit_text(e.unit, k->name));
	strbuf_adds(&b, s->is_there ? " is " : " is not there");
	add_words(&b, s->value);
	if (s->next)
		strbuf_adds(&b, " and more lines");
	strbuf_adds(&b, ", not ");
	add_words(&b, unit_text(e.unit, c->value));
	return true;
}

/* ---- backends ---- */

static const struct unit_backend *backend_at(const struct vrule *r, uint32_t i)
{
	struct slice unit = vservice_unit(&r->port.service);
	const struct unit_svc *svc = vservice_svc(&r->port.service);
	const struct unit_rule *u = unit_item(unit, svc->rules, svc->n_rules, sizeof *u, r->rule);

	if (u == NULL || i >= u->n_backends || u->backend > svc->n_backends)
		return NULL;
	return unit_item(unit, svc->backends, svc->n_backends, sizeof(struct unit_backend),
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
		.filters = { b->filter, b->n_filters },
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
