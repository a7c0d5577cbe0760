/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Matches: per port the tables of routes, one for the callers of everybody and one per namespace
 * that has routes of its own (GAMMA's producer and consumer routes), each with its entries in order
 * of precedence, and forks where many entries want the same path.
 *
 * Everything here is collected first and written at the end, because each array of a unit is one
 * piece and an entry points into three of them. */
#include "store/view/compile_inner.h"

#include <errno.h>
#include <stdlib.h>

/* Fewer entries of one path than this are simply tried one after the other. */
#define FORK_MIN 8

struct planned { /* an entry before it is written */
	const struct row_match *match;
	uint32_t path_n, key_n;
	uint32_t exact;
	uint32_t rank; /* order of routes, rules and matches */
	uint32_t rule; /* in the unit */
};

struct matches {
	struct out *o;
	struct unit_table *tables;
	struct unit_entry *entries;
	struct unit_cond *conds;
	struct unit_ask *asks;
	struct unit_fork *forks;
	uint32_t *twigs;
	uint32_t n_tables, n_entries, n_conds, n_asks, n_forks, n_twigs;
	uint32_t room_tables, room_entries, room_conds, room_asks, room_forks, room_twigs;
	uint32_t *asked[ASKS]; /* by text: number of the ask of this name + 1 */
	uint32_t room_asked[ASKS];
	struct planned *plan; /* of the table under way */
	uint32_t n_plan, room_plan;
};

/* Room for n more in the array; sets the error. */
#define MORE(m, array, n)                                                                          \
	((m)->o->error == 0 && more((m)->o, (void **)&(m)->array, &(m)->room_##array,              \
				    (m)->n_##array + (n), sizeof *(m)->array))

static bool more(struct out *o, void **p, uint32_t *room, uint32_t n, size_t size)
{
	if (n <= UNIT_MAX_BYTES / size && out_grow(p, room, n, size))
		return true;
	o->error = n <= UNIT_MAX_BYTES / size ? -ENOMEM : -E2BIG;
	return false;
}

static bool parent_is(const struct row_parent *p, const struct row *service)
{
	return compile_str_cmp(p->ns, service->ns) == 0 &&
	       compile_str_cmp(p->name, service->name) == 0;
}

bool compile_attached(const struct row_route *r, const struct row *service,
		      const struct row_service_port *port)
{
	for (uint32_t i = 0; i < r->n_parents; i++) {
		const struct row_parent *p = &r->parents[i];

		if (!parent_is(p, service))
			continue;
		if (port == NULL ||
		    ((p->port == 0 || p->port == port->port) &&
		     (slice_str(p->section).n == 0 || compile_str_cmp(p->section, port->name) == 0)))
			return true;
	}
	return false;
}

static enum route_kind kind_of(const struct row *route)
{
	return route->kind == ROW_GRPCROUTE ? ROUTE_GRPC :
	       route->kind == ROW_HTTPROUTE ? ROUTE_HTTP :
	       route->kind == ROW_TLSROUTE  ? ROUTE_TLS :
					      ROUTE_TCP;
}

const struct row *route_of_port(const struct row *const *routes, uint32_t n,
				const struct row *service, const struct row_service_port *port,
				const struct row *route)
{
	const struct row *best = route;

	for (uint32_t i = 0; i < n; i++) {
		const struct row *r = routes[i];
		int d = (int)kind_of(r) - (int)kind_of(best);

		if (compile_str_cmp(r->ns, route->ns) != 0) /* for other callers */
			continue;
		if ((d > 0 || (d == 0 && kind_of(r) == ROUTE_TCP && compile_by_age(&r, &best) < 0)) &&
		    compile_attached(&r->route, service, port))
			best = r;
	}
	/* Routes of one kind are merged, but a connection goes by one TCPRoute. */
	return best;
}

/* ---- one table ---- */

static int planned_cmp(const void *a, const void *b)
{
	const struct planned *x = a, *y = b;
	const struct row_match *m = x->match, *n = y->match;
	int c;

	if (x->exact != y->exact)
		return x->exact ? -1 : 1;
	if (!x->exact && x->key_n != y->key_n)
		return x->key_n > y->key_n ? -1 : 1;
	c = slice_cmp(slice_of(m->path, x->key_n), slice_of(n->path, y->key_n));
	if (c)
		return c;
	if (x->path_n != y->path_n) /* /a/ is longer than /a and matches the same */
		return x->path_n > y->path_n ? -1 : 1;
	c = (slice_str(n->grpc_method).n != 0) - (slice_str(m->grpc_method).n != 0);
	if (c == 0)
		c = (slice_str(n->method).n != 0) - (slice_str(m->method).n != 0);
	if (c == 0)
		c = (n->n_headers > m->n_headers) - (n->n_headers < m->n_headers);
	if (c == 0)
		c = (n->n_params > m->n_params) - (n->n_params < m->n_params);
	return c ? c : (x->rank > y->rank) - (x->rank < y->rank);
}

uint32_t compile_prefix_key(const char *path)
{
	uint32_t n = (uint32_t)slice_str(path).n;

	while (n && path[n - 1] == '/')
		n--;
	return n;
}

static void plan_route(struct matches *m, const struct row_route *r, uint32_t rule)
{
	for (uint32_t j = 0; j < r->n_rules; j++)
		for (uint32_t k = 0; k < r->rules[j].n_matches; k++) {
			const struct row_match *x = &r->rules[j].matches[k];
			uint32_t n = (uint32_t)slice_str(x->path).n;
			bool exact = x->type == ROW_PATH_EXACT;

			if (!MORE(m, plan, 1))
				return;
			m->plan[m->n_plan] = (struct planned){
				.match = x,
				.path_n = n,
				.key_n = exact ? n : compile_prefix_key(x->path),
				.exact = exact,
				.rank = m->n_plan,
				.rule = rule + j,
			};
			m->n_plan++;
		}
}

static uint32_t ask_of(struct matches *m, enum ask what, uint32_t name)
{
	uint32_t was = m->room_asked[what];

	if (m->o->error || !more(m->o, (void **)&m->asked[what], &m->room_asked[what], name + 1,
				 sizeof *m->asked[what]))
		return 0;
	if (m->room_asked[what] > was)
		memset(m->asked[what] + was, 0, (m->room_asked[what] - was) * sizeof **m->asked);
	if (m->asked[what][name] == 0) {
		if (!MORE(m, asks, 1))
			return 0;
		m->asks[m->n_asks++] = (struct unit_ask){ what, name };
		m->asked[what][name] = m->n_asks;
	}
	return m->asked[what][name] - 1;
}

static void add_cond(struct matches *m, enum ask what, const char *name, const char *value)
{
	struct unit_cond c;

	if (slice_str(value).n == 0)
		return;
	c.ask = ask_of(m, what, out_str(m->o, name));
	c.value = out_str(m->o, value);
	if (MORE(m, conds, 1))
		m->conds[m->n_conds++] = c;
}

static void add_entry(struct matches *m, const struct planned *p)
{
	const struct row_match *x = p->match;
	struct unit_entry e = { .path = out_str(m->o, x->path),
				.key_n = p->key_n,
				.rule = p->rule,
				.exact = (uint16_t)p->exact,
				.cond = m->n_conds };

	add_cond(m, ASK_GRPC_METHOD, "", x->grpc_method);
	add_cond(m, ASK_METHOD, "", x->method);
	for (uint32_t i = 0; i < x->n_headers; i++)
		add_cond(m, ASK_HEADER, x->headers[i].name, x->headers[i].value);
	for (uint32_t i = 0; i < x->n_params; i++)
		add_cond(m, ASK_PARAM, x->params[i].name, x->params[i].value);
	e.n_conds = (uint16_t)(m->n_conds - e.cond);
	if (MORE(m, entries, 1))
		m->entries[m->n_entries++] = e;
}

/* ---- forks ---- */

struct twig { /* a condition of an entry of the group */
	uint32_t ask, value, entry;
	struct slice bytes; /* of value */
};

static int by_numbers(const void *a, const void *b)
{
	const struct twig *x = a, *y = b;

	if (x->ask != y->ask)
		return x->ask < y->ask ? -1 : 1;
	if (x->value != y->value)
		return x->value < y->value ? -1 : 1;
	return (x->entry > y->entry) - (x->entry < y->entry);
}

static int by_bytes(const void *a, const void *b)
{
	const struct twig *x = a, *y = b;
	int c = slice_cmp(x->bytes, y->bytes);

	return c ? c : (x->entry > y->entry) - (x->entry < y->entry);
}

/* The ask that leaves least to be tried one after the other: the entries without a condition on it
 * and the most that have the same value.  t is sorted by numbers; its twigs are *ret_at to *ret_end. */
static uint32_t best_ask(const struct twig *t, uint32_t n, uint32_t group, uint32_t *ret_at,
			 uint32_t *ret_end)
{
	uint32_t best = group, end;

	*ret_at = *ret_end = 0;
	for (uint32_t at = 0; at < n; at = end) {
		uint32_t run = 0, most = 0;

		for (end = at; end < n && t[end].ask == t[at].ask; end++) {
			run = end > at && t[end].value == t[end - 1].value ? run + 1 : 1;
			most = max_of(most, run);
		}
		if (group - (end - at) + most < best) {
			best = group - (end - at) + most;
			*ret_at = at;
			*ret_end = end;
		}
	}
	return best;
}

/* Entries [at, end) want the same path.  first: of the table. */
static void add_fork(struct matches *m, uint32_t first, uint32_t at, uint32_t end)
{
	uint32_t n = 0, room = 0, from, to;
	struct twig *t = NULL;

	for (uint32_t i = at; i < end; i++)
		room += m->entries[i].n_conds;
	t = room ? malloc(room * sizeof *t) : NULL;
	if (t == NULL) {
		m->o->error = room ? -ENOMEM : 0;
		return;
	}
	for (uint32_t i = at; i < end; i++)
		for (uint32_t k = 0; k < m->entries[i].n_conds; k++) {
			const struct unit_cond *c = &m->conds[m->entries[i].cond + k];

			t[n++] = (struct twig){ c->ask, c->value, i - first,
						out_text_at(m->o, c->value) };
		}
	qsort(t, n, sizeof *t, by_numbers);
	if (best_ask(t, n, end - at, &from, &to) <= (end - at) / 2 && MORE(m, twigs, end - at) &&
	    MORE(m, forks, 1)) {
		struct unit_fork f = { t[from].ask, m->n_twigs, to - from, end - at - (to - from) };

		qsort(t + from, to - from, sizeof *t, by_bytes);
		for (uint32_t i = from; i < to; i++)
			m->twigs[m->n_twigs++] = t[i].entry;
		for (uint32_t i = at; i < end; i++) {
			bool has = false;

			for (uint32_t k = 0; k < m->entries[i].n_conds && !has; k++)
				has = m->conds[m->entries[i].cond + k].ask == f.ask;
			if (!has)
				m->twigs[m->n_twigs++] = i - first;
		}
		must(m->n_twigs == f.twig + f.n_valued + f.n_rest);
		m->forks[m->n_forks++] = f;
		m->entries[at].fork = m->n_forks;
	}
	free(t);
}

static bool same_key(const struct unit_entry *a, const struct unit_entry *b, struct out *o)
{
	return a->exact == b->exact && a->key_n == b->key_n &&
	       (a->path == b->path ||
		slice_eq(slice_of(out_text_at(o, a->path).p, a->key_n),
			 slice_of(out_text_at(o, b->path).p, b->key_n)));
}

/* Those of one path know how many they are. */
static void group_entries(struct matches *m, uint32_t first)
{
	for (uint32_t at = first, end; at < m->n_entries && m->o->error == 0; at = end) {
		for (end = at + 1; end < m->n_entries &&
				   same_key(&m->entries[at], &m->entries[end], m->o); end++)
			;
		for (uint32_t i = at; i < end; i++)
			m->entries[i].more = end - i - 1;
		if (end - at >= FORK_MIN && m->entries[at].n_conds)
			add_fork(m, first, at, end);
	}
}

/* ---- ports ---- */

/* The routes of one group of callers; they are all there is of this group. */
static void add_table(struct matches *m, const struct row *service,
		      const struct row_service_port *port, const struct row *const *routes, uint32_t n,
		      const uint32_t *rule)
{
	enum route_kind kind = ROUTE_TCP;
	uint32_t first = m->n_entries, n_exact = 0;
	bool any = false;

	m->n_plan = 0;
	for (uint32_t i = 0; i < n; i++)
		if (compile_attached(&routes[i]->route, service, port)) {
			any = true;
			kind = max_of(kind, kind_of(routes[i]));
		}
	for (uint32_t i = 0; i < n && any; i++) {
		if (kind_of(routes[i]) != kind || !compile_attached(&routes[i]->route, service, port))
			continue;
		plan_route(m, &routes[i]->route, rule[i]);
		if (kind == ROUTE_TCP)
			break; /* the oldest */
	}
	if (m->n_plan)
		qsort(m->plan, m->n_plan, sizeof *m->plan, planned_cmp);
	for (uint32_t i = 0; i < m->n_plan; i++) {
		add_entry(m, &m->plan[i]);
		n_exact += m->plan[i].exact;
	}
	group_entries(m, first);
	if (any && MORE(m, tables, 1))
		m->tables[m->n_tables++] = (struct unit_table){
			.ns = compile_str_cmp(routes[0]->ns, service->ns) == 0 ?
				      0 :
				      out_str(m->o, routes[0]->ns),
			.kind = kind,
			.entry = first,
			.n_entries = m->n_entries - first,
			.n_exact = n_exact,
		};
}

static uint32_t put_array(struct out *o, const void *p, uint32_t n, size_t size)
{
	uint32_t at = out_room(o, (uint64_t)n * size, 4);

	if (!o->error && n)
		memcpy(o->b->p + at, p, n * size);
	return at;
}

void compile_put_matches(struct out *o, const struct row *service, const struct row *const *routes,
			 uint32_t n, const struct row_service_port *const *ports, uint32_t n_ports,
			 struct unit_svc *u)
{
	struct matches m = { .o = o };
	uint32_t *rule = calloc(n + 1, sizeof *rule);

	if (rule == NULL)
		o->error = -ENOMEM;
	for (uint32_t i = 0; i < n && rule; i++)
		rule[i + 1] = rule[i] + routes[i]->route.n_rules;
	for (uint32_t i = 0; i < n_ports && !o->error; i++) {
		struct unit_port p = { .table = m.n_tables, .entry = m.n_entries }, *to;

		/* They stand by namespace, those of the Service's first. */
		for (uint32_t at = 0, end; at < n && !o->error; at = end) {
			for (end = at + 1; end < n && compile_str_cmp(routes[end]->ns, routes[at]->ns) == 0;
			     end++)
				;
			add_table(&m, service, ports[i], routes + at, end - at, rule + at);
		}
		to = (struct unit_port *)(o->b->p + u->ports) + i;
		to->table = p.table;
		to->n_tables = m.n_tables - p.table;
		to->entry = p.entry;
		to->n_entries = m.n_entries - p.entry;
	}
	u->tables = put_array(o, m.tables, u->n_tables = m.n_tables, sizeof *m.tables);
	u->entries = put_array(o, m.entries, u->n_entries = m.n_entries, sizeof *m.entries);
	u->conds = put_array(o, m.conds, u->n_conds = m.n_conds, sizeof *m.conds);
	u->asks = put_array(o, m.asks, u->n_asks = m.n_asks, sizeof *m.asks);
	u->forks = put_array(o, m.forks, u->n_forks = m.n_forks, sizeof *m.forks);
	u->twigs = put_array(o, m.twigs, u->n_twigs = m.n_twigs, sizeof *m.twigs);
	free(rule);
	free(m.tables);
	free(m.entries);
	free(m.conds);
	free(m.asks);
	free(m.forks);
	free(m.twigs);
	free(m.plan);
	for (int i = 0; i < ASKS; i++)
		free(m.asked[i]);
}
