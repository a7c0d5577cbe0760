/* SPDX-License-Identifier: Apache-2.0
 * Copyright the nodeproxy authors */

/* Rules of a port one by one, with their words and backends. */
#include "nodeproxy/lib/base/strbuf.h"
#include "nodeproxy/lib/net/server_name.h"
#include "store/view/entries.h"

const char *route_kind_name(enum route_kind k)
{
	static const char *const name[ROUTE_KINDS] = { [ROUTE_TCP] = "TCPRoute",
						       [ROUTE_TLS] = "TLSRoute",
						       [ROUTE_HTTP] = "HTTPRoute",
						       [ROUTE_GRPC] = "GRPCRoute" };

	return (unsigned)k < ROUTE_KINDS ? name[k] : "?";
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

	if (!p->has_routes || !entries_for(p, caller_ns, &e))
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
	if (e->table->kind == ROUTE_TLS) {
		char name[SERVER_NAME_PATH];

		server_name_of_path(path, name);
		strbuf_adds(b, "server name ");
		add_words(b, slice_str(name));
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
		strbuf_adds(&b, t && e.table->kind == ROUTE_GRPC ? "another service or method" :
				t && e.table->kind == ROUTE_TLS	 ? "another server name" :
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
